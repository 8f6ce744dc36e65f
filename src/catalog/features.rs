//! The features of a catalog's format: what a build must know to read it, or to write to it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Content is encrypted, and named by keyed hashes.
const ENCRYPTION: &str = "encryption";

/// The features that this build knows, by name.
const KNOWN: &[&str] = &[ENCRYPTION];

/// The features that a catalog has, each with the first build that knows it. None is ever taken back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Features {
    /// A build that lacks one cannot read the catalog.
    #[serde(default)]
    read: BTreeMap<String, String>,
    /// A build that lacks one changes nothing.
    #[serde(default)]
    write: BTreeMap<String, String>,
}

fn first_unknown(features: &BTreeMap<String, String>) -> Option<(&String, &String)> {
    features.iter().find(|(name, _)| !KNOWN.contains(&name.as_str()))
}

/// Says which build reads what this one does not know.
pub(super) fn newer(build: Option<&str>) -> String {
    match build {
        Some(build) => format!("use build {build} or a later one"),
        None => "use a newer build".to_owned(),
    }
}

impl Features {
    /// Returns those of an encrypted catalog.
    pub(super) fn encrypted() -> Self {
        let read = [(ENCRYPTION.to_owned(), "0.1.0".to_owned())].into();
        Self { read, write: BTreeMap::new() }
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.read.contains_key(ENCRYPTION)
    }

    /// Refuses a catalog that this build cannot read.
    ///
    /// # Errors
    ///
    /// `Unsupported` with the feature and the build that is needed.
    pub(super) fn refuse_unreadable(&self) -> Result<()> {
        let Some((name, build)) = first_unknown(&self.read) else { return Ok(()) };
        let what =
            format!("its format has the feature `{name}`, which this build does not know: {}", newer(Some(build)));
        Err(Error::unsupported("catalog", what))
    }

    /// Refuses a change of a catalog that this build can only read.
    ///
    /// # Errors
    ///
    /// `Unsupported` with the feature and the build that is needed.
    pub(super) fn refuse_change(&self) -> Result<()> {
        let Some((name, build)) = first_unknown(&self.write) else { return Ok(()) };
        let what = format!(
            "its format has the feature `{name}`, which this build does not know: it reads the catalog and changes nothing. To \
             change it, {}",
            newer(Some(build))
        );
        Err(Error::unsupported("catalog", what))
    }

    /// Adds features.
    pub(super) fn enable(&mut self, more: &Self) {
        self.read.extend(more.read.clone());
        self.write.extend(more.write.clone());
    }
}
