//! The format of this version: `tests/format/2` has the blobs of a gallery in which everything happened once. Every later build
//! must read them, which proves that it writes the same: a line has one form. What a newer build wrote is refused, skipped or kept,
//! as `docs/format.md` says, and never dropped.
//!
//! `content-2` and `encrypted-2` are galleries of a few versions with the forms that content gets after its import: chunks in groups, parts in
//! merged blobs, and, in the second, two data keys and the wraps of two keys of a host.
//!
//! After a deliberate change of the format before 0.1.0: `cargo test --features testkit,encryption --test format -- --ignored`.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a helper of a test may fail as the test does")]

#[path = "format/frozen.rs"]
mod frozen;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use compute_gallery::access::*;
use compute_gallery::content::Compression;
use compute_gallery::host::Workers;
use compute_gallery::model::*;
use compute_gallery::publish::*;
use compute_gallery::read::{EventKind, ListScope, ProvisioningState};
use compute_gallery::store::*;
use compute_gallery::testkit::{HookedStore, ManualClock, Reaction, Sandbox, raw, region};
use compute_gallery::*;
use futures::executor::block_on;
use futures::{FutureExt, TryStreamExt};
use serde_json::json;

/// A gallery's blobs.
type Blobs = BTreeMap<String, Bytes>;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/format/2")
}

fn content_golden(name: &str) -> PathBuf {
    golden().with_file_name(name)
}

fn read_below(folder: &Path, prefix: &str, into: &mut Blobs) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        match entry.file_type().unwrap().is_dir() {
            true => read_below(&entry.path(), &format!("{name}/"), into),
            false => drop(into.insert(name, fs::read(entry.path()).unwrap().into())),
        }
    }
}

fn golden_blobs() -> Blobs {
    blobs_in(&golden())
}

fn blobs_in(folder: &Path) -> Blobs {
    let mut blobs = Blobs::new();
    read_below(folder, "", &mut blobs);
    blobs
}

fn write_golden(folder: &Path, blobs: &Blobs) {
    let _ = fs::remove_dir_all(folder);
    for (key, bytes) in blobs {
        let path = folder.join(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

async fn store_of(blobs: &Blobs) -> MemoryStore {
    let store = MemoryStore::new();
    for (key, bytes) in blobs {
        store.put(&key.parse().unwrap(), bytes.clone(), PutMode::Create).await.unwrap();
    }
    store
}

async fn blobs_of(store: &MemoryStore) -> Blobs {
    let mut blobs = Blobs::new();
    for blob in store.list_all(None).await.unwrap() {
        blobs.insert(blob.key.to_string(), store.get(&blob.key, None).await.unwrap());
    }
    blobs
}

/// A process on the stores of a gallery.
fn builder(store: impl BlobStore) -> GalleryServiceBuilder {
    let clock = ManualClock::new("2026-03-01T00:00:00Z".parse().unwrap());
    GalleryService::builder()
        .store(store)
        .allow_all()
        .clock(clock)
        .workers(Workers::inline())
        .retries(RetryPolicy::none())
}

async fn opened(blobs: &Blobs) -> (MemoryStore, Result<Session>) {
    let store = store_of(blobs).await;
    let opened = builder(store.clone()).open().await;
    (store, opened.map(|service| service.session("test".parse().unwrap())))
}

/// Why a gallery cannot be opened.
async fn refusal(blobs: &Blobs) -> String {
    let error = opened(blobs).await.1.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    error.to_string()
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Lets everything happen once, and returns the blobs that are written.
async fn written() -> Result<Blobs> {
    let (store, broken) = (MemoryStore::new(), Arc::new(Mutex::new(None::<(&str, &str)>)));
    let is_broken = broken.clone();
    let (hangs, is_hanging) = (Arc::new(AtomicBool::new(false)), |call: &compute_gallery::testkit::Call| {
        let is_sent = call.operation.starts_with("put") || call.operation.starts_with("copy");
        is_sent && call.key.as_ref().is_some_and(|key| key.as_str().starts_with("regions/eastus/slots"))
    });
    let hanging = hangs.clone();
    let hooked = HookedStore::new(store.clone(), move |call| {
        let broken = is_broken.lock().unwrap().is_some_and(|(operation, place)| {
            call.operation == operation && call.key.as_ref().is_some_and(|key| key.as_str().starts_with(place))
        });
        let stands_still = hanging.load(Ordering::Relaxed) && is_hanging(&call);
        async move {
            match broken {
                _ if stands_still => std::future::pending().await,
                true if call.operation == "delete" => std::future::pending().await,
                true => Reaction::Fail(StoreErrorKind::Unavailable),
                false => Reaction::Pass,
            }
        }
    });
    let breaks = |what| *broken.lock().unwrap() = what;
    let clock = ManualClock::new("2026-01-02T03:04:05Z".parse().unwrap());
    let sandbox = Sandbox::builder().regions(["westeurope", "eastus"]).one_store(hooked).clock(clock).seed(2);
    // Inline, so that a collection goes as far as its first deletion.
    let settings = |builder: GalleryServiceBuilder| {
        builder.retries(RetryPolicy::none()).workers(Workers::inline()).abandon_duties_after(frozen::QUIET)
    };
    let sandbox = sandbox.service(settings).build().await?;
    let session = sandbox.session();

    let group = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute";
    let community = format!("{group}/galleries/community").parse::<GalleryId>()?;
    let info = CommunityGalleryInfo {
        public_name_prefix: "contoso".into(),
        publisher_uri: "https://contoso.com".into(),
        publisher_contact: "images@contoso.com".into(),
        eula: "eula".into(),
    };
    let retained = Gallery::new(community.clone(), region("westeurope"))
        .with_description("golden images")
        .with_sharing_profile(SharingProfile::community(info))
        .with_soft_delete_policy(SoftDeletePolicy::enabled());
    session.create_gallery(retained).await?;
    session.share_gallery(&community, SharingUpdate::EnableCommunity).await?;
    let image = community.image("web".parse()?);
    let identifier = ImageIdentifier::new("Contoso", "Web", "Backend")?;
    let (os, state) = (OsType::Linux, OsState::Generalized);
    let definition = ImageDefinition::new(image.clone(), region("westeurope"), os, state, identifier);
    session.create_image_definition(definition.clone()).await?;
    session.update_image_definition(definition.with_description("the web server")).await?;
    let dropped = Gallery::new(format!("{group}/galleries/dropped").parse()?, region("eastus"));
    session.create_gallery(dropped.clone()).await?;
    session.update_gallery(dropped.clone().with_description("soon gone")).await?;
    let identifier = ImageIdentifier::new("Contoso", "Web", "Gone")?;
    let gone = ImageDefinition::new(dropped.id().image("gone".parse()?), region("eastus"), os, state, identifier);
    session.create_image_definition(gone.clone()).await?;
    session.delete(gone.id()).await?;
    session.delete(dropped.id()).await?;

    let role = RoleDefinition::new("deployer", "Deployer")?.with_actions(["Microsoft.Compute/galleries/*/read"])?;
    session.define_role(role).await?;
    session.define_role(RoleDefinition::new("gone", "Gone")?).await?;
    session.delete_role("gone").await?;
    for (id, who) in [("a", "ann"), ("b", "bob")] {
        session.assign_role(RoleAssignment::new(id, who.parse()?, "deployer".parse()?, &community)?).await?;
        session.deny(DenyAssignment::to(id, [who.parse()?], ["*/delete"], &community)?).await?;
    }
    session.unassign_role(&community, "b").await?;
    session.undeny(&community, "b").await?;

    let managed = format!("{group}/images/made");
    let snapshot = format!("{group}/snapshots/taken");
    let disk = || raw(vec![5; 5_120]);
    let made = NewManagedImage::new(managed.parse()?, region("westeurope"), os, disk());
    session.create_managed_image(made).await?;
    let taken = NewSnapshot::of_os_disk(snapshot.parse()?, region("westeurope"), disk(), os, HyperVGeneration::V2);
    session.create_snapshot(taken).await?;
    session.delete(managed.as_str()).await?;
    session.delete(snapshot.as_str()).await?;

    // Of the versions, one fails to reach a region and is tried again, and one is deleted and restored.
    // Its index has nodes below the root.
    let far = [vec![1; 69_632], vec![0; 16 << 20], vec![2; 4_096]].concat();
    sandbox.publish("1.0.1", far).await?;
    sandbox.publish("1.0.2", [vec![1; 65_536], vec![2; 4_096]].concat()).await?;
    breaks(Some(("put", "regions/eastus/slots")));
    let failed = sandbox.publish("1.0.3", vec![3; 69_632]).await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Unavailable);
    breaks(None);
    session.replicate(sandbox.version("1.0.3")).await?;
    let version = session.view().image_version(sandbox.version("1.0.1"))?;
    session.update_image_version((*version).clone().with_tags(Tags::new([("a".into(), "b".into())].into())?)).await?;
    let kept = image.version("1.0.0".parse()?);
    let new =
        NewImageVersion::new(kept.clone(), region("westeurope"), PublishingProfile::new("westeurope".parse()?), disk());
    session.publish(new).await?;
    session.delete(&kept).await?;
    session.restore(&kept).await?;

    // Of the imports, one is resumed and given up. What is deleted is collected, and another collection takes over.
    breaks(Some(("put_parts", "regions/westeurope/slots")));
    for _ in 0..2 {
        sandbox.publish("9.0.0", vec![9; 69_632]).await.unwrap_err();
    }
    breaks(None);
    session.delete(sandbox.version("1.0.2")).await?;
    sandbox.clock().advance(8 * DAY);
    breaks(Some(("delete", "regions/westeurope/slots")));
    {
        let mut collection = std::pin::pin!(session.collect().into_future());
        assert!((0..1_000).all(|_| collection.as_mut().now_or_never().is_none()), "it stands still, and is dropped");
    }
    breaks(None);
    session.collect().await?;
    // Resource groups, what the model does not have, and versions that have no content: one of them failed.
    for name in ["kept", "gone"] {
        let body = json!({"location": "westeurope", "managedBy": "/x"});
        session.put_resource_group(format!("/subscriptions/dev/resourceGroups/{name}"), body).await?;
    }
    session.delete_resource_group("/subscriptions/dev/resourceGroups/gone").await?;
    let properties = json!({"creationData": {"createOption": "Empty"}});
    for name in ["kept", "gone"] {
        let body = json!({"location": "westeurope", "properties": properties});
        session.put_disk(format!("{group}/disks/{name}"), body).await?;
    }
    session.delete(format!("{group}/disks/gone")).await?;
    let identity = Request::patch(json!({"identity": {"type": "SystemAssigned"}}));
    session.put_gallery(sandbox.image().gallery(), identity).await?;
    for number in ["8.0.0", "8.0.1"] {
        let source = json!({"source": {"id": managed}});
        let profile = json!({"targetRegions": [{"name": "westeurope", "additionalReplicaSets": []}]});
        let properties = json!({"storageProfile": source, "publishingProfile": profile});
        let body = json!({"location": "westeurope", "properties": properties});
        session.put_image_version(sandbox.version(number), body).await?;
    }
    session.complete_version(sandbox.version("8.0.1")).await.unwrap_err();
    // Operations, one of which is cancelled, and duties: one is finished, and one is held by a driver that is gone.
    let source = json!({"source": {"id": kept.to_string()}});
    let body = json!({"location": "westeurope", "properties": {"storageProfile": source}});
    let put = session.put_image_version(sandbox.version("8.0.2"), body.clone()).await?;
    session.cancel_operation(put.operation.unwrap()).await?;
    let tags = json!({"location": "westeurope", "tags": {"put": "again"}});
    session.put_image_version(sandbox.version("1.0.1"), tags).await?;
    session.publish(sandbox.new_version("6.0.0", "westeurope,eastus", disk())).await?;
    session.replicate(sandbox.version("1.0.3")).await?;
    {
        let driver = session.driver().at_once(9).bytes_per_second(1);
        let mut driving = std::pin::pin!(driver.run());
        assert!((0..1_000).all(|_| driving.as_mut().now_or_never().is_none()), "it stands still, and is dropped");
    }
    {
        // It takes over from the driver, and others go on before that is done.
        let mut replicating = std::pin::pin!(session.replicate(sandbox.version("6.0.0")));
        while (&mut replicating).now_or_never().transpose()?.is_none() {
            sandbox.clock().advance(Duration::from_secs(1));
        }
    }
    frozen::everything(&sandbox, group, &hangs).await?;
    // An import that two have taken up, and a collection that is under way.
    breaks(Some(("put_parts", "regions/westeurope/slots")));
    for _ in 0..2 {
        sandbox.publish("9.0.1", vec![9; 69_632]).await.unwrap_err();
    }
    sandbox.publish("9.0.2", vec![9; 69_632]).await.unwrap_err();
    breaks(Some(("delete", "regions/westeurope/slots")));
    session.delete(sandbox.version("6.0.0")).await?;
    {
        let mut collection = std::pin::pin!(session.collect().into_future());
        assert!((0..1_000).all(|_| collection.as_mut().now_or_never().is_none()), "it stands still, and is dropped");
    }
    breaks(None);
    session.put_image_version(sandbox.version("8.0.3"), body).await?;
    // A checkpoint comes after 64 entries.
    for number in 0..65 {
        let updated = Gallery::new(sandbox.image().gallery().clone(), region("westeurope"));
        session.update_gallery(updated.with_description(format!("update {number}"))).await?;
    }
    let mut blobs = blobs_of(&store).await;
    blobs.retain(|key, _| !key.contains("/probes/"));
    Ok(blobs)
}

/// What a caller sees of a gallery.
async fn seen(session: &Session) -> String {
    let view = session.view();
    let mut seen = Vec::new();
    for gallery in view.galleries(&ListScope::All, None, 100).items {
        seen.push(serde_json::to_string(&*gallery).unwrap());
        seen.push(view.json(gallery.id()).unwrap().to_string());
        seen.push(format!("{:?}", view.gallery_sharing(gallery.id()).unwrap()));
        for definition in view.image_definitions(gallery.id(), None, 100).unwrap().items {
            seen.push(serde_json::to_string(&*definition).unwrap());
            for version in view.image_versions(definition.id(), None, 100).unwrap().items {
                seen.push(serde_json::to_string(&*version).unwrap());
                let provisioning = view.provisioning(version.id()).unwrap();
                if view.image_content(version.id()).is_err() || provisioning.state == ProvisioningState::Deleting {
                    seen.push(format!("{} {provisioning:?}", view.json(version.id()).unwrap()));
                    continue;
                }
                for region in version.publishing_profile().target_regions().iter() {
                    let (_, bytes) = session.deploy(version.id(), region.region()).to_writer(Vec::new()).await.unwrap();
                    seen.push(format!("{}: {} bytes, {:?}", region.region(), bytes.len(), bytes.iter().max()));
                }
            }
        }
    }
    seen.extend(view.role_assignments().iter().map(|one| format!("{one:?}")));
    seen.extend(view.deny_assignments().iter().map(|one| format!("{one:?}")));
    let named = view.named_sources(&ListScope::All, None, 100).items;
    seen.extend(named.iter().map(|source| view.json(source.id()).unwrap().to_string()));
    let groups = view.resource_groups(&"dev".parse().unwrap(), None, 100).items;
    seen.extend(groups.iter().map(|group| view.resource_group_json(group.id()).unwrap().to_string()));
    seen.extend(view.operations().iter().map(|operation| format!("{operation:?}")));
    seen.push(format!("{:?}", view.usage("dev", "westeurope").unwrap()));
    seen.join("\n") + "\n"
}

#[test]
fn the_page_of_the_format_names_every_event() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/format.md")).unwrap();
    let known = EventKind::ALL.iter().filter(|kind| **kind != EventKind::Newer).map(|kind| kind.as_str());
    let missing: Vec<&str> = known.filter(|name| !page.contains(&format!("`{name}`"))).collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
#[ignore = "it replaces the golden files, which a release must not"]
fn replace_the_golden_files() {
    block_on(async {
        let blobs = written().await.unwrap();
        write_golden(&golden(), &blobs);
        fs::write(golden().with_extension("txt"), seen(&opened(&blobs).await.1.unwrap()).await).unwrap();
        frozen::write_forms(&blobs).await;
    });
}

/// A key without its numbers, random ids and hashes.
fn shape(key: &str) -> String {
    let is_hex = |text: &str| text.len() >= 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let words = key.split_inclusive(['/', '-']).map(|word| {
        let end = word.len() - usize::from(word.ends_with(['/', '-']));
        let (text, mark) = word.split_at(end);
        match text {
            _ if is_hex(text) => format!("<hash>{mark}"),
            _ if text.parse::<u64>().is_ok() => format!("<number>{mark}"),
            _ => word.to_owned(),
        }
    });
    words.collect()
}

#[test]
fn this_build_writes_blobs_of_the_golden_kinds() {
    block_on(async {
        let shapes = |blobs: &Blobs| blobs.keys().map(|key| shape(key)).collect::<std::collections::BTreeSet<_>>();
        assert_eq!(shapes(&written().await.unwrap()), shapes(&golden_blobs()));
    });
}

#[test]
fn this_build_reads_the_golden_files_with_and_without_their_checkpoint() {
    block_on(async {
        let mut blobs = golden_blobs();
        let expected = fs::read_to_string(golden().with_extension("txt")).unwrap();
        assert!(blobs.keys().any(|key| key.starts_with("catalog/checkpoints/")));
        assert_eq!(seen(&opened(&blobs).await.1.unwrap()).await, expected);
        blobs.retain(|key, _| !key.starts_with("catalog/checkpoints/"));
        assert_eq!(seen(&opened(&blobs).await.1.unwrap()).await, expected);
    });
}

#[test]
fn the_golden_log_has_every_event_that_a_log_can_have() {
    let log: Vec<String> = golden_blobs()
        .into_iter()
        .filter(|(key, _)| key.starts_with("catalog/log/"))
        .map(|(_, bytes)| String::from_utf8(bytes.to_vec()).unwrap())
        .collect();
    let is_absent = |kind: &&EventKind| {
        let event = format!("{{\"event\":\"{kind}\"");
        !log.iter().any(|entry| entry.contains(&event))
    };
    let absent: Vec<EventKind> = EventKind::ALL.iter().filter(is_absent).copied().collect();
    assert_eq!(
        absent,
        [EventKind::FeaturesEnabled, EventKind::ExtrasSet, EventKind::Newer],
        "only newer builds write them"
    );
}

/// A blob of the catalog: a line, and a line with its hash.
fn framed(line: &str) -> Bytes {
    format!("{line}\n{}\n", blake3::hash(line.as_bytes()).to_hex()).into()
}

fn line_of(blob: &Bytes) -> (&str, &str) {
    std::str::from_utf8(blob).unwrap().trim_end().split_once('\n').unwrap()
}

/// The newest blob of a kind; of checkpoints it comes first.
fn newest(blobs: &Blobs, of: &str) -> String {
    let mut keys = blobs.keys().filter(|key| key.starts_with(of));
    let newest = if of.contains("checkpoints") { keys.next() } else { keys.next_back() };
    newest.unwrap().clone()
}

fn last_entry(blobs: &Blobs) -> u64 {
    let last = blobs.keys().rfind(|key| key.starts_with("catalog/log/")).unwrap();
    last.strip_prefix("catalog/log/").unwrap().parse().unwrap()
}

#[test]
fn this_build_reads_a_golden_log_that_was_truncated_up_to_its_checkpoint() {
    block_on(async {
        let mut blobs = golden_blobs();
        let root = newest(&blobs, "catalog/checkpoints/");
        let checkpoint = u64::MAX - root.rsplit('/').next().unwrap().parse::<u64>().unwrap();
        assert!(checkpoint > 1);
        for number in 1..checkpoint {
            let entry = blobs.get_mut(&format!("catalog/log/{number:020}")).unwrap();
            let (line, hash) = line_of(entry);
            let nonce = line.split("\"nonce\":\"").nth(1).unwrap().split('"').next().unwrap();
            let tombstone = format!(r#"{{"format":2,"number":{number},"nonce":"{nonce}","hash":"{hash}"}}"#);
            *entry = framed(&tombstone);
        }
        let expected = fs::read_to_string(golden().with_extension("txt")).unwrap();
        let (store, session) = opened(&blobs).await;
        assert_eq!(seen(&session.unwrap()).await, expected);
        let expected = blobs_of(&store).await;
        // Something in a tombstone that this build does not know is not dropped either.
        let first = "catalog/log/00000000000000000001".to_owned();
        let unknown = line_of(&blobs[&first]).0.replace("{\"format\"", "{\"since\":1,\"format\"");
        blobs.insert(first.clone(), framed(&unknown));
        blobs.retain(|key, _| !key.starts_with("catalog/checkpoints/"));
        refusal(&blobs).await;
        blobs.insert(first.clone(), expected[&first].clone());
        let error = opened(&blobs).await.1.unwrap_err();
        assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains("entry `1` was truncated"), "{error}");
    });
}

/// Adds an entry of a newer build, with these events.
fn append(blobs: &mut Blobs, events: &str) {
    let last = last_entry(blobs);
    let previous = line_of(&blobs[&format!("catalog/log/{last:020}")]).1.to_owned();
    let (number, nonce) = (last + 1, format!("{:032x}", 7 + last));
    let entry = format!(
        r#"{{"format":2,"number":{number},"nonce":"{nonce}","previous":"{previous}","time":"2026-02-01T00:00:0{}Z","changes":[{{"caller":"newer","events":[{events}]}}]}}"#,
        number % 10
    );
    blobs.insert(format!("catalog/log/{number:020}"), framed(&entry));
}

fn with(events: &str) -> Blobs {
    let mut blobs = golden_blobs();
    append(&mut blobs, events);
    blobs
}

const GALLERY: &str = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/g";

#[test]
fn an_event_of_a_newer_build_is_refused_by_name_with_the_build_that_knows_it() {
    block_on(async {
        let refused = refusal(&with(r#"{"event":"galleryMoved","gallery":"x","needs":"0.4.0"}"#)).await;
        assert!(refused.contains("galleryMoved") && refused.contains("use build 0.4.0"), "{refused}");
        let refused = refusal(&with(r#"{"event":"galleryMoved"}"#)).await;
        assert!(refused.contains("galleryMoved") && refused.contains("use a newer build"), "{refused}");
    });
}

#[test]
fn an_event_that_says_that_it_may_be_skipped_is_skipped_and_stays() {
    block_on(async {
        let event = r#"{"event":"galleryLiked","zzz":1.50,"by":"ann","ignorable":true}"#;
        let blobs = with(event);
        let (store, session) = opened(&blobs).await;
        let session = session.unwrap();
        let before = seen(&opened(&golden_blobs()).await.1.unwrap()).await;
        assert_eq!(seen(&session).await, before);
        let history: Vec<_> = session.history(last_entry(&blobs) - 1).try_collect().await.unwrap();
        assert_eq!(history.iter().map(|entry| entry.event.kind).collect::<Vec<_>>(), [EventKind::Newer]);
        session.delete(GALLERY).cascade().await.unwrap();
        let after = blobs_of(&store).await;
        let key = format!("catalog/log/{:020}", last_entry(&blobs));
        assert!(after[&key] == blobs[&key] && last_entry(&after) > last_entry(&blobs));
    });
}

#[test]
fn an_unknown_field_is_refused_wherever_it_stands() {
    block_on(async {
        let gallery = format!(r#"{{"id":"{GALLERY}","location":"westeurope","properties":{{}}}}"#);
        let known = format!(r#"{{"event":"galleryUpdated","gallery":{gallery}}}"#);
        opened(&with(&known)).await.1.unwrap();
        let fields = [
            known.replace(r#""properties":{}"#, r#""properties":{"legalHold":true}"#),
            known.replace(r#""properties":{}"#, r#""properties":{},"legalHold":true"#),
            known.replace(r#","gallery":"#, r#","legalHold":true,"gallery":"#),
            known.replace(
                r#""properties":{}"#,
                r#""properties":{"softDeletePolicy":{"isSoftDeleteEnabled":true,"legalHold":1}}"#,
            ),
        ];
        for event in fields {
            let refused = refusal(&with(&event)).await;
            assert!(refused.contains("something that this build does not know"), "{event}: {refused}");
        }
        // An entry, an identity and a root with one more field.
        let mut blobs = golden_blobs();
        for key in ["catalog/identity", "catalog/log/", "catalog/checkpoints/"] {
            let key = newest(&blobs, key);
            let blob = blobs[&key].clone();
            let line = line_of(&blob).0;
            blobs.insert(key.clone(), framed(&line.replacen("{", r#"{"legalHold":true,"#, 1)));
            assert!(refusal(&blobs).await.contains("does not know"), "{key}");
            blobs.insert(key, blob);
        }
    });
}

#[test]
fn a_newer_format_is_unsupported_and_names_the_build_that_is_needed() {
    block_on(async {
        let mut blobs = golden_blobs();
        for key in ["catalog/identity", "catalog/log/", "catalog/checkpoints/"] {
            let key = newest(&blobs, key);
            let blob = blobs.insert(key.clone(), framed(r#"{"format":3,"needs":"0.4.0","how":{"ever":1}}"#)).unwrap();
            let refused = refusal(&blobs).await;
            assert!(refused.contains("format `3`") && refused.contains("use build 0.4.0"), "{key}: {refused}");
            blobs.insert(key, blob);
        }
    });
}

fn enabled(kind: &str) -> String {
    let (read, write) = if kind == "read" { (r#""pages":"0.3.0""#, "") } else { ("", r#""pages":"0.3.0""#) };
    format!(r#"{{"event":"featuresEnabled","features":{{"read":{{{read}}},"write":{{{write}}}}}}}"#)
}

#[test]
fn a_feature_that_reading_needs_is_refused_by_name() {
    block_on(async {
        let refused = refusal(&with(&enabled("read"))).await;
        assert!(refused.contains("feature `pages`") && refused.contains("use build 0.3.0"), "{refused}");
        let mut blobs = golden_blobs();
        for key in ["catalog/identity", "catalog/checkpoints/"] {
            let key = newest(&blobs, key);
            let blob = blobs[&key].clone();
            blobs.insert(key.clone(), framed(&line_of(&blob).0.replace(r#""read":{}"#, r#""read":{"pages":"0.3.0"}"#)));
            assert!(refusal(&blobs).await.contains("use build 0.3.0"), "{key}");
            blobs.insert(key, blob);
        }
    });
}

/// One change of each kind.
async fn refused_changes(session: &Session) -> Vec<Error> {
    let version = format!("{GALLERY}/images/web/versions/1.0.1");
    let profile = PublishingProfile::new("westeurope".parse().unwrap());
    let id = version.replace("1.0.1", "7.0.0").parse().unwrap();
    let new = NewImageVersion::new(id, region("westeurope"), profile, raw(vec![1; 4096]));
    vec![
        session.delete(GALLERY).await.unwrap_err(),
        session.publish(new).await.map(drop).unwrap_err(),
        session.replicate(version.as_str()).await.map(drop).unwrap_err(),
        session.collect().await.map(drop).unwrap_err(),
        session.scrub("eastus").await.map(drop).unwrap_err(),
    ]
}

#[test]
fn a_feature_that_writing_needs_leaves_the_gallery_readable_and_nothing_is_written() {
    block_on(async {
        let mut blobs = with(&enabled("write"));
        // A damaged pack, which a deployment would mend.
        let pack = blobs.keys().find(|key| key.starts_with("regions/eastus/slots/0/packs")).unwrap().clone();
        let mut damaged = blobs[&pack].to_vec();
        damaged[20] ^= 1;
        blobs.insert(pack, damaged.into());
        let (store, session) = opened(&blobs).await;
        let session = session.unwrap();
        for version in ["1.0.1", "1.0.3"] {
            let id: ImageVersionId = format!("{GALLERY}/images/web/versions/{version}").parse().unwrap();
            let deployed = session.deploy(&id, "westeurope").to_writer(Vec::new()).await.unwrap();
            let bytes = if version == "1.0.1" { 69_632 + (16 << 20) + 4_096 } else { 69_632 };
            assert_eq!(deployed.1.len(), bytes);
            let _ = session.deploy(&id, "eastus").to_writer(Vec::new()).await;
        }
        for error in refused_changes(&session).await {
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
            assert!(error.to_string().contains("use build 0.3.0"), "{error}");
        }
        assert!(blobs_of(&store).await == blobs, "nothing was put or deleted");
    });
}

#[test]
fn a_service_that_is_open_stops_writing_when_another_enables_such_a_feature() {
    block_on(async {
        let (store, session) = opened(&golden_blobs()).await;
        let session = session.unwrap();
        let blobs = with(&enabled("write"));
        let key = format!("catalog/log/{:020}", last_entry(&blobs));
        store.put(&key.parse().unwrap(), blobs[&key].clone(), PutMode::Create).await.unwrap();
        let error = session.delete(GALLERY).cascade().await.unwrap_err();
        assert!(error.to_string().contains("feature `pages`"), "{error}");
        assert_eq!(last_entry(&blobs_of(&store).await), last_entry(&blobs));
    });
}

#[test]
fn what_a_newer_build_keeps_of_a_resource_survives_updates_and_checkpoints() {
    block_on(async {
        let extras = r#"{\"legalHold\": 1.50}"#;
        let set = |id: &str| format!(r#"{{"event":"extrasSet","of":"{id}","extras":"{extras}"}}"#);
        let image = format!("{GALLERY}/images/web");
        let (store, session) = opened(&with(&[set(GALLERY), set(&image)].join(","))).await;
        let session = session.unwrap();
        let change = async |from: usize| {
            for number in from..from + 130 {
                let updated = Gallery::new(GALLERY.parse()?, region("westeurope"));
                session.update_gallery(updated.with_description(format!("change {number}"))).await?;
            }
            Ok::<_, Error>(())
        };
        change(0).await.unwrap();
        // From a checkpoint alone it is still there, and written again.
        let again = builder(store.clone()).open().await.unwrap().session("test".parse().unwrap());
        drop(again.view());
        let kept = |blobs: &Blobs| {
            let of_segment = |(_, segment): (&String, &Bytes)| {
                let length = u32::from_le_bytes(segment[56..60].try_into().unwrap());
                let mut rows = vec![0; length as usize];
                zstd_safe::decompress(rows.as_mut_slice(), &segment[64..]).unwrap();
                let rows = String::from_utf8_lossy(&rows).into_owned();
                let texts = rows.split(r#"{"extras":"#).skip(1).filter_map(|rest| rest.split_once("\"]}"));
                texts.map(|(text, _)| format!(r#"{{"extras":{text}"]}}"#)).collect::<Vec<_>>()
            };
            let segments = blobs.iter().filter(|(key, _)| key.starts_with("catalog/segments/"));
            segments.flat_map(of_segment).collect::<std::collections::BTreeSet<_>>()
        };
        let expected = |id: &str| format!(r#"{{"extras":["{id}","{extras}"]}}"#);
        assert_eq!(kept(&blobs_of(&store).await), [expected(GALLERY), expected(&image)].into());
        // It ends with its resource.
        again.delete(image.as_str()).cascade().await.unwrap();
        let last = builder(store.clone()).open().await.unwrap().session("test".parse().unwrap());
        for number in 0..300 {
            let updated = Gallery::new(GALLERY.parse().unwrap(), region("westeurope"));
            last.update_gallery(updated.with_description(format!("change again {number}"))).await.unwrap();
        }
        assert_eq!(kept(&blobs_of(&store).await), [expected(GALLERY)].into());
    });
}

#[test]
fn a_gallery_that_is_opened_read_only_lists_and_deploys_without_a_put_or_delete() {
    block_on(async {
        let store = store_of(&golden_blobs()).await;
        let changes = Arc::new(Mutex::new(Vec::new()));
        let noted = changes.clone();
        let hooked = HookedStore::new(store.clone(), move |call| {
            let reads = ["get", "head", "list"].contains(&call.operation);
            if !reads {
                noted.lock().unwrap().push(call.operation);
            }
            std::future::ready(if reads { Reaction::Pass } else { Reaction::Fail(StoreErrorKind::PermissionDenied) })
        });
        let session = builder(hooked).open_read_only().await.unwrap().session("test".parse().unwrap());
        assert_eq!(seen(&session).await, fs::read_to_string(golden().with_extension("txt")).unwrap());
        for error in refused_changes(&session).await {
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
            assert!(error.to_string().contains("open_read_only"), "{error}");
        }
        let written: Vec<&str> = changes.lock().unwrap().iter().copied().filter(|call| *call != "persist").collect();
        assert!(written.is_empty(), "{written:?}");
        // It sees what others change.
        let writer = builder(store).open().await.unwrap().session("test".parse().unwrap());
        writer.delete(GALLERY).cascade().await.unwrap();
        session.refresh().await.unwrap();
        assert!(session.view().gallery(GALLERY).is_err());
    });
}

const CHUNK: usize = 64 << 10;

/// A chunk that shrinks to a few hundred bytes, another one for each number; that of the last version is half zeros.
fn chunk(number: usize) -> Vec<u8> {
    let line = format!("{number:05} of a disk, compressed\n");
    let mut chunk: Vec<u8> = line.bytes().cycle().take(CHUNK).collect();
    if number == 110 {
        chunk[CHUNK / 2..].fill(0);
    }
    chunk
}

/// The heads of records in a blob: its own, or those of the members of a merged one.
fn heads(blob: &Bytes) -> impl Iterator<Item = &[u8]> {
    (0..blob.len()).step_by(4096).map(|at| &blob[at..]).filter(|head| head.starts_with(b"cgblob01"))
}

/// The disks of a gallery of content: the first has chunks far from each other, and each of the next has one more of its own.
fn disks() -> Vec<Vec<u8>> {
    let mut first: Vec<u8> = (0..20).flat_map(chunk).collect();
    first.resize(17 << 20, 0);
    first.extend(chunk(20));
    let mut disks = vec![first, (0..10).flat_map(chunk).collect()];
    for version in 2..11 {
        let mut next = disks[version - 1].clone();
        next[version % 10 * CHUNK..][..CHUNK].copy_from_slice(&chunk(100 + version));
        disks.push(next);
    }
    disks
}

/// Publishes all of them, and lets all happen to their content that can; `half_way` comes before the last three.
async fn written_content<S>(settings: S, half_way: impl AsyncFn(Sandbox) -> Sandbox) -> Blobs
where
    S: Fn(GalleryServiceBuilder) -> GalleryServiceBuilder + Send + Sync + 'static,
{
    let (store, clock) = (MemoryStore::new(), ManualClock::new("2026-01-02T03:04:05Z".parse().unwrap()));
    let sandbox = Sandbox::builder().regions(["westeurope"]).one_store(store.clone()).clock(clock).seed(3);
    let later = move |builder: GalleryServiceBuilder| settings(builder.compression(Compression::Later));
    let mut sandbox = sandbox.service(later).build().await.unwrap();
    for (version, disk) in disks().into_iter().enumerate() {
        match version {
            8 => {
                assert!(sandbox.session().compress().await.unwrap().regions[0].merged_packs >= 8);
                sandbox = half_way(sandbox).await;
            }
            // One part by itself, one as its import wrote it.
            10 => drop(sandbox.session().compress().await.unwrap()),
            _ => {}
        }
        sandbox.publish(&format!("1.0.{version}"), disk).await.unwrap();
    }
    let mut blobs = blobs_of(&store).await;
    blobs.retain(|key, _| !key.contains("/probes/"));
    blobs
}

/// Which of some versions come back as they are; an error is none, and other bytes are not allowed.
async fn coming_back(
    blobs: &Blobs,
    settings: impl FnOnce(GalleryServiceBuilder) -> GalleryServiceBuilder,
) -> Vec<bool> {
    let store = store_of(blobs).await;
    let Ok(service) = settings(builder(store)).open_read_only().await else { return Vec::new() };
    let (session, mut back) = (service.session("test".parse().unwrap()), Vec::new());
    let definition = session.view().galleries(&ListScope::All, None, 1).items[0].id().image("web".parse().unwrap());
    for (version, disk) in disks().into_iter().enumerate().skip(4).step_by(6) {
        let id = definition.version(format!("1.0.{version}").parse().unwrap());
        let deployed = session.deploy(&id, "westeurope").to_writer(Vec::new()).await;
        assert!(deployed.as_ref().is_ok_and(|(_, bytes)| *bytes == disk) || deployed.is_err(), "version {version}");
        back.push(deployed.is_ok());
    }
    back
}

/// The kinds of its blobs, and of the records in them.
fn kinds(blobs: &Blobs) -> std::collections::BTreeSet<String> {
    let shapes = blobs.keys().map(|key| shape(key));
    let encodings = blobs.values().flat_map(heads).flat_map(|head| {
        let count = u32::from_le_bytes(head[56..60].try_into().unwrap()) as usize;
        (0..count).map(|line| format!("encoding {}", head[180 + 80 * line + 76])).collect::<Vec<_>>()
    });
    shapes.chain(encodings).collect()
}

/// A byte is flipped at some places of each blob that is not of the log, and it is cut: no version comes back as another.
async fn damaged<S>(blobs: &Blobs, settings: S)
where
    S: Fn(GalleryServiceBuilder) -> GalleryServiceBuilder,
{
    let all = vec![true; 2];
    assert_eq!(coming_back(blobs, &settings).await, all);
    let content = blobs.keys().filter(|key| key.contains("/slots/") || key.contains("/keys/"));
    let (mut changed, mut found) = (0_usize, 0);
    for key in content.cloned().collect::<Vec<_>>() {
        let good = blobs[&key].clone();
        let places = [17, 60, 90, 150, 190, 300, 4090, 4100, 9000, 30_000];
        // Of each blob some places.
        for (number, at) in places.into_iter().enumerate().filter(|(_, at)| *at < good.len()) {
            changed += 1;
            if changed % 5 > 0 {
                continue;
            }
            let mut bad = good.to_vec();
            match number % 3 {
                0 => bad.truncate(at),
                _ => bad[at] ^= 1,
            }
            let blobs = Blobs::from_iter(blobs.clone().into_iter().chain([(key.clone(), bad.into())]));
            found += usize::from(coming_back(&blobs, &settings).await != all);
        }
    }
    assert!(found > 2, "{found} of {changed}");
}

#[test]
fn content_in_each_form_is_read_and_no_damage_passes() {
    block_on(async {
        let blobs = blobs_in(&content_golden("content-2"));
        assert_eq!(kinds(&written_content(|builder| builder, async |sandbox| sandbox).await), kinds(&blobs));
        for kind in ["encoding 0", "encoding 1", "encoding 2", "encoding 3"] {
            assert!(kinds(&blobs).contains(kind), "{kind}");
        }
        assert!(blobs.keys().any(|key| key.contains("/merged/")));
        damaged(&blobs, |builder| builder).await;
    });
}

#[test]
#[ignore = "it replaces the golden files, which a release must not"]
fn replace_the_golden_content() {
    block_on(async {
        write_golden(&content_golden("content-2"), &written_content(|builder| builder, async |sandbox| sandbox).await);
    });
}

#[cfg(feature = "encryption")]
mod encrypted {
    use compute_gallery::host::Secret;
    use compute_gallery::keys::LocalKeys;

    use super::*;

    fn keys() -> LocalKeys {
        LocalKeys::new("2027", Secret([8; 32]))
    }

    /// The first half under a data key that the host's first key has wrapped, some of it written anew, and the rest under another.
    async fn written_encrypted() -> Blobs {
        let before = |builder: GalleryServiceBuilder| builder.encryption(LocalKeys::new("2026", Secret([7; 32])));
        written_content(before, async |sandbox| {
            let both = keys().with_old("2026", Secret([7; 32]));
            let settings =
                move |builder: GalleryServiceBuilder| builder.compression(Compression::Later).encryption(both.clone());
            let rotating = sandbox.reopen().service(settings).build().await.unwrap();
            rotating.session().rotate_keys().at_most_bytes(20_000).await.unwrap();
            rotating
        })
        .await
    }

    #[test]
    fn encrypted_content_is_read_and_no_damage_passes() {
        block_on(async {
            let blobs = blobs_in(&content_golden("encrypted-2"));
            assert_eq!(kinds(&written_encrypted().await), kinds(&blobs));
            let numbers = blobs.values().flat_map(heads).map(|head| head[48]);
            assert_eq!(numbers.collect::<std::collections::BTreeSet<_>>(), [1, 2].into());
            assert_eq!(blobs.keys().filter(|key| key.starts_with("catalog/keys/")).count(), 5);
            damaged(&blobs, |builder| builder.encryption(keys())).await;
            let wrong = LocalKeys::new("2027", Secret([9; 32]));
            assert!(coming_back(&blobs, |builder| builder.encryption(wrong)).await.is_empty());
        });
    }

    #[test]
    #[ignore = "it replaces the golden files, which a release must not"]
    fn replace_the_golden_encrypted_content() {
        block_on(async {
            write_golden(&content_golden("encrypted-2"), &written_encrypted().await);
        });
    }
}
