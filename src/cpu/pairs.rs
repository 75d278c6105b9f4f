//! Copies of activations as pairs of bf16, the operands of products in that [precision](super::precision).

use super::after::Affine;
use super::precision::pair;
use super::simd::Simd;

/// Copies one pixel's channels as pairs: `to = max(0, from * scale + shift)`, or `to = from` where `before` is `None`.
#[inline(always)]
pub(crate) fn copy_as_pairs<S: Simd>(s: S, before: Option<Affine>, from: &[f32], to: &mut [f32]) {
    match before {
        None => copy_mapped(
            s,
            from,
            to,
            #[inline(always)]
            |_, x| x,
            |_, x| x,
        ),
        Some(f) => copy_mapped(
            s,
            from,
            to,
            #[inline(always)]
            |c, x| f.relu(s, x, c),
            |c, x| f.relu_one(x, c),
        ),
    }
}

#[inline(always)]
fn copy_mapped<S: Simd>(
    s: S,
    from: &[f32],
    to: &mut [f32],
    vector: impl Fn(usize, S::V) -> S::V,
    one: impl Fn(usize, f32) -> f32,
) {
    let to = &mut to[..from.len().div_ceil(2)];
    let whole = from.len() - from.len() % (2 * S::LANES);
    for c in (0..whole).step_by(2 * S::LANES) {
        let low = vector(c, s.load(&from[c..]));
        let high = vector(c + S::LANES, s.load(&from[c + S::LANES..]));
        s.store(&mut to[c / 2..], s.pairs(low, high));
    }
    for c in (whole..from.len()).step_by(2) {
        let second = from.get(c + 1).map_or(0.0, |&x| one(c + 1, x));
        to[c / 2] = pair(one(c, from[c]), second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Isa;
    use crate::cpu::precision::tests::numbers;
    use crate::cpu::precision::unpair;
    use crate::cpu::simd::WithSimd;

    #[test]
    fn every_instruction_set_makes_the_same_lanes_and_sums() {
        struct Products<'a>(&'a [f32], &'a [f32]);
        impl WithSimd for Products<'_> {
            type Output = (Vec<f32>, Vec<f32>);
            #[inline(always)]
            fn run<S: Simd>(self, s: S) -> Self::Output {
                let Products(a, b) = self;
                let [mut lanes, other] = [a, b].map(|x| {
                    let mut lanes = vec![0.0; x.len() / 2];
                    copy_as_pairs(s, None, x, &mut lanes);
                    lanes
                });
                let mut sums = vec![0.25; lanes.len()];
                for i in (0..sums.len()).step_by(S::LANES) {
                    let sum =
                        s.dot_pairs(s.load(&lanes[i..]), s.load(&other[i..]), s.load(&sums[i..]));
                    s.store(&mut sums[i..], sum);
                }
                lanes.extend(other);
                (lanes, sums)
            }
        }
        let (a, b) = (numbers(640, 1), numbers(640, 2));
        let naive: Vec<f32> = [&a, &b]
            .into_iter()
            .flat_map(|x| x.chunks(2).map(|x| pair(x[0], x[1])))
            .collect();
        let (x, y) = naive.split_at(320);
        let want: Vec<f32> = (x.iter().zip(y))
            .map(|(&x, &y)| {
                let ([x0, x1], [y0, y1]) = (unpair(x), unpair(y));
                x0.mul_add(y0, x1.mul_add(y1, 0.25))
            })
            .collect();
        let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        for isa in Isa::available() {
            // With the bf16 instruction, if the processor has one, and in several steps.
            for (lanes, sums) in [
                isa.dispatch_pairs(Products(&a, &b)),
                isa.dispatch(Products(&a, &b)),
            ] {
                assert_eq!(bits(&lanes), bits(&naive), "{isa}");
                // Portable vectors may have no multiply-add that rounds once.
                for (&sum, &want) in sums.iter().zip(&want) {
                    assert!((sum - want).abs() <= 1e-6 * want.abs().max(0.25), "{isa}");
                }
            }
        }
    }

    #[test]
    fn odd_channels_end_in_a_zero() {
        struct Copy<'a>(&'a [f32], Option<Affine<'a>>);
        impl WithSimd for Copy<'_> {
            type Output = Vec<f32>;
            #[inline(always)]
            fn run<S: Simd>(self, s: S) -> Vec<f32> {
                let mut lanes = vec![f32::NAN; self.0.len().div_ceil(2)];
                copy_as_pairs(s, self.1, self.0, &mut lanes);
                lanes
            }
        }
        for n in [0, 1, 2, 3, 31, 32, 33, 67] {
            let (x, scale, shift) = (numbers(n, 1), numbers(n, 2), numbers(n, 3));
            let f = Affine {
                scale: &scale,
                shift: &shift,
            };
            for isa in Isa::available() {
                let plain = isa.dispatch_pairs(Copy(&x, None));
                let mapped = isa.dispatch_pairs(Copy(&x, Some(f)));
                assert_eq!((plain.len(), mapped.len()), (n.div_ceil(2), n.div_ceil(2)));
                for (i, (plain, mapped)) in plain.into_iter().zip(mapped).enumerate() {
                    let of = |map: &dyn Fn(usize) -> f32| {
                        [2 * i, 2 * i + 1].map(|c| if c < n { map(c) } else { 0.0 })
                    };
                    let want = of(&|c| unpair(pair(x[c], 0.0))[0]);
                    assert_eq!(unpair(plain), want);
                    for (got, want) in unpair(mapped).into_iter().zip(of(&|c| f.relu_one(x[c], c)))
                    {
                        assert!(
                            (got - want).abs() <= want.abs() / 200.0 + 1e-6,
                            "{isa} {got} {want}"
                        );
                    }
                }
            }
        }
    }
}
