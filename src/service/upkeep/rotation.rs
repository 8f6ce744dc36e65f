//! Rotation of keys: all keys are wrapped by the host's current one, and what is under an old data key is written anew and collected.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};

use super::freeing::{Freed, Freeing};
use crate::catalog::State;
use crate::content::names::{PackId, SlotId};
use crate::error::{Error, ErrorKind, Result};
use crate::host::in_flight::{all_of, together};
use crate::host::sync::Mutex;
use crate::progress::{OnProgress, Progress};
use crate::regions::collection_report::CollectionReport;
use crate::regions::garbage::{Relied, Survey};
use crate::replica::parcel::Parcel;
use crate::replica::slot::Slot;
use crate::service::session::call::Call;
use crate::service::session::pending::{Pending, Work, awaited};
use crate::service::session::plan::Plan;
use crate::service::session::session::Session;

/// Packs whose heads are read at a time.
const LOOKS: usize = 32;

/// Packs that are written anew at a time, of 16 MiB each.
const REWRITES: usize = 4;

/// Packs that are written anew before what they replace is removed.
const BETWEEN_REMOVALS: usize = 64;

/// A rotation of keys that has not started. Await it to run it, or call [`plan`](Self::plan) first.
///
/// ```
/// # #[cfg(feature = "encryption")] futures::executor::block_on(async {
/// use compute_gallery::GalleryService;
/// use compute_gallery::host::Secret;
/// use compute_gallery::keys::LocalKeys;
/// use compute_gallery::store::MemoryStore;
///
/// let store = MemoryStore::new();
/// let builder = || GalleryService::builder().allow_all().store(store.clone());
/// builder().encryption(LocalKeys::new("2026", Secret([6; 32]))).create().await?;
/// let keys = LocalKeys::new("2027", Secret([7; 32]));
/// let service = builder().encryption(keys.clone().with_old("2026", Secret([6; 32]))).open().await?;
/// service.session("docs".parse()?).rotate_keys().await?;
/// // The old key is not needed any more.
/// assert!(builder().encryption(keys).open().await.is_ok());
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[must_use = "nothing is rotated before it is awaited"]
pub struct KeyRotation(Pending<RotationWork>);

#[derive(Clone)]
struct RotationWork {
    session: Session,
    at_most: u64,
    within: Option<TimeDelta>,
    on_progress: OnProgress,
}

impl std::fmt::Debug for KeyRotation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyRotation")
    }
}

impl Session {
    /// Rotates the keys of an encrypted catalog to the current one of its
    /// [key provider](crate::GalleryServiceBuilder::encryption). First each key of the catalog is wrapped with it. Then each region gets a new
    /// data key, if its newest was made with another key of the provider, and what is encrypted under an old data key is written anew and
    /// removed, as by [`compress`](Self::compress). Nothing happens in a catalog that is not encrypted. Safe beside publishing, replicating
    /// and deploying, in this process and in others; those keep the data key that they have until their next import.
    ///
    /// **Before an old key of the provider is destroyed**, look at the report:
    /// [`unrotated_keys`](super::CollectionReport::unrotated_keys) has the data keys that still need one, and is empty when nothing does, also if
    /// content is left. Nothing is encrypted under an old data key any more if in addition no region has
    /// [`packs_under_old_keys`](super::RegionCollection::packs_under_old_keys),
    /// [`unread_replicas`](super::RegionCollection::unread_replicas) or [`unreadable`](super::RegionCollection::unreadable) resources.
    ///
    /// # Errors
    ///
    /// `KeyMissing` if the secret of names or the current key of a region is away, `Unavailable` if the provider does not answer; otherwise as
    /// [`collect`](Self::collect). What is rotated stays so; the next call goes on. After an error keep the old keys.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// assert!(session.rotate_keys().await?.regions.is_empty());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn rotate_keys(&self) -> KeyRotation {
        let (session, on_progress) = (self.clone(), Arc::new(|_| {}));
        KeyRotation(Pending::new(Ok(RotationWork { session, at_most: u64::MAX, within: None, on_progress })))
    }
}

impl KeyRotation {
    /// Stops before more than `bytes` of stored packs are written anew, over all regions: unlimited by default. The rest is in
    /// [`packs_under_old_keys`](super::RegionCollection::packs_under_old_keys).
    pub fn at_most_bytes(mut self, bytes: u64) -> Self {
        self.0.set(|work| work.at_most = bytes);
        self
    }

    /// Begins no further packs after `time`: unlimited by default.
    pub fn within(mut self, time: Duration) -> Self {
        self.0.set(|work| work.within = TimeDelta::from_std(time).ok());
        self
    }

    /// Calls `on_progress` for each few packs, with the stored bytes that were written anew and those that are to be, as far as it is known.
    pub fn on_progress(mut self, on_progress: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.0.set(|work| work.on_progress = Arc::new(on_progress));
        self
    }

    /// Returns what is under an old data key, in [`Plan::collection`]: it lists the regions, and reads manifests and the head of each
    /// pack. A new data key that the rotation would make first is not there yet, so what would be written anew because of it is not counted.
    ///
    /// # Errors
    ///
    /// As the rotation. A missing right is in the plan.
    pub async fn plan(&self) -> Result<Plan> {
        self.0.plan().await
    }
}

awaited!(KeyRotation, CollectionReport);

impl Work for RotationWork {
    type Output = CollectionReport;

    async fn plan(&self) -> Result<Plan> {
        if let Err(refused) = self.session.require_administrator("rotate keys") {
            return Ok(Plan { problems: refused.into_problems(), ..Plan::default() });
        }
        let (inner, state) = (&self.session.inner, self.session.state().await?);
        let mut report = CollectionReport::of(&[]);
        if inner.regions.keyring().is_some() {
            for region in &inner.regions.all(&state).await? {
                let mut survey = Survey::list(&inner.regions, &state, region).await?;
                survey.read(&state).await?;
                let (all, mut left) = (survey.relied_on(&state), 0);
                for wave in all.chunks(LOOKS) {
                    left += under_old_keys(&survey, wave, &mut report).await?.len();
                }
                report.add_under_old_keys(region, left);
                survey.unneeded(&state).iter().for_each(|unneeded| report.tell(region, unneeded));
            }
        }
        Ok(Plan { collection: Some(report), ..Plan::default() })
    }

    fn call(&self) -> Option<Call> {
        self.session.call("rotate keys", || "the catalog".to_owned())
    }

    async fn run(self) -> Result<CollectionReport> {
        self.session.require_administrator("rotate keys")?;
        self.session.inner.catalog.refuse_change()?;
        let inner = &self.session.inner;
        let mut report = CollectionReport::of(&[]);
        let Some(keyring) = inner.regions.keyring() else { return Ok(report) };
        // ORDER: wrap what is there, then write anew. The other way round, the host destroys the old key -> content under an old data key is
        // lost that an import has written meanwhile.
        report.unrotated_keys = keyring.rotate().await?;
        let (state, ()) = futures::join!(self.session.state(), inner.regions.recheck_all_now());
        let state = state?;
        let (progress, silent): (_, OnProgress) = (Mutex::new(Progress { done: 0, total: 0 }), Arc::new(|_| {}));
        let freeing = Freeing { session: &self.session, on_progress: &silent };
        let mut spent = Spent { since: inner.clock.now(), bytes: 0 };
        for region in &inner.regions.all(&state).await? {
            let mut freed = Freed { report: CollectionReport::of(&[]), progress: &progress };
            let state = freeing.finish_removal(region, self.session.state().await?, &mut freed).await?;
            let mut survey = Survey::list(&inner.regions, &state, region).await?;
            let done = self.rotate(&freeing, &mut survey, &mut freed, &mut spent).await;
            report.regions.extend(freed.report.regions);
            done?;
        }
        Ok(report)
    }
}

impl RotationWork {
    async fn rotate(
        &self,
        freeing: &Freeing<'_>,
        survey: &mut Survey,
        freed: &mut Freed<'_>,
        spent: &mut Spent,
    ) -> Result<()> {
        let inner = &self.session.inner;
        let mut looked_at = BTreeSet::<(SlotId, PackId)>::new();
        loop {
            let state: Arc<State> = self.session.state().await?;
            if survey.is_overtaken(&state) {
                survey.list_again(&state).await?;
            }
            survey.read(&state).await?;
            let mut all = survey.relied_on(&state);
            all.retain(|relied| !looked_at.contains(&(relied.slot, relied.pack.id)));
            let (mut anew, mut left) = (0, 0);
            for looks in all.chunks(LOOKS) {
                if anew >= BETWEEN_REMOVALS {
                    break;
                }
                looked_at.extend(looks.iter().map(|relied| (relied.slot, relied.pack.id)));
                for wave in under_old_keys(survey, looks, &mut freed.report).await?.chunks(REWRITES) {
                    let bytes: u64 = wave.iter().flat_map(|(_, relied)| &relied.blobs).map(Parcel::length).sum();
                    let passed = inner.clock.now().signed_duration_since(spent.since);
                    let late = self.within.is_some_and(|within| passed >= within);
                    if late || spent.bytes.saturating_add(bytes) > self.at_most {
                        left += wave.len();
                        continue;
                    }
                    let writing = wave.iter().map(|(slot, relied)| self.write_anew(slot, relied)).collect();
                    for ((slot, relied), anew) in wave.iter().zip(all_of(writing).await?) {
                        match anew {
                            Anew::Unread(reason) => {
                                freed.report.unread(survey.region(), relied.slot, reason);
                                continue;
                            }
                            Anew::IsAlready => {}
                            Anew::Written(placed) => {
                                freed.report.reencrypted(survey.region(), placed.length());
                                survey.written(relied.slot, placed);
                            }
                        }
                        let all = relied.blobs.iter().chain(&relied.copy);
                        all.for_each(|blob| survey.supersede(relied.slot, slot.name_of(blob)));
                    }
                    spent.bytes += bytes;
                    anew += wave.len();
                    (self.on_progress)(Progress { done: spent.bytes, total: spent.bytes });
                }
            }
            freed.report.add_under_old_keys(survey.region(), left);
            if anew > 0 {
                freeing.remove_all_garbage(survey, freed).await?;
            }
            if all.iter().all(|relied| looked_at.contains(&(relied.slot, relied.pack.id))) {
                survey.unneeded(&state).iter().for_each(|unneeded| freed.report.tell(survey.region(), unneeded));
                return Ok(());
            }
        }
    }

    /// Writes what a slot relies on anew, under its region's key.
    async fn write_anew(&self, slot: &Slot, relied: &Relied) -> Result<Anew> {
        let workers = &self.session.inner.workers;
        if !relied.is_whole {
            return Ok(Anew::Unread(ErrorKind::NotFound));
        }
        let anew: Result<Option<(Parcel, Bytes)>> = match relied.blobs.as_slice() {
            [one] => slot.under_new_key(one, workers).await.map(|anew| {
                let (part, bytes) = anew?;
                Some((Parcel::Part(part), bytes))
            }),
            _ => slot.recoded(&relied.pack, &relied.live, None, workers).await.map(Some),
        };
        match anew {
            Ok(Some((parcel, bytes))) => Ok(Anew::Written(slot.put_parcel(&parcel, bytes).await?.0)),
            Ok(None) => Ok(Anew::IsAlready),
            Err(error) => Ok(Anew::Unread(error.kind())),
        }
    }
}

/// What became of a pack that was under an old key.
enum Anew {
    Written(Parcel),
    /// It was found to be under the region's key.
    IsAlready,
    /// It can't be read, and stays as it is.
    Unread(ErrorKind),
}

/// What was spent of a budget, over all regions.
struct Spent {
    since: DateTime<Utc>,
    bytes: u64,
}

/// Returns those that rely on a blob under an old key, and reports those that can't be read.
async fn under_old_keys<'a>(
    survey: &Survey,
    all: &'a [Relied],
    report: &mut CollectionReport,
) -> Result<Vec<(Slot, &'a Relied)>> {
    let looking = all.iter().filter_map(|relied| {
        let slot = survey.slot(relied.slot)?;
        Some(async move {
            // Without it nothing of the region can be written anew.
            slot.keys().current().await?;
            // A copy under an old key goes, and what rests is merged again.
            let blobs = relied.blobs.iter().chain(&relied.copy);
            let read = together(blobs.map(|blob| slot.is_under_old_key(blob)).collect()).await;
            if read.iter().any(|read| matches!(read, Ok(true))) {
                return Ok(Look::IsOld(relied));
            }
            let unread = read.into_iter().find_map(Result::err).map(|error| error.kind());
            let unread = unread.or_else(|| (!relied.is_whole).then_some(ErrorKind::NotFound));
            Ok::<_, Error>(unread.map_or(Look::IsNew, |reason| Look::Unread(relied.slot, reason)))
        })
    });
    let mut old = Vec::new();
    for look in all_of(looking.collect()).await? {
        match look {
            Look::IsOld(relied) => old.extend(survey.slot(relied.slot).map(|slot| (slot.clone(), relied))),
            Look::IsNew => {}
            Look::Unread(slot, reason) => report.unread(survey.region(), slot, reason),
        }
    }
    Ok(old)
}

/// What the heads of a pack's blobs tell.
enum Look<'a> {
    IsOld(&'a Relied),
    IsNew,
    Unread(SlotId, ErrorKind),
}
