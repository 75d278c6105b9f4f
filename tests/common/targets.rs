//! Small target files for the distillation stage, with the pictures that they describe.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, TensorView};
use sha2::{Digest, Sha256};

/// The contents of a target file, which tests can alter.
#[derive(Clone)]
pub struct Targets {
    pub header: serde_json::Value,
    pub picture: Vec<u32>,
    pub view: Vec<[f32; 6]>,
    /// Name, shape and numbers of the floating-point tensors.
    pub tensors: Vec<(String, Vec<usize>, Vec<f32>)>,
}

/// Returns reproducible numbers in `[-1, 1)`.
pub fn noise(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// Returns the first digits of a file's SHA-256, as target files contain them.
pub fn digest(path: &Path) -> String {
    let hash = Sha256::digest(std::fs::read(path).unwrap());
    hash.iter().take(8).map(|b| format!("{b:02x}")).collect()
}

/// Creates `count` small pictures in `folder`, named from `p0.png` on, each in another colour.
pub fn pictures(folder: &Path, count: usize) -> Vec<PathBuf> {
    let save = |i: usize| {
        let path = folder.join(format!("p{i}.png"));
        let [r, g, b] = [37, 71, 113].map(|step| (i * step % 256) as u8);
        let paint = |x: u32, y: u32| image::Rgb([r ^ (x as u8 * 3), g, b ^ (y as u8 * 5)]);
        image::RgbImage::from_fn(20, 16, paint).save(&path).unwrap();
        path
    };
    (0..count).map(save).collect()
}

/// Creates targets for these pictures: `views` views each, `features` features, and a classifier of `classes` classes.
pub fn targets(pictures: &[PathBuf], views: usize, features: usize, classes: usize) -> Targets {
    let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    let digests: Vec<String> = pictures.iter().map(|path| digest(path)).collect();
    let rows = pictures.len() * views;
    let header = serde_json::json!({
        "format": 1, "teacher": "test", "source": "here", "licence": "none",
        "input": {"size": 8}, "rendering": "bilinear-1",
        "names": pictures.iter().map(name).collect::<Vec<_>>(), "digests": digests,
        "class_names": (0..classes).map(|i| format!("class {i}")).collect::<Vec<_>>(),
    });
    let view = |row: usize| {
        let share = 0.5 + 0.5 * ((row % 7) as f32 / 7.0);
        let start = (1.0 - share) * ((row % 3) as f32 / 2.0);
        [
            start,
            (1.0 - share) / 2.0,
            share,
            share,
            (row % 2) as f32,
            0.9 + 0.05 * (row % 4) as f32,
        ]
    };
    Targets {
        header,
        picture: (0..rows).map(|row| (row / views) as u32).collect(),
        view: (0..rows).map(view).collect(),
        tensors: vec![
            (
                "features".into(),
                vec![rows, features],
                noise(rows * features, 1),
            ),
            (
                "classifier.weight".into(),
                vec![classes, features],
                noise(classes * features, 2),
            ),
            ("classifier.bias".into(), vec![classes], noise(classes, 3)),
        ],
    }
}

impl Targets {
    /// Returns a tensor for changes.
    pub fn tensor(&mut self, name: &str) -> &mut (String, Vec<usize>, Vec<f32>) {
        self.tensors.iter_mut().find(|(n, ..)| n == name).unwrap()
    }

    /// Removes a tensor.
    pub fn without(mut self, name: &str) -> Self {
        self.tensors.retain(|(n, ..)| n != name);
        self
    }

    /// Adds a tensor.
    pub fn with(mut self, name: &str, shape: &[usize], numbers: Vec<f32>) -> Self {
        self.tensors.push((name.into(), shape.to_vec(), numbers));
        self
    }

    /// Returns the bytes of the file; floating-point numbers have 16 bits, except in the views.
    pub fn bytes(&self) -> Vec<u8> {
        let picture: Vec<u8> = self.picture.iter().flat_map(|p| p.to_le_bytes()).collect();
        let view: Vec<u8> = self
            .view
            .iter()
            .flatten()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        let halves: Vec<Vec<u8>> = self
            .tensors
            .iter()
            .map(|(.., numbers)| {
                numbers
                    .iter()
                    .flat_map(|&x| half::f16::from_f32(x).to_le_bytes())
                    .collect()
            })
            .collect();
        let mut views = vec![
            (
                "picture".to_string(),
                TensorView::new(Dtype::U32, vec![self.picture.len()], &picture).unwrap(),
            ),
            (
                "view".to_string(),
                TensorView::new(Dtype::F32, vec![self.view.len(), 6], &view).unwrap(),
            ),
        ];
        for ((name, shape, _), bytes) in self.tensors.iter().zip(&halves) {
            views.push((
                name.clone(),
                TensorView::new(Dtype::F16, shape.clone(), bytes).unwrap(),
            ));
        }
        let metadata = HashMap::from([("glimpse_targets".to_string(), self.header.to_string())]);
        safetensors::serialize(views, Some(metadata)).unwrap()
    }

    /// Writes the file.
    pub fn write(&self, path: &Path) {
        std::fs::write(path, self.bytes()).unwrap();
    }
}
