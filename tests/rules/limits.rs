//! Limits.

use super::*;

#[test]
fn limits_count_per_subscription_and_region_and_usage_reports_them() {
    block_on(async {
        let limits = Limits::default().with_galleries(2).with_image_definitions(1).with_image_versions(1);
        let sandbox = built(settings().empty().service(move |builder| builder.limits(limits.clone()))).await;
        let session = sandbox.session();
        for name in ["g", "h"] {
            session.create_gallery(Gallery::new(gallery_id(name), region("westeurope"))).await.unwrap();
        }
        let third = || Gallery::new(gallery_id("i"), region("westeurope"));
        let error = session.create_gallery(third()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitReached);
        one(error, "OperationNotAllowed", "Current Limit: 2, Current Usage: 2");
        session.create_gallery(Gallery::new(gallery_id("i"), region("eastus"))).await.unwrap();

        session.create_image_definition(definition()).await.unwrap();
        let other = definition_of(gallery_id("h").image("web".parse().unwrap()), "x");
        one(
            session.create_image_definition(other).await.unwrap_err(),
            "OperationNotAllowed",
            "image definitions quota",
        );
        session.publish(version("1.0.0", "westeurope")).await.unwrap();
        one(refused(&sandbox, || version("1.0.1", "westeurope")).await, "OperationNotAllowed", "image versions quota");

        let usage = session.view().usage("dev", "westeurope").unwrap();
        assert_eq!(usage.map(|usage| (usage.current_value, usage.limit)), [(2, 2), (1, 1), (1, 1)]);
    });
}

#[test]
fn the_defaults_are_those_of_the_original_service_and_today_has_a_preset() {
    let (first, today) = (Limits::default(), Limits::azure_2026());
    assert_eq!((first.galleries(), first.image_definitions(), first.image_versions()), (100, 1_000, 10_000));
    assert_eq!((first.max_disk_bytes(), today.max_disk_bytes()), (1 << 40, 2 << 40));
    assert_eq!(first.scale_set_instances_from_gallery(), 1_000);
    assert_eq!(first.scale_set_instances_from_managed_image(), 600);
}

#[test]
fn each_disk_is_at_most_a_tebibyte() {
    block_on(async {
        let limited = settings().service(|builder| builder.limits(Limits::default().with_max_disk_bytes(4096)));
        let sandbox = built(limited).await;
        let large = || {
            let disks = LocalDisks::new(disk(1)).with_data_disk(3, DiskSource::bytes(vec![0; 8192], DiskFormat::Raw));
            NewImageVersion::new(version_id("1.0.0"), region("westeurope"), profile("westeurope"), disks)
        };
        let error = refused(&sandbox, large).await;
        assert!(error.target().ends_with("dataDiskImages[0]"), "{error}");
        one(error, "GallerySourceResourceExceedsMaxSize", "`8192` bytes are more than `4096`");
    });
}
