use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The kind of a decoder, by how it uses the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DecoderKind {
    /// The image is the LSTM's first input, before the start mark: "Show and Tell", Vinyals et al. (2015, arXiv
    /// 1411.4555). Tanti et al. (2018, arXiv 1703.09137) call this pre-inject.
    #[default]
    Inject,
    /// The image is a part of the LSTM's input at every step, concatenated with the word: LRCN, Donahue et al. (2015, arXiv
    /// 1411.4389); the par-inject of Tanti et al.
    ParInject,
    /// The LSTM reads words only; the image is merged with the LSTM's output: Tanti et al. (2017, arXiv
    /// 1708.02043), and the tutorials for Keras.
    Merge,
    /// The LSTM reads a weighted mean over the image's positions, with new weights at every step: soft attention,
    /// "Show, Attend and Tell", Xu et al. (2015, arXiv 1502.03044).
    Attention,
}

impl DecoderKind {
    /// All kinds.
    pub const ALL: [DecoderKind; 4] = [
        DecoderKind::Inject,
        DecoderKind::ParInject,
        DecoderKind::Merge,
        DecoderKind::Attention,
    ];

    /// The name in files and configurations.
    pub fn name(self) -> &'static str {
        match self {
            DecoderKind::Inject => "inject",
            DecoderKind::ParInject => "par-inject",
            DecoderKind::Merge => "merge",
            DecoderKind::Attention => "attention",
        }
    }
}

/// The sizes of a decoder.
///
/// Files from before there were several kinds do not have `kind` and the fields after it. They hold a decoder of the kind
/// [`DecoderKind::Inject`] with one LSTM layer and an output matrix of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecoderConfig {
    /// Elements of the image's feature vector: the channels of the encoder's last map.
    pub features: usize,
    /// Elements of a word's vector.
    pub embedding: usize,
    /// Cells of each LSTM layer.
    pub hidden: usize,
    /// Number of words, the special ones included.
    pub vocabulary: usize,
    /// The dropout probability in training, in `[0, 1)`. Each kind documents where it applies dropout.
    pub dropout: f32,
    /// How the image is used.
    #[serde(default)]
    pub kind: DecoderKind,
    /// Number of LSTM layers: 1 or 2; attention has 1.
    #[serde(default = "one")]
    pub layers: usize,
    /// Whether the matrix of the output layer is the table of word vectors (Press and Wolf, 2017, arXiv 1608.05859).
    #[serde(default)]
    pub tied: bool,
    /// Elements of an attention key, for the kind [`DecoderKind::Attention`]; 0 for the others.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attention: usize,
}

fn one() -> usize {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde passes references
fn is_zero(n: &usize) -> bool {
    *n == 0
}

// Maximum of every size, which keeps sums of sizes from overflowing.
const LARGEST: usize = 1 << 24;

impl DecoderConfig {
    /// Whether the decoder takes the encoder's map instead of its average, and returns attention weights.
    pub fn takes_map(&self) -> bool {
        self.kind == DecoderKind::Attention
    }

    /// Checks the sizes.
    ///
    /// # Errors
    /// If a size is zero, absurdly large, or not allowed for this kind.
    pub fn check(&self) -> Result<()> {
        let sizes = [
            ("features", self.features),
            ("embedding", self.embedding),
            ("hidden", self.hidden),
            ("vocabulary", self.vocabulary),
        ];
        for (name, size) in sizes {
            if !(1..=LARGEST).contains(&size) {
                return refuse(format_args!("{name} is {size}, must be 1 to {LARGEST}"));
            }
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return refuse(format_args!(
                "dropout is {}, must be at least 0 and below 1",
                self.dropout
            ));
        }
        let attends = self.kind == DecoderKind::Attention;
        let max_layers = if attends { 1 } else { 2 };
        if !(1..=max_layers).contains(&self.layers) {
            let must = if attends {
                "must be 1"
            } else {
                "must be 1 or 2"
            };
            return refuse(format_args!(
                "layers is {}, for kind {} it {must}",
                self.layers,
                self.kind.name()
            ));
        }
        match (attends, self.attention) {
            (true, 1..=LARGEST) | (false, 0) => Ok(()),
            (true, n) => refuse(format_args!("attention is {n}, must be 1 to {LARGEST}")),
            (false, n) => refuse(format_args!(
                "attention is {n}, but the kind is {}; set kind to attention, or attention to 0",
                self.kind.name()
            )),
        }
    }
}

fn refuse(what: std::fmt::Arguments) -> Result<()> {
    Err(Error::value("decoder", what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(kind: DecoderKind) -> DecoderConfig {
        DecoderConfig {
            features: 5,
            embedding: 6,
            hidden: 7,
            vocabulary: 11,
            dropout: 0.5,
            kind,
            layers: 1,
            tied: false,
            attention: if kind == DecoderKind::Attention { 3 } else { 0 },
        }
    }

    #[test]
    fn a_description_of_before_there_were_kinds_still_means_the_same() {
        let old =
            r#"{"features": 5, "embedding": 6, "hidden": 7, "vocabulary": 11, "dropout": 0.5}"#;
        let read: DecoderConfig = serde_json::from_str(old).unwrap();
        assert_eq!(read, config(DecoderKind::Inject));
    }

    #[test]
    fn every_kind_is_spelled_as_its_name() {
        for kind in DecoderKind::ALL {
            let config = config(kind);
            let json = serde_json::to_value(&config).unwrap();
            assert_eq!(json["kind"], kind.name());
            assert_eq!(json.get("attention").is_some(), config.takes_map());
            assert_eq!(
                serde_json::from_value::<DecoderConfig>(json).unwrap(),
                config
            );
        }
    }

    #[test]
    fn sizes_that_are_no_decoder_are_refused() {
        type Change = fn(&mut DecoderConfig);
        let wrong: [(DecoderKind, Change); 12] = [
            (DecoderKind::Inject, |c| c.features = 0),
            (DecoderKind::Inject, |c| c.embedding = LARGEST + 1),
            (DecoderKind::Merge, |c| c.hidden = 0),
            (DecoderKind::Merge, |c| c.vocabulary = usize::MAX),
            (DecoderKind::ParInject, |c| c.dropout = 1.0),
            (DecoderKind::ParInject, |c| c.dropout = f32::NAN),
            (DecoderKind::Inject, |c| c.layers = 0),
            (DecoderKind::Merge, |c| c.layers = 3),
            (DecoderKind::Merge, |c| c.attention = 4),
            (DecoderKind::Attention, |c| c.layers = 2),
            (DecoderKind::Attention, |c| c.attention = 0),
            (DecoderKind::Attention, |c| c.attention = LARGEST + 1),
        ];
        for (kind, change) in wrong {
            let mut config = config(kind);
            config.check().unwrap();
            change(&mut config);
            let message = config.check().unwrap_err().to_string();
            assert!(!message.contains('\n'), "{message}");
        }
    }
}
