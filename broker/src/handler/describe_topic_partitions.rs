//! DescribeTopicPartitions (key 75, v0): partitions of topics in name order, a page at a time (KIP-966).
//!
//! The cursor names the first partition of the next page. A page holds at most `response_partition_limit` partitions, at least 1 and at
//! most `max.request.partition.size.limit`. No topics means all. Left out: eligible leader replicas, which there are none of yet.

use std::collections::BTreeSet;
use std::rc::Rc;

use bytes::Bytes;
use coreline_wire::error_code::ErrorCode;
use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::{BrokerId, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicName};

use super::admin::{OPERATIONS_NOT_ASKED, TOPIC_OPERATIONS, uuid};
use super::metadata::{leader_and_error, offline};
use super::{HandlerResult, RequestContext, codec};
use crate::metadata::image::is_internal_topic;
use crate::metadata::{MetadataImage, TopicImage, topic_name};
use crate::shard::Shard;

/// Answers at once from this shard's image.
pub async fn handle(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let request: DescribeTopicPartitionsRequest = codec::decode(ctx, body)?;
    codec::encode(ctx, &answer(&shard.image(), &request, shard.config.max_request_partition_size_limit))
}

/// One page, as a function of the image.
pub fn answer(image: &MetadataImage, request: &DescribeTopicPartitionsRequest, page_max: i32) -> DescribeTopicPartitionsResponse {
    let all = request.topics.is_empty();
    let mut names: Vec<String> = match all {
        true => image.topics_sorted().iter().map(|topic| topic.name.to_string()).collect(),
        false => request.topics.iter().map(|topic| topic.name.to_string()).collect(),
    };
    names.sort_unstable();
    names.dedup();
    let (mut first_topic, mut first_partition) = ("", 0);
    if let Some(cursor) = &request.cursor {
        first_topic = cursor.topic_name.as_str();
        let known = all || names.iter().any(|name| name == first_topic);
        let Some(partition) = usize::try_from(cursor.partition_index).ok().filter(|_| known) else {
            return bad_cursor(request, &names);
        };
        first_partition = partition;
    }

    let mut room = request.response_partition_limit.clamp(1, page_max.max(1)) as usize;
    let mut topics = Vec::new();
    let mut next = None;
    for name in names.iter().filter(|name| name.as_str() >= first_topic) {
        let from = if name == first_topic { first_partition } else { 0 };
        if room == 0 {
            next = Some((name.clone(), 0));
            break;
        }
        let Some(topic) = image.topic_by_name(name) else {
            let bad = topic_name::validate(name).is_err();
            let code = if bad { ErrorCode::InvalidTopicException } else { ErrorCode::UnknownTopicOrPartition };
            topics.push(refused(name, code, TOPIC_OPERATIONS));
            continue;
        };
        let to = topic.partitions.len().min(from.saturating_add(room));
        room -= to.saturating_sub(from);
        topics.push(describe(image, topic, from, to));
        if to < topic.partitions.len() && from <= to {
            next = Some((name.clone(), to as i32));
            break;
        }
    }
    let cursor = next.map(|(name, partition)| Cursor::default().with_topic_name(TopicName(name.into())).with_partition_index(partition));
    DescribeTopicPartitionsResponse::default().with_topics(topics).with_next_cursor(cursor)
}

/// Refuses every topic, in the order of the request.
fn bad_cursor(request: &DescribeTopicPartitionsRequest, all: &[String]) -> DescribeTopicPartitionsResponse {
    let mut names: Vec<&str> = request.topics.iter().map(|topic| topic.name.as_str()).collect();
    if names.is_empty() {
        names = all.iter().map(String::as_str).collect();
    }
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(*name));
    let topics = names.into_iter().map(|name| refused(name, ErrorCode::InvalidRequest, OPERATIONS_NOT_ASKED));
    DescribeTopicPartitionsResponse::default().with_topics(topics.collect())
}

fn describe(image: &MetadataImage, topic: &TopicImage, from: usize, to: usize) -> DescribeTopicPartitionsResponseTopic {
    let brokers = |ids: &[i32]| ids.iter().copied().map(BrokerId).collect::<Vec<_>>();
    let partitions = topic.partitions.iter().enumerate().take(to).skip(from).map(|(index, partition)| {
        let (leader, error) = leader_and_error(image, partition);
        DescribeTopicPartitionsResponsePartition::default()
            .with_error_code(error.code())
            .with_partition_index(index as i32)
            .with_leader_id(BrokerId(leader))
            .with_leader_epoch(partition.leader_epoch)
            .with_replica_nodes(brokers(&partition.replicas))
            .with_isr_nodes(brokers(&partition.isr))
            .with_eligible_leader_replicas(Some(Vec::new()))
            .with_last_known_elr(Some(Vec::new()))
            .with_offline_replicas(offline(image, partition))
    });
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(TopicName(topic.name.to_string().into())))
        .with_topic_id(uuid(topic.id))
        .with_is_internal(topic.is_internal())
        .with_partitions(partitions.collect())
        .with_topic_authorized_operations(TOPIC_OPERATIONS)
}

fn refused(name: &str, code: ErrorCode, operations: i32) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(TopicName(name.to_owned().into())))
        .with_error_code(code.code())
        .with_is_internal(is_internal_topic(name))
        .with_topic_authorized_operations(operations)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::NewTopic;
    use crate::controller::testing::World;
    use kafka_protocol::messages::describe_topic_partitions_request::{Cursor as AskedCursor, TopicRequest};
    use kafka_protocol::protocol::Encodable;

    type Told = (Vec<(String, i16, Vec<i32>)>, Option<(String, i32)>);

    fn told(image: &MetadataImage, names: &[&str], limit: i32, cursor: Option<(&str, i32)>) -> Told {
        let name = |name: &str| TopicName(name.to_owned().into());
        let topics = names.iter().map(|topic| TopicRequest::default().with_name(name(topic))).collect();
        let cursor = cursor.map(|(topic, index)| AskedCursor::default().with_topic_name(name(topic)).with_partition_index(index));
        let request =
            DescribeTopicPartitionsRequest::default().with_topics(topics).with_response_partition_limit(limit).with_cursor(cursor);
        let response = answer(image, &request, 2_000);
        assert!(response.compute_size(0).is_ok());
        let topics = response.topics.iter().map(|topic| {
            let name = topic.name.as_ref().map(|name| name.to_string()).unwrap_or_default();
            (name, topic.error_code, topic.partitions.iter().map(|partition| partition.partition_index).collect())
        });
        (topics.collect(), response.next_cursor.map(|cursor| (cursor.topic_name.to_string(), cursor.partition_index)))
    }

    fn image() -> MetadataImage {
        let mut world = World::new();
        for name in ["d1", "d2"] {
            world.create(NewTopic { partitions: 3, replication_factor: 1, ..NewTopic::with_defaults(name) }).expect("created");
        }
        world.image
    }

    fn topic(name: &str, partitions: &[i32]) -> (String, i16, Vec<i32>) {
        (name.to_owned(), 0, partitions.to_vec())
    }

    #[test]
    fn pages_follow_names_and_partitions() {
        // Every row was asked from Apache Kafka 4.3.1.
        let image = image();
        let whole = vec![topic("d1", &[0, 1, 2]), topic("d2", &[0, 1, 2])];
        assert_eq!(told(&image, &["d1", "d2"], 2000, None), (whole.clone(), None));
        assert_eq!(told(&image, &["d2", "d1", "d2"], 2000, None), (whole.clone(), None), "sorted, each once");
        assert_eq!(told(&image, &[], 2000, None), (whole, None), "no topics means all");
        assert_eq!(told(&image, &["d1", "d2"], 2, None), (vec![topic("d1", &[0, 1])], Some(("d1".into(), 2))));
        assert_eq!(told(&image, &["d1", "d2"], 2, Some(("d1", 2))), (vec![topic("d1", &[2]), topic("d2", &[0])], Some(("d2".into(), 1))));
        assert_eq!(told(&image, &["d1", "d2"], 3, None), (vec![topic("d1", &[0, 1, 2])], Some(("d2".into(), 0))));
        assert_eq!(told(&image, &["d1", "d2"], 100, Some(("d2", 1))), (vec![topic("d2", &[1, 2])], None));
        assert_eq!(told(&image, &["d1"], 0, None), (vec![topic("d1", &[0])], Some(("d1".into(), 1))));
        assert_eq!(told(&image, &["d1"], -1, None), (vec![topic("d1", &[0])], Some(("d1".into(), 1))));
        assert_eq!(told(&image, &["d1"], 100, Some(("d1", 9))), (vec![topic("d1", &[])], None));
    }

    #[test]
    fn what_does_not_exist_is_an_error_of_its_own() {
        let image = image();
        let error = |name: &str, code| (name.to_owned(), code, vec![]);
        assert_eq!(told(&image, &["nope", "d1", "a b"], 2000, None).0, [error("a b", 17), topic("d1", &[0, 1, 2]), error("nope", 3)]);
        // What does not exist takes no room, but a full page ends before it.
        assert_eq!(
            told(&image, &["nope", "d1", "a b"], 3, None),
            (vec![error("a b", 17), topic("d1", &[0, 1, 2])], Some(("nope".into(), 0)))
        );
        assert_eq!(told(&image, &["d2", "d1"], 100, Some(("d1", -1))).0, [error("d2", 42), error("d1", 42)], "in the request's order");
        assert_eq!(told(&image, &["d1"], 100, Some(("d1", -1))).0, [error("d1", 42)]);
        assert_eq!(told(&image, &["d1", "d2"], 100, Some(("d1x", 1))).0, [error("d1", 42), error("d2", 42)]);
    }
}
