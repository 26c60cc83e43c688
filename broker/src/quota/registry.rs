//! One bucket per bound entity for the whole process: handed out once per connection and change, added to without a lock.
//!
//! At most [`BUCKETS_MAX`] are kept. One that nobody holds and that was not used for an hour goes; at the bound one that was not used for a
//! window goes at once, which changes nothing, since it is as good as new. If all are in use, whoever comes new shares one bucket per key.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::HashMap;

use super::table::BucketKey;
use super::tokens::Tokens;
use super::window::{SharedRate, WindowSpec};
use crate::metadata::client_quota::QuotaKey;

/// Buckets of the process; one takes about 300 bytes and its names.
pub const BUCKETS_MAX: usize = 10_000;
/// A bucket that was not used for so long goes, milliseconds, as in Kafka.
pub const IDLE_MS: u64 = 3_600_000;

/// What an entity has used.
#[derive(Debug)]
pub struct Bucket {
    /// Bytes, nanoseconds or connections.
    pub rate: SharedRate,
    /// Of controller mutations.
    pub tokens: Tokens,
    used_ms: AtomicU64,
}

impl Bucket {
    fn new(rates: WindowSpec, mutations: WindowSpec) -> Bucket {
        Bucket { rate: SharedRate::new(rates), tokens: Tokens::new(mutations), used_ms: AtomicU64::new(0) }
    }

    /// Notes that it is in use.
    pub fn touch(&self, now_ms: u64) {
        self.used_ms.store(now_ms, Ordering::Relaxed);
    }
}

/// All buckets.
#[derive(Debug)]
pub struct QuotaRegistry {
    rates: WindowSpec,
    mutations: WindowSpec,
    buckets_max: usize,
    buckets: Mutex<HashMap<BucketKey, Arc<Bucket>>>,
    /// For who comes when all buckets are in use, by key.
    shared: [Arc<Bucket>; QuotaKey::ALL.len()],
}

impl QuotaRegistry {
    /// None yet.
    pub fn new(rates: WindowSpec, mutations: WindowSpec) -> QuotaRegistry {
        QuotaRegistry::bounded(rates, mutations, BUCKETS_MAX)
    }

    fn bounded(rates: WindowSpec, mutations: WindowSpec, buckets_max: usize) -> QuotaRegistry {
        let shared = QuotaKey::ALL.map(|_| Arc::new(Bucket::new(rates, mutations)));
        QuotaRegistry { rates, mutations, buckets_max, buckets: Mutex::default(), shared }
    }

    /// The window that rates are taken over.
    pub fn window(&self) -> WindowSpec {
        self.rates
    }

    /// The bucket of an entity.
    pub fn bucket(&self, key: BucketKey, now_ms: u64) -> Arc<Bucket> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = buckets.get(&key) {
            bucket.touch(now_ms);
            return Arc::clone(bucket);
        }
        if buckets.len() >= self.buckets_max {
            let spec = |spec: &WindowSpec| u64::from(spec.samples) * spec.part_ms;
            drop_unused(&mut buckets, now_ms, spec(&self.rates).max(spec(&self.mutations)));
        }
        if buckets.len() >= self.buckets_max {
            return Arc::clone(&self.shared[key.key as usize]);
        }
        let bucket = Arc::new(Bucket::new(self.rates, self.mutations));
        bucket.touch(now_ms);
        buckets.insert(key, Arc::clone(&bucket));
        bucket
    }

    /// Drops what has been idle for an hour; how many are left.
    pub fn sweep(&self, now_ms: u64) -> usize {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        drop_unused(&mut buckets, now_ms, IDLE_MS);
        buckets.len()
    }

    /// Buckets now.
    pub fn len(&self) -> usize {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// True without a bucket.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn drop_unused(buckets: &mut HashMap<BucketKey, Arc<Bucket>>, now_ms: u64, idle_ms: u64) {
    let used = |bucket: &Arc<Bucket>| now_ms.saturating_sub(bucket.used_ms.load(Ordering::Relaxed)) < idle_ms;
    buckets.retain(|_, bucket| Arc::strong_count(bucket) > 1 || used(bucket));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> BucketKey {
        BucketKey { key: QuotaKey::ProducerByteRate, user: None, client_id: Some(Arc::from(name)) }
    }

    #[test]
    fn an_entity_has_one_bucket_and_idle_ones_go() {
        let spec = WindowSpec { samples: 11, part_ms: 1000 };
        let registry = QuotaRegistry::bounded(spec, spec, 3);
        let a = registry.bucket(key("a"), 0);
        assert!(Arc::ptr_eq(&a, &registry.bucket(key("a"), 5)));
        for name in ["b", "c"] {
            drop(registry.bucket(key(name), 0));
        }
        // Full of what may still be used.
        let d = registry.bucket(key("d"), 10_000);
        assert!(Arc::ptr_eq(&d, &registry.bucket(key("e"), 10_000)), "newcomers share one bucket");
        let other = BucketKey { key: QuotaKey::ConsumerByteRate, ..key("e") };
        assert!(!Arc::ptr_eq(&d, &registry.bucket(other, 10_000)), "of their key");
        // A window later `b` and `c` are as good as new; `a` is held.
        assert!(!Arc::ptr_eq(&d, &registry.bucket(key("d"), 11_000)));
        assert_eq!(registry.len(), 2);
        assert_eq!(registry.sweep(11_000 + IDLE_MS), 1, "`a` is held by a connection");
        drop(a);
        assert_eq!(registry.sweep(11_000 + IDLE_MS), 0);
        assert!(registry.is_empty());
    }
}
