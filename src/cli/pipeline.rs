//! Runs stages concurrently: while one chunk of images is captioned, the next is encoded, and the one after it is
//! read.
//!
//! All stages use the same thread pool, so this does not use more threads. It fills the moments in which one stage
//! alone cannot keep all threads busy. With one or two threads there are hardly any such moments, and the stages take
//! turns.

use std::sync::mpsc;
use std::thread::{Builder, Scope};
use std::time::Instant;

use super::images::{Entry, Images, ms_since};
use crate::caption::{Caption, Search, search};
use crate::cpu::threads;
use crate::error::{Error, Result};
use crate::model::Captioner;
use crate::tensor::Tensor;

// With at most this many threads, one stage keeps all of them busy. Two concurrent stages would compete, and an image
// would take a tenth longer.
const FEW: usize = 2;

/// Computes `items` in order in a thread of its own. One item is being computed and one more waits while the caller
/// works on the last.
///
/// With few threads, items are computed when the caller asks for them.
///
/// # Errors
/// If the system grants no thread.
pub fn ahead<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    items: impl Iterator<Item = T> + Send + 'scope,
) -> Result<Box<dyn Iterator<Item = T> + Send + 'scope>> {
    if threads::count() <= FEW {
        return Ok(Box::new(items));
    }
    let (made, waiting) = mpsc::sync_channel(1);
    let make = move || {
        for item in items {
            // The receiver is gone: no more items are needed.
            if made.send(item).is_err() {
                return;
            }
        }
    };
    Builder::new()
        .spawn_scoped(scope, make)
        .map_err(|e| Error::unstarted(&e))?;
    Ok(Box::new(waiting.into_iter()))
}

/// A chunk of images, encoded.
pub struct Encoded {
    /// All images of the chunk.
    pub entries: Vec<Entry>,
    /// A row for each entry without an error; `None` if there are none.
    pub features: Option<Tensor>,
    /// Time of encoding per readable image, in milliseconds.
    pub ms: f64,
}

/// The most probable caption of each image, of encoder outputs `[N, C]` or `[N, P, C]`.
///
/// # Errors
/// The errors of [`search`].
pub fn likeliest(captioner: &Captioner, features: &Tensor, how: &Search) -> Result<Vec<String>> {
    let found = threads::run(|| search(captioner, features, how))?;
    let first = |captions: Vec<Caption>| captions.into_iter().next();
    let text = |captions| first(captions).map_or_else(String::new, |caption| caption.text);
    Ok(found.into_iter().map(text).collect())
}

/// Reads and encodes the images in chunks, ahead of the caller.
///
/// # Errors
/// The errors of [`ahead`]. The errors of the items are those of [`Captioner::encode`].
pub fn encoded<'scope>(
    scope: &'scope Scope<'scope, '_>,
    images: Images,
    captioner: &'scope Captioner,
) -> Result<impl Iterator<Item = Result<Encoded>> + 'scope> {
    let chunks = ahead(scope, images)?;
    ahead(
        scope,
        chunks.map(|chunk| {
            let images = chunk.tensor()?;
            let started = Instant::now();
            let features = images.map(|x| captioner.encode(&x)).transpose()?;
            let count = features.as_ref().map_or(1, |x| x.dims()[0]);
            Ok(Encoded {
                entries: chunk.entries,
                features,
                ms: ms_since(started) / count as f64,
            })
        }),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn items_come_in_order_and_few_are_made_ahead() {
        for threads in [1, 2, 3] {
            let made = AtomicUsize::new(0);
            let count = |_: &usize| {
                made.fetch_add(1, Ordering::SeqCst);
            };
            let run = || {
                thread::scope(|scope| {
                    let items = ahead(scope, (0..50).inspect(count))?;
                    for (expected, item) in items.enumerate() {
                        assert_eq!(item, expected);
                        thread::sleep(std::time::Duration::from_micros(200));
                        // One item waits, one is being computed.
                        let limit = item + if threads <= FEW { 1 } else { 3 };
                        assert!(made.load(Ordering::SeqCst) <= limit);
                    }
                    Ok::<(), Error>(())
                })
            };
            threads::with_count(threads, run).unwrap().unwrap();
            assert_eq!(made.into_inner(), 50);
        }
    }

    #[test]
    fn whoever_stops_asking_ends_the_work() {
        let run = || {
            thread::scope(|scope| {
                let first = ahead(scope, ahead(scope, 0..)?.map(|n| n * 2))?.nth(3);
                Ok::<_, Error>(first)
            })
        };
        for threads in [2, 3] {
            assert_eq!(threads::with_count(threads, run).unwrap().unwrap(), Some(6));
        }
    }
}
