//! Three sample photos that are part of the program.

/// A sample photo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Its file name.
    pub name: &'static str,
    /// The JPEG file.
    pub bytes: &'static [u8],
}

/// The sample photos.
pub const SAMPLES: [Sample; 3] = [
    Sample {
        name: "raccoon.jpg",
        bytes: include_bytes!("../../weights/samples/raccoon.jpg"),
    },
    Sample {
        name: "astronaut.jpg",
        bytes: include_bytes!("../../weights/samples/astronaut.jpg"),
    },
    Sample {
        name: "cat.jpg",
        bytes: include_bytes!("../../weights/samples/cat.jpg"),
    },
];
