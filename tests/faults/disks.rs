//! Tests of full disks, with a limit on file sizes, and (if the test may mount one) with a small disk in memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::places::{GLIMPSE, Place, data};

/// If this variable is 1, a test that cannot mount a disk fails.
const DEMAND: &str = "GLIMPSE_TEST_TMPFS";

fn training(max_steps: &str) -> Vec<String> {
    let path = |path: PathBuf| path.to_str().unwrap().to_string();
    let config = path(data().join("new.toml"));
    let args = [
        "train",
        "--data",
        data().to_str().unwrap(),
        "--config",
        &config,
        "--out",
        "m.safetensors",
    ];
    let more = [
        "--max-steps",
        max_steps,
        "--checkpoint-every",
        "1",
        "--json",
    ];
    args.into_iter().chain(more).map(String::from).collect()
}

/// Runs the shell's `commands` and then a training in `place`.
fn after(place: &Place, commands: &str, max_steps: &str) -> crate::places::Run {
    let script = format!("{commands}; exec \"$0\" \"$@\"");
    let args = training(max_steps);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    place.run("sh", &[&["-c", &script, GLIMPSE], &args[..]].concat())
}

#[test]
fn a_limit_of_file_sizes_loses_nothing() {
    let place = Place::new();
    after(&place, "true", "2").succeeded();
    let files = ["m.safetensors", "m.checkpoint.safetensors"];
    let before = files.map(|name| place.read(name).unwrap());
    // A shell's block is 512 or 1024 bytes, so every limit is smaller than any of the files.
    for blocks in [0, 1, 2, 8, 16] {
        let run = after(&place, &format!("ulimit -f {blocks}"), "3");
        let message = run.complaint();
        assert!(
            message.contains("cannot be written: it would be larger"),
            "{blocks}: {message}"
        );
        assert_eq!(
            files.map(|name| place.read(name).unwrap()),
            before,
            "{blocks}"
        );
        assert_eq!(place.leftovers(), [""; 0], "{blocks}");
    }
    after(&place, "true", "3").succeeded();
}

/// A file system in memory, unmounted when this is dropped.
struct Disk(PathBuf);

impl Disk {
    /// Mounts a file system of `kilobytes`. Without permission, prints the reason and returns `None`.
    fn mount(at: &Path, kilobytes: u32) -> Option<Disk> {
        let size = format!("size={kilobytes}k");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(at)
            .output();
        let why = match mounted {
            Ok(output) if output.status.success() => return Some(Disk(at.to_path_buf())),
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_string(),
            Err(e) => e.to_string(),
        };
        println!("skipped: no file system can be mounted here ({why})");
        let is_demanded = std::env::var(DEMAND).is_ok_and(|value| value == "1");
        assert!(
            !is_demanded,
            "{DEMAND}=1, and no file system can be mounted: {why}"
        );
        None
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_loses_nothing() {
    let undisturbed = Place::new();
    after(&undisturbed, "true", "4").succeeded();
    let expected = undisturbed.read("m.safetensors").unwrap();
    let sizes = undisturbed.names().into_iter().map(|name| {
        let bytes = undisturbed.read(&name).unwrap().len();
        (name, bytes)
    });
    let largest = sizes.map(|(_, bytes)| bytes).max().unwrap();
    // The smallest disk has no room for a checkpoint, the largest has room for all but the last files.
    for part in 1..8 {
        let kilobytes = (largest * part / 3 / 1024) as u32;
        let place = Place::new();
        let Some(disk) = Disk::mount(&place.out(), kilobytes.max(8)) else {
            return;
        };
        // A file that does not fit is written to another disk.
        let run = after(&place, "true", "4");
        assert!(run.is_orderly(), "{kilobytes}: {:?} {}", run.code, run.err);
        assert_eq!(place.leftovers(), [""; 0], "{kilobytes}: {}", run.err);
        let model = match run.code {
            Some(0) => place.read("m.safetensors").unwrap(),
            _ => {
                let message = run.complaint();
                assert!(
                    message.contains("the disk is full"),
                    "{kilobytes}: {message}"
                );
                let checkpoint = message.split("what was to be written is in ").nth(1);
                let checkpoint = checkpoint.map(|rest| rest.split(';').next().unwrap().trim());
                let other = Place::new();
                match checkpoint {
                    Some(path) if path.ends_with("m.safetensors") => fs::read(path).unwrap(),
                    Some(path) => {
                        assert!(Path::new(path).is_file(), "{kilobytes}: {message}");
                        let data = data().to_str().unwrap();
                        let args = [
                            "train",
                            "--data",
                            data,
                            "--out",
                            "m.safetensors",
                            "--max-steps",
                            "4",
                            "--resume",
                            path,
                        ];
                        other.run(GLIMPSE, &args).succeeded();
                        // If the best model came before the last checkpoint, it is in the first run's folder.
                        let models = [&other, &place].map(|place| place.read("m.safetensors"));
                        models.into_iter().flatten().next().unwrap()
                    }
                    None => {
                        // The run was refused before it computed anything.
                        assert!(message.starts_with("m"), "{kilobytes}: {message}");
                        continue;
                    }
                }
            }
        };
        assert!(model == expected, "{kilobytes}");
        drop(disk);
    }
}
