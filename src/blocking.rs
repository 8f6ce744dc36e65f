//! The gallery for programs without async (feature `blocking`): each future of the crate can be waited for.
//!
//! The thread sleeps until the work is done. A call inside of an async task blocks its executor's thread: await there instead.
//!
//! ```
//! use compute_gallery::blocking::{Wait, WaitEach};
//! use compute_gallery::disk::{DiskFormat, DiskSource};
//! use compute_gallery::prelude::*;
//!
//! let service = GalleryService::builder().store(MemoryStore::new()).allow_all().create().wait()?;
//! let session = service.session("ci".parse()?);
//! let id: GalleryId = "/subscriptions/dev/resourceGroups/a/providers/Microsoft.Compute/galleries/g".parse()?;
//! session.create_gallery(Gallery::new(id.clone(), "westeurope".parse()?)).wait()?;
//! let image = id.image("web".parse()?);
//! let names = ImageIdentifier::new("Contoso", "Web", "Frontend")?;
//! session.create_image_definition(ImageDefinition::new(image.clone(), "westeurope".parse()?, OsType::Linux, OsState::Generalized, names)).wait()?;
//!
//! let disk = DiskSource::bytes(vec![7; 4096], DiskFormat::Raw);
//! let profile = PublishingProfile::new("westeurope,eastus".parse()?);
//! let version = image.version("1.0.0".parse()?);
//! session.publish(NewImageVersion::new(version.clone(), "westeurope".parse()?, profile, disk)).wait()?;
//! let mut replication = session.replicate(&version);
//! let percent = replication.statuses().wait_each().map(|status| status.progress()).last();
//! replication.wait()?;
//! assert_eq!(percent, Some(100));
//! assert_eq!(session.deploy(&version, "eastus").to_writer(Vec::new()).wait()?.1, [7; 4096]);
//! # Ok::<(), compute_gallery::Error>(())
//! ```

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use futures::Stream;

/// Waits for a future: every operation of the crate is one.
pub trait Wait: IntoFuture + Sized {
    /// Lets this thread sleep until the work is done, and returns its outcome.
    ///
    /// ```
    /// use compute_gallery::blocking::Wait;
    ///
    /// assert_eq!(async { 1 + 1 }.wait(), 2);
    /// ```
    fn wait(self) -> Self::Output {
        let mut work = pin!(self.into_future());
        ready(|context| work.as_mut().poll(context))
    }
}

impl<T: IntoFuture> Wait for T {}

/// Waits for each item of a stream, such as the statuses of a replication.
pub trait WaitEach: Stream + Sized {
    /// Returns an iterator that lets this thread sleep until the next item is there.
    ///
    /// ```
    /// use compute_gallery::blocking::WaitEach;
    ///
    /// assert_eq!(futures::stream::iter([1, 2]).wait_each().sum::<u32>(), 3);
    /// ```
    fn wait_each(self) -> Each<Self> {
        Each(Box::pin(self))
    }
}

impl<S: Stream> WaitEach for S {}

/// The items of a stream, waited for: see [`WaitEach`].
#[derive(Debug)]
pub struct Each<S>(Pin<Box<S>>);

impl<S: Stream> Iterator for Each<S> {
    type Item = S::Item;

    fn next(&mut self) -> Option<S::Item> {
        ready(|context| self.0.as_mut().poll_next(context))
    }
}

/// Wakes a thread that sleeps.
struct Sleeper(Thread);

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn ready<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
    let waker = Waker::from(Arc::new(Sleeper(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(done) = poll(&mut context) {
            return done;
        }
        // A wake-up that came before makes it return at once, and one without a reason costs a poll.
        thread::park();
    }
}
