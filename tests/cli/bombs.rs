//! Test of the memory that the service takes, whatever clients send.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;

use serde_json::Value;

use crate::{bomb, command, model, string};

/// Returns the peak memory of `child` in megabytes, if the system reports it.
fn most_resident(child: &Child) -> Option<usize> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kilobytes: usize = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kilobytes >> 10)
}

fn post(addr: &str, image: &[u8]) -> String {
    let mut stream = TcpStream::connect(addr).unwrap();
    let head = format!(
        "POST /api/caption HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        image.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(image).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn no_images_make_the_service_take_more_memory_than_it_was_granted() {
    let granted = 320;
    let args = ["serve", "--addr", "0", "--json", "--model", model()];
    let mut child = command(Path::new("."), &args)
        .args(["--threads", "8", "--memory-mb", &granted.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let listening: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    let addr = string(&listening["addr"]).to_string();

    let mut bombs = bomb::all(4800);
    bombs.push(("profile.png", bomb::profile_png(400 << 20)));
    let (mut captioned, mut refused) = (0, 0);
    thread::scope(|scope| {
        let sent: Vec<_> = bombs
            .iter()
            .flat_map(|bomb| [bomb; 4])
            .map(|(name, bytes)| (name, scope.spawn(|| post(&addr, bytes))))
            .collect();
        for (name, answer) in sent {
            let answer = answer.join().unwrap();
            match answer.split(' ').nth(1).unwrap() {
                "200" => captioned += 1,
                // The image would take more than the share of memory for decoding.
                "413" if answer.contains("MB to decode") => refused += 1,
                _ => panic!("{name}: {answer}"),
            }
        }
    });
    assert!(captioned >= 4 * 5 && refused > 0, "{captioned}, {refused}");
    let most = most_resident(&child);
    child.kill().unwrap();
    child.wait().unwrap();
    let Some(most) = most else {
        println!("skipped: this system does not tell how much memory a process had");
        return;
    };
    println!("{most} MB, {captioned} captioned, {refused} refused");
    assert!(most <= granted, "{most} MB of {granted}");
}
