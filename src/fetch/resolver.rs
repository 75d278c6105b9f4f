//! How names of hosts become addresses: by the system, which has no patience of its own, in a thread that is left behind
//! where it takes too long.
//!
//! The client has the same, but ends the program where the system grants no thread.

use std::io;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread::Builder;

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// Asks the system, and waits as long as it is told to.
#[derive(Debug, Default)]
pub(super) struct Patient;

impl Resolver for Patient {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let (sender, found) = sync_channel(1);
        let (uri, config) = (uri.clone(), config.clone());
        let ask = move || {
            // Without an end it starts no thread of its own.
            let endless = NextTimeout::default();
            let answer = DefaultResolver::default().resolve(&uri, &config, endless);
            // Where nobody waits any more, there is nobody to tell.
            let _ = sender.send(answer);
        };
        Builder::new().name("resolver".into()).spawn(ask)?;
        match found.recv_timeout(*timeout.after) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => Err(Error::Timeout(timeout.reason)),
            Err(RecvTimeoutError::Disconnected) => {
                Err(io::Error::other("looking up a host failed").into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ureq::Timeout;

    use super::*;

    #[test]
    fn an_address_is_found_and_patience_ends() {
        let resolve = |after: Duration| {
            let uri = "http://127.0.0.1:8080/a".parse().unwrap();
            let timeout = NextTimeout {
                after: after.into(),
                reason: Timeout::Resolve,
                ..NextTimeout::default()
            };
            Patient.resolve(&uri, &Config::default(), timeout)
        };
        let found = resolve(Duration::from_secs(20)).unwrap();
        assert_eq!(found[..], ["127.0.0.1:8080".parse().unwrap()]);
        let refused = resolve(Duration::ZERO);
        assert!(matches!(
            refused,
            Ok(_) | Err(Error::Timeout(Timeout::Resolve))
        ));
    }
}
