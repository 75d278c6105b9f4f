//! Floating-point formats of numbers in files. In memory numbers are always `f32`.

use crate::cpu::{Isa, formats};

/// A floating-point format, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Float {
    F64,
    F32,
    F16,
    BF16,
}

impl Float {
    /// Returns the size of a number in bytes.
    pub(crate) fn size(self) -> usize {
        match self {
            Float::F64 => 8,
            Float::F32 => 4,
            Float::F16 | Float::BF16 => 2,
        }
    }

    /// Returns the format's name in safetensors files.
    #[cfg(any(feature = "convert", test))]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Float::F64 => "F64",
            Float::F32 => "F32",
            Float::F16 => "F16",
            Float::BF16 => "BF16",
        }
    }

    /// Decodes the numbers in `bytes`. An incomplete number at the end is ignored.
    pub(crate) fn decode(self, bytes: &[u8]) -> Vec<f32> {
        let count = bytes.len() / self.size();
        let mut numbers = vec![0.0; count];
        self.decode_into(&bytes[..count * self.size()], &mut numbers);
        numbers
    }

    /// Decodes the numbers in `bytes` into `to`, which has one element for each.
    pub(crate) fn decode_into(self, bytes: &[u8], to: &mut [f32]) {
        let isa = Isa::current();
        match self {
            Float::F64 => each(bytes, to, |b| f64::from_le_bytes(b) as f32),
            Float::F32 => each(bytes, to, f32::from_le_bytes),
            Float::F16 => formats::f16_to_f32(isa, bytes, to),
            Float::BF16 => formats::bf16_to_f32(isa, bytes, to),
        }
    }

    /// Encodes numbers, rounded to the nearest.
    pub(crate) fn encode(self, numbers: &[f32]) -> Vec<u8> {
        let mut bytes = vec![0; numbers.len() * self.size()];
        match self {
            Float::F64 => fill(numbers, &mut bytes, |x| f64::from(x).to_le_bytes()),
            Float::F32 => fill(numbers, &mut bytes, f32::to_le_bytes),
            Float::F16 => formats::f32_to_f16(Isa::current(), numbers, &mut bytes),
            Float::BF16 => fill(numbers, &mut bytes, |x| {
                half::bf16::from_f32(x).to_le_bytes()
            }),
        }
        bytes
    }
}

fn each<const N: usize>(bytes: &[u8], to: &mut [f32], number: impl Fn([u8; N]) -> f32) {
    let (numbers, _) = bytes.as_chunks::<N>();
    for (to, &bytes) in to.iter_mut().zip(numbers) {
        *to = number(bytes);
    }
}

fn fill<const N: usize>(numbers: &[f32], to: &mut [u8], bytes: impl Fn(f32) -> [u8; N]) {
    let (places, _) = to.as_chunks_mut::<N>();
    for (to, &x) in places.iter_mut().zip(numbers) {
        *to = bytes(x);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        let numbers = [0.0, 1.0, -2.5, 3.25, 1024.0];
        for float in [Float::F64, Float::F32, Float::F16, Float::BF16] {
            let bytes = float.encode(&numbers);
            assert_eq!(bytes.len(), numbers.len() * float.size());
            assert_eq!(float.decode(&bytes), numbers, "{}", float.name());
            assert_eq!(float.decode(&bytes[..bytes.len() - 1]), numbers[..4]);
        }
        assert_eq!(Float::BF16.decode(&Float::BF16.encode(&[1.003])), [1.0]);
    }
}
