//! The latest version, and why it is the latest.

use super::view::CatalogView;
use crate::access::Action;
use crate::catalog::VersionRecord;
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::model::{ImageDefinitionId, ImageVersion, Region, given};
use std::fmt;
use std::sync::Arc;

/// Why a version is the latest in a region, or is not.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
/// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
/// use compute_gallery::read::LatestVerdict;
///
/// # sandbox.publish_to("1.0.1", "westeurope", vec![7; 4096]).await?;
/// let candidates = session.view().explain_latest(image, "eastus")?;
/// let verdicts: Vec<_> = candidates.iter().map(|candidate| candidate.verdict).collect();
/// // 1.0.1 was published to West Europe alone.
/// assert_eq!(verdicts, [LatestVerdict::Latest, LatestVerdict::NotATarget]);
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LatestVerdict {
    /// Of the qualified versions, the one with the highest number.
    Latest,
    /// It qualifies, and another version has a higher number.
    Older,
    /// `excludeFromLatest` is set for the target region.
    ExcludedInRegion,
    /// `excludeFromLatest` is set for the version, and not for the target region.
    Excluded,
    /// The region is not one of its target regions.
    NotATarget,
    /// Its first replica in the region is not complete.
    Incomplete,
    /// It was deleted and can be restored.
    SoftDeleted,
    /// It is marked for deletion.
    Deleting,
}

/// A version that was considered for the latest, from [`CatalogView::explain_latest`].
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
/// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
/// let candidates = session.view().explain_latest(image, "westeurope")?;
/// assert_eq!(candidates[0].version.id(), &version);
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LatestCandidate {
    /// Any version of the definition that the caller may read.
    pub version: Arc<ImageVersion>,
    /// Its verdict for the region.
    pub verdict: LatestVerdict,
}

impl fmt::Display for LatestVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Latest => "is the latest",
            Self::Older => "is older",
            Self::ExcludedInRegion => "is excluded from latest there",
            Self::Excluded => "is excluded from latest",
            Self::NotATarget => "does not go there",
            Self::Incomplete => "is not complete there yet",
            Self::SoftDeleted => "is deleted",
            Self::Deleting => "is marked for deletion",
        })
    }
}

/// # Latest version
impl CatalogView {
    /// Returns the version that "latest" means in a region: the highest number among the versions that can be deployed
    /// there and are neither deleted nor excluded. The region's `excludeFromLatest` beats the version's.
    ///
    /// # Errors
    ///
    /// `Forbidden`; `NotFound` without the definition, or if no version qualifies: [`explain_latest`](Self::explain_latest)
    /// says why.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// let view = session.view();
    /// assert_eq!(view.latest(image, "eastus")?.id(), &version);
    /// let error = view.latest(image, "japaneast").unwrap_err();
    /// assert!(error.to_string().contains("not available in japaneast"));
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn latest(
        &self,
        definition: impl TryInto<ImageDefinitionId, Error: Into<Error>>,
        region: impl TryInto<Region, Error: Into<Error>>,
    ) -> Result<Arc<ImageVersion>> {
        let (definition, region) = (&given(definition)?, &given(region)?);
        self.require(Action::ReadImage, definition)?;
        if let Some(record) = self.state().latest(definition, region) {
            self.require_through(definition, record.version.id())?;
            return Ok(record.version.clone());
        }
        let mut verdicts = Vec::new();
        for LatestCandidate { version, verdict } in self.explain_latest(definition, region)?.into_iter().rev().take(5) {
            verdicts.push(format!("{} {verdict}", version.id().number()));
        }
        if verdicts.is_empty() {
            let what = format!("There is no latest image version exists for \"{definition}\"");
            let problem = Problem::new(ErrorKind::NotFound, "GalleryImageNotFound", definition.to_string(), what);
            return Err(Error::new(problem.with_advice("publish a version")));
        }
        let advice = format!("its versions: {}", verdicts.join(", "));
        Err(Error::new(not_available(definition, region).with_advice(advice)))
    }

    /// Returns each version of a definition with the reason why it is the latest in a region or is not, in numeric order.
    ///
    /// # Errors
    ///
    /// `Forbidden`; `NotFound` without the definition.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// use compute_gallery::read::LatestVerdict;
    ///
    /// let candidates = session.view().explain_latest(image, "eastus")?;
    /// assert_eq!(candidates[0].verdict, LatestVerdict::Latest);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn explain_latest(
        &self,
        definition: impl TryInto<ImageDefinitionId, Error: Into<Error>>,
        region: impl TryInto<Region, Error: Into<Error>>,
    ) -> Result<Vec<LatestCandidate>> {
        let (definition, region) = (&given(definition)?, &given(region)?);
        self.image_definition(definition)?;
        let latest = self.state().latest(definition, region).map(|record| record.version.id().number());
        let explain = |record: &Arc<VersionRecord>| {
            let profile = record.version.publishing_profile();
            let target = profile.target_regions().find(region);
            let verdict = match (target, target.and_then(|target| target.exclude_from_latest())) {
                _ if latest == Some(record.version.id().number()) => LatestVerdict::Latest,
                _ if record.soft_deleted.is_some() => LatestVerdict::SoftDeleted,
                _ if self.state().deletion_of(&record.version.id().into()).is_some() => LatestVerdict::Deleting,
                (None, _) => LatestVerdict::NotATarget,
                (Some(_), Some(true)) => LatestVerdict::ExcludedInRegion,
                (Some(_), None) if profile.exclude_from_latest() => LatestVerdict::Excluded,
                _ if record.replicas_ready(region) == 0 => LatestVerdict::Incomplete,
                _ => LatestVerdict::Older,
            };
            LatestCandidate { version: record.version.clone(), verdict }
        };
        let now = self.inner().log_time();
        let there = self.state().versions(definition, None).filter(|record| !self.state().is_gone(record, now));
        let readable = |record: &&Arc<VersionRecord>| self.may(Action::ReadVersion, record.version.id());
        Ok(there.filter(readable).map(explain).collect())
    }
}

/// Returns the problem of an image that cannot be deployed in a region.
pub(crate) fn not_available(id: &dyn std::fmt::Display, region: &Region) -> Problem {
    let what = format!(
        "The gallery image {id} is not available in {region} region. Please contact image owner to replicate to this region, \
         or change your requested region."
    );
    Problem::new(ErrorKind::NotFound, "GalleryImageNotFound", id.to_string(), what)
}
