//! Tests of `glimpse fetch`, from well-behaved and faulty servers on this machine; no other network is used.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use glimpse::data::weights::{NumberFormat, write_weights};
use glimpse::fetch::{Download, sha256};
use glimpse::model::{DenseNet, DenseNetConfig, file};
use glimpse::nn::Init;
use tempfile::TempDir;

use crate::server::{Answer, Server};
use crate::{Run, command, model, pictures};

/// A DenseNet-121 in the form of a published file, and its SHA-256.
pub fn published() -> &'static (Vec<u8>, String) {
    static FILE: OnceLock<(Vec<u8>, String)> = OnceLock::new();
    FILE.get_or_init(|| {
        let config = DenseNetConfig::named("densenet121").unwrap();
        let mut encoder = DenseNet::new(&config, &mut Init::new(1)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("e.safetensors");
        let tensors = file::module_tensors("", &mut encoder);
        write_weights(&path, &tensors, NumberFormat::F16, Default::default()).unwrap();
        let bytes = fs::read(&path).unwrap();
        let digest = sha256(&bytes[..]).unwrap().1;
        (bytes, digest)
    })
}

/// Runs the program in `dir`, with its cache there too, and without the network variables of the environment.
pub fn here(dir: &Path, args: &[&str], variables: &[(&str, &str)]) -> Run {
    let mut command = command(dir, args);
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
    command
        .env_remove("SSL_CERT_FILE")
        .env("HOME", dir)
        .env("XDG_CACHE_HOME", dir.join("cache"))
        .envs(variables.iter().copied());
    Run::new(command.stdin(Stdio::null()).output().unwrap())
}

/// Fetches `url` into the folder `to`.
pub fn fetch(dir: &Path, url: &str, options: &[&str]) -> Run {
    let args = ["fetch", "densenet121", "--to", "to", "--url", url];
    here(dir, &[&args[..], options].concat(), &[])
}

/// Returns the names of the files in the folder `to`.
pub fn left(dir: &TempDir) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir.path().join("to"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

const PARTIAL: [&str; 2] = [
    "densenet121.download.partial",
    "densenet121.download.partial.from",
];

// On Windows the cache folder does not depend on the environment.
#[cfg(not(windows))]
#[test]
fn what_is_fetched_is_found_by_its_name() {
    let (bytes, digest) = published();
    let dir = pictures(&["a.png"]);
    let features = [
        "features",
        "a.png",
        "--encoder",
        "densenet121",
        "--out",
        "f.safetensors",
    ];
    let train = [
        "train",
        "--data",
        ".",
        "--encoder",
        "densenet121",
        "--out",
        "m.safetensors",
    ];
    for args in [&features[..], &train] {
        let refused = here(dir.path(), args, &[]);
        let message = refused.complaint(1);
        assert!(
            message.contains("run `glimpse fetch densenet121`"),
            "{message}"
        );
    }

    let server = Server::always(Answer::whole(bytes));
    let url = server.url(&format!("densenet121-{}.pth?download=true", &digest[..8]));
    let args = ["fetch", "densenet121", "--url", &url];
    let run = here(dir.path(), &args, &[]);
    let [path] = run.lines()[..] else {
        panic!("{}", run.out)
    };
    let path = Path::new(path);
    assert!(path.starts_with(dir.path()) && path.ends_with("glimpse/densenet121.safetensors"));
    assert_eq!(run.err, "");
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    here(dir.path(), &features, &[]).lines();

    // An encoder that is stored already is not fetched again.
    let again = here(dir.path(), &[&args[..], &["--json"]].concat(), &[]);
    assert_eq!(server.requests().len(), 1);
    assert!(again.err.contains("there already"), "{}", again.err);
    let report = again.object();
    let (size, digest) = sha256(fs::File::open(path).unwrap()).unwrap();
    assert_eq!(report["name"], "densenet121");
    assert_eq!(report["file"], path.to_str().unwrap());
    assert_eq!(report["bytes"], size);
    assert_eq!(report["sha256"], digest);
    assert_eq!(report["source"], url);
    here(dir.path(), &[&args[..], &["--force"]].concat(), &[]).lines();
    assert_eq!(server.requests().len(), 2);
    fs::write(path, "no weights").unwrap();
    let run = here(dir.path(), &args, &[]);
    assert!(run.err.contains("anew"), "{}", run.err);
    assert_eq!(run.lines().len(), 1);
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn a_broken_connection_is_taken_up_again_where_it_broke() {
    let (bytes, digest) = published();
    let mut chunk = b"3e8\r\n".to_vec();
    chunk.extend(&bytes[..1000]);
    let chunked = ["ETag: \"one\"", "Transfer-Encoding: chunked"];
    for first in [
        Answer::whole(bytes).cut(1000),
        Answer::new("200 OK", &chunked, &chunk),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::new(move |n, request| match n {
            0 => first.clone(),
            _ => Answer::fair(bytes, request),
        });
        let run = fetch(dir.path(), &server.url("a"), &["--sha256", &digest[..10]]);
        assert_eq!(run.lines(), ["to/densenet121.safetensors"]);
        assert_eq!(server.ranges(), [None, Some("bytes=1000-".to_string())]);
        assert_eq!(server.requests()[1].header("if-range"), Some("\"one\""));
        assert_eq!(left(&dir), ["densenet121.safetensors"]);
    }
}

#[test]
fn a_download_that_keeps_breaking_goes_on_with_the_next_command() {
    let (bytes, digest) = published();
    let dir = tempfile::tempdir().unwrap();
    let total = bytes.len();
    let server = Server::new(move |n, request| match n {
        0 => Answer::whole(bytes).cut(1000),
        1..5 => Answer::fair(bytes, request).cut(10),
        _ => Answer::fair(bytes, request),
    });
    let url = server.url("a");
    let run = fetch(dir.path(), &url, &["--sha256", digest]);
    let message = run.complaint(1);
    let expected = format!("1040 of {total} bytes have arrived, the same command goes on");
    assert!(
        message.starts_with(&url) && message.contains(&expected),
        "{message}"
    );
    assert_eq!(left(&dir), PARTIAL);

    fetch(dir.path(), &url, &["--sha256", digest]).lines();
    let ranges = server.ranges();
    assert_eq!(ranges.len(), 6);
    assert_eq!(ranges[0], None);
    assert_eq!(ranges[5].as_deref(), Some("bytes=1040-"));
    assert_eq!(left(&dir), ["densenet121.safetensors"]);
}

#[test]
fn a_wrong_hash_leaves_nothing() {
    let (bytes, digest) = published();
    let short = Answer::new("200 OK", &["Content-Length: 1000", "ETag: \"one\""], bytes);
    for (answer, found) in [
        (Answer::whole(bytes), digest),
        // An announced length that is too small cuts the file.
        (short, &sha256(&bytes[..1000]).unwrap().1),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::always(answer);
        let run = fetch(dir.path(), &server.url("densenet121-0123abcd.pth"), &[]);
        let message = run.complaint(1);
        assert!(
            message.contains(found) && message.contains("expected was 0123abcd"),
            "{message}"
        );
        assert!(left(&dir).is_empty());
    }
}

#[test]
fn what_is_no_encoder_is_refused_and_leaves_nothing() {
    let tiny = fs::read(model()).unwrap();
    for (body, what) in [
        (&b"<html>Please sign in.</html>"[..], "safetensors"),
        (b"", "empty"),
        (&tiny, "stem 8, not the densenet121 that was asked for"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::always(Answer::whole(body));
        let run = fetch(dir.path(), &server.url("page"), &[]);
        let message = run.complaint(1);
        assert!(
            message.starts_with(&server.address) && message.contains(what),
            "{message}"
        );
        assert!(left(&dir).is_empty());
    }
}

#[test]
fn without_a_hash_nothing_is_checked_and_that_is_said() {
    let (bytes, digest) = published();
    let dir = tempfile::tempdir().unwrap();
    let server = Server::new(|_, _| Answer::new("200 OK", &[], published().0.as_slice()));
    let run = fetch(dir.path(), &server.url("a"), &["--json"]);
    assert_eq!(run.object()["source"], server.url("a"));
    assert!(
        run.err.contains("not checked") && run.err.contains(digest),
        "{}",
        run.err
    );
    assert_eq!(run.err.lines().count(), 1);
    // The encoder is the one that was served.
    let (mut encoder, _) =
        file::load_encoder(dir.path().join("to/densenet121.safetensors")).unwrap();
    let served = tempfile::tempdir().unwrap();
    fs::write(served.path().join("a"), bytes).unwrap();
    let (mut expected, _) = file::load_encoder(served.path().join("a")).unwrap();
    let pairs = file::module_tensors("", &mut encoder)
        .into_iter()
        .zip(file::module_tensors("", &mut expected));
    for ((name, found), (_, expected)) in pairs {
        assert!(found.data() == expected.data(), "{name}");
    }
}

#[test]
fn answers_that_are_no_file_are_one_line() {
    let redirect = |to: &str| {
        let location = format!("Location: {to}");
        Answer::new("302 Found", &[&location, "Content-Length: 0"], b"")
    };
    for (answer, what) in [
        (
            Answer::new("404 Not Found", &["Content-Length: 5"], b"gone."),
            "is not there (404); give its address with --url",
        ),
        (
            Answer::new("500 Internal Server Error", &["Content-Length: 0"], b""),
            "500 Internal Server Error; try again later",
        ),
        (Answer::new("204 No Content", &[], b""), "204"),
        (Answer::rest(b"unasked", 3), "206"),
        (
            Answer::new("416 Range Not Satisfiable", &["Content-Length: 0"], b""),
            "416",
        ),
        (redirect("/a"), "without end"),
        (
            redirect("ftp://localhost/a"),
            "redirects to `ftp://localhost/a`",
        ),
        (
            Answer::new("302 Found", &["Content-Length: 0"], b""),
            "302 Found",
        ),
        (
            Answer::new(
                "407 Proxy Authentication Required",
                &["Content-Length: 0"],
                b"",
            ),
            "USER:PASSWORD",
        ),
        (
            Answer::new("200 OK", &["Content-Length: 3000000000"], b"abc"),
            "3000000000 bytes",
        ),
        (
            Answer {
                head: "SSH-2.0-OpenSSH_9.2\r\n".into(),
                ..Answer::default()
            },
            "",
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::always(answer);
        let run = fetch(dir.path(), &server.url("a"), &[]);
        let message = run.complaint(1);
        assert!(
            message.starts_with(&server.url("a")) && message.contains(what),
            "{message}"
        );
        assert!(left(&dir).is_empty(), "{message}");
    }
    // No server listens at a port that was just released.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let run = fetch(dir.path(), &format!("http://{port}/a"), &[]);
    assert!(run.complaint(1).contains("no connection"), "{}", run.err);
    assert!(left(&dir).is_empty());
}

#[test]
fn redirects_are_followed() {
    let (bytes, digest) = published();
    let dir = tempfile::tempdir().unwrap();
    let server = Server::new(move |n, request| match n {
        0 => Answer::new(
            "302 Found",
            &["Location: /elsewhere", "Content-Length: 0"],
            b"",
        ),
        1 => Answer::new(
            "307 Temporary Redirect",
            &["Location: there", "Content-Length: 2"],
            b"go",
        ),
        _ => Answer::fair(bytes, request),
    });
    fetch(dir.path(), &server.url("a"), &["--sha256", digest]).lines();
    assert_eq!(
        lines(&server),
        [
            "GET /a HTTP/1.1",
            "GET /elsewhere HTTP/1.1",
            "GET /there HTTP/1.1"
        ]
    );
}

/// Returns the first line of each request that a server has received.
pub fn lines(server: &Server) -> Vec<String> {
    let requests = server.requests().into_iter();
    requests.map(|request| request.line).collect()
}

/// Runs a download through the library. The first answer breaks off after ten bytes of `text`; `answer` follows.
fn resumed(text: &'static [u8], answer: Answer) -> (Server, TempDir, Result<Vec<u8>, String>) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::new(move |n, request| match n {
        0 => Answer::whole(text).cut(10),
        1 => answer.clone(),
        _ => Answer::fair(text, request),
    });
    let file = dir.path().join("to/file");
    fs::create_dir(dir.path().join("to")).unwrap();
    let result = quick(&server, &file, text).run(&mut |_, _| {});
    let result = match result {
        Ok(_) => Ok(fs::read(&file).unwrap()),
        Err(e) => Err(e.to_string()),
    };
    (server, dir, result)
}

fn quick(server: &Server, file: &Path, text: &[u8]) -> Download {
    let mut download = Download::new(server.url("file"), file, Some(sha256(text).unwrap().1));
    download.pause = Duration::from_millis(1);
    download.silence = Duration::from_millis(300);
    download
}

#[test]
fn a_resumed_download_is_never_a_mixture() {
    let text = b"The quick brown fox jumps over the lazy dog.";
    let part = |headers: &[&str], body: &[u8]| Answer::new("206 Partial Content", headers, body);
    let length = "Content-Length: 34";
    for (answer, begins_anew) in [
        (Answer::rest(text, 10), false),
        // A server may send a smaller part than the one that was requested.
        (
            part(
                &["Content-Length: 5", "Content-Range: bytes 10-14/44"],
                &text[10..15],
            ),
            false,
        ),
        (
            part(&[length, "Content-Range: bytes 10-43/*"], &text[10..]),
            false,
        ),
        // The whole file instead of the rest: it has changed, or the server does not support ranges.
        (Answer::whole(text), true),
        (Answer::new("200 OK", &["Content-Length: 44"], text), true),
        (
            Answer::new(
                "416 Range Not Satisfiable",
                &["Content-Range: bytes */5", "Content-Length: 0"],
                b"",
            ),
            true,
        ),
        // A part that was not requested, or a part of a file that has changed meanwhile.
        (Answer::rest(text, 9), true),
        (part(&[length], &text[10..]), true),
        (
            part(&[length, "Content-Range: bytes 10-43/45"], &text[10..]),
            true,
        ),
        (
            part(
                &[length, "Content-Range: bytes 10-43/44", "ETag: \"two\""],
                &text[10..],
            ),
            true,
        ),
    ] {
        let head = answer.head.clone();
        let sent_whole = head.starts_with("HTTP/1.1 200");
        let (server, dir, result) = resumed(text, answer);
        assert_eq!(result.as_deref(), Ok(&text[..]), "{head}");
        let ranges = server.ranges();
        assert_eq!(ranges[1].as_deref(), Some("bytes=10-"));
        if begins_anew && !sent_whole {
            assert_eq!(ranges[2..], [None], "{head}");
        }
        assert_eq!(left(&dir), ["file"]);
    }
}

#[test]
fn a_server_that_sends_too_much_or_nothing_is_not_waited_for() {
    let text = b"The quick brown fox jumps over the lazy dog.";
    // Bytes after the announced length do not belong to the answer.
    let (_, dir, result) = resumed(
        text,
        Answer {
            body: [&text[..], b" And more."].concat(),
            ..Answer::whole(text)
        },
    );
    assert_eq!(result.as_deref(), Ok(&text[..]));
    // A part that is longer than announced is an error.
    let range = "Content-Range: bytes 10-43/44";
    let more = Answer::new(
        "206 Partial Content",
        &["Content-Length: 40", range],
        &[b'x'; 40],
    );
    let (_, more, result) = resumed(text, more);
    assert!(result.unwrap_err().contains("more than it announced"));
    assert_eq!(
        (left(&dir), left(&more)),
        (vec!["file".to_string()], vec![])
    );

    let silence = Duration::from_secs(1);
    let dir = tempfile::tempdir().unwrap();
    let server = Server::new(move |n, request| match n {
        0 => Answer {
            silence,
            ..Answer::whole(text).cut(20)
        },
        _ => Answer::fair(text, request),
    });
    let download = quick(&server, &dir.path().join("file"), text);
    download.run(&mut |_, _| {}).unwrap();
    assert_eq!(server.ranges(), [None, Some("bytes=20-".to_string())]);
}

#[test]
fn without_a_version_a_download_begins_anew() {
    let text = b"The quick brown fox jumps over the lazy dog.";
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    let server = Server::new(move |n, _| {
        let answer = Answer::new("200 OK", &["Content-Length: 44", "ETag: W/\"weak\""], text);
        if n < 5 { answer.cut(20) } else { answer }
    });
    let download = quick(&server, &file, text);
    let message = download.run(&mut |_, _| {}).unwrap_err().to_string();
    assert!(
        message.contains("after 20 bytes") && message.contains("from the beginning"),
        "{message}"
    );
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    download.run(&mut |_, _| {}).unwrap();
    assert_eq!(server.ranges(), vec![None; 6]);
    // A partial download from another address is not resumed.
    let other = Server::new(move |n, request| match n {
        0..5 => Answer::fair(text, request).cut(n + 1),
        _ => Answer::fair(text, request),
    });
    fs::remove_file(&file).unwrap();
    quick(&other, &file, text).run(&mut |_, _| {}).unwrap_err();
    let third = Server::always(Answer::whole(text));
    quick(&third, &file, text).run(&mut |_, _| {}).unwrap();
    assert_eq!(third.ranges(), [None]);
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
}

#[test]
fn two_at_once_do_not_get_in_each_others_way() {
    let text = b"The quick brown fox jumps over the lazy dog.";
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("to/densenet121.download");
    fs::create_dir(dir.path().join("to")).unwrap();
    let silence = Duration::from_secs(2);
    let server = Server::always(Answer {
        silence,
        ..Answer::whole(text).cut(5)
    });
    let mut download = quick(&server, &file, text);
    download.silence = Duration::from_secs(20);
    thread::spawn(move || download.run(&mut |_, _| {}));
    while !file.with_file_name(PARTIAL[1]).exists() {
        thread::sleep(Duration::from_millis(5));
    }
    let run = fetch(dir.path(), &server.url("b"), &[]);
    assert!(run.complaint(1).contains("another process"), "{}", run.err);
    assert_eq!(left(&dir), PARTIAL);
    assert_eq!(server.requests().len(), 1);
}
