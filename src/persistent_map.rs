//! A persistent ordered map: a B-tree whose clones share their nodes.
//!
//! A clone copies one pointer; a change copies the nodes on one path, except those that no clone shares. So each state of the
//! catalog is a value of its own, and the next state costs O(log n). Decision 18 says why no crate is used for it.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

/// The most entries or children of a node. A copy of a node counts one more owner of each of its children: half as many cost
/// fewer misses of the processor's cache in a large map, and a quarter as many more depth.
const MOST: usize = 16;

/// A node with fewer entries is merged with a neighbour, if both fit into one node and leave room.
const FEW: usize = MOST / 4;

/// An ordered map whose clones share their nodes.
pub(crate) struct PersistentMap<K, V> {
    root: Option<Arc<Node<K, V>>>,
    len: usize,
}

#[derive(Clone)]
enum Node<K, V> {
    Leaf(Vec<(K, V)>),
    /// Each child with its smallest key.
    Inner(Vec<(K, Arc<Node<K, V>>)>),
}

impl<K, V> Clone for PersistentMap<K, V> {
    fn clone(&self) -> Self {
        Self { root: self.root.clone(), len: self.len }
    }
}

impl<K, V> Default for PersistentMap<K, V> {
    fn default() -> Self {
        Self { root: None, len: 0 }
    }
}

impl<K: std::fmt::Debug, V: std::fmt::Debug> std::fmt::Debug for PersistentMap<K, V>
where
    K: Ord,
{
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// The position of `key` among `items`, or where it would be.
fn position<K: Borrow<Q>, Q: Ord + ?Sized, T>(items: &[(K, T)], key: &Q) -> Result<usize, usize> {
    items.binary_search_by(|(there, _)| there.borrow().cmp(key))
}

/// The child whose keys `key` belongs to: the last one that does not begin after it, else the first.
fn child_of<K: Borrow<Q>, Q: Ord + ?Sized, T>(items: &[(K, T)], key: &Q) -> usize {
    position(items, key).unwrap_or_else(|after| after.saturating_sub(1))
}

/// Inserts with room for what is there and no more: most nodes stay as they are for long.
fn insert_at<T>(items: &mut Vec<T>, at: usize, item: T) {
    items.reserve_exact(1);
    items.insert(at, item);
}

/// Parts an overfull list. A list that has just grown at its end keeps all but that: maps that are filled in order are dense.
fn part<T>(items: &mut Vec<T>, grown_at: usize) -> Option<Vec<T>> {
    if items.len() <= MOST {
        return None;
    }
    let at = if grown_at + 1 == items.len() { items.len() - 1 } else { items.len() / 2 };
    let rest = items.split_off(at);
    items.shrink_to_fit();
    Some(rest)
}

impl<K: Ord + Clone, V: Clone> Node<K, V> {
    fn len(&self) -> usize {
        match self {
            Self::Leaf(entries) => entries.len(),
            Self::Inner(children) => children.len(),
        }
    }

    fn first_key(&self) -> Option<&K> {
        match self {
            Self::Leaf(entries) => entries.first().map(|(key, _)| key),
            Self::Inner(children) => children.first().map(|(key, _)| key),
        }
    }

    /// Inserts, and returns the value that was there, and the node that was parted from this one.
    fn insert(&mut self, key: K, value: V) -> (Option<V>, Option<Self>) {
        match self {
            Self::Leaf(entries) => match position(entries, &key) {
                Ok(at) => (entries.get_mut(at).map(|(_, there)| std::mem::replace(there, value)), None),
                Err(at) => {
                    insert_at(entries, at, (key, value));
                    (None, part(entries, at).map(Self::Leaf))
                }
            },
            Self::Inner(children) => {
                let at = child_of(children, &key);
                let Some((first, child)) = children.get_mut(at) else { return (None, None) };
                if key < *first {
                    first.clone_from(&key);
                }
                let (there, parted) = Arc::make_mut(child).insert(key, value);
                let parted = parted.and_then(|node| {
                    let first = node.first_key()?.clone();
                    insert_at(children, at + 1, (first, Arc::new(node)));
                    part(children, at + 1).map(Self::Inner)
                });
                (there, parted)
            }
        }
    }

    fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        match self {
            Self::Leaf(entries) => {
                let at = position(entries, key).ok()?;
                Some(entries.remove(at).1)
            }
            Self::Inner(children) => {
                let at = child_of(children, key);
                let (first, child) = children.get_mut(at)?;
                let removed = Arc::make_mut(child).remove(key)?;
                match child.first_key() {
                    Some(now) => {
                        first.clone_from(now);
                        let is_small = child.len() < FEW;
                        if is_small {
                            Self::merge(children, at);
                        }
                    }
                    None => drop(children.remove(at)),
                }
                Some(removed)
            }
        }
    }

    /// Appends the leaves below and including a node, each with its smallest key.
    fn leaves(self: Arc<Self>, leaves: &mut Vec<(K, Arc<Self>)>) {
        match &*self {
            Self::Leaf(entries) => leaves.extend(entries.first().map(|(key, _)| (key.clone(), self.clone()))),
            Self::Inner(children) => children.iter().for_each(|(_, child)| child.clone().leaves(leaves)),
        }
    }

    /// Merges a small child with its smaller neighbour.
    fn merge(children: &mut Vec<(K, Arc<Self>)>, at: usize) {
        let size = |at: Option<usize>| at.and_then(|at| Some((children.get(at)?.1.len(), at)));
        let neighbour = [at.checked_sub(1), Some(at + 1)].into_iter().filter_map(size).min();
        let Some((_, other)) = neighbour else { return };
        let (left, right) = (at.min(other), at.max(other));
        let sizes = [left, right].map(|at| children.get(at).map_or(MOST, |(_, child)| child.len()));
        if sizes.iter().sum::<usize>() > MOST - FEW {
            return;
        }
        let (_, right) = children.remove(right);
        let Some((_, left)) = children.get_mut(left) else { return };
        match (Arc::make_mut(left), Arc::unwrap_or_clone(right)) {
            (Self::Leaf(entries), Self::Leaf(more)) => entries.extend(more),
            (Self::Inner(children), Self::Inner(more)) => children.extend(more),
            // Siblings are of one height.
            (Self::Leaf(_), Self::Inner(_)) | (Self::Inner(_), Self::Leaf(_)) => {}
        }
    }
}

impl<K: Ord, V> PersistentMap<K, V> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let mut node = self.root.as_deref()?;
        loop {
            match node {
                Node::Leaf(entries) => return entries.get(position(entries, key).ok()?).map(|(_, value)| value),
                Node::Inner(children) => node = &children.get(child_of(children, key))?.1,
            }
        }
    }

    pub(crate) fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    pub(crate) fn iter(&self) -> Range<'_, K, V> {
        self.range::<K, _>(..)
    }

    pub(crate) fn keys(&self) -> impl DoubleEndedIterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    pub(crate) fn values(&self) -> impl DoubleEndedIterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// Returns the entries in a range of keys, in order.
    pub(crate) fn range<Q: Ord + ?Sized, R: RangeBounds<Q>>(&self, range: R) -> Range<'_, K, V>
    where
        K: Borrow<Q>,
    {
        let Some(root) = self.root.as_deref() else { return Range::empty() };
        let before = |key: &K| match range.start_bound() {
            Bound::Unbounded => false,
            Bound::Included(start) => key.borrow() < start,
            Bound::Excluded(start) => key.borrow() <= start,
        };
        let after = |key: &K| match range.end_bound() {
            Bound::Unbounded => false,
            Bound::Included(end) => key.borrow() > end,
            Bound::Excluded(end) => key.borrow() >= end,
        };
        let (front, back) = (Path::first(root, &before), Path::last(root, &after));
        let ends = front.entry().zip(back.entry());
        let is_over = ends.is_none_or(|((first, _), (last, _))| first.cmp(last) == Ordering::Greater);
        Range { front, back, is_over }
    }
}

#[cfg(test)]
impl<K, V> PersistentMap<K, V> {
    fn nodes(&self) -> std::collections::BTreeSet<usize> {
        let (mut all, mut open) = (std::collections::BTreeSet::new(), self.root.iter().collect::<Vec<_>>());
        while let Some(node) = open.pop() {
            all.insert(Arc::as_ptr(node).addr());
            if let Node::Inner(children) = &**node {
                open.extend(children.iter().map(|(_, child)| child));
            }
        }
        all
    }

    /// The number of nodes that it does not share with the map that it was changed from.
    pub(crate) fn nodes_copied_from(&self, before: &Self) -> usize {
        self.nodes().difference(&before.nodes()).count()
    }
}

impl<K: Ord + Clone, V: Clone> PersistentMap<K, V> {
    /// Inserts, and returns the value that was there.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let Some(root) = &mut self.root else {
            self.root = Some(Arc::new(Node::Leaf(vec![(key, value)])));
            self.len = 1;
            return None;
        };
        let (there, parted) = Arc::make_mut(root).insert(key, value);
        if let Some(parted) = parted
            && let (Some(first), Some(second)) = (root.first_key().cloned(), parted.first_key().cloned())
        {
            let children = vec![(first, root.clone()), (second, Arc::new(parted))];
            self.root = Some(Arc::new(Node::Inner(children)));
        }
        self.len += usize::from(there.is_none());
        there
    }

    pub(crate) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        // Nothing is copied for a key that is not there.
        self.get(key)?;
        let root = self.root.as_mut()?;
        let removed = Arc::make_mut(root).remove(key)?;
        self.len -= 1;
        loop {
            let only = match &**root {
                Node::Leaf(entries) if entries.is_empty() => {
                    self.root = None;
                    return Some(removed);
                }
                Node::Inner(children) if children.len() == 1 => children.first().map(|(_, child)| child.clone()),
                Node::Leaf(_) | Node::Inner(_) => None,
            };
            let Some(only) = only else { return Some(removed) };
            *root = only;
        }
    }

    pub(crate) fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.get(key)?;
        let mut node = Arc::make_mut(self.root.as_mut()?);
        loop {
            match node {
                Node::Leaf(entries) => {
                    let at = position(entries, key).ok()?;
                    return entries.get_mut(at).map(|(_, value)| value);
                }
                Node::Inner(children) => {
                    let at = child_of(children, key);
                    node = Arc::make_mut(&mut children.get_mut(at)?.1);
                }
            }
        }
    }

    /// Returns the value of a key, which is the default one if there was none.
    pub(crate) fn get_or_default(&mut self, key: K) -> Option<&mut V>
    where
        V: Default,
    {
        if self.get(&key).is_none() {
            self.insert(key.clone(), V::default());
        }
        self.get_mut(&key)
    }
}

impl<K: Ord + Clone, V: Clone> FromIterator<(K, V)> for PersistentMap<K, V> {
    /// Entries in ascending order cost O(1) each.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut entries = entries.into_iter().peekable();
        let (mut leaves, mut len) = (Vec::new(), 0);
        while let Some((first, _)) = entries.peek() {
            let (first, mut leaf) = (first.clone(), Vec::with_capacity(MOST));
            while leaf.len() < MOST
                && let Some((key, value)) = entries.next_if(|(key, _)| leaf.last().is_none_or(|(last, _)| last < key))
            {
                leaf.push((key, value));
            }
            leaf.shrink_to_fit();
            let is_next_greater =
                entries.peek().is_none_or(|(next, _)| leaf.last().is_some_and(|(last, _)| last < next));
            len += leaf.len();
            leaves.push((first, Arc::new(Node::Leaf(leaf))));
            if !is_next_greater {
                break;
            }
        }
        let mut map = Self { root: Self::above(leaves), len };
        // What does not ascend.
        for (key, value) in entries {
            map.insert(key, value);
        }
        map
    }
}

impl<K: Ord + Clone, V: Clone> PersistentMap<K, V> {
    /// Joins maps, each of whose keys are greater than those of the one before, in O(1) for each leaf.
    pub(crate) fn joined(maps: impl IntoIterator<Item = Self>) -> Self {
        let (mut leaves, mut len, mut others) = (Vec::new(), 0, Vec::new());
        let mut greatest: Option<K> = None;
        for map in maps {
            let (Some(first), Some(last)) = (map.keys().next(), map.keys().next_back().cloned()) else { continue };
            if greatest.as_ref().is_some_and(|greatest| greatest >= first) {
                others.push(map);
                continue;
            }
            (greatest, len) = (Some(last), len + map.len);
            map.root.into_iter().for_each(|root| root.leaves(&mut leaves));
        }
        let mut joined = Self { root: Self::above(leaves), len };
        for (key, value) in others.iter().flat_map(Self::iter) {
            joined.insert(key.clone(), value.clone());
        }
        joined
    }

    /// Returns the root above leaves.
    fn above(mut nodes: Vec<(K, Arc<Node<K, V>>)>) -> Option<Arc<Node<K, V>>> {
        while nodes.len() > 1 {
            let mut below = nodes.into_iter().peekable();
            nodes = Vec::new();
            while below.peek().is_some() {
                let children: Vec<_> = below.by_ref().take(MOST).collect();
                let first = children.first().map(|(first, _)| first.clone());
                nodes.extend(first.map(|first| (first, Arc::new(Node::Inner(children)))));
            }
        }
        nodes.pop().map(|(_, root)| root)
    }
}

/// The way from the root to an entry: each node with the position in it.
struct Path<'a, K, V>(Vec<(&'a Node<K, V>, usize)>);

impl<'a, K: Ord, V> Path<'a, K, V> {
    /// Returns the way to the first entry that is not before the start.
    fn first(root: &'a Node<K, V>, before: &impl Fn(&K) -> bool) -> Self {
        let (mut path, mut node) = (Vec::new(), root);
        loop {
            match node {
                Node::Leaf(entries) => {
                    let at = entries.partition_point(|(key, _)| before(key));
                    path.push((node, at));
                    let mut path = Self(path);
                    if at == entries.len() {
                        path.step(true);
                    }
                    return path;
                }
                Node::Inner(children) => {
                    let at = children.partition_point(|(key, _)| before(key)).saturating_sub(1);
                    path.push((node, at));
                    let Some((_, child)) = children.get(at) else { return Self(Vec::new()) };
                    node = child;
                }
            }
        }
    }

    /// Returns the way to the last entry that is not after the end.
    fn last(root: &'a Node<K, V>, after: &impl Fn(&K) -> bool) -> Self {
        let (mut path, mut node) = (Vec::new(), root);
        loop {
            match node {
                Node::Leaf(entries) => {
                    let Some(at) = entries.partition_point(|(key, _)| !after(key)).checked_sub(1) else {
                        // Only the first leaf can be all after the end.
                        return Self(Vec::new());
                    };
                    path.push((node, at));
                    return Self(path);
                }
                Node::Inner(children) => {
                    let Some(at) = children.partition_point(|(key, _)| !after(key)).checked_sub(1) else {
                        return Self(Vec::new());
                    };
                    path.push((node, at));
                    let Some((_, child)) = children.get(at) else { return Self(Vec::new()) };
                    node = child;
                }
            }
        }
    }

    fn entry(&self) -> Option<(&'a K, &'a V)> {
        match self.0.last()? {
            (Node::Leaf(entries), at) => entries.get(*at).map(|(key, value)| (key, value)),
            (Node::Inner(_), _) => None,
        }
    }

    /// Goes to the next or the previous entry.
    fn step(&mut self, forward: bool) {
        let moved = |at: usize| if forward { Some(at + 1) } else { at.checked_sub(1) };
        while let Some((node, at)) = self.0.pop() {
            let Some(at) = moved(at) else { continue };
            let mut node = match node {
                Node::Leaf(entries) if at < entries.len() => {
                    self.0.push((node, at));
                    return;
                }
                Node::Inner(children) => match children.get(at) {
                    Some((_, child)) => {
                        self.0.push((node, at));
                        &**child
                    }
                    None => continue,
                },
                Node::Leaf(_) => continue,
            };
            // Down to the nearest leaf.
            loop {
                match node {
                    Node::Leaf(entries) => {
                        self.0.push((node, if forward { 0 } else { entries.len().saturating_sub(1) }));
                        return;
                    }
                    Node::Inner(children) => {
                        let at = if forward { 0 } else { children.len().saturating_sub(1) };
                        self.0.push((node, at));
                        let Some((_, child)) = children.get(at) else { return };
                        node = child;
                    }
                }
            }
        }
    }
}

/// The entries in a range of keys, from both ends.
pub(crate) struct Range<'a, K, V> {
    front: Path<'a, K, V>,
    back: Path<'a, K, V>,
    is_over: bool,
}

impl<K, V> Range<'_, K, V> {
    fn empty() -> Self {
        Self { front: Path(Vec::new()), back: Path(Vec::new()), is_over: true }
    }
}

impl<'a, K: Ord, V> Range<'a, K, V> {
    fn step(&mut self, forward: bool) -> Option<(&'a K, &'a V)> {
        if self.is_over {
            return None;
        }
        let (first, last) = (self.front.entry()?, self.back.entry()?);
        self.is_over = std::ptr::eq(first.0, last.0);
        if !self.is_over {
            if forward { &mut self.front } else { &mut self.back }.step(forward);
        }
        Some(if forward { first } else { last })
    }
}

impl<'a, K: Ord, V> Iterator for Range<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        self.step(true)
    }
}

impl<K: Ord, V> DoubleEndedIterator for Range<'_, K, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.step(false)
    }
}

#[cfg(test)]
#[cfg(feature = "_properties")]
mod tests {
    use std::collections::BTreeMap;
    use std::ops::Bound;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u16, u8),
        Remove(u16),
        Change(u16, u8),
        /// Inserts a run of keys in order, or removes it.
        Run(u16, u16, bool),
        Clone,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0_u16..2_000, any::<u8>()).prop_map(|(key, value)| Step::Insert(key, value)),
            3 => (0_u16..2_000).prop_map(Step::Remove),
            1 => (0_u16..2_000, any::<u8>()).prop_map(|(key, value)| Step::Change(key, value)),
            1 => (0_u16..2_000, 1_u16..700, any::<bool>()).prop_map(|(at, count, puts)| Step::Run(at, count, puts)),
            1 => Just(Step::Clone),
        ];
        prop::collection::vec(step, 0..60)
    }

    fn same(map: &PersistentMap<u16, u8>, model: &BTreeMap<u16, u8>) {
        assert_eq!(map.len(), model.len());
        assert!(map.iter().eq(model.iter()));
        assert!(map.iter().rev().eq(model.iter().rev()));
    }

    proptest! {
        #[test]
        fn it_is_an_ordered_map_and_its_clones_stay_as_they_were(steps in steps()) {
            let (mut map, mut model) = (PersistentMap::default(), BTreeMap::new());
            let mut clones = Vec::new();
            for step in steps {
                match step {
                    Step::Insert(key, value) => prop_assert_eq!(map.insert(key, value), model.insert(key, value)),
                    Step::Remove(key) => prop_assert_eq!(map.remove(&key), model.remove(&key)),
                    Step::Change(key, value) => {
                        let (there, expected) = (map.get_mut(&key), model.get_mut(&key));
                        prop_assert_eq!(there.is_some(), expected.is_some());
                        there.into_iter().chain(expected).for_each(|there| *there = value);
                    }
                    Step::Run(at, count, true) => (at..at + count).for_each(|key| {
                        map.insert(key, 1);
                        model.insert(key, 1);
                    }),
                    Step::Run(at, count, false) => (at..at + count).for_each(|key| {
                        assert_eq!(map.remove(&key), model.remove(&key));
                    }),
                    Step::Clone => clones.push((map.clone(), model.clone())),
                }
                prop_assert_eq!(map.get(&7), model.get(&7));
            }
            same(&map, &model);
            clones.iter().for_each(|(map, model)| same(map, model));
        }

        #[test]
        fn a_range_has_what_is_in_it_from_both_ends(
            keys in prop::collection::btree_set(0_u16..3_000, 0..400), a in 0_u16..3_000, b in 0_u16..3_000,
            open in any::<[bool; 2]>(), from_behind in any::<u32>(),
        ) {
            let model: BTreeMap<u16, ()> = keys.iter().map(|key| (*key, ())).collect();
            let map: PersistentMap<u16, ()> = model.clone().into_iter().collect();
            let (a, b) = (a.min(b), a.max(b));
            let bounds = (
                if open[0] { Bound::Excluded(a) } else { Bound::Included(a) },
                if open[1] { Bound::Excluded(b) } else { Bound::Included(b) },
            );
            let expected: Vec<u16> = match open == [true, true] && a == b {
                true => Vec::new(),
                false => model.range(bounds).map(|(key, ())| *key).collect(),
            };
            let (mut range, mut front, mut back) = (map.range::<u16, _>(bounds), Vec::new(), Vec::new());
            for turn in 0.. {
                let behind = from_behind >> (turn % 32) & 1 == 1;
                match if behind { range.next_back() } else { range.next() } {
                    Some((key, ())) if behind => back.push(*key),
                    Some((key, ())) => front.push(*key),
                    None => break,
                }
            }
            front.extend(back.into_iter().rev());
            prop_assert_eq!(front, expected);
            prop_assert!(range.next().is_none() && range.next_back().is_none());
        }
    }

    proptest! {
        #[test]
        fn entries_in_any_order_and_maps_that_are_joined_are_what_insertion_makes_of_them(
            parts in prop::collection::vec(prop::collection::vec((0_u16..500, any::<u8>()), 0..120), 0..6), ascend in any::<bool>(),
        ) {
            let mut entries = parts.concat();
            let map: PersistentMap<u16, u8> = entries.iter().copied().collect();
            same(&map, &entries.iter().copied().collect());
            if ascend {
                entries.sort_by_key(|(key, _)| *key);
                entries.dedup_by_key(|(key, _)| *key);
            }
            let chunks: Vec<_> = entries.chunks(50).collect();
            let joined = PersistentMap::joined(chunks.iter().map(|chunk| chunk.iter().copied().collect()));
            let mut model = BTreeMap::new();
            let mut greatest = None;
            // Those that do not ascend come after all others.
            let maps = chunks.iter().map(|chunk| chunk.iter().copied().collect::<BTreeMap<_, _>>());
            let (first, later): (Vec<_>, Vec<_>) = maps.partition(|map| {
                let Some((least, _)) = map.first_key_value() else { return true };
                let ascends = greatest.is_none_or(|greatest| greatest < *least);
                if ascends {
                    greatest = map.last_key_value().map(|(key, _)| *key);
                }
                ascends
            });
            first.into_iter().chain(later).for_each(|map| model.extend(map));
            same(&joined, &model);
        }
    }

    #[test]
    fn a_change_copies_one_path_and_maps_filled_in_order_are_dense() {
        let map: PersistentMap<u32, Arc<u32>> = (0..100_000).map(|key| (key, Arc::new(key))).collect();
        // Leaves, and the nodes above them, are full.
        let levels = std::iter::successors(Some(100_000), |below: &usize| (*below > 1).then(|| below.div_ceil(MOST)));
        assert_eq!(map.nodes().len(), levels.skip(1).sum::<usize>());
        let mut changed = map.clone();
        changed.insert(50_000, Arc::new(0));
        changed.remove(&50_001);
        assert_eq!(changed.nodes_copied_from(&map), 5);
        assert_eq!((map.get(&50_000), map.len()), (Some(&Arc::new(50_000)), 100_000));
    }
}
