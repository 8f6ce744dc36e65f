//! The store of a region, or of one of its zones, and the proof that it is.
//!
//! A mistyped path, swapped mounts, a disk that is not mounted and a catalog that was restored from a backup all look
//! like a healthy gallery with other content, and a collection or a scrub would make it so. Therefore each store
//! records its catalog in an `owner` blob, and the newest commit that it has seen in `witnesses`; the catalog records
//! the store that it has claimed. Every call goes through [`RegionStore`], which compares the three: before the first
//! read, before the first write, at the start of each operation that writes, and before every deletion. What was found
//! holds as long as the newest state that is known claims the same store: another process may adopt another one.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;
use futures::stream::{self, TryStreamExt};
use serde::{Deserialize, Serialize};

use crate::access::Caller;
use crate::catalog::{Catalog, CatalogId, Changes, Event, State, StoreName};
use crate::content::digest::Digest;
use crate::content::names::UploadId;
use crate::error::{Error, ErrorKind, Result};
use crate::host::sync::Mutex;
use crate::host::{Entropy, draw};
use crate::keys::keyring::RegionKeys;
use crate::model::Region;
use crate::replica::health::Health;
use crate::replica::verified::Verified;
use crate::store::derived;
use crate::store::{
    BlobFile, BlobKey, BlobMeta, BlobPlace, BlobStore, BlobStoreExt, BlobVersion, Capabilities, Folders, Page, Pages,
    PutMode, StoreError, StoreErrorKind, StoreResult,
};

const FORMAT: u32 = 1;

/// The number of newest witnesses that are kept.
const WITNESSES_KEPT: usize = 2;

/// The site of a store: a region, or a zone of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Site {
    pub(crate) region: Region,
    /// From 1; `None` if one store serves the whole region.
    pub(crate) zone: Option<u32>,
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "region {}", self.region)?;
        self.zone.map_or(Ok(()), |zone| write!(f, " zone {zone}"))
    }
}

/// The `owner` blob: the catalog and the site that a store belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Owner {
    format: u32,
    catalog: CatalogId,
    region: Region,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    zone: Option<u32>,
    store: StoreName,
}

impl Owner {
    fn site(&self) -> Site {
        Site { region: self.region.clone(), zone: self.zone }
    }
}

/// How far the ownership of a store was checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Proven {
    #[default]
    Nothing,
    /// It belongs to no other catalog or site: it can be read, and may be empty.
    NotAnothers,
    /// It is this store, and the catalog has claimed it.
    Claimed(StoreName),
}

/// The store of a region, or of a zone of one.
pub(crate) struct RegionStore {
    inner: Arc<dyn BlobStore>,
    site: Site,
    catalog: Arc<Catalog>,
    entropy: Arc<dyn Entropy>,
    health: Health,
    verified: Verified,
    keys: RegionKeys,
    proven: Mutex<Proven>,
    /// Commits of the log, the last witnesses that were found there among them: a log never changes, so they are not looked up again.
    found: Mutex<VecDeque<(u64, Digest)>>,
    /// The witnesses that were there at the last listing, the newest first.
    listed: Mutex<Vec<BlobKey>>,
}

impl fmt::Debug for RegionStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RegionStore({})", self.site)
    }
}

fn owner_key() -> StoreResult<BlobKey> {
    key("owner")
}

fn key(text: &str) -> StoreResult<BlobKey> {
    text.parse().map_err(|error: Error| StoreError::new(StoreErrorKind::Unsupported, "name", None).with_source(error))
}

impl RegionStore {
    pub(crate) fn new(
        inner: Arc<dyn BlobStore>,
        site: Site,
        catalog: Arc<Catalog>,
        entropy: Arc<dyn Entropy>,
        (health, verified, keys): (Health, Verified, RegionKeys),
    ) -> Self {
        let found = Mutex::new(catalog.recent_entries().into());
        Self {
            inner,
            site,
            catalog,
            entropy,
            health,
            verified,
            keys,
            proven: Mutex::default(),
            found,
            listed: Mutex::default(),
        }
    }

    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    pub(crate) fn verified(&self) -> &Verified {
        &self.verified
    }

    pub(crate) fn keys(&self) -> &RegionKeys {
        &self.keys
    }

    pub(crate) fn catalog(&self) -> CatalogId {
        self.catalog.id()
    }

    pub(crate) fn site(&self) -> &Site {
        &self.site
    }

    /// Makes the next call check the ownership again.
    pub(crate) fn recheck(&self) {
        self.note(Proven::Nothing);
    }

    /// Refuses a store of another catalog or site, or one that has seen a newer log. A store that does not answer is
    /// checked when it is used.
    pub(crate) async fn refuse_a_wrong_one(&self) -> Result<()> {
        match self.check().await {
            Err(error) if error.kind() == StoreErrorKind::WrongStore => Err(self.at_site(error)),
            _ => Ok(()),
        }
    }

    /// As [`refuse_a_wrong_one`](Self::refuse_a_wrong_one), before what cannot be undone: the log is read again.
    pub(crate) async fn prove(&self) -> Result<()> {
        self.found.lock().clear();
        self.refuse_a_wrong_one().await
    }

    /// Checks the ownership again, as [`recheck`](Self::recheck) lets the next call do, while calls that are under way go on.
    pub(super) async fn check_anew(&self) {
        if self.check().await.is_err() {
            // The next call meets it, and reports it.
            self.recheck();
        }
    }

    /// Turns an error of this store into one that names its site.
    pub(crate) fn at_site(&self, error: StoreError) -> Error {
        error.at(&self.site.to_string())
    }

    /// As [`refuse_a_wrong_one`](Self::refuse_a_wrong_one), and also fails if the store does not answer.
    async fn check(&self) -> StoreResult<()> {
        let owner = self.proven_owner().await?;
        let claimed = owner.filter(|owner| self.claim_in(&self.catalog.snapshot()) == Some(owner.store));
        self.note(claimed.map_or(Proven::NotAnothers, |owner| Proven::Claimed(owner.store)));
        Ok(())
    }

    /// Returns whether the store has an `owner` blob, or does not answer.
    pub(crate) async fn has_an_owner(&self) -> bool {
        !matches!(self.read_owner().await, Ok(None))
    }

    fn note(&self, proven: Proven) {
        *self.proven.lock() = proven;
    }

    /// Returns how far the ownership was checked, as far as it holds in the newest state that is known: another process may have
    /// adopted another store for the site since.
    fn proven(&self) -> Proven {
        let proven = *self.proven.lock();
        match proven {
            Proven::Claimed(store) if self.claim_in(&self.catalog.snapshot()) != Some(store) => Proven::Nothing,
            proven => proven,
        }
    }

    /// Checks ownership before a read.
    pub(super) async fn is_not_anothers(&self) -> StoreResult<()> {
        match self.proven() {
            // In a box, so that the calls of a store that is proven stay small.
            Proven::Nothing => Box::pin(self.check()).await,
            Proven::NotAnothers | Proven::Claimed(_) => Ok(()),
        }
    }

    /// Refuses a write by a process that only reads.
    fn refuse_change(&self) -> StoreResult<()> {
        let refused = |error| StoreError::new(StoreErrorKind::PermissionDenied, "write", None).with_source(error);
        self.catalog.refuse_change().map_err(refused)
    }

    /// Checks ownership before a write. An unowned store becomes this catalog's.
    async fn is_claimed(&self) -> StoreResult<()> {
        self.refuse_change()?;
        match self.proven() {
            Proven::Claimed(_) => Ok(()),
            Proven::Nothing | Proven::NotAnothers => Box::pin(self.become_claimed()).await,
        }
    }

    /// Checks ownership, and makes an unowned store this catalog's.
    async fn become_claimed(&self) -> StoreResult<()> {
        let store = match self.proven_owner().await? {
            Some(owner) => self.durable(&owner).await?,
            None => self.create_owner().await?,
        };
        if self.claim_in(&self.catalog.snapshot()) != Some(store) {
            self.claim(store).await?;
        }
        self.note(Proven::Claimed(store));
        Ok(())
    }

    /// Checks ownership before a deletion, every time.
    async fn is_ours(&self) -> StoreResult<()> {
        self.refuse_change()?;
        let owner = self.owner(self.read_owner().await?).await?;
        match owner {
            Some(owner) if self.claim_in(&self.catalog.snapshot()) == Some(owner.store) => Ok(()),
            _ => Err(self.wrong("the catalog has not claimed this store, so nothing is deleted in it")),
        }
    }

    /// Returns the store's owner if that is this catalog at this site, and this catalog has the newest commit that the store has
    /// seen; `None` for an empty store without an owner.
    async fn proven_owner(&self) -> StoreResult<Option<Owner>> {
        let (found, witnesses) = futures::join!(self.read_owner(), self.witnesses());
        // The owner is judged first: the witnesses of another's store say nothing.
        let owner = self.owner(found?).await?;
        if owner.is_some() {
            self.refuse_a_log_without_newest(&witnesses?).await?;
        }
        Ok(owner)
    }

    /// Returns the owner that was read if it is this catalog at this site; `None` for an empty store without an owner.
    async fn owner(&self, found: Option<Owner>) -> StoreResult<Option<Owner>> {
        let found = match found {
            Some(owner) => Some(owner),
            None => Box::pin(self.find_missing_owner()).await?,
        };
        let Some(owner) = found else { return Ok(None) };
        let catalog = self.catalog.id();
        if owner.catalog != catalog {
            return Err(self.wrong(&format!(
                "this store is {} of catalog {}, and the catalog that was opened is {catalog}: mount the right store, or \
                 open the right catalog",
                owner.site(),
                owner.catalog
            )));
        }
        if owner.site() != self.site {
            return Err(self.wrong(&format!(
                "this store is {} of catalog {catalog}, not {}: mount the right one",
                owner.site(),
                self.site
            )));
        }
        let mut state = self.catalog.snapshot();
        if self.claim_in(&state) != Some(owner.store) {
            // The claim may have passed to this store, to another one, or to another number of zones since.
            state = Box::pin(self.catalog.refresh()).await.map_err(failed)?;
        }
        self.has_the_shape(&state)?;
        if self.claim_in(&state).is_some_and(|store| store != owner.store) {
            return Err(self.wrong(&format!(
                "the catalog has claimed another store for {}: mount that, or adopt this one with `adopt_region_store`",
                self.site
            )));
        }
        Ok(Some(owner))
    }

    /// Looks again for an owner that was not there; `None` if the store is empty and may be.
    async fn find_missing_owner(&self) -> StoreResult<Option<Owner>> {
        // Beside each other: what either of them misses was not there when the owner was looked for.
        let (state, images) = futures::join!(self.catalog.refresh(), self.has_images());
        let state = state.map_err(failed)?;
        // ORDER: read the state, then the owner again. An owner is written before its claim is committed. With only the
        // first read: no owner read -> another process writes it and commits the claim -> claim read: a healthy store looks
        // as if it had lost its owner.
        if self.claim_in(&state).is_some()
            && let Some(owner) = self.read_owner().await?
        {
            return Ok(Some(owner));
        }
        let Err(refusal) = self.may_be_empty(&state, images) else { return Ok(None) };
        // ORDER: list the images, then read the owner again, which is written before the first image. With only the first
        // read: no owner read -> another caller writes it and sends an image -> image listed.
        self.read_owner().await?.map(Some).ok_or(refusal)
    }

    /// Returns the store that the catalog has claimed for this site.
    fn claim_in(&self, state: &State) -> Option<StoreName> {
        state.claim(&self.site.region, self.site.zone)
    }

    async fn read_owner(&self) -> StoreResult<Option<Owner>> {
        let Some(bytes) = self.inner.find(&owner_key()?).await? else { return Ok(None) };
        match serde_json::from_slice::<Owner>(&bytes) {
            Ok(owner) if owner.format == FORMAT => Ok(Some(owner)),
            Ok(owner) => Err(self.wrong(&format!(
                "its `owner` blob has format `{}`, this build reads `{FORMAT}`: use a newer build",
                owner.format
            ))),
            Err(error) => Err(self.wrong(&format!(
                "its `owner` blob cannot be read ({error}): restore it, or adopt the store with `adopt_region_store`"
            ))),
        }
    }

    async fn has_images(&self) -> StoreResult<bool> {
        Ok(!self.inner.list(Some(&key("slots")?), None, 1).await?.blobs.is_empty())
    }

    /// Refuses a store without an owner, unless it is empty and the catalog has claimed no other.
    fn may_be_empty(&self, state: &State, has_images: StoreResult<bool>) -> StoreResult<()> {
        if self.claim_in(state).is_some() {
            return Err(self.wrong(&format!(
                "the catalog has claimed a store for {}, and this one has no `owner` blob: is its disk not mounted? If the \
                 store was lost and this is a new one, adopt it with `adopt_region_store`",
                self.site
            )));
        }
        self.has_the_shape(state)?;
        if has_images? {
            return Err(self.wrong(
                "it holds images and has no `owner` blob: restore that, or adopt the store with `adopt_region_store`",
            ));
        }
        Ok(())
    }

    /// Refuses one store if the catalog has claimed three for the region, and three if it has claimed one.
    fn has_the_shape(&self, state: &State) -> StoreResult<()> {
        match state.has_claims_of_another_shape(&self.site.region, self.site.zone) {
            false => Ok(()),
            true => Err(self.wrong(&format!(
                "the catalog has claimed {} for region {}: use those, or adopt the new ones with `adopt_region_store`",
                if self.site.zone.is_some() { "one store" } else { "a store in each of three zones" },
                self.site.region
            ))),
        }
    }

    /// Lists the witnesses, the newest first; at most some more than are kept.
    async fn witnesses(&self) -> StoreResult<Vec<BlobMeta>> {
        let there = self.inner.list(Some(&key("witnesses")?), None, 16).await?.blobs;
        *self.listed.lock() = there.iter().map(|blob| blob.key.clone()).collect();
        Ok(there)
    }

    /// Refuses a catalog that lacks the newest commit that the store has seen.
    async fn refuse_a_log_without_newest(&self, witnesses: &[BlobMeta]) -> StoreResult<()> {
        match witnesses.first().and_then(|blob| witness_of(&blob.key)) {
            Some((number, digest)) => self.refuse_a_log_without(number, digest).await,
            None => Ok(()),
        }
    }

    fn note_found(&self, number: u64, digest: Digest) {
        let mut found = self.found.lock();
        found.push_back((number, digest));
        if found.len() > 2 * WITNESSES_KEPT {
            found.pop_front();
        }
    }

    async fn refuse_a_log_without(&self, number: u64, digest: Digest) -> StoreResult<()> {
        if self.found.lock().contains(&(number, digest)) {
            return Ok(());
        }
        match Box::pin(self.catalog.has_entry(number, &digest)).await.map_err(failed)? {
            Some(true) => {
                self.note_found(number, digest);
                Ok(())
            }
            Some(false) => Err(self.wrong(&format!(
                "it has seen a commit {number} that differs from this catalog's: the catalog's log was replaced. Restore the right \
                 one, or go on with this one and adopt the store with `adopt_region_store`"
            ))),
            None => Err(self.wrong(&format!(
                "it has seen commit {number}, and the catalog's log ends at {}: the catalog is older than its store, as one \
                 from a backup is. Restore the newest log, or go on with this one and adopt the store with \
                 `adopt_region_store`: what was published since is then foreign to it and stays",
                self.catalog.snapshot().number()
            ))),
        }
    }

    async fn is_owned_as(&self, store: StoreName) -> StoreResult<bool> {
        Ok(self.read_owner().await?.is_some_and(|owner| owner.store == store && owner.catalog == self.catalog.id()))
    }

    async fn create_owner(&self) -> StoreResult<StoreName> {
        let store = self.draw()?;
        match self.inner.put(&owner_key()?, self.encode(store)?, PutMode::Create).await {
            Ok(()) => Ok(store),
            // Another process was first, or the answer was lost.
            Err(error) if matches!(error.kind(), StoreErrorKind::AlreadyExists | StoreErrorKind::Unknown) => {
                match self.proven_owner().await? {
                    Some(owner) => self.durable(&owner).await,
                    None => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Returns the store's name by an owner that was found, made durable unless it is claimed.
    async fn durable(&self, owner: &Owner) -> StoreResult<StoreName> {
        if self.claim_in(&self.catalog.snapshot()) != Some(owner.store) {
            // ORDER: persist, then claim. The other way round, another process creates the owner, and is not told so -> read
            // here -> claimed -> power cut: the claim names a store that has no owner any more, and the region is refused.
            self.inner.persist(&owner_key()?).await?;
        }
        Ok(owner.store)
    }

    fn draw(&self) -> StoreResult<StoreName> {
        let id = draw(&*self.entropy, "drawing a store's name");
        let failed = |error| StoreError::new(StoreErrorKind::Unavailable, "claim", None).with_source(error);
        Ok(StoreName(UploadId::from_bytes(id.map_err(failed)?)))
    }

    fn encode(&self, store: StoreName) -> StoreResult<Bytes> {
        let Site { region, zone } = self.site.clone();
        let owner = Owner { format: FORMAT, catalog: self.catalog.id(), region, zone, store };
        let bytes = serde_json::to_vec(&owner);
        bytes.map(Bytes::from).map_err(|error| self.wrong(&format!("its `owner` blob cannot be written: {error}")))
    }

    /// Commits the claim of the store, whose owner is this catalog.
    async fn claim(&self, store: StoreName) -> StoreResult<()> {
        let site = self.site.clone();
        let check = move |state: &State| match state.claim(&site.region, site.zone) {
            // This store or another one: the comparison below finds out.
            Some(_) => Ok(Changes::default()),
            None if state.has_claims_of_another_shape(&site.region, site.zone) => Ok(Changes::default()),
            None => Ok(claimed(&site, store)),
        };
        let state = self.catalog.commit(&service()?, check).await.map_err(failed)?;
        match self.claim_in(&state) == Some(store) {
            true => Ok(()),
            false => Err(self
                .wrong("another process claimed another store for this site at the same time: mount one of the two")),
        }
    }

    /// Makes the store this catalog's, whatever its owner blob says; its content stays.
    pub(crate) async fn adopt(&self) -> StoreResult<()> {
        let found = self.read_owner().await;
        if let Ok(Some(owner)) = &found {
            let claim = self.claim_in(&self.catalog.snapshot());
            let is_ours = owner.catalog == self.catalog.id() && owner.site() == self.site && claim == Some(owner.store);
            if is_ours && self.refuse_a_log_without_newest(&self.witnesses().await?).await.is_ok() {
                // It is this catalog's already: its witnesses stay.
                return Ok(());
            }
            self.is_no_other_site(owner).await?;
        }
        let store = match found {
            Ok(Some(owner)) if owner.catalog == self.catalog.id() && owner.site() == self.site => owner.store,
            Ok(_) => self.draw()?,
            Err(error) if error.kind() == StoreErrorKind::WrongStore => self.draw()?,
            Err(error) => return Err(error),
        };
        let site = self.site.clone();
        let check = move |state: &State| match state.claim(&site.region, site.zone) == Some(store) {
            true => Ok(Changes::default()),
            false => Ok(claimed(&site, store)),
        };
        let state = self.catalog.commit(&service()?, check).await.map_err(failed)?;
        match self.inner.put(&owner_key()?, self.encode(store)?, PutMode::Overwrite).await {
            Err(error) if error.kind() != StoreErrorKind::Unknown || !self.is_owned_as(store).await? => {
                return Err(error);
            }
            Err(_) => self.inner.persist(&owner_key()?).await?,
            Ok(()) => {}
        }
        // ORDER: write the owner, then delete the witnesses. The other way round, witnesses deleted -> crash: the old
        // owner's catalog, restored from an old backup, finds no witness that refuses it.
        for blob in self.inner.list_all(Some(&key("witnesses")?)).await? {
            self.inner.delete(&blob.key).await?;
        }
        self.listed.lock().clear();
        self.put_witness(state.number(), &state.head()).await?;
        self.recheck();
        self.check().await
    }

    /// Refuses to adopt a store of another site of this catalog that holds images: here they would count as garbage,
    /// and names that were condemned here as dead.
    async fn is_no_other_site(&self, owner: &Owner) -> StoreResult<()> {
        let is_elsewhere = owner.catalog == self.catalog.id() && owner.site() != self.site;
        match is_elsewhere && !self.inner.list(Some(&key("slots")?), None, 1).await?.blobs.is_empty() {
            false => Ok(()),
            true => Err(self.wrong(&format!(
                "this store is {}, another site of this catalog, and holds its images: mount it there, and use an empty store here",
                owner.site()
            ))),
        }
    }

    /// Records in the store that it has seen a commit, so that it refuses an older log from then on.
    pub(crate) async fn witness_commit(&self, number: u64, digest: &Digest) -> StoreResult<()> {
        match self.proven() {
            Proven::Claimed(_) => {
                // At the same time: it may have seen a newer log since the last check, whose witness stays the newest.
                let (put, there) = futures::join!(self.put_witness(number, digest), self.witnesses());
                let mut others = there?;
                others.retain(|blob| witness_of(&blob.key) != Some((number, *digest)));
                self.refuse_a_log_without_newest(&others).await?;
                put
            }
            Proven::Nothing | Proven::NotAnothers => {
                self.is_claimed().await?;
                self.put_witness(number, digest).await
            }
        }
    }

    /// Puts a witness, and removes old ones.
    async fn put_witness(&self, number: u64, digest: &Digest) -> StoreResult<()> {
        let there = self.listed.lock().clone();
        if there.first().and_then(witness_of).is_some_and(|(newest, _)| newest >= number) {
            // A check has found it in this log.
            return Ok(());
        }
        // The newest sorts first. A new name for each commit needs no overwrite, which could move back.
        let witness = key(&format!("witnesses/{:020}-{digest}", u64::MAX - number))?;
        let put = self.inner.put(&witness, Bytes::new(), PutMode::Create);
        // At the same time: the newest that is there stays in any case, and an old one that stays does no harm.
        let old = there.iter().skip(WITNESSES_KEPT - 1).map(|key| self.inner.delete(key));
        match futures::join!(put, join_all(old)).0 {
            Ok(()) => {}
            Err(error) if error.kind() == StoreErrorKind::AlreadyExists => {}
            // No other content is ever put under that name.
            Err(error)
                if error.kind() == StoreErrorKind::Unknown && self.inner.find_meta(&witness).await?.is_some() => {}
            Err(error) => return Err(error),
        }
        // It is a commit of this catalog.
        self.note_found(number, *digest);
        Ok(())
    }

    fn wrong(&self, what: &str) -> StoreError {
        StoreError::new(StoreErrorKind::WrongStore, "open", None).with_source(what)
    }
}

/// Refuses a store with an owner: a catalog that is about to be created cannot be that owner.
pub(crate) async fn refuse_an_owned(store: &dyn BlobStore, region: &Region) -> Result<()> {
    let label = format!("region {region}");
    let found = store.find(&owner_key().map_err(|error| error.at(&label))?).await;
    let Some(bytes) = found.map_err(|error| error.at(&label))? else { return Ok(()) };
    let whose = match serde_json::from_slice::<Owner>(&bytes) {
        Ok(owner) => format!("is {} of catalog {}", owner.site(), owner.catalog),
        Err(_) => "has an `owner` blob that cannot be read".to_owned(),
    };
    let what = format!(
        "this store {whose}, and a new catalog was to be created: open that catalog (is its disk mounted, and its path right?), use \
         another store, or adopt this one with `adopt_region_store`. Nothing was created"
    );
    Err(Error::unavailable(label, what))
}

fn claimed(site: &Site, store: StoreName) -> Changes {
    let (region, zone) = (site.region.clone(), site.zone);
    Changes { events: vec![Event::RegionStoreClaimed { region, zone, store }], authorization: None }
}

/// The caller of the service's own commits, in the history.
fn service() -> StoreResult<Caller> {
    "compute-gallery".parse().map_err(failed)
}

/// Returns the error of a catalog operation, as one of this store, which was not asked.
fn failed(error: Error) -> StoreError {
    let kind = match error.kind() {
        ErrorKind::StorageFull => StoreErrorKind::Full,
        ErrorKind::Throttled { after } => StoreErrorKind::Throttled { after },
        _ => StoreErrorKind::Unavailable,
    };
    StoreError::new(kind, "look up the owner", None).with_source(error)
}

fn witness_of(key: &BlobKey) -> Option<(u64, Digest)> {
    let (number, digest) = key.segments().nth(1)?.split_once('-')?;
    Some((u64::MAX - number.parse::<u64>().ok()?, digest.parse().ok()?))
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl BlobStore for RegionStore {
    async fn put(&self, key: &BlobKey, bytes: Bytes, mode: PutMode) -> StoreResult<()> {
        self.is_claimed().await?;
        self.inner.put(key, bytes, mode).await
    }

    async fn get(&self, key: &BlobKey, range: Option<Range<u64>>) -> StoreResult<Bytes> {
        self.is_not_anothers().await?;
        self.inner.get(key, range).await
    }

    async fn head(&self, key: &BlobKey) -> StoreResult<BlobMeta> {
        self.is_not_anothers().await?;
        self.inner.head(key).await
    }

    async fn delete(&self, key: &BlobKey) -> StoreResult<()> {
        self.is_ours().await?;
        self.inner.delete(key).await
    }

    async fn list(&self, under: Option<&BlobKey>, after: Option<&BlobKey>, limit: usize) -> StoreResult<Page> {
        self.is_not_anothers().await?;
        self.inner.list(under, after, limit).await
    }

    async fn copy(&self, from: &BlobKey, to: &BlobKey, mode: PutMode) -> StoreResult<()> {
        self.is_claimed().await?;
        self.inner.copy(from, to, mode).await
    }

    async fn persist(&self, under: &BlobKey) -> StoreResult<()> {
        self.is_not_anothers().await?;
        self.inner.persist(under).await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn open_file(&self, key: &BlobKey) -> StoreResult<Option<BlobFile>> {
        self.is_not_anothers().await?;
        self.inner.open_file(key).await
    }

    async fn put_parts(&self, key: &BlobKey, parts: &[Bytes], mode: PutMode) -> StoreResult<()> {
        self.is_claimed().await?;
        self.inner.put_parts(key, parts, mode).await
    }

    async fn get_ranges(&self, key: &BlobKey, ranges: &[Range<u64>]) -> StoreResult<Vec<Bytes>> {
        self.is_not_anothers().await?;
        self.inner.get_ranges(key, ranges).await
    }

    async fn delete_many(&self, keys: &[BlobKey]) -> Vec<StoreResult<()>> {
        // A store that can be another one between two deletions is looked at before each of them.
        if self.capabilities().can_be_remounted() || self.is_ours().await.is_err() {
            return derived::at_once(keys.iter().map(|key| self.delete(key)).collect(), self.capabilities()).await;
        }
        self.inner.delete_many(keys).await
    }

    fn list_pages(&self, under: Option<&BlobKey>, after: Option<&BlobKey>) -> Pages<'_> {
        let start = self.inner.list_pages(under, after);
        Box::pin(stream::try_unfold(start, move |mut pages| async move {
            self.is_not_anothers().await?;
            Ok(pages.try_next().await?.map(|page| (page, pages)))
        }))
    }

    async fn list_folders(
        &self,
        under: Option<&BlobKey>,
        after: Option<&BlobKey>,
        limit: usize,
    ) -> StoreResult<Folders> {
        self.is_not_anothers().await?;
        self.inner.list_folders(under, after, limit).await
    }

    async fn replace_if(&self, key: &BlobKey, bytes: Bytes, version: &BlobVersion) -> StoreResult<()> {
        self.is_claimed().await?;
        self.inner.replace_if(key, bytes, version).await
    }

    async fn delete_if(&self, key: &BlobKey, version: &BlobVersion) -> StoreResult<()> {
        self.is_ours().await?;
        self.inner.delete_if(key, version).await
    }

    async fn copy_from(&self, store: &dyn BlobStore, from: &BlobKey, to: &BlobKey, mode: PutMode) -> StoreResult<()> {
        self.is_claimed().await?;
        self.inner.copy_from(store, from, to, mode).await
    }

    fn place_of(&self, key: &BlobKey) -> Option<BlobPlace<'_>> {
        self.inner.place_of(key)
    }

    async fn distrust(&self, key: &BlobKey) -> bool {
        self.inner.distrust(key).await
    }
}
