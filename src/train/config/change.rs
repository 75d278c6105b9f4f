//! Single settings by name (`decoder.kind=attention`), and the differences between two configurations.

use serde_json::{Map, Value};

use super::TrainConfig;
use super::fields::{FIELDS, Field, TABLES, Takes};
use crate::data::words;
use crate::error::{Error, Result};

/// A setting and its new value.
#[derive(Clone, Debug)]
pub struct Change {
    pub(super) field: &'static Field,
    pub(super) value: Value,
}

impl Change {
    /// Returns the name of the setting.
    pub fn key(&self) -> &'static str {
        self.field.key
    }

    /// Returns why a resumed run cannot make this change; `None` if it can.
    pub fn refusal(&self) -> Option<String> {
        let Field { key, fixed, .. } = self.field;
        (!fixed.is_empty()).then(|| {
            format!(
                "--set {key}: a run that goes on cannot change it, because {fixed}; leave it out, or start a new run"
            )
        })
    }
}

/// Refuses settings that are given twice.
///
/// # Errors
/// Names the first of them.
pub fn check_once(changes: &[Change]) -> Result<(), String> {
    let twice = changes.iter().enumerate().find(|(at, change)| {
        let earlier = changes[..*at].iter();
        earlier.map(Change::key).any(|key| key == change.key())
    });
    match twice {
        Some((_, change)) => Err(format!(
            "--set {} is there twice; leave one out",
            change.key()
        )),
        None => Ok(()),
    }
}

/// Returns the value of the setting `key` in a stored configuration, if it is set there.
pub fn within<'c>(config: &'c Value, key: &str) -> Option<&'c Value> {
    key.split('.')
        .try_fold(config, |table, part| table.get(part))
}

impl TrainConfig {
    /// Returns this configuration with `changes`.
    ///
    /// # Errors
    /// Fails if a value is out of range, or contradicts others.
    pub fn with(&self, changes: &[Change]) -> Result<Self> {
        let mut value = self.value();
        for change in changes {
            put(&mut value, change.field.key, change.value.clone());
        }
        let config: TrainConfig = serde_json::from_value(value).map_err(|e| {
            let keys: Vec<String> = changes
                .iter()
                .map(|c| format!("--set {}", c.key()))
                .collect();
            Error::usage(format_args!(
                "{}: the configuration {}",
                keys.join(" "),
                words::json(&e)
            ))
        })?;
        config.check()?;
        Ok(config)
    }

    /// Returns the configuration as it is stored.
    pub fn value(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// Sets `value` at `key`, creating missing tables.
fn put(root: &mut Value, key: &str, value: Value) {
    let mut at = root;
    for part in key.split('.') {
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        at = &mut at[part];
    }
    *at = value;
}

/// Returns the settings of a stored configuration by their full names, in the order of the documentation. Unknown
/// settings, as from another version, come last.
pub fn flat(config: &Value) -> Vec<(String, Value)> {
    fn collect(prefix: &str, value: &Value, found: &mut Vec<(String, Value)>) {
        let Value::Object(table) = value else {
            found.push((prefix.to_string(), value.clone()));
            return;
        };
        for (key, value) in table {
            let dot = if prefix.is_empty() { "" } else { "." };
            collect(&format!("{prefix}{dot}{key}"), value, found);
        }
    }
    let mut found = Vec::new();
    if config.is_object() {
        collect("", config, &mut found);
    }
    let place = |key: &str| FIELDS.iter().position(|field| field.key == key);
    found.sort_by_key(|(key, _)| place(key).unwrap_or(FIELDS.len()));
    found
}

/// A difference between two configurations: the setting's name and both values, `None` where it is left out.
pub type Difference = (String, Option<Value>, Option<Value>);

/// Returns the settings in which two stored configurations differ.
pub fn differences(a: &Value, b: &Value) -> Vec<Difference> {
    let (a, b) = (flat(a), flat(b));
    let find = |of: &[(String, Value)], key: &str| {
        let mut of = of.iter();
        of.find(|(name, _)| name == key).map(|(_, v)| v.clone())
    };
    let mut keys: Vec<&String> = a.iter().map(|(key, _)| key).collect();
    keys.extend(
        b.iter()
            .map(|(key, _)| key)
            .filter(|key| find(&a, key).is_none()),
    );
    let place = |key: &str| FIELDS.iter().position(|field| field.key == key);
    keys.sort_by_key(|key| place(key).unwrap_or(FIELDS.len()));
    let both = keys
        .into_iter()
        .map(|key| (key.clone(), find(&a, key), find(&b, key)));
    both.filter(|(_, a, b)| a != b).collect()
}

/// Returns the settings of a stored configuration that are not at their defaults, in TOML: `epochs = 3`. Settings that
/// an older version did not have count as defaults.
pub fn changed(config: &Value) -> Vec<String> {
    let defaults = TrainConfig::default().value();
    let differ = differences(&defaults, config).into_iter();
    let lines = differ.filter_map(|(key, _, value)| Some(format!("{key} = {}", shown(&value?))));
    lines.collect()
}

/// Formats a value in TOML, with no more digits than its precision.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(x) if number.is_f64() => shortest(x),
            _ => number.to_string(),
        },
        Value::Array(all) => {
            let all: Vec<String> = all.iter().map(shown).collect();
            format!("[{}]", all.join(", "))
        }
        Value::Object(table) => {
            let all = table.iter();
            let all: Vec<String> = all
                .map(|(key, v)| format!("{key} = {}", shown(v)))
                .collect();
            format!("{{ {} }}", all.join(", "))
        }
        other => other.to_string(),
    }
}

/// Rounds a number to the digits that were written in the configuration.
pub fn rounded(value: Value) -> Value {
    match value.as_f64().filter(|_| value.is_f64()) {
        Some(x) => shortest(x).parse::<f64>().map_or(value, Value::from),
        None => value,
    }
}

/// Formats a number with the fewest digits. Most settings are stored as `f32`; printed as `f64` they would show digits
/// that nobody wrote.
fn shortest(x: f64) -> String {
    let narrow = x as f32;
    match f64::from(narrow) == x {
        true => format!("{narrow:?}"),
        false => format!("{x:?}"),
    }
}

/// Returns all settings in TOML with descriptions, units and defaults, and the values of `config`. Settings that it
/// leaves out are comments.
pub fn commented(config: &TrainConfig) -> String {
    let defaults = flat(&TrainConfig::default().value());
    let values = flat(&config.value());
    let find = |of: &[(String, Value)], key: &str| {
        let mut of = of.iter();
        of.find(|(name, _)| name == key).map(|(_, v)| shown(v))
    };
    let mut text = String::from(
        "# The settings of `glimpse train --config FILE.toml`. A file names only what differs from the\n\
         # defaults; `--set optimizer.lr=5e-4` changes a single one.\n",
    );
    for (table, about) in TABLES {
        let own =
            |field: &&Field| field.key.rsplit_once('.').map_or("", |(table, _)| table) == table;
        let fields = || FIELDS.iter().filter(own);
        let is_there = table.is_empty() || fields().any(|field| find(&values, field.key).is_some());
        if !table.is_empty() {
            text.push('\n');
            comment(&mut text, about);
            text += &format!("{}[{table}]\n", if is_there { "" } else { "# " });
        }
        for field in fields() {
            let short = field.key.rsplit('.').next().unwrap_or_default();
            let default = find(&defaults, field.key);
            let mut about = match field.takes {
                Takes::Choice(known) => format!("{} One of {}.", field.about, known.join(", ")),
                _ => field.about.to_string(),
            };
            about += match &default {
                Some(default) => format!(" Default: {default}"),
                None if table == "distill" => format!(" Default: {}", field.example),
                None => " Left out by default".to_string(),
            }
            .as_str();
            about += &match field.unit {
                "" | "1" => ".".to_string(),
                unit => format!(" (unit: {unit})."),
            };
            text.push('\n');
            comment(&mut text, &about);
            text += &match find(&values, field.key) {
                Some(value) => format!("{short} = {value}\n"),
                None => format!("# {short} = {}\n", field.example),
            };
        }
    }
    text
}

/// Appends a sentence as comment lines.
fn comment(text: &mut String, sentence: &str) {
    const WIDTH: usize = 100;
    let mut line = String::from("#");
    for word in sentence.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            *text += &line;
            text.push('\n');
            line = "#".into();
        }
        line.push(' ');
        line += word;
    }
    *text += &line;
    text.push('\n');
}

#[cfg(test)]
#[path = "change_tests.rs"]
mod tests;
