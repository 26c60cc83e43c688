//! One shard's counts in plain cells, and the snapshot of them that crosses the mesh.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use coreline_wire::api::{self, ApiKey};
use coreline_wire::error_code::ErrorCode;
use histogram::Histogram;

use super::registry::{Counter, Gauge, Timing};
use crate::stage::{STAGE_COUNT, Stage, StageStamps};

/// Upper bounds of the exported histogram buckets, microseconds, inclusive: six per decade from 10 us to 10 s, then a minute.
pub const BUCKET_BOUNDS_US: [u64; 38] = [
    10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1_000, 1_500, 2_000, 3_000, 5_000, 7_000, 10_000, 15_000, 20_000, 30_000, 50_000,
    70_000, 100_000, 150_000, 200_000, 300_000, 500_000, 700_000, 1_000_000, 1_500_000, 2_000_000, 3_000_000, 5_000_000, 7_000_000,
    10_000_000, 60_000_000,
];

/// Precision of Produce and Fetch: 64 buckets per doubling (1.6 %), 13.5 KiB each.
const PRECISE: u8 = 6;
/// Precision of everything else: 16 buckets per doubling (6 %), 3.6 KiB each.
const COARSE: u8 = 4;
/// Largest value is 2^32 - 1 us, 71 minutes; longer ones count as that.
const RANGE: u8 = 32;
const API_SLOTS: usize = 128;
const ERROR_SLOTS: usize = 256;
/// One histogram per stage and one for the whole request.
const SLOTS_PER_API: usize = STAGE_COUNT + 1;

/// The counts of one shard. Used by its own thread only; nothing in it is borrowed across an await.
pub struct ShardMetrics {
    shard: u16,
    counters: [Cell<u64>; Counter::ALL.len()],
    gauges: [Cell<i64>; Gauge::ALL.len()],
    requests: [Cell<u64>; API_SLOTS],
    errors: [Cell<u64>; ERROR_SLOTS],
    stages: RefCell<Vec<Option<Distribution>>>,
    bands: [RefCell<Option<Box<Bands>>>; BANDED.len()],
    timings: RefCell<Vec<Option<Distribution>>>,
}

impl ShardMetrics {
    /// All zero.
    pub fn new(shard: u16) -> ShardMetrics {
        ShardMetrics {
            shard,
            counters: [const { Cell::new(0) }; _],
            gauges: [const { Cell::new(0) }; _],
            requests: [const { Cell::new(0) }; _],
            errors: [const { Cell::new(0) }; _],
            stages: RefCell::new(empty(API_SLOTS * SLOTS_PER_API)),
            bands: [const { RefCell::new(None) }; _],
            timings: RefCell::new(empty(Timing::ALL.len())),
        }
    }

    /// Adds to a counter.
    pub fn add(&self, counter: Counter, n: u64) {
        let cell = &self.counters[counter as usize];
        cell.set(cell.get().wrapping_add(n));
    }

    /// Adds one to a counter.
    pub fn inc(&self, counter: Counter) {
        self.add(counter, 1);
    }

    /// Raises a counter that is counted elsewhere to its present total.
    pub fn total(&self, counter: Counter, total: u64) {
        self.counters[counter as usize].set(total);
    }

    /// A counter's value.
    pub fn counter(&self, counter: Counter) -> u64 {
        self.counters[counter as usize].get()
    }

    /// Sets a gauge.
    pub fn set(&self, gauge: Gauge, value: i64) {
        self.gauges[gauge as usize].set(value);
    }

    /// Moves a gauge.
    pub fn shift(&self, gauge: Gauge, by: i64) {
        let cell = &self.gauges[gauge as usize];
        cell.set(cell.get().wrapping_add(by));
    }

    /// Counts one more until the answer is dropped.
    pub fn held(self: &Rc<Self>, gauge: Gauge) -> Held {
        self.shift(gauge, 1);
        Held { metrics: Rc::clone(self), gauge }
    }

    /// A gauge's value.
    pub fn gauge(&self, gauge: Gauge) -> i64 {
        self.gauges[gauge as usize].get()
    }

    /// Counts an error code in an answer; 0 (no error) is not counted.
    pub fn error(&self, code: i16) {
        if code != 0
            && let Some(cell) = usize::try_from(i32::from(code) + 1).ok().and_then(|slot| self.errors.get(slot))
        {
            cell.set(cell.get() + 1);
        }
    }

    /// Counts an answered request with the time of its stages.
    pub fn request(&self, api: ApiKey, stamps: &StageStamps) {
        let slot = api_slot(api);
        self.requests[slot].set(self.requests[slot].get() + 1);
        let precision = if matches!(api, ApiKey::Produce | ApiKey::Fetch) { PRECISE } else { COARSE };
        let mut all = self.stages.borrow_mut();
        let mine = &mut all[slot * SLOTS_PER_API..(slot + 1) * SLOTS_PER_API];
        for stage in Stage::ALL {
            let spent_us = u64::from(stamps.spent_us(stage));
            if spent_us > 0 {
                record(&mut mine[stage as usize], precision, spent_us);
            }
        }
        record(&mut mine[STAGE_COUNT], precision, stamps.total_us());
        if let Some(banded) = BANDED.iter().position(|b| *b == api) {
            self.bands[banded].borrow_mut().get_or_insert_with(|| Box::new(Bands([[0; _]; _]))).count(stamps);
        }
    }

    /// Records a duration.
    pub fn time(&self, timing: Timing, us: u64) {
        record(&mut self.timings.borrow_mut()[timing as usize], PRECISE, us);
    }

    /// A copy that may leave the shard.
    pub fn snapshot(&self) -> ShardSnapshot {
        let stages = self.stages.borrow();
        let distribution = |slot: &Option<Distribution>| slot.as_ref().map(Distribution::export);
        let apis = api::ALL
            .iter()
            .filter(|spec| self.requests[api_slot(spec.key)].get() > 0)
            .map(|spec| {
                let slot = api_slot(spec.key);
                let mine = &stages[slot * SLOTS_PER_API..(slot + 1) * SLOTS_PER_API];
                ApiSnapshot {
                    api: spec.name,
                    requests: self.requests[slot].get(),
                    total: distribution(&mine[STAGE_COUNT]),
                    stages: Stage::ALL.iter().filter_map(|s| Some((*s, distribution(&mine[*s as usize])?))).collect(),
                    bands: self.bands_of(spec.key),
                }
            })
            .collect();
        let errors = ErrorCode::ALL.iter().map(|code| (*code, self.errors[(i32::from(code.code()) + 1) as usize].get()));
        ShardSnapshot {
            shard: self.shard,
            counters: self.counters.iter().map(Cell::get).collect(),
            gauges: self.gauges.iter().map(Cell::get).collect(),
            apis,
            errors: errors.filter(|(_, n)| *n > 0).map(|(code, n)| (code.name(), n)).collect(),
            timings: self.timings.borrow().iter().map(distribution).collect(),
        }
    }
}

impl ShardMetrics {
    fn bands_of(&self, api: ApiKey) -> Vec<Band> {
        let banded = BANDED.iter().position(|b| *b == api);
        banded.and_then(|at| self.bands[at].borrow().as_ref().map(|bands| bands.export())).unwrap_or_default()
    }
}

/// One in a gauge, for as long as it lives.
#[must_use = "counts only while it is held"]
pub struct Held {
    metrics: Rc<ShardMetrics>,
    gauge: Gauge,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.metrics.shift(self.gauge, -1);
    }
}

/// A copy of one shard's counts; goes over the mesh to whoever answers `/metrics`.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ShardSnapshot {
    /// The shard.
    pub shard: u16,
    /// By [`Counter`].
    pub counters: Vec<u64>,
    /// By [`Gauge`].
    pub gauges: Vec<i64>,
    /// APIs that were called.
    pub apis: Vec<ApiSnapshot>,
    /// Names of error codes and how often they were answered.
    pub errors: Vec<(&'static str, u64)>,
    /// By [`Timing`]; `None` before the first value.
    pub timings: Vec<Option<Buckets>>,
}

/// The counts of one API on one shard.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiSnapshot {
    /// Name of the API.
    pub api: &'static str,
    /// Requests answered.
    pub requests: u64,
    /// Time of whole requests.
    pub total: Option<Buckets>,
    /// Time by stage, for stages that took any.
    pub stages: Vec<(Stage, Buckets)>,
    /// Time by stage within bands of active time; empty for APIs without bands.
    pub bands: Vec<Band>,
}

/// The requests whose active time lay in one band: what tells where the slow ones lost their time, which distributions by stage cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Band {
    /// Upper bound of the band, microseconds; `None` above the last bound.
    pub bound_us: Option<u64>,
    /// Requests in it.
    pub requests: u64,
    /// Their time by [`Stage`], microseconds.
    pub stage_us: [u64; STAGE_COUNT],
}

/// A distribution in the exported buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buckets {
    /// Number of values at or below each of [`BUCKET_BOUNDS_US`].
    pub cumulative: Vec<u64>,
    /// Number of values.
    pub count: u64,
    /// Their sum, microseconds.
    pub sum_us: u64,
}

/// APIs whose stages are also summed by band.
const BANDED: [ApiKey; 2] = [ApiKey::Produce, ApiKey::Fetch];

/// One row per bound and one above the last: time of each stage in microseconds, then requests. 3.4 KiB.
struct Bands([[u64; STAGE_COUNT + 1]; BUCKET_BOUNDS_US.len() + 1]);

impl Bands {
    fn count(&mut self, stamps: &StageStamps) {
        let active_us = stamps.active_us();
        let row = &mut self.0[BUCKET_BOUNDS_US.partition_point(|bound| *bound < active_us)];
        row[STAGE_COUNT] += 1;
        for stage in Stage::ALL {
            row[stage as usize] += u64::from(stamps.spent_us(stage));
        }
    }

    fn export(&self) -> Vec<Band> {
        let bounds = BUCKET_BOUNDS_US.iter().map(|bound| Some(*bound)).chain([None]);
        let band = |(row, bound_us): (&[u64; STAGE_COUNT + 1], _)| {
            let mut stage_us = [0; STAGE_COUNT];
            stage_us.copy_from_slice(&row[..STAGE_COUNT]);
            Band { bound_us, requests: row[STAGE_COUNT], stage_us }
        };
        self.0.iter().zip(bounds).map(band).collect()
    }
}

struct Distribution {
    histogram: Histogram,
    sum_us: u64,
}

impl Distribution {
    fn export(&self) -> Buckets {
        let mut per_bound = [0u64; BUCKET_BOUNDS_US.len() + 1];
        for bucket in self.histogram.iter().filter(|b| b.count() > 0) {
            // A bucket that reaches over a bound counts above it: the export never claims to be faster than it was.
            let bound = BUCKET_BOUNDS_US.partition_point(|bound| *bound < bucket.end());
            per_bound[bound] += bucket.count();
        }
        let mut seen = 0;
        let cumulative = per_bound[..BUCKET_BOUNDS_US.len()].iter().map(|n| {
            seen += n;
            seen
        });
        let cumulative = cumulative.collect();
        Buckets { cumulative, count: per_bound.iter().sum(), sum_us: self.sum_us }
    }
}

fn record(slot: &mut Option<Distribution>, precision: u8, us: u64) {
    let distribution = slot.get_or_insert_with(|| Distribution {
        histogram: Histogram::new(precision, RANGE).expect("grouping power below value power below 65"),
        sum_us: 0,
    });
    let clamped = us.min((1 << RANGE) - 1);
    distribution.histogram.increment(clamped).expect("within the range by the clamp");
    distribution.sum_us = distribution.sum_us.wrapping_add(us);
}

fn empty(len: usize) -> Vec<Option<Distribution>> {
    std::iter::repeat_with(|| None).take(len).collect()
}

fn api_slot(api: ApiKey) -> usize {
    (api as i16 as usize) & (API_SLOTS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_api_and_error_has_a_slot_of_its_own() {
        for spec in api::ALL {
            assert!((0..API_SLOTS as i16).contains(&(spec.key as i16)), "{}", spec.name);
        }
        for code in ErrorCode::ALL {
            assert!((-1..ERROR_SLOTS as i16 - 1).contains(&code.code()), "{}", code.name());
        }
        assert!(BUCKET_BOUNDS_US.windows(2).all(|w| w[0] < w[1]));
    }

    #[test]
    fn a_snapshot_holds_what_was_counted_and_can_leave_the_thread() {
        fn sendable<T: Send + 'static>(_: &T) {}
        let metrics = ShardMetrics::new(3);
        metrics.inc(Counter::ConnectionsAccepted);
        metrics.add(Counter::BytesReceived, 100);
        metrics.total(Counter::Rescues, 5);
        metrics.set(Gauge::Partitions, 7);
        metrics.shift(Gauge::Connections, 2);
        metrics.shift(Gauge::Connections, -1);
        metrics.error(0);
        metrics.error(3);
        metrics.error(-1);
        metrics.error(i16::MIN);
        metrics.error(i16::MAX);
        let snapshot = metrics.snapshot();
        sendable(&snapshot);
        assert_eq!(snapshot.counters[Counter::BytesReceived as usize], 100);
        assert_eq!((metrics.counter(Counter::Rescues), metrics.gauge(Gauge::Connections)), (5, 1));
        assert_eq!(snapshot.errors, vec![("UNKNOWN_SERVER_ERROR", 1), ("UNKNOWN_TOPIC_OR_PARTITION", 1)]);
        assert!(snapshot.apis.is_empty());
    }

    #[test]
    fn stages_are_exported_in_cumulative_buckets() {
        let metrics = ShardMetrics::new(0);
        for flush_us in [10, 11, 40_000, 100_000_000] {
            let mut stamps = StageStamps::start(0);
            stamps.mark(Stage::Decode, 5);
            stamps.mark(Stage::Flush, 5 + flush_us);
            metrics.request(ApiKey::Produce, &stamps);
        }
        let snapshot = metrics.snapshot();
        let produce = &snapshot.apis[0];
        assert_eq!((produce.api, produce.requests, produce.stages.len()), ("Produce", 4, 2));
        let (stage, flush) = &produce.stages[1];
        assert_eq!((*stage, flush.count, flush.sum_us), (Stage::Flush, 4, 100_040_021));
        let at = |bound: u64| flush.cumulative[BUCKET_BOUNDS_US.iter().position(|b| *b == bound).expect("a bound")];
        assert_eq!((at(10), at(15), at(30_000), at(50_000), at(60_000_000)), (1, 2, 2, 3, 3));
        let sum: u64 = produce.stages.iter().map(|(_, b)| b.sum_us).sum();
        assert_eq!(Some(sum), produce.total.as_ref().map(|t| t.sum_us), "stages sum to the total");
    }

    #[test]
    fn bands_tell_which_stage_the_slow_requests_lost_their_time_in() {
        let metrics = ShardMetrics::new(0);
        for (flush_us, park_us) in [(10, 0), (10, 9_000_000), (900, 0), (100_000_000, 0)] {
            let mut stamps = StageStamps::start(0);
            stamps.mark(Stage::Decode, 5);
            stamps.mark(Stage::Flush, 5 + flush_us);
            stamps.mark(Stage::Park, 5 + flush_us + park_us);
            metrics.request(ApiKey::Produce, &stamps);
            metrics.request(ApiKey::Metadata, &stamps);
        }
        let snapshot = metrics.snapshot();
        let bands = |api: &str| snapshot.apis.iter().find(|a| a.api == api).map(|a| a.bands.clone()).expect("called");
        let seen: Vec<_> = bands("Produce")
            .iter()
            .filter(|b| b.requests > 0)
            .map(|b| (b.bound_us, b.requests, b.stage_us[Stage::Flush as usize]))
            .collect();
        assert_eq!(seen, vec![(Some(15), 2, 20), (Some(1_000), 1, 900), (None, 1, 100_000_000)], "parked time makes no request slow");
        assert_eq!((bands("Produce").len(), bands("Metadata").len()), (BUCKET_BOUNDS_US.len() + 1, 0));
    }
}
