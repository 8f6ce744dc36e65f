//! Reading an image in place.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::io::{AsyncRead, AsyncSeek, SeekFrom};

use super::boots::Boots;
use crate::content::digest::Digest;
use crate::error::{Error, Result};
#[cfg(feature = "nbd")]
use crate::host::Clock;
use crate::host::sync::Mutex;
#[cfg(feature = "nbd")]
use crate::image::random_access::Part;
use crate::image::random_access::RandomAccess;
use crate::placement::Lease;

/// The largest read of the stream.
const MAX_READ: usize = 1 << 20;

/// A disk of an image, read in place: any part of it, with every chunk verified. A hypervisor's front end can boot from it.
///
/// [`read_at`](Self::read_at) reads a range, from any number of tasks at once. [`AsyncRead`] and [`AsyncSeek`] make it a stream
/// with a position. All readers of the service share a chunk cache. A clone is the same disk with its own position; the replica is
/// leased until the last clone is dropped.
///
/// ```
/// # use compute_gallery::disk::{DiskFormat, DiskSource};
/// # use compute_gallery::model::*;
/// # use compute_gallery::store::MemoryStore;
/// # use compute_gallery::GalleryService;
/// # use compute_gallery::publish::NewManagedImage;
/// # futures::executor::block_on(async {
/// # let service = GalleryService::builder().store(MemoryStore::new()).allow_all().create().await?;
/// # let session = service.session("docs".parse()?);
/// # let image: ManagedImageId = "/subscriptions/dev/resourceGroups/a/providers/Microsoft.Compute/images/golden".parse()?;
/// # let home: Region = "westeurope".parse()?;
/// # let disk = DiskSource::bytes(vec![7; 1 << 20], DiskFormat::Raw);
/// # session.create_managed_image(NewManagedImage::new(image.clone(), home.clone(), OsType::Linux, disk)).await?;
/// let reader = session.deploy(&image, &home).open().await?;
/// assert_eq!(reader.read_at(4096..4100).await?, vec![7; 4]);
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
pub struct ImageReader {
    disk: Arc<Opened>,
    position: u64,
    /// Behind a mutex that is never locked: it makes the reader `Sync`, so that the future of [`read_at`](Self::read_at) can
    /// go from thread to thread.
    reading: Option<Mutex<BoxFuture<'static, Result<Bytes>>>>,
}

/// A disk of an image, and the replica that is leased for it.
pub(super) struct Opened {
    pub(super) disk: RandomAccess,
    /// `None` for a data disk.
    pub(super) boots: Option<Boots>,
    #[cfg(feature = "nbd")]
    pub(super) clock: Arc<dyn Clock>,
    pub(super) _lease: Option<Arc<Lease>>,
}

impl std::fmt::Debug for ImageReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ImageReader({} at {})", self.digest(), self.position)
    }
}

impl Clone for ImageReader {
    fn clone(&self) -> Self {
        Self { disk: self.disk.clone(), position: self.position, reading: None }
    }
}

impl ImageReader {
    pub(super) fn new(opened: Opened) -> Self {
        Self { disk: Arc::new(opened), position: 0, reading: None }
    }

    pub(super) fn opened(&self) -> &Opened {
        &self.disk
    }

    /// Returns the size of the disk in bytes.
    pub fn size(&self) -> u64 {
        self.disk.disk.disk().size
    }

    /// Returns the digest of the disk's content.
    pub fn digest(&self) -> Digest {
        self.disk.disk.disk().digest
    }

    /// Reads the bytes of a range.
    ///
    /// # Errors
    ///
    /// `Invalid` if the range is not within the disk; `Corrupt` if every replica is damaged there; `Unavailable`.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// let reader = session.deploy(&version, "eastus").open().await?;
    /// assert_eq!(reader.read_at(4000..4002).await?, [7, 7].as_slice());
    /// assert!(reader.read_at(4000..5000).await.is_err());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn read_at(&self, range: Range<u64>) -> Result<Bytes> {
        self.disk.disk.read(range).await
    }

    /// The bytes of a range, in the parts in which they lie in the cache.
    #[cfg(feature = "nbd")]
    pub(crate) async fn parts(&self, range: Range<u64>) -> Result<Vec<Part>> {
        self.disk.disk.parts(range).await
    }

    /// The clock of its service.
    #[cfg(feature = "nbd")]
    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.disk.clock
    }

    #[cfg(feature = "nbd")]
    pub(crate) async fn fetch_ahead(&self, range: Range<u64>) -> Result<()> {
        self.disk.disk.fetch_ahead(range).await
    }

    /// The parts of a range inside of the disk, and of each whether it may hold data.
    #[cfg(feature = "nbd")]
    pub(crate) async fn extents(&self, range: Range<u64>) -> Result<Vec<(Range<u64>, bool)>> {
        self.disk.disk.extents(range).await
    }
}

fn failed(error: Error) -> io::Error {
    io::Error::other(error)
}

impl AsyncRead for ImageReader {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let left = self.size().saturating_sub(self.position);
        let length = buffer.len().min(MAX_READ).min(usize::try_from(left).unwrap_or(usize::MAX));
        if length == 0 {
            return Poll::Ready(Ok(0));
        }
        if self.reading.is_none() {
            let (disk, range) = (self.disk.clone(), self.position..self.position + length as u64);
            self.reading = Some(Mutex::new(Box::pin(async move { disk.disk.read(range).await })));
        }
        let Some(reading) = &mut self.reading else { return Poll::Ready(Ok(0)) };
        let reading = reading.get_mut();
        let outcome = ready!(reading.as_mut().poll(context));
        self.reading = None;
        let bytes = outcome.map_err(failed)?;
        // The caller may poll with another buffer than the one that the read was started for.
        let length = bytes.len().min(buffer.len());
        if let (Some(target), Some(source)) = (buffer.get_mut(..length), bytes.get(..length)) {
            target.copy_from_slice(source);
        }
        self.position += length as u64;
        Poll::Ready(Ok(length))
    }
}

impl AsyncSeek for ImageReader {
    fn poll_seek(mut self: Pin<&mut Self>, _: &mut Context<'_>, to: SeekFrom) -> Poll<io::Result<u64>> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.size().checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        let before = || io::Error::new(io::ErrorKind::InvalidInput, "a position before the start of the disk");
        self.position = position.ok_or_else(before)?;
        self.reading = None;
        Poll::Ready(Ok(self.position))
    }
}
