//! Collection: freeing the bytes that nothing needs any more.
//!
//! Announce, condemn, remove. Packs are listed before the state is read, so that whoever put one has announced it in that
//! state. What the state does not need is condemned by a commit that looks again; from there on no replication may rely on
//! it, and none does that looked before. Then it is removed, and a last commit says so. Publishing never relies on what
//! is condemned: its packs have names of their own, and those that it reuses belong to something that must still exist.
//!
//! Of a pack that is mostly dead, what is still needed is written as a part first; then all else of it is garbage.

use std::collections::{BTreeMap, BTreeSet};
use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use futures::future::BoxFuture;

use super::regions::SlotId;
use super::session::Session;
use crate::catalog::{Changes, Event, PackName, State};
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::image::extents::Extents;
use crate::image::pack::{PackId, PackInfo};
use crate::image::part::PartId;
use crate::image::reach::{Needs, Reach};
use crate::image::replicas::Replicas;
use crate::image::{Cargo, Digest, Holding, Request, Slot};
use crate::model::{Region, StorageAccountType};

/// So many packs at most are condemned by one commit.
const PACKS_AT_A_TIME: usize = 4096;

/// Whoever has condemned something is given so long to remove it; then another may.
const GRACE: TimeDelta = TimeDelta::minutes(10);

/// A pack is rewritten where less than this much of what a slot has of it is needed.
const LIVE_PERCENT: u64 = 50;

/// A collection that loses its race this often in a row gives the region up for this time.
const ATTEMPTS: usize = 5;

/// A collection to be made: await it, or [`plan`](Self::plan) it first.
#[must_use = "nothing is freed before it is awaited"]
#[derive(Debug)]
pub struct Collecting {
    session: Session,
    abandon_after: TimeDelta,
}

/// What a collection freed, or would.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CollectionReport {
    /// Imports that nobody took up again.
    pub abandoned_uploads: usize,
    /// Soft-deleted versions whose retention is over.
    pub purged_versions: usize,
    /// Each region that has something to free.
    pub regions: Vec<RegionCollection>,
}

/// What a collection freed in one region, or would.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegionCollection {
    /// The region.
    pub region: Region,
    /// How many packs and manifests, over all replicas.
    pub blobs: usize,
    /// Their bytes.
    pub bytes: u64,
    /// How many packs were mostly dead: what is needed of them was written anew.
    pub rewritten_packs: usize,
    /// The bytes that this took.
    pub rewritten_bytes: u64,
}

impl CollectionReport {
    /// All bytes together, less those that were written anew.
    pub fn bytes(&self) -> u64 {
        self.regions.iter().map(|region| region.bytes.saturating_sub(region.rewritten_bytes)).sum()
    }
}

impl Session {
    /// Frees the bytes of everything that was deleted, of regions and replicas that were taken away, and of imports that
    /// nobody took up again. Safe beside publishing, replicating and deploying, in this process and in others; a deployment
    /// of a version that is deleted meanwhile may end with an error.
    ///
    /// # Errors
    ///
    /// `Forbidden` for anybody but an administrator; `Unavailable`, `Corrupt`, `StorageFull`, `Unknown`. Collecting again
    /// goes on.
    pub fn collect(&self) -> Collecting {
        Collecting { session: self.clone(), abandon_after: TimeDelta::days(7) }
    }
}

impl Collecting {
    /// Gives up imports that began so long ago and are not done. After a week, where nothing is said; one that is still at
    /// work then fails, and is made again.
    pub fn abandon_uploads_after(mut self, age: Duration) -> Self {
        self.abandon_after = TimeDelta::from_std(age).unwrap_or(TimeDelta::MAX);
        self
    }

    /// What it would free.
    ///
    /// # Errors
    ///
    /// As awaiting it.
    pub async fn plan(&self) -> Result<CollectionReport> {
        self.session.require_administrator("collect")?;
        let state = self.session.state().await?;
        let overdue = self.overdue(&state);
        let mut report = CollectionReport::of(&overdue);
        let mut state = State::clone(&state);
        let now = self.session.parts.clock.now();
        overdue.iter().try_for_each(|event| state.apply(event, now))?;
        for region in self.session.parts.regions.all(&state).await? {
            let mut library = Library::new(&self.session);
            let stock = Stock::look(&self.session, &region).await?;
            library.read(&state, &region, &stock).await?;
            report.add(&region, &library.garbage(&state, &region, &stock)?);
            for rewrite in library.mostly_dead(&stock) {
                report.rewritten(&region, rewrite.live.bytes());
                report.change(&region, |there| there.bytes += rewrite.held);
            }
        }
        Ok(report)
    }

    /// What is over and must only be said to be.
    fn overdue(&self, state: &State) -> Vec<Event> {
        let now = self.session.parts.clock.now();
        let gone = state.all_versions().filter(|record| state.is_gone(record, now));
        let purged = gone
            .map(|record| Event::ImageVersionDeleted { version: record.version.id().clone(), restorable_until: None });
        let old = state.uploads().filter(|(_, upload)| now.signed_duration_since(upload.started) >= self.abandon_after);
        purged.chain(old.map(|(upload, _)| Event::UploadAbandoned { upload })).collect()
    }

    async fn run(self) -> Result<CollectionReport> {
        self.session.require_administrator("collect")?;
        let overdue = self.overdue(&*self.session.state().await?);
        let mut report = CollectionReport::of(&overdue);
        if !overdue.is_empty() {
            let (of_caller, abandon_after) = (self.session.clone(), self.abandon_after);
            let check = move |state: &State| {
                let again = Self { session: of_caller.clone(), abandon_after };
                again.session.require_administrator("collect")?;
                Ok(Changes { events: again.overdue(state), authorization: None })
            };
            self.session.parts.catalog.commit(&self.session.caller, check).await?;
        }
        let state = self.session.state().await?;
        for region in self.session.parts.regions.all(&state).await? {
            self.rewrite(&region, &mut report).await?;
            while let Some(freed) = self.region(&region).await? {
                report.add(&region, &freed);
            }
        }
        Ok(report)
    }

    /// Writes what is needed of packs that are mostly dead. What is left of them is garbage from there on.
    async fn rewrite(&self, region: &Region, report: &mut CollectionReport) -> Result<()> {
        let mut library = Library::new(&self.session);
        let stock = Stock::look(&self.session, region).await?;
        library.read(&*self.session.state().await?, region, &stock).await?;
        for rewrite in library.mostly_dead(&stock) {
            let Some(slot) = stock.slots.get(&rewrite.slot).map(|(slot, _)| slot) else { continue };
            let request = Request { pack: rewrite.pack, extents: rewrite.live, whole: false };
            // What can't be read is left to a scrub.
            let Ok((part, bytes)) = slot.extract(&request, &self.session.parts.workers).await else { continue };
            let written = bytes.len() as u64;
            if slot.put_cargo(&Cargo::Part(part), bytes).await? {
                report.rewritten(region, written);
            }
        }
        Ok(())
    }

    /// Frees some of what nothing needs in a region; `None` where there is nothing left.
    async fn region(&self, region: &Region) -> Result<Option<Garbage>> {
        let session = &self.session;
        let mut library = Library::new(session);
        for _ in 0..ATTEMPTS {
            let stock = Stock::look(session, region).await?;
            // ORDER: the state is read after the list, so that it has the announcement of all that is on the list.
            let state = session.state().await?;
            library.read(&state, region, &stock).await?;
            let garbage = library.garbage(&state, region, &stock)?;
            let now = session.parts.clock.now();
            match state.condemned(region) {
                Some(theirs) if now.signed_duration_since(theirs.time) < GRACE => return Ok(None),
                // Whoever condemned it has gone away: what is still garbage of it goes now.
                Some(theirs) => {
                    let left = garbage.only(&theirs.packs, &theirs.manifests);
                    self.remove(region, &stock, &left).await?;
                    return Ok(Some(left));
                }
                None => {}
            }
            let garbage = garbage.first(PACKS_AT_A_TIME);
            if garbage.0.is_empty() {
                return Ok(None);
            }
            let (packs, manifests) = garbage.names();
            let condemned = Event::ContentCondemned { region: region.clone(), packs, manifests };
            let (of_caller, place, wanted, books, there) =
                (self.session.clone(), region.clone(), garbage.clone(), library.clone(), stock.clone());
            let check = move |state: &State| {
                if !of_caller.rights().is_administrator() || state.condemned(&place).is_some() {
                    return Err(lost_race());
                }
                let still = books.garbage(state, &place, &there)?;
                let same = wanted.0.iter().all(|(blob, size)| still.0.get(blob) == Some(size));
                if same {
                    Ok(Changes { events: vec![condemned.clone()], authorization: None })
                } else {
                    Err(lost_race())
                }
            };
            match session.parts.catalog.commit(&session.caller, check).await {
                Ok(_) => {
                    self.remove(region, &stock, &garbage).await?;
                    return Ok(Some(garbage));
                }
                Err(error) if error.code() == LOST_RACE => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Removes what is condemned, and says so.
    async fn remove(&self, region: &Region, stock: &Stock, garbage: &Garbage) -> Result<()> {
        for blob in garbage.0.keys() {
            let Some((slot, _)) = stock.slots.get(&blob.slot) else { continue };
            match blob.what {
                What::Pack(id) => slot.delete_pack(&id).await?,
                What::Part(id) => slot.delete_part(&id).await?,
                What::Manifest(digest) => slot.delete_manifest(&digest).await?,
            }
        }
        let region = region.clone();
        let check = move |state: &State| {
            let there = state.condemned(&region).map(|_| Event::ContentRemoved { region: region.clone() });
            Ok(Changes { events: there.into_iter().collect(), authorization: None })
        };
        self.session.parts.catalog.commit(&self.session.caller, check).await.map(drop)
    }
}

const LOST_RACE: &str = "RetryableError";

fn lost_race() -> Error {
    let what = "the catalog has changed meanwhile: look again";
    Error::new(Problem::new(ErrorKind::Conflict, LOST_RACE, "collect", what))
}

impl IntoFuture for Collecting {
    type Output = Result<CollectionReport>;
    type IntoFuture = BoxFuture<'static, Result<CollectionReport>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl CollectionReport {
    fn of(overdue: &[Event]) -> Self {
        let uploads = overdue.iter().filter(|event| matches!(event, Event::UploadAbandoned { .. })).count();
        Self { abandoned_uploads: uploads, purged_versions: overdue.len() - uploads, regions: Vec::new() }
    }

    fn change(&mut self, region: &Region, change: impl FnOnce(&mut RegionCollection)) {
        if !self.regions.iter().any(|there| there.region == *region) {
            let region = region.clone();
            self.regions.push(RegionCollection { region, blobs: 0, bytes: 0, rewritten_packs: 0, rewritten_bytes: 0 });
        }
        if let Some(there) = self.regions.iter_mut().find(|there| there.region == *region) {
            change(there);
        }
    }

    fn add(&mut self, region: &Region, garbage: &Garbage) {
        if !garbage.0.is_empty() {
            self.change(region, |there| {
                there.blobs += garbage.0.len();
                there.bytes += garbage.0.values().sum::<u64>();
            });
        }
    }

    fn rewritten(&mut self, region: &Region, written: u64) {
        self.change(region, |there| {
            there.rewritten_packs += 1;
            there.rewritten_bytes += written;
        });
    }
}

/// A blob of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Blob {
    slot: SlotId,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Pack(PackId),
    Part(PartId),
    Manifest(Digest),
}

/// Blobs that nothing needs, with their sizes.
#[derive(Clone, Debug, Default)]
struct Garbage(BTreeMap<Blob, u64>);

impl Garbage {
    fn first(self, count: usize) -> Self {
        Self(self.0.into_iter().take(count).collect())
    }

    fn only(self, packs: &BTreeSet<PackName>, manifests: &BTreeSet<Digest>) -> Self {
        let is_in = |blob: &Blob| match &blob.what {
            What::Pack(id) => packs.contains(&PackName(*id)),
            What::Part(id) => packs.contains(&PackName(id.pack)),
            What::Manifest(digest) => manifests.contains(digest),
        };
        Self(self.0.into_iter().filter(|(blob, _)| is_in(blob)).collect())
    }

    fn names(&self) -> (Vec<PackName>, Vec<Digest>) {
        let packs: BTreeSet<PackName> = self.0.keys().filter_map(|blob| blob.pack()).map(PackName).collect();
        let manifests: BTreeSet<Digest> = self.0.keys().filter_map(|blob| blob.manifest()).collect();
        (packs.into_iter().collect(), manifests.into_iter().collect())
    }
}

impl Blob {
    fn pack(&self) -> Option<PackId> {
        match self.what {
            What::Pack(id) => Some(id),
            What::Part(id) => Some(id.pack),
            What::Manifest(_) => None,
        }
    }

    fn manifest(&self) -> Option<Digest> {
        if let What::Manifest(digest) = self.what { Some(digest) } else { None }
    }
}

/// What a region has.
#[derive(Clone, Debug, Default)]
struct Stock {
    slots: BTreeMap<SlotId, (Slot, BTreeMap<PackId, Holding>)>,
    manifests: BTreeMap<SlotId, BTreeMap<Digest, u64>>,
}

impl Stock {
    async fn look(session: &Session, region: &Region) -> Result<Self> {
        let mut stock = Self::default();
        for (id, slot) in session.parts.regions.slots(region).await? {
            stock.manifests.insert(id, slot.all_manifests().await?);
            let holdings = slot.all_holdings().await?;
            stock.slots.insert(id, (slot, holdings));
        }
        Ok(stock)
    }
}

/// What is known of the manifests that a region needs.
#[derive(Clone, Debug)]
struct Library {
    session: Session,
    packs: BTreeMap<Digest, Arc<BTreeMap<PackId, PackInfo>>>,
    /// For each slot the manifests that need something of it, and what they need together.
    live: BTreeMap<SlotId, (BTreeSet<Digest>, Arc<Needs>)>,
}

/// What must be in a region.
#[derive(Debug, Default)]
struct Needed(BTreeMap<Digest, Whereabouts>);

/// Where a manifest must be, and where it is.
#[derive(Debug, Default)]
struct Whereabouts {
    /// In so many replicas, in so many zones; once for each thing that is made of it.
    wanted: Vec<(u32, usize)>,
    holders: Vec<Slot>,
}

/// A pack of which little is needed in a slot.
struct Rewrite {
    slot: SlotId,
    pack: PackInfo,
    live: Extents,
    /// The bytes that it takes now.
    held: u64,
}

impl Needed {
    fn in_region(session: &Session, state: &State, region: &Region) -> Self {
        let (mut needed, regions) = (Self::default(), &session.parts.regions);
        let mut add = |manifest: Digest, replicas: u32, zones: usize, holders: Vec<Slot>| {
            let whereabouts = needed.0.entry(manifest).or_default();
            whereabouts.wanted.push((replicas, zones));
            whereabouts.holders.extend(holders);
        };
        for record in state.all_versions() {
            let profile = record.version.publishing_profile();
            if let Some(replicas) = profile.replicas_in(region) {
                let zones = regions.zones_of(region, profile.storage_account_type_in(region));
                add(record.content.manifest, replicas, zones, regions.holders(record));
            }
        }
        let images = state.managed_images(None).map(|record| (record.resource.location(), record.content.manifest));
        let snapshots = state.snapshots(None).map(|record| (record.resource.location(), record.content.manifest));
        for (_, manifest) in images.chain(snapshots).filter(|(location, _)| *location == region) {
            let account = StorageAccountType::default();
            let holders = regions.copies(region, 0, account).unwrap_or_default();
            add(manifest, 1, regions.zones_of(region, account), holders);
        }
        needed
    }

    /// The manifests that a slot must have.
    fn in_slot(&self, slot: SlotId) -> BTreeSet<Digest> {
        let is_in = |(replicas, zones): &(u32, usize)| slot.number < *replicas && slot.zone < *zones;
        let needed = self.0.iter().filter(|(_, whereabouts)| whereabouts.wanted.iter().any(is_in));
        needed.map(|(digest, _)| *digest).collect()
    }
}

impl Library {
    fn new(session: &Session) -> Self {
        Self { session: session.clone(), packs: BTreeMap::new(), live: BTreeMap::new() }
    }

    /// Reads the manifests that something in the region needs, and from their indexes what of each pack.
    async fn read(&mut self, state: &State, region: &Region, stock: &Stock) -> Result<()> {
        let needed = Needed::in_region(&self.session, state, region);
        let mut read: BTreeMap<BTreeSet<Digest>, Arc<Needs>> = self.live.values().cloned().collect();
        for slot in stock.slots.keys() {
            let manifests = needed.in_slot(*slot);
            let live = match read.get(&manifests) {
                Some(live) => live.clone(),
                None => Arc::new(self.needs_of(&manifests, &needed).await?),
            };
            read.insert(manifests.clone(), live.clone());
            self.live.insert(*slot, (manifests, live));
        }
        Ok(())
    }

    async fn needs_of(&mut self, manifests: &BTreeSet<Digest>, needed: &Needed) -> Result<Needs> {
        let mut reach = Reach::default();
        for digest in manifests {
            let holders = needed.0.get(digest).map(|whereabouts| whereabouts.holders.clone());
            let holders = Replicas::new(holders.unwrap_or_default());
            let manifest = holders.manifest(digest).await?;
            reach.add(&manifest, &holders).await?;
            let packs = manifest.packs.iter().map(|pack| (pack.id, *pack)).collect();
            self.packs.insert(*digest, Arc::new(packs));
        }
        Ok(reach.finish())
    }

    /// What of the stock nothing needs.
    fn garbage(&self, state: &State, region: &Region, stock: &Stock) -> Result<Garbage> {
        let needed = Needed::in_region(&self.session, state, region);
        let open: BTreeSet<_> =
            state.uploads().filter(|(_, upload)| upload.region == *region).map(|(name, _)| name.0).collect();
        let mut garbage = Garbage::default();
        for (id, (_, holdings)) in &stock.slots {
            let manifests = needed.in_slot(*id);
            let Some((counted, live)) = self.live.get(id).filter(|(counted, _)| manifests.is_subset(counted)) else {
                return Err(lost_race());
            };
            let kept = counted.iter().filter(|digest| manifests.contains(digest));
            let packs: BTreeMap<PackId, PackInfo> = kept
                .filter_map(|digest| self.packs.get(digest))
                .flat_map(|packs| packs.iter().map(|(id, pack)| (*id, *pack)))
                .collect();
            for (pack, holding) in holdings.iter().filter(|(pack, _)| !open.contains(&pack.upload)) {
                let need = packs.get(pack).zip(live.get(pack));
                let unneeded = unneeded(*pack, holding, need).into_iter();
                garbage.0.extend(unneeded.map(|(what, bytes)| (Blob { slot: *id, what }, bytes)));
            }
            for (manifest, bytes) in stock.manifests.get(id).into_iter().flatten() {
                // A manifest does not say whose it is: one of an import under way may be among them.
                if !manifests.contains(manifest) && open.is_empty() {
                    garbage.0.insert(Blob { slot: *id, what: What::Manifest(*manifest) }, *bytes);
                }
            }
        }
        Ok(garbage)
    }

    /// Packs of which so little is needed that it is to be written apart.
    fn mostly_dead(&self, stock: &Stock) -> Vec<Rewrite> {
        let mut found = Vec::new();
        for (slot, (_, holdings)) in &stock.slots {
            let Some((manifests, live)) = self.live.get(slot) else { continue };
            let packs: BTreeMap<PackId, PackInfo> = manifests
                .iter()
                .filter_map(|digest| self.packs.get(digest))
                .flat_map(|packs| packs.iter().map(|(id, pack)| (*id, *pack)))
                .collect();
            for (id, holding) in holdings {
                let Some((pack, live)) = packs.get(id).zip(live.get(id)) else { continue };
                let garbage = unneeded(*id, holding, Some((pack, live)));
                let held = holding.bytes() - garbage.iter().map(|(_, bytes)| bytes).sum::<u64>();
                if live.bytes() * 100 < held * LIVE_PERCENT && holding.lacks(pack, live).is_empty() {
                    found.push(Rewrite { slot: *slot, pack: *pack, live: live.clone(), held });
                }
            }
        }
        found
    }
}

/// What a slot is to keep of a pack.
enum Keep {
    Nothing,
    One(What),
    All,
}

/// What a slot need not keep of a pack: all of it, where nothing needs it; all but one part, where that is enough; all but the
/// whole, where that is there.
fn unneeded(pack: PackId, holding: &Holding, need: Option<(&PackInfo, &Extents)>) -> Vec<(What, u64)> {
    let keep = need.map_or(Keep::Nothing, |(info, live)| {
        let enough = holding.parts.iter().filter(|part| part.extents().contains(live)).min_by_key(|part| part.length());
        match enough {
            Some(part) => Keep::One(What::Part(part.id)),
            None if holding.has_whole(info) => Keep::One(What::Pack(pack)),
            // It takes all of them, or something is lost: a scrub brings it.
            None => Keep::All,
        }
    });
    let whole = holding.whole.map(|bytes| (What::Pack(pack), bytes));
    let parts = holding.parts.iter().map(|part| (What::Part(part.id), part.length()));
    let readable = whole.into_iter().chain(parts);
    match keep {
        Keep::All => Vec::new(),
        Keep::One(kept) => readable.filter(|(what, _)| *what != kept).collect(),
        Keep::Nothing => readable.chain(holding.broken.iter().map(|id| (What::Part(*id), 0))).collect(),
    }
}
