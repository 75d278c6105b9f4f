//! The table of operations that have a gradient, and the two tests of each row.
//!
//! A row is a function of the inputs that have a gradient, with two lists of shapes. Both tests run with the definition, on
//! every instruction set and on the GPU:
//!
//! - `gradient_is_the_difference_quotient` takes the small shapes, where every element matters to the quotient.
//! - `takes_views` takes the large shapes, which have more elements than a vector and mostly no multiple of its length. The
//!   inputs are views that start in the middle of a buffer. The output and all gradients must be those of the definition.
//!
//! A row whose name is longer than its operation's tests another output or other options of the operation. Options that
//! differ only in numbers are tested in the `tests.rs` of the operation.

use crate::error::Result;
use crate::ops::testing::{agrees_with_the_definition, check_gradients, on_every_device, random};
use crate::ops::*;
use crate::tensor::Tensor;

/// Declares the rows: `NAME(x) = FUNCTION, small SHAPES, large SHAPES;`. Each becomes a module of its name with the two tests.
macro_rules! table {
    ($($name:ident($x:ident) = $y:expr, small $small:tt, large $large:tt;)*) => {
        $(mod $name {
            use super::*;

            fn function($x: &[Tensor]) -> Result<Tensor> {
                $y
            }

            #[test]
            fn gradient_is_the_difference_quotient() {
                let inputs = numbered(inputs!($small));
                on_every_device(|| check_gradients(&inputs, function));
            }

            #[test]
            fn takes_views() {
                let run = || output_and_gradients(inputs!($large), function);
                agrees_with_the_definition(stringify!($name), 5e-6, run);
            }
        })*
    };
}

/// The inputs of a list of shapes in brackets, or those that a function of this name returns.
macro_rules! inputs {
    ([$($input:expr),*]) => {
        vec![$(Input::from($input)),*]
    };
    ($name:ident) => {
        $name()
    };
}

table! {
    add(x) = add(&x[0], &x[1]), small [[3, 7], [3, 7]], large [[9, 700], [9, 700]];
    sub(x) = sub(&x[0], &x[1]), small [[3, 7], [3, 7]], large [[9, 700], [9, 700]];
    mul(x) = mul(&x[0], &x[1]), small [[3, 7], [3, 7]], large [[9, 700], [9, 700]];
    mul_with_itself(x) = mul(&x[0], &x[0]), small [[3, 7]], large [[9, 700]];
    scale(x) = scale(&x[0], -1.75), small [[3, 7]], large [[9, 700]];
    tanh(x) = tanh(&x[0]), small [[3, 7]], large [[9, 700]];
    sigmoid(x) = sigmoid(&x[0]), small [[3, 7]], large [[9, 700]];
    relu(x) = relu(&x[0]), small [spread([3, 21])], large [[9, 700]];
    dropout(x) = dropout(&x[0], 0.4, 3), small [[7, 9]], large [[9, 700]];

    sum(x) = sum(&x[0]), small [[3, 21]], large [[9, 700]];
    mean(x) = mean(&x[0]), small [[3, 21]], large [[9, 700]];
    mse(x) = mse(&x[0], &x[1]), small [[3, 7], [3, 7]], large [[9, 700], [9, 700]];
    log_softmax(x) = log_softmax(&x[0]), small [[2, 3, 19]], large [[23, 37]];
    cross_entropy(x) = {
        let options = CrossEntropy { ignore_index: Some(1), label_smoothing: 0.2 };
        cross_entropy(&x[0], &indices(x[0].dims()), options)
    }, small [[6, 19]], large [[23, 37]];
    weighted_cross_entropy(x) = {
        let options = CrossEntropy { ignore_index: Some(1), label_smoothing: 0.2 };
        let weights = random(&x[0].dims()[..1], 7);
        weighted_cross_entropy(&x[0], &indices(x[0].dims()), weights.data(), options)
    }, small [[6, 19]], large [[23, 37]];
    kl_div(x) = kl_div(&x[0], &view(x[0].dims(), 7), 0.7), small [[2, 3, 19]], large [[23, 37]];
    kl_div_of_a_high_temperature(x) = kl_div(&x[0], &view(x[0].dims(), 7), 2.0),
        small [[2, 3, 19]], large [[23, 37]];
    coverage(x) = {
        let steps = x[0].dims()[0] * x[0].dims()[1];
        let counted: Vec<bool> = (0..steps).map(|step| step % 4 != 3).collect();
        coverage(&x[0], &counted)
    }, small [[2, 3, 7]], large [[9, 4, 7]];

    concat(x) = concat(&[&x[0], &x[1], &x[2]]),
        small [[2, 3, 4], [2, 3, 1], [2, 3, 5]], large [[9, 700], [9, 20], [9, 3]];
    concat_with_itself(x) = concat(&[&x[0], &x[0]]), small [[2, 3, 4]], large [[9, 700]];
    narrow(x) = narrow(&x[0], 1, 2, x[0].dims()[1] - 3), small [[3, 7]], large [[9, 700]];
    narrow_to_rows(x) = narrow(&x[0], 0, 1, 2), small [[3, 4, 5]], large [[9, 700]];
    narrow_to_a_column(x) = narrow(&x[0], 2, 4, 1), small [[3, 4, 5]], large [[9, 70, 10]];
    embedding(x) = embedding(&x[0], &indices(&[40, x[0].dims()[0]])), small [[5, 19]], large [[50, 97]];

    matmul(x) = matmul(&x[0], &x[1]), small [[3, 18], [18, 5]], large [[3, 7], [7, 33]];
    linear(x) = linear(&x[0], &x[1], Some(&x[2])),
        small [[2, 3, 5], [7, 5], [7]], large [[3, 7], [33, 7], [33]];
    linear_without_bias(x) = linear(&x[0], &x[1], None), small [[2, 3, 5], [7, 5]], large [[3, 7], [33, 7]];
    conv2d(x) = conv2d(&x[0], &x[1], Some(&x[2]), Window { stride: [2, 1], padding: [1, 2] }),
        small [[2, 5, 6, 3], [4, 3, 3, 2], [4]], large [[2, 23, 19, 7], [4, 7, 3, 3], [4]];
    max_pool2d(x) = max_pool2d(&x[0], [3, 2], [2, 1], [1, 1]), small [spread([2, 5, 6, 3])], large [[2, 23, 19, 7]];
    avg_pool2d(x) = avg_pool2d(&x[0], [3, 2], [1, 2]), small [[2, 5, 6, 3]], large [[2, 23, 19, 7]];
    global_avg_pool(x) = global_avg_pool(&x[0]), small [[2, 3, 5, 17]], large [[2, 23, 19, 7]];

    batch_norm(x) = Ok(batch_norm(&x[0], &norm(&x[1..], Statistics::Batch))?.0),
        small [[2, 3, 3, 5], [5], [5]], large [[600, 9], [9], [9]];
    batch_norm_by_running_statistics(x) = {
        let fixed = Fixed::of(&x[1], 0.7);
        Ok(batch_norm(&x[0], &norm(&x[1..], fixed.running()))?.0)
    }, small [[2, 3, 3, 5], [5], [5]], large [[600, 9], [9], [9]];
    batch_norm_folded(x) = {
        let fixed = Fixed::of(&x[1], 0.7);
        let folded = fixed.folded(&x[1..])?;
        Ok(batch_norm(&x[0], &norm(&x[1..], Statistics::Folded(&folded)))?.0)
    }, small [[2, 3, 3, 5], [5], [5]], large [[600, 9], [9], [9]];
    norm_relu_pool(x) = Ok(norm_relu_pool(&x[0], &norm(&x[1..], Statistics::Batch), 2)?.0),
        small [[2, 5, 4, 3], [3], above_the_kink([3])], large [[2, 23, 19, 7], [7], [7]];
    norm_relu_pool_by_running_statistics(x) = {
        let fixed = Fixed::of(&x[1], 1.5);
        Ok(norm_relu_pool(&x[0], &norm(&x[1..], fixed.running()), 2)?.0)
    }, small [[2, 5, 4, 3], [3], above_the_kink([3])], large [[2, 23, 19, 7], [7], [7]];
    norm_relu_conv(x) = {
        let norm = norm(&x[1..], Statistics::Batch);
        Ok(norm_relu_conv(&x[0], &norm, &x[3], Window::square(2, 1))?.0)
    }, small [[2, 4, 5, 3], [3], above_the_kink([3]), [4, 3, 3, 3]],
        large [[2, 23, 19, 7], [7], [7], [4, 7, 3, 3]];
    conv_norm_relu(x) = {
        let norm = norm(&x[1..], Statistics::Batch);
        Ok(conv_norm_relu(&x[0], &x[3], Window::square(1, 1), &norm)?.0)
    }, small [[2, 5, 4, 3], [4], above_the_kink([4]), [4, 3, 3, 3]],
        large [[2, 23, 19, 7], [4], [4], [4, 7, 3, 3]];
    conv_norm_relu_by_running_statistics(x) = {
        let fixed = Fixed::of(&x[1], 60.0);
        let norm = norm(&x[1..], fixed.running());
        Ok(conv_norm_relu(&x[0], &x[3], Window::square(1, 1), &norm)?.0)
    }, small [[2, 5, 4, 3], [4], above_the_kink([4]), [4, 3, 3, 3]],
        large [[2, 23, 19, 7], [4], [4], [4, 7, 3, 3]];
    dense_block(x) = {
        let layer = dense_layer(x, [Statistics::Batch, Statistics::Batch]);
        Ok(dense_block(&x[0], &[layer])?.0)
    }, small block_small, large block_large;
    dense_block_folded(x) = {
        let folded = [
            Fixed::of(&x[1], 1.5).folded(&x[1..])?,
            Fixed::of(&x[4], 60.0).folded(&x[4..])?,
        ];
        let layer = dense_layer(x, folded.each_ref().map(Statistics::Folded));
        Ok(dense_block(&x[0], &[layer])?.0)
    }, small block_small, large block_large;

    lstm_sequence(x) = lstm_sequence(&x[0], &lstm_weights(&x[1..])),
        small [[2, 3, 5], [68, 5], [68, 17], [68]], large [[3, 4, 5], [28, 5], [28, 7], [28]];
    lstm_cell_hidden(x) = Ok(lstm_cell(&x[0], &x[1], &x[2], &lstm_weights(&x[3..]))?.0), small cell_small, large cell_large;
    lstm_cell_state(x) = Ok(lstm_cell(&x[0], &x[1], &x[2], &lstm_weights(&x[3..]))?.1), small cell_small, large cell_large;
    lstm_cell_twice(x) = {
        let weights = lstm_weights(&x[3..]);
        let (h, c) = lstm_cell(&x[0], &x[1], &x[2], &weights)?;
        Ok(lstm_cell(&x[0], &h, &c, &weights)?.0)
    }, small cell_small, large cell_large;
    // One row for each result of the attention, because the error of one could be small compared with the others.
    attention_lstm(x) = narrow(&attended(x)?.output, 2, 0, x[3].dims()[1]), small attention_small, large attention_large;
    attention_lstm_context(x) = narrow(&attended(x)?.output, 2, x[3].dims()[1], x[2].dims()[2]), small attention_small, large attention_large;
    attention_lstm_cell_state(x) = Ok(attended(x)?.c), small attention_small, large attention_large;
    // Each weight is about 1/5 and changes little with the inputs. The factor makes its derivatives large enough to be
    // tested.
    attention_lstm_weights(x) = scale(&attended(x)?.weights, 8.0), small attention_small, large attention_large;
}

/// The input of the block, then the parameters of its layer, in the order of [`dense_layer`].
fn block_small() -> Vec<Input> {
    inputs!([
        [2, 3, 4, 3],
        [3],
        above_the_kink([3]),
        [4, 3, 1, 1],
        [4],
        above_the_kink([4]),
        [2, 4, 3, 3]
    ])
}

fn block_large() -> Vec<Input> {
    inputs!([
        [2, 13, 11, 3],
        [3],
        [3],
        [4, 3, 1, 1],
        [4],
        [4],
        [2, 4, 3, 3]
    ])
}

/// `x`, `h`, `c`, then [`lstm_weights`].
fn cell_small() -> Vec<Input> {
    inputs!([[2, 5], [2, 17], [2, 17], [68, 5], [68, 17], [68]])
}

fn cell_large() -> Vec<Input> {
    inputs!([[3, 5], [3, 7], [3, 7], [28, 5], [28, 7], [28]])
}

/// `x`, keys, values, `h0`, `c0`, then the weights `w_ih`, `w_hh`, the bias and the score.
fn attention_small() -> Vec<Input> {
    inputs!([
        [3, 3, 4],
        [2, 5, 19],
        [2, 5, 7],
        [3, 6],
        [3, 6],
        [24, 11],
        [50, 6],
        [31],
        [19]
    ])
}

fn attention_large() -> Vec<Input> {
    inputs!([
        [3, 4, 5],
        [2, 9, 6],
        [2, 9, 8],
        [3, 7],
        [3, 7],
        [28, 13],
        [42, 7],
        [36],
        [6]
    ])
}

/// The shape of an input, and its values in the test of the small shapes.
struct Input {
    shape: Vec<usize>,
    values: Values,
}

enum Values {
    /// Between -1 and 1.
    Random,
    /// From 2.7 to 3.3. As the shift of a norm, they keep its outputs above 0, the kink of ReLU: a normalised value is at
    /// most about 2.5 in size, and the scale at most 1.
    AboveTheKink,
    /// Odd multiples of 1/16, shuffled. None of them is 0, and all are at least 1/8 apart, so a step of a difference
    /// quotient changes neither a sign nor the order.
    Spread,
}

impl<const N: usize> From<[usize; N]> for Input {
    fn from(shape: [usize; N]) -> Self {
        Input {
            shape: shape.to_vec(),
            values: Values::Random,
        }
    }
}

fn above_the_kink(shape: [usize; 1]) -> Input {
    Input {
        values: Values::AboveTheKink,
        ..Input::from(shape)
    }
}

fn spread<const N: usize>(shape: [usize; N]) -> Input {
    Input {
        values: Values::Spread,
        ..Input::from(shape)
    }
}

/// The tensors of `inputs`, each from a seed of its own.
fn numbered(inputs: Vec<Input>) -> Vec<Tensor> {
    let tensor = |(seed, input): (u64, Input)| {
        let mut x = random(&input.shape, seed);
        let n = x.len();
        for (i, x) in x.data_mut().iter_mut().enumerate() {
            match input.values {
                Values::Random => {}
                Values::AboveTheKink => *x = 0.3 * *x + 3.0,
                Values::Spread => *x = ((i * 37 % n) as f32 - (n / 2) as f32 + 0.5) / 8.0,
            }
        }
        x
    };
    (1..).zip(inputs).map(tensor).collect()
}

/// A random tensor that is a view of the middle of a longer one.
fn view(shape: &[usize], seed: u64) -> Tensor {
    let longer = [&[shape[0] + 3], &shape[1..]].concat();
    random(&longer, seed).narrow(2, shape[0]).unwrap()
}

/// Runs `function` forward and backward on views; returns the output and the gradients with respect to all inputs.
fn output_and_gradients(
    inputs: Vec<Input>,
    function: impl Fn(&[Tensor]) -> Result<Tensor>,
) -> Vec<f32> {
    let seeds = 10..;
    let inputs: Vec<Tensor> = seeds
        .zip(inputs)
        .map(|(seed, input)| view(&input.shape, seed).tracked())
        .collect();
    let y = function(&inputs).unwrap();
    let dy = match y.dims() {
        [] => Tensor::scalar(0.7),
        dims => view(dims, 5),
    };
    let grads = y.backward_from(&dy).unwrap();
    let dx = inputs
        .iter()
        .map(|x| grads.get(x).expect("every input has a gradient"));
    let all = std::iter::once(&y).chain(dx);
    all.flat_map(|t| t.data().to_vec()).collect()
}

/// For `[count, below]`: `count` indices that are less than `below`. Most occur several times.
fn indices(dims: &[usize]) -> Vec<usize> {
    let [count, below] = dims else {
        panic!("two numbers")
    };
    (0..*count).map(|i| (i * i + 4) % below).collect()
}

/// A norm whose scale and shift are the first two tensors of `x`.
fn norm<'a>(x: &'a [Tensor], statistics: Statistics<'a>) -> Norm<'a> {
    Norm {
        gamma: &x[0],
        beta: &x[1],
        eps: 1e-5,
        statistics,
    }
}

/// Statistics that do not come from the batch.
struct Fixed {
    mean: Tensor,
    var: Tensor,
}

impl Fixed {
    /// One mean and one variance for each element of `gamma`.
    fn of(gamma: &Tensor, var: f32) -> Fixed {
        Fixed {
            mean: random(gamma.dims(), 30),
            var: testing::here(Tensor::full(gamma.dims(), var)),
        }
    }

    fn running(&self) -> Statistics<'_> {
        Statistics::Running {
            mean: &self.mean,
            var: &self.var,
        }
    }

    fn folded(&self, x: &[Tensor]) -> Result<Folded> {
        Ok(Folded::new(&norm(x, self.running()))?.expect("running statistics can be folded"))
    }
}

/// A layer of a dense block. Its parameters follow the input of the block in `x`.
fn dense_layer<'a>(x: &'a [Tensor], [first, second]: [Statistics<'a>; 2]) -> DenseLayerWeights<'a> {
    DenseLayerWeights {
        norm1: norm(&x[1..], first),
        conv1: &x[3],
        norm2: norm(&x[4..], second),
        conv2: &x[6],
    }
}

fn lstm_weights(x: &[Tensor]) -> LstmWeights {
    let [w_ih, w_hh, bias] = [0, 1, 2].map(|i: usize| x[i].clone());
    LstmWeights { w_ih, w_hh, bias }
}

/// The attention LSTM on three sentences about two images.
fn attended(x: &[Tensor]) -> Result<Attended> {
    let [w_ih, w_hh, bias, score] = [5, 6, 7, 8].map(|i: usize| x[i].clone());
    let weights = AttentionLstmWeights {
        w_ih,
        w_hh,
        bias,
        score,
    };
    let memory = Memory {
        keys: &x[1],
        values: &x[2],
        image_of: &[1, 0, 1],
    };
    attention_lstm(&x[0], &memory, &x[3], &x[4], &weights)
}
