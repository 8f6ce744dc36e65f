//! Collection: freeing the bytes that nothing needs any more.
//!
//! Announce, condemn, remove. Packs are listed before the state is read, so that whoever put one has announced it in that
//! state. What the state does not need is condemned by a commit that looks again; from there on no replication may rely on
//! it, and none does that looked before. Then it is removed, and a last commit says so. Publishing never relies on what
//! is condemned: its packs have names of their own, and those that it reuses belong to something that must still exist.

use std::collections::{BTreeMap, BTreeSet};
use std::future::IntoFuture;
use std::time::Duration;

use chrono::TimeDelta;
use futures::future::BoxFuture;

use super::session::Session;
use crate::catalog::{Changes, Event, PackName, State};
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::image::manifest::Manifest;
use crate::image::pack::PackId;
use crate::image::{Digest, Slot};
use crate::model::Region;

/// So many packs at most are condemned by one commit.
const PACKS_AT_A_TIME: usize = 4096;

/// Whoever has condemned something is given so long to remove it; then another may.
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
}

impl CollectionReport {
    /// All bytes together.
    pub fn bytes(&self) -> u64 {
        self.regions.iter().map(|region| region.bytes).sum()
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
        let mut library = Library::new(&self.session);
        for region in self.session.parts.regions.all(&state).await? {
            let stock = Stock::look(&self.session, &region).await?;
            library.read(&state, &region).await?;
            report.add(&region, &library.garbage(&state, &region, &stock)?);
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
            while let Some(freed) = self.region(&region).await? {
                report.add(&region, &freed);
            }
        }
        Ok(report)
    }

    /// Frees some of what nothing needs in a region; `None` where there is nothing left.
    async fn region(&self, region: &Region) -> Result<Option<Garbage>> {
        let session = &self.session;
        let mut library = Library::new(session);
        for _ in 0..ATTEMPTS {
            let stock = Stock::look(session, region).await?;
            // ORDER: the state is read after the list, so that it has the announcement of all that is on the list.
            let state = session.state().await?;
            library.read(&state, region).await?;
            let garbage = library.garbage(&state, region, &stock)?;
            let now = session.parts.clock.now();
            match state.condemned(region) {
                Some(theirs) if now.signed_duration_since(theirs.time) < GRACE => return Ok(None),
                // Whoever condemned it has gone away: what is still garbage of it goes now.
                Some(theirs) => {
                    let left = garbage.only(&theirs.packs, &theirs.manifests);
                    self.remove(region, &left).await?;
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
            let (of_caller, place, wanted, books) =
                (self.session.clone(), region.clone(), garbage.clone(), library.clone());
            let check = move |state: &State| {
                if !of_caller.rights().is_administrator() || state.condemned(&place).is_some() {
                    return Err(lost_race());
                }
                let still = books.garbage(state, &place, &stock)?;
                let same = wanted.0.iter().all(|(blob, size)| still.0.get(blob) == Some(size));
                if same {
                    Ok(Changes { events: vec![condemned.clone()], authorization: None })
                } else {
                    Err(lost_race())
                }
            };
            match session.parts.catalog.commit(&session.caller, check).await {
                Ok(_) => {
                    self.remove(region, &garbage).await?;
                    return Ok(Some(garbage));
                }
                Err(error) if error.code() == LOST_RACE => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Removes what is condemned, and says so.
    async fn remove(&self, region: &Region, garbage: &Garbage) -> Result<()> {
        for blob in garbage.0.keys() {
            let slot = self.session.parts.regions.slot(region, blob.slot)?;
            match blob.what {
                What::Pack(id) => slot.delete_pack(&id).await?,
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

    fn add(&mut self, region: &Region, garbage: &Garbage) {
        let (blobs, bytes) = (garbage.0.len(), garbage.0.values().sum());
        match self.regions.iter_mut().find(|there| there.region == *region) {
            Some(there) => (there.blobs, there.bytes) = (there.blobs + blobs, there.bytes + bytes),
            None if blobs > 0 => self.regions.push(RegionCollection { region: region.clone(), blobs, bytes }),
            None => {}
        }
    }
}

/// A blob of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Blob {
    slot: u32,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Pack(PackId),
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
        if let What::Pack(id) = self.what { Some(id) } else { None }
    }

    fn manifest(&self) -> Option<Digest> {
        if let What::Manifest(digest) = self.what { Some(digest) } else { None }
    }
}

/// What a region has.
#[derive(Clone, Debug, Default)]
struct Stock(BTreeMap<Blob, u64>);

impl Stock {
    async fn look(session: &Session, region: &Region) -> Result<Self> {
        let mut stock = BTreeMap::new();
        for number in session.parts.regions.slot_numbers(region).await? {
            let slot: Slot = session.parts.regions.slot(region, number)?;
            let packs = slot.all_packs().await?;
            stock.extend(packs.into_iter().map(|(id, size)| (Blob { slot: number, what: What::Pack(id) }, size)));
            let manifests = slot.all_manifests().await?;
            let manifests = manifests.into_iter().map(|(digest, size)| (What::Manifest(digest), size));
            stock.extend(manifests.map(|(what, size)| (Blob { slot: number, what }, size)));
        }
        Ok(Self(stock))
    }
}

/// The packs of each manifest that was read.
#[derive(Clone, Debug)]
struct Library {
    session: Session,
    packs: BTreeMap<Digest, BTreeSet<PackId>>,
}

/// Something that needs a manifest and its packs in the first slots of a region.
struct Need {
    home: Region,
    manifest: Digest,
    slots: u32,
}

/// Everything that needs something in a region.
fn needs(state: &State, region: &Region) -> Vec<Need> {
    let mut needs = Vec::new();
    for record in state.all_versions() {
        if let Some(slots) = record.version.publishing_profile().replicas_in(region) {
            let home = record.version.location().clone();
            needs.push(Need { home, manifest: record.content.manifest, slots });
        }
    }
    let images = state.managed_images(None).map(|record| (record.resource.location(), record.content.manifest));
    let snapshots = state.snapshots(None).map(|record| (record.resource.location(), record.content.manifest));
    let here = images.chain(snapshots).filter(|(location, _)| *location == region);
    needs.extend(here.map(|(location, manifest)| Need { home: location.clone(), manifest, slots: 1 }));
    needs
}

impl Library {
    fn new(session: &Session) -> Self {
        Self { session: session.clone(), packs: BTreeMap::new() }
    }

    /// Reads the manifests that something in the region needs.
    async fn read(&mut self, state: &State, region: &Region) -> Result<()> {
        for Need { home, manifest, .. } in needs(state, region) {
            if !self.packs.contains_key(&manifest) {
                let read: Manifest = self.session.parts.regions.slot(&home, 0)?.read_manifest(&manifest).await?;
                self.packs.insert(manifest, read.packs.iter().map(|pack| pack.id).collect());
            }
        }
        Ok(())
    }

    /// What of the stock nothing needs.
    fn garbage(&self, state: &State, region: &Region, stock: &Stock) -> Result<Garbage> {
        let mut needed = BTreeSet::new();
        for Need { manifest, slots, .. } in needs(state, region) {
            let packs = self.packs.get(&manifest).ok_or_else(lost_race)?;
            for slot in 0..slots {
                needed.insert(Blob { slot, what: What::Manifest(manifest) });
                needed.extend(packs.iter().map(|id| Blob { slot, what: What::Pack(*id) }));
            }
        }
        let open: BTreeSet<_> =
            state.uploads().filter(|(_, upload)| upload.region == *region).map(|(name, _)| name.0).collect();
        let is_garbage = |blob: &Blob| match &blob.what {
            _ if needed.contains(blob) => false,
            What::Pack(id) => !open.contains(&id.upload),
            // A manifest does not say whose it is: one of an import under way may be among them.
            What::Manifest(_) => open.is_empty(),
        };
        Ok(Garbage(stock.0.iter().filter(|(blob, _)| is_garbage(blob)).map(|(blob, size)| (*blob, *size)).collect()))
    }
}
