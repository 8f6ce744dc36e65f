//! Rotation of keys: all keys are wrapped by the host's current one, and what is under an old data key is written anew and collected.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::TimeDelta;

use super::freeing::{Freed, Freeing};
use crate::catalog::State;
use crate::content::names::{PackId, SlotId};
use crate::error::{Error, ErrorKind, Result};
use crate::host::in_flight::all_of;
use crate::host::sync::Mutex;
use crate::progress::{OnProgress, Progress};
use crate::regions::collection_report::CollectionReport;
use crate::regions::garbage::{Relied, Survey};
use crate::replica::holders::is_damage;
use crate::replica::parcel::Parcel;
use crate::replica::slot::Slot;
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
    /// [key provider](crate::GalleryServiceBuilder::encryption). First each key of the catalog is wrapped with it: from then on nothing needs
    /// the provider's old keys, also if the rest fails or is not run. Then each region gets a new data key, if its newest was made with another
    /// key of the provider, and what is encrypted under an old data key is written anew and removed, as by
    /// [`compress`](Self::compress). Nothing happens in a catalog that is not encrypted. Safe beside publishing, replicating and deploying, in
    /// this process and in others; those keep the data key that they have until their next import.
    ///
    /// # Errors
    ///
    /// `KeyMissing` if a key is away, `Unavailable` if the provider does not answer; otherwise as [`collect`](Self::collect). What is rotated stays
    /// so; the next call goes on.
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
                let all = survey.relied_on(&state);
                let mut left = 0;
                for wave in all.chunks(LOOKS) {
                    left += under_old_keys(&survey, wave).await?.len();
                }
                report.add_under_old_keys(region, left);
            }
        }
        Ok(Plan { collection: Some(report), ..Plan::default() })
    }

    async fn run(self) -> Result<CollectionReport> {
        self.session.require_administrator("rotate keys")?;
        self.session.inner.catalog.refuse_change()?;
        let inner = &self.session.inner;
        let mut report = CollectionReport::of(&[]);
        let Some(keyring) = inner.regions.keyring() else { return Ok(report) };
        // ORDER: wrap what is there, then write anew. The other way round, the host destroys the old key -> content under an old data key is
        // lost that an import has written meanwhile.
        keyring.rotate().await?;
        let (state, ()) = futures::join!(self.session.state(), inner.regions.recheck_all_now());
        let state = state?;
        let (progress, silent): (_, OnProgress) = (Mutex::new(Progress { done: 0, total: 0 }), Arc::new(|_| {}));
        let freeing = Freeing { session: &self.session, on_progress: &silent };
        let mut written = 0;
        for region in &inner.regions.all(&state).await? {
            let mut freed = Freed { report: CollectionReport::of(&[]), progress: &progress };
            let state = freeing.finish_removal(region, self.session.state().await?, &mut freed).await?;
            let mut survey = Survey::list(&inner.regions, &state, region).await?;
            let done = self.rotate(&freeing, &mut survey, &mut freed, &mut written).await;
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
        written: &mut u64,
    ) -> Result<()> {
        let inner = &self.session.inner;
        let (began, mut looked_at) = (inner.clock.now(), BTreeSet::<(SlotId, PackId)>::new());
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
                for wave in under_old_keys(survey, looks).await?.chunks(REWRITES) {
                    let bytes: u64 = wave.iter().flat_map(|(_, relied)| &relied.blobs).map(Parcel::length).sum();
                    let late =
                        self.within.is_some_and(|within| inner.clock.now().signed_duration_since(began) >= within);
                    if late || written.saturating_add(bytes) > self.at_most {
                        left += wave.len();
                        continue;
                    }
                    let writing = wave.iter().map(|(slot, relied)| self.write_anew(slot, relied)).collect();
                    for ((_, relied), placed) in wave.iter().zip(all_of(writing).await?) {
                        let Some((placed, length)) = placed else { continue };
                        freed.report.reencrypted(survey.region(), length);
                        survey.written(relied.slot, placed);
                    }
                    for (slot, relied) in wave {
                        let all = relied.blobs.iter().chain(&relied.copy);
                        all.for_each(|blob| survey.supersede(relied.slot, slot.name_of(blob)));
                    }
                    *written += bytes;
                    anew += wave.len();
                    (self.on_progress)(Progress { done: *written, total: *written });
                }
            }
            freed.report.add_under_old_keys(survey.region(), left);
            if anew > 0 {
                freeing.remove_all_garbage(survey, freed).await?;
            }
            if all.iter().all(|relied| looked_at.contains(&(relied.slot, relied.pack.id))) {
                return Ok(());
            }
        }
    }

    /// Writes what a slot relies on anew, under its region's key. A damaged pack is left to a scrub.
    async fn write_anew(&self, slot: &Slot, relied: &Relied) -> Result<Option<(Parcel, u64)>> {
        let workers = &self.session.inner.workers;
        let anew: Result<Option<(Parcel, Bytes)>> = match relied.blobs.as_slice() {
            [one] => slot.under_new_key(one, workers).await.map(|anew| {
                let (part, bytes) = anew?;
                Some((Parcel::Part(part), bytes))
            }),
            _ => slot.recoded(&relied.pack, &relied.live, None, workers).await.map(Some),
        };
        match anew {
            Ok(Some((parcel, bytes))) => {
                let (placed, _) = slot.put_parcel(&parcel, bytes).await?;
                let length = placed.length();
                Ok(Some((placed, length)))
            }
            Ok(None) => Ok(None),
            Err(error) if is_damage(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Returns those that rely on a blob under an old key.
async fn under_old_keys<'a>(survey: &Survey, all: &'a [Relied]) -> Result<Vec<(Slot, &'a Relied)>> {
    let looking = all.iter().filter_map(|relied| {
        let slot = survey.slot(relied.slot)?.clone();
        Some(async move {
            // A copy under an old key goes, and what rests is merged again.
            for blob in relied.blobs.iter().chain(&relied.copy) {
                match slot.is_under_old_key(blob).await {
                    Ok(true) => return Ok(Some((slot, relied))),
                    Ok(false) => {}
                    // A damaged one is left to a scrub, a slot that does not answer to the next time.
                    Err(error) if matches!(error.kind(), ErrorKind::KeyMissing) => return Err::<_, Error>(error),
                    Err(_) => {}
                }
            }
            Ok(None)
        })
    });
    Ok(all_of(looking.collect()).await?.into_iter().flatten().collect())
}
