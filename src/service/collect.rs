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
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::BoxFuture;

use super::garbage::{Garbage, Library, Stock, What};
use super::regions::SlotId;
use super::session::Session;
use crate::catalog::{Changes, Event, State};
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::image::pack::PackId;
use crate::image::replicas::Replicas;
use crate::image::{Cargo, Request};
use crate::model::Region;

/// So many packs at most are condemned by one commit.
const PACKS_AT_A_TIME: usize = 4096;

/// Whoever has condemned something is given so long to remove it, and takes half of that; then another may.
const GRACE: TimeDelta = TimeDelta::minutes(10);

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
            let unneeded = library.unneeded(&state, &region, &stock)?;
            report.add(&region, &unneeded.garbage);
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
        let mut first = None;
        for region in self.session.parts.regions.all(&state).await? {
            // One that does not answer keeps nobody from freeing what others have.
            if let Err(error) = self.free(&region, &mut report).await {
                first.get_or_insert(error);
            }
        }
        first.map_or(Ok(report), Err)
    }

    async fn free(&self, region: &Region, report: &mut CollectionReport) -> Result<()> {
        self.rewrite(region, report).await?;
        while let Some(freed) = self.region(region).await? {
            report.add(region, &freed);
        }
        Ok(())
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
            let fetched = Replicas::one(slot).fetch(&request, &self.session.parts.workers).await;
            let Ok((cargo, bytes)) = fetched else { continue };
            let written = bytes.len() as u64;
            if slot.put_cargo(&cargo, bytes).await? {
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
            // ORDER: from before the listing: another collection may empty what is on the list.
            let seen = session.state().await?.number();
            let stock = Stock::look(session, region).await?;
            // ORDER: the state is read after the list, so that it has the announcement of all that is on the list.
            let state = session.state().await?;
            library.read(&state, region, &stock).await?;
            let unneeded = library.unneeded(&state, region, &stock)?;
            let now = session.parts.clock.now();
            let (garbage, theirs) = match state.condemned(region) {
                Some(theirs) if now.signed_duration_since(theirs.time) < GRACE => return Ok(None),
                // Whoever condemned it has gone away: what is still garbage of it is taken over.
                Some(theirs) => (unneeded.garbage.only(&theirs.packs, &theirs.manifests), Some(theirs.time)),
                None => (unneeded.garbage.first(PACKS_AT_A_TIME), None),
            };
            let garbage = self.without_the_doubtful(garbage, &unneeded.relied_on, &stock).await?;
            if garbage.0.is_empty() {
                match theirs {
                    Some(time) => self.say_removed(region, time).await?,
                    None => return Ok(None),
                }
                continue;
            }
            let (packs, manifests) = garbage.names();
            let condemned = Event::ContentCondemned { region: region.clone(), packs, manifests };
            let (of_caller, place, wanted, books, there) =
                (self.session.clone(), region.clone(), garbage.clone(), library.clone(), stock.clone());
            let check = move |state: &State| {
                let same = state.condemned(&place).map(|condemned| condemned.time) == theirs;
                if !of_caller.rights().is_administrator() || !same || state.is_condemned_since(&place, seen) {
                    return Err(lost_race());
                }
                let still = books.unneeded(state, &place, &there)?.garbage;
                let same = wanted.0.iter().all(|(blob, size)| still.0.get(blob) == Some(size));
                if same {
                    Ok(Changes { events: vec![condemned.clone()], authorization: None })
                } else {
                    Err(lost_race())
                }
            };
            match session.parts.catalog.commit(&session.caller, check).await {
                Ok(state) => {
                    let Some(time) = state.condemned(region).map(|condemned| condemned.time) else { continue };
                    let removed = self.remove(&stock, garbage, time).await?;
                    if removed.1 {
                        self.say_removed(region, time).await?;
                    }
                    return Ok(Some(removed.0));
                }
                Err(error) if error.code() == LOST_RACE => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Leaves out what is garbage only because something else is there that turns out not to be good, and makes durable
    /// what is relied on.
    async fn without_the_doubtful(
        &self,
        mut garbage: Garbage,
        relied_on: &BTreeMap<(SlotId, PackId), Cargo>,
        stock: &Stock,
    ) -> Result<Garbage> {
        let concerned: BTreeSet<(SlotId, PackId)> =
            garbage.0.keys().filter_map(|blob| Some((blob.slot, blob.pack()?))).collect();
        let mut durable = BTreeMap::new();
        for (place, kept) in relied_on.iter().filter(|(place, _)| concerned.contains(place)) {
            let Some((slot, _)) = stock.slots.get(&place.0) else { continue };
            let workers = &self.session.parts.workers;
            match slot.verified(kept, workers).await {
                Ok(_) => {
                    durable.entry(place.0).or_insert((slot, BTreeSet::new())).1.insert(place.1.upload);
                }
                // It is left to a scrub, which has both to choose from.
                Err(_) => garbage.0.retain(|blob, _| blob.slot != place.0 || blob.pack() != Some(place.1)),
            }
        }
        for (slot, uploads) in durable.into_values() {
            slot.persist(uploads).await?;
        }
        Ok(garbage)
    }

    /// Removes what was condemned at `time`, while nobody else can have taken it over; tells what went, and whether that is
    /// all.
    async fn remove(&self, stock: &Stock, garbage: Garbage, time: DateTime<Utc>) -> Result<(Garbage, bool)> {
        let mut removed = Garbage::default();
        for (blob, size) in &garbage.0 {
            if self.session.parts.clock.now().signed_duration_since(time) >= GRACE / 2 {
                return Ok((removed, false));
            }
            let Some((slot, _)) = stock.slots.get(&blob.slot) else { continue };
            match blob.what {
                What::Pack(id) => slot.delete_pack(&id).await?,
                What::Part(id) => slot.delete_part(&id).await?,
                What::Manifest(digest) => slot.delete_manifest(&digest).await?,
            }
            removed.0.insert(*blob, *size);
        }
        Ok((removed, true))
    }

    /// Says that what was condemned at `time` is removed.
    async fn say_removed(&self, region: &Region, time: DateTime<Utc>) -> Result<()> {
        let region = region.clone();
        let check = move |state: &State| {
            let same = state.condemned(&region).filter(|condemned| condemned.time == time);
            let removed = same.map(|_| Event::ContentRemoved { region: region.clone() });
            Ok(Changes { events: removed.into_iter().collect(), authorization: None })
        };
        self.session.parts.catalog.commit(&self.session.caller, check).await.map(drop)
    }
}

const LOST_RACE: &str = "RetryableError";

pub(super) fn lost_race() -> Error {
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
