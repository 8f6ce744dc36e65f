//! Versions and latest.

use compute_gallery::read::LatestVerdict;

use super::*;

#[test]
fn latest_is_the_highest_number_that_is_there_and_not_excluded() {
    block_on(async {
        let sandbox = filled().await;
        for number in ["1.0.9", "1.0.12", "0.99.0"] {
            publish(&sandbox, number, "westeurope,eastus").await;
        }
        assert_eq!(latest(&sandbox, "westeurope").as_deref(), Some("1.0.12"), "numeric, not by text or time");
        sandbox.session().publish(version("2.0.0", "westeurope=2,eastus")).await.unwrap();
        assert_eq!(latest(&sandbox, "westeurope").as_deref(), Some("1.0.12"), "2.0.0 is not complete yet");
        sandbox.session().replicate(version_id("2.0.0")).await.unwrap();
        assert_eq!(latest(&sandbox, "westeurope").as_deref(), Some("2.0.0"));

        // Excluded in general, and not in one region: the region's flag beats the general one.
        let newest = ImageVersion::clone(&*current(&sandbox, "2.0.0").await);
        let flags = [("westeurope", Some(false)), ("eastus", None)].map(|(place, flag)| {
            let target = TargetRegion::new(region(place)).with_regional_replica_count(ReplicaCount::ONE);
            flag.map_or(target.clone(), |flag| target.with_exclude_from_latest(flag))
        });
        let profile = newest.publishing_profile().clone().with_exclude_from_latest(true);
        let profile = profile.with_target_regions(TargetRegions::new(flags.into()).unwrap());
        sandbox.session().update_image_version(newest.with_publishing_profile(profile).unwrap()).await.unwrap();
        assert_eq!(latest(&sandbox, "westeurope").as_deref(), Some("2.0.0"));
        assert_eq!(latest(&sandbox, "eastus").as_deref(), Some("1.0.12"));
        publish(&sandbox, "3.0.0", "westeurope").await;

        let said = |place: &str| -> Vec<LatestVerdict> {
            let explained = sandbox.session().view().explain_latest(&image_id(), &region(place)).unwrap();
            explained.into_iter().map(|candidate| candidate.verdict).collect()
        };
        use LatestVerdict::{Excluded, Latest, NotATarget, Older};
        assert_eq!(said("westeurope"), [Older, Older, Older, Older, Latest]);
        assert_eq!(said("eastus"), [Older, Older, Latest, Excluded, NotATarget]);
    });
}

#[test]
fn a_missing_latest_version_says_why() {
    block_on(async {
        let sandbox = filled().await;
        let view = sandbox.session().view();
        let none = view.latest(&image_id(), "westeurope").unwrap_err();
        one(none, "GalleryImageNotFound", "There is no latest image version");
        publish(&sandbox, "1.0.0", "westeurope").await;
        let view = sandbox.session().view();
        let away = view.latest(&image_id(), "eastus").unwrap_err();
        one(away, "GalleryImageNotFound", "is not available in eastus region");
        let early = sandbox.session().deploy(version_id("1.0.0"), "eastus").to_writer(Vec::new()).await.unwrap_err();
        one(early, "GalleryImageNotFound", "is not available in eastus region");
        let no_disk = sandbox.session().deploy(version_id("1.0.0"), "westeurope").data_disk(1);
        let no_disk = no_disk.to_writer(Vec::new()).await.unwrap_err();
        one(no_disk, "InvalidParameter", "imageReference is invalid");
    });
}

#[test]
fn a_version_of_other_disks_or_source_is_another_version() {
    block_on(async {
        let sandbox = filled().await;
        let published = publish(&sandbox, "1.0.0", "westeurope").await;
        let storage = StorageProfile::new(DiskImage::new(1 << 30), Vec::new()).unwrap();
        let profile = published.publishing_profile().clone();
        let other = ImageVersion::new(version_id("1.0.0"), region("westeurope"), profile, storage).unwrap();
        let error = sandbox.session().update_image_version(other).await.unwrap_err();
        assert!(error.problems().all(|problem| problem.code() == "PropertyChangeNotAllowed"), "{error}");
        assert!(error.target().starts_with("galleryImageVersion.properties.storageProfile"), "{error}");
        one(refused(&sandbox, || version("1.0.0", "westeurope")).await, "Conflict", "never changes");
    });
}
