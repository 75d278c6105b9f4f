//! The settings of a run that goes on from a whole model.

use super::{DecoderSizes, DevConfig, OptimizerConfig, TrainConfig};

impl TrainConfig {
    /// The settings of a run that starts from a whole model and has no configuration: for a few hundred pictures of
    /// one's own. The decoder knows the language already and forgets it fast: with the rate, dropout and weight decay of
    /// a new decoder, the dev loss of 376 pictures rises from the fourth epoch on. So it learns at half the rate with
    /// more dropout, its weights are averaged, because few pictures make noisy steps, and it stops when the dev score no
    /// longer rises. Captions of the dev split are looked for as `glimpse caption` looks for them.
    pub fn for_init() -> Self {
        TrainConfig {
            epochs: 20,
            batch: 32,
            min_count: 2,
            decoder: DecoderSizes {
                dropout: 0.5,
                ..DecoderSizes::default()
            },
            optimizer: OptimizerConfig {
                lr: 5e-4,
                average: 0.98,
                ..OptimizerConfig::default()
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
