//! Profile of the operations, switched on by the environment variable `GLIMPSE_PROFILE`.
//!
//! An operation opens a [`Timer`] and drops it when it is done. Time spent in an operation that another one calls counts
//! for the inner one alone, so the shares of the table add up to the whole. Switched off, a timer is one comparison.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::isa::{Isa, Level};

/// The environment variable that switches the profile on, with any value except `0` and the empty one.
pub const PROFILE_VARIABLE: &str = "GLIMPSE_PROFILE";

/// Returns whether operations are timed.
pub fn enabled() -> bool {
    static ENABLED: OnceLock<bool> = OnceLock::new();
    *ENABLED.get_or_init(|| {
        std::env::var(PROFILE_VARIABLE).is_ok_and(|value| !value.is_empty() && value != "0")
    })
}

/// A row of the table: an operation, its sizes and its instruction set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Label {
    operation: &'static str,
    backward: bool,
    shape: String,
    isa: Level,
}

#[derive(Clone, Copy, Default)]
struct Line {
    calls: u64,
    time: Duration,
    flops: f64,
}

static LINES: Mutex<BTreeMap<Label, Line>> = Mutex::new(BTreeMap::new());

thread_local! {
    // The operations that are running on this thread, the innermost last.
    static RUNNING: RefCell<Vec<Running>> = const { RefCell::new(Vec::new()) };
}

struct Running {
    label: Label,
    flops: f64,
    started: Instant,
    // Time spent in the operations that this one called.
    in_callees: Duration,
}

/// Times an operation until it is dropped.
#[must_use = "the time is taken until the timer is dropped"]
pub struct Timer(bool);

/// Starts timing `operation`, whose sizes `shape` describes.
#[inline]
pub fn time(operation: &'static str, shape: impl fmt::Display) -> Timer {
    time_flops(operation, shape, 0.0)
}

/// Starts timing `operation`, whose sizes `shape` describes, and which takes `flops` multiplications and additions.
#[inline]
pub fn time_flops(operation: &'static str, shape: impl fmt::Display, flops: f64) -> Timer {
    if enabled() {
        start(operation, false, shape.to_string(), flops);
    }
    Timer(enabled())
}

fn start(operation: &'static str, backward: bool, shape: String, flops: f64) {
    let label = Label {
        operation,
        backward,
        shape,
        isa: Isa::current().level(),
    };
    RUNNING.with_borrow_mut(|running| {
        running.push(Running {
            label,
            flops,
            started: Instant::now(),
            in_callees: Duration::ZERO,
        });
    });
}

impl Drop for Timer {
    fn drop(&mut self) {
        if self.0 {
            RUNNING.with_borrow_mut(finish);
        }
    }
}

fn finish(running: &mut Vec<Running>) {
    let Some(done) = running.pop() else { return };
    let time = done.started.elapsed();
    if let Some(caller) = running.last_mut() {
        caller.in_callees += time;
    }
    let mut lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    let line = lines.entry(done.label).or_default();
    line.calls += 1;
    line.time += time.saturating_sub(done.in_callees);
    line.flops += done.flops;
}

/// The operation that recorded a node on the tape; its gradient is timed under its name.
#[derive(Clone)]
pub struct Origin(Option<(&'static str, String)>);

/// Returns the innermost operation that is being timed on this thread.
pub fn origin() -> Origin {
    Origin(if enabled() {
        RUNNING.with_borrow(|running| {
            let label = &running.last()?.label;
            Some((label.operation, label.shape.clone()))
        })
    } else {
        None
    })
}

impl Origin {
    /// Starts timing the gradient of this operation.
    pub fn time_backward(&self) -> Timer {
        if let Some((operation, shape)) = &self.0 {
            start(operation, true, shape.clone(), 0.0);
        }
        Timer(self.0.is_some())
    }
}

/// Returns the table of all timed operations, the costliest first; an empty text where nothing was timed. Shares are of the
/// sum of all lines, rates are in billions of multiplications and additions per second.
pub fn report() -> String {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    table(&lines)
}

fn table(lines: &BTreeMap<Label, Line>) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let total: f64 = lines.values().map(|line| line.time.as_secs_f64()).sum();
    let mut sorted: Vec<_> = lines.iter().collect();
    sorted.sort_by_key(|(_, line)| std::cmp::Reverse(line.time));
    let name = |label: &Label| {
        format!(
            "{}{}",
            label.operation,
            if label.backward { " backward" } else { "" }
        )
    };
    let widest = |f: &dyn Fn(&Label) -> usize| lines.keys().map(f).max().unwrap_or(0);
    let name_width = widest(&|label| name(label).len()).max("operation".len());
    let shape_width = widest(&|label| label.shape.len()).max("shape".len());
    let mut text = format!(
        "{:name_width$}  {:shape_width$}  {:>8} {:>7} {:>10} {:>9} {:>8} {:>6}\n",
        "operation", "shape", "isa", "calls", "ms", "ms/call", "GFLOP/s", "share"
    );
    for (label, line) in sorted {
        let seconds = line.time.as_secs_f64();
        let rate = match line.flops > 0.0 && seconds > 0.0 {
            true => format!("{:.1}", line.flops / seconds / 1e9),
            false => "-".to_string(),
        };
        let _ = writeln!(
            text,
            "{:name_width$}  {:shape_width$}  {:>8} {:>7} {:>10.3} {:>9.4} {:>8} {:>5.1}%",
            name(label),
            label.shape,
            label.isa.name(),
            line.calls,
            seconds * 1e3,
            seconds * 1e3 / line.calls as f64,
            rate,
            100.0 * seconds / total.max(f64::MIN_POSITIVE),
        );
    }
    let _ = writeln!(
        text,
        "{:name_width$}  {:shape_width$}  {:>8} {:>7} {:>10.3}",
        "all",
        "",
        "",
        "",
        total * 1e3
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of<'a>(text: &'a str, operation: &str) -> Vec<&'a str> {
        let line = text.lines().find(|line| line.starts_with(operation));
        line.unwrap().split_whitespace().collect()
    }

    #[test]
    fn inner_operations_count_for_themselves() {
        let naps = [Duration::from_millis(4), Duration::from_millis(12)];
        start("test outer", false, "2 x 3".into(), 1e6);
        std::thread::sleep(naps[0]);
        start("test inner", true, "7".into(), 0.0);
        std::thread::sleep(naps[1]);
        drop(Timer(true));
        drop(Timer(true));
        let lines = LINES.lock().unwrap();
        let time = |operation| {
            let (_, line) = lines
                .iter()
                .find(|(l, _)| l.operation == operation)
                .unwrap();
            (line.calls, line.time)
        };
        assert_eq!((time("test outer").0, time("test inner").0), (1, 1));
        assert!(time("test inner").1 >= naps[1]);
        assert!(time("test outer").1 >= naps[0]);
        let of_both = lines
            .iter()
            .filter(|(l, _)| l.operation.starts_with("test"));
        let text = table(&of_both.map(|(l, &line)| (l.clone(), line)).collect());
        assert_eq!(of(&text, "test inner backward")[3], "7");
        assert!(text.find("test inner") < text.find("test outer"), "{text}");
        assert_eq!(of(&text, "test inner")[8], "-");
        assert!(of(&text, "test outer")[9].parse::<f64>().unwrap() > 0.0);
        assert!(text.trim_end().lines().last().unwrap().starts_with("all"));
    }

    #[test]
    fn nothing_timed_is_no_table() {
        assert_eq!(table(&BTreeMap::new()), "");
    }
}
