//! `glimpse fetch`

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde::Serialize;

use super::output;
use crate::convert::{self, Options};
use crate::data::store;
use crate::data::weights::{NumberFormat, WeightFile};
use crate::error::{self, Error, Result, reason};
use crate::fetch::{Download, Downloaded, address, cache, hash_prefix, published, sha256};
use crate::model::{DenseNetConfig, Description, file};

/// Fetch a published encoder, so that --encoder knows it by its name
///
/// The weights are torchvision's, trained on ImageNet. They are checked against their SHA-256 and stored in the
/// user's cache folder as a Glimpse file. After Ctrl-C or a broken connection, the same command continues the
/// download where it stopped. HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY are used, and SSL_CERT_FILE names
/// other certificates to trust. No other command uses the network.
#[derive(Args)]
pub struct FetchArgs {
    /// The network
    #[arg(value_name = "NAME", value_parser = PossibleValuesParser::new(DenseNetConfig::NAMES))]
    name: String,
    /// Another address of its weights
    #[arg(long, value_name = "URL", value_parser = web_address)]
    url: Option<String>,
    /// The folder to store it in, created if missing [default: glimpse in the user's cache folder]
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// The first digits, 8 or more, of the download's SHA-256 [default: those in a name like
    /// densenet121-a639ec97.pth]
    #[arg(long, value_name = "HEX", value_parser = digits)]
    sha256: Option<String>,
    /// Fetch it even if it is there
    #[arg(long)]
    force: bool,
    /// Print a JSON object: the encoder's file, its bytes and SHA-256, and where it is from
    #[arg(long)]
    json: bool,
}

/// The JSON object about a stored encoder.
#[derive(Serialize)]
struct Report<'a> {
    name: &'a str,
    #[serde(serialize_with = "crate::error::serialize_lossy")]
    file: &'a Path,
    /// Size of the encoder's file.
    bytes: u64,
    /// SHA-256 of the encoder's file.
    sha256: String,
    /// The address that it was fetched from, if the file names it.
    source: Option<String>,
}

pub fn run(args: &FetchArgs) -> Result<ExitCode> {
    let folder = args.to.clone().map_or_else(cache::folder, Ok)?;
    fs::create_dir_all(&folder)
        .map_err(|e| Error::file(&folder, format_args!("cannot be made: {}", reason(&e))))?;
    let target = folder.join(cache::file_name(&args.name));
    if is_there(args, &target) {
        output::note(format_args!(
            "{} is there already; --force fetches it again",
            args.name
        ));
    } else {
        fetch(args, &folder, &target)?;
    }
    report(args, &target)?;
    Ok(ExitCode::SUCCESS)
}

/// Whether the encoder is already stored.
fn is_there(args: &FetchArgs, target: &Path) -> bool {
    if args.force || !target.exists() {
        return false;
    }
    let found = check(target, &args.name);
    if let Err(e) = &found {
        output::note(format_args!("{e}; fetching it anew"));
    }
    found.is_ok()
}

fn fetch(args: &FetchArgs, folder: &Path, target: &Path) -> Result<()> {
    store::check(target)?;
    let name = &args.name;
    let published = published(name).filter(|_| args.url.is_none());
    let url = match (&args.url, published) {
        (Some(url), _) => url.as_str(),
        (None, Some(published)) => published.url,
        (None, None) => {
            return Err(Error::usage(format_args!(
                "{name}: give its address with --url"
            )));
        }
    };
    let promised = args.sha256.clone().or_else(|| promised(url));
    let download = Download::new(url, folder.join(format!("{name}.download")), promised);
    let bar = output::progress(
        "{bar:30} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left",
        0,
    );
    let arrived = download.run(&mut |bytes, total| {
        bar.set_length(total.unwrap_or(bytes));
        bar.set_position(bytes);
    });
    bar.finish_and_clear();
    let Downloaded { sha256, .. } = arrived?;
    let installed = install(&download.file, target, name, url);
    let _ = fs::remove_file(&download.file);
    // The download is deleted, so the error names the address instead.
    installed.map_err(|e| match e {
        Error::File { path, what, source } if path == download.file => Error::File {
            path: url.into(),
            what,
            source,
        },
        other => other,
    })?;
    if download.sha256.is_none() {
        output::note(format_args!(
            "{name}: not checked, for nothing says what its SHA-256 should be; it is {sha256}"
        ));
    }
    if let Some(published) = published {
        output::note(format_args!("{name}: {}", published.note));
    }
    Ok(())
}

/// Converts a download to a Glimpse file.
fn install(download: &Path, target: &Path, name: &str, url: &str) -> Result<()> {
    let options = Options {
        arch: Some(name.to_string()),
        url: Some(without_password(url)),
        ..Options::default()
    };
    let mut converted = convert::convert(download, &options)?;
    // The origin is the name of the published file, not of the temporary one.
    if let (Some(origin), Some(file)) = (&mut converted.description.origin, file_name(url)) {
        origin.file = file.to_string();
    }
    converted.write(target, NumberFormat::F32)
}

/// Refuses a file that is not the complete network `name`.
fn check(path: &Path, name: &str) -> Result<()> {
    let (encoder, _) = file::load_encoder(path)?;
    match encoder.config().name() {
        Some(found) if found == name => Ok(()),
        found => Err(Error::file(
            path,
            format_args!(
                "is {}, not {name}",
                found.unwrap_or("a DenseNet of other sizes")
            ),
        )),
    }
}

fn report(args: &FetchArgs, target: &Path) -> Result<()> {
    if !args.json {
        return output::line(error::name(&target));
    }
    let fail = |e: io::Error| Error::unread(target, &e);
    let (bytes, sha256) = File::open(target).and_then(sha256).map_err(fail)?;
    let description = Description::read(&WeightFile::open(target)?)?;
    let source = description.and_then(|d| d.origin?.url);
    output::json(&Report {
        name: &args.name,
        file: target,
        bytes,
        sha256,
        source,
    })
}

/// The first digits of the SHA-256 that the last part of an address holds.
fn promised(url: &str) -> Option<String> {
    hash_prefix(file_name(url)?).map(str::to_string)
}

/// The last part of an address, which is the file's name.
fn file_name(url: &str) -> Option<&str> {
    let path = url.split(['?', '#']).next()?;
    path.rsplit('/').next().filter(|name| !name.is_empty())
}

/// An address without user and password, for storing: in `https://user:password@host/…` they are secrets.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_string();
    };
    let host = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..host].rfind('@') {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
        None => url.to_string(),
    }
}

fn web_address(text: &str) -> Result<String> {
    address(text).map(|_| text.to_string())
}

fn digits(text: &str) -> Result<String, String> {
    let hex = text.bytes().all(|b| b.is_ascii_hexdigit());
    if hex && (8..=64).contains(&text.len()) {
        Ok(text.to_lowercase())
    } else {
        Err("it takes 8 to 64 hexadecimal digits".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_kept() {
        for (url, kept) in [
            ("https://me:secret@a.org/b@c?d@e", "https://a.org/b@c?d@e"),
            ("https://a.org/b@c", "https://a.org/b@c"),
            ("http://me@a.org", "http://a.org"),
        ] {
            assert_eq!(without_password(url), kept);
        }
    }
}
