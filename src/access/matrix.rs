//! The part of a gallery that a principal may read.

use std::fmt;

/// The part of a gallery that a caller may read (Azure: the sharing matrix), from
/// [`Session::sharing_matrix`](crate::Session::sharing_matrix). `Display` prints it as a table.
///
/// Azure: a role at the gallery covers gallery, definitions and versions; one at a definition covers that definition and its
/// versions; one at a version covers that version alone.
///
/// ```
/// use compute_gallery::GalleryService;
/// use compute_gallery::model::{Gallery, GalleryId};
/// use compute_gallery::store::MemoryStore;
///
/// # futures::executor::block_on(async {
/// let service = GalleryService::builder().allow_all().store(MemoryStore::new()).create().await?;
/// let session = service.session("docs".parse()?);
/// let id: GalleryId = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/Contoso".parse()?;
/// session.create_gallery(Gallery::new(id.clone(), "westeurope".parse()?)).await?;
///
/// let matrix = session.sharing_matrix(&id);
/// assert!(matrix.gallery && matrix.images.is_empty());
/// assert_eq!(matrix.to_string().split_whitespace().collect::<Vec<_>>(), ["gallery", "yes"]);
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SharingMatrix {
    /// Whether the caller may read the gallery.
    pub gallery: bool,
    /// The definitions that the caller may read, or has versions of to read.
    pub images: Vec<SharingRow>,
    /// Azure's advice for sharing it better.
    pub advice: Vec<String>,
}

/// One definition of a [`SharingMatrix`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SharingRow {
    /// Name of the definition.
    pub name: String,
    /// Whether the caller may read the definition.
    pub image: bool,
    /// The numbers of the versions that the caller may read.
    pub versions: Vec<String>,
}

impl SharingMatrix {
    /// Returns a matrix with Azure's advice: to share at the gallery, and not single versions.
    pub(crate) fn new(gallery: bool, images: Vec<SharingRow>) -> Self {
        let mut advice = Vec::new();
        if !gallery && !images.is_empty() {
            advice.push("share at the gallery for the best experience".to_owned());
        }
        let alone = images.iter().filter(|row| !row.image && !row.versions.is_empty());
        advice.extend(alone.map(|row| {
            format!("versions of `{}` are shared one by one, which is not recommended: share the definition", row.name)
        }));
        Self { gallery, images, advice }
    }
}

impl fmt::Display for SharingMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let yes = |may: bool| if may { "yes" } else { "no" };
        writeln!(f, "{:<24} {}", "gallery", yes(self.gallery))?;
        for row in &self.images {
            writeln!(f, "{:<24} {:<5} versions {}", row.name, yes(row.image), row.versions.join(", "))?;
        }
        self.advice.iter().try_for_each(|advice| writeln!(f, "advice: {advice}"))
    }
}
