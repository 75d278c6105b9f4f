//! Describes images, and prints "not sure" where the confidence is low.
//!
//! ```text
//! cargo run --release --example caption -- photo.jpg other.png
//! ```
//!
//! Without a path it describes the sample photos that are part of the library.

use std::env;

use glimpse::data::{Limits, SAMPLES};
use glimpse::{Captioner, Image, Result};

fn main() -> Result<()> {
    let captioner = Captioner::bundled()?;
    let options = captioner.options().alternatives(2).min_confidence(0.1);
    let show = |name: &str, image: &Image| -> Result<()> {
        let described = options.describe(image)?;
        let confidence = described.confidence.unwrap_or(1.0);
        println!("{name}: {described} (confidence {confidence:.2})");
        for other in &described.alternatives {
            println!("    or: {}", other.text);
        }
        Ok(())
    };
    if env::args_os().len() == 1 {
        for sample in SAMPLES {
            let image = Image::decode(sample.bytes, sample.name, Limits::default())?;
            show(sample.name, &image)?;
        }
    }
    for path in env::args_os().skip(1) {
        show(&path.to_string_lossy(), &Image::open(&path)?)?;
    }
    Ok(())
}
