//! `glimpse train`

mod log;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use serde_json::{Value, json};

use self::log::Display;
use super::dataset::{DataArgs, LAYOUTS};
use super::options::{ReadingArgs, count, is_bundled, number};
use super::output;
use crate::cpu::threads;
use crate::error::{self, Error, Result};
use crate::fetch::cache;
use crate::tensor::Device;
use crate::train::config::change::{Change, changed, check_once, shown, within};
use crate::train::record::{Recorder, Recording};
use crate::train::{Claim, Control, Outcome, RunOptions, Source, TrainConfig, Trainer};

/// Train a captioner on images with captions, or an encoder on teachers' targets
///
/// Without --encoder or --init, and without a new encoder in the configuration, a decoder is trained on the bundled
/// encoder's frozen features. MODEL holds the weights with the best dev score; MODEL with `.last` in its name holds
/// those after the last step. Ctrl-C saves a checkpoint and says how to continue. The stage `distill` also takes a
/// folder of pictures without captions. --help shows what DIR may hold.
#[derive(Args)]
#[command(after_long_help = LAYOUTS)]
pub struct TrainArgs {
    #[command(flatten)]
    data: DataArgs,
    /// The file to write the model to; checkpoint and features go beside it
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
    /// The settings, in TOML; fields that it does not name keep their defaults. `glimpse config` shows all fields
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// Change a single setting, as `decoder.kind=attention`, after --config or the checkpoint; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = Change::parse)]
    set: Vec<Change>,
    /// Continue from this checkpoint, with its configuration; --set, --lr and --epochs change what can still be
    /// changed
    #[arg(long, value_name = "CHECKPOINT", conflicts_with_all = ["encoder", "init", "seed"])]
    resume: Option<PathBuf>,
    /// Continue although the pictures, captions or splits are not those that the checkpoint was trained on
    #[arg(long, requires = "resume")]
    data_changed: bool,
    /// Write a checkpoint after every N steps, at least every five minutes, and after the last step; 0 only when stopped
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
    /// Overwrite the files of another run, with other settings or data, and files that no run has written
    #[arg(long)]
    force: bool,
    /// The seed of all randomness [default: the configuration's, 1]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    #[command(flatten)]
    reading: ReadingArgs,
    /// Print a JSON object for each step. The same objects are always written to a.log.jsonl beside the model a.safetensors
    #[arg(long)]
    json: bool,
    /// Write no report; otherwise a.report.html beside the model shows curves and captions, also while training goes
    /// on
    #[arg(long)]
    no_report: bool,
    /// Write event files for TensorBoard into this folder
    #[arg(long, value_name = "DIR")]
    tensorboard: Option<PathBuf>,
}

pub fn run(args: &TrainArgs, device: &Device) -> Result<ExitCode> {
    args.reading.apply();
    let changes = match args.changes() {
        Ok(changes) => changes,
        Err(what) => return Ok(output::misused(what)),
    };
    args.check_paths()?;
    let claim = Claim::of(&args.out)?;
    if is_other_format(&args.out) {
        output::note(format_args!(
            "{}: the model is written in the safetensors format, whatever its name; name it .safetensors, so that other \
             programs know it",
            args.out.display()
        ));
    }
    let mut trainer = match &args.resume {
        Some(checkpoint) => Trainer::resume_with(args.data.given(), checkpoint, &changes, device)?,
        None => match args.settings(&changes)? {
            Ok(config) => args.new_trainer(config, &changes, device)?,
            Err(what) => return Ok(output::misused(what)),
        },
    };
    if args.data_changed {
        trainer.allow_changed_data();
    }
    if !args.force {
        trainer.check_output(&args.out)?;
    }
    let outcome = train(args, &mut trainer, device)?;
    // The output is complete, and printing may end the program.
    drop(claim);
    if args.json {
        output::json(&done(args, &outcome))?;
    } else {
        match &outcome.warning {
            Some(warning) => output::complain(format_args!("warning: {warning}")),
            None => output::note(log::ended(&outcome, &args.out)),
        }
        output::line(error::name(&args.out))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Trains to the end, shows each event, and writes the log, the report and the event files.
fn train(args: &TrainArgs, trainer: &mut Trainer, device: &Device) -> Result<Outcome> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    ctrlc::set_handler(move || {
        // The second signal ends the program without saving.
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
    let recording = Recording {
        out: args.out.clone(),
        resumed: args.resume.clone(),
        report: !args.no_report,
        tensorboard: args.tensorboard.clone(),
        machine: machine(device),
        warn: |what| output::complain(what),
    };
    let background = trainer.background(&args.out);
    let settings = changed(&background.config);
    let mut display = Display::new(args.json, device, settings);
    let mut recorder = Recorder::new(recording, background)?;
    let result = trainer.run(&options, &mut |event| {
        let lines = log::objects(&event);
        recorder.observe(&event, &lines);
        display.show(&event, &lines);
        if stop.load(Ordering::SeqCst) {
            Control::Stop
        } else {
            Control::Continue
        }
    });
    display.finish();
    match &result {
        Ok(outcome) => recorder.finish(Ok(&done(args, outcome))),
        Err(e) => recorder.finish(Err(e)),
    }
    result
}

/// The last JSON line of a run that went to its end.
fn done(args: &TrainArgs, outcome: &Outcome) -> Value {
    let mut done = json!({
        "event": "done", "model": args.out, "step": outcome.step,
        "score": outcome.score.map(|(_, score)| score),
        "measure": outcome.score.map(|(measure, _)| measure.name()),
    });
    if let Some(warning) = &outcome.warning {
        done["warning"] = warning.as_str().into();
    }
    done
}

impl TrainArgs {
    /// The changes from --lr, --epochs and --set.
    ///
    /// # Errors
    /// A message about options that contradict each other.
    fn changes(&self) -> Result<Vec<Change>, String> {
        if self.resume.is_some() && self.config.is_some() {
            return Err(
                "--resume goes on with the configuration of its checkpoint, so it takes no --config; change single \
                 settings with --set KEY=VALUE, or begin a new run from the checkpoint's weights with --init CHECKPOINT \
                 --config FILE"
                    .into(),
            );
        }
        check_once(&self.set)?;
        let mut changes = self.set.clone();
        let options = [
            ("seed", "seed", self.seed.map(|seed| seed.to_string())),
            ("lr", "optimizer.lr", self.lr.map(|lr| format!("{lr:e}"))),
            ("epochs", "epochs", self.epochs.map(|n| n.to_string())),
        ];
        for (option, key, value) in options {
            let Some(value) = value else { continue };
            if self.set.iter().any(|change| change.key() == key) {
                return Err(format!(
                    "--{option} and --set {key} both say what {key} is; leave one out"
                ));
            }
            changes.push(Change::parse(&format!("{key}={value}"))?);
        }
        if self.resume.is_some()
            && let Some(refusal) = changes.iter().find_map(Change::refusal)
        {
            return Err(refusal);
        }
        Ok(changes)
    }

    /// The settings of a new run, or the error of the command line.
    fn settings(&self, changes: &[Change]) -> Result<Result<TrainConfig, Error>> {
        let config = match &self.config {
            Some(path) if changes.is_empty() => TrainConfig::read(path)?,
            // An invalid value may be the one that is changed.
            Some(path) => TrainConfig::read_as_is(path)?,
            None if self.init.is_some() => {
                // The stage may be among the changes, and determines the other settings.
                let stage = TrainConfig::default().with(changes).map(|c| c.stage);
                TrainConfig::for_init(stage.unwrap_or_default())
            }
            None => TrainConfig::default(),
        };
        Ok(config.with(changes))
    }

    fn new_trainer(
        &self,
        config: TrainConfig,
        changes: &[Change],
        device: &Device,
    ) -> Result<Trainer> {
        let encoder = self.encoder.as_deref().map(cache::find).transpose()?;
        let source = match (&self.init, &encoder) {
            (Some(model), _) if is_bundled(model) => Source::Bundled,
            (Some(model), _) => Source::Model(model),
            (None, Some(encoder)) => Source::Encoder(encoder),
            (None, None) => Source::Default,
        };
        let asked = config.value();
        let trainer = Trainer::new(self.data.given(), source, config, device)?;
        if self.init.is_none() {
            return Ok(trainer);
        }
        let taken = trainer.config().value();
        let named = match &self.config {
            Some(path) => TrainConfig::named_in(path)?,
            None => Vec::new(),
        };
        let changed = changes.iter().map(|change| change.key().to_string());
        // The model of --init fixes the decoder's sizes. Other sizes are refused, not ignored.
        for key in named.into_iter().chain(changed) {
            let [asked, taken] = [&asked, &taken].map(|config| within(config, &key));
            if asked != taken {
                let taken = taken.map_or_else(|| "none".into(), shown);
                return Err(Error::usage(format!(
                    "{key}: the model of --init has {taken}; leave it out, or train a new decoder without --init"
                )));
            }
        }
        Ok(trainer)
    }

    /// Refuses an output path that is also an input.
    fn check_paths(&self) -> Result<()> {
        let inputs = [
            ("--config", &self.config),
            ("--resume", &self.resume),
            ("--init", &self.init),
            ("--encoder", &self.encoder),
        ];
        let out = self.out.canonicalize().ok();
        for (option, input) in inputs {
            let Some(input) = input else { continue };
            if out.is_some() && input.canonicalize().ok() == out {
                return Err(Error::file(
                    &self.out,
                    format_args!("is what {option} reads; give --out another name"),
                ));
            }
        }
        Ok(())
    }
}

/// The machine and its device, in words.
fn machine(device: &Device) -> String {
    let processor = super::device::processor();
    let (system, threads) = (std::env::consts::OS, threads::count());
    format!(
        "{processor}, {system}, {threads} threads; computes on {}",
        device.name()
    )
}

/// Whether the path has the extension of another weight format, which other programs would trust.
fn is_other_format(path: &Path) -> bool {
    const OTHERS: [&str; 17] = [
        "bin", "ckpt", "gguf", "h5", "hdf5", "keras", "mlmodel", "msgpack", "npz", "onnx", "pb",
        "pickle", "pkl", "pt", "pth", "tar", "tflite",
    ];
    let extension = path.extension().and_then(|e| e.to_str());
    extension.is_some_and(|e| OTHERS.contains(&&*e.to_ascii_lowercase()))
}
