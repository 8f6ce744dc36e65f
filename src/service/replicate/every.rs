//! Replicating every version that lacks replicas, as after a crash.

use super::report::ReplicationReport;
use crate::access::Action;
use crate::error::Result;
use crate::model::ImageVersionId;
use crate::service::session::session::Session;

/// A version that [`Session::replicate_all`] has replicated, or failed to.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// use compute_gallery::testkit::raw;
///
/// session.publish(sandbox.new_version("1.0.0", "westeurope,eastus", raw(vec![7; 4096]))).await?;
/// let replicated = session.replicate_all().await?;
/// assert_eq!(replicated[0].version, sandbox.version("1.0.0"));
/// assert_eq!(replicated[0].outcome.as_ref().unwrap().regions.len(), 2);
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Replicated {
    /// The version.
    pub version: ImageVersionId,
    /// The report, or every region that failed.
    pub outcome: Result<ReplicationReport>,
}

/// # Replicating everything
impl Session {
    /// Replicates each version that lacks replicas and that the caller may change, one after the other, the one that was changed first to
    /// begin with. A version that fails does not stop the others. A [driver](Self::driver) does so by itself.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt` if the catalog cannot be read. What fails of a version is in its outcome.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use compute_gallery::testkit::raw;
    ///
    /// for number in ["1.0.0", "1.0.1"] {
    ///     session.publish(sandbox.new_version(number, "westeurope,eastus", raw(vec![7; 4096]))).await?;
    /// }
    /// assert_eq!(session.replicate_all().await?.len(), 2);
    /// assert!(session.replicate_all().await?.is_empty());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn replicate_all(&self) -> Result<Vec<Replicated>> {
        let view = self.refresh().await?;
        let lacking = view.state().lacking().filter(|record| record.soft_deleted.is_none());
        let lacking = lacking.filter(|record| view.may(Action::WriteVersion, record.version.id()));
        let mut versions: Vec<_> = lacking.map(|record| (record.revision(), record.version.id().clone())).collect();
        versions.sort();
        let mut all = Vec::new();
        for (_, version) in versions {
            let outcome = self.replicate(version.clone()).await;
            all.push(Replicated { version, outcome });
        }
        Ok(all)
    }
}
