//! Feeds every reader of foreign weights with damaged files: each must answer with at most one line of error, without a
//! panic, and without more memory than the file's size justifies.
//!
//! `GLIMPSE_FUZZ` sets the number of inputs for each reader. A million take the slowest reader, HDF5, some minutes.

#[path = "common/damage.rs"]
mod damage;

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::io::{Cursor, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use damage::Damage;
use glimpse::convert::{Options, convert_archive, survey};
use glimpse::data::import::Archive;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// The system's allocator, which also records the largest requested allocation.
struct Watched;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LARGEST.fetch_max(size, Ordering::Relaxed);
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// The largest allocation that is allowed. The files are smaller than 200 KB, but a header of HDF5 may take 16 MiB, and a
/// pickle of 4 MiB may need a large table of its instructions.
const WARRANTED: usize = 256 << 20;

impl Damage {
    /// Changes `bytes` at random offsets: replaces bytes by others, by extreme values or by copies, or removes, repeats
    /// or cuts off runs of bytes.
    fn apply(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..1 + self.next(4) {
            if bytes.is_empty() {
                return;
            }
            let at = self.next(bytes.len());
            let run = (1 + self.next(16)).min(bytes.len() - at);
            match self.next(16) {
                0..=5 => bytes[at] = self.next(256) as u8,
                6 | 7 => bytes[at] ^= 1 << self.next(8),
                8 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][self.next(5)],
                9 => bytes[at..at + run].fill([0, 0xff][self.next(2)]),
                10 => {
                    let size = [0, 1, u64::MAX, u64::MAX / 2, 1 << 32, 1 << 40][self.next(6)];
                    let run = run.min(8);
                    bytes[at..at + run].copy_from_slice(&size.to_le_bytes()[..run]);
                }
                11 | 12 => {
                    let from = self.next(bytes.len() - run + 1);
                    bytes.copy_within(from..from + run, at);
                }
                13 => drop(bytes.drain(at..at + run)),
                14 => {
                    let again = bytes[at..at + run].to_vec();
                    bytes.splice(at..at, again);
                }
                _ => {
                    // Rarely, because readers of a short file stop early.
                    if self.next(8) == 0 {
                        bytes.truncate(at);
                    }
                }
            }
        }
    }
}

fn fixture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/convert");
    fs::read(folder.join(name)).unwrap()
}

fn rounds() -> usize {
    std::env::var("GLIMPSE_FUZZ").map_or(1500, |n| n.parse().unwrap())
}

/// Reads a file to its end or first fault, and returns whether it could be read.
fn read(bytes: Vec<u8>) -> bool {
    let before = bytes.clone();
    let result = Archive::from_bytes("f", bytes).and_then(|mut archive| {
        let survey = survey(&mut archive);
        let converted = convert_archive(&mut archive, &Options::default());
        assert!(
            converted.is_err() || survey.problem.is_none(),
            "{:?}",
            survey.problem
        );
        converted
    });
    let largest = LARGEST.load(Ordering::Relaxed);
    if largest > WARRANTED {
        fs::write(
            Path::new(env!("CARGO_TARGET_TMPDIR")).join("greedy"),
            before,
        )
        .unwrap();
        panic!(
            "{largest} bytes at once, in {}/greedy",
            env!("CARGO_TARGET_TMPDIR")
        );
    }
    if let Err(e) = &result {
        let text = e.to_string();
        assert!(
            text.starts_with("f: ") && !text.contains('\n') && text.len() < 3000,
            "{text:?}"
        );
    }
    result.is_ok()
}

/// Damages `input` many times, and reads the file that `pack` makes of each result.
fn fuzz(seed: u64, input: &[u8], pack: impl Fn(Vec<u8>) -> Vec<u8>) {
    assert!(
        read(pack(input.to_vec())),
        "it can be read before it is damaged"
    );
    let mut damage = Damage(seed);
    let mut whole = 0;
    for _ in 0..rounds() {
        let mut bytes = input.to_vec();
        damage.apply(&mut bytes);
        whole += usize::from(read(pack(bytes)));
    }
    println!("{whole} of {} were still read", rounds());
}

/// An archive's entry: its name and its content.
type Entry = (String, Vec<u8>);

/// The entry of an archive whose name ends in `inner`, after all other entries.
fn unzip(bytes: &[u8], inner: &str) -> (Vec<Entry>, Entry) {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).unwrap();
    let (mut others, mut found) = (Vec::new(), None);
    for i in 0..archive.len() {
        let mut entry = archive.by_index(i).unwrap();
        let (name, mut bytes) = (entry.name().unwrap().to_string(), Vec::new());
        entry.read_to_end(&mut bytes).unwrap();
        match name.ends_with(inner) {
            true => found = Some((name, bytes)),
            false => others.push((name, bytes)),
        }
    }
    (others, found.unwrap())
}

fn zip(others: &[Entry], name: &str, inner: &[u8]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let all = others.iter().map(|(name, bytes)| (&name[..], &bytes[..]));
    for (name, bytes) in all.chain([(name, inner)]) {
        writer.start_file(name, options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// Damages one entry of an archive.
fn fuzz_inside(seed: u64, file: &str, entry: &str) {
    let (others, (name, inner)) = unzip(&fixture(file), entry);
    fuzz(seed, &inner, |inner| zip(&others, &name, &inner));
}

#[test]
fn safetensors() {
    fuzz(1, &fixture("torchvision.safetensors"), |bytes| bytes);
}

#[test]
fn pickles() {
    fuzz_inside(2, "zip.pth", "data.pkl");
}

#[test]
fn pickles_of_protocol_4() {
    fuzz_inside(3, "protocol4.pth", "data.pkl");
}

#[test]
fn checkpoints() {
    fuzz_inside(4, "numpy-checkpoint.pth", "data.pkl");
}

#[test]
fn legacy_files() {
    fuzz(5, &fixture("legacy-dotted.pth"), |bytes| bytes);
}

#[test]
fn zip_archives() {
    fuzz(6, &fixture("zip.pth"), |bytes| bytes);
}

#[test]
fn hdf5() {
    fuzz(7, &fixture("keras2-weights.h5"), |bytes| bytes);
}

#[test]
fn newer_hdf5() {
    fuzz(8, &fixture("keras2-repacked.h5"), |bytes| bytes);
}

#[test]
fn hdf5_in_an_archive() {
    fuzz_inside(9, "keras3.keras", "model.weights.h5");
}

#[test]
fn configurations_in_an_archive() {
    fuzz_inside(10, "keras3-notop.keras", "config.json");
}

#[test]
fn objects_beside_weights() {
    fuzz_inside(11, "around.pth", "data.pkl");
}

#[test]
fn objects_beside_weights_in_protocol_4() {
    fuzz_inside(12, "around4.pth", "data.pkl");
}

#[test]
fn whole_models_in_a_legacy_file() {
    fuzz(13, &fixture("whole-legacy.pth"), |bytes| bytes);
}

#[test]
fn hdf5_with_names_beside_the_variables() {
    fuzz(14, &fixture("around-keras3-flat.weights.h5"), |bytes| bytes);
}

#[test]
fn hdf5_without_names() {
    fuzz(15, &fixture("around-keras2-trained.weights.h5"), |bytes| {
        bytes
    });
}

#[test]
fn configurations_of_a_larger_network() {
    fuzz_inside(16, "around-keras2-nested.keras", "config.json");
}
