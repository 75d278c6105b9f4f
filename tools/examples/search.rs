//! Finds the images of a folder that are most similar to a given image: those whose features have the largest cosine
//! similarity with its features.
//!
//! ```text
//! cargo run --release --example search -- query.jpg photos
//! ```

use std::path::Path;
use std::{env, process};

use glimpse::data::folder;
use glimpse::{Captioner, Image, Mode, Result};

/// Number of images that are printed.
const SHOWN: usize = 5;

/// The encoder's features of an image, scaled to length 1. The scalar product of two of them is their cosine similarity.
fn features(captioner: &Captioner, path: &Path) -> Result<Vec<f32>> {
    let pixels = captioner.recipe.tensor(&[Image::open(path)?])?;
    let features = captioner.encoder.features(&pixels, Mode::Inference)?;
    let length = features.data().iter().map(|x| x * x).sum::<f32>().sqrt();
    Ok(features.data().iter().map(|x| x / length).collect())
}

fn main() -> Result<()> {
    let paths: Vec<_> = env::args_os().skip(1).collect();
    let [query, photos] = paths.as_slice() else {
        eprintln!("usage: search QUERY FOLDER");
        process::exit(2);
    };
    let captioner = Captioner::bundled()?;
    let query = features(&captioner, query.as_ref())?;
    let mut found = Vec::new();
    for path in folder::expand(&[photos], true).entries {
        let path = path?;
        let similarity: f32 = query
            .iter()
            .zip(features(&captioner, &path)?)
            .map(|(a, b)| a * b)
            .sum();
        found.push((similarity, path));
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (similarity, path) in found.iter().take(SHOWN) {
        println!("{similarity:.3} {}", path.display());
    }
    Ok(())
}
