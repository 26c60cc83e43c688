//! OffsetDelete, API key 47, version 0: committed offsets that no member uses go (KIP-496).
//!
//! Partitions that do not exist are answered UNKNOWN_TOPIC_OR_PARTITION, those of a topic that members read GROUP_SUBSCRIBED_TO_TOPIC; an
//! offset that is not there is no error. With an error for the group there are no topics in the answer. Answered when durable.

use std::rc::Rc;

use bytes::Bytes;
use coreline_wire::error_code::ErrorCode;
use kafka_protocol::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use kafka_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse, TopicName};

use super::{HandlerResult, RequestContext, codec};
use crate::coordinator::request::{OffsetDelete, OffsetDeleteAnswer};
use crate::shard::Shard;

/// Per requested topic: its name, and per partition its number and what was decided here, if anything.
type Decided = Vec<(TopicName, Vec<(i32, Option<ErrorCode>)>)>;

/// Deletes offsets of a group.
pub async fn handle(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let request: OffsetDeleteRequest = codec::decode(ctx, body)?;
    let image = shard.image();
    let exists = |topic: &str, partition: i32| image.topic_by_name(topic).is_some_and(|topic| topic.partition(partition).is_some());
    let (delete, decided) = to_coordinator(request, exists);
    let answer = shard.groups.delete_offsets(delete).await;
    codec::encode(ctx, &respond(decided, answer))
}

fn to_coordinator(request: OffsetDeleteRequest, exists: impl Fn(&str, i32) -> bool) -> (OffsetDelete, Decided) {
    let mut topics = Vec::new();
    let mut decided = Decided::new();
    for topic in request.topics {
        let known = |partition: i32| exists(&topic.name, partition);
        let of_topic: Vec<i32> = topic.partitions.iter().map(|partition| partition.partition_index).collect();
        let decide = |partition: &i32| (*partition, (!known(*partition)).then_some(ErrorCode::UnknownTopicOrPartition));
        decided.push((topic.name.clone(), of_topic.iter().map(decide).collect()));
        topics.push((topic.name.to_string(), of_topic.into_iter().filter(|partition| known(*partition)).collect()));
    }
    (OffsetDelete { group_id: request.group_id.to_string(), topics }, decided)
}

/// The coordinator answers what it was asked, in that order; what was decided here lies between.
fn respond(decided: Decided, answer: OffsetDeleteAnswer) -> OffsetDeleteResponse {
    if !answer.error.is_ok() {
        return OffsetDeleteResponse::default().with_error_code(answer.error.code());
    }
    let mut answered = answer.topics.into_iter().flat_map(|(_, partitions)| partitions);
    let mut topics = Vec::with_capacity(decided.len());
    for (name, partitions) in decided {
        let mut outcomes = Vec::with_capacity(partitions.len());
        for (partition, error) in partitions {
            let error = error.unwrap_or_else(|| answered.next().map_or(ErrorCode::UnknownServerError, |(_, error)| error));
            outcomes.push(OffsetDeleteResponsePartition::default().with_partition_index(partition).with_error_code(error.code()));
        }
        // As in Kafka, a topic of which no partition was named is not in the answer.
        if outcomes.is_empty() {
            continue;
        }
        topics.push(OffsetDeleteResponseTopic::default().with_name(name).with_partitions(outcomes));
    }
    OffsetDeleteResponse::default().with_topics(topics)
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
    use kafka_protocol::protocol::StrBytes;

    use super::*;

    #[test]
    fn what_does_not_exist_is_answered_in_its_place() {
        let topic = |name: &'static str, partitions: &[i32]| {
            let partition = |p: &i32| OffsetDeleteRequestPartition::default().with_partition_index(*p);
            OffsetDeleteRequestTopic::default()
                .with_name(TopicName(StrBytes::from_static_str(name)))
                .with_partitions(partitions.iter().map(partition).collect())
        };
        let request = OffsetDeleteRequest::default().with_topics(vec![topic("gone", &[0]), topic("none", &[]), topic("t", &[0, 9, 1])]);
        let (asked, decided) = to_coordinator(request, |topic, partition| topic == "t" && partition < 2);
        assert_eq!(asked.topics, [("gone".to_owned(), vec![]), ("none".to_owned(), vec![]), ("t".to_owned(), vec![0, 1])]);
        let outcomes = vec![(0, ErrorCode::GroupSubscribedToTopic), (1, ErrorCode::None)];
        let answer = OffsetDeleteAnswer {
            error: ErrorCode::None,
            topics: vec![("gone".into(), vec![]), ("none".into(), vec![]), ("t".into(), outcomes)],
        };
        let response = respond(decided.clone(), answer);
        let told = |n: usize| response.topics[n].partitions.iter().map(|p| (p.partition_index, p.error_code)).collect::<Vec<_>>();
        assert_eq!((told(0), told(1)), (vec![(0, 3)], vec![(0, 86), (9, 3), (1, 0)]));
        let refused = respond(decided, OffsetDeleteAnswer { error: ErrorCode::GroupIdNotFound, topics: Vec::new() });
        assert_eq!((refused.error_code, refused.topics.len()), (69, 0));
    }
}
