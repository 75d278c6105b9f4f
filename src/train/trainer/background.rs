//! The constant facts of a run for its report and log: data, networks, configuration.

use std::path::Path;

use super::Trainer;
use crate::model::DenseNetConfig;
use crate::train::batches::Samples;
use crate::train::record::{Background, Followed, model_name};
use crate::train::work::Work;

impl Trainer {
    /// Returns the facts that do not change during the run for the model at `out`.
    pub fn background(&self, out: &Path) -> Background {
        let mut facts = vec![("data", self.dataset.clone())];
        let (mut followed, mut grid) = (Vec::new(), None);
        let recipe = match &self.work {
            Work::Captions(work) => {
                let captioner = &work.captioner;
                facts.push(("training split", sizes(&work.train)));
                if let Some(dev) = &work.dev {
                    facts.push(("dev split", sizes(&dev.samples)));
                    let all = dev.followed(&self.config.dev).into_iter();
                    followed = all.map(|at| followed_of(&dev.samples, at)).collect();
                }
                grid = captioner.attention_grid();
                facts.push((
                    "vocabulary",
                    format!("{} words", captioner.vocabulary.len()),
                ));
                facts.push(("encoder", encoder(captioner.encoder.config())));
                let decoder = captioner.decoder.config();
                facts.push((
                    "decoder",
                    format!(
                        "{}, embedding {}, hidden {}, layers {}",
                        decoder.kind.name(),
                        decoder.embedding,
                        decoder.hidden,
                        decoder.layers
                    ),
                ));
                captioner.recipe
            }
            Work::Distilling(work) => {
                facts.push(("training views", work.data.len().to_string()));
                facts.push(("held-out views", work.data.validation_len().to_string()));
                facts.push(("encoder", encoder(work.encoder.config())));
                work.recipe
            }
        };
        Background {
            run: self.run_name().map(String::from),
            model: model_name(out),
            config: self.config.without_paths().value(),
            facts: facts.into_iter().map(|(k, v)| (k.to_string(), v)).collect(),
            followed,
            recipe,
            grid,
        }
    }
}

fn sizes(samples: &Samples) -> String {
    let captions = (0..samples.len()).map(|at| samples.captions(at).len());
    format!(
        "{} pictures, {} captions",
        samples.len(),
        captions.sum::<usize>()
    )
}

fn followed_of(samples: &Samples, at: usize) -> Followed {
    Followed {
        name: samples.name(at).to_string(),
        path: samples.path(at).to_path_buf(),
        captions: samples.captions(at).to_vec(),
    }
}

fn encoder(config: &DenseNetConfig) -> String {
    let name = config.name().unwrap_or("densenet");
    format!(
        "{name}: growth {}, blocks {:?}, {} features",
        config.growth,
        config.blocks,
        config.features()
    )
}
