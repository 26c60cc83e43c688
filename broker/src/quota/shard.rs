//! What a shard asks about quotas: how much somebody has used, and for how long the connection is to be muted.
//!
//! Callers: the connection (`net/`), the handlers of produce, fetch and of topics, the accept loop. Nothing here waits.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use super::registry::{Bucket, QuotaRegistry};
use super::table::QuotaTable;
use crate::metadata::client_quota::{ClientQuotas, QuotaKey};
use crate::metrics::{Counter, Gauge, ShardMetrics};
use crate::stage::monotonic_us;

/// The user of a connection that has not authenticated, which today is every one.
pub const ANONYMOUS: &str = "ANONYMOUS";
/// One percent of a thread, nanoseconds per second.
const PERCENT_NS: f64 = 1e7;

/// A bucket with its bound, if there is one.
type Bound = Option<(Arc<Bucket>, f64)>;

/// The buckets of one client id as a connection keeps them, until a quota changes or the client names itself differently.
#[derive(Debug)]
pub struct Resolved {
    generation: u64,
    client_id: Option<Rc<str>>,
    bounds: [Bound; QuotaKey::ALL.len()],
}

/// Where a connection keeps them.
pub type ResolvedCell = RefCell<Option<Box<Resolved>>>;

/// One shard's view of the quotas.
pub struct ShardQuotas {
    registry: Arc<QuotaRegistry>,
    metrics: Rc<ShardMetrics>,
    table: RefCell<QuotaTable>,
    active: Cell<bool>,
    times_requests: Cell<bool>,
    generation: Cell<u64>,
}

impl ShardQuotas {
    /// No quotas yet.
    pub fn new(registry: Arc<QuotaRegistry>, metrics: Rc<ShardMetrics>) -> ShardQuotas {
        ShardQuotas {
            registry,
            metrics,
            table: RefCell::default(),
            active: Cell::new(false),
            times_requests: Cell::new(false),
            generation: Cell::new(0),
        }
    }

    /// Takes over the quotas of a new image.
    pub fn set(&self, quotas: &Arc<ClientQuotas>) {
        let table = QuotaTable::new(quotas);
        self.active.set(table.has_any());
        self.times_requests.set(table.has(QuotaKey::RequestPercentage));
        self.generation.set(self.generation.get() + 1);
        *self.table.borrow_mut() = table;
    }

    /// True while there is any quota.
    pub fn active(&self) -> bool {
        self.active.get()
    }

    /// True while the time of requests counts.
    pub fn times_requests(&self) -> bool {
        self.times_requests.get()
    }

    /// The bucket that binds a client, from the connection's own copy when that is still right.
    fn bound(&self, cell: &ResolvedCell, client_id: Option<&Rc<str>>, key: QuotaKey, now_ms: u64) -> Bound {
        if !self.active.get() {
            return None;
        }
        let mut kept = cell.borrow_mut();
        let generation = self.generation.get();
        let right = kept.as_ref().is_some_and(|kept| kept.generation == generation && kept.client_id.as_ref() == client_id);
        if !right {
            let table = self.table.borrow();
            let bounds = QuotaKey::ALL.map(|key| {
                let (bucket, bound) = table.find(key, ANONYMOUS, client_id.map_or("", |id| id))?;
                Some((self.registry.bucket(bucket, now_ms), bound))
            });
            *kept = Some(Box::new(Resolved { generation, client_id: client_id.cloned(), bounds }));
        }
        let bound = kept.as_ref()?.bounds[key as usize].clone();
        if let Some((bucket, _)) = &bound {
            bucket.touch(now_ms);
        }
        bound
    }

    /// Counts bytes of a produce; how long its connection is to be muted, milliseconds.
    pub fn produced(&self, cell: &ResolvedCell, client_id: Option<&Rc<str>>, bytes: u64) -> u64 {
        let now_ms = now_ms();
        let Some((bucket, bound)) = self.bound(cell, client_id, QuotaKey::ProducerByteRate, now_ms) else { return 0 };
        bucket.rate.record(now_ms, bytes);
        self.noted(Counter::ProduceThrottled, bucket.rate.over_ms(now_ms, bound))
    }

    /// Most bytes of a fetch answer: what fits a whole window.
    pub fn fetch_bytes_max(&self, cell: &ResolvedCell, client_id: Option<&Rc<str>>) -> u64 {
        match self.bound(cell, client_id, QuotaKey::ConsumerByteRate, now_ms()) {
            Some((_, bound)) => (bound * self.registry.window().full_ms() as f64 / 1000.0) as u64,
            None => u64::MAX,
        }
    }

    /// Counts the bytes of a fetch answer. Above the quota they do not count and are not sent: the answer is empty, and the connection muted
    /// for so many milliseconds. Diverges: of an unused quota the first answer is sent whatever its size (and counts), where Kafka would
    /// never send a batch that is larger than a window's worth.
    pub fn fetched(&self, cell: &ResolvedCell, client_id: Option<&Rc<str>>, bytes: u64) -> Fetched {
        let now_ms = now_ms();
        let Some((bucket, bound)) = self.bound(cell, client_id, QuotaKey::ConsumerByteRate, now_ms) else { return Fetched::default() };
        let unused = bucket.rate.used(now_ms) == 0;
        bucket.rate.record(now_ms, bytes);
        let throttle_ms = bucket.rate.over_ms(now_ms, bound);
        let withheld = throttle_ms > 0 && !unused;
        if withheld {
            bucket.rate.unrecord(now_ms, bytes);
        }
        Fetched { throttle_ms: self.noted(Counter::FetchThrottled, throttle_ms), withheld }
    }

    /// Counts time that a shard's thread spent on a request; milliseconds to be muted, at most a part of the window.
    pub fn worked(&self, cell: &ResolvedCell, client_id: Option<&Rc<str>>, ns: u64) -> u64 {
        let now_ms = now_ms();
        let Some((bucket, bound)) = self.bound(cell, client_id, QuotaKey::RequestPercentage, now_ms) else { return 0 };
        bucket.rate.record(now_ms, ns);
        let over_ms = bucket.rate.over_ms(now_ms, bound * PERCENT_NS);
        self.noted(Counter::RequestThrottled, over_ms.min(self.registry.window().part_ms))
    }

    /// The account of one request that creates or deletes partitions.
    pub fn mutations(&self, cell: &ResolvedCell, client_id: Option<&Rc<str>>, strict: bool) -> Mutations {
        let bound = self.bound(cell, client_id, QuotaKey::ControllerMutationRate, now_ms());
        Mutations { bound, strict }
    }

    /// How long a request with mutations is throttled: a strict one if part of it was refused, an older one while the bucket is below zero.
    pub fn mutated(&self, mutations: &Mutations, refused: bool) -> u64 {
        let throttle_ms = if refused || !mutations.strict { mutations.throttle_ms() } else { 0 };
        self.noted(Counter::MutationThrottled, throttle_ms)
    }

    /// Counts a new connection of an address; above the quota it does not count and is to be closed after so many milliseconds.
    pub fn connected(&self, address: IpAddr) -> Result<(), u64> {
        if !self.active.get() {
            return Ok(());
        }
        let found = self.table.borrow().find_address(&address.to_canonical().to_string());
        let Some((key, bound)) = found else { return Ok(()) };
        let now_ms = now_ms();
        let bucket = self.registry.bucket(key, now_ms);
        bucket.rate.record(now_ms, 1);
        match bucket.rate.over_ms(now_ms, bound) {
            0 => Ok(()),
            over_ms => {
                bucket.rate.unrecord(now_ms, 1);
                Err(self.noted(Counter::ConnectionThrottled, over_ms.min(self.registry.window().part_ms)))
            }
        }
    }

    /// Brings the gauge up to date and drops what is idle.
    pub fn observe(&self) {
        self.metrics.set(Gauge::QuotaEntities, self.registry.sweep(now_ms()) as i64);
    }

    fn noted(&self, counter: Counter, throttle_ms: u64) -> u64 {
        if throttle_ms > 0 {
            self.metrics.inc(counter);
            self.metrics.add(Counter::ThrottleTime, throttle_ms);
        }
        throttle_ms
    }
}

/// See [`ShardQuotas::fetched`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Fetched {
    /// How long the connection is to be muted.
    pub throttle_ms: u64,
    /// The records are not sent.
    pub withheld: bool,
}

/// What one request may create and delete (KIP-599).
#[derive(Debug, Default)]
pub struct Mutations {
    bound: Bound,
    strict: bool,
}

impl Mutations {
    /// True when nothing bounds the request.
    pub fn is_free(&self) -> bool {
        self.bound.is_none()
    }

    /// Takes so many partitions; false when the quota is used up, which only newer clients are told.
    pub fn take(&self, partitions: usize) -> bool {
        let Some((bucket, bound)) = &self.bound else { return true };
        if self.strict {
            return bucket.tokens.take_strict(now_ms(), *bound, partitions as f64);
        }
        bucket.tokens.take(now_ms(), *bound, partitions as f64);
        true
    }

    /// Gives back what was taken and not done.
    pub fn give_back(&self, partitions: usize) {
        if let Some((bucket, _)) = &self.bound {
            bucket.tokens.give_back(partitions as f64);
        }
    }

    /// How long the client is told to wait.
    pub fn throttle_ms(&self) -> u64 {
        self.bound.as_ref().map_or(0, |(bucket, bound)| bucket.tokens.wait_ms(now_ms(), *bound))
    }
}

fn now_ms() -> u64 {
    monotonic_us() / 1000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::client_quota::{QuotaEntity, QuotaEntityType};
    use crate::quota::WindowSpec;

    fn quotas(values: &[(QuotaEntityType, Option<&str>, QuotaKey, f64)]) -> Arc<ClientQuotas> {
        let mut all = ClientQuotas::new();
        for (kind, name, key, bound) in values {
            all.entry(QuotaEntity::of([(*kind, *name)])).or_default().insert(Arc::from(key.name()), *bound);
        }
        Arc::new(all)
    }

    /// Two shards of one process. The window is so long that no part ends within a test.
    fn two() -> [ShardQuotas; 2] {
        let spec = WindowSpec { samples: 2, part_ms: 1 << 40 };
        let registry = Arc::new(QuotaRegistry::new(spec, WindowSpec { samples: 2, part_ms: 1000 }));
        [0, 1].map(|id| ShardQuotas::new(Arc::clone(&registry), Rc::new(ShardMetrics::new(id))))
    }

    #[test]
    fn shards_share_a_quota_and_connections_follow_its_change() {
        let shards = two();
        let (one, other) = (ResolvedCell::default(), ResolvedCell::default());
        let id: Rc<str> = Rc::from("c");
        assert_eq!((shards[0].active(), shards[0].produced(&one, Some(&id), 1 << 40)), (false, 0));
        // 1 byte per second over 2^40 ms: 1.1e9 bytes.
        let set = quotas(&[(QuotaEntityType::ClientId, None, QuotaKey::ProducerByteRate, 1.0)]);
        shards.iter().for_each(|shard| shard.set(&set));
        assert_eq!(shards[0].produced(&one, Some(&id), 1_000_000_000), 0);
        assert!(shards[1].produced(&other, Some(&id), 1_000_000_000) > 0, "used on another shard");
        assert_eq!(shards[1].produced(&other, Some(&Rc::from("d")), 1_000_000_000), 0, "the default is per client id");
        assert!(shards[0].produced(&one, Some(&id), 1) > 0);
        let higher = quotas(&[(QuotaEntityType::ClientId, None, QuotaKey::ProducerByteRate, 1e9)]);
        shards[0].set(&higher);
        assert_eq!(shards[0].produced(&one, Some(&id), 1), 0, "the new bound, the old usage");
        shards[0].set(&quotas(&[]));
        assert_eq!((shards[0].active(), shards[0].produced(&one, Some(&id), 1 << 40)), (false, 0));
        assert_eq!(shards[0].metrics.counter(Counter::ProduceThrottled), 1);
        assert!(shards[0].metrics.counter(Counter::ThrottleTime) > 0);
    }

    #[test]
    fn a_fetch_above_the_quota_is_withheld_and_does_not_count() {
        let [shard, _] = two();
        let cell = ResolvedCell::default();
        shard.set(&quotas(&[(QuotaEntityType::User, Some(ANONYMOUS), QuotaKey::ConsumerByteRate, 1.0)]));
        assert_eq!(shard.fetch_bytes_max(&cell, None), (1 << 40) / 1000);
        let first = shard.fetched(&cell, None, 2_000_000_000);
        assert!(first.throttle_ms > 0 && !first.withheld, "{first:?}: nothing was used yet");
        let again = shard.fetched(&cell, None, 1_000_000_000);
        assert!(again.throttle_ms > 0 && again.withheld, "{again:?}");
        let nothing = shard.fetched(&cell, None, 0);
        assert_eq!(nothing.throttle_ms.min(THROTTLED), first.throttle_ms.min(THROTTLED), "what was withheld did not count");
    }

    /// Throttle times of such bounds are all the longest one.
    const THROTTLED: u64 = 3_600_000;

    #[test]
    fn time_is_measured_in_percent_of_a_thread_and_muted_for_at_most_a_part() {
        let spec = WindowSpec { samples: 11, part_ms: 1000 };
        let shard = ShardQuotas::new(Arc::new(QuotaRegistry::new(spec, spec)), Rc::new(ShardMetrics::new(0)));
        let cell = ResolvedCell::default();
        shard.set(&quotas(&[(QuotaEntityType::User, None, QuotaKey::RequestPercentage, 50.0)]));
        assert!(shard.times_requests());
        // Half of 11 seconds is the most that any window allows.
        assert_eq!(shard.worked(&cell, None, 1_000_000_000), 0);
        assert_eq!(shard.worked(&cell, None, 60_000_000_000), 1000);
    }

    #[test]
    fn mutations_are_refused_to_newer_clients_and_delay_older_ones() {
        let [shard, _] = two();
        let cell = ResolvedCell::default();
        assert!(shard.mutations(&cell, None, true).is_free());
        shard.set(&quotas(&[(QuotaEntityType::User, None, QuotaKey::ControllerMutationRate, 0.001)]));
        let strict = shard.mutations(&cell, None, true);
        assert!(strict.take(5) && !strict.take(1));
        assert!(shard.mutated(&strict, true) > 1000 && shard.mutated(&strict, false) == 0);
        let old = shard.mutations(&cell, None, false);
        assert!(old.take(1) && old.throttle_ms() > strict.throttle_ms() - 60_000);
        strict.give_back(6);
        assert_eq!(strict.throttle_ms(), 0);
    }

    #[test]
    fn new_connections_of_an_address_are_counted_unless_refused() {
        let spec = WindowSpec { samples: 2, part_ms: 1 << 40 };
        let shard = ShardQuotas::new(Arc::new(QuotaRegistry::new(spec, spec)), Rc::new(ShardMetrics::new(0)));
        let address = IpAddr::from([10, 0, 0, 1]);
        assert_eq!(shard.connected(address), Ok(()));
        // Three within the window.
        shard.set(&quotas(&[(QuotaEntityType::Ip, Some("10.0.0.1"), QuotaKey::ConnectionCreationRate, 3.5e-9)]));
        let taken = (0..5).map(|_| shard.connected(address).is_ok()).collect::<Vec<_>>();
        assert_eq!(taken, [true, true, true, false, false]);
        assert_eq!(shard.connected(IpAddr::from([10, 0, 0, 2])), Ok(()));
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().expect("valid");
        assert!(shard.connected(mapped).is_err(), "the same address on a listener for both families");
    }
}
