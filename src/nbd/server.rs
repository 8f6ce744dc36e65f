//! The server: names and disks.

use crate::host::Clock;
use crate::service::deploy::reader::ImageReader;

/// Serves disks of images as network block devices, read-only. Every byte is verified, and kept in the cache that all readers of the
/// service share ([`chunk_cache_bytes`](crate::GalleryServiceBuilder::chunk_cache_bytes)). A client may open several connections.
///
/// A clone serves the same disks.
///
/// ```no_run
/// # use compute_gallery::nbd::NbdServer;
/// # async fn serve(session: compute_gallery::Session) -> Result<(), Box<dyn std::error::Error>> {
/// let reader = session.deploy("/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/galleries/g/images/web", "eastus").open().await?;
/// // qemu-system-x86_64 -drive driver=nbd,server.type=unix,server.path=/run/web.sock,read-only=on …
/// NbdServer::new("web", reader).listen_unix("/run/web.sock").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct NbdServer {
    /// It is the one without a name, too.
    first: (String, ImageReader),
    others: Vec<(String, ImageReader)>,
}

impl NbdServer {
    /// Returns a server of one disk. It has this name, and is what a client without a name gets.
    pub fn new(name: impl Into<String>, disk: ImageReader) -> Self {
        Self { first: (name.into(), disk), others: Vec::new() }
    }

    /// Serves another disk under a name of its own; of two with one name, the first is served.
    #[must_use]
    pub fn with_export(mut self, name: impl Into<String>, disk: ImageReader) -> Self {
        self.others.push((name.into(), disk));
        self
    }

    pub(super) fn export(&self, name: &[u8]) -> Option<&ImageReader> {
        let is_it = |known: &str| name.is_empty() || known.as_bytes() == name;
        self.exports().find(|(known, _)| is_it(known)).map(|(_, disk)| disk)
    }

    /// The clock of the first disk's service.
    pub(super) fn clock(&self) -> &dyn Clock {
        self.first.1.clock()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.exports().map(|(name, _)| name.as_str())
    }

    fn exports(&self) -> impl Iterator<Item = &(String, ImageReader)> {
        std::iter::once(&self.first).chain(&self.others)
    }
}
