//! Values that many records have in common: the ids of galleries and definitions, regions.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// An immutable value behind one pointer. Clones share it, and are equal without a look at it.
pub(super) struct Shared<T>(Arc<T>);

impl<T> Shared<T> {
    pub(super) fn new(value: T) -> Self {
        Self(Arc::new(value))
    }

    /// Returns whether both are one value in memory.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Eq> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other) || **self == **other
    }
}

impl<T: Eq> Eq for Shared<T> {}

impl<T: Ord> Ord for Shared<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        if self.is_same(other) { Ordering::Equal } else { (**self).cmp(&**other) }
    }
}

impl<T: Ord> PartialOrd for Shared<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Hash> Hash for Shared<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// A value that can be spelled in several ways, such as an id, which is compared without case.
pub(super) trait Spelled: Clone {
    /// Returns whether both are equal and written alike.
    fn is_spelled_as(&self, other: &Self) -> bool;

    /// Takes the memory of `other`, if it says the same.
    fn share(&mut self, other: &Self) {
        if self.is_spelled_as(other) {
            self.clone_from(other);
        }
    }
}

impl<T: Spelled> Spelled for Option<T> {
    fn is_spelled_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Some(one), Some(other)) => one.is_spelled_as(other),
            (None, None) => true,
            _ => false,
        }
    }
}
