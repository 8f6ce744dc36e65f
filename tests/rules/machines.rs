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
