//! Interfaces to the host program: threads, randomness and time.
//!
//! The crate starts threads, reads the time and draws random numbers through these alone, so a simulation that supplies its own
//! runs the same way every time.

mod clock;
mod deadlines;
mod entropy;
pub(crate) mod in_flight;
mod keys;
mod metrics;
pub(crate) mod sync;
pub(crate) mod turns;
mod workers;

pub use clock::{Clock, SystemClock};
pub use deadlines::Deadlines;
pub(crate) use deadlines::within;
pub(crate) use entropy::draw;
pub use entropy::{Entropy, SystemEntropy};
pub use keys::{KeyProvider, Secret, Wrapped, key_missing, keys_unavailable};
pub use metrics::{Metrics, Worked};
pub use workers::Workers;
