//! DeleteRecords, API key 21, versions 0 to 2: moves the first offset of partitions (KIP-107).
//!
//! -1 stands for the high watermark; beyond it OFFSET_OUT_OF_RANGE; a topic without the `delete` policy POLICY_VIOLATION, an internal
//! one INVALID_TOPIC_EXCEPTION; one without partitions is left out. Answered once the new start is durable.

use std::rc::Rc;

use bytes::Bytes;
use coreline_wire::TopicPartition;
use coreline_wire::error_code::ErrorCode;
use kafka_protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use kafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

use super::{HandlerResult, RequestContext, codec};
use crate::partition::request::{PartitionReply, PartitionRequest, RecordsDeleted};
use crate::shard::pace::Pace;
use crate::shard::route::{self, Share};
use crate::shard::{Shard, ShardReply, ShardRequest};

/// Moves log start offsets.
pub async fn handle(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let request: DeleteRecordsRequest = codec::decode(ctx, body)?;
    let image = shard.image();
    let unknown = RecordsDeleted { error: ErrorCode::UnknownTopicOrPartition, low_watermark: -1 };
    let internal = RecordsDeleted { error: ErrorCode::InvalidTopicException, low_watermark: -1 };
    let mut pace = Pace::new();
    let mut outcomes = Vec::new();
    let mut parts = Vec::new();
    for topic in &request.topics {
        let found = image.topic_by_name(&topic.name);
        for p in &topic.partitions {
            pace.step().await;
            let located = found.filter(|t| t.partition(p.partition_index).is_some());
            outcomes.push(match located {
                Some(topic) if topic.is_internal() => Some(internal),
                Some(topic) => {
                    let partition = TopicPartition { topic: topic.id, partition: p.partition_index };
                    parts.push((outcomes.len(), partition, (partition, p.offset)));
                    None
                }
                None => Some(unknown),
            });
        }
    }
    let mut calls = Vec::new();
    let shares = route::split(parts, shard.count);
    pace.steps(outcomes.len() / 2).await;
    for Share { shard: owner, places, parts } in shares {
        calls.push((places, shard.mesh.send(owner, ShardRequest::Partition(PartitionRequest::DeleteRecords(parts))).await?));
    }
    for (places, call) in calls {
        if let ShardReply::Partition(PartitionReply::Deleted(deleted)) = call.await? {
            route::gather(&mut outcomes, &places, deleted);
            pace.steps(places.len() / 2).await;
        }
    }
    let all = outcomes.len();
    let mut outcomes = outcomes.into_iter();
    let mut response = DeleteRecordsResponse::default();
    for topic in request.topics {
        let mut out = DeleteRecordsTopicResult::default().with_name(topic.name);
        for p in topic.partitions {
            pace.step().await;
            let deleted = outcomes.next().flatten().unwrap_or(unknown);
            out.partitions.push(
                DeleteRecordsPartitionResult::default()
                    .with_partition_index(p.partition_index)
                    .with_error_code(deleted.error.code())
                    .with_low_watermark(deleted.low_watermark),
            );
        }
        if !out.partitions.is_empty() {
            response.topics.push(out);
        }
    }
    pace.steps(all / 2).await;
    codec::encode(ctx, &response)
}
