//! Lists, costs, lifecycle.

use compute_gallery::billing::Prices;
use compute_gallery::change::LifecyclePolicy;
use compute_gallery::read::ListScope;

use super::*;

#[test]
fn lists_have_scopes_pages_and_numeric_order() {
    block_on(async {
        let sandbox = filled().await;
        let session = sandbox.session();
        let id = |subscription: &str, group: &str, name: &str| -> GalleryId {
            let id = format!(
                "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Compute/galleries/{name}"
            );
            id.parse().unwrap()
        };
        for (subscription, group, name) in [("dev", "images", "h"), ("dev", "other", "i"), ("prod", "images", "g")] {
            session.create_gallery(Gallery::new(id(subscription, group, name), region("westeurope"))).await.unwrap();
        }
        let view = session.view();
        let names = |scope: &ListScope| -> Vec<String> {
            let mut names = Vec::new();
            let mut after = None;
            loop {
                let page = view.galleries(scope, after.as_ref(), 1);
                names.extend(page.items.iter().map(|gallery| gallery.id().name().to_string()));
                match page.next {
                    Some(next) => after = Some(next),
                    None => return names,
                }
            }
        };
        let (dev, images) = ("dev".parse::<SubscriptionId>().unwrap(), "IMAGES".parse().unwrap());
        assert_eq!(names(&ListScope::All), ["g", "h", "i", "g"]);
        assert_eq!(names(&ListScope::Subscription(dev.clone())), ["g", "h", "i"]);
        assert_eq!(names(&ListScope::ResourceGroup(dev, images)), ["g", "h"]);

        for number in ["1.0.10", "1.0.9", "1.0.2"] {
            session.publish(version(number, "westeurope")).await.unwrap();
        }
        let view = session.view();
        let page = view.image_versions(image_id(), None, 2).unwrap();
        let numbers: Vec<_> = page.items.iter().map(|version| version.id().number().to_string()).collect();
        assert_eq!(numbers, ["1.0.2", "1.0.9"]);
        let rest = view.image_versions(image_id(), page.next, 2).unwrap();
        assert_eq!((rest.items.len(), rest.next), (1, None));
        assert_eq!(view.image_definitions(gallery_id("g"), None, 9).unwrap().items.len(), 1);
    });
}

#[test]
fn costs_are_estimated_before_and_known_after() {
    block_on(async {
        let sandbox = filled().await;
        let prices = Prices::new(1 << 30, 1 << 30);
        let plan = sandbox.session().publish(version("1.0.0", "westeurope=2,eastus=3")).plan().await.unwrap();
        let estimate = plan.cost(&prices);
        assert_eq!(estimate.disks, 5);
        publish(&sandbox, "1.0.0", "westeurope=2,eastus=3").await;
        let view = sandbox.session().view();
        let stored = view.image_content(version_id("1.0.0")).unwrap().stored_bytes;
        let cost = view.cost(&prices, [&version_id("1.0.0")]).unwrap();
        assert_eq!((cost.disks, cost.storage_per_month, cost.egress), (5, 5 * stored, stored));
        assert!(estimate.storage_per_month >= 5 * 4096, "the estimate is an upper bound of the data: {estimate:?}");
    });
}

#[test]
fn the_newest_go_wide_and_the_older_stay_at_home() {
    block_on(async {
        let sandbox = filled().await;
        for number in ["1.0.0", "1.0.1", "1.0.2"] {
            publish(&sandbox, number, "westeurope,eastus").await;
        }
        let policy = LifecyclePolicy::new(1, "westeurope=2,eastus,southeastasia".parse().unwrap());
        let refused = sandbox.session().apply_lifecycle(&image_id(), policy.clone()).await.unwrap_err();
        assert!(refused.problems().all(|problem| problem.code() == "BadRequest"), "{refused}");
        let policy = policy.with_removal_of_protected();
        let dry = sandbox.session().apply_lifecycle(&image_id(), policy.clone()).plan().await.unwrap();
        assert_eq!(dry.events().len(), 3);
        assert!(dry.regions.iter().any(|plan| plan.region == region("southeastasia")));
        let changed = sandbox.session().apply_lifecycle(&image_id(), policy.clone()).await.unwrap();
        for version in &changed {
            sandbox.session().replicate(version.id()).await.unwrap();
        }
        let where_is = |number: &str| {
            let version = sandbox.session().view().image_version(version_id(number)).unwrap();
            version.publishing_profile().target_regions().to_string()
        };
        assert_eq!(where_is("1.0.0"), "westeurope");
        assert_eq!(where_is("1.0.1"), "westeurope");
        assert_eq!(where_is("1.0.2"), "westeurope,eastus,southeastasia");
        assert_eq!(latest(&sandbox, "southeastasia").as_deref(), Some("1.0.2"));
        assert!(
            sandbox.session().apply_lifecycle(&image_id(), policy).await.unwrap().is_empty(),
            "nothing is left to do"
        );
    });
}
