//! Deterministic random numbers for damaging files.

/// The state of the generator; equal seeds give equal damage.
pub struct Damage(pub u64);

impl Damage {
    /// Returns a number below `below`, or 0.
    pub fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % below.max(1)
    }
}
