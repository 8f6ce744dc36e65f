//! VMs and scale sets, and their placement.

use compute_gallery::placement::{Autoscaler, PlacementPolicy, PlacementRequest, Pool, ReplicaState};

use compute_gallery::deploy::OsProfile;

use super::*;

#[test]
fn a_generalized_image_gives_each_vm_its_own_name() {
    block_on(async {
        let sandbox = filled().await;
        publish(&sandbox, "1.0.0", "westeurope").await;
        let image = sandbox.session().boot_image(image_id(), "westeurope").await.unwrap();
        assert_eq!(image.clone().specialized().unwrap_err().kind(), ErrorKind::Invalid);
        let image = image.generalized().unwrap();
        assert_eq!(*image.id(), version_id("1.0.0").into(), "a definition means its latest version");
        let vm = image.vm("web-1".parse().unwrap(), OsProfile::new("admin").unwrap());
        assert_eq!((vm.computer_name.as_deref(), vm.collides_with.len()), (Some("web-1"), 0));
        let bytes = vm.deploy().to_writer(Vec::new()).await.unwrap().1;
        assert_eq!(bytes, vec![1; 4096]);
    });
}

#[test]
fn a_specialized_image_reports_the_identity_that_it_carries_and_colliding_names() {
    block_on(async {
        let sandbox = empty().await;
        sandbox.session().create_gallery(gallery()).await.unwrap();
        let identifier = ImageIdentifier::new("a", "b", "c").unwrap();
        let specialized =
            ImageDefinition::new(image_id(), region("westeurope"), OsType::Linux, OsState::Specialized, identifier);
        sandbox.session().create_image_definition(specialized).await.unwrap();
        let carried = CarriedIdentity::new("golden").with_accounts(["root".to_owned()]);
        let new = version("1.0.0", "westeurope").with_carried_identity(carried.clone());
        sandbox.session().publish(new).await.unwrap();
        let image = sandbox.session().boot_image(version_id("1.0.0"), "westeurope").await.unwrap();
        assert!(image.clone().generalized().unwrap_err().to_string().contains("'osProfile' is not allowed"));
        let image = image.specialized().unwrap();
        assert_eq!(image.carried(), Some(&carried));
        assert!(image.advice().iter().any(|advice| advice.contains("`root`")));
        let first = image.vm("one".parse().unwrap());
        assert_eq!((first.computer_name.as_deref(), first.collides_with.len()), (Some("golden"), 0));
        let second = image.vm("two".parse().unwrap());
        assert_eq!(second.collides_with, ["one".parse().unwrap()]);
        assert!(second.os_profile.is_none());
        // A copy of a version carries the same identity.
        let copy =
            NewImageVersion::new(version_id("1.0.1"), region("westeurope"), profile("westeurope"), version_id("1.0.0"));
        sandbox.session().publish(copy).await.unwrap();
        let image = sandbox.session().boot_image(version_id("1.0.1"), "westeurope").await.unwrap();
        let image = image.specialized().unwrap();
        assert_eq!(image.carried(), Some(&carried));
        // Two versions carry one computer name: their VMs collide as those of one version do.
        let third = image.vm("three".parse().unwrap());
        assert_eq!(third.collides_with, ["one".parse().unwrap(), "two".parse().unwrap()]);
    });
    block_on(async {
        let sandbox = filled().await;
        let carried = || version("1.0.0", "westeurope").with_carried_identity(CarriedIdentity::default());
        one(refused(&sandbox, carried).await, "InvalidParameter", "carries no accounts");
    });
}

#[test]
fn a_scale_set_has_as_many_instances_as_its_kind_of_image_allows() {
    block_on(async {
        let sandbox = filled().await;
        publish(&sandbox, "1.0.0", "westeurope").await;
        let image = managed_image(sandbox.session(), "golden", "westeurope").await;
        for (id, most) in [(ResourceId::from(image), 600), (version_id("1.0.0").into(), 1_000)] {
            let image = sandbox.session().boot_image(id, "westeurope").await.unwrap().generalized().unwrap();
            let set = |instances| image.scale_set("web".parse().unwrap(), OsProfile::new("admin").unwrap(), instances);
            assert_eq!(set(most).unwrap().instances(), most);
            let error = set(most + 1).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::LimitReached);
            one(error, "OperationNotAllowed", &format!("at most {most} instances"));
        }
    });
}

#[test]
fn a_pool_follows_its_regions_replica_count_and_an_autoscalers_advice_is_an_update() {
    block_on(async {
        let sandbox = filled().await;
        let published = publish(&sandbox, "1.0.0", "westeurope").await;
        let home = region("westeurope");
        let pool = sandbox.session().pool(version_id("1.0.0"), &home).await.unwrap();
        let serving = |pool: &Pool| pool.replicas().iter().filter(|one| one.state == ReplicaState::Serving).count();
        assert_eq!(serving(&pool), 1);
        // Twenty creations at once, and forty that wait: three times the replicas.
        let busy = pool.place_vms(20).unwrap();
        let waiting: Vec<_> = (0..40).map(|_| pool.acquire(PlacementRequest::vm())).collect();
        let wanted = Autoscaler::new(&PlacementPolicy::default(), &Limits::default()).observe(&pool.observe()).replicas;
        assert_eq!(wanted, 5, "60 VMs at 70 % of 20 a replica");
        let profile = published.publishing_profile().clone().with_replicas_in(&home, wanted.try_into().unwrap());
        let more = published.with_publishing_profile(profile).unwrap();
        sandbox.session().update_image_version(more.clone()).await.unwrap();
        sandbox.session().replicate(version_id("1.0.0")).await.unwrap();
        let grown = sandbox.session().pool(version_id("1.0.0"), &home).await.unwrap();
        assert_eq!(serving(&grown), wanted as usize);
        for waits in waiting {
            waits.await.unwrap().finish();
        }
        drop(busy);
        // A replica of one's own choice, and back to one.
        let lease = grown.place(PlacementRequest::scale_set(600)).unwrap();
        let deployment = sandbox.session().deploy(version_id("1.0.0"), &home).on_replica(lease.replica());
        let deployed = deployment.to_writer(Vec::new()).await.unwrap().0;
        assert_eq!(deployed.replica, lease.replica().number());
        let profile = more.publishing_profile().clone().with_replicas_in(&home, ReplicaCount::ONE);
        sandbox.session().update_image_version(more.with_publishing_profile(profile).unwrap()).await.unwrap();
        sandbox.session().collect().await.unwrap();
        for _ in 0..3 {
            assert_eq!(bytes_of(sandbox.session(), version_id("1.0.0"), None).await, vec![1; 4096]);
        }
        assert_eq!(serving(&grown), 1);
    });
}

async fn specialized(sandbox: &Sandbox) {
    sandbox.session().create_gallery(gallery()).await.unwrap();
    let identifier = ImageIdentifier::new("a", "b", "c").unwrap();
    let (os, state) = (OsType::Linux, OsState::Specialized);
    let definition = ImageDefinition::new(image_id(), region("westeurope"), os, state, identifier);
    sandbox.session().create_image_definition(definition).await.unwrap();
}

#[test]
fn machines_of_one_computer_name_are_told_by_any_process() {
    block_on(async {
        let sandbox = empty().await;
        specialized(&sandbox).await;
        let carried = CarriedIdentity::new("Golden");
        let new = version("1.0.0", "westeurope").with_carried_identity(carried);
        sandbox.session().publish(new).await.unwrap();
        let vm = |name: &str| flat::<VirtualMachineId>("virtualMachines", name);
        let note = async |session: &Session, name: &str| {
            let image = session.boot_image(image_id(), "westeurope").await.unwrap().specialized().unwrap();
            image.vm(name.parse().unwrap()).note(vm(name)).await.unwrap()
        };
        assert!(note(sandbox.session(), "one").await.is_empty());
        assert!(note(sandbox.session(), "one").await.is_empty(), "it does not collide with itself");
        let later = sandbox.reopen().build().await.unwrap();
        assert_eq!(note(later.session(), "two").await, [vm("one")]);
        let collision = &later.session().view().name_collisions()[0];
        assert_eq!(
            (collision.computer_name.as_str(), &collision.machines[..]),
            ("golden", &[vm("two"), vm("one")][..])
        );
        // One gets a name of its own, or is gone.
        later.session().forget_vm(vm("one")).await.unwrap();
        later.session().forget_vm(vm("one")).await.unwrap();
        assert!(sandbox.session().refresh().await.unwrap().name_collisions().is_empty());
        assert_eq!(note(sandbox.session(), "three").await, [vm("two")]);
    });
}

#[test]
fn secrets_are_references_and_a_specialized_image_takes_none() {
    block_on(async {
        let uri: VaultSecretUri = "https://contoso.vault.azure.net/secrets/winrm/4f0c".parse().unwrap();
        for value in
            ["P@ssw0rd", "http://contoso.vault.azure.net/secrets/a", "https://u:p@v/secrets/a", "https://v/secrets/a#b"]
        {
            let error = value.parse::<VaultSecretUri>().unwrap_err();
            assert!(!error.to_string().contains(value), "what is given by value is not repeated: {error}");
        }
        let profile = OsProfile::new("admin").unwrap().with_secrets(vec![uri.clone()]);
        let sandbox = filled().await;
        publish(&sandbox, "1.0.0", "westeurope").await;
        let image = sandbox.session().boot_image(image_id(), "westeurope").await.unwrap();
        let vm = image.clone().vm("web".parse().unwrap(), Some(profile.clone())).unwrap();
        assert_eq!(vm.os_profile.unwrap().secrets(), [uri]);
        one(image.vm("web".parse().unwrap(), None).unwrap_err(), "InvalidParameter", "'osProfile' is missing");

        let sandbox = empty().await;
        specialized(&sandbox).await;
        sandbox.session().publish(version("1.0.0", "westeurope")).await.unwrap();
        let image = sandbox.session().boot_image(image_id(), "westeurope").await.unwrap();
        let refused = image.clone().vm("web".parse().unwrap(), Some(profile)).unwrap_err();
        one(refused, "InvalidParameter", "'osProfile' is not allowed");
        assert!(image.vm("web".parse().unwrap(), None).unwrap().os_profile.is_none());
    });
}

#[test]
fn a_specialized_version_of_snapshots_carries_its_identity() {
    block_on(async {
        let sandbox = empty().await;
        specialized(&sandbox).await;
        let session = sandbox.session();
        let os: SnapshotId = flat("snapshots", "os");
        let data: SnapshotId = flat("snapshots", "data");
        let home = region("westeurope");
        let os_disk =
            publish::NewSnapshot::of_os_disk(os.clone(), home.clone(), disk(3), OsType::Linux, HyperVGeneration::V1);
        session.create_snapshot(os_disk).await.unwrap();
        session.create_snapshot(publish::NewSnapshot::of_data_disk(data.clone(), home.clone(), disk(4))).await.unwrap();
        let source = publish::SnapshotDisks::new(os).with_data_disk(1, data);
        let carried = CarriedIdentity::new("golden").with_accounts(["root".to_owned()]);
        let new = NewImageVersion::new(version_id("1.0.0"), home, profile("westeurope"), source);
        session.publish(new.with_carried_identity(carried.clone())).await.unwrap();
        let image = session.boot_image(image_id(), "westeurope").await.unwrap().specialized().unwrap();
        assert_eq!(image.carried(), Some(&carried));
        assert_eq!(bytes_of(session, version_id("1.0.0"), Some(1)).await, [4; 4096]);
    });
}

#[test]
fn an_instance_is_deployed_by_its_number() {
    block_on(async {
        let sandbox = filled().await;
        publish(&sandbox, "1.0.0", "westeurope").await;
        let image = sandbox.session().boot_image(image_id(), "westeurope").await.unwrap().generalized().unwrap();
        let set = image.scale_set("web".parse().unwrap(), OsProfile::new("admin").unwrap(), 40).unwrap();
        assert_eq!(set.computer_name(39).as_deref(), Some("web000013"), "six digits of base 36");
        assert_eq!(set.deploy_instance(39).unwrap().to_writer(Vec::new()).await.unwrap().1, [1; 4096]);
        one(set.deploy_instance(40).unwrap_err(), "InvalidParameter", "from 0");
    });
}
