//! Publishing under the next number, whichever that is when it is published.

use super::new::NewImageVersion;
use super::report::Published;
use crate::access::Action;
use crate::catalog::State;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{ImageDefinitionId, ImageVersion, ImageVersionId, VersionNumber, given};
use crate::service::session::rights::Need;
use crate::service::session::session::Session;

/// # Publishing the next version
impl Session {
    /// Publishes a version whose number is the highest of the definition's with a patch more, or 1.0.0. `new` makes it of its id; it is
    /// called again with the next number if another caller has taken this one meanwhile, so no number is lost and none is used twice.
    ///
    /// # Errors
    ///
    /// Those of [`publish`](Self::publish) but for a number that is taken; `LimitReached` after the highest patch that there is.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use compute_gallery::NewImageVersion;
    /// use compute_gallery::model::PublishingProfile;
    /// use compute_gallery::testkit::{raw, region};
    ///
    /// let nightly = |id| NewImageVersion::new(id, region("westeurope"), PublishingProfile::new("westeurope".parse().unwrap()), raw(vec![7; 4096]));
    /// let (one, other) = futures::join!(session.publish_next(sandbox.image(), nightly), session.publish_next(sandbox.image(), nightly));
    /// let mut ids = [one?.resource.id().clone(), other?.resource.id().clone()];
    /// ids.sort();
    /// assert_eq!(ids, [sandbox.version("1.0.0"), sandbox.version("1.0.1")]);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn publish_next(
        &self,
        definition: impl TryInto<ImageDefinitionId, Error: Into<Error>>,
        new: impl Fn(ImageVersionId) -> NewImageVersion,
    ) -> Result<Published<ImageVersion>> {
        let definition = given(definition)?;
        let needs = [Need::new(Action::WriteVersion, &definition)];
        loop {
            let state = self.state().await?;
            // The highest number is told to those who may publish.
            self.authorize(&state, &needs)?;
            let id = definition.version(next_number(self, &state, &definition)?);
            let taken = match self.publish(new(id.clone())).await {
                Err(error) if error.kind() == ErrorKind::AlreadyExists && error.target() == id.to_string() => error,
                ended => return ended,
            };
            if next_number(self, &*self.state().await?, &definition)? == id.number() {
                // It is not the number that is taken.
                return Err(taken);
            }
        }
    }
}

fn next_number(session: &Session, state: &State, definition: &ImageDefinitionId) -> Result<VersionNumber> {
    let now = session.inner.log_time();
    let kept = state.versions(definition, None).rev().find(|record| !state.is_gone(record, now));
    let there = kept.map(|record| record.version.id().number());
    let announced = state.incomplete_of(definition, None).map(|record| record.version.id().number()).max();
    let Some(last) = there.max(announced) else { return VersionNumber::new(1, 0, 0) };
    let Some(patch) = last.patch().checked_add(1) else {
        let what = format!("`{last}` has no next patch: publish under the next minor number");
        return Err(Error::of(ErrorKind::LimitReached, "InvalidParameter", definition.to_string(), what));
    };
    VersionNumber::new(last.major(), last.minor(), patch)
}
