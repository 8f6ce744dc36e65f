//! Tags.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Problem, Result};

/// Names and values that a host hangs on a resource: up to 50, a name of 1 to 512 characters without `<>%&\?/`, a value
/// of up to 256.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>")]
pub struct Tags(BTreeMap<String, String>);

impl Tags {
    /// Tags from names and values.
    ///
    /// # Errors
    ///
    /// `Invalid`, with everything that is wrong.
    pub fn new(tags: BTreeMap<String, String>) -> Result<Self> {
        let problem = |what: String| Problem::invalid("tags", what);
        let mut problems = Vec::new();
        if tags.len() > 50 {
            problems.push(problem(format!("there are `{}` tags, at most 50 are allowed", tags.len())));
        }
        for (name, value) in &tags {
            if !(1..=512).contains(&name.chars().count()) || name.contains(['<', '>', '%', '&', '\\', '?', '/']) {
                let rule = "a tag's name has 1 to 512 characters, none of `<>%&\\?/`";
                problems.push(problem(format!("`{}` is not allowed: {rule}", name.escape_debug())));
            }
            if value.chars().count() > 256 {
                problems.push(problem(format!("the value of `{}` has more than 256 characters", name.escape_debug())));
            }
        }
        Error::from_problems(problems)?;
        Ok(Self(tags))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names with their values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl TryFrom<BTreeMap<String, String>> for Tags {
    type Error = Error;

    fn try_from(tags: BTreeMap<String, String>) -> Result<Self> {
        Self::new(tags)
    }
}
