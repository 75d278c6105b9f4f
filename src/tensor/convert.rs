//! Conversions from and to `ndarray`.

use ndarray::{ArrayBase, ArrayD, ArrayViewD, Data, Dimension, IxDyn};

use super::Tensor;

impl<S: Data<Elem = f32>, D: Dimension> From<&ArrayBase<S, D>> for Tensor {
    /// Copies an array of any order into a row-major tensor of the same shape.
    fn from(array: &ArrayBase<S, D>) -> Self {
        Tensor::computed(array.iter().copied().collect(), array.shape())
    }
}

impl From<ArrayD<f32>> for Tensor {
    /// Takes over the array's memory if it is row-major, else copies it.
    fn from(array: ArrayD<f32>) -> Self {
        if !array.is_standard_layout() {
            return Tensor::from(&array);
        }
        let shape = array.shape().to_vec();
        match array.into_raw_vec_and_offset() {
            (data, None | Some(0)) if data.len() == shape.iter().product::<usize>() => {
                Tensor::computed(data, &shape)
            }
            (data, offset) => {
                let start = offset.unwrap_or(0);
                let len: usize = shape.iter().product();
                Tensor::computed(data[start..start + len].to_vec(), &shape)
            }
        }
    }
}

impl Tensor {
    /// A view of the elements as an array of the same shape.
    ///
    /// ```
    /// use glimpse::tensor::Tensor;
    /// let a = ndarray::array![[1.0f32, 2.0], [3.0, 4.0]];
    /// let t = Tensor::from(&a.t());
    /// assert_eq!(t.data(), &[1.0, 3.0, 2.0, 4.0]);
    /// assert_eq!(t.view(), a.t().into_dyn());
    /// ```
    pub fn view(&self) -> ArrayViewD<'_, f32> {
        ArrayViewD::from_shape(IxDyn(self.dims()), self.data())
            .expect("a tensor has as many elements as its shape says")
    }

    /// The elements as an array of the same shape, without a copy if no other tensor shares them.
    pub fn into_array(self) -> ArrayD<f32> {
        let shape = IxDyn(self.dims());
        ArrayD::from_shape_vec(shape, self.into_vec())
            .expect("a tensor has as many elements as its shape says")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_of_any_order_come_and_go() {
        let a = ArrayD::from_shape_fn(IxDyn(&[2, 3, 4]), |i| {
            (i[0] * 100 + i[1] * 10 + i[2]) as f32
        });
        let swapped = a.clone().permuted_axes(IxDyn(&[2, 0, 1]));
        let sliced = a.slice(ndarray::s![1.., ..;-1, 1..3]).into_dyn().to_owned();
        for array in [a, swapped, sliced] {
            let tensor = Tensor::from(array.clone());
            assert_eq!(tensor.view(), array);
            assert_eq!(tensor.into_array(), array);
        }
    }
}
