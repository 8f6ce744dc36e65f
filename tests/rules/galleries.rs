//! Galleries and definitions.

use super::*;

#[test]
fn a_gallery_name_is_unique_within_its_subscription() {
    block_on(async {
        let sandbox = filled().await;
        let session = sandbox.session();
        let elsewhere = "/subscriptions/dev/resourceGroups/other/providers/Microsoft.Compute/galleries/G";
        let twin = Gallery::new(elsewhere.parse().unwrap(), region("westeurope"));
        one(session.create_gallery(twin).await.unwrap_err(), "OperationNotAllowed", "is not unique");
        let abroad = elsewhere.replace("dev", "prod").parse().unwrap();
        session.create_gallery(Gallery::new(abroad, region("westeurope"))).await.unwrap();
    });
}

#[test]
fn a_resource_stays_in_its_location() {
    block_on(async {
        let sandbox = filled().await;
        let session = sandbox.session();
        let moved = Gallery::new(gallery_id("g"), region("eastus"));
        one(session.create_gallery(moved.clone()).await.unwrap_err(), "InvalidResourceLocation", "already exists in");
        let error = session.update_gallery(moved).await.unwrap_err();
        assert_eq!(error.target(), "gallery.location");
        one(error, "InvalidResourceLocation", "already exists in");
    });
}

#[test]
fn a_location_must_be_a_known_region() {
    block_on(async {
        let sandbox = filled().await;
        let session = sandbox.session();
        let nowhere = Gallery::new(gallery_id("n"), region("Europe West"));
        let error = session.create_gallery(nowhere).await.unwrap_err();
        one(error, "LocationNotAvailableForResourceType", "`westeurope`");
    });
}

#[test]
fn creating_the_same_again_changes_nothing_and_another_is_refused() {
    block_on(async {
        let sandbox = filled().await;
        let session = sandbox.session();
        let before = session.view().number();
        session.create_gallery(gallery()).await.unwrap();
        session.create_image_definition(definition()).await.unwrap();
        assert_eq!(session.refresh().await.unwrap().number(), before);
        one(session.create_gallery(gallery().with_description("x")).await.unwrap_err(), "Conflict", "other properties");
    });
}

#[test]
fn publisher_offer_and_sku_together_are_unique_without_case() {
    block_on(async {
        let sandbox = filled().await;
        let session = sandbox.session();
        let twin = |name: &str, sku| definition_of(gallery_id("g").image(name.parse().unwrap()), sku);
        let error = session.create_image_definition(twin("other", "FRONTEND")).await.unwrap_err();
        one(error, "OperationNotAllowed", "Choose a different");
        session.create_image_definition(twin("two-of-three", "Backend")).await.unwrap();
    });
}

#[test]
fn a_child_needs_its_parent() {
    block_on(async {
        let sandbox = empty().await;
        let error = sandbox.session().create_image_definition(definition()).await.unwrap_err();
        one(error, "ParentResourceNotFound", "Parent resource");
        one(refused(&sandbox, || version("1.0.0", "westeurope")).await, "ParentResourceNotFound", "Parent resource");
    });
}

#[test]
fn a_definition_carries_all_its_metadata() {
    block_on(async {
        let sandbox = empty().await;
        sandbox.session().create_gallery(gallery()).await.unwrap();
        let machine = RecommendedMachine::default()
            .with_v_cpus(ResourceRange::new(Some(2), Some(16)).unwrap())
            .with_memory(ResourceRange::new(Some(4), None).unwrap());
        let plan = PurchasePlan { name: "p".into(), publisher: "q".into(), product: "r".into() };
        let tags = Tags::new([("stage".to_owned(), "prod".to_owned())].into()).unwrap();
        let rich = definition()
            .with_hyper_v_generation(HyperVGeneration::V2)
            .with_architecture(Architecture::Arm64)
            .with_description("a")
            .with_eula("b")
            .with_privacy_statement_uri("https://c")
            .with_release_note_uri("https://d")
            .with_end_of_life_date(now() + TimeDelta::days(1))
            .with_recommended(machine)
            .with_disallowed_disk_types(["Standard_LRS"])
            .with_purchase_plan(plan)
            .with_feature("SecurityType", "TrustedLaunchSupported")
            .with_tags(tags);
        sandbox.session().create_image_definition(rich.clone()).await.unwrap();
        assert_eq!(*sandbox.session().view().image_definition(image_id()).unwrap(), rich);
        let json = serde_json::to_value(&rich).unwrap();
        assert_eq!(json["properties"]["recommended"]["vCPUs"]["max"], 16);
        assert_eq!(json["properties"]["disallowed"]["diskTypes"][0], "Standard_LRS");
        assert_eq!(json["properties"]["features"][0]["name"], "SecurityType");
        assert_eq!(serde_json::from_value::<ImageDefinition>(json).unwrap(), rich);
    });
}

#[test]
fn a_recommended_minimum_is_not_above_its_maximum() {
    let body = |min: u32| {
        let mut body = definition().body();
        body["properties"]["recommended"] = serde_json::json!({"vCPUs": {"min": min, "max": 4}});
        ImageDefinition::from_body(image_id(), &body)
    };
    assert!(body(4).is_ok());
    assert!(body(5).unwrap_err().to_string().contains("must not be greater than the maximum"));
}

#[test]
fn a_feature_has_one_value() {
    let mut body = definition().with_feature("SecurityType", "TrustedLaunch").body();
    let twice = serde_json::json!([{"name": "SecurityType", "value": "a"}, {"name": "securitytype", "value": "b"}]);
    body["properties"]["features"] = twice;
    let error = ImageDefinition::from_body(image_id(), &body).unwrap_err();
    assert!(error.to_string().contains("is named twice"), "{error}");
}

#[test]
fn an_end_of_life_lies_ahead_when_it_is_set() {
    block_on(async {
        let sandbox = filled().await;
        let past = definition_of(gallery_id("g").image("old".parse().unwrap()), "Old").with_end_of_life_date(now());
        let error = sandbox.session().create_image_definition(past).await.unwrap_err();
        one(error, "InvalidParameter", "must be set to a future date");
        let late = || {
            let profile = profile("westeurope").with_end_of_life_date(now() - TimeDelta::days(1));
            NewImageVersion::new(version_id("1.0.0"), region("westeurope"), profile, disk(1))
        };
        one(refused(&sandbox, late).await, "InvalidParameter", "must be set to a future date");
        let body = r#"{"location": "westeurope", "properties": {"osType": "Linux", "osState": "Generalized",
            "identifier": {"publisher": "a", "offer": "b", "sku": "c"}, "endOfLifeDate": "next year"}}"#;
        let error = ImageDefinition::from_body(image_id(), &serde_json::from_str(body).unwrap()).unwrap_err();
        assert_eq!((error.code(), error.target()), ("InvalidParameter", "galleryImage.properties.endOfLifeDate"));
    });
}

#[test]
fn an_end_of_life_is_for_information() {
    block_on(async {
        let sandbox = filled().await;
        let profile = profile("westeurope").with_end_of_life_date(now() + TimeDelta::days(1));
        let new = NewImageVersion::new(version_id("1.0.0"), region("westeurope"), profile, disk(1));
        sandbox.session().publish(new).await.unwrap();
        sandbox.clock().advance(std::time::Duration::from_secs(2 * 86_400));
        assert_eq!(latest(&sandbox, "westeurope").as_deref(), Some("1.0.0"));
        // Other changes are still possible when the date has passed.
        let tagged = ImageVersion::clone(&*current(&sandbox, "1.0.0").await);
        let tagged = tagged.with_tags(Tags::new([("old".to_owned(), String::new())].into()).unwrap());
        sandbox.session().update_image_version(tagged).await.unwrap();
    });
}

#[test]
fn a_community_gallery_says_who_publishes_it() {
    block_on(async {
        let sandbox = empty().await;
        let session = sandbox.session();
        let silent = gallery().with_sharing_profile(SharingProfile::new(SharingPermissions::Community));
        one(session.create_gallery(silent).await.unwrap_err(), "InvalidParameter", "needs communityGalleryInfo");
        let info = CommunityGalleryInfo {
            publisher_uri: "https://contoso.example".into(),
            publisher_contact: "images@contoso.example".into(),
            eula: "free".into(),
            public_name_prefix: "contoso".into(),
        };
        session.create_gallery(gallery().with_sharing_profile(SharingProfile::community(info))).await.unwrap();
    });
}
