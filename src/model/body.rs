//! Reading the body of a request: all its problems at once, each with the path of its value.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::{Error, Problem, Result};

/// A value that can be read from a body.
pub(super) trait FromBody: Sized {
    /// Reads the value at `path`.
    fn from_body(path: &str, value: &Value) -> Result<Self>;
}

/// The properties of an object: a problem with one does not keep the others from being read.
pub(super) struct Fields<'a> {
    path: &'a str,
    object: &'a Map<String, Value>,
    problems: Vec<Problem>,
}

impl<'a> Fields<'a> {
    pub(super) fn of(path: &'a str, value: &'a Value) -> Result<Self> {
        match value {
            Value::Object(object) => Ok(Self { path, object, problems: Vec::new() }),
            other => Err(Error::invalid(path, format!("`{other}` is not an object: write an object"))),
        }
    }

    /// Reads a property that may be left out; `null` leaves it out, too.
    pub(super) fn optional<T: FromBody>(&mut self, name: &str) -> Option<T> {
        let value = self.object.get(name).filter(|value| !value.is_null())?;
        match T::from_body(&format!("{}.{name}", self.path), value) {
            Ok(value) => Some(value),
            Err(error) => {
                self.problems.extend(error.into_problems());
                None
            }
        }
    }

    /// Reads a property; notes a problem where it is left out or `null`.
    pub(super) fn required<T: FromBody>(&mut self, name: &str) -> Option<T> {
        if self.object.get(name).is_none_or(Value::is_null) {
            let target = format!("{}.{name}", self.path);
            let what = format!("Required parameter '{target}' is missing (null).");
            self.problems.push(Problem::invalid(target, what));
        }
        self.optional(name)
    }

    /// Reads a property with a default.
    pub(super) fn default<T: FromBody + Default>(&mut self, name: &str) -> T {
        self.optional(name).unwrap_or_default()
    }

    /// Notes further problems.
    pub(super) fn add(&mut self, problems: Vec<Problem>) {
        self.problems.extend(problems);
    }

    /// Returns `made`, or all problems.
    pub(super) fn end<T>(self, made: Option<T>) -> Result<T> {
        Error::from_problems(self.problems)?;
        made.ok_or_else(|| Error::invalid(self.path, "a property is missing"))
    }
}

/// Returns the same problems, each at `path`: of a value that does not know where it stands.
pub(super) fn located(error: Error, path: &str) -> Error {
    let problems = error.into_problems().into_iter().map(|problem| problem.at(path));
    // One error has at least one problem.
    Error::from_problems(problems.collect()).err().unwrap_or_else(|| Error::invalid(path, "the value is malformed"))
}

impl<T: FromBody> FromBody for Vec<T> {
    fn from_body(path: &str, value: &Value) -> Result<Self> {
        let Value::Array(values) = value else {
            return Err(Error::invalid(path, format!("`{value}` is not a list: write a list")));
        };
        let (mut items, mut problems) = (Self::new(), Vec::new());
        for (position, value) in values.iter().enumerate() {
            match T::from_body(&format!("{path}[{position}]"), value) {
                Ok(item) => items.push(item),
                Err(error) => problems.extend(error.into_problems()),
            }
        }
        Error::from_problems(problems)?;
        Ok(items)
    }
}

impl<T: FromBody> FromBody for Box<T> {
    fn from_body(path: &str, value: &Value) -> Result<Self> {
        T::from_body(path, value).map(Self::new)
    }
}

impl FromBody for DateTime<Utc> {
    fn from_body(path: &str, value: &Value) -> Result<Self> {
        let text = value.as_str();
        text.and_then(|text| DateTime::parse_from_rfc3339(text).ok()).map(Into::into).ok_or_else(|| {
            let shown = text.map_or_else(|| value.to_string(), |text| text.escape_debug().to_string());
            let below = path.split_once('.').map_or(path, |(_, below)| below);
            let what = format!("Could not convert string to DateTimeOffset: {shown}. Path '{below}'");
            let form = "write a date with time and zone, such as `2030-12-31T23:59:59Z`";
            Error::new(Problem::invalid(path, what).with_advice(form))
        })
    }
}

/// Reads a value by serde alone.
pub(super) fn plain<T: for<'de> Deserialize<'de>>(path: &str, value: &Value) -> Result<T> {
    T::deserialize(value).map_err(|error| Error::invalid(path, format!("`{value}` is malformed: {error}")))
}

/// Reads a text and parses it.
pub(super) fn text<T: std::str::FromStr<Err = Error>>(path: &str, value: &Value) -> Result<T> {
    plain::<String>(path, value)?.parse().map_err(|error| located(error, path))
}

/// Implements `FromBody` by one of the functions above.
macro_rules! from_body_by {
    ($how:ident: $($type:ty),* $(,)?) => {
        $(impl $crate::model::body::FromBody for $type {
            fn from_body(path: &str, value: &serde_json::Value) -> $crate::error::Result<Self> {
                $crate::model::body::$how(path, value)
            }
        })*
    };
}
pub(super) use from_body_by;

/// Implements `FromBody` for a struct, from how each of its fields is read and its name in JSON.
macro_rules! from_body {
    (@required $field:ident) => { $field? };
    (@optional $field:ident) => { $field };
    (@default $field:ident) => { $field };
    ($type:ident { $($how:ident $field:ident: $name:literal),* $(,)? }) => {
        impl $crate::model::body::FromBody for $type {
            fn from_body(path: &str, value: &serde_json::Value) -> $crate::error::Result<Self> {
                let mut fields = $crate::model::body::Fields::of(path, value)?;
                $(let $field = fields.$how($name);)*
                let made = || Some(Self { $($field: $crate::model::body::from_body!(@$how $field)),* });
                fields.end(made())
            }
        }
    };
}
pub(super) use from_body;

from_body_by!(plain: String, bool, u32, u64);
