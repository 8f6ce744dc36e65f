//! Sources of versions, managed images and snapshots.

use compute_gallery::publish::{ImportReport, NewSnapshot, SnapshotDisks, SourceMachine, VhdBlob};
use compute_gallery::read::ListScope;

use super::*;

#[test]
fn a_managed_image_makes_a_version_without_copying_a_byte() {
    block_on(async {
        let sandbox = filled().await;
        let session = sandbox.session();
        let image = managed_image(session, "golden", "westeurope").await;
        let new = NewImageVersion::new(version_id("1.0.0"), region("westeurope"), profile("westeurope"), image.clone());
        let published = session.publish(new).await.unwrap();
        assert_eq!(published.import, ImportReport::default());
        let source = published.resource.storage_profile().source();
        assert_eq!(source, Some(&VersionSource::ManagedImage(image.clone())));
        session.delete(&image).await.unwrap();
        assert_eq!(bytes_of(session, version_id("1.0.0"), None).await, vec![7; 4096]);
        assert_eq!(bytes_of(session, version_id("1.0.0"), Some(2)).await, vec![8; 4096]);
    });
}

#[test]
fn snapshots_make_a_version_of_several_disks() {
    block_on(async {
        let sandbox = filled().await;
        let session = sandbox.session();
        let (os, data): (SnapshotId, SnapshotId) = (flat("snapshots", "os"), flat("snapshots", "data"));
        let generation = HyperVGeneration::V1;
        let new = NewSnapshot::of_os_disk(os.clone(), region("westeurope"), disk(3), OsType::Linux, generation);
        session.create_snapshot(new).await.unwrap();
        session.create_snapshot(NewSnapshot::of_data_disk(data.clone(), region("westeurope"), disk(4))).await.unwrap();
        let disks = SnapshotDisks::new(os.clone()).with_data_disk(5, data.clone());
        let new = NewImageVersion::new(version_id("1.0.0"), region("westeurope"), profile("westeurope"), disks);
        let published = session.publish(new).await.unwrap();
        assert_eq!(published.resource.storage_profile().data_disk_images()[0].lun(), 5);
        assert_eq!(bytes_of(session, version_id("1.0.0"), None).await, vec![3; 4096]);
        assert_eq!(bytes_of(session, version_id("1.0.0"), Some(5)).await, vec![4; 4096]);
        assert_eq!(bytes_of(session, &data, None).await, vec![4; 4096], "a snapshot is of use by itself");

        let twice = SnapshotDisks::new(os.clone()).with_data_disk(5, os);
        let new = NewImageVersion::new(version_id("1.0.1"), region("westeurope"), profile("westeurope"), twice);
        one(session.publish(new).await.unwrap_err(), "InvalidParameter", "is named twice");
    });
}

#[test]
fn a_vhd_blob_a_vm_and_another_version_are_sources_in_one_call() {
    block_on(async {
        let sandbox = filled().await;
        let session = sandbox.session();
        let publish = |number: &str, source: ImageSource| {
            let new = NewImageVersion::new(version_id(number), region("westeurope"), profile("westeurope"), source);
            session.publish(new)
        };
        let account = "/subscriptions/dev/resourceGroups/vms/providers/Microsoft.Storage/storageAccounts/vhds";
        let blob = VhdBlob { uri: "https://a/b.vhd".into(), storage_account: account.parse().unwrap(), disk: disk(1) };
        let from_blob = publish("1.0.0", blob.into()).await.unwrap().resource;
        let json = serde_json::to_value(&from_blob).unwrap();
        assert_eq!(json["properties"]["storageProfile"]["osDiskImage"]["source"]["uri"], "https://a/b.vhd");
        let machine = SourceMachine {
            id: flat("virtualMachines", "vm"),
            location: region("westeurope"),
            os_type: OsType::Linux,
            os_state: OsState::Generalized,
            hyper_v_generation: HyperVGeneration::V1,
            architecture: Architecture::X64,
            purchase_plan: None,
            disks: LocalDisks::new(disk(2)),
        };
        publish("1.0.1", machine.into()).await.unwrap();
        let copy = publish("1.0.2", version_id("1.0.1").into()).await.unwrap();
        assert_eq!(copy.import.read_bytes, 0);
        assert_eq!(bytes_of(session, version_id("1.0.2"), None).await, vec![2; 4096]);
    });
}

#[test]
fn a_source_must_be_there_and_in_the_source_region() {
    block_on(async {
        let sandbox = filled().await;
        let away = managed_image(sandbox.session(), "away", "eastus").await;
        let from = |image: &ManagedImageId| {
            NewImageVersion::new(version_id("1.0.0"), region("westeurope"), profile("westeurope"), image.clone())
        };
        one(refused(&sandbox, || from(&away)).await, "NotFound", "in the same region");
        let absent: ManagedImageId = flat("images", "absent");
        one(refused(&sandbox, || from(&absent)).await, "NotFound", "is not found");
    });
}

#[test]
fn a_source_must_match_its_definition() {
    block_on(async {
        let sandbox = filled().await;
        let machine = |os_type, os_state, hyper_v_generation| SourceMachine {
            id: flat("virtualMachines", "vm"),
            location: region("westeurope"),
            os_type,
            os_state,
            hyper_v_generation,
            architecture: Architecture::X64,
            purchase_plan: None,
            disks: LocalDisks::new(disk(2)),
        };
        let new = || {
            let source = machine(OsType::Windows, OsState::Specialized, HyperVGeneration::V2);
            NewImageVersion::new(version_id("1.0.0"), region("westeurope"), profile("westeurope"), source)
        };
        let error = refused(&sandbox, new).await;
        let said = error.to_string();
        for what in ["OS type ['Windows']", "('Generalized') is not 'Specialized'", "Hypervisor generation ['V2']"] {
            assert!(said.contains(what), "{said}");
        }
        assert!(error.problems().all(|problem| problem.code() == "Conflict"), "{said}");
    });
}

#[test]
fn luns_are_unique_and_below_64() {
    block_on(async {
        let sandbox = filled().await;
        let new = || {
            let disks = LocalDisks::new(disk(1)).with_data_disk(1, disk(2)).with_data_disk(1, disk(3));
            let disks = disks.with_data_disk(64, disk(4));
            NewImageVersion::new(version_id("1.0.0"), region("westeurope"), profile("westeurope"), disks)
        };
        let error = refused(&sandbox, new).await;
        let said = error.to_string();
        assert!(said.contains("LUN `1` is used twice") && said.contains("LUN `64` is above 63"), "{said}");
    });
}

#[test]
fn every_problem_is_reported_at_once() {
    block_on(async {
        let sandbox = filled().await;
        publish(&sandbox, "1.0.0", "westeurope").await;
        let new = || {
            let profile = profile("westeurope,atlantis,chinaeast").with_end_of_life_date(now());
            let disks = LocalDisks::new(disk(1)).with_data_disk(99, disk(2));
            NewImageVersion::new(version_id("1.0.0"), region("westeurope"), profile, disks)
        };
        let codes: Vec<_> = refused(&sandbox, new).await.problems().map(|problem| problem.code().to_owned()).collect();
        let wanted = [
            "Conflict",
            "LocationNotAvailableForResourceType",
            "InvalidParameter",
            "InvalidParameter",
            "InvalidParameter",
        ];
        assert_eq!(codes, wanted);
    });
}

#[test]
fn a_managed_image_matches_its_source_and_is_in_the_subscription_of_its_versions() {
    block_on(async {
        let sandbox = filled().await;
        let machine = SourceMachine {
            id: flat("virtualMachines", "vm"),
            location: region("westeurope"),
            os_type: OsType::Windows,
            os_state: OsState::Specialized,
            hyper_v_generation: HyperVGeneration::V1,
            architecture: Architecture::X64,
            purchase_plan: None,
            disks: LocalDisks::new(disk(2)),
        };
        let id: ManagedImageId = flat("images", "wrong");
        let new = NewManagedImage::new(id, region("westeurope"), OsType::Linux, machine);
        let error = sandbox.session().create_managed_image(new).await.unwrap_err();
        assert_eq!(error.problems().count(), 2, "{error}");
        let elsewhere = "/subscriptions/other/resourceGroups/a/providers/Microsoft.Compute/images/golden";
        let elsewhere: ManagedImageId = elsewhere.parse().unwrap();
        let new = NewManagedImage::new(elsewhere.clone(), region("westeurope"), OsType::Linux, disk(1));
        sandbox.session().create_managed_image(new).await.unwrap();
        let new = || {
            let source = elsewhere.clone();
            NewImageVersion::new(version_id("1.0.0"), region("westeurope"), profile("westeurope"), source)
        };
        one(refused(&sandbox, new).await, "InvalidParameter", "in another subscription");
    });
}

#[test]
fn managed_images_and_snapshots_have_a_life_of_their_own() {
    block_on(async {
        let sandbox = empty().await;
        let session = sandbox.session();
        let image = managed_image(session, "golden", "westeurope").await;
        assert_eq!(session.view().managed_image(&image).unwrap().os_state(), OsState::Generalized);
        assert_eq!(session.view().managed_images(&ListScope::All, None, 9).items.len(), 1);
        assert_eq!(bytes_of(session, &image, Some(2)).await, vec![8; 4096]);
        let again = NewManagedImage::new(image.clone(), region("westeurope"), OsType::Linux, disk(9));
        one(session.create_managed_image(again).await.unwrap_err(), "Conflict", "choose another name");
        let away = session.deploy(&image, "eastus").to_writer(Vec::new()).await.unwrap_err();
        assert_eq!(away.code(), "GalleryImageNotFound");
        let snapshot: SnapshotId = flat("snapshots", "s");
        let new = NewSnapshot::of_data_disk(snapshot.clone(), region("westeurope"), disk(1));
        session.create_snapshot(new).await.unwrap();
        assert_eq!(session.view().snapshots(&ListScope::All, None, 9).items[0].disk_size_bytes(), 4096);
        assert_eq!(session.delete(&snapshot).await.unwrap(), [ResourceId::from(&snapshot)]);
        assert!(session.view().snapshot(&snapshot).is_err());
        session.delete(&image).await.unwrap();
        assert!(session.view().managed_image(&image).is_err());
    });
}
