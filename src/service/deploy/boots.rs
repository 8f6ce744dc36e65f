//! The boot set of a disk in a region.

use std::sync::Arc;

use crate::access::Action;
use crate::content::boot_set::BootSet;
use crate::content::names::ManifestId;
use crate::error::{ErrorKind, Result};
use crate::host::sync::Mutex;
use crate::model::ResourceId;
use crate::replica::slot::Slot;
use crate::service::read::view::CatalogView;

/// The boot set of a disk in a region.
pub(super) struct Boots {
    /// The copies of the region's first replica.
    pub(super) slots: Vec<Slot>,
    pub(super) manifest: ManifestId,
    pub(super) known: Mutex<Option<Known>>,
}

/// What the region has.
#[derive(Clone)]
pub(super) enum Known {
    Set(Arc<BootSet>),
    /// One that a newer build has written: it stays.
    Newer,
}

impl Boots {
    pub(super) fn new(slots: Vec<Slot>, manifest: ManifestId) -> Self {
        Self { slots, manifest, known: Mutex::default() }
    }

    /// Returns the set of the region: of the first zone that has one. One that can't be read is as good as none.
    pub(super) async fn known(&self) -> Known {
        if let Some(known) = &*self.known.lock() {
            return known.clone();
        }
        let mut known = Known::Set(Arc::default());
        for slot in &self.slots {
            match slot.boot_set(&self.manifest).await {
                Ok(set) => known = Known::Set(Arc::new(set)),
                Err(error) if error.kind() == ErrorKind::Unsupported => known = Known::Newer,
                Err(_) => continue,
            }
            break;
        }
        *self.known.lock() = Some(known.clone());
        known
    }
}

/// Requires the permission to store what a boot from an image reads.
pub(super) fn may_record(view: &CatalogView, image: &ResourceId) -> Result<()> {
    let action = match image {
        ResourceId::ManagedImage(_) => Action::WriteManagedImage,
        ResourceId::Snapshot(_) => Action::WriteSnapshot,
        _ => Action::WriteVersion,
    };
    view.require(action, image.clone())
}
