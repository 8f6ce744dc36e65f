//! What reaches the end of its life.

use chrono::{DateTime, Utc};

use super::view::{CatalogView, ListScope};
use crate::access::Action;
use crate::catalog::{State, VersionRecord};
use crate::model::ResourceId;

/// A definition or version with the end of its life.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndOfLife {
    /// The definition or version.
    pub resource: ResourceId,
    /// The date that it has itself.
    pub date: DateTime<Utc>,
    /// Whether the date has surely passed, by the time of the log.
    pub has_passed: bool,
}

/// Returns the earlier of the dates of a version and its definition, and whose it is.
pub(crate) fn end_of_life(state: &State, record: &VersionRecord) -> Option<(&'static str, DateTime<Utc>)> {
    let definition = state.definition(record.version.id().definition());
    let of_definition = definition.and_then(|definition| definition.end_of_life_date());
    let of_version = record.version.publishing_profile().end_of_life_date();
    let dates = of_version.map(|date| ("version", date)).into_iter();
    dates.chain(of_definition.map(|date| ("definition", date))).min_by_key(|(_, date)| *date)
}

/// # End of life
impl CatalogView {
    /// Returns the definitions and versions of a scope whose end of life is before `before`, by date: a warning, if that is some weeks
    /// away. Those that the caller may read, without deleted versions.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use chrono::{TimeDelta, Utc};
    /// use compute_gallery::host::Clock;
    /// use compute_gallery::read::ListScope;
    ///
    /// let definition = session.view().image_definition(sandbox.image())?;
    /// let date = sandbox.clock().now() + TimeDelta::days(20);
    /// session.update_image_definition((*definition).clone().with_end_of_life_date(date)).await?;
    /// let ends = |days| session.view().ends_of_life(&ListScope::All, sandbox.clock().now() + TimeDelta::days(days));
    /// assert!(ends(10).is_empty());
    /// assert_eq!((&ends(30)[0].resource, ends(30)[0].has_passed), (&sandbox.image().into(), false));
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn ends_of_life(&self, scope: &ListScope, before: DateTime<Utc>) -> Vec<EndOfLife> {
        let (state, now) = (self.state(), self.inner().log_time());
        let mut ends = Vec::new();
        let mut add = |resource: ResourceId, date: Option<DateTime<Utc>>| {
            let date = date.filter(|date| *date < before);
            ends.extend(date.map(|date| EndOfLife { resource, date, has_passed: date <= now }));
        };
        let inside = |gallery: &&std::sync::Arc<crate::model::Gallery>| {
            scope.holds(gallery.id().subscription(), gallery.id().resource_group())
        };
        for gallery in state.galleries(None).filter(inside) {
            for definition in state.definitions(gallery.id(), None) {
                if self.may(Action::ReadImage, definition.id()) {
                    add(definition.id().into(), definition.end_of_life_date());
                }
                let there = state.versions(definition.id(), None).filter(|record| record.soft_deleted.is_none());
                for record in there.filter(|record| self.may(Action::ReadVersion, record.version.id())) {
                    add(record.version.id().into(), record.version.publishing_profile().end_of_life_date());
                }
            }
        }
        ends.sort_by(|one, other| (one.date, &one.resource).cmp(&(other.date, &other.resource)));
        ends
    }
}
