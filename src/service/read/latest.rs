//! The latest version, and why it is the latest.

use super::view::CatalogView;
use crate::access::Action;
use crate::catalog::VersionRecord;
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::model::{ImageDefinitionId, ImageVersion, Region};
use std::sync::Arc;

/// Why a version is the latest in a region, or is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LatestVerdict {
    /// It is the latest.
    Latest,
    /// It could be, but there is a higher number that is.
    Older,
    /// The region's own flag excludes it.
    ExcludedInRegion,
    /// The version's flag excludes it, and the region says nothing else.
    Excluded,
    /// It does not go to the region.
    NotATarget,
    /// It goes to the region and is not complete there yet.
    Incomplete,
    /// It was deleted, and can be restored.
    SoftDeleted,
}

/// A version that was looked at to find the latest.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LatestCandidate {
    /// The version.
    pub version: Arc<ImageVersion>,
    /// Why it is the latest, or is not.
    pub verdict: LatestVerdict,
}

impl LatestVerdict {
    fn says(self) -> &'static str {
        match self {
            Self::Latest => "is the latest",
            Self::Older => "is older",
            Self::ExcludedInRegion => "is excluded from latest there",
            Self::Excluded => "is excluded from latest",
            Self::NotATarget => "does not go there",
            Self::Incomplete => "is not complete there yet",
            Self::SoftDeleted => "is deleted",
        }
    }
}

impl CatalogView {
    /// The version that "latest" means in a region: the highest number among those that can be deployed there and are
    /// neither excluded (the region's own flag beats the general one) nor deleted.
    ///
    /// # Errors
    ///
    /// `Forbidden`; `NotFound` without the definition, or where no version qualifies; [`explain_latest`](Self::explain_latest) says
    /// why not.
    pub fn latest(&self, definition: &ImageDefinitionId, region: &Region) -> Result<Arc<ImageVersion>> {
        self.require(Action::ReadImage, definition)?;
        if let Some(record) = self.state().latest(definition, region) {
            self.require_through(definition, record.version.id())?;
            return Ok(record.version.clone());
        }
        let mut verdicts = Vec::new();
        for LatestCandidate { version, verdict } in self.explain_latest(definition, region)?.into_iter().rev().take(5) {
            verdicts.push(format!("{} {}", version.id().number(), verdict.says()));
        }
        if verdicts.is_empty() {
            let what = format!("There is no latest image version exists for \"{definition}\"");
            let problem = Problem::new(ErrorKind::NotFound, "GalleryImageNotFound", definition.to_string(), what);
            return Err(Error::new(problem.with_advice("publish one")));
        }
        let advice = format!("Its versions: {}.", verdicts.join(", "));
        Err(Error::new(not_available(definition, region).with_advice(advice)))
    }

    /// Why each version of a definition is the latest in a region or is not, in numeric order.
    ///
    /// # Errors
    ///
    /// `Forbidden`; `NotFound` without the definition.
    pub fn explain_latest(&self, definition: &ImageDefinitionId, region: &Region) -> Result<Vec<LatestCandidate>> {
        self.image_definition(definition)?;
        let latest = self.state().latest(definition, region).map(|record| record.version.id().number());
        let explain = |record: &Arc<VersionRecord>| {
            let profile = record.version.publishing_profile();
            let target = profile.target_regions().find(region);
            let verdict = match (target, target.and_then(|target| target.exclude_from_latest())) {
                _ if latest == Some(record.version.id().number()) => LatestVerdict::Latest,
                _ if record.soft_deleted.is_some() => LatestVerdict::SoftDeleted,
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

/// An image that can't be deployed in a region.
pub(crate) fn not_available(id: &dyn std::fmt::Display, region: &Region) -> Problem {
    let what = format!(
        "The gallery image {id} is not available in {region} region. Please contact image owner to replicate to this region, \
         or change your requested region."
    );
    Problem::new(ErrorKind::NotFound, "GalleryImageNotFound", id.to_string(), what)
}
