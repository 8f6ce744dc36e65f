//! Progress of a long operation.

use std::sync::Arc;

/// The progress of a long operation, as `on_progress` of a publication or deployment reports it.
///
/// ```
/// # use compute_gallery::disk::{DiskFormat, DiskSource};
/// # use compute_gallery::model::*;
/// # use compute_gallery::store::MemoryStore;
/// # use compute_gallery::{GalleryService, NewImageVersion};
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// # futures::executor::block_on(async {
/// # let service = GalleryService::builder().allow_all().store(MemoryStore::new()).create().await?;
/// # let session = service.session("docs".parse()?);
/// # let gallery: GalleryId = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/galleries/G".parse()?;
/// # let home: Region = "westeurope".parse()?;
/// # session.create_gallery(Gallery::new(gallery.clone(), home.clone())).await?;
/// # let web = gallery.image("web".parse()?);
/// # let identifier = ImageIdentifier::new("Contoso", "Web", "Frontend")?;
/// # let definition = ImageDefinition::new(web.clone(), home.clone(), OsType::Linux, OsState::Generalized, identifier);
/// # session.create_image_definition(definition).await?;
/// # let source = DiskSource::bytes(vec![7; 1 << 20], DiskFormat::Raw);
/// # let profile = PublishingProfile::new("westeurope=1".parse()?);
/// # let version = NewImageVersion::new(web.version("1.0.0".parse()?), home, profile, source);
/// let percent = Arc::new(AtomicU64::new(0));
/// let shown = percent.clone();
/// let publication = session.publish(version).on_progress(move |progress| {
///     shown.store(100 * progress.done / progress.total, Ordering::Relaxed);
/// });
/// publication.await?;
/// assert_eq!(percent.load(Ordering::Relaxed), 100);
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes of the disk that are done.
    pub done: u64,
    /// Bytes of the disk in all.
    pub total: u64,
}

/// Called often, and from any thread.
pub(crate) type OnProgress = Arc<dyn Fn(Progress) + Send + Sync>;
