//! OffsetCommit, API key 8, versions 2 to 10: offsets of a group, to be kept.
//!
//! v2 to v4 carry a retention of their own, v6 leader epochs (KIP-320), v7 static members (KIP-345), v8 flexible, v9 the codes of
//! KIP-848 (GROUP_ID_NOT_FOUND, STALE_MEMBER_EPOCH), v10 topics by id. Answered when durable. Topics and partitions that do not exist are
//! answered UNKNOWN_TOPIC_OR_PARTITION beside the others, ids that do not UNKNOWN_TOPIC_ID.

use std::rc::Rc;

use bytes::Bytes;
use coreline_wire::TopicId;
use coreline_wire::error_code::ErrorCode;
use coreline_wire::message::offset_commit::{self as by_id, OffsetCommitTopicResponse};
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse, TopicName};

use super::{HandlerResult, RequestContext, Response, codec};
use crate::coordinator::request::{CommitAnswer, OffsetCommit, PartitionCommit, TopicCommit};
use crate::metadata::MetadataImage;
use crate::shard::Shard;

/// First version whose clients know GROUP_ID_NOT_FOUND.
const MISSING_GROUP_VERSION: i16 = 9;

/// What is asked for one topic, whichever way it was named.
struct Asked<K> {
    /// How the client named it, and is to be answered.
    key: K,
    /// Its name; `None` for an id that nobody has.
    name: Option<String>,
    partitions: Vec<PartitionCommit>,
}

/// Per requested topic: how it was named, and per partition its number and what was decided here, if anything.
type Decided<K> = Vec<(K, Vec<(i32, Option<ErrorCode>)>)>;

/// The outcome of each partition, by topic.
type Outcomes<K> = Vec<(K, Vec<(i32, ErrorCode)>)>;

/// Keeps a group's offsets.
pub async fn handle(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    if ctx.api_version >= by_id::VERSION {
        let request = codec::decode_own(ctx, &body, by_id::OffsetCommitRequest::decode)?;
        let (group, topics) = asked_by_id(request, &shard.image());
        return Ok(respond_by_id(commit(shard, group, topics).await));
    }
    let request: OffsetCommitRequest = codec::decode(ctx, body)?;
    let (group, topics) = asked(request, ctx.api_version);
    codec::encode(ctx, &respond(commit(shard, group, topics).await))
}

async fn commit<K>(shard: &Rc<Shard>, group: OffsetCommit, topics: Vec<Asked<K>>) -> Outcomes<K> {
    let image = shard.image();
    let find =
        |topic: &str, partition: i32| image.topic_by_name(topic).filter(|topic| topic.partition(partition).is_some()).map(|topic| topic.id);
    let (commit, decided) = to_coordinator(group, topics, find);
    let answer = if commit.topics.is_empty() { CommitAnswer::default() } else { shard.groups.commit(commit).await };
    merge(decided, answer)
}

fn asked(request: OffsetCommitRequest, version: i16) -> (OffsetCommit, Vec<Asked<TopicName>>) {
    let partition = |p: kafka_protocol::messages::offset_commit_request::OffsetCommitRequestPartition| PartitionCommit {
        partition: p.partition_index,
        offset: p.committed_offset,
        leader_epoch: p.committed_leader_epoch,
        metadata: p.committed_metadata.map(|text| text.to_string()),
        refused: ErrorCode::None,
    };
    let topics = request.topics.into_iter().map(|topic| Asked {
        name: Some(topic.name.to_string()),
        key: topic.name,
        partitions: topic.partitions.into_iter().map(partition).collect(),
    });
    let group = OffsetCommit {
        group_id: request.group_id.to_string(),
        generation_id: request.generation_id_or_member_epoch,
        member_id: request.member_id.to_string(),
        instance_id: request.group_instance_id.map(|id| id.to_string()),
        retention_ms: request.retention_time_ms,
        tells_missing_group: version >= MISSING_GROUP_VERSION,
        topics: Vec::new(),
    };
    (group, topics.collect())
}

fn asked_by_id(request: by_id::OffsetCommitRequest, image: &MetadataImage) -> (OffsetCommit, Vec<Asked<TopicId>>) {
    let partition = |p: by_id::OffsetCommitPartition| PartitionCommit {
        partition: p.index,
        offset: p.offset,
        leader_epoch: p.leader_epoch,
        metadata: p.metadata.map(|text| text.to_string()),
        refused: ErrorCode::None,
    };
    let topics = request.topics.into_iter().map(|topic| Asked {
        key: topic.topic_id,
        name: image.topic(topic.topic_id).map(|found| found.name.to_string()),
        partitions: topic.partitions.into_iter().map(partition).collect(),
    });
    let group = OffsetCommit {
        group_id: request.group_id.to_string(),
        generation_id: request.generation_id_or_member_epoch,
        member_id: request.member_id.to_string(),
        instance_id: request.group_instance_id.map(|id| id.to_string()),
        retention_ms: -1,
        tells_missing_group: true,
        topics: Vec::new(),
    };
    (group, topics.collect())
}

fn to_coordinator<K>(group: OffsetCommit, asked: Vec<Asked<K>>, find: impl Fn(&str, i32) -> Option<TopicId>) -> (OffsetCommit, Decided<K>) {
    let mut topics = Vec::new();
    let mut decided = Decided::new();
    for topic in asked {
        let Some(name) = topic.name else {
            let unknown = |p: PartitionCommit| (p.partition, Some(ErrorCode::UnknownTopicId));
            decided.push((topic.key, topic.partitions.into_iter().map(unknown).collect()));
            continue;
        };
        let mut outcomes = Vec::with_capacity(topic.partitions.len());
        let mut commit = TopicCommit { name, ..TopicCommit::default() };
        for p in topic.partitions {
            let Some(id) = find(&commit.name, p.partition) else {
                outcomes.push((p.partition, Some(ErrorCode::UnknownTopicOrPartition)));
                continue;
            };
            outcomes.push((p.partition, None));
            commit.id = id;
            commit.partitions.push(p);
        }
        if !commit.partitions.is_empty() {
            topics.push(commit);
        }
        decided.push((topic.key, outcomes));
    }
    (OffsetCommit { topics, ..group }, decided)
}

/// The coordinator answers what it was asked, in that order; what was decided here lies between. A topic without partitions is left out.
fn merge<K>(decided: Decided<K>, answer: CommitAnswer) -> Outcomes<K> {
    let mut answered = answer.topics.into_iter().flat_map(|(_, partitions)| partitions);
    let mut outcome = |(partition, error): (i32, Option<ErrorCode>)| {
        (partition, error.unwrap_or_else(|| answered.next().map_or(ErrorCode::UnknownServerError, |(_, error)| error)))
    };
    let topics = decided.into_iter().map(|(key, partitions)| (key, partitions.into_iter().map(&mut outcome).collect::<Vec<_>>()));
    topics.filter(|(_, partitions)| !partitions.is_empty()).collect()
}

fn respond(outcomes: Outcomes<TopicName>) -> OffsetCommitResponse {
    let partition = |(partition, error): (i32, ErrorCode)| {
        OffsetCommitResponsePartition::default().with_partition_index(partition).with_error_code(error.code())
    };
    let topic = |(name, partitions): (TopicName, Vec<(i32, ErrorCode)>)| {
        OffsetCommitResponseTopic::default().with_name(name).with_partitions(partitions.into_iter().map(partition).collect())
    };
    OffsetCommitResponse::default().with_topics(outcomes.into_iter().map(topic).collect())
}

fn respond_by_id(outcomes: Outcomes<TopicId>) -> Response {
    let topics = outcomes.into_iter().map(|(topic_id, partitions)| OffsetCommitTopicResponse { topic_id, partitions }).collect();
    Response::Frame(by_id::OffsetCommitResponse { throttle_time_ms: 0, topics }.encode())
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
            let (group, topics) = asked(request, version);
            let (commit, decided) = to_coordinator(group, topics, |topic, partition| (topic == "t" && partition < 2).then_some(id));
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
            respond(merge(decided, answer)).encode(&mut bytes, version).expect("encodes");
            let response = OffsetCommitResponse::decode(&mut bytes.freeze(), version).expect("decodes");
            let told: Vec<(String, Vec<(i32, i16)>)> = response
                .topics
                .iter()
                .map(|topic| (topic.name.to_string(), topic.partitions.iter().map(|p| (p.partition_index, p.error_code)).collect()))
                .collect();
            assert_eq!(told, [("gone".to_owned(), vec![(0, 3)]), ("t".to_owned(), vec![(0, 0), (9, 3), (1, 12)])], "version {version}");
        }
    }

    #[test]
    fn from_version_10_topics_are_named_by_id_and_unknown_ids_are_told() {
        let image = crate::controller::testing::World::with_topics(&["t"]).image;
        let id = image.topic_by_name("t").expect("created").id;
        let partition = |index| by_id::OffsetCommitPartition { index, offset: 9, leader_epoch: 2, metadata: None };
        let topic =
            |topic_id, indexes: &[i32]| by_id::OffsetCommitTopic { topic_id, partitions: indexes.iter().map(|i| partition(*i)).collect() };
        let gone = TopicId([9; 16]);
        let request = by_id::OffsetCommitRequest {
            group_id: "g".into(),
            topics: vec![topic(gone, &[0, 3]), topic(id, &[1, 2])],
            ..Default::default()
        };
        let (group, topics) = asked_by_id(request, &image);
        assert_eq!((group.retention_ms, group.tells_missing_group), (-1, true));
        let (commit, decided) = to_coordinator(group, topics, |_, partition| (partition < 2).then_some(id));
        let kept = PartitionCommit { partition: 1, offset: 9, leader_epoch: 2, metadata: None, refused: ErrorCode::None };
        assert_eq!(commit.topics, [TopicCommit { name: "t".into(), id, partitions: vec![kept] }]);
        let answer = CommitAnswer { topics: vec![("t".into(), vec![(1, ErrorCode::None)])] };
        let unknown = (ErrorCode::UnknownTopicId, ErrorCode::UnknownTopicOrPartition);
        assert_eq!(
            merge(decided, answer),
            [(gone, vec![(0, unknown.0), (3, unknown.0)]), (id, vec![(1, ErrorCode::None), (2, unknown.1)])]
        );
    }
}
