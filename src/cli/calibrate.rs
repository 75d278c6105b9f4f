//! `glimpse calibrate`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use clap::builder::{PossibleValuesParser, RangedU64ValueParser, TypedValueParser};

use super::dataset::DataArgs;
use super::options::{ReadingArgs, count};
use super::output;
use crate::data::store;
use crate::data::weights::NumberFormat;
use crate::error::{self, Result};
use crate::model::Captioner;
use crate::nn::Module;
use crate::tensor::Device;
use crate::train::calibrate::{Calibration, Progress, Settings, Sources, calibrate};

/// Calibrate the confidence of a trained captioner
///
/// The networks are not changed. From pictures with captions, photographs without captions, and pictures that are not
/// photographs, detectors on the encoder's features are trained: which words and animals a picture shows, whether it is
/// a photograph at all, and how likely a caption is mostly right. OUT is MODEL with these detectors. DIR has captions
/// and a dev split, as for `glimpse train`; the model must not have been trained on the dev split.
#[derive(Args)]
pub struct CalibrateArgs {
    /// The captioner, as `glimpse train` writes it
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// The file to write the calibrated captioner to
    #[arg(long, value_name = "OUT")]
    out: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    /// A folder of pictures that are no photographs; tools/not_photos.py makes some
    #[arg(long, value_name = "DIR")]
    not_photos: PathBuf,
    /// A folder of photographs without captions, best of things that the captions do not mention
    #[arg(long, value_name = "DIR")]
    photos: Option<PathBuf>,
    /// Which kinds of animals some of those photographs show: a line for each with its file name, a tab, the kinds
    /// separated by commas, `-` for none or `?` if unknown, and optionally a tab and the name of its class among the
    /// tags
    #[arg(long, value_name = "FILE.tsv", requires = "photos")]
    labels: Option<PathBuf>,
    /// Photographs that are used besides those known to show an animal or a class
    #[arg(long, value_name = "N", default_value_t = 4000, requires = "photos",
          value_parser = RangedU64ValueParser::<usize>::new().range(0..=10_000_000))]
    most_photos: usize,
    /// Words that get a detector: the most frequent ones of the captions
    #[arg(long, value_name = "N", default_value_t = Settings::default().words, value_parser = count(100_000))]
    words: usize,
    /// Dimensions that the features are reduced to, at most as many as there are features
    #[arg(long, value_name = "R", default_value_t = Settings::default().rank, value_parser = count(100_000))]
    rank: usize,
    /// Dimensions that the tags are reduced to, which makes the file smaller; 0 leaves them as they are
    #[arg(long, value_name = "R", default_value_t = Settings::default().tag_rank,
          value_parser = RangedU64ValueParser::<usize>::new().range(0..=100_000))]
    tag_rank: usize,
    /// The beam of the captions that the confidence is learnt from; it fits captions of that beam best
    #[arg(long, value_name = "N", default_value_t = Settings::default().beam, value_parser = count(1000))]
    beam: usize,
    /// How the file's numbers are stored: f32, f16, bf16 or i8
    #[arg(long, value_name = "TYPE", default_value = "i8",
          value_parser = precision())]
    store: NumberFormat,
    /// The seed by which photographs are drawn
    #[arg(long, value_name = "S", default_value_t = Settings::default().seed)]
    seed: u64,
    #[command(flatten)]
    reading: ReadingArgs,
    /// Print the results as a JSON object: calibration errors, AUROC, reliability
    #[arg(long)]
    json: bool,
}

/// Parses the name of a [`NumberFormat`].
fn precision() -> impl TypedValueParser<Value = NumberFormat> {
    PossibleValuesParser::new(NumberFormat::ALL.map(NumberFormat::name)).map(|name| {
        let named = NumberFormat::ALL.into_iter().find(|p| p.name() == name);
        named.unwrap_or_default()
    })
}

pub fn run(args: &CalibrateArgs, device: &Device) -> Result<ExitCode> {
    args.reading.apply();
    store::check(&args.out)?;
    let mut captioner = Captioner::load(&args.model)?;
    captioner.to(device)?;
    let sources = Sources {
        data: args.data.given(),
        not_photos: args.not_photos.clone(),
        photos: args.photos.clone(),
        labels: args.labels.clone(),
        most_photos: args.most_photos,
    };
    let settings = Settings {
        rank: args.rank,
        words: args.words,
        tag_rank: args.tag_rank,
        beam: args.beam,
        seed: args.seed,
    };
    let bar = output::progress("{bar:30} {pos}/{len} pictures  {eta} left  {msg}", 0);
    let found = calibrate(
        &mut captioner,
        &sources,
        settings,
        device,
        &mut |progress| match progress {
            Progress::Encoded(done, all) => {
                bar.set_length(all as u64);
                bar.set_position(done as u64);
            }
            Progress::Learning => bar.set_message("learning"),
            Progress::Captioning => bar.set_message("captioning the dev split"),
        },
    );
    bar.finish_and_clear();
    let found = found?;
    captioner
        .metrics
        .insert("calibration".into(), output::json_value(&found)?);
    captioner.to(&Device::Cpu)?;
    captioner.save(&args.out, args.store)?;
    match args.json {
        true => output::json(&found)?,
        false => print(&found, args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn print(found: &Calibration, args: &CalibrateArgs) -> Result<()> {
    let share = |x: Option<f64>| x.map_or("unknown".to_string(), |x| format!("{x:.3}"));
    let line = |name: &str, value: String| output::line(format_args!("{name:<20}{value}"));
    line(
        "photographs",
        format!(
            "AUROC {} against other pictures",
            share(found.photographs_auroc)
        ),
    )?;
    line(
        "",
        format!(
            "probability {:.3} of photographs, {:.3} of others",
            found.mean_of_photographs, found.mean_of_others
        ),
    )?;
    line("words", format!("{} with a detector", found.words))?;
    for (kind, auroc) in &found.kinds {
        line(
            kind,
            format!("AUROC {} against other animals", share(*auroc)),
        )?;
    }
    if let Some(tags) = &found.tags {
        line(
            "tags",
            format!(
                "temperature {:.2}; right {:.1}% of {} photos; calibration error {:.3} before, {:.3} after",
                tags.temperature,
                100.0 * tags.right,
                tags.photos,
                tags.error_before,
                tags.error_after
            ),
        )?;
    }
    line(
        "captions",
        format!(
            "{:.1}% of {} mostly right",
            100.0 * found.mostly_right,
            found.captions
        ),
    )?;
    line(
        "confidence",
        format!(
            "calibration error {:.3}, AUROC {}",
            found.calibration_error,
            share(found.auroc)
        ),
    )?;
    for bin in &found.reliability {
        line(
            "",
            format!(
                "from {:.1}: {:4} captions, confidence {:.2}, right {:.2}",
                bin.from, bin.count, bin.mean, bin.right
            ),
        )?;
    }
    output::line(error::name(&args.out))
}
