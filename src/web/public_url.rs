//! The public address of the service, if users reach it through a proxy.

use std::fmt;
use std::str::FromStr;

use super::origin::Origin;
use super::paths;
use crate::error::Error;

/// An address such as `https://example.org/glimpse`, from which a proxy passes requests on to the service.
///
/// Some proxies remove the path before they pass a request on, others keep it; the service answers both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    origin: Origin,
    /// `/glimpse`; empty if the service has the host to itself.
    path: String,
}

impl PublicUrl {
    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }
}

impl FromStr for PublicUrl {
    type Err = Error;

    /// # Errors
    /// If `text` is not the address of a web server, has more parts than that, or has a path that would hide a route.
    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |what: &str| Error::usage(format_args!("{text}: {what}"));
        let form = || wrong("must be an address such as https://example.org/glimpse");
        let (scheme, rest) = text.split_once("://").ok_or_else(form)?;
        if !["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) {
            return Err(wrong("must begin with http:// or https://"));
        }
        let end = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let origin = Origin::new(scheme, authority).ok_or_else(form)?;
        let path = path.strip_suffix('/').unwrap_or(path);
        if !path.split('/').skip(1).all(is_plain) {
            return Err(wrong(
                "between its slashes the path may have letters, digits and - . _ ~, and no query may follow",
            ));
        }
        if let Some(own) = paths::hidden_by(path) {
            return Err(wrong(&format!(
                "the path {path} would hide {own}, which is the service's own; choose another path, such as /glimpse"
            )));
        }
        Ok(PublicUrl {
            origin,
            path: path.into(),
        })
    }
}

impl fmt::Display for PublicUrl {
    /// Writes the address without a final slash, so that a path can follow.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.path)
    }
}

/// Whether a segment of a path has only one spelling and is safe in markup.
fn is_plain(part: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    !matches!(part, "" | "." | "..") && part.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_their_usual_spellings() {
        for (text, path, shown) in [
            ("https://example.org", "", "https://example.org"),
            ("https://example.org/", "", "https://example.org"),
            ("HTTPS://Example.org:443", "", "https://example.org"),
            ("http://example.org:8443/", "", "http://example.org:8443"),
            (
                "https://example.org/glimpse",
                "/glimpse",
                "https://example.org/glimpse",
            ),
            (
                "https://example.org/a/b-c_1.2~/",
                "/a/b-c_1.2~",
                "https://example.org/a/b-c_1.2~",
            ),
            ("http://[::1]:80/x", "/x", "http://[::1]/x"),
        ] {
            let url: PublicUrl = text.parse().unwrap();
            assert_eq!((url.path(), &*url.to_string()), (path, shown));
        }
    }

    #[test]
    fn what_is_no_address_is_refused_in_a_line() {
        for text in [
            "",
            "example.org",
            "/glimpse",
            "ftp://example.org",
            "https://",
            "https:///glimpse",
            "https://user:word@example.org/",
            "https://example.org:port/",
            "https://example.org?a=b",
            "https://example.org/a?b=c",
            "https://example.org/#top",
            "https://example.org//a",
            "https://example.org/a//",
            "https://example.org/../a",
            "https://example.org/a b",
            "https://example.org/%61",
            "https://example.org/{a}",
            "https://example.org/api/",
            "https://b\u{fc}cher.example/",
        ] {
            let error = text.parse::<PublicUrl>().unwrap_err().to_string();
            assert!(
                error.starts_with(text) && !error.contains('\n'),
                "{text}: {error}"
            );
        }
    }
}
