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

mod claims;
mod copy;
mod delete;
mod folders;
mod get;
mod keys;
mod list;
mod processes;
mod put;
mod races;
mod several;
mod support;

use std::fmt;
use std::future::Future;
use std::sync::Arc;

pub use processes::race_processes;

use self::support::Case;
use crate::store::BlobStore;

/// The outcome of [`run`] and [`run_case`].
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

/// Tries every promise of the contract, each with a fresh and empty store of `new_store`. What is optional is tried if the store's
/// [`capabilities`](BlobStore::capabilities) claim it, and has to be refused if they do not.
///
/// It ends with the first promise if nothing can be put at all, as with a wrong address or without permission.
///
/// Some cases start threads of their own and wait for them, and poll the store's futures there: a store that needs a
/// runtime has to enter it by itself, and must not need the calling thread.
pub async fn run<S, F, Fut>(new_store: F) -> Report
where
    S: BlobStore,
    F: Fn() -> Fut,
    Fut: Future<Output = S>,
{
    let (mut report, cases) = (Report::default(), cases());
    let others = cases.len().saturating_sub(1);
    for (number, case) in cases.iter().enumerate() {
        report.add(case, Arc::new(new_store().await)).await;
        if number == 0
            && let Some((_, what)) = report.failed.first_mut()
        {
            *what = format!("{what}. Nothing can be put, so the other {others} promises were not tried");
            break;
        }
    }
    report
}

/// Tries the promise of this name alone, with a fresh and empty store: for a look at one that was broken.
///
/// ```
/// use compute_gallery::store::MemoryStore;
/// use compute_gallery::testkit::conformance;
///
/// # futures::executor::block_on(async {
/// let report = conformance::run_case("a_second_create_already_exists_and_changes_nothing", MemoryStore::new()).await;
/// report.assert_all_passed();
/// assert_eq!(report.passed.len(), 1);
/// assert_eq!(conformance::run_case("mistyped", MemoryStore::new()).await.failed.len(), 1);
/// # });
/// ```
pub async fn run_case(name: &str, store: impl BlobStore) -> Report {
    let mut report = Report::default();
    match cases().iter().find(|case| case.name == name) {
        Some(case) => report.add(case, Arc::new(store)).await,
        None => report.failed.push((name.to_owned(), "there is no promise of this name".to_owned())),
    }
    report
}

fn cases() -> Vec<Case> {
    let calls = [put::cases(), get::cases(), list::cases(), delete::cases(), copy::cases(), keys::cases()];
    let provided = [several::cases(), folders::cases(), claims::cases(), races::cases()];
    calls.into_iter().chain(provided).flatten().collect()
}

impl Report {
    async fn add(&mut self, case: &Case, store: Arc<dyn BlobStore>) {
        match (case.run)(store).await {
            Ok(()) => self.passed.push(case.name.to_owned()),
            Err(failure) => self.failed.push((case.name.to_owned(), failure.to_string())),
        }
    }
}
