//! DeleteRecords on the owner shard: moves log start offsets, durably, never beyond the high watermark.

use coreline_storage::ReadError;
use coreline_wire::TopicPartition;
use coreline_wire::error_code::ErrorCode;
use coreline_wire::ids::Offset;

use super::PartitionManager;
use super::request::RecordsDeleted;
use crate::error::storage_error_code;

/// The marker for "up to the high watermark".
const HIGH_WATERMARK: Offset = -1;

/// Moves each partition's log start offset; -1 stands for the high watermark. In order.
pub async fn delete_records(partitions: &PartitionManager, parts: &[(TopicPartition, Offset)]) -> Vec<RecordsDeleted> {
    let mut answers = Vec::with_capacity(parts.len());
    for &(id, before) in parts {
        answers.push(match delete_one(partitions, id, before).await {
            Ok(low_watermark) => RecordsDeleted { error: ErrorCode::None, low_watermark },
            Err(error) => RecordsDeleted { error, low_watermark: -1 },
        });
    }
    answers
}

async fn delete_one(partitions: &PartitionManager, id: TopicPartition, before: Offset) -> Result<Offset, ErrorCode> {
    let partition = partitions.get(id)?;
    partition.check_epoch(-1)?;
    if !partition.config().log.cleanup_policy.delete {
        return Err(ErrorCode::PolicyViolation);
    }
    let high_watermark = partition.high_watermark.get();
    let before = if before == HIGH_WATERMARK { high_watermark } else { before };
    if before < 0 || before > high_watermark {
        return Err(ErrorCode::OffsetOutOfRange);
    }
    partition.log.delete_records(before).await.map_err(|error| match error {
        ReadError::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        ReadError::Storage(error) => {
            tracing::error!(partition = %id, topic = %partition.topic, before, %error, "records could not be deleted");
            storage_error_code(&error)
        }
    })
}
