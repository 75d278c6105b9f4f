//! How the memory that the service may take is shared out.
//!
//! A service that strangers can reach has to know beforehand what it will take. What it is when it starts (the model,
//! the threads) is measured; what connections and the model's batches take is set aside; of the rest, a part holds
//! uploads, and the other is for decoding them, where each image is charged with what its headers tell that it will
//! cost. None of this grows with the number of threads.

use super::Options;
use crate::cpu::memory;
use crate::error::{Error, Result};

/// What an open connection takes at most: its buffers for requests and answers.
pub const CONNECTION: usize = 64 << 10;

/// What an image takes that the model works on: the activations of an encoder and of a search, with room to spare.
const IN_BATCH: usize = 20 << 20;

/// What an image takes that waits for the model, scaled to the encoder's input.
const IN_QUEUE: usize = 512 << 10;

/// What a process is where the system does not tell.
const UNKNOWN: usize = 96 << 20;

/// The smallest share of either kind: without it, an ordinary photo could not be captioned.
const LEAST: usize = 32 << 20;

/// Of what is left, so much holds uploads, unless that is set: a fifth.
const UPLOADS: usize = 5;

/// The shares, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// For uploads that are held.
    pub uploads: usize,
    /// For the largest image that is decoded, and for all large ones at a time. Small ones have a quarter as much besides.
    pub decoding: u64,
}

impl Shares {
    /// Shares out what `options` grant.
    ///
    /// # Errors
    /// Where that is too little to caption a photo.
    pub fn new(options: &Options) -> Result<Self> {
        let shares = Shares::beside(resident().unwrap_or(UNKNOWN), options)?;
        // What operations leave for those that come after them counts as the batch's.
        memory::set_limit(options.batch * IN_BATCH / 2);
        Ok(shares)
    }

    /// Shares out what is left beside the `resident` bytes that the process takes already.
    fn beside(resident: usize, options: &Options) -> Result<Self> {
        let aside = resident
            + options.connections * CONNECTION / 4
            + options.batch * IN_BATCH
            + options.queue * IN_QUEUE;
        let least_uploads = options.held_bytes.unwrap_or(LEAST).max(LEAST);
        let least = aside + least_uploads + LEAST;
        if options.memory_bytes < least {
            return Err(Error::usage(format_args!(
                "--memory-mb {} is too little: the model, {} connections, a batch of {} and uploads take {} MB; grant at \
                 least that, or lower --max-connections, --batch, --queue or --upload-memory-mb",
                options.memory_bytes >> 20,
                options.connections,
                options.batch,
                least.div_ceil(1 << 20),
            )));
        }
        let rest = options.memory_bytes - aside;
        // The largest upload has to fit, if the rest allows it at all.
        let usual = (rest / UPLOADS)
            .max(LEAST)
            .max(options.upload_bytes.min(rest / 2));
        let uploads = options.held_bytes.unwrap_or(usual);
        Ok(Shares {
            uploads,
            decoding: (rest - uploads) as u64 / 5 * 4,
        })
    }
}

/// Bytes that the process has of the machine's memory, where the system tells.
fn resident() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: usize = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shares_together_are_what_is_granted() {
        let options = Options::default();
        let shares = Shares::beside(50 << 20, &options).unwrap();
        let aside = (50 << 20) + 512 * (16 << 10) + 4 * (20 << 20) + 64 * (512 << 10);
        let all = aside + shares.uploads + shares.decoding as usize / 4 * 5;
        assert!(all <= options.memory_bytes && all + 8 > options.memory_bytes);
        // A photo of 50 megapixels.
        assert!(shares.decoding > 150 << 20, "{shares:?}");

        let more = Options {
            memory_bytes: 2 << 30,
            held_bytes: Some(100 << 20),
            ..Options::default()
        };
        let shares = Shares::beside(50 << 20, &more).unwrap();
        assert_eq!(shares.uploads, 100 << 20);
        assert!(shares.decoding > 1 << 30);
    }

    #[test]
    fn too_little_is_refused_with_what_is_enough() {
        let little = |megabytes: usize| Options {
            memory_bytes: megabytes << 20,
            ..Options::default()
        };
        let error = Shares::beside(50 << 20, &little(100))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("--memory-mb 100 is too little"),
            "{error}"
        );
        let enough = error
            .split(" MB")
            .next()
            .unwrap()
            .rsplit(' ')
            .next()
            .unwrap();
        Shares::beside(50 << 20, &little(enough.parse().unwrap())).unwrap();
    }
}
