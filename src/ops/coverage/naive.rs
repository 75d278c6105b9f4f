//! The definition as plain loops.

use super::Sizes;
use crate::cpu::Isa;

/// `m` `[S, P]`: one minus each position's attention over the said steps.
pub(crate) fn forward(_: Isa, sizes: Sizes, attention: &[f32], said: &[bool]) -> Vec<f32> {
    let Sizes {
        sentences,
        steps,
        positions,
    } = sizes;
    let mut missing = vec![1.0; sentences * positions];
    for s in 0..sentences {
        for t in 0..steps {
            for p in 0..positions {
                if said[s * steps + t] {
                    missing[s * positions + p] -= attention[(s * steps + t) * positions + p];
                }
            }
        }
    }
    missing
}

/// `da` `[S, T, P]`: `factor m` where a word is said.
pub(crate) fn backward(
    _: Isa,
    sizes: Sizes,
    missing: &[f32],
    said: &[bool],
    factor: f32,
) -> Vec<f32> {
    let Sizes {
        sentences,
        steps,
        positions,
    } = sizes;
    let mut da = vec![0.0; sentences * steps * positions];
    for s in 0..sentences {
        for t in 0..steps {
            for p in 0..positions {
                if said[s * steps + t] {
                    da[(s * steps + t) * positions + p] = factor * missing[s * positions + p];
                }
            }
        }
    }
    da
}
