//! Reserves memory for decoding large pictures before it is allocated.
//!
//! Decoders are libraries, and a failed allocation in a library ends the program. The memory that a picture needs is
//! therefore computed from its headers and compared with the available memory ([`available`]). Pictures are decoded in
//! parallel. If memory is short for all of them at once, or the [`Policy`] grants no more, they wait for each other. A
//! picture that does not fit alone is an error of its file.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::image::RgbImage;

use super::Policy;
use super::fault::{Fault, Unreadable};
use crate::cpu::available::{self, Available, Bytes};

/// Smaller requests are not checked: a few megabytes are always available, and a check takes a tenth of a millisecond.
const MIN_CHECKED: u64 = 8 << 20;

/// A request that waits for no other reservation fails after this many pauses of this length.
const PAUSES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(50);

/// Bytes that are reserved, over all threads.
static TAKEN: Mutex<u64> = Mutex::new(0);
static FREED: Condvar = Condvar::new();

/// Memory that is reserved while a picture is decoded.
///
/// The holder must not wait for other work, because others wait for it.
pub(super) struct Room {
    bytes: u64,
}

/// Reserves `bytes`, as soon as that much is available besides the reservations of others.
///
/// # Errors
/// If that much is not available even without other reservations.
pub(super) fn take(bytes: u64) -> Result<Room, Unreadable> {
    take_within(bytes, Policy::current().together)
}

/// Reserves `bytes`, with `together` as the limit of all reservations.
fn take_within(bytes: u64, together: u64) -> Result<Room, Unreadable> {
    if bytes < MIN_CHECKED {
        return Ok(Room { bytes: 0 });
    }
    let mut taken = lock();
    let mut patience = PAUSES;
    loop {
        if *taken > 0 && *taken + bytes > together {
            taken = FREED.wait(taken).unwrap_or_else(PoisonError::into_inner);
            continue;
        }
        match available::check(u128::from(*taken) + u128::from(bytes)) {
            Ok(()) => {
                *taken += bytes;
                return Ok(Room { bytes });
            }
            Err(available) if *taken == 0 && patience == 0 => {
                return Err(too_large(bytes, available));
            }
            // Pictures that are decoded already will soon be scaled down and dropped.
            Err(_) => {
                patience -= u32::from(*taken == 0);
                let waited = FREED.wait_timeout(taken, PAUSE);
                taken = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.bytes > 0 {
            *lock() -= self.bytes;
            FREED.notify_all();
        }
    }
}

fn lock() -> MutexGuard<'static, u64> {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn too_large(bytes: u64, available: Available) -> Unreadable {
    let bytes = Bytes(bytes.into());
    Fault::TooLarge.because(format!(
        "takes {bytes} of memory to decode, and {available}; scale it down first"
    ))
}

/// Creates an empty vector with room for `length` elements.
///
/// # Errors
/// If the system refuses the memory.
pub(super) fn vector<T>(length: usize) -> Result<Vec<T>, Unreadable> {
    let mut vector = Vec::new();
    match vector.try_reserve_exact(length) {
        Ok(()) => Ok(vector),
        Err(_) => {
            let bytes = Bytes((length as u128).saturating_mul(size_of::<T>() as u128));
            Err(Fault::TooLarge.because(format!(
                "takes {bytes} of memory to decode, and the system has no more; scale it down first"
            )))
        }
    }
}

/// Creates a picture of `width x height` pixels in which every channel has the value `level`.
///
/// # Errors
/// If the system refuses the memory.
pub(super) fn picture(width: u32, height: u32, level: u8) -> Result<RgbImage, Unreadable> {
    let length = 3 * width as usize * height as usize;
    let mut pixels = vector(length)?;
    pixels.resize(length, level);
    // The vector has as many bytes as the picture needs.
    Ok(RgbImage::from_raw(width, height, pixels).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    #[test]
    fn what_nobody_has_is_an_error_of_the_picture() {
        let error = take(1 << 50).err().unwrap();
        assert_eq!(error.fault, Fault::TooLarge);
        assert!(
            error
                .what
                .starts_with("takes 1.0 PiB of memory to decode, and "),
            "{error}"
        );
        let error = vector::<u64>(usize::MAX / 8).unwrap_err();
        assert!(error.what.contains("the system has no more"), "{error}");
    }

    #[test]
    fn no_more_are_decoded_together_than_is_granted() {
        let bytes = 10 << 20;
        let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let room = take_within(bytes, 3 * bytes).unwrap();
                    most.fetch_max(inside.fetch_add(1, Relaxed) + 1, Relaxed);
                    std::thread::sleep(Duration::from_millis(5));
                    inside.fetch_sub(1, Relaxed);
                    drop(room);
                });
            }
        });
        let most = most.into_inner();
        assert!((1..=3).contains(&most), "{most}");
        // A request beyond the limit is granted when there is no other.
        drop(take_within(4 * bytes, 3 * bytes).unwrap());
    }

    #[test]
    fn pictures_wait_for_each_other() {
        // More than half of the available memory: two at a time are too much, so one waits for the other.
        let half = available::now().bytes / 10 * 6;
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let room = take(half).unwrap();
                    std::thread::sleep(std::time::Duration::from_millis(5));
                    drop(room);
                });
            }
        });
    }
}
