//! Versions that are newer than the protocol crate: OffsetCommit and OffsetFetch v10 (topics by id), DescribeLogDirs v5 (cordoned directories).

use bytes::{Buf, Bytes};
use coreline_wire::TopicId;
use coreline_wire::api::ApiKey;
use coreline_wire::message::offset_commit::{OffsetCommitPartition, OffsetCommitRequest, OffsetCommitResponse, OffsetCommitTopic};
use coreline_wire::message::offset_fetch::{OffsetFetchGroup, OffsetFetchRequest, OffsetFetchResponse};
use kafka_protocol::messages::{
    DeleteTopicsRequest, DescribeLogDirsRequest, DescribeLogDirsResponse, delete_topics_request as dt, describe_log_dirs_response as dl,
};
use kafka_protocol::protocol::{Decodable, Encodable};

use super::session::Session;

/// The answer in version 5: as in version 4, with one more field at the end of each directory. There it reads as the number of tags.
fn read_dirs(mut body: Bytes) -> DescribeLogDirsResponse {
    let mut response = DescribeLogDirsResponse::default().with_throttle_time_ms(body.get_i32()).with_error_code(body.get_i16());
    for _ in 1..body.get_u8() {
        // A true would be read as one tag, and fail.
        response.results.push(dl::DescribeLogDirsResult::decode(&mut body, 4).expect("not cordoned"));
        assert_eq!(body.get_u8(), 0, "no tags");
    }
    assert!(body.get_u8() == 0 && body.is_empty(), "no tags, and the end");
    response
}

/// Asks for log directories in version 5; none is cordoned.
pub fn ask_dirs(
    session: &mut Session,
    case: &str,
    request: &DescribeLogDirsRequest,
    tell: impl FnOnce(&Session, &DescribeLogDirsResponse) -> String,
) {
    let write = |out: &mut Vec<u8>| request.encode(out, 4).expect("as version 4");
    session.ask_own(case, ApiKey::DescribeLogDirs, 5, write, |session, body| tell(session, &read_dirs(body)));
}

fn ask_commit(session: &mut Session, case: &str, request: &OffsetCommitRequest) {
    session.ask_own(&format!("by id: {case}"), ApiKey::OffsetCommit, 10, |out| request.write(out), |_, body| tell_commit(body));
}

fn ask_fetch(session: &mut Session, case: &str, groups: Vec<OffsetFetchGroup>, require_stable: bool) {
    let request = OffsetFetchRequest { groups, require_stable };
    session.ask_own(&format!("by id: {case}"), ApiKey::OffsetFetch, 10, |out| request.write(out), |_, body| tell_fetch(body));
}

/// All of this file but log directories.
pub fn cases(session: &mut Session) {
    let id = TopicId(session.create("by-id", 2, &[]).into_bytes());
    commits(session, id);
    fetches(session, id);
    deleted(session, id);
}

const NOBODY: TopicId = TopicId([0x5a; 16]);

fn topic(id: TopicId, partition: i32, offset: i64, metadata: Option<&str>) -> OffsetCommitTopic {
    let partition = OffsetCommitPartition { index: partition, offset, leader_epoch: -1, metadata: metadata.map(Into::into) };
    OffsetCommitTopic { topic_id: id, partitions: vec![partition] }
}

fn commit(session: &Session, group: &str, topics: Vec<OffsetCommitTopic>) -> OffsetCommitRequest {
    OffsetCommitRequest { group_id: session.group_name(group).into(), generation_id_or_member_epoch: -1, topics, ..Default::default() }
}

/// Topics by whether they are known and partitions by number: Kafka's order is that of a hash map.
fn tell_commit(body: Bytes) -> String {
    let mut response = OffsetCommitResponse::decode(&body, 10).expect("an answer");
    response.topics.iter_mut().for_each(|t| t.partitions.sort_by_key(|(partition, _)| *partition));
    response.topics.sort_by_key(|t| (t.topic_id == NOBODY, t.topic_id.is_zero()));
    shown(format!("{response:?}"))
}

fn shown(text: String) -> String {
    text.replace(&format!("{NOBODY}"), "nobody").replace(&format!("{}", TopicId::ZERO), "zero")
}

fn commits(session: &mut Session, id: TopicId) {
    session.mask(&id.to_string(), "known");
    for (case, id, partition, offset, metadata) in [
        ("simple", id, 0, 5, Some("note")),
        ("null metadata", id, 1, 6, None),
        ("unknown topic", NOBODY, 0, 5, Some("")),
        ("zero topic", TopicId::ZERO, 0, 5, Some("")),
        ("unknown partition", id, 9, 5, Some("")),
        ("partition -1", id, -1, 5, Some("")),
        ("offset -1", id, 0, -1, Some("")),
        ("offset -2", id, 0, -2, Some("")),
        ("metadata too large", id, 0, 5, Some(&*"x".repeat(4097))),
    ] {
        let request = commit(session, "by-id", vec![topic(id, partition, offset, metadata)]);
        ask_commit(session, case, &request);
        session.reconnect();
    }
    let member = |request: OffsetCommitRequest, epoch| OffsetCommitRequest {
        member_id: "m".into(),
        generation_id_or_member_epoch: epoch,
        ..request
    };
    for (case, group, epoch) in [
        ("unknown member", "by-id", 3),
        ("unknown member of an unknown group", "by-id-none", 3),
        ("member without generation", "by-id", -1),
    ] {
        let request = member(commit(session, group, vec![topic(id, 0, 5, None)]), epoch);
        ask_commit(session, case, &request);
        let request = member(commit(session, group, vec![topic(id, 0, 5, None), topic(NOBODY, 1, 5, None)]), epoch);
        ask_commit(session, &format!("{case}, one topic unknown"), &request);
    }
    for (case, topics) in [("no topics", vec![]), ("empty group", vec![topic(id, 0, 5, None)])] {
        let request = commit(session, if case == "empty group" { "" } else { "by-id" }, topics);
        ask_commit(session, case, &request);
    }
    let mut good = topic(id, 0, 7, Some("seven"));
    good.partitions.push(OffsetCommitPartition { index: 5, ..good.partitions[0].clone() });
    good.partitions[0].leader_epoch = 3;
    let request = commit(session, "by-id", vec![topic(NOBODY, 0, 1, None), good]);
    ask_commit(session, "good and bad", &request);
}

fn asked(session: &Session, group: &str, topics: Option<&[(TopicId, &[i32])]>) -> OffsetFetchGroup {
    let topics = topics.map(|topics| topics.iter().map(|(id, partitions)| (*id, partitions.to_vec())).collect());
    OffsetFetchGroup { group_id: session.group_name(group).into(), member_id: None, member_epoch: -1, topics }
}

/// As [`tell_commit`].
fn tell_fetch(body: Bytes) -> String {
    let mut response = OffsetFetchResponse::decode(&body, 10).expect("an answer");
    for group in &mut response.groups {
        group.topics.iter_mut().for_each(|(_, partitions)| partitions.sort_by_key(|p| p.index));
        group.topics.sort_by_key(|(id, _)| (*id == NOBODY, id.is_zero()));
    }
    shown(format!("{response:?}"))
}

fn fetches(session: &mut Session, id: TopicId) {
    let known: &[(TopicId, &[i32])] = &[(id, &[0, 1, 7])];
    let mixed: &[(TopicId, &[i32])] = &[(NOBODY, &[0, 3]), (id, &[1, 0])];
    for (case, groups) in [
        ("known", vec![("by-id", Some(known))]),
        ("known and unknown topic", vec![("by-id", Some(mixed))]),
        ("zero topic", vec![("by-id", Some(&[(TopicId::ZERO, &[0][..])][..]))]),
        ("two groups", vec![("by-id", Some(known)), ("by-id-none", Some(mixed))]),
        ("all topics", vec![("by-id", None), ("by-id-none", None)]),
        ("no topics", vec![("by-id", Some(&[][..]))]),
        ("no groups", vec![]),
        ("empty group", vec![("", Some(mixed))]),
    ] {
        let groups = groups.into_iter().map(|(group, topics)| asked(session, group, topics)).collect();
        ask_fetch(session, case, groups, false);
        session.reconnect();
    }
    let group = OffsetFetchGroup { member_id: Some("m".into()), member_epoch: 4, ..asked(session, "by-id", Some(mixed)) };
    ask_fetch(session, "stable, with member epoch", vec![group], true);
}

/// A topic's offsets are gone with it, its id is unknown, and a new topic of its name has none.
fn deleted(session: &mut Session, id: TopicId) {
    let topic = dt::DeleteTopicState::default().with_name(Some(session.topic("by-id")));
    session.call(6, &DeleteTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000));
    session.settle();
    let one: &[(TopicId, &[i32])] = &[(id, &[0])];
    let request = commit(session, "by-id", vec![self::topic(id, 0, 5, None)]);
    ask_commit(session, "deleted topic", &request);
    let group = asked(session, "by-id", Some(one));
    ask_fetch(session, "deleted topic", vec![group], false);
    let group = asked(session, "by-id", None);
    ask_fetch(session, "all topics, one deleted", vec![group], false);
    let next = TopicId(session.create("by-id", 1, &[]).into_bytes());
    session.mask(&next.to_string(), "next");
    let both: &[(TopicId, &[i32])] = &[(next, &[0]), (id, &[0])];
    let group = asked(session, "by-id", Some(both));
    ask_fetch(session, "new topic of the name", vec![group], false);
}
