//! The end of boot sets: a slot keeps that of a disk as long as it must have the disk.
//!
//! They are advice, so none is condemned before it is removed.

use super::freeing::{Freed, Freeing};
use crate::catalog::State;
use crate::error::Result;
use crate::host::in_flight::together;
use crate::regions::garbage::Survey;

impl Freeing<'_> {
    /// Removes the listed boot sets of disks that `state` does not need.
    pub(super) async fn remove_boot_sets(&self, survey: &Survey, state: &State, freed: &mut Freed<'_>) -> Result<()> {
        let unneeded = survey.unneeded_boot_sets(state);
        let removing = unneeded.iter().filter_map(|(slot, manifest, bytes)| {
            let slot = survey.slot(*slot)?;
            Some(async move { (*bytes, slot.delete_boot_set(manifest).await) })
        });
        let mut first = Ok(());
        for (bytes, removed) in together(removing.collect()).await {
            if let Err(error) = removed {
                first = first.and(Err(error));
                continue;
            }
            freed.report.add_boot_set(survey.region(), bytes);
            (self.on_progress)(freed.change(|progress| {
                progress.total += bytes;
                progress.done += bytes;
            }));
        }
        first
    }
}
