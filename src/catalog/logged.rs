//! Events as an entry has them: one that this build does not know is kept as it came if it says that it may be skipped, and
//! refused otherwise.

use serde::de::Error as _;
use serde::ser::{Error as _, SerializeSeq};
use serde::{Deserialize, Deserializer, Serializer};
use serde_json::value::RawValue;

use super::event::{Event, Newer};
use super::features::newer;

#[derive(Deserialize)]
struct Unknown {
    event: String,
    #[serde(default)]
    ignorable: bool,
    #[serde(default)]
    needs: Option<String>,
}

pub(super) fn serialize<S: Serializer>(events: &[Event], serializer: S) -> Result<S::Ok, S::Error> {
    let mut list = serializer.serialize_seq(Some(events.len()))?;
    for event in events {
        match event {
            Event::Newer(Newer(text)) => {
                list.serialize_element(&serde_json::from_str::<&RawValue>(text).map_err(S::Error::custom)?)?;
            }
            known => list.serialize_element(known)?,
        }
    }
    list.end()
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Event>, D::Error> {
    let events: Vec<&RawValue> = Vec::deserialize(deserializer)?;
    let read = |event: &RawValue| match serde_json::from_str(event.get()) {
        Ok(known) => Ok(known),
        Err(error) => match serde_json::from_str(event.get()) {
            Ok(Unknown { ignorable: true, .. }) => Ok(Event::Newer(Newer(event.get().into()))),
            Ok(Unknown { event, needs, .. }) => {
                Err(D::Error::custom(format!("event `{event}`: {error}: {}", newer(needs.as_deref()))))
            }
            Err(_) => Err(D::Error::custom(error)),
        },
    };
    events.into_iter().map(read).collect()
}
