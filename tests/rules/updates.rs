//! Updates.

use std::collections::BTreeSet;

use super::*;

#[test]
fn only_what_may_change_changes_and_the_rest_is_refused_by_name() {
    block_on(async {
        let sandbox = filled().await;
        let session = sandbox.session();
        session.update_gallery(gallery().with_description("new")).await.unwrap();
        assert_eq!(session.view().gallery(gallery_id("g")).unwrap().description(), Some("new"));

        let range = |max| ResourceRange::new(None, Some(max)).unwrap();
        let machine = RecommendedMachine::default().with_v_cpus(range(4)).with_memory(range(16));
        let later = definition().with_description("new").with_recommended(machine);
        let later = later.with_end_of_life_date(now() + TimeDelta::days(9)).with_release_note_uri("https://x");
        session.update_image_definition(later.clone()).await.unwrap();
        assert_eq!(*session.view().image_definition(image_id()).unwrap(), later);

        let identifier = ImageIdentifier::new("Fabrikam", "Web", "Frontend").unwrap();
        let wrong =
            ImageDefinition::new(image_id(), region("eastus"), OsType::Windows, OsState::Specialized, identifier)
                .with_hyper_v_generation(HyperVGeneration::V2)
                .with_architecture(Architecture::Arm64)
                .with_eula("x")
                .with_privacy_statement_uri("https://x")
                .with_end_of_life_date(now() + TimeDelta::days(9))
                .with_feature("SecurityType", "TrustedLaunch");
        let error = session.update_image_definition(wrong).await.unwrap_err();
        let wanted = [
            "properties.architecture",
            "properties.eula",
            "properties.features",
            "properties.hyperVGeneration",
            "properties.identifier.publisher",
            "properties.osState",
            "properties.osType",
            "properties.privacyStatementUri",
        ];
        let changes = || error.problems().filter(|problem| problem.code() == "PropertyChangeNotAllowed");
        let named: BTreeSet<_> = changes().map(|problem| problem.target().to_owned()).collect();
        assert_eq!(named, wanted.map(|path| format!("galleryImage.{path}")).into());
        for problem in changes() {
            assert_eq!(problem.message(), format!("Changing property '{}' is not allowed.", problem.target()));
        }
        let others: Vec<_> = error.problems().filter(|problem| !named.contains(problem.target())).collect();
        assert_eq!(others.iter().map(|problem| problem.code()).collect::<Vec<_>>(), ["InvalidResourceLocation"]);

        one(
            session.update_gallery(Gallery::new(gallery_id("x"), region("eastus"))).await.unwrap_err(),
            "ResourceNotFound",
            "",
        );
    });
}

#[test]
fn an_end_of_life_is_moved_and_not_unset() {
    block_on(async {
        let sandbox = filled().await;
        let ends = |days| definition().with_end_of_life_date(now() + TimeDelta::days(days));
        sandbox.session().update_image_definition(ends(1)).await.unwrap();
        sandbox.session().update_image_definition(ends(2)).await.unwrap();
        let error = sandbox.session().update_image_definition(ends(-1)).await.unwrap_err();
        one(error, "InvalidParameter", "future date");
        let error = sandbox.session().update_image_definition(definition()).await.unwrap_err();
        one(error, "PropertyChangeNotAllowed", "cannot be unset");
    });
}

#[test]
fn regions_are_added_and_removed_and_the_bytes_follow() {
    block_on(async {
        let sandbox = filled().await;
        let published = publish(&sandbox, "1.0.0", "westeurope").await;
        let to = |version: &ImageVersion, regions: &str| {
            let profile = version.publishing_profile().clone().with_target_regions(regions.parse().unwrap());
            version.clone().with_publishing_profile(profile)
        };
        let wider = to(&published, "westeurope=3,eastus").unwrap();
        let plan = sandbox.session().update_image_version(wider.clone()).plan().await.unwrap();
        let stored = sandbox.session().view().image_content(version_id("1.0.0")).unwrap().stored_bytes;
        let moved: Vec<_> = plan.regions.iter().map(|plan| (plan.cross_region_bytes, plan.stored_bytes)).collect();
        assert_eq!(moved, [(0, 2 * stored), (stored, stored)]);

        sandbox.session().update_image_version(wider.clone()).await.unwrap();
        // The replica that is there goes on serving while others are made.
        assert_eq!(latest(&sandbox, "westeurope").as_deref(), Some("1.0.0"));
        assert_eq!(latest(&sandbox, "eastus"), None);
        let again = sandbox.session().replicate(version_id("1.0.0")).plan().await.unwrap();
        let moved: Vec<_> = again.regions.iter().map(|plan| (plan.cross_region_bytes, plan.stored_bytes)).collect();
        assert_eq!(moved, [(0, 2 * stored), (stored, stored)]);
        let report = sandbox.session().replicate(version_id("1.0.0")).await.unwrap();
        assert_eq!(report.regions[0].local_bytes, 2 * stored);
        assert_eq!(report.regions[1].cross_region_bytes, stored);
        assert_eq!(latest(&sandbox, "eastus").as_deref(), Some("1.0.0"));

        one(to(&wider, "eastus").unwrap_err(), "InvalidParameter", "must contain the location");
        let narrower = to(&wider, "westeurope").unwrap();
        let error = sandbox.session().update_image_version(narrower.clone()).await.unwrap_err();
        one(error, "BadRequest", "Complete set of target locations not specified");
        let allowed = SafetyProfile::default().with_deletion_of_replicated_locations(true);
        sandbox.session().update_image_version(narrower.with_safety_profile(allowed)).await.unwrap();
        assert_eq!(latest(&sandbox, "eastus"), None);
        let gone = sandbox.session().deploy(version_id("1.0.0"), "eastus").to_writer(Vec::new()).await.unwrap_err();
        assert_eq!(gone.code(), "GalleryImageNotFound");
    });
}

#[test]
fn a_region_keeps_its_storage_account_type() {
    block_on(async {
        let sandbox = built(settings().service(|builder| builder.one_store_for_all_zones())).await;
        let published = publish(&sandbox, "1.0.0", "westeurope").await;
        let zrs = TargetRegion::new(region("westeurope")).with_storage_account_type(StorageAccountType::StandardZrs);
        let profile = published.publishing_profile().clone();
        let profile = profile.with_target_regions(TargetRegions::new(vec![zrs]).unwrap());
        let error = sandbox.session().update_image_version(published.with_publishing_profile(profile).unwrap()).await;
        one(
            error.unwrap_err(),
            "InvalidParameter",
            "does not match the storage account type in the existing TargetRegion: 'westeurope'",
        );
    });
}

#[test]
fn a_tag_may_be_called_like_a_property() {
    block_on(async {
        let sandbox = filled().await;
        let session = sandbox.session();
        let tagged = |value: &str| {
            let tags = Tags::new([("architecture".to_owned(), value.to_owned())].into()).unwrap();
            gallery().with_tags(tags)
        };
        session.update_gallery(tagged("x64")).await.unwrap();
        assert_eq!(*session.view().gallery(gallery_id("g")).unwrap(), tagged("x64"));
        session.update_gallery(gallery()).await.unwrap();
        assert!(session.view().gallery(gallery_id("g")).unwrap().tags().is_empty());
    });
}
