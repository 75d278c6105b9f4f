//! `glimpse train`

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use indicatif::ProgressBar;

use super::options::ReadingArgs;
use super::output;
use crate::cpu::threads;
use crate::error::{self, Error, Result};
use crate::fetch::cache;
use crate::tensor::Device;
use crate::train::config::change::{Change, changed, check_once};
use crate::train::dev::Evaluation;
use crate::train::record::{Recorder, Recording};
use crate::train::{Claim, Control, Event, Report, RunOptions, Source, TrainConfig, Trainer};

/// Train a captioner on images with captions, or an encoder on teachers' targets
///
/// Without --encoder or --init, and without a new encoder in the configuration, a decoder is trained on the bundled
/// encoder's frozen features. MODEL becomes the weights with the best dev score, MODEL with `.last` in its name those after
/// the last step. Ctrl-C saves a checkpoint and says how to go on.
#[derive(Args)]
pub struct TrainArgs {
    /// The dataset's folder: Flickr8k, Flickr30k, Kaggle's captions.txt, Karpathy's JSON, or COCO; for the stage `distill`
    /// also a folder of pictures without captions
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Where the model goes; checkpoint and features go beside it
    #[arg(long, value_name = "MODEL")]
    out: PathBuf,
    /// An encoder: a Glimpse file, a DenseNet's weights with torchvision's names, or the name of one that `glimpse
    /// fetch` has fetched [default: the bundled one]
    #[arg(long, value_name = "FILE|NAME")]
    encoder: Option<PathBuf>,
    /// A whole model to start from, encoder, decoder and vocabulary: a Glimpse model or a checkpoint. Self-critical training
    /// needs one
    #[arg(long, value_name = "MODEL", conflicts_with = "encoder")]
    init: Option<PathBuf>,
    /// What to do, in TOML; fields that it does not name keep their defaults. `glimpse config` shows all fields
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// Change a single setting, as `decoder.kind=attention`, after --config or the checkpoint; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = Change::parse)]
    set: Vec<Change>,
    /// Go on from this checkpoint, with its configuration; --set changes what can still be changed
    #[arg(long, value_name = "CHECKPOINT", conflicts_with_all = ["encoder", "init", "seed"])]
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
    /// What all randomness is drawn from [default: the configuration's, 1]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    #[command(flatten)]
    reading: ReadingArgs,
    /// Print a JSON object for each step. The same objects are always written to a.log.jsonl beside the model a.safetensors
    #[arg(long)]
    json: bool,
    /// Write no report; else a.report.html beside the model shows curves and captions, also while training goes on
    #[arg(long)]
    no_report: bool,
    /// Write event files for TensorBoard into this folder
    #[arg(long, value_name = "DIR")]
    tensorboard: Option<PathBuf>,
}

pub fn run(args: &TrainArgs, device: &Device) -> Result<ExitCode> {
    args.reading.apply();
    if let Some(what) = contradiction(args) {
        return Ok(output::misused(what));
    }
    let claim = Claim::of(&args.out)?;
    if is_other_format(&args.out) {
        output::note(format_args!(
            "{}: the model is written in the safetensors format, whatever its name; name it .safetensors, so that other \
             programs know it",
            args.out.display()
        ));
    }
    let mut trainer = match &args.resume {
        Some(checkpoint) => Trainer::resume_with(&args.data, checkpoint, &args.set, device)?,
        None => {
            let mut config = match (&args.config, &args.set[..]) {
                (Some(path), []) => TrainConfig::read(path)?,
                (Some(path), _) => TrainConfig::read_as_is(path)?,
                (None, _) => TrainConfig::default(),
            };
            if !args.set.is_empty() {
                config = match config.with(&args.set) {
                    Ok(config) => config,
                    Err(what) => return Ok(output::misused(what)),
                };
            }
            config.seed = args.seed.unwrap_or(config.seed);
            let encoder = args.encoder.as_deref().map(cache::find).transpose()?;
            let source = match (&args.init, &encoder) {
                (Some(model), _) => Source::Model(model),
                (None, Some(encoder)) => Source::Encoder(encoder),
                (None, None) => Source::Default,
            };
            Trainer::new(&args.data, source, config, device)?
        }
    };
    if args.data_changed {
        trainer.allow_changed_data();
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
    let recording = Recording {
        out: args.out.clone(),
        resumed: args.resume.clone(),
        report: !args.no_report,
        tensorboard: args.tensorboard.clone(),
        machine: machine(device),
        warn: |what| output::complain(what),
    };
    let background = trainer.background(&args.out);
    let mut display = Display::new(args.json, device);
    display.settings = changed(&background.config);
    let mut recorder = Recorder::new(recording, background)?;
    let result = trainer.run(&options, &mut |event| {
        recorder.observe(&event, &object(&event));
        display.show(&event);
        if stop.load(Ordering::SeqCst) {
            Control::Stop
        } else {
            Control::Continue
        }
    });
    display.finish();
    recorder.finish(&result);
    result?;
    // The output is whole, and what follows may end the program.
    drop(claim);
    if args.json {
        output::json(&serde_json::json!({ "event": "done", "model": args.out }))?;
    } else {
        output::line(error::name(&args.out))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What is wrong with the options together, where something is.
fn contradiction(args: &TrainArgs) -> Option<String> {
    if args.resume.is_some() && args.config.is_some() {
        return Some(
            "--resume goes on with the configuration of its checkpoint, so it takes no --config; change single settings \
             with --set KEY=VALUE, or begin a new run from the checkpoint's weights with --init CHECKPOINT --config FILE"
                .into(),
        );
    }
    if args.seed.is_some() && args.set.iter().any(|change| change.key() == "seed") {
        return Some("--seed and --set seed both say what the seed is; leave one out".into());
    }
    let refused = args
        .resume
        .is_some()
        .then(|| args.set.iter().find_map(Change::refusal));
    check_once(&args.set).err().or(refused.flatten())
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

/// The machine and the device that it computes on, in words.
fn machine(device: &Device) -> String {
    let processor = super::device::processor();
    let (system, threads) = (std::env::consts::OS, threads::count());
    format!(
        "{processor}, {system}, {threads} threads; computes on {}",
        device.name()
    )
}

/// A progress bar on a terminal, plain lines elsewhere, JSON where asked for.
struct Display {
    json: bool,
    bar: Option<ProgressBar>,
    /// The mean loss of the last steps, so that the number on the bar does not jump.
    loss: Option<f64>,
    started: std::time::Instant,
    /// Where it is computed, as it is called.
    device: String,
    /// The settings that are not the defaults.
    settings: Vec<String>,
}

impl Display {
    fn new(json: bool, device: &Device) -> Self {
        Display {
            json,
            bar: None,
            loss: None,
            started: std::time::Instant::now(),
            device: device.name().to_string(),
            settings: Vec::new(),
        }
    }

    fn show(&mut self, event: &Event) {
        if self.json {
            // Hours of training are worth more than whoever read along.
            let _ = output::try_line(object(event));
        }
        match event {
            Event::Start {
                done,
                steps,
                images,
                parameters,
            } => {
                if !self.json || std::io::stderr().is_terminal() {
                    output::note(format_args!("{images} images, {parameters} parameters, {} steps to go on {}",
                        steps.saturating_sub(*done),
                        self.device));
                }
                if !self.json && !self.settings.is_empty() {
                    output::note(format_args!("settings: {}", self.settings.join("; ")));
                }
                if std::io::stderr().is_terminal() {
                    let style = "{bar:30} step {pos}/{len}  {msg}  {eta} left";
                    self.bar = Some(output::progress(style, *steps).with_position(*done));
                }
            }
            Event::Features { done, images } => {
                if let Some(bar) = &self.bar {
                    bar.set_message(format!("features of {done}/{images} images"));
                } else if !self.json && done == images {
                    output::note(format_args!("features of {images} images computed"));
                }
            }
            Event::Step(report) => self.step(report),
            Event::Notice(text) => self.line(text),
            Event::Evaluated {
                step,
                epoch,
                evaluation,
                best,
            } => self.line(&evaluated(*step, *epoch, evaluation, *best)),
            Event::EarlyStop {
                step,
                best_step,
                best_score,
            } => self.line(&format!(
                "stopped early after step {step}: no dev score was better than {best_score:.2} of step {best_step}"
            )),
            Event::Saved { path } => self.line(&format!("checkpoint: {}", error::name(path))),
        }
    }

    fn step(&mut self, report: &Report) {
        let loss = f64::from(report.loss);
        let mean = self.loss.map_or(loss, |mean| mean + 0.05 * (loss - mean));
        self.loss = Some(mean);
        let text = format!("loss {mean:.4}  {:.1} images/s", report.images_per_s);
        match &self.bar {
            Some(bar) => {
                bar.set_position(report.step);
                bar.set_message(text);
            }
            None if !self.json && report.step.is_multiple_of(50) => {
                let minutes = self.started.elapsed().as_secs_f64() / 60.0;
                output::note(format_args!(
                    "step {}  {text}  {minutes:.1} min",
                    report.step
                ));
            }
            None => {}
        }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None if !self.json => output::note(text),
            None => {}
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The line about an evaluation on the dev split.
fn evaluated(step: u64, epoch: Option<u64>, evaluation: &Evaluation, best: bool) -> String {
    let epoch = epoch.map_or_else(String::new, |epoch| format!(" (epoch {epoch})"));
    let mut line = format!("step {step}{epoch}: ");
    match (evaluation.cider, evaluation.bleu4) {
        (Some(cider), Some(bleu4)) => {
            line += &format!(
                "dev loss {:.4} nats a word, CIDEr {cider:.2}, BLEU-4 {bleu4:.2}, {} of {} captions distinct",
                evaluation.loss, evaluation.distinct, evaluation.images
            );
        }
        _ => {
            line += &format!(
                "loss {:.4} on {} held-out views",
                evaluation.loss, evaluation.images
            );
            for (name, value) in &evaluation.parts {
                line += &format!(", {name} {value:.4}");
            }
        }
    }
    if best {
        line += ", the best so far";
    }
    line
}

/// An event as a line of JSON tells it.
fn object(event: &Event) -> serde_json::Value {
    match event {
        Event::Step(r) => {
            let mut object = serde_json::json!({
                "step": r.step, "loss": r.loss, "lr": r.lr, "grad_norm": r.grad_norm,
                "images_per_s": r.images_per_s,
            });
            for (name, value) in &r.parts {
                object[name.as_str()] = (*value).into();
            }
            if let Some(lr) = r.encoder_lr {
                object["encoder_lr"] = lr.into();
            }
            object
        }
        Event::Start {
            done,
            steps,
            images,
            parameters,
        } => serde_json::json!({
            "event": "start", "done": done, "steps": steps, "images": images, "parameters": parameters,
        }),
        Event::Features { done, images } => {
            serde_json::json!({ "event": "features", "done": done, "images": images })
        }
        Event::Notice(text) => serde_json::json!({ "event": "notice", "text": text }),
        Event::Evaluated {
            step,
            epoch,
            evaluation,
            best,
        } => {
            let parts: serde_json::Map<_, _> = evaluation
                .parts
                .iter()
                .map(|(name, value)| (name.clone(), (*value).into()))
                .collect();
            serde_json::json!({
                "event": "validation", "step": step, "epoch": epoch, "dev_loss": evaluation.loss,
                "cider": evaluation.cider, "bleu4": evaluation.bleu4, "distinct": evaluation.distinct,
                "images": evaluation.images, "parts": parts, "best": best,
            })
        }
        Event::EarlyStop {
            step,
            best_step,
            best_score,
        } => serde_json::json!({
            "event": "early_stop", "step": step, "best_step": best_step, "best_score": best_score,
        }),
        Event::Saved { path } => {
            serde_json::json!({ "event": "checkpoint", "path": path.to_string_lossy() })
        }
    }
}
