//! The calls that a fault hits: by name, text, number, chance and time.

use std::ops::Range;

use chrono::{DateTime, Utc};

use super::seeded_entropy::SeededEntropy;

/// The calls of a store that can fail.
pub(super) const STORE_CALLS: &[&str] = &[
    "put",
    "put_parts",
    "get",
    "head",
    "delete",
    "list",
    "list_folders",
    "copy",
    "copy_from",
    "open_file",
    "persist",
    "replace_if",
    "delete_if",
];

/// The calls that a fault hits: all, or those to which each of its conditions applies.
///
/// | condition | the call |
/// |---|---|
/// | [`of`](Self::of) | is this operation |
/// | [`containing`](Self::containing) | has a key, or works on an id, with this text in it, without case |
/// | [`during`](Self::during) | is made from the first time on, and before the second |
/// | [`nth`](Self::nth), [`first`](Self::first), [`after`](Self::after) | has this number among those that meet the conditions above |
/// | [`with_chance`](Self::with_chance) | is hit by the dice, which a seed makes repeat |
///
/// ```
/// use compute_gallery::store::StoreErrorKind;
/// use compute_gallery::testkit::{Calls, Fault, Sandbox};
///
/// # futures::executor::block_on(async {
/// let sandbox = Sandbox::builder().seed(7).build().await?;
/// // Each tenth answer of East US is lost, and the service asks again.
/// sandbox.faults("eastus").on(Calls::all().with_chance(0.1), Fault::Before(StoreErrorKind::Unavailable));
/// sandbox.publish("1.0.0", vec![7; 4096]).await?;
/// assert_eq!(sandbox.deployed("1.0.0", "eastus").await?, [7; 4096]);
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
#[must_use = "calls are chosen for a fault or a refusal"]
pub struct Calls {
    operation: Option<String>,
    text: Option<String>,
    during: Option<Range<DateTime<Utc>>>,
    /// From 0.
    numbers: Range<u64>,
    chance: f64,
}

impl Calls {
    /// Every call.
    pub fn all() -> Self {
        Self { operation: None, text: None, during: None, numbers: 0..u64::MAX, chance: 1.0 }
    }

    /// The calls of one operation: a method of the store, such as `put`, or what the session is asked for, such as `publish`.
    pub fn of(operation: &str) -> Self {
        Self { operation: Some(operation.to_owned()), ..Self::all() }
    }

    /// Of these, those whose key or id has `text` in it. A deployment and the replication to a region have the id, ` in `, and the region.
    pub fn containing(self, text: &str) -> Self {
        Self { text: Some(text.to_lowercase()), ..self }
    }

    /// Of these, those in a span of time.
    pub fn during(self, times: Range<DateTime<Utc>>) -> Self {
        Self { during: Some(times), ..self }
    }

    /// Of these, the one with this number, counted from 1. 0 counts as 1.
    pub fn nth(self, number: u64) -> Self {
        let number = number.max(1);
        Self { numbers: number - 1..number, ..self }
    }

    /// Of these, the first `count`.
    pub fn first(self, count: u64) -> Self {
        Self { numbers: 0..count, ..self }
    }

    /// Of these, all after the first `count`.
    pub fn after(self, count: u64) -> Self {
        Self { numbers: count..u64::MAX, ..self }
    }

    /// Of these, each with this chance: from 0, never, to 1, always.
    pub fn with_chance(self, chance: f64) -> Self {
        Self { chance, ..self }
    }

    /// Ends a test that names an operation that is none.
    #[track_caller]
    #[expect(clippy::panic, reason = "it ends a test")]
    pub(super) fn check(&self, known: &[&str], whose: &str) {
        if let Some(operation) = self.operation.as_deref().filter(|operation| !known.contains(operation)) {
            panic!("`{operation}` is no operation of {whose}: name one of `{}`", known.join("`, `"));
        }
    }

    fn is_meant(&self, operation: &str, text: &str, now: DateTime<Utc>) -> bool {
        self.operation.as_deref().is_none_or(|meant| meant == operation)
            && self.text.as_deref().is_none_or(|part| text.to_lowercase().contains(part))
            && self.during.as_ref().is_none_or(|during| during.contains(&now))
    }
}

/// What happens to which calls.
#[derive(Debug)]
pub(super) struct Rules<T>(Vec<Rule<T>>);

#[derive(Debug)]
struct Rule<T> {
    calls: Calls,
    /// The calls so far that it is about, but for their number.
    met: u64,
    outcome: T,
}

impl<T> Default for Rules<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Clone> Rules<T> {
    pub(super) fn add(&mut self, calls: Calls, outcome: T) {
        self.0.push(Rule { calls, met: 0, outcome });
    }

    /// Returns what happens to a call: by the first rule that hits it.
    pub(super) fn hit(&mut self, operation: &str, text: &str, now: DateTime<Utc>, dice: &SeededEntropy) -> Option<T> {
        let mut hit = None;
        for rule in &mut self.0 {
            if !rule.calls.is_meant(operation, text, now) {
                continue;
            }
            let number = rule.met;
            rule.met += 1;
            let is_hit =
                rule.calls.numbers.contains(&number) && (rule.calls.chance >= 1.0 || thrown(dice) < rule.calls.chance);
            if is_hit && hit.is_none() {
                hit = Some(rule.outcome.clone());
            }
        }
        hit
    }

    /// The last time at which a rule begins or ends to hold.
    pub(super) fn last_change(&self) -> Option<DateTime<Utc>> {
        self.0.iter().filter_map(|rule| rule.calls.during.as_ref()).flat_map(|during| [during.start, during.end]).max()
    }
}

/// A number from 0 up to, and without, 1.
fn thrown(dice: &SeededEntropy) -> f64 {
    (dice.number() >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(calls: Calls, count: u64) -> Vec<u64> {
        let (mut rules, dice) = (Rules::default(), SeededEntropy::new(7));
        rules.add(calls, ());
        (1..=count).filter(|_| rules.hit("put", "packs/A", DateTime::UNIX_EPOCH, &dice).is_some()).collect()
    }

    #[test]
    fn numbers_count_the_calls_that_are_meant() {
        assert_eq!(hits(Calls::of("put").nth(3), 5), [3]);
        assert_eq!(hits(Calls::all().first(2), 5), [1, 2]);
        assert_eq!(hits(Calls::all().containing("PACKS/a").after(3), 5), [4, 5]);
        assert_eq!(hits(Calls::of("get"), 5), [0; 0]);
    }

    #[test]
    fn a_chance_is_about_kept_and_the_same_seed_hits_the_same_calls() {
        let some = hits(Calls::all().with_chance(0.25), 1_000);
        assert!((200..300).contains(&some.len()), "{}", some.len());
        assert_eq!(some, hits(Calls::all().with_chance(0.25), 1_000));
        assert_eq!(hits(Calls::all().with_chance(0.0), 1_000), [0; 0]);
    }

    #[test]
    fn a_span_of_time_has_its_begin_and_not_its_end() {
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap_or_default();
        let (mut rules, dice) = (Rules::default(), SeededEntropy::new(7));
        rules.add(Calls::all().during(at(10)..at(20)), ());
        let hit: Vec<i64> = (8..22).filter(|now| rules.hit("put", "", at(*now), &dice).is_some()).collect();
        assert_eq!(hit, (10..20).collect::<Vec<_>>());
        assert_eq!(rules.last_change(), Some(at(20)));
    }
}
