//! A ladder of optimisations: one product and one convolution, each written several times. Each version has one idea more
//! than the previous one, from the definition up to the library's version.
//!
//! ```text
//! cargo bench --bench ladder                        the whole ladder, well under a minute
//! cargo bench --bench ladder -- gemm 'conv 14'      only the rungs whose names contain one of these texts
//! cargo bench --bench ladder -- --test              the smallest shapes, one call each, still checked
//! RAYON_NUM_THREADS=1 cargo bench --bench ladder    with the library on one thread too
//! ```
//!
//! Read [`peak`] first, then [`gemm`], [`conv`] and [`winograd`], each from the top. A rung is a function. Its comment says
//! what it changes, why that is faster, and what limits it now.
//!
//! Every rung is compared with the definition in 64-bit floats before it is timed; "error" is the norm of the difference over
//! the norm. "GFLOP/s" is the number of operations of the definition over the median time. Winograd's algorithm takes a
//! quarter of the multiplications, so its rate is nominal and may exceed the peak; so may that of bf16, because processors
//! with bf16 instructions multiply twice as many. "of peak" is the fraction of the rate that as many threads reach from
//! registers. The peak is the best of many bursts, so on a machine with other load the fractions come out low.
//!
//! `simd`, `winograd` and `library` use the best vectors of this processor (or those of `GLIMPSE_ISA`). The other rungs are
//! plain Rust, compiled for any processor of the architecture. On x86-64 that means vectors of four and no fused
//! multiply-add, and thereby at most half of an AVX2 peak.

#[path = "../common/mod.rs"]
mod common;
mod conv;
mod gemm;
mod peak;
mod segments;
mod winograd;

use std::time::{Duration, Instant};

use glimpse::cpu::Isa;
use peak::Peak;

/// The time spent on a rung, and its smallest number of calls; a rung that is too slow for that stops after [`TIME_LIMIT`].
const BUDGET: Duration = Duration::from_millis(300);
const MIN_CALLS: usize = 3;
const TIME_LIMIT: Duration = Duration::from_secs(1);

/// Computes a result into the slice.
type Compute<'a> = Box<dyn FnMut(&mut [f32]) + 'a>;

/// One way to compute a result.
pub struct Rung<'a> {
    name: &'static str,
    run: Compute<'a>,
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

    /// Makes the rung use every thread, and compares it with the peak of all of them.
    pub fn on_all_threads(self) -> Self {
        Rung {
            all_threads: true,
            ..self
        }
    }

    /// Allows the result to differ from the definition by `tolerance` of its norm.
    pub fn within(self, tolerance: f64) -> Self {
        Rung { tolerance, ..self }
    }
}

/// The choice of rungs, and the peak that they are compared with.
pub struct Ladder {
    filters: Vec<String>,
    quick: bool,
    peak: Peak,
}

impl Ladder {
    /// Returns all shapes, which are sorted from small to large, or only the smallest in a quick round.
    pub fn shapes<'a, T>(&self, shapes: &'a [T]) -> &'a [T] {
        if self.quick { &shapes[..1] } else { shapes }
    }

    /// Checks and times those of `rungs` that the filters choose. `exact` is the definition.
    pub fn measure(
        &self,
        title: &str,
        flops: f64,
        exact: impl FnOnce() -> Vec<f64>,
        rungs: Vec<Rung>,
    ) {
        let is_chosen = |rung: &Rung| {
            let line = format!("{title} {}", rung.name);
            self.filters.is_empty() || self.filters.iter().any(|f| line.contains(f))
        };
        let rungs: Vec<_> = rungs.into_iter().filter(is_chosen).collect();
        if rungs.is_empty() {
            return;
        }
        let exact = exact();
        println!("\n{title}");
        println!("  rung        threads         ms   GFLOP/s   of peak     error");
        for mut rung in rungs {
            // An element that the rung does not write stays NaN, and so does the error.
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

    /// Returns the median time of as many calls as the budget allows.
    fn median_seconds(&self, mut run: impl FnMut()) -> f64 {
        let begun = Instant::now();
        let mut times = Vec::new();
        loop {
            let start = Instant::now();
            run();
            times.push(start.elapsed().as_secs_f64());
            let enough = if times.len() < MIN_CALLS {
                TIME_LIMIT
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

/// Returns the norm of the difference over the norm.
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
    // `cargo bench` passes `--bench`; without it, `cargo test` runs this.
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
    gemm::measure(&ladder, isa);
    conv::measure(&ladder, isa);
}
