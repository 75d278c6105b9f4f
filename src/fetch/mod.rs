//! Floor 6: downloads published encoders.
//!
//! A [`Download`] transfers a file: whole and verified, or not at all. [`cache`] is the folder where downloaded
//! encoders are kept. Nothing here uses the network unless a download is run.

pub mod cache;
mod connection;
mod download;
mod forward;
mod partial;
mod response;

use std::io::{self, Read};

use sha2::{Digest, Sha256};

use crate::data::hex;

pub use connection::address;
pub use download::{Download, Downloaded};

/// A published encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// The name of its architecture, as in [`DenseNetConfig::named`](crate::model::DenseNetConfig::named).
    pub name: &'static str,
    /// Its address.
    pub url: &'static str,
    /// Its authors and terms.
    pub note: &'static str,
}

const TORCHVISION: &str = "by torchvision (BSD 3-Clause), trained on ImageNet, whose terms may restrict the \
                           use of such weights";

/// The networks that torchvision publishes. Their file names contain the beginning of their SHA-256, see
/// [`hash_prefix`].
pub const PUBLISHED: [Published; 4] = [
    Published {
        name: "densenet121",
        url: "https://download.pytorch.org/models/densenet121-a639ec97.pth",
        note: TORCHVISION,
    },
    Published {
        name: "densenet161",
        url: "https://download.pytorch.org/models/densenet161-8d451a50.pth",
        note: TORCHVISION,
    },
    Published {
        name: "densenet169",
        url: "https://download.pytorch.org/models/densenet169-b2777c0a.pth",
        note: TORCHVISION,
    },
    Published {
        name: "densenet201",
        url: "https://download.pytorch.org/models/densenet201-c1103571.pth",
        note: TORCHVISION,
    },
];

/// Returns the published network `name`.
pub fn published(name: &str) -> Option<Published> {
    PUBLISHED.into_iter().find(|p| p.name == name)
}

/// Returns the beginning of the SHA-256 that a file carries in its name, by torchvision's convention: at least eight
/// hexadecimal digits between a hyphen and a dot.
///
/// ```
/// # use glimpse::fetch::hash_prefix;
/// assert_eq!(hash_prefix("densenet121-a639ec97.pth"), Some("a639ec97"));
/// assert_eq!(hash_prefix("densenet121.pth"), None);
/// ```
pub fn hash_prefix(file_name: &str) -> Option<&str> {
    file_name.match_indices('-').find_map(|(at, hyphen)| {
        let rest = &file_name[at + hyphen.len()..];
        let digits = rest.find(|c| !matches!(c, '0'..='9' | 'a'..='f'))?;
        (digits >= 8 && rest[digits..].starts_with('.')).then(|| &rest[..digits])
    })
}

/// Reads everything; returns the number of bytes and their SHA-256 in hexadecimal.
///
/// # Errors
/// If reading fails, with the system's error.
pub fn sha256(mut from: impl Read) -> io::Result<(u64, String)> {
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    let mut buffer = vec![0; 1 << 16];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                hash.update(&buffer[..n]);
                bytes += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok((bytes, hex(&hash.finalize())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DenseNetConfig;

    #[test]
    fn a_hash_in_a_name_is_found_as_torchvision_finds_it() {
        for (name, prefix) in [
            ("densenet121-a639ec97.pth", Some("a639ec97")),
            ("a-b-0123456789abcdef.tar.gz", Some("0123456789abcdef")),
            ("a-deadbeef-cafecafe.pth", Some("cafecafe")),
            ("a--cafecafe.pth", Some("cafecafe")),
            ("a-a639ec9.pth", None),
            ("a-A639EC97.pth", None),
            ("a-a639ec97", None),
            ("a-a639ec97x.pth", None),
            ("a639ec97.pth", None),
            ("é-ü-cafecafé.pth", None),
            ("", None),
        ] {
            assert_eq!(hash_prefix(name), prefix, "{name}");
        }
    }

    #[test]
    fn every_network_with_a_name_is_published_with_a_hash() {
        assert_eq!(PUBLISHED.map(|p| p.name), DenseNetConfig::NAMES);
        for Published { name, url, .. } in PUBLISHED {
            assert!(url.contains(name), "{url}");
            assert_eq!(hash_prefix(url).map(str::len), Some(8), "{url}");
            assert!(address(url).is_ok());
        }
    }
}
