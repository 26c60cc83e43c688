//! OffsetFetch, API key 9, versions 1 to 10: the committed offsets of groups.
//!
//! v2 all topics (null) and an error for the request, v5 leader epochs (KIP-320), v6 flexible, v7 RequireStable (KIP-447), v8 several
//! groups (KIP-709), v9 member epochs (KIP-848; a classic group has none to check, a consumer group answers STALE_MEMBER_EPOCH), v10 topics by
//! id (an unknown one is UNKNOWN_TOPIC_ID). A partition without a committed offset has offset -1 and no error, also in a group that does not
//! exist.

use std::rc::Rc;

use bytes::Bytes;
use coreline_wire::TopicId;
use coreline_wire::error_code::ErrorCode;
use coreline_wire::message::offset_fetch as by_id;
use hashbrown::HashSet;
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{GroupId, OffsetFetchRequest, OffsetFetchResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::{HandlerResult, RequestContext, Response, codec};
use crate::coordinator::request::{FetchAnswer, FetchedOffset, OffsetFetch};
use crate::metadata::MetadataImage;
use crate::shard::Shard;

/// First version with several groups.
const BATCHED_VERSION: i16 = 8;
/// First version with an error for the request as a whole.
const TOP_ERROR_VERSION: i16 = 2;

/// Tells committed offsets.
pub async fn handle(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    if ctx.api_version >= by_id::VERSION {
        return handle_by_id(shard, ctx, body).await;
    }
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

async fn handle_by_id(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let request = codec::decode_own(ctx, &body, by_id::OffsetFetchRequest::decode)?;
    let mut groups = Vec::with_capacity(request.groups.len());
    for group in request.groups {
        let asked = group_by_id(&group, request.require_stable, &shard.image());
        let answer = shard.groups.fetch(asked).await;
        groups.push(respond_by_id(group, answer, &shard.image()));
    }
    Ok(Response::Frame(by_id::OffsetFetchResponse { throttle_time_ms: 0, groups }.encode()))
}

/// What the coordinator is asked; ids that nobody has are answered without it.
fn group_by_id(group: &by_id::OffsetFetchGroup, require_stable: bool, image: &MetadataImage) -> OffsetFetch {
    let named = |(id, partitions): &(TopicId, Vec<i32>)| Some((image.topic(*id)?.name.to_string(), partitions.clone()));
    OffsetFetch {
        group_id: group.group_id.to_string(),
        member_id: group.member_id.as_ref().map(|id| id.to_string()),
        member_epoch: group.member_epoch,
        topics: group.topics.as_ref().map(|topics| topics.iter().filter_map(named).collect()),
        require_stable,
    }
}

/// The coordinator's answer by id. A topic that was deleted in the meantime is as unknown as one that never was.
fn respond_by_id(group: by_id::OffsetFetchGroup, answer: FetchAnswer, image: &MetadataImage) -> by_id::OffsetFetchGroupResponse {
    let mut response = by_id::OffsetFetchGroupResponse { group_id: group.group_id, error_code: answer.error, ..Default::default() };
    if !answer.error.is_ok() {
        return response;
    }
    let mut told = Vec::with_capacity(answer.topics.len());
    for (name, partitions) in answer.topics {
        if let Some(topic) = image.topic_by_name(&name) {
            told.push((topic.id, partitions.into_iter().map(partition_by_id).collect()));
        }
    }
    // Without a list, every topic is known: it comes from the group.
    let known: HashSet<TopicId> = told.iter().map(|(id, _)| *id).collect();
    for (id, partitions) in group.topics.into_iter().flatten().filter(|(id, _)| !known.contains(id)) {
        let unknown = |index: i32| by_id::OffsetFetchPartition {
            error_code: ErrorCode::UnknownTopicId,
            ..partition_by_id(FetchedOffset::none(index))
        };
        told.push((id, partitions.into_iter().map(unknown).collect()));
    }
    response.topics = told;
    response
}

fn partition_by_id(p: FetchedOffset) -> by_id::OffsetFetchPartition {
    let metadata = Some(p.metadata.into());
    by_id::OffsetFetchPartition {
        index: p.partition,
        offset: p.offset,
        leader_epoch: p.leader_epoch,
        metadata,
        error_code: ErrorCode::None,
    }
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

    #[test]
    fn from_version_10_topics_are_named_by_id_and_unknown_ids_are_told() {
        let image = crate::controller::testing::World::with_topics(&["t"]).image;
        let (id, gone) = (image.topic_by_name("t").expect("created").id, TopicId([9; 16]));
        let group = |topics| by_id::OffsetFetchGroup { group_id: "g".into(), member_id: None, member_epoch: -1, topics };
        let some = group(Some(vec![(gone, vec![4]), (id, vec![0, 1])]));
        let asked = group_by_id(&some, true, &image);
        assert_eq!((asked.topics, asked.require_stable), (Some(vec![("t".to_owned(), vec![0, 1])]), true));
        assert_eq!(group_by_id(&group(None), false, &image).topics, None);

        let told = respond_by_id(some.clone(), answer(), &image);
        let shape: Vec<_> =
            told.topics.iter().flat_map(|(id, ps)| ps.iter().map(|p| (*id, p.index, p.offset, p.leader_epoch, p.error_code))).collect();
        let none = ErrorCode::None;
        assert_eq!(shape, [(id, 0, 42, 5, none), (id, 1, -1, -1, none), (gone, 4, -1, -1, ErrorCode::UnknownTopicId)]);
        assert_eq!(respond_by_id(group(None), answer(), &image).topics.len(), 1);
        let refused = FetchAnswer { error: ErrorCode::NotCoordinator, topics: Vec::new() };
        let told = respond_by_id(some, refused, &image);
        assert_eq!((told.error_code, told.topics.len()), (ErrorCode::NotCoordinator, 0));
    }
}
