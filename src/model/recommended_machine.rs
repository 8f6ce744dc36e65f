//! The machine that an image is made for.

use serde::{Deserialize, Serialize};

use super::body::{FromBody, from_body, located};
use crate::error::{Error, Problem, Result};

/// The vCPUs and the memory that an image is made for. Azure: a recommendation, so no VM is refused for it.
///
/// ```
/// use compute_gallery::model::{RecommendedMachine, ResourceRange};
///
/// let machine = RecommendedMachine::default().with_v_cpus(ResourceRange::new(Some(2), Some(16))?);
/// assert_eq!(machine.v_cpus().and_then(|range| range.max()), Some(16));
/// assert_eq!(machine.memory(), None);
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecommendedMachine {
    #[serde(default, rename = "vCPUs", skip_serializing_if = "Option::is_none")]
    v_cpus: Option<ResourceRange>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    memory: Option<ResourceRange>,
}

/// A smallest and a largest amount; either may be left open. The smallest is not above the largest.
///
/// ```
/// use compute_gallery::model::ResourceRange;
///
/// assert_eq!(ResourceRange::new(Some(2), Some(16))?.max(), Some(16));
/// let error = ResourceRange::new(Some(16), Some(2)).unwrap_err();
/// assert!(error.to_string().contains("must not be greater than the maximum"));
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct ResourceRange {
    #[serde(skip_serializing_if = "Option::is_none")]
    min: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<u32>,
}

#[derive(Deserialize)]
struct Unchecked {
    min: Option<u32>,
    max: Option<u32>,
}

from_body!(RecommendedMachine { optional v_cpus: "vCPUs", optional memory: "memory" });

from_body!(Unchecked { optional min: "min", optional max: "max" });

impl FromBody for ResourceRange {
    fn from_body(path: &str, value: &serde_json::Value) -> Result<Self> {
        Self::try_from(Unchecked::from_body(path, value)?).map_err(|error| located(error, path))
    }
}

impl TryFrom<Unchecked> for ResourceRange {
    type Error = Error;

    fn try_from(unchecked: Unchecked) -> Result<Self> {
        Self::new(unchecked.min, unchecked.max)
    }
}

impl ResourceRange {
    /// Returns a range.
    ///
    /// # Errors
    ///
    /// `Invalid` where the smallest is above the largest.
    pub fn new(min: Option<u32>, max: Option<u32>) -> Result<Self> {
        if let (Some(min), Some(max)) = (min, max)
            && min > max
        {
            let target = "galleryImage.properties.recommended";
            let what =
                format!("The minimum value of '{target}' must not be greater than the maximum value of '{target}'.");
            let advice = format!("`{min}` is greater than `{max}`: exchange them, or leave one out");
            return Err(Error::new(Problem::invalid(target, what).with_advice(advice)));
        }
        Ok(Self { min, max })
    }

    /// Returns the smallest amount.
    pub fn min(&self) -> Option<u32> {
        self.min
    }

    /// Returns the largest amount.
    pub fn max(&self) -> Option<u32> {
        self.max
    }
}

impl RecommendedMachine {
    /// Sets the number of vCPUs.
    #[must_use]
    pub fn with_v_cpus(mut self, range: ResourceRange) -> Self {
        self.v_cpus = Some(range);
        self
    }

    /// Sets the memory, in GiB.
    #[must_use]
    pub fn with_memory(mut self, range: ResourceRange) -> Self {
        self.memory = Some(range);
        self
    }

    /// Returns the number of vCPUs.
    pub fn v_cpus(&self) -> Option<ResourceRange> {
        self.v_cpus
    }

    /// Returns the memory, in GiB.
    pub fn memory(&self) -> Option<ResourceRange> {
        self.memory
    }
}
