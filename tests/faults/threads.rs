//! Tests of threads that the system refuses: one message, and the program ends.
//!
//! Limits on processes do not apply to an administrator, who often runs tests, so the injector refuses the threads.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::injector::{Action, EAGAIN, Fault, Kind};
use crate::places::{CONVERT, GLIMPSE, Place, Run, data, for_all, model};

/// Faults that refuse the N-th thread, alone or with all later ones.
fn refusals() -> Vec<Fault> {
    let refusal = |number| Fault::new(Kind::Thread, number, Action::Error(EAGAIN));
    let once = (1..=8).map(refusal);
    let lasting = (1..=8).map(refusal).map(|fault| Fault {
        lasts: true,
        ..fault
    });
    once.chain(lasting).collect()
}

#[test]
fn refused_threads_are_one_line() {
    let photos = [0, 1, 2].map(|n| {
        data()
            .join(format!("{n}.png"))
            .to_str()
            .unwrap()
            .to_string()
    });
    let [a, b, c] = photos.each_ref().map(String::as_str);
    let folder = data().to_str().unwrap();
    let config = data().join("new.toml");
    let config = config.to_str().unwrap();
    let commands: [(&str, &[&str]); 7] = [
        (
            GLIMPSE,
            &["caption", a, b, c, "--model", model(), "--threads", "4"],
        ),
        (
            GLIMPSE,
            &[
                "features",
                a,
                b,
                c,
                "--encoder",
                model(),
                "--out",
                "f",
                "--threads",
                "4",
            ],
        ),
        (
            GLIMPSE,
            &[
                "evaluate",
                "--data",
                folder,
                "--split",
                "dev",
                "--model",
                model(),
                "--threads",
                "4",
            ],
        ),
        (
            GLIMPSE,
            &[
                "train",
                "--data",
                folder,
                "--config",
                config,
                "--out",
                "m",
                "--max-steps",
                "1",
            ],
        ),
        (GLIMPSE, &["inspect", model()]),
        (
            GLIMPSE,
            &[
                "fetch",
                "densenet121",
                "--to",
                ".",
                "--url",
                "http://localhost:9/none",
            ],
        ),
        (CONVERT, &[model(), "c"]),
    ];
    let hits = AtomicUsize::new(0);
    for (program, args) in commands {
        for_all(&refusals(), |&fault| {
            let place = Place::new();
            let run = place.run_with(fault, program, args);
            let what = (args, fault, run.code, run.signal, &run.err);
            // A download without a server fails too, with one line of error.
            assert!(run.is_orderly(), "{what:?}");
            if run.is_hit {
                hits.fetch_add(1, Ordering::Relaxed);
                let is_said = ["thread", "Ctrl-C", "no connection"]
                    .iter()
                    .any(|w| run.err.contains(w));
                assert!(run.code == Some(0) || is_said, "{what:?}");
            }
            assert_eq!(place.leftovers(), [""; 0], "{what:?}");
        });
    }
    let hits = hits.into_inner();
    println!("{hits} threads refused");
    assert!(hits >= 40, "{hits}");
}

#[test]
fn a_service_starts_with_its_threads_or_not_at_all() {
    let mut started = 0;
    for fault in refusals() {
        let place = Place::new();
        let args = [
            "serve",
            "--addr",
            "127.0.0.1:0",
            "--json",
            "--model",
            model(),
        ];
        let mark = place.tmp().join("mark");
        let mut command = place.command(GLIMPSE, &args);
        fault.inject(&mut command, &place.out(), &mark);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let until = Instant::now() + Duration::from_secs(3);
        // The service prints its address before all of its threads are started.
        let ended = loop {
            match child.try_wait().unwrap() {
                None if Instant::now() < until && !answers(&line) => {}
                ended => break ended,
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        if ended.is_none() {
            started += 1;
            // A thread that was refused later does not prevent an answer.
            assert!(answers(&line), "{fault:?}: {line}");
            child.kill().unwrap();
            child.wait().unwrap();
            continue;
        }
        let run = Run::of(child.wait_with_output().unwrap());
        let message = run.complaint();
        assert!(
            message.contains("thread") || message.contains("Ctrl-C"),
            "{fault:?}: {message}"
        );
    }
    assert!((1..refusals().len()).contains(&started), "{started}");
}

/// Whether the service whose address is in `line` captions a picture.
fn answers(line: &str) -> bool {
    use std::io::{Read, Write};
    let event: Option<serde_json::Value> = serde_json::from_str(line).ok();
    let Some(address) = event.and_then(|e| e["addr"].as_str().map(String::from)) else {
        return false;
    };
    let Ok(mut stream) = TcpStream::connect(address) else {
        return false;
    };
    // After this time, the request counts as not answered.
    let patience = Some(Duration::from_secs(10));
    stream.set_read_timeout(patience).unwrap();
    let photo = std::fs::read(data().join("0.png")).unwrap();
    let head = format!(
        "POST /api/caption HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: {}\r\nConnection: \
         close\r\n\r\n",
        photo.len()
    );
    let mut answer = String::new();
    let asked = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(&photo));
    asked.is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200")
}
