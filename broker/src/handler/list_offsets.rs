//! ListOffsets, API key 2, versions 1 to 11: offsets by time, by marker, exact to the record.
//!
//! v4 leader epochs (KIP-320), v7 max timestamp (KIP-734), v8 earliest local (KIP-405), v9 latest tiered (KIP-1005), v11 earliest pending
//! upload (KIP-1023). A marker that the version does not know is answered UNSUPPORTED_VERSION, a partition named twice INVALID_REQUEST, as
//! in Kafka. A time that no record reaches is answered with offset -1 and no error. Left out: tiered storage (its markers are answered -1).

use std::rc::Rc;

use bytes::Bytes;
use coreline_wire::TopicPartition;
use coreline_wire::error_code::ErrorCode;
use hashbrown::HashSet;
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};

use super::{HandlerError, HandlerResult, RequestContext, codec};
use crate::partition::lookup::marker;
use crate::partition::request::{OffsetFound, OffsetQuery, PartitionReply, PartitionRequest};
use crate::shard::pace::Pace;
use crate::shard::route::{self, Share};
use crate::shard::{Shard, ShardReply, ShardRequest};

/// First version that knows a negative timestamp; `None` when none does.
fn marker_version_min(timestamp: i64) -> Option<i16> {
    match timestamp {
        marker::LATEST | marker::EARLIEST => Some(1),
        marker::MAX_TIMESTAMP => Some(7),
        marker::EARLIEST_LOCAL => Some(8),
        marker::LATEST_TIERED => Some(9),
        marker::EARLIEST_PENDING_UPLOAD => Some(11),
        t if t >= 0 => Some(1),
        _ => None,
    }
}

/// Answers offset queries.
pub async fn handle(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let request: ListOffsetsRequest = codec::decode(ctx, body)?;
    let version = ctx.api_version;
    let image = shard.image();
    let mut pace = Pace::new();
    let mut seen = HashSet::new();
    let mut twice = HashSet::new();
    for topic in &request.topics {
        for p in &topic.partitions {
            let key = (topic.name.as_str(), p.partition_index);
            if !seen.insert(key) {
                twice.insert(key);
            }
            pace.step().await;
        }
    }
    let mut outcomes: Vec<Option<OffsetFound>> = Vec::new();
    let mut parts = Vec::new();
    for topic in &request.topics {
        let found = image.topic_by_name(&topic.name);
        for p in &topic.partitions {
            pace.step().await;
            let place = outcomes.len();
            let supported = marker_version_min(p.timestamp).is_some_and(|min| version >= min);
            let located = found.filter(|t| t.partition(p.partition_index).is_some());
            let refused = match located {
                _ if twice.contains(&(topic.name.as_str(), p.partition_index)) => Some(ErrorCode::InvalidRequest),
                _ if !supported => Some(ErrorCode::UnsupportedVersion),
                None => Some(ErrorCode::UnknownTopicOrPartition),
                Some(topic) => {
                    let partition = TopicPartition { topic: topic.id, partition: p.partition_index };
                    let current_leader_epoch = if version >= 4 { p.current_leader_epoch } else { -1 };
                    parts.push((place, partition, OffsetQuery { partition, timestamp: p.timestamp, current_leader_epoch }));
                    None
                }
            };
            outcomes.push(refused.map(|error| OffsetFound { error, offset: -1, timestamp: -1, leader_epoch: -1 }));
        }
    }
    drop(seen);
    ask(shard, parts, &mut outcomes, &mut pace).await?;
    let outcomes_len = outcomes.len();
    let mut outcomes = outcomes.into_iter();
    // A partition named twice is answered once.
    let mut answered = HashSet::new();
    let mut response = ListOffsetsResponse::default();
    for topic in &request.topics {
        let mut out = ListOffsetsTopicResponse::default().with_name(topic.name.clone());
        for p in &topic.partitions {
            pace.step().await;
            let found = outcomes.next().flatten().unwrap_or(OffsetFound {
                error: ErrorCode::UnknownServerError,
                offset: -1,
                timestamp: -1,
                leader_epoch: -1,
            });
            let key = (topic.name.as_str(), p.partition_index);
            if twice.contains(&key) && !answered.insert(key) {
                continue;
            }
            out.partitions.push(
                ListOffsetsPartitionResponse::default()
                    .with_partition_index(p.partition_index)
                    .with_error_code(found.error.code())
                    .with_timestamp(found.timestamp)
                    .with_offset(found.offset)
                    .with_leader_epoch(if version >= 4 { found.leader_epoch } else { -1 }),
            );
        }
        response.topics.push(out);
    }
    pace.steps(outcomes_len / 2).await;
    codec::encode(ctx, &response)
}

async fn ask(
    shard: &Rc<Shard>,
    parts: Vec<(usize, TopicPartition, OffsetQuery)>,
    outcomes: &mut [Option<OffsetFound>],
    pace: &mut Pace,
) -> Result<(), HandlerError> {
    let mut calls = Vec::new();
    let shares = route::split(parts, shard.count);
    pace.steps(outcomes.len() / 2).await;
    for Share { shard: owner, places, parts } in shares {
        calls.push((places, shard.mesh.send(owner, ShardRequest::Partition(PartitionRequest::ListOffsets(parts))).await?));
    }
    for (places, call) in calls {
        if let ShardReply::Partition(PartitionReply::Offsets(found)) = call.await? {
            route::gather(outcomes, &places, found);
            pace.steps(places.len() / 2).await;
        }
    }
    Ok(())
}
