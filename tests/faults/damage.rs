//! Tests of flipped bits, blocks of zeros and missing ends in models, checkpoints and feature caches. Each file is
//! refused with one line that names the tensor or the header, or is read to equal bytes. A damaged cache is computed
//! again, to equal bytes.

#[path = "../common/dataset.rs"]
mod data;
#[path = "../common/damage.rs"]
mod seeded;

use std::fs;
use std::path::{Path, PathBuf};

use glimpse::data::weights::{NumberFormat, WeightFile};
use glimpse::error::Result;
use glimpse::model::{Captioner, file};
use glimpse::tensor::{Device, Tensor};
use glimpse::train::features::{FeatureCache, Picture, Progress, Source, View};
use glimpse::train::{Control, RunOptions, TrainConfig, Trainer, trainer};
use seeded::Damage;

/// The number of damaged files of each kind.
const ROUNDS: usize = 150;

/// The file with one fault, which depends on the round: a flipped bit, a block of zeros, or a missing end.
fn damaged(bytes: &[u8], round: usize, damage: &mut Damage) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    match round % 3 {
        0 => {
            // Half of the flipped bits are in the header, although it is the smaller part.
            let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            let end = if round.is_multiple_of(2) {
                header
            } else {
                bytes.len()
            };
            let at = damage.next(end);
            bytes[at] ^= 1 << damage.next(8);
        }
        1 => {
            let block = damage.next(bytes.len().div_ceil(4096)) * 4096;
            let end = bytes.len().min(block + 4096);
            bytes[block..end].fill(0);
        }
        _ => bytes.truncate(damage.next(bytes.len())),
    }
    bytes
}

#[track_caller]
fn names_the_place(message: &str, path: &Path, round: usize) {
    let name = path.file_name().unwrap().to_str().unwrap();
    let place = message.contains("tensor `") || message.contains("header");
    // A file that was cut off at its beginning is empty.
    let is_empty = message.contains("is empty");
    assert!(
        message.contains(name) && (place || is_empty) && !message.contains('\n'),
        "round {round}: {message}"
    );
}

/// Damages the file at `path` in many ways. For each damaged file, `read` must return an error that names the place, or the
/// result that it returns for the whole file. Returns the number of refused files.
fn sweep<T: PartialEq>(path: &Path, seed: u64, read: impl Fn() -> Result<T>) -> usize {
    let whole = fs::read(path).unwrap();
    let want = read().unwrap();
    let mut damage = Damage(seed);
    let mut refused = 0;
    for round in 0..ROUNDS {
        let bytes = damaged(&whole, round, &mut damage);
        let is_same = bytes == whole;
        fs::write(path, bytes).unwrap();
        match read() {
            Ok(got) => assert!(got == want, "round {round}: read to something else"),
            Err(e) => {
                assert!(!is_same, "round {round}: {e}");
                names_the_place(&e.to_string(), path, round);
                refused += 1;
            }
        }
    }
    fs::write(path, whole).unwrap();
    refused
}

/// The bits of every tensor of a captioner, with the tensor's name.
fn numbers(captioner: &mut Captioner) -> Vec<(String, Vec<u32>)> {
    let tensors = file::module_tensors("", captioner).into_iter();
    let bits = |t: &Tensor| t.data().iter().map(|x| x.to_bits()).collect();
    tensors.map(|(name, t)| (name, bits(&t))).collect()
}

struct Trained {
    dir: tempfile::TempDir,
    model: PathBuf,
    checkpoint: PathBuf,
}

/// Trains a small captioner for two steps, and keeps the checkpoint of the second.
fn trained() -> Trained {
    let dir = data::dataset(4);
    let model = dir.path().join("a.safetensors");
    let config = dir.path().join("c.toml");
    let text = "epochs = 2\nbatch = 2\nmin_count = 1\n[decoder]\nembedding = 8\nhidden = 8\n[encoder]\ntrain = \"all\"\n\
                new = { growth = 4, blocks = [1, 1], stem = 4 }\n[image]\nsize = 32\n[optimizer]\naverage = 0.9\n";
    fs::write(&config, text).unwrap();
    let config = TrainConfig::read(&config).unwrap();
    let source = trainer::Source::Default;
    let mut trainer = Trainer::new(dir.path(), source, config, &Device::Cpu).unwrap();
    let options = RunOptions {
        out: model.clone(),
        checkpoint_every: 2,
        max_steps: Some(2),
    };
    trainer.run(&options, &mut |_| Control::Continue).unwrap();
    Trained {
        checkpoint: dir.path().join("a.checkpoint.safetensors"),
        model,
        dir,
    }
}

#[test]
fn damaged_models_are_refused() {
    let trained = trained();
    let mut captioner = Captioner::load(&trained.model).unwrap();
    for (seed, precision) in (1..).zip([NumberFormat::F16, NumberFormat::I8]) {
        captioner.save(&trained.model, precision).unwrap();
        let refused = sweep(&trained.model, seed, || {
            let mut captioner = Captioner::load(&trained.model)?;
            Ok((numbers(&mut captioner), captioner.vocabulary))
        });
        println!("{refused} of {ROUNDS} refused");
        assert!(refused > ROUNDS * 9 / 10, "{refused} of {ROUNDS}");
    }
}

#[test]
fn damaged_checkpoints_are_refused() {
    let Trained {
        dir, checkpoint, ..
    } = trained();
    let refused = sweep(&checkpoint, 3, || {
        // The file is read as by `--resume`, and then all of its tensors are read.
        Trainer::resume(dir.path(), &checkpoint, &Device::Cpu)?;
        let file = WeightFile::open(&checkpoint)?;
        let names: Vec<String> = file.entries()?.into_iter().map(|e| e.name).collect();
        let tensors = file.tensors(&names)?.into_iter().flatten();
        let bits = |t: Tensor| t.data().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        Ok((names, tensors.map(bits).collect::<Vec<_>>()))
    });
    println!("{refused} of {ROUNDS} refused");
    assert!(refused > ROUNDS * 9 / 10, "{refused} of {ROUNDS}");
}

#[test]
fn damaged_feature_caches_are_computed_again() {
    let dir = data::dataset(6);
    let picture = |i: usize| Picture {
        name: i.to_string(),
        path: dir.path().join(format!("{i}.png")),
    };
    let source = Source {
        encoder: "an encoder".into(),
        recipe: "squash:8".parse().unwrap(),
        views: vec![View::Plain, View::Mirrored],
        pictures: (0..6).map(picture).collect(),
        maps: false,
    };
    let encode = |images: &Tensor| {
        let rows = images.data().chunks(8 * 8 * 3);
        let data: Vec<f32> = rows.flat_map(|row| row.repeat(8)).collect();
        Tensor::from_vec(data, &[images.dims()[0], 8 * 8 * 3 * 8])
    };
    let path = dir.path().join("a.features.safetensors");
    let open = || {
        let mut stale = None;
        let mut progress = |told| {
            if let Progress::Stale { why } = told {
                stale = Some(why);
            }
            Ok(())
        };
        let cache = FeatureCache::open_or_compute(&path, &source, &encode, &mut progress);
        let all: Vec<usize> = (0..6).collect();
        cache.map(|cache| (cache.rows(&all).unwrap().into_vec(), stale))
    };
    let (want, _) = open().unwrap();
    let whole = fs::read(&path).unwrap();
    let mut damage = Damage(4);
    let (mut again, mut refused) = (0, 0);
    for round in 0..ROUNDS {
        let bytes = damaged(&whole, round, &mut damage);
        fs::write(&path, &bytes).unwrap();
        match open() {
            Ok((rows, stale)) => {
                assert!(rows == want, "round {round}: read to something else");
                assert!(fs::read(&path).unwrap() == whole, "round {round}");
                assert_eq!(stale.is_some(), bytes != whole && !bytes.is_empty());
                again += usize::from(stale.is_some());
            }
            // A file that may be another program's is not changed.
            Err(e) => {
                names_the_place(&e.to_string(), &path, round);
                assert!(fs::read(&path).unwrap() == bytes, "round {round}");
                refused += 1;
            }
        }
        fs::write(&path, &whole).unwrap();
    }
    println!("{again} of {ROUNDS} computed again, {refused} refused");
    assert!(again > ROUNDS / 2, "{again} of {ROUNDS}");
}
