//! Pages of lists.

use http::StatusCode;
use serde_json::{Value, json};

use super::answer::{Answer, Refusal};
use super::call::Call;
use super::inner::Settings;
use super::text::{base64_url, base64_url_decoded, percent_encoded};
use crate::model::VersionNumber;

/// The most that `$top` can ask for.
const MOST: usize = 1000;

/// Returns the key of a version: keys are in the order of numbers.
pub(super) fn key(number: &VersionNumber) -> String {
    format!("{:010}.{:010}.{:010}", number.major(), number.minor(), number.patch())
}

/// Which page of a list a request asks for.
#[derive(Debug)]
pub(super) struct Paging<'a> {
    call: &'a Call,
    /// The last key of the page before.
    after: Option<String>,
    limit: usize,
}

impl<'a> Paging<'a> {
    pub(super) fn of(call: &'a Call, settings: &Settings) -> Result<Self, Refusal> {
        let wrong =
            || Refusal::bad_request("InvalidSkipToken", "The skip token is invalid: ask for the first page again.");
        let read = |token: &str| base64_url_decoded(token).and_then(|bytes| String::from_utf8(bytes).ok());
        let token = call.parameter("$skiptoken");
        let after = token.map(|token| read(token).ok_or_else(wrong)).transpose()?;
        let top = call.parameter("$top").and_then(|top| top.parse().ok());
        Ok(Self { call, after, limit: top.unwrap_or(settings.page).clamp(1, MOST) })
    }

    pub(super) fn after(&self) -> Option<&str> {
        self.after.as_deref()
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Returns a page, with the address of the next one: that of the request, after `next`.
    pub(super) fn answer(&self, items: Vec<Value>, next: Option<String>) -> Answer {
        let Some(next) = next else { return Answer::list(items) };
        let kept = self.call.query().filter(|(name, _)| *name != "$skiptoken");
        let mut query: String = kept.map(|(name, value)| format!("{name}={}&", percent_encoded(value))).collect();
        query.push_str(&format!("$skiptoken={}", base64_url(next.as_bytes())));
        let path: String = self.call.segments.iter().map(|segment| format!("/{}", percent_encoded(segment))).collect();
        let next = format!("{}{path}?{query}", self.call.base);
        Answer::new(StatusCode::OK, json!({"value": items, "nextLink": next}))
    }

    /// Returns a page of a list that is at hand as a whole, in the order of its keys. A key is of one item alone, and stays with it: what
    /// comes or goes between two pages moves no other item.
    pub(super) fn of_all<T>(
        &self,
        items: impl IntoIterator<Item = (String, T)>,
        write: impl Fn(T) -> Result<Value, Refusal>,
    ) -> Result<Answer, Refusal> {
        let is_after = |key: &str| self.after.as_deref().is_none_or(|after| key > after);
        let mut left: Vec<(String, T)> = items.into_iter().filter(|(key, _)| is_after(key)).collect();
        left.sort_by(|(one, _), (other, _)| one.cmp(other));
        let next = left.get(self.limit - 1).map(|(last, _)| last.clone()).filter(|_| left.len() > self.limit);
        left.truncate(self.limit);
        let items = left.into_iter().map(|(_, item)| write(item)).collect::<Result<_, _>>()?;
        Ok(self.answer(items, next))
    }
}
