//! Connects to the network: addresses, timeouts, proxies and trusted certificates.

use std::time::Duration;

use ureq::http::Uri;
use ureq::http::uri::Scheme;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::typestate::WithoutBody;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::{Agent, Proxy, RequestBuilder};

use super::forward::Forward;
use crate::error::{Error, Result, reason};

// A server that is up answers in a fraction of this.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// The environment variable for the file of trusted certificates, as OpenSSL and its users call it.
pub(super) const CERTIFICATES: &str = "SSL_CERT_FILE";

/// Parses an `http` or `https` address.
///
/// # Errors
/// If it is malformed.
pub fn address(url: &str) -> Result<Uri> {
    url.parse::<Uri>()
        .ok()
        .filter(|uri| {
            let known = [Some(&Scheme::HTTP), Some(&Scheme::HTTPS)];
            known.contains(&uri.scheme()) && uri.host().is_some_and(|host| !host.is_empty())
        })
        .ok_or_else(|| {
            Error::usage(format_args!(
                "`{url}` is not an address; give one that begins with https:// or http://"
            ))
        })
}

/// Resolves `location` against `base` by RFC 3986 (section 5.2); `None` if the result is not an `http` or `https`
/// address.
pub(super) fn follow(base: &Uri, location: &str) -> Option<Uri> {
    let end = location.find(['?', '#']).unwrap_or(location.len());
    let (path, rest) = location.split_at(end);
    if path.split('/').next()?.contains(':') {
        return address(location).ok();
    }
    let scheme = base.scheme_str()?;
    if path.starts_with("//") {
        return address(&format!("{scheme}:{location}")).ok();
    }
    let from = base.path();
    let path = match path {
        "" if !rest.starts_with('?') => return Some(base.clone()),
        "" => from.to_string(),
        _ if path.starts_with('/') => without_dots(path),
        _ => without_dots(&format!("{}/{path}", from.rsplit_once('/')?.0)),
    };
    address(&format!("{scheme}://{}{path}{rest}", base.authority()?)).ok()
}

/// Removes the segments `.` and `..` from a path that begins with a slash.
fn without_dots(path: &str) -> String {
    let mut kept = Vec::new();
    for segment in path.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            _ => kept.push(segment),
        }
    }
    if path.ends_with("/.") || path.ends_with("/..") {
        kept.push("");
    }
    format!("/{}", kept.join("/"))
}

/// Creates a client with a timeout of `silence` for each read, and none for the whole transfer. It does not follow
/// redirects itself, because each address may need another proxy.
///
/// # Errors
/// If the certificates that the environment names are unusable.
pub(super) fn agent(silence: Duration) -> Result<Agent> {
    let config = Agent::config_builder()
        .user_agent(concat!("glimpse/", env!("CARGO_PKG_VERSION")))
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_per_read(Some(silence))
        .timeout_per_write(Some(silence))
        .proxy(None)
        .tls_config(TlsConfig::builder().root_certs(trusted()?).build())
        .build();
    let forward = Forward::new(config.clone());
    Ok(Agent::with_parts(
        config,
        forward,
        DefaultResolver::default(),
    ))
}

/// Creates a request for `address`, through the proxy that the environment names for it.
///
/// # Errors
/// If the proxy's address is malformed.
pub(super) fn get(agent: &Agent, address: &Uri) -> Result<RequestBuilder<WithoutBody>> {
    let proxy = proxy(address)?;
    Ok(agent.get(address).config().proxy(proxy).build())
}

/// Returns Mozilla's certificates, or those of a file that the environment names: a company's proxy that inspects
/// encrypted connections has its own certificate.
fn trusted() -> Result<RootCerts> {
    let Some(path) = std::env::var_os(CERTIFICATES).filter(|path| !path.is_empty()) else {
        return Ok(RootCerts::WebPki);
    };
    let fail = |what: String| Error::file(&path, format_args!("{what}; {CERTIFICATES} names it"));
    let unread = |e| fail(format!("cannot be read: {}", reason(&e))).because(e);
    let bytes = std::fs::read(&path).map_err(unread)?;
    let certificates: Vec<_> = parse_pem(&bytes)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(fail("holds no certificates".into()));
    }
    Ok(RootCerts::new_with_certs(&certificates))
}

fn proxy(address: &Uri) -> Result<Option<Proxy>> {
    let Some((variable, value)) = choose(address, |name| std::env::var(name).ok()) else {
        return Ok(None);
    };
    // The value may contain a password and is not repeated.
    Proxy::new(&value).map(Some).map_err(|_| {
        Error::usage(format_args!(
            "{variable} is not a proxy's address; it should be like http://HOST:PORT"
        ))
    })
}

/// Returns the variable that names the proxy for `address`, with its value, by the rules of curl: the variable of the
/// scheme has precedence over the one for all schemes, lower case over upper case, and an empty value means no proxy.
/// (The client's own rules take the first variable that is set, whatever the scheme.)
fn choose(address: &Uri, get: impl Fn(&str) -> Option<String>) -> Option<(String, String)> {
    let either = |name: &str| {
        [name.to_string(), name.to_uppercase()]
            .into_iter()
            .find_map(|name| get(&name).map(|value| (name, value)))
    };
    let host = address.host()?.to_lowercase();
    let (variable, value) =
        either(&format!("{}_proxy", address.scheme_str()?)).or_else(|| either("all_proxy"))?;
    let spared = either("no_proxy").is_some_and(|(_, list)| spares(&list, &host));
    (!spared && !value.trim().is_empty()).then_some((variable, value))
}

/// Whether `host` belongs to one of the hosts and domains in `list`.
fn spares(list: &str, host: &str) -> bool {
    list.split(|c: char| c == ',' || c.is_whitespace())
        .any(|entry| {
            let domain = entry.trim_start_matches('*').trim_start_matches('.');
            let ends = |before: &str| before.is_empty() || before.ends_with('.');
            entry == "*"
                || !domain.is_empty() && host.strip_suffix(&domain.to_lowercase()).is_some_and(ends)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_of_the_web() {
        for url in [
            "https://a.org/b",
            "http://127.0.0.1:80/",
            "HTTP://a",
            "http://[::1]:8/a?b",
        ] {
            assert!(address(url).is_ok(), "{url}");
        }
        for url in [
            "",
            "a",
            "/a/b",
            "a.org/b",
            "ftp://a.org/b",
            "file:///a",
            "http://",
            "http://a b/",
        ] {
            assert!(address(url).is_err(), "{url}");
        }
    }

    #[test]
    fn locations_are_seen_from_where_they_are_given() {
        let base = address("http://me@a:81/b/c/d?q").unwrap();
        for (location, expected) in [
            ("http://x:1/y", "http://x:1/y"),
            ("HTTPS://x", "https://x/"),
            ("//g", "http://g/"),
            ("/g", "http://me@a:81/g"),
            ("/g?http://x/../y", "http://me@a:81/g?http://x/../y"),
            ("g", "http://me@a:81/b/c/g"),
            ("g/", "http://me@a:81/b/c/g/"),
            ("?y", "http://me@a:81/b/c/d?y"),
            ("g?y/./x", "http://me@a:81/b/c/g?y/./x"),
            ("g#s/../x", "http://me@a:81/b/c/g"),
            ("#s", "http://me@a:81/b/c/d?q"),
            ("", "http://me@a:81/b/c/d?q"),
            (".", "http://me@a:81/b/c/"),
            ("./g:h", "http://me@a:81/b/c/g:h"),
            ("..", "http://me@a:81/b/"),
            ("../g", "http://me@a:81/b/g"),
            ("../../../g", "http://me@a:81/g"),
            ("/./g/.", "http://me@a:81/g/"),
            ("g/../h", "http://me@a:81/b/c/h"),
            ("..g", "http://me@a:81/b/c/..g"),
        ] {
            let found = follow(&base, location).map(|uri| uri.to_string());
            assert_eq!(found.as_deref(), Some(expected), "{location}");
        }
        let bare = address("https://a").unwrap();
        assert_eq!(follow(&bare, "g").unwrap(), "https://a/g");
        assert_eq!(follow(&bare, "//g").unwrap(), "https://g/");
        for location in [
            "ftp://a/b",
            "g:h",
            "mailto:a@b",
            "http:",
            "http://",
            "a b",
            "//",
        ] {
            assert_eq!(follow(&base, location), None, "{location}");
        }
    }

    #[test]
    fn proxies_are_chosen_as_curl_does() {
        let chosen = |url: &str, variables: &[(&str, &str)]| {
            let get = |name: &str| {
                let found = variables.iter().find(|(n, _)| *n == name);
                found.map(|(_, value)| value.to_string())
            };
            choose(&address(url).unwrap(), get).map(|(_, value)| value)
        };
        let (http, https) = ("http://a.org/x", "https://a.org/x");
        let all = [
            ("HTTP_PROXY", "h"),
            ("HTTPS_PROXY", "s"),
            ("ALL_PROXY", "a"),
        ];
        assert_eq!(chosen(http, &all).as_deref(), Some("h"));
        assert_eq!(chosen(https, &all).as_deref(), Some("s"));
        assert_eq!(chosen(https, &all[..1]), None);
        assert_eq!(chosen(https, &all[2..]).as_deref(), Some("a"));
        let cases = [("https_proxy", "lower"), ("HTTPS_PROXY", "upper")];
        assert_eq!(chosen(https, &cases).as_deref(), Some("lower"));
        assert_eq!(
            chosen(https, &[("https_proxy", ""), ("ALL_PROXY", "a")]),
            None
        );
        for (list, spared) in [
            ("a.org", true),
            ("b.org, A.ORG", true),
            (".org", true),
            ("*.a.org", true),
            ("*", true),
            ("b.a.org c", false),
            ("rg", false),
            ("", false),
            (",", false),
        ] {
            for name in ["no_proxy", "NO_PROXY"] {
                let found = chosen(https, &[("ALL_PROXY", "a"), (name, list)]);
                assert_eq!(found.is_none(), spared, "{list}");
            }
        }
    }
}
