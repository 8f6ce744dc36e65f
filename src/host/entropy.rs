//! Randomness.

use std::fmt::Debug;
use std::io;

use crate::error::{Error, Result};

/// A source of random bytes.
///
/// They become names of blobs and uploads, which must be unique: outside of tests, an implementation has to be as good as
/// [`SystemEntropy`].
///
/// ```
/// use compute_gallery::host::Entropy;
///
/// /// For a test of one name.
/// #[derive(Debug)]
/// struct Sevens;
///
/// impl Entropy for Sevens {
///     fn fill(&self, bytes: &mut [u8]) -> std::io::Result<()> {
///         bytes.fill(7);
///         Ok(())
///     }
/// }
///
/// let mut name = [0; 4];
/// Sevens.fill(&mut name)?;
/// assert_eq!(name, [7; 4]);
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Entropy: Debug + Send + Sync + 'static {
    /// Fills all of `bytes`.
    ///
    /// # Errors
    ///
    /// The error of the source. The bytes must not be used then.
    fn fill(&self, bytes: &mut [u8]) -> io::Result<()>;
}

/// Returns `N` random bytes; an error names what was `doing`.
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
