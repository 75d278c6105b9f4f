//! Runs the programs in folders of the tests, and checks the files that they leave there.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::injector::Fault;

pub const GLIMPSE: &str = env!("CARGO_BIN_EXE_glimpse");
pub const CONVERT: &str = env!("CARGO_BIN_EXE_glimpse-convert");

/// The result of a program's run.
pub struct Run {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub out: String,
    pub err: String,
    /// Whether the injected fault happened.
    pub is_hit: bool,
}

impl Run {
    pub fn of(output: Output) -> Run {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Run {
            code: output.status.code(),
            signal: output.status.signal(),
            out: text(output.stdout),
            err: text(output.stderr),
            is_hit: false,
        }
    }

    /// The lines with errors, without warnings.
    pub fn complaints(&self) -> Vec<&str> {
        let ours = self
            .err
            .lines()
            .filter_map(|line| line.strip_prefix("glimpse: "));
        ours.filter(|line| !line.starts_with("warning: ")).collect()
    }

    /// Whether the program succeeded without an error line, or exited with status 1 and one line of error.
    pub fn is_orderly(&self) -> bool {
        let complaints = self.complaints().len();
        let is_ended = match self.code {
            Some(0) => complaints == 0,
            Some(1) => complaints == 1,
            _ => false,
        };
        is_ended && !self.err.contains("panicked")
    }

    /// The error line of a program that failed.
    pub fn complaint(&self) -> &str {
        match (self.code, &self.complaints()[..]) {
            (Some(1), [line]) if !self.err.contains("panicked") => line,
            _ => panic!("status {:?}: {}{}", self.code, self.out, self.err),
        }
    }

    pub fn succeeded(&self) {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
    }
}

/// An output folder and a folder for temporary files.
pub struct Place {
    dir: TempDir,
}

impl Place {
    pub fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("out")).unwrap();
        fs::create_dir(dir.path().join("tmp")).unwrap();
        Place { dir }
    }

    /// The folder in which programs run and write.
    pub fn out(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    /// The folder of temporary files.
    pub fn tmp(&self) -> PathBuf {
        self.dir.path().join("tmp")
    }

    pub fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(args)
            .current_dir(self.out())
            .env("TMPDIR", self.tmp())
            .env("HOME", self.tmp())
            .env("XDG_CACHE_HOME", self.tmp())
            .env("GLIMPSE_DEVICE", "cpu")
            .env("GLIMPSE_THREADS", "2")
            .env_remove("GLIMPSE_GPU")
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, program: &str, args: &[&str]) -> Run {
        Run::of(self.command(program, args).output().unwrap())
    }

    /// Runs a program in this place, with a fault.
    pub fn run_with(&self, fault: Fault, program: &str, args: &[&str]) -> Run {
        let mark = self.dir.path().join("mark");
        let _ = fs::remove_file(&mark);
        let mut command = self.command(program, args);
        fault.inject(&mut command, &self.out(), &mark);
        let run = Run::of(command.output().unwrap());
        Run {
            is_hit: mark.exists(),
            ..run
        }
    }

    /// The bytes of a file, or `None` if it does not exist.
    pub fn read(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.out().join(name)).ok()
    }

    pub fn names(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(self.out()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    /// Partial files and locks, of which a run must leave none.
    pub fn leftovers(&self) -> Vec<String> {
        let names = self.names().into_iter();
        names.filter(|name| name.starts_with('.')).collect()
    }
}

/// A picture that differs from those with other seeds.
pub fn picture(seed: u32) -> image::RgbImage {
    image::RgbImage::from_fn(40 + seed, 36, |x, y| {
        let levels = [x * 5 + seed * 40, y * 6, (x ^ y) * seed];
        image::Rgb(levels.map(|level| level as u8))
    })
}

/// A folder, made once, with a dataset and two configurations. The train split has eight pictures, the dev split has two.
/// `new.toml` trains a new captioner, and `frozen.toml` trains a decoder on features that are kept in files.
pub fn data() -> &'static Path {
    static DATA: OnceLock<PathBuf> = OnceLock::new();
    DATA.get_or_init(|| {
        let dir = scratch().join("data");
        fs::create_dir(&dir).unwrap();
        let (mut tokens, mut train, mut dev) = (String::new(), String::new(), String::new());
        for i in 0..10 {
            picture(i).save(dir.join(format!("{i}.png"))).unwrap();
            tokens += &format!(
                "{i}.png#0\tA red dog number {i} runs .\n{i}.png#1\tThe dog runs on grass {i} .\n"
            );
            *if i < 8 { &mut train } else { &mut dev } += &format!("{i}.png\n");
        }
        let run = "epochs = 2\nbatch = 2\nmin_count = 1\n[decoder]\nembedding = 8\nhidden = 8\n";
        let new = "[encoder]\ntrain = \"all\"\nnew = { growth = 8, blocks = [1, 1], stem = 8 }\n[image]\nsize = 32\n";
        for (name, text) in [
            ("Flickr8k.token.txt", tokens),
            ("Flickr_8k.trainImages.txt", train),
            ("Flickr_8k.devImages.txt", dev),
            ("new.toml", format!("{run}{new}")),
            ("frozen.toml", run.to_string()),
        ] {
            fs::write(dir.join(name), text).unwrap();
        }
        dir
    })
}

/// The path of a small model, which is made once.
pub fn model() -> &'static str {
    static MODEL: OnceLock<String> = OnceLock::new();
    MODEL.get_or_init(|| {
        let path = scratch()
            .join("model.safetensors")
            .to_str()
            .unwrap()
            .to_string();
        let (data, config) = (data(), data().join("new.toml"));
        let [data, config] = [data, &config].map(|path| path.to_str().unwrap());
        let args = [
            "train",
            "--data",
            data,
            "--config",
            config,
            "--max-steps",
            "2",
            "--out",
            &path,
        ];
        Place::new().run(GLIMPSE, &args).succeeded();
        path
    })
}

/// A folder in cargo's `target` for the files that all tests share; every run of the tests makes it anew.
pub fn scratch() -> &'static Path {
    static SCRATCH: OnceLock<PathBuf> = OnceLock::new();
    SCRATCH.get_or_init(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults");
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        path
    })
}

/// Calls `body` for each of `items`, on two threads.
pub fn for_all<T: Sync>(items: &[T], body: impl Fn(&T) + Sync) {
    std::thread::scope(|scope| {
        for half in 0..2 {
            let body = &body;
            scope.spawn(move || items.iter().skip(half).step_by(2).for_each(body));
        }
    });
}
