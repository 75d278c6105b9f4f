//! `glimpse train`

mod log;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;

use self::log::Display;
use super::dataset::{DataArgs, LAYOUTS};
use super::options::{ReadingArgs, count, number};
use super::output;
use crate::error::{self, Error, Result};
use crate::fetch::cache;
use crate::tensor::Device;
use crate::train::{Claim, Control, RunOptions, Source, TrainConfig, Trainer};

/// Train a captioner on images with captions, or an encoder on teachers' targets
///
/// Without --encoder or --init, and without a new encoder in the configuration, a decoder is trained on the bundled
/// encoder's frozen features. MODEL becomes the weights with the best dev score, MODEL with `.last` in its name those after
/// the last step. Ctrl-C saves a checkpoint and says how to go on. The stage `distill` also takes a folder of pictures without
/// captions. --help shows what DIR may hold.
#[derive(Args)]
#[command(after_long_help = LAYOUTS)]
pub struct TrainArgs {
    #[command(flatten)]
    data: DataArgs,
    /// Where the model goes; checkpoint and features go beside it
    #[arg(long, value_name = "MODEL")]
    out: PathBuf,
    /// An encoder: a Glimpse file, a DenseNet's weights with torchvision's names, or the name of one that `glimpse
    /// fetch` has fetched [default: the bundled one]
    #[arg(long, value_name = "FILE|NAME")]
    encoder: Option<PathBuf>,
    /// A whole model to start from, encoder, decoder and vocabulary: a Glimpse model, a checkpoint, or `bundled`. New words
    /// of the captions are added to it, and without --config the settings are those for a few hundred pictures of
    /// one's own. Self-critical training needs one
    #[arg(long, value_name = "MODEL|bundled", conflicts_with = "encoder")]
    init: Option<PathBuf>,
    /// What to do, in TOML; fields that it does not name keep their defaults
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// Go on from this checkpoint, with its configuration
    #[arg(long, value_name = "CHECKPOINT", conflicts_with_all = ["encoder", "init", "config", "seed"])]
    resume: Option<PathBuf>,
    /// Go on although the pictures, captions or splits are not those that the checkpoint was trained on
    #[arg(long, requires = "resume")]
    data_changed: bool,
    /// Write a checkpoint after every N steps; 0 only when stopped
    #[arg(long, value_name = "N", default_value_t = 500)]
    checkpoint_every: u64,
    /// Stop after N steps in all, and write the model [default: as many as the epochs have]
    #[arg(long, value_name = "N")]
    max_steps: Option<u64>,
    /// Epochs, instead of the configuration's; with --resume, of the run in all
    #[arg(long, value_name = "N", value_parser = count(1_000_000))]
    epochs: Option<usize>,
    /// The learning rate after warm-up, instead of the configuration's; with --resume, from here on
    #[arg(long, value_name = "RATE", value_parser = number("must be above 0", |lr| lr > 0.0))]
    lr: Option<f64>,
    /// Overwrite the model and the checkpoint of another run, of other settings or data
    #[arg(long)]
    force: bool,
    /// What all randomness is drawn from [default: the configuration's, 1]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    #[command(flatten)]
    reading: ReadingArgs,
    /// Print a JSON object for each step
    #[arg(long)]
    json: bool,
}

/// What `--init` calls the model that is part of the program; a file of this name is `./bundled`.
const BUNDLED: &str = "bundled";

pub fn run(args: &TrainArgs, device: &Device) -> Result<ExitCode> {
    args.reading.apply();
    let claim = Claim::of(&args.out)?;
    if is_other_format(&args.out) {
        output::note(format_args!(
            "{}: the model is written in the safetensors format, whatever its name; name it .safetensors, so that other \
             programs know it",
            args.out.display()
        ));
    }
    let mut trainer = match &args.resume {
        Some(checkpoint) => {
            Trainer::resume_with(args.data.given(), checkpoint, |config| args.adjust(config), device)?
        }
        None => {
            let mut config = match &args.config {
                Some(path) => TrainConfig::read(path)?,
                None if args.init.is_some() => TrainConfig::for_init(),
                None => TrainConfig::default(),
            };
            config.seed = args.seed.unwrap_or(config.seed);
            args.adjust(&mut config)?;
            let encoder = args.encoder.as_deref().map(cache::find).transpose()?;
            let source = match (&args.init, &encoder) {
                (Some(model), _) if model.as_os_str() == BUNDLED => Source::Bundled,
                (Some(model), _) => Source::Model(model),
                (None, Some(encoder)) => Source::Encoder(encoder),
                (None, None) => Source::Default,
            };
            Trainer::new(args.data.given(), source, config, device)?
        }
    };
    if args.data_changed {
        trainer.allow_changed_data();
    }
    if !args.force {
        trainer.check_output(&args.out)?;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    ctrlc::set_handler(move || {
        // The second time there is no patience left for saving.
        if flag.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    })
    .map_err(|_| Error::usage("the system does not let Ctrl-C be caught"))?;

    let options = RunOptions {
        out: args.out.clone(),
        checkpoint_every: args.checkpoint_every,
        max_steps: args.max_steps,
    };
    let mut display = Display::new(args.json, device);
    let result = trainer.run(&options, &mut |event| {
        display.show(&event);
        if stop.load(Ordering::SeqCst) {
            Control::Stop
        } else {
            Control::Continue
        }
    });
    display.finish();
    let outcome = result?;
    // The output is whole, and what follows may end the program.
    drop(claim);
    if args.json {
        let mut done = serde_json::json!({
            "event": "done", "model": args.out, "step": outcome.step, "score": outcome.score,
        });
        if let Some(warning) = &outcome.warning {
            done["warning"] = warning.as_str().into();
        }
        output::json(&done)?;
    } else {
        match &outcome.warning {
            Some(warning) => output::complain(format_args!("warning: {warning}")),
            None => display.line(&log::ended(&outcome, &args.out)),
        }
        output::line(error::name(&args.out))?;
    }
    Ok(ExitCode::SUCCESS)
}

impl TrainArgs {
    /// Puts what the command line says into the configuration, be it a new run's or a checkpoint's.
    fn adjust(&self, config: &mut TrainConfig) -> Result<()> {
        if let Some(epochs) = self.epochs {
            config.epochs = epochs as u64;
        }
        if let Some(lr) = self.lr {
            config.optimizer.lr = lr as f32;
        }
        config.check()
    }
}

/// Whether a name is that of another format of weights, which a program would believe.
fn is_other_format(path: &Path) -> bool {
    const OTHERS: [&str; 17] = [
        "bin", "ckpt", "gguf", "h5", "hdf5", "keras", "mlmodel", "msgpack", "npz", "onnx", "pb",
        "pickle", "pkl", "pt", "pth", "tar", "tflite",
    ];
    let extension = path.extension().and_then(|e| e.to_str());
    extension.is_some_and(|e| OTHERS.contains(&&*e.to_ascii_lowercase()))
}
