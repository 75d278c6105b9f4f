//! Tests of `glimpse features`.

use glimpse::data::weights::{NumberFormat, WeightFile, write_weights};
use glimpse::data::{Image, Recipe};
use glimpse::tensor::Tensor;
use serde_json::Value;

use crate::{glimpse, model, number, pictures};

#[test]
fn features_in_bf16_are_close_and_not_the_same() {
    let dir = pictures(&["a.png", "b.jpg"]);
    let features = |precision: &str| -> Vec<f64> {
        let args = ["features", ".", "--encoder", model(), "--precision"];
        let answer = glimpse(dir.path(), &[&args[..], &[precision, "--json"]].concat());
        let answers = answer.objects();
        let rows = answers
            .iter()
            .map(|row| row["features"].as_array().unwrap());
        rows.flatten().map(number).collect()
    };
    let (exact, rounded) = (features("f32"), features("bf16"));
    assert_eq!(exact.len(), rounded.len());
    let distance: f64 = exact
        .iter()
        .zip(&rounded)
        .map(|(x, y)| (x - y).powi(2))
        .sum();
    let norm: f64 = exact.iter().map(|x| x * x).sum();
    let error = (distance / norm).sqrt();
    assert!((1e-6..1e-2).contains(&error), "{error:.1e}");
}

#[test]
fn features_agree_however_they_are_asked_for() {
    let dir = pictures(&["a.png", "b.jpg", "c.png"]);
    let path = |name: &str| dir.path().join(name);
    let features = |args: &[&str]| {
        glimpse(
            dir.path(),
            &[&["features", "--encoder", model()], args].concat(),
        )
    };
    let numbers = |answer: &Value| -> Vec<f32> {
        answer["features"]
            .as_array()
            .unwrap()
            .iter()
            .map(|x| number(x) as f32)
            .collect()
    };

    let answers = features(&["a.png", "b.jpg", "c.png", "--json"]).objects();
    let expected: Vec<Vec<f32>> = answers.iter().map(numbers).collect();
    let channels = expected[0].len();
    assert_ne!(expected[0], expected[1]);
    for (line, (name, row)) in features(&["."])
        .lines()
        .iter()
        .zip(["./a.png", "./b.jpg", "./c.png"].iter().zip(&expected))
    {
        let (path, text) = line.split_once('\t').unwrap();
        assert_eq!(path, *name);
        assert_eq!(
            text.split(' ')
                .map(|x| x.parse().unwrap())
                .collect::<Vec<f32>>(),
            *row
        );
    }

    // The same features from a file: it holds the pixels that the recipe computes, as [N, 3, H, W].
    let recipe: Recipe = "squash:32".parse().unwrap();
    let mut x = Vec::new();
    for name in ["a.png", "b.jpg", "c.png"] {
        let values = recipe.apply(&Image::open(path(name)).unwrap()).unwrap();
        x.extend((0..3).flat_map(|c| {
            values
                .iter()
                .skip(c)
                .step_by(3)
                .copied()
                .collect::<Vec<_>>()
        }));
    }
    let x = Tensor::from_vec(x, &[3, 3, 32, 32]).unwrap();
    write_weights(
        &path("x.safetensors"),
        &[("x".into(), x)],
        NumberFormat::F32,
        Default::default(),
    )
    .unwrap();
    assert_eq!(
        features(&["--input", "x.safetensors", "--out", "f.safetensors"])
            .lines()
            .len(),
        0
    );
    let file = WeightFile::open(path("f.safetensors")).unwrap();
    assert_eq!(file.metadata("names").unwrap().unwrap(), r#"["0","1","2"]"#);
    assert_eq!(file.tensor("features").unwrap().dims(), [3, channels]);
    assert_eq!(file.tensor("features").unwrap().data(), expected.concat());

    // The maps' means are the features.
    features(&[
        "a.png",
        "missing.png",
        "b.jpg",
        "--spatial",
        "--out",
        "m.safetensors",
        "--preprocess",
        "squash:64",
    ]);
    let file = WeightFile::open(path("m.safetensors")).unwrap();
    assert_eq!(
        file.metadata("names").unwrap().unwrap(),
        r#"["a.png","b.jpg"]"#
    );
    let maps = file.tensor("features").unwrap();
    let [2, c, height, width] = *maps.dims() else {
        panic!("{}", maps.shape())
    };
    assert!(c == channels && height > 1 && width > 1);
    let pooled = numbers(&features(&["a.png", "--json", "--preprocess", "squash:64"]).object());
    for (map, mean) in maps.data().chunks(height * width).zip(pooled) {
        assert!((map.iter().sum::<f32>() / (height * width) as f32 - mean).abs() < 1e-5);
    }
    let nested = features(&["a.png", "--json", "--spatial", "--preprocess", "squash:64"]).object();
    assert_eq!(
        number(&nested["features"][c - 1][height - 1][0]) as f32,
        maps.data()[c * height * width - width]
    );
}
