//! What a run trains, and at which pace.

use super::config::{EncoderTraining, TrainConfig};
use super::optimizer::Pace;
use crate::model::Captioner;
use crate::nn::{Linear, Module, Role};
use crate::tensor::Tensor;

/// Everything that is trained: the captioner, and the layer that predicts the teacher's targets.
pub(super) struct Student {
    pub(super) captioner: Captioner,
    pub(super) teacher: Option<Linear>,
}

impl Module for Student {
    fn visit(&mut self, prefix: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        self.captioner.visit(prefix, f);
        if let Some(teacher) = &mut self.teacher {
            teacher.visit(&format!("{prefix}distill."), f);
        }
    }
}

impl Student {
    /// Makes what is trained leaves of the tape, and nothing else.
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

/// How the encoder's parameters move, where they do.
pub(super) fn encoder_pace(config: &TrainConfig) -> Option<Pace> {
    let (encoder, others) = (&config.encoder, Pace::of(&config.optimizer));
    (encoder.train != EncoderTraining::None).then(|| Pace {
        lr: encoder.lr.unwrap_or(others.lr),
        weight_decay: encoder.weight_decay.unwrap_or(others.weight_decay),
    })
}
