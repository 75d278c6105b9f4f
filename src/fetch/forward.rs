//! Sends `http` requests through a proxy in absolute form (RFC 9112, section 3.2.2). The HTTP client supports only
//! tunnels, which many proxies allow only for encrypted connections.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, DefaultConnector, NextTimeout, Transport,
};
use ureq::{Error, Proxy, ProxyProtocol};

/// Opens connections as the client does by default, except for those through a forwarding proxy.
#[derive(Debug)]
pub(super) struct Forward {
    default: DefaultConnector,
    /// The configuration without a proxy.
    direct: Config,
}

impl Forward {
    /// Creates a connector for a client of this configuration, which has no proxy; its requests may have one.
    pub fn new(direct: Config) -> Self {
        Forward {
            default: DefaultConnector::default(),
            direct,
        }
    }
}

impl Connector for Forward {
    type Out = Box<dyn Transport>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<()>,
    ) -> Result<Option<Self::Out>, Error> {
        let proxy = details.config.proxy().filter(|proxy| {
            let http = [ProxyProtocol::Http, ProxyProtocol::Https];
            http.contains(&proxy.protocol()) && !details.needs_tls()
        });
        let Some(proxy) = proxy else {
            return self.default.connect(details, chained);
        };
        let to_proxy = ConnectionDetails {
            uri: proxy.uri(),
            addrs: details
                .resolver
                .resolve(proxy.uri(), &self.direct, details.timeout)?,
            config: &self.direct,
            request_level: details.request_level,
            resolver: details.resolver,
            now: details.now,
            timeout: details.timeout,
            current_time: details.current_time.clone(),
            run_connector: details.run_connector.clone(),
            register_shutdown: details.register_shutdown.clone(),
        };
        let inner = self.default.connect(&to_proxy, chained)?;
        Ok(inner.map(|inner| Forwarded::new(inner, details.uri, proxy).boxed()))
    }
}

/// A connection to a proxy, in which each request carries its full address.
struct Forwarded<T> {
    inner: T,
    /// `http://host:port`
    origin: String,
    /// A header line, or empty.
    authorization: String,
}

impl<T> Forwarded<T> {
    fn new(inner: T, target: &Uri, proxy: &Proxy) -> Self {
        Forwarded {
            inner,
            origin: origin(target),
            authorization: authorization(proxy),
        }
    }
}

impl<T: Transport> Transport for Forwarded<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let output = &self.inner.buffers().output()[..amount];
        let Some(head) = in_full(output, &self.origin, &self.authorization) else {
            return self.inner.transmit_output(amount, timeout);
        };
        // The rewritten request is longer and may not fit the buffer.
        let most = self.inner.buffers().output().len();
        for piece in head.chunks(most) {
            self.inner.buffers().output()[..piece.len()].copy_from_slice(piece);
            self.inner.transmit_output(piece.len(), timeout)?;
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }
}

impl<T> fmt::Debug for Forwarded<T> {
    // Leaves out the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forwarded").finish_non_exhaustive()
    }
}

/// Returns the part of an address before its path; like the `Host` header without the default port, and without the
/// password.
fn origin(address: &Uri) -> String {
    let host = address.host().unwrap_or_default();
    match address.port_u16().filter(|port| *port != 80) {
        Some(port) => format!("http://{host}:{port}"),
        None => format!("http://{host}"),
    }
}

/// Returns the header line that authenticates the user at the proxy, if the proxy's address has a user.
fn authorization(proxy: &Proxy) -> String {
    if proxy.username().is_none() && proxy.password().is_none() {
        return String::new();
    }
    let [user, password] = [proxy.username(), proxy.password()].map(Option::unwrap_or_default);
    let both = BASE64_STANDARD.encode(format!("{user}:{password}"));
    format!("Proxy-Authorization: Basic {both}\r\n")
}

/// Rewrites the beginning of a request to absolute form; `None` if `output` is not the beginning of one. The client
/// only sends GET requests and writes the first line in one piece, and no other line of a head looks like it.
fn in_full(output: &[u8], origin: &str, authorization: &str) -> Option<Vec<u8>> {
    let method = b"GET ";
    let target = output
        .strip_prefix(method)
        .filter(|target| target.starts_with(b"/"))?;
    let end = target.windows(2).position(|two| two == b"\r\n")? + 2;
    let (line, rest) = target.split_at(end);
    let pieces: [&[u8]; 5] = [
        method,
        origin.as_bytes(),
        line,
        authorization.as_bytes(),
        rest,
    ];
    Some(pieces.concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ureq::unversioned::transport::LazyBuffers;

    #[test]
    fn a_head_says_whose_it_is() {
        for (output, expected) in [
            (
                "GET /a HTTP/1.1\r\nhost: b\r\n\r\n",
                Some("GET http://b/a HTTP/1.1\r\nX: y\r\nhost: b\r\n\r\n"),
            ),
            (
                "GET /?c HTTP/1.1\r\n",
                Some("GET http://b/?c HTTP/1.1\r\nX: y\r\n"),
            ),
            ("host: b\r\n\r\n", None),
            ("GET http://b/a HTTP/1.1\r\n", None),
            ("GET /a", None),
            ("", None),
        ] {
            let found = in_full(output.as_bytes(), "http://b", "X: y\r\n");
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{output}");
        }
    }

    #[test]
    fn an_origin_has_no_password() {
        for (address, expected) in [
            ("http://a.org", "http://a.org"),
            ("http://a.org:80/b", "http://a.org"),
            ("http://a.org:8080/b?c", "http://a.org:8080"),
            ("http://me:secret@a.org/b", "http://a.org"),
            ("http://[::1]:8/", "http://[::1]:8"),
        ] {
            assert_eq!(origin(&address.parse().unwrap()), expected);
        }
    }

    #[test]
    fn a_proxy_is_told_who_asks() {
        for (address, expected) in [
            ("http://localhost", ""),
            (
                "http://user:p%40ss@localhost",
                "Proxy-Authorization: Basic dXNlcjpwQHNz\r\n",
            ),
            (
                "http://user@localhost",
                "Proxy-Authorization: Basic dXNlcjo=\r\n",
            ),
        ] {
            assert_eq!(authorization(&Proxy::new(address).unwrap()), expected);
        }
    }

    /// Records the data that it is to send.
    #[derive(Debug)]
    struct Wire(LazyBuffers, Vec<u8>);

    impl Transport for Wire {
        fn buffers(&mut self) -> &mut dyn Buffers {
            &mut self.0
        }

        fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), Error> {
            self.1.extend(&self.0.output()[..amount]);
            Ok(())
        }

        fn await_input(&mut self, _: NextTimeout) -> Result<bool, Error> {
            Ok(false)
        }

        fn is_open(&mut self) -> bool {
            true
        }
    }

    #[test]
    fn a_head_may_outgrow_the_buffer_and_another_may_follow() {
        let wire = Wire(LazyBuffers::new(1, 20), Vec::new());
        let target = "http://nowhere.invalid:81/".parse().unwrap();
        let proxy = Proxy::new("http://user:pass@localhost").unwrap();
        let mut forwarded = Forwarded::new(wire, &target, &proxy);
        for piece in ["GET /a HTTP/1.1\r\n", "a: b\r\n\r\n"].repeat(2) {
            let output = forwarded.buffers().output();
            output[..piece.len()].copy_from_slice(piece.as_bytes());
            let timeout = NextTimeout::default();
            forwarded.transmit_output(piece.len(), timeout).unwrap();
        }
        let expected = "GET http://nowhere.invalid:81/a HTTP/1.1\r\n\
                        Proxy-Authorization: Basic dXNlcjpwYXNz\r\na: b\r\n\r\n";
        let sent = String::from_utf8(forwarded.inner.1.clone()).unwrap();
        assert_eq!(sent, expected.repeat(2));
        assert!(!format!("{forwarded:?}").contains("dXNl"));
    }
}
