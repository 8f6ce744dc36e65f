//! Random histories of what callers do, and after each step every public operation asked for again: the service must allow,
//! refuse and hide the same as a small model of the rules that was written from the documents alone.
//!
//! 500 histories in the tests. A long run, best with `--release`: `ACCESS_HISTORIES=20000`. A failure prints its seed; that history
//! alone is `ACCESS_SEED=…`:
//!
//! ```text
//! ACCESS_HISTORIES=20000 cargo test --release --all-features --test access_model
//! ACCESS_SEED=17 cargo test --all-features --test access_model
//! ```
#![cfg(feature = "testkit")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::unreachable,
    clippy::indexing_slicing,
    reason = "a helper of a test may fail as the test does"
)]

#[path = "access_model/model.rs"]
#[expect(unreachable_pub, reason = "a test has no public face")]
mod model;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use compute_gallery::access::*;
use compute_gallery::billing::Prices;
use compute_gallery::change::LifecyclePolicy;
use compute_gallery::disk::{DiskFormat, DiskSource};
use compute_gallery::model::*;
use compute_gallery::publish::VhdBlob;
use compute_gallery::publish::{LocalDisks, NewManagedImage, NewSnapshot, SourceMachine};
use compute_gallery::read::{EventKind, HistoryEntry, OperationStatus, OperationTarget, RecordedEvent};
use compute_gallery::read::{ListScope, PublicGallery};
use compute_gallery::testkit::{ManualClock, Sandbox, SeededEntropy};
use compute_gallery::*;
use futures::StreamExt;
use futures::executor::block_on;
use model::{
    ANNOUNCED, Answer, At, BUILT_IN, DAY, Denial, GALLERIES, GROUP, Kind, Model, NAMED, Name, ROOT, Role, Share,
    Source, Step, Verdict,
};

const HISTORIES: u64 = 200;
const STEPS: usize = 36;
/// Steps between two comparisons of all reads.
const COMPARED_EVERY: usize = 18;

const CALLERS: [Name; 6] = ["ann", "bob", "gus", "ci", "nobody", ROOT];
const PRINCIPALS: [Name; 9] = ["ann", "gus@contoso", "ci", "ga", "gb", "bob", "gus", "ci@fabrikam", "fa"];
const IMAGES: [(usize, Name); 3] = [(0, "web"), (0, "db"), (1, "web")];
const NUMBERS: [u32; 2] = [0, 1];
const ROLES: [Name; 3] = ["r0", "r1", "r2"];
const IDS: [Name; 4] = ["1", "2", "3", "4"];
const MANAGEMENT: [Name; 4] = ["prod", "inner", "other", "fab"];
const SUBSCRIPTIONS: [Name; 3] = ["dev", "lab", "spare"];
const TENANTS: [Name; 2] = ["contoso", "fabrikam"];
/// Action patterns of roles and denials.
const PATTERNS: [Name; 16] = [
    "*",
    "*",
    "*/read",
    "*/read",
    "*/write",
    "*/delete",
    "Microsoft.Compute/*",
    "Microsoft.Compute/galleries/read",
    "Microsoft.Compute/galleries/images/read",
    "Microsoft.Compute/galleries/images/versions/*",
    "Microsoft.Compute/galleries/images/versions/READ",
    "Microsoft.Compute/galleries/share/action",
    "Microsoft.Compute/locations/sharedGalleries/read",
    "Microsoft.Compute/snapshots/*",
    "Microsoft.Authorization/*",
    "Microsoft.Authorization/roleAssignments/read",
];

#[test]
fn every_operation_decides_as_the_documents_say_whatever_happened_before() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = match number("ACCESS_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("ACCESS_HISTORIES").unwrap_or(HISTORIES),
    };
    let (next, told) = (AtomicU64::new(seeds.start), Mutex::new(BTreeMap::new()));
    let run = || {
        let _stop = Stop { next: &next, end: seeds.end };
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let outcomes = block_on(History::run(seed));
            let mut told = told.lock().unwrap();
            outcomes.into_iter().for_each(|outcome| *told.entry(outcome).or_insert(0) += 1);
        }
    };
    std::thread::scope(|scope| {
        (0..2).for_each(|_| drop(scope.spawn(run)));
    });
    if seeds.end - seeds.start >= HISTORIES {
        let told = told.into_inner().unwrap();
        let names: BTreeSet<&str> = told.keys().map(|(name, _): &(&str, _)| *name).collect();
        let expected = operations();
        assert_eq!(names, expected.iter().map(String::as_str).collect(), "an operation is compared with nothing");
        for name in names {
            // Each was allowed to some, and refused to others, or hidden from them.
            let outcomes = told.keys().filter(|(other, _)| *other == name).count();
            assert!(outcomes > 1, "{name} always ended in the same way: {told:?}");
        }
    }
}

/// The first failure ends the run.
struct Stop<'a> {
    next: &'a AtomicU64,
    end: u64,
}

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.next.store(self.end, Ordering::Relaxed);
        }
    }
}

/// The public operations of `Session` and `CatalogView`, read from the source, so that none is forgotten; but for those that are
/// about nothing, and for `replicate_all`: no version lacks replicas here; `access.rs` has what it leaves out.
fn operations() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let rooms = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/service");
    let chambers =
        std::fs::read_dir(rooms).unwrap().map(|chamber| chamber.unwrap().path()).filter(|path| path.is_dir());
    for file in chambers.flat_map(|chamber| std::fs::read_dir(chamber).unwrap()) {
        let mut of_session = false;
        for line in std::fs::read_to_string(file.unwrap().path()).unwrap().lines() {
            if line.starts_with("impl") {
                of_session = line == "impl Session {" || line == "impl CatalogView {";
            }
            let line = line.trim_start();
            let function = line.strip_prefix("pub fn ").or(line.strip_prefix("pub async fn "));
            if let Some(function) = function.filter(|_| of_session) {
                names.insert(function.split(['(', '<']).next().unwrap().to_owned());
            }
        }
    }
    // Computer names collide where VMs of specialized images are noted: `tests/rules/machines.rs`.
    names.retain(|name| {
        !["caller", "view", "refresh", "number", "in_tenants", "name_collisions", "replicate_all"]
            .contains(&name.as_str())
    });
    names
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

    fn some<T: Copy + Ord>(&mut self, from: &[T], most: usize) -> Vec<T> {
        let picked: BTreeSet<T> = (0..=self.below(most + 1)).skip(1).map(|_| self.pick(from)).collect();
        picked.into_iter().collect()
    }
}

/// Every scope.
fn scopes() -> Vec<At> {
    let mut scopes = vec![At::Managed, At::Snapshot, At::Account, At::Machine, At::Gallery(0), At::Gallery(1)];
    scopes.extend(TENANTS.map(At::Tenant));
    scopes.extend(MANAGEMENT.map(At::Management));
    scopes.extend(SUBSCRIPTIONS.map(At::Subscription));
    scopes.extend(["dev", "lab"].map(At::Group));
    for (gallery, image) in IMAGES {
        scopes.push(At::Image(gallery, image));
        scopes.extend(NUMBERS.map(|number| At::Version(gallery, image, number)));
    }
    scopes
}

fn region() -> Region {
    "westeurope".parse().unwrap()
}

fn gallery_id(gallery: usize) -> GalleryId {
    let (subscription, name) = GALLERIES[gallery];
    format!("/subscriptions/{subscription}/resourceGroups/{GROUP}/providers/Microsoft.Compute/galleries/{name}")
        .parse()
        .unwrap()
}

fn image_id(gallery: usize, image: Name) -> ImageDefinitionId {
    gallery_id(gallery).image(image.parse().unwrap())
}

fn version_id(gallery: usize, image: Name, number: u32) -> ImageVersionId {
    image_id(gallery, image).version(format!("1.0.{number}").parse().unwrap())
}

fn flat<T: std::str::FromStr<Err = Error>>(kind: &str) -> T {
    format!("/subscriptions/dev/resourceGroups/{GROUP}/providers/{kind}/x").parse().unwrap()
}

fn managed_id() -> ManagedImageId {
    flat("Microsoft.Compute/images")
}

fn snapshot_id() -> SnapshotId {
    flat("Microsoft.Compute/snapshots")
}

fn resource(at: At) -> ResourceId {
    match at {
        At::Gallery(gallery) => gallery_id(gallery).into(),
        At::Image(gallery, image) => image_id(gallery, image).into(),
        At::Version(gallery, image, number) => version_id(gallery, image, number).into(),
        At::Managed => managed_id().into(),
        At::Snapshot => snapshot_id().into(),
        At::Account => flat("Microsoft.Storage/storageAccounts"),
        At::Machine => flat("Microsoft.Compute/virtualMachines"),
        other => unreachable!("{other:?} is no resource"),
    }
}

fn scope(at: At) -> AccessScope {
    match at {
        At::Tenant(id) => AccessScope::TenantRoot(id.parse().unwrap()),
        At::Management(id) => AccessScope::ManagementGroup(id.parse().unwrap()),
        At::Subscription(id) => AccessScope::Subscription(id.parse().unwrap()),
        At::Group(id) => AccessScope::ResourceGroup(id.parse().unwrap(), GROUP.parse().unwrap()),
        other => resource(other).into(),
    }
}

fn gallery(gallery: usize, soft: bool) -> Gallery {
    let profile = match gallery {
        0 => SharingProfile::new(SharingPermissions::Groups),
        _ => SharingProfile::community(CommunityGalleryInfo {
            publisher_uri: "https://fabrikam.example".into(),
            publisher_contact: "images@fabrikam.example".into(),
            eula: "free".into(),
            public_name_prefix: "fabrikam".into(),
        }),
    };
    let new = Gallery::new(gallery_id(gallery), region()).with_sharing_profile(profile);
    if soft { new.with_soft_delete_policy(SoftDeletePolicy::enabled()) } else { new }
}

fn definition(gallery: usize, image: Name) -> ImageDefinition {
    let identifier = ImageIdentifier::new("publisher", "offer", image).unwrap();
    let new = ImageDefinition::new(image_id(gallery, image), region(), OsType::Linux, OsState::Generalized, identifier);
    new.with_end_of_life_date("2100-01-01T00:00:00Z".parse().unwrap())
}

fn disk() -> DiskSource {
    DiskSource::bytes(vec![7; 4096], DiskFormat::Raw)
}

fn profile() -> PublishingProfile {
    PublishingProfile::new("westeurope".parse().unwrap())
}

fn image_source(source: Source) -> ImageSource {
    match source {
        Source::Disk => disk().into(),
        Source::Managed => managed_id().into(),
        Source::Snapshot => snapshot_id().into(),
        Source::Version(gallery, image, number) => version_id(gallery, image, number).into(),
        Source::Blob => {
            let storage_account = flat("Microsoft.Storage/storageAccounts");
            VhdBlob { uri: "https://x.example/x.vhd".into(), storage_account, disk: disk() }.into()
        }
        Source::Machine => SourceMachine {
            id: flat("Microsoft.Compute/virtualMachines"),
            location: region(),
            os_type: OsType::Linux,
            os_state: OsState::Generalized,
            hyper_v_generation: HyperVGeneration::V1,
            architecture: Architecture::default(),
            purchase_plan: None,
            disks: LocalDisks::new(disk()),
        }
        .into(),
    }
}

fn named_id(kind: Name) -> ResourceId {
    format!("/subscriptions/dev/resourceGroups/{GROUP}/providers/Microsoft.Compute/{kind}/named").parse().unwrap()
}

fn group_id(subscription: Name) -> ResourceGroupId {
    ResourceGroupId::new(subscription.parse().unwrap(), GROUP.parse().unwrap())
}

fn principals(names: &[Name]) -> Vec<PrincipalId> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn is_forbidden(error: &Error) -> bool {
    error.problems().any(|problem| problem.kind() == ErrorKind::Forbidden)
}

/// The service's outcome of a step.
async fn perform(session: &Session, step: &Step) -> Result<()> {
    match step {
        Step::CreateGallery(id, soft) => session.create_gallery(gallery(*id, *soft)).await.map(drop),
        Step::UpdateGallery(id, soft) => session.update_gallery(gallery(*id, *soft)).await.map(drop),
        Step::CreateImage(gallery, image) => {
            session.create_image_definition(definition(*gallery, image)).await.map(drop)
        }
        Step::UpdateImage(gallery, image) => {
            session.update_image_definition(definition(*gallery, image).with_description("x")).await.map(drop)
        }
        Step::Publish(gallery, image, number, source) => {
            let id = version_id(*gallery, image, *number);
            session.publish(NewImageVersion::new(id, region(), profile(), image_source(*source))).await.map(drop)
        }
        Step::PublishNext(gallery, image) => {
            let new = |id: ImageVersionId| {
                // One that no other step knows is refused: it has no replica at home.
                let is_known = NUMBERS.iter().any(|number| id == version_id(*gallery, image, *number));
                let home = if is_known { region() } else { "eastus".parse().unwrap() };
                NewImageVersion::new(id, home, profile(), image_source(Source::Disk))
            };
            session.publish_next(image_id(*gallery, image), new).await.map(drop)
        }
        Step::UpdateVersion(gallery, image, number) => {
            let disks = StorageProfile::new(DiskImage::new(4096), Vec::new())?;
            let id = version_id(*gallery, image, *number);
            let tags = Tags::new([("a".to_owned(), "b".to_owned())].into())?;
            let version = ImageVersion::new(id, region(), profile(), disks)?.with_tags(tags);
            session.update_image_version(version).await.map(drop)
        }
        Step::PutGallery(id, soft) => {
            let mut body = gallery(*id, *soft).body();
            body["properties"]["softDeletePolicy"] = serde_json::json!({"isSoftDeleteEnabled": soft});
            session.put_gallery(gallery_id(*id), body).await.map(drop)
        }
        Step::PutImage(gallery, image) => {
            let body = definition(*gallery, image).with_description("y").body();
            session.put_image_definition(image_id(*gallery, image), body).await.map(drop)
        }
        Step::Announce(gallery, image) => {
            let machine = resource(At::Machine).to_string();
            let storage = serde_json::json!({"source": {"virtualMachineId": machine}});
            let body = serde_json::json!({"location": region(), "properties": {"storageProfile": storage}});
            session.put_image_version(version_id(*gallery, image, ANNOUNCED), body).await.map(drop)
        }
        Step::Complete(gallery, image) => {
            let completion = session.complete_version(version_id(*gallery, image, ANNOUNCED));
            completion.from_disks(LocalDisks::new(disk())).await.map(drop)
        }
        Step::PutNamed(kind) => {
            let disk = serde_json::json!({"osDisk": {"osType": "Linux"}});
            let creation = serde_json::json!({"createOption": "Empty"});
            let properties = serde_json::json!({"storageProfile": disk, "creationData": creation});
            let (id, body) = (named_id(kind), serde_json::json!({"location": region(), "properties": properties}));
            match id {
                ResourceId::ManagedImage(id) => session.put_managed_image(id, body).await.map(drop),
                ResourceId::Snapshot(id) => session.put_snapshot(id, body).await.map(drop),
                ResourceId::Disk(id) => session.put_disk(id, body).await.map(drop),
                other => unreachable!("{other} is no source"),
            }
        }
        Step::PutGroup(subscription) => {
            let body = serde_json::json!({"location": region()});
            session.put_resource_group(group_id(subscription), body).await.map(drop)
        }
        Step::DeleteGroup(subscription) => session.delete_resource_group(group_id(subscription)).await.map(drop),
        Step::Restore(gallery, image, number) => session.restore(version_id(*gallery, image, *number)).await,
        Step::Replicate(gallery, image, number) => {
            session.replicate(version_id(*gallery, image, *number)).await.map(drop)
        }
        Step::Exclude(gallery, image, number) => {
            // Planned only: what it changes is another model's.
            session.exclude_from_latest(version_id(*gallery, image, *number), true).plan().await?.check()
        }
        Step::Lifecycle(gallery, image) => {
            let policy = LifecyclePolicy::new(1, "westeurope=3".parse()?);
            // Planned only: what it changes is another model's.
            session.apply_lifecycle(&image_id(*gallery, image), policy).plan().await?.check()
        }
        Step::CreateManaged => {
            let new = NewManagedImage::new(managed_id(), region(), OsType::Linux, disk());
            session.create_managed_image(new).await.map(drop)
        }
        Step::CreateSnapshot => {
            let (id, generation) = (snapshot_id(), HyperVGeneration::V1);
            let new = NewSnapshot::of_os_disk(id, region(), disk(), OsType::Linux, generation);
            session.create_snapshot(new).await.map(drop)
        }
        Step::Delete { at, cascade, bypass } => {
            let deletion = session.delete(resource(*at));
            let deletion = if *cascade { deletion.cascade() } else { deletion };
            let deletion = if *bypass { deletion.bypass_soft_delete() } else { deletion };
            deletion.await.map(drop)
        }
        Step::Share(gallery, share) => {
            let subscriptions = |names: &[Name]| names.iter().map(|name| name.parse().unwrap()).collect();
            let tenants = |names: &[Name]| names.iter().map(|name| name.parse().unwrap()).collect();
            let update = match share {
                Share::Add(some, others) => {
                    SharingUpdate::Add { subscriptions: subscriptions(some), tenants: tenants(others) }
                }
                Share::Remove(some, others) => {
                    SharingUpdate::Remove { subscriptions: subscriptions(some), tenants: tenants(others) }
                }
                Share::Reset => SharingUpdate::Reset,
                Share::Community => SharingUpdate::EnableCommunity,
            };
            session.share_gallery(gallery_id(*gallery), update).await.map(drop)
        }
        Step::DefineRole(id, role) => {
            let defined = RoleDefinition::new(id, *id)?
                .with_actions(role.actions.iter().copied())?
                .with_not_actions(role.not.iter().copied())?
                .with_assignable_scopes(role.scopes.iter().map(|at| scope(*at)).collect());
            session.define_role(defined).await.map(drop)
        }
        Step::DeleteRole(id) => session.delete_role(*id).await,
        Step::Assign(at, id, principal, role) => {
            let assignment = RoleAssignment::new(id, principal.parse()?, role.parse()?, scope(*at))?;
            session.assign_role(assignment).await.map(drop)
        }
        Step::Unassign(at, id) => session.unassign_role(scope(*at), *id).await,
        Step::Deny(at, id, denial) => {
            let (except, actions) = (principals(&denial.except), denial.actions.iter().copied());
            let denial = match &denial.to {
                Some(to) => DenyAssignment::to(id, principals(to), actions, scope(*at))?.with_exceptions(except),
                None => DenyAssignment::to_everybody_but(id, except, actions, scope(*at))?,
            };
            session.deny(denial).await.map(drop)
        }
        Step::Undeny(at, id) => session.undeny(scope(*at), *id).await,
        Step::Collect => session.collect().await.map(drop),
        Step::Compress => session.compress().await.map(drop),
        Step::RotateKeys => session.rotate_keys().await.map(drop),
        Step::Scrub => session.scrub(region()).await.map(drop),
        Step::Truncate => session.truncate_history(0).await.map(drop),
        Step::BeginsAfter => session.history_begins_after().await.map(drop),
    }
}

fn name_of(step: &Step) -> Name {
    match step {
        Step::CreateGallery(..) => "create_gallery",
        Step::UpdateGallery(..) => "update_gallery",
        Step::CreateImage(..) => "create_image_definition",
        Step::UpdateImage(..) => "update_image_definition",
        Step::Publish(..) => "publish",
        Step::PublishNext(..) => "publish_next",
        Step::UpdateVersion(..) => "update_image_version",
        Step::PutGallery(..) => "put_gallery",
        Step::PutImage(..) => "put_image_definition",
        Step::Announce(..) => "put_image_version",
        Step::Complete(..) => "complete_version",
        Step::PutNamed("images") => "put_managed_image",
        Step::PutNamed("snapshots") => "put_snapshot",
        Step::PutNamed(..) => "put_disk",
        Step::PutGroup(..) => "put_resource_group",
        Step::DeleteGroup(..) => "delete_resource_group",
        Step::Restore(..) => "restore",
        Step::Replicate(..) => "replicate",
        Step::Exclude(..) => "exclude_from_latest",
        Step::Lifecycle(..) => "apply_lifecycle",
        Step::CreateManaged => "create_managed_image",
        Step::CreateSnapshot => "create_snapshot",
        Step::Delete { .. } => "delete",
        Step::Share(..) => "share_gallery",
        Step::DefineRole(..) => "define_role",
        Step::DeleteRole(..) => "delete_role",
        Step::Assign(..) => "assign_role",
        Step::Unassign(..) => "unassign_role",
        Step::Deny(..) => "deny",
        Step::Undeny(..) => "undeny",
        Step::Collect => "collect",
        Step::Compress => "compress",
        Step::RotateKeys => "rotate_keys",
        Step::Scrub => "scrub",
        Step::Truncate => "truncate_history",
        Step::BeginsAfter => "history_begins_after",
    }
}

/// One history, with the model beside the service.
struct History {
    seed: u64,
    random: Random,
    directory: MemoryDirectory,
    clock: ManualClock,
    sandbox: Sandbox,
    model: Model,
    /// Each operation with how it ended.
    told: BTreeSet<(Name, Name)>,
    /// For a failure.
    steps: Vec<String>,
}

impl Drop for History {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the history of ACCESS_SEED={}:", self.seed);
            self.steps.iter().for_each(|step| eprintln!("  {step}"));
        }
    }
}

impl History {
    async fn run(seed: u64) -> BTreeSet<(Name, Name)> {
        let (directory, clock) = (MemoryDirectory::new(), ManualClock::new("2026-01-02T03:04:05Z".parse().unwrap()));
        let settings = Sandbox::builder().directory(directory.clone()).clock(clock.clone()).seed(seed).empty();
        let settings = settings.service(|builder| builder.administrator(ROOT.parse().unwrap()));
        let sandbox = settings.build().await.unwrap();
        let (random, model) = (Random(SeededEntropy::new(seed)), Model::default());
        let (told, steps) = Default::default();
        let mut history = Self { seed, random, directory, clock, sandbox, model, told, steps };
        history.found();
        history.fill().await;
        for number in 0..STEPS {
            match history.random.below(24) {
                0 => history.afterlife().await,
                1..=3 => history.moves(),
                _ => history.step().await,
            }
            if number % COMPARED_EVERY == COMPARED_EVERY - 1 {
                let caller = history.random.pick(&CALLERS);
                history.compare(caller).await;
            }
        }
        history.compare_histories().await;
        std::mem::take(&mut history.told)
    }

    fn session(&self, caller: Name) -> Session {
        self.sandbox.session_of(caller)
    }

    /// Two tenants and who is in them.
    fn found(&mut self) {
        let (directory, model) = (&self.directory, &mut self.model);
        let [contoso, fabrikam] = TENANTS.map(|tenant| tenant.parse::<TenantId>().unwrap());
        directory.add_user("ann", &contoso).unwrap();
        directory.add_application("ci", &contoso).unwrap();
        directory.add_user("bob", &fabrikam).unwrap();
        directory.add_user("gus", &fabrikam).unwrap();
        directory.add_guest("gus@contoso", &contoso, "gus").unwrap();
        directory.consent("ci@fabrikam", &fabrikam, "ci").unwrap();
        for (group, tenant) in [("ga", &contoso), ("gb", &contoso), ("fa", &fabrikam)] {
            directory.add_group(group, tenant).unwrap();
        }
        model.accounts = BTreeMap::from([
            ("ann", vec![("contoso", "ann", Kind::User)]),
            ("ci", vec![("contoso", "ci", Kind::Application), ("fabrikam", "ci@fabrikam", Kind::Application)]),
            ("bob", vec![("fabrikam", "bob", Kind::User)]),
            ("gus", vec![("fabrikam", "gus", Kind::User), ("contoso", "gus@contoso", Kind::Guest)]),
        ]);
        for (group, tenant, parent) in
            [("prod", 0, None), ("inner", 0, Some("prod")), ("other", 0, None), ("fab", 1, None)]
        {
            let above = parent.map(|parent: Name| parent.parse().unwrap());
            directory.add_management_group(group, [&contoso, &fabrikam][tenant], above.as_ref()).unwrap();
            model.management.insert(group, (TENANTS[tenant], parent));
        }
        self.put_subscription("dev", "contoso", Some("inner"));
        self.put_subscription("lab", "fabrikam", Some("fab"));
        self.put_subscription("spare", "contoso", None);
        self.put_member("ga", "ann");
        self.put_member("gb", "ga");
        self.put_member("fa", "bob");
    }

    fn put_subscription(&mut self, id: Name, tenant: Name, group: Option<Name>) {
        let above = group.map(|group| group.parse().unwrap());
        self.directory.add_subscription(id.parse().unwrap(), tenant.parse().unwrap(), above).unwrap();
        self.model.subscriptions.insert(id, (tenant, group));
    }

    fn put_member(&mut self, group: Name, member: Name) {
        self.directory.add_member(group, member).unwrap();
        self.model.groups.entry(member).or_default().insert(group);
    }

    /// Most kinds of resources, made by the administrator.
    async fn fill(&mut self) {
        for gallery in 0..GALLERIES.len() {
            let soft = !self.random.one_in(3);
            self.take(ROOT, Step::CreateGallery(gallery, soft)).await;
        }
        for (gallery, image) in IMAGES {
            self.take(ROOT, Step::CreateImage(gallery, image)).await;
            if !self.random.one_in(3) {
                self.take(ROOT, Step::Publish(gallery, image, 0, Source::Disk)).await;
            }
        }
        if self.random.one_in(2) {
            self.take(ROOT, Step::CreateManaged).await;
            self.take(ROOT, Step::CreateSnapshot).await;
        }
        for _ in 0..6 {
            let step = self.assignment();
            self.take(ROOT, step).await;
        }
    }

    /// A principal, a subscription or a management group moves, or time passes.
    fn moves(&mut self) {
        let what = match self.random.below(8) {
            0..=2 => {
                let days = 1 + self.random.below(8) as u64;
                self.clock.advance(Duration::from_secs(days * DAY));
                self.model.now += days * DAY;
                format!("{days} days pass")
            }
            3 => {
                let (group, member) = self.random.pick(&[
                    ("ga", "gus@contoso"),
                    ("gb", "ci"),
                    ("fa", "gus"),
                    ("gb", "ga"),
                    ("ga", "ann"),
                ]);
                match self.model.groups.get(member).is_some_and(|groups| groups.contains(group)) {
                    true => {
                        self.directory.remove_member(group, member).unwrap();
                        self.model.groups.get_mut(member).unwrap().remove(group);
                        format!("{member} leaves {group}")
                    }
                    false => {
                        self.put_member(group, member);
                        format!("{member} joins {group}")
                    }
                }
            }
            4 | 5 => {
                let id = self.random.pick(&SUBSCRIPTIONS);
                // Seldom to another tenant.
                let tenant =
                    if self.random.one_in(4) { self.random.pick(&TENANTS) } else { self.model.subscriptions[id].0 };
                let groups: Vec<Name> =
                    MANAGEMENT.iter().filter(|group| self.model.management[*group].0 == tenant).copied().collect();
                let group = Some(self.random.pick(&groups)).filter(|_| !self.random.one_in(4));
                self.put_subscription(id, tenant, group);
                format!("{id} moves to {group:?} of {tenant}")
            }
            _ => {
                let (id, parent) = self.random.pick(&[
                    ("inner", None),
                    ("inner", Some("other")),
                    ("inner", Some("prod")),
                    ("other", Some("prod")),
                    ("other", None),
                ]);
                let above = parent.map(|parent: Name| parent.parse().unwrap());
                self.directory.move_management_group(&id.parse().unwrap(), above.as_ref()).unwrap();
                self.model.management.insert(id, ("contoso", parent));
                format!("{id} moves below {parent:?}")
            }
        };
        self.steps.push(what);
    }

    /// What by chance alone seldom comes together: something stands on a version that is deleted, and when its retention is over
    /// there is another of its name.
    async fn afterlife(&mut self) {
        let (gallery, image) = self.random.pick(&IMAGES);
        let at = At::Version(gallery, image, self.random.pick(&NUMBERS));
        for step in [self.assignment(), self.assignment(), self.denial()] {
            let step = match step {
                Step::Assign(_, id, principal, role) => Step::Assign(at, id, principal, role),
                Step::Deny(_, id, denial) => Step::Deny(at, id, denial),
                other => other,
            };
            self.take(ROOT, step).await;
        }
        self.take(ROOT, Step::Delete { at, cascade: false, bypass: false }).await;
        let days = 6 + self.random.below(3) as u64;
        self.clock.advance(Duration::from_secs(days * DAY));
        self.model.now += days * DAY;
        self.steps.push(format!("{days} days pass"));
        let caller = self.random.pick(&CALLERS);
        self.compare(caller).await;
        let above = if self.random.one_in(2) { At::Image(gallery, image) } else { At::Gallery(gallery) };
        let between = match self.random.below(4) {
            0 => vec![Step::Collect],
            1 => vec![
                Step::Delete { at: above, cascade: false, bypass: false },
                Step::CreateGallery(gallery, true),
                Step::CreateImage(gallery, image),
            ],
            _ => Vec::new(),
        };
        let At::Version(_, _, number) = at else { return };
        for step in between.into_iter().chain([Step::Publish(gallery, image, number, Source::Disk)]) {
            self.take(ROOT, step).await;
        }
        self.compare(caller).await;
    }

    async fn step(&mut self) {
        let caller = if self.random.one_in(2) { ROOT } else { self.random.pick(&CALLERS) };
        let step = self.draw();
        self.take(caller, step).await;
    }

    async fn take(&mut self, caller: Name, step: Step) {
        // No two steps share a time: the catalog's times are those of its commits, and all differ.
        self.clock.advance(Duration::from_secs(1));
        self.model.now += 1;
        self.steps.push(format!("{caller}: {step:?}"));
        let (allowed, name) = (self.model.allows(caller, &step), name_of(&step));
        let result = perform(&self.session(caller), &step).await;
        let seed = self.seed;
        match &result {
            Err(error) if is_forbidden(error) => {
                assert!(!allowed, "ACCESS_SEED={seed}: {caller} is refused {step:?}: {error}");
                self.told.insert((name, "forbidden"));
            }
            Err(_) => assert!(
                allowed,
                "ACCESS_SEED={seed}: {caller} learns more of {step:?} than that they may not: {result:?}"
            ),
            Ok(()) => {
                assert!(allowed, "ACCESS_SEED={seed}: {caller} may do {step:?}");
                assert!(!self.model.is_impossible(&step), "ACCESS_SEED={seed}: {caller} has done {step:?}");
                self.told.insert((name, "done"));
                self.model.apply(&step);
                if let Step::Share(gallery, Share::Community) = step {
                    let sharing = self.session(ROOT).view().gallery_sharing(gallery_id(gallery)).unwrap();
                    self.model.galleries.get_mut(&gallery).unwrap().public = sharing.public_name;
                }
            }
        }
    }

    fn assignment(&mut self) -> Step {
        let role = if self.random.one_in(3) { self.random.pick(&ROLES) } else { self.random.pick(&BUILT_IN).0 };
        let (at, id) = (self.random.pick(&scopes()), self.random.pick(&IDS));
        Step::Assign(at, id, self.random.pick(&PRINCIPALS), role)
    }

    fn denial(&mut self) -> Step {
        let (at, id) = (self.random.pick(&scopes()), self.random.pick(&IDS));
        let to = if self.random.one_in(2) { None } else { Some(vec![self.random.pick(&PRINCIPALS)]) };
        let except = match to {
            None => vec![self.random.pick(&PRINCIPALS)],
            Some(_) => self.random.some(&PRINCIPALS, 1),
        };
        Step::Deny(at, id, Denial { to, except, actions: vec![self.random.pick(&PATTERNS)] })
    }

    fn role(&mut self) -> Step {
        let actions = self.random.some(&PATTERNS, 3);
        let not = self.random.some(&PATTERNS, 1);
        let scopes = if self.random.one_in(4) { Vec::new() } else { self.random.some(&scopes(), 3) };
        Step::DefineRole(self.random.pick(&ROLES), Role { actions, not, scopes })
    }

    /// One that is there, mostly.
    fn known<K: Copy, V>(&mut self, there: &BTreeMap<(At, K), V>) -> Option<(At, K)> {
        let any = !there.is_empty() && !self.random.one_in(8);
        any.then(|| *there.keys().nth(self.random.below(there.len())).unwrap())
    }

    fn draw(&mut self) -> Step {
        let random = &mut self.random;
        let (gallery, image) = random.pick(&IMAGES);
        let number = random.pick(&NUMBERS);
        let key = (gallery, image, number);
        match random.below(57) {
            0..=8 => self.assignment(),
            9..=11 => {
                let (at, id) = self.known(&self.model.assignments.clone()).unwrap_or((At::Gallery(gallery), "1"));
                Step::Unassign(at, id)
            }
            12..=15 => self.denial(),
            16 | 17 => {
                let (at, id) = self.known(&self.model.denials.clone()).unwrap_or((At::Gallery(gallery), "1"));
                Step::Undeny(at, id)
            }
            18..=20 => self.role(),
            21 => Step::DeleteRole(random.pick(&ROLES)),
            22..=24 => {
                let (some, others) = (random.some(&SUBSCRIPTIONS, 2), random.some(&TENANTS, 2));
                match random.below(8) {
                    0 => Step::Share(gallery, Share::Reset),
                    1 => Step::Share(gallery, Share::Remove(some, others)),
                    2..=4 => Step::Share(1, Share::Community),
                    _ => Step::Share(0, Share::Add(some, others)),
                }
            }
            25 | 26 => Step::CreateGallery(gallery, random.one_in(2)),
            27 => Step::UpdateGallery(gallery, random.one_in(2)),
            28 | 29 => Step::CreateImage(gallery, image),
            30 => Step::UpdateImage(gallery, image),
            31..=34 => {
                let (other, name) = random.pick(&IMAGES);
                let from = Source::Version(other, name, random.pick(&NUMBERS));
                let source = random.pick(&[
                    Source::Disk,
                    Source::Managed,
                    Source::Snapshot,
                    Source::Blob,
                    Source::Machine,
                    from,
                ]);
                Step::Publish(gallery, image, number, source)
            }
            35 if random.one_in(2) => Step::PublishNext(gallery, image),
            35 => Step::UpdateVersion(key.0, key.1, key.2),
            36 => Step::Restore(key.0, key.1, key.2),
            37 if random.one_in(2) => Step::Exclude(key.0, key.1, key.2),
            37 => Step::Replicate(key.0, key.1, key.2),
            38 => Step::Lifecycle(gallery, image),
            39 => random.pick(&[Step::CreateManaged, Step::CreateSnapshot].each_ref()).clone(),
            40..=43 => {
                let version = At::Version(gallery, image, number);
                let at = random.pick(&[
                    version,
                    version,
                    version,
                    At::Image(gallery, image),
                    At::Gallery(gallery),
                    At::Managed,
                    At::Snapshot,
                ]);
                Step::Delete { at, cascade: random.one_in(2), bypass: random.one_in(3) }
            }
            55 | 56 => Step::PutNamed(random.pick(&NAMED).0),
            52 | 53 => Step::PutGroup(random.pick(&["dev", "lab"])),
            54 => Step::DeleteGroup(random.pick(&["dev", "lab"])),
            46 => Step::PutGallery(gallery, random.one_in(2)),
            47 => Step::PutImage(gallery, image),
            48 | 49 => Step::Announce(gallery, image),
            50 | 51 => Step::Complete(gallery, image),
            44 => match random.below(3) {
                0 => Step::Scrub,
                1 => Step::Truncate,
                _ => Step::BeginsAfter,
            },
            _ if random.one_in(3) => Step::Compress,
            _ if random.one_in(3) => Step::RotateKeys,
            _ => Step::Collect,
        }
    }

    // Reads.

    /// Both answers are the same.
    fn same(&mut self, caller: Name, name: Name, of: &dyn std::fmt::Debug, expected: &Answer, answer: &Answer) {
        let seed = self.seed;
        assert_eq!(answer, expected, "ACCESS_SEED={seed}: {caller}: {name} of {of:?}: the service, then the model");
        self.told.insert((
            name,
            match answer {
                Answer::Seen(some) if some.is_empty() => "seen",
                Answer::Seen(_) => "some",
                Answer::Forbidden => "forbidden",
                Answer::Absent => "absent",
            },
        ));
    }

    fn same_list(&mut self, caller: Name, name: Name, expected: BTreeSet<String>, list: BTreeSet<String>) {
        self.same(caller, name, &"all", &Answer::Seen(expected), &Answer::Seen(list));
    }

    /// Every read, asked for by one caller.
    async fn compare(&mut self, caller: Name) {
        self.steps.push(format!("{caller}: reads everything"));
        let (session, model) = (self.session(caller), self.model.clone());
        let view = session.view();
        self.compare_decisions(caller, &session);
        self.compare_lists(caller, &view);
        self.compare_operations(caller, &session).await;
        self.compare_all(caller, &session).await;
        for gallery in 0..GALLERIES.len() {
            let (at, id) = (At::Gallery(gallery), gallery_id(gallery));
            self.same(caller, "gallery", &at, &model.read(caller, at), &answer(view.gallery(&id)));
            let roles = answer(view.role_definitions(&id));
            self.same(caller, "role_definitions", &at, &model.role_definitions(caller, at), &roles);
            let places = places();
            let assigned = view.role_assignments_at(&id);
            let assigned = assigned.iter().map(|one| format!("{} at {:?}", one.id, places[&one.scope])).collect();
            self.same_list(caller, "role_assignments_at", model.role_assignments_at(caller, at), assigned);
            self.same(caller, "json", &at, &model.read(caller, at), &answer(view.json(&id)));
            self.same(caller, "revision", &at, &model.read(caller, at), &answer(view.revision(&id)));
            self.same(caller, "gallery_sharing", &at, &model.read(caller, at), &answer(view.gallery_sharing(&id)));
            let images = view.image_definitions(&id, None, 9);
            let images = images.map(|page| page.items.iter().map(|one| one.id().name().to_string()).collect());
            self.same(caller, "image_definitions", &at, &model.images(caller, gallery), &list(images));
            let matrix = session.sharing_matrix(&id);
            let mut rows: BTreeSet<String> = matrix.gallery.then(|| "the gallery".to_owned()).into_iter().collect();
            for row in matrix.images {
                rows.extend(row.image.then(|| row.name.clone()));
                rows.extend(row.versions.iter().map(|number| format!("{} {number}", row.name)));
            }
            self.same_list(caller, "sharing_matrix", model.matrix(caller, gallery), rows);
            self.compare_public(caller, &session, gallery).await;
        }
        for (gallery, image) in IMAGES {
            self.compare_image(caller, &session, gallery, image).await;
        }
        for (at, name) in [(At::Managed, "managed_image"), (At::Snapshot, "snapshot")] {
            let read = match at {
                At::Managed => answer(view.managed_image(managed_id())),
                _ => answer(view.snapshot(snapshot_id())),
            };
            self.same(caller, name, &at, &model.read(caller, at), &read);
            self.compare_deployments(caller, &session, at).await;
        }
        for id in SUBSCRIPTIONS {
            let usage = answer(view.usage(id, region()));
            self.same(caller, "usage", &id, &model.usage(caller, id), &usage);
        }
    }

    async fn compare_image(&mut self, caller: Name, session: &Session, gallery: usize, image: Name) {
        let (model, view, at) = (self.model.clone(), session.view(), At::Image(gallery, image));
        let id = image_id(gallery, image);
        self.same(caller, "image_definition", &at, &model.read(caller, at), &answer(view.image_definition(&id)));
        self.same(caller, "json", &at, &model.read(caller, at), &answer(view.json(&id)));
        let announced = At::Version(gallery, image, ANNOUNCED);
        let (number_of, expected) = (version_id(gallery, image, ANNOUNCED), model.read(caller, announced));
        self.same(caller, "provisioning", &announced, &expected, &answer(view.provisioning(&number_of)));
        self.same(caller, "json", &announced, &expected, &answer(view.json(&number_of)));
        let versions = view.image_versions(&id, None, 9);
        let versions = list(versions.map(|page| page.items.iter().map(|one| number(one)).collect()));
        self.same(caller, "image_versions", &at, &model.image_versions(caller, gallery, image), &versions);
        let deleted =
            list(view.soft_deleted_versions(&id).map(|all| all.iter().map(|one| number(&one.version)).collect()));
        self.same(caller, "soft_deleted_versions", &at, &model.soft_deleted(caller, gallery, image), &deleted);
        let explained = view.explain_latest(&id, &region());
        let explained = list(explained.map(|all| all.iter().map(|one| number(&one.version)).collect()));
        self.same(caller, "explain_latest", &at, &model.explain_latest(caller, gallery, image), &explained);
        self.same(caller, "latest", &at, &model.latest(caller, gallery, image), &answer(view.latest(&id, &region())));
        self.compare_deployments(caller, session, at).await;
        for patch in NUMBERS {
            let (at, id) = (At::Version(gallery, image, patch), version_id(gallery, image, patch));
            let expected = model.read(caller, at);
            self.same(caller, "image_version", &at, &expected, &answer(view.image_version(&id)));
            self.same(caller, "provisioning", &at, &expected, &answer(view.provisioning(&id)));
            self.same(caller, "revision", &at, &expected, &answer(view.revision(&id)));
            self.same(caller, "json", &at, &expected, &answer(view.json(&id)));
            self.same(caller, "image_content", &at, &expected, &answer(view.image_content(&id)));
            self.same(caller, "cost", &at, &expected, &answer(view.cost(&Prices::new(1, 1), [&id])));
            let status = answer(session.replication_status(&id).await);
            self.same(caller, "replication_status", &at, &expected, &status);
            let watched = Box::pin(session.watch_replication(&id)).next().await.unwrap();
            self.same(caller, "watch_replication", &at, &expected, &answer(watched));
            self.compare_deployments(caller, session, at).await;
        }
    }

    async fn compare_deployments(&mut self, caller: Name, session: &Session, at: At) {
        let expected = self.model.deploy(caller, at);
        let deployed = match self.random.one_in(2) {
            true => answer(session.deploy(resource(at), region()).to_writer(Vec::new()).await),
            false => answer(session.deploy(resource(at), region()).open().await),
        };
        self.same(caller, "deploy", &at, &expected, &deployed);
        self.same(caller, "pool", &at, &expected, &answer(session.pool(resource(at), &region()).await));
        if at != At::Snapshot {
            let booted = session.boot_image(resource(at), &region()).await;
            if let Ok(image) = &booted {
                assert_eq!(expected, model::seen(), "{caller} boots {at:?}");
                drop(image.clone());
            }
            self.same(caller, "boot_image", &at, &expected, &answer(booted));
        }
    }

    /// Shared resources, by their public names.
    async fn compare_public(&mut self, caller: Name, session: &Session, gallery: usize) {
        let (model, view) = (self.model.clone(), session.view());
        let community = model.galleries.get(&gallery).and_then(|gallery| gallery.public.clone());
        let community = PublicGallery::Community(community.unwrap_or_else(|| "fabrikam-0".to_owned()));
        for (named, is_community) in [(PublicGallery::Shared(gallery_id_name(gallery)), false), (community, true)] {
            let expected = model.public_gallery(caller, gallery, is_community);
            self.same(caller, "public_gallery", &named, &expected, &answer(view.public_gallery(&named)));
            let images = view.public_images(&named).map(|all| all.into_iter().map(|one| one.name).collect());
            let expected = model.public_images(caller, gallery, is_community);
            self.same(caller, "public_images", &named, &expected, &list(images));
            for (_, image) in IMAGES.iter().filter(|(of, _)| *of == gallery) {
                let id = PublicImageId::new(named.clone(), image.parse().unwrap());
                let versions = view.public_versions(&id, &region());
                let versions = versions.map(|all| all.into_iter().map(|one| one.name).collect());
                let expected = model.public_versions(caller, gallery, image, is_community);
                self.same(caller, "public_versions", &id, &expected, &list(versions));
                for patch in [None, Some(0), Some(1)] {
                    let id = match patch {
                        Some(patch) => id.clone().with_version(format!("1.0.{patch}").parse().unwrap()),
                        None => id.clone(),
                    };
                    let deployed = session.deploy(&id, &region()).to_writer(Vec::new()).await;
                    let expected = model.deploy_public(caller, (gallery, image), patch, is_community);
                    self.same(caller, "deploy", &id, &expected, &answer(deployed));
                }
            }
        }
    }

    fn compare_lists(&mut self, caller: Name, view: &CatalogView) {
        let model = self.model.clone();
        let galleries = view.galleries(&ListScope::All, None, 9).items;
        let galleries = galleries.iter().map(|one| one.id().name().to_string()).collect();
        self.same_list(caller, "galleries", model.galleries(caller), galleries);
        let subscriptions = view.subscriptions().into_iter().map(|one| one.id.to_string()).collect();
        self.same_list(caller, "subscriptions", model.subscriptions(caller), subscriptions);
        for (kind, ..) in NAMED {
            let (expected, id) = (model.named_source(caller, kind), named_id(kind));
            self.same(caller, "named_source", &id, &expected, &answer(view.named_source(&id)));
            self.same(caller, "json", &id, &expected, &answer(view.json(&id)));
        }
        let named = view.named_sources(&ListScope::All, None, 9).items;
        let named = named.iter().map(|source| {
            let is = |(kind, ..): &&(Name, Name, Name, Name)| named_id(kind) == *source.id();
            NAMED.iter().find(is).unwrap().0.to_owned()
        });
        self.same_list(caller, "named_sources", model.named_sources(caller), named.collect());
        for subscription in ["dev", "lab"] {
            let (expected, id) = (model.resource_group(caller, subscription), group_id(subscription));
            self.same(caller, "resource_group", &id, &expected, &answer(view.resource_group(&id)));
            self.same(caller, "resource_group_json", &id, &expected, &answer(view.resource_group_json(&id)));
            let groups = view.resource_groups(&subscription.parse().unwrap(), None, 9).items;
            let groups = groups.iter().map(|group| group.id().subscription().to_string()).collect();
            let there = (expected == model::seen()).then(|| subscription.to_owned());
            self.same_list(caller, "resource_groups", there.into_iter().collect(), groups);
        }
        let incomplete = view.incomplete_versions().into_iter().map(|one| {
            let id = one.version.id().definition().clone();
            let place = (0..GALLERIES.len()).find(|gallery| gallery_id(*gallery) == *id.gallery());
            format!("{} {}", place.unwrap(), id.name())
        });
        self.same_list(caller, "incomplete_versions", model.incomplete_versions(caller), incomplete.collect());
        let mut under_way = view.operations();
        under_way.retain(|operation| operation.status == OperationStatus::InProgress);
        let under_way = under_way.iter().map(|operation| {
            let OperationTarget::Resource(ResourceId::ImageVersion(version)) = &operation.resource else {
                unreachable!()
            };
            let id = version.definition();
            let place = (0..GALLERIES.len()).find(|gallery| gallery_id(*gallery) == *id.gallery());
            format!("{} {}", place.unwrap(), id.name())
        });
        self.same_list(caller, "operations", model.operations(caller), under_way.collect());
        let one = |there: bool| -> BTreeSet<String> { there.then(|| "x".to_owned()).into_iter().collect() };
        let managed = view.managed_images(&ListScope::All, None, 9).items;
        self.same_list(caller, "managed_images", one(model.flat(caller, At::Managed)), one(!managed.is_empty()));
        let snapshots = view.snapshots(&ListScope::All, None, 9).items;
        self.same_list(caller, "snapshots", one(model.flat(caller, At::Snapshot)), one(!snapshots.is_empty()));
        let places = places();
        let assigned = view.role_assignments();
        let assigned = assigned.iter().map(|one| format!("{} at {:?}", one.id, places[&one.scope])).collect();
        self.same_list(caller, "role_assignments", model.role_assignments(caller), assigned);
        let denied = view.deny_assignments();
        let denied = denied.iter().map(|one| format!("{} at {:?}", one.id, places[&one.scope])).collect();
        self.same_list(caller, "deny_assignments", model.deny_assignments(caller), denied);
        let shared = view.shared_galleries().into_iter().map(|one| one.name.to_lowercase());
        let shared = shared.map(|name| name.split('-').next_back().unwrap().to_owned()).collect();
        self.same_list(caller, "shared_galleries", model.shared_galleries(caller), shared);
    }

    /// What is found and listed in all galleries, and what a deletion after the end of life would delete.
    async fn compare_all(&mut self, caller: Name, session: &Session) {
        let (view, model) = (session.view(), self.model.clone());
        let told = |id: &ImageDefinitionId| {
            let place = (0..GALLERIES.len()).find(|gallery| gallery_id(*gallery) == *id.gallery());
            format!("{} {}", place.unwrap(), id.name())
        };
        let of_version = |id: &ImageVersionId| format!("{} {}", told(id.definition()), id.number().patch());
        let of_resource = |id: &ResourceId| match id {
            ResourceId::ImageDefinition(id) => told(id),
            ResourceId::ImageVersion(id) => of_version(id),
            other => unreachable!("{other}"),
        };
        let all = view.all_image_definitions(&ListScope::All, None, 99).items;
        let all = all.iter().map(|one| told(one.id())).collect();
        self.same_list(caller, "all_image_definitions", model.all_images(caller), all);
        let all = view.all_image_versions(&ListScope::All, None, 99).items;
        let all = all.iter().map(|one| of_version(one.id())).collect();
        self.same_list(caller, "all_image_versions", model.all_versions(caller), all);
        let ends = view.ends_of_life(&ListScope::All, chrono::DateTime::<chrono::Utc>::MAX_UTC);
        let ends = ends.iter().map(|end| of_resource(&end.resource)).collect();
        self.same_list(caller, "ends_of_life", model.all_images(caller), ends);
        // A dry run, as if it were long after 2100.
        let deletes = session.delete_after_end_of_life(chrono::TimeDelta::days(-36_525)).plan().await.unwrap().deletes;
        let deletes = deletes.iter().map(of_resource).collect();
        self.same_list(caller, "delete_after_end_of_life", model.expired(caller), deletes);
        let (expected, machine) =
            (model.forgets_machine(caller), flat::<VirtualMachineId>("Microsoft.Compute/virtualMachines"));
        self.same(caller, "forget_vm", &machine, &expected, &answer(session.forget_vm(machine.clone()).await));
        for (gallery, image) in IMAGES {
            let identifier = definition(gallery, image).identifier().clone();
            let found = view.find_images(&ListScope::All, &identifier);
            let found = found.iter().map(|one| told(one.id())).collect();
            self.same_list(caller, "find_images", model.found(caller, image), found);
            let scope = ListScope::Subscription(GALLERIES[gallery].0.parse().unwrap());
            let latest = answer(view.find_latest(&scope, &identifier, region()));
            let at = At::Image(gallery, image);
            self.same(caller, "find_latest", &at, &model.found_latest(caller, gallery, image), &latest);
        }
    }

    /// Operations by their id, and drivers. Nothing is changed but replicas.
    async fn compare_operations(&mut self, caller: Name, session: &Session) {
        let (view, model) = (session.view(), self.model.clone());
        for operation in self.session(model::ROOT).view().operations().into_iter().take(5) {
            let is_over = operation.status != OperationStatus::InProgress;
            let OperationTarget::Resource(of) = &operation.resource else { continue };
            let at = places().get(&of.clone().into()).copied();
            let Some(at) = at else { continue };
            let (read, cancel) = (model.operation(caller, at), model.cancel(caller, at));
            self.same(caller, "operation", &at, &read, &answer(view.operation(operation.id)));
            if is_over || read == Answer::Absent {
                let waited = answer(session.wait_for_operation(operation.id).await);
                self.same(caller, "wait_for_operation", &at, &read, &waited);
            }
            if is_over || !matches!(cancel, Answer::Seen(_)) {
                let cancelled = answer(session.cancel_operation(operation.id).await);
                self.same(caller, "cancel_operation", &at, &cancel, &cancelled);
            }
        }
        if caller != model::ROOT || model.incomplete.is_empty() {
            let expected = if caller == model::ROOT { model::seen() } else { Answer::Forbidden };
            let driven = answer(session.driver().collect_every(None).step().await);
            self.same(caller, "driver", &"all", &expected, &driven);
        }
    }

    /// Decisions as callers see them.
    fn compare_decisions(&mut self, caller: Name, session: &Session) {
        let places = places();
        for _ in 0..100 {
            let (action, at) = (self.random.pick(Action::ALL), self.random.pick(&scopes()));
            let expected = self.model.decide(caller, action.as_str(), at);
            let decision = session.explain_access(action, &scope(at));
            let seed = self.seed;
            let same = match &decision {
                Decision::Allowed(_) => expected == Verdict::Allowed,
                Decision::NotGranted { scope: of, .. } => expected == Verdict::NotGranted && *of == scope(at),
                Decision::NotInTenant { .. } => expected == Verdict::NoAccount,
                // Two may stand at one scope.
                Decision::Denied { scope: of, whole, .. } => {
                    let may_see = self.model.may(caller, model::READ_ASSIGNMENTS, places[of]);
                    matches!(expected, Verdict::Denied(there, _) if there == places[of]) && whole.is_some() == may_see
                }
            };
            assert!(same, "ACCESS_SEED={seed}: {caller}: {action} at {at:?}: {decision}, not {expected:?}");
            self.told.insert(("explain_access", if decision.is_allowed() { "allowed" } else { "refused" }));
        }
    }

    /// The history as each caller sees it.
    async fn compare_histories(&mut self) {
        let all: Vec<HistoryEntry> = self.session(ROOT).history(0).map(Result::unwrap).collect().await;
        let places = places();
        for caller in CALLERS {
            let told: Vec<HistoryEntry> = self.session(caller).history(0).map(Result::unwrap).collect().await;
            let may = |action: Name, at: &AccessScope| self.model.may(caller, action, places[at]);
            let seen = all.iter().filter(|commit| match concerns(&commit.event) {
                Some((action, at)) => may(action, &at),
                None => caller == ROOT,
            });
            let seen: Vec<&HistoryEntry> = seen.collect();
            let seed = self.seed;
            assert_eq!(told.len(), seen.len(), "ACCESS_SEED={seed}: {caller} sees other commits");
            for (told, whole) in told.iter().zip(seen) {
                assert_eq!((told.number, &told.event, &told.caller), (whole.number, &whole.event, &whole.caller));
                let Some((told, whole)) = told.authorization.as_ref().zip(whole.authorization.as_ref()) else {
                    continue;
                };
                match &whole.scope {
                    Some(at) if !may(model::READ_ASSIGNMENTS, at) => {
                        assert_eq!((&told.assignment, &told.scope), (&None, &None), "ACCESS_SEED={seed}: {caller}");
                        assert!(!told.because.contains('`'), "ACCESS_SEED={seed}: {caller}: {}", told.because);
                    }
                    _ => assert_eq!(told, whole, "ACCESS_SEED={seed}: {caller}"),
                }
            }
            self.told.insert(("history", if told.is_empty() { "nothing" } else { "something" }));
        }
    }
}

fn gallery_id_name(gallery: usize) -> String {
    let (subscription, name) = GALLERIES[gallery];
    format!("{subscription}-{}", name.to_uppercase())
}

fn places() -> BTreeMap<AccessScope, At> {
    let announced = IMAGES.map(|(gallery, image)| At::Version(gallery, image, ANNOUNCED));
    // Nothing is assigned at a source by name.
    let named = NAMED.map(|(kind, ..)| (AccessScope::from(named_id(kind)), At::Group("dev")));
    scopes().into_iter().chain(announced).map(|at| (scope(at), at)).chain(named).collect()
}

fn number(version: &ImageVersion) -> String {
    version.id().number().to_string()
}

fn answer<T>(result: Result<T>) -> Answer {
    list(result.map(|_| BTreeSet::new()))
}

fn list(result: Result<BTreeSet<String>>) -> Answer {
    match result {
        Ok(seen) => Answer::Seen(seen),
        Err(error) if error.kind() == ErrorKind::Forbidden => Answer::Forbidden,
        Err(error) if error.kind() == ErrorKind::NotFound => Answer::Absent,
        Err(error) => panic!("neither allowed, nor refused, nor hidden: {error}"),
    }
}

/// The right to know of an event.
fn concerns(event: &RecordedEvent) -> Option<(Name, AccessScope)> {
    let of = |id: &ResourceId| {
        let action = match id {
            ResourceId::Gallery(_) => "Microsoft.Compute/galleries/read",
            ResourceId::ImageDefinition(_) => "Microsoft.Compute/galleries/images/read",
            ResourceId::ImageVersion(_) => "Microsoft.Compute/galleries/images/versions/read",
            ResourceId::ManagedImage(_) => "Microsoft.Compute/images/read",
            ResourceId::Snapshot(_) => "Microsoft.Compute/snapshots/read",
            ResourceId::Disk(_) => "Microsoft.Compute/disks/read",
            other => unreachable!("nothing happens to {other}"),
        };
        Some((action, AccessScope::from(id.clone())))
    };
    let action = match event.kind {
        EventKind::ResourceGroupPut | EventKind::ResourceGroupDeleted => model::READ_GROUP,
        _ => model::READ_ASSIGNMENTS,
    };
    let assigned = |scope: &AccessScope| Some((action, scope.clone()));
    // An import is seen by those who see what it becomes; its later steps by administrators.
    event.resource.as_ref().and_then(of).or_else(|| event.scope.as_ref().and_then(assigned))
}
