//! Parses the address to listen on, in the spellings that people use.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::error::{Error, Result};

/// The default port.
const PORT: u16 = 8080;

/// Parses the address to listen on, and returns it as `HOST:PORT`.
///
/// A port alone, `8080` or `:8080`, means the loopback address. Other programs take it for all of a machine's
/// addresses, but a service must be reachable by strangers only if the user asks for that.
///
/// # Errors
/// If it has none of these spellings.
pub fn address(text: &str) -> Result<String> {
    read(text).ok_or_else(|| {
        Error::usage(format_args!(
            "`{text}` is not an address to listen on; give HOST:PORT, a host or a port, such as 127.0.0.1:8080, [::1]:8080, \
             localhost, 0.0.0.0 (all addresses) or 8080 (this machine alone)"
        ))
    })
}

fn read(text: &str) -> Option<String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address.to_string());
    }
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    if let Ok(ip) = bare.unwrap_or(text).parse::<IpAddr>() {
        let fits = bare.is_none() || ip.is_ipv6();
        return fits.then(|| SocketAddr::new(ip, PORT).to_string());
    }
    let digits = text.strip_prefix(':').unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), digits.parse().ok()?).to_string());
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            (host, port.parse().ok()?)
        }
        Some(_) => return None,
        None => (text, PORT),
    };
    is_name(host).then(|| format!("{host}:{port}"))
}

/// Whether `host` could be the name of a machine.
fn is_name(host: &str) -> bool {
    let fits = |c: char| c.is_alphanumeric() || "-._".contains(c);
    !host.is_empty() && host.chars().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_an_address() {
        for (text, read) in [
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("0.0.0.0:80", "0.0.0.0:80"),
            ("[::1]:8080", "[::1]:8080"),
            ("[::]:0", "[::]:0"),
            ("localhost:9000", "localhost:9000"),
            ("my-host.example:9000", "my-host.example:9000"),
            // A port alone means the loopback address.
            ("8080", "127.0.0.1:8080"),
            (":8080", "127.0.0.1:8080"),
            ("0", "127.0.0.1:0"),
            // A host alone gets the default port.
            ("0.0.0.0", "0.0.0.0:8080"),
            ("localhost", "localhost:8080"),
            ("::1", "[::1]:8080"),
            ("[::]", "[::]:8080"),
        ] {
            assert_eq!(address(text).unwrap(), read, "{text}");
        }
    }

    #[test]
    fn what_is_none_is_refused_with_the_spellings() {
        for text in [
            "",
            ":",
            "localhost:",
            "localhost:http",
            "localhost:80:80",
            "localhost:+80",
            "65536",
            ":65536",
            "localhost:65536",
            "[localhost]:80",
            "[127.0.0.1]",
            "[::1",
            "::1::2",
            "http://localhost:8080",
            "localhost/",
            "*:8080",
            "a b",
        ] {
            let error = address(text).unwrap_err().to_string();
            assert!(error.contains("[::1]:8080"), "{text}: {error}");
        }
    }
}
