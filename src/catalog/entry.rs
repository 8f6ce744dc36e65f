//! An entry of the log: one commit.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::event::Event;
use super::frame;
use crate::error::{Error, Result};
use crate::image::Digest;
use crate::store::BlobKey;

/// The format of entries and checkpoints that this build writes, and the only one that it reads.
pub(super) const FORMAT: u32 = 1;

/// On whose behalf something is done: a name of 1 to 256 printable characters, kept in the history.
///
/// ```
/// use compute_gallery::Caller;
///
/// assert_eq!("nightly build".parse::<Caller>()?.as_str(), "nightly build");
/// assert!("".parse::<Caller>().is_err());
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Caller(Arc<str>);

impl Caller {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Caller {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        if name.is_empty() || name.chars().count() > 256 || name.chars().any(char::is_control) {
            let rule = "a caller's name has 1 to 256 characters, none of them a control character";
            return Err(Error::invalid("caller", format!("`{}`: {rule}", name.escape_debug())));
        }
        Ok(Self(name.into()))
    }
}

impl TryFrom<String> for Caller {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        name.parse()
    }
}

impl From<Caller> for String {
    fn from(caller: Caller) -> Self {
        caller.as_str().to_owned()
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One line of the history.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Commit {
    /// The number of the log's entry; operations that were committed together share one.
    pub number: u64,
    /// When: later than the commit before it, whatever the clocks say.
    pub time: DateTime<Utc>,
    /// On whose behalf.
    pub caller: Caller,
    /// What happened.
    pub event: Event,
}

/// What the writer of an entry draws to know its own again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Nonce(pub(super) crate::image::UploadId);

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    pub(super) format: u32,
    pub(super) number: u64,
    pub(super) nonce: Nonce,
    /// The hash of the entry before, which makes the log a chain.
    pub(super) previous: Digest,
    pub(super) time: DateTime<Utc>,
    pub(super) changes: Vec<Change>,
}

/// What one operation changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Change {
    pub(super) caller: Caller,
    pub(super) events: Vec<Event>,
}

impl Entry {
    pub(super) fn encode(&self) -> Result<(Digest, Bytes)> {
        frame::encode(self)
    }

    pub(super) fn decode(bytes: &[u8], key: &BlobKey) -> Result<(Digest, Self)> {
        let (digest, entry): (_, Self) = frame::decode(bytes, key)?;
        if entry.format != FORMAT {
            let what = format!("it has format `{}`, this build reads `{FORMAT}`: use a newer build", entry.format);
            return Err(Error::corrupt(format!("catalog blob {key}"), what));
        }
        Ok((digest, entry))
    }

    pub(super) fn commits(self) -> impl Iterator<Item = Commit> {
        let (number, time) = (self.number, self.time);
        self.changes.into_iter().flat_map(move |Change { caller, events }| {
            events.into_iter().map(move |event| Commit { number, time, caller: caller.clone(), event })
        })
    }
}

/// Where entry `number` lies.
pub(super) fn log_key(number: u64) -> Result<BlobKey> {
    format!("log/{number:020}").parse()
}
