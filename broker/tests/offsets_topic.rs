//! `__consumer_offsets` of a real process: it is compacted while groups commit, a killed broker knows the same groups and offsets from what is
//! left, the offsets of a deleted topic are gone, and on a full disk who commits is answered in time.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // A client may sleep between two questions.

mod common;

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use common::{Broker, PATIENCE};
use kafka_protocol::messages::{
    CreateTopicsRequest, DeleteGroupsRequest, DeleteTopicsRequest, DescribeGroupsRequest, FindCoordinatorRequest, GroupId,
    JoinGroupRequest, ListGroupsRequest, OffsetCommitRequest, OffsetFetchRequest, RequestHeader, ResponseHeader, SyncGroupRequest,
    TopicName, create_topics_request as ct, join_group_request as jg, offset_commit_request as oc, offset_fetch_request as of,
    sync_group_request as sg,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

const PARTITIONS: i32 = 50;
const ROUNDS: i64 = 30;
const SETTINGS: [&str; 10] = [
    "--shards",
    "1",
    "--set",
    "offsets.topic.num.partitions=1",
    "--set",
    "offsets.topic.segment.bytes=1048576",
    "--set",
    "log.cleaner.backoff.ms=100",
    "--set",
    "group.initial.rebalance.delay.ms=0",
];

fn s(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_string())
}

fn group(name: &str) -> GroupId {
    GroupId(s(name))
}

fn ask<R: Request>(stream: &mut TcpStream, version: i16, request: &R) -> R::Response {
    let mut inner = BytesMut::new();
    let header = RequestHeader::default().with_request_api_key(R::KEY).with_request_api_version(version).with_client_id(Some(s("test")));
    header.encode(&mut inner, R::header_version(version)).unwrap();
    request.encode(&mut inner, version).unwrap();
    stream.write_all(&[&(inner.len() as i32).to_be_bytes()[..], &inner].concat()).unwrap();
    let mut answer = Bytes::from(common::read_frame(stream).expect("an answer"));
    ResponseHeader::decode(&mut answer, R::Response::header_version(version)).unwrap();
    R::Response::decode(&mut answer, version).unwrap()
}

/// A connection to a broker whose groups are loaded.
fn connect(broker: &Broker) -> TcpStream {
    let mut stream = broker.connect();
    let deadline = Instant::now() + PATIENCE;
    let find = FindCoordinatorRequest::default().with_coordinator_keys(vec![s("g")]);
    while ask(&mut stream, 4, &find).coordinators[0].error_code != 0 || ask(&mut stream, 5, &ListGroupsRequest::default()).error_code != 0 {
        assert!(Instant::now() < deadline, "no coordinator:\n{}", broker.log.text());
        std::thread::sleep(Duration::from_millis(20));
    }
    stream
}

fn commit(stream: &mut TcpStream, name: &str, topic: &str, from: i64, metadata: &str, member: Option<(&StrBytes, i32)>) {
    assert_eq!(try_commit(stream, name, topic, from, metadata, member), 0);
}

/// Commits offsets for all partitions; the code of all of them.
fn try_commit(stream: &mut TcpStream, name: &str, topic: &str, from: i64, metadata: &str, member: Option<(&StrBytes, i32)>) -> i16 {
    let partition = |p: i32| {
        oc::OffsetCommitRequestPartition::default()
            .with_partition_index(p)
            .with_committed_offset(from + i64::from(p))
            .with_committed_metadata(Some(s(metadata)))
    };
    let topic =
        oc::OffsetCommitRequestTopic::default().with_name(TopicName(s(topic))).with_partitions((0..PARTITIONS).map(partition).collect());
    let mut request = OffsetCommitRequest::default().with_group_id(group(name)).with_topics(vec![topic]);
    if let Some((member, generation)) = member {
        request = request.with_member_id(member.clone()).with_generation_id_or_member_epoch(generation);
    }
    let answer = ask(stream, 8, &request);
    let code = answer.topics[0].partitions[0].error_code;
    assert!(answer.topics[0].partitions.iter().all(|p| p.error_code == code), "{answer:?}");
    code
}

/// Bytes of all segments below a directory.
fn log_bytes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().map_while(Result::ok);
    let size = |path: &Path| match path.extension().is_some_and(|e| e == "log") {
        true => std::fs::metadata(path).map_or(0, |meta| meta.len()),
        false => 0,
    };
    entries.map(|entry| entry.path()).map(|path| if path.is_dir() { log_bytes(&path) } else { size(&path) }).sum()
}

/// All that clients can see of the groups.
fn seen(stream: &mut TcpStream) -> String {
    let described = ask(stream, 6, &DescribeGroupsRequest::default().with_groups(vec![group("stable"), group("gone"), group("simple")]));
    let listed = ask(stream, 5, &ListGroupsRequest::default());
    let all = |name| of::OffsetFetchRequestGroup::default().with_group_id(group(name)).with_topics(None);
    let fetched = ask(stream, 8, &OffsetFetchRequest::default().with_groups(vec![all("stable"), all("gone"), all("simple")]));
    format!("{described:?} {listed:?} {fetched:?}")
}

#[test]
fn the_offsets_topic_is_compacted_and_a_killed_broker_knows_the_same_groups() {
    let dir = common::dir();
    let broker = Broker::start(dir.path(), &SETTINGS);
    let mut stream = connect(&broker);
    let topic =
        |name| ct::CreatableTopic::default().with_name(TopicName(s(name))).with_num_partitions(PARTITIONS).with_replication_factor(1);
    let created = ask(&mut stream, 7, &CreateTopicsRequest::default().with_topics(vec![topic("t"), topic("u")]).with_timeout_ms(60_000));
    assert!(created.topics.iter().all(|topic| topic.error_code == 0), "{created:?}");

    let protocol =
        jg::JoinGroupRequestProtocol::default().with_name(s("range")).with_metadata(Bytes::from_static(b"\0\0\0\0\0\x01\0\x01t"));
    let join = JoinGroupRequest::default()
        .with_group_id(group("stable"))
        .with_session_timeout_ms(1_800_000)
        .with_rebalance_timeout_ms(60_000)
        .with_protocol_type(s("consumer"))
        .with_protocols(vec![protocol]);
    let joined = ask(&mut stream, 3, &join);
    let assigned =
        sg::SyncGroupRequestAssignment::default().with_member_id(joined.member_id.clone()).with_assignment(Bytes::from_static(b"mine"));
    let sync = SyncGroupRequest::default()
        .with_group_id(group("stable"))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_assignments(vec![assigned]);
    assert_eq!((joined.error_code, ask(&mut stream, 2, &sync).error_code), (0, 0));

    commit(&mut stream, "gone", "t", 1, "", None);
    commit(&mut stream, "simple", "u", 2, "", None);
    commit(&mut stream, "simple", "t", 3, "", None);
    let deleted = ask(&mut stream, 2, &DeleteGroupsRequest::default().with_groups_names(vec![group("gone")]));
    assert_eq!(deleted.results[0].error_code, 0);
    let metadata = "x".repeat(3_000);
    for round in 0..ROUNDS {
        commit(&mut stream, "stable", "t", round * 1_000, &metadata, Some((&joined.member_id, joined.generation_id)));
    }
    let written = ROUNDS as u64 * PARTITIONS as u64 * metadata.len() as u64;
    let deadline = Instant::now() + PATIENCE;
    while log_bytes(dir.path()) > written / 2 {
        assert!(Instant::now() < deadline, "{} bytes of {written} are left:\n{}", log_bytes(dir.path()), broker.log.text());
        std::thread::sleep(Duration::from_millis(50));
    }

    let before = seen(&mut stream);
    assert!(
        before.contains("\"Stable\"") && before.contains("b\"mine\"") && before.contains(&format!("{}", (ROUNDS - 1) * 1_000)),
        "{before}"
    );
    broker.kill();
    let broker = Broker::start(dir.path(), &SETTINGS);
    let mut stream = connect(&broker);
    assert_eq!(seen(&mut stream), before, "the groups after kill -9");

    let gone = ask(&mut stream, 5, &DeleteTopicsRequest::default().with_topic_names(vec![TopicName(s("u"))]).with_timeout_ms(60_000));
    assert_eq!(gone.responses[0].error_code, 0);
    let deadline = Instant::now() + PATIENCE;
    while seen(&mut stream).contains("name: \"u\"") {
        assert!(Instant::now() < deadline, "offsets of a deleted topic stay");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(seen(&mut stream).contains("name: \"t\""));
    broker.stop();
}

/// The most bytes that a file of a running broker may have from now on: its disk is as if it were full.
fn limit_files(broker: &Broker, bytes: &str) {
    let pid = broker.pid().to_string();
    let done = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:unlimited")]).status().expect("prlimit runs");
    assert!(done.success(), "prlimit: {done}");
}

#[test]
fn on_a_full_disk_without_a_reserve_commits_are_refused_in_time_and_taken_when_there_is_room() {
    let dir = common::dir();
    // Files may have as much as one of the journal has, and the segment of the offsets is to be larger.
    let small = [
        "offsets.topic.num.partitions=1",
        "offsets.topic.segment.bytes=104857600",
        "journal.file.bytes=1048576",
        "journal.max.bytes=3145728",
        "log.dir.free.min.bytes=0",
        "offsets.commit.timeout.ms=1000",
    ];
    let settings: Vec<&str> = ["--shards", "1"].into_iter().chain(small.into_iter().flat_map(|setting| ["--set", setting])).collect();
    let broker = Broker::start(dir.path(), &settings);
    let mut stream = connect(&broker);
    let topic = ct::CreatableTopic::default().with_name(TopicName(s("t"))).with_num_partitions(PARTITIONS).with_replication_factor(1);
    let created = ask(&mut stream, 7, &CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(60_000));
    assert_eq!(created.topics[0].error_code, 0, "{created:?}");
    limit_files(&broker, "1048576");
    let metadata = "x".repeat(3_000);
    let full = "the disk is full";
    let (mut taken, deadline) = (0, Instant::now() + PATIENCE);
    // The journal takes some, of 150 KiB each.
    loop {
        match try_commit(&mut stream, "g", "t", taken + 1, &metadata, None) {
            0 => taken += 1,
            15 if broker.log.text().contains(full) => break,
            // A slow moment of the machine.
            15 => {}
            other => panic!("{other} in place of COORDINATOR_NOT_AVAILABLE:\n{}", broker.log.text()),
        }
        assert!(Instant::now() < deadline, "never refused, {taken} taken:\n{}", broker.log.text());
    }
    limit_files(&broker, "unlimited");
    let deadline = Instant::now() + PATIENCE;
    while try_commit(&mut stream, "g", "t", taken + 2, "end", None) != 0 {
        assert!(Instant::now() < deadline, "not taken although there is room:\n{}", broker.log.text());
    }
    let all = of::OffsetFetchRequestGroup::default().with_group_id(group("g")).with_topics(None);
    let fetched = ask(&mut stream, 8, &OffsetFetchRequest::default().with_groups(vec![all]));
    assert_eq!(fetched.groups[0].topics[0].partitions.iter().find(|p| p.partition_index == 0).map(|p| p.committed_offset), Some(taken + 2));
    broker.stop();
}
