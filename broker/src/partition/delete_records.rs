//! DeleteRecords on the owner shard: moves log start offsets, durably, never beyond the high watermark.

use std::rc::Rc;

use coreline_storage::ReadError;
use coreline_wire::TopicPartition;
use coreline_wire::error_code::ErrorCode;
use coreline_wire::ids::Offset;

use super::request::RecordsDeleted;
use super::{Partition, PartitionLog, PartitionManager};
use crate::error::storage_error_code;
use crate::shard::pace::Pace;

/// The marker for "up to the high watermark".
const HIGH_WATERMARK: Offset = -1;

/// Moves each partition's log start offset; -1 stands for the high watermark. In order, all of them made durable by one write.
pub async fn delete_records(partitions: &PartitionManager, parts: &[(TopicPartition, Offset)]) -> Vec<RecordsDeleted> {
    let (mut pace, mut checked) = (Pace::new(), Vec::with_capacity(parts.len()));
    for &(id, before) in parts {
        pace.step().await;
        checked.push(check(partitions, id, before));
    }
    let moves: Vec<_> = checked.iter().flatten().map(|(partition, before)| (&partition.log, *before)).collect();
    let mut moved = match PartitionLog::delete_records_of_many(&moves).await {
        Ok(moved) => moved.into_iter(),
        Err(error) => {
            tracing::error!(partitions = moves.len(), %error, "records could not be deleted");
            let code = storage_error_code(&error);
            return checked.iter().map(|checked| failed(checked.as_ref().err().copied().unwrap_or(code))).collect();
        }
    };
    let mut answers = Vec::with_capacity(parts.len());
    for checked in &checked {
        pace.step().await;
        answers.push(match checked {
            Err(code) => failed(*code),
            Ok((partition, before)) => answer(partition, *before, moved.next()),
        });
    }
    answers
}

fn failed(error: ErrorCode) -> RecordsDeleted {
    RecordsDeleted { error, low_watermark: -1 }
}

fn answer(partition: &Partition, before: Offset, moved: Option<Result<Offset, ReadError>>) -> RecordsDeleted {
    match moved {
        Some(Ok(low_watermark)) => RecordsDeleted { error: ErrorCode::None, low_watermark },
        Some(Err(ReadError::OffsetOutOfRange { .. })) => failed(ErrorCode::OffsetOutOfRange),
        Some(Err(ReadError::Storage(error))) => {
            tracing::error!(partition = %partition.id, topic = %partition.topic, before, %error, "records could not be deleted");
            failed(storage_error_code(&error))
        }
        None => failed(ErrorCode::UnknownServerError),
    }
}

/// The partition and the first offset to keep.
fn check(partitions: &PartitionManager, id: TopicPartition, before: Offset) -> Result<(Rc<Partition>, Offset), ErrorCode> {
    let partition = partitions.get(id)?;
    partition.check_epoch(-1)?;
    if !partition.config().log.cleanup_policy.delete {
        return Err(ErrorCode::PolicyViolation);
    }
    let high_watermark = partition.high_watermark.get();
    let before = if before == HIGH_WATERMARK { high_watermark } else { before };
    if before < 0 || before > high_watermark { Err(ErrorCode::OffsetOutOfRange) } else { Ok((partition, before)) }
}
