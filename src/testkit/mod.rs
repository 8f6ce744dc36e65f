//! For tests of code that embeds the gallery, and of a storage backend (feature `testkit`).
//!
//! A gallery to test against, in memory, without waiting, and the same on every run, is one line:
//!
//! ```
//! use compute_gallery::testkit::Sandbox;
//!
//! # futures::executor::block_on(async {
//! let sandbox = Sandbox::new().await?;
//!
//! // The code under test gets a session, as in production.
//! sandbox.publish("1.0.0", vec![7; 1 << 20]).await?;
//! let latest = sandbox.session().refresh().await?.latest(sandbox.image(), "eastus")?;
//! assert_eq!(latest.id(), &sandbox.version("1.0.0"));
//! # Ok::<(), compute_gallery::Error>(())
//! # }).unwrap();
//! ```
//!
//! Its pieces are of use by themselves: [`ManualClock`], [`SeededEntropy`], and the stores that fail ([`FaultyStore`]), ask the
//! test about each call ([`HookedStore`]) or suspend at each call ([`YieldingStore`]). [`conformance`] proves that a store keeps
//! the contract of [`BlobStore`](crate::store::BlobStore).

mod background;
mod calls;
pub mod conformance;
mod faulty_store;
pub mod fuzz;
mod hooked_store;
mod manual_clock;
mod passing_time;
mod sandbox;
mod script;
mod seeded_entropy;
mod yielding_store;

pub use calls::Calls;
pub use faulty_store::{Call, Fault, Faults, FaultyStore};
pub use hooked_store::{HookedStore, Reaction};
pub use manual_clock::ManualClock;
pub use sandbox::{Sandbox, SandboxBuilder, raw, region};
pub use script::Refusal;
pub use seeded_entropy::{SeededEntropy, noise};
pub use yielding_store::YieldingStore;
