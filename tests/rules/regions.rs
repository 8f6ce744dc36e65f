//! Regions.

use super::*;

#[test]
fn a_version_goes_only_where_it_may() {
    block_on(async {
        let sandbox = filled().await;
        for (regions, code, says) in [
            ("westeurope,atlantis", "LocationNotAvailableForResourceType", "not available"),
            ("westeurope,chinaeast", "InvalidParameter", "another cloud"),
            ("westeurope,usgovvirginia", "InvalidParameter", "another cloud"),
            ("westeurope,australiacentral", "InvalidParameter", "allow-list"),
            ("eastus", "InvalidParameter", "must contain the location"),
            ("westeurope=100,eastus=101", "InvalidParameter", "must be between '1' and '100'"),
        ] {
            one(refused(&sandbox, || version("1.0.0", regions)).await, code, says);
        }
        let capped = Limits::default().with_replicas_per_region(10);
        let sandbox = built(settings().service(move |builder| builder.limits(capped.clone()))).await;
        let error = refused(&sandbox, || version("1.0.0", "westeurope,eastus=11")).await;
        one(error, "InvalidParameter", "must be between '1' and '10'");
    });
}

#[test]
fn no_region_stands_twice_and_counts_are_read_from_text() {
    let error = "West Europe=2, westeurope".parse::<TargetRegions>().unwrap_err();
    one(error, "InvalidParameter", "Duplicate regions are not allowed");
    let profile = profile("South Central US=2, eastus").with_replica_count(5.try_into().unwrap());
    assert_eq!(profile.replicas_in(&region("southcentralus")), Some(2));
    assert_eq!(profile.replicas_in(&region("East US")), Some(5));
    for wrong in ["eastus=0", "eastus=4294967296", "eastus=x", "eastus="] {
        assert_eq!(wrong.parse::<TargetRegions>().unwrap_err().code(), "InvalidParameter", "{wrong}");
    }
}

#[test]
fn zone_redundant_storage_needs_zones() {
    block_on(async {
        let sandbox = built(settings().zones("eastus")).await;
        let zrs = |place: &str| {
            let home = TargetRegion::new(region("westeurope"));
            let target = TargetRegion::new(region(place)).with_storage_account_type(StorageAccountType::StandardZrs);
            let profile = PublishingProfile::new(TargetRegions::new(vec![home, target]).unwrap());
            NewImageVersion::new(version_id("1.0.0"), region("westeurope"), profile, disk(1))
        };
        one(refused(&sandbox, || zrs("westus")).await, "InvalidParameter", "ZRS storage account type is not supported");
        let published = sandbox.session().publish(zrs("eastus")).await.unwrap().resource;
        let accounts = ["westeurope", "eastus"];
        let accounts = accounts.map(|place| published.publishing_profile().storage_account_type_in(&region(place)));
        assert_eq!(accounts, [StorageAccountType::StandardLrs, StorageAccountType::StandardZrs]);
    });
}

#[test]
fn a_host_adds_its_own_regions_and_clouds_and_allows_restricted_ones() {
    block_on(async {
        let lab = |name: &str| RegionInfo::new(name, Cloud::Other("lab".into())).unwrap();
        let catalog = RegionCatalog::default()
            .with_region(lab("Rack 7"))
            .with_region(lab("Rack 8").with_target_only())
            .with_allowed("dev".parse().unwrap(), region("australiacentral"));
        let sandbox = built(settings().empty().service(move |builder| builder.region_catalog(catalog.clone()))).await;
        sandbox.session().create_gallery(Gallery::new(gallery_id("lab"), region("rack7"))).await.unwrap();
        let identifier = ImageIdentifier::new("Contoso", "Finance", "Backend").unwrap();
        let image = gallery_id("lab").image("web".parse().unwrap());
        let (linux, generalized) = (OsType::Linux, OsState::Generalized);
        let of_lab = ImageDefinition::new(image.clone(), region("rack8"), linux, generalized, identifier);
        sandbox.session().create_image_definition(of_lab).await.unwrap();
        let in_lab = |home: &str, regions: &str| {
            NewImageVersion::new(image.version("1.0.0".parse().unwrap()), region(home), profile(regions), disk(1))
        };
        let error = refused(&sandbox, || in_lab("rack8", "rack8")).await;
        one(error, "InvalidParameter", "target region only");
        one(refused(&sandbox, || in_lab("rack7", "rack7,eastus")).await, "InvalidParameter", "another cloud");
        sandbox.session().publish(in_lab("rack7", "rack7,rack8")).await.unwrap();
        sandbox.session().create_gallery(gallery()).await.unwrap();
        sandbox.session().create_image_definition(definition()).await.unwrap();
        let allowed = NewImageVersion::new(
            version_id("1.0.1"),
            region("westeurope"),
            profile("westeurope,australiacentral"),
            disk(1),
        );
        sandbox.session().publish(allowed).await.unwrap();
    });
}

#[test]
fn shallow_replication_has_one_replica() {
    block_on(async {
        let sandbox = filled().await;
        let body = serde_json::json!({"targetRegions": [{"name": "westeurope", "regionalReplicaCount": 2}],
            "replicationMode": "Shallow"});
        let profile: PublishingProfile = serde_json::from_value(body).unwrap();
        let new = || NewImageVersion::new(version_id("1.0.0"), region("westeurope"), profile.clone(), disk(1));
        one(refused(&sandbox, new).await, "InvalidParameter", "replication mode Shallow");
    });
}
