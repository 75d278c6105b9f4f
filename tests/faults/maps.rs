//! Tests of files that cannot be mapped into memory; only large files are mapped.

use crate::injector::{Action, ENOMEM, Fault, Kind};
use crate::places::{CONVERT, GLIMPSE, Place, data};

/// Makes a file with a tensor of 68 MB. Its numbers are all zero and take no room on the disk.
fn large(path: &std::path::Path) {
    let header = r#"{"x":{"dtype":"F32","shape":[17000000],"data_offsets":[0,68000000]}}"#;
    let mut beginning = (header.len() as u64).to_le_bytes().to_vec();
    beginning.extend(header.as_bytes());
    std::fs::write(path, &beginning).unwrap();
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_len(beginning.len() as u64 + 68_000_000).unwrap();
}

#[test]
fn a_model_that_cannot_be_mapped_is_one_line() {
    let place = Place::new();
    large(&place.out().join("model.safetensors"));
    let photo = data().join("0.png");
    let photo = photo.to_str().unwrap();
    let fault = Fault::new(Kind::Map, 1, Action::Error(ENOMEM));
    let commands: [(&str, &[&str]); 4] = [
        (GLIMPSE, &["caption", photo, "--model", "model.safetensors"]),
        (GLIMPSE, &["inspect", "model.safetensors"]),
        (
            GLIMPSE,
            &[
                "features",
                photo,
                "--encoder",
                "model.safetensors",
                "--out",
                "f",
            ],
        ),
        (CONVERT, &["model.safetensors", "c"]),
    ];
    for (program, args) in commands {
        let run = place.run_with(fault, program, args);
        assert!(run.is_hit, "{args:?}");
        let message = run.complaint();
        let expected = "model.safetensors: cannot be read: memory does not suffice";
        assert!(message.starts_with(expected), "{message}");
        assert_eq!(place.names().len(), 1, "{args:?}");
    }
}
