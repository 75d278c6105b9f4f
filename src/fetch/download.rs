//! Downloads a file: whole and verified, or not at all.

use std::io::{ErrorKind, Read};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use ureq::http::uri::Scheme;
use ureq::http::{HeaderMap, Response, StatusCode, Uri};
use ureq::{Agent, Body, Timeout};

use super::connection::{self, CERTIFICATES, CONNECT_TIMEOUT};
use super::partial::{Origin, Partial, address_digest};
use super::response::{self, ContentRange};
use crate::error::{Error, Result, reason};

/// The largest file in bytes; no encoder is as large, so a larger file is a mistake or an attack.
const MOST_BYTES: u64 = 2 << 30;

/// The number of attempts to resume a broken connection.
const RETRIES: u32 = 4;

/// The number of redirects that are followed; more than this is a cycle.
const REDIRECTS: u32 = 10;

/// A file to be downloaded.
///
/// Until it is complete and verified, the file has the name `FILE.partial`. The partial file stays if the connection
/// breaks or the process is killed. The same download then resumes from there, provided that the server can tell that
/// its file has not changed.
#[derive(Clone, Debug)]
pub struct Download {
    /// The address.
    pub url: String,
    /// The target file.
    pub file: PathBuf,
    /// The beginning of its SHA-256, in hexadecimal; a file with another SHA-256 is refused.
    pub sha256: Option<String>,
    /// The pause before the first attempt to resume a broken connection; each further pause is longer by half of it.
    pub pause: Duration,
    /// The time after which a silent server counts as gone.
    pub silence: Duration,
}

/// A finished download.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Downloaded {
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

/// The end of a connection.
enum End {
    /// The file is complete.
    Whole,
    /// The partial file is not a beginning of the server's file.
    Changed,
    /// Some data is missing; `passing` if another attempt may succeed.
    Broken { why: String, passing: bool },
}

impl Download {
    /// Creates a download with a pause of a second before the first retry, and a timeout of a minute for a silent
    /// server.
    pub fn new(url: impl Into<String>, file: impl Into<PathBuf>, sha256: Option<String>) -> Self {
        Download {
            url: url.into(),
            file: file.into(),
            sha256,
            pause: Duration::from_secs(1),
            silence: Duration::from_secs(60),
        }
    }

    /// Downloads the file. `progress` receives the number of bytes that have arrived, and the total if it is known.
    ///
    /// # Errors
    /// If the address is malformed, the server cannot be reached or does not have the file, the connection keeps
    /// breaking, the file is not the expected one, or it cannot be written.
    pub fn run(&self, progress: &mut dyn FnMut(u64, Option<u64>)) -> Result<Downloaded> {
        let agent = connection::agent(self.silence)?;
        let mut partial = Partial::open(&self.file)?;
        let checked = self
            .receive(&agent, &mut partial, progress)
            .and_then(|()| self.check(&mut partial));
        match checked {
            Ok(arrived) => partial.finish(&self.file).map(|()| arrived),
            Err(e) => {
                if !partial.is_of_use() {
                    partial.remove();
                }
                Err(e)
            }
        }
    }

    /// Fills `partial`, over as many connections as necessary.
    fn receive(
        &self,
        agent: &Agent,
        partial: &mut Partial,
        progress: &mut dyn FnMut(u64, Option<u64>),
    ) -> Result<()> {
        let mut retries = 0;
        loop {
            match self.connect(agent, partial, progress)? {
                End::Whole => return Ok(()),
                End::Changed => partial.begin(None)?,
                End::Broken { passing: true, .. } if retries < RETRIES => {
                    thread::sleep(self.pause * (retries + 2) / 2);
                    retries += 1;
                }
                End::Broken { why, .. } => return Err(self.broken(partial, &why)),
            }
        }
    }

    /// Sends one request and reads as much of its answer as arrives.
    fn connect(
        &self,
        agent: &Agent,
        partial: &mut Partial,
        progress: &mut dyn FnMut(u64, Option<u64>),
    ) -> Result<End> {
        let resumes = self.known(partial).is_some();
        let answer = match self.ask(agent, partial)? {
            Ok(answer) => answer,
            Err(end) => return Ok(end),
        };
        let (status, headers) = (answer.status(), answer.headers());
        let total = match status {
            StatusCode::OK => response::length(headers),
            StatusCode::PARTIAL_CONTENT if resumes => match self.continues(headers, partial) {
                Some(total) => Some(total),
                None => return Ok(End::Changed),
            },
            StatusCode::RANGE_NOT_SATISFIABLE if resumes => return Ok(End::Changed),
            _ => return Err(self.status(status)),
        };
        self.limit(total)?;
        if status == StatusCode::OK {
            partial.begin(self.origin(headers, total))?;
        }
        self.read(answer, total, partial, progress)
    }

    /// Returns the final answer, after all redirects.
    fn ask(&self, agent: &Agent, partial: &Partial) -> Result<Result<Response<Body>, End>> {
        let mut address = connection::address(&self.url)?;
        for _ in 0..=REDIRECTS {
            // Compression on the way would change length and offsets.
            let mut request =
                connection::get(agent, &address)?.header("Accept-Encoding", "identity");
            if let Some(Origin { version, .. }) = self.known(partial) {
                request = request
                    .header("Range", format!("bytes={}-", partial.len))
                    .header("If-Range", version);
            }
            let answer = match request.call() {
                Ok(answer) => answer,
                Err(e) => return Ok(Err(self.end(&e))),
            };
            match response::location(answer.status(), answer.headers()) {
                Some(location) => address = self.next(&address, location)?,
                None => return Ok(Ok(answer)),
            }
        }
        Ok(Err(End::Broken {
            why: "is redirected without end".into(),
            passing: false,
        }))
    }

    /// Returns the address that `location` means in an answer from `address`.
    fn next(&self, address: &Uri, location: &str) -> Result<Uri> {
        let Some(next) = connection::follow(address, location) else {
            return Err(self.refuse(format_args!(
                "redirects to `{location}`, which is not an address; give another one with --url"
            )));
        };
        let encrypted = |uri: &Uri| uri.scheme() == Some(&Scheme::HTTPS);
        if encrypted(&connection::address(&self.url)?) && !encrypted(&next) {
            return Err(self.refuse(
                "redirects to an address without encryption; if you trust that one, give it with --url",
            ));
        }
        Ok(next)
    }

    /// Appends the body of an answer to `partial`, which has `total` bytes once it is complete.
    fn read(
        &self,
        answer: Response<Body>,
        total: Option<u64>,
        partial: &mut Partial,
        progress: &mut dyn FnMut(u64, Option<u64>),
    ) -> Result<End> {
        let mut body = answer.into_body().into_reader();
        let mut buffer = vec![0; 1 << 16];
        loop {
            progress(partial.len, total);
            match body.read(&mut buffer) {
                Ok(0) if total.is_some_and(|total| partial.len < total) => {
                    return Ok(self.end(&std::io::Error::from(ErrorKind::UnexpectedEof).into()));
                }
                Ok(0) => return Ok(End::Whole),
                Ok(n) => {
                    let len = partial.len + n as u64;
                    if total.is_some_and(|total| len > total) {
                        partial.begin(None)?;
                        return Err(self.refuse("sends more than it announced; try again"));
                    }
                    self.limit(Some(len))
                        .or_else(|e| partial.begin(None).and(Err(e)))?;
                    partial.append(&buffer[..n])?;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Ok(self.end(&e.into())),
            }
        }
    }

    fn check(&self, partial: &mut Partial) -> Result<Downloaded> {
        let sha256 = partial.digest()?;
        match &self.sha256 {
            Some(expected) if !sha256.starts_with(&expected.to_lowercase()) => {
                partial.begin(None)?;
                Err(self.refuse(format_args!(
                    "what came has the SHA-256 {sha256}, expected was {expected}, and is thrown away; try again, or \
                     give another address with --url"
                )))
            }
            _ => Ok(Downloaded {
                bytes: partial.len,
                sha256,
            }),
        }
    }
}

/// Interprets answers, and reports them to the user.
impl Download {
    fn origin(&self, headers: &HeaderMap, total: Option<u64>) -> Option<Origin> {
        Some(Origin {
            address: address_digest(&self.url),
            version: response::version(headers)?.to_string(),
            total,
        })
    }

    /// Returns the origin of the partial file, if this download can resume it.
    fn known<'a>(&self, partial: &'a Partial) -> Option<&'a Origin> {
        let origin = partial.origin.as_ref().filter(|_| partial.len > 0);
        origin.filter(|origin| origin.address == address_digest(&self.url))
    }

    /// Returns the length of the whole file if `headers` announce exactly the missing part, otherwise `None`. Some
    /// servers ignore the version that a request asks for, so it is checked again.
    fn continues(&self, headers: &HeaderMap, partial: &Partial) -> Option<u64> {
        let range = ContentRange::of(headers)?;
        let origin = self.known(partial)?;
        let total = range.total.or(origin.total)?;
        let same = response::version(headers).is_none_or(|version| version == origin.version)
            && origin.total.is_none_or(|before| before == total);
        (same && range.start == partial.len).then_some(total)
    }

    fn limit(&self, total: Option<u64>) -> Result<()> {
        match total {
            Some(bytes) if bytes > MOST_BYTES => Err(self.refuse(format_args!(
                "sends {bytes} bytes or more, more than the {MOST_BYTES} that are accepted; that is not an encoder"
            ))),
            _ => Ok(()),
        }
    }

    fn status(&self, status: StatusCode) -> Error {
        let code = status.as_u16();
        if code == 404 || code == 410 {
            return self.refuse(format_args!(
                "is not there ({code}); give its address with --url"
            ));
        }
        let advice = match code {
            407 => "; name the proxy like http://USER:PASSWORD@HOST:PORT",
            429 | 500.. => "; try again later, or give another address with --url",
            _ => "; give another address with --url",
        };
        self.refuse(format_args!("the server answers {status}{advice}"))
    }

    fn end(&self, e: &ureq::Error) -> End {
        use ureq::Error as E;
        // If a connection could not be established, another attempt is not likely to succeed.
        let (why, passing) = match e {
            E::Timeout(Timeout::Connect | Timeout::Resolve) => (
                format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()),
                false,
            ),
            E::Timeout(_) => (
                format!("nothing came for {} s", self.silence.as_secs_f32()),
                true,
            ),
            E::HostNotFound => (
                "no such host is known, or there is no network".into(),
                false,
            ),
            E::Io(e) => match e.kind() {
                ErrorKind::UnexpectedEof => ("the connection broke off".into(), true),
                ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::BrokenPipe
                | ErrorKind::TimedOut => ("the connection broke off".into(), true),
                ErrorKind::InvalidData => (
                    format!(
                        "cannot be trusted: {}; {CERTIFICATES} may name other certificates",
                        distrust(&e.to_string())
                    ),
                    false,
                ),
                _ => (format!("no connection: {}", reason(e)), false),
            },
            E::TooManyRedirects | E::RedirectFailed => {
                ("the server redirects without end".into(), false)
            }
            E::ConnectionFailed => ("no connection was established".into(), false),
            E::ConnectProxyFailed(said) => {
                // The library's message contains the proxy's status.
                let status = said
                    .split(|c: char| !c.is_ascii_digit())
                    .find(|digits| digits.len() == 3);
                let said = status.map_or_else(String::new, |status| format!(" ({status})"));
                (format!("the proxy refused the connection{said}"), false)
            }
            E::InvalidProxyUrl => ("the proxy's address is malformed".into(), false),
            E::Tls(_) | E::Rustls(_) => (
                format!(
                    "cannot be trusted: {}; {CERTIFICATES} may name other certificates",
                    distrust(&e.to_string())
                ),
                false,
            ),
            _ => ("the server does not speak HTTP as it should".into(), false),
        };
        End::Broken { why, passing }
    }

    fn broken(&self, partial: &Partial, why: &str) -> Error {
        let len = partial.len;
        if let Some(origin) = self.known(partial) {
            let of = origin
                .total
                .map_or_else(String::new, |n| format!(" of {n}"));
            return self.refuse(format_args!(
                "{why}; {len}{of} bytes have arrived, the same command goes on from there"
            ));
        }
        if len > 0 && partial.origin.is_none() {
            return self.refuse(format_args!(
                "{why} after {len} bytes, and this server does not say how to go on; try again from the beginning"
            ));
        }
        self.refuse(format_args!(
            "{why}; try again, or give another address with --url"
        ))
    }

    fn refuse(&self, what: impl std::fmt::Display) -> Error {
        Error::file(&self.url, what)
    }
}

/// Explains why a server's certificate is not trusted, from the message of the encryption library.
fn distrust(text: &str) -> &'static str {
    let known = [
        (
            "UnknownIssuer",
            "its certificate is not from a trusted authority",
        ),
        ("Expired", "its certificate has expired"),
        (
            "NotValidYet",
            "its certificate is not valid yet; look at this machine's clock",
        ),
        ("NotValidForName", "its certificate is another server's"),
        ("not valid for name", "its certificate is another server's"),
        ("Revoked", "its certificate has been revoked"),
        ("peer certificate", "its certificate is invalid"),
    ];
    let found = known.iter().find(|(mark, _)| text.contains(mark));
    found.map_or("its encryption does not work", |(_, words)| words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distrust_has_our_words() {
        for (text, expected) in [
            (
                "invalid peer certificate: UnknownIssuer",
                "not from a trusted authority",
            ),
            ("invalid peer certificate: Expired", "has expired"),
            (
                "invalid peer certificate: certificate not valid for name \"a\"",
                "another server's",
            ),
            ("invalid peer certificate: Other(X)", "is invalid"),
            (
                "received fatal alert: HandshakeFailure",
                "encryption does not work",
            ),
        ] {
            assert!(distrust(text).contains(expected), "{text}");
        }
    }

    #[test]
    fn encryption_is_not_given_up_on_the_way() {
        let next = |url: &str, from: &str, location: &str| {
            let download = Download::new(url, "file", None);
            let next = download.next(&connection::address(from).unwrap(), location);
            next.map(|uri| uri.to_string()).map_err(|e| e.to_string())
        };
        let (http, https) = ("http://a.org/b", "https://a.org/b");
        assert_eq!(next(https, https, "c").unwrap(), "https://a.org/c");
        assert_eq!(next(http, http, https).unwrap(), https);
        assert_eq!(next(http, https, http).unwrap(), http);
        let refused = next(https, https, http).unwrap_err();
        assert!(refused.contains("without encryption"), "{refused}");
        let refused = next(https, https, "ftp://a.org/b").unwrap_err();
        assert!(refused.contains("`ftp://a.org/b`"), "{refused}");
    }
}
