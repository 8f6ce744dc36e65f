//! The replicas that a deployment may read.

use crate::catalog::ImageContent;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Region, ResourceId, StorageAccountType};
use crate::placement::Pool;
use crate::service::read::latest::not_available;
use crate::service::read::view::CatalogView;
use crate::service::rules::refusals::missing;
use crate::service::session::inner::Inner;

/// Where an image is in a region.
pub(crate) struct Deployable {
    pub(crate) content: ImageContent,
    pub(crate) replicas: u32,
    pub(crate) account: StorageAccountType,
}

/// What an image holds, and how many replicas of it a region can deploy from.
pub(crate) fn deployable(view: &CatalogView, id: &ResourceId, region: &Region) -> Result<Deployable> {
    let state = view.state();
    let (content, replicas, elsewhere) = match id {
        ResourceId::ImageVersion(id) => {
            let record = view.record(id).map_err(|_untold| {
                let advice = "There is no such version: publish it, or correct the number.";
                Error::new(not_available(id, region).with_advice(advice))
            })?;
            let elsewhere = record.ready_regions().cloned().collect();
            (Some(record.content.clone()), record.replicas_ready(region), elsewhere)
        }
        ResourceId::ManagedImage(id) => {
            let record = state.managed_image(id).ok_or_else(|| Error::new(missing(id)))?;
            let home = record.resource.location();
            (Some(record.content.clone()), u32::from(home == region), vec![home.clone()])
        }
        ResourceId::Snapshot(id) => {
            let record = state.snapshot(id).ok_or_else(|| Error::new(missing(id)))?;
            let home = record.resource.location();
            (Some(record.content.clone()), u32::from(home == region), vec![home.clone()])
        }
        _ => (None, 0, Vec::new()),
    };
    let Some(content) = content else {
        let what = "only image versions, definitions, managed images and snapshots have disks to deploy";
        return Err(Error::of(ErrorKind::Unsupported, "InvalidParameter", id.to_string(), what));
    };
    if replicas == 0 {
        let complete = elsewhere.iter().map(|region| format!("`{region}`")).collect::<Vec<_>>().join(", ");
        let complete = if complete.is_empty() { "no region yet" } else { complete.as_str() };
        let advice = format!("It is complete in {complete}.");
        return Err(Error::new(not_available(id, region).with_advice(advice)));
    }
    let account = match id {
        ResourceId::ImageVersion(id) => view.record(id)?.version.publishing_profile().storage_account_type_in(region),
        _ => StorageAccountType::default(),
    };
    Ok(Deployable { content, replicas, account })
}

impl Inner {
    /// The replicas of an image in a region and what they are doing, kept for this process.
    pub(crate) fn pool(&self, image: &ResourceId, region: &Region, place: &Deployable) -> Pool {
        let new = || match image {
            ResourceId::ManagedImage(_) => Pool::of_managed_image(&self.placement_policy, &self.limits, place.account),
            _ => Pool::new(&self.placement_policy, &self.limits, place.account),
        };
        let pool = self.pools.of(&self.catalog.snapshot(), image, region, new);
        // It may have been another number before.
        pool.resize(place.replicas);
        pool
    }
}
