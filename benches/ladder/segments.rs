//! A product of vectors whose left matrix is read in place: the loops that the rungs `simd` and `winograd` of the convolution
//! share.

use glimpse::cpu::simd::{Simd, WithSimd};

/// Channels in.
pub const IN: usize = 128;
/// Channels out.
pub const OUT: usize = 32;

/// A product whose A is read in place: row `i` is a segment of 128 floats at `rows[i] + tap` for each tap.
pub struct SegmentProduct<'a> {
    pub data: &'a [f32],
    pub rows: &'a [usize],
    pub taps: &'a [usize],
    /// B, from [`pack_panels`], as wide as the tile.
    pub panels: &'a [f32],
    /// The product, `[rows, 32]`.
    pub y: &'a mut [f32],
}

impl WithSimd for SegmentProduct<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match (S::TILE_ROWS, S::TILE_VECTORS) {
            (14, 2) => self.multiply::<S, 14, 2>(s),
            (6, 4) => self.multiply::<S, 6, 4>(s),
            (6, 2) => self.multiply::<S, 6, 2>(s),
            (6, 1) => self.multiply::<S, 6, 1>(s),
            _ => unreachable!("no instruction set has another tile"),
        }
    }
}

impl SegmentProduct<'_> {
    #[inline(always)]
    fn multiply<S: Simd, const R: usize, const V: usize>(self, s: S) {
        let width = V * S::LANES;
        let panel_len = self.taps.len() * IN * width;
        for (rows, y) in self.rows.chunks(R).zip(self.y.chunks_mut(R * OUT)) {
            for (panel, column) in self
                .panels
                .chunks_exact(panel_len)
                .zip((0..OUT).step_by(width))
            {
                let sums = tile_of_vectors::<S, R, V>(s, self.data, rows, self.taps, panel);
                for (y, sums) in y.chunks_exact_mut(OUT).zip(&sums) {
                    for (v, &sum) in sums.iter().enumerate() {
                        s.store(&mut y[column + v * S::LANES..], sum);
                    }
                }
            }
        }
    }
}

/// The register tile: at most `R` rows by `V` vectors of columns.
#[allow(clippy::needless_range_loop)]
#[inline(always)]
fn tile_of_vectors<S: Simd, const R: usize, const V: usize>(
    s: S,
    data: &[f32],
    rows: &[usize],
    taps: &[usize],
    panel: &[f32],
) -> [[S::V; V]; R] {
    let width = V * S::LANES;
    let mut sums = [[s.splat(0.0); V]; R];
    for (&tap, weights) in taps.iter().zip(panel.chunks_exact(IN * width)) {
        let rows: [_; R] = segments(data, rows, tap);
        for (c, weights) in weights.chunks_exact(width).enumerate().take(IN) {
            let mut vectors = [s.splat(0.0); V];
            for v in 0..V {
                vectors[v] = s.load(&weights[v * S::LANES..]);
            }
            for r in 0..R {
                let x = s.splat(rows[r][c]);
                for v in 0..V {
                    sums[r][v] = s.mul_add(x, vectors[v], sums[r][v]);
                }
            }
        }
    }
    sums
}

/// Returns the 128 floats at each pixel plus `tap`. In the last tile, the last pixel stands in for missing ones.
#[inline(always)]
pub fn segments<'a, const R: usize>(
    data: &'a [f32],
    pixels: &[usize],
    tap: usize,
) -> [&'a [f32; IN]; R] {
    let mut segments = [&[0.0; IN]; R];
    for (r, segment) in segments.iter_mut().enumerate() {
        let start = pixels[r.min(pixels.len() - 1)] + tap;
        *segment = data[start..]
            .first_chunk()
            .expect("a pixel has all its channels");
    }
    segments
}
