//! The stores as processes reach them: over a network that fails, on disks that a power cut catches, or in buckets.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use compute_gallery::store::*;
use futures::future::join_all;

use crate::bucket::{ASKED_AGAIN, Service};
use crate::disk::Disk;
use crate::executor::{at_once, others_go_first};
use crate::world::{World, lock};

/// The fate of requests on their way.
#[derive(Default)]
pub struct Network {
    pub calls: u64,
    /// Calls of a thousand that fail.
    pub rate: usize,
    /// Whether calls may get no answer at all; their callers have deadlines.
    pub hangs: bool,
    /// Stores that answer nothing but this, and until which call.
    pub outages: BTreeMap<&'static str, (u64, StoreErrorKind)>,
    /// Changes that arrive after their callers gave up, and at which call.
    pub late: Vec<(u64, Remote, Change)>,
    /// Changes that are on their way.
    under_way: Vec<(&'static str, BlobKey)>,
    /// The process and the task whose turn it is.
    pub turn: (usize, usize),
    pub faults_of_task: BTreeMap<usize, u64>,
    pub faults_of_process: BTreeMap<usize, u64>,
    /// What all meet, such as hours that pass at once while calls have deadlines.
    pub faults_of_all: u64,
    /// Changes that took effect and were not looked at yet.
    pub effects: Vec<(&'static str, BlobKey)>,
    /// What a power cut may take from each store.
    pub disks: BTreeMap<&'static str, Disk>,
}

#[derive(Clone, Debug)]
pub enum Change {
    Put(BlobKey, Bytes, PutMode),
    Copy(BlobKey, BlobKey, PutMode),
    /// The rest of a copy that has made a blob without bytes.
    Fill(BlobKey, BlobKey),
    Delete(BlobKey),
    ReplaceIf(BlobKey, Bytes, BlobVersion),
    DeleteIf(BlobKey, BlobVersion),
}

/// What becomes of a call.
#[derive(Clone, Copy)]
struct Fate {
    happens: When,
    answer: Answer,
}

#[derive(Clone, Copy)]
enum When {
    Now,
    /// After its caller was told that it is unknown, or gave up.
    Late,
    Never,
}

#[derive(Clone, Copy)]
enum Answer {
    True,
    Failed(StoreErrorKind),
    /// None ever comes.
    Hangs,
}

impl Fate {
    fn failed(happens: When, kind: StoreErrorKind) -> Self {
        Self { happens, answer: Answer::Failed(kind) }
    }
}

/// A store as a process of a gallery reaches it.
#[derive(Clone, Debug)]
pub struct Remote {
    pub world: Arc<World>,
    pub place: &'static str,
    /// The store of the catalog of the gallery whose process it is, and that gallery's name; ours has none.
    pub catalog: (&'static str, &'static str),
}

impl Change {
    fn operation(&self) -> &'static str {
        match self {
            Self::Put(..) => "put",
            Self::Copy(..) | Self::Fill(..) => "copy",
            Self::Delete(_) => "delete",
            Self::ReplaceIf(..) => "replace_if",
            Self::DeleteIf(..) => "delete_if",
        }
    }

    fn key(&self) -> &BlobKey {
        let (Self::Put(key, ..)
        | Self::Copy(_, key, _)
        | Self::Fill(_, key)
        | Self::Delete(key)
        | Self::ReplaceIf(key, ..)
        | Self::DeleteIf(key, _)) = self;
        key
    }

    fn is_deletion(&self) -> bool {
        matches!(self, Self::Delete(_) | Self::DeleteIf(..))
    }

    /// Whether it depends on what is there.
    fn is_conditional(&self) -> bool {
        matches!(
            self,
            Self::Put(.., PutMode::Create) | Self::Copy(.., PutMode::Create) | Self::ReplaceIf(..) | Self::DeleteIf(..)
        )
    }

    async fn apply(&self, remote: &Remote) -> StoreResult<()> {
        let store = remote.store();
        let there = |key| remote.service().and_then(|service| service.version(store, key));
        let changed = |key| Err(StoreError::new(StoreErrorKind::Changed, self.operation(), Some(key)));
        match self {
            Self::Put(key, bytes, mode) => store.put(key, bytes.clone(), *mode).await,
            Self::Copy(from, to, mode) => store.copy(from, to, *mode).await,
            Self::Fill(from, to) => match (store.find(from).await?, store.head(to).await) {
                (Some(bytes), Ok(there)) if there.size == 0 => store.put(to, bytes, PutMode::Overwrite).await,
                // It is not what the copy has made.
                _ => Ok(()),
            },
            Self::Delete(key) => store.delete(key).await,
            Self::ReplaceIf(key, bytes, version) => match there(key) == Some(version.clone()) {
                true => store.put(key, bytes.clone(), PutMode::Overwrite).await,
                false => changed(key),
            },
            Self::DeleteIf(key, version) => match there(key) {
                Some(there) if there != *version => changed(key),
                _ => store.delete(key).await,
            },
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put(key, bytes, mode) => write!(f, "put {key} ({} bytes, {mode:?})", bytes.len()),
            Self::Copy(from, to, _) => write!(f, "copy {from} to {to}"),
            Self::Fill(from, to) => write!(f, "finish the copy of {from} to {to}"),
            Self::Delete(key) => write!(f, "delete {key}"),
            Self::ReplaceIf(key, bytes, version) => write!(f, "replace {key} ({} bytes) if {version}", bytes.len()),
            Self::DeleteIf(key, version) => write!(f, "delete {key} if {version}"),
        }
    }
}

/// A change on its way. If its caller goes away, it may arrive all the same.
struct UnderWay {
    remote: Remote,
    change: Option<Change>,
}

impl UnderWay {
    fn new(remote: &Remote, change: Change) -> Self {
        lock(&remote.world.network).under_way.push((remote.place, change.key().clone()));
        Self { remote: remote.clone(), change: Some(change) }
    }

    fn ends(&mut self) -> Option<Change> {
        let change = self.change.take()?;
        let mut network = lock(&self.remote.world.network);
        let ours = network.under_way.iter().position(|(place, key)| (*place, key) == (self.remote.place, change.key()));
        ours.map(|place| network.under_way.swap_remove(place));
        Some(change)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(change) = self.ends()
            && self.remote.world.one_in(2)
        {
            self.remote.is_late(change);
        }
    }
}

impl Network {
    /// The task whose turn it is, and its process, meet a fault.
    fn meets_a_fault(&mut self) {
        let (process, task) = self.turn;
        *self.faults_of_process.entry(process).or_default() += 1;
        *self.faults_of_task.entry(task).or_default() += 1;
    }
}

impl World {
    fn fate(&self, place: &'static str, operation: &str) -> Fate {
        let is_change = matches!(operation, "put" | "copy" | "delete" | "replace_if" | "delete_if");
        let mut network = lock(&self.network);
        network.calls += 1;
        let outage = network.outages.get(place).filter(|(until, _)| network.calls < *until).map(|(_, kind)| *kind);
        if outage.is_none() && self.below(1000) >= network.rate {
            return Fate { happens: When::Now, answer: Answer::True };
        }
        network.meets_a_fault();
        let after = *self.of(&[None, Some(Duration::from_secs(1)), Some(Duration::from_secs(20))]);
        let (what, fate) = match (self.below(10), outage) {
            (_, Some(kind)) => (World::name_of(kind), Fate::failed(When::Never, kind)),
            (0 | 1, _) if is_change => ("answer lost", Fate::failed(When::Now, StoreErrorKind::Unknown)),
            (2 | 3, _) if is_change => ("late", Fate::failed(When::Late, StoreErrorKind::Unknown)),
            (4, _) if is_change => ("request lost", Fate::failed(When::Never, StoreErrorKind::Unknown)),
            (0, _) => ("unanswered read", Fate::failed(When::Now, StoreErrorKind::Unavailable)),
            (5, _) if is_change && !operation.starts_with("delete") => {
                ("full", Fate::failed(When::Never, StoreErrorKind::Full))
            }
            (6, _) => ("throttled", Fate::failed(When::Never, StoreErrorKind::Throttled { after })),
            (7 | 8, _) if network.hangs => {
                let happens = *self.of(&[When::Now, When::Late, When::Never]);
                ("hangs", Fate { happens, answer: Answer::Hangs })
            }
            _ => ("unavailable", Fate::failed(When::Never, StoreErrorKind::Unavailable)),
        };
        self.count(&format!("fault: {what}"));
        fate
    }

    /// Whether a power cut may take a blob that is there.
    pub fn may_lose(&self, place: &str, key: &BlobKey) -> bool {
        lock(&self.network).disks.get(place).is_some_and(|disk| disk.may_lose(key))
    }

    /// Lets late changes arrive whose time has come, or all of them.
    pub fn deliver_late(&self, all: bool) {
        let (due, later) = {
            let mut network = lock(&self.network);
            let (late, now) = (std::mem::take(&mut network.late), network.calls);
            late.into_iter().partition::<Vec<_>, _>(|(at, ..)| all || *at <= now)
        };
        lock(&self.network).late = later;
        for (_, remote, change) in due {
            remote.arrives_late(&change);
        }
    }

    /// The power of all stores and processes fails: what is on its way arrives just before, or never, and of what is visible and not
    /// durable some is lost. The processes are the caller's to kill.
    pub fn power_cut(&self) {
        self.say("-- the power fails".to_owned());
        let late = std::mem::take(&mut lock(&self.network).late);
        for (_, remote, change) in late.into_iter().filter(|_| self.one_in(2)) {
            remote.arrives_late(&change);
        }
        lock(&self.model).catch_up(self);
        let disks = std::mem::take(&mut lock(&self.network).disks);
        for (place, mut disk) in disks {
            for (key, state) in disk.cut(|states| self.below(states)) {
                let store = self.store(place);
                let there = at_once(store.find(&key)).unwrap();
                if there == state {
                    continue;
                }
                let what = if there.is_some() && state.is_none() { "lost to" } else { "undone by" };
                self.say(format!("-- {place}: {key} is {what} the power cut"));
                self.count(&format!("{what} a power cut"));
                at_once(async {
                    match state {
                        Some(bytes) => store.put(&key, bytes, PutMode::Overwrite).await,
                        None => store.delete(&key).await,
                    }
                })
                .unwrap();
            }
        }
        lock(&self.network).effects.clear();
    }
}

/// A put of a process that is not simulated took effect and is durable, with all that is beside it.
pub fn take_persisted(world: &World, place: &'static str, key: &BlobKey) {
    let mut network = lock(&world.network);
    network.disks.entry(place).or_default().persisted(&key.parent().unwrap());
    network.effects.push((place, key.clone()));
}

impl Remote {
    fn store(&self) -> &MemoryStore {
        self.world.store(self.place)
    }

    fn say(&self, what: &dyn fmt::Display, answer: StoreResult<()>) {
        let said = answer.map_or_else(|error| format!("{:?}", error.kind()), |()| "done".to_owned());
        let turn = lock(&self.world.network).turn;
        self.world.say(format!("   process {} task {}: {}: {what}: {said}", turn.0, turn.1, self.place));
    }

    /// The service that the store is a bucket of; `None` of a disk.
    fn service(&self) -> Option<Service> {
        self.world.service(self.place)
    }

    /// It will arrive, when its caller expects it no more.
    fn is_late(&self, change: Change) {
        let delay = 1 + self.world.below(*self.world.of(&[200, 200, 2_000])) as u64;
        let mut network = lock(&self.world.network);
        let at = network.calls + delay;
        network.late.push((at, self.clone(), change));
    }

    /// Whether another change of a blob is on its way.
    fn is_under_way(&self, key: &BlobKey) -> bool {
        let network = lock(&self.world.network);
        let late = network.late.iter().map(|(_, remote, change)| (remote.place, change.key()));
        let alive = network.under_way.iter().map(|(place, key)| (*place, key));
        late.chain(alive).any(|one| one == (self.place, key))
    }

    /// A service may answer that another change of the blob is under way, and does nothing. It is asked again a few times.
    async fn waits_for_others(&self, change: &Change) -> StoreResult<()> {
        let key = change.key();
        for times in 0.. {
            if self.service().is_none() || !change.is_conditional() || !self.is_under_way(key) || self.world.one_in(2) {
                return Ok(());
            }
            self.world.count("fault: another is under way");
            lock(&self.world.network).meets_a_fault();
            self.say(change, Err(StoreError::new(StoreErrorKind::Unknown, change.operation(), Some(key))));
            if times == ASKED_AGAIN {
                break;
            }
            others_go_first().await;
        }
        Err(StoreError::new(StoreErrorKind::Unknown, change.operation(), Some(key)))
    }

    fn arrives_late(&self, change: &Change) {
        let outcome = self.take_effect(change);
        self.world.count(if change.is_deletion() { "late deletion" } else { "late put" });
        self.world.say(format!(
            "-- late in {}: {change}: {}",
            self.place,
            if outcome.is_ok() { "done" } else { "refused" }
        ));
    }

    /// Makes a change; returns the number that the disk knows it by.
    fn take_effect(&self, change: &Change) -> StoreResult<u64> {
        let (store, key) = (self.store(), change.key());
        let before = at_once(store.find(key)).unwrap();
        at_once(change.apply(self))?;
        let after = at_once(store.find(key)).unwrap();
        let mut network = lock(&self.world.network);
        network.effects.push((self.place, key.clone()));
        // What can be seen in a bucket is durable.
        if (before.is_none() && after.is_none()) || self.service().is_some() {
            drop(network);
            self.world.is_its_own(self, key);
            return Ok(0);
        }
        let number = network.disks.entry(self.place).or_default().changed(key, before, after);
        drop(network);
        self.world.is_its_own(self, key);
        Ok(number)
    }

    async fn read<T>(
        &self,
        operation: &'static str,
        key: Option<&BlobKey>,
        work: impl Future<Output = StoreResult<T>>,
    ) -> StoreResult<T> {
        others_go_first().await;
        let Fate { happens, answer } = self.world.fate(self.place, operation);
        let done = if matches!(happens, When::Now) { Some(work.await) } else { None };
        let answer = match (answer, done) {
            (Answer::Hangs, _) => {
                self.world.say(format!("   {}: {operation} gets no answer", self.place));
                std::future::pending().await
            }
            (Answer::True, Some(answer)) => answer,
            (Answer::True, None) => Err(StoreError::new(StoreErrorKind::Unavailable, operation, key)),
            (Answer::Failed(kind), _) => Err(StoreError::new(kind, operation, key)),
        };
        let what = format!("{operation} {}", key.map_or("everything", |key| key.as_str()));
        self.say(&what, answer.as_ref().map(drop).map_err(|error| StoreError::new(error.kind(), operation, key)));
        others_go_first().await;
        answer
    }

    async fn change(&self, change: Change) -> StoreResult<()> {
        self.waits_for_others(&change).await?;
        let mut under_way = UnderWay::new(self, change);
        others_go_first().await;
        let Some(change) = under_way.ends() else { return Ok(()) };
        let (operation, key) = (change.operation(), change.key());
        let Fate { happens, answer } = self.world.fate(self.place, operation);
        let done = match happens {
            When::Now => Some(self.happens(&change).await),
            When::Late => {
                self.is_late(self.begun(&change).unwrap_or_else(|| change.clone()));
                None
            }
            When::Never => None,
        };
        let answer = match (answer, done) {
            (Answer::Hangs, _) => {
                self.world.say(format!("   {}: {change} gets no answer", self.place));
                std::future::pending().await
            }
            (Answer::True, Some(answer)) => answer,
            (Answer::True, None) => Err(StoreError::new(StoreErrorKind::Unknown, operation, Some(key))),
            (Answer::Failed(kind), _) => Err(StoreError::new(kind, operation, Some(key))),
        };
        let said = answer.as_ref().map(drop).map_err(|error| StoreError::new(error.kind(), operation, Some(key)));
        self.say(&change, said);
        // It is visible, and its caller does not know yet.
        others_go_first().await;
        let number = answer?;
        if !change.is_deletion() {
            let mut network = lock(&self.world.network);
            network.disks.entry(self.place).or_default().acknowledged(key, number);
        }
        Ok(())
    }

    /// Makes a change; some copies by and by.
    async fn happens(&self, change: &Change) -> StoreResult<u64> {
        let Some(rest) = self.begun(change) else { return self.take_effect(change) };
        let mut under_way = UnderWay::new(self, rest);
        for _ in 0..1 + self.world.below(6) {
            others_go_first().await;
        }
        under_way.ends().map_or(Ok(0), |rest| self.take_effect(&rest))
    }

    /// The rest of a copy that the service makes by and by, and has begun: it has made a blob without bytes.
    fn begun(&self, change: &Change) -> Option<Change> {
        let Change::Copy(from, to, mode) = change else { return None };
        let is_slow = self.service().is_some_and(Service::copies_slowly);
        let empty = Change::Put(to.clone(), Bytes::new(), *mode);
        if !is_slow || at_once(self.store().head(from)).is_err() || self.take_effect(&empty).is_err() {
            return None;
        }
        self.world.count("copy that takes its time");
        self.world.say(format!("-- {}: {change} has begun", self.place));
        Some(Change::Fill(from.clone(), to.clone()))
    }

    /// One request for several deletions: it fails as a whole, or some of them do.
    async fn delete_at_once(&self, keys: &[BlobKey]) -> Vec<StoreResult<()>> {
        let mut all: Vec<UnderWay> = keys.iter().map(|key| UnderWay::new(self, Change::Delete(key.clone()))).collect();
        others_go_first().await;
        let changes: Vec<Change> = all.iter_mut().filter_map(UnderWay::ends).collect();
        self.world.count("several deleted at once");
        let Fate { happens, answer } = self.world.fate(self.place, "delete");
        let mut outcomes = Vec::new();
        for change in changes {
            let key = change.key();
            let failed = |kind| Err(StoreError::new(kind, "delete", Some(key)));
            let when = match happens {
                When::Never => When::Never,
                When::Now | When::Late if matches!(answer, Answer::True) => When::Now,
                // Each for itself.
                When::Now | When::Late => *self.world.of(&[When::Now, When::Late, When::Never]),
            };
            let one_fails =
                matches!(answer, Answer::True) && lock(&self.world.network).rate > 0 && self.world.one_in(5);
            let outcome = match (when, answer) {
                _ if one_fails => {
                    self.world.count("fault: one of several deletions");
                    lock(&self.world.network).meets_a_fault();
                    failed(StoreErrorKind::Unknown)
                }
                (When::Now, answer) => {
                    let done = self.take_effect(&change).map(drop);
                    if let Answer::Failed(kind) = answer { failed(kind) } else { done }
                }
                (When::Late, Answer::Failed(kind)) => {
                    self.is_late(change.clone());
                    failed(kind)
                }
                (_, Answer::Failed(kind)) => failed(kind),
                _ => failed(StoreErrorKind::Unknown),
            };
            self.say(
                &change,
                outcome.as_ref().map(drop).map_err(|error| StoreError::new(error.kind(), "delete", Some(key))),
            );
            outcomes.push(outcome);
        }
        if matches!(answer, Answer::Hangs) {
            std::future::pending().await
        }
        others_go_first().await;
        outcomes
    }
}

/// The provided methods are made of these, and so have their faults.
#[async_trait]
impl BlobStore for Remote {
    async fn put(&self, key: &BlobKey, bytes: Bytes, mode: PutMode) -> StoreResult<()> {
        self.change(Change::Put(key.clone(), bytes, mode)).await
    }

    async fn get(&self, key: &BlobKey, range: Option<Range<u64>>) -> StoreResult<Bytes> {
        self.read("get", Some(key), self.store().get(key, range)).await
    }

    async fn head(&self, key: &BlobKey) -> StoreResult<BlobMeta> {
        let blob = self.read("head", Some(key), self.store().head(key)).await?;
        Ok(match self.service() {
            Some(service) => service.described(self.store(), blob),
            None => blob,
        })
    }

    async fn delete(&self, key: &BlobKey) -> StoreResult<()> {
        self.change(Change::Delete(key.clone())).await
    }

    async fn list(&self, under: Option<&BlobKey>, after: Option<&BlobKey>, limit: usize) -> StoreResult<Page> {
        let Some(service) = self.service() else {
            return self.read("list", under, self.store().list(under, after, limit)).await;
        };
        // A page may be shorter than it was asked for.
        let limit = if self.world.one_in(4) { limit.min(1 + self.world.below(8)) } else { limit };
        let Page { blobs, more, .. } = self.read("list", under, self.store().list(under, after, limit)).await?;
        Ok(Page::new(blobs.into_iter().map(|blob| service.described(self.store(), blob)).collect(), more))
    }

    async fn copy(&self, from: &BlobKey, to: &BlobKey, mode: PutMode) -> StoreResult<()> {
        if self.service().is_some_and(|service| !service.copies(mode)) {
            let bytes = self.get(from, None).await?;
            return self.put(to, bytes, mode).await;
        }
        self.change(Change::Copy(from.clone(), to.clone(), mode)).await
    }

    async fn persist(&self, under: &BlobKey) -> StoreResult<()> {
        if self.service().is_some() {
            return Ok(());
        }
        let sync = async {
            lock(&self.world.network).disks.entry(self.place).or_default().persisted(under);
            Ok(())
        };
        self.read("persist", Some(under), sync).await
    }

    fn capabilities(&self) -> Capabilities {
        let of_disks = Capabilities::default().with_remounts(self.store().capabilities().can_be_remounted());
        self.service().map_or(of_disks, Service::capabilities)
    }

    async fn delete_many(&self, keys: &[BlobKey]) -> Vec<StoreResult<()>> {
        if keys.len() > 1 && self.service().is_some_and(Service::removes_many) {
            return self.delete_at_once(keys).await;
        }
        join_all(keys.iter().map(|key| self.delete(key))).await
    }

    async fn replace_if(&self, key: &BlobKey, bytes: Bytes, version: &BlobVersion) -> StoreResult<()> {
        self.change(Change::ReplaceIf(key.clone(), bytes, version.clone())).await
    }

    async fn delete_if(&self, key: &BlobKey, version: &BlobVersion) -> StoreResult<()> {
        self.change(Change::DeleteIf(key.clone(), version.clone())).await
    }
}
