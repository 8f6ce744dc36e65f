//! What a store is good at.

use std::num::NonZeroUsize;

/// What a store can do, and how it is best asked: for the planning of requests, and for what only some stores can do.
///
/// The default is that of a store of which nothing is known: far away, with nothing that is optional.
///
/// ```
/// use compute_gallery::store::{BlobStore, Capabilities, Latency, MemoryStore};
///
/// // Of a bucket, in a store of your own:
/// let bucket = Capabilities::default().with_free_persist(true).with_conditional_changes(true);
/// assert_eq!((bucket.latency(), bucket.parallel_requests()), (Latency::High, 16));
/// assert!(bucket.changes_conditionally() && !bucket.copies_inside());
/// assert!(bucket.can_be_remounted(), "another bucket may have the name tomorrow");
/// assert!(!MemoryStore::new().capabilities().can_be_remounted());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    latency: Latency,
    parallel_requests: NonZeroUsize,
    best_read_bytes: u64,
    merged_gap_bytes: u64,
    persists_for_free: bool,
    copies_inside: bool,
    changes_conditionally: bool,
    can_be_remounted: bool,
}

/// How long a store takes for an answer without bytes.
///
/// ```
/// use compute_gallery::store::{BlobStore, Latency, MemoryStore};
///
/// assert_eq!(MemoryStore::new().capabilities().latency(), Latency::Low);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Latency {
    /// Less than about a millisecond: memory, or a local disk.
    Low,
    /// More: a service on a network. Fewer and larger requests, more of them at once.
    High,
}

const PARALLEL_REQUESTS: NonZeroUsize = match NonZeroUsize::new(16) {
    Some(number) => number,
    None => NonZeroUsize::MIN,
};

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            latency: Latency::High,
            parallel_requests: PARALLEL_REQUESTS,
            best_read_bytes: 8 << 20,
            merged_gap_bytes: 1 << 20,
            persists_for_free: false,
            copies_inside: false,
            changes_conditionally: false,
            can_be_remounted: true,
        }
    }
}

impl Capabilities {
    /// Returns how long the store takes for an answer without bytes.
    pub fn latency(&self) -> Latency {
        self.latency
    }

    /// Returns how many requests at once the store serves well: 16 by default, at least 1. So many ranges of a replica
    /// are read at once, within an operation's share of the service's memory.
    pub fn parallel_requests(&self) -> usize {
        self.parallel_requests.get()
    }

    /// Returns the number of bytes from which on a single read is no faster per byte: 8 MiB by default.
    pub fn best_read_bytes(&self) -> u64 {
        self.best_read_bytes
    }

    /// Returns the largest gap in bytes that is read and thrown away sooner than a second request is made: 1 MiB by default.
    pub fn merged_gap_bytes(&self) -> u64 {
        self.merged_gap_bytes
    }

    /// Returns whether every blob that can be seen is durable, so that [`persist`](super::BlobStore::persist) makes no request.
    /// False by default.
    pub fn persists_for_free(&self) -> bool {
        self.persists_for_free
    }

    /// Returns whether [`copy`](super::BlobStore::copy) moves no byte through this process, and
    /// [`copy_from`](super::BlobStore::copy_from) copies from stores on the same service. False by default.
    pub fn copies_inside(&self) -> bool {
        self.copies_inside
    }

    /// Returns whether [`head`](super::BlobStore::head) tells a blob's version, and [`replace_if`](super::BlobStore::replace_if)
    /// and [`delete_if`](super::BlobStore::delete_if) work. False by default.
    pub fn changes_conditionally(&self) -> bool {
        self.changes_conditionally
    }

    /// Returns whether the same handle can be another container from one call to the next, as a directory is when another disk is
    /// mounted there. True by default.
    pub fn can_be_remounted(&self) -> bool {
        self.can_be_remounted
    }

    /// Sets the latency. With [`Low`](Latency::Low), reads of 1 MiB are the best, and gaps of at most 16 KiB are read along; set
    /// those afterwards if they differ.
    #[must_use]
    pub fn with_latency(self, latency: Latency) -> Self {
        let (best_read_bytes, merged_gap_bytes) = match latency {
            Latency::Low => (1 << 20, 16 << 10),
            Latency::High => (8 << 20, 1 << 20),
        };
        Self { latency, best_read_bytes, merged_gap_bytes, ..self }
    }

    /// Sets how many requests at once the store serves well; 0 counts as 1.
    #[must_use]
    pub fn with_parallel_requests(self, number: usize) -> Self {
        Self { parallel_requests: NonZeroUsize::new(number).unwrap_or(NonZeroUsize::MIN), ..self }
    }

    /// Sets the number of bytes from which on a single read is no faster per byte, and the largest gap in bytes that is read and
    /// thrown away sooner than a second request is made.
    #[must_use]
    pub fn with_reads(self, best_bytes: u64, merged_gap_bytes: u64) -> Self {
        Self { best_read_bytes: best_bytes, merged_gap_bytes, ..self }
    }

    /// Sets whether every blob that can be seen is durable.
    #[must_use]
    pub fn with_free_persist(self, is_free: bool) -> Self {
        Self { persists_for_free: is_free, ..self }
    }

    /// Sets whether copies move no byte through this process.
    #[must_use]
    pub fn with_copies_inside(self, are_inside: bool) -> Self {
        Self { copies_inside: are_inside, ..self }
    }

    /// Sets whether blobs have versions that a change can depend on.
    #[must_use]
    pub fn with_conditional_changes(self, has_them: bool) -> Self {
        Self { changes_conditionally: has_them, ..self }
    }

    /// Sets whether the same handle can be another container from one call to the next.
    #[must_use]
    pub fn with_remounts(self, can_be_remounted: bool) -> Self {
        Self { can_be_remounted, ..self }
    }
}
