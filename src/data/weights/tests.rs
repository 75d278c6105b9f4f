//! Tests: writes, reads and damages files of every number format.

use std::collections::HashMap;

use safetensors::tensor::TensorView;

use super::*;
use crate::cpu::threads;

fn sample() -> Vec<(String, Tensor)> {
    vec![
        (
            "a".into(),
            Tensor::from_vec(vec![1.0, -2.5, 3.25], &[3]).unwrap(),
        ),
        (
            "b.weight".into(),
            Tensor::from_vec(vec![0.5; 4], &[2, 2]).unwrap(),
        ),
    ]
}

const ALL: [NumberFormat; 4] = [
    NumberFormat::F32,
    NumberFormat::F16,
    NumberFormat::Bf16,
    NumberFormat::I8,
];

#[test]
fn what_is_written_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.safetensors");
    for precision in ALL {
        let meta = HashMap::from([("key".to_string(), "text".to_string())]);
        write_weights(&path, &sample(), precision, meta).unwrap();
        let file = WeightFile::open(&path).unwrap();
        assert_eq!(file.tensor("a").unwrap().data(), &[1.0, -2.5, 3.25]);
        let b = file.tensor("b.weight").unwrap();
        assert_eq!(b.dims(), &[2, 2]);
        assert!(b.data().iter().all(|x| (x - 0.5).abs() < 1e-4));
        assert_eq!(file.metadata("key").unwrap().as_deref(), Some("text"));
        assert_eq!(file.metadata("other").unwrap(), None);
        assert!(file.tensor("c").is_err());
        let names = ["b.weight", "c", "a"].map(str::to_string);
        let found = file.tensors(&names).unwrap();
        assert!(found[0].is_some() && found[1].is_none());
        assert_eq!(found[2].as_ref().unwrap().len(), 3);
    }
    assert_eq!(
        std::fs::read_dir(&dir).unwrap().count(),
        1,
        "no temporary file is left"
    );
}

#[test]
fn a_failed_write_leaves_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("folder");
    std::fs::create_dir_all(path.join("inside")).unwrap();
    let write =
        |path: &std::path::Path| write_weights(path, &sample(), NumberFormat::F32, HashMap::new());
    let message = write(&path).unwrap_err().to_string();
    assert!(message.contains("is a folder"), "{message}");
    assert!(path.join("inside").is_dir());
    assert_eq!(
        std::fs::read_dir(&dir).unwrap().count(),
        1,
        "no temporary file is left"
    );
    assert!(write(&dir.path().join("no/such/folder")).is_err());
}

/// Returns `len` pseudo-random numbers between -1 and 1.
fn numbers(len: usize) -> Vec<f32> {
    let mut state = 1u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Returns tensors of several axes and sizes; the largest is decoded in several pieces.
fn tensors() -> Vec<(String, Tensor)> {
    let shapes: [(&str, &[usize]); 6] = [
        ("conv.weight", &[8, 3, 7, 7]),
        ("linear.weight", &[600, 257]),
        ("linear.bias", &[600]),
        ("norm.weight", &[70_001]),
        ("scalar", &[]),
        ("nothing", &[0, 5]),
    ];
    let tensor = |shape: &[usize]| Tensor::from_vec(numbers(shape.iter().product()), shape);
    let named = shapes.map(|(name, shape)| (name.to_string(), tensor(shape).unwrap()));
    named.into()
}

#[test]
fn eight_bits_are_for_matrices_and_round_trips_are_exact() {
    let dir = tempfile::tempdir().unwrap();
    let [one, two] = ["one", "two"].map(|n| dir.path().join(n));
    write_weights(&one, &tensors(), NumberFormat::I8, HashMap::new()).unwrap();
    let file = WeightFile::open(&one).unwrap();
    let entries = file.entries().unwrap();
    let types: Vec<_> = entries.iter().map(|e| (&*e.name, &*e.dtype)).collect();
    let want = [
        ("conv.weight", "I8"),
        ("linear.bias", "F16"),
        ("linear.weight", "I8"),
        ("norm.weight", "F16"),
        ("nothing", "I8"),
        ("scalar", "F16"),
    ];
    assert_eq!(types, want);
    assert_eq!(entries[2].shape, [600, 257]);
    let mut again = Vec::new();
    for (name, tensor) in tensors() {
        let got = file.tensor(&name).unwrap();
        assert_eq!(got.dims(), tensor.dims());
        let squares =
            |x: &mut dyn Iterator<Item = f32>| x.map(|x| f64::from(x).powi(2)).sum::<f64>();
        let pairs = got.data().iter().zip(tensor.data());
        let error = squares(&mut pairs.map(|(g, w)| g - w)).sqrt();
        let norm = squares(&mut tensor.data().iter().copied()).sqrt();
        let bound = if tensor.dims().len() > 1 { 5e-3 } else { 5e-4 };
        assert!(error <= bound * norm, "{name}: {error} of {norm}");
        let rounded = NumberFormat::I8.round(&tensor).unwrap();
        assert_eq!(rounded.data(), got.data(), "{name}");
        again.push((name, got));
    }
    write_weights(&two, &again, NumberFormat::I8, HashMap::new()).unwrap();
    assert!(std::fs::read(&one).unwrap() == std::fs::read(&two).unwrap());
    // One thread and many threads read equal numbers.
    let names: Vec<String> = again.iter().map(|(name, _)| name.clone()).collect();
    let alone = threads::with_count(1, || file.tensors(&names).unwrap()).unwrap();
    for (a, (_, b)) in alone.into_iter().flatten().zip(&again) {
        assert_eq!(a.data(), b.data());
    }
}

#[test]
fn numbers_beyond_a_precision_are_refused_or_stored_wider() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w");
    let large = |shape: &[usize]| {
        let x = Tensor::from_vec(vec![1e6, -2.0], shape).unwrap();
        vec![("x".to_string(), x)]
    };
    let write = |tensors: &[(String, Tensor)], p| write_weights(&path, tensors, p, HashMap::new());
    let message = write(&large(&[2]), NumberFormat::F16)
        .unwrap_err()
        .to_string();
    assert!(message.contains("`x`") && message.contains("beyond the range of f16"));
    assert!(!path.exists());
    for shape in [&[2][..], &[2, 1]] {
        write(&large(shape), NumberFormat::I8).unwrap();
        let x = WeightFile::open(&path).unwrap().tensor("x").unwrap();
        assert!((x.data()[0] - 1e6).abs() < 100.0, "{x:?}");
    }
    let bad = Tensor::from_vec(vec![1.0, f32::NAN], &[1, 2]).unwrap();
    let message = write(&[("n".into(), bad)], NumberFormat::I8).unwrap_err();
    assert!(message.to_string().contains("`n`"), "{message}");
    let one = || Tensor::zeros(&[1, 1]);
    let clash = [("m".to_string(), one()), ("m.scale".to_string(), one())];
    let message = write(&clash, NumberFormat::I8).unwrap_err().to_string();
    assert!(
        message.contains("two tensors are called `m.scale`"),
        "{message}"
    );
    write(&clash, NumberFormat::F32).unwrap();
    let entries = WeightFile::open(&path).unwrap().entries().unwrap();
    assert_eq!(entries.len(), 2, "a scale of nothing quantised is a tensor");
}

#[test]
fn quantised_tensors_without_proper_scales_are_refused() {
    type Scale<'a> = Option<(Dtype, &'a [usize], Vec<u8>)>;
    let f32s = |x: &[f32]| x.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let f16s = |x: &[f32]| Float::F16.encode(x);
    let read = |shape: &[usize], scale: Scale| -> Result<Vec<f32>> {
        let numbers = [1u8, 2, 255, 128, 0, 127];
        let x = TensorView::new(Dtype::I8, shape.to_vec(), &numbers).unwrap();
        let mut views = vec![("x", x)];
        let scale = scale.as_ref();
        views.extend(scale.map(|(dtype, shape, bytes)| {
            let view = TensorView::new(*dtype, shape.to_vec(), bytes).unwrap();
            ("x.scale", view)
        }));
        let bytes = safetensors::serialize(views, None).unwrap();
        let file = WeightFile::checked("w".into(), bytes.into())?;
        assert_eq!(file.entries().unwrap().len(), 1);
        Ok(file.tensor("x")?.into_vec())
    };
    let want = [0.5, 1.0, -0.5, -256.0, 0.0, 254.0];
    for (dtype, bytes) in [
        (Dtype::F32, f32s(&[0.5, 2.0])),
        (Dtype::F16, f16s(&[0.5, 2.0])),
    ] {
        assert_eq!(read(&[2, 3], Some((dtype, &[2], bytes))).unwrap(), want);
    }
    let two = || f32s(&[0.5, 2.0]);
    let refused: [(&[usize], Scale, &str); 9] = [
        (&[2, 3], None, "there is no `x.scale`"),
        (
            &[3, 2],
            Some((Dtype::F32, &[2], two())),
            "a scale for each row",
        ),
        (
            &[2, 3],
            Some((Dtype::F32, &[2, 1], two())),
            "a scale for each row",
        ),
        (
            &[2, 3],
            Some((Dtype::F32, &[], f32s(&[1.0]))),
            "a scale for each row",
        ),
        (
            &[2, 3],
            Some((Dtype::BF16, &[2], vec![0; 4])),
            "scales are F32 or F16",
        ),
        (
            &[2, 3],
            Some((Dtype::F32, &[2], f32s(&[0.5, -0.1]))),
            "-0.1 at row 1",
        ),
        (
            &[2, 3],
            Some((Dtype::F32, &[2], f32s(&[f32::NAN, 0.1]))),
            "NaN at row 0",
        ),
        (
            &[2, 3],
            Some((Dtype::F16, &[2], f16s(&[1.0, 1e9]))),
            "inf at row 1",
        ),
        (
            &[2, 3],
            Some((Dtype::F32, &[2], f32s(&[0.0, 1e38]))),
            "at row 1",
        ),
    ];
    for (shape, scale, part) in refused {
        let message = read(shape, scale).unwrap_err().to_string();
        assert!(
            message.contains(part) && !message.contains('\n'),
            "{message}"
        );
    }
}

#[test]
fn any_broken_file_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.safetensors");
    // Without checksums, damage is noticed later.
    for (precision, has_checksums) in [
        (NumberFormat::F32, true),
        (NumberFormat::I8, true),
        (NumberFormat::F32, false),
        (NumberFormat::I8, false),
    ] {
        write_weights(&path, &sample(), precision, HashMap::new()).unwrap();
        let mut whole = std::fs::read(&path).unwrap();
        if !has_checksums {
            whole = checksums::removed(&whole);
        }
        let mut state = 7u64;
        let mut opened = 0;
        for round in 0..4000usize {
            let mut bytes = whole.clone();
            if round % 2 == 0 {
                bytes.truncate(round / 2 % whole.len());
            } else {
                for _ in 0..1 + round / 2 % 3 {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    let at = (state >> 33) as usize % bytes.len();
                    bytes[at] = (state >> 17) as u8;
                }
            }
            // Any result is allowed, but no panic.
            let file = WeightFile::checked(path.clone(), bytes.into());
            if let Ok(file) = file {
                opened += 1;
                let names = ["a", "b.weight", "b.weight.scale"].map(str::to_string);
                let _ = file.entries();
                let _ = file.tensors(&names);
                let _ = file.metadata("key");
            } else if round % 2 == 0 {
                let message = file.err().unwrap().to_string();
                assert!(!message.contains('\n'), "{message}");
            }
        }
        assert!(has_checksums || opened > 20, "{opened} files were opened");
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.safetensors");
    for precision in ALL {
        let meta = HashMap::from([("key".to_string(), "text".to_string())]);
        write_weights(&path, &sample(), precision, meta).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let names = ["a", "b.weight"].map(str::to_string);
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                let file = WeightFile::checked(path.clone(), bytes.into());
                let read = file.and_then(|file| file.tensors(&names));
                let message = read
                    .err()
                    .unwrap_or_else(|| panic!("byte {at}"))
                    .to_string();
                let names_it = message.contains("header") || message.contains("tensor `");
                assert!(names_it && !message.contains('\n'), "byte {at}: {message}");
            }
        }
    }
}

#[test]
fn damage_anywhere_in_a_large_tensor_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.safetensors");
    let large = |seed: f32| {
        let numbers = (0..600_000).map(|i| (i as f32 * seed).sin()).collect();
        Tensor::from_vec(numbers, &[600, 1000]).unwrap()
    };
    let tensors = [("one", 0.1), ("two", 0.2)].map(|(n, seed)| (n.to_string(), large(seed)));
    let names = ["two", "none", "one"].map(str::to_string);
    for precision in ALL {
        write_weights(&path, &tensors, precision, HashMap::new()).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let file = WeightFile::checked(path.clone(), whole.clone().into()).unwrap();
        assert!(file.has_checksums() && file.damaged().is_empty());
        file.tensors(&names).unwrap();
        for name in ["one", "two", "one.scale"] {
            let Some(raw) = file.raw(name) else { continue };
            let start = raw.bytes.as_ptr() as usize - file.bytes().as_ref().as_ptr() as usize;
            for at in [0, raw.bytes.len() / 3, raw.bytes.len() - 1] {
                let mut bytes = whole.clone();
                bytes[start + at] ^= 0x10;
                let file = WeightFile::checked(path.clone(), bytes.into()).unwrap();
                let want = format!("tensor `{name}` does not match its checksum");
                for message in [
                    file.tensors(&names).unwrap_err(),
                    file.verify().unwrap_err(),
                ] {
                    assert!(message.to_string().contains(&want), "{message}");
                }
                assert_eq!(file.damaged(), [name]);
            }
        }
    }
}

#[test]
fn checksums_that_are_not_all_there_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.safetensors");
    write_weights(&path, &sample(), NumberFormat::F32, HashMap::new()).unwrap();
    let file = WeightFile::open(&path).unwrap();
    let sums = file.metadata(checksums::KEY).unwrap().unwrap();
    let views = || {
        ["a", "b.weight"].map(|name| {
            let raw = file.raw(name).unwrap();
            let view = TensorView::new(raw.dtype, raw.shape.to_vec(), raw.bytes).unwrap();
            (name, view)
        })
    };
    let read = |keep: usize, entries: &[(&str, &str)]| -> Result<bool> {
        let entries = entries.iter().map(|(k, v)| (k.to_string(), v.to_string()));
        let views = views().into_iter().take(keep);
        let bytes = safetensors::serialize(views, Some(entries.collect())).unwrap();
        WeightFile::checked("w".into(), bytes.into()).map(|file| file.has_checksums())
    };
    assert!(!read(2, &[("other", "entry")]).unwrap());
    let other = sums.replace("crc32", "crc64");
    for (keep, entries, part) in [
        (2, &[(checksums::KEY, &sums[..])][..], "lost its checksums"),
        (2, &[(checksums::COUNT_KEY, "2")], "lost its checksums"),
        (
            2,
            &[(checksums::KEY, &other), (checksums::COUNT_KEY, "2")],
            "of a kind that this program does not know",
        ),
        // Another program left out a tensor, or wrote another header.
        (
            1,
            &[(checksums::KEY, &sums), (checksums::COUNT_KEY, "2")],
            "its header does not match its checksum",
        ),
    ] {
        let message = read(keep, entries).unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    }
    // A header that matches its own checksum, but has too few checksums of tensors.
    let listed = [("a", 12), ("b.weight", 16)].map(|(name, len)| checksums::Listed {
        name,
        dtype: Dtype::F32,
        shape: if len == 12 { &[3] } else { &[2, 2] },
        len,
        sum: 0,
    });
    let mut bytes = checksums::beginning(&HashMap::new(), &listed).unwrap();
    let text = String::from_utf8(bytes.split_off(8)).unwrap();
    for (from, to) in [(" 0000000000000000\"", " 00000000\""), (":\"2\"", ":\"3\"")] {
        assert!(text.contains(from), "{text}");
        let text = text.replace(from, to);
        let start = text.find("crc32 ").unwrap() + 6;
        let mut file = (text.len() as u64).to_le_bytes().to_vec();
        file.extend(text.as_bytes());
        file[8 + start..8 + start + 8].copy_from_slice(b"00000000");
        let own = format!("{:08x}", checksums::of(&file));
        file[8 + start..8 + start + 8].copy_from_slice(own.as_bytes());
        file.extend([0; 28]);
        let message = WeightFile::checked("w".into(), file.into()).err().unwrap();
        let message = message.to_string();
        assert!(message.contains("2 tensors, but checksums of"), "{message}");
    }
}

#[test]
fn several_entries_of_metadata_make_the_same_bytes_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.safetensors");
    let write = || {
        let entry = |i: usize| {
            (
                format!("key {i}"),
                format!("\"{}\":\"crc32 ", checksums::KEY),
            )
        };
        let meta: HashMap<_, _> = (0..20).map(entry).collect();
        write_weights(&path, &sample(), NumberFormat::F32, meta).unwrap();
        std::fs::read(&path).unwrap()
    };
    let first = write();
    assert!((0..10).all(|_| write() == first));
    WeightFile::open(&path).unwrap().verify().unwrap();
    // But for the checksums, the bytes are those that the format's own library writes.
    let file = safetensors::SafeTensors::deserialize(&first).unwrap();
    assert_eq!(file.len(), 2);
}
