//! The settings of a run that goes on from a whole model.

use super::{DevConfig, LossConfig, OptimizerConfig, TrainConfig};

impl TrainConfig {
    /// The settings of a run that starts from a whole model and has no configuration: for a few hundred pictures of
    /// one's own. The decoder knows the language already, so that it learns gently, in small batches, and stops when
    /// the dev score no longer rises; the weights are averaged, because few pictures make noisy steps. Captions of the
    /// dev split are looked for as `glimpse caption` looks for them.
    pub fn for_init() -> Self {
        TrainConfig {
            epochs: 40,
            batch: 32,
            min_count: 2,
            optimizer: OptimizerConfig {
                lr: 1e-3,
                weight_decay: 0.01,
                average: 0.98,
                ..OptimizerConfig::default()
            },
            loss: LossConfig {
                label_smoothing: 0.1,
                ..LossConfig::default()
            },
            dev: DevConfig {
                beam: 5,
                patience: 10,
                ..DevConfig::default()
            },
            ..TrainConfig::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_for_a_whole_model_make_sense() {
        TrainConfig::for_init().check().unwrap();
    }
}
