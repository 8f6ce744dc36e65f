//! Carrying out a plan: fetch, verify, put, copy, several packs at once, one region's failure kept to itself.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::BoxFuture;
use futures::stream::{self, StreamExt};

use super::plan::{Origin, Present, Step, plan};
use crate::error::{Error, Result};
use crate::host::Workers;
use crate::image::manifest::Manifest;
use crate::image::pack::PackInfo;
use crate::image::{Digest, Slot, UploadId};
use crate::model::Region;

/// Packs on their way at a time, over all regions: each is up to 16 MiB in memory.
const PACKS_IN_FLIGHT: usize = 4;

/// A region to complete.
#[derive(Debug)]
pub(crate) struct RegionRun {
    pub(crate) region: Region,
    /// Its slots; all are to hold the version.
    pub(crate) slots: Vec<Slot>,
    present: Present,
}

/// What was moved for a region.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moved {
    /// Over its border.
    pub(crate) cross_region_bytes: u64,
    /// Between its slots.
    pub(crate) local_bytes: u64,
    /// In all its slots now.
    pub(crate) present_bytes: u64,
}

impl Moved {
    fn add(&mut self, more: &Self) {
        self.cross_region_bytes += more.cross_region_bytes;
        self.local_bytes += more.local_bytes;
        self.present_bytes += more.present_bytes;
    }
}

/// A region's share of a run.
struct Job {
    /// Steps that are not over.
    missing: usize,
    moved: Moved,
    outcome: Result<()>,
}

/// Looks at what a region's slots have of the manifest's packs.
pub(crate) async fn look(region: Region, slots: Vec<Slot>, manifest: &Manifest) -> Result<RegionRun> {
    let mut present = Vec::with_capacity(slots.len());
    for slot in &slots {
        let there = slot.packs_of(uploads(manifest)).await?;
        // A blob of another length is not the pack; it is found damaged when it is read.
        let whole = |pack: &&PackInfo| there.get(&pack.id) == Some(&pack.length);
        present.push(manifest.packs.iter().filter(whole).map(|pack| pack.id).collect());
    }
    Ok(RegionRun { region, slots, present })
}

impl RegionRun {
    /// The bytes that are to cross the region's border, and those that are missing over all slots.
    pub(crate) fn missing_bytes(&self, manifest: &Manifest) -> (u64, u64) {
        let (mut crossing, mut missing) = (0, 0);
        for pack in &manifest.packs {
            let lacking = self.present.iter().filter(|slot| !slot.contains(&pack.id)).count();
            missing += pack.length * lacking as u64;
            crossing += if lacking == self.present.len() { pack.length } else { 0 };
        }
        (crossing, missing)
    }

    /// The bytes of the manifest's packs that are here, over all slots.
    pub(crate) fn present_bytes(&self, manifest: &Manifest) -> u64 {
        let of_slot = |slot: &BTreeSet<_>| -> u64 {
            manifest.packs.iter().filter(|pack| slot.contains(&pack.id)).map(|pack| pack.length).sum()
        };
        self.present.iter().map(of_slot).sum()
    }
}

fn uploads(manifest: &Manifest) -> BTreeSet<UploadId> {
    manifest.packs.iter().map(|pack| pack.id.upload).collect()
}

/// The engine for one version.
#[derive(Debug)]
pub(crate) struct Engine<'a> {
    pub(crate) manifest: &'a Manifest,
    pub(crate) digest: Digest,
    /// A slot that has everything.
    pub(crate) source: &'a Slot,
    pub(crate) workers: &'a Workers,
}

impl Engine<'_> {
    /// Brings to every region what it lacks, and tells after each pack what has been moved for its region. `finish` is
    /// called for a region, by its place in the list, as soon as it has everything, durably; others may still be under
    /// way. A region that fails gets no more packs and does not stop the others.
    pub(crate) async fn run<'f>(
        &self,
        regions: &[RegionRun],
        on_moved: &(dyn Fn(usize, &Moved) + Sync),
        finish: &(dyn Fn(usize, &Moved) -> BoxFuture<'f, Result<()>> + Sync),
    ) -> Vec<(Moved, Result<()>)> {
        let present: Vec<Present> = regions.iter().map(|region| region.present.clone()).collect();
        let steps = plan(&self.manifest.packs, &present);
        let mut jobs: Vec<Job> = (0..)
            .zip(regions)
            .map(|(place, region)| Job {
                missing: steps.iter().filter(|step| step.region == place).count(),
                moved: Moved { present_bytes: region.present_bytes(self.manifest), ..Moved::default() },
                outcome: Ok(()),
            })
            .collect();
        for (place, job) in jobs.iter_mut().enumerate().filter(|(_, job)| job.missing == 0) {
            job.outcome = self.complete(regions, place, &job.moved, finish).await;
        }
        let failed: Vec<AtomicBool> = regions.iter().map(|_| AtomicBool::new(false)).collect();
        let has_failed = |place: usize| failed.get(place).is_none_or(|failed| failed.load(Ordering::Relaxed));
        let running = stream::iter(steps).map(|step: Step| {
            let (region, skip) = (regions.get(step.region).filter(|_| !has_failed(step.region)), step.region);
            async move {
                match region {
                    Some(region) => (step.region, self.take(region, &step).await),
                    None => (skip, Ok(Moved::default())),
                }
            }
        });
        let mut running = std::pin::pin!(running.buffer_unordered(PACKS_IN_FLIGHT));
        while let Some((place, moved)) = running.next().await {
            let Some(job) = jobs.get_mut(place) else { continue };
            job.missing -= 1;
            match moved {
                Ok(moved) => job.moved.add(&moved),
                Err(error) => {
                    failed.get(place).into_iter().for_each(|failed| failed.store(true, Ordering::Relaxed));
                    job.outcome = job.outcome.clone().and(Err(error));
                }
            }
            on_moved(place, &job.moved);
            if job.missing == 0 && job.outcome.is_ok() {
                job.outcome = self.complete(regions, place, &job.moved, finish).await;
            }
        }
        jobs.into_iter().map(|job| (job.moved, job.outcome)).collect()
    }

    async fn take(&self, region: &RegionRun, step: &Step) -> Result<Moved> {
        let (mut moved, mut to) = (Moved::default(), step.to.as_slice());
        let from = match step.from {
            Origin::Slot(slot) => Some(slot),
            Origin::OtherRegion => {
                let bytes = self.source.read_pack(&step.pack).await?;
                let (pack, copy) = (step.pack, bytes.clone());
                let verified = self.workers.run(move || pack.verify(&copy)).await;
                verified.map_err(|error| {
                    Error::corrupt(self.source.place(), "a pack cannot be sent on").with_source(error)
                })?;
                let first = to.split_off_first().copied();
                if let Some(slot) = first.and_then(|slot| region.slots.get(slot as usize)) {
                    let sent = slot.put_pack(&step.pack, bytes).await?;
                    moved.cross_region_bytes += if sent { step.pack.length } else { 0 };
                    moved.present_bytes += step.pack.length;
                }
                first
            }
        };
        let from = from.and_then(|slot| region.slots.get(slot as usize));
        for slot in to.iter().filter_map(|slot| region.slots.get(*slot as usize)) {
            if let Some(from) = from
                && slot.copy_pack(from, &step.pack).await?
            {
                moved.local_bytes += step.pack.length;
            }
            moved.present_bytes += step.pack.length;
        }
        Ok(moved)
    }

    async fn complete<'f>(
        &self,
        regions: &[RegionRun],
        place: usize,
        moved: &Moved,
        finish: &(dyn Fn(usize, &Moved) -> BoxFuture<'f, Result<()>> + Sync),
    ) -> Result<()> {
        for slot in regions.get(place).iter().flat_map(|region| &region.slots) {
            if !slot.has_manifest(&self.digest).await? {
                slot.put_manifest(&self.digest, self.manifest.encode()?.1).await?;
            }
            // ORDER: what an earlier run has put here is durable before a commit says that it is here.
            slot.persist(uploads(self.manifest)).await?;
        }
        finish(place, moved).await
    }
}
