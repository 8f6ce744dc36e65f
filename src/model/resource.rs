//! The common part of all resources: Azure's envelope of id, location, tags and properties.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::body::{Fields, FromBody};
use super::region::Region;
use super::tags::Tags;
use crate::error::{Error, Result};

/// A resource as it is read.
#[derive(Deserialize)]
pub(super) struct Envelope<I, P> {
    pub(super) id: I,
    pub(super) location: Region,
    #[serde(default)]
    pub(super) tags: Tags,
    pub(super) properties: P,
}

/// A resource as it is written: in full, or for the log and checkpoints without the name and type, which follow from the id.
#[derive(Serialize)]
pub(super) struct Written<'a, I, P> {
    pub(super) id: &'a I,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<&'a str>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<&'static str>,
    pub(super) location: &'a Region,
    #[serde(skip_serializing_if = "Tags::is_empty")]
    pub(super) tags: &'a Tags,
    pub(super) properties: P,
}

/// The properties that were given, and those that the service adds.
#[derive(Serialize)]
pub(super) struct WrittenProperties<'a, P, R> {
    #[serde(flatten)]
    pub(super) given: &'a P,
    #[serde(flatten)]
    pub(super) read_only: R,
    #[serde(rename = "provisioningState")]
    pub(super) provisioning_state: &'static str,
}

/// The body of a request that creates a resource: all but its id, which is the request's address.
#[derive(Serialize)]
pub(super) struct Body<P> {
    pub(super) location: Region,
    #[serde(skip_serializing_if = "Tags::is_empty")]
    pub(super) tags: Tags,
    pub(super) properties: P,
}

impl<P: FromBody> FromBody for Body<P> {
    fn from_body(path: &str, value: &Value) -> Result<Self> {
        let mut fields = Fields::of(path, value)?;
        let (location, tags, properties) =
            (fields.required("location"), fields.default("tags"), fields.required("properties"));
        fields.end(location.zip(properties).map(|(location, properties)| Self { location, tags, properties }))
    }
}

/// Applies a JSON merge patch (RFC 7396): objects are merged, null removes, all else replaces.
pub(super) fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = Value::Object(serde_json::Map::new());
    }
    let Value::Object(into) = into else { return };
    for (name, value) in patch {
        if value.is_null() {
            into.remove(name);
        } else {
            merge(into.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Prepares a patch for merging. Tags that exist get the spelling that they have, so that none is merged beside itself. An
/// empty list of target regions is dropped (Azure: it keeps the regions).
pub(super) fn prepared(target: &str, patch: &Value, tags: &Tags) -> Result<Value> {
    let mut patch = patch.clone();
    if patch.pointer("/properties/restore").is_some_and(|restore| restore != &Value::Bool(false)) {
        let what = "restoring is an operation of its own: `Session::restore`";
        return Err(Error::invalid(format!("{target}.properties.restore"), what));
    }
    if let Some(Value::Object(profile)) = patch.pointer_mut("/properties/publishingProfile") {
        let is_empty = |regions: &Value| regions.as_array().is_some_and(Vec::is_empty) || regions.is_null();
        if profile.get("targetRegions").is_some_and(is_empty) {
            profile.remove("targetRegions");
        }
    }
    if let Some(Value::Object(changed)) = patch.get_mut("tags") {
        for (name, _) in tags.iter() {
            let given = changed.keys().find(|given| given.eq_ignore_ascii_case(name)).cloned();
            if let Some(value) = given.and_then(|given| changed.remove(&given)) {
                changed.insert(name.to_owned(), value);
            }
        }
    }
    Ok(patch)
}

/// The parts of a resource that are alike in all of them: id, location, tags, JSON, bodies.
///
/// A macro and not a generic `Resource<Id, Properties>`, so that each resource has one page with all its methods.
///
/// `$check` checks the rules that concern several properties.
macro_rules! resource {
    ($name:ident, $id:ty, $properties:ty, $kind:literal, $target:literal, |$this:ident| $read_only:expr, $check:expr) => {
        impl $name {
            /// The name of its kind in error messages.
            pub(crate) const TARGET: &'static str = $target;

            fn assemble(
                id: $id,
                location: $crate::model::region::Region,
                tags: $crate::model::tags::Tags,
                properties: $properties,
            ) -> $crate::error::Result<Self> {
                let resource = Self { id, location, tags, properties };
                let check: fn(&Self) -> $crate::error::Result<()> = $check;
                check(&resource)?;
                Ok(resource)
            }

            /// Returns the id.
            pub fn id(&self) -> &$id {
                &self.id
            }

            /// Returns the region that the resource is managed in.
            pub fn location(&self) -> &$crate::model::region::Region {
                &self.location
            }

            /// Returns the tags.
            pub fn tags(&self) -> &$crate::model::tags::Tags {
                &self.tags
            }

            /// Replaces the tags.
            #[must_use]
            pub fn with_tags(mut self, tags: $crate::model::tags::Tags) -> Self {
                self.tags = tags;
                self
            }

            /// Reads the body of Azure's PUT, which has no id.
            ///
            /// # Errors
            ///
            /// `Invalid`, with all problems, each with the path of its property.
            pub fn from_body(id: $id, body: &serde_json::Value) -> $crate::error::Result<Self> {
                use $crate::model::body::FromBody;
                use $crate::model::resource::Body;
                let Body { location, tags, properties } = Body::<$properties>::from_body(Self::TARGET, body)?;
                Self::assemble(id, location, tags, properties)
            }

            /// Writes it without the properties that follow from others: a third shorter, for the log and checkpoints.
            pub(crate) fn compact<S: serde::Serializer>(resource: &Self, serializer: S) -> Result<S::Ok, S::Error> {
                let Self { id, location, tags, properties } = resource;
                let (name, kind) = (None, None);
                let written = $crate::model::resource::Written { id, name, kind, location, tags, properties };
                serde::Serialize::serialize(&written, serializer)
            }

            /// Returns the body of the request that creates it.
            pub fn body(&self) -> serde_json::Value {
                let Self { location, tags, properties, .. } = self.clone();
                let body = $crate::model::resource::Body { location, tags, properties };
                serde_json::to_value(body).unwrap_or_default()
            }

            /// Returns the resource after Azure's PATCH: properties that the body leaves out stay as they are.
            ///
            /// # Errors
            ///
            /// `Invalid`, with all problems, each with the path of its property.
            pub fn patched(&self, patch: &serde_json::Value) -> $crate::error::Result<Self> {
                let mut body = self.body();
                let patch = $crate::model::resource::prepared(Self::TARGET, patch, &self.tags)?;
                $crate::model::resource::merge(&mut body, &patch);
                Self::from_body(self.id.clone(), &body)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let $this = self;
                let properties = $crate::model::resource::WrittenProperties {
                    given: &self.properties,
                    read_only: $read_only,
                    provisioning_state: "Succeeded",
                };
                let (id, location, tags) = (&self.id, &self.location, &self.tags);
                let name = self.id.to_string();
                let (name, kind) = (name.rsplit('/').next(), Some($kind));
                $crate::model::resource::Written { id, name, kind, location, tags, properties }.serialize(serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let $crate::model::resource::Envelope { id, location, tags, properties } =
                    $crate::model::resource::Envelope::<$id, $properties>::deserialize(deserializer)?;
                Self::assemble(id, location, tags, properties).map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(super) use resource;

/// A resource that can be updated.
macro_rules! updatable {
    ($name:ident) => {
        impl $name {
            /// Returns the resource with the spelling that names have in `before`, which it replaces: the first spelling stays.
            pub(crate) fn spelled_as(&self, before: &Self) -> Self {
                let (id, tags) = (before.id.clone(), self.tags.spelled_as(&before.tags));
                Self { id, tags, ..self.clone() }
            }
        }
    };
}
pub(super) use updatable;

/// No further properties.
#[derive(Serialize)]
pub(super) struct NoMore {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_merges_replaces_and_removes() {
        let mut body = json!({"a": {"b": 1, "c": 2}, "d": [1]});
        merge(&mut body, &json!({"a": {"b": null, "e": 3}, "d": [2], "f": {"g": 1}}));
        assert_eq!(body, json!({"a": {"c": 2, "e": 3}, "d": [2], "f": {"g": 1}}));
    }
}
