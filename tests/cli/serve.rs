//! Tests of `glimpse serve`, from its start to a signal.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::{command, glimpse, glimpse_reading, model, png, string};

#[test]
fn serves_what_caption_says_until_it_is_told_to_stop() {
    let here = Path::new(".");
    let args = [
        "serve",
        "--addr",
        "127.0.0.1:0",
        "--json",
        "--model",
        model(),
    ];
    let mut child = command(here, &args)
        .args(["--log", "info", "--log-json", "--precision", "f32"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let listening: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(listening["event"], "listening");
    let addr = string(&listening["addr"]);

    let image = png(3);
    let mut stream = TcpStream::connect(addr).unwrap();
    let head = format!(
        "POST /api/caption?beam=3 HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        image.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&image).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let answer: Value = serde_json::from_str(body).unwrap();
    let args = ["caption", "-", "--json", "--beam", "3", "--model", model()];
    let said = glimpse_reading(here, &args, &image).object();
    assert_eq!(answer["captions"], said["captions"]);

    let taken = glimpse(here, &["serve", "--addr", addr, "--model", model()]);
    assert!(taken.complaint(1).contains("cannot listen on"));

    if cfg!(unix) {
        Command::new("kill")
            .args(["-TERM", &child.id().to_string()])
            .status()
            .unwrap();
    } else {
        child.kill().unwrap();
    }
    assert!(lines.next().is_none());
    let mut err = String::new();
    let mut stderr = child.stderr.take().unwrap();
    stderr.read_to_string(&mut err).unwrap();
    let code = child.wait().unwrap().code();
    if cfg!(unix) {
        assert_eq!(code, Some(0), "{err}");
    }
    let (greeting, log) = err.split_once('\n').unwrap();
    assert!(greeting.starts_with(&format!("Glimpse listens on http://{addr} (")));
    let request: Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    assert_eq!(request["route"], "/api/caption");
    assert_eq!(request["status"], 200);
}

#[test]
fn what_cannot_be_served_is_said_in_one_line() {
    let here = Path::new(".");
    let serve = |args: &[&str]| glimpse(here, &[&["serve", "--model", model()], args].concat());
    assert!(
        serve(&["--token", "two words"])
            .complaint(2)
            .contains("token")
    );
    assert!(
        serve(&["--batch-wait-ms=-1"])
            .complaint(2)
            .contains("must be 0 to 1000")
    );
    assert!(
        serve(&["--timeout-s", "0"])
            .complaint(2)
            .contains("must be above 0")
    );
    assert!(
        serve(&["--addr", "nonsense"])
            .complaint(1)
            .contains("nonsense")
    );
    for addr in ["localhost:http", "65536", "http://localhost:8080", ""] {
        let refused = serve(&["--addr", addr]);
        let line = refused.complaint(2);
        assert!(line.contains("[::1]:8080"), "{line}");
    }
    let proxy = serve(&["--trusted-proxy", "proxy.example"]);
    assert!(proxy.complaint(2).contains("must be an address"));
    for url in ["example.org", "https://example.org/api"] {
        let refused = serve(&["--public-url", url]);
        let line = refused.complaint(2);
        assert!(
            line.contains("--public-url") && line.contains(url),
            "{line}"
        );
    }
    let none = glimpse(here, &["serve", "--model", "none.safetensors"]);
    assert!(none.complaint(1).contains("none.safetensors"));
}

#[test]
fn a_token_that_cannot_be_used_stops_the_start() {
    let start = |args: &[&str], variable: Option<&std::ffi::OsStr>| {
        let args = [&["serve", "--addr", "0", "--model", model()], args].concat();
        let mut child = command(Path::new("."), &args);
        if let Some(token) = variable {
            child.env("GLIMPSE_TOKEN", token);
        }
        let output = child.output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        text
    };
    for wrong in ["", " ", "two words", "new\nline", "b\u{fc}cher"] {
        assert!(start(&["--token", wrong], None).contains("--token"));
        assert!(start(&[], Some(wrong.as_ref())).contains("GLIMPSE_TOKEN"));
    }
    // The option has precedence, even if the variable holds a valid token.
    assert!(start(&["--token", ""], Some("good".as_ref())).contains("--token is empty"));
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        let bytes = std::ffi::OsStr::from_bytes(b"\xff\xfe");
        assert!(start(&[], Some(bytes)).contains("visible ASCII"));
        let mut child = command(Path::new("."), &["serve", "--addr", "0", "--token"]);
        let output = child.arg(bytes).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
    }
}

#[cfg(unix)]
#[test]
fn a_stopped_service_says_what_it_waits_for_and_cuts_it_off() {
    let args = ["serve", "--addr", "0", "--json", "--model", model()];
    let mut child = command(Path::new("."), &args)
        .args(["--shutdown-timeout-s", "0.3"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let listening: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    let addr = string(&listening["addr"]);
    let mut stream = TcpStream::connect(addr).unwrap();
    let head = format!("POST /api/caption HTTP/1.1\r\nHost: {addr}\r\nContent-Length: 99\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    let pid = child.id().to_string();
    Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    let mut err = String::new();
    let mut stderr = child.stderr.take().unwrap();
    stderr.read_to_string(&mut err).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{err}");
    let said: Vec<&str> = err
        .lines()
        .filter(|line| line.contains("stopping"))
        .collect();
    assert_eq!(said.len(), 2, "{err}");
    assert!(said.iter().all(|line| line.contains("requests=1")), "{err}");
    assert!(said[1].contains("cut off"), "{err}");
}

/// Starts a service; returns the address that it prints, and its first lines on standard error.
fn started(args: &[&str], variables: &[(&str, &str)]) -> (String, Vec<String>) {
    let args = [&["serve", "--json", "--model", model()], args].concat();
    let mut child = command(Path::new("."), &args)
        .envs(variables.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let listening: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let mut err = String::new();
    let mut stderr = child.stderr.take().unwrap();
    stderr.read_to_string(&mut err).unwrap();
    let addr = string(&listening["addr"]).to_string();
    (addr, err.lines().map(str::to_string).collect())
}

#[test]
fn a_port_alone_is_one_of_this_machine_alone() {
    for (given, host) in [
        ("0", "127.0.0.1:"),
        (":0", "127.0.0.1:"),
        ("0.0.0.0:0", "0.0.0.0:"),
    ] {
        let (addr, greeting) = started(&["--addr", given], &[]);
        assert!(addr.starts_with(host), "{addr}");
        assert!(greeting[0].contains(&format!("http://{addr} ")));
        // Other machines have access only if the user asked for that, and then there is a warning.
        let warns = greeting.iter().any(|line| line.contains("--token"));
        assert_eq!(warns, given.starts_with("0.0.0.0"), "{greeting:?}");
    }
}

#[test]
fn the_public_address_is_an_option_or_a_variable() {
    let variable = ("GLIMPSE_PUBLIC_URL", "https://variable.example/glimpse");
    let option = ["--addr", "0", "--public-url", "https://option.example/"];
    for (args, variables, url) in [
        (
            &option[..2],
            &[variable][..],
            "https://variable.example/glimpse/",
        ),
        (&option, &[variable], "https://option.example/"),
    ] {
        let (_, greeting) = started(args, variables);
        assert!(greeting[1].ends_with(url), "{greeting:?}");
    }
    let wrong = command(Path::new("."), &["serve", "--model", model()])
        .env("GLIMPSE_PUBLIC_URL", "example.org")
        .output()
        .unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    let line = String::from_utf8(wrong.stderr).unwrap();
    assert!(line.contains("GLIMPSE_PUBLIC_URL") && line.lines().count() == 1);
}
