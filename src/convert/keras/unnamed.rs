//! Finds DenseNets in files that number layers and do not name them.

use std::collections::BTreeMap;

use super::Member;
use super::layers::{Layer, Position};
use super::order::{self, Conv, Ordered};
use crate::data::import::Archive;

/// The layers of a network by class, each in the order of their numbers, as indices among all layers.
pub(super) type Rows<'a> = BTreeMap<&'a str, BTreeMap<usize, usize>>;

/// Groups the layers of a file that numbers layers by network; the key is the prefix of the network's names.
pub(super) fn rows(layers: &[Layer]) -> BTreeMap<String, Rows<'_>> {
    let mut all: BTreeMap<String, Rows> = BTreeMap::new();
    for (i, layer) in layers.iter().enumerate() {
        if let Position::Numbered {
            network,
            class,
            number,
            ..
        } = &layer.position
        {
            let rows = all.entry(format!("{}/", network.join("/"))).or_default();
            rows.entry(class).or_default().insert(*number, i);
        }
    }
    all
}

/// Finds the DenseNet in a network whose layers have no known names.
pub(super) fn by_order(
    archive: &mut Archive,
    layers: &[Layer],
    rows: &Rows,
) -> Option<Result<Vec<Member>, String>> {
    let row = |class: &str| -> Vec<usize> {
        rows.get(class)
            .map(|row| row.values().copied().collect())
            .unwrap_or_default()
    };
    let (conv_row, norm_row) = (row("conv2d"), row("batch_normalization"));
    let shape = |i: usize, name: &str| {
        let index = layers[i].variable(name)?;
        Some(&archive.entries()[index].shape[..])
    };
    let convs: Vec<Option<Conv>> = conv_row
        .iter()
        .map(|&i| {
            Some(Conv {
                shape: shape(i, "kernel")?.try_into().ok()?,
                has_bias: layers[i].variables.len() > 1,
            })
        })
        .collect();
    let channels = |&i: &usize| match shape(i, "gamma")? {
        &[channels] => Some(channels),
        _ => None,
    };
    let norms: Vec<Option<usize>> = norm_row.iter().map(channels).collect();
    let mut found = match order::find(&convs, &norms)? {
        Ok(found) => found,
        Err(why) => return Some(Err(why)),
    };
    if let Err(why) = choose_last(archive, layers, &norm_row, &mut found) {
        return Some(Err(why));
    }
    let is_alone = found.convs.len() == convs.len() && found.norms.len() == norms.len();
    let mut members: Vec<Member> = Vec::new();
    members.extend(
        found
            .convs
            .into_iter()
            .map(|(name, at)| (name, conv_row[at])),
    );
    members.extend(
        found
            .norms
            .into_iter()
            .map(|(name, at)| (name, norm_row[at])),
    );
    // Only if nothing else is in the network, its single matrix is Keras' own classifier.
    if let (true, &[head]) = (is_alone, &row("dense")[..]) {
        members.push(("predictions".to_string(), head));
    }
    Some(Ok(members))
}

/// Decides which of several batch norms of one size is the last of the DenseNet.
///
/// Its input is the input of the last block's last layer, followed by that layer's new channels. The means of the
/// common channels are therefore equal, up to the fluctuation between training batches.
fn choose_last(
    archive: &mut Archive,
    layers: &[Layer],
    row: &[usize],
    found: &mut Ordered,
) -> Result<(), String> {
    let [_, _, ..] = found.last[..] else {
        return Ok(());
    };
    /// Means that differ by more than this many standard deviations belong to different channels.
    const MIN_DISTANCE: f32 = 0.1;
    let mut numbers = |at: usize, name: &str| -> Result<Vec<f32>, String> {
        let index = layers[row[at]].variable(name).unwrap_or_default();
        let tensor = archive.tensor(index).map_err(|e| e.to_string())?;
        Ok(tensor.data().to_vec())
    };
    // If all hold equal numbers, as before any training, the choice does not matter.
    let mut all_of = |at: usize| -> Result<Vec<Vec<f32>>, String> {
        let names = ["gamma", "beta", "moving_mean", "moving_variance"];
        names.iter().map(|name| numbers(at, name)).collect()
    };
    let first = all_of(found.last[0])?;
    let mut are_same = true;
    for &at in &found.last[1..] {
        are_same &= all_of(at)? == first;
    }
    if are_same {
        return Ok(());
    }
    let before = found.norms.iter().rev().nth(2).map_or(0, |(_, at)| *at);
    let (means, variances) = (
        numbers(before, "moving_mean")?,
        numbers(before, "moving_variance")?,
    );
    let mut near = Vec::new();
    for &at in &found.last {
        let others = numbers(at, "moving_mean")?;
        let distance = |((a, b), variance): ((&f32, &f32), &f32)| {
            (a - b).abs() / (variance.max(0.0) + 1e-6).sqrt()
        };
        let mut apart: Vec<f32> = means
            .iter()
            .zip(&others)
            .zip(&variances)
            .map(distance)
            .collect();
        apart.sort_by(f32::total_cmp);
        if apart
            .get(apart.len() / 2)
            .is_some_and(|d| *d < MIN_DISTANCE)
        {
            near.push(at);
        }
    }
    match (&near[..], found.norms.last_mut()) {
        (&[at], Some(last)) => {
            last.1 = at;
            Ok(())
        }
        _ => Err(format!(
            "holds a DenseNet whose last batch norm may be any of {} of the same size, whose layers have no names",
            found.last.len()
        )),
    }
}
