//! The top of the ladder: how many multiply-adds this processor can do when nothing else is in the way.
//!
//! The operands stay in registers, so no cache is waited for. What remains is latency: a multiply-add takes about
//! four cycles, and two can start in each, so eight must be under way that do not wait for each other. There are as
//! many independent chains here as the library's tile has accumulators, for the same reason. Without a fused
//! multiply-add a link is a multiplication and then an addition, whose latencies add up; the registers that plain
//! x86-64 has hold just enough chains for that, and the figure wavers by a third from run to run.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::Instant;

use glimpse::cpu::simd::{Simd, WithSimd};
use glimpse::cpu::{Isa, threads};

/// What the processor can do, in GFLOP/s.
pub struct Peak {
    pub one: f64,
    pub all: f64,
    pub threads: usize,
}

impl Peak {
    pub fn measure(isa: Isa, quick: bool) -> Self {
        let bursts = if quick { 20 } else { 500 };
        let threads = threads::count();
        Peak {
            one: rate(isa, 1, bursts),
            all: rate(isa, threads, bursts),
            threads,
        }
    }
}

/// The best of many bursts that `threads` threads begin together. A limit is what is reached when nothing disturbs,
/// so it is the best and not the median.
fn rate(isa: Isa, threads: usize, bursts: usize) -> f64 {
    let together = Barrier::new(threads);
    let one_thread = || -> Vec<f64> {
        let burst = |_| {
            together.wait();
            let start = Instant::now();
            let flops = isa.dispatch(Burst);
            flops / start.elapsed().as_secs_f64() / 1e9
        };
        (0..bursts).map(burst).collect()
    };
    let rates: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(one_thread)).collect();
        workers
            .into_iter()
            .map(|w| w.join().expect("arithmetic does not panic"))
            .collect()
    });
    // A burst of all is as fast as its slowest thread.
    let burst =
        |i: usize| threads as f64 * rates.iter().map(|r| r[i]).fold(f64::INFINITY, f64::min);
    (0..bursts).map(burst).fold(0.0, f64::max)
}

/// Part of a millisecond of multiply-adds; yields how many operations they were.
struct Burst;

const STEPS: usize = 1 << 16;

impl WithSimd for Burst {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f64 {
        match S::TILE_ROWS * S::TILE_VECTORS {
            28 => chains::<S, 28>(s),
            12 => chains::<S, 12>(s),
            _ => chains::<S, 6>(s),
        }
    }
}

#[inline(always)]
fn chains<S: Simd, const N: usize>(s: S) -> f64 {
    // Known operands would be computed by the compiler, equal chains merged. These settle at 0.5, so that no float
    // on the way is too small or too large to be fast.
    let (x, y) = (s.splat(black_box(0.5)), s.splat(black_box(0.25)));
    let mut chain = [s.splat(0.0); N];
    for (i, link) in chain.iter_mut().enumerate() {
        *link = s.splat(black_box(i as f32));
    }
    for _ in 0..STEPS {
        for link in &mut chain {
            *link = s.mul_add(*link, x, y);
        }
    }
    let mut sum = s.splat(0.0);
    for link in chain {
        sum = s.add(sum, link);
    }
    black_box(s.sum(sum));
    (2 * STEPS * N * S::LANES) as f64
}
