//! Randomness that repeats.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::host::Entropy;

/// The same bytes for the same seed and the same order of calls. For tests only: the seed tells them all.
///
/// ```
/// use compute_gallery::host::Entropy;
/// use compute_gallery::testkit::SeededEntropy;
///
/// let draw = |seed| {
///     let mut bytes = [0; 20];
///     SeededEntropy::new(seed).fill(&mut bytes).map(|()| bytes)
/// };
/// assert_eq!(draw(1)?, draw(1)?);
/// assert_ne!(draw(1)?, draw(2)?);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct SeededEntropy {
    state: AtomicU64,
}

impl SeededEntropy {
    /// Starts at `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: AtomicU64::new(seed) }
    }

    /// A number from 0 up to, and without, `end`; 0 for an `end` of 0.
    ///
    /// ```
    /// use compute_gallery::testkit::SeededEntropy;
    ///
    /// let dice = SeededEntropy::new(7);
    /// let throws: Vec<usize> = (0..6).map(|_| 1 + dice.below(6)).collect();
    /// assert_eq!(throws, [4, 1, 1, 4, 5, 4]);
    /// ```
    pub fn below(&self, end: usize) -> usize {
        let drawn = self.number().checked_rem(u64::try_from(end).unwrap_or(u64::MAX));
        drawn.and_then(|drawn| usize::try_from(drawn).ok()).unwrap_or_default()
    }

    /// The next number of the splitmix64 generator.
    pub fn number(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut mixed = self.state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// `length` random bytes, which no compression makes smaller: the same for the same seed, and others for another.
///
/// ```
/// use compute_gallery::testkit::noise;
///
/// assert_eq!(noise(7, 4096), noise(7, 4096));
/// assert_ne!(noise(7, 4096), noise(8, 4096));
/// assert_eq!(noise(7, 4096)[..1000], noise(7, 1000));
/// ```
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let entropy = SeededEntropy::new(seed);
    let mut bytes = Vec::with_capacity(length.next_multiple_of(8));
    while bytes.len() < length {
        bytes.extend_from_slice(&entropy.number().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) -> io::Result<()> {
        for chunk in bytes.chunks_mut(8) {
            for (byte, random) in chunk.iter_mut().zip(self.number().to_le_bytes()) {
                *byte = random;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_published_splitmix64() {
        let entropy = SeededEntropy::new(1_234_567);
        assert_eq!([entropy.number(), entropy.number()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }
}
