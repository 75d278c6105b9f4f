use super::*;
use crate::ops::testing::{here, on_every_device, random};
use proptest::prelude::*;

/// The cumulative probabilities of a row, by the definition in `f64`; barred words add nothing.
fn cumulated(row: &[f32], temperature: f32, barred: &[usize]) -> Vec<f64> {
    let allowed = |w: usize| !barred.contains(&w);
    let warm = |w: usize| f64::from(row[w]) / f64::from(temperature);
    let most = (0..row.len())
        .filter(|&w| allowed(w))
        .map(warm)
        .fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    let all: Vec<f64> = (0..row.len())
        .map(|w| {
            sum += if allowed(w) {
                (warm(w) - most).exp()
            } else {
                0.0
            };
            sum
        })
        .collect();
    all.iter().map(|c| c / sum).collect()
}

/// Draws with evenly spread random numbers. Fails where such a number is outside the interval of the word that it drew.
fn check_draws(logits: &Tensor, temperature: f32, barred: &[usize]) {
    let [rows, words] = [0, 1].map(|axis| logits.dims()[axis]);
    let uniform: Vec<f32> = (0..rows).map(|r| r as f32 / rows as f32).collect();
    let drawn = categorical(logits, &uniform, temperature, barred).unwrap();
    let data = logits.data();
    for (r, &word) in drawn.iter().enumerate() {
        let row = cumulated(&data[r * words..][..words], temperature, barred);
        let low = if word == 0 { 0.0 } else { row[word - 1] };
        let u = f64::from(uniform[r]);
        assert!(!barred.contains(&word), "word {word} is barred");
        assert!(
            low - 1e-5 <= u && u < row[word] + 1e-5 && row[word] > low,
            "row {r} of {words} words: {u} drew {word}, whose interval is {low} to {}",
            row[word]
        );
    }
}

#[test]
fn a_word_is_drawn_where_the_cumulated_sum_passes_the_number() {
    on_every_device(|| {
        for words in [1, 2, 7, 255, 256, 257, 513, 2538] {
            let logits = random(&[64, words], 3);
            let logits = logits.data().iter().map(|x| x * 6.0).collect();
            let logits = here(Tensor::from_vec(logits, &[64, words]).unwrap());
            for temperature in [0.5, 1.0, 2.0] {
                check_draws(&logits, temperature, &[]);
                if words > 4 {
                    check_draws(&logits, temperature, &[0, 1, 3, words - 1]);
                }
            }
        }
    });
}

#[test]
fn words_come_as_often_as_their_probability_says() {
    on_every_device(|| {
        let chances = [0.1f32, 0.0, 0.6, 0.25, 0.05];
        let row: Vec<f32> = chances.iter().map(|p| p.max(1e-30).ln()).collect();
        let rows = 1000;
        let logits = here(Tensor::from_vec(row.repeat(rows), &[rows, 5]).unwrap());
        let uniform: Vec<f32> = (0..rows).map(|r| (r as f32 + 0.5) / 1000.0).collect();
        let drawn = categorical(&logits, &uniform, 1.0, &[]).unwrap();
        for (word, chance) in chances.iter().enumerate() {
            let count = drawn.iter().filter(|&&w| w == word).count() as f32;
            assert!((count - chance * 1000.0).abs() <= 1.0, "{word}: {count}");
        }
    });
}

#[test]
fn the_ends_of_the_interval_draw_words_that_can_be_drawn() {
    on_every_device(|| {
        let mut row = vec![f32::NEG_INFINITY; 600];
        (row[3], row[299], row[580]) = (1.0, 80.0, 79.0);
        let logits = here(Tensor::from_vec(row.repeat(3), &[3, 600]).unwrap());
        let uniform = [0.0, 0.5, 1.0 - f32::EPSILON / 2.0];
        let drawn = categorical(&logits, &uniform, 1.0, &[]).unwrap();
        assert!([3, 299].contains(&drawn[0]), "{drawn:?}");
        assert_eq!(drawn[1..], [299, 580]);
        // A barred word is never drawn, however large its logit.
        let drawn = categorical(&logits, &uniform, 1.0, &[299]).unwrap();
        assert_eq!(drawn[1..], [580, 580]);
    });
}

#[test]
fn a_view_that_starts_within_a_buffer_is_read_from_there() {
    on_every_device(|| {
        let logits = random(&[8, 300], 5);
        let uniform = [0.1, 0.3, 0.5, 0.7];
        let view = logits.narrow(4, 4).unwrap();
        let alone = here(Tensor::from_vec(view.data().to_vec(), &[4, 300]).unwrap());
        assert_eq!(
            categorical(&view, &uniform, 1.0, &[2]).unwrap(),
            categorical(&alone, &uniform, 1.0, &[2]).unwrap()
        );
    });
}

#[test]
fn mistakes_are_named() {
    on_every_device(|| {
        let logits = random(&[2, 6], 1);
        let message = |logits: &Tensor, uniform: &[f32], t: f32, barred: &[usize]| {
            let error = categorical(logits, uniform, t, barred).unwrap_err();
            error.to_string()
        };
        let fine = [0.5, 0.5];
        assert!(message(&Tensor::zeros(&[3]), &fine, 1.0, &[]).contains("[R, V]"));
        assert!(message(&Tensor::zeros(&[2, 0]), &fine, 1.0, &[]).contains("one word"));
        assert!(message(&logits, &[0.5], 1.0, &[]).contains("2 rows"));
        assert!(message(&logits, &[0.5, 1.0], 1.0, &[]).contains("random number 1"));
        assert!(message(&logits, &[0.5, f32::NAN], 1.0, &[]).contains("random number NaN"));
        for t in [0.0, -1.0, 1e-40, f32::INFINITY, f32::NAN] {
            assert!(message(&logits, &fine, t, &[]).contains("temperature"));
        }
        assert!(message(&logits, &fine, 1.0, &[0, 1, 2, 3, 4]).contains("5 words"));
        for bad in [f32::NAN, f32::INFINITY] {
            let mut data = random(&[2, 6], 1).into_vec();
            data[9] = bad;
            let logits = here(Tensor::from_vec(data, &[2, 6]).unwrap());
            let text = message(&logits, &fine, 1.0, &[]);
            assert!(text.contains("row 1"), "{bad}: {text}");
        }
        let single = random(&[1, 1], 1);
        assert!(message(&single, &[0.5], 1.0, &[0]).contains("row 0"));
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn any_shape_agrees_with_the_definition(rows in 1..20usize, words in 2..700usize, seed in 0..9u64) {
        on_every_device(|| check_draws(&random(&[rows, words], seed), 1.0, &[1]));
    }
}
