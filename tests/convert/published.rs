//! Tests of the published networks, in every format in which they are distributed.

use std::path::Path;

use glimpse::convert::{self, Converted, Options};
use glimpse::data::Image;
use glimpse::data::weights::WeightFile;
use glimpse::model::DenseNetConfig;
use glimpse::nn::Mode;

use crate::compare::relative;
use crate::errors;

/// The published networks with random weights, in the folder that `tools/export_pretrained.py` wrote and
/// `GLIMPSE_PRETRAINED` names. Without the variable, this test does nothing.
#[test]
fn the_published_networks_agree_with_torchvision_and_keras() {
    let Ok(folder) = std::env::var("GLIMPSE_PRETRAINED") else {
        println!(
            "skipped: GLIMPSE_PRETRAINED does not name a folder of tools/export_pretrained.py"
        );
        return;
    };
    let folder = Path::new(&folder);
    for name in DenseNetConfig::NAMES {
        for (suffix, keras) in [
            ("pth", false),
            ("zip.pth", false),
            ("safetensors", false),
            ("keras.h5", true),
            ("notop.weights.h5", true),
            ("keras", true),
        ] {
            let path = folder.join(format!("{name}.{suffix}"));
            if keras && name == "densenet161" {
                continue; // Keras has none.
            }
            let framework = if keras { ".keras" } else { "" };
            let open = |what: &str| {
                WeightFile::open(folder.join(format!("{name}{framework}.{what}.safetensors")))
                    .unwrap()
            };
            let options = Options {
                arch: Some(name.into()),
                ..Options::default()
            };
            let converted = convert::convert(&path, &options).unwrap();
            let headless = Converted {
                classifier: None,
                ..converted
            };
            let [features, spatial, _] = errors(&headless, &open("expected"));
            let photos = photo_error(&headless, &open("images"));
            println!(
                "{name}.{suffix}: features {features:.1e}, maps {spatial:.1e}, photos {photos:.1e}"
            );
            assert!(features < 1e-5 && spatial < 1e-5 && photos < 5e-3);
        }
    }
}

/// The relative error of the features of the sample photos, prepared as the network's framework prepares them.
fn photo_error(converted: &Converted, expected: &WeightFile) -> f64 {
    let names = expected.metadata("names").unwrap().unwrap();
    let names: Vec<String> = serde_json::from_str(&names).unwrap();
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("weights/samples");
    let images: Vec<Image> = names
        .iter()
        .map(|name| Image::open(samples.join(name)).unwrap())
        .collect();
    let x = converted.description.recipe.tensor(&images).unwrap();
    let features = converted
        .network()
        .unwrap()
        .features(&x, Mode::Inference)
        .unwrap();
    relative(&features, &expected.tensor("features").unwrap())
}
