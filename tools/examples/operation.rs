//! A new operation, `softplus(x) = ln(1 + e^x)`, with its gradient, which is checked by difference quotients.
//!
//! ```text
//! cargo run --release --example operation
//! ```
//!
//! The chain rule: the derivative of `ln(1 + e^x)` is `e^x / (1 + e^x)`, so
//!
//! ```text
//! dx = dy / (1 + e^-x)
//! ```

use glimpse::tensor::check_gradients;
use glimpse::{Result, Tensor};

/// `ln(1 + e^x)`, of any shape.
fn softplus(x: &Tensor) -> Result<Tensor> {
    // Equal to ln(1 + e^x), without the overflow of e^x for large x.
    let forward = |x: &f32| x.max(0.0) + (-x.abs()).exp().ln_1p();
    let y = Tensor::from_vec(x.data().iter().map(forward).collect(), x.dims())?;
    let x_kept = x.detach();
    y.record(&[x], move |dy, _wanted| {
        let pairs = x_kept.data().iter().zip(dy.data());
        let dx = pairs.map(|(x, dy)| dy / (1.0 + (-x).exp())).collect();
        Ok(vec![Some(Tensor::from_vec(dx, x_kept.dims())?)])
    })
}

fn main() -> Result<()> {
    let x = Tensor::from_vec(vec![-2.0, -0.5, 0.0, 1.5], &[4])?;
    println!("softplus {:.4?} = {:.4?}", x.data(), softplus(&x)?.data());
    check_gradients(&[x], |inputs| softplus(&inputs[0]))?;
    println!("its gradient is the difference quotient");
    Ok(())
}
