//! DescribeProducers (key 61, v0): the idempotent producers that partitions remember (KIP-664).
//!
//! Left out: transactions, of which there are none, so no producer has a coordinator epoch or an open transaction.

use std::rc::Rc;

use bytes::Bytes;
use coreline_storage::producer_state::ActiveProducer;
use coreline_wire::TopicPartition;
use coreline_wire::error_code::ErrorCode;
use kafka_protocol::messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use kafka_protocol::messages::{DescribeProducersRequest, DescribeProducersResponse, ProducerId};

use super::{HandlerResult, RequestContext, codec};
use crate::partition::request::{PartitionReply, PartitionRequest};
use crate::shard::route::{self, Share};
use crate::shard::{Shard, ShardReply, ShardRequest};

/// Asks the owners of the partitions.
pub async fn handle(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let request: DescribeProducersRequest = codec::decode(ctx, body)?;
    let image = shard.image();
    let unknown = || Err(ErrorCode::UnknownTopicOrPartition);
    let mut outcomes: Vec<Option<Result<Vec<ActiveProducer>, ErrorCode>>> = Vec::new();
    let mut parts = Vec::new();
    for topic in &request.topics {
        let found = image.topic_by_name(&topic.name);
        for &index in &topic.partition_indexes {
            let located = found.filter(|t| t.partition(index).is_some());
            if let Some(topic) = located {
                let partition = TopicPartition { topic: topic.id, partition: index };
                parts.push((outcomes.len(), partition, partition));
            }
            outcomes.push(located.is_none().then(unknown));
        }
    }
    let mut calls = Vec::new();
    for Share { shard: owner, places, parts } in route::split(parts, shard.count) {
        calls.push((places, shard.mesh.send(owner, ShardRequest::Partition(PartitionRequest::Producers(parts))).await?));
    }
    for (places, call) in calls {
        if let ShardReply::Partition(PartitionReply::Producers(found)) = call.await? {
            route::gather(&mut outcomes, &places, found);
        }
    }
    let mut outcomes = outcomes.into_iter();
    let topics = request.topics.into_iter().map(|topic| {
        let partition = |index: i32| partition_response(index, outcomes.next().flatten().unwrap_or_else(unknown));
        let partitions = topic.partition_indexes.into_iter().map(partition).collect();
        TopicResponse::default().with_name(topic.name).with_partitions(partitions)
    });
    codec::encode(ctx, &DescribeProducersResponse::default().with_topics(topics.collect()))
}

fn partition_response(index: i32, outcome: Result<Vec<ActiveProducer>, ErrorCode>) -> PartitionResponse {
    let response = PartitionResponse::default().with_partition_index(index).with_error_message(None);
    match outcome {
        Err(code) => response.with_error_code(code.code()),
        Ok(producers) => response.with_active_producers(producers.into_iter().map(producer_state).collect()),
    }
}

fn producer_state(producer: ActiveProducer) -> ProducerState {
    ProducerState::default()
        .with_producer_id(ProducerId(producer.producer_id))
        .with_producer_epoch(producer.epoch.into())
        .with_last_sequence(producer.last_sequence)
        .with_last_timestamp(producer.last_seen_ms)
        .with_coordinator_epoch(-1)
        .with_current_txn_start_offset(-1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_producer_is_told_without_a_transaction() {
        let producer = ActiveProducer { producer_id: 7, epoch: 2, last_sequence: 41, last_seen_ms: 1000 };
        let response = partition_response(3, Ok(vec![producer]));
        let state = &response.active_producers[0];
        assert_eq!((state.producer_id.0, state.producer_epoch, state.last_sequence, state.last_timestamp), (7, 2, 41, 1000));
        assert_eq!((state.coordinator_epoch, state.current_txn_start_offset), (-1, -1));
        assert_eq!(partition_response(0, Err(ErrorCode::UnknownTopicOrPartition)).error_code, 3);
    }
}
