//! Reading from partitions: what a fetch gets now (bound -> plan -> read), and waiting for more.
//!
//! Nothing is copied here: an answer is a list of spans of memory and of files. Callers: `request.rs`, the group coordinator's loader.

use std::sync::Arc;

use coreline_storage::{ReadError, ReadSpan};
use coreline_wire::TopicPartition;
use coreline_wire::error_code::ErrorCode;
use coreline_wire::ids::Offset;

use super::request::{FetchPart, Fetched};
use super::{Partition, PartitionManager};
use crate::error::storage_error_code;
use crate::fetch_session::FetchWant;
use crate::handler::{Chunk, FileSpan};
use crate::purgatory::News;
use crate::shard::pace::Pace;

/// Reads each part in order until `max_bytes` are found. The first batch found is given even when it is larger (KIP-74).
pub async fn read(partitions: &PartitionManager, parts: &[FetchPart], max_bytes: i32) -> Vec<Fetched> {
    let mut left = i64::from(max_bytes.max(0));
    let mut nothing_yet = true;
    let mut answers = Vec::with_capacity(parts.len());
    let mut pace = Pace::new();
    for part in parts {
        pace.step().await;
        let fetched = match partitions.get(part.partition) {
            Err(code) => Fetched::failed(code),
            Ok(partition) => read_one(&partition, &part.want, left.min(i64::from(i32::MAX)) as i32, nothing_yet).await,
        };
        left = (left - fetched.bytes as i64).max(0);
        nothing_yet &= fetched.bytes == 0;
        answers.push(fetched);
    }
    answers
}

async fn read_one(partition: &Partition, want: &FetchWant, budget: i32, at_least_one: bool) -> Fetched {
    if let Err(code) = partition.check_epoch(want.current_leader_epoch) {
        return Fetched { leader_epoch: partition.leader_epoch(), ..Fetched::failed(code) };
    }
    let log = &partition.log;
    let high_watermark = partition.high_watermark.get();
    let mut answer = Fetched {
        error: ErrorCode::None,
        high_watermark,
        last_stable_offset: partition.last_stable_offset(),
        log_start_offset: log.log_start_offset(),
        diverging: None,
        leader_epoch: partition.leader_epoch(),
        records: Vec::new(),
        bytes: 0,
        limited: false,
    };
    if want.last_fetched_epoch >= 0 {
        let (epoch, end) = partition.epoch_end_offset(want.last_fetched_epoch);
        if epoch < 0 {
            // The reader has seen an epoch that this log has not: nothing can be said of where the two part.
            return Fetched { leader_epoch: partition.leader_epoch(), ..Fetched::failed(ErrorCode::OffsetOutOfRange) };
        }
        if epoch < want.last_fetched_epoch || end < want.fetch_offset {
            answer.diverging = Some((epoch, end));
            return answer;
        }
    }
    if want.fetch_offset < log.log_start_offset() || want.fetch_offset > log.log_end_offset() {
        return Fetched { leader_epoch: partition.leader_epoch(), ..Fetched::failed(ErrorCode::OffsetOutOfRange) };
    }
    if want.fetch_offset >= high_watermark {
        return answer;
    }
    let most = budget.min(want.max_bytes.max(0)) as u32;
    if most == 0 && !at_least_one {
        answer.limited = true;
        return answer;
    }
    match log.read(want.fetch_offset, most, high_watermark, at_least_one).await {
        Ok(plan) => {
            answer.limited = plan.next_offset < high_watermark;
            answer.bytes = plan.bytes as u64;
            answer.records = plan.spans.into_iter().map(into_chunk).collect();
            answer
        }
        Err(ReadError::OffsetOutOfRange { .. }) => Fetched::failed(ErrorCode::OffsetOutOfRange),
        Err(ReadError::Storage(error)) => {
            tracing::error!(partition = %partition.id, topic = %partition.topic, offset = want.fetch_offset, %error, "read failed");
            Fetched::failed(storage_error_code(&error))
        }
    }
}

fn into_chunk(span: ReadSpan) -> Chunk {
    match span {
        ReadSpan::Memory(bytes) => Chunk::Bytes(bytes),
        ReadSpan::File { file, position, len, ahead } => Chunk::File(FileSpan { file, position, len, ahead }),
    }
}

/// Waits until one of the partitions has the high watermark beside it, or is gone. An unknown partition ends the wait at once.
pub async fn wait(partitions: &PartitionManager, parts: &[(TopicPartition, Offset)]) {
    let mut pace = Pace::new();
    let mut held = Vec::with_capacity(parts.len());
    for &(id, at_least) in parts {
        match partitions.get(id) {
            Ok(partition) => held.push((partition, at_least)),
            Err(_) => return,
        }
        pace.step().await;
    }
    let news = Arc::new(News::default());
    let mut waits = Vec::with_capacity(held.len());
    for (partition, at_least) in &held {
        let mut wait = partition.high_watermark.at_least(*at_least);
        news.expect(&mut wait);
        waits.push(wait);
        if news.has_come() {
            break;
        }
        pace.step().await;
    }
    news.come().await;
    while waits.pop().is_some() {
        pace.step().await;
    }
}
