//! OffsetForLeaderEpoch, API key 23, versions 2 to 4: where a leader epoch ends (KIP-101, KIP-320), so that consumers detect truncation.
//!
//! Answers the largest epoch not above the asked one and its end offset, or (-1, -1).

use std::rc::Rc;

use bytes::Bytes;
use coreline_wire::TopicPartition;
use coreline_wire::error_code::ErrorCode;
use kafka_protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use super::{HandlerResult, RequestContext, codec};
use crate::partition::request::{EpochFound, EpochQuery, PartitionReply, PartitionRequest};
use crate::shard::pace::Pace;
use crate::shard::route::{self, Share};
use crate::shard::{Shard, ShardReply, ShardRequest};

/// Answers epoch queries.
pub async fn handle(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let request: OffsetForLeaderEpochRequest = codec::decode(ctx, body)?;
    let image = shard.image();
    let unknown = EpochFound { error: ErrorCode::UnknownTopicOrPartition, leader_epoch: -1, end_offset: -1 };
    let mut pace = Pace::new();
    let mut outcomes = Vec::new();
    let mut parts = Vec::new();
    for topic in &request.topics {
        let found = image.topic_by_name(&topic.topic);
        for p in &topic.partitions {
            pace.step().await;
            let located = found.filter(|t| t.partition(p.partition).is_some());
            if let Some(topic) = located {
                let partition = TopicPartition { topic: topic.id, partition: p.partition };
                let query = EpochQuery { partition, leader_epoch: p.leader_epoch, current_leader_epoch: p.current_leader_epoch };
                parts.push((outcomes.len(), partition, query));
            }
            outcomes.push(located.is_none().then_some(unknown));
        }
    }
    let mut calls = Vec::new();
    let shares = route::split(parts, shard.count);
    pace.steps(outcomes.len() / 2).await;
    for Share { shard: owner, places, parts } in shares {
        calls.push((places, shard.mesh.send(owner, ShardRequest::Partition(PartitionRequest::EpochEnd(parts))).await?));
    }
    for (places, call) in calls {
        if let ShardReply::Partition(PartitionReply::Epochs(found)) = call.await? {
            route::gather(&mut outcomes, &places, found);
            pace.steps(places.len() / 2).await;
        }
    }
    let all = outcomes.len();
    let mut outcomes = outcomes.into_iter();
    let mut response = OffsetForLeaderEpochResponse::default();
    for topic in request.topics {
        let mut out = OffsetForLeaderTopicResult::default().with_topic(topic.topic);
        for p in topic.partitions {
            pace.step().await;
            let found = outcomes.next().flatten().unwrap_or(unknown);
            out.partitions.push(
                EpochEndOffset::default()
                    .with_partition(p.partition)
                    .with_error_code(found.error.code())
                    .with_leader_epoch(found.leader_epoch)
                    .with_end_offset(found.end_offset),
            );
        }
        response.topics.push(out);
    }
    pace.steps(all / 2).await;
    codec::encode(ctx, &response)
}
