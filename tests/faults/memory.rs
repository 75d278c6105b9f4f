//! Tests of missing memory: an error before it is allocated, without loss for other work.

use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use crate::places::{GLIMPSE, Place, Run, data, model};

/// Runs the program with a limit of `kilobytes` on its address space.
fn limited(place: &Place, kilobytes: u64, args: &[&str]) -> Run {
    let script = format!("ulimit -v {kilobytes}; exec \"$0\" \"$@\"");
    let program = ["-c", &script, GLIMPSE];
    place.run("sh", &[&program[..], args].concat())
}

/// Kilobytes that suffice for the program, its threads and a small model.
const SMALL: u64 = 900_000;

#[test]
fn configurations_that_no_memory_holds_are_refused_by_name() {
    let new = "[encoder]\ntrain = \"all\"\nnew = { growth = 8, blocks = [1, 1], stem = 8 }\n";
    let data = data().to_str().unwrap();
    for (text, limit, named) in [
        (
            "[decoder]\nhidden = 1000000\n".to_string(),
            None,
            "decoder.hidden = 1000000",
        ),
        (
            format!("[decoder]\nembedding = 16000000\nhidden = 4096\n{new}"),
            None,
            "decoder.embedding = 16000000",
        ),
        (
            "[decoder]\nkind = \"attention\"\nattention = 16000000\n".into(),
            Some(SMALL),
            "the decoder (",
        ),
        (
            new.replace("stem = 8", "stem = 60000")
                .replace("[1, 1]", "[9, 9]"),
            Some(SMALL),
            "stem = 60000",
        ),
        (
            format!("{new}[image]\nsize = 2048\n"),
            Some(SMALL),
            "images of 2048 x 2048 pixels",
        ),
        (
            "captions = 100\n[decoder]\nhidden = 4096\nembedding = 8\n".into(),
            Some(SMALL),
            "the decoder (",
        ),
    ] {
        let place = Place::new();
        fs::write(place.out().join("c.toml"), format!("min_count = 1\n{text}")).unwrap();
        let args = [
            "train",
            "--data",
            data,
            "--config",
            "c.toml",
            "--out",
            "m.safetensors",
        ];
        let run = match limit {
            None => place.run(GLIMPSE, &args),
            Some(limit) => limited(&place, limit, &args),
        };
        let message = run.complaint();
        assert!(
            message.starts_with("the training takes at least "),
            "{text}: {message}"
        );
        assert!(message.contains(named), "{text}: {message}");
        let limit = limit.map_or(
            "the memory",
            |_| "the memory limit of this process (ulimit -v) leaves",
        );
        assert!(message.contains(limit), "{text}: {message}");
        assert_eq!(place.names().len(), 1, "{text}");
    }
}

/// A black, square PNG file with `side` rows and one bit a pixel.
fn png(side: u32) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1A\n".to_vec();
    let mut chunk = |name: &[u8; 4], data: &[u8]| {
        file.extend((data.len() as u32).to_be_bytes());
        let covered = [&name[..], data].concat();
        file.extend(&covered);
        file.extend(crc32fast::hash(&covered).to_be_bytes());
    };
    let [width, height] = [side.to_be_bytes(); 2];
    chunk(
        b"IHDR",
        &[&width[..], &height[..], &[1, 0, 0, 0, 0]].concat(),
    );
    let mut pixels = ZlibEncoder::new(Vec::new(), Compression::fast());
    let row = vec![0; 1 + side.div_ceil(8) as usize];
    (0..side).for_each(|_| pixels.write_all(&row).unwrap());
    chunk(b"IDAT", &pixels.finish().unwrap());
    chunk(b"IEND", &[]);
    file
}

/// A square BMP file with `side` rows and one bit a pixel.
fn bmp(side: u32) -> Vec<u8> {
    let stride = side.div_ceil(32) * 4;
    let mut file = b"BM\0\0\0\0\0\0\0\0\x3E\0\0\0\x28\0\0\0".to_vec();
    file.extend(side.to_le_bytes());
    file.extend(side.to_le_bytes());
    file.extend([1, 0, 1, 0]);
    file.extend([0; 24]);
    file.extend([0, 0, 0, 0, 255, 255, 255, 0]);
    file.resize(file.len() + (stride * side) as usize, 0);
    file
}

/// A GIF file with a square screen of `side` rows and a frame of one pixel.
fn gif(side: u16) -> Vec<u8> {
    let mut file = b"GIF89a".to_vec();
    file.extend(side.to_le_bytes());
    file.extend(side.to_le_bytes());
    file.extend(b"\x80\0\0\0\0\0\xFF\xFF\xFF");
    file.extend(b"\x2C\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0\x3B");
    file
}

#[test]
fn a_picture_for_which_there_is_no_memory_is_an_error_of_its_own() {
    let place = Place::new();
    let at = |name: &str| place.out().join(name);
    for name in ["a.png", "z.png"] {
        fs::copy(data().join("1.png"), at(name)).unwrap();
    }
    // Each picture has 81 megapixels.
    fs::write(at("b.png"), png(9000)).unwrap();
    fs::write(at("c.bmp"), bmp(9000)).unwrap();
    fs::write(at("d.gif"), gif(9000)).unwrap();
    let args = ["caption", ".", "--model", model(), "--threads", "2"];
    let free = place.run(GLIMPSE, &args);
    free.succeeded();
    assert_eq!(free.out.lines().count(), 5, "{}", free.out);

    // The program itself uses so much address space on two threads that less than 243 MB of either limit are left.
    for limit in [380_000, 320_000] {
        let run = limited(&place, limit, &args);
        assert_eq!(run.code, Some(1), "{limit}: {}{}", run.out, run.err);
        let complaints = run.complaints();
        assert_eq!(complaints.len(), 3, "{limit}: {}", run.err);
        for (complaint, name) in complaints.iter().zip(["b.png", "c.bmp", "d.gif"]) {
            assert!(complaint.contains(name), "{complaint}");
            let what =
                "of memory to decode, and the memory limit of this process (ulimit -v) leaves";
            assert!(complaint.contains(what), "{complaint}");
        }
        assert_eq!(run.out.lines().count(), 2, "{limit}: {}", run.out);
    }
}

#[test]
fn files_that_claim_more_than_they_hold_are_refused() {
    let place = Place::new();
    let whole = fs::read(model()).unwrap();
    let length = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let header = String::from_utf8(whole[8..8 + length].to_vec()).unwrap();
    let write = |name: &str, header: &str| {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.extend(&whole[8 + length..]);
        fs::write(place.out().join(name), file).unwrap();
    };
    let hidden = "\\\"hidden\\\":8,";
    assert!(header.contains(hidden), "{header}");
    write(
        "sizes.safetensors",
        &header.replace(hidden, "\\\"hidden\\\":16000000,"),
    );
    let ends = header.rfind("\"data_offsets\":[").unwrap() + "\"data_offsets\":[".len();
    let mut longer = header.clone();
    longer.insert(ends, '9');
    write("offsets.safetensors", &longer);
    let photo = data().join("0.png");
    for name in ["sizes.safetensors", "offsets.safetensors"] {
        let args = ["caption", photo.to_str().unwrap(), "--model", name];
        for run in [place.run(GLIMPSE, &args), limited(&place, SMALL, &args)] {
            assert!(run.complaint().starts_with(name), "{}", run.err);
        }
        let data = data().to_str().unwrap();
        let run = place.run(
            GLIMPSE,
            &["train", "--data", data, "--out", "m", "--resume", name],
        );
        assert!(run.complaint().starts_with(name), "{}", run.err);
    }
}

#[test]
fn options_beyond_all_reason_are_refused_at_once() {
    let place = Place::new();
    let photo = data().join("0.png");
    let photo = photo.to_str().unwrap();
    let large = "1000000000000";
    let commands: [&[&str]; 8] = [
        &["caption", photo, "--beam", "1000000"],
        &["caption", photo, "--n-best", large],
        &["caption", photo, "--max-words", large],
        &["bench", "--batch", "100000000"],
        &["bench", "--runs", large],
        &["inspect", model(), "--threads", "100000"],
        &["serve", "--queue", large],
        &["evaluate", "--data", ".", "--split", "dev", "--beam", large],
    ];
    for args in commands {
        let run = limited(&place, SMALL, args);
        assert_eq!(
            (run.code, run.complaints().len()),
            (Some(2), 1),
            "{args:?}: {}",
            run.err
        );
    }
    // A batch of an allowed size may still be too large for a machine.
    for what in ["encode", "train-encoder"] {
        let run = limited(&place, SMALL, &["bench", what, "--batch", "4096"]);
        let message = run.complaint();
        assert!(
            message.starts_with("a batch of 4096 images takes "),
            "{message}"
        );
    }
}
