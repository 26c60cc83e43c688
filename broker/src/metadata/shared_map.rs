//! A map whose clones share everything that did not change since: 256 buckets, each a sorted map behind an `Arc`.
//!
//! A clone costs 256 reference counts; a change copies one bucket (1/256 of the entries) when an older clone still holds it.
//! Iteration order is by bucket: callers that need an order sort. Callers: `metadata/image.rs`.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Number of buckets. Enough that 100,000 topics copy about 400 entries per change.
const BUCKETS: usize = 256;

/// A key that knows its bucket. Equal keys, and the borrowed form of a key, must give the same number.
pub trait BucketKey: Ord {
    /// Any well-spread number.
    fn bucket_hash(&self) -> u64;
}

impl BucketKey for str {
    fn bucket_hash(&self) -> u64 {
        fnv1a(self.as_bytes())
    }
}

impl BucketKey for Arc<str> {
    fn bucket_hash(&self) -> u64 {
        fnv1a(self.as_bytes())
    }
}

impl BucketKey for coreline_wire::TopicId {
    fn bucket_hash(&self) -> u64 {
        fnv1a(&self.0)
    }
}

/// FNV-1a folded to its upper half, which is the better mixed one. Fixed, so that a run repeats exactly.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for &byte in bytes {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash ^ (hash >> 32)
}

/// The map. See the file's header for its costs.
pub struct SharedMap<K, V> {
    buckets: Box<[Arc<BTreeMap<K, V>>]>,
    len: usize,
}

impl<K, V> Clone for SharedMap<K, V> {
    fn clone(&self) -> Self {
        SharedMap { buckets: self.buckets.clone(), len: self.len }
    }
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        let empty = Arc::new(BTreeMap::new());
        SharedMap { buckets: vec![empty; BUCKETS].into_boxed_slice(), len: 0 }
    }
}

impl<K: BucketKey + Clone, V: Clone> SharedMap<K, V> {
    /// The value under a key.
    pub fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: BucketKey + ?Sized,
    {
        self.buckets[bucket_of(key)].get(key)
    }

    /// The value under a key, for changing it in place. Copies the bucket (and only it) when an older clone holds it.
    pub fn get_mut<Q>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
        Q: BucketKey + ?Sized,
    {
        let bucket = &mut self.buckets[bucket_of(key)];
        if !bucket.contains_key(key) {
            return None;
        }
        Arc::make_mut(bucket).get_mut(key)
    }

    /// Puts a value under a key; the one that was there before is returned.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let bucket = &mut self.buckets[bucket_of(&key)];
        let before = Arc::make_mut(bucket).insert(key, value);
        if before.is_none() {
            self.len += 1;
        }
        before
    }

    /// Takes a key out; the value that was under it is returned.
    pub fn remove<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: BucketKey + ?Sized,
    {
        let bucket = &mut self.buckets[bucket_of(key)];
        if !bucket.contains_key(key) {
            return None;
        }
        self.len -= 1;
        Arc::make_mut(bucket).remove(key)
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All entries, in no useful order (but the same one for the same content).
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.buckets.iter().flat_map(|bucket| bucket.iter())
    }
}

impl<K: PartialEq, V: PartialEq> PartialEq for SharedMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        // The bucket of a key is a function of the key, so equal maps have equal buckets.
        self.len == other.len && self.buckets.iter().zip(other.buckets.iter()).all(|(a, b)| Arc::ptr_eq(a, b) || a == b)
    }
}

impl<K: std::fmt::Debug, V: std::fmt::Debug> std::fmt::Debug for SharedMap<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.buckets.iter().flat_map(|bucket| bucket.iter())).finish()
    }
}

fn bucket_of<Q: BucketKey + ?Sized>(key: &Q) -> usize {
    (key.bucket_hash() as usize) % BUCKETS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(i: usize) -> Arc<str> {
        Arc::from(format!("topic-{i}"))
    }

    #[test]
    fn a_clone_keeps_what_it_saw() {
        let mut map = SharedMap::default();
        for i in 0..1000 {
            assert_eq!(map.insert(key(i), i), None);
        }
        let before = map.clone();
        assert_eq!(map.insert(key(7), 70), Some(7));
        assert_eq!(map.remove("topic-8"), Some(8));
        assert_eq!(map.remove("topic-8"), None);
        assert_eq!((before.get("topic-7"), before.get("topic-8"), before.len()), (Some(&7), Some(&8), 1000));
        assert_eq!((map.get("topic-7"), map.get("topic-8"), map.len()), (Some(&70), None, 999));
    }

    #[test]
    fn a_change_copies_one_bucket_only() {
        let mut map = SharedMap::default();
        for i in 0..1000 {
            map.insert(key(i), i);
        }
        let before = map.clone();
        map.insert(key(7), 70);
        let shared = map.buckets.iter().zip(before.buckets.iter()).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
        assert_eq!(shared, BUCKETS - 1);
    }

    #[test]
    fn equality_is_by_content() {
        let mut a = SharedMap::default();
        let mut b = SharedMap::default();
        for i in 0..500 {
            a.insert(key(i), i);
            b.insert(key(499 - i), 499 - i);
        }
        assert_eq!(a, b);
        b.insert(key(3), 4);
        assert_ne!(a, b);
    }

    #[test]
    fn keys_spread_over_the_buckets() {
        let mut map = SharedMap::default();
        for i in 0..25_600 {
            map.insert(key(i), i);
        }
        let largest = map.buckets.iter().map(|bucket| bucket.len()).max().unwrap_or(0);
        assert!(largest < 200, "largest bucket holds {largest} of 25,600 entries, 100 expected");
    }
}
