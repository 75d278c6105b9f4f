//! Test that messages are in the program's own words, not a library's, and say what to do instead.

use std::fs;
use std::path::Path;

use crate::{command, dataset, glimpse, model, pictures};

#[test]
fn whoever_mistypes_is_led_on() {
    let dir = pictures(&["photo.jpg"]);
    fs::create_dir(dir.path().join("album")).unwrap();
    for (args, expected) in [
        (
            &["captions", "photo.jpg"][..],
            "there is no command `captions`; did you mean `glimpse caption`?",
        ),
        (
            &["feature"],
            "there is no command `feature`; did you mean `glimpse features`?",
        ),
        (
            &["photo.jpg"],
            "photo.jpg is no command; to caption a picture, write `glimpse caption photo.jpg`",
        ),
        (
            &["photo.jpg", "--json"],
            "photo.jpg is no command; to caption a picture, write `glimpse caption photo.jpg`",
        ),
        (
            &["album"],
            "album is no command; to caption the pictures of a folder, write `glimpse caption album`",
        ),
        (
            &["-"],
            "- is no command; to caption the picture on standard input, write `glimpse caption -`",
        ),
        (
            &["caption", "a", "--bem", "3"],
            "there is no option --bem here; did you mean --beam?",
        ),
        (
            &["caption", "a", "--beam", "0"],
            "--beam does not take `0`: it must be a whole number from 1 to 1000; -h explains the options",
        ),
        (
            &["caption", "a", "--length-penalty", "x"],
            "--length-penalty does not take `x`: it must be a finite number; -h explains the options",
        ),
    ] {
        assert_eq!(glimpse(dir.path(), args).complaint(2), expected);
    }
}

#[test]
fn configurations_are_refused_with_line_and_column() {
    let dir = dataset();
    for (text, expected) in [
        (
            "epochs = 3\nbatchs = 2\n",
            "line 2, column 1: has `batchs`, which does not exist; did you mean `batch`?",
        ),
        ("epochs = = 3\n", "line 1, column 10: is not TOML"),
        (
            "epochs = \"x\"\n",
            "line 1, column 10: has the text \"x\" where a whole number of 0 or more belongs",
        ),
        (
            "[decoder]\nkind = \"injct\"\n",
            "line 2, column 8: has `injct`, which is no choice; did you mean `inject`?",
        ),
    ] {
        fs::write(dir.path().join("c.toml"), text).unwrap();
        let args = [
            "train",
            "--data",
            ".",
            "--config",
            "c.toml",
            "--out",
            "m.safetensors",
        ];
        let run = glimpse(dir.path(), &args);
        assert_eq!(run.complaint(1), format!("c.toml: {expected}"));
    }
}

#[test]
fn no_message_has_a_librarys_words() {
    let dir = dataset();
    let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
    write("short.safetensors", b"abc");
    write("json.safetensors", b"\x02\0\0\0\0\0\0\0[]");
    let whole = fs::read(model()).unwrap();
    write("cut.safetensors", &whole[..whole.len() - 100]);
    let h5 = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/convert/keras2-whole.h5");
    write("cut.h5", &fs::read(h5).unwrap()[..5000]);
    write("new.h5", b"\x89HDF\r\n\x1a\n\x20 of a version to come");
    write("cut.keras", b"PK\x03\x04 and no more");
    write("not-utf8.toml", b"epochs = 3 # \xff\n");
    write("bad.jsonl", b"{\"image\": }\n");
    fs::create_dir(dir.path().join("karpathy")).unwrap();
    write(
        "karpathy/dataset_x.json",
        b"{\"images\": [{\"filename\": 3}]}",
    );
    fs::create_dir(dir.path().join("folder.safetensors")).unwrap();
    let train = ["train", "--data", ".", "--out", "m.safetensors", "--config"];
    for (args, what) in [
        (&["inspect", "short.safetensors"][..], "short.safetensors: "),
        (&["inspect", "json.safetensors"], "json.safetensors: "),
        (
            &["inspect", "cut.safetensors"],
            "fewer or more bytes than its header says",
        ),
        (
            &["inspect", "cut.h5"],
            "is not a whole HDF5 file; get it again",
        ),
        (&["inspect", "new.h5"], "save it again with Keras"),
        (
            &["inspect", "cut.keras"],
            "is not a whole zip archive; get it again",
        ),
        (
            &["inspect", "none.safetensors"],
            "does not exist; check the path",
        ),
        (&["inspect", "folder.safetensors"], "is a folder"),
        (
            &["caption", "0.png", "--model", "folder.safetensors"],
            "is a folder",
        ),
        (
            &["score", "bad.jsonl", "--data", ".", "--split", "dev"],
            "column 11",
        ),
        (
            &["score", "none.jsonl", "--data", ".", "--split", "dev"],
            "does not exist",
        ),
        (
            &["evaluate", "--data", "karpathy", "--split", "dev"],
            "has 3 where a text belongs",
        ),
        (&["serve", "--addr", "x"], "no such host is known"),
        (
            &["serve", "--addr", "203.0.113.1:80"],
            "this machine has no such address",
        ),
        (
            &[&train[..], &["none.toml"]].concat(),
            "does not exist; check the path",
        ),
        (
            &[&train[..], &["not-utf8.toml"]].concat(),
            "it is not UTF-8 text",
        ),
    ] {
        let run = glimpse(dir.path(), args);
        let said = run.complaint(1);
        assert!(said.contains(what), "{args:?}: {said}");
        for foreign in [
            "os error",
            "invalid type",
            "expected",
            "unsupported",
            "I/O",
            "EOF",
            "panic",
            "Error",
            "deserializ",
            "unwrap",
            "HeaderToo",
            "No such file",
        ] {
            assert!(!said.contains(foreign), "{args:?}: {said}");
        }
    }
}

#[test]
fn a_full_disk_is_said_in_our_words() {
    if !Path::new("/dev/full").exists() {
        return;
    }
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let dir = pictures(&["a.png"]);
    let run = command(dir.path(), &["caption", "a.png", "--model", model()])
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(run.status.code(), Some(1));
    assert_eq!(
        String::from_utf8(run.stderr).unwrap(),
        "glimpse: standard output: cannot be written: the disk is full\n"
    );
}
