//! Decides about one append: is it a retry, may it go in, where, with which stamps, and does the segment roll before it. Pure.
//!
//! Caller: `log/appender.rs`, which does what the plan says.

use coreline_wire::record::{BatchHeader, TimestampType};

use super::{AppendContext, AppendError, AppendOrigin};
use crate::config::LogConfig;
use crate::producer_state::{BatchMark, ProducerBatch, ProducerError, ProducerTable, ProducerVerdict};
use crate::segment::Segment;

/// What an append looks at.
#[derive(Clone, Copy, Debug)]
pub struct AppendView<'a> {
    /// The log's configuration.
    pub config: &'a LogConfig,
    /// The log's producers.
    pub producers: &'a ProducerTable,
    /// The active segment.
    pub active: &'a Segment,
    /// Newest leader epoch in the log, -1 for none.
    pub latest_epoch: i32,
    /// Any number that differs between logs: spreads `segment.jitter.ms`.
    pub salt: u64,
}

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum AppendPlan {
    /// Nothing: it is in the log already.
    Duplicate(BatchMark),
    /// Put it at the end.
    Append(Placement),
}

/// Where a batch goes and what is stamped on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Offset of its first record.
    pub base_offset: i64,
    /// Offset behind its last record.
    pub next_offset: i64,
    /// Leader epoch stamped on it.
    pub leader_epoch: i32,
    /// The broker's time stamped on it.
    pub log_append_time_ms: Option<i64>,
    /// Largest timestamp it has in the log.
    pub max_timestamp_ms: i64,
    /// Seal the active segment first.
    pub roll: bool,
    /// What its producer's state learns.
    pub producer: Option<ProducerBatch>,
}

/// Decides.
pub fn plan(view: &AppendView<'_>, header: &BatchHeader, ctx: &AppendContext) -> Result<AppendPlan, AppendError> {
    let bytes = header.size_bytes();
    let config = view.config;
    let from_client = ctx.origin == AppendOrigin::Client;
    if bytes > config.segment_bytes as usize {
        return Err(AppendError::LargerThanSegment { bytes, bytes_max: config.segment_bytes as usize });
    }
    if from_client && bytes > config.max_message_bytes as usize {
        return Err(AppendError::TooLarge { bytes, bytes_max: config.max_message_bytes as usize });
    }
    let producer = producer_batch(header);
    if from_client && let Some(batch) = &producer {
        match view.producers.check(batch) {
            Ok(ProducerVerdict::Append) => {}
            Ok(ProducerVerdict::Duplicate(mark)) => return Ok(AppendPlan::Duplicate(mark)),
            Err(error) => return Err(refused(batch.producer_id, error)),
        }
    }
    let end = view.active.next_offset;
    let (base_offset, leader_epoch) = match ctx.origin {
        AppendOrigin::Client | AppendOrigin::Coordinator => (end, ctx.leader_epoch),
        AppendOrigin::Replica => (header.base_offset, header.partition_leader_epoch),
    };
    if base_offset != end {
        return Err(AppendError::OffsetMismatch { expected: end, found: base_offset });
    }
    if leader_epoch < view.latest_epoch {
        return Err(AppendError::EpochBackwards { current: view.latest_epoch, found: leader_epoch });
    }
    if header.last_offset_delta < 0 {
        return Err(AppendError::OffsetOverflow(base_offset));
    }
    let next_offset = base_offset.checked_add(i64::from(header.last_offset_delta) + 1).ok_or(AppendError::OffsetOverflow(base_offset))?;
    if from_client {
        check_timestamps(config, header, ctx.now_ms)?;
    }
    let stamped = config.timestamp_type == TimestampType::LogAppendTime && ctx.origin != AppendOrigin::Replica;
    let log_append_time_ms = stamped.then_some(ctx.now_ms);
    let max_timestamp_ms = log_append_time_ms.unwrap_or(header.max_timestamp);
    let place = RollQuestion { bytes, next_offset, max_timestamp_ms, now_ms: ctx.now_ms };
    Ok(AppendPlan::Append(Placement {
        base_offset,
        next_offset,
        leader_epoch,
        log_append_time_ms,
        max_timestamp_ms,
        roll: must_roll(view, &place),
        producer,
    }))
}

/// What a batch says about an idempotent producer; control batches carry no sequence.
pub fn producer_batch(header: &BatchHeader) -> Option<ProducerBatch> {
    let idempotent = header.producer_id >= 0 && header.base_sequence >= 0 && !header.attributes.is_control();
    idempotent.then_some(ProducerBatch {
        producer_id: header.producer_id,
        epoch: header.producer_epoch,
        first_sequence: header.base_sequence,
        last_offset_delta: header.last_offset_delta,
    })
}

/// The batch before which the active segment is perhaps rolled.
struct RollQuestion {
    bytes: usize,
    next_offset: i64,
    max_timestamp_ms: i64,
    now_ms: i64,
}

fn must_roll(view: &AppendView<'_>, batch: &RollQuestion) -> bool {
    let (config, active) = (view.config, view.active);
    if active.size == 0 {
        return false;
    }
    let full = active.size as usize + batch.bytes > config.segment_bytes as usize;
    let index_full = active.index.offsets.size_bytes() >= config.segment_index_bytes as usize;
    // As Kafka: age counts by the records' timestamps where they have any, so that a segment holds records of one time also while data is moved.
    let waited_ms = match active.first_timestamp_ms {
        Some(first) if first >= 0 => batch.max_timestamp_ms.saturating_sub(first),
        _ => active.first_append_ms.map_or(0, |first| batch.now_ms.saturating_sub(first)),
    };
    let old = waited_ms > config.roll_ms().saturating_sub(jitter_ms(config, view.salt, active.base_offset));
    // Indexes hold offsets relative to the segment's base in 31 bits.
    let too_far = batch.next_offset - active.base_offset > i64::from(i32::MAX);
    full || index_full || old || too_far
}

/// What is taken off a segment's age limit: evenly spread over `0..segment.jitter.ms`, the same at every look.
fn jitter_ms(config: &LogConfig, salt: u64, base_offset: i64) -> i64 {
    let most = config.segment_jitter_ms.min(config.roll_ms());
    if most == 0 {
        return 0;
    }
    // The finisher of splitmix64: neighbours get unrelated values.
    let mut x = (salt ^ base_offset as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ (x >> 31)) % most as u64) as i64
}

/// Looks at the header's base and max timestamps: the records in between are not looked at without decompressing.
fn check_timestamps(config: &LogConfig, header: &BatchHeader, now_ms: i64) -> Result<(), AppendError> {
    let min_ms = now_ms.saturating_sub(config.timestamp_before_max_ms);
    let max_ms = now_ms.saturating_add(config.timestamp_after_max_ms);
    let invalid = |timestamp_ms| Err(AppendError::InvalidTimestamp { timestamp_ms, min_ms, max_ms });
    if header.attributes.timestamp_type() == TimestampType::LogAppendTime {
        return invalid(header.max_timestamp);
    }
    if config.timestamp_type == TimestampType::LogAppendTime {
        return Ok(());
    }
    // -1 stands for "no timestamp", which producers may send.
    let stamped = header.max_timestamp >= 0;
    if stamped && header.max_timestamp > max_ms {
        return invalid(header.max_timestamp);
    }
    if stamped && header.base_timestamp < min_ms {
        return invalid(header.base_timestamp);
    }
    Ok(())
}

fn refused(producer_id: i64, error: ProducerError) -> AppendError {
    match error {
        ProducerError::OutOfOrderSequence { expected, found } => AppendError::OutOfOrderSequence { producer_id, expected, found },
        ProducerError::InvalidProducerEpoch { current, found } => AppendError::InvalidProducerEpoch { producer_id, current, found },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coreline_wire::record::Attributes;

    const CLIENT: AppendContext = AppendContext { now_ms: 1_000_000, leader_epoch: 3, origin: AppendOrigin::Client };

    fn header(records: i32, bytes: usize) -> BatchHeader {
        BatchHeader {
            base_offset: 0,
            batch_length: bytes as i32 - 12,
            partition_leader_epoch: -1,
            magic: 2,
            crc: 0,
            attributes: Attributes(0),
            last_offset_delta: records - 1,
            base_timestamp: 999_000,
            max_timestamp: 999_500,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            record_count: records,
        }
    }

    fn decide(config: &LogConfig, active: &Segment, header: &BatchHeader, ctx: &AppendContext) -> Result<AppendPlan, AppendError> {
        let producers = ProducerTable::default();
        plan(&AppendView { config, producers: &producers, active, latest_epoch: 3, salt: 7 }, header, ctx)
    }

    fn placement(result: Result<AppendPlan, AppendError>) -> Placement {
        match result {
            Ok(AppendPlan::Append(placement)) => placement,
            other => panic!("not an append: {other:?}"),
        }
    }

    fn active(size: u32, next_offset: i64) -> Segment {
        Segment { size, next_offset, first_append_ms: Some(990_000), first_timestamp_ms: Some(990_000), ..Segment::new(100) }
    }

    #[test]
    fn offsets_and_epoch_are_assigned() {
        let p = placement(decide(&LogConfig::default(), &active(500, 120), &header(5, 200), &CLIENT));
        assert_eq!((p.base_offset, p.next_offset, p.leader_epoch, p.roll, p.log_append_time_ms), (120, 125, 3, false, None));
        assert_eq!(p.max_timestamp_ms, 999_500);
    }

    #[test]
    fn rolls_when_full_old_far_or_its_index_is_full() {
        let config = LogConfig { segment_bytes: 4096, segment_ms: 20_000, ..LogConfig::default() };
        let h = header(1, 200);
        assert!(!placement(decide(&config, &active(3896, 120), &h, &CLIENT)).roll);
        assert!(placement(decide(&config, &active(3897, 120), &h, &CLIENT)).roll);
        assert!(!placement(decide(&config, &active(0, 100), &header(1, 4096), &CLIENT)).roll, "an empty segment is not rolled");
        let at = |max_timestamp| BatchHeader { max_timestamp, ..h };
        assert!(!placement(decide(&config, &active(10, 120), &at(1_010_000), &CLIENT)).roll, "not beyond segment.ms");
        assert!(placement(decide(&config, &active(10, 120), &at(1_010_001), &CLIENT)).roll);
        let later = AppendContext { now_ms: 1_010_001, ..CLIENT };
        assert!(!placement(decide(&config, &active(10, 120), &h, &later)).roll, "records have timestamps: the clock does not count");
        let untimed = Segment { first_timestamp_ms: Some(-1), ..active(10, 120) };
        assert!(placement(decide(&config, &untimed, &h, &later)).roll);
        let compacted = LogConfig {
            cleanup_policy: crate::config::CleanupPolicy { delete: false, compact: true },
            max_compaction_lag_ms: 9_000,
            ..config.clone()
        };
        assert!(placement(decide(&compacted, &active(10, 120), &at(999_001), &CLIENT)).roll, "in time for its compaction");
        assert!(placement(decide(&config, &active(10, 100 + i64::from(i32::MAX)), &h, &CLIENT)).roll);
        let mut full = active(0, 100);
        for i in 0..128 {
            full.add_batch(1, 101 + i, 100 + i, 0, 0, 0);
        }
        assert!(placement(decide(&LogConfig { segment_index_bytes: 1024, ..config }, &full, &h, &CLIENT)).roll);
    }

    #[test]
    fn jitter_spreads_the_age_and_stays_the_same() {
        let config = LogConfig { segment_ms: 20_000, segment_jitter_ms: 5_000, ..LogConfig::default() };
        let of = |salt| jitter_ms(&config, salt, 100);
        let all: Vec<i64> = (0..1000).map(of).collect();
        assert!(all.iter().all(|ms| (0..5_000).contains(ms)));
        assert!(all.iter().any(|ms| *ms < 500) && all.iter().any(|ms| *ms >= 4_500));
        assert_eq!(of(7), of(7));
        let h = BatchHeader { max_timestamp: 990_000 + 20_000 - of(7) + 1, ..header(1, 200) };
        assert!(placement(decide(&config, &active(10, 120), &h, &CLIENT)).roll);
        let h = BatchHeader { max_timestamp: 990_000 + 20_000 - of(7), ..header(1, 200) };
        assert!(!placement(decide(&config, &active(10, 120), &h, &CLIENT)).roll);
        assert_eq!(jitter_ms(&LogConfig { segment_jitter_ms: 0, ..config }, 7, 100), 0);
    }

    #[test]
    fn sizes_are_limited() {
        let config = LogConfig { segment_bytes: 4096, max_message_bytes: 1000, ..LogConfig::default() };
        assert!(matches!(decide(&config, &active(0, 100), &header(1, 1001), &CLIENT), Err(AppendError::TooLarge { .. })));
        assert!(matches!(decide(&config, &active(0, 100), &header(1, 4097), &CLIENT), Err(AppendError::LargerThanSegment { .. })));
        let coordinator = AppendContext { origin: AppendOrigin::Coordinator, ..CLIENT };
        assert!(decide(&config, &active(0, 100), &header(1, 1001), &coordinator).is_ok());
    }

    #[test]
    fn timestamps_are_limited_for_clients_only() {
        let config = LogConfig { timestamp_after_max_ms: 100, timestamp_before_max_ms: 5_000, ..LogConfig::default() };
        let at = |base, max| BatchHeader { base_timestamp: base, max_timestamp: max, ..header(1, 100) };
        let a = active(0, 100);
        assert!(decide(&config, &a, &at(995_000, 1_000_100), &CLIENT).is_ok());
        assert!(matches!(
            decide(&config, &a, &at(995_000, 1_000_101), &CLIENT),
            Err(AppendError::InvalidTimestamp { timestamp_ms: 1_000_101, .. })
        ));
        assert!(matches!(
            decide(&config, &a, &at(994_999, 999_000), &CLIENT),
            Err(AppendError::InvalidTimestamp { timestamp_ms: 994_999, .. })
        ));
        assert!(decide(&config, &a, &at(-1, -1), &CLIENT).is_ok(), "no timestamp");
        let replica = AppendContext { origin: AppendOrigin::Replica, ..CLIENT };
        let mut h = at(1, 1);
        h.base_offset = 100;
        h.partition_leader_epoch = 3;
        assert!(decide(&config, &a, &h, &replica).is_ok());
    }

    #[test]
    fn log_append_time_is_stamped_and_never_taken_from_a_client() {
        let config = LogConfig { timestamp_type: TimestampType::LogAppendTime, ..LogConfig::default() };
        let old = BatchHeader { base_timestamp: 0, max_timestamp: 0, ..header(1, 100) };
        let p = placement(decide(&config, &active(0, 100), &old, &CLIENT));
        assert_eq!((p.log_append_time_ms, p.max_timestamp_ms), (Some(1_000_000), 1_000_000));
        let claimed = BatchHeader { attributes: Attributes(0).with_timestamp_type(TimestampType::LogAppendTime), ..old };
        assert!(matches!(decide(&config, &active(0, 100), &claimed, &CLIENT), Err(AppendError::InvalidTimestamp { .. })));
    }

    #[test]
    fn a_replica_keeps_offsets_and_epochs_and_must_follow_on() {
        let replica = AppendContext { origin: AppendOrigin::Replica, ..CLIENT };
        let mut h = header(2, 100);
        h.base_offset = 120;
        h.partition_leader_epoch = 7;
        let p = placement(decide(&LogConfig::default(), &active(10, 120), &h, &replica));
        assert_eq!((p.base_offset, p.leader_epoch), (120, 7));
        h.base_offset = 121;
        assert!(matches!(decide(&LogConfig::default(), &active(10, 120), &h, &replica), Err(AppendError::OffsetMismatch { .. })));
        h.base_offset = 120;
        h.partition_leader_epoch = 2;
        assert!(matches!(decide(&LogConfig::default(), &active(10, 120), &h, &replica), Err(AppendError::EpochBackwards { .. })));
    }

    #[test]
    fn retries_are_found_before_anything_else_is_checked() {
        let mut producers = ProducerTable::default();
        let h = BatchHeader { producer_id: 9, producer_epoch: 0, base_sequence: 0, ..header(2, 100) };
        producers.apply(&producer_batch(&h).unwrap(), 40, -1, 0, 10);
        let config = LogConfig::default();
        let a = active(10, 120);
        let view = AppendView { config: &config, producers: &producers, active: &a, latest_epoch: 3, salt: 7 };
        assert!(matches!(plan(&view, &h, &CLIENT), Ok(AppendPlan::Duplicate(BatchMark { base_offset: 40, last_offset: 41, .. }))));
        let gap = BatchHeader { base_sequence: 5, ..h };
        assert!(matches!(plan(&view, &gap, &CLIENT), Err(AppendError::OutOfOrderSequence { producer_id: 9, expected: 2, found: 5 })));
    }
}
