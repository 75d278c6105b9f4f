//! Tests of a training whose writes, syncs and renames fail, or that is killed at one of them.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::injector::{Action, EDQUOT, EINTR, EIO, ENOSPC, EROFS, Fault, Kind};
use crate::places::{GLIMPSE, Place, Run, data, for_all, model, scratch};

/// The number of calls of each kind at which a fault is tried.
const POINTS: u32 = 16;
/// The number of calls of each kind at which a lasting fault is tried: enough to reach the last model, which is written
/// after the lines of the log and the reports.
const MORE_POINTS: u32 = 28;

const OUT: &str = "m.safetensors";
const LAST: &str = "m.last.safetensors";
const CHECKPOINT: &str = "m.checkpoint.safetensors";

/// The trainings: of a whole new captioner, and of a decoder on features that are kept in a file beside the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Training {
    New,
    Frozen,
}

/// The files of an undisturbed run: the best and the last model.
type Models = [Vec<u8>; 2];

impl Training {
    fn command(self) -> Vec<String> {
        let path = |path: &Path| path.to_str().unwrap().to_string();
        let mut args = vec!["--config".to_string()];
        match self {
            Training::New => args.push(path(&data().join("new.toml"))),
            Training::Frozen => {
                let frozen = path(&data().join("frozen.toml"));
                args.extend([frozen, "--encoder".into(), model().into()]);
            }
        }
        args
    }

    fn args(self, how: &[String]) -> Vec<String> {
        let data = data().to_str().unwrap();
        // An epoch has four steps. There is a checkpoint after each step, an evaluation after the fourth, and a fifth step.
        let always = "--out m.safetensors --max-steps 5 --checkpoint-every 1 --json";
        let args = ["train", "--data", data]
            .into_iter()
            .chain(always.split(' '));
        args.map(String::from).chain(how.iter().cloned()).collect()
    }

    /// Starts the training in `place`.
    fn start(self, place: &Place, fault: Option<Fault>) -> Run {
        run(place, fault, &self.args(&self.command()))
    }

    /// Resumes the training from the checkpoint in `place`, or starts it again if there is no checkpoint.
    fn go_on(self, place: &Place) -> Run {
        match place.read(CHECKPOINT) {
            None => self.start(place, None),
            Some(_) => self.resume(place, CHECKPOINT),
        }
    }

    fn resume(self, place: &Place, checkpoint: &str) -> Run {
        run(
            place,
            None,
            &self.args(&["--resume".into(), checkpoint.into()]),
        )
    }

    fn undisturbed(self) -> &'static Models {
        static NEW: OnceLock<Models> = OnceLock::new();
        static FROZEN: OnceLock<Models> = OnceLock::new();
        let models = match self {
            Training::New => &NEW,
            Training::Frozen => &FROZEN,
        };
        models.get_or_init(|| {
            let place = Place::new();
            self.start(&place, None).succeeded();
            assert!(place.leftovers().is_empty());
            [OUT, LAST].map(|name| place.read(name).unwrap())
        })
    }

    /// Checks that `place` contains the models of an undisturbed run and no other files.
    fn check(self, place: &Place, what: &dyn std::fmt::Debug) {
        let expected = self.undisturbed();
        for (name, expected) in [OUT, LAST].iter().zip(expected) {
            assert!(
                place.read(name).as_ref() == Some(expected),
                "{what:?}: other bytes in {name}"
            );
        }
        assert_eq!(place.leftovers(), [""; 0], "{what:?}");
        let is_partial = |name: &String| name.contains("partial") || name.contains("rescued");
        assert!(
            !place.names().iter().any(is_partial),
            "{what:?}: {:?}",
            place.names()
        );
    }
}

fn run(place: &Place, fault: Option<Fault>, args: &[String]) -> Run {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match fault {
        Some(fault) => place.run_with(fault, GLIMPSE, &args),
        None => place.run(GLIMPSE, &args),
    }
}

/// The faults of both trainings. `actions` returns the effects to try at the N-th call of a kind.
fn faults(kinds: &[Kind], actions: impl Fn(Kind, u32) -> Vec<Action>) -> Vec<(Training, Fault)> {
    let mut faults = Vec::new();
    for training in [Training::New, Training::Frozen] {
        for &kind in kinds {
            for number in 1..=POINTS {
                let of = |action| (training, Fault::new(kind, number, action));
                faults.extend(actions(kind, number).into_iter().map(of));
            }
        }
    }
    // Make the shared results before two threads need them.
    Training::New.undisturbed();
    Training::Frozen.undisturbed();
    faults
}

#[test]
fn a_call_that_fails_costs_nothing() {
    let kinds = [
        Kind::Write,
        Kind::Sync,
        Kind::Rename,
        Kind::Truncate,
        Kind::Create,
    ];
    let faults = faults(&kinds, |kind, number| {
        // A full disk is tried at each call, and one of the other effects, in turn.
        let others = match kind {
            Kind::Write => vec![
                Action::Error(EIO),
                Action::Error(EINTR),
                Action::Short,
                Action::Error(EDQUOT),
            ],
            Kind::Sync => vec![Action::Error(EIO), Action::Error(EINTR)],
            _ => vec![Action::Error(EROFS), Action::Error(EIO)],
        };
        vec![
            Action::Error(ENOSPC),
            others[number as usize % others.len()],
        ]
    });
    let hits = AtomicUsize::new(0);
    for_all(&faults, |&(training, fault)| {
        let place = Place::new();
        let first = training.start(&place, Some(fault));
        hits.fetch_add(usize::from(first.is_hit), Ordering::Relaxed);
        let what = (training, fault, first.code, &first.err);
        assert!(first.is_orderly(), "{what:?}");
        assert_eq!(place.leftovers(), [""; 0], "{what:?}");
        if first.code == Some(1) {
            assert!(first.is_hit, "{what:?}");
            let second = training.go_on(&place);
            assert_eq!(second.code, Some(0), "{what:?}: {}", second.err);
        }
        training.check(&place, &what);
    });
    // Sixteen writes and sixteen syncs of each training, and all of its fewer renames.
    let hits = hits.into_inner();
    println!("{hits} faults of {} asked for", faults.len());
    assert!(hits >= 180, "{hits}");
}

#[test]
fn a_run_that_is_killed_goes_on_as_if_it_were_not() {
    let kinds = [Kind::Write, Kind::Sync, Kind::Rename];
    let faults = faults(&kinds, |kind, _| match kind {
        Kind::Write => vec![Action::Before, Action::Within],
        Kind::Sync => vec![Action::Before],
        _ => vec![Action::Before, Action::After],
    });
    let hits = AtomicUsize::new(0);
    for_all(&faults, |&(training, fault)| {
        let place = Place::new();
        let first = training.start(&place, Some(fault));
        let what = (training, fault, first.code, &first.err);
        if first.is_hit {
            hits.fetch_add(1, Ordering::Relaxed);
            assert_eq!(first.signal, Some(9), "{what:?}");
            let second = training.go_on(&place);
            assert_eq!(second.code, Some(0), "{what:?}: {}", second.err);
        }
        training.check(&place, &what);
    });
    let hits = hits.into_inner();
    println!("{hits} kills of {} asked for", faults.len());
    assert!(hits >= 110, "{hits}");
}

/// The files that a message names as written instead of the requested ones.
fn rescued(message: &str) -> Vec<&str> {
    let parts = message.split("what was to be written is in ").skip(1);
    parts
        .map(|part| part.split(';').next().unwrap_or(part).trim())
        .collect()
}

#[test]
fn what_cannot_be_written_any_more_is_somewhere_else() {
    let training = Training::New;
    let [best, last] = training.undisturbed();
    let kinds = [Kind::Write, Kind::Sync, Kind::Rename];
    let faults: Vec<Fault> = kinds
        .into_iter()
        .flat_map(|kind| {
            (1..=MORE_POINTS).map(move |number| Fault::new(kind, number, Action::Error(ENOSPC)))
        })
        .map(|fault| Fault {
            lasts: true,
            ..fault
        })
        .collect();
    let (places, lasts) = (AtomicUsize::new(0), AtomicUsize::new(0));
    for_all(&faults, |&fault| {
        let place = Place::new();
        let run = training.start(&place, Some(fault));
        let what = (fault, run.code, &run.err);
        assert!(run.is_orderly(), "{what:?}");
        assert_eq!(place.leftovers(), [""; 0], "{what:?}");
        if !run.is_hit {
            return training.check(&place, &what);
        }
        if run.code == Some(0) {
            return;
        }
        for found in rescued(&run.err) {
            places.fetch_add(1, Ordering::Relaxed);
            let found = Path::new(found);
            let bytes = fs::read(found).unwrap_or_else(|e| panic!("{what:?}: {e}"));
            assert!(
                found.starts_with(place.tmp().canonicalize().unwrap()),
                "{what:?}"
            );
            match found.file_name().and_then(|name| name.to_str()).unwrap() {
                OUT => assert!(&bytes == best, "{what:?}"),
                LAST => {
                    lasts.fetch_add(1, Ordering::Relaxed);
                    assert!(&bytes == last, "{what:?}");
                }
                _ => {
                    // The run is resumed in another place, with the same result.
                    let other = Place::new();
                    let second = training.resume(&other, found.to_str().unwrap());
                    assert_eq!(second.code, Some(0), "{what:?}: {}", second.err);
                    assert!(other.read(LAST).as_ref() == Some(last), "{what:?}");
                }
            }
        }
    });
    let (places, lasts) = (places.into_inner(), lasts.into_inner());
    println!("{places} files in other places, {lasts} of them the last model");
    assert!(places >= 12 && lasts >= 3, "{places} {lasts}");
    let _ = scratch();
}
