//! Long-running operations, as clients poll them.
//!
//! An operation is the catalog's: whatever process answers, and after a restart, it is as the catalog says. A face adds a pace: of what
//! it began itself, it says at the first poll that it is in progress, as Azure would; and the operations of deployments, which no
//! catalog knows.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU32;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use http::StatusCode;
use http::header::{HeaderName, LOCATION, RETRY_AFTER};
use serde_json::{Value, json};

use super::answer::{Answer, Answered, Refusal};
use super::call::Call;
use crate::access::Caller;
use crate::error::ErrorKind;
use crate::host::sync::Mutex;
use crate::service::change::Effect;
use crate::service::read::{Operation, OperationId, OperationStatus};

/// Operations whose pace is kept. The oldest makes room.
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

/// The pace of an operation.
#[derive(Clone, Debug)]
struct Paced {
    kind: Kind,
    started: DateTime<Utc>,
    /// In lower case.
    resource: String,
    is_asked: bool,
    ended: Option<DateTime<Utc>>,
    own: Option<Own>,
}

/// An operation of the face's own: a deployment's.
#[derive(Clone, Debug)]
pub(super) struct Own {
    pub(super) caller: Caller,
    /// What `monitor=true` answers in the end.
    pub(super) result: Value,
    pub(super) error: Option<Value>,
}

/// The operations of a face.
#[derive(Debug)]
pub(super) struct Operations {
    retry_after: Option<NonZeroU32>,
    records: Mutex<Records>,
}

#[derive(Debug, Default)]
struct Records {
    by_id: HashMap<String, Paced>,
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
    pub(super) own: Option<Own>,
}

/// How far an operation is.
enum Poll {
    InProgress { started: DateTime<Utc>, percent: Option<u8> },
    Ended { started: DateTime<Utc>, ended: DateTime<Utc>, status: OperationStatus, error: Option<Value> },
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

    /// Notes the pace of an operation, and adds its headers to the answer that began it.
    pub(super) fn begin(&self, call: &Call, begun: Begun, now: DateTime<Utc>, answer: Answer) -> Answer {
        let Begun { id, kind, resource, region, own } = begun;
        let url = |monitor: &str| {
            let subscription = call.segment(1);
            let region = if region.is_empty() { "global" } else { &region };
            let path = format!("subscriptions/{subscription}/providers/Microsoft.Compute/locations/{region}");
            format!("{}/{path}/capsOperations/{id}?{monitor}api-version={}", call.base, call.api_version)
        };
        let (status, location) = (url(""), url("monitor=true&"));
        let key = resource.to_ascii_lowercase();
        let paced = Paced { kind, started: now, resource: key.clone(), is_asked: false, ended: None, own };
        let mut records = self.records.lock();
        let records = &mut *records;
        records.by_id.insert(id.clone(), paced);
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

    /// Returns what goes on with a resource that is there, by the pace. Asking counts as a poll.
    pub(super) fn going_on(&self, resource: &str, now: DateTime<Utc>) -> Option<Kind> {
        self.retry_after?;
        let mut records = self.records.lock();
        let id = records.of_resource.get(&resource.to_ascii_lowercase())?.clone();
        let operation = records.by_id.get_mut(&id)?;
        let is_done = self.is_done(operation, now);
        // That it is deleted, the service tells.
        (!is_done && operation.kind != Kind::Delete).then_some(operation.kind)
    }

    /// Whether the pace of an operation is over. The first to ask is told no.
    fn is_done(&self, operation: &mut Paced, now: DateTime<Utc>) -> bool {
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

    /// Answers a poll. `monitor=true` asks for what is there in the end, which `result` returns for an operation of the catalog.
    pub(super) async fn poll(
        &self,
        call: &Call,
        id: &str,
        now: DateTime<Utc>,
        result: impl AsyncFnOnce(&Operation) -> Answered,
    ) -> Answered {
        let unknown = || {
            let what = format!("The entity was not found: no operation '{}' is known here.", id.escape_debug());
            Refusal::not_found("NotFound", what)
        };
        let view = call.session.refresh().await?;
        let known = match id.parse::<OperationId>().map(|id| view.operation(id)) {
            Ok(Ok(operation)) => Some(operation),
            Ok(Err(error)) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => None,
        };
        let (is_done, own) = {
            let mut records = self.records.lock();
            let paced = records.by_id.get_mut(&id.to_ascii_lowercase());
            let own = paced.as_ref().and_then(|paced| paced.own.clone().map(|own| (own, paced.started)));
            (paced.is_none_or(|paced| self.is_done(paced, now)), own)
        };
        let poll = match (&known, &own) {
            (Some(operation), _) => {
                let (started, percent) = (operation.start_time, Some(operation.percent));
                match operation.end_time.filter(|_| is_done) {
                    Some(ended) => {
                        let error = operation.error.as_ref().map(|error| told(&error.code, &error.message));
                        Poll::Ended { started, ended, status: operation.status, error }
                    }
                    None => Poll::InProgress { started, percent: percent.filter(|_| operation.end_time.is_none()) },
                }
            }
            (None, Some((own, started))) if own.caller == *call.session.caller() => match is_done {
                true => {
                    let (started, error) = (*started, own.error.clone());
                    let status = if error.is_some() { OperationStatus::Failed } else { OperationStatus::Succeeded };
                    Poll::Ended { started, ended: now, status, error }
                }
                false => Poll::InProgress { started: *started, percent: None },
            },
            _ => return Err(unknown()),
        };
        let is_monitor = call.asks_for("monitor", "true");
        let written = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Micros, false);
        match poll {
            Poll::InProgress { .. } if is_monitor => {
                let here =
                    format!("{}{}?monitor=true&api-version={}", call.base, call.segments.from(0), call.api_version);
                Ok(self.delayed(Answer::empty(StatusCode::ACCEPTED).with(LOCATION, here)))
            }
            Poll::InProgress { started, percent } => {
                let mut body = json!({"startTime": written(started), "status": "InProgress", "name": id});
                if let (Some(percent), Value::Object(body)) = (percent, &mut body) {
                    body.insert("percentComplete".into(), json!(percent));
                }
                Ok(self.delayed(Answer::ok(body)))
            }
            Poll::Ended { error: Some(error), .. } if is_monitor => {
                Ok(Answer::new(StatusCode::CONFLICT, json!({"error": error})))
            }
            Poll::Ended { .. } if is_monitor => match (&known, own) {
                (Some(operation), _) => result(operation).await,
                (None, Some((own, _))) => Ok(Answer::ok(own.result)),
                (None, None) => Err(unknown()),
            },
            Poll::Ended { started, ended, status, error } => {
                let (started, ended, status) = (written(started), written(ended), status.to_string());
                let mut body = json!({"startTime": started, "endTime": ended, "status": status, "name": id});
                if let (Some(error), Value::Object(body)) = (error, &mut body) {
                    body.insert("error".into(), error);
                }
                Ok(Answer::ok(body))
            }
        }
    }
}

/// Returns an error of the catalog as Azure writes it: the catalog puts its target first.
pub(super) fn told(code: &str, reason: &str) -> Value {
    let parted = reason.strip_prefix('`').and_then(|rest| rest.split_once("`: "));
    match parted {
        Some((target, message)) => json!({"code": code, "message": message, "target": target}),
        None => json!({"code": code, "message": reason}),
    }
}
