//! Blocking work.

use std::num::NonZeroUsize;

/// Where blocking work runs: system calls, hashing, decoding.
///
/// ```
/// use compute_gallery::host::Workers;
///
/// let sum = futures::executor::block_on(Workers::default().run(|| 1 + 1));
/// assert_eq!(sum, 2);
/// assert_eq!(Workers::inline().parallelism(), 1);
/// ```
#[derive(Clone, Debug)]
pub struct Workers(Place);

#[derive(Clone, Debug)]
enum Place {
    Inline,
    Threads(NonZeroUsize),
}

impl Workers {
    /// Runs work on a pool of threads that the whole process shares, with at most `count` pieces of one job at a time.
    pub fn threads(count: NonZeroUsize) -> Self {
        Self(Place::Threads(count))
    }

    /// Runs work at once, on the calling task: for simulations and for hosts with a single thread.
    pub fn inline() -> Self {
        Self(Place::Inline)
    }

    /// Returns the maximum number of concurrent pieces of one job.
    pub fn parallelism(&self) -> usize {
        match self.0 {
            Place::Inline => 1,
            Place::Threads(count) => count.get(),
        }
    }

    /// Runs `work` and returns its result.
    ///
    /// Work that has begun runs to its end, also if the future is dropped.
    #[expect(clippy::disallowed_methods, reason = "this is the seam that all blocking work goes through")]
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        match self.0 {
            Place::Inline => work(),
            Place::Threads(_) => blocking::unblock(work).await,
        }
    }
}

impl Default for Workers {
    /// As many threads as the machine runs in parallel.
    fn default() -> Self {
        Self::threads(std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;

    #[test]
    fn inline_stays_on_the_thread_and_threads_do_not() {
        let here = std::thread::current().id();
        assert_eq!(block_on(Workers::inline().run(|| std::thread::current().id())), here);
        assert_ne!(block_on(Workers::default().run(|| std::thread::current().id())), here);
    }

    #[test]
    fn parallelism_is_what_was_asked_for() {
        assert_eq!(Workers::threads(NonZeroUsize::new(7).unwrap()).parallelism(), 7);
        assert!(Workers::default().parallelism() >= 1);
    }
}
