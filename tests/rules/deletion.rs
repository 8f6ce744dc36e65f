//! Deletion.

use super::*;

#[test]
fn children_go_first_or_with_a_planned_cascade() {
    block_on(async {
        let sandbox = filled().await;
        let session = sandbox.session();
        for number in ["1.0.0", "1.0.1"] {
            session.publish(version(number, "westeurope")).await.unwrap();
        }
        let error = session.delete(gallery_id("g")).await.unwrap_err();
        one(error, "CannotDeleteResource", "/images/web'");
        one(session.delete(image_id()).await.unwrap_err(), "CannotDeleteResource", "/versions/1.0.0', '");
        let plan = session.delete(gallery_id("g")).cascade().plan().await.unwrap();
        assert_eq!(plan.deletes.len(), 4);
        assert_eq!(plan.deletes.last(), Some(&gallery_id("g").into()), "children first");
        assert!(session.view().gallery(gallery_id("g")).is_ok(), "a plan changes nothing");
        assert_eq!(session.delete(gallery_id("g")).cascade().await.unwrap(), plan.deletes);
        assert!(session.view().gallery(gallery_id("g")).is_err(), "what was deleted is gone for the next read");
        assert!(session.delete(gallery_id("g")).await.unwrap().is_empty(), "what is not there is deleted already");
        session.create_gallery(gallery()).await.unwrap();
    });
}

#[test]
fn a_version_can_be_kept_until_its_end_of_life() {
    block_on(async {
        let sandbox = filled().await;
        let profile = profile("westeurope").with_end_of_life_date(now() + TimeDelta::days(2));
        let safety = SafetyProfile::default().with_block_deletion_before_end_of_life(true);
        let new = NewImageVersion::new(version_id("1.0.0"), region("westeurope"), profile, disk(1));
        sandbox.session().publish(new.with_safety_profile(safety)).await.unwrap();
        let code = "DeleteGalleryImageVersionBlockedBeforeEndOfLife";
        one(sandbox.session().delete(version_id("1.0.0")).await.unwrap_err(), code, "end of life not reached");
        let error = sandbox.session().delete(gallery_id("g")).cascade().await.unwrap_err();
        one(error, code, "end of life not reached");
        assert!(sandbox.session().view().image_definition(image_id()).is_ok(), "a refused cascade deletes nothing");
        sandbox.clock().advance(std::time::Duration::from_secs(3 * 86_400));
        sandbox.session().delete(version_id("1.0.0")).await.unwrap();
    });
}

#[test]
fn a_soft_deleted_version_is_deployable_restorable_and_never_the_latest() {
    block_on(async {
        let sandbox = filled().await;
        let session = sandbox.session();
        session.update_gallery(gallery().with_soft_delete_policy(SoftDeletePolicy::enabled())).await.unwrap();
        for number in ["1.0.0", "1.0.1"] {
            publish(&sandbox, number, "westeurope").await;
        }
        session.delete(version_id("1.0.1")).await.unwrap();
        assert_eq!(latest(&sandbox, "westeurope").as_deref(), Some("1.0.0"));
        assert_eq!(bytes_of(session, version_id("1.0.1"), None).await, vec![1; 4096]);
        assert_eq!(session.view().image_versions(image_id(), None, 9).unwrap().items.len(), 1);
        assert_eq!(session.view().soft_deleted_versions(image_id()).unwrap().len(), 1);
        one(refused(&sandbox, || version("1.0.1", "westeurope")).await, "Conflict", "can be restored");
        let tagged = ImageVersion::clone(&*current(&sandbox, "1.0.1").await)
            .with_tags(Tags::new([("a".into(), "b".into())].into()).unwrap());
        one(session.update_image_version(tagged).await.unwrap_err(), "OperationNotAllowed", "marked for deletion");
        session.restore(version_id("1.0.1")).await.unwrap();
        assert_eq!(latest(&sandbox, "westeurope").as_deref(), Some("1.0.1"));

        session.delete(version_id("1.0.1")).await.unwrap();
        one(session.delete(image_id()).await.unwrap_err(), "CannotDeleteResource", "nested resources");
        sandbox.clock().advance(std::time::Duration::from_secs(7 * 86_400 + 1));
        one(session.restore(version_id("1.0.1")).await.unwrap_err(), "ResourceNotFound", "was not found");
        session.publish(version("1.0.1", "westeurope")).await.unwrap();
        session.delete(version_id("1.0.1")).bypass_soft_delete().await.unwrap();
        assert!(session.view().soft_deleted_versions(image_id()).unwrap().is_empty());
    });
}
