//! What tests of code around the gallery need (feature `testkit`): the proof that a store of yours keeps the
//! contract, a store that fails when told to, one that lets others go first, a clock that you move by hand, and randomness
//! that repeats.

pub mod conformance;
mod faulty_store;
pub mod fuzz;
mod manual_clock;
mod seeded_entropy;
mod yielding_store;

pub use faulty_store::{Call, Fault, Faults, FaultyStore};
pub use manual_clock::ManualClock;
pub use seeded_entropy::SeededEntropy;
pub use yielding_store::YieldingStore;
