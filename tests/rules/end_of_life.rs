//! The end of life, and what is deleted by automation.

use std::time::Duration;

use compute_gallery::read::ListScope;

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

async fn dated(sandbox: &Sandbox, number: &str, days: i64) {
    let profile = profile("westeurope").with_end_of_life_date(now() + TimeDelta::days(days));
    let new = NewImageVersion::new(version_id(number), region("westeurope"), profile, disk(1));
    sandbox.session().publish(new).await.unwrap();
}

/// The log's time passes with its commits.
async fn days_pass(sandbox: &Sandbox, days: u32) {
    sandbox.clock().advance(DAY * days);
    let description = format!("day {days} of {}", sandbox.session().view().number());
    sandbox.session().update_gallery(gallery().with_description(description)).await.unwrap();
}

#[test]
fn what_passes_its_end_of_life_is_warned_of_refused_and_deleted_by_choice() {
    block_on(async {
        let sandbox = built(settings().service(|builder| builder.refuse_deployments_after_end_of_life())).await;
        let session = sandbox.session();
        dated(&sandbox, "1.0.0", 10).await;
        dated(&sandbox, "1.0.1", 40).await;
        publish(&sandbox, "1.0.2", "westeurope").await;
        let ends = |days| session.view().ends_of_life(&ListScope::All, now() + TimeDelta::days(days));
        assert_eq!(ends(30).iter().map(|end| end.resource.clone()).collect::<Vec<_>>(), [version_id("1.0.0").into()]);
        assert_eq!((ends(60).len(), ends(60)[0].has_passed), (2, false));
        let dry = async |grace| session.delete_after_end_of_life(grace).plan().await.unwrap().deletes;
        assert!(dry(TimeDelta::zero()).await.is_empty());

        days_pass(&sandbox, 15).await;
        assert!(ends(30)[0].has_passed);
        let refused = session.deploy(version_id("1.0.0"), "westeurope").plan().await.unwrap();
        assert!(refused.problems[0].to_string().contains("end of life"), "{:?}", refused.problems);
        assert_eq!(bytes_of(session, version_id("1.0.1"), None).await, [1; 4096]);
        // A grace of a week after the date, and then the driver does what the dry run has told.
        assert!(dry(TimeDelta::days(7)).await.is_empty());
        let driver = || session.driver().delete_after_end_of_life(TimeDelta::days(7));
        driver().step().await.unwrap();
        assert!(session.view().image_version(version_id("1.0.0")).is_ok());
        days_pass(&sandbox, 5).await;
        assert_eq!(dry(TimeDelta::days(7)).await, [version_id("1.0.0").into()]);
        driver().step().await.unwrap();
        assert!(session.view().image_version(version_id("1.0.0")).is_err());

        // A definition goes with its versions, but not while one of them is protected.
        let ends_soon = session.view().image_definition(image_id()).unwrap();
        let date = now() + TimeDelta::days(25);
        session.update_image_definition((*ends_soon).clone().with_end_of_life_date(date)).await.unwrap();
        let held = current(&sandbox, "1.0.2").await;
        let safety = SafetyProfile::default().with_block_deletion_before_end_of_life(true);
        session.update_image_version((*held).clone().with_safety_profile(safety)).await.unwrap();
        days_pass(&sandbox, 10).await;
        assert_eq!(dry(TimeDelta::zero()).await, [version_id("1.0.1").into()], "1.0.2 is protected");
        let held = current(&sandbox, "1.0.2").await;
        let safety = safety.with_block_deletion_before_end_of_life(false);
        session.update_image_version((*held).clone().with_safety_profile(safety)).await.unwrap();
        let all = [version_id("1.0.1").into(), version_id("1.0.2").into(), image_id().into()];
        assert_eq!(session.delete_after_end_of_life(TimeDelta::zero()).await.unwrap(), all);
        assert!(session.view().image_definition(image_id()).is_err());
    });
}

#[test]
fn soft_deletion_holds_back_automation_and_has_a_grace_period() {
    block_on(async {
        let sandbox = filled().await;
        let session = sandbox.session();
        let policy = SoftDeletePolicy::enabled().with_retention_period_in_days(3).with_grace_period_in_days(4);
        session.update_gallery(gallery().with_soft_delete_policy(policy)).await.unwrap();
        dated(&sandbox, "1.0.0", 1).await;
        let definition = session.view().image_definition(image_id()).unwrap();
        let date = now() + TimeDelta::days(1);
        session.update_image_definition((*definition).clone().with_end_of_life_date(date)).await.unwrap();
        let days = async |days: u32| {
            sandbox.clock().advance(DAY * days);
            let described = gallery().with_description(days.to_string()).with_soft_delete_policy(policy);
            session.update_gallery(described).await.unwrap();
        };
        days(2).await;
        let deleted = session.delete_after_end_of_life(TimeDelta::zero()).await.unwrap();
        assert_eq!(deleted, [version_id("1.0.0").into()], "the definition waits for what can be restored");
        assert!(session.delete_after_end_of_life(TimeDelta::zero()).await.unwrap().is_empty());
        let kept = &session.view().soft_deleted_versions(image_id()).unwrap()[0];
        assert_eq!(kept.restorable_until - kept.consumption_end, TimeDelta::days(4));
        // Within the retention it is deployed, within the grace period it can be restored alone.
        assert_eq!(bytes_of(session, version_id("1.0.0"), None).await, [1; 4096]);
        days(4).await;
        let plan = session.deploy(version_id("1.0.0"), "westeurope").plan().await.unwrap();
        assert!(plan.problems[0].to_string().contains("restore it"), "{:?}", plan.problems);
        session.restore(version_id("1.0.0")).await.unwrap();
        assert_eq!(bytes_of(session, version_id("1.0.0"), None).await, [1; 4096]);
        session.delete(version_id("1.0.0")).await.unwrap();
        days(8).await;
        assert!(session.restore(version_id("1.0.0")).await.is_err());
        assert_eq!(session.delete_after_end_of_life(TimeDelta::zero()).await.unwrap(), [image_id().into()]);
    });
}

#[test]
fn what_can_be_deployed_no_more_is_no_source() {
    block_on(async {
        let sandbox = filled().await;
        let session = sandbox.session();
        let policy = SoftDeletePolicy::enabled().with_retention_period_in_days(3).with_grace_period_in_days(4);
        session.update_gallery(gallery().with_soft_delete_policy(policy)).await.unwrap();
        publish(&sandbox, "1.0.0", "westeurope").await;
        session.delete(version_id("1.0.0")).await.unwrap();
        let copy = |number: &str| {
            let (of, source) = ((region("westeurope"), profile("westeurope")), version_id("1.0.0"));
            session.publish(NewImageVersion::new(version_id(number), of.0, of.1, source))
        };
        // As it can be deployed.
        copy("2.0.0").await.unwrap();
        sandbox.clock().advance(DAY * 4);
        let described = gallery().with_description("later").with_soft_delete_policy(policy);
        session.update_gallery(described).await.unwrap();
        one(copy("2.0.1").await.unwrap_err(), "NotFound", "restore it");
        session.restore(version_id("1.0.0")).await.unwrap();
        copy("2.0.1").await.unwrap();
    });
}
