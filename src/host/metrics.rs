//! What a host counts.

use std::fmt::Debug;
use std::time::Duration;

use crate::error::Error;

/// Is told of each piece of work of a service when it has ended, for a host's counters and histograms.
///
/// It is called on the task that waits for the work, so it must not block. Calls of the stores are counted by a store of the host around
/// each.
///
/// ```
/// use compute_gallery::GalleryService;
/// use compute_gallery::host::{Metrics, Worked};
/// use compute_gallery::model::Gallery;
/// use compute_gallery::store::MemoryStore;
/// use std::sync::{Arc, Mutex};
///
/// #[derive(Clone, Debug, Default)]
/// struct Seen(Arc<Mutex<Vec<(&'static str, bool)>>>);
///
/// impl Metrics for Seen {
///     fn worked(&self, work: &Worked<'_>) {
///         self.0.lock().unwrap().push((work.verb, work.error.is_none()));
///     }
/// }
///
/// # futures::executor::block_on(async {
/// let seen = Seen::default();
/// let builder = GalleryService::builder().store(MemoryStore::new()).allow_all().metrics(seen.clone());
/// let session = builder.create().await?.session("ci".parse()?);
/// let id = "/subscriptions/dev/resourceGroups/a/providers/Microsoft.Compute/galleries/g".parse()?;
/// session.create_gallery(Gallery::new(id, "westeurope".parse()?)).await?;
/// assert!(session.delete("/subscriptions/dev/resourceGroups/a/providers/Microsoft.Compute/galleries/g/images/x").await.is_ok());
/// assert_eq!(*seen.0.lock().unwrap(), [("change", true), ("delete", true)]);
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
pub trait Metrics: Debug + Send + Sync + 'static {
    /// Takes note of work that has ended. Work that is dropped before its end is not told.
    fn worked(&self, work: &Worked<'_>);
}

/// Work that has ended: see [`Metrics`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Worked<'a> {
    /// `publish`, `put`, `complete`, `replicate`, `deploy`, `change`, `delete`, `collect`, `compress`, `scrub` or `rotate keys`: to label a
    /// metric with.
    pub verb: &'static str,
    /// The id of what it was on, or a region: for a log, since there are many.
    pub resource: &'a str,
    /// The caller.
    pub caller: &'a str,
    /// By the service's clock.
    pub took: Duration,
    /// Why it failed. [`Error::kind`] is to label a metric with.
    pub error: Option<&'a Error>,
}
