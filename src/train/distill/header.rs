//! The header of a target file: the JSON in its metadata. See [`super::file`] for the whole format.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::data::weights::WeightFile;
use crate::data::words;
use crate::error::{Error, Result};
use crate::model::Tags;

/// The metadata entry that makes a safetensors file a target file.
pub const METADATA_KEY: &str = "glimpse_targets";

/// The version of the format that this program reads.
pub const FORMAT: u32 = 1;

/// The only supported rendering of views: [`View::render`](crate::data::View::render).
pub const RENDERING: &str = "bilinear-1";

/// Number of hexadecimal digits in a picture's digest.
pub const DIGEST_DIGITS: usize = 16;

/// The description in a target file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// The version of the format.
    pub format: u32,
    /// Name of the teacher.
    pub teacher: String,
    /// Where the teacher comes from.
    #[serde(default)]
    pub source: String,
    /// Licence of the teacher's weights.
    #[serde(default)]
    pub licence: String,
    /// How pixels become the teacher's input.
    #[serde(default)]
    pub input: Value,
    /// How a view becomes pixels.
    pub rendering: String,
    /// File names of the pictures.
    pub names: Vec<String>,
    /// The first [`DIGEST_DIGITS`] hexadecimal digits of each picture file's SHA-256.
    pub digests: Vec<String>,
    /// Names of the classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_names: Option<Vec<String>>,
}

/// Reads and validates the header of an open file; `None` if the file is no target file.
///
/// # Errors
/// Fails if it is a target file of another format, or one that contradicts itself.
pub fn read(file: &WeightFile) -> Result<Option<Header>> {
    let path = file.path();
    let refuse = |what: String| Error::file(path, what);
    let Some(text) = file.metadata(METADATA_KEY)? else {
        return Ok(None);
    };
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let broken = |e: serde_json::Error| {
        refuse(format!(
            "its `{METADATA_KEY}` makes no sense: {}",
            words::json(&e)
        ))
        .because(e)
    };
    let Version { format } = serde_json::from_str(&text).map_err(broken)?;
    if format != FORMAT {
        return Err(refuse(format!(
            "is a target file of format {format}, this program reads {FORMAT}; write it again with \
             tools/teacher_targets.py"
        )));
    }
    let header: Header = serde_json::from_str(&text).map_err(broken)?;
    if header.rendering != RENDERING {
        return Err(refuse(format!(
            "its views are drawn by the recipe `{}`, this program draws `{RENDERING}`; write it again with \
             tools/teacher_targets.py",
            header.rendering
        )));
    }
    let (names, digests) = (header.names.len(), header.digests.len());
    if names != digests {
        return Err(refuse(format!(
            "names {names} pictures but holds {digests} digests"
        )));
    }
    let is_digest = |text: &String| {
        text.len() == DIGEST_DIGITS && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    if let Some(odd) = header.digests.iter().find(|text| !is_digest(text)) {
        return Err(refuse(format!(
            "the digest '{odd}' is not {DIGEST_DIGITS} hexadecimal digits of a SHA-256"
        )));
    }
    if let Some(names) = &header.class_names {
        Tags::check(names).map_err(|e| refuse(format!("its `class_names`: {e}")))?;
    }
    let mut seen = HashSet::new();
    if let Some(twice) = header.names.iter().find(|name| !seen.insert(name.as_str())) {
        return Err(refuse(format!("names the picture {twice} twice")));
    }
    Ok(Some(header))
}
