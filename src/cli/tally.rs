//! Counts the images of a command, and reports the counts in one line at its end.

use std::process::ExitCode;

use super::Ended;
use crate::data::folder::PassedOver;

/// Counts images.
pub struct Tally {
    /// The past participle for the successful images: `captioned`.
    verb: &'static str,
    /// Whether there may be more than one image.
    is_bulk: bool,
    done: usize,
    failed: usize,
    passed_over: PassedOver,
}

impl Tally {
    /// A tally that starts at zero.
    pub fn new(verb: &'static str, is_bulk: bool, passed_over: PassedOver) -> Self {
        Tally {
            verb,
            is_bulk,
            done: 0,
            failed: 0,
            passed_over,
        }
    }

    /// Counts an image that succeeded.
    pub fn done(&mut self) {
        self.done += 1;
    }

    /// Counts an image or a folder that cannot be used.
    pub fn failed(&mut self) {
        self.failed += 1;
    }

    /// The outcome of the command: its exit status, and for many images `captioned 120, failed 2, passed over 5 (5
    /// HEIC)`.
    pub fn end(self) -> Ended {
        let Tally {
            verb,
            is_bulk,
            done,
            failed,
            passed_over,
        } = self;
        let code = match failed {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        };
        let line = format!("{verb} {done}, failed {failed}, passed over {passed_over}");
        Ended {
            code,
            last_line: is_bulk.then_some(line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_a_line_of_counts_for_many_images_alone() {
        let tally = |is_bulk, failures: usize| {
            let mut tally = Tally::new("captioned", is_bulk, PassedOver::default());
            (0..3).for_each(|_| tally.done());
            (0..failures).for_each(|_| tally.failed());
            tally.end()
        };
        let ended = tally(true, 2);
        let line = ended.last_line.as_deref();
        assert_eq!(line, Some("captioned 3, failed 2, passed over 0"));
        assert_eq!(ended.code, ExitCode::FAILURE);
        assert_eq!(tally(false, 1).last_line, None);
        assert_eq!(tally(true, 0).code, ExitCode::SUCCESS);
    }
}
