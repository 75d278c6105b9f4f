//! Tests of every other file that the programs write: after a fault, the path holds the whole old or the whole new file.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use glimpse::data::weights::{NumberFormat, write_weights};
use glimpse::fetch::sha256;
use glimpse::model::{DenseNet, DenseNetConfig, file};
use glimpse::nn::Init;

use crate::attentive::attentive;
use crate::injector::{Action, EDQUOT, EINTR, EIO, ENOSPC, EROFS, Fault, Kind};
use crate::places::{CONVERT, GLIMPSE, Place, data, for_all, model, scratch};

/// The path and the bytes of a file of DenseNet weights, with names like those of published files.
fn published() -> &'static (String, Vec<u8>) {
    static FILE: OnceLock<(String, Vec<u8>)> = OnceLock::new();
    FILE.get_or_init(|| {
        let sizes = DenseNetConfig {
            growth: 8,
            blocks: vec![2, 2],
            stem: 8,
            bottleneck: 2,
            eps: 1e-5,
        };
        let mut encoder = DenseNet::new(&sizes, &mut Init::new(1)).unwrap();
        let path = scratch().join("published.safetensors");
        let tensors = file::module_tensors("", &mut encoder);
        write_weights(&path, &tensors, NumberFormat::F32, Default::default()).unwrap();
        (path.to_str().unwrap().into(), fs::read(&path).unwrap())
    })
}

fn attention_model() -> String {
    static PATH: OnceLock<String> = OnceLock::new();
    let path = PATH.get_or_init(|| {
        let path = scratch().join("attentive.safetensors");
        let mut captioner = attentive("torchvision:64");
        captioner.save(&path, NumberFormat::F32).unwrap();
        path.to_str().unwrap().into()
    });
    path.clone()
}

fn photo(number: u32) -> String {
    data()
        .join(format!("{number}.png"))
        .to_str()
        .unwrap()
        .into()
}

/// A command that writes one file.
struct Writer {
    out: &'static str,
    program: &'static str,
    args: Vec<String>,
}

impl Writer {
    fn all() -> Vec<Writer> {
        let writer = |program, args: &[&str], out| {
            let args = args.iter().chain([&out]).map(|arg| arg.to_string());
            let args = args.collect();
            Writer { out, program, args }
        };
        let attention = attention_model();
        let photos = [photo(0), photo(1)];
        vec![
            writer(CONVERT, &[&published().0], "out.safetensors"),
            writer(
                GLIMPSE,
                &[
                    "features",
                    &photos[0],
                    &photos[1],
                    "--encoder",
                    model(),
                    "--out",
                ],
                "out.safetensors",
            ),
            writer(
                GLIMPSE,
                &["caption", &photos[0], "--model", &attention, "--attention"],
                "out.png",
            ),
        ]
    }

    fn run(&self, place: &Place, fault: Option<Fault>) -> crate::places::Run {
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        match fault {
            Some(fault) => place.run_with(fault, self.program, &args),
            None => place.run(self.program, &args),
        }
    }
}

/// The possible faults at the first calls of each kind.
fn faults() -> Vec<Fault> {
    let actions = |kind| match kind {
        Kind::Write => vec![
            Action::Error(ENOSPC),
            Action::Error(EINTR),
            Action::Short,
            Action::Before,
            Action::Within,
        ],
        Kind::Sync => vec![Action::Error(EIO), Action::Before],
        Kind::Rename => vec![Action::Error(EROFS), Action::Before, Action::After],
        _ => vec![Action::Error(EDQUOT), Action::Before],
    };
    let kinds = [
        Kind::Write,
        Kind::Sync,
        Kind::Rename,
        Kind::Truncate,
        Kind::Create,
    ];
    let of_kind = |kind| {
        let numbers = (1..=6).flat_map(move |number| {
            let fault = move |action| Fault::new(kind, number, action);
            actions(kind).into_iter().map(fault)
        });
        numbers.collect::<Vec<_>>()
    };
    kinds.into_iter().flat_map(of_kind).collect()
}

#[test]
fn outputs_are_old_or_new() {
    let hits = AtomicUsize::new(0);
    for writer in Writer::all() {
        let place = Place::new();
        writer.run(&place, None).succeeded();
        let new = place.read(writer.out).unwrap();
        for_all(&faults(), |&fault| {
            let place = Place::new();
            fs::write(place.out().join(writer.out), "old").unwrap();
            let run = writer.run(&place, Some(fault));
            let what = (&writer.args, fault, run.code, run.signal, &run.err);
            hits.fetch_add(usize::from(run.is_hit), Ordering::Relaxed);
            let found = place.read(writer.out).unwrap();
            assert!(
                found == b"old" || found == new,
                "{what:?}: {} bytes",
                found.len()
            );
            match run.is_hit && fault.action.kills() {
                true => assert_eq!(run.signal, Some(9), "{what:?}"),
                false => {
                    assert!(run.is_orderly(), "{what:?}");
                    assert_eq!((run.code == Some(0)), found == new, "{what:?}");
                    assert_eq!(place.leftovers(), [""; 0], "{what:?}");
                }
            }
            if found != new {
                let second = writer.run(&place, None);
                assert_eq!(second.code, Some(0), "{what:?}: {}", second.err);
                assert!(place.read(writer.out).as_ref() == Some(&new), "{what:?}");
            }
            // Only a killed run may leave files, and the next run removes them.
            let names: BTreeSet<String> = place.names();
            assert!(
                run.signal.is_some() || names.iter().eq([writer.out]),
                "{what:?}: {names:?}"
            );
        });
    }
    let hits = hits.into_inner();
    println!("{hits} faults");
    assert!(hits >= 60, "{hits}");
}

/// Starts a server that answers every request with `bytes`, from the requested offset on. Returns its address.
fn serve(bytes: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/weights", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head).to_lowercase();
            let from = head
                .split("range: bytes=")
                .nth(1)
                .and_then(|r| r.split('-').next());
            let from: usize = from.and_then(|n| n.parse().ok()).unwrap_or(0);
            let (status, length) = (
                if from > 0 {
                    "206 Partial Content"
                } else {
                    "200 OK"
                },
                bytes.len(),
            );
            let rest = &bytes[from..];
            // The write fails if the client was killed.
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nETag: \"a\"\r\nAccept-Ranges: bytes\r\nContent-Range: bytes {from}-{}/{length}\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n",
                length - 1,
                rest.len()
            );
            let _ = stream.write_all(rest);
        }
    });
    address
}

#[test]
fn what_is_fetched_is_whole_or_not_there() {
    // The smallest named network, in the smallest number format.
    let config = DenseNetConfig::named("densenet121").unwrap();
    let mut encoder = DenseNet::new(&config, &mut Init::new(1)).unwrap();
    let path = scratch().join("densenet121.safetensors");
    let tensors = file::module_tensors("", &mut encoder);
    write_weights(&path, &tensors, NumberFormat::I8, Default::default()).unwrap();
    let bytes: &'static [u8] = fs::read(&path).unwrap().leak();
    let digest = sha256(bytes).unwrap().1;
    let url = serve(bytes);
    let args = [
        "fetch",
        "densenet121",
        "--to",
        ".",
        "--url",
        &url,
        "--sha256",
        &digest,
    ];
    let fetch = |place: &Place, fault: Option<Fault>| match fault {
        Some(fault) => place.run_with(fault, GLIMPSE, &args),
        None => place.run(GLIMPSE, &args),
    };
    let place = Place::new();
    fetch(&place, None).succeeded();
    let whole = place.names();
    let [name] = &whole.iter().collect::<Vec<_>>()[..] else {
        panic!("{whole:?}");
    };
    let expected = place.read(name).unwrap();
    let mut faults = Vec::new();
    for (kind, numbers, actions) in [
        (
            Kind::Write,
            &[1, 2, 3, 5, 9][..],
            &[Action::Error(ENOSPC), Action::Within][..],
        ),
        (Kind::Sync, &[1, 2], &[Action::Error(EIO), Action::Before]),
        (
            Kind::Rename,
            &[1, 2],
            &[Action::Error(EROFS), Action::Before, Action::After],
        ),
    ] {
        let points = numbers
            .iter()
            .flat_map(|&n| actions.iter().map(move |&a| (n, a)));
        faults.extend(points.map(|(number, action)| Fault::new(kind, number, action)));
    }
    let hits = AtomicUsize::new(0);
    for_all(&faults, |&fault| {
        let place = Place::new();
        let run = fetch(&place, Some(fault));
        let what = (fault, run.code, run.signal, &run.err);
        hits.fetch_add(usize::from(run.is_hit), Ordering::Relaxed);
        assert!(
            run.is_orderly() || (run.is_hit && fault.action.kills()),
            "{what:?}"
        );
        let is_new = |place: &Place| place.read(name).map(|found| found == expected);
        assert_ne!(is_new(&place), Some(false), "{what:?}");
        if is_new(&place).is_none() {
            let second = fetch(&place, None);
            assert_eq!(second.code, Some(0), "{what:?}: {}", second.err);
            assert_eq!(is_new(&place), Some(true), "{what:?}");
            assert_eq!(place.names(), whole, "{what:?}");
        }
    });
    let hits = hits.into_inner();
    println!("{hits} faults of {} asked for", faults.len());
    assert!(hits >= 10, "{hits}");
    assert!(Path::new(&published().0).exists());
}
