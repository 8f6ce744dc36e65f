//! Helpers of the cases.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::store::{BlobKey, BlobMeta, BlobStore, PutMode, StoreErrorKind, StoreResult};

pub(super) type Store = Arc<dyn BlobStore>;

/// One promise.
#[derive(Clone, Copy)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) run: fn(Store) -> BoxFuture<'static, Outcome>,
}

pub(super) type Outcome<T = ()> = Result<T, Failure>;

/// How a promise was broken.
#[derive(Debug)]
pub(super) struct Failure(String);

impl Failure {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(format!("an unexpected error: {error:#}"))
    }
}

/// The cases of a theme, named as their functions.
macro_rules! cases {
    ($($name:ident,)*) => {
        pub(super) fn cases() -> Vec<$crate::testkit::conformance::support::Case> {
            vec![$($crate::testkit::conformance::support::Case {
                name: stringify!($name),
                run: |store| Box::pin($name(store)),
            }),*]
        }
    };
}
pub(super) use cases;

/// Fails the case with a message unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::testkit::conformance::support::Failure::new(format!($($message)+)));
        }
    };
}
pub(super) use ensure;

pub(super) fn key(text: impl AsRef<str>) -> Outcome<BlobKey> {
    Ok(text.as_ref().parse()?)
}

pub(super) async fn create(store: &Store, at: &str, bytes: &'static [u8]) -> Outcome {
    Ok(store.put(&key(at)?, Bytes::from_static(bytes), PutMode::Create).await?)
}

pub(super) async fn overwrite(store: &Store, at: &str, bytes: &'static [u8]) -> Outcome {
    Ok(store.put(&key(at)?, Bytes::from_static(bytes), PutMode::Overwrite).await?)
}

/// The blob at `at` has exactly these bytes, by every way to read it.
pub(super) async fn holds(store: &Store, at: &str, bytes: &[u8]) -> Outcome {
    let key = key(at)?;
    let found = store.get(&key, None).await?;
    ensure!(found == bytes, "`{at}` has {} bytes that differ from the {} expected", found.len(), bytes.len());
    let meta = store.head(&key).await?;
    let expected = BlobMeta::new(key, bytes.len() as u64);
    let told = BlobMeta { modified: meta.modified, version: meta.version.clone(), ..expected };
    ensure!(meta == told, "head of `{at}` tells {meta:?}");
    Ok(())
}

/// No blob is at `at`, by every way to read it.
pub(super) async fn is_absent(store: &Store, at: &str) -> Outcome {
    let key = key(at)?;
    fails(store.get(&key, None).await, StoreErrorKind::NotFound, at)?;
    fails(store.head(&key).await, StoreErrorKind::NotFound, at)?;
    let listed = listed(store).await?;
    ensure!(!listed.iter().any(|found| found == at), "`{at}` is listed");
    Ok(())
}

/// The call failed with this kind, and names this key.
pub(super) fn fails<T>(result: StoreResult<T>, kind: StoreErrorKind, named: &str) -> Outcome {
    match result {
        Ok(_) => Err(Failure::new(format!("it succeeded on `{named}`, {kind:?} expected"))),
        Err(error) if error.kind() != kind => {
            Err(Failure::new(format!("{kind:?} expected, not {:?}: {error}", error.kind())))
        }
        Err(error) => {
            let key = error.key().map(BlobKey::as_str);
            ensure!(key == Some(named), "the error names {key:?} for `{named}`: {error}");
            Ok(())
        }
    }
}

/// Every key, by one page.
pub(super) async fn listed(store: &Store) -> Outcome<Vec<String>> {
    list(store, None, None, usize::MAX).await.map(|(keys, _)| keys)
}

/// The keys of one page, and whether there may be more.
pub(super) async fn list(
    store: &Store,
    under: Option<&str>,
    after: Option<&str>,
    limit: usize,
) -> Outcome<(Vec<String>, bool)> {
    let (under, after) = (under.map(key).transpose()?, after.map(key).transpose()?);
    let page = store.list(under.as_ref(), after.as_ref(), limit).await?;
    ensure!(page.blobs.len() <= limit.max(1), "a page of {} for a limit of {limit}", page.blobs.len());
    ensure!(!(page.blobs.is_empty() && page.more), "an empty page says that there is more");
    Ok((page.blobs.iter().map(|meta| meta.key.to_string()).collect(), page.more))
}

/// Waits for a future on this thread.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

/// Runs the tasks at once, each on a thread of its own, and gives their results in order.
pub(super) fn at_once<T: Send>(tasks: Vec<BoxFuture<'_, Outcome<T>>>) -> Outcome<Vec<T>> {
    let barrier = Barrier::new(tasks.len());
    let barrier = &barrier;
    thread::scope(|scope| {
        let threads: Vec<_> = tasks
            .into_iter()
            .map(|task| {
                scope.spawn(move || {
                    barrier.wait();
                    block_on(task)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_panic| Failure::new("a task panicked"))?).collect()
    })
}
