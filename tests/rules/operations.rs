//! Operations, deletions that are announced, and what is found and listed in all galleries.

use compute_gallery::billing::Prices;
use compute_gallery::change::LifecyclePolicy;
use compute_gallery::publish::NewSnapshot;
use compute_gallery::read::{ListScope, OperationKind, OperationStatus, ProvisioningState};
use serde_json::json;

use super::*;

#[test]
fn a_marked_resource_is_deleting_until_a_driver_deletes_it_and_does_not_change_meanwhile() {
    block_on(async {
        let sandbox = filled().await;
        let session = sandbox.session();
        publish(&sandbox, "1.0.0", "westeurope").await;
        publish(&sandbox, "1.0.1", "westeurope").await;
        // What has children cannot be marked, as it cannot be deleted.
        one(session.delete(gallery_id("g")).begin().await.unwrap_err(), "CannotDeleteResource", "/images/web'");
        assert_eq!(session.delete(version_id("9.0.0")).begin().await.unwrap(), None);
        let marked = session.delete(version_id("1.0.1")).begin().await.unwrap().unwrap();
        assert_eq!(session.delete(version_id("1.0.1")).begin().await.unwrap(), Some(marked));
        let state = |id: &ResourceId| session.view().provisioning(id.clone()).unwrap().state;
        assert_eq!(state(&version_id("1.0.1").into()), ProvisioningState::Deleting);
        assert_eq!(latest(&sandbox, "westeurope").as_deref(), Some("1.0.0"), "it is not the latest any more");
        let told = session.view().operation(marked).unwrap();
        assert_eq!((told.kind, told.status, told.percent), (OperationKind::Delete, OperationStatus::InProgress, 0));
        let put = json!({"location": "westeurope", "tags": {"a": "b"}});
        one(
            session.put_image_version(version_id("1.0.1"), put).await.unwrap_err(),
            "OperationNotAllowed",
            "marked for deletion",
        );
        let update = (*current(&sandbox, "1.0.1").await).clone();
        one(session.update_image_version(update).await.unwrap_err(), "OperationNotAllowed", "marked for deletion");
        let deploy = session.deploy(version_id("1.0.1"), "westeurope").to_writer(Vec::new()).await.unwrap_err();
        one(deploy, "OperationNotAllowed", "marked for deletion");
        session.driver().step().await.unwrap();
        assert_eq!(session.view().operation(marked).unwrap().status, OperationStatus::Succeeded);
        assert!(session.view().image_version(version_id("1.0.1")).is_err());

        // With a cascade all that is in a gallery is marked; a cancelled deletion leaves it as it was.
        let marked = session.delete(gallery_id("g")).cascade().begin().await.unwrap().unwrap();
        for id in [gallery_id("g").into(), image_id().into(), version_id("1.0.0").into()] {
            assert_eq!(state(&id), ProvisioningState::Deleting, "{id}");
        }
        let new = definition_of(gallery_id("g").image("db".parse().unwrap()), "db");
        one(
            session.create_image_definition(new.clone()).await.unwrap_err(),
            "OperationNotAllowed",
            "marked for deletion",
        );
        let published = session.publish(version("2.0.0", "westeurope")).await.unwrap_err();
        one(published, "OperationNotAllowed", "marked for deletion");
        assert_eq!(session.cancel_operation(marked).await.unwrap().status, OperationStatus::Canceled);
        session.create_image_definition(new).await.unwrap();
        assert_eq!(latest(&sandbox, "westeurope").as_deref(), Some("1.0.0"));

        // Another process deletes at once what is marked: the operation has come to its end.
        let marked = session.delete(gallery_id("g")).cascade().begin().await.unwrap().unwrap();
        let other = sandbox.reopen().build().await.unwrap();
        other.session().delete(gallery_id("g")).cascade().await.unwrap();
        let told = session.refresh().await.unwrap().operation(marked).unwrap();
        assert_eq!((told.status, told.percent), (OperationStatus::Succeeded, 100));
        assert!(session.driver().collect_every(None).step().await.unwrap().waiting.is_empty());
    });
}

#[test]
fn what_is_marked_for_deletion_is_no_source() {
    block_on(async {
        let sandbox = filled().await;
        let session = sandbox.session();
        let (version, image) = (version_id("1.0.0"), managed_image(session, "golden", "westeurope").await);
        let snapshot: SnapshotId = flat("snapshots", "os");
        let new = NewSnapshot::of_os_disk(
            snapshot.clone(),
            region("westeurope"),
            disk(3),
            OsType::Linux,
            HyperVGeneration::V1,
        );
        session.create_snapshot(new).await.unwrap();
        publish(&sandbox, "1.0.0", "westeurope").await;
        let copy = |source: ImageSource| {
            let of = (region("westeurope"), profile("westeurope"));
            session.publish(NewImageVersion::new(version_id("2.0.0"), of.0, of.1, source))
        };
        let sources: [(ResourceId, &dyn Fn() -> ImageSource); 3] = [
            (version.clone().into(), &|| version.clone().into()),
            (image.clone().into(), &|| image.clone().into()),
            (snapshot.clone().into(), &|| snapshot.clone().into()),
        ];
        for (id, source) in sources {
            let marked = session.delete(id.clone()).begin().await.unwrap().unwrap();
            one(copy(source()).await.unwrap_err(), "OperationNotAllowed", "marked for deletion");
            session.cancel_operation(marked).await.unwrap();
            copy(source()).await.unwrap();
            session.delete(version_id("2.0.0")).await.unwrap();
        }
    });
}

#[test]
fn a_deletion_that_is_cancelled_has_failed_nothing_and_a_plan_knows_of_it() {
    block_on(async {
        let sandbox = filled().await;
        let session = sandbox.session();
        publish(&sandbox, "1.0.0", "westeurope").await;
        let marked = session.delete(gallery_id("g")).cascade().begin().await.unwrap().unwrap();
        one(refused(&sandbox, || version("3.0.0", "westeurope")).await, "OperationNotAllowed", "marked for deletion");
        session.cancel_operation(marked).await.unwrap();

        let body = json!({"location": "westeurope", "properties": {"storageProfile": {"source": {"id": version_id("1.0.0")}}}});
        session.put_image_version(version_id("2.0.0"), body).await.unwrap();
        for id in ["1.0.0", "2.0.0"] {
            let marked = session.delete(version_id(id)).begin().await.unwrap().unwrap();
            one(
                session.complete_version(version_id("2.0.0")).await.unwrap_err(),
                "OperationNotAllowed",
                "marked for deletion",
            );
            session.cancel_operation(marked).await.unwrap();
            let state = session.view().provisioning(version_id("2.0.0")).unwrap().state;
            assert_eq!(state, ProvisioningState::Creating, "after {id} was marked");
        }
        session.complete_version(version_id("2.0.0")).await.unwrap();
        assert_eq!(bytes_of(session, version_id("2.0.0"), None).await, vec![1; 4096]);
    });
}

#[test]
fn what_is_to_be_gone_for_good_is_not_told_of_a_deletion_that_keeps_it() {
    block_on(async {
        let sandbox = filled().await;
        let session = sandbox.session();
        session.update_gallery(gallery().with_soft_delete_policy(SoftDeletePolicy::enabled())).await.unwrap();
        publish(&sandbox, "1.0.0", "westeurope").await;
        let marked = session.delete(version_id("1.0.0")).begin().await.unwrap().unwrap();
        let for_good = || session.delete(version_id("1.0.0")).bypass_soft_delete().begin();
        one(for_good().await.unwrap_err(), "OperationNotAllowed", &marked.to_string());
        session.cancel_operation(marked).await.unwrap();
        let marked = for_good().await.unwrap();
        assert_eq!(for_good().await.unwrap(), marked);
        assert_eq!(session.delete(version_id("1.0.0")).begin().await.unwrap(), marked, "it is deleted anyway");
        session.driver().collect_every(None).step().await.unwrap();
        assert!(session.view().soft_deleted_versions(image_id()).unwrap().is_empty());
    });
}

/// A newest version that is about to go must not take the regions of the one that stays.
#[test]
fn a_version_that_is_marked_for_deletion_is_not_among_the_newest() {
    block_on(async {
        let sandbox = filled().await;
        let session = sandbox.session();
        publish(&sandbox, "1.0.0", "westeurope,eastus").await;
        publish(&sandbox, "1.0.1", "westeurope,eastus").await;
        session.delete(version_id("1.0.1")).begin().await.unwrap();
        let policy = LifecyclePolicy::new(1, "westeurope=2,eastus".parse().unwrap()).with_removal_of_protected();
        let changed = session.apply_lifecycle(&image_id(), policy).await.unwrap();
        let changed: Vec<_> = changed.iter().map(|version| version.id().clone()).collect();
        assert_eq!(changed, [version_id("1.0.0")], "what is marked does not change");
        session.driver().collect_every(None).step().await.unwrap();
        assert_eq!(latest(&sandbox, "eastus").as_deref(), Some("1.0.0"));
    });
}

#[test]
fn access_is_taken_away_from_what_is_marked_for_deletion() {
    use compute_gallery::access::*;
    block_on(async {
        let directory = MemoryDirectory::new();
        directory.add_user("ann", &"contoso".parse().unwrap()).unwrap();
        directory.add_subscription("dev".parse().unwrap(), "contoso".parse().unwrap(), None).unwrap();
        let sandbox = built(settings().directory(directory)).await;
        let session = sandbox.session();
        publish(&sandbox, "1.0.0", "westeurope").await;
        let scope = || AccessScope::from(image_id());
        let role =
            |id: &str| RoleAssignment::new(id, "ann".parse().unwrap(), BuiltInRole::Reader.id(), scope()).unwrap();
        session.assign_role(role("1")).await.unwrap();
        let may_read = || sandbox.session_of("ann").view().image_definition(image_id()).is_ok();
        assert!(may_read());
        session.delete(gallery_id("g")).cascade().begin().await.unwrap();
        one(session.assign_role(role("2")).await.unwrap_err(), "OperationNotAllowed", "marked for deletion");
        session.unassign_role(scope(), "1").await.unwrap();
        assert!(!may_read());
        let denial = DenyAssignment::to("3", ["ann".parse().unwrap()], ["*"], scope()).unwrap();
        session.deny(denial).await.unwrap();
    });
}

#[test]
fn definitions_are_found_by_publisher_offer_and_sku_and_all_is_listed_across_subscriptions() {
    block_on(async {
        let sandbox = filled().await;
        let session = sandbox.session();
        publish(&sandbox, "1.0.0", "westeurope").await;
        publish(&sandbox, "1.0.1", "westeurope").await;
        let identifier = ImageIdentifier::new("CONTOSO", "web", "frontend").unwrap();
        let found = |scope: &ListScope| session.view().find_images(scope, &identifier);
        assert_eq!(found(&ListScope::All)[0].id(), &image_id());
        let latest = session.view().find_latest(&ListScope::All, &identifier, "westeurope").unwrap();
        assert_eq!(*latest.id(), version_id("1.0.1"));
        let other = ImageIdentifier::new("Contoso", "Web", "Backend").unwrap();
        let error = session.view().find_latest(&ListScope::All, &other, "westeurope").unwrap_err();
        one(error, "ImageNotFound", "publisher, offer and SKU");

        // Another subscription has the same: a scope tells which is meant.
        let abroad: GalleryId = gallery_id("g").to_string().replace("/dev/", "/prod/").parse().unwrap();
        session.create_gallery(Gallery::new(abroad.clone(), region("westeurope"))).await.unwrap();
        let twin = abroad.image("web".parse().unwrap());
        session.create_image_definition(definition_of(twin.clone(), "Frontend")).await.unwrap();
        assert_eq!(found(&ListScope::All).len(), 2);
        let error = session.view().find_latest(&ListScope::All, &identifier, "westeurope").unwrap_err();
        one(error, "OperationNotAllowed", "2 image definitions have this publisher");
        let dev = ListScope::Subscription("dev".parse().unwrap());
        assert_eq!(*session.view().find_latest(&dev, &identifier, "westeurope").unwrap().id(), version_id("1.0.1"));

        let copy = NewImageVersion::new(
            twin.version("3.0.0".parse().unwrap()),
            region("westeurope"),
            profile("westeurope"),
            disk(3),
        );
        session.publish(copy).await.unwrap();
        // Announced ones are listed, too.
        let body = json!({"location": "westeurope", "properties": {"storageProfile": {"source": {"id": version_id("1.0.0")}}}});
        session.put_image_version(version_id("1.0.5"), body).await.unwrap();
        let view = session.view();
        for limit in [1, 2, 100] {
            let (mut definitions, mut versions) = (Vec::new(), Vec::new());
            let mut after = None;
            loop {
                let page = view.all_image_definitions(&ListScope::All, after.as_ref(), limit);
                definitions.extend(page.items.iter().map(|definition| definition.id().clone()));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            let mut after = None;
            loop {
                let page = view.all_image_versions(&ListScope::All, after.as_ref(), limit);
                versions.extend(page.items.iter().map(|version| version.id().clone()));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(definitions, [image_id(), twin.clone()], "{limit}");
            let numbers = ["1.0.0", "1.0.1", "1.0.5"].map(version_id);
            let of_twin = twin.version("3.0.0".parse().unwrap());
            assert_eq!(versions, numbers.into_iter().chain([of_twin]).collect::<Vec<_>>(), "{limit}");
        }
        assert_eq!(view.all_image_versions(&dev, None, 100).items.len(), 3);
    });
}

#[test]
fn each_disk_is_billed_by_its_size_with_the_bytes_that_are_kept_beside() {
    block_on(async {
        let sandbox = filled().await;
        let session = sandbox.session();
        let disks = LocalDisks::new(raw(vec![1; 1 << 20])).with_data_disk(3, raw(vec![0; 3 << 20]));
        let new = NewImageVersion::new(version_id("1.0.0"), region("westeurope"), profile("westeurope=2"), disks);
        session.publish(new).await.unwrap();
        session.replicate(version_id("1.0.0")).await.unwrap();
        let prices = Prices::new(1 << 30, 0);
        let kept = session.view().cost(&prices, [&version_id("1.0.0")]).unwrap();
        let sizes = session.view().cost(&prices.by_disk_size(), [&version_id("1.0.0")]).unwrap();
        assert_eq!((kept.disks, kept.lines[0].replicas, kept.lines[0].disk_bytes), (4, 2, 8 << 20));
        assert_eq!(sizes.storage_per_month, 8 << 20);
        assert_eq!(kept.storage_per_month, kept.lines[0].stored_bytes);
        assert_eq!(sizes.lines[0].stored_bytes, kept.lines[0].stored_bytes);
        assert!(kept.lines[0].stored_bytes < 2 << 20, "zeros cost nothing to keep");
    });
}

#[test]
fn a_deployment_can_be_kept_within_its_region() {
    block_on(async {
        for within in [false, true] {
            let settings = Sandbox::builder().service(move |builder| match within {
                true => builder.deploy_within_region(),
                false => builder,
            });
            let sandbox = built(settings).await;
            sandbox.publish_to("1.0.0", "westeurope,eastus", vec![7; 4096]).await.unwrap();
            sandbox.faults("eastus").fail_from(0, testkit::Fault::Before(store::StoreErrorKind::Unavailable));
            let deployment = sandbox.session().deploy(sandbox.version("1.0.0"), "eastus").to_writer(Vec::new()).await;
            assert_eq!(deployment.is_err(), within, "{deployment:?}");
        }
    });
}

#[test]
fn a_disk_of_a_shallow_version_has_a_limit_of_its_own() {
    block_on(async {
        let limits = Limits::default().with_max_disk_bytes(4096).with_max_shallow_disk_bytes(8192);
        let sandbox = built(settings().service(move |builder| builder.limits(limits.clone()))).await;
        let new = |number: &str, bytes, mode| {
            let body = json!({"targetRegions": [{"name": "westeurope"}], "replicationMode": mode});
            let profile: PublishingProfile = serde_json::from_value(body).unwrap();
            NewImageVersion::new(version_id(number), region("westeurope"), profile, raw(vec![1; bytes]))
        };
        let too_large = "GallerySourceResourceExceedsMaxSize";
        let session = sandbox.session();
        session.publish(new("1.0.0", 8192, "Shallow")).await.unwrap();
        one(session.publish(new("1.0.1", 8192, "Full")).await.unwrap_err(), too_large, "8192");
        one(session.publish(new("1.0.1", 8704, "Shallow")).await.unwrap_err(), too_large, "8704");
    });
}
