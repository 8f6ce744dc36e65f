//! Randomness.

use std::fmt::Debug;
use std::io;

use crate::error::{Error, Result};

/// Where random bytes come from.
///
/// They name things, and two equal names would be one thing: an implementation for anything but tests has to be as
/// good as [`SystemEntropy`].
pub trait Entropy: Debug + Send + Sync + 'static {
    /// Fills all of `bytes`.
    ///
    /// # Errors
    ///
    /// Where no randomness can be had; the bytes are then of no use.
    fn fill(&self, bytes: &mut [u8]) -> io::Result<()>;
}

/// `N` random bytes; an error says what was being done.
pub(crate) fn draw<const N: usize>(entropy: &dyn Entropy, doing: &str) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes).map_err(|error| Error::from_io("entropy", doing, error))?;
    Ok(bytes)
}

/// The operating system's randomness.
///
/// ```
/// use compute_gallery::host::{Entropy, SystemEntropy};
///
/// let (mut one, mut other) = ([0; 16], [0; 16]);
/// SystemEntropy.fill(&mut one)?;
/// SystemEntropy.fill(&mut other)?;
/// assert_ne!(one, other);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    #[expect(clippy::disallowed_methods, reason = "this is the seam that all randomness goes through")]
    fn fill(&self, bytes: &mut [u8]) -> io::Result<()> {
        let plain = |error: getrandom::Error| match error.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::other(error.to_string()),
        };
        getrandom::fill(bytes).map_err(plain)
    }
}
