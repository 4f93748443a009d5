// SPDX-License-Identifier: Apache-2.0
//! A map whose copies share what has not changed, so that a change costs the same at ten Services as at ten thousand.

use std::borrow::Borrow;
use std::collections::hash_map::RandomState;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

/// Enough that a shard of a large cluster holds some dozens, few enough that copying their list costs about a microsecond.
const SHARDS: usize = 256;

/// The map, cut into shards. A copy has all shards in common; the first change of one makes it the copy's own.
#[derive(Debug, Clone)]
pub struct Shards<K, V> {
    shards: Vec<Arc<HashMap<K, V>>>,
    hasher: RandomState,
}

impl<K, V> Default for Shards<K, V> {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Arc::default()).collect(), hasher: RandomState::new() }
    }
}

impl<K: Eq + Hash + Clone, V: Clone> Shards<K, V> {
    /// The value of a key.
    pub fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.shards[self.place(key)].get(key)
    }

    /// Give a key a value.
    pub fn insert(&mut self, key: K, value: V) {
        let place = self.place(&key);
        Arc::make_mut(&mut self.shards[place]).insert(key, value);
    }

    /// Take a key out; returns the value it had.
    pub fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let place = self.place(key);
        if !self.shards[place].contains_key(key) {
            return None;
        }
        Arc::make_mut(&mut self.shards[place]).remove(key)
    }

    /// Every value, in no order.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.shards.iter().flat_map(|shard| shard.values())
    }

    fn place<Q: Hash + ?Sized>(&self, key: &Q) -> usize {
        usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled() -> Shards<String, usize> {
        let mut map = Shards::default();
        (0..5_000).for_each(|number| map.insert(number.to_string(), number));
        map
    }

    #[test]
    fn what_was_put_in_is_found() {
        let map = filled();
        assert!((0..5_000).all(|number| map.get(number.to_string().as_str()) == Some(&number)));
        assert_eq!(map.get("none"), None);
        assert_eq!(map.values().sum::<usize>(), 4_999 * 5_000 / 2);
    }

    #[test]
    fn a_change_shares_all_shards_but_its_own() {
        let before = filled();
        let mut after = before.clone();
        assert_eq!(after.remove("7"), Some(7));
        after.insert("7".to_owned(), 70);
        let own = before.shards.iter().zip(&after.shards).filter(|(one, other)| !Arc::ptr_eq(one, other)).count();
        assert_eq!((own, before.get("7"), after.get("7")), (1, Some(&7), Some(&70)));
    }

    #[test]
    fn taking_out_what_is_not_there_copies_nothing() {
        let before = filled();
        let mut after = before.clone();
        assert_eq!(after.remove("none"), None);
        assert!(before.shards.iter().zip(&after.shards).all(|(one, other)| Arc::ptr_eq(one, other)));
    }
}
