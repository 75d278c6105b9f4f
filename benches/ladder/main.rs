//! A ladder to climb: the same product and the same convolution, written again and again, each time with one
//! idea more, from the definition up to what the library runs.
//!
//! ```text
//! cargo bench --bench ladder                        the whole ladder, well under a minute
//! cargo bench --bench ladder -- gemm 'conv 14'      only the lines whose names contain one of these
//! cargo bench --bench ladder -- --test              the smallest shapes, one round, still checked
//! RAYON_NUM_THREADS=1 cargo bench --bench ladder    the library on one thread too
//! ```
//!
//! Read [`peak`] first, then [`gemm`], [`conv`] and [`winograd`], each from the top. A rung is a function whose
//! comment says what it changes, why that is faster, and what limits it now.
//!
//! No rung is timed before its result was compared with the definition in 64-bit floats; "error" is the norm of the
//! difference over the norm. "GFLOP/s" is what the definition has to do over the median time. For Winograd's
//! algorithm, which multiplies four times less, that is nominal and may exceed the peak; so may bf16, of which a
//! processor that knows it multiplies twice as many. "of peak" is the share of what
//! as many threads can do from registers: the peak is the best of many bursts, so on a machine that others use too,
//! shares come out low.
//!
//! `simd`, `winograd` and `library` use the best vectors of this processor (or those of `GLIMPSE_ISA`); the other
//! rungs are plain Rust, compiled for any processor of the architecture, which on x86-64 means vectors of four and no
//! fused multiply-add, and thereby half of an AVX2 peak at the very most.

#[path = "../common/mod.rs"]
mod common;
mod conv;
mod gemm;
mod peak;
mod winograd;

use std::time::{Duration, Instant};

use glimpse::cpu::Isa;
use peak::Peak;

/// How long a rung is timed, and how often at least; one too slow for that is left when [`PATIENCE`] is over.
const BUDGET: Duration = Duration::from_millis(300);
const LEAST_RUNS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(1);

/// Writes a result.
type Run<'a> = Box<dyn FnMut(&mut [f32]) + 'a>;

/// One way to compute a result.
pub struct Rung<'a> {
    name: &'static str,
    run: Run<'a>,
    all_threads: bool,
    tolerance: f64,
}

impl<'a> Rung<'a> {
    /// A rung on one thread, whose result may differ from the definition by 1e-5 of its norm.
    pub fn new(name: &'static str, run: impl FnMut(&mut [f32]) + 'a) -> Self {
        Rung {
            name,
            run: Box::new(run),
            all_threads: false,
            tolerance: 1e-5,
        }
    }

    /// Uses every thread, and is measured against what they all can do.
    pub fn on_all_threads(self) -> Self {
        Rung {
            all_threads: true,
            ..self
        }
    }

    /// May differ by `tolerance`.
    pub fn within(self, tolerance: f64) -> Self {
        Rung { tolerance, ..self }
    }
}

/// What is climbed, and what it is measured against.
pub struct Ladder {
    filters: Vec<String>,
    quick: bool,
    peak: Peak,
}

impl Ladder {
    /// Shapes from small to large: all of them, or the smallest for a quick round.
    pub fn shapes<'a, T>(&self, shapes: &'a [T]) -> &'a [T] {
        if self.quick { &shapes[..1] } else { shapes }
    }

    /// Checks and times those of `rungs` that were asked for. `exact` is the definition.
    pub fn climb(
        &self,
        title: &str,
        flops: f64,
        exact: impl FnOnce() -> Vec<f64>,
        rungs: Vec<Rung>,
    ) {
        let asked_for = |rung: &Rung| {
            let line = format!("{title} {}", rung.name);
            self.filters.is_empty() || self.filters.iter().any(|f| line.contains(f))
        };
        let rungs: Vec<_> = rungs.into_iter().filter(asked_for).collect();
        if rungs.is_empty() {
            return;
        }
        let exact = exact();
        println!("\n{title}");
        println!("  rung        threads         ms   GFLOP/s   of peak     error");
        for mut rung in rungs {
            // What a rung forgets to write is not a number, and neither is its error then.
            let mut result = vec![f32::NAN; exact.len()];
            (rung.run)(&mut result);
            let error = relative_error(&result, &exact);
            assert!(
                error <= rung.tolerance,
                "{title} {}: wrong by {error:.1e}, nothing is timed",
                rung.name
            );
            let seconds = self.median_seconds(|| (rung.run)(&mut result));
            let (threads, peak) = match rung.all_threads {
                true => (self.peak.threads, self.peak.all),
                false => (1, self.peak.one),
            };
            let rate = flops / seconds / 1e9;
            println!(
                "  {:<12}{threads:>7}{:>11.3}{rate:>10.2}{:>8.1} %{error:>10.1e}",
                rung.name,
                1e3 * seconds,
                100.0 * rate / peak
            );
        }
    }

    /// The median time of as many runs as the budget allows.
    fn median_seconds(&self, mut run: impl FnMut()) -> f64 {
        let begun = Instant::now();
        let mut times = Vec::new();
        loop {
            let start = Instant::now();
            run();
            times.push(start.elapsed().as_secs_f64());
            let enough = if times.len() < LEAST_RUNS {
                PATIENCE
            } else {
                BUDGET
            };
            if self.quick || begun.elapsed() >= enough {
                times.sort_by(f64::total_cmp);
                return times[times.len() / 2];
            }
        }
    }
}

/// The norm of the difference over the norm.
fn relative_error(got: &[f32], want: &[f64]) -> f64 {
    let pairs = got.iter().zip(want);
    let distance: f64 = pairs.map(|(&g, w)| (f64::from(g) - w).powi(2)).sum();
    let norm: f64 = want.iter().map(|w| w * w).sum();
    (distance / norm).sqrt()
}

fn main() {
    let (flags, filters): (Vec<_>, Vec<_>) = std::env::args()
        .skip(1)
        .partition(|argument| argument.starts_with('-'));
    // `cargo bench` says `--bench`; without it, this is a round of tests.
    let quick = flags.iter().any(|f| f == "--test") || !flags.iter().any(|f| f == "--bench");

    let isa = Isa::current();
    let peak = Peak::measure(isa, quick);
    println!(
        "peak of {isa}, in GFLOP/s: {:.1} on one thread, {:.1} on {}",
        peak.one, peak.all, peak.threads
    );
    let ladder = Ladder {
        filters,
        quick,
        peak,
    };
    gemm::climb(&ladder, isa);
    conv::climb(&ladder, isa);
}
