//! The server: names and disks.

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
    /// The first is the one without a name, too.
    exports: Vec<(String, ImageReader)>,
}

impl NbdServer {
    /// Returns a server of one disk. It has this name, and is what a client without a name gets.
    pub fn new(name: impl Into<String>, disk: ImageReader) -> Self {
        Self { exports: vec![(name.into(), disk)] }
    }

    /// Serves another disk under a name of its own; of two with one name, the first is served.
    #[must_use]
    pub fn with_export(mut self, name: impl Into<String>, disk: ImageReader) -> Self {
        self.exports.push((name.into(), disk));
        self
    }

    pub(super) fn export(&self, name: &[u8]) -> Option<&ImageReader> {
        let mut exports = self.exports.iter();
        let found = if name.is_empty() { exports.next() } else { exports.find(|(known, _)| known.as_bytes() == name) };
        found.map(|(_, disk)| disk)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.exports.iter().map(|(name, _)| name.as_str())
    }
}
