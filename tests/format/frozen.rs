//! The catalog's format is frozen: `tests/format/2.forms.txt` has each field of each event and record, with the type of its value.
//!
//! A build that writes another field, or another type, writes another format. It begins with a feature (`docs/format.md`, "Frozen"), which older
//! builds refuse by name; then what is new is added to the list, and nothing is ever taken out of it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;

pub(crate) fn forms_file() -> PathBuf {
    golden().with_extension("forms.txt")
}

/// Resources with every property that the model has, and everything that a driver and a call do.
pub(crate) async fn everything(sandbox: &Sandbox, group: &str, hangs: &AtomicBool) -> Result<()> {
    let session = sandbox.session();
    let set = "/subscriptions/dev/resourceGroups/keys/providers/Microsoft.Compute/diskEncryptionSets/set";
    let gallery = format!("{group}/galleries/full");
    let body = json!({"location": "westeurope", "tags": {"a": "b"}, "properties": {"description": "d",
        "softDeletePolicy": {"isSoftDeleteEnabled": true, "retentionPeriodInDays": 9, "gracePeriodInDays": 3}}});
    session.put_gallery(&*gallery, body).await?;
    let shared = format!("{group}/galleries/shared");
    let body = json!({"location": "westeurope", "properties": {"sharingProfile": {"permissions": "Groups"}}});
    session.put_gallery(&*shared, body).await?;
    let (subscriptions, tenants) = (vec!["other".parse()?], vec!["fabrikam".parse()?]);
    session.share_gallery(&shared.parse::<GalleryId>()?, SharingUpdate::Add { subscriptions, tenants }).await?;
    let image = format!("{gallery}/images/full");
    let plan = json!({"name": "n", "publisher": "p", "product": "q"});
    let body = json!({"location": "westeurope", "tags": {"a": "b"}, "properties": {
        "description": "d", "eula": "e", "privacyStatementUri": "https://contoso.com/p", "releaseNoteUri": "https://contoso.com/r",
        "osType": "Linux", "osState": "Specialized", "hyperVGeneration": "V2", "architecture": "x64", "endOfLifeDate": "2030-01-01T00:00:00Z",
        "identifier": {"publisher": "Contoso", "offer": "Full", "sku": "1"},
        "recommended": {"vCPUs": {"min": 1, "max": 8}, "memory": {"min": 2, "max": 64}},
        "disallowed": {"diskTypes": ["Premium_LRS"]}, "purchasePlan": plan,
        "features": [{"name": "SecurityType", "value": "TrustedLaunch", "startsAtVersion": "1.0.0"}]}});
    session.put_image_definition(&*image, body).await?;

    // Disks that are stored, and all that a version of them can have.
    let image = image.parse::<ImageDefinitionId>()?;
    let disks = || LocalDisks::new(raw(vec![4; 4_096])).with_data_disk(3, raw(vec![5; 4_096]));
    let profile = PublishingProfile::new("westeurope".parse()?);
    let carried = CarriedIdentity::new("golden").with_accounts(["admin".to_owned()]);
    let new = NewImageVersion::new(image.version("1.0.0".parse()?), region("westeurope"), profile, disks());
    session.publish(new.with_carried_identity(carried)).await?;
    let key = json!({"type": "sha256", "value": ["a2V5"]});
    let body = |source: Value| {
        json!({"location": "westeurope", "tags": {"a": "b"}, "properties": {
        "publishingProfile": {"replicaCount": 1, "excludeFromLatest": true, "storageAccountType": "Premium_LRS",
            "replicationMode": "Full", "endOfLifeDate": "2030-01-01T00:00:00Z",
            "targetRegions": [
                {"name": "westeurope", "regionalReplicaCount": 2, "storageAccountType": "Standard_LRS", "excludeFromLatest": false,
                    "encryption": {"osDiskImage": {"diskEncryptionSetId": set}, "dataDiskImages": [{"lun": 3, "diskEncryptionSetId": set}]}},
                {"name": "eastus",
                    "encryption": {"osDiskImage": {"diskEncryptionSetId": set}, "dataDiskImages": [{"lun": 3, "diskEncryptionSetId": set}]}}]},
        "safetyProfile": {"allowDeletionOfReplicatedLocations": true, "blockDeletionBeforeEndOfLife": true},
        "securityProfile": {"uefiSettings": {"signatureTemplateNames": ["NoSignatureTemplate"],
            "additionalSignatures": {"pk": key, "kek": [key], "db": [key], "dbx": [key]}}},
        "storageProfile": source}})
    };
    let of_version = json!({"source": {"id": image.version("1.0.0".parse()?).to_string()}});
    session.put_image_version(image.version("1.0.1".parse()?), body(of_version)).await?;
    session.complete_version(image.version("1.0.1".parse()?)).await?;
    session.replicate(image.version("1.0.1".parse()?)).await?;
    let account = "/subscriptions/dev/resourceGroups/s/providers/Microsoft.Storage/storageAccounts/s";
    let vhd = json!({"storageAccountId": account, "uri": "https://s.blob.core.windows.net/v/d.vhd"});
    let of_disks = json!({"osDiskImage": {"hostCaching": "ReadOnly", "source": {"id": format!("{group}/snapshots/s")}},
        "dataDiskImages": [{"lun": 3, "hostCaching": "None", "source": vhd}]});
    session.put_image_version(image.version("1.0.3".parse()?), body(of_disks)).await?;
    let vm = json!({"source": {"virtualMachineId": format!("{group}/virtualMachines/vm")}});
    session.put_image_version(image.version("1.0.4".parse()?), body(vm)).await?;
    let community =
        json!({"source": {"communityGalleryImageId": "/CommunityGalleries/contoso-1/Images/web/Versions/1.0.0"}});
    session.put_image_version(image.version("1.0.5".parse()?), body(community)).await?;
    let made =
        NewManagedImage::new(format!("{group}/images/full").parse()?, region("westeurope"), OsType::Linux, disks());
    let tags = || Tags::new([("a".to_owned(), "b".to_owned())].into());
    session.create_managed_image(made.with_hyper_v_generation(HyperVGeneration::V2).with_tags(tags()?)).await?;
    let taken =
        NewSnapshot::of_data_disk(format!("{group}/snapshots/full").parse()?, region("westeurope"), raw(vec![6; 512]));
    session.create_snapshot(taken.with_tags(tags()?)).await?;
    let taken = raw(vec![6; 512]);
    let id = format!("{group}/snapshots/os").parse()?;
    session
        .create_snapshot(NewSnapshot::of_os_disk(
            id,
            region("westeurope"),
            taken,
            OsType::Windows,
            HyperVGeneration::V1,
        ))
        .await?;
    let body = json!({"location": "westeurope", "tags": {"a": "b"}, "properties": {"creationData": {"createOption": "Empty"}}});
    session.put_disk(format!("{group}/disks/tagged"), body).await?;

    let scopes = vec![AccessScope::Subscription("dev".parse()?)];
    let role = RoleDefinition::new("full", "Full")?.with_actions(["*"])?.with_not_actions(["*/delete"])?;
    session.define_role(role.with_data_actions(["*/read"])?.with_assignable_scopes(scopes)).await?;
    let denial = DenyAssignment::to("full", ["ann".parse()?], ["*"], &gallery.parse::<GalleryId>()?)?;
    session.deny(denial.with_not_actions(["*/read"])?.with_exceptions(["bob".parse()?])).await?;

    // A driver that tells how far it is, and a call that does: the duties of both stay with them.
    for number in ["5.0.0", "5.0.1"] {
        session.publish(sandbox.new_version(number, "westeurope,eastus", raw(vec![8; 4_096]))).await?;
    }
    hangs.store(true, Ordering::Relaxed);
    renews(sandbox, QUIET, session.driver().collect_every(None).run()).await;
    session.delete(sandbox.version("5.0.0")).await?;
    // It waits for the driver that is gone.
    renews(sandbox, 2 * QUIET, session.replicate(sandbox.version("5.0.1")).in_region("eastus")).await;
    hangs.store(false, Ordering::Relaxed);
    session.delete(sandbox.version("5.0.1")).await?;
    // A deletion that is under way, and one that was given up.
    session.publish(sandbox.new_version("5.0.2", "westeurope", raw(vec![8; 4_096]))).await?;
    let deletion = session.delete(sandbox.version("5.0.2")).cascade().bypass_soft_delete().begin().await?;
    session.cancel_operation(deletion.unwrap()).await?;
    session.delete(sandbox.version("5.0.2")).cascade().bypass_soft_delete().begin().await?;
    Ok(())
}

/// How long a duty is left to one that gives no sign of life: shorter than the time limit of a store's call.
pub(crate) const QUIET: Duration = Duration::from_secs(16);

/// Polls work that comes to no end for some time, in which it renews its duties, and drops it.
async fn renews(sandbox: &Sandbox, time: Duration, work: impl Future) {
    let mut work = std::pin::pin!(work);
    for _ in 0..time.as_secs() {
        assert!((0..50).all(|_| (&mut work).now_or_never().is_none()), "it stands still, and is dropped");
        sandbox.clock().advance(Duration::from_secs(1));
    }
}

/// What the calls above do not write: a face of Azure's, zones, drivers with other duties, and a newer build do.
const OTHERS: [&str; 9] = [
    r#"{"event":"operationBegun","operation":"00000000000000000000000000000001","kind":"update","resource":"/subscriptions/dev/resourceGroups/kept","done":true}"#,
    r#"{"event":"operationBegun","operation":"00000000000000000000000000000002","kind":"share","resource":"/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/g","done":true}"#,
    r#"{"event":"regionStoreClaimed","region":"northeurope","zone":2,"store":"00000000000000000000000000000003"}"#,
    r#"{"event":"dutyTaken","duty":{"scrub":"westeurope"},"driver":"00000000000000000000000000000004"}"#,
    r#"{"event":"dutyLaidDown","duty":{"scrub":"westeurope"},"finished":true}"#,
    r#"{"event":"dutyTaken","duty":"collect","driver":"00000000000000000000000000000004"}"#,
    r#"{"event":"dutyTaken","duty":"delete","driver":"00000000000000000000000000000004"}"#,
    r#"{"event":"dutyLaidDown","duty":"delete"}"#,
    r#"{"event":"extrasSet","of":"/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/g","extras":"{}"}"#,
];

/// Adds each field of a value, with its type; what a map has keys of its own for is one field.
fn add(forms: &mut BTreeSet<String>, at: &str, value: &Value) {
    let is_of_tags = at.ends_with(".tags") || at.ends_with(".read") || at.ends_with(".write");
    match value {
        Value::Object(_) if is_of_tags => drop(forms.insert(format!("{at}: map"))),
        Value::Object(fields) => fields.iter().for_each(|(name, value)| add(forms, &format!("{at}.{name}"), value)),
        Value::Array(items) => items.iter().for_each(|item| add(forms, &format!("{at}[]"), item)),
        Value::String(_) => drop(forms.insert(format!("{at}: text"))),
        Value::Number(_) => drop(forms.insert(format!("{at}: number"))),
        Value::Bool(_) => drop(forms.insert(format!("{at}: bool"))),
        Value::Null => drop(forms.insert(format!("{at}: null"))),
    }
}

/// Adds the records of a segment that are JSON.
fn add_records(forms: &mut BTreeSet<String>, segment: &Bytes) {
    let length = u32::from_le_bytes(segment[56..60].try_into().unwrap());
    let mut rows = vec![0; length as usize];
    zstd_safe::decompress(rows.as_mut_slice(), &segment[64..]).unwrap();
    let mut end = 0;
    for (at, _) in rows.iter().enumerate().filter(|(_, byte)| **byte == b'{') {
        let mut read = serde_json::Deserializer::from_slice(&rows[at..]).into_iter::<Value>();
        let (true, Some(Ok(Value::Object(record)))) = (at >= end, read.next()) else { continue };
        let Some((kind, value)) = record.iter().next().filter(|_| record.len() == 1) else { continue };
        if RECORDS.contains(&kind.as_str()) {
            add(forms, &format!("record {kind}"), value);
            end = at + read.byte_offset();
        }
    }
}

/// The records that are JSON. What is `removed` names a key.
const RECORDS: [&str; 20] = [
    "gallery",
    "definition",
    "managedImage",
    "snapshot",
    "upload",
    "role",
    "assignment",
    "denial",
    "claim",
    "condemned",
    "incarnations",
    "lastCondemned",
    "extras",
    "incomplete",
    "unmodelled",
    "resourceGroup",
    "named",
    "operation",
    "duty",
    "removed",
];

/// The fields of all that is JSON in a catalog.
fn forms_of(blobs: &Blobs) -> BTreeSet<String> {
    let mut forms = BTreeSet::new();
    for (key, blob) in blobs.iter().filter(|(key, _)| key.starts_with("catalog/")) {
        let kind = key.split('/').nth(1).unwrap();
        match kind {
            "segments" => add_records(&mut forms, blob),
            "log" => {
                let mut entry: Value = serde_json::from_str(line_of(blob).0).unwrap();
                for change in entry["changes"].as_array_mut().unwrap() {
                    for event in change["events"].take().as_array().unwrap() {
                        add(&mut forms, &format!("event {}", event["event"].as_str().unwrap()), event);
                    }
                }
                add(&mut forms, "entry", &entry);
            }
            "identity" | "checkpoints" => add(&mut forms, kind, &serde_json::from_str(line_of(blob).0).unwrap()),
            _ => {}
        }
    }
    forms
}

/// The forms of a gallery, of what others write, and of the checkpoints after that: one of all, and one of what is gone then.
async fn forms(blobs: &Blobs) -> String {
    let mut blobs = blobs.clone();
    append(&mut blobs, &OTHERS.join(","));
    let mut forms = forms_of(&blobs);
    let (store, session) = opened(&blobs).await;
    let session = session.unwrap();
    add_some(&session).await.unwrap();
    checkpoint(&session).await.unwrap();
    forms.extend(forms_of(&blobs_of(&store).await));
    remove_some(&session).await.unwrap();
    checkpoint(&session).await.unwrap();
    forms.extend(forms_of(&blobs_of(&store).await));
    forms.into_iter().map(|form| form + "\n").collect()
}

/// Changes a gallery until there is a checkpoint more.
async fn checkpoint(session: &Session) -> Result<()> {
    for number in 0..130 {
        let updated = Gallery::new(GALLERY.parse()?, region("westeurope"));
        session.update_gallery(updated.with_description(format!("change {number}"))).await?;
    }
    Ok(())
}

/// Creates what is deleted after the checkpoint, and disks that fill several ranges: a change of some is a delta then.
async fn add_some(session: &Session) -> Result<()> {
    let tags: serde_json::Map<_, _> = (0..15).map(|tag| (format!("tag{tag}"), json!("x".repeat(256)))).collect();
    for number in 0..600 {
        let body =
            json!({"location": "westeurope", "tags": tags, "properties": {"creationData": {"createOption": "Empty"}}});
        let id = format!("/subscriptions/dev/resourceGroups/many/providers/Microsoft.Compute/disks/disk{number}");
        session.put_disk(id, body).await?;
    }
    let body = json!({"location": "westeurope"});
    session.put_resource_group("/subscriptions/dev/resourceGroups/brief", body.clone()).await?;
    let gallery = "/subscriptions/dev/resourceGroups/brief/providers/Microsoft.Compute/galleries/brief";
    session.put_gallery(gallery, body).await?;
    let body = json!({"location": "westeurope", "properties": {"osType": "Linux", "osState": "Generalized",
        "identifier": {"publisher": "p", "offer": "o", "sku": "s"}}});
    session.put_image_definition(format!("{gallery}/images/brief"), body).await?;
    let gallery = gallery.parse::<GalleryId>()?;
    session.assign_role(RoleAssignment::new("brief", "ann".parse()?, "full".parse()?, &gallery)?).await?;
    Ok(())
}

/// Deletes resources of each kind.
async fn remove_some(session: &Session) -> Result<()> {
    let group = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute";
    for id in ["images/full", "snapshots/full", "disks/tagged", "galleries/full/images/full/versions/1.0.0"] {
        session.delete(format!("{group}/{id}")).bypass_soft_delete().await?;
    }
    session.undeny(&format!("{group}/galleries/full").parse::<GalleryId>()?, "full").await?;
    session.delete_resource_group("/subscriptions/dev/resourceGroups/brief").await?;
    session.delete_role("full").await
}

pub(crate) async fn write_forms(blobs: &Blobs) {
    fs::write(forms_file(), forms(blobs).await).unwrap();
}

#[test]
fn this_build_writes_and_reads_the_forms_that_are_frozen_and_no_others() {
    block_on(async {
        let frozen = fs::read_to_string(forms_file()).unwrap();
        let why = "the catalog's format is frozen: see the head of tests/format/frozen.rs";
        assert_eq!(forms(&golden_blobs()).await, frozen, "{why}");
        assert_eq!(forms(&written().await.unwrap()).await, frozen, "{why}");
    });
}
