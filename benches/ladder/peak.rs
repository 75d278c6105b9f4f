//! The peak that the rungs are compared with: the rate of multiply-adds that this processor reaches from registers.
//!
//! The operands stay in registers, so no load waits for a cache. The latency remains: a multiply-add takes about
//! four cycles, and two can start in each cycle. So at least eight that do not depend on each other must be in progress.
//! There are as many independent chains here as the library's tile has accumulators, for the same reason. Without fused
//! multiply-add, a link of a chain is a multiplication and then an addition, whose latencies add up. The registers of
//! plain x86-64 hold just enough chains for that, and the figure varies by a third from measurement to measurement.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::Instant;

use glimpse::cpu::simd::{Simd, WithSimd};
use glimpse::cpu::{Isa, threads};

/// The peak of the processor, in GFLOP/s: of one thread, and of all.
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

/// Returns the rate of the best of many bursts that `threads` threads begin together. It is the best and not the median
/// one, because other programs only slow a burst down.
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
    // A burst of all threads is as fast as its slowest thread.
    let burst =
        |i: usize| threads as f64 * rates.iter().map(|r| r[i]).fold(f64::INFINITY, f64::min);
    (0..bursts).map(burst).fold(0.0, f64::max)
}

/// A fraction of a millisecond of multiply-adds; returns the number of operations.
struct Burst;

const STEPS: usize = 1 << 16;

impl WithSimd for Burst {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f64 {
        match S::TILE_ROWS * S::TILE_VECTORS {
            28 => chains::<S, 28>(s),
            24 => chains::<S, 24>(s),
            12 => chains::<S, 12>(s),
            _ => chains::<S, 6>(s),
        }
    }
}

#[inline(always)]
fn chains<S: Simd, const N: usize>(s: S) -> f64 {
    // `black_box` hides the operands: the compiler would evaluate constants and merge equal chains. The values converge to
    // 0.5, so that no slow subnormal numbers or infinities occur.
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
