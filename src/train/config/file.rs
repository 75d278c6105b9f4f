//! Reads settings from TOML: the file of a training run, and single settings as text.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::TrainConfig;
use super::change::{Change, flat, shown};
use super::fields::{FIELDS, Field, Takes, field};
use crate::data::words;
use crate::error::{Error, Result, name};

impl TrainConfig {
    /// Reads the configuration in the TOML file at `path`. Paths in it are relative to its folder.
    ///
    /// # Errors
    /// Fails if the file cannot be read, is not TOML, names a field that does not exist, or has a value out of range.
    pub fn read(path: &Path) -> Result<Self> {
        let config = Self::read_as_is(path)?;
        config.check().map_err(|e| Error::file(path, e))?;
        Ok(config)
    }

    /// Reads a configuration like [`TrainConfig::read`], but does not check its values. The caller changes and then
    /// checks it.
    ///
    /// # Errors
    /// Fails if the file cannot be read, is not TOML, or names a field that does not exist.
    pub fn read_as_is(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(|e| Error::unread(path, &e))?;
        let mut config: TrainConfig =
            words::read_toml(&text).map_err(|what| Error::file(path, what))?;
        if let Some(distill) = &mut config.distill
            && let Some(folder) = path.parent()
        {
            distill.relative_to(folder);
        }
        Ok(config)
    }

    /// The names of the settings that the file at `path` sets.
    ///
    /// # Errors
    /// If it cannot be read or is not TOML.
    pub fn named_in(path: &Path) -> Result<Vec<String>> {
        let text = fs::read_to_string(path).map_err(|e| Error::unread(path, &e))?;
        let value: Value = words::read_toml(&text).map_err(|what| Error::file(path, what))?;
        Ok(flat(&value).into_iter().map(|(key, _)| key).collect())
    }
}

impl Change {
    /// Parses `optimizer.lr=1e-4`: the value in TOML, or a word without quotes.
    ///
    /// # Errors
    /// Fails if there is no such setting, naming the nearest one, or if the value has another type.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').ok_or(
            "a setting and its value are joined by =, as decoder.kind=attention; `glimpse config` lists all",
        )?;
        let key = key.trim();
        if key.is_empty() {
            return Err("a setting has a name before the =, as decoder.kind=attention; `glimpse config` lists all".into());
        }
        let field = field(key).ok_or_else(|| unknown(key))?;
        let value = toml_value(value.trim());
        let is_too_large =
            || matches!(&value, Value::String(s) if s.bytes().all(|b| b.is_ascii_digit()));
        match field.takes.fits(&value) {
            true => Ok(Change { field, value }),
            false if field.takes == Takes::Whole && is_too_large() => {
                Err(format!("{key} takes a whole number up to {}", i64::MAX))
            }
            false => Err(format!(
                "{key} takes {}, not {}",
                field.takes.words(),
                called(&value)
            )),
        }
    }
}

/// Parses a TOML value; text that is no TOML value becomes a string.
fn toml_value(text: &str) -> Value {
    let table = toml::from_str::<toml::Table>(&format!("value = {text}"));
    let value = table
        .ok()
        .filter(|table| table.len() == 1)
        .and_then(|mut table| table.remove("value"));
    match value {
        // JSON has no infinite numbers, and no setting takes a date.
        Some(toml::Value::Float(x)) if !x.is_finite() => text.into(),
        Some(toml::Value::Datetime(_)) | None => text.into(),
        Some(value) => serde_json::to_value(value).unwrap_or_else(|_| text.into()),
    }
}

/// Formats a value for a message.
fn called(value: &Value) -> String {
    match value {
        Value::String(text) => format!("the text `{}`", name(text)),
        Value::Object(_) => "a table".into(),
        Value::Array(_) => format!("the list {}", shown(value)),
        other => other.to_string(),
    }
}

/// Names that other programs use for these settings.
const ALIASES: [(&str, &str); 8] = [
    ("learning_rate", "optimizer.lr"),
    ("batch_size", "batch"),
    ("num_epochs", "epochs"),
    ("hidden_size", "decoder.hidden"),
    ("embedding_dim", "decoder.embedding"),
    ("optim", "optimizer.kind"),
    ("beam_size", "dev.beam"),
    ("early_stopping", "dev.patience"),
];

/// Suggests a setting in place of one that does not exist.
fn unknown(key: &str) -> String {
    let within = |field: &&Field| {
        let rest = field.key.strip_prefix(key);
        rest.is_some_and(|rest| rest.starts_with('.'))
    };
    let word = name(key).to_string();
    if let Some(first) = FIELDS.iter().find(within) {
        return format!(
            "{word} is a table; name one of its settings, as {}",
            first.key
        );
    }
    // `lr` is the last part of a setting's name. That match is better than the smallest edit distance.
    let last = |field: &&Field| field.key.rsplit('.').next() == Some(key);
    let mut named: Vec<&str> = FIELDS.iter().filter(last).map(|field| field.key).collect();
    named.sort_by_key(|key| !key.starts_with("optimizer."));
    let known = FIELDS.iter().map(|field| field.key);
    let word_of_others = key.rsplit('.').next().unwrap_or(key).replace('-', "_");
    let alias = ALIASES.iter().find(|(other, _)| *other == word_of_others);
    match named
        .first()
        .copied()
        .or(alias.map(|(_, ours)| *ours))
        .or_else(|| words::nearest(key, known))
    {
        Some(nearest) => format!("there is no setting {word}; the nearest one is {nearest}"),
        None => format!("there is no setting {word}; `glimpse config` lists all"),
    }
}
