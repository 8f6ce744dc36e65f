//! The proof that a store keeps the contract of [`BlobStore`].
//!
//! Each case is one promise. Five lines prove a store:
//!
//! ```
//! use compute_gallery::store::MemoryStore; // yours
//! use compute_gallery::testkit::conformance;
//!
//! let report = futures::executor::block_on(conformance::run(|| async { MemoryStore::new() }));
//! report.assert_all_passed();
//! assert!(report.passed.len() > 64);
//! ```
//!
//! A store that several processes can use is worth [`race_processes`], too.

mod copy;
mod delete;
mod get;
mod keys;
mod list;
mod processes;
mod put;
mod races;
mod support;

use std::fmt;
use std::future::Future;
use std::sync::Arc;

pub use processes::race_processes;

use crate::store::BlobStore;

/// The outcome of [`run`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "failures are only in here"]
pub struct Report {
    /// The names of the promises that were kept.
    pub passed: Vec<String>,
    /// The names of those that were not, with the reason.
    pub failed: Vec<(String, String)>,
}

impl Report {
    /// Ends a test.
    ///
    /// # Panics
    ///
    /// If a promise was not kept, with the whole report.
    #[expect(clippy::panic, reason = "it ends a test")]
    pub fn assert_all_passed(&self) {
        if !self.failed.is_empty() {
            panic!("{self}");
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} promises kept, {} broken", self.passed.len(), self.failed.len())?;
        for (name, what) in &self.failed {
            write!(f, "\n  {name}: {what}")?;
        }
        Ok(())
    }
}

/// Tries every promise of the contract, each with a fresh and empty store of `new_store`.
///
/// Some cases start threads of their own and wait for them, and poll the store's futures there: a store that needs a
/// runtime has to enter it by itself, and must not need the calling thread.
pub async fn run<S, F, Fut>(new_store: F) -> Report
where
    S: BlobStore,
    F: Fn() -> Fut,
    Fut: Future<Output = S>,
{
    let mut report = Report::default();
    let themes = [put::cases(), get::cases(), list::cases(), delete::cases(), copy::cases(), keys::cases()];
    for case in themes.into_iter().flatten().chain(races::cases()) {
        let store: Arc<dyn BlobStore> = Arc::new(new_store().await);
        match (case.run)(store).await {
            Ok(()) => report.passed.push(case.name.to_owned()),
            Err(failure) => report.failed.push((case.name.to_owned(), failure.to_string())),
        }
    }
    report
}
