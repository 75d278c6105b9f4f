//! How floating-point numbers lie in files. In memory they are always `f32`.

/// A type of floating-point number, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Float {
    F64,
    F32,
    F16,
    BF16,
}

impl Float {
    /// Bytes of a number.
    pub(crate) fn size(self) -> usize {
        match self {
            Float::F64 => 8,
            Float::F32 => 4,
            Float::F16 | Float::BF16 => 2,
        }
    }

    /// The type as safetensors spells it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Float::F64 => "F64",
            Float::F32 => "F32",
            Float::F16 => "F16",
            Float::BF16 => "BF16",
        }
    }

    /// The numbers in `bytes`; what is left at their end, less than a number, is not looked at.
    pub(crate) fn decode(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Float::F64 => each(bytes, |b| f64::from_le_bytes(b) as f32),
            Float::F32 => each(bytes, f32::from_le_bytes),
            Float::F16 => each(bytes, |b| half::f16::from_le_bytes(b).to_f32()),
            Float::BF16 => each(bytes, |b| half::bf16::from_le_bytes(b).to_f32()),
        }
    }

    /// As [`Float::decode`], into `numbers`; both hold as many.
    pub(crate) fn decode_into(self, bytes: &[u8], numbers: &mut [f32]) {
        match self {
            Float::F64 => each_into(bytes, numbers, |b| f64::from_le_bytes(b) as f32),
            Float::F32 => each_into(bytes, numbers, f32::from_le_bytes),
            Float::F16 => decode_halves(bytes, numbers),
            Float::BF16 => each_into(bytes, numbers, |b| half::bf16::from_le_bytes(b).to_f32()),
        }
    }

    /// The numbers as bytes, rounded to the nearest.
    pub(crate) fn encode(self, numbers: &[f32]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(numbers.len() * self.size());
        for &x in numbers {
            match self {
                Float::F64 => bytes.extend(f64::from(x).to_le_bytes()),
                Float::F32 => bytes.extend(x.to_le_bytes()),
                Float::F16 => bytes.extend(half::f16::from_f32(x).to_le_bytes()),
                Float::BF16 => bytes.extend(half::bf16::from_f32(x).to_le_bytes()),
            }
        }
        bytes
    }
}

fn each<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    let (numbers, _) = bytes.as_chunks::<N>();
    numbers.iter().map(|&b| number(b)).collect()
}

fn each_into<const N: usize>(bytes: &[u8], numbers: &mut [f32], number: impl Fn([u8; N]) -> f32) {
    let (chunks, _) = bytes.as_chunks::<N>();
    for (out, &b) in numbers.iter_mut().zip(chunks) {
        *out = number(b);
    }
}

/// Eight at a time: `half` then looks once, instead of eight times, whether the processor converts them itself.
fn decode_halves(bytes: &[u8], numbers: &mut [f32]) {
    use half::slice::HalfFloatSliceExt;
    const AT_A_TIME: usize = 8;
    let chunks = bytes.chunks(AT_A_TIME * 2);
    for (bytes, out) in chunks.zip(numbers.chunks_mut(AT_A_TIME)) {
        let mut halves = [half::f16::ZERO; AT_A_TIME];
        for (half, &b) in halves.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *half = half::f16::from_le_bytes(b);
        }
        halves[..out.len()].convert_to_f32_slice(out);
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
            let many: Vec<f32> = (0..19).map(|i| i as f32 * 0.25 - 2.0).collect();
            let mut read = vec![0.0; many.len()];
            float.decode_into(&float.encode(&many), &mut read);
            assert_eq!(read, many, "{}", float.name());
        }
        assert_eq!(Float::BF16.decode(&Float::BF16.encode(&[1.003])), [1.0]);
    }
}
