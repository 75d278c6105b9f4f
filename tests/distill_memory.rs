//! Test that training on target files takes no more memory for a larger file.
//!
//! It is the only test in its binary, because memory is measured for the whole process.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use glimpse::data::Recipe;
use glimpse::train::distill::{DistillConfig, Distillation, TargetConfig};

#[path = "common/targets.rs"]
#[expect(dead_code, reason = "others change more of a file")]
mod made;

const VIEWS: usize = 80_000;
const FEATURES: usize = 1200;

/// The resident memory of the process in MiB, mapped files included, or `None` if the system does not report it.
fn resident() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let kilobytes: usize = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kilobytes >> 10)
}

/// Makes a target file of about 190 MB, mostly of zeros that need not be written.
fn large_file(path: &Path, picture: &Path) {
    let header = serde_json::json!({
        "format": 1, "teacher": "zero", "rendering": "bilinear-1",
        "names": ["p0.png"], "digests": [made::digest(picture)],
    });
    let (pictures, views) = (VIEWS * 4, VIEWS * 24);
    let features = VIEWS * FEATURES * 2;
    let text = serde_json::json!({
        "__metadata__": {"glimpse_targets": header.to_string()},
        "view": {"dtype": "F32", "shape": [VIEWS, 6], "data_offsets": [0, views]},
        "picture": {"dtype": "U32", "shape": [VIEWS], "data_offsets": [views, views + pictures]},
        "features": {
            "dtype": "F16", "shape": [VIEWS, FEATURES],
            "data_offsets": [views + pictures, views + pictures + features],
        },
    });
    let mut text = text.to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut file = File::create(path).unwrap();
    file.write_all(&(text.len() as u64).to_le_bytes()).unwrap();
    file.write_all(&text).unwrap();
    let view = [0.0f32, 0.0, 1.0, 1.0, 0.0, 1.0]
        .map(f32::to_le_bytes)
        .concat();
    file.write_all(&view.repeat(VIEWS)).unwrap();
    let len = 8 + text.len() + views + pictures + features;
    file.set_len(len as u64).unwrap();
}

#[test]
fn a_large_target_file_is_not_held_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let picture = made::pictures(dir.path(), 1).remove(0);
    let path = dir.path().join("t.safetensors");
    large_file(&path, &picture);
    let config = DistillConfig {
        targets: vec![TargetConfig::new(&path)],
        pictures: vec![dir.path().to_path_buf()],
        held_out: 0.0,
        ..DistillConfig::default()
    };
    let Some(before) = resident() else {
        println!("skipped: this system does not tell how much memory a process has");
        return;
    };
    let recipe: Recipe = "squash:8".parse().unwrap();
    let distillation = Distillation::open(&config, Vec::new(), recipe).unwrap();
    assert_eq!(distillation.len(), VIEWS);
    let mut most = resident().unwrap();
    for step in 0..100 {
        distillation.batch(1, step, 256).unwrap();
        most = most.max(resident().unwrap());
    }
    let grown = most.saturating_sub(before);
    println!("{grown} MiB more with a file of 190");
    assert!(grown < 64, "{grown} MiB more");
}
