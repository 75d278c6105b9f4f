//! What the benches share: repeatable numbers, and the rule that nothing is timed before it is checked.

use glimpse::cpu::{Isa, Level};
use glimpse::tensor::Tensor;

/// Repeatable numbers in `[-1, 1)`.
pub fn random(shape: &[usize], seed: u64) -> Tensor {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let data = (0..shape.iter().product())
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect();
    Tensor::from_vec(data, shape).expect("as many elements as the shape says")
}

/// Runs `f` on the oracle and as it will be timed, and panics where the results differ by more than 1e-4 of
/// their size.
pub fn check(what: &str, f: impl Fn() -> Vec<Tensor>) {
    let oracle = Isa::new(Level::Naive)
        .expect("the oracle runs anywhere")
        .scope(&f);
    for (i, (got, want)) in f().iter().zip(&oracle).enumerate() {
        let square = |x: f32| f64::from(x) * f64::from(x);
        let pairs = got.data().iter().zip(want.data());
        let distance = pairs.map(|(&g, &w)| square(g - w)).sum::<f64>().sqrt();
        let norm = want.data().iter().map(|&w| square(w)).sum::<f64>().sqrt();
        assert!(
            distance <= 1e-4 * norm.max(1e-6),
            "{what}: result {i} is wrong, nothing is timed"
        );
    }
}
