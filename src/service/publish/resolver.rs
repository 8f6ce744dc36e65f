//! Sources that the host resolves: their facts and disks.

use super::source::{Facts, LocalDisks};
use crate::error::Result;
use crate::model::{SourceDisk, VersionSource};
use crate::service::session::sources::{ResolvedSource, SourceName, SourceResolver};

fn parted(source: ResolvedSource, id: String) -> (Facts, LocalDisks) {
    let ResolvedSource { location, os_type, os_state, hyper_v_generation, architecture, purchase_plan, .. } = source;
    let facts = Facts { id, location, os_type, os_state, hyper_v_generation, architecture, purchase_plan };
    (facts, LocalDisks { os_disk: source.disk, data_disks: source.data_disks })
}

/// Resolves a source, and each disk of a list by itself: those that are `stored`, by their LUN, are not asked for. Returns `None` if one is
/// not known.
pub(super) async fn resolve(
    resolver: &dyn SourceResolver,
    name: &VersionSource,
    mut stored: Vec<(Option<u32>, ResolvedSource)>,
) -> Result<Option<(Facts, LocalDisks)>> {
    let VersionSource::Disks(disks) = name else {
        let whole = resolver.resolve(SourceName::Whole(name)).await?;
        return Ok(whole.map(|source| parted(source, name.to_string())));
    };
    let mut resolved = async |lun: Option<u32>, disk: &SourceDisk| match stored.iter().position(|(of, _)| *of == lun) {
        Some(at) => Ok(Some(stored.swap_remove(at).1)),
        None => resolver.resolve(SourceName::Disk(disk.reference())).await,
    };
    let Some(os_disk) = resolved(None, disks.os_disk()).await? else { return Ok(None) };
    let (facts, mut all) = parted(os_disk, disks.os_disk().reference().to_string());
    for (lun, disk) in disks.data_disks() {
        let Some(source) = resolved(Some(*lun), disk).await? else { return Ok(None) };
        all = all.with_data_disk(*lun, source.disk);
    }
    Ok(Some((facts, all)))
}
