//! Tests of what a release is made with: `tools/release`, the package's files, and the terms of the weights.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Run;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// Returns the folder of the toolchain's programs. The tests change `HOME`, through which rustup would find it.
fn toolchain() -> PathBuf {
    let cargo = std::env::var_os("CARGO").expect("tests are run by cargo");
    PathBuf::from(cargo).parent().unwrap().to_path_buf()
}

/// Runs a program in `dir` with the home folder `home`.
fn as_at_home(dir: &Path, home: &Path, program: impl AsRef<Path>, args: &[&str]) -> Run {
    let mut path = vec![toolchain()];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()));
    let mut command = Command::new(program.as_ref());
    command
        .current_dir(dir)
        .args(args)
        .env("HOME", home)
        .env("PATH", std::env::join_paths(path).unwrap())
        .stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let is_build = text.starts_with("CARGO") || text.starts_with("RUST");
        if is_build || text == "CFLAGS" {
            command.env_remove(name);
        }
    }
    Run::new(command.output().unwrap())
}

/// Creates a home folder with a library, and beside it a package whose program uses the library and writes a manual page.
fn small_package() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let manifest = |name: &str, rest: &str| {
        format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n{rest}")
    };
    let library =
        "pub fn first<T: Clone>(all: &[T]) -> T {\n    all.first().expect(\"empty\").clone()\n}\n";
    let program = r#"fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match &args[..] {
        [man, _, dir] if man == "man" => std::fs::write(format!("{dir}/glimpse.1"), "a page").unwrap(),
        _ => println!("{}", library::first(&args)),
    }
}
"#;
    for (path, text) in [
        ("home/library/Cargo.toml", manifest("library", "")),
        ("home/library/src/lib.rs", library.into()),
        (
            "work/Cargo.toml",
            manifest(
                "small",
                "[dependencies]\nlibrary = { path = \"../home/library\" }\n[[bin]]\nname = \"glimpse\"\npath = \"main.rs\"\n",
            ),
        ),
        ("work/main.rs", program.into()),
        ("work/README.md", "about".into()),
        ("work/CHANGELOG.md", "changes".into()),
        ("work/LICENSE-MIT", "code".into()),
        ("work/weights/LICENSE", "weights".into()),
    ] {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

#[test]
fn a_release_has_no_path_of_the_machine_that_built_it() {
    let dir = small_package();
    let (home, work) = (dir.path().join("home"), dir.path().join("work"));
    let script = root().join("tools/release/build");
    let script = |args: &[&str]| as_at_home(&work, &home, &script, args);
    let cargo = |args: &[&str]| as_at_home(&work, &home, toolchain().join("cargo"), args);
    let lock = cargo(&["generate-lockfile", "--offline"]);
    assert_eq!(lock.code, Some(0), "{}", lock.err);

    // An ordinary build contains the library's path, which the check finds.
    assert_eq!(cargo(&["build"]).code, Some(0));
    let usual = script(&["--check", "target/debug/glimpse"]);
    let line = usual.err.lines().last().unwrap();
    assert_eq!(usual.code, Some(1), "{}", usual.err);
    assert!(
        line.contains("target/debug/glimpse: has paths of this machine: "),
        "{line}"
    );
    assert!(line.contains("/home/library/"), "{line}");

    let run = script(&["--profile", "dev"]);
    let [binary] = run.lines()[..] else {
        panic!("{}", run.out)
    };
    assert!(binary.ends_with("target/debug/glimpse"), "{binary}");
    let panicked = as_at_home(&work, &home, binary, &[]);
    assert!(
        panicked.err.contains("/home/library/src/lib.rs:2"),
        "{}",
        panicked.err
    );
    assert!(
        !panicked.err.contains(dir.path().to_str().unwrap()),
        "{}",
        panicked.err
    );

    let run = script(&["--archive", "out", "--profile", "dev"]);
    let [archive] = run.lines()[..] else {
        panic!("{}", run.out)
    };
    let listed = as_at_home(&work, &home, "tar", &["-tzf", archive]);
    let folder = Path::new(archive).file_name().unwrap().to_str().unwrap();
    let folder = folder.strip_suffix(".tar.gz").unwrap();
    assert!(folder.starts_with("small-"), "{folder}");
    for file in [
        "glimpse",
        "README.md",
        "CHANGELOG.md",
        "LICENSE-MIT",
        "LICENSE-weights",
        "completions/glimpse.bash",
        "man/glimpse.1",
    ] {
        let path = format!("{folder}/{file}");
        assert!(listed.lines().contains(&&*path), "{path}: {}", listed.out);
    }
}

#[test]
fn a_release_is_below_its_limit() {
    let dir = small_package();
    let (home, work) = (dir.path().join("home"), dir.path().join("work"));
    let script = root().join("tools/release/build");
    for (bytes, code) in [(29_999_999, 0), (30_000_000, 1)] {
        let file = fs::File::create(work.join("binary")).unwrap();
        file.set_len(bytes).unwrap();
        let run = as_at_home(&work, &home, &script, &["--check", "binary"]);
        assert_eq!(run.code, Some(code), "{}", run.err);
        assert_eq!(run.err.lines().count(), 1, "{}", run.err);
    }
    let run = as_at_home(&work, &home, &script, &["--check", "none"]);
    assert_eq!(
        run.err,
        "tools/release/build: none: does not exist; build it first\n"
    );
}

#[test]
fn the_package_has_what_builds_need_and_the_terms_of_the_weights() {
    let cargo = toolchain().join("cargo");
    let args = ["package", "--list", "--allow-dirty", "--offline"];
    let output = Command::new(cargo).args(args).current_dir(root()).output();
    let run = Run::new(output.unwrap());
    let files = run.lines();
    for file in [
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "README.md",
        "tools/build.rs",
        "tools/convert.rs",
        "tools/release/build",
        "weights/LICENSE",
        "weights/README.md",
        "weights/glimpse.safetensors",
    ] {
        assert!(files.contains(&file), "{file}");
    }
}

/// Every source of training data in the table of the model's card is also in the terms of the weights.
#[test]
fn the_terms_of_the_weights_name_every_source() {
    let (card, terms) = (read("weights/README.md"), read("weights/LICENSE"));
    let section = card.split("## Data, and its terms").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| "));
    let sources: Vec<&str> = rows
        .skip(1)
        .filter_map(|row| row.split('|').nth(1))
        .collect();
    assert!(sources.len() >= 5);
    for source in sources {
        // Splits `COCO 2014 and PASCAL VOC`, `Stanford 40 Actions (Yao et al., 2011), ImageNet and Imagenette`.
        for name in source.replace(" and ", ", ").split(", ") {
            let name = name.split('(').next().unwrap().trim();
            let is_name = name.starts_with(|c: char| c.is_uppercase()) && !source.contains("Young");
            assert!(!is_name || terms.contains(name), "{name}");
        }
    }
    assert!(terms.contains("Flickr8k") && terms.contains("cats and dogs"));
    assert!(read("Cargo.toml").contains("weights/LICENSE"));
    assert!(card.contains("(LICENSE)"));
}

/// No test builds the container, but this one finds files that do not exist or are excluded from the context.
#[test]
fn the_container_is_built_of_files_that_exist() {
    let dockerfile = read("tools/release/Dockerfile");
    let ignored = read("tools/release/Dockerfile.dockerignore");
    // The context excludes everything except these files.
    let mut lines = ignored
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'));
    assert_eq!(lines.next(), Some("*"));
    let kept: Vec<&str> = lines.filter_map(|line| line.strip_prefix('!')).collect();
    for path in &kept {
        assert!(root().join(path).exists(), "{path}");
    }
    let mut copied = 0;
    for line in dockerfile.lines() {
        let Some(rest) = line.strip_prefix("COPY ") else {
            continue;
        };
        let words: Vec<&str> = rest.split_whitespace().collect();
        if words[0].starts_with("--from=") {
            continue;
        }
        let sources = &words[..words.len() - 1];
        for source in sources {
            assert!(root().join(source).exists(), "{source}");
            let is_kept = kept.iter().any(|path| source.starts_with(path));
            assert!(is_kept, "{source} is left out by Dockerfile.dockerignore");
            copied += 1;
        }
    }
    // The folders that the build needs.
    assert!(copied >= 8, "{dockerfile}");
    for folder in ["src", "shaders", "weights", "tools", "benches"] {
        assert!(kept.contains(&folder), "{folder}");
    }
    assert!(dockerfile.contains("\nUSER nonroot\n") && dockerfile.contains("\nEXPOSE 8080\n"));
    let command: Vec<String> = dockerfile
        .lines()
        .filter_map(|line| {
            line.strip_prefix("ENTRYPOINT ")
                .or(line.strip_prefix("CMD "))
        })
        .flat_map(|list| serde_json::from_str::<Vec<String>>(list).unwrap())
        .collect();
    assert_eq!(command[0], "/usr/local/bin/glimpse");
    // The program accepts the options in the container's command.
    let args: Vec<&str> = command[1..].iter().map(String::as_str).collect();
    let help = crate::glimpse(Path::new("."), &[&args[..], &["--help"]].concat());
    assert!(help.out.contains("--addr"), "{}{}", help.out, help.err);
}

#[test]
fn the_release_is_built_for_the_targets_that_installers_know() {
    let manifest = read("Cargo.toml");
    let workflow = read("tools/release/release.yml");
    for target in [
        "x86_64-unknown-linux-gnu",
        "aarch64-unknown-linux-gnu",
        "x86_64-apple-darwin",
        "aarch64-apple-darwin",
        "x86_64-pc-windows-msvc",
    ] {
        assert!(manifest.contains(&format!("\"{target}\"")), "{target}");
        assert!(
            workflow.contains(&format!("target: {target}\n")),
            "{target}"
        );
    }
    assert!(workflow.contains("tools/release/build --archive"));
    let url = "pkg-url = \"{ repo }/releases/download/v{ version }/{ name }-{ target }{ archive-suffix }\"";
    assert!(manifest.contains(url));
}
