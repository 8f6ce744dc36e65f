//! Resource groups.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::body::FromBody;
use super::name::{ResourceGroupName, SubscriptionId};
use super::region::Region;
use super::resource::{NoMore, resource, updatable};
use super::tags::Tags;
use super::text::{from_text, serde_as_text};
use crate::error::{Error, Result};

/// The id of a resource group: `/subscriptions/{subscription}/resourceGroups/{name}`.
///
/// ```
/// use compute_gallery::model::ResourceGroupId;
///
/// let id: ResourceGroupId = "/subscriptions/dev/resourcegroups/Images".parse()?;
/// assert_eq!(id.name().as_str(), "Images");
/// assert_eq!(id.to_string(), "/subscriptions/dev/resourceGroups/Images");
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceGroupId {
    subscription: SubscriptionId,
    name: ResourceGroupName,
}

impl ResourceGroupId {
    /// Returns the id of a resource group.
    pub fn new(subscription: SubscriptionId, name: ResourceGroupName) -> Self {
        Self { subscription, name }
    }

    /// Returns the subscription.
    pub fn subscription(&self) -> &SubscriptionId {
        &self.subscription
    }

    /// Returns the name.
    pub fn name(&self) -> &ResourceGroupName {
        &self.name
    }
}

impl fmt::Display for ResourceGroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/subscriptions/{}/resourceGroups/{}", self.subscription, self.name)
    }
}

impl FromStr for ResourceGroupId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let segments: Vec<&str> = text.split('/').collect();
        match segments.as_slice() {
            ["", first, subscription, second, name]
                if first.eq_ignore_ascii_case("subscriptions") && second.eq_ignore_ascii_case("resourceGroups") =>
            {
                Ok(Self { subscription: subscription.parse()?, name: name.parse()? })
            }
            _ => {
                let shown = text.escape_debug();
                let form = "`/subscriptions/{subscription}/resourceGroups/{name}`";
                Err(Error::invalid("id", format!("`{shown}` is no id of a resource group: write it as {form}")))
            }
        }
    }
}

serde_as_text!(ResourceGroupId);
from_text!(ResourceGroupId);

/// A resource group: what lies in it is deleted with it.
///
/// A service [needs](crate::GalleryServiceBuilder::require_resource_groups) no groups unless it is told so.
///
/// ```
/// use compute_gallery::model::ResourceGroup;
///
/// let group = ResourceGroup::new("/subscriptions/dev/resourceGroups/images".parse()?, "westeurope".parse()?);
/// assert_eq!(serde_json::to_value(&group).unwrap()["type"], "Microsoft.Resources/resourceGroups");
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceGroup {
    id: ResourceGroupId,
    location: Region,
    tags: Tags,
    properties: Properties,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Properties {}

impl FromBody for Properties {
    fn from_body(_: &str, _: &Value) -> Result<Self> {
        Ok(Self {})
    }
}

impl ResourceGroup {
    /// Returns a resource group without tags.
    pub fn new(id: ResourceGroupId, location: Region) -> Self {
        Self { id, location, tags: Tags::default(), properties: Properties {} }
    }
}

resource!(
    ResourceGroup,
    ResourceGroupId,
    Properties,
    "Microsoft.Resources/resourceGroups",
    "resourceGroup",
    |_group| NoMore {},
    |_| Ok(())
);

updatable!(ResourceGroup);
