//! All pending work is one grammar: an id may be text, a plan has what is wrong with it, and it is a future as it is.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

use std::sync::{Arc, Mutex};

use compute_gallery::access::SharingUpdate;
use compute_gallery::change::Plan;
use compute_gallery::testkit::{Sandbox, raw};
use compute_gallery::{ErrorKind, Progress, Result};
use futures::StreamExt;
use futures::executor::block_on;
use futures::future::{join_all, try_join_all};

/// Half of an id: its group is missing.
const HALF: &str = "/subscriptions/dev/galleries/Sandbox";

fn told(plan: Result<Plan>, outcome: Result<()>, named: &str) {
    let (plan, error) = (plan.unwrap(), outcome.unwrap_err());
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(error.to_string().contains(named), "{error}");
    assert_eq!(plan.check().unwrap_err().to_string(), error.to_string());
}

#[test]
fn text_that_is_no_id_is_a_problem_of_the_plan_and_the_error_of_the_work() {
    block_on(async {
        let sandbox = Sandbox::new().await.unwrap();
        let session = sandbox.session();
        const ID: &str = "`galleries` stands where `resourceGroups` must";
        told(session.delete(HALF).plan().await, session.delete(HALF).cascade().await.map(drop), ID);
        told(session.replicate(HALF).plan().await, session.replicate(HALF).await.map(drop), ID);
        told(session.restore(HALF).plan().await, session.restore(HALF).await, ID);
        let reset = || session.share_gallery(HALF, SharingUpdate::Reset);
        told(reset().plan().await, reset().await.map(drop), ID);
        let deploy = || session.deploy(HALF, "eastus");
        told(deploy().plan().await, deploy().to_writer(Vec::new()).await.map(drop), ID);
        let deploy = || session.deploy(sandbox.image(), "east/us");
        told(deploy().plan().await, deploy().to_writer(Vec::new()).await.map(drop), "`east/us` is not a region");
        told(session.scrub("east/us").plan().await, session.scrub("east/us").await.map(drop), "`east/us`");
        let capped = || session.replicate(sandbox.version("1.0.0")).bytes_per_second("east/us", 1);
        told(capped().plan().await, capped().await.map(drop), "`east/us`");
        let mut statuses = session.replicate(HALF);
        assert!(statuses.statuses().next().await.is_none());
        assert_eq!(statuses.await.unwrap_err().kind(), ErrorKind::Invalid);
    });
}

#[test]
fn an_id_may_be_given_as_text_in_every_case() {
    block_on(async {
        let sandbox = Sandbox::new().await.unwrap();
        let session = sandbox.session();
        sandbox.publish("1.0.0", vec![7; 4096]).await.unwrap();
        let (image, version) = (sandbox.image().to_string(), sandbox.version("1.0.0").to_string());
        let view = session.view();
        assert_eq!(view.image_version(version.to_uppercase()).unwrap().id(), &sandbox.version("1.0.0"));
        assert_eq!(view.image_versions(image.as_str(), None, 9).unwrap().items.len(), 1);
        assert!(view.image_definitions(HALF, None, 9).is_err());
        assert_eq!(view.latest(image.as_str(), "East US").unwrap().id(), &sandbox.version("1.0.0"));
        let (_, disk) = session.deploy(image.as_str(), "EastUS").to_writer(Vec::new()).await.unwrap();
        assert_eq!(disk, [7; 4096]);
        let public = session.deploy("/communitygalleries/none/images/web", "eastus").to_writer(Vec::new()).await;
        assert_eq!(public.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(session.delete(version).await.unwrap(), [sandbox.version("1.0.0").into()]);
    });
}

#[test]
fn pending_work_is_spawned_and_joined_as_it_is() {
    fn spawnable<T>(work: impl Future<Output = T> + Send + Unpin + 'static) -> impl Future<Output = T> {
        work
    }
    block_on(async {
        let sandbox = Sandbox::new().await.unwrap();
        let session = sandbox.session();
        let new = |number| session.publish(sandbox.new_version(number, "westeurope,eastus", raw(vec![7; 4096])));
        let published = try_join_all(["1.0.0", "1.0.1"].map(new).map(spawnable)).await.unwrap();
        assert_eq!(published.len(), 2);
        let versions = ["1.0.0", "1.0.1"].map(|number| sandbox.version(number));
        let replicated = join_all(versions.each_ref().map(|version| spawnable(session.replicate(version)))).await;
        assert!(replicated.iter().all(Result::is_ok), "{replicated:?}");
        let [first, second] = versions;
        let deleted = futures::join!(spawnable(session.delete(first)), spawnable(session.delete(second)));
        assert!(deleted.0.is_ok() && deleted.1.is_ok());
        assert!(spawnable(session.scrub("eastus")).await.is_ok() && spawnable(session.collect()).await.is_ok());
    });
}

#[test]
fn long_work_tells_its_progress_up_to_all_of_it() {
    block_on(async {
        let sandbox = Sandbox::new().await.unwrap();
        let session = sandbox.session();
        let all: Arc<Mutex<Vec<Progress>>> = Arc::default();
        let tell = || {
            let all = all.clone();
            move |progress| all.lock().unwrap().push(progress)
        };
        let disk = compute_gallery::testkit::noise(1, 3 << 20);
        let complete = |what: &str| {
            let told = std::mem::take(&mut *all.lock().unwrap());
            let last = told.last().copied().unwrap();
            assert!(last.total > 0 && last.done == last.total, "{what}: {told:?}");
            assert!(told.is_sorted_by_key(|progress| progress.done), "{what}: {told:?}");
        };
        let new = sandbox.new_version("1.0.0", "westeurope,eastus=2", raw(disk));
        session.publish(new).on_progress(tell()).await.unwrap();
        complete("publish");
        session.replicate(sandbox.version("1.0.0")).on_progress(tell()).await.unwrap();
        complete("replicate");
        session.deploy(sandbox.image(), "eastus").on_progress(tell()).to_writer(Vec::new()).await.unwrap();
        complete("deploy");
        session.scrub("eastus").on_progress(tell()).await.unwrap();
        complete("scrub");
        session.delete(sandbox.version("1.0.0")).await.unwrap();
        session.collect().on_progress(tell()).await.unwrap();
        complete("collect");
    });
}

#[test]
fn a_plan_outlives_the_session_and_work_keeps_the_settings_that_it_began_with() {
    block_on(async {
        let sandbox = Sandbox::new().await.unwrap();
        sandbox.publish("1.0.0", vec![7; 4096]).await.unwrap();
        let mut deletion = sandbox.session().delete(sandbox.image());
        // Once it was polled it runs as it was set up: the children still stand in its way.
        let refused = (&mut deletion).await;
        assert!(refused.is_err());
        let mut again = deletion.cascade();
        assert!(futures::poll!(&mut again).is_pending(), "its outcome was returned");
        assert!(again.plan().await.unwrap().is_possible(), "a plan is of the settings of now");
    });
}
