//! The replicas that a deployment can read.

use crate::catalog::ImageContent;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Region, ResourceId, StorageAccountType};
use crate::placement::Pool;
use crate::service::read::end_of_life::end_of_life;
use crate::service::read::latest::not_available;
use crate::service::read::view::CatalogView;
use crate::service::rules::refusals::{deleting, missing};
use crate::service::session::inner::Inner;

/// The content of an image and its replicas in a region.
pub(crate) struct Deployable {
    pub(crate) content: ImageContent,
    pub(crate) replicas: u32,
    pub(crate) account: StorageAccountType,
}

/// Returns the content of an image, and the number of replicas that a region can deploy from.
pub(crate) fn deployable(view: &CatalogView, id: &ResourceId, region: &Region) -> Result<Deployable> {
    let state = view.state();
    if let Some(deletion) = deleting(state, &id.clone().into()) {
        return Err(Error::new(deletion));
    }
    let (content, replicas, elsewhere) = match id {
        ResourceId::ImageVersion(id) => {
            let record = view.record(id).map_err(|_untold| {
                let advice = "the version does not exist: publish it, or correct the number";
                Error::new(not_available(id, region).with_advice(advice))
            })?;
            let now = view.inner().log_time();
            if let Some(end) = state.consumption_end(record).filter(|end| *end <= now) {
                let advice = format!("it was deleted, and could be deployed until {end}: restore it");
                return Err(Error::new(not_available(id, region).with_advice(advice)));
            }
            if view.inner().refuses_after_end_of_life
                && let Some((of, date)) = end_of_life(state, record).filter(|(_, date)| *date <= now)
            {
                let advice =
                    format!("its end of life, of the {of}, was {date}: deploy a later version, or set a later date");
                return Err(Error::new(not_available(id, region).with_advice(advice)));
            }
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
        let fix = match id {
            ResourceId::ImageVersion(id)
                if view.record(id)?.version.publishing_profile().target_regions().find(region).is_some() =>
            {
                ": it is not replicated into this one, as `Session::replicate` does"
            }
            ResourceId::ImageVersion(_) => ": add the region to its target regions, and replicate it",
            _ => "",
        };
        let advice = format!("it is complete in {complete}{fix}");
        return Err(Error::new(not_available(id, region).with_advice(advice)));
    }
    let account = match id {
        ResourceId::ImageVersion(id) => view.record(id)?.version.publishing_profile().storage_account_type_in(region),
        _ => StorageAccountType::default(),
    };
    Ok(Deployable { content, replicas, account })
}

impl Inner {
    /// Returns the pool of an image in a region, kept for this process.
    pub(crate) fn pool(&self, image: &ResourceId, region: &Region, place: &Deployable) -> Pool {
        let new = || match image {
            ResourceId::ManagedImage(_) => Pool::of_managed_image(&self.placement_policy, &self.limits, place.account),
            _ => Pool::new(&self.placement_policy, &self.limits, place.account),
        };
        let pool = self.pools.of(&self.catalog.snapshot(), image, region, new);
        // The number of replicas may have changed.
        pool.resize(place.replicas);
        pool
    }
}
