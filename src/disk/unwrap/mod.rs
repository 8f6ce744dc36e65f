//! What a disk's file is wrapped in: compressed, or alone in an archive. It is unwrapped when asked for, and nothing is guessed.

mod gzip;
mod input;
mod tar;
mod unwrapped;
mod wrapping;
#[cfg(feature = "xz")]
mod xz;
mod zstd;

pub(super) use unwrapped::unwrapped;
#[cfg(feature = "testkit")]
pub(super) use unwrapped::unwrapping;
pub use wrapping::Wrapping;
