//! Tests of the injector itself; the other tests depend on it.

use std::fs;

use crate::injector::{Action, EINTR, EIO, Fault, Kind};
use crate::places::Place;

#[test]
fn faults_happen_where_they_are_asked_for() {
    let place = Place::new();
    let write = |fault: Fault| {
        let run = place.run_with(fault, "sh", &["-c", "printf abcdef > a; printf ghi > b"]);
        let read = |name| String::from_utf8(place.read(name).unwrap_or_default()).unwrap();
        let found = (run.code, run.signal, read("a"), read("b"), run.is_hit);
        for name in place.names() {
            fs::remove_file(place.out().join(name)).unwrap();
        }
        found
    };
    let expect = |code, signal, a: &str, b: &str, is_hit| {
        (code, signal, a.to_string(), b.to_string(), is_hit)
    };
    let at = |number, action| Fault::new(Kind::Write, number, action);
    let whole = expect(Some(0), None, "abcdef", "ghi", false);
    assert_eq!(write(at(3, Action::Error(EIO))), whole);
    let create = Fault::new(Kind::Create, 1, Action::Error(EIO));
    let (_, signal, a, _, is_hit) = write(create);
    assert_eq!((signal, a.as_str(), is_hit), (None, "", true));
    let (code, _, a, b, _) = write(at(2, Action::Error(EIO)));
    assert_eq!((a.as_str(), b.as_str()), ("abcdef", ""));
    assert_ne!(code, Some(0));
    let killed = |action| write(at(1, action));
    assert_eq!(killed(Action::Before), expect(None, Some(9), "", "", true));
    assert_eq!(
        killed(Action::Within),
        expect(None, Some(9), "abc", "", true)
    );
    assert_eq!(
        killed(Action::After),
        expect(None, Some(9), "abcdef", "", true)
    );
    // Nothing happens to files outside the folder.
    let elsewhere = format!("printf abc > '{}/c'", place.tmp().display());
    let run = place.run_with(at(1, Action::Error(EINTR)), "sh", &["-c", &elsewhere]);
    assert!(run.code == Some(0) && !run.is_hit);
}
