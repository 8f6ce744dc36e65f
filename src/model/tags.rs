//! Tags.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::body::{FromBody, located, plain};
use super::text::cmp_ignoring_case;
use crate::error::{Error, Problem, Result};

/// Names and values that a host attaches to a resource. Azure: up to 50; a name has 1 to 512 characters without `<>%&\?/`, a
/// value up to 256.
///
/// Names are compared without ASCII case and keep their first spelling. A tag that is given again in another case is the same tag,
/// with the value that was given last.
///
/// ```
/// use compute_gallery::model::Tags;
///
/// let tags = Tags::new([("Stage".to_owned(), "test".to_owned()), ("stage".to_owned(), "prod".to_owned())].into())?;
/// assert_eq!(tags.iter().collect::<Vec<_>>(), [("Stage", "prod")]);
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>")]
pub struct Tags(BTreeMap<TagName, String>);

#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
struct TagName(String);

impl Ord for TagName {
    fn cmp(&self, other: &Self) -> Ordering {
        cmp_ignoring_case(&self.0, &other.0)
    }
}

impl PartialOrd for TagName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for TagName {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for TagName {}

impl Tags {
    /// Returns tags from names and values.
    ///
    /// # Errors
    ///
    /// `Invalid`, with a problem for each name and value that breaks a rule.
    pub fn new(tags: BTreeMap<String, String>) -> Result<Self> {
        let problem = |what: String| Problem::invalid("tags", what);
        let mut problems = Vec::new();
        for (name, value) in &tags {
            if !(1..=512).contains(&name.chars().count()) || name.contains(['<', '>', '%', '&', '\\', '?', '/']) {
                let rule = "a tag's name has 1 to 512 characters, none of `<>%&\\?/`";
                problems.push(problem(format!("`{}` is not allowed: {rule}", name.escape_debug())));
            }
            if value.chars().count() > 256 {
                problems.push(problem(format!(
                    "the value of `{}` has more than 256 characters: shorten it",
                    name.escape_debug()
                )));
            }
        }
        let mut all = BTreeMap::new();
        // A key that is there already keeps its spelling.
        tags.into_iter().for_each(|(name, value)| drop(all.insert(TagName(name), value)));
        if all.len() > 50 {
            problems.push(problem(format!("`{}` tags are given: at most 50 are allowed", all.len())));
        }
        Error::from_problems(problems)?;
        Ok(Self(all))
    }

    /// Returns whether the resource has no tag.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Iterates over names and values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.0.as_str(), value.as_str()))
    }

    /// Returns these tags, with the spelling that names have in `before`.
    pub(crate) fn spelled_as(&self, before: &Self) -> Self {
        let spelled = |name: &TagName| before.0.get_key_value(name).map_or(name, |(name, _)| name).clone();
        Self(self.0.iter().map(|(name, value)| (spelled(name), value.clone())).collect())
    }
}

impl TryFrom<BTreeMap<String, String>> for Tags {
    type Error = Error;

    fn try_from(tags: BTreeMap<String, String>) -> Result<Self> {
        Self::new(tags)
    }
}

impl FromBody for Tags {
    fn from_body(path: &str, value: &serde_json::Value) -> Result<Self> {
        Self::new(plain(path, value)?).map_err(|error| located(error, path))
    }
}
