//! The stores as processes reach them: over a network that fails, on disks that a power cut catches.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use compute_gallery::store::*;

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
    /// Stores that are away, and until which call.
    pub outages: BTreeMap<&'static str, u64>,
    /// Changes that arrive after their callers gave up, and at which call.
    pub late: Vec<(u64, Remote, Change)>,
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
    Delete(BlobKey),
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
    fn key(&self) -> &BlobKey {
        let (Self::Put(key, ..) | Self::Copy(_, key, _) | Self::Delete(key)) = self;
        key
    }

    async fn apply(&self, store: &MemoryStore) -> StoreResult<()> {
        match self.clone() {
            Self::Put(key, bytes, mode) => store.put(&key, bytes, mode).await,
            Self::Copy(from, to, mode) => store.copy(&from, &to, mode).await,
            Self::Delete(key) => store.delete(&key).await,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put(key, bytes, mode) => write!(f, "put {key} ({} bytes, {mode:?})", bytes.len()),
            Self::Copy(from, to, _) => write!(f, "copy {from} to {to}"),
            Self::Delete(key) => write!(f, "delete {key}"),
        }
    }
}

impl World {
    fn fate(&self, place: &'static str, operation: &str) -> Fate {
        let is_change = matches!(operation, "put" | "copy" | "delete");
        let mut network = lock(&self.network);
        network.calls += 1;
        let is_away = network.outages.get(place).is_some_and(|until| network.calls < *until);
        if !is_away && self.below(1000) >= network.rate {
            return Fate { happens: When::Now, answer: Answer::True };
        }
        let (process, task) = network.turn;
        *network.faults_of_process.entry(process).or_default() += 1;
        *network.faults_of_task.entry(task).or_default() += 1;
        let after = *self.of(&[None, Some(Duration::from_secs(1)), Some(Duration::from_secs(20))]);
        let (what, fate) = match self.below(10) {
            _ if is_away => ("away", Fate::failed(When::Never, StoreErrorKind::Unavailable)),
            0 | 1 if is_change => ("answer lost", Fate::failed(When::Now, StoreErrorKind::Unknown)),
            2 | 3 if is_change => ("late", Fate::failed(When::Late, StoreErrorKind::Unknown)),
            4 if is_change => ("request lost", Fate::failed(When::Never, StoreErrorKind::Unknown)),
            0 => ("unanswered read", Fate::failed(When::Now, StoreErrorKind::Unavailable)),
            5 if is_change && operation != "delete" => ("full", Fate::failed(When::Never, StoreErrorKind::Full)),
            6 => ("throttled", Fate::failed(When::Never, StoreErrorKind::Throttled { after })),
            7 | 8 if network.hangs => {
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

    fn arrives_late(&self, change: &Change) {
        let outcome = self.take_effect(change);
        self.world.count(if matches!(change, Change::Delete(_)) { "late deletion" } else { "late put" });
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
        at_once(change.apply(store))?;
        let after = at_once(store.find(key)).unwrap();
        let mut network = lock(&self.world.network);
        network.effects.push((self.place, key.clone()));
        if before.is_none() && after.is_none() {
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

    async fn change(&self, operation: &'static str, change: Change) -> StoreResult<()> {
        others_go_first().await;
        let Fate { happens, answer } = self.world.fate(self.place, operation);
        let done = match happens {
            When::Now => Some(self.take_effect(&change)),
            When::Late => {
                let delay = 1 + self.world.below(*self.world.of(&[200, 200, 2_000])) as u64;
                let mut network = lock(&self.world.network);
                let at = network.calls + delay;
                network.late.push((at, self.clone(), change.clone()));
                None
            }
            When::Never => None,
        };
        let key = change.key();
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
        if !matches!(change, Change::Delete(_)) {
            let mut network = lock(&self.world.network);
            network.disks.entry(self.place).or_default().acknowledged(key, number);
        }
        Ok(())
    }
}

/// The provided methods are made of these, and so have their faults.
#[async_trait]
impl BlobStore for Remote {
    async fn put(&self, key: &BlobKey, bytes: Bytes, mode: PutMode) -> StoreResult<()> {
        self.change("put", Change::Put(key.clone(), bytes, mode)).await
    }

    async fn get(&self, key: &BlobKey, range: Option<Range<u64>>) -> StoreResult<Bytes> {
        self.read("get", Some(key), self.store().get(key, range)).await
    }

    async fn head(&self, key: &BlobKey) -> StoreResult<BlobMeta> {
        self.read("head", Some(key), self.store().head(key)).await
    }

    async fn delete(&self, key: &BlobKey) -> StoreResult<()> {
        self.change("delete", Change::Delete(key.clone())).await
    }

    async fn list(&self, under: Option<&BlobKey>, after: Option<&BlobKey>, limit: usize) -> StoreResult<Page> {
        self.read("list", under, self.store().list(under, after, limit)).await
    }

    async fn copy(&self, from: &BlobKey, to: &BlobKey, mode: PutMode) -> StoreResult<()> {
        self.change("copy", Change::Copy(from.clone(), to.clone(), mode)).await
    }

    async fn persist(&self, under: &BlobKey) -> StoreResult<()> {
        let sync = async {
            lock(&self.world.network).disks.entry(self.place).or_default().persisted(under);
            Ok(())
        };
        self.read("persist", Some(under), sync).await
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default().with_remounts(self.store().capabilities().can_be_remounted())
    }
}
