//! Deleting what has passed the end of its life.

use chrono::TimeDelta;

use super::delete::Judge;
use super::pending::Change;
use crate::access::Action;
use crate::catalog::{Extent, OperationKind, State};
use crate::model::{ImageDefinition, ImageDefinitionId, ResourceId};
use crate::service::session::inner::Inner;
use crate::service::session::plan::Plan;
use crate::service::session::rights::Need;
use crate::service::session::session::Session;

/// The most versions and definitions that one commit deletes; the next deletes more.
const AT_ONCE: usize = 1_000;

/// # End of life
impl Session {
    /// Deletes the versions whose end of life, or that of their definition, has passed for longer than `grace`, and definitions that have
    /// passed it and are empty; returns what was deleted. [`plan`](Change::plan) it first: that is the dry run.
    ///
    /// Whether a date has passed, the log's time decides, and no machine's clock. A gallery's soft-delete policy holds, so a version can be restored for
    /// as long as it says, and its definition stays until then. What the caller may not delete, and what is protected, stays. At most 1,000 are deleted
    /// at once. A [driver](crate::drive::Driver::delete_after_end_of_life) does it by itself.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `StorageFull`, `Unknown`.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use chrono::TimeDelta;
    /// use compute_gallery::host::Clock;
    /// use std::time::Duration;
    ///
    /// sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// let definition = session.view().image_definition(sandbox.image())?;
    /// let date = sandbox.clock().now() + TimeDelta::days(1);
    /// session.update_image_definition((*definition).clone().with_end_of_life_date(date)).await?;
    /// assert!(session.delete_after_end_of_life(TimeDelta::zero()).plan().await?.deletes.is_empty());
    ///
    /// sandbox.clock().advance(Duration::from_secs(3 * 24 * 3600));
    /// session.create_gallery(compute_gallery::model::Gallery::new(
    ///     "/subscriptions/dev/resourceGroups/g/providers/Microsoft.Compute/galleries/Other".parse()?,
    ///     "westeurope".parse()?,
    /// )).await?;
    /// assert!(session.delete_after_end_of_life(TimeDelta::days(7)).plan().await?.deletes.is_empty());
    /// let deleted = session.delete_after_end_of_life(TimeDelta::days(1)).await?;
    /// assert_eq!(deleted, [sandbox.version("1.0.0").into(), sandbox.image().into()]);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn delete_after_end_of_life(&self, grace: TimeDelta) -> Change<Vec<ResourceId>> {
        let session = self.clone();
        let judge = move |state: &State, inner: &Inner| session.expired(state, inner, grace);
        // It needs no right but those to delete each.
        Change::new(self, Vec::new(), judge, |plan| plan.deletes).of_kind(OperationKind::Delete)
    }

    fn expired(&self, state: &State, inner: &Inner, grace: TimeDelta) -> Plan {
        let (rights, now) = (self.rights(), inner.log_time());
        let judge = Judge::new(state, inner, Extent::default(), rights.clone());
        let mut all = Plan::default();
        let may = |action: Action, id: ResourceId| rights.require(state, &[Need::new(action, id)]).is_ok();
        for definition in state.galleries(None).flat_map(|gallery| state.definitions(gallery.id(), None)) {
            let definition: &ImageDefinition = definition;
            let of_definition = definition.end_of_life_date();
            let passed = |date: Option<chrono::DateTime<chrono::Utc>>| {
                date.and_then(|date| date.checked_add_signed(grace)).is_some_and(|date| date <= now)
            };
            let mut stays = false;
            for record in state.versions(definition.id(), None).filter(|record| !state.is_gone(record, now)) {
                let id: ResourceId = record.version.id().into();
                let is_over = passed(of_definition) || passed(record.version.publishing_profile().end_of_life_date());
                let room = all.deletes.len() < AT_ONCE;
                let open = record.soft_deleted.is_none() && is_over && room && may(Action::DeleteVersion, id.clone());
                let plan = open.then(|| judge.delete(&id)).filter(Plan::is_possible);
                // One that can be restored holds its definition.
                stays |= plan.as_ref().is_none_or(|_| keeps_deleted(state, definition.id()));
                if let Some(plan) = plan {
                    all.events.extend(plan.events);
                    all.deletes.extend(plan.deletes);
                }
            }
            stays |= state.incomplete_of(definition.id(), None).next().is_some();
            let id: ResourceId = definition.id().into();
            if !stays && passed(of_definition) && all.deletes.len() < AT_ONCE && may(Action::DeleteImage, id.clone()) {
                all.events.push(crate::catalog::Event::ImageDefinitionDeleted { definition: definition.id().clone() });
                all.deletes.push(id);
            }
        }
        all
    }
}

/// Whether the versions of a definition can be restored after they are deleted.
fn keeps_deleted(state: &State, definition: &ImageDefinitionId) -> bool {
    state.gallery(definition.gallery()).is_some_and(|gallery| gallery.soft_delete_policy().is_enabled())
}
