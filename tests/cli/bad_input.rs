//! Tests of unusable files, alone and among good ones.

use std::fs;

use glimpse::data::weights::{NumberFormat, write_weights};
use glimpse::tensor::Tensor;
use tempfile::TempDir;

use crate::{glimpse, model, pictures, png, string};

/// Returns the beginning of a PNG that claims 60,000 x 60,000 pixels.
fn huge_png() -> Vec<u8> {
    let mut bytes = png(0);
    bytes[16..20].copy_from_slice(&60_000u32.to_be_bytes());
    bytes[20..24].copy_from_slice(&60_000u32.to_be_bytes());
    // The checksum of the chunk's name and its 13 bytes.
    let mut crc = u32::MAX;
    for byte in &bytes[12..29] {
        crc = (0..8).fold(crc ^ u32::from(*byte), |c, _| {
            (c >> 1) ^ if c & 1 == 1 { 0xEDB8_8320 } else { 0 }
        });
    }
    bytes[29..33].copy_from_slice(&(!crc).to_be_bytes());
    bytes
}

/// Creates good pictures and files with every kind of defect between them; returns the names, each with a part of its
/// message.
fn good_and_bad() -> (TempDir, Vec<(&'static str, Option<&'static str>)>) {
    let dir = pictures(&["good.png", "fine.jpg"]);
    let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
    write("empty.jpg", b"");
    write("text.jpg", b"This is a text, not a picture.\n");
    let jpeg = fs::read(dir.path().join("fine.jpg")).unwrap();
    write("cut.jpg", &jpeg[..jpeg.len() / 2]);
    write("huge.png", &huge_png());
    fs::create_dir(dir.path().join("folder")).unwrap();
    write("folder/notes.txt", b"no image");
    let cases = vec![
        ("good.png", None),
        ("empty.jpg", Some("is empty")),
        ("text.jpg", Some("is not an image")),
        ("cut.jpg", Some("cut off")),
        ("huge.png", Some("60000 x 60000")),
        ("folder", Some("is a folder without images")),
        ("missing.jpg", Some("does not exist")),
        ("fine.jpg", None),
    ];
    (dir, cases)
}

#[test]
fn bad_images_are_reported_and_the_others_answered() {
    let (dir, cases) = good_and_bad();
    let paths: Vec<&str> = cases.iter().map(|(path, _)| *path).collect();
    for (command, key) in [
        (&["caption", "--model", model()][..], "captions"),
        (&["features", "--encoder", model()], "features"),
    ] {
        let json = glimpse(dir.path(), &[command, &paths, &["--json"]].concat());
        let verb = if command[0] == "caption" {
            "captioned"
        } else {
            "encoded"
        };
        let last = format!("{verb} 2, failed 6, passed over 0");
        assert_eq!((json.code, json.err.trim_end()), (Some(1), &*last));
        let answers = json.objects();
        assert_eq!(answers.len(), cases.len());
        for (answer, (path, wrong)) in answers.iter().zip(&cases) {
            assert_eq!(answer["image"], *path);
            match wrong {
                Some(what) => assert!(string(&answer["error"]).contains(what), "{answer}"),
                None => assert!(answer[key].is_array(), "{answer}"),
            }
        }

        let text = glimpse(dir.path(), &[command, &paths].concat());
        assert_eq!(text.code, Some(1));
        let names: Vec<&str> = text
            .out
            .lines()
            .map(|line| line.split_once('\t').unwrap().0)
            .collect();
        assert_eq!(names, ["good.png", "fine.jpg"]);
        let mut complaints: Vec<&str> = text.err.lines().collect();
        assert_eq!(complaints.pop(), Some(&*last));
        assert_eq!(complaints.len(), cases.len() - 2);
        let wrong = cases
            .iter()
            .filter_map(|(path, wrong)| Some((path, (*wrong)?)));
        for (line, (path, what)) in complaints.iter().zip(wrong) {
            assert!(
                line.starts_with(&format!("glimpse: {path}: ")) && line.contains(what),
                "{line}"
            );
        }
    }
    let run = glimpse(dir.path(), &["caption", "folder", "--model", model()]);
    assert_eq!((run.code, run.out.as_str()), (Some(1), ""));
    let lines: Vec<&str> = run.err.lines().collect();
    assert!(lines[0].contains("without images"), "{}", run.err);
    assert_eq!(lines[1..], ["captioned 0, failed 1, passed over 0"]);
}

#[test]
fn unusable_tensors_and_encoders_are_one_line() {
    let dir = pictures(&["a.png"]);
    let file = |name: &str, tensor: &str, shape: &[usize]| {
        let tensors = [(tensor.to_string(), Tensor::zeros(shape))];
        write_weights(
            &dir.path().join(name),
            &tensors,
            NumberFormat::F32,
            Default::default(),
        )
        .unwrap();
    };
    file("y.safetensors", "y", &[1, 3, 32, 32]);
    file("flat.safetensors", "x", &[3, 32]);
    file("tiny.safetensors", "x", &[1, 3, 1, 1]);
    file("net.safetensors", "features.conv0.weight", &[8, 3, 7, 7]);
    file("line.safetensors", "features.conv0.weight", &[8]);
    fs::write(dir.path().join("text.safetensors"), "weights").unwrap();
    fs::write(dir.path().join("empty.safetensors"), "").unwrap();
    let whole = fs::read(model()).unwrap();
    fs::write(
        dir.path().join("cut.safetensors"),
        &whole[..whole.len() - 100],
    )
    .unwrap();

    for (input, what) in [
        ("y", "has no tensor `x`"),
        ("flat", "[3, 32]"),
        ("none", "does not exist"),
        ("tiny", ""),
    ] {
        let input = format!("{input}.safetensors");
        let run = glimpse(
            dir.path(),
            &["features", "--encoder", model(), "--input", &input],
        );
        assert!(run.complaint(1).contains(what), "{}", run.err);
    }
    for name in ["net", "line", "text", "empty", "cut", "y"] {
        let name = format!("{name}.safetensors");
        let run = glimpse(dir.path(), &["features", "a.png", "--encoder", &name]);
        assert!(run.complaint(1).starts_with(&name), "{}", run.err);
        let run = glimpse(dir.path(), &["caption", "a.png", "--model", &name]);
        assert!(run.complaint(1).starts_with(&name), "{}", run.err);
    }
    let out = ["features", "a.png", "--encoder", model(), "--out"];
    assert!(
        glimpse(dir.path(), &[&out[..], &["no/f.safetensors"]].concat())
            .complaint(1)
            .contains("folder")
    );
}
