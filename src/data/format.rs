//! The formats of weight files.

/// The first bytes of an HDF5 file.
const HDF5: &[u8] = b"\x89HDF\r\n\x1a\n";

/// The file format of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The safetensors format.
    Safetensors,
    /// `torch.save` since PyTorch 1.6: a zip archive.
    TorchZip,
    /// `torch.save` before that: pickles and storages one after another.
    TorchLegacy,
    /// Keras' `.h5`.
    KerasH5,
    /// Keras' `.keras`: a zip archive with an HDF5 file in it.
    KerasZip,
}

impl Format {
    /// Returns the format's name for messages.
    pub fn name(self) -> &'static str {
        match self {
            Format::Safetensors => "safetensors",
            Format::TorchZip => "PyTorch zip",
            Format::TorchLegacy => "PyTorch pickle",
            Format::KerasH5 => "Keras HDF5",
            Format::KerasZip => "Keras zip",
        }
    }

    /// Whether Keras wrote it, with its own layout of kernels and its own names.
    pub fn is_keras(self) -> bool {
        matches!(self, Format::KerasH5 | Format::KerasZip)
    }

    /// Recognises the format by the first bytes; `None` if it is none of these. Every zip archive counts as
    /// [`Format::TorchZip`]; only its contents show that it is [`Format::KerasZip`].
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        if bytes.starts_with(b"PK\x03\x04") {
            Some(Format::TorchZip)
        } else if matches!(bytes, [0x80, 2..=5, ..]) {
            Some(Format::TorchLegacy)
        } else if bytes.starts_with(HDF5) {
            Some(Format::KerasH5)
        } else if bytes.get(8) == Some(&b'{') {
            Some(Format::Safetensors)
        } else {
            None
        }
    }
}
