// SPDX-License-Identifier: Apache-2.0
//! A map of which a changed copy costs little: many small maps, shared between the copies until they differ.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use crate::hash::{Map, Seeded};

/// Small maps: with 30,000 entries a change copies some sixty of them, and as many counts as there are maps.
const SHARDS: usize = 512;

/// The map.
#[derive(Debug)]
pub struct Shards<K, V> {
    shards: Vec<Arc<Map<K, V>>>,
}

impl<K, V> Clone for Shards<K, V> {
    fn clone(&self) -> Self {
        Self { shards: self.shards.clone() }
    }
}

impl<K, V> Default for Shards<K, V> {
    fn default() -> Self {
        let empty = Arc::new(Map::default());
        Self { shards: vec![empty; SHARDS] }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Shards<K, V> {
    /// What belongs to a key.
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.shards[shard(key)].get(key)
    }

    /// Make room for so many entries at once, where there are none.
    pub fn expect(&mut self, entries: usize) {
        let share = entries / SHARDS * 5 / 4;
        for shard in self.shards.iter_mut().filter(|shard| share > 0 && shard.is_empty()) {
            *shard = Arc::new(Map::with_capacity_and_hasher(share, Seeded::default()));
        }
    }

    /// Put something in the place of what belonged to the key.
    pub fn insert(&mut self, key: K, value: V) {
        let shard = shard(&key);
        Arc::make_mut(&mut self.shards[shard]).insert(key, value);
    }

    /// Take out what belongs to a key.
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let shard = &mut self.shards[shard(key)];
        // Looks first: nothing is copied for a key that is not there.
        shard.contains_key(key).then(|| Arc::make_mut(shard).remove(key))?
    }

    /// Everything.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.shards.iter().flat_map(|shard| shard.values())
    }
}

fn shard(key: &(impl Hash + ?Sized)) -> usize {
    // Bits from the middle: a map uses the lowest and the highest ones.
    (Seeded::default().hash_one(key) >> 32) as usize % SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_changed_alone() {
        let mut one: Shards<String, u32> = Shards::default();
        for number in 0..5000 {
            one.insert(format!("key {number}"), number);
        }
        let mut other = one.clone();
        other.insert("key 7".into(), 0);
        assert_eq!(other.remove("key 8"), Some(8));
        assert_eq!(other.remove("never there"), None);

        assert_eq!((one.get("key 7"), other.get("key 7")), (Some(&7), Some(&0)));
        assert_eq!((one.get("key 8"), other.get("key 8")), (Some(&8), None));
        assert_eq!((one.values().count(), other.values().count()), (5000, 4999));
    }

    #[test]
    fn a_change_copies_one_shard_only() {
        let mut one: Shards<u32, u32> = Shards::default();
        (0..5000).for_each(|number| one.insert(number, number));
        let mut other = one.clone();
        other.insert(7, 0);
        let shared = one.shards.iter().zip(&other.shards).filter(|(one, other)| Arc::ptr_eq(one, other)).count();
        assert_eq!(shared, SHARDS - 1);
    }
}
