//! The description of the wanted GPU. It needs no driver, so it is part of every build.

use std::fmt;

/// The advice of errors that do not concern the CPU. The command line names its option instead.
pub const ON_THE_CPU: &str = "compute on the CPU";

/// The environment variable that names the GPU to use, by a part of its name or by its number.
pub const VARIABLE: &str = "GLIMPSE_GPU";

/// The kind of a GPU, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A card with memory of its own.
    Discrete,
    /// Part of the CPU's chip.
    Integrated,
    /// A virtual GPU, as in a virtual machine.
    Virtual,
    /// The driver does not say.
    Unknown,
    /// A software implementation on the CPU.
    Software,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Discrete => "discrete",
            Kind::Integrated => "integrated",
            Kind::Virtual => "virtual",
            Kind::Unknown => "unknown",
            Kind::Software => "software",
        })
    }
}

/// The choice of a GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The best GPU that is hardware.
    Real,
    /// The best GPU, which may be a software implementation.
    Best,
    /// The one with this number, or the first whose name contains this text.
    Named(String),
}
