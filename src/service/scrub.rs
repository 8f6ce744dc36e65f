//! Scrubbing: reading everything that a region keeps, and mending what is damaged.

use std::collections::{BTreeMap, BTreeSet};
use std::future::IntoFuture;
use std::time::Duration;

use futures::future::BoxFuture;

use super::session::Session;
use crate::catalog::State;
use crate::error::Result;
use crate::image::manifest::Manifest;
use crate::image::pack::PackInfo;
use crate::image::{Digest, Slot};
use crate::model::{Region, ResourceId};

/// A scrub to be made: await it.
#[must_use = "nothing is read before it is awaited"]
#[derive(Debug)]
pub struct Scrubbing {
    session: Session,
    region: Region,
    bytes_per_second: Option<u64>,
}

/// What a scrub found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScrubReport {
    /// Bytes that were read and found good.
    pub verified_bytes: u64,
    /// Packs and manifests that were damaged or missing and are good again.
    pub mended: usize,
    /// Packs and manifests that could not be mended, because no good one is left or the store refused.
    pub damaged: usize,
    /// What needs those: it can't be deployed from everywhere, or from anywhere.
    pub damaged_versions: Vec<ResourceId>,
}

impl Session {
    /// Reads everything that a region keeps, checks it against its hashes, and mends what is damaged or missing from
    /// another replica of the region, or from another region.
    ///
    /// # Errors
    ///
    /// `Forbidden` for anybody but an administrator; `Unavailable`, `Corrupt` where the catalog can't be read.
    pub fn scrub(&self, region: &Region) -> Scrubbing {
        Scrubbing { session: self.clone(), region: region.clone(), bytes_per_second: None }
    }
}

impl Scrubbing {
    /// Reads no more than so many bytes a second, by the service's clock, so that deployments do not suffer. As fast as it
    /// can, where nothing is said.
    pub fn bytes_per_second(mut self, rate: u64) -> Self {
        self.bytes_per_second = Some(rate.max(1));
        self
    }

    async fn run(self) -> Result<ScrubReport> {
        self.session.require_administrator("scrub")?;
        let state = self.session.state().await?;
        let (mut report, mut hit) = (ScrubReport::default(), BTreeSet::new());
        let mut done = BTreeMap::new();
        for kept in kept_in(&state, &self.region) {
            let slots = self.slots(&kept)?;
            let Some(manifest) = self.manifest(&kept, &slots, &mut report).await? else {
                hit.insert(kept.id.clone());
                continue;
            };
            for slot in 0..kept.replicas {
                for pack in &manifest.packs {
                    let good = match done.get(&(slot, pack.id)) {
                        Some(good) => *good,
                        None => {
                            let good = self.pack(slot as usize, &slots, pack, &mut report).await;
                            done.insert((slot, pack.id), good);
                            good
                        }
                    };
                    if !good {
                        hit.insert(kept.id.clone());
                    }
                }
            }
        }
        report.damaged_versions = hit.into_iter().collect();
        Ok(report)
    }

    /// The slots of the region that must have it, then those of other regions that may help.
    fn slots(&self, kept: &Kept) -> Result<Vec<Slot>> {
        let regions = &self.session.parts.regions;
        let mut slots = regions.slots(&self.region, kept.replicas)?;
        slots.extend(kept.elsewhere.iter().filter_map(|region| regions.slot(region, 0).ok()));
        Ok(slots)
    }

    /// The manifest, in all slots of the region that must have it; `None` where there is no good one anywhere.
    async fn manifest(&self, kept: &Kept, slots: &[Slot], report: &mut ScrubReport) -> Result<Option<Manifest>> {
        let mut read = Vec::new();
        for slot in slots {
            read.push(slot.read_manifest(&kept.manifest).await.ok());
        }
        let good = read.iter().flatten().next().cloned();
        for (slot, _) in slots.iter().zip(&read).take(kept.replicas as usize).filter(|(_, read)| read.is_none()) {
            let mended = match &good {
                Some(manifest) => slot.replace_manifest(&kept.manifest, manifest.encode()?.1).await.is_ok(),
                None => false,
            };
            report.count(mended);
        }
        Ok(good)
    }

    /// Reads one pack, and mends it from another slot if it must; whether it is good then.
    async fn pack(&self, at: usize, slots: &[Slot], pack: &PackInfo, report: &mut ScrubReport) -> bool {
        let (parts, Some(slot)) = (&self.session.parts, slots.get(at)) else { return false };
        if let Some(rate) = self.bytes_per_second {
            parts.clock.sleep(Duration::from_secs_f64(pack.length as f64 / rate as f64)).await;
        }
        if slot.verified_pack(pack, &parts.workers).await.is_ok() {
            report.verified_bytes += pack.length;
            return true;
        }
        for (_, other) in slots.iter().enumerate().filter(|(number, _)| *number != at) {
            if let Ok(bytes) = other.verified_pack(pack, &parts.workers).await {
                let mended = slot.replace_pack(pack, bytes).await.is_ok();
                report.count(mended);
                return mended;
            }
        }
        report.count(false);
        false
    }
}

impl ScrubReport {
    fn count(&mut self, mended: bool) {
        match mended {
            true => self.mended += 1,
            false => self.damaged += 1,
        }
    }
}

impl IntoFuture for Scrubbing {
    type Output = Result<ScrubReport>;
    type IntoFuture = BoxFuture<'static, Result<ScrubReport>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// Something that a region keeps whole.
struct Kept {
    id: ResourceId,
    manifest: Digest,
    replicas: u32,
    /// Other regions that have it.
    elsewhere: Vec<Region>,
}

fn kept_in(state: &State, region: &Region) -> Vec<Kept> {
    let mut kept = Vec::new();
    for record in state.all_versions() {
        let replicas = record.replicas_ready(region);
        // A version's home has it whole from the moment that it is published.
        let replicas = if record.version.location() == region { replicas.max(1) } else { replicas };
        if replicas > 0 {
            let home = record.version.location();
            let regions = record.ready_regions().chain([home]).filter(|other| *other != region);
            let elsewhere = regions.cloned().collect::<BTreeSet<_>>().into_iter().collect();
            let (id, manifest) = (record.version.id().into(), record.content.manifest);
            kept.push(Kept { id, manifest, replicas, elsewhere });
        }
    }
    let one = |id, manifest| Kept { id, manifest, replicas: 1, elsewhere: Vec::new() };
    let images = state.managed_images(None).filter(|record| record.resource.location() == region);
    kept.extend(images.map(|record| one(record.resource.id().into(), record.content.manifest)));
    let snapshots = state.snapshots(None).filter(|record| record.resource.location() == region);
    kept.extend(snapshots.map(|record| one(record.resource.id().into(), record.content.manifest)));
    kept
}
