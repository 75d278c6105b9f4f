//! The tape: records which tensors were computed from which, and propagates gradients back (reverse-mode automatic
//! differentiation).
//!
//! For a loss `L` and an operation `y = f(x)`, the chain rule says `dL/dx = (dy/dx)^T dL/dy`. Each operation records a node
//! with a closure that computes this product for its own `f`. [`Tensor::backward`] visits the nodes from the newest to the
//! oldest. In this order the gradient of each node is complete before it is propagated, because all operations that read a
//! tensor were recorded after it.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::{Device, Tensor};
use crate::cpu::profile::{self, Origin};
use crate::cpu::threads;
use crate::error::{Error, Result};
use crate::gpu::elementwise::{self, ADD};

type Backward = Box<dyn FnOnce(&Tensor, Wanted) -> Result<Vec<Option<Tensor>>> + Send>;

/// A node of the tape.
#[derive(Clone)]
pub(super) struct Node(Arc<Inner>);

struct Inner {
    id: u64,
    inputs: Vec<Option<Node>>,
    // `None` for a leaf, and after the backward pass has called it, which frees the tensors that the closure has captured.
    backward: Mutex<Option<Backward>>,
    is_leaf: bool,
    origin: Origin,
}

fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Node {
    pub(super) fn leaf() -> Self {
        Node(Arc::new(Inner {
            id: next_id(),
            inputs: Vec::new(),
            backward: Mutex::new(None),
            is_leaf: true,
            origin: profile::origin(),
        }))
    }
}

/// The gradients with respect to the leaves that a result was computed from.
#[derive(Default)]
pub struct Gradients(HashMap<u64, Tensor>);

impl Gradients {
    /// The gradient with respect to a tracked leaf, of its shape; `None` if the result does not depend on it.
    pub fn get(&self, leaf: &Tensor) -> Option<&Tensor> {
        self.0.get(&leaf.node.as_ref()?.0.id)
    }

    /// Removes and returns the gradient with respect to a tracked leaf.
    pub fn take(&mut self, leaf: &Tensor) -> Option<Tensor> {
        self.0.remove(&leaf.node.as_ref()?.0.id)
    }
}

/// The inputs of an operation with respect to which a backward pass has to compute gradients.
///
/// Inputs are numbered as they were given to [`Tensor::record`]. An input is wanted if it is tracked. A backward pass may
/// compute the other gradients too, but they are dropped.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a>(&'a [bool]);

impl Wanted<'_> {
    /// Returns whether the gradient with respect to input number `input` is wanted. An input that was left out, such as an
    /// optional bias, is not.
    pub fn has(self, input: usize) -> bool {
        self.0.get(input).is_some_and(|&wanted| wanted)
    }

    /// Returns the gradient that `compute` returns, if the one with respect to input number `input` is wanted.
    ///
    /// # Errors
    /// Those of `compute`.
    pub fn then(
        self,
        input: usize,
        compute: impl FnOnce() -> Result<Tensor>,
    ) -> Result<Option<Tensor>> {
        self.has(input).then(compute).transpose()
    }
}

impl Tensor {
    /// Records a node for this output of an operation if one of its inputs is tracked.
    ///
    /// `backward` takes the gradient with respect to the output, and which gradients are [`Wanted`]. It returns the gradient
    /// with respect to each input, or `None` where there is none or it is not wanted. It may return more gradients than there
    /// are inputs: those beyond belong to optional inputs that were left out, and are `None`. If no input is tracked,
    /// `backward` is dropped without being boxed.
    ///
    /// ```
    /// use glimpse::tensor::Tensor;
    /// let x = Tensor::scalar(3.0).tracked();
    /// let kept = x.detach();
    /// let square = Tensor::scalar(kept.item()? * kept.item()?).record(&[&x], move |grad, _wanted| {
    ///     Ok(vec![Some(Tensor::scalar(2.0 * kept.item()? * grad.item()?))])
    /// })?;
    /// assert_eq!(square.backward()?.get(&x).unwrap().item()?, 6.0);
    /// # Ok::<(), glimpse::error::Error>(())
    /// ```
    ///
    /// # Errors
    /// It never fails; the result is a [`Result`] so that an operation can end with it.
    pub fn record(
        mut self,
        inputs: &[&Tensor],
        backward: impl FnOnce(&Tensor, Wanted) -> Result<Vec<Option<Tensor>>> + Send + 'static,
    ) -> Result<Tensor> {
        if inputs.iter().any(|t| t.is_tracked()) {
            self.node = Some(Node(Arc::new(Inner {
                id: next_id(),
                inputs: inputs.iter().map(|t| t.node.clone()).collect(),
                backward: Mutex::new(Some(Box::new(backward))),
                is_leaf: false,
                origin: profile::origin(),
            })));
        }
        Ok(self)
    }

    /// The gradients of this number with respect to every leaf that it was computed from. Consumes the tape behind it.
    ///
    /// # Errors
    /// Where this is not one number, nothing that it was computed from is tracked, or the tape was consumed before.
    pub fn backward(&self) -> Result<Gradients> {
        if self.len() != 1 {
            return Err(Error::shape("backward", "one element", self.shape()));
        }
        self.backward_from(&Tensor::full(self.dims(), 1.0))
    }

    /// The gradients of a loss with respect to every leaf, given its gradient `grad` with respect to this tensor.
    ///
    /// # Errors
    /// Where the shapes differ, nothing that this was computed from is tracked, or the tape was consumed before.
    pub fn backward_from(&self, grad: &Tensor) -> Result<Gradients> {
        if grad.dims() != self.dims() {
            return Err(Error::shape("backward", self.shape(), grad.shape()));
        }
        let Some(node) = &self.node else {
            return Err(Error::value(
                "backward",
                "nothing this was computed from is tracked",
            ));
        };
        threads::run(|| propagate(node, grad))
    }
}

/// Propagates `grad` from `node` back to the leaves.
fn propagate(node: &Node, grad: &Tensor) -> Result<Gradients> {
    let mut leaves = HashMap::new();
    let mut waiting = BTreeMap::from([(node.0.id, (node.clone(), grad.detach()))]);
    while let Some((id, (node, grad))) = waiting.pop_last() {
        if node.0.is_leaf {
            leaves.insert(id, grad);
            continue;
        }
        let backward = node.0.backward.lock().ok().and_then(|mut b| b.take());
        let Some(backward) = backward else {
            return Err(Error::value(
                "backward",
                "the tape was consumed by an earlier call",
            ));
        };
        let timer = node.0.origin.time_backward();
        let wanted: Vec<bool> = node.0.inputs.iter().map(Option::is_some).collect();
        let grads = backward(&grad, Wanted(&wanted))?;
        drop(timer);
        assert!(
            grads.len() >= wanted.len() && grads.iter().skip(wanted.len()).all(Option::is_none),
            "an operation returned too few gradients, or one for an input that it was not given"
        );
        for (input, grad) in node.0.inputs.iter().zip(grads) {
            let (Some(input), Some(grad)) = (input, grad) else {
                continue;
            };
            match waiting.entry(input.0.id) {
                std::collections::btree_map::Entry::Vacant(e) => {
                    e.insert((input.clone(), grad));
                }
                std::collections::btree_map::Entry::Occupied(mut e) => {
                    add(&mut e.get_mut().1, &grad)?;
                }
            }
        }
    }
    Ok(Gradients(leaves))
}

// Elements that one task adds.
const CHUNK: usize = 1 << 16;

/// Adds `grad` to `sum`, on the device that they are on.
fn add(sum: &mut Tensor, grad: &Tensor) -> Result<()> {
    if let Device::Gpu(gpu) = Device::of(&[sum, grad]) {
        let both = elementwise::pair(&gpu, ADD, &sum.on(&gpu)?, &grad.on(&gpu)?, grad.len())?;
        *sum = Tensor::from_gpu(both, grad.dims());
        return Ok(());
    }
    let grad = grad.data();
    threads::for_each_chunk(sum.data_mut(), CHUNK, |i, sum| {
        let pairs = sum.iter_mut().zip(&grad[i * CHUNK..]);
        pairs.for_each(|(a, b)| *a += b);
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn double(x: &Tensor) -> Tensor {
        let y: Vec<f32> = x.data().iter().map(|x| 2.0 * x).collect();
        Tensor::computed(y, x.dims())
            .record(&[x], |g, _| {
                let g = g.data().iter().map(|g| 2.0 * g).collect();
                Ok(vec![Some(Tensor::from_vec(g, &[])?)])
            })
            .unwrap()
    }

    fn sum(a: &Tensor, b: &Tensor) -> Tensor {
        Tensor::scalar(a.data()[0] + b.data()[0])
            .record(&[a, b], |g, _| Ok(vec![Some(g.clone()), Some(g.clone())]))
            .unwrap()
    }

    #[test]
    fn gradients_of_paths_that_meet_are_added() {
        let x = Tensor::scalar(3.0).tracked();
        let y = double(&x);
        let z = sum(&sum(&y, &double(&y)), &x);
        assert_eq!(z.item().unwrap(), 21.0);
        assert_eq!(z.backward().unwrap().get(&x).unwrap().item().unwrap(), 7.0);
    }

    #[test]
    fn only_tracked_inputs_record() {
        assert!(!double(&Tensor::scalar(1.0)).is_tracked());
        assert!(double(&Tensor::scalar(1.0).tracked()).is_tracked());
        assert!(Tensor::scalar(1.0).backward().is_err());
    }

    #[test]
    fn the_tape_can_be_walked_once() {
        let x = Tensor::scalar(1.0).tracked();
        let y = double(&x);
        assert!(y.backward().is_ok());
        assert!(y.backward().is_err());
    }

    #[test]
    fn the_tape_says_which_gradients_are_wanted() {
        let (x, y) = (Tensor::scalar(2.0).tracked(), Tensor::scalar(3.0));
        let product = Tensor::scalar(6.0).record(&[&x, &y], |dy, wanted| {
            assert_eq!(
                [0, 1, 2].map(|input| wanted.has(input)),
                [true, false, false]
            );
            let dx = wanted.then(0, || Ok(Tensor::scalar(3.0 * dy.item()?)))?;
            let other = wanted.then(1, || unreachable!("this gradient is not wanted"))?;
            let left_out = wanted.then(2, || unreachable!("there is no such input"))?;
            Ok(vec![dx, other, left_out])
        });
        let grads = product.unwrap().backward().unwrap();
        assert_eq!(grads.get(&x).unwrap().item().unwrap(), 3.0);
    }
}
