//! The records of a run beside its output: the log, the report, and event files for TensorBoard.
//!
//! [`Recorder::observe`] receives each event of a run with its lines of the log. The log (`a.log.jsonl` beside
//! `a.safetensors`) gets each line at once. The report (`a.report.html`) is drawn from the same lines. A resumed run
//! reads its log, drops the lines after the checkpoint, and so has a complete report again.
//!
//! No failure here ends a run: a file that cannot be written causes one warning, and is left out from then on. Writing
//! reports takes less than a hundredth of the run's time.

mod board;
mod chart;
mod curve;
mod history;
mod html;
pub mod log;
mod page;
mod pictures;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

pub use self::history::Scores;

use self::board::Board;
use self::history::History;
use self::log::Log;
use self::page::{Page, Status};
use super::checkpoint;
use super::dev::AttentionMaps;
use super::events::Event;
use crate::data::{Recipe, store};
use crate::error::{self, Error, Result};

/// Minimum time between two reports.
const PAUSE: Duration = Duration::from_secs(2);
/// Minimum time between two reports, as a multiple of the time that the last one took.
const SHARE: u32 = 250;

/// Selection of the records, and their paths.
pub struct Recording {
    /// Path of the model.
    pub out: PathBuf,
    /// The checkpoint that the run was resumed from.
    pub resumed: Option<PathBuf>,
    /// Whether a report is written.
    pub report: bool,
    /// Folder of TensorBoard's event files.
    pub tensorboard: Option<PathBuf>,
    /// Description of the machine and the device.
    pub machine: String,
    /// Prints a warning about a file that could not be written.
    pub warn: fn(&str),
}

/// A dev picture whose captions are followed.
#[derive(Clone, Debug, PartialEq)]
pub struct Followed {
    /// Name in the data set.
    pub name: String,
    /// Path of its file.
    pub path: PathBuf,
    /// Human captions.
    pub captions: Vec<String>,
}

/// Facts about a run that do not change.
pub struct Background {
    /// Name of the run.
    pub run: Option<String>,
    /// File name of the model.
    pub model: String,
    /// The stored configuration.
    pub config: Value,
    /// Names and values for the reader: the data, the machine, the program.
    pub facts: Vec<(String, String)>,
    /// Dev pictures whose captions are followed.
    pub followed: Vec<Followed>,
    /// How pictures become the encoder's input.
    pub recipe: Recipe,
    /// Rows and columns of the map that an attention decoder attends over.
    pub grid: Option<[usize; 2]>,
}

/// Returns the commit that the program was built from, if the build knew it.
pub fn commit() -> Option<&'static str> {
    option_env!("GLIMPSE_COMMIT").filter(|commit| !commit.is_empty())
}

/// Returns the path of the log for the model at `out`: `a.log.jsonl`.
pub fn log_beside(out: &Path) -> PathBuf {
    checkpoint::beside(out, "log.jsonl")
}

/// Returns the path of the report for the model at `out`: `a.report.html`.
pub fn report_beside(out: &Path) -> PathBuf {
    checkpoint::beside(out, "report.html")
}

/// Returns whether the file in the place of the log beside `out` is a log, of whatever run. A log without a model may
/// be overwritten.
pub(super) fn is_log(out: &Path) -> bool {
    log::is_log(&log_beside(out))
}

/// Returns whether the file in the place of the report beside `out` is a report, of whatever run.
pub(super) fn is_report(out: &Path) -> bool {
    let mut start = Vec::new();
    let file = std::fs::File::open(report_beside(out));
    let read = file.and_then(|file| file.take(1024).read_to_end(&mut start));
    let mark = page::GENERATOR.as_bytes();
    read.is_ok() && start.windows(mark.len()).any(|part| part == mark)
}

/// Writes the log, the report and the event files of a run.
pub struct Recorder {
    recording: Recording,
    background: Background,
    history: History,
    log: Option<Log>,
    board: Option<Board>,
    report: Option<Report>,
    /// Consequence of a failed write for the user; `None` if the run itself has failed, because that error is shown
    /// instead.
    consequence: Option<&'static str>,
}

/// The state of the report.
struct Report {
    thumbnails: Vec<Option<String>>,
    looked: Vec<AttentionMaps>,
    /// Earliest time of the next report.
    next: Instant,
    /// Whether there is news that should be shown without delay.
    has_news: bool,
}

impl Recorder {
    /// Creates the recorder of a run. Nothing is written beside the output before the run's first event.
    ///
    /// # Errors
    /// Fails if the folder for TensorBoard, which the user asked for, cannot be written.
    pub fn new(recording: Recording, mut background: Background) -> Result<Self> {
        let board = recording.tensorboard.as_deref();
        let board = board
            .map(|folder| Board::create(folder, now()))
            .transpose()?;
        background
            .facts
            .push(("machine".into(), recording.machine.clone()));
        background.facts.push(("program".into(), program()));
        Ok(Recorder {
            report: recording.report.then(|| Report {
                thumbnails: Vec::new(),
                looked: Vec::new(),
                next: Instant::now(),
                has_news: true,
            }),
            recording,
            background,
            history: History::default(),
            log: None,
            board,
            consequence: Some("training goes on without"),
        })
    }

    /// Records an event and its lines of the log.
    pub fn observe(&mut self, event: &Event, lines: &[Value]) {
        if let Event::Start { done, .. } = event {
            self.begin(*done);
        }
        for line in lines {
            self.line(line);
        }
        if let (Event::Evaluated { evaluation, .. }, Some(report)) = (event, &mut self.report) {
            report.looked.clone_from(&evaluation.looked);
        }
        self.add_to_board(event);
        let is_news = matches!(
            event,
            Event::Evaluated { .. }
                | Event::Warning { .. }
                | Event::Saved { .. }
                | Event::Start { .. }
        );
        if let Some(report) = &mut self.report {
            report.has_news |= is_news;
            // Between evaluations only the curves grow, which may wait.
            let pause = if report.has_news {
                Duration::ZERO
            } else {
                4 * PAUSE
            };
            if Instant::now() >= report.next + pause {
                self.write_report(&Status::Running);
            }
        }
    }

    /// Records the end of the run: the last line of its log, or the error.
    pub fn finish(&mut self, result: Result<&Value, &Error>) {
        // A run that was refused before its first event leaves no files.
        if self.history.total == 0 {
            return;
        }
        self.consequence = result.is_ok().then_some("the end of the run is missing in");
        let (status, line) = match result {
            Ok(line) => (Status::Finished, line.clone()),
            Err(e) => {
                let why = e.to_string();
                let step = self.history.step;
                let line = json!({ "event": "stopped", "step": step, "why": why });
                (Status::Stopped(why), line)
            }
        };
        self.line(&line);
        self.write_report(&status);
    }

    /// Opens the log of a run that begins or is resumed after `done` steps.
    fn begin(&mut self, done: u64) {
        let own = log_beside(&self.recording.out);
        let before = match &self.recording.resumed {
            Some(checkpoint) => {
                let of = checkpoint::output_of(checkpoint).map(|out| log_beside(&out));
                let path = of
                    .filter(|path| path.exists())
                    .unwrap_or_else(|| own.clone());
                let run = self.background.run.as_deref();
                let (lines, missing) = log::until(&path, done, run);
                if let Some(missing) = missing {
                    (self.recording.warn)(&format!("warning: {missing}"));
                }
                lines
            }
            None => Vec::new(),
        };
        for line in &before {
            self.history.take(line);
        }
        match Log::open(&own, &before) {
            Ok(log) => self.log = Some(log),
            Err(e) => self.warn("the log", &e),
        }
        if let Some(board) = &mut self.board
            && done > 0
            && let Err(e) = board.restart(now(), done + 1)
        {
            self.board = None;
            self.warn("the event file for TensorBoard", &e);
        }
        let facts = self.background.facts.iter();
        let facts: serde_json::Map<_, _> =
            facts.map(|(k, v)| (k.clone(), v.clone().into())).collect();
        self.line(&json!({
            "event": "run", "run": self.background.run, "program": program(), "written": date(now()), "config": self.background.config,
            "facts": facts,
        }));
        if let Some(report) = &mut self.report {
            let shown = self.background.followed.iter();
            let recipe = self.background.recipe;
            report.thumbnails = shown
                .map(|s| pictures::thumbnail(&s.path, recipe))
                .collect();
        }
    }

    /// Adds a line to the log and to the history.
    fn line(&mut self, line: &Value) {
        self.history.take(line);
        if let Some(log) = &mut self.log
            && let Err(e) = log.add(line)
        {
            self.log = None;
            self.warn("the log", &e);
        }
    }

    fn add_to_board(&mut self, event: &Event) {
        let Some(board) = &mut self.board else {
            return;
        };
        let written = match event {
            Event::Step(report) => {
                let parts: Vec<(String, f32)> = report
                    .parts
                    .iter()
                    .map(|(name, value)| (format!("train/{name}"), *value))
                    .collect();
                let mut numbers = vec![
                    ("train/loss", report.loss),
                    ("learning_rate", report.lr),
                    ("gradient_norm", report.grad_norm as f32),
                    ("images_per_s", report.images_per_s as f32),
                ];
                numbers.extend(report.encoder_lr.map(|lr| ("learning_rate/encoder", lr)));
                numbers.extend(parts.iter().map(|(name, value)| (name.as_str(), *value)));
                board.add(now(), report.step, &numbers)
            }
            Event::Evaluated {
                step, evaluation, ..
            } => {
                let mut numbers = vec![("dev/loss", evaluation.loss)];
                numbers.extend(evaluation.cider.map(|x| ("dev/CIDEr", x as f32)));
                numbers.extend(evaluation.bleu4.map(|x| ("dev/BLEU-4", x as f32)));
                let parts: Vec<(String, f32)> = evaluation
                    .parts
                    .iter()
                    .map(|(name, value)| (format!("dev/{name}"), *value as f32))
                    .collect();
                numbers.extend(parts.iter().map(|(name, value)| (name.as_str(), *value)));
                if evaluation.cider.is_some() {
                    numbers.push(("dev/distinct", evaluation.distinct as f32));
                }
                board.add(now(), *step, &numbers)
            }
            _ => return,
        };
        if let Err(e) = written {
            self.board = None;
            self.warn("the event file for TensorBoard", &e);
        }
    }

    fn write_report(&mut self, status: &Status) {
        let Some(report) = &mut self.report else {
            return;
        };
        let started = Instant::now();
        let page = Page {
            history: &self.history,
            background: &self.background,
            status,
            thumbnails: &report.thumbnails,
            looked: &report.looked,
            written: date(now()),
        };
        let html = page.html();
        let written = store::write_atomically(&report_beside(&self.recording.out), html.as_bytes());
        report.has_news = false;
        let took = started.elapsed();
        report.next = Instant::now() + PAUSE.max(took * SHARE);
        if let Err(e) = written {
            self.report = None;
            self.warn("the report", &e);
        }
    }

    fn warn(&self, what: &str, error: &Error) {
        let Some(consequence) = self.consequence else {
            return;
        };
        (self.recording.warn)(&format!("warning: {error}; {consequence} {what}"));
    }
}

/// Returns the name and version of the program for reports and logs.
pub fn program() -> String {
    let version = env!("CARGO_PKG_VERSION");
    match commit() {
        Some(commit) => format!("glimpse {version}, commit {commit}"),
        None => format!("glimpse {version}"),
    }
}

/// Returns the name of the model at `out`.
pub fn model_name(out: &Path) -> String {
    let name = out.file_name().map_or(out, Path::new);
    error::name(&name).to_string()
}

/// Returns the seconds since 1970.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

/// Formats a time as `2026-01-31 23:59:59 UTC`.
fn date(seconds: f64) -> String {
    let seconds = seconds as u64;
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    // Days are counted from 1 March of the year 0, which puts leap days at the ends of years.
    let from_march = days + 719_468;
    let (era, of_era) = (from_march / 146_097, from_march % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let year = year + era * 400 + next;
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0.0, "1970-01-01 00:00:00 UTC"),
            (951_782_399.0, "2000-02-28 23:59:59 UTC"),
            (951_782_400.0, "2000-02-29 00:00:00 UTC"),
            (1_735_689_599.9, "2024-12-31 23:59:59 UTC"),
            (1_767_225_600.0, "2026-01-01 00:00:00 UTC"),
        ] {
            assert_eq!(date(seconds), expected);
        }
    }
}
