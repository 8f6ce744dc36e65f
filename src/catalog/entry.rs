//! An entry of the log: one commit.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::event::Event;
use crate::access::{Authorization, Caller};
use crate::catalog::frame;
use crate::content::digest::Digest;
use crate::error::Result;
use crate::store::BlobKey;

/// One line of the history.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Commit {
    /// The number of the log's entry; operations that were committed together share one.
    pub(crate) number: u64,
    /// When: later than the commit before it, whatever the clocks say.
    pub(crate) time: DateTime<Utc>,
    /// On whose behalf.
    pub(crate) caller: Caller,
    /// What allowed it.
    pub(crate) authorization: Option<Authorization>,
    /// What happened.
    pub(crate) event: Event,
}

/// What the writer of an entry draws to know its own again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Nonce(pub(super) crate::content::names::UploadId);

/// An entry of the log. Its writer has the changes encoded already.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry<C = EntryChange> {
    pub(super) format: u32,
    pub(super) number: u64,
    pub(super) nonce: Nonce,
    /// The hash of the entry before, which makes the log a chain.
    pub(super) previous: Digest,
    pub(super) time: DateTime<Utc>,
    pub(super) changes: Vec<C>,
}

/// What one operation changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EntryChange {
    pub(super) caller: Caller,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) authorization: Option<Authorization>,
    #[serde(with = "super::logged")]
    pub(super) events: Vec<Event>,
}

impl<C: Serialize> Entry<C> {
    pub(super) fn encode(&self) -> Result<(Digest, Bytes)> {
        frame::encode(self)
    }
}

impl Entry {
    pub(super) fn commits(self) -> impl Iterator<Item = Commit> {
        let (number, time) = (self.number, self.time);
        self.changes.into_iter().flat_map(move |EntryChange { caller, authorization, events }| {
            events.into_iter().map(move |event| {
                let (caller, authorization) = (caller.clone(), authorization.clone());
                Commit { number, time, caller, authorization, event }
            })
        })
    }
}

/// Where entry `number` lies.
pub(super) fn log_key(number: u64) -> Result<BlobKey> {
    format!("log/{number:020}").parse()
}

/// The number of the entry that lies at `key`, if that is one's place.
pub(super) fn log_number(key: &BlobKey) -> Option<u64> {
    let number = key.as_str().strip_prefix("log/")?.parse().ok()?;
    (log_key(number).ok()? == *key).then_some(number)
}
