//! What must hold once the faults have stopped.

use std::collections::BTreeMap;
use std::time::Duration;

use compute_gallery::model::{Region, ResourceId};
use compute_gallery::placement::ReplicaId;
use compute_gallery::store::*;
use compute_gallery::testkit::{Fault, FaultyStore};

use crate::client::{definition, furnish, gallery};
use crate::model::Image;
use crate::world::{CATALOG, REGIONS, World};

/// From the stores alone, by a process that begins now: all that was acknowledged is there, can be made complete, deployed
/// from every replica, and deleted without a trace.
pub async fn converges(world: &World) {
    let observer = world.observer().await;
    furnish(world, &observer).await.unwrap();
    let fresh = observer.session("fresh".parse().unwrap());
    let images = {
        let mut model = world.model.lock().unwrap();
        model.catch_up(world);
        model.is_of_this_log(world);
        model.images.clone()
    };
    survives_a_zone(world, &images).await;
    let view = fresh.refresh().await.unwrap();
    let versions = view.image_versions(definition(), None, usize::MAX).unwrap().items;
    let there: usize = images.iter().filter(|(id, image)| is_version(id) && image.soft_deleted.is_none()).count();
    assert_eq!(versions.len(), there, "the versions that were acknowledged");
    for (id, image) in images.iter().filter(|(_, image)| image.soft_deleted.is_none()) {
        if let ResourceId::ImageVersion(version) = id {
            let there = view.image_content(version).unwrap();
            assert_eq!(there.os_disk_digest, image.content.os_disk_digest, "{id}");
            fresh.replicate(version).await.unwrap();
        }
    }
    for region in REGIONS {
        // A zone that was away is filled.
        let lacks = if world.zones(region).len() > 1 { fresh.scrub(region).await.unwrap().damaged } else { 0 };
        let report = fresh.scrub(region).await.unwrap();
        let found = (lacks, report.mended, report.damaged);
        assert_eq!(found, (0, 0, 0), "nothing reachable is missing in {region}: {report:?}");
    }
    replaces_a_zone(world).await;
    let whole = world.model.lock().unwrap().completed();
    survives_a_zone(world, &whole).await;
    for (id, image) in images.iter().filter(|(_, image)| image.soft_deleted.is_none()) {
        for (region, count) in &image.wanted {
            let pool = fresh.pool(id.clone(), region).await.unwrap();
            let replicas: Vec<ReplicaId> = pool.replicas().iter().map(|replica| replica.id).collect();
            assert_eq!(replicas.len(), *count as usize, "{id} in {region}");
            for replica in replicas {
                let deployment = fresh.deploy(id.clone(), region).on_replica(replica);
                assert!(deployment.to_writer(Vec::new()).await.unwrap().1 == image.disk(), "{id} in {region}");
            }
        }
    }
    fresh.delete(gallery()).cascade().bypass_soft_delete().await.unwrap();
    for id in images.into_keys().filter(|id| !is_version(id)) {
        fresh.delete(id).await.unwrap();
    }
    // An import that was announced by a clock that is a year ahead is given up a year late.
    let (last, clock) = world.observer_with_clock().await;
    let last = last.session("last".parse().unwrap());
    for _ in 0..2 {
        let time = Duration::from_secs(400 * 86_400);
        clock.advance(time);
        world.pass_time(time);
    }
    let mut collections = 0;
    while !is_empty(world).await {
        collections += 1;
        assert!(collections <= 3, "garbage is left");
        last.collect().await.unwrap();
    }
}

/// Any one zone may be away: what is zone-redundant and complete is deployed all the same.
async fn survives_a_zone(world: &World, images: &BTreeMap<ResourceId, Image>) {
    let [_, _, _] = world.zones(REGIONS[0]) else { return };
    let region: Region = REGIONS[0].parse().unwrap();
    let lost = *world.of(world.zones(REGIONS[0]));
    let faulty: BTreeMap<_, _> =
        world.places().map(|place| (place, FaultyStore::new(world.store(place).clone()))).collect();
    let builder = world.mounted(world.store(CATALOG).clone(), |place| faulty[place].clone());
    let service = world.as_observer(builder, &world.observing_clock()).open().await.unwrap();
    faulty[lost].faults().fail_from(0, Fault::Before(StoreErrorKind::Unavailable));
    let session = service.session("without a zone".parse().unwrap());
    let is_in_zones = |image: &&Image| image.is_zone_redundant && image.complete.contains_key(&region);
    for (id, image) in images.iter().filter(|(_, image)| is_in_zones(image) && image.soft_deleted.is_none()) {
        let (_, bytes) = session.deploy(id.clone(), &region).to_writer(Vec::new()).await.unwrap();
        assert!(bytes == image.disk(), "{id} without {lost}");
        world.count("deployed without a zone");
    }
}

/// A zone is lost for good. The operator adopts an empty store in its place, and a scrub fills it from the others.
async fn replaces_a_zone(world: &World) {
    let [_, rest @ ..] = world.zones(REGIONS[0]) else { return };
    // The first zone has what is not zone-redundant, and nobody else has.
    let Some(lost) = rest.first() else { return };
    for blob in world.store(lost).list_all(None).await.unwrap() {
        world.store(lost).delete(&blob.key).await.unwrap();
    }
    let builder = world.mounted(world.store(CATALOG).clone(), |place| world.store(place).clone());
    let builder = world.as_observer(builder.adopt_region_store(REGIONS[0]), &world.observing_clock());
    let session = builder.open().await.unwrap().session("operator".parse().unwrap());
    let filled = session.scrub(REGIONS[0]).await.unwrap();
    assert_eq!(filled.damaged, 0, "the new {lost} is filled: {filled:?}");
    let report = session.scrub(REGIONS[0]).await.unwrap();
    assert_eq!((report.mended, report.damaged), (0, 0), "{report:?}");
    world.count("zone replaced");
}

fn is_version(id: &ResourceId) -> bool {
    matches!(id, ResourceId::ImageVersion(_))
}

async fn is_empty(world: &World) -> bool {
    for region in world.places() {
        if !world.store(region).list_all(Some(&"slots".parse().unwrap())).await.unwrap().is_empty() {
            return false;
        }
    }
    true
}
