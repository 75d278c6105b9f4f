//! Floor 2: the tensor and the tape.
//!
//! A [`Tensor`] is a shape over shared, row-major `f32` storage. If gradients are wanted it also has a node on the tape.
//! Cloning a tensor does not copy its elements; [`Tensor::reshape`] and [`Tensor::narrow`] are views.
//!
//! A tensor is on a [`Device`], and operations run on the device of their inputs, so callers do not depend on the device.
//!
//! The tape has no list of operations. An operation computes its output and calls [`Tensor::record`] with its inputs and a
//! closure that computes the gradients with respect to the inputs from the gradient with respect to the output. If no input
//! is tracked, nothing is recorded.

mod check;
#[cfg(any(feature = "ndarray", test))]
mod convert;
mod device;
mod place;
mod shape;
mod storage;
mod tape;

pub use check::check_gradients;
pub use device::Device;
pub(crate) use place::Place;
pub use shape::Shape;
pub use storage::Storage;
pub use tape::{Gradients, Wanted};

use std::sync::Arc;

use crate::cpu::packed::{Layout, PackedB};
use crate::cpu::{Isa, memory};
use crate::error::{Error, Result};
use crate::gpu::Slice;
use tape::Node;

/// A shape over shared, row-major `f32`s.
///
/// ```
/// use glimpse::tensor::Tensor;
/// let t = Tensor::from_vec(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[2, 3])?;
/// assert_eq!(t.narrow(1, 1)?.data(), &[4.0, 5.0, 6.0]);
/// assert!(Tensor::from_vec(vec![1.0], &[2, 3]).is_err());
/// # Ok::<(), glimpse::error::Error>(())
/// ```
#[derive(Clone)]
pub struct Tensor {
    storage: Storage,
    offset: usize,
    shape: Shape,
    node: Option<Node>,
}

impl Tensor {
    /// A tensor of these elements, in row-major order, on the CPU.
    ///
    /// # Errors
    /// Where their number is not that of `shape`.
    pub fn from_vec(data: Vec<f32>, shape: &[usize]) -> Result<Self> {
        let shape = Shape::new(shape);
        if shape.checked_len() != Some(data.len()) {
            return Err(Error::shape(
                "from_vec",
                shape,
                format_args!("{} elements", data.len()),
            ));
        }
        Ok(Tensor {
            storage: Storage::cpu(data),
            offset: 0,
            shape,
            node: None,
        })
    }

    /// A tensor that an operation has computed on the CPU.
    ///
    /// # Panics
    /// If the number of elements is not that of the shape, which is a bug in the operation.
    pub(crate) fn computed(data: Vec<f32>, shape: &[usize]) -> Self {
        let shape = Shape::new(shape);
        assert_eq!(
            data.len(),
            shape.len(),
            "an operation computed {shape} wrongly"
        );
        Tensor {
            storage: Storage::cpu(data),
            offset: 0,
            shape,
            node: None,
        }
    }

    /// A tensor of zeros, on the CPU.
    pub fn zeros(shape: &[usize]) -> Self {
        Self::full(shape, 0.0)
    }

    /// A tensor whose elements are all `value`, on the CPU.
    pub fn full(shape: &[usize], value: f32) -> Self {
        Self::computed(vec![value; shape.iter().product()], shape)
    }

    /// A tensor of one number, of shape `[]`.
    pub fn scalar(value: f32) -> Self {
        Self::computed(vec![value], &[])
    }

    /// The shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The sizes of the axes.
    pub fn dims(&self) -> &[usize] {
        self.shape.dims()
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.shape.len()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements, in row-major order.
    ///
    /// Elements on the GPU are read back at the first call, which waits for all work dispatched before. If the GPU was
    /// lost, this returns NaNs, and the next call that uses the GPU returns the error. [`Tensor::to`] returns it at once.
    pub fn data(&self) -> &[f32] {
        &self.storage.data()[self.offset..self.offset + self.len()]
    }

    /// The elements, for writing. They are copied first if another tensor shares them. A tensor on the GPU moves to the
    /// CPU.
    pub fn data_mut(&mut self) -> &mut [f32] {
        if self.gpu().is_some() {
            let data = self.data().to_vec();
            (self.storage, self.offset) = (Storage::cpu(data), 0);
        }
        let range = self.offset..self.offset + self.len();
        &mut self.storage.data_mut()[range]
    }

    /// The elements as a vector, without a copy if no other tensor shares them.
    pub fn into_vec(self) -> Vec<f32> {
        let range = self.offset..self.offset + self.len();
        self.storage.into_vec(range)
    }

    /// The only element.
    ///
    /// # Errors
    /// Where there is not exactly one element, or the GPU does not answer.
    pub fn item(&self) -> Result<f32> {
        let all = self.storage.read()?;
        match &all[self.offset..self.offset + self.len()] {
            [x] => Ok(*x),
            _ => Err(Error::shape("item", "one element", self.shape())),
        }
    }

    /// A view of the elements with another shape.
    ///
    /// # Errors
    /// Where the number of elements differs.
    pub fn reshape(&self, shape: &[usize]) -> Result<Self> {
        let shape = Shape::new(shape);
        if shape.checked_len() != Some(self.len()) {
            return Err(Error::shape(
                "reshape",
                format_args!("{} elements", self.len()),
                shape,
            ));
        }
        let out = Tensor {
            shape,
            node: None,
            ..self.clone()
        };
        let from = self.dims().to_vec();
        out.record(&[self], move |grad, _| Ok(vec![Some(grad.reshape(&from)?)]))
    }

    /// A view of element `index` of the first axis, without that axis: `[N, H, W, C]` becomes `[H, W, C]`.
    ///
    /// # Errors
    /// Where there is no first axis, or it has no element `index`.
    pub fn index(&self, index: usize) -> Result<Self> {
        let rest = self.dims().get(1..).unwrap_or(&[]).to_vec();
        self.narrow(index, 1)?.reshape(&rest)
    }

    /// A view of `len` elements of the first axis, from `start` on: `[N, ...]` becomes `[len, ...]`.
    ///
    /// # Errors
    /// Where there is no first axis, or it has fewer than `start + len` elements.
    pub fn narrow(&self, start: usize, len: usize) -> Result<Self> {
        let rows = self.dims().first().copied().unwrap_or(0);
        if start.checked_add(len).is_none_or(|end| end > rows) {
            return Err(Error::shape(
                "narrow",
                format_args!("at least {} rows", start.saturating_add(len)),
                self.shape(),
            ));
        }
        let row = self.len() / rows.max(1);
        let mut dims = self.dims().to_vec();
        dims[0] = len;
        let out = Tensor {
            shape: Shape::new(&dims),
            offset: self.offset + start * row,
            node: None,
            ..self.clone()
        };
        let from = self.dims().to_vec();
        out.record(&[self], move |grad, _| {
            if let Some(gpu) = grad.gpu() {
                let whole = gpu.zeros(from.iter().product())?;
                let part = Slice::from(whole.clone()).after(start * row);
                gpu.copy(&grad.on(gpu)?, &part, len * row)?;
                return Ok(vec![Some(Tensor::from_gpu(whole, &from))]);
            }
            let mut whole = memory::unset(from.iter().product());
            let (before, rest) = whole.split_at_mut(start * row);
            let (part, after) = rest.split_at_mut(len * row);
            before.fill(0.0);
            part.copy_from_slice(grad.data());
            after.fill(0.0);
            Ok(vec![Some(Tensor::computed(whole, &from))])
        })
    }

    /// A tensor with these elements that is not on the tape.
    pub fn detach(&self) -> Self {
        Tensor {
            node: None,
            ..self.clone()
        }
    }

    /// A tensor with these elements that is a leaf of the tape: [`Tensor::backward`] computes its gradient.
    pub fn tracked(&self) -> Self {
        Tensor {
            node: Some(Node::leaf()),
            ..self.clone()
        }
    }

    /// Whether this tensor is on the tape: a leaf, or computed from one.
    pub fn is_tracked(&self) -> bool {
        self.node.is_some()
    }

    /// The elements packed as the right-hand operand of the CPU's matrix product. The result is cached if the tensor is not
    /// tracked, as weights are in inference. A tracked tensor may change and is packed at each call.
    pub(crate) fn packed(
        &self,
        isa: Isa,
        layout: Layout,
        pack: impl FnOnce(&[f32]) -> PackedB,
    ) -> Arc<PackedB> {
        if self.is_tracked() || self.len() != self.storage.len() {
            return Arc::new(pack(self.data()));
        }
        self.storage.packed(isa, layout, &self.shape, pack)
    }
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = &self.data()[..self.len().min(8)];
        let more = if self.len() > 8 { ", ..." } else { "" };
        let tracked = if self.is_tracked() { ", tracked" } else { "" };
        write!(f, "Tensor {}{tracked} {shown:?}{more}", self.shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_share_and_writes_copy() {
        let a = Tensor::from_vec((0..6).map(|i| i as f32).collect(), &[3, 2]).unwrap();
        let mut b = a.narrow(1, 2).unwrap();
        assert_eq!(b.data(), &[2.0, 3.0, 4.0, 5.0]);
        b.data_mut()[0] = 9.0;
        assert_eq!(a.data()[2], 2.0);
        assert_eq!(b.into_vec(), vec![9.0, 3.0, 4.0, 5.0]);
    }

    #[test]
    fn mistakes_name_the_operation_and_both_shapes() {
        let a = Tensor::zeros(&[2, 3]);
        assert_eq!(
            a.reshape(&[4]).unwrap_err().to_string(),
            "reshape: expected 6 elements, got [4]"
        );
        assert_eq!(
            a.narrow(1, 2).unwrap_err().to_string(),
            "narrow: expected at least 3 rows, got [2, 3]"
        );
        assert!(a.narrow(usize::MAX, 2).is_err());
        assert!(Tensor::from_vec(vec![], &[usize::MAX, 2]).is_err());
        assert!(a.item().is_err());
        assert!(Tensor::scalar(1.0).index(0).is_err());
    }

    #[test]
    fn views_pass_gradients_back() {
        let a = Tensor::zeros(&[3, 2]).tracked();
        let y = a.narrow(1, 1).unwrap().reshape(&[2]).unwrap();
        let grads = y
            .backward_from(&Tensor::from_vec(vec![5.0, 7.0], &[2]).unwrap())
            .unwrap();
        assert_eq!(
            grads.get(&a).unwrap().data(),
            &[0.0, 0.0, 5.0, 7.0, 0.0, 0.0]
        );
    }
}
