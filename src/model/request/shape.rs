//! The shape of a body: which of its properties the model has.

use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat, Utc};
use serde_json::{Map, Value};

use crate::model::region::Region;

/// The properties of an object that the model has, by name.
pub(super) type Properties = &'static [(&'static str, Shape)];

/// The form of a property.
pub(super) enum Shape {
    /// Read by the model as it is.
    Whole,
    /// One of these words, in any case.
    Word(&'static [&'static str]),
    Date,
    /// Ignored in a request: the service sets it, or it is about the request alone.
    ReadOnly,
    Object(Properties),
    /// Objects, each known by the value of a property.
    List(&'static str, Properties),
}

/// A body, parted.
#[derive(Debug, PartialEq)]
pub(super) struct Parted {
    /// What the model has, in canonical form.
    pub(super) modelled: Value,
    /// The rest, as it came; an item of a list stands under its key.
    pub(super) kept: Map<String, Value>,
}

/// Parts an object. `null` is absent, and so is an object of the model without a property and a list without an item.
pub(super) fn part(properties: Properties, object: &Map<String, Value>) -> Parted {
    let (mut modelled, mut kept) = (Map::new(), Map::new());
    for (name, value) in object.iter().filter(|(_, value)| !value.is_null()) {
        let known = properties.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        let Some((name, shape)) = known else {
            kept.insert(name.clone(), value.clone());
            continue;
        };
        let (value, rest) = shape.part(value);
        let is_empty = match shape {
            Shape::Object(_) => value.as_object().is_some_and(Map::is_empty),
            Shape::List(..) => value.as_array().is_some_and(Vec::is_empty),
            _ => false,
        };
        if !matches!(shape, Shape::ReadOnly) && !is_empty {
            modelled.insert((*name).to_owned(), value);
        }
        if !rest.is_empty() {
            kept.insert((*name).to_owned(), Value::Object(rest));
        }
    }
    Parted { modelled: Value::Object(modelled), kept }
}

impl Shape {
    fn part(&self, value: &Value) -> (Value, Map<String, Value>) {
        let none = Map::new();
        match (self, value) {
            (Self::Word(words), Value::String(given)) => {
                let word = words.iter().find(|word| word.eq_ignore_ascii_case(given));
                (Value::String(word.map_or(given.as_str(), |word| word).to_owned()), none)
            }
            (Self::Date, Value::String(given)) => {
                let date = date(given).map(|date| date.to_rfc3339_opts(SecondsFormat::AutoSi, true));
                (Value::String(date.unwrap_or_else(|| given.clone())), none)
            }
            (Self::Object(properties), Value::Object(object)) => {
                let Parted { modelled, kept } = part(properties, object);
                (modelled, kept)
            }
            (Self::List(key, properties), Value::Array(items)) => {
                let (mut modelled, mut kept) = (Vec::new(), Map::new());
                for item in items {
                    let Value::Object(object) = item else {
                        modelled.push(item.clone());
                        continue;
                    };
                    let parted = part(properties, object);
                    if !parted.kept.is_empty() {
                        kept.insert(key_of(&parted.modelled, key), Value::Object(parted.kept));
                    }
                    modelled.push(parted.modelled);
                }
                (Value::Array(modelled), kept)
            }
            // What has another form than it should is told by the model.
            _ => (value.clone(), none),
        }
    }

    fn join(&self, value: &mut Value, kept: &Value) {
        match (self, value, kept) {
            (Self::Object(properties), Value::Object(object), Value::Object(kept)) => join(properties, object, kept),
            (Self::List(key, properties), Value::Array(items), Value::Object(kept)) => {
                for item in items {
                    let of_item = kept.get(&key_of(item, key));
                    if let (Value::Object(object), Some(Value::Object(kept))) = (item, of_item) {
                        join(properties, object, kept);
                    }
                }
            }
            _ => {}
        }
    }
}

/// Joins what was kept to an object of the model.
pub(super) fn join(properties: Properties, object: &mut Map<String, Value>, kept: &Map<String, Value>) {
    for (name, value) in kept {
        match properties.iter().find(|(known, _)| known == name) {
            Some((_, shape @ Shape::Object(_))) => {
                let there = object.entry(name.clone()).or_insert_with(|| Value::Object(Map::new()));
                shape.join(there, value);
            }
            Some((_, shape)) => object.get_mut(name).into_iter().for_each(|there| shape.join(there, value)),
            None => drop(object.entry(name.clone()).or_insert_with(|| value.clone())),
        }
    }
}

/// The key of an item of a list: a region has several spellings.
fn key_of(item: &Value, key: &str) -> String {
    match item.get(key) {
        Some(Value::String(text)) => text.parse::<Region>().map_or(text.clone(), |region| region.as_str().to_owned()),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

/// Reads a date: with time and zone, or a part of it. Without a zone it is UTC.
fn date(text: &str) -> Option<DateTime<Utc>> {
    let with_zone = DateTime::parse_from_rfc3339(text).ok().map(Into::into);
    let without = || ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S%.f"];
    let time = || without().iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok());
    let day = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0);
    with_zone.or_else(|| time().or_else(day).map(|date| date.and_utc()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const DISK: Properties = &[("lun", Shape::Whole), ("size", Shape::ReadOnly)];
    const PROPERTIES: Properties = &[
        ("osType", Shape::Word(&["Linux", "Windows"])),
        ("until", Shape::Date),
        ("disks", Shape::List("lun", DISK)),
        ("plan", Shape::Object(&[("name", Shape::Whole)])),
    ];

    #[test]
    fn a_body_is_parted_and_joined_again() {
        let given = json!({
            "OSTYPE": "linux", "until": "2030-01-01", "tier": [1], "gone": null, "plan": {"color": "red"},
            "disks": [{"lun": 1, "size": 7}, {"lun": 0, "cache": {"a": null}}],
        });
        let Parted { mut modelled, kept } = part(PROPERTIES, given.as_object().unwrap());
        let disks = json!([{"lun": 1}, {"lun": 0}]);
        assert_eq!(modelled, json!({"osType": "Linux", "until": "2030-01-01T00:00:00Z", "disks": disks}));
        let rest = json!({"tier": [1], "plan": {"color": "red"}, "disks": {"0": {"cache": {"a": null}}}});
        assert_eq!(Value::Object(kept.clone()), rest);
        join(PROPERTIES, modelled.as_object_mut().unwrap(), &kept);
        assert_eq!(modelled["plan"], json!({"color": "red"}));
        assert_eq!(modelled["disks"], json!([{"lun": 1}, {"lun": 0, "cache": {"a": null}}]));
    }

    #[test]
    fn dates_have_several_forms() {
        for text in ["2030-01-02", "2030-01-02T00:00:00", "2030-01-02T00:00", "2030-01-02T01:00:00+01:00"] {
            assert_eq!(date(text).unwrap().to_rfc3339(), "2030-01-02T00:00:00+00:00", "{text}");
        }
        assert_eq!(date("tomorrow"), None);
    }
}
