//! OffsetCommit, API key 8, versions 2 to 9: offsets of a group, to be kept.
//!
//! v2 to v4 carry a retention of their own, v6 leader epochs (KIP-320), v7 static members (KIP-345), v8 flexible, v9 the codes of
//! KIP-848 (GROUP_ID_NOT_FOUND, STALE_MEMBER_EPOCH). Answered when durable. Topics that do not exist are answered
//! UNKNOWN_TOPIC_OR_PARTITION beside the others. Diverges: so are partitions that do not exist, where Kafka keeps their offsets.
//! Left out: v10 (topic ids), which the message library does not know yet.

use std::rc::Rc;

use bytes::Bytes;
use coreline_wire::TopicId;
use coreline_wire::error_code::ErrorCode;
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse, TopicName};

use super::{HandlerResult, RequestContext, codec};
use crate::coordinator::request::{CommitAnswer, OffsetCommit, PartitionCommit, TopicCommit};
use crate::shard::Shard;

/// First version whose clients know GROUP_ID_NOT_FOUND.
const MISSING_GROUP_VERSION: i16 = 9;

/// Per requested topic: its name, and per partition its number and what was decided here, if anything.
type Decided = Vec<(TopicName, Vec<(i32, Option<ErrorCode>)>)>;

/// Keeps a group's offsets.
pub async fn handle(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let request: OffsetCommitRequest = codec::decode(ctx, body)?;
    let image = shard.image();
    let find =
        |topic: &str, partition: i32| image.topic_by_name(topic).filter(|topic| topic.partition(partition).is_some()).map(|topic| topic.id);
    let (commit, decided) = to_coordinator(request, ctx.api_version, find);
    let answer = if commit.topics.is_empty() { CommitAnswer::default() } else { shard.groups.commit(commit).await };
    codec::encode(ctx, &respond(decided, answer))
}

fn to_coordinator(request: OffsetCommitRequest, version: i16, find: impl Fn(&str, i32) -> Option<TopicId>) -> (OffsetCommit, Decided) {
    let mut topics = Vec::new();
    let mut decided = Decided::new();
    for topic in request.topics {
        let mut outcomes = Vec::with_capacity(topic.partitions.len());
        let mut commit = TopicCommit { name: topic.name.to_string(), ..TopicCommit::default() };
        for p in topic.partitions {
            let Some(id) = find(&topic.name, p.partition_index) else {
                outcomes.push((p.partition_index, Some(ErrorCode::UnknownTopicOrPartition)));
                continue;
            };
            outcomes.push((p.partition_index, None));
            commit.id = id;
            commit.partitions.push(PartitionCommit {
                partition: p.partition_index,
                offset: p.committed_offset,
                leader_epoch: p.committed_leader_epoch,
                metadata: p.committed_metadata.map(|text| text.to_string()),
                refused: ErrorCode::None,
            });
        }
        if !commit.partitions.is_empty() {
            topics.push(commit);
        }
        decided.push((topic.name, outcomes));
    }
    let commit = OffsetCommit {
        group_id: request.group_id.to_string(),
        generation_id: request.generation_id_or_member_epoch,
        member_id: request.member_id.to_string(),
        instance_id: request.group_instance_id.map(|id| id.to_string()),
        retention_ms: request.retention_time_ms,
        tells_missing_group: version >= MISSING_GROUP_VERSION,
        topics,
    };
    (commit, decided)
}

/// The coordinator answers what it was asked, in that order; what was decided here lies between. A topic without partitions is left out.
fn respond(decided: Decided, answer: CommitAnswer) -> OffsetCommitResponse {
    let mut answered = answer.topics.into_iter().flat_map(|(_, partitions)| partitions);
    let mut topics = Vec::with_capacity(decided.len());
    for (name, partitions) in decided {
        let mut outcomes = Vec::with_capacity(partitions.len());
        for (partition, error) in partitions {
            let error = error.unwrap_or_else(|| answered.next().map_or(ErrorCode::UnknownServerError, |(_, error)| error));
            outcomes.push(OffsetCommitResponsePartition::default().with_partition_index(partition).with_error_code(error.code()));
        }
        if !outcomes.is_empty() {
            topics.push(OffsetCommitResponseTopic::default().with_name(name).with_partitions(outcomes));
        }
    }
    OffsetCommitResponse::default().with_topics(topics)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::messages::GroupId;
    use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
    use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

    use super::*;

    fn topic(name: &'static str, partitions: &[i32], version: i16) -> OffsetCommitRequestTopic {
        let partition = |p: &i32| {
            let partition = OffsetCommitRequestPartition::default()
                .with_partition_index(*p)
                .with_committed_offset(100 + i64::from(*p))
                .with_committed_metadata(Some(StrBytes::from_static_str("note")));
            if version >= 6 { partition.with_committed_leader_epoch(4) } else { partition }
        };
        OffsetCommitRequestTopic::default()
            .with_name(TopicName(StrBytes::from_static_str(name)))
            .with_partitions(partitions.iter().map(partition).collect())
    }

    #[test]
    fn what_does_not_exist_is_answered_in_its_place_and_the_rest_goes_to_the_coordinator() {
        let id = TopicId([7; 16]);
        for version in 2..=9 {
            let topics = vec![topic("gone", &[0], version), topic("t", &[0, 9, 1], version)];
            let mut request = OffsetCommitRequest::default()
                .with_group_id(GroupId(StrBytes::from_static_str("g")))
                .with_generation_id_or_member_epoch(3)
                .with_member_id(StrBytes::from_static_str("m-1"))
                .with_topics(topics);
            if version <= 4 {
                request = request.with_retention_time_ms(60_000);
            }
            let mut bytes = BytesMut::new();
            request.encode(&mut bytes, version).expect("encodes");
            let request = OffsetCommitRequest::decode(&mut bytes.freeze(), version).expect("decodes");
            let (commit, decided) = to_coordinator(request, version, |topic, partition| (topic == "t" && partition < 2).then_some(id));
            let kept = |partition: i32| PartitionCommit {
                partition,
                offset: 100 + i64::from(partition),
                leader_epoch: if version >= 6 { 4 } else { -1 },
                metadata: Some("note".into()),
                refused: ErrorCode::None,
            };
            let expected = TopicCommit { name: "t".into(), id, partitions: vec![kept(0), kept(1)] };
            assert_eq!(commit.topics, [expected], "version {version}");
            assert_eq!(commit.retention_ms, if version <= 4 { 60_000 } else { -1 }, "version {version}");
            assert_eq!(commit.tells_missing_group, version >= 9, "version {version}");

            let answer = CommitAnswer { topics: vec![("t".into(), vec![(0, ErrorCode::None), (1, ErrorCode::OffsetMetadataTooLarge)])] };
            let mut bytes = BytesMut::new();
            respond(decided, answer).encode(&mut bytes, version).expect("encodes");
            let response = OffsetCommitResponse::decode(&mut bytes.freeze(), version).expect("decodes");
            let told: Vec<(String, Vec<(i32, i16)>)> = response
                .topics
                .iter()
                .map(|topic| (topic.name.to_string(), topic.partitions.iter().map(|p| (p.partition_index, p.error_code)).collect()))
                .collect();
            assert_eq!(told, [("gone".to_owned(), vec![(0, 3)]), ("t".to_owned(), vec![(0, 0), (9, 3), (1, 12)])], "version {version}");
        }
    }
}
