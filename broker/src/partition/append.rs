//! Appending to partitions, in stages: fence -> validate -> place in the log -> wait for what the topic's durability class promises, and for replicas.
//!
//! The first three are the ordered part: they are over, batch by batch in request order, before a later request of the same
//! connection starts. The wait runs beside other requests. Called by `request.rs` on the owner shard.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use coreline_storage::journal::FrameCost;
use coreline_storage::{AppendContext, AppendError, AppendOrigin, Appended};
use coreline_wire::error_code::ErrorCode;
use coreline_wire::ids::Offset;
use coreline_wire::record::batch::{Origin, RawBatch, ValidBatch};

use super::request::{Acks, Appender, ProducePart, Produced};
use super::{Partition, PartitionConfig, recode};
use crate::error::{append_error, storage_error_code};
use crate::metrics::Counter;
use crate::purgatory::Reached;
use crate::shard::pace::Pace;
use crate::shard::planted_delay::planted;
use crate::shard::{Shard, clock};
use crate::stage::{Stage, StageStamps, monotonic_us};

/// A part that has its place in the log and waits for the rest.
struct Placed {
    partition: Rc<Partition>,
    appended: Appended,
}

/// How long a produce waits for this node's own disk at least: the client's timeout is meant for replicas (in Kafka acks=1 ignores it, and
/// with one replica 0 or less never ends a wait).
const OWN_DISK_MIN_MS: i32 = 1_000;

/// Appends each part and waits as `acks` asks. Answers keep the order of the parts.
pub async fn produce(
    shard: &Rc<Shard>,
    parts: Vec<ProducePart>,
    acks: Acks,
    timeout_ms: i32,
    appender: Appender,
    stamps: &mut StageStamps,
) -> Vec<Produced> {
    let began_us = monotonic_us();
    stamps.mark(Stage::ShardHop, began_us);
    let deadline = Duration::from_millis(timeout_ms.max(OWN_DISK_MIN_MS) as u64);
    // Who asks for no answer is held back instead, as long as it takes.
    let patience = Patience { began_us, limit: (acks != Acks::None).then_some(deadline) };
    // Taken before the first wait: whoever comes later queues behind this request, even when it has to wait for room.
    let entering = shard.partitions.appends.enter();
    let Some(inside) = patience.bound(entering).await else {
        return parts.iter().map(|_| Produced::failed(ErrorCode::RequestTimedOut, None)).collect();
    };
    planted(Stage::ShardHop, stamps).await;
    let mut placed = Vec::with_capacity(parts.len());
    let mut pace = Pace::new();
    for part in parts {
        placed.push(place(shard, part, acks, appender, &patience).await);
        // Inside the turnstile: nobody's batch comes between those of this request.
        pace.steps(STEPS_OF_AN_APPEND).await;
    }
    drop(inside);
    stamps.mark(Stage::Validate, monotonic_us());
    planted(Stage::Validate, stamps).await;
    if clock::within(deadline, wait_all(&placed, acks)).await.is_some() && acks != Acks::None {
        charge_wait(stamps, shard.partitions.frame_cost.get());
        for stage in [Stage::JournalWait, Stage::DeviceWrite, Stage::Flush] {
            planted(stage, stamps).await;
        }
    }
    let mut produced = Vec::with_capacity(placed.len());
    for outcome in placed {
        produced.push(outcome.map_or_else(|failed| failed, |p| finish(&p, acks)));
        pace.step().await;
    }
    produced
}

/// How long a request waits for its place in the log, which it may not get while a disk is full: what has none by then is refused, and nothing of it is
/// seen later.
struct Patience {
    began_us: u64,
    /// `None`: as long as it takes.
    limit: Option<Duration>,
}

impl Patience {
    /// `None` when the time is over first.
    async fn bound<F: Future>(&self, wait: F) -> Option<F::Output> {
        match self.limit {
            None => Some(wait.await),
            Some(limit) => clock::within(limit.saturating_sub(Duration::from_micros(monotonic_us() - self.began_us)), wait).await,
        }
    }
}

/// An append takes about so many steps of a loop that only looks something up.
const STEPS_OF_AN_APPEND: usize = 4;

async fn place(shard: &Shard, part: ProducePart, acks: Acks, appender: Appender, patience: &Patience) -> Result<Placed, Produced> {
    let refuse = |code: ErrorCode| Produced::failed(code, None);
    let partition = shard.partitions.get(part.partition).map_err(refuse)?;
    partition.check_epoch(-1).map_err(refuse)?;
    let config = partition.config();
    // More than there are replicas is never asked for (as Kafka since it tracks eligible leader replicas).
    let in_sync_min = i64::from(config.min_insync_replicas).min(partition.replica_count() as i64);
    if acks == Acks::All && (partition.in_sync_count() as i64) < in_sync_min {
        let message = format!(
            "The size of the current ISR : {} is insufficient to satisfy the min.isr requirement of {} for partition {}-{}",
            partition.in_sync_count(),
            in_sync_min,
            partition.topic,
            part.partition.partition
        );
        return Err(in_log(&partition, Produced::failed(ErrorCode::NotEnoughReplicas, Some(message))));
    }
    let now_ms = shard.now_ms();
    let batch = validate(&partition, part.records, &config, appender, now_ms)?;
    let origin = match appender {
        Appender::Client { .. } => AppendOrigin::Client,
        Appender::Coordinator => AppendOrigin::Coordinator,
    };
    let context = AppendContext { now_ms, leader_epoch: partition.leader_epoch(), origin };
    loop {
        match partition.log.append(&batch, context) {
            Ok(appended) => {
                if !appended.duplicate {
                    let metrics = &shard.metrics;
                    metrics.inc(Counter::BatchesAppended);
                    metrics.add(Counter::RecordsAppended, batch.header().record_count as u64);
                    metrics.add(Counter::BytesAppended, batch.size_bytes() as u64);
                }
                return Ok(Placed { partition, appended });
            }
            Err(AppendError::Backpressure) => {
                // Nothing was placed; the line behind us waits too, so the order of a producer's batches holds.
                match patience.bound(shard.partitions.store().wait_space(batch.size_bytes())).await {
                    None => return Err(refuse(ErrorCode::RequestTimedOut)),
                    Some(Err(error)) => return Err(refuse(storage_error_code(&error))),
                    Some(Ok(())) => {}
                }
                if partition.high_watermark.is_closed() {
                    return Err(refuse(ErrorCode::UnknownTopicOrPartition));
                }
            }
            // The first append since the start; the line behind us waits here too.
            Err(AppendError::NotLoaded) => {
                if let Err(error) = partition.log.load().await {
                    tracing::error!(partition = %partition.id, topic = %partition.topic, %error, "the end of the log cannot be read");
                    return Err(refuse(storage_error_code(&error)));
                }
            }
            Err(error) => return Err(in_log(&partition, append_error(error))),
        }
    }
}

/// Adds the log start offset to a refusal by the rules of the log, as Kafka does, so that a producer learns of deleted records.
fn in_log(partition: &Partition, refused: Produced) -> Produced {
    use ErrorCode::{CorruptMessage, KafkaStorageError, MessageTooLarge, NotLeaderOrFollower, RecordListTooLarge, UnknownTopicOrPartition};
    let without = [CorruptMessage, KafkaStorageError, MessageTooLarge, NotLeaderOrFollower, RecordListTooLarge, UnknownTopicOrPartition];
    if without.contains(&refused.error) {
        return refused;
    }
    Produced { log_start_offset: partition.log.log_start_offset(), ..refused }
}

fn validate(
    partition: &Partition,
    records: Bytes,
    config: &PartitionConfig,
    appender: Appender,
    now_ms: i64,
) -> Result<ValidBatch, Produced> {
    let origin = match appender {
        Appender::Client { zstd_allowed } => Origin::Client { zstd_allowed },
        Appender::Coordinator => Origin::Broker,
    };
    let batch = RawBatch::new(records).validate(origin).map_err(|error| {
        let refused = Produced::failed(error.error_code(), Some(error.to_string()));
        if error.is_before_log() { refused } else { in_log(partition, refused) }
    })?;
    if batch.header().attributes.is_transactional() && origin != Origin::Broker {
        // KIP-890: without a transaction that the coordinator knows of there is nothing to append to.
        return Err(Produced::failed(ErrorCode::InvalidTxnState, None));
    }
    recode::prepare(batch, config, now_ms).map_err(|refused| in_log(partition, refused))
}

/// Splits a wait that is over by what the group commit that ended it cost: the flush and the write were last, before them the batch
/// waited for the journal to take it.
fn charge_wait(stamps: &mut StageStamps, cost: FrameCost) {
    let now = monotonic_us();
    let flush_began = now.saturating_sub(cost.flush_ns / 1000);
    stamps.mark(Stage::JournalWait, flush_began.saturating_sub(cost.write_ns / 1000));
    stamps.mark(Stage::DeviceWrite, flush_began);
    stamps.mark(Stage::Flush, now);
}

async fn wait_all(placed: &[Result<Placed, Produced>], acks: Acks) {
    let mut pace = Pace::new();
    for p in placed.iter().flatten() {
        pace.step().await;
        let end = p.appended.last_offset + 1;
        match acks {
            Acks::None => {}
            Acks::Leader => drop(p.partition.settled.at_least(end).await),
            Acks::All => drop(p.partition.high_watermark.at_least(end).await),
        }
    }
}

/// The answer after the wait: what was reached decides, not whether the deadline passed.
fn finish(placed: &Placed, acks: Acks) -> Produced {
    let Placed { partition, appended } = placed;
    let end: Offset = appended.last_offset + 1;
    let mark = match acks {
        Acks::None => return done(appended),
        Acks::Leader => &partition.settled,
        Acks::All => &partition.high_watermark,
    };
    match reached(mark, end) {
        Some(Reached::Yes) => done(appended),
        Some(Reached::Closed) => Produced::failed(ErrorCode::KafkaStorageError, None),
        None => Produced::failed(ErrorCode::RequestTimedOut, None),
    }
}

fn reached(mark: &crate::purgatory::Watermark, end: Offset) -> Option<Reached> {
    if mark.get() >= end {
        Some(Reached::Yes)
    } else if mark.is_closed() {
        Some(Reached::Closed)
    } else {
        None
    }
}

fn done(appended: &Appended) -> Produced {
    Produced {
        error: ErrorCode::None,
        base_offset: appended.base_offset,
        log_append_time_ms: appended.log_append_time_ms.unwrap_or(-1),
        log_start_offset: appended.log_start_offset,
        record_errors: Vec::new(),
        message: None,
    }
}
