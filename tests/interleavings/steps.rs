//! What the tests of interleavings and of orders do to a gallery, and how far an operation goes.

use compute_gallery::model::*;
use compute_gallery::testkit::{Sandbox, region};
use futures::FutureExt;

/// Another gallery.
pub(crate) fn gallery(sandbox: &Sandbox, name: &str) -> Gallery {
    let id = sandbox.image().gallery().to_string().replace("/galleries/g", &format!("/galleries/{name}"));
    Gallery::new(id.parse().unwrap(), region("westeurope"))
}

/// Gives the first version other regions.
pub(crate) async fn sends(sandbox: &Sandbox, regions: &str) {
    let (id, view) = (sandbox.version("1.0.0"), sandbox.session().refresh().await.unwrap());
    let there = ImageVersion::clone(&*view.image_version(&id).unwrap());
    let profile = there.publishing_profile().clone().with_target_regions(regions.parse().unwrap());
    let safety = SafetyProfile::default().with_deletion_of_replicated_locations(true);
    let new = there.with_publishing_profile(profile).unwrap().with_safety_profile(safety);
    sandbox.session().update_image_version(new).await.unwrap();
}

/// Goes on for some steps; whether it is over then.
pub(crate) fn goes_on<F: Future + Unpin>(work: &mut F, steps: usize) -> bool {
    (0..steps).any(|_| work.now_or_never().is_some())
}
