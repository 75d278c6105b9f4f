//! Tests of malicious files.

use std::io::{Cursor, Read, Write};

use glimpse::convert::{Options, convert_archive};
use glimpse::data::import::Archive;
use glimpse::model::{DenseNet, DenseNetConfig};
use glimpse::nn::{Init, Module};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::{bytes, refusal};

/// A zip archive of `entries`, as `torch.save` writes one.
pub(crate) fn zipped(entries: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        let options = SimpleFileOptions::default().compression_method(method);
        writer.start_file(*name, options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn torch_zip(pickle: &[u8]) -> Vec<u8> {
    zipped(
        &[("a/data.pkl", pickle), ("a/data/0", &[0; 16])],
        CompressionMethod::Stored,
    )
}

/// The entries of `zip.pth`, some of them changed, packed again.
fn repacked(method: CompressionMethod, mut change: impl FnMut(&str, &mut Vec<u8>)) -> Vec<u8> {
    let mut archive = ZipArchive::new(Cursor::new(bytes("zip.pth"))).unwrap();
    let mut entries = Vec::new();
    for i in 0..archive.len() {
        let mut entry = archive.by_index(i).unwrap();
        let (name, mut bytes) = (entry.name().unwrap().to_string(), Vec::new());
        entry.read_to_end(&mut bytes).unwrap();
        change(&name, &mut bytes);
        entries.push((name, bytes));
    }
    let entries: Vec<(&str, &[u8])> = entries.iter().map(|(n, b)| (&n[..], &b[..])).collect();
    zipped(&entries, method)
}

const LEGACY: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.";

#[test]
fn nothing_is_executed() {
    let dir = tempfile::tempdir().unwrap();
    let witness = dir.path().join("executed");
    let command = format!("touch {}", witness.display());
    let quoted = |s: &str| [b"X", &(s.len() as u32).to_le_bytes()[..], s.as_bytes()].concat();
    let short = |s: &str| [&[0x8c, s.len() as u8], s.as_bytes()].concat();
    let programs: Vec<(Vec<u8>, &str)> = vec![
        (
            [b"cos\nsystem\n(", &quoted(&command)[..], b"tR."].concat(),
            "`os.system`",
        ),
        (
            [
                b"\x80\x02cposix\nsystem\n",
                &quoted(&command)[..],
                b"\x85R.",
            ]
            .concat(),
            "`posix.system`",
        ),
        (
            [
                &b"\x80\x04"[..],
                &short("builtins"),
                &short("eval"),
                b"\x93",
                &short("1"),
                b"\x85R.",
            ]
            .concat(),
            "`builtins.eval`",
        ),
        // The call is hidden behind a dictionary that begins like weights.
        (
            [
                b"\x80\x02ccollections\nOrderedDict\n)R(",
                &quoted("features.conv0.weight")[..],
                b"csubprocess\nPopen\n",
                &quoted(&command),
                b"\x85Ru.",
            ]
            .concat(),
            "`subprocess.Popen`",
        ),
        // Instructions, names and calls that are not allowed, or are malformed.
        (
            [b"(S'", command.as_bytes(), b"'\nios\nsystem\n."].concat(),
            "instruction 0x69",
        ),
        (
            [b"(cos\nsystem\n", &quoted(&command)[..], b"o."].concat(),
            "`os.system`",
        ),
        (b"\x80\x02\x82\x01.".to_vec(), "instruction 0x82"),
        (b"]]R.".to_vec(), "calls something"),
        (
            b"ctorch._utils\n_rebuild_tensor_v2.__globals__\n.".to_vec(),
            "__globals__",
        ),
        (
            b"ctorch._utils\n_rebuild_tensor_v2\n\x85R.".to_vec(),
            "is malformed",
        ),
    ];
    for (program, part) in programs {
        for bytes in [torch_zip(&program), [LEGACY, &program[..]].concat()] {
            let message = refusal(bytes);
            assert!(message.contains(part), "{part}: {message}");
        }
    }
    // A pickle without an archive; no version of PyTorch wrote such files.
    let message = refusal(
        [
            &b"\x80\x02cposix\nsystem\n"[..],
            &quoted(&command),
            b"\x85R.",
        ]
        .concat(),
    );
    assert!(message.contains("`posix.system`"), "{message}");
    assert!(refusal(b"\x80\x02]q\x00.".to_vec()).contains("none of `torch.save`"));
    assert!(!witness.exists(), "it was executed");
}

#[test]
fn a_name_cannot_write_on_the_terminal() {
    let message = refusal(torch_zip(b"cos\x1b[2J\nsystem\n."));
    assert!(message.contains("os\\u{1b}[2J.system"), "{message:?}");
    let long = format!("c{}\nx\n.", "m".repeat(100_000));
    assert!(refusal(torch_zip(long.as_bytes())).len() < 400);
}

#[test]
fn pickles_that_would_take_all_memory_or_the_stack_are_harmless() {
    // Nested lists, far deeper than any call stack allows.
    let deep = [&b"\x80\x02"[..], &b"](".repeat(1_000_000), b"."].concat();
    refusal(torch_zip(&deep));
    let deep = [&b"\x80\x02]"[..], &b"\x85".repeat(2_000_000), b"."].concat();
    refusal(torch_zip(&deep));
    // Forty dictionaries, each of which contains the one before twice.
    let mut laughs = b"\x80\x02}q\x00".to_vec();
    for i in 0..40u8 {
        laughs.extend([
            b'}',
            b'q',
            i + 1,
            b'(',
            b'K',
            0,
            b'h',
            i,
            b'K',
            1,
            b'h',
            i,
            b'u',
        ]);
    }
    laughs.push(b'.');
    let message = refusal(torch_zip(&laughs));
    assert!(message.contains("holds no tensors"), "{message}");
    // Lengths without the bytes that they announce.
    for program in [
        &b"X\xff\xff\xff\xff"[..],
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x8b\xff\xff\xff\xff",
        b"\x95\xff\xff\xff\xff\xff\xff\xff\xff",
        b"",
        b"(",
        b"t.",
        b"h\x00.",
        b"\x80\x09.",
        b"(0.",
        b"a.",
        b"K\x01u.",
        b"b.",
    ] {
        refusal(torch_zip(program));
        refusal([LEGACY, program].concat());
    }
    let message = refusal(torch_zip(&b"N0".repeat(4 << 20)));
    assert!(
        message.contains("more than 4194304 instructions"),
        "{message}"
    );
    let message = refusal([LEGACY, &b"N0".repeat(4 << 20)].concat());
    assert!(
        message.contains("more than 4194304 instructions"),
        "{message}"
    );
}

/// A tensor, described by these pickled arguments.
struct Described<'a> {
    name: &'a str,
    /// The number of elements in its storage.
    count: &'a [u8],
    offset: &'a [u8],
    shape: &'a [u8],
    stride: &'a [u8],
}

/// A state dictionary of these tensors, all in storage 0.
fn state_dict(tensors: &[Described]) -> Vec<u8> {
    let text = |s: &str| [b"X", &(s.len() as u32).to_le_bytes()[..], s.as_bytes()].concat();
    let items = tensors.iter().flat_map(|t| {
        [
            &text(t.name),
            &b"ctorch._utils\n_rebuild_tensor_v2\n(("[..],
            &text("storage"),
            b"ctorch\nFloatStorage\n",
            &text("0"),
            &text("cpu"),
            t.count,
            b"tQ",
            t.offset,
            b"(",
            t.shape,
            b"t(",
            t.stride,
            b"t\x89NtR",
        ]
        .concat()
    });
    let items: Vec<u8> = items.collect();
    [&b"\x80\x02}("[..], &items, b"u."].concat()
}

fn one_tensor(name: &str, count: &[u8], offset: &[u8], shape: &[u8], stride: &[u8]) -> Vec<u8> {
    state_dict(&[Described {
        name,
        count,
        offset,
        shape,
        stride,
    }])
}

/// The file has the shapes of a whole DenseNet-201, and no data.
#[test]
fn a_file_that_promises_more_than_it_holds_is_refused() {
    let config = DenseNetConfig::named("densenet201").unwrap();
    let mut net = DenseNet::new(&config, &mut Init::blank()).unwrap();
    let mut promised = Vec::new();
    net.visit("", &mut |name, _, tensor| {
        let pickled = |n: usize| [b"J", &(n as u32).to_le_bytes()[..]].concat();
        let dims = tensor.dims();
        let stride: Vec<usize> = (0..dims.len())
            .map(|axis| dims[axis + 1..].iter().product())
            .collect();
        let all = |numbers: &[usize]| {
            numbers
                .iter()
                .flat_map(|&n| pickled(n))
                .collect::<Vec<u8>>()
        };
        promised.push((
            name.to_string(),
            pickled(tensor.len()),
            all(dims),
            all(&stride),
        ));
    });
    let described: Vec<Described> = promised
        .iter()
        .map(|(name, count, shape, stride)| Described {
            name,
            count,
            offset: b"K\x00",
            shape,
            stride,
        })
        .collect();
    let message = refusal(torch_zip(&state_dict(&described)));
    let part = format!("speaks of {} numbers", config.elements());
    assert!(message.contains(&part), "{message}");
}

#[test]
fn tensors_that_lie_about_their_size_are_refused() {
    const HUGE: &[u8] = b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f";
    let name = "features.conv0.weight";
    let tensor =
        |count, offset, shape, stride| torch_zip(&one_tensor(name, count, offset, shape, stride));
    for (lie, part) in [
        (
            tensor(b"K\x04", b"K\x00", b"K\x05", b"K\x01"),
            "reaches beyond its storage of 4",
        ),
        (
            tensor(b"K\x04", b"K\x01", b"K\x04", b"K\x01"),
            "reaches beyond",
        ),
        (
            tensor(b"K\x04", b"K\x00", b"K\x04", b"K\x02"),
            "reaches beyond",
        ),
        (tensor(b"K\x04", HUGE, b"K\x04", b"K\x01"), "reaches beyond"),
        (tensor(b"K\x04", b"K\x00", b"K\x04", HUGE), "reaches beyond"),
        (tensor(b"K\x04", b"K\x00", HUGE, b"K\x00"), "reaches beyond"),
        (
            tensor(b"K\x04", b"K\x00", &[HUGE, HUGE].concat(), b"K\x01K\x01"),
            "reaches beyond",
        ),
        // A tensor without elements, whatever its other dimensions: useless, but harmless.
        (
            tensor(
                b"K\x04",
                b"K\x00",
                &[HUGE, HUGE, b"K\x00"].concat(),
                b"K\x01K\x01K\x01",
            ),
            "holds no DenseNet: one tensor",
        ),
        (
            tensor(b"K\x04", b"K\x00", b"K\x04", b"K\x01K\x01"),
            "inconsistently",
        ),
        (
            tensor(b"J\xff\xff\xff\xff", b"K\x00", b"K\x04", b"K\x01"),
            "inconsistently",
        ),
        (
            tensor(b"K\x04", b"K\x00", b"J\xff\xff\xff\xff", b"K\x01"),
            "inconsistently",
        ),
        (tensor(b"N", b"K\x00", b"K\x04", b"K\x01"), "inconsistently"),
    ] {
        let message = refusal(lie);
        assert!(message.contains(part), "{part}: {message}");
    }
    // Storages of wrong sizes behind right shapes are noticed when they are read.
    for (shorter, part) in [(true, "where its tensors need"), (false, "where at most")] {
        let lie = repacked(CompressionMethod::Stored, |name, bytes| {
            if name.ends_with("data/0") {
                match shorter {
                    true => drop(bytes.pop()),
                    false => bytes.push(0),
                }
            }
        });
        let message = refusal(lie);
        assert!(message.contains(part), "{message}");
    }
    let gone = repacked(CompressionMethod::Stored, |name, bytes| {
        if name.ends_with("data.pkl") {
            let at = bytes
                .windows(12)
                .position(|w| w == b"FloatStorage")
                .unwrap();
            bytes.splice(at..at + 12, *b"DoubleStorage");
        }
    });
    assert!(refusal(gone).contains("where its tensors need"));
    // Two tensors that share a storage, with different claims of its size.
    let torn = repacked(CompressionMethod::Stored, |name, bytes| {
        if name.ends_with("data.pkl") {
            let key = b"X\x01\x00\x00\x001";
            let at = bytes.windows(key.len()).position(|w| w == key).unwrap();
            bytes[at + key.len() - 1] = b'0';
        }
    });
    assert!(refusal(torn).contains("4704 bytes where its tensors need 32"));
    let big = repacked(CompressionMethod::Stored, |name, bytes| {
        if name.ends_with("byteorder") {
            *bytes = b"big".to_vec();
        }
    });
    assert!(refusal(big).contains("big-endian"));
}

#[test]
fn legacy_storages_that_lie_are_refused() {
    let whole = bytes("legacy.pth");
    for cut in [1, 100, 4000] {
        let message = refusal(whole[..whole.len() - cut].to_vec());
        assert!(
            message.contains("ends in the middle of storage"),
            "{message}"
        );
    }
    // The first storage follows the last pickle, and begins with its length.
    let names = whole.windows(8).rposition(|w| w == b"features").unwrap();
    let length = |at: usize| u64::from_le_bytes(*whole[at..].first_chunk().unwrap());
    let first = (names..whole.len() - 8)
        .find(|&at| whole[at - 1] == b'.' && (1..5000).contains(&length(at)))
        .unwrap();
    let mut lie = whole.clone();
    lie[first] ^= 1;
    let message = refusal(lie);
    let part = format!(
        "{} numbers where its tensors need {}",
        length(first) ^ 1,
        length(first)
    );
    assert!(message.contains(&part), "{message}");
}

#[test]
fn zip_bombs_do_not_go_off() {
    // An entry that inflates to about a thousand times its packed size.
    let bomb = vec![0; 64 << 20];
    let packed = zipped(&[("a/data.pkl", &bomb)], CompressionMethod::Deflated);
    assert!(packed.len() < 1 << 17);
    let message = refusal(packed.clone());
    assert!(
        message.contains("says it holds 67108864 bytes"),
        "{message}"
    );
    // The same archive with a small size declared, both in its table and before the entry.
    let mut lie = packed;
    let size = (64u32 << 20).to_le_bytes();
    while let Some(at) = lie.windows(4).position(|w| w == size) {
        lie[at..at + 4].copy_from_slice(&100u32.to_le_bytes());
    }
    let message = refusal(lie);
    assert!(message.contains("`a/data.pkl`"), "{message}");
    // No program compresses storages, but a compressed storage of the right size is read.
    let packed = repacked(CompressionMethod::Deflated, |_, _| ());
    let mut archive = Archive::from_bytes("w", packed).unwrap();
    convert_archive(&mut archive, &Options::default()).unwrap();
    let bomb = repacked(CompressionMethod::Deflated, |name, bytes| {
        if name.contains("data/") {
            *bytes = vec![0; 16 << 20];
        }
    });
    let message = refusal(bomb);
    assert!(message.contains("where at most"), "{message}");
}
