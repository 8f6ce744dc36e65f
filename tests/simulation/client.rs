//! The users: one operation after another, each outcome held against the model.

use std::io::Cursor;
use std::sync::{Arc, LazyLock};

use compute_gallery::content::Digest;
use compute_gallery::disk::{DiskFormat, DiskSource};
use compute_gallery::image::ImageDigest;
use compute_gallery::model::*;
use compute_gallery::publish::{NewManagedImage, NewSnapshot, SnapshotDisks};
use compute_gallery::testkit::noise;
use compute_gallery::*;

use crate::executor::others_go_first;
use crate::log::Event;
use crate::world::{REGIONS, World};

const CHUNK: usize = 64 << 10;

/// Disks of one to three chunks, of which many are in several disks, with their digests; one chunk is zeros. The last disk has five of noise: so
/// much is copied by the store itself.
pub static DISKS: LazyLock<Vec<(Vec<u8>, Digest)>> = LazyLock::new(|| {
    let chunk = |number: usize| {
        let byte = move |at: usize| if number == 0 { 0 } else { (at / 4096 * 31 + at % 251 * number + number) as u8 };
        (0..CHUNK).map(byte)
    };
    let disks: [&[usize]; 7] = [&[1], &[1, 2], &[1, 2, 3], &[4, 2, 3], &[5, 0, 3], &[0, 0], &[2, 2, 6]];
    let disk = |chunks: &[usize]| -> Vec<u8> { chunks.iter().flat_map(|number| chunk(*number)).collect() };
    let with_digest = |bytes: Vec<u8>| {
        let digest = ImageDigest::of(DiskSource::bytes(bytes.clone(), DiskFormat::Raw)).unwrap();
        (bytes, digest)
    };
    disks.map(disk).into_iter().chain([noise(7, 5 * CHUNK)]).map(with_digest).collect()
});

/// Where versions may go, by their home.
const TARGETS: [(&str, &[&str]); 2] = [
    ("westeurope", &["westeurope=1", "westeurope=2", "westeurope=1,eastus=1", "westeurope=2,eastus=2,northeurope=1"]),
    ("eastus", &["eastus=1", "eastus=1,westeurope=2", "eastus=2,northeurope=2"]),
];

pub fn gallery() -> GalleryId {
    "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/g".parse().unwrap()
}

pub fn definition() -> ImageDefinitionId {
    gallery().image("web".parse().unwrap())
}

pub fn version(number: usize) -> ImageVersionId {
    definition().version(VersionNumber::new(1, 0, number as u32).unwrap())
}

fn managed_image(number: usize) -> ManagedImageId {
    format!("/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/images/golden{number}")
        .parse()
        .unwrap()
}

fn snapshot(number: usize) -> SnapshotId {
    format!("/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/snapshots/s{number}").parse().unwrap()
}

fn disk(number: usize) -> DiskSource {
    DiskSource::bytes(DISKS[number].0.as_slice(), DiskFormat::Raw)
}

pub fn new_version(number: usize, home: &str, targets: &str, disk_number: usize) -> NewImageVersion {
    let profile = PublishingProfile::new(targets.parse().unwrap());
    NewImageVersion::new(version(number), home.parse().unwrap(), profile, disk(disk_number))
}

/// Makes the gallery and its definition, if they are not there.
pub async fn furnish(world: &World, service: &GalleryService) -> Result<()> {
    let session = service.session("furnisher".parse().unwrap());
    create_definition(&session, world.conditions.keeps_deleted).await?;
    let view = session.refresh().await?;
    world.model.lock().unwrap().rests_on(view.number());
    Ok(())
}

pub async fn create_definition(session: &Session, keeps_deleted: bool) -> Result<()> {
    let home: Region = REGIONS[0].parse().unwrap();
    let new = Gallery::new(gallery(), home.clone());
    let policy = SoftDeletePolicy::enabled().with_retention_period_in_days(1);
    let new = if keeps_deleted { new.with_soft_delete_policy(policy) } else { new };
    let is_there = |outcome: Result<()>| match outcome {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        outcome => outcome,
    };
    is_there(session.create_gallery(new).await.map(drop))?;
    let identifier = ImageIdentifier::new("Contoso", "Web", "Frontend").unwrap();
    let new = ImageDefinition::new(definition(), home, OsType::Linux, OsState::Generalized, identifier);
    is_there(session.create_image_definition(new).await.map(drop))
}

/// Does one thing after another until the end.
pub async fn client(world: Arc<World>, service: GalleryService) {
    while !world.is_ending() {
        let call = Call::begin(&world, &service);
        match world.any_liking() {
            0 => call.publish().await,
            1 => call.create_source().await,
            2 => call.replicate().await,
            3 => call.deploy().await,
            4 => call.read().await,
            5 => call.delete().await,
            6 => call.restore().await,
            7 => call.update().await,
            8 => call.collect().await,
            9 => call.compress().await,
            _ => call.scrub().await,
        }
    }
}

/// One call, and the state when it began.
struct Call<'a> {
    world: &'a World,
    session: Session,
    /// The newest commit.
    number: u64,
    faults: (u64, u64),
}

impl<'a> Call<'a> {
    fn begin(world: &'a World, service: &GalleryService) -> Self {
        let session = service.session(format!("call {}", world.new_call()).parse().unwrap());
        Self { world, session, number: world.model.lock().unwrap().number, faults: world.faults_met() }
    }

    fn caller(&self) -> String {
        self.session.caller().to_string()
    }

    fn say(&self, what: String) {
        self.world.say(format!("{}: {what}", self.caller()));
    }

    fn any_version(&self) -> ImageVersionId {
        version(self.world.below(self.world.conditions.versions))
    }

    /// An image and a region of it, mostly one where it is complete.
    fn any_place(&self) -> (ResourceId, Region) {
        let model = self.world.model.lock().unwrap();
        let places: Vec<_> = model
            .images
            .iter()
            .flat_map(|(id, image)| image.complete.keys().map(move |region| (id.clone(), region.clone())))
            .collect();
        if places.is_empty() || self.world.one_in(8) {
            return (self.any_version().into(), self.world.of(&REGIONS).parse().unwrap());
        }
        self.world.of(&places).clone()
    }

    /// A change's answer must be the truth: it is committed, or it is not.
    fn holds<T>(&self, what: &str, outcome: &Result<T>, is_it: impl Fn(&Event) -> bool) {
        let mut model = self.world.model.lock().unwrap();
        let committed = model.committed(&self.caller(), is_it);
        if let (Ok(_), Some(number)) = (outcome, committed) {
            model.rests_on(number);
        }
        drop(model);
        let committed = committed.is_some();
        match outcome {
            Ok(_) => assert!(committed, "{}: {what} was acknowledged, and is not in the log", self.caller()),
            Err(error) if error.kind() == ErrorKind::Unknown => self.may_be_unknown(what, error),
            Err(error) => {
                assert!(!committed, "{}: {what} is in the log, and its caller was told: {error}", self.caller());
                self.may_fail(what, error);
            }
        }
        match outcome {
            Ok(_) => self.world.count(what),
            Err(error) => self.say(format!("{what}: {error}")),
        }
    }

    /// A power cut takes nothing of what this call was told that it has done.
    fn rests_on_its_commits(&self) {
        let mut model = self.world.model.lock().unwrap();
        let number = model.committed(&self.caller(), |_| true).unwrap_or(0);
        model.rests_on(number);
    }

    fn may_be_unknown(&self, what: &str, error: &Error) {
        let faults = self.world.faults_met();
        assert!(faults.1 > self.faults.1, "{}: {what} is unknown without a fault: {error}", self.caller());
    }

    /// A call that fails without a fault fails because of other callers.
    fn may_fail(&self, what: &str, error: &Error) {
        let faults = self.world.faults_met();
        let others = matches!(
            error.kind(),
            ErrorKind::NotFound
                | ErrorKind::AlreadyExists
                | ErrorKind::Conflict
                | ErrorKind::Corrupt
                | ErrorKind::Unavailable
                | ErrorKind::Invalid
        );
        // A request that calls share may have failed just before this one began.
        let shared = matches!(error.kind(), ErrorKind::Throttled { .. } | ErrorKind::StorageFull) && faults.1 > 0;
        let read_only = error.kind() == ErrorKind::Unsupported && self.world.is_read_only();
        let others = others || shared || read_only;
        assert!(others || faults.1 > self.faults.1, "{}: {what} failed without a fault: {error}", self.caller());
    }

    async fn publish(&self) {
        let (world, id) = (self.world, self.any_version());
        let (home, targets) = world.of(&TARGETS);
        let storage = *world.of(&[StorageAccountType::StandardLrs, StorageAccountType::StandardZrs]);
        let profile = PublishingProfile::new(world.of(targets).parse().unwrap()).with_storage_account_type(storage);
        let disks = world.below(DISKS.len());
        let (source, name): (ImageSource, _) = match world.below(10) {
            0 | 1 => (managed_image(world.below(2)).into(), "a managed image"),
            2 | 3 => (self.any_version().into(), "a version"),
            4 => (SnapshotDisks::new(snapshot(0)).with_data_disk(0, snapshot(1)).into(), "two snapshots"),
            _ => (disk(disks).into(), "a disk"),
        };
        let is_disk = name == "a disk";
        self.say(format!("publish {id} from {name} in {home}"));
        let published = self.session.publish(NewImageVersion::new(id.clone(), home.parse().unwrap(), profile, source));
        let outcome = published.await;
        let told = outcome.as_ref().ok().map(|published| published.content.clone());
        self.holds("publish", &outcome, |event| match event {
            Event::ImageVersionPublished { version, content } => {
                *version.id() == id
                    && told.as_ref().is_none_or(|told| told.os_disk_digest == content.os_disk_digest)
                    && (!is_disk || content.os_disk_digest == DISKS[disks].1)
            }
            _ => false,
        });
    }

    /// Makes a managed image or a snapshot.
    async fn create_source(&self) {
        let (number, disk) = (self.world.below(2), disk(self.world.below(DISKS.len())));
        let home: Region = "westeurope".parse().unwrap();
        if self.world.one_in(2) {
            let id = managed_image(number);
            self.say(format!("create {id}"));
            let outcome =
                self.session.create_managed_image(NewManagedImage::new(id.clone(), home, OsType::Linux, disk)).await;
            let is_it = |event: &Event| matches!(event, Event::ManagedImageCreated { image, .. } if *image.id() == id);
            self.holds("create a managed image", &outcome, is_it);
        } else {
            let id = snapshot(number);
            self.say(format!("create {id}"));
            let new = NewSnapshot::of_os_disk(id.clone(), home, disk, OsType::Linux, HyperVGeneration::default());
            let outcome = self.session.create_snapshot(new).await;
            let is_it =
                |event: &Event| matches!(event, Event::SnapshotCreated { snapshot, .. } if *snapshot.id() == id);
            self.holds("create a snapshot", &outcome, is_it);
        }
    }

    async fn replicate(&self) {
        let id = self.any_version();
        self.say(format!("replicate {id}"));
        let outcome = self.session.replicate(&id).await;
        // The regions of one replication are under way side by side, so the last commit may be of this very step.
        others_go_first().await;
        let model = self.world.model.lock().unwrap();
        let image = model.images.get(&ResourceId::from(&id)).filter(|_| self.is_the_same(&model, &(&id).into()));
        match &outcome {
            Ok(_) => {
                let whole = image.is_none_or(|image| image.is_complete());
                assert!(whole, "{}: {id} is replicated, and is not complete", self.caller());
                self.world.count("replicate");
            }
            Err(error) => {
                drop(model);
                self.may_fail("replicate", error);
                self.say(format!("replicate: {error}"));
            }
        }
    }

    fn is_the_same(&self, model: &crate::model::Model, id: &ResourceId) -> bool {
        model.is_the_same_since(id, self.number)
    }

    /// A complete image can be read if nothing has failed and no caller has changed it.
    fn must_succeed(&self, id: &ResourceId, region: &Region, began_complete: bool, what: &str, error: &Error) {
        let undisturbed = self.world.faults_met().0 == self.faults.0;
        let model = self.world.model.lock().unwrap();
        let closed = error.kind() == ErrorKind::Unsupported && self.world.is_closed();
        let excused = !undisturbed || !began_complete || closed || !self.is_the_same(&model, id);
        assert!(excused, "{}: {what} of {id} in {region}: {error}", self.caller());
        drop(model);
        self.say(format!("{what}: {error}"));
    }

    /// Whether it can be deployed there: one that was deleted can be until it can't be restored any more.
    fn is_complete(&self, id: &ResourceId, region: &Region) -> bool {
        let model = self.world.model.lock().unwrap();
        model.images.get(id).is_some_and(|image| image.complete.contains_key(region) && image.soft_deleted.is_none())
    }

    /// The contents that the image's disk may have.
    fn possible(&self, id: &ResourceId) -> Vec<&'static [u8]> {
        let held = self.world.model.lock().unwrap().held_since(id, self.number);
        DISKS.iter().filter(|(_, digest)| held.contains(digest)).map(|(bytes, _)| bytes.as_slice()).collect()
    }

    async fn deploy(&self) {
        let (id, region) = self.any_place();
        let complete = self.is_complete(&id, &region);
        self.say(format!("deploy {id} in {region}"));
        match self.session.deploy(id.clone(), &region).to_writer(Cursor::new(Vec::new())).await {
            Ok((_, bytes)) => {
                let bytes = bytes.into_inner();
                assert!(self.possible(&id).contains(&bytes.as_slice()), "{}: wrong bytes of {id}", self.caller());
                self.world.count("deploy");
            }
            Err(error) => self.must_succeed(&id, &region, complete, "deploy", &error),
        }
    }

    async fn read(&self) {
        let (id, region) = self.any_place();
        let complete = self.is_complete(&id, &region);
        self.say(format!("read {id} in {region}"));
        let reader = match self.session.deploy(id.clone(), &region).open().await {
            Ok(reader) => reader,
            Err(error) => return self.must_succeed(&id, &region, complete, "open", &error),
        };
        for _ in 0..4 {
            let start = self.world.below(reader.size() as usize);
            let end = start + self.world.below(reader.size() as usize - start);
            match reader.read_at(start as u64..end as u64).await {
                Ok(bytes) => {
                    let is_it = |disk: &&[u8]| disk.get(start..end).is_some_and(|wanted| *bytes == *wanted);
                    assert!(self.possible(&id).iter().any(is_it), "{}: wrong bytes of {id}", self.caller());
                    self.world.count("read");
                }
                Err(error) => return self.must_succeed(&id, &region, complete, "read", &error),
            }
        }
    }

    async fn delete(&self) {
        let id: ResourceId = match self.world.below(10) {
            0 => managed_image(self.world.below(2)).into(),
            1 => snapshot(self.world.below(2)).into(),
            _ => self.any_version().into(),
        };
        self.say(format!("delete {id}"));
        let there = self.world.model.lock().unwrap().images.contains_key(&id);
        let deletion = self.session.delete(id.clone());
        let deletion = if self.world.one_in(2) { deletion.bypass_soft_delete() } else { deletion };
        self.world.model.lock().unwrap().may_delete(self.caller());
        let outcome = deletion.await;
        if outcome.as_ref().is_ok_and(|deleted| deleted.is_empty()) {
            let model = self.world.model.lock().unwrap();
            let always = there && self.is_the_same(&model, &id) && model.images[&id].soft_deleted.is_none();
            assert!(!always, "{}: {id} is there, and was not deleted", self.caller());
            return;
        }
        self.holds("delete", &outcome, |event| match event {
            Event::ImageVersionDeleted { version, .. } => ResourceId::from(version) == id,
            Event::ManagedImageDeleted { image } => ResourceId::from(image) == id,
            Event::SnapshotDeleted { snapshot } => ResourceId::from(snapshot) == id,
            _ => false,
        });
    }

    async fn restore(&self) {
        let id = self.any_version();
        self.say(format!("restore {id}"));
        match self.session.restore(&id).await {
            Ok(()) => {
                self.rests_on_its_commits();
                self.world.count("restore");
            }
            Err(error) if error.kind() == ErrorKind::Unknown => self.may_be_unknown("restore", &error),
            Err(error) => self.may_fail("restore", &error),
        }
    }

    /// Sends a version to other regions.
    async fn update(&self) {
        let id = self.any_version();
        let Ok(view) = self.session.refresh().await else { return };
        self.world.model.lock().unwrap().rests_on(view.number());
        let Ok(there) = view.image_version(&id) else { return };
        let home = there.location().as_str();
        let (_, targets) = TARGETS.iter().find(|(region, _)| *region == home).unwrap();
        let targets = self.world.of(targets);
        self.say(format!("update {id} to {targets}"));
        let profile = there.publishing_profile().clone().with_target_regions(targets.parse().unwrap());
        let safety = SafetyProfile::default().with_deletion_of_replicated_locations(true);
        let new = ImageVersion::clone(&there).with_publishing_profile(profile).unwrap().with_safety_profile(safety);
        let outcome = self.session.update_image_version(new.clone()).await;
        let changed = self.world.model.lock().unwrap().committed(&self.caller(), |_| true).is_some();
        if outcome.is_ok() && !changed {
            // It was so already.
            return;
        }
        let is_it = |event: &Event| matches!(event, Event::ImageVersionUpdated { version } if *version.id() == id);
        self.holds("update", &outcome, is_it);
    }

    async fn collect(&self) {
        self.say("collect".to_owned());
        match self.session.collect().await {
            Ok(report) => {
                self.rests_on_its_commits();
                self.world.count("collect");
                self.say(format!("collected {report:?}"));
            }
            Err(error) if error.kind() == ErrorKind::Unknown => self.may_be_unknown("collect", &error),
            Err(error) => {
                self.may_fail("collect", &error);
                self.say(format!("collect: {error}"));
            }
        }
    }

    /// Compresses and merges.
    async fn compress(&self) {
        self.say("compress".to_owned());
        match self.session.compress().merged_from(2).await {
            Ok(report) => {
                self.rests_on_its_commits();
                self.world.count("compress");
                if report.regions.iter().any(|region| region.merged_packs > 0) {
                    self.world.count("merge");
                }
                self.say(format!("compressed {report:?}"));
            }
            Err(error) if error.kind() == ErrorKind::Unknown => self.may_be_unknown("compress", &error),
            Err(error) => {
                self.may_fail("compress", &error);
                self.say(format!("compress: {error}"));
            }
        }
    }

    async fn scrub(&self) {
        let region = *self.world.of(&REGIONS);
        self.say(format!("scrub {region}"));
        match self.session.scrub(region).await {
            Ok(_) => self.world.count("scrub"),
            Err(error) => self.may_fail("scrub", &error),
        }
    }
}
