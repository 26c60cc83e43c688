//! What is asked of the owner shard and changes nothing: offsets by time and by epoch, sizes, producers.

use coreline_storage::producer_state::ActiveProducer;
use coreline_wire::TopicPartition;
use coreline_wire::error_code::ErrorCode;

use super::request::{EpochFound, EpochQuery, OffsetFound, OffsetQuery};
use super::{Partition, PartitionManager};
use crate::error::storage_error_code;
use crate::shard::pace::Pace;

/// The protocol's negative timestamps.
pub mod marker {
    /// Offset behind the last readable record.
    pub const LATEST: i64 = -1;
    /// First offset of the log.
    pub const EARLIEST: i64 = -2;
    /// Offset of the record with the largest timestamp (KIP-734).
    pub const MAX_TIMESTAMP: i64 = -3;
    /// First offset that is on this node (KIP-405).
    pub const EARLIEST_LOCAL: i64 = -4;
    /// Last offset in tiered storage (KIP-1005).
    pub const LATEST_TIERED: i64 = -5;
    /// First offset not yet in tiered storage.
    pub const EARLIEST_PENDING_UPLOAD: i64 = -6;
}

fn failed(error: ErrorCode) -> OffsetFound {
    OffsetFound { error, offset: -1, timestamp: -1, leader_epoch: -1 }
}

/// Answers each query in order.
pub async fn list_offsets(partitions: &PartitionManager, queries: &[OffsetQuery]) -> Vec<OffsetFound> {
    let mut answers = Vec::with_capacity(queries.len());
    let mut pace = Pace::new();
    for query in queries {
        pace.step().await;
        let found = match partitions.get(query.partition) {
            Err(code) => failed(code),
            Ok(partition) => list_offset(&partition, query).await,
        };
        answers.push(found);
    }
    answers
}

async fn list_offset(partition: &Partition, query: &OffsetQuery) -> OffsetFound {
    if let Err(code) = partition.check_epoch(query.current_leader_epoch) {
        return failed(code);
    }
    let (log, high_watermark) = (&partition.log, partition.high_watermark.get());
    let found = |offset, timestamp, leader_epoch| OffsetFound { error: ErrorCode::None, offset, timestamp, leader_epoch };
    let result = match query.timestamp {
        marker::LATEST => return found(high_watermark, -1, partition.leader_epoch()),
        marker::EARLIEST | marker::EARLIEST_LOCAL => {
            let start = log.log_start_offset();
            let epoch = log.leader_epoch_at(start);
            // What comes next to an empty log is written in the epoch of now.
            return found(start, -1, if epoch < 0 { partition.leader_epoch() } else { epoch });
        }
        // There is no tiered storage here, so nothing is in it and nothing waits for it.
        marker::LATEST_TIERED | marker::EARLIEST_PENDING_UPLOAD => return found(-1, -1, -1),
        marker::MAX_TIMESTAMP => log.max_timestamp(high_watermark).await,
        timestamp => log.offset_for_timestamp(timestamp, high_watermark).await,
    };
    match result {
        Ok(Some(record)) => found(record.offset, record.timestamp_ms, record.leader_epoch),
        Ok(None) => found(-1, -1, -1),
        Err(error) => {
            tracing::error!(partition = %partition.id, topic = %partition.topic, timestamp = query.timestamp, %error, "offset lookup failed");
            failed(storage_error_code(&error))
        }
    }
}

/// Answers each query in order.
pub async fn epoch_ends(partitions: &PartitionManager, queries: &[EpochQuery]) -> Vec<EpochFound> {
    let (mut pace, mut all) = (Pace::new(), Vec::with_capacity(queries.len()));
    for query in queries {
        pace.step().await;
        all.push(epoch_end(partitions, query));
    }
    all
}

fn epoch_end(partitions: &PartitionManager, query: &EpochQuery) -> EpochFound {
    let checked = partitions.get(query.partition).and_then(|p| p.check_epoch(query.current_leader_epoch).map(|()| p));
    match checked {
        Err(error) => EpochFound { error, leader_epoch: -1, end_offset: -1 },
        Ok(partition) => {
            let (leader_epoch, end_offset) = partition.epoch_end_offset(query.leader_epoch);
            EpochFound { error: ErrorCode::None, leader_epoch, end_offset }
        }
    }
}

/// Bytes of each log, in order; `None` for one that is not here or cannot be used.
pub async fn log_sizes(partitions: &PartitionManager, asked: &[TopicPartition]) -> Vec<Option<u64>> {
    let (mut pace, mut all) = (Pace::new(), Vec::with_capacity(asked.len()));
    for id in asked {
        pace.step().await;
        all.push(partitions.get(*id).ok().map(|partition| partition.log.size_bytes()));
    }
    all
}

/// The producers that each log remembers, in order.
pub async fn producers(partitions: &PartitionManager, asked: &[TopicPartition]) -> Vec<Result<Vec<ActiveProducer>, ErrorCode>> {
    let (mut pace, mut all) = (Pace::new(), Vec::with_capacity(asked.len()));
    for id in asked {
        pace.step().await;
        let found = match partitions.get(*id) {
            Err(code) => Err(code),
            Ok(partition) => partition.log.producers().await.map_err(|error| storage_error_code(&error)),
        };
        all.push(found);
    }
    all
}
