//! Origins as browsers define them: scheme, host and port; the scheme's default port may be left out.

use std::fmt;

use axum::http::uri::Authority;

/// The origin of a page or of this service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    /// In lower case; an IPv6 address is in brackets.
    host: String,
    port: Option<u16>,
}

impl Origin {
    /// Returns the origin of addresses with this scheme and authority; `None` if they are not valid.
    pub fn new(scheme: &str, authority: &str) -> Option<Self> {
        let scheme = scheme.to_ascii_lowercase();
        let authority = self::authority(authority.as_bytes())?;
        Some(Origin {
            host: authority.host().to_ascii_lowercase(),
            port: authority.port_u16().or(usual_port(&scheme)),
            scheme,
        })
    }

    /// Parses the header `Origin`. `null`, which browsers send for a page without an origin, yields `None`.
    pub fn from_header(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        Origin::new(scheme, authority)
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether a page of this origin would name its own server `host`.
    ///
    /// The header `Host` has no scheme, and a proxy may turn HTTPS into plain HTTP. If `host` has no port, the default
    /// port of the page's scheme is therefore assumed.
    pub fn is_at(&self, host: &Authority) -> bool {
        let port = host.port_u16().or(usual_port(&self.scheme));
        self.host.eq_ignore_ascii_case(host.host()) && self.port == port
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        match self.port {
            Some(port) if self.port != usual_port(&self.scheme) => write!(f, ":{port}"),
            _ => Ok(()),
        }
    }
}

/// Returns the default port of a scheme.
fn usual_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// Parses a name or address with an optional port. Users and ports that are not numbers are refused.
pub fn authority(text: &[u8]) -> Option<Authority> {
    let authority = Authority::try_from(text).ok()?;
    let host = authority.host();
    let rest = authority.as_str().strip_prefix(host)?;
    let fits = match rest.strip_prefix(':') {
        // A parsed number could have a sign, a port must not.
        Some(port) => port.parse::<u16>().is_ok() && !port.starts_with('+'),
        None => rest.is_empty(),
    };
    (fits && !host.is_empty()).then_some(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usual_port_may_be_left_out() {
        for (origin, host, same) in [
            ("http://localhost", "localhost", true),
            ("http://localhost:80", "localhost", true),
            ("http://localhost", "localhost:80", true),
            ("HTTP://LocalHost:80", "LOCALHOST", true),
            ("https://localhost:443", "localhost", true),
            ("https://localhost", "localhost:443", true),
            ("http://[::1]:80", "[::1]", true),
            ("http://localhost:8080", "localhost:8080", true),
            ("http://localhost:8080", "localhost", false),
            ("http://localhost", "localhost:8080", false),
            ("http://localhost:443", "localhost", false),
            ("https://localhost", "localhost:80", false),
            ("https://localhost:80", "localhost", false),
            ("app://localhost", "localhost:80", false),
            ("http://localhost.example.org", "localhost", false),
        ] {
            let host = authority(host.as_bytes()).unwrap();
            let origin = Origin::from_header(origin).unwrap();
            assert_eq!(origin.is_at(&host), same, "{origin} {host}");
        }
    }

    #[test]
    fn what_is_no_origin_is_none() {
        for text in [
            "null",
            "localhost",
            "http://",
            "http://user@localhost",
            "http://localhost:",
            "http://localhost:99999",
            "http://localhost:+80",
            "http://localhost/path",
        ] {
            assert_eq!(Origin::from_header(text), None, "{text}");
        }
    }
}
