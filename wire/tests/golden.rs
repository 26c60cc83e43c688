//! Golden frames: one per API and version, requests of every served API and answers of Produce and Fetch, as hex and in readable form.
//!
//! The files under `tests/golden/` hold whole frames, size prefix included, and are compared byte by byte with what the code makes today. A
//! difference means that the wire format changed, which it must not. To write them anew after adding an API or a version:
//! `CORELINE_WRITE_GOLDEN=1 cargo test -p coreline-wire --test golden`, then read the diff.

mod support;

use std::fmt::Write as _;
use std::path::PathBuf;

use bytes::{BufMut, Bytes, BytesMut};
use coreline_wire::api::{self, ApiKey, ApiSpec};
use coreline_wire::frame::FrameDecoder;
use coreline_wire::message::chunk::Chunk;
use coreline_wire::message::fetch::{
    AbortedTransaction, EpochEndOffset, FetchPartition, FetchPartitionResponse, FetchTopic, FetchTopicResponse, ForgottenTopic,
};
use coreline_wire::message::produce::{ProducePartition, ProducePartitionResponse, ProduceTopic, ProduceTopicResponse, RecordError};
use coreline_wire::message::{FetchRequest, FetchResponse, LeaderIdAndEpoch, NodeEndpoint, ProduceRequest, ProduceResponse};
use coreline_wire::record::BatchBuilder;
use coreline_wire::{ErrorCode, TopicId, WireString, fence, header};
use support::samples;

const CORRELATION_ID: i32 = 0x0123_4567;
const TOPIC_ID: TopicId = TopicId([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);

fn topic(version: i16) -> (WireString, TopicId) {
    if version >= 13 { (WireString::EMPTY, TOPIC_ID) } else { ("events".into(), TopicId::ZERO) }
}

fn batch() -> Bytes {
    let mut builder = BatchBuilder::new().producer(4000, 2, 17);
    builder.push(1_700_000_000_000, Some(b"key"), Some(b"value"), &[("header", Some(b"x"))]);
    builder.push(1_700_000_000_005, None, None, &[]);
    builder.build().expect("nothing is compressed")
}

fn produce_request(version: i16) -> Bytes {
    let (name, topic_id) = topic(version);
    let partitions = vec![ProducePartition { index: 3, records: Some(batch()) }, ProducePartition { index: 4, records: None }];
    let request = ProduceRequest {
        transactional_id: Some("tx".into()),
        acks: -1,
        timeout_ms: 30_000,
        topics: vec![ProduceTopic { name, topic_id, partitions }],
    };
    let mut out = BytesMut::new();
    request.encode(version, &mut out);
    out.freeze()
}

fn produce_response(version: i16) -> Bytes {
    let (name, topic_id) = topic(version);
    let good = ProducePartitionResponse { index: 3, base_offset: 1000, log_append_time_ms: -1, log_start_offset: 10, ..Default::default() };
    let mut bad = ProducePartitionResponse::failed(4, ErrorCode::NotLeaderOrFollower);
    bad.record_errors = vec![RecordError { batch_index: 1, message: Some("no key".into()) }];
    bad.error_message = Some("moved".into());
    bad.current_leader = Some(LeaderIdAndEpoch { leader_id: 2, leader_epoch: 9 });
    let response = ProduceResponse {
        topics: vec![ProduceTopicResponse { name, topic_id, partitions: vec![good, bad] }],
        throttle_time_ms: 5,
        node_endpoints: vec![NodeEndpoint { node_id: 2, host: "broker-2".into(), port: 9092, rack: Some("r".into()) }],
    };
    let mut out = BytesMut::new();
    response.encode(version, &mut out);
    out.freeze()
}

fn fetch_request(version: i16) -> Bytes {
    let (name, topic_id) = topic(version);
    let partition = FetchPartition {
        partition: 3,
        current_leader_epoch: 8,
        fetch_offset: 1000,
        last_fetched_epoch: 7,
        log_start_offset: 10,
        partition_max_bytes: 1 << 20,
        replica_directory_id: TOPIC_ID.0,
        high_watermark: 999,
    };
    let request = FetchRequest {
        cluster_id: Some("cluster".into()),
        replica_id: 2,
        replica_epoch: 77,
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: 50 << 20,
        isolation_level: 1,
        session_id: 42,
        session_epoch: 3,
        topics: vec![FetchTopic { name: name.clone(), topic_id, partitions: vec![partition] }],
        forgotten_topics: vec![ForgottenTopic { name, topic_id, partitions: vec![5, 6] }],
        rack_id: "rack".into(),
    };
    let mut out = BytesMut::new();
    request.encode(version, &mut out);
    out.freeze()
}

fn fetch_response(version: i16) -> Bytes {
    let (name, topic_id) = topic(version);
    let full = FetchPartitionResponse {
        partition: 3,
        high_watermark: 1002,
        last_stable_offset: 1001,
        log_start_offset: 10,
        aborted_transactions: Some(vec![AbortedTransaction { producer_id: 4000, first_offset: 1000 }]),
        records: vec![batch()],
        ..Default::default()
    };
    let diverged = FetchPartitionResponse {
        diverging_epoch: Some(EpochEndOffset { epoch: 6, end_offset: 900 }),
        current_leader: Some(LeaderIdAndEpoch { leader_id: 2, leader_epoch: 9 }),
        preferred_read_replica: 1,
        ..FetchPartitionResponse::failed(4, ErrorCode::FencedLeaderEpoch)
    };
    let response = FetchResponse {
        throttle_time_ms: 5,
        error_code: ErrorCode::None,
        session_id: 42,
        topics: vec![FetchTopicResponse { name, topic_id, partitions: vec![full, diverged] }],
        node_endpoints: vec![NodeEndpoint { node_id: 2, host: "broker-2".into(), port: 9092, rack: None }],
    };
    let mut out = BytesMut::new();
    for chunk in response.encode(version) {
        match chunk {
            Chunk::Bytes(bytes) | Chunk::Span(bytes) => out.extend_from_slice(&bytes),
        }
    }
    out.freeze()
}

/// A whole frame: size, header, body.
fn frame(header: impl FnOnce(&mut BytesMut), body: &Bytes) -> Bytes {
    let mut content = BytesMut::new();
    header(&mut content);
    content.extend_from_slice(body);
    let mut out = BytesMut::new();
    out.put_i32(content.len() as i32);
    out.extend_from_slice(&content);
    out.freeze()
}

fn request_frame(spec: &ApiSpec, version: i16) -> Bytes {
    let body = match spec.key {
        ApiKey::Produce => produce_request(version),
        ApiKey::Fetch => fetch_request(version),
        other => samples::body(other, version).expect("every other API has a sample"),
    };
    frame(|out| header::encode_request(out, spec.key, version, CORRELATION_ID, Some("golden")), &body)
}

fn response_frame(spec: &ApiSpec, version: i16) -> Option<Bytes> {
    let body = match spec.key {
        ApiKey::Produce => produce_response(version),
        ApiKey::Fetch => fetch_response(version),
        _ => return None,
    };
    Some(frame(|out| header::encode_response_header(out, spec.key, version, CORRELATION_ID), &body))
}

/// Reads a frame back the way the broker does and shows what it holds.
fn readable_request(spec: &ApiSpec, bytes: &Bytes) -> String {
    let mut frames = FrameDecoder::new(1 << 20);
    frames.push(bytes);
    let frame = frames.next().expect("sound").expect("whole");
    assert_eq!(frames.buffered(), 0);
    let (head, body) = header::decode_request(&frame).expect("header");
    let message = match spec.key {
        ApiKey::Produce => format!("{:#?}", ProduceRequest::decode(&body, head.api_version).expect("decodes")),
        ApiKey::Fetch => format!("{:#?}", FetchRequest::decode(&body, head.api_version).expect("decodes")),
        other => {
            fence::check_request(head.api_key, head.api_version, &body).expect("passes the fence");
            samples::debug(other, head.api_version, &body).expect("decodes")
        }
    };
    format!("{head:?}\n{message}\n")
}

fn readable_response(spec: &ApiSpec, version: i16, bytes: &Bytes) -> String {
    let frame = bytes.slice(4..);
    let (correlation_id, body) = header::decode_response(&frame, spec.key, version).expect("header");
    let message = match spec.key {
        ApiKey::Produce => format!("{:#?}", ProduceResponse::decode(&body, version).expect("decodes")),
        _ => format!("{:#?}", FetchResponse::decode(&body, version).expect("decodes")),
    };
    format!("correlation id {correlation_id:#010x}\n{message}\n")
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::new();
    for (i, line) in bytes.chunks(16).enumerate() {
        let digits: Vec<String> = line.iter().map(|b| format!("{b:02x}")).collect();
        let text: String = line.iter().map(|b| if b.is_ascii_graphic() || *b == b' ' { *b as char } else { '.' }).collect();
        writeln!(out, "{:04x}  {:<47}  |{text}|", i * 16, digits.join(" ")).expect("a string takes all");
    }
    out
}

/// Everything about one API, as its file holds it.
fn page(spec: &ApiSpec) -> String {
    let mut out = format!("Golden frames of {} (key {}), versions {} to {}.\n", spec.name, spec.key.code(), spec.min, spec.max);
    let mut section = |title: String, bytes: &Bytes, readable: String| {
        // A structure without unknown tags is not worth a line.
        let readable: String =
            readable.lines().filter(|line| line.trim() != "unknown_tagged_fields: {},").fold(String::new(), |mut all, line| {
                all.push_str(line);
                all.push('\n');
                all
            });
        write!(out, "\n== {title}, {} bytes\n{}\n{readable}", bytes.len(), hex(bytes)).expect("a string takes all");
    };
    for version in spec.min..=spec.max {
        let request = request_frame(spec, version);
        section(format!("request v{version}"), &request, readable_request(spec, &request));
        if let Some(response) = response_frame(spec, version) {
            section(format!("response v{version}"), &response, readable_response(spec, version, &response));
        }
    }
    out
}

fn file(spec: &ApiSpec) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "golden", &format!("{}.txt", spec.name)].iter().collect()
}

#[test]
fn every_frame_is_the_golden_one() {
    for spec in api::ALL {
        let today = page(spec);
        let path = file(spec);
        if std::env::var_os("CORELINE_WRITE_GOLDEN").is_some() {
            std::fs::write(&path, &today).expect("the golden folder is writable");
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}; see the head of this test", path.display()));
        for (number, (ours, theirs)) in today.lines().zip(golden.lines()).enumerate() {
            assert_eq!(ours, theirs, "{} line {}", path.display(), number + 1);
        }
        assert_eq!(today.len(), golden.len(), "{}", path.display());
    }
}

#[test]
fn every_golden_file_belongs_to_a_served_api() {
    let folder = file(&api::ALL[0]);
    for entry in std::fs::read_dir(folder.parent().expect("a folder")).expect("readable") {
        let name = entry.expect("readable").file_name().into_string().expect("UTF-8");
        assert!(api::ALL.iter().any(|spec| format!("{}.txt", spec.name) == name), "{name}");
    }
}
