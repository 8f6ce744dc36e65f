//! Random steps against the gallery and against a small model of its rules: both must accept and refuse the same, for
//! the same reasons, and come to the same state.
//!
//! By hand: `RULEBOOK_SEQUENCES=300 RULEBOOK_STEPS=300 cargo test --features testkit --test rulebook`.
#![cfg(feature = "testkit")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper of a test may fail as the test does"
)]

#[path = "rulebook/model.rs"]
#[expect(unreachable_pub, reason = "a test has no public face")]
mod model;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use compute_gallery::disk::{DiskFormat, DiskSource};
use compute_gallery::model::*;
use compute_gallery::read::{LatestVerdict, ListScope, OperationStatus, ProvisioningState};
use compute_gallery::store::MemoryStore;
use compute_gallery::testkit::{ManualClock, Sandbox, SeededEntropy};
use compute_gallery::*;
use futures::executor::block_on;
use model::{DAY, GalleryKey, ImageKey, Model, Name, Seconds, Step, Target, Thing, VersionKey};

const SEQUENCES: u64 = 200;
const STEPS: usize = 200;
const COMPARED_EVERY: usize = 20;

const SUBSCRIPTIONS: [Name; 2] = ["dev", "prod"];
const REGIONS: [Name; 8] =
    ["westeurope", "eastus", "westus", "ukwest", "swedencentral", "australiacentral", "chinaeast", "atlantis"];
const HINTS: [Name; 5] = ["none", "release notes", "vCPUs", "memory", "disk types"];
const KINDS: [Name; 9] =
    ["linux", "windows", "specialized", "generation 2", "arm64", "eula", "privacy", "feature", "plan"];
const WORDS: [Option<Name>; 3] = [None, Some("red"), Some("blue")];

#[test]
fn the_gallery_keeps_to_the_rules_whatever_is_done_with_it() {
    let number = |name: &str, usual: u64| std::env::var(name).map_or(usual, |text| text.parse().unwrap());
    let steps = number("RULEBOOK_STEPS", STEPS as u64) as usize;
    for seed in 0..number("RULEBOOK_SEQUENCES", SEQUENCES) {
        block_on(run(seed, steps));
    }
}

fn start() -> DateTime<Utc> {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

async fn run(seed: u64, steps: usize) {
    let clock = ManualClock::new(start()).compared_with_stores();
    let store = MemoryStore::new().with_clock(clock.clone());
    let gallery = RealGallery::open(&store, &clock, seed).await;
    let mut random = Random(SeededEntropy::new(seed));
    let mut model = Model::default();
    for number in 0..steps {
        // No two steps share a time: the catalog's times are those of its commits, and all differ.
        clock.advance(Duration::from_secs(1));
        model.now += 1;
        let step = random.step(&model);
        let at = At { seed, number, step: &step, plan_first: random.one_in(4) };
        let before = gallery.session.view().number();
        let real = gallery.apply(&at).await;
        let expected = model.apply(&step);
        match (&real, &expected) {
            (Ok(deleted), Ok((_, expected))) => assert_eq!(deleted, expected, "what was deleted"),
            (Err(error), Err(codes)) => assert_eq!(codes_of(error.problems()), *codes, "{error}"),
            _ => panic!("the gallery says {real:?}, the model {expected:?}"),
        }
        // Replicating what is complete may write or not.
        if !matches!(step, Step::Replicate(_)) {
            let changed = gallery.session.view().number() != before;
            // What cannot be completed is written down as failed.
            let fails = expected.as_ref().is_err_and(|codes| codes.contains("NotFound"));
            assert_eq!(changed, fails || expected.is_ok_and(|(changed, _)| changed), "whether anything was written");
        }
        if number % COMPARED_EVERY == 0 {
            gallery.compare(&model).await;
        }
        if number + 1 == steps {
            gallery.compare(&model).await;
            // Who comes later reads the same.
            RealGallery::open(&store, &clock, seed + 1).await.compare(&model).await;
        }
    }
}

/// A step and its place, printed when anything goes wrong in it.
struct At<'a> {
    seed: u64,
    number: usize,
    step: &'a Step,
    plan_first: bool,
}

impl Drop for At<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}, step {}: {:?}", self.seed, self.number, self.step);
        }
    }
}

fn codes_of<'a>(problems: impl IntoIterator<Item = &'a Problem>) -> BTreeSet<&'a str> {
    problems.into_iter().map(Problem::code).collect()
}

struct Random(SeededEntropy);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0.below(end)
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// One that is there, mostly, so that not every step ends with a missing parent.
    fn known<K: Copy, V>(&mut self, there: &BTreeMap<K, V>) -> Option<K> {
        let any = !there.is_empty() && !self.one_in(8);
        any.then(|| *there.keys().nth(self.below(there.len())).unwrap())
    }

    fn new_gallery_key(&mut self) -> GalleryKey {
        (self.pick(&SUBSCRIPTIONS), self.pick(&["group1", "group2"]), self.pick(&["a", "b", "c", "d"]))
    }

    fn gallery_key(&mut self, model: &Model) -> GalleryKey {
        self.known(&model.galleries).unwrap_or_else(|| self.new_gallery_key())
    }

    fn new_image_key(&mut self, model: &Model) -> ImageKey {
        (self.gallery_key(model), self.pick(&["web", "db", "jobs"]))
    }

    fn image_key(&mut self, model: &Model) -> ImageKey {
        self.known(&model.definitions).unwrap_or_else(|| self.new_image_key(model))
    }

    fn new_version_key(&mut self, model: &Model) -> VersionKey {
        (self.image_key(model), self.pick(&[(0, 9, 0), (1, 0, 0), (1, 0, 2), (1, 0, 10), (1, 2, 0), (2, 0, 0)]))
    }

    fn version_key(&mut self, model: &Model) -> VersionKey {
        if self.one_in(5)
            && let Some(key) = self.known(&model.awaited)
        {
            return key;
        }
        self.known(&model.versions).unwrap_or_else(|| self.new_version_key(model))
    }

    fn location(&mut self) -> Name {
        match self.below(16) {
            0 => self.pick(&REGIONS),
            1..=3 => "eastus",
            4..=5 => "westus",
            6 => "chinaeast",
            _ => "westeurope",
        }
    }

    fn end_of_life(&mut self, now: Seconds) -> Option<Seconds> {
        match self.below(8) {
            0 => Some(now + self.pick(&[-DAY, -1, 0])),
            1..=4 => Some(now + self.pick(&[1, DAY, 3 * DAY, 40 * DAY])),
            _ => None,
        }
    }

    fn soft_delete(&mut self) -> Option<(bool, Option<u32>)> {
        let days = self.pick(&[None, Some(1), Some(3), Some(30)]);
        match self.below(4) {
            0 => None,
            // A policy that says nothing at all is as none.
            1 => days.map(|days| (false, Some(days))),
            _ => Some((true, days)),
        }
    }

    fn new_gallery(&mut self) -> model::Gallery {
        model::Gallery {
            location: self.location(),
            tag: self.pick(&WORDS),
            description: self.pick(&WORDS),
            soft_delete: self.soft_delete(),
            shared: self.one_in(4),
        }
    }

    fn identifier(&mut self) -> [Name; 3] {
        [self.pick(&["contoso", "fabrikam"]), self.pick(&["web", "db"]), self.pick(&["small", "large"])]
    }

    fn new_definition(&mut self, now: Seconds) -> model::Definition {
        model::Definition {
            location: self.location(),
            tag: self.pick(&WORDS),
            description: self.pick(&WORDS),
            end_of_life: self.end_of_life(now),
            hint: self.pick(&HINTS),
            identifier: self.identifier(),
            kind: self.pick(&KINDS),
        }
    }

    fn storage(&mut self) -> StorageAccountType {
        use StorageAccountType::*;
        self.pick(&[StandardLrs, StandardLrs, PremiumLrs, StandardZrs])
    }

    fn target(&mut self, region: Name) -> Target {
        let count = if self.one_in(20) { 4 } else { 1 + self.below(3) as u32 };
        Target {
            region,
            replicas: self.one_in(2).then_some(count),
            storage: self.one_in(2).then(|| self.storage()),
            excluded: self.pick(&[None, None, None, Some(true), Some(false)]),
        }
    }

    fn targets(&mut self, location: Name) -> Vec<Target> {
        let mut regions = if self.one_in(20) { vec![] } else { vec![location] };
        let near: &[Name] = if location == "chinaeast" { &["chinaeast"] } else { &REGIONS[..5] };
        for _ in 0..self.below(3) {
            regions.push(if self.one_in(20) { self.pick(&REGIONS) } else { self.pick(near) });
        }
        let mut seen = BTreeSet::new();
        regions.retain(|region| seen.insert(*region));
        if regions.is_empty() {
            regions.push("eastus");
        }
        regions.into_iter().map(|region| self.target(region)).collect()
    }

    fn new_version(&mut self, now: Seconds) -> model::Version {
        let location = self.location();
        model::Version {
            location,
            tag: self.pick(&WORDS),
            targets: self.targets(location),
            replicas: self.pick(&[1, 1, 1, 1, 2, 3]),
            storage: if self.one_in(3) { self.storage() } else { StorageAccountType::StandardLrs },
            excluded: self.one_in(5),
            end_of_life: self.end_of_life(now),
            allows_removal: self.one_in(2),
            keeps_to_end_of_life: self.one_in(4),
            sectors: 1 + self.below(2) as u64,
        }
    }

    fn changed_gallery(&mut self, old: &model::Gallery) -> model::Gallery {
        let (mut gallery, other) = (old.clone(), self.new_gallery());
        for _ in 0..self.below(3) {
            match self.below(8) {
                0 => gallery.location = other.location,
                1 => gallery.shared = other.shared,
                2..=3 => gallery.tag = other.tag,
                4..=5 => gallery.description = other.description,
                _ => gallery.soft_delete = other.soft_delete,
            }
        }
        gallery
    }

    fn changed_definition(&mut self, old: &model::Definition, now: Seconds) -> model::Definition {
        let (mut definition, other) = (old.clone(), self.new_definition(now));
        for _ in 0..self.below(4) {
            match self.below(10) {
                0 => definition.location = other.location,
                1 => definition.identifier = other.identifier,
                2 => definition.kind = other.kind,
                3..=4 => definition.end_of_life = other.end_of_life,
                5..=6 => definition.tag = other.tag,
                7 => definition.description = other.description,
                _ => definition.hint = other.hint,
            }
        }
        definition
    }

    fn changed_version(&mut self, old: &model::Version, now: Seconds) -> model::Version {
        let (mut version, other) = (old.clone(), self.new_version(now));
        for _ in 0..self.below(4) {
            match self.below(20) {
                0 => version.location = self.pick(&["westeurope", "eastus", "westus"]),
                1 => version.sectors = other.sectors,
                2 => version.storage = other.storage,
                3 => version.targets = self.targets(old.location),
                4..=5 => {
                    let region = self.pick(&REGIONS[..5]);
                    if version.target(region).is_none() {
                        version.targets.push(self.target(region));
                    }
                }
                6..=7 => {
                    let place = self.below(version.targets.len());
                    version.targets[place] = self.target(version.targets[place].region);
                }
                8 if version.targets.len() > 1 => drop(version.targets.pop()),
                9 => version.targets.rotate_left(1),
                10..=11 => version.replicas = other.replicas,
                12 => version.excluded = other.excluded,
                13 => version.end_of_life = other.end_of_life,
                14..=15 => version.allows_removal = other.allows_removal,
                16 => version.keeps_to_end_of_life = other.keeps_to_end_of_life,
                _ => version.tag = other.tag,
            }
        }
        version
    }

    /// Some days, or until the step after this one, or the one after that, comes at the very end of something.
    fn wait(&mut self, model: &Model) -> Seconds {
        let ends = model.versions.iter().map(|(key, one)| (model.end_of_retention(key), one.version.end_of_life));
        let ends: Vec<Seconds> = ends.flat_map(|(retention, life)| [retention, life]).flatten().collect();
        let ends: Vec<Seconds> = ends.into_iter().filter(|end| *end > model.now + 2).collect();
        match ends.is_empty() || self.one_in(2) {
            true => self.pick(&[DAY / 2, DAY, DAY, 3 * DAY, 7 * DAY]),
            false => self.pick(&ends) - model.now - self.pick(&[1, 2]),
        }
    }

    fn step(&mut self, model: &Model) -> Step {
        let now = model.now;
        match self.below(100) {
            0..=7 => {
                let known = if self.one_in(5) { self.known(&model.galleries) } else { None };
                let key = known.unwrap_or_else(|| self.new_gallery_key());
                let old = model.galleries.get(&key);
                let gallery = old.map(|old| self.changed_gallery(old));
                let (gallery, put) = (gallery.unwrap_or_else(|| self.new_gallery()), self.one_in(2));
                if put { Step::PutGallery(key, gallery) } else { Step::CreateGallery(key, gallery) }
            }
            8..=18 => {
                let key = self.new_image_key(model);
                let old = model.definitions.get(&key);
                let definition = old.map(|old| self.changed_definition(old, now));
                let (definition, put) = (definition.unwrap_or_else(|| self.new_definition(now)), self.one_in(2));
                if put { Step::PutDefinition(key, definition) } else { Step::CreateDefinition(key, definition) }
            }
            19..=32 => Step::Publish(self.new_version_key(model), self.new_version(now)),
            33..=38 => {
                let key = if self.one_in(2) { self.new_version_key(model) } else { self.version_key(model) };
                let key = self.known(&model.awaited).filter(|_| self.one_in(3)).unwrap_or(key);
                let published = model.versions.get(&key).map(|old| &old.version);
                let old = model.awaited.get(&key).map(|old| &old.version).or(published).cloned();
                let version = old.map(|old| if self.one_in(3) { old } else { self.changed_version(&old, now) });
                Step::PutVersion(key, version.unwrap_or_else(|| self.new_version(now)))
            }
            39..=41 => Step::Complete(self.known(&model.awaited).unwrap_or_else(|| self.version_key(model))),
            42..=48 => Step::Replicate(self.version_key(model)),
            49..=54 => {
                let key = self.gallery_key(model);
                let gallery = model.galleries.get(&key).map(|old| self.changed_gallery(old));
                let (gallery, put) = (gallery.unwrap_or_else(|| self.new_gallery()), self.one_in(2));
                if put { Step::PutGallery(key, gallery) } else { Step::UpdateGallery(key, gallery) }
            }
            55..=60 => {
                let key = self.image_key(model);
                let definition = model.definitions.get(&key).map(|old| self.changed_definition(old, now));
                let (definition, put) = (definition.unwrap_or_else(|| self.new_definition(now)), self.one_in(2));
                if put { Step::PutDefinition(key, definition) } else { Step::UpdateDefinition(key, definition) }
            }
            61..=75 => {
                let key = self.version_key(model);
                let version = model.versions.get(&key).map(|old| self.changed_version(&old.version, now));
                Step::UpdateVersion(key, version.unwrap_or_else(|| self.new_version(now)))
            }
            76..=89 => {
                let thing = match self.below(10) {
                    0 => Thing::Gallery(self.gallery_key(model)),
                    1..=2 => Thing::Image(self.image_key(model)),
                    _ => Thing::Version(self.version_key(model)),
                };
                Step::Delete { thing, cascade: self.one_in(3), bypass: self.one_in(4) }
            }
            90..=91 => Step::Mark { key: self.version_key(model), cancel: self.one_in(2) },
            92..=94 => Step::Restore(self.version_key(model)),
            _ => Step::Wait(self.wait(model)),
        }
    }
}

/// The gallery under test.
struct RealGallery {
    session: Session,
    clock: ManualClock,
}

/// Runs an operation, and may plan it first: the plan must have exactly the problems of the run.
macro_rules! run {
    ($operation:expr, $at:expr) => {{
        #[allow(unused_mut, reason = "only planning to publish changes what is planned: it opens the disks")]
        let mut operation = $operation;
        let plan = if $at.plan_first { Some(operation.plan().await.unwrap()) } else { None };
        let outcome = operation.await;
        if let Some(plan) = plan {
            let told: Vec<Problem> = outcome.as_ref().err().into_iter().flat_map(Error::problems).cloned().collect();
            assert_eq!(plan.problems, told, "plan and outcome");
        }
        outcome
    }};
}

impl RealGallery {
    async fn open(store: &MemoryStore, clock: &ManualClock, seed: u64) -> Self {
        let limits = Limits::default()
            .with_galleries(model::GALLERIES)
            .with_image_definitions(model::DEFINITIONS)
            .with_image_versions(model::VERSIONS)
            .with_replicas_per_region(model::REPLICAS);
        let settings = Sandbox::builder().one_store(store.clone()).clock(clock.clone()).seed(seed).empty();
        let settings = settings.service(move |builder| builder.limits(limits.clone()).one_store_for_all_zones());
        Self { session: settings.build().await.unwrap().session().clone(), clock: clock.clone() }
    }

    /// The deleted resources, or the refusal.
    async fn apply(&self, at: &At<'_>) -> Result<BTreeSet<Thing>> {
        let session = &self.session;
        // Now and then everything is written in capitals, which makes no difference.
        let write = Writer { capitals: at.number.is_multiple_of(5) };
        let nothing = BTreeSet::new();
        match at.step {
            Step::CreateGallery(key, gallery) => {
                run!(session.create_gallery(write.gallery(key, gallery)), at).map(|_| nothing)
            }
            Step::CreateDefinition(key, one) => {
                run!(session.create_image_definition(write.definition(key, one)), at).map(|_| nothing)
            }
            Step::PutGallery(key, gallery) => {
                let body = write.gallery(key, gallery).body();
                run!(session.put_gallery(write.gallery_id(key), body), at).map(|_| nothing)
            }
            Step::PutDefinition(key, one) => {
                let body = write.definition(key, one).body();
                run!(session.put_image_definition(write.image_id(key), body), at).map(|_| nothing)
            }
            Step::PutVersion(key, version) => {
                let id = write.version_id(key);
                let is_published = session.view().image_content(&id).is_ok();
                let body = Writer { capitals: true }.put(key, version, !is_published);
                run!(session.put_image_version(id, body), at).map(|_| nothing)
            }
            Step::Complete(key) => run!(session.complete_version(write.version_id(key)), at).map(|_| nothing),
            Step::Mark { key, cancel } => self.mark(&write.version_id(key), *cancel).await,
            Step::Publish(key, version) => {
                let source = DiskSource::bytes(vec![7; 512 * version.sectors as usize], DiskFormat::Raw);
                let location = write.region(version.location);
                let new = NewImageVersion::new(write.version_id(key), location, write.profile(version), source);
                let new = new.with_tags(write.tags(version.tag)).with_safety_profile(write.safety(version));
                run!(session.publish(new), at).map(|_| nothing)
            }
            Step::Replicate(key) => run!(session.replicate(write.version_id(key)), at).map(|_| nothing),
            Step::UpdateGallery(key, gallery) => {
                run!(session.update_gallery(write.gallery(key, gallery)), at).map(|_| nothing)
            }
            Step::UpdateDefinition(key, one) => {
                run!(session.update_image_definition(write.definition(key, one)), at).map(|_| nothing)
            }
            Step::UpdateVersion(key, version) => {
                let (new, old) = (write.version(key, version), session.view().image_version(write.version_id(key)));
                if let Ok(old) = old {
                    let profile = write.profile(version);
                    let is_at_home = profile.target_regions().find(old.location()).is_some();
                    assert_eq!(ImageVersion::clone(&old).with_publishing_profile(profile).is_ok(), is_at_home);
                }
                let new = new?;
                run!(session.update_image_version(new), at).map(|_| nothing)
            }
            Step::Delete { thing, cascade, bypass } => {
                let deletion = session.delete(write.id(thing));
                let deletion = if *cascade { deletion.cascade() } else { deletion };
                let deletion = if *bypass { deletion.bypass_soft_delete() } else { deletion };
                run!(deletion, at).map(|ids| ids.iter().map(read_id).collect())
            }
            Step::Restore(key) => run!(session.restore(write.version_id(key)), at).map(|()| nothing),
            Step::Wait(seconds) => {
                self.clock.advance(Duration::from_secs(*seconds as u64));
                Ok(nothing)
            }
        }
    }

    /// Marks a version for deletion, and deletes it, or cancels that.
    async fn mark(&self, id: &ImageVersionId, cancel: bool) -> Result<BTreeSet<Thing>> {
        let session = &self.session;
        let Some(operation) = session.delete(id).begin().await? else { return Ok(BTreeSet::new()) };
        let state = || session.view().provisioning(id).map(|of| of.state);
        assert_eq!(state().unwrap(), ProvisioningState::Deleting);
        let body = serde_json::json!({"location": "westeurope", "tags": {"colour": "green"}});
        let refused = session.put_image_version(id, body).await.unwrap_err();
        assert_eq!(refused.code(), "OperationNotAllowed");
        assert_eq!(session.delete(id).begin().await.unwrap(), Some(operation));
        if cancel {
            session.cancel_operation(operation).await.unwrap();
            assert_ne!(state().unwrap(), ProvisioningState::Deleting);
            return Ok(BTreeSet::new());
        }
        let deleted = session.delete(id).await.unwrap();
        assert_eq!(session.view().operation(operation).unwrap().status, OperationStatus::Succeeded);
        Ok(deleted.iter().map(read_id).collect())
    }

    /// The whole state is the model's.
    async fn compare(&self, model: &Model) {
        let view = self.session.refresh().await.unwrap();
        let (write, ask) = (Writer { capitals: false }, Writer { capitals: true });
        let galleries = view.galleries(&ListScope::All, None, usize::MAX).items;
        let expected: Vec<Gallery> = model.galleries.iter().map(|(key, one)| write.gallery(key, one)).collect();
        assert_eq!(contents(&galleries), Vec::from_iter(&expected), "galleries");
        for key in model.galleries.keys() {
            let state = view.provisioning(ask.gallery_id(key)).unwrap().state;
            assert_eq!(state, ProvisioningState::Succeeded, "{key:?}");
            let definitions = view.image_definitions(ask.gallery_id(key), None, usize::MAX).unwrap().items;
            let expected = model.definitions.iter().filter(|(image, _)| image.0 == *key);
            let expected: Vec<_> = expected.map(|(key, one)| write.definition(key, one)).collect();
            assert_eq!(contents(&definitions), Vec::from_iter(&expected), "definitions of {key:?}");
        }
        for key in model.definitions.keys() {
            compare_versions(model, key, &view);
        }
        let missing = write.image_id(&(("dev", "group1", "e"), "web"));
        assert_eq!(view.latest(&missing, &ask.region("eastus")).unwrap_err().code(), "ResourceNotFound");
        for (subscription, region) in SUBSCRIPTIONS.into_iter().flat_map(|one| REGIONS.map(|region| (one, region))) {
            let usage = view.usage(subscription, ask.region(region));
            let usage = usage.unwrap().map(|usage| usage.current_value);
            assert_eq!(usage, model.usage(subscription, region), "usage of {subscription} in {region}");
        }
    }
}

fn compare_versions(model: &Model, image: &ImageKey, view: &CatalogView) {
    let (write, ask) = (Writer { capitals: false }, Writer { capitals: true });
    let id = ask.image_id(image);
    let there = view.image_versions(&id, None, usize::MAX).unwrap().items;
    let deleted = view.soft_deleted_versions(&id).unwrap().into_iter().map(|deleted| deleted.version).collect();
    for (real, is_deleted) in [(there, false), (deleted, true)] {
        let expected = model.versions_of(image).filter(|(_, record)| record.deleted.is_some() == is_deleted);
        let expected = expected.map(|(key, one)| (key, write.facts(key, &one.version)));
        let awaited = model.awaited.iter().filter(|(key, _)| key.0 == *image && !is_deleted);
        let expected: BTreeMap<_, Facts> =
            expected.chain(awaited.map(|(key, one)| (key, write.awaited_facts(key, &one.version)))).collect();
        let expected: Vec<Facts> = expected.into_values().collect();
        let real: Vec<Facts> = real.iter().map(|version| facts(version)).collect();
        assert_eq!(real, expected, "versions of {image:?}, deleted: {is_deleted}");
    }
    for key in model.versions.keys().filter(|key| key.0 == *image && !model.awaited.contains_key(*key)) {
        let real = view.image_version(ask.version_id(key)).map(|version| facts(&version));
        let expected = model.version(key).map(|record| write.facts(key, &record.version));
        assert_eq!(real.as_ref().map_err(Error::code), expected.as_ref().ok_or("ResourceNotFound"), "{key:?}");
    }
    for (key, awaited) in model.awaited.iter().filter(|(key, _)| key.0 == *image) {
        let state = view.provisioning(ask.version_id(key)).unwrap().state;
        let expected = if awaited.failed { ProvisioningState::Failed } else { ProvisioningState::Creating };
        assert_eq!(state, expected, "{key:?}");
        assert_eq!(view.image_content(ask.version_id(key)).unwrap_err().code(), "ResourceNotFound");
    }
    for region in REGIONS {
        let real = view.latest(&id, &ask.region(region));
        let expected = model.latest(image, region).map(|key| write.version_id(&key));
        let real = real.as_ref().map(|version| version.id().clone()).map_err(Error::code);
        assert_eq!(real, expected, "latest of {image:?} in {region}");
        let candidates = view.explain_latest(&id, &ask.region(region)).unwrap();
        for (key, record) in model.versions_of(image) {
            let id = write.version_id(key);
            let verdict = candidates.iter().find(|candidate| *candidate.version.id() == id).unwrap().verdict;
            assert_eq!(verdict == LatestVerdict::SoftDeleted, record.deleted.is_some(), "{key:?} in {region}");
            assert_eq!(verdict == LatestVerdict::Latest, expected.as_ref() == Ok(&id), "{key:?} in {region}");
        }
    }
}

fn contents<T>(items: &[Arc<T>]) -> Vec<&T> {
    items.iter().map(|item| &**item).collect()
}

/// The part of a version that the rules are about.
#[derive(Debug, PartialEq)]
struct Facts {
    id: ImageVersionId,
    location: Region,
    tags: Tags,
    targets: TargetRegions,
    common: (ReplicaCount, bool),
    storage: Vec<StorageAccountType>,
    end_of_life: Option<DateTime<Utc>>,
    safety: (bool, bool),
    bytes: u64,
}

fn facts(version: &ImageVersion) -> Facts {
    let (profile, safety) = (version.publishing_profile(), version.safety_profile());
    let targets = profile.target_regions();
    Facts {
        id: version.id().clone(),
        location: version.location().clone(),
        tags: version.tags().clone(),
        targets: targets.clone(),
        common: (profile.replica_count(), profile.exclude_from_latest()),
        storage: targets.iter().map(|target| profile.storage_account_type_in(target.region())).collect(),
        end_of_life: profile.end_of_life_date(),
        safety: (safety.allows_deletion_of_replicated_locations(), safety.blocks_deletion_before_end_of_life()),
        bytes: version.storage_profile().os_disk_image().size_in_bytes(),
    }
}

/// The model's values in the gallery's own types.
struct Writer {
    capitals: bool,
}

impl Writer {
    fn text(&self, text: &str) -> String {
        if self.capitals { text.to_uppercase() } else { text.to_owned() }
    }

    fn region(&self, region: Name) -> Region {
        let text = if self.capitals && region == "westeurope" { "West Europe" } else { region };
        self.text(text).parse().unwrap()
    }

    fn time(&self, seconds: Seconds) -> DateTime<Utc> {
        start() + TimeDelta::seconds(seconds)
    }

    fn tags(&self, tag: Option<Name>) -> Tags {
        Tags::new(tag.map(|tag| ("colour".to_owned(), tag.to_owned())).into_iter().collect()).unwrap()
    }

    fn gallery_id(&self, (subscription, group, name): &GalleryKey) -> GalleryId {
        let [subscription, group, name] = [subscription, group, name].map(|text| self.text(text));
        GalleryId::new(subscription.parse().unwrap(), group.parse().unwrap(), name.parse().unwrap())
    }

    fn image_id(&self, (gallery, name): &ImageKey) -> ImageDefinitionId {
        self.gallery_id(gallery).image(self.text(name).parse().unwrap())
    }

    fn version_id(&self, (image, (major, minor, patch)): &VersionKey) -> ImageVersionId {
        self.image_id(image).version(VersionNumber::new(*major, *minor, *patch).unwrap())
    }

    fn id(&self, thing: &Thing) -> ResourceId {
        match thing {
            Thing::Gallery(key) => self.gallery_id(key).into(),
            Thing::Image(key) => self.image_id(key).into(),
            Thing::Version(key) => self.version_id(key).into(),
        }
    }

    fn gallery(&self, key: &GalleryKey, from: &model::Gallery) -> Gallery {
        let mut gallery = Gallery::new(self.gallery_id(key), self.region(from.location)).with_tags(self.tags(from.tag));
        if let Some(description) = from.description {
            gallery = gallery.with_description(description);
        }
        if let Some((enabled, days)) = from.soft_delete {
            let to = if enabled { SoftDeletePolicy::enabled() } else { SoftDeletePolicy::default() };
            let to = days.map_or(to, |days| to.with_retention_period_in_days(days));
            gallery = gallery.with_soft_delete_policy(to);
        }
        if from.shared {
            gallery = gallery.with_sharing_profile(SharingProfile::new(SharingPermissions::Groups));
        }
        gallery
    }

    fn definition(&self, key: &ImageKey, from: &model::Definition) -> ImageDefinition {
        let [publisher, offer, sku] = from.identifier.map(|text| self.text(text));
        let identifier = ImageIdentifier::new(&publisher, &offer, &sku).unwrap();
        let os_type = if from.kind == "windows" { OsType::Windows } else { OsType::Linux };
        let os_state = if from.kind == "specialized" { OsState::Specialized } else { OsState::Generalized };
        let location = self.region(from.location);
        let to = ImageDefinition::new(self.image_id(key), location, os_type, os_state, identifier);
        let to = match from.kind {
            "generation 2" => to.with_hyper_v_generation(HyperVGeneration::V2),
            "arm64" => to.with_architecture(Architecture::Arm64),
            "eula" => to.with_eula("eula"),
            "privacy" => to.with_privacy_statement_uri("https://example.com/privacy"),
            "feature" => to.with_feature("IsAcceleratedNetworkSupported", "True"),
            "plan" => {
                let (name, publisher, product) = ("plan".into(), "contoso".into(), "web".into());
                to.with_purchase_plan(PurchasePlan { name, publisher, product })
            }
            _ => to,
        };
        let range = ResourceRange::new(Some(2), Some(8)).unwrap();
        let to = match from.hint {
            "release notes" => to.with_release_note_uri("https://example.com/notes"),
            "vCPUs" => to.with_recommended(RecommendedMachine::default().with_v_cpus(range)),
            "memory" => to.with_recommended(RecommendedMachine::default().with_memory(range)),
            "disk types" => to.with_disallowed_disk_types(["Premium_LRS"]),
            _ => to,
        };
        let to = to.with_tags(self.tags(from.tag));
        let to = if let Some(description) = from.description { to.with_description(description) } else { to };
        if let Some(end) = from.end_of_life { to.with_end_of_life_date(self.time(end)) } else { to }
    }

    fn target(&self, from: &Target) -> TargetRegion {
        let mut target = TargetRegion::new(self.region(from.region));
        if let Some(replicas) = from.replicas {
            target = target.with_regional_replica_count(replicas.try_into().unwrap());
        }
        if let Some(storage) = from.storage {
            target = target.with_storage_account_type(storage);
        }
        if let Some(excluded) = from.excluded {
            target = target.with_exclude_from_latest(excluded);
        }
        target
    }

    fn profile(&self, from: &model::Version) -> PublishingProfile {
        let targets = from.targets.iter().map(|target| self.target(target)).collect();
        let mut profile = PublishingProfile::new(TargetRegions::new(targets).unwrap());
        // A property with its default may be left out.
        if self.capitals || from.replicas != 1 {
            profile = profile.with_replica_count(from.replicas.try_into().unwrap());
        }
        if self.capitals || from.excluded {
            profile = profile.with_exclude_from_latest(from.excluded);
        }
        if self.capitals || from.storage != StorageAccountType::StandardLrs {
            profile = profile.with_storage_account_type(from.storage);
        }
        if let Some(end) = from.end_of_life {
            profile = profile.with_end_of_life_date(self.time(end));
        }
        profile
    }

    fn safety(&self, from: &model::Version) -> SafetyProfile {
        let mut profile = SafetyProfile::default();
        if self.capitals || from.allows_removal {
            profile = profile.with_deletion_of_replicated_locations(from.allows_removal);
        }
        if self.capitals || from.keeps_to_end_of_life {
            profile = profile.with_block_deletion_before_end_of_life(from.keeps_to_end_of_life);
        }
        profile
    }

    fn version(&self, key: &VersionKey, from: &model::Version) -> Result<ImageVersion> {
        let storage = StorageProfile::new(DiskImage::new(512 * from.sectors), vec![]).unwrap();
        let version = ImageVersion::new(self.version_id(key), self.region(from.location), self.profile(from), storage)?;
        Ok(version.with_tags(self.tags(from.tag)).with_safety_profile(self.safety(from)))
    }

    /// The body of a PUT that says everything, with a source that is not there, or none.
    fn put(&self, key: &VersionKey, from: &model::Version, has_source: bool) -> serde_json::Value {
        let (profile, safety) = (self.profile(from), self.safety(from));
        let properties = serde_json::json!({"publishingProfile": profile, "safetyProfile": safety});
        let (location, tags) = (self.region(from.location), self.tags(from.tag));
        let mut body = serde_json::json!({"location": location, "tags": tags, "properties": properties});
        if has_source {
            let subscription = key.0.0.0;
            let id =
                format!("/subscriptions/{subscription}/resourceGroups/r/providers/Microsoft.Compute/images/absent");
            body["properties"]["storageProfile"] = serde_json::json!({"source": {"id": id}});
        }
        body
    }

    /// Its disk has no size yet.
    fn awaited_facts(&self, key: &VersionKey, from: &model::Version) -> Facts {
        Facts { bytes: 0, ..self.facts(key, from) }
    }

    fn facts(&self, key: &VersionKey, from: &model::Version) -> Facts {
        facts(&self.version(key, from).unwrap())
    }
}

/// The model's names are the test's own texts.
fn read_name(text: &str) -> Name {
    let names = ["dev", "prod", "group1", "group2", "a", "b", "c", "d", "web", "db", "jobs"];
    names.into_iter().find(|name| name.eq_ignore_ascii_case(text)).unwrap()
}

fn read_gallery_id(id: &GalleryId) -> GalleryKey {
    (read_name(id.subscription().as_str()), read_name(id.resource_group().as_str()), read_name(id.name().as_str()))
}

fn read_image_id(id: &ImageDefinitionId) -> ImageKey {
    (read_gallery_id(id.gallery()), read_name(id.name().as_str()))
}

fn read_id(id: &ResourceId) -> Thing {
    match id {
        ResourceId::Gallery(id) => Thing::Gallery(read_gallery_id(id)),
        ResourceId::ImageDefinition(id) => Thing::Image(read_image_id(id)),
        ResourceId::ImageVersion(id) => {
            let number = id.number();
            Thing::Version((read_image_id(id.definition()), (number.major(), number.minor(), number.patch())))
        }
        other => panic!("{other} was deleted"),
    }
}
