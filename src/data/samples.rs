//! Three photos that are part of the program, for those who have none at hand.

/// A photo that is part of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Its file's name.
    pub name: &'static str,
    /// The JPEG.
    pub bytes: &'static [u8],
}

/// The photos.
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
