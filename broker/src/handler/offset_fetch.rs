//! OffsetFetch, API key 9, versions 1 to 9: the committed offsets of groups.
//!
//! v2 all topics (null) and an error for the request, v5 leader epochs (KIP-320), v6 flexible, v7 RequireStable (KIP-447), v8 several
//! groups (KIP-709), v9 member epochs (KIP-848; a classic group has none to check, a consumer group answers STALE_MEMBER_EPOCH). A partition without a committed offset has
//! offset -1 and no error, also in a group that does not exist. Left out: v10 (topic ids), which the message library does not know yet.

use std::rc::Rc;

use bytes::Bytes;
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{GroupId, OffsetFetchRequest, OffsetFetchResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::{HandlerResult, RequestContext, codec};
use crate::coordinator::request::{FetchAnswer, FetchedOffset, OffsetFetch};
use crate::shard::Shard;

/// First version with several groups.
const BATCHED_VERSION: i16 = 8;
/// First version with an error for the request as a whole.
const TOP_ERROR_VERSION: i16 = 2;

/// Tells committed offsets.
pub async fn handle(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let request: OffsetFetchRequest = codec::decode(ctx, body)?;
    if ctx.api_version < BATCHED_VERSION {
        let asked = one_group(request);
        let answer = shard.groups.fetch(asked.clone()).await;
        return codec::encode(ctx, &respond_one(asked, answer, ctx.api_version));
    }
    let mut groups = Vec::new();
    for asked in several_groups(request) {
        let group_id = asked.group_id.clone();
        groups.push((group_id, shard.groups.fetch(asked).await));
    }
    codec::encode(ctx, &respond_several(groups))
}

fn one_group(request: OffsetFetchRequest) -> OffsetFetch {
    OffsetFetch {
        group_id: request.group_id.to_string(),
        member_id: None,
        member_epoch: -1,
        topics: request.topics.map(|topics| topics.into_iter().map(|topic| (topic.name.to_string(), topic.partition_indexes)).collect()),
        require_stable: request.require_stable,
    }
}

fn several_groups(request: OffsetFetchRequest) -> impl Iterator<Item = OffsetFetch> {
    let require_stable = request.require_stable;
    request.groups.into_iter().map(move |group| OffsetFetch {
        group_id: group.group_id.to_string(),
        member_id: group.member_id.map(|id| id.to_string()),
        member_epoch: group.member_epoch,
        topics: group.topics.map(|topics| topics.into_iter().map(|topic| (topic.name.to_string(), topic.partition_indexes)).collect()),
        require_stable,
    })
}

/// Version 1 has no place for an error but the partitions that were asked for.
fn respond_one(asked: OffsetFetch, answer: FetchAnswer, version: i16) -> OffsetFetchResponse {
    let topics = match asked.topics {
        Some(topics) if !answer.error.is_ok() && version < TOP_ERROR_VERSION => {
            topics.into_iter().map(|(name, partitions)| (name, partitions.into_iter().map(FetchedOffset::none).collect())).collect()
        }
        _ => answer.topics,
    };
    let error = answer.error.code();
    let partition = |p: FetchedOffset| {
        OffsetFetchResponsePartition::default()
            .with_partition_index(p.partition)
            .with_committed_offset(p.offset)
            .with_committed_leader_epoch(p.leader_epoch)
            .with_metadata(Some(StrBytes::from_string(p.metadata)))
            .with_error_code(error)
    };
    let topic = |(name, partitions): (String, Vec<FetchedOffset>)| {
        OffsetFetchResponseTopic::default()
            .with_name(TopicName(StrBytes::from_string(name)))
            .with_partitions(partitions.into_iter().map(partition).collect())
    };
    let response = OffsetFetchResponse::default().with_topics(topics.into_iter().map(topic).collect());
    if version < TOP_ERROR_VERSION { response } else { response.with_error_code(error) }
}

fn respond_several(groups: Vec<(String, FetchAnswer)>) -> OffsetFetchResponse {
    let partition = |p: FetchedOffset| {
        OffsetFetchResponsePartitions::default()
            .with_partition_index(p.partition)
            .with_committed_offset(p.offset)
            .with_committed_leader_epoch(p.leader_epoch)
            .with_metadata(Some(StrBytes::from_string(p.metadata)))
    };
    let topic = |(name, partitions): (String, Vec<FetchedOffset>)| {
        OffsetFetchResponseTopics::default()
            .with_name(TopicName(StrBytes::from_string(name)))
            .with_partitions(partitions.into_iter().map(partition).collect())
    };
    let group = |(group_id, answer): (String, FetchAnswer)| {
        OffsetFetchResponseGroup::default()
            .with_group_id(GroupId(StrBytes::from_string(group_id)))
            .with_error_code(answer.error.code())
            .with_topics(answer.topics.into_iter().map(topic).collect())
    };
    OffsetFetchResponse::default().with_groups(groups.into_iter().map(group).collect())
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use coreline_wire::error_code::ErrorCode;
    use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics};
    use kafka_protocol::protocol::{Decodable, Encodable};

    use super::*;

    fn text(text: &'static str) -> StrBytes {
        StrBytes::from_static_str(text)
    }

    fn answer() -> FetchAnswer {
        let offset = FetchedOffset { partition: 0, offset: 42, leader_epoch: 5, metadata: "note".into() };
        FetchAnswer { error: ErrorCode::None, topics: vec![("t".into(), vec![offset, FetchedOffset::none(1)])] }
    }

    fn through_bytes<T: Encodable + Decodable>(message: &T, version: i16) -> T {
        let mut bytes = BytesMut::new();
        message.encode(&mut bytes, version).unwrap_or_else(|error| panic!("version {version} does not encode: {error}"));
        T::decode(&mut bytes.freeze(), version).unwrap_or_else(|error| panic!("version {version} does not decode: {error}"))
    }

    #[test]
    fn up_to_version_7_one_group_is_asked_and_told() {
        for version in 1..8 {
            let topic = OffsetFetchRequestTopic::default().with_name(TopicName(text("t"))).with_partition_indexes(vec![0, 1]);
            let request = OffsetFetchRequest::default().with_group_id(GroupId(text("g"))).with_topics(Some(vec![topic]));
            let asked = one_group(through_bytes(&request, version));
            assert_eq!((asked.group_id.as_str(), &asked.topics), ("g", &Some(vec![("t".to_owned(), vec![0, 1])])), "version {version}");

            let response = through_bytes(&respond_one(asked.clone(), answer(), version), version);
            let epoch = |epoch| if version >= 5 { epoch } else { -1 };
            let told: Vec<_> = response.topics[0]
                .partitions
                .iter()
                .map(|p| (p.committed_offset, p.committed_leader_epoch, p.metadata.as_ref().map(|m| m.to_string())))
                .collect();
            assert_eq!(told, [(42, epoch(5), Some("note".into())), (-1, -1, Some(String::new()))], "version {version}");

            let refused = FetchAnswer { error: ErrorCode::CoordinatorLoadInProgress, topics: Vec::new() };
            let response = through_bytes(&respond_one(asked, refused, version), version);
            let of_partitions: Vec<i16> = response.topics.iter().flat_map(|t| &t.partitions).map(|p| p.error_code).collect();
            let expected: (i16, &[i16]) = if version < 2 { (0, &[14, 14]) } else { (14, &[]) };
            assert_eq!((response.error_code, &of_partitions[..]), expected, "version {version}");
        }
    }

    #[test]
    fn no_list_of_topics_means_all_from_version_2() {
        for version in 2..8 {
            let request = OffsetFetchRequest::default().with_group_id(GroupId(text("g"))).with_topics(None);
            assert_eq!(one_group(through_bytes(&request, version)).topics, None, "version {version}");
        }
    }

    #[test]
    fn from_version_8_several_groups_are_asked_and_told_each_with_its_error() {
        for version in 8..=9 {
            let topic = OffsetFetchRequestTopics::default().with_name(TopicName(text("t"))).with_partition_indexes(vec![0, 1]);
            let groups = vec![
                OffsetFetchRequestGroup::default().with_group_id(GroupId(text("g"))).with_topics(Some(vec![topic])),
                OffsetFetchRequestGroup::default().with_group_id(GroupId(text("h"))).with_topics(None),
            ];
            let request = OffsetFetchRequest::default().with_groups(groups).with_require_stable(true);
            let asked: Vec<OffsetFetch> = several_groups(through_bytes(&request, version)).collect();
            let shape: Vec<_> = asked.iter().map(|g| (g.group_id.as_str(), g.topics.is_some(), g.require_stable)).collect();
            assert_eq!(shape, [("g", true, true), ("h", false, true)], "version {version}");

            let refused = FetchAnswer { error: ErrorCode::NotCoordinator, topics: Vec::new() };
            let response = through_bytes(&respond_several(vec![("g".into(), answer()), ("h".into(), refused)]), version);
            let told: Vec<_> = response.groups.iter().map(|g| (g.group_id.to_string(), g.error_code, g.topics.len())).collect();
            assert_eq!(told, [("g".into(), 0, 1), ("h".into(), 16, 0)], "version {version}");
            assert_eq!(response.groups[0].topics[0].partitions[0].committed_leader_epoch, 5, "version {version}");
        }
    }
}
