//! DescribeQuorum (key 55, v0-2): leader, epoch and replicas of the metadata quorum (KIP-595).
//!
//! - v1: when each replica was heard of last (KIP-836)
//! - v2: directories and listeners of the nodes, sentences beside error codes (KIP-853)
//!
//! Offsets are positions in the metadata log: the end is the index after the last entry. The image holds what is committed and applied, and
//! a quorum of one commits what it appends. The node has no listener for controllers alone: the broker's are told.

use std::rc::Rc;

use bytes::Bytes;
use coreline_wire::error_code::ErrorCode;
use kafka_protocol::messages::describe_quorum_response::{Listener, Node, PartitionData, ReplicaState, TopicData};
use kafka_protocol::messages::{BrokerId, DescribeQuorumRequest, DescribeQuorumResponse};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::{HandlerResult, RequestContext, codec};
use crate::metadata::MetadataImage;
use crate::metadata::topic_name::CLUSTER_METADATA_TOPIC;
use crate::shard::Shard;

/// Answers at once from this shard's image.
pub async fn handle(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let request: DescribeQuorumRequest = codec::decode(ctx, body)?;
    codec::encode(ctx, &answer(&shard.image(), &request, Uuid::from_bytes(shard.directory_id), shard.now_ms(), ctx.api_version))
}

fn answer(image: &MetadataImage, request: &DescribeQuorumRequest, directory: Uuid, now_ms: i64, version: i16) -> DescribeQuorumResponse {
    // Where there is no error Kafka's sentences are empty; before v2 there is no place for them.
    let response = DescribeQuorumResponse::default().with_error_message((version >= 2).then(StrBytes::default));
    // One topic with one partition, and that the log of the quorum: anything else is unknown, each part of it.
    let right = match &request.topics[..] {
        [topic] => topic.topic_name.as_str() == CLUSTER_METADATA_TOPIC && matches!(&topic.partitions[..], [p] if p.partition_index == 0),
        _ => false,
    };
    let topics = request.topics.iter().map(|topic| {
        let partition = |index: i32| {
            let sentence = (version >= 2).then(StrBytes::default);
            let partition = PartitionData::default().with_partition_index(index).with_error_message(sentence);
            if right { describe(image, partition, directory, now_ms, version) } else { unknown(partition, version) }
        };
        let partitions = topic.partitions.iter().map(|asked| partition(asked.partition_index)).collect();
        TopicData::default().with_topic_name(topic.topic_name.clone()).with_partitions(partitions)
    });
    let response = response.with_topics(topics.collect());
    if right && version >= 2 { response.with_nodes(nodes(image)) } else { response }
}

fn unknown(partition: PartitionData, version: i16) -> PartitionData {
    let message = (version >= 2).then(|| "This server does not host this topic-partition.".into());
    partition.with_error_code(ErrorCode::UnknownTopicOrPartition.code()).with_error_message(message)
}

fn describe(image: &MetadataImage, partition: PartitionData, directory: Uuid, now_ms: i64, version: i16) -> PartitionData {
    let end = i64::try_from(image.position.index).unwrap_or(i64::MAX - 1) + 1;
    let mut voter = ReplicaState::default().with_replica_id(BrokerId(image.controller_id)).with_log_end_offset(end);
    if version >= 1 {
        // Kafka's leader has always just heard of itself.
        voter = voter.with_last_fetch_timestamp(now_ms).with_last_caught_up_timestamp(now_ms);
    }
    if version >= 2 {
        voter = voter.with_replica_directory_id(directory);
    }
    partition
        .with_leader_id(BrokerId(image.controller_id))
        .with_leader_epoch(i32::try_from(image.position.quorum_epoch).unwrap_or(i32::MAX))
        .with_high_watermark(end)
        .with_current_voters(vec![voter])
}

fn nodes(image: &MetadataImage) -> Vec<Node> {
    let Some(broker) = image.broker(image.controller_id) else { return Vec::new() };
    let listeners = broker.endpoints.iter().map(|endpoint| {
        Listener::default().with_name(endpoint.name.clone().into()).with_host(endpoint.host.clone().into()).with_port(endpoint.port)
    });
    vec![Node::default().with_node_id(BrokerId(broker.id)).with_listeners(listeners.collect())]
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::TopicName;
    use kafka_protocol::messages::describe_quorum_request as asked;

    use super::*;
    use crate::controller::testing::World;
    use crate::metadata::ImagePosition;

    fn request(topics: &[(&'static str, &[i32])]) -> DescribeQuorumRequest {
        let topic = |(name, partitions): &(&'static str, &[i32])| {
            let partitions = partitions.iter().map(|index| asked::PartitionData::default().with_partition_index(*index)).collect();
            asked::TopicData::default().with_topic_name(TopicName((*name).into())).with_partitions(partitions)
        };
        DescribeQuorumRequest::default().with_topics(topics.iter().map(topic).collect())
    }

    #[test]
    fn the_leader_is_its_only_voter() {
        let mut image = World::new().image;
        image.controller_id = 1;
        image.position = ImagePosition { quorum_epoch: 4, index: 41 };
        for version in 0..=2 {
            let response = answer(&image, &request(&[("__cluster_metadata", &[0])]), Uuid::from_u128(7), 1_000, version);
            let partition = &response.topics[0].partitions[0];
            assert_eq!((partition.leader_id.0, partition.leader_epoch, partition.high_watermark), (1, 4, 42));
            let voter = &partition.current_voters[0];
            assert_eq!((voter.replica_id.0, voter.log_end_offset), (1, 42));
            assert_eq!(voter.last_caught_up_timestamp, if version == 0 { -1 } else { 1_000 });
            assert_eq!(voter.replica_directory_id, Uuid::from_u128(if version < 2 { 0 } else { 7 }));
            assert_eq!(response.nodes.len(), usize::from(version >= 2));
            assert!(codec::encode(&RequestContext::for_test(55, version), &response).is_ok(), "v{version}");
        }
    }

    #[test]
    fn any_other_partition_is_unknown() {
        let image = World::new().image;
        for topics in [&[("t", &[0][..])][..], &[("__cluster_metadata", &[1])], &[("__cluster_metadata", &[0, 1])]] {
            let response = answer(&image, &request(topics), Uuid::nil(), 0, 2);
            assert!(response.topics[0].partitions.iter().all(|p| p.error_code == 3), "{topics:?}");
            assert!(response.nodes.is_empty());
        }
        assert!(answer(&image, &request(&[]), Uuid::nil(), 0, 2).topics.is_empty());
    }
}
