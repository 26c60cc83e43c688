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
    Ok(AppendPlan::Append(Placement {
        base_offset,
        next_offset,
        leader_epoch,
        log_append_time_ms,
        max_timestamp_ms: log_append_time_ms.unwrap_or(header.max_timestamp),
        roll: must_roll(config, view.active, bytes, next_offset, ctx.now_ms),
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

fn must_roll(config: &LogConfig, active: &Segment, bytes: usize, next_offset: i64, now_ms: i64) -> bool {
    if active.size == 0 {
        return false;
    }
    let full = active.size as usize + bytes > config.segment_bytes as usize;
    let index_full = active.index.offsets.size_bytes() >= config.segment_index_bytes as usize;
    let old = active.first_append_ms.is_some_and(|first| now_ms.saturating_sub(first) >= config.segment_ms);
    // Indexes hold offsets relative to the segment's base in 31 bits.
    let too_far = next_offset - active.base_offset > i64::from(i32::MAX);
    full || index_full || old || too_far
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
        plan(&AppendView { config, producers: &producers, active, latest_epoch: 3 }, header, ctx)
    }

    fn placement(result: Result<AppendPlan, AppendError>) -> Placement {
        match result {
            Ok(AppendPlan::Append(placement)) => placement,
            other => panic!("not an append: {other:?}"),
        }
    }

    fn active(size: u32, next_offset: i64) -> Segment {
        Segment { size, next_offset, first_append_ms: Some(990_000), ..Segment::new(100) }
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
        let later = AppendContext { now_ms: 1_010_000, ..CLIENT };
        assert!(placement(decide(&LogConfig { timestamp_before_max_ms: i64::MAX, ..config.clone() }, &active(10, 120), &h, &later)).roll);
        assert!(placement(decide(&config, &active(10, 100 + i64::from(i32::MAX)), &h, &CLIENT)).roll);
        let mut full = active(0, 100);
        for i in 0..128 {
            full.add_batch(1, 101 + i, 100 + i, 0, 0, 0);
        }
        assert!(placement(decide(&LogConfig { segment_index_bytes: 1024, ..config }, &full, &h, &CLIENT)).roll);
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
        let view = AppendView { config: &config, producers: &producers, active: &a, latest_epoch: 3 };
        assert!(matches!(plan(&view, &h, &CLIENT), Ok(AppendPlan::Duplicate(BatchMark { base_offset: 40, last_offset: 41, .. }))));
        let gap = BatchHeader { base_sequence: 5, ..h };
        assert!(matches!(plan(&view, &gap, &CLIENT), Err(AppendError::OutOfOrderSequence { producer_id: 9, expected: 2, found: 5 })));
    }
}
