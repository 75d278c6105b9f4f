//! Every training setting in one place: its type, its unit, its effect, and whether a resumed run may change it.
//! Defaults are read from [`TrainConfig::default`](super::TrainConfig), never written down twice.

use serde_json::Value;

/// The type of a setting's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// An integer of 0 or more.
    Whole,
    /// A number.
    Number,
    /// `true` or `false`.
    Flag,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of two numbers.
    Pair,
    /// A list of integers of 0 or more.
    Wholes,
    /// A list of paths.
    Paths,
    /// A list of target files: paths, or tables with `file`.
    Targets,
}

impl Takes {
    /// Returns the type in words, as the object of "takes".
    pub fn words(self) -> String {
        match self {
            Takes::Whole => "a whole number of 0 or more".into(),
            Takes::Number => "a number".into(),
            Takes::Flag => "true or false".into(),
            Takes::Choice(known) => match known {
                [first @ .., last] => format!("{} or {last}", first.join(", ")),
                [] => "nothing".into(),
            },
            Takes::Pair => "a list of two numbers, as [0.9, 0.999]".into(),
            Takes::Wholes => "a list of whole numbers, as [6, 12, 24, 16]".into(),
            Takes::Paths => "a list of paths, as [\"photos\"]".into(),
            Takes::Targets => "a list of target files, as [\"a.safetensors\"]".into(),
        }
    }

    /// Whether `value` is of this type.
    pub fn fits(self, value: &Value) -> bool {
        let list =
            |fine: fn(&Value) -> bool| value.as_array().is_some_and(|all| all.iter().all(fine));
        match self {
            Takes::Whole => value.is_u64(),
            Takes::Number => value.is_number(),
            Takes::Flag => value.is_boolean(),
            Takes::Choice(known) => value.as_str().is_some_and(|word| known.contains(&word)),
            Takes::Pair => list(Value::is_number) && value.as_array().is_some_and(|a| a.len() == 2),
            Takes::Wholes => list(Value::is_u64),
            Takes::Paths => list(Value::is_string),
            Takes::Targets => list(|target| target.is_string() || target.is_object()),
        }
    }
}

/// Documentation of a setting.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Full name, with the names of its tables: `optimizer.lr`.
    pub key: &'static str,
    /// Type of its value.
    pub takes: Takes,
    /// Unit of its number; empty if it has none.
    pub unit: &'static str,
    /// Description.
    pub about: &'static str,
    /// Example in TOML of a setting that is left out by default; otherwise empty.
    pub example: &'static str,
    /// Why a resumed run cannot change it; empty if it can.
    pub fixed: &'static str,
}

impl Field {
    const fn new(key: &'static str, takes: Takes, about: &'static str) -> Self {
        Field {
            key,
            takes,
            unit: "",
            about,
            example: "",
            fixed: "",
        }
    }

    const fn unit(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }

    const fn example(mut self, example: &'static str) -> Self {
        self.example = example;
        self
    }

    const fn fixed(mut self, why: &'static str) -> Self {
        self.fixed = why;
        self
    }
}

use Takes::{Choice, Flag, Number, Pair, Paths, Targets, Whole, Wholes};

const SIZES: &str = "the checkpoint's weights have these sizes";
const ENCODER: &str = "the checkpoint's encoder depends on it";
const COUNTED: &str = "the steps of the checkpoint are counted by it";
const MOMENTS: &str = "the checkpoint holds what another optimizer remembers";
const TEACHING: &str = "the checkpoint learnt from these targets";

/// The tables with their descriptions, in the order of the file.
pub const TABLES: [(&str, &str); 12] = [
    ("", ""),
    ("encoder", "Which encoder, and how it is trained."),
    (
        "encoder.new",
        "The sizes of a new encoder, a DenseNet with random weights. Without this table the encoder is the one of \
         --encoder or --init, or the bundled one.",
    ),
    ("decoder", "Which decoder, and its sizes."),
    (
        "image",
        "How an image becomes the input of a new encoder, and the memory for decoded images.",
    ),
    (
        "augment",
        "How images are varied. Only flip has an effect where the encoder is frozen.",
    ),
    ("optimizer", "How parameters are updated."),
    ("loss", "The details of the caption losses."),
    ("self_critical", "The stage self-critical."),
    ("dev", "How the dev split judges the run."),
    (
        "distill",
        "The stage distill, which needs this table; the other stages do not have it.",
    ),
    ("output", "The output file."),
];

/// All settings, in the order of the file.
pub const FIELDS: &[Field] = &[
    Field::new(
        "stage",
        Choice(&["distill", "cross-entropy", "self-critical"]),
        "What is learnt. distill: an encoder, from teachers' targets; cross-entropy: captions as people wrote them; \
         self-critical: captions that CIDEr-D prefers, from a captioner that has learnt the former.",
    )
    .fixed("a run has one stage; start a new run with --init"),
    Field::new("seed", Whole, "The seed of all random numbers.")
        .fixed("the checkpoint's random numbers were drawn from it"),
    Field::new(
        "epochs",
        Whole,
        "How often each image is seen; in the stage distill, how often each view. At least 1.",
    )
    .unit("epochs"),
    Field::new("batch", Whole, "Images of a step, 1 to 65536.")
        .unit("images")
        .fixed(COUNTED),
    Field::new(
        "captions",
        Whole,
        "Captions of each image in a step, drawn anew each time, 1 to 100.",
    )
    .unit("captions"),
    Field::new("max_words", Whole, "Captions are cut after this many words, 1 to 1000.")
        .unit("words"),
    Field::new(
        "min_count",
        Whole,
        "Words that occur less often than this in the training captions become <unk>.",
    )
    .unit("occurrences")
    .fixed("the checkpoint has its vocabulary"),
    Field::new(
        "validate_every",
        Whole,
        "Epochs between two evaluations on the dev split; 0 is never. The last step is followed by one too. Has no effect if \
         dev.every is set.",
    )
    .unit("epochs"),
    Field::new(
        "encoder.train",
        Choice(&["none", "last-block", "after-first-block", "all"]),
        "How much of the encoder is trained. none: it is frozen, and its features are computed once; last-block: its \
         last block and its last batch norm; after-first-block: all but the first convolution, the first block and the \
         transition after it, which cost about half of the arithmetic; all: all of it.",
    )
    .fixed(ENCODER),
    Field::new(
        "encoder.lr",
        Number,
        "The encoder's learning rate after warm-up, where it is another than the optimizer's; it rises and falls with \
         that. Above 0; only for an encoder that is trained.",
    )
    .unit("1")
    .example("1e-4"),
    Field::new(
        "encoder.weight_decay",
        Number,
        "The encoder's weight decay, where it is another than the optimizer's. 0 or more; only for an encoder that is \
         trained.",
    )
    .unit("1")
    .example("0.05"),
    Field::new(
        "encoder.statistics",
        Choice(&["batch", "frozen"]),
        "The statistics by which batch norms of the trained part normalise. batch: the batch's, which also move the \
         running ones; frozen: the running ones that came with the encoder. Left out, it is batch.",
    )
    .example("\"frozen\"")
    .fixed(ENCODER),
    Field::new("encoder.new.growth", Whole, "Channels that each layer adds.")
        .unit("channels")
        .example("32")
        .fixed(SIZES),
    Field::new("encoder.new.blocks", Wholes, "Layers of each block.")
        .unit("layers")
        .example("[6, 12, 24, 16]")
        .fixed(SIZES),
    Field::new("encoder.new.stem", Whole, "Channels of the first convolution.")
        .unit("channels")
        .example("64")
        .fixed(SIZES),
    Field::new(
        "encoder.new.bottleneck",
        Whole,
        "Channels between a layer's two convolutions, in units of growth. Left out, it is 4.",
    )
    .unit("growth")
    .example("4")
    .fixed(SIZES),
    Field::new(
        "encoder.new.eps",
        Number,
        "Number added to the variances of batch norms: 1e-5 as in PyTorch, 1.001e-5 as in Keras. Left out, it is 1e-5.",
    )
    .unit("1")
    .example("1e-5")
    .fixed(SIZES),
    Field::new(
        "decoder.kind",
        Choice(&["inject", "par-inject", "merge", "attention"]),
        "How the decoder uses the image. inject: as the LSTM's first input; par-inject: as a part of its input at every \
         step; merge: beside the LSTM's output; attention: as a weighted mean of its positions, with other weights at \
         every step.",
    )
    .fixed(SIZES),
    Field::new("decoder.embedding", Whole, "Elements of a word's vector.")
        .unit("elements")
        .fixed(SIZES),
    Field::new("decoder.hidden", Whole, "Cells of each LSTM layer.")
        .unit("cells")
        .fixed(SIZES),
    Field::new("decoder.layers", Whole, "LSTM layers, 1 or 2; 1 for attention.")
        .unit("layers")
        .fixed(SIZES),
    Field::new(
        "decoder.attention",
        Whole,
        "Elements of a position's key; for the kind attention.",
    )
    .unit("elements")
    .fixed(SIZES),
    Field::new(
        "decoder.tied",
        Flag,
        "Whether the output layer's matrix is that of the word vectors.",
    )
    .fixed(SIZES),
    Field::new(
        "decoder.dropout",
        Number,
        "The share of elements that are dropped in a step, in [0, 1).",
    )
    .unit("share"),
    Field::new(
        "image.method",
        Choice(&["torchvision", "squash", "keras-nearest"]),
        "How a picture becomes a square. torchvision: the centre of a scaled picture; squash: both sides scaled; \
         keras-nearest: both sides scaled, nearest pixel.",
    )
    .fixed(ENCODER),
    Field::new("image.size", Whole, "A side of the square.")
        .unit("pixels")
        .fixed(ENCODER),
    Field::new(
        "image.cache_mib",
        Whole,
        "Memory for decoded images, so that they need not be decoded again in every epoch.",
    )
    .unit("MiB"),
    Field::new("augment.flip", Number, "How likely a picture is mirrored, 0 to 1.")
        .unit("probability"),
    Field::new(
        "augment.scale",
        Pair,
        "The smallest and the largest share of a picture's area that a crop keeps, above 0 and at most 1.",
    )
    .unit("share"),
    Field::new(
        "augment.ratio",
        Pair,
        "The smallest and the largest proportion of a crop before it is scaled to a square.",
    )
    .unit("width / height"),
    Field::new(
        "augment.brightness",
        Number,
        "Brightness is multiplied by a factor within 1 - brightness and 1 + brightness, 0 to 1.",
    )
    .unit("share"),
    Field::new(
        "augment.contrast",
        Number,
        "Contrast is multiplied by a factor within 1 - contrast and 1 + contrast, 0 to 1.",
    )
    .unit("share"),
    Field::new(
        "optimizer.kind",
        Choice(&["adamw", "adam", "sgd"]),
        "The rule by which parameters move. adamw: Adam with decoupled weight decay; sgd: with momentum.",
    )
    .fixed(MOMENTS),
    Field::new("optimizer.lr", Number, "The learning rate after warm-up, above 0.").unit("1"),
    Field::new(
        "optimizer.schedule",
        Choice(&["cosine", "step", "plateau", "constant"]),
        "How the learning rate changes after warm-up. cosine: to zero along half a cosine; step: by the factor decay \
         after every decay_every of the run; plateau: by the factor decay whenever the dev score stands still.",
    ),
    Field::new(
        "optimizer.warmup",
        Number,
        "The part of the run over which the learning rate rises from zero, 0 to 1.",
    )
    .unit("share of all steps"),
    Field::new(
        "optimizer.decay_every",
        Number,
        "step: the part of the run after which the learning rate falls, again and again, in (0, 1].",
    )
    .unit("share of all steps"),
    Field::new(
        "optimizer.decay",
        Number,
        "step and plateau: the factor by which the learning rate falls, in (0, 1].",
    )
    .unit("1"),
    Field::new(
        "optimizer.plateau_patience",
        Whole,
        "plateau: evaluations without a better dev score before the learning rate falls, at least 1.",
    )
    .unit("evaluations"),
    Field::new(
        "optimizer.weight_decay",
        Number,
        "How strongly matrices and kernels are pulled towards zero, 0 or more; biases, norms and word vectors are not.",
    )
    .unit("1"),
    Field::new("optimizer.momentum", Number, "sgd: the momentum, in [0, 1).").unit("1"),
    Field::new(
        "optimizer.betas",
        Pair,
        "adam and adamw: the decay rates of the two averages, in [0, 1).",
    )
    .unit("1"),
    Field::new(
        "optimizer.clip",
        Number,
        "Gradients are scaled down to at most this norm; 0 is never.",
    )
    .unit("1"),
    Field::new(
        "optimizer.average",
        Number,
        "The decay rate of the moving average of all parameters, in [0, 1); 0 keeps none. Where there is one, dev scores \
         are measured on it, and it becomes the model.",
    )
    .unit("1")
    .fixed("the checkpoint's average was begun with it"),
    Field::new(
        "loss.label_smoothing",
        Number,
        "How much of the wanted word's probability is spread over all words, in [0, 1).",
    )
    .unit("probability"),
    Field::new(
        "loss.scheduled_sampling",
        Number,
        "The probability with which the decoder is given a word that it drew itself; it rises from 0 to this value over \
         the run, 0 to 1. For the stage cross-entropy.",
    )
    .unit("probability"),
    Field::new(
        "loss.doubly_stochastic",
        Number,
        "The weight of the loss by which the attention weights of each position should sum to 1 over a sentence; 0 is \
         off. For the decoder kind attention.",
    )
    .unit("1"),
    Field::new(
        "self_critical.samples",
        Whole,
        "Captions that are drawn for each image, 2 to 100.",
    )
    .unit("captions"),
    Field::new(
        "self_critical.temperature",
        Number,
        "The temperature of the draws, above 0.",
    )
    .unit("1"),
    Field::new(
        "self_critical.cross_entropy",
        Number,
        "The part of cross-entropy in the loss, in [0, 1); the policy gradient has the rest.",
    )
    .unit("share"),
    Field::new(
        "self_critical.precision",
        Number,
        "The weight of precision beside CIDEr-D in the reward, 0 or more. Precision is the share of a caption's \
         content words that the image's human captions use. Left out, it is 0.",
    )
    .unit("1")
    .example("0.5"),
    Field::new(
        "dev.every",
        Whole,
        "Steps between two evaluations; 0 evaluates after every validate_every epochs instead. The last step is \
         followed by one too.",
    )
    .unit("steps"),
    Field::new(
        "dev.score",
        Choice(&["cider", "bleu4", "loss"]),
        "The score that decides which weights are best: of generated captions, or the dev loss.",
    )
    .fixed("the best score so far was measured by it"),
    Field::new(
        "dev.beam",
        Whole,
        "The beam of the generated captions, 1 to 100; 1 is greedy.",
    )
    .unit("sentences"),
    Field::new(
        "dev.images",
        Whole,
        "Dev images that are captioned, from the first on; 0 is all. The loss is taken over all in any case.",
    )
    .unit("images"),
    Field::new(
        "dev.patience",
        Whole,
        "Evaluations without a better score before the run ends early; 0 is never.",
    )
    .unit("evaluations"),
    Field::new(
        "dev.keep",
        Choice(&["best", "last"]),
        "Which weights become the model: those with the best score, or those after the last step. The others go beside it.",
    )
    .fixed("the files that the run has written are named by it"),
    Field::new(
        "distill.targets",
        Targets,
        "The target files, one for each teacher: a path, or a table with file, and with weight, features, classes, \
         maps, temperature or tags where they differ for this teacher.",
    )
    .example("[\"teacher.safetensors\"]")
    .fixed(TEACHING),
    Field::new(
        "distill.pictures",
        Paths,
        "Folders with more pictures than the data set has; captions are not needed.",
    )
    .example("[]")
    .fixed(TEACHING),
    Field::new(
        "distill.features",
        Number,
        "The weight of the features' loss, 0 or more.",
    )
    .unit("1")
    .example("1.0"),
    Field::new(
        "distill.classes",
        Number,
        "The weight of the classes' loss, 0 or more.",
    )
    .unit("1")
    .example("0.5"),
    Field::new(
        "distill.maps",
        Number,
        "The weight of the maps' loss, 0 or more: what the teacher sees at each place. A target file has maps if \
         tools/teacher_targets.py wrote it with --maps.",
    )
    .unit("1")
    .example("0.0"),
    Field::new(
        "distill.temperature",
        Number,
        "The temperature by which both networks' logits are divided, above 0.",
    )
    .unit("1")
    .example("2.0"),
    Field::new(
        "distill.held_out",
        Number,
        "The part of the pictures that is kept for validation with all their views, in [0, 1).",
    )
    .unit("share")
    .example("0.01")
    .fixed(TEACHING),
    Field::new(
        "distill.validation_views",
        Whole,
        "Held-out views that a validation looks at, at most; at least 1.",
    )
    .unit("views")
    .example("1000")
    .fixed("the best score so far was measured on as many"),
    Field::new(
        "distill.size",
        Whole,
        "The side of the square views, 1 to 4096; without it, that of the encoder's input. A step on smaller views costs \
         less, so a run may begin with small ones and be resumed with the encoder's own size.",
    )
    .unit("pixels")
    .example("128"),
    Field::new("distill.cache_mib", Whole, "Memory for decoded pictures.")
        .unit("MiB")
        .example("1024"),
    Field::new(
        "distill.tags",
        Flag,
        "Whether the model keeps the classes that it learnt, as tags.",
    )
    .example("true"),
    Field::new(
        "output.precision",
        Choice(&["f32", "f16", "bf16", "i8"]),
        "How the model's numbers are stored: f32, f16 or bf16 for half the size, i8 for about a quarter. Checkpoints are \
         always f32.",
    ),
];

/// Returns the setting of this name.
pub fn field(key: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|field| field.key == key)
}
