//! `glimpse config`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::output;
use crate::data::weights::WeightFile;
use crate::data::words;
use crate::error::{Error, Result};
use crate::model::Description;
use crate::train::TrainConfig;
use crate::train::config::change::commented;

/// Print every setting of `glimpse train` with what it does, its unit and its default
///
/// The result is a file for `glimpse train --config`. With a model or a checkpoint, the values are those that it was
/// trained with.
#[derive(Args)]
pub struct ConfigArgs {
    /// A model or a checkpoint [default: none, and the values are the defaults]
    #[arg(value_name = "MODEL")]
    model: Option<PathBuf>,
}

pub fn run(args: &ConfigArgs) -> Result<ExitCode> {
    let config = match &args.model {
        Some(path) => stored(path)?,
        None => TrainConfig::default(),
    };
    output::line(commented(&config).trim_end())?;
    Ok(ExitCode::SUCCESS)
}

/// The configuration in a model file.
fn stored(path: &PathBuf) -> Result<TrainConfig> {
    let description = Description::read(&WeightFile::open(path)?)?;
    let config = description.and_then(|mut d| d.training.remove("config"));
    let config = config.ok_or_else(|| {
        Error::file(
            path,
            "holds no configuration; name a model or a checkpoint that `glimpse train` has written",
        )
    })?;
    serde_json::from_value(config).map_err(|e| {
        Error::file(
            path,
            format_args!("its configuration makes no sense: {}", words::json(&e)),
        )
    })
}
