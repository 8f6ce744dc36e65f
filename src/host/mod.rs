//! What the host program supplies: threads, randomness and time.
//!
//! Nothing in the crate starts a thread, reads a clock or draws a random number past these, so a simulation that
//! supplies its own runs the same way every time.

mod clock;
mod deadlines;
mod entropy;
pub(crate) mod sync;
mod workers;

pub use clock::{Clock, SystemClock};
pub use deadlines::Deadlines;
pub(crate) use deadlines::within;
pub(crate) use entropy::draw;
pub use entropy::{Entropy, SystemEntropy};
pub use workers::Workers;
