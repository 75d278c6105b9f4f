//! The tags' temperature, from photographs whose class is known, and their compression.

use super::TagCalibration;
use super::material::Material;
use crate::error::Result;
use crate::metrics::calibration::calibration_error;
use crate::model::Captioner;
use crate::ops;
use crate::tensor::Tensor;

/// Range of temperatures that are tried, in steps of 2%.
const TEMPERATURES: (f64, f64) = (0.25, 4.0);

/// Smallest number of photographs of known classes to which a temperature is fitted.
const LEAST_PHOTOS: usize = 50;

/// Compresses the tags, and divides their logits by the temperature that maximises the likelihood of the photographs'
/// classes. The first rows of `features` belong to `photographs`.
pub(super) fn calibrate(
    captioner: &mut Captioner,
    material: &Material,
    features: &Tensor,
    rank: usize,
    photographs: usize,
) -> Result<Option<TagCalibration>> {
    let Some(tags) = &mut captioner.tags else {
        return Ok(None);
    };
    let is_smaller = rank < tags.names().len().min(features.dims()[1]);
    if rank > 0 && is_smaller && tags.rank().is_none() {
        tags.compress(&features.narrow(0, photographs)?, rank)?;
    }
    let names: Vec<String> = tags
        .names()
        .iter()
        .map(|name| name.to_lowercase())
        .collect();
    let mut known = Vec::new();
    for (i, photo) in material.photos.iter().enumerate() {
        let class = photo.class.as_ref();
        if let Some(class) = class.and_then(|class| names.iter().position(|name| name == class)) {
            known.push((material.train.len() + i, class));
        }
    }
    if known.len() < LEAST_PHOTOS {
        return Ok(None);
    }
    let rows: Vec<usize> = known.iter().map(|(row, _)| *row).collect();
    let logits = tags.logits(&ops::embedding(features, &rows)?)?;
    let classes: Vec<usize> = known.iter().map(|(_, class)| *class).collect();
    let rows: Vec<&[f32]> = logits.data().chunks(names.len()).collect();
    let likeliest = |row: &[f32]| {
        (0..row.len())
            .max_by(|&a, &b| row[a].total_cmp(&row[b]))
            .unwrap_or(0)
    };
    let pairs = |temperature: f64| -> Vec<(f64, bool)> {
        let pair = |(row, class): (&&[f32], &usize)| {
            let best = likeliest(row);
            (
                log_probability(row, best, temperature).exp(),
                best == *class,
            )
        };
        rows.iter().zip(&classes).map(pair).collect()
    };
    let temperature = best_temperature(&rows, &classes);
    let before = pairs(1.0);
    let calibration = TagCalibration {
        photos: known.len(),
        temperature,
        right: before.iter().filter(|(_, right)| *right).count() as f64 / before.len() as f64,
        error_before: calibration_error(&before),
        error_after: calibration_error(&pairs(temperature)),
    };
    tags.calibrate(temperature as f32)?;
    Ok(Some(calibration))
}

/// Returns the natural logarithm of the probability of `class` for logits divided by a temperature.
fn log_probability(row: &[f32], class: usize, temperature: f64) -> f64 {
    let scaled = |x: f32| f64::from(x) / temperature;
    let largest = row
        .iter()
        .copied()
        .map(scaled)
        .fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = row.iter().map(|&x| (scaled(x) - largest).exp()).sum();
    scaled(row[class]) - largest - sum.ln()
}

/// Returns the temperature that maximises the likelihood of the classes.
fn best_temperature(rows: &[&[f32]], classes: &[usize]) -> f64 {
    let (lowest, highest) = TEMPERATURES;
    let steps = ((highest / lowest).ln() / 1.02f64.ln()) as i32;
    let likelihood = |temperature: f64| -> f64 {
        let all = rows.iter().zip(classes);
        all.map(|(row, &class)| log_probability(row, class, temperature))
            .sum()
    };
    let tried = (0..=steps).map(|step| lowest * 1.02f64.powi(step));
    let scored: Vec<(f64, f64)> = tried.map(|t| (t, likelihood(t))).collect();
    let best = scored.iter().max_by(|a, b| a.1.total_cmp(&b.1));
    best.map_or(1.0, |(temperature, _)| *temperature)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logits_that_are_too_sure_get_a_temperature_above_1() {
        // The first class is right in two of three cases, but its logit claims far more.
        let row = [4.0f32, 0.0];
        let rows: Vec<&[f32]> = vec![&row; 30];
        let classes: Vec<usize> = (0..30).map(|i| usize::from(i % 3 == 0)).collect();
        let found = best_temperature(&rows, &classes);
        let want = 4.0 / 2f64.ln();
        // The optimum lies above the highest temperature that is tried.
        assert!(
            want > TEMPERATURES.1 && (found - TEMPERATURES.1).abs() < 0.1,
            "{found}"
        );
        let classes: Vec<usize> = (0..30).map(|i| usize::from(i % 10 == 0)).collect();
        let found = best_temperature(&rows, &classes);
        assert!((found - 4.0 / 9f64.ln()).abs() < 0.03, "{found}");
    }
}
