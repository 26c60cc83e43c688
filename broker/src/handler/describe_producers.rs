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

use super::admin::text;
use super::{HandlerResult, RequestContext, codec};
use crate::controller::ApiError;
use crate::metadata::{MetadataImage, TopicImage, topic_name};
use crate::partition::request::{PartitionReply, PartitionRequest};
use crate::shard::pace::Pace;
use crate::shard::route::{self, Share};
use crate::shard::{Shard, ShardReply, ShardRequest};

/// The producers of a partition.
type Outcome = Result<Vec<ActiveProducer>, ApiError>;

/// Asks the owners of the partitions.
pub async fn handle(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let request: DescribeProducersRequest = codec::decode(ctx, body)?;
    let image = shard.image();
    let unknown = || Err(ApiError { code: ErrorCode::UnknownTopicOrPartition, message: None });
    let mut outcomes: Vec<Option<Outcome>> = Vec::new();
    let mut parts = Vec::new();
    let mut pace = Pace::new();
    for topic in &request.topics {
        let found = find(&image, &topic.name);
        for &index in &topic.partition_indexes {
            pace.step().await;
            let refused = match &found {
                Err(error) => Some(Err(error.clone())),
                Ok(topic) if topic.partition(index).is_none() => Some(unknown()),
                Ok(topic) => {
                    let partition = TopicPartition { topic: topic.id, partition: index };
                    parts.push((outcomes.len(), partition, partition));
                    None
                }
            };
            outcomes.push(refused);
        }
    }
    let mut calls = Vec::new();
    let shares = route::split(parts, shard.count);
    pace.steps(outcomes.len() / 2).await;
    for Share { shard: owner, places, parts } in shares {
        calls.push((places, shard.mesh.send(owner, ShardRequest::Partition(PartitionRequest::Producers(parts))).await?));
    }
    for (places, call) in calls {
        if let ShardReply::Partition(PartitionReply::Producers(found)) = call.await? {
            let found = found.into_iter().map(|result| result.map_err(|code| ApiError { code, message: None }));
            route::gather(&mut outcomes, &places, found);
            pace.steps(places.len() / 2).await;
        }
    }
    let all = outcomes.len();
    let mut outcomes = outcomes.into_iter();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
        for index in topic.partition_indexes {
            pace.step().await;
            partitions.push(partition_response(index, outcomes.next().flatten().unwrap_or_else(unknown)));
        }
        topics.push(TopicResponse::default().with_name(topic.name).with_partitions(partitions));
    }
    pace.steps(all / 2).await;
    codec::encode(ctx, &DescribeProducersResponse::default().with_topics(topics))
}

/// The topic; an error that names the topic has a sentence, one of a partition has none, as in Kafka.
fn find<'a>(image: &'a MetadataImage, name: &str) -> Result<&'a TopicImage, ApiError> {
    topic_name::validate(name).map_err(|reason| ApiError::new(ErrorCode::InvalidTopicException, reason))?;
    let unknown = || ApiError::new(ErrorCode::UnknownTopicOrPartition, "This server does not host this topic-partition.");
    image.topic_by_name(name).map(|topic| &**topic).ok_or_else(unknown)
}

fn partition_response(index: i32, outcome: Outcome) -> PartitionResponse {
    let response = PartitionResponse::default().with_partition_index(index).with_error_message(None);
    match outcome {
        Err(error) => response.with_error_code(error.code.code()).with_error_message(text(error.message)),
        Ok(producers) => response.with_active_producers(producers.into_iter().map(producer_state).collect()),
    }
}

fn producer_state(producer: ActiveProducer) -> ProducerState {
    ProducerState::default()
        .with_producer_id(ProducerId(producer.producer_id))
        .with_producer_epoch(producer.epoch.into())
        .with_last_sequence(producer.last_sequence)
        .with_last_timestamp(producer.last_timestamp_ms)
        .with_coordinator_epoch(-1)
        .with_current_txn_start_offset(-1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_producer_is_told_without_a_transaction() {
        let producer = ActiveProducer { producer_id: 7, epoch: 2, last_sequence: 41, last_timestamp_ms: 1000 };
        let response = partition_response(3, Ok(vec![producer]));
        let state = &response.active_producers[0];
        assert_eq!((state.producer_id.0, state.producer_epoch, state.last_sequence, state.last_timestamp), (7, 2, 41, 1000));
        assert_eq!((state.coordinator_epoch, state.current_txn_start_offset), (-1, -1));
        let image = crate::controller::testing::World::with_topics(&["t"]).image;
        assert!(find(&image, "t").is_ok());
        for (name, code) in [("u", 3), ("a b", 17), ("", 17)] {
            let refused = find(&image, name).map(|_| Vec::new());
            let response = partition_response(0, refused);
            assert!(response.error_code == code && response.error_message.is_some(), "{name:?}");
        }
    }
}
