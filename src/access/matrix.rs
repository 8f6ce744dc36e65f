//! What somebody gets to see of a gallery.

use std::fmt;

/// What somebody may read of a gallery: the service's sharing matrix, for one principal.
///
/// Shared at the gallery, they get gallery, definitions and versions; at a definition, not the gallery, but that definition
/// and its versions; at a version, that version alone.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SharingMatrix {
    /// Whether they may read the gallery.
    pub gallery: bool,
    /// Its definitions that they may read something of.
    pub images: Vec<SharingRow>,
    /// What could be shared better.
    pub advice: Vec<String>,
}

/// One definition of a [`SharingMatrix`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SharingRow {
    /// The definition's name.
    pub name: String,
    /// Whether they may read the definition.
    pub image: bool,
    /// The versions that they may read.
    pub versions: Vec<String>,
}

impl SharingMatrix {
    /// A matrix, with the service's advice: to share at the gallery, and not single versions.
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
