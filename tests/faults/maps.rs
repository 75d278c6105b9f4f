//! Files that cannot be mapped into memory.

use crate::injector::{Action, ENOMEM, Fault, Kind};
use crate::places::{CONVERT, GLIMPSE, Place, data, model};

#[test]
fn a_model_that_cannot_be_mapped_is_one_line() {
    let place = Place::new();
    std::fs::copy(model(), place.out().join("model.safetensors")).unwrap();
    let photo = data().join("0.png");
    let photo = photo.to_str().unwrap();
    let fault = Fault::new(Kind::Map, 1, Action::Error(ENOMEM));
    let commands: [(&str, &[&str]); 4] = [
        (GLIMPSE, &["caption", photo, "--model", "model.safetensors"]),
        (GLIMPSE, &["inspect", "model.safetensors"]),
        (
            GLIMPSE,
            &[
                "features",
                photo,
                "--encoder",
                "model.safetensors",
                "--out",
                "f",
            ],
        ),
        (CONVERT, &["model.safetensors", "c"]),
    ];
    for (program, args) in commands {
        let run = place.run_with(fault, program, args);
        assert!(run.is_hit, "{args:?}");
        let message = run.complaint();
        let expected = "model.safetensors: cannot be read: memory does not suffice";
        assert!(message.starts_with(expected), "{message}");
        assert_eq!(place.names().len(), 1, "{args:?}");
    }
}
