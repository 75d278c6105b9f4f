//! The networks that a run trains, and the pace of each.

use super::config::{EncoderTraining, TrainConfig};
use super::optimizer::Pace;
use crate::model::Captioner;
use crate::nn::{Module, Role};
use crate::tensor::Tensor;

/// The networks that a run trains.
pub(super) struct Student {
    pub(super) captioner: Captioner,
}

impl Module for Student {
    fn visit(&mut self, prefix: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        self.captioner.visit(prefix, f);
    }
}

impl Student {
    /// Makes the trained parameters leaves of the tape, and no others.
    pub(super) fn track_trained(&mut self, encoder: EncoderTraining) {
        self.track(true);
        match encoder {
            EncoderTraining::None => self.captioner.encoder.track(false),
            EncoderTraining::LastBlock | EncoderTraining::All => {
                self.captioner.encoder.track_tuned()
            }
        }
    }
}

/// The encoder's pace, where it is trained.
pub(super) fn encoder_pace(config: &TrainConfig) -> Option<Pace> {
    let (encoder, others) = (&config.encoder, Pace::of(&config.optimizer));
    (encoder.train != EncoderTraining::None).then(|| Pace {
        lr: encoder.lr.unwrap_or(others.lr),
        weight_decay: encoder.weight_decay.unwrap_or(others.weight_decay),
    })
}
