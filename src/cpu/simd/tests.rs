//! The methods of the trait on every instruction set, against the same operations on one `f32`.

use super::{Simd, WithSimd};
use crate::cpu::precision::pair;
use crate::cpu::{Isa, Level};

/// Numbers that instruction sets could treat differently: zeros of both signs, halves between two integers, numbers between
/// two bf16s, the ends of the range, subnormal numbers, infinities, a quiet NaN and a signalling one.
fn special() -> Vec<f32> {
    let mut numbers = vec![
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        -1.5,
        2.5,
        3.3,
        -1e6,
        1.0 + 1.0 / 256.0,
        1.0 + 3.0 / 256.0,
        1e-20,
        f32::MIN_POSITIVE,
        1e-39,
        -1e-39,
        f32::MAX,
        f32::MIN,
        f32::INFINITY,
        f32::NEG_INFINITY,
    ];
    numbers.extend([0x7fc0_0000, 0xffc1_2345, 0x7f80_0001].map(f32::from_bits));
    numbers
}

/// Returns whether two numbers have the same bits, or are both NaN.
fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
}

const METHODS: [&str; 10] = [
    "add",
    "sub",
    "mul",
    "div",
    "sqrt",
    "max",
    "min",
    "select_less",
    "upper_halves",
    "lower_halves",
];

/// The results of [`METHODS`] for `a` in every lane and `b` in every lane.
struct Methods(f32, f32);

impl WithSimd for Methods {
    type Output = Vec<Vec<f32>>;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Self::Output {
        let (a, b) = (s.splat(self.0), s.splat(self.1));
        let results: [S::V; METHODS.len()] = [
            s.add(a, b),
            s.sub(a, b),
            s.mul(a, b),
            s.div(a, b),
            s.sqrt(a),
            s.max(a, b),
            s.min(a, b),
            s.select_less(a, b, s.splat(3.0), s.splat(4.0)),
            s.upper_halves(a),
            s.lower_halves(a),
        ];
        let lanes = |v| {
            let mut lanes = vec![0.0; S::LANES];
            s.store(&mut lanes, v);
            lanes
        };
        results.into_iter().map(lanes).collect()
    }
}

/// [`METHODS`] as their documentation defines them.
fn expected(a: f32, b: f32) -> [f32; METHODS.len()] {
    [
        a + b,
        a - b,
        a * b,
        a / b,
        a.sqrt(),
        if a > b { a } else { b },
        if a < b { a } else { b },
        if a < b { 3.0 } else { 4.0 },
        f32::from_bits(a.to_bits() & 0xffff_0000),
        f32::from_bits(a.to_bits() << 16),
    ]
}

#[test]
fn every_method_is_what_it_is_on_one_number() {
    let numbers = special();
    for isa in Isa::available() {
        for (&a, &b) in numbers
            .iter()
            .flat_map(|a| numbers.iter().map(move |b| (a, b)))
        {
            let got = isa.dispatch(Methods(a, b));
            for ((name, lanes), want) in METHODS.iter().zip(got).zip(expected(a, b)) {
                for got in lanes {
                    assert!(
                        same(got, want),
                        "{isa}: {name} of {a:e} and {b:e} is {got:e}, not {want:e}"
                    );
                }
            }
        }
    }
}

/// `round(a)`, `1.5 * 2^round(a)` and `a * b + c`, a lane each.
struct Arithmetic(f32, f32, f32);

impl WithSimd for Arithmetic {
    type Output = [f32; 3];
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> [f32; 3] {
        let Arithmetic(a, b, c) = self;
        let n = s.round(s.splat(a));
        let power = s.scale_by_power_of_two(s.splat(1.5), n);
        let sum = s.mul_add(s.splat(a), s.splat(b), s.splat(c));
        [n, power, sum].map(|v| {
            let mut lane = [0.0];
            s.store_part(&mut lane, v);
            lane[0]
        })
    }
}

#[test]
fn rounding_powers_and_multiply_adds_are_exact() {
    for isa in Isa::available() {
        for i in -252..=254 {
            // Integers, and halves between two of them.
            let a = i as f32 / 2.0;
            let (b, c) = (1.0 + f32::EPSILON, -1.0 / 3.0);
            let [n, power, sum] = isa.dispatch(Arithmetic(a, b, c));
            assert_eq!(n, a.round_ties_even(), "{isa}: {a} rounded");
            assert_eq!(f64::from(power), 1.5 * 2.0f64.powf(n.into()), "{isa}: {n}");
            let once = a.mul_add(b, c);
            // Portable vectors may have no multiply-add that rounds once.
            let twice = (isa.level() <= Level::Portable).then_some(a * b + c);
            assert!(sum == once || Some(sum) == twice, "{isa}: {a}: {sum}");
        }
    }
}

/// Loads and stores numbers in part, and reduces them.
struct Moves<'a>(&'a [f32]);

impl WithSimd for Moves<'_> {
    type Output = (Vec<f32>, f32, f32);
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Self::Output {
        // An address without memory is allowed.
        s.prefetch(std::ptr::without_provenance(8));
        let n = self.0.len().min(S::LANES);
        let v = s.load_part(&self.0[..n], 100.0);
        let mut to = vec![-1.0; n];
        s.store_part(&mut to, v);
        let zeros = s.load_part(&self.0[..n], 0.0);
        (to, s.sum(zeros), s.largest(zeros))
    }
}

#[test]
fn parts_of_vectors_are_loaded_stored_and_reduced() {
    let numbers: Vec<f32> = (1..=16).map(|i| i as f32).collect();
    for isa in Isa::available() {
        for n in 0..=16 {
            let (got, sum, largest) = isa.dispatch(Moves(&numbers[..n]));
            let n = got.len();
            assert_eq!(got, numbers[..n], "{isa}");
            assert_eq!(
                (sum, largest),
                ((n * (n + 1) / 2) as f32, n as f32),
                "{isa}"
            );
        }
    }
}

/// Packs twice as many numbers as a vector has lanes into pairs, from the first of a circle of numbers on.
struct Pack<'a>(&'a [f32], usize);

impl WithSimd for Pack<'_> {
    type Output = (Vec<f32>, Vec<f32>);
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Self::Output {
        let circle = self.0.iter().cycle().skip(self.1);
        let from: Vec<f32> = circle.take(2 * S::LANES).copied().collect();
        let mut to = vec![0.0; S::LANES];
        s.store(&mut to, s.pairs(s.load(&from), s.load(&from[S::LANES..])));
        (from, to)
    }
}

#[test]
fn special_numbers_are_rounded_to_the_same_pairs() {
    let numbers = special();
    for isa in Isa::available() {
        for first in 0..numbers.len() {
            for (from, to) in [
                isa.dispatch(Pack(&numbers, first)),
                isa.dispatch_pairs(Pack(&numbers, first)),
            ] {
                for (numbers, got) in from.as_chunks::<2>().0.iter().zip(to) {
                    let want = pair(numbers[0], numbers[1]).to_bits();
                    assert_eq!(got.to_bits(), want, "{isa}: {numbers:?}");
                }
            }
        }
    }
}
