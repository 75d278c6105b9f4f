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
use crate::error::{self, Error, Result};
use crate::fetch::cache;
use crate::tensor::Device;
use crate::train::dev::Evaluation;
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
        Some(checkpoint) => Trainer::resume(&args.data, checkpoint, device)?,
        None => {
            let mut config = match &args.config {
                Some(path) => TrainConfig::read(path)?,
                None if args.init.is_some() => TrainConfig::for_init(),
                None => TrainConfig::default(),
            };
            config.seed = args.seed.unwrap_or(config.seed);
            let encoder = args.encoder.as_deref().map(cache::find).transpose()?;
            let source = match (&args.init, &encoder) {
                (Some(model), _) if model.as_os_str() == BUNDLED => Source::Bundled,
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

/// Whether a name is that of another format of weights, which a program would believe.
fn is_other_format(path: &Path) -> bool {
    const OTHERS: [&str; 17] = [
        "bin", "ckpt", "gguf", "h5", "hdf5", "keras", "mlmodel", "msgpack", "npz", "onnx", "pb",
        "pickle", "pkl", "pt", "pth", "tar", "tflite",
    ];
    let extension = path.extension().and_then(|e| e.to_str());
    extension.is_some_and(|e| OTHERS.contains(&&*e.to_ascii_lowercase()))
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
}

impl Display {
    fn new(json: bool, device: &Device) -> Self {
        Display {
            json,
            bar: None,
            loss: None,
            started: std::time::Instant::now(),
            device: device.name().to_string(),
        }
    }

    fn show(&mut self, event: &Event) {
        if self.json {
            print_json(event);
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

fn print_json(event: &Event) {
    let object = match event {
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
    };
    // Hours of training are worth more than whoever read along.
    let _ = output::try_line(object);
}
