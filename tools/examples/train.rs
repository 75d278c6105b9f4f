//! Trains a tiny network to compute the exclusive or of two bits, and prints its loss.
//!
//! ```text
//! cargo run --release --example train
//! ```

use glimpse::nn::{Init, Linear, Role};
use glimpse::ops::{mse, tanh};
use glimpse::train::config::OptimizerConfig;
use glimpse::train::optimizer::Optimizer;
use glimpse::{Module, Result, Tensor};

/// Two linear layers with a `tanh` between them.
struct Network {
    hidden: Linear,
    output: Linear,
}

impl Network {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.output.forward(&tanh(&self.hidden.forward(x)?)?)
    }
}

impl Module for Network {
    fn visit(&mut self, prefix: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        self.hidden.visit(&format!("{prefix}hidden."), f);
        self.output.visit(&format!("{prefix}output."), f);
    }
}

fn main() -> Result<()> {
    let x = Tensor::from_vec(vec![0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0], &[4, 2])?;
    let target = Tensor::from_vec(vec![0.0, 1.0, 1.0, 0.0], &[4, 1])?;
    let mut init = Init::new(1);
    let mut network = Network {
        hidden: Linear::new(&mut init, 2, 8),
        output: Linear::new(&mut init, 8, 1),
    };
    network.track(true);
    let config = OptimizerConfig {
        lr: 0.03,
        weight_decay: 0.0,
        ..OptimizerConfig::default()
    };
    let mut optimizer = Optimizer::new(&config, &mut network);
    for step in 0..=300 {
        let loss = mse(&network.forward(&x)?, &target)?;
        if step % 50 == 0 {
            println!("step {step:3}: loss {:.5}", loss.item()?);
        }
        optimizer.step(&mut network, loss.backward()?, 1.0)?;
    }
    println!("{:.2?}", network.forward(&x)?.data());
    Ok(())
}
