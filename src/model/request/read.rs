//! Reading a request for a resource that is there already, or not.

use serde_json::{Map, Value, json};

use super::request_body::Request;
use super::shape::{Parted, Properties, join, part};
use super::shapes;
use crate::error::{Error, Result};
use crate::model::gallery::Gallery;
use crate::model::image_definition::ImageDefinition;
use crate::model::image_version::ImageVersion;
use crate::model::named_source::NamedSource;
use crate::model::resource::{merge, prepared};
use crate::model::resource_group::ResourceGroup;
use crate::model::resource_id::ResourceId;
use crate::model::tags::Tags;

/// A resource that a request can be read for.
pub(crate) trait Readable: Sized {
    type Id: Clone;

    #[doc(hidden)]
    const SHAPE: Shaped;

    /// The name of its kind in error messages.
    const KIND: &'static str;

    /// What a PUT may leave out: it cannot be changed or unset, and stays.
    const STAYS: &'static [&'static str];

    fn from_strict(id: Self::Id, body: &Value) -> Result<Self>;

    fn strict(&self) -> Value;

    fn tags(&self) -> &Tags;

    /// Fills in the strict body of a request.
    fn complete(_: &mut Value, _: Option<&Self>) -> Result<()> {
        Ok(())
    }

    /// Brings a body of an older api-version into the form of the newer ones.
    fn renew(_: &mut Value) -> Result<()> {
        Ok(())
    }
}

/// The shape of a resource's body.
pub(crate) struct Shaped(pub(super) Properties);

/// What a request asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Requested<T> {
    pub(crate) resource: T,
    /// The properties that the model does not have, as JSON; empty where there is none.
    pub(crate) unmodelled: String,
}

impl Request {
    /// Returns whether a property of the body is `true`: one that is about the request alone.
    pub(crate) fn asks_for(&self, name: &str) -> bool {
        self.body.get("properties").and_then(|properties| properties.get(name)) == Some(&Value::Bool(true))
    }

    /// Reads the request, for a resource that is `there` with properties that the model does not have.
    pub(crate) fn read<T: Readable>(&self, id: T::Id, there: Option<(&T, Option<&str>)>) -> Result<Requested<T>> {
        let Parted { mut modelled, kept } = self.parted(there)?;
        let completed = T::complete(&mut modelled, there.map(|(resource, _)| resource));
        let read = T::from_strict(id, &modelled);
        let problems = [completed.err(), read.as_ref().err().cloned()];
        Error::from_problems(problems.into_iter().flatten().flat_map(Error::into_problems).collect())?;
        let resource = read?;
        let unmodelled = if kept.is_empty() { String::new() } else { Value::Object(kept).to_string() };
        Ok(Requested { resource, unmodelled })
    }

    /// Parts the body that the resource is to have.
    fn parted<T: Readable>(&self, there: Option<(&T, Option<&str>)>) -> Result<Parted> {
        let Value::Object(given) = &self.body else {
            return Err(Error::invalid(T::KIND, format!("`{}` is not an object: write an object", self.body)));
        };
        let Shaped(shape) = T::SHAPE;
        let before = there.map(|(resource, unmodelled)| (resource.strict(), parsed(unmodelled)));
        let mut body = Value::Object(given.clone());
        T::renew(&mut body)?;
        if let (true, Some((resource, _)), Some((strict, kept))) = (self.is_patch, there, &before) {
            if let Some(Value::Object(properties)) = body.get_mut("properties") {
                properties.remove("restore");
            }
            let patch = prepared(T::KIND, &canonical_names(shape, &body), resource.tags())?;
            body = strict.clone();
            if let Value::Object(body) = &mut body {
                join(shape, body, kept);
            }
            merge(&mut body, &patch);
        }
        let object = body.as_object().cloned().unwrap_or_default();
        let Parted { mut modelled, mut kept } = part(shape, &object);
        if let Value::Object(modelled) = &mut modelled {
            modelled.entry("properties").or_insert_with(|| json!({}));
        }
        if let (false, Some((strict, kept_before))) = (self.is_patch, &before) {
            for path in T::STAYS {
                keep(&mut modelled, strict, path);
                if modelled.pointer(path) == strict.pointer(path) {
                    keep_below(&mut kept, kept_before, path);
                }
            }
        }
        Ok(Parted { modelled, kept })
    }
}

/// Reads what was kept.
pub(super) fn parsed(unmodelled: Option<&str>) -> Map<String, Value> {
    unmodelled.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// A patch with the names that the model has, so that none is merged beside itself; `null` stays, as it removes.
fn canonical_names(shape: Properties, patch: &Value) -> Value {
    use super::shape::Shape;
    let Value::Object(patch) = patch else { return patch.clone() };
    let named = patch.iter().map(|(name, value)| {
        let known = shape.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        match known {
            Some((known, Shape::Object(below))) => ((*known).to_owned(), canonical_names(below, value)),
            Some((known, _)) => ((*known).to_owned(), value.clone()),
            None => (name.clone(), value.clone()),
        }
    });
    Value::Object(named.collect())
}

/// Copies the value at `path` from `before`, where `body` has none.
fn keep(body: &mut Value, before: &Value, path: &str) {
    let Some(value) = before.pointer(path).filter(|_| body.pointer(path).is_none()) else { return };
    let mut at = body;
    for name in path.split('/').skip(1) {
        if !at.is_object() {
            *at = json!({});
        }
        let Value::Object(object) = at else { return };
        at = object.entry(name.to_owned()).or_insert(Value::Null);
    }
    *at = value.clone();
}

/// Copies what was kept at `path`, where nothing is.
fn keep_below(kept: &mut Map<String, Value>, before: &Map<String, Value>, path: &str) {
    let (mut body, before) = (Value::Object(std::mem::take(kept)), Value::Object(before.clone()));
    keep(&mut body, &before, path);
    if let Value::Object(body) = body {
        *kept = body;
    }
}

/// Implements `Readable` by the strict model.
macro_rules! readable {
    ($type:ident, $id:ty, $shape:expr, $stays:expr $(, $more:item)* $(,)?) => {
        impl Readable for $type {
            type Id = $id;

            const SHAPE: Shaped = Shaped($shape);

            const KIND: &'static str = $type::TARGET;

            const STAYS: &'static [&'static str] = $stays;

            fn from_strict(id: Self::Id, body: &Value) -> Result<Self> {
                $type::from_body(id, body)
            }

            fn strict(&self) -> Value {
                self.body()
            }

            fn tags(&self) -> &Tags {
                $type::tags(self)
            }

            $($more)*
        }
    };
}

readable!(
    Gallery,
    crate::model::resource_id::GalleryId,
    shapes::GALLERY,
    &["/properties/sharingProfile", "/properties/softDeletePolicy"]
);

impl Readable for NamedSource {
    type Id = ResourceId;

    const SHAPE: Shaped = Shaped(shapes::NAMED_SOURCE);

    const KIND: &'static str = "resource";

    const STAYS: &'static [&'static str] = &[];

    fn from_strict(id: ResourceId, body: &Value) -> Result<Self> {
        let kind = Self::target(&id);
        Self::from_canonical(id, kind, body)
    }

    fn strict(&self) -> Value {
        self.body()
    }

    fn tags(&self) -> &Tags {
        Self::tags(self)
    }
}

impl Request {
    /// Reads the request for a source by name, which keeps all that the body has.
    pub(crate) fn read_named(&self, id: ResourceId, there: Option<&NamedSource>) -> Result<NamedSource> {
        let Parted { modelled: mut body, kept } = self.parted(there.map(|there| (there, None)))?;
        if let Value::Object(body) = &mut body {
            join(shapes::NAMED_SOURCE, body, &kept);
        }
        NamedSource::from_strict(id, &body)
    }
}

readable!(ResourceGroup, crate::model::resource_group::ResourceGroupId, shapes::RESOURCE_GROUP, &[]);

readable!(
    ImageDefinition,
    crate::model::resource_id::ImageDefinitionId,
    shapes::IMAGE_DEFINITION,
    &[
        "/properties/osType",
        "/properties/osState",
        "/properties/hyperVGeneration",
        "/properties/architecture",
        "/properties/identifier",
        "/properties/eula",
        "/properties/privacyStatementUri",
        "/properties/endOfLifeDate",
        "/properties/purchasePlan",
        "/properties/features",
    ]
);

readable!(
    ImageVersion,
    crate::model::resource_id::ImageVersionId,
    shapes::IMAGE_VERSION,
    &[
        "/properties/publishingProfile/targetRegions",
        "/properties/publishingProfile/storageAccountType",
        "/properties/publishingProfile/replicationMode",
        "/properties/publishingProfile/endOfLifeDate",
        "/properties/safetyProfile",
        "/properties/securityProfile",
    ],
    fn complete(body: &mut Value, there: Option<&Self>) -> Result<()> {
        super::version::complete(body, there)
    },
    fn renew(body: &mut Value) -> Result<()> {
        super::version::renew(body)
    },
);
