//! Scrubbing: reading everything that a region keeps, and mending what is damaged.

use std::collections::{BTreeMap, BTreeSet};
use std::future::IntoFuture;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::content::extents::Extents;
use crate::content::manifest::Manifest;
use crate::content::names::{ManifestId, PackId};
use crate::content::pack::PackInfo;
use crate::error::{Error, Result};
use crate::model::{Region, ResourceId, StorageAccountType};
use crate::progress::{OnProgress, Progress};
use crate::regions::needed::{Kept, kept_in};
use crate::replica::holders::{Holders, is_damage};
use crate::replica::mending::{MendOutcome, Mending};
use crate::replica::needs::{Needs, needs};
use crate::replica::slot::Slot;
use crate::service::session::plan::{Plan, RegionPlan};
use crate::service::session::session::Session;

/// A scrub to be made: await it.
#[must_use = "nothing is read before it is awaited"]
pub struct Scrub {
    session: Session,
    region: Region,
    bytes_per_second: Option<u64>,
    on_progress: OnProgress,
}

impl std::fmt::Debug for Scrub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Scrub({})", self.region)
    }
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
    /// Reads everything that a region keeps, in all its replicas and zones, checks it against its hashes, and mends what is
    /// damaged or missing from another replica or zone of the region, or from another region. So a zone or disk that was
    /// lost and is there again, empty, is filled again.
    ///
    /// # Errors
    ///
    /// `Forbidden` for anybody but an administrator; `Invalid` for a rate of 0; `Unavailable`, `Corrupt` where the catalog
    /// can't be read.
    pub fn scrub(&self, region: &Region) -> Scrub {
        let on_progress = Box::new(|_| {});
        Scrub { session: self.clone(), region: region.clone(), bytes_per_second: None, on_progress }
    }
}

impl Scrub {
    /// Reads at most so many bytes a second, by the service's clock, so that deployments do not suffer; without it, as many
    /// as the stores give. A rate of 0 is refused.
    pub fn bytes_per_second(mut self, rate: u64) -> Self {
        self.bytes_per_second = Some(rate);
        self
    }

    /// Is told how much has been read, after each pack.
    pub fn on_progress(mut self, on_progress: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.on_progress = Box::new(on_progress);
        self
    }

    /// Returns what it would read, at most: everything that the region keeps, by the catalog. It reads no store.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt` where the catalog cannot be read. A missing right or a rate of 0 is in the plan.
    pub async fn plan(&self) -> Result<Plan> {
        if let Err(refused) = self.allowed() {
            return Ok(Plan::refused(refused.into_problems()));
        }
        let state = self.session.state().await?;
        let kept = kept_in(&self.session.inner.regions, &state, &self.region);
        let read = |one: &Kept| one.stored_bytes * u64::from(one.ready) * one.zones as u64;
        let bytes = kept.iter().map(read).sum();
        let replicas = kept.iter().map(|one| one.ready).max().unwrap_or(0);
        let region = RegionPlan::read(&self.region, StorageAccountType::default(), replicas, bytes);
        Ok(Plan { regions: vec![region], ..Plan::default() })
    }

    fn allowed(&self) -> Result<()> {
        self.session.require_administrator("scrub")?;
        if self.bytes_per_second == Some(0) {
            let what = "`0` bytes a second would never end: allow at least 1, or scrub when there is time";
            return Err(Error::invalid("bytes_per_second", what));
        }
        Ok(())
    }

    async fn run(self) -> Result<ScrubReport> {
        self.allowed()?;
        // What was read before the mounts were changed says nothing of now.
        self.session.inner.regions.recheck(&self.region);
        let state = self.session.state().await?;
        let (mut report, mut hit) = (ScrubReport::default(), BTreeSet::new());
        let mut round = Round::default();
        let kept = kept_in(&self.session.inner.regions, &state, &self.region);
        for (number, one) in kept.iter().enumerate() {
            let here = self.session.inner.regions.replicas(&state, &self.region, one.ready, one.account)?;
            let here: Vec<Slot> = here.into_iter().flatten().collect();
            let away = one.holders.iter().filter(|slot| !here.iter().any(|one| one.label() == slot.label()));
            let all: Vec<Slot> = here.iter().chain(away).cloned().collect();
            let Some(manifest) = manifest(&one.manifest, &all, here.len(), &mut report).await? else {
                hit.insert(one.id.clone());
                continue;
            };
            // Without a good index all of every pack is asked for, which tells what is damaged.
            let needed = match needs(&manifest, &Holders::new(all.clone())).await {
                Err(error) if is_damage(&error) => everything(&manifest),
                needed => needed?,
            };
            if one.replicas > one.ready {
                // What is not replicated is not missing; but what is there of it must not go.
                let more = self.session.inner.regions.replicas(&state, &self.region, one.replicas, one.account)?;
                round.may_need(&manifest, &needed, more.iter().flatten());
            }
            for pack in &manifest.packs {
                if let Some(need) = needed.get(&pack.id) {
                    round.add(pack, number, need, &here, &all);
                }
            }
        }
        let needed = |pack: &Pack| pack.needed.values().map(|(_, need)| need.bytes()).sum::<u64>();
        let total = round.packs.values().map(needed).sum();
        let mut done = 0;
        for pack in round.packs.values() {
            for (place, (slot, need)) in &pack.needed {
                if let Some(rate) = self.bytes_per_second {
                    let takes = Duration::from_secs_f64(need.bytes() as f64 / rate as f64);
                    self.session.inner.clock.sleep(takes).await;
                }
                let others = pack.holders.iter().filter(|(other, _)| *other != *place).map(|(_, slot)| slot.clone());
                let others = Holders::new(others.collect());
                let all_needs = pack.may_need.get(place).map_or_else(|| need.clone(), |more| need.union(more));
                let (info, workers) = (&pack.info, &self.session.inner.workers);
                let mending = Mending { slot, others: &others, info, need, all_needs: Some(&all_needs), workers };
                match mending.run().await {
                    MendOutcome::Good(bytes) => report.verified_bytes += bytes,
                    MendOutcome::Mended => report.count(true),
                    MendOutcome::Lost => {
                        report.count(false);
                        hit.extend(pack.of.iter().filter_map(|number| kept.get(*number)).map(|kept| kept.id.clone()));
                    }
                }
                done += need.bytes();
                (self.on_progress)(Progress { done, total });
            }
        }
        report.damaged_versions = hit.into_iter().collect();
        Ok(report)
    }
}

/// The manifest, in all of the first `here` slots, which must have it; `None` where there is no good one anywhere.
async fn manifest(id: &ManifestId, slots: &[Slot], here: usize, report: &mut ScrubReport) -> Result<Option<Manifest>> {
    let mut read = Vec::new();
    for slot in slots {
        read.push(slot.read_manifest(id).await.ok());
    }
    let good = read.iter().flatten().next().cloned();
    for (slot, _) in slots.iter().zip(&read).take(here).filter(|(_, read)| read.is_none()) {
        let mended = match &good {
            Some(manifest) => slot.replace_manifest(id, manifest.encode()?.1).await.is_ok(),
            None => false,
        };
        report.count(mended);
    }
    Ok(good)
}

/// All of every pack.
fn everything(manifest: &Manifest) -> Needs {
    let all = |pack: &PackInfo| (pack.id, std::iter::once(pack.record_range()).collect());
    manifest.packs.iter().map(all).collect()
}

/// Everything to look at.
#[derive(Default)]
struct Round {
    packs: BTreeMap<PackId, Pack>,
}

struct Pack {
    info: PackInfo,
    /// Slots of the region that need it, by what errors call them, and what each needs of it.
    needed: BTreeMap<String, (Slot, Extents)>,
    /// What versions may need of it that are not replicated yet.
    may_need: BTreeMap<String, Extents>,
    /// Every slot that must have it, of any region, those of this one first.
    holders: Vec<(String, Slot)>,
    /// What is made of it.
    of: BTreeSet<usize>,
}

impl Pack {
    fn new(info: &PackInfo) -> Self {
        let (needed, may_need, holders, of) = Default::default();
        Self { info: *info, needed, may_need, holders, of }
    }
}

impl Round {
    fn may_need<'s>(&mut self, manifest: &Manifest, needs: &Needs, slots: impl Iterator<Item = &'s Slot> + Clone) {
        for info in &manifest.packs {
            let Some(need) = needs.get(&info.id) else { continue };
            let pack = self.packs.entry(info.id).or_insert_with(|| Pack::new(info));
            for slot in slots.clone() {
                let more = pack.may_need.entry(slot.label().to_owned()).or_default();
                *more = more.union(need);
            }
        }
    }

    fn add(&mut self, info: &PackInfo, of: usize, need: &Extents, here: &[Slot], all: &[Slot]) {
        let pack = self.packs.entry(info.id).or_insert_with(|| Pack::new(info));
        pack.of.insert(of);
        for slot in here {
            let new = || (slot.clone(), Extents::default());
            let (_, needed) = pack.needed.entry(slot.label().to_owned()).or_insert_with(new);
            *needed = needed.union(need);
        }
        for slot in all {
            if !pack.holders.iter().any(|(place, _)| place == slot.label()) {
                pack.holders.push((slot.label().to_owned(), slot.clone()));
            }
        }
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

impl IntoFuture for Scrub {
    type Output = Result<ScrubReport>;
    type IntoFuture = BoxFuture<'static, Result<ScrubReport>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
