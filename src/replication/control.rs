//! Control of a running replication from other tasks and threads.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use crate::host::sync::Mutex;

/// Pauses, resumes and cancels a replication from any task or thread. Clones control the same replication.
///
/// ```
/// # use compute_gallery::disk::{DiskFormat, DiskSource};
/// # use compute_gallery::model::*;
/// # use compute_gallery::publish::NewImageVersion;
/// # use compute_gallery::store::MemoryStore;
/// # use compute_gallery::{ErrorKind, GalleryService};
/// # futures::executor::block_on(async {
/// # let service = GalleryService::builder().store(MemoryStore::new()).allow_all().create().await?;
/// # let session = service.session("docs".parse()?);
/// # let home: Region = "westeurope".parse()?;
/// # let id: GalleryId = "/subscriptions/dev/resourceGroups/a/providers/Microsoft.Compute/galleries/g".parse()?;
/// # session.create_gallery(Gallery::new(id.clone(), home.clone())).await?;
/// # let image = id.image("web".parse()?);
/// # let identifier = ImageIdentifier::new("a", "b", "c")?;
/// # let definition = ImageDefinition::new(image.clone(), home.clone(), OsType::Linux, OsState::Generalized, identifier);
/// # session.create_image_definition(definition).await?;
/// # let version = image.version("1.0.0".parse()?);
/// # let profile = PublishingProfile::new("westeurope=1,eastus=1".parse()?);
/// # let disk = DiskSource::bytes(vec![7; 1 << 20], DiskFormat::Raw);
/// # session.publish(NewImageVersion::new(version.clone(), home, profile, disk)).await?;
/// let replication = session.replicate(&version);
/// let control = replication.control();
/// control.pause();
/// control.cancel();
/// // Cancelling is permanent.
/// control.resume();
/// assert_eq!(replication.await.unwrap_err().kind(), ErrorKind::Cancelled);
///
/// // A new replication resumes from what has arrived.
/// assert!(session.replicate(&version).await.is_ok());
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, Default)]
pub struct ReplicationControl(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    command: Command,
    changes: u64,
    waiting: Vec<Waker>,
}

/// The current command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Command {
    #[default]
    GoOn,
    Pause,
    Cancel,
}

impl ReplicationControl {
    /// Starts no more transfers; those under way finish. No effect after `cancel`.
    pub fn pause(&self) {
        self.give(Command::Pause);
    }

    /// Ends a pause. No effect after `cancel`.
    pub fn resume(&self) {
        self.give(Command::GoOn);
    }

    /// Ends the replication, permanently. Content that has arrived stays, and the next replication resumes from it.
    pub fn cancel(&self) {
        self.give(Command::Cancel);
    }

    fn give(&self, command: Command) {
        let mut inner = self.0.lock();
        // Cancelling is permanent.
        if inner.command != Command::Cancel {
            inner.command = command;
            inner.changes += 1;
            inner.waiting.drain(..).for_each(Waker::wake);
        }
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.now() == Command::Pause
    }

    pub(crate) fn now(&self) -> Command {
        self.0.lock().command
    }

    /// Waits until `cancel` is called.
    pub(crate) async fn cancelled(&self) {
        loop {
            let changed = self.changed();
            if self.now() == Command::Cancel {
                return;
            }
            changed.await;
        }
    }

    /// Returns a future that waits for the next command after this call.
    pub(crate) fn changed(&self) -> impl Future<Output = ()> + Unpin {
        let seen = self.0.lock().changes;
        poll_fn(move |context| {
            let mut inner = self.0.lock();
            if inner.changes != seen {
                return Poll::Ready(());
            }
            if !inner.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                inner.waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
    }
}
