//! Tests of the loss of the teachers' maps.

use super::made::noise;
use super::*;
use crate::ops::testing::{assert_close, on_every_device, random};

/// Two teachers with maps of their own sizes, one of which saw half of the views.
#[test]
fn the_loss_of_the_maps_is_what_the_documentation_says() {
    on_every_device(|| {
        let (dir, paths) = folder(4);
        let mut a = make_targets(&paths, 2, 5, 4).with("maps", &[8, 3, 2, 3], noise(144, 4));
        let mut b = make_targets(&paths, 2, 5, 4).with("maps", &[8, 1, 4, 2], noise(64, 5));
        for view in b.view.iter_mut().take(4) {
            view[5] = 1.25;
        }
        a.header["teacher"] = "a".into();
        b.header["teacher"] = "b".into();
        let mut config = config(dir.path(), &[("a.safetensors", &a), ("b.safetensors", &b)]);
        (config.features, config.classes, config.held_out) = (0.0, 0.0, 0.0);
        config.maps = 0.75;
        config.targets[1].maps = Some(2.0);
        config.targets[1].weight = 0.5;
        let distillation = open(&config).unwrap();
        let line = &distillation.summary()[0];
        assert!(
            line.ends_with("and maps of 3 x 2 places in 3 directions"),
            "{line}"
        );
        let mut heads = distillation.heads(6, &mut Init::new(1));
        heads.to(&crate::ops::testing::device()).unwrap();
        heads.track(true);

        let batch = distillation.batch(1, 0, 12).unwrap();
        let map = random(&[12, 2, 2, 6], 3).tracked();
        let losses = distillation.loss(&heads, &map, &batch).unwrap();
        let seen: Vec<usize> = losses.parts.iter().map(|part| part.views).collect();
        assert_eq!(seen, [8, 8]);

        // Reference: plain loops in f64, over a grid so fine that each of its squares lies in one place of either map.
        let mut total = 0.0;
        for (teacher, [h, w, m], weight) in [(0, [3, 2, 3], 0.75), (1, [1, 4, 2], 2.0 * 0.5)] {
            let (layer, rows) = (
                heads.0[teacher].maps.as_ref().unwrap(),
                &batch.teachers[teacher],
            );
            let targets = rows.maps.as_ref().unwrap();
            let mut sum = 0.0;
            for (i, &view) in rows.places.iter().enumerate() {
                for place in 0..4 {
                    for k in 0..m {
                        let f = &map.data()[(view * 4 + place) * 6..][..6];
                        let y: f64 = layer.weight.data()[k * 6..][..6]
                            .iter()
                            .zip(f)
                            .map(|(&w, &f)| f64::from(w) * f64::from(f))
                            .sum::<f64>()
                            + f64::from(layer.bias.data()[k]);
                        let mut z = 0.0;
                        for fine in 0..h * w {
                            let (row, column) = (
                                (place / 2 * h + fine / w) / 2,
                                (place % 2 * w + fine % w) / 2,
                            );
                            z += f64::from(targets.data()[((i * h + row) * w + column) * m + k]);
                        }
                        sum += (y - z / (h * w) as f64).powi(2);
                    }
                }
            }
            let mean = sum / (rows.places.len() * 4 * m) as f64;
            let got = losses.parts[teacher].losses[2].as_ref().unwrap();
            assert_close("maps", &[got.item().unwrap()], &[mean as f32], 1e-5);
            total += weight * mean * rows.places.len() as f64 / 12.0;
        }
        let got = losses.total.item().unwrap();
        assert_close("loss", &[got], &[total as f32], 1e-5);
        let grads = losses.total.backward().unwrap();
        assert!(grads.get(&map).is_some());
        heads.visit("", &mut |name, _, tensor| {
            assert!(grads.get(tensor).is_some(), "{name}")
        });
    });
}

#[test]
fn maps_that_are_asked_for_must_be_there() {
    let (dir, paths) = folder(4);
    let plain = make_targets(&paths, 2, 5, 4);
    let mut with_maps = plain
        .clone()
        .without("features")
        .without("classifier.weight")
        .without("classifier.bias")
        .with("maps", &[8, 2, 2, 3], noise(96, 4));
    let mut config = config(dir.path(), &[("t.safetensors", &plain)]);
    config.targets[0].maps = Some(1.0);
    let message = open(&config).err().unwrap().to_string();
    assert!(
        message.contains("t.safetensors") && message.contains("teacher_targets.py --maps"),
        "{message}"
    );
    // The weight for all teachers counts for those that have maps.
    (config.targets[0].maps, config.maps) = (None, 1.0);
    assert!(open(&config).is_ok());

    // Maps alone are not enough: the model needs features that are right on average over the picture.
    with_maps.header["class_names"] = serde_json::Value::Null;
    with_maps.write(&config.targets[0].file);
    let message = open(&config).err().unwrap().to_string();
    assert!(message.contains("neither `features` nor"), "{message}");
    // Without a weight they are not learnt.
    let both = plain.with("maps", &[8, 2, 2, 3], noise(96, 4));
    both.write(&config.targets[0].file);
    config.maps = 0.0;
    let distillation = open(&config).unwrap();
    assert!(distillation.heads(6, &mut Init::new(1)).0[0].maps.is_none());
    assert!(
        distillation.batch(1, 0, 4).unwrap().teachers[0]
            .maps
            .is_none()
    );
}
