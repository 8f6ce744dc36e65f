//! Long-running operations: their records, kept in memory.
//!
//! An operation's work is done when its request is answered, so a record tells when Azure would say so: at the second poll, or
//! after the time of a poll.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU32;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use http::StatusCode;
use http::header::{HeaderName, LOCATION, RETRY_AFTER};
use serde_json::{Value, json};

use super::answer::{Answer, Answered, Refusal};
use super::call::Call;
use crate::access::Caller;
use crate::host::sync::Mutex;
use crate::service::change::Effect;

/// Records that are kept. The oldest makes room.
const KEPT: usize = 10_000;

/// What an operation does to its resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Create,
    Update,
    Delete,
    Share,
}

impl From<Effect> for Kind {
    fn from(effect: Effect) -> Self {
        if effect == Effect::Created { Self::Create } else { Self::Update }
    }
}

/// A record.
#[derive(Clone, Debug)]
struct Operation {
    kind: Kind,
    caller: Caller,
    started: DateTime<Utc>,
    /// In lower case.
    resource: String,
    /// What `monitor=true` answers in the end.
    result: Option<Value>,
    error: Option<Value>,
    is_asked: bool,
    ended: Option<DateTime<Utc>>,
}

/// The records of a face.
#[derive(Debug)]
pub(super) struct Operations {
    retry_after: Option<NonZeroU32>,
    records: Mutex<Records>,
}

#[derive(Debug, Default)]
struct Records {
    by_id: HashMap<String, Operation>,
    /// The newest operation of a resource.
    of_resource: HashMap<String, String>,
    order: VecDeque<String>,
}

/// An operation that begins.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) id: String,
    pub(super) kind: Kind,
    /// The id of the resource.
    pub(super) resource: String,
    pub(super) region: String,
    pub(super) result: Option<Value>,
    pub(super) error: Option<Refusal>,
}

impl Operations {
    pub(super) fn new(retry_after: Option<NonZeroU32>) -> Self {
        Self { retry_after, records: Mutex::new(Records::default()) }
    }

    /// Whether operations are done when they are answered.
    pub(super) fn is_instant(&self) -> bool {
        self.retry_after.is_none()
    }

    pub(super) fn clear(&self) {
        *self.records.lock() = Records::default();
    }

    /// Records an operation, and adds its headers to the answer that began it.
    pub(super) fn begin(&self, call: &Call, begun: Begun, now: DateTime<Utc>, answer: Answer) -> Answer {
        let Begun { id, kind, resource, region, result, error } = begun;
        let url = |monitor: &str| {
            let subscription = call.segment(1);
            let region = if region.is_empty() { "global" } else { &region };
            let path = format!("subscriptions/{subscription}/providers/Microsoft.Compute/locations/{region}");
            format!("{}/{path}/capsOperations/{id}?{monitor}api-version={}", call.base, call.api_version)
        };
        let (status, location) = (url(""), url("monitor=true&"));
        let key = resource.to_ascii_lowercase();
        let operation = Operation {
            kind,
            caller: call.session.caller().clone(),
            started: now,
            resource: key.clone(),
            result,
            error: error.as_ref().map(Refusal::error),
            is_asked: false,
            ended: None,
        };
        let mut records = self.records.lock();
        let records = &mut *records;
        records.by_id.insert(id.clone(), operation);
        records.of_resource.insert(key, id.clone());
        records.order.push_back(id);
        while records.order.len() > KEPT {
            let Some(oldest) = records.order.pop_front() else { break };
            let gone = records.by_id.remove(&oldest).map(|gone| gone.resource);
            if let Some(gone) = gone.filter(|gone| records.of_resource.get(gone) == Some(&oldest)) {
                records.of_resource.remove(&gone);
            }
        }
        let mut answer = answer
            .with(HeaderName::from_static("azure-asyncoperation"), status)
            .with(HeaderName::from_static("azure-asyncnotification"), "Enabled");
        if matches!(kind, Kind::Delete | Kind::Share) || answer.status == StatusCode::ACCEPTED {
            answer = answer.with(LOCATION, location);
        }
        self.delayed(answer)
    }

    /// Adds the time until the next poll.
    fn delayed(&self, answer: Answer) -> Answer {
        match self.retry_after {
            Some(seconds) => answer.with(RETRY_AFTER, seconds.to_string()),
            None => answer,
        }
    }

    /// Returns what goes on with a resource that is there. Asking counts as a poll.
    pub(super) fn going_on(&self, resource: &str, now: DateTime<Utc>) -> Option<Kind> {
        self.retry_after?;
        let mut records = self.records.lock();
        let id = records.of_resource.get(&resource.to_ascii_lowercase())?.clone();
        let operation = records.by_id.get_mut(&id)?;
        // A failure is told by the service.
        let is_told = operation.error.is_some() || operation.kind == Kind::Delete;
        (!self.is_done(operation, now) && !is_told).then_some(operation.kind)
    }

    /// Returns what the newest operation on a resource fails with.
    pub(super) fn failure(&self, resource: &str) -> Option<Value> {
        let records = self.records.lock();
        records.by_id.get(records.of_resource.get(&resource.to_ascii_lowercase())?)?.error.clone()
    }

    /// Whether an operation is done. The first to ask is told no.
    fn is_done(&self, operation: &mut Operation, now: DateTime<Utc>) -> bool {
        let Some(seconds) = self.retry_after else { return true };
        if operation.ended.is_some() {
            return true;
        }
        let time = TimeDelta::seconds(i64::from(seconds.get()));
        if !operation.is_asked && now - operation.started < time {
            operation.is_asked = true;
            return false;
        }
        operation.ended = Some(now);
        true
    }

    /// Answers a poll.
    pub(super) fn poll(&self, call: &Call, id: &str, now: DateTime<Utc>) -> Answered {
        let mut records = self.records.lock();
        let unknown = || {
            let what = format!("The entity was not found: no operation '{}' is known here.", id.escape_debug());
            Refusal::not_found("NotFound", what)
        };
        let operation = records.by_id.get_mut(&id.to_ascii_lowercase()).ok_or_else(unknown)?;
        if operation.caller != *call.session.caller() {
            return Err(unknown());
        }
        let is_done = self.is_done(operation, now);
        if call.asks_for("monitor", "true") {
            return match (is_done, &operation.error, &operation.result) {
                (false, ..) => {
                    let here = format!("{}{}?monitor=true&api-version={}", call.base, call.path(), call.api_version);
                    Ok(self.delayed(Answer::empty(StatusCode::ACCEPTED).with(LOCATION, here)))
                }
                (true, Some(error), _) => Ok(Answer::new(StatusCode::CONFLICT, json!({"error": error}))),
                (true, None, Some(result)) => Ok(Answer::ok(result.clone())),
                (true, None, None) => Ok(Answer::empty(StatusCode::NO_CONTENT)),
            };
        }
        let written = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Micros, false);
        let started = written(operation.started);
        if !is_done {
            return Ok(self.delayed(Answer::ok(json!({"startTime": started, "status": "InProgress", "name": id}))));
        }
        let ended = written(operation.ended.unwrap_or(now));
        Ok(Answer::ok(match &operation.error {
            None => json!({"startTime": started, "endTime": ended, "status": "Succeeded", "name": id}),
            Some(error) => {
                json!({"startTime": started, "endTime": ended, "status": "Failed", "name": id, "error": error})
            }
        }))
    }
}
