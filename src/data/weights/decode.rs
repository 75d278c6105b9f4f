//! Decodes tensors and verifies the checksums of their bytes on the way.

use std::sync::atomic::{AtomicBool, Ordering};

use safetensors::tensor::{Dtype, TensorInfo};

use super::{Loaded, SCALE, WeightFile, checksums, float, quantised};
use crate::cpu::{Isa, formats, memory, threads};
use crate::data::float::Float;
use crate::error::Result;
use crate::tensor::Tensor;

/// The number of elements that one task decodes: 256 KiB as `f32`, which are still in the cache when they are checked.
const PIECE: usize = 1 << 16;

/// The bytes of a tensor with their encoding.
enum Stored<'a> {
    Floats(Float, &'a [u8]),
    Rows { numbers: &'a [u8], scales: Vec<f32> },
}

/// A part of a tensor that one task decodes.
struct Piece<'a> {
    from: Stored<'a>,
    to: &'a mut [f32],
    tensor: usize,
    /// The checksum of its bytes, once it is decoded; only if the file has checksums.
    sum: Option<u32>,
}

impl WeightFile {
    /// Reads the tensors `names` like [`WeightFile::tensors`]; decodes and verifies them on all threads.
    pub(crate) fn load(&self, names: &[String]) -> Result<Vec<Option<Loaded>>> {
        let infos = names.iter().map(|name| self.header.info(name));
        let infos: Vec<Option<&TensorInfo>> = infos.collect();
        let lens = infos.iter().map(|i| i.map_or(0, |i| len(&i.shape)));
        let mut buffers: Vec<Vec<f32>> = lens.map(memory::unset).collect();
        let mut pieces = Vec::new();
        for (tensor, buffer) in buffers.iter_mut().enumerate() {
            if let Some(info) = infos[tensor] {
                let stored = self.stored(&names[tensor], info)?;
                cut(tensor, &stored, buffer, &mut pieces);
            }
        }
        let finite: Vec<AtomicBool> = names.iter().map(|_| AtomicBool::new(true)).collect();
        let isa = Isa::current();
        threads::for_each_chunk(&mut pieces, 1, |_, pieces| {
            for piece in pieces {
                // Computed first, so that the bytes are in the cache when they are decoded.
                if self.sums.is_some() {
                    piece.sum = Some(checksums::of(piece.bytes()));
                }
                if !piece.decode(isa) {
                    finite[piece.tensor].store(false, Ordering::Relaxed);
                }
            }
        });
        self.compare(names, &infos, &pieces)?;
        drop(pieces);
        let loaded = infos.iter().zip(buffers).zip(&finite);
        let loaded = loaded.map(|((info, buffer), finite)| {
            let Some(info) = info else { return Ok(None) };
            let tensor = Tensor::from_vec(buffer, &info.shape)?;
            let is_finite = finite.load(Ordering::Relaxed);
            Ok(Some(Loaded { tensor, is_finite }))
        });
        loaded.collect()
    }

    /// Compares the checksums of tensors, joined from those of their pieces in order, with those in the file.
    fn compare(
        &self,
        names: &[String],
        infos: &[Option<&TensorInfo>],
        pieces: &[Piece],
    ) -> Result<()> {
        let Some(sums) = &self.sums else {
            return Ok(());
        };
        let mut rest = pieces;
        for (tensor, name) in names.iter().enumerate() {
            let own = rest.iter().take_while(|piece| piece.tensor == tensor);
            let (own, others) = rest.split_at(own.count());
            rest = others;
            let parts = own.iter().map(|p| (p.sum.unwrap_or(0), p.bytes().len()));
            if infos[tensor].is_some() && sums.get(name) != Some(&checksums::join(parts)) {
                return Err(self.mismatch(name));
            }
        }
        Ok(())
    }

    fn stored(&self, name: &str, info: &TensorInfo) -> Result<Stored<'_>> {
        let bytes = self.slice(info);
        match float(info.dtype) {
            Some(float) => Ok(Stored::Floats(float, bytes)),
            None if info.dtype == Dtype::I8 => Ok(Stored::Rows {
                numbers: bytes,
                scales: self.scales(name, info)?,
            }),
            None => Err(self.refuse(
                name,
                format_args!("holds {:?}, not floating-point numbers", info.dtype),
            )),
        }
    }

    /// Returns the scales of the quantised tensor `name`.
    fn scales(&self, name: &str, info: &TensorInfo) -> Result<Vec<f32>> {
        let scale = format!("{name}{SCALE}");
        let Some(found) = self.header.info(&scale) else {
            return Err(self.refuse(
                name,
                format_args!("holds I8, not floating-point numbers, and there is no `{scale}`"),
            ));
        };
        self.verify_tensor(&scale, self.slice(found))?;
        let rows = info.shape.first().copied();
        if rows.is_none() || found.shape.len() != 1 || found.shape.first().copied() != rows {
            let (shape, of) = (&found.shape, &info.shape);
            return Err(self.refuse(
                &scale,
                format_args!("is {shape:?}; `{name}` {of:?} needs a scale for each row"),
            ));
        }
        let float = match found.dtype {
            Dtype::F32 => Float::F32,
            Dtype::F16 => Float::F16,
            other => {
                return Err(self.refuse(
                    &scale,
                    format_args!("holds {other:?}; scales are F32 or F16"),
                ));
            }
        };
        let scales = float.decode(self.slice(found));
        match scales.iter().position(|&s| !quantised::is_scale(s)) {
            None => Ok(scales),
            Some(row) => {
                let what = format_args!("is {} at row {row}; no scale is", scales[row]);
                Err(self.refuse(&scale, what))
            }
        }
    }
}

/// Returns the number of elements of a shape; the header was checked, so the product does not overflow.
fn len(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// Cuts a tensor into pieces, each of which one task decodes.
fn cut<'a>(tensor: usize, stored: &Stored<'a>, mut to: &'a mut [f32], pieces: &mut Vec<Piece<'a>>) {
    let row = match stored {
        Stored::Floats(..) => 1,
        Stored::Rows { scales, .. } => (to.len() / scales.len().max(1)).max(1),
    };
    let rows = PIECE.div_ceil(row);
    let mut first = 0;
    while !to.is_empty() {
        let (head, tail) = to.split_at_mut(to.len().min(rows * row));
        let here = first * row..first * row + head.len();
        let from = match stored {
            Stored::Floats(float, bytes) => {
                let size = float.size();
                Stored::Floats(*float, &bytes[here.start * size..here.end * size])
            }
            Stored::Rows { numbers, scales } => Stored::Rows {
                numbers: &numbers[here],
                scales: scales[first..scales.len().min(first + rows)].to_vec(),
            },
        };
        pieces.push(Piece {
            from,
            to: head,
            tensor,
            sum: None,
        });
        (to, first) = (tail, first + rows);
    }
}

impl Piece<'_> {
    /// Returns the bytes that it is decoded from.
    fn bytes(&self) -> &[u8] {
        match &self.from {
            Stored::Floats(_, bytes) => bytes,
            Stored::Rows { numbers, .. } => numbers,
        }
    }

    /// Decodes the numbers; returns whether all are finite.
    fn decode(&mut self, isa: Isa) -> bool {
        match &self.from {
            Stored::Floats(float, bytes) => {
                float.decode_into(bytes, self.to);
                formats::all_finite(isa, self.to)
            }
            // Valid scales make all products finite.
            Stored::Rows { numbers, scales } => {
                quantised::dequantise(isa, numbers, scales, self.to);
                true
            }
        }
    }
}
