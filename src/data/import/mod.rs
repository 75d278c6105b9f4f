//! Reads weight files of other programs: PyTorch, Keras, safetensors.
//!
//! An `Archive` lists the tensors of a file under the names that they have there, and reads those that are asked for.
//! It does not interpret them. Files are not trusted: nothing in them is executed, a size is checked before it is used,
//! and a file with an inconsistency is refused with an error that names the first one.
//!
//! Without the feature `convert`, only the [`Format`] of such files is recognised, for messages.

#[cfg(feature = "convert")]
mod archive;
#[cfg(feature = "convert")]
mod hdf5;
#[cfg(feature = "convert")]
mod pickle;
#[cfg(feature = "convert")]
mod source;
#[cfg(feature = "convert")]
mod torch;
#[cfg(feature = "convert")]
mod unzip;
#[cfg(feature = "convert")]
mod zipped;

pub use super::format::Format;
#[cfg(feature = "convert")]
pub use archive::Archive;
