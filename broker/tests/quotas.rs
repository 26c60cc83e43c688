//! Quotas and limits on connections of a real process: throttled clients are answered at once and then not read, a fetch above its quota is
//! empty, mutations and connections above theirs are refused, limits change while the broker runs, a parked request is not idle.
//!
//! The arithmetic is tested in virtual time beside the code (`src/quota/`). What real clients make of it: `tests/clients/perf/quotas.sh`.
#![allow(clippy::unwrap_used)]
#![allow(clippy::disallowed_methods, reason = "a test process has no shards: it waits for child processes")]

#[path = "common/mod.rs"]
mod common;
#[path = "interop/harness.rs"]
#[allow(dead_code, reason = "only its lock is used here")]
mod harness;
#[path = "interop/probe.rs"]
#[allow(dead_code, reason = "the toolchain's part is used")]
mod probe;
#[path = "interop/process.rs"]
#[allow(dead_code, reason = "one way to run a program is used")]
mod process;
#[path = "interop/recipes.rs"]
#[allow(dead_code, reason = "one client is used")]
mod recipes;
#[path = "interop/toolchain.rs"]
mod toolchain;

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use common::{Broker, PATIENCE, connect, dir, frame, read_frame};
use coreline_wire::record::BatchBuilder;
use kafka_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    AlterClientQuotasRequest, AlterClientQuotasResponse, CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest,
    DeleteTopicsResponse, FetchRequest, FetchResponse, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, MetadataRequest,
    MetadataResponse, ProduceRequest, ProduceResponse, TopicName,
};
use kafka_protocol::protocol::{Decodable, HeaderVersion, Request, StrBytes};

/// Asks and reads the answer; `None` if the broker closes the connection instead.
fn try_ask<Q: Request>(stream: &mut TcpStream, version: i16, request: &Q) -> Option<Q::Response>
where
    Q::Response: Decodable + HeaderVersion,
{
    let mut body = BytesMut::new();
    if Q::header_version(version) == 2 {
        // The header's tags.
        body.extend_from_slice(&[0]);
    }
    request.encode(&mut body, version).unwrap();
    let _ = stream.write_all(&frame(Q::KEY, version, 1, &body));
    let answer = read_frame(stream)?;
    let header_bytes = if Q::Response::header_version(version) == 1 { 5 } else { 4 };
    let mut body = Bytes::from(answer).split_off(header_bytes);
    Some(Q::Response::decode(&mut body, version).unwrap())
}

fn ask<Q: Request>(stream: &mut TcpStream, version: i16, request: &Q) -> Q::Response
where
    Q::Response: Decodable + HeaderVersion,
{
    try_ask(stream, version, request).expect("an answer")
}

fn set_quota(stream: &mut TcpStream, kind: &'static str, name: &'static str, key: &'static str, value: Option<f64>) {
    let entity = EntityData::default().with_entity_type(kind.into()).with_entity_name(Some(name.into()));
    let op = OpData::default().with_key(key.into()).with_value(value.unwrap_or(0.0)).with_remove(value.is_none());
    let entry = EntryData::default().with_entity(vec![entity]).with_ops(vec![op]);
    let response: AlterClientQuotasResponse = ask(stream, 0, &AlterClientQuotasRequest::default().with_entries(vec![entry]));
    assert_eq!(response.entries[0].error_code, 0, "{response:?}");
}

fn create(stream: &mut TcpStream, topics: &[(&'static str, i32)]) -> CreateTopicsResponse {
    let topic = |(name, partitions): &(&'static str, i32)| {
        CreatableTopic::default().with_name(TopicName((*name).into())).with_num_partitions(*partitions).with_replication_factor(1)
    };
    let topics = topics.iter().map(topic).collect();
    ask(stream, 6, &CreateTopicsRequest::default().with_topics(topics).with_timeout_ms(60_000))
}

fn produce(stream: &mut TcpStream, bytes: usize) -> ProduceResponse {
    let mut batch = BatchBuilder::new();
    batch.push(1_700_000_000_000, None, Some(&vec![7; bytes]), &[]);
    let partition = PartitionProduceData::default().with_index(0).with_records(Some(batch.build().unwrap()));
    let topic = TopicProduceData::default().with_name(TopicName("t".into())).with_partition_data(vec![partition]);
    let response = ask(stream, 7, &ProduceRequest::default().with_acks(-1).with_timeout_ms(60_000).with_topic_data(vec![topic]));
    assert_eq!(response.responses[0].partition_responses[0].error_code, 0, "{response:?}");
    response
}

/// Records bytes of the answer, and its throttle time.
fn fetch(stream: &mut TcpStream, offset: i64, max_wait_ms: i32, min_bytes: i32) -> (usize, i32) {
    let partition = FetchPartition::default().with_partition(0).with_fetch_offset(offset).with_partition_max_bytes(70_000);
    let topic = FetchTopic::default().with_topic(TopicName("t".into())).with_partitions(vec![partition]);
    let request =
        FetchRequest::default().with_max_wait_ms(max_wait_ms).with_min_bytes(min_bytes).with_max_bytes(70_000).with_topics(vec![topic]);
    let response: FetchResponse = ask(stream, 4, &request);
    let records = response.responses.iter().flat_map(|topic| &topic.partitions).filter_map(|partition| partition.records.as_ref());
    (records.map(Bytes::len).sum(), response.throttle_time_ms)
}

fn metadata(stream: &mut TcpStream) -> Option<MetadataResponse> {
    try_ask(stream, 4, &MetadataRequest::default().with_topics(Some(Vec::new())))
}

#[test]
fn who_is_above_a_rate_is_answered_at_once_and_then_not_read() {
    let data = dir();
    let broker = Broker::start(data.path(), &["--shards", "2"]);
    let (mut admin, mut client) = (broker.connect(), broker.connect());
    assert_eq!(create(&mut admin, &[("t", 1)]).topics[0].error_code, 0);
    for _ in 0..3 {
        assert_eq!(produce(&mut client, 60_000).throttle_time_ms, 0);
    }

    // 100,000 bytes at once: the second batch is above it, by more than a second.
    set_quota(&mut admin, "client-id", "test", "producer_byte_rate", Some(10_000.0));
    assert_eq!(produce(&mut client, 60_000).throttle_time_ms, 0);
    let before = Instant::now();
    let throttle = produce(&mut client, 60_000).throttle_time_ms;
    assert!((500..=2_100).contains(&throttle), "{throttle} ms");
    let answered = Instant::now();
    assert!(metadata(&mut client).is_some());
    let muted = answered.elapsed();
    assert!(muted + Duration::from_millis(20) >= Duration::from_millis(throttle as u64), "read again after {muted:?} of {throttle} ms");
    assert!(broker.metric("coreline_produce_throttled_total") >= 1.0 && broker.metric("coreline_quota_entities") == 1.0);
    set_quota(&mut admin, "client-id", "test", "producer_byte_rate", None);
    assert_eq!(produce(&mut client, 60_000).throttle_time_ms, 0, "{:?} after the quota was used up", before.elapsed());

    set_quota(&mut admin, "user", "ANONYMOUS", "consumer_byte_rate", Some(10_000.0));
    let (bytes, throttle) = fetch(&mut client, 0, 0, 1);
    assert!(bytes > 60_000 && throttle == 0, "{bytes} bytes, {throttle} ms");
    let (bytes, throttle) = fetch(&mut client, 1, 0, 1);
    assert!(bytes == 0 && (500..=2_100).contains(&throttle), "above the quota nothing is sent: {bytes} bytes, {throttle} ms");
    set_quota(&mut admin, "user", "ANONYMOUS", "consumer_byte_rate", None);
    let (bytes, throttle) = fetch(&mut client, 1, 0, 1);
    assert!(bytes > 60_000 && throttle == 0, "{bytes} bytes, {throttle} ms");
    broker.stop();
}

#[test]
fn a_stop_does_not_wait_for_who_is_muted() {
    let data = dir();
    let broker = Broker::start(data.path(), &["--shards", "1"]);
    let (mut admin, mut client) = (broker.connect(), broker.connect());
    assert_eq!(create(&mut admin, &[("t", 1)]).topics[0].error_code, 0);
    set_quota(&mut admin, "client-id", "test", "producer_byte_rate", Some(100.0));
    let throttle = produce(&mut client, 60_000).throttle_time_ms;
    assert!(throttle > 500_000, "{throttle} ms");
    let before = Instant::now();
    broker.stop();
    assert!(before.elapsed() < PATIENCE, "the stop took {:?}", before.elapsed());
}

#[test]
fn mutations_above_the_rate_are_refused_and_older_clients_are_told_to_wait() {
    let data = dir();
    let broker = Broker::start(data.path(), &["--shards", "2"]);
    let (mut admin, mut client) = (broker.connect(), broker.connect());
    // 11 partitions at once.
    set_quota(&mut admin, "user", "ANONYMOUS", "controller_mutation_rate", Some(1.0));
    let response = create(&mut client, &[("a", 1_000_000), ("b", 1_000), ("c", 1)]);
    let codes: Vec<_> = response.topics.iter().map(|topic| topic.error_code).collect();
    assert_eq!(codes, [44, 89, 89], "what fails costs nothing in the end, but counts while it is asked: {response:?}");
    let mut client = broker.connect();
    let codes: Vec<_> = create(&mut client, &[("b", 100), ("c", 1)]).topics.iter().map(|topic| topic.error_code).collect();
    assert_eq!(codes, [0, 89]);
    assert!(broker.metric("coreline_controller_mutation_throttled_total") >= 1.0);
    let mut old = broker.connect();
    let names = vec![TopicName("b".into())];
    let deleted: DeleteTopicsResponse = ask(&mut old, 3, &DeleteTopicsRequest::default().with_topic_names(names).with_timeout_ms(60_000));
    assert!(deleted.responses[0].error_code == 0 && deleted.throttle_time_ms > 10_000, "{deleted:?}");
    broker.stop();
}

#[test]
fn an_address_above_its_rate_of_new_connections_is_turned_away() {
    let data = dir();
    let broker = Broker::start(data.path(), &["--shards", "2"]);
    let mut admin = broker.connect();
    set_quota(&mut admin, "ip", "127.0.0.1", "connection_creation_rate", Some(1.0));
    let before = Instant::now();
    // Ten at once, then one per second.
    let mut all: Vec<_> = (0..40).map(|_| connect(broker.addr)).collect();
    let served = all.iter_mut().filter_map(metadata).count();
    let allowed = 12 + before.elapsed().as_secs() as usize;
    assert!(served >= 10 && served <= allowed, "{served} of 40 served, {allowed} allowed");
    assert!(broker.metric("coreline_connection_throttled_total") >= 1.0);
    set_quota(&mut admin, "ip", "127.0.0.1", "connection_creation_rate", None);
    assert!(metadata(&mut broker.connect()).is_some());
    broker.stop();
}

#[test]
fn limits_change_while_the_broker_runs() {
    let data = dir();
    let broker = Broker::start(data.path(), &["--shards", "2", "--set", "max.connections.per.ip.overrides=127.0.0.1:3"]);
    let mut admin = broker.connect();
    let set = |admin: &mut TcpStream, key: &'static str, value: &'static str| {
        let config = AlterableConfig::default().with_name(key.into()).with_value(Some(StrBytes::from_static_str(value)));
        let resource = AlterConfigsResource::default().with_resource_type(4).with_configs(vec![config]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let response: IncrementalAlterConfigsResponse = ask(admin, 0, &request);
        assert_eq!(response.responses[0].error_code, 0, "{response:?}");
    };
    let mut kept = vec![broker.connect(), broker.connect()];
    assert!(kept.iter_mut().all(|stream| metadata(stream).is_some()));
    assert!(metadata(&mut broker.connect()).is_none(), "the fourth of three");
    set(&mut admin, "max.connections.per.ip.overrides", "127.0.0.1:4");
    kept.push(broker.connect());
    assert!(metadata(kept.last_mut().unwrap()).is_some() && metadata(&mut broker.connect()).is_none());
    set(&mut admin, "max.connections.per.ip.overrides", "10.0.0.1:1");
    set(&mut admin, "max.connections", "5");
    kept.push(broker.connect());
    assert!(metadata(kept.last_mut().unwrap()).is_some() && metadata(&mut broker.connect()).is_none());
    set(&mut admin, "max.connections", "1000");
    set(&mut admin, "max.connection.creation.rate", "2");
    let before = Instant::now();
    // 20 at once, the rest at two per second.
    for _ in 0..23 {
        assert!(metadata(&mut broker.connect()).is_some());
    }
    assert!(before.elapsed() > Duration::from_millis(900), "they waited {:?}", before.elapsed());
    broker.stop();
}

/// The same rate of a real client: what it asks costs little, so it is above the quota by the number of its requests.
#[test]
fn a_client_that_asks_too_much_is_told_so_and_slowed_down() {
    let Some(program) = toolchain::prepare(&recipes::LIBRDKAFKA) else { return };
    let data = dir();
    let broker = Broker::start(data.path(), &["--shards", "2"]);
    let mut admin = broker.connect();
    assert_eq!(create(&mut admin, &[("t", 1)]).topics[0].error_code, 0);
    // One percent of a thread: 0.11 s in the window of 11 s.
    set_quota(&mut admin, "client-id", "burner", "request_percentage", Some(1.0));
    let mut command = std::process::Command::new(&program[0]);
    command.args(&program[1..]).args(["--bootstrap", &broker.addr.to_string(), "--timeout", "60", "burn", "t", "--client-id", "burner"]);
    let output = process::run(&mut command, PATIENCE * 2).unwrap();
    assert!(output.status.success(), "{}", process::tail(&output.stderr));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let number = |name: &str| told[name].as_u64().unwrap_or_else(|| panic!("no {name}: {told}"));
    assert!(number("throttle_ms") > 0 && number("throttle_ms") <= 1_000, "{told}");
    // It was told and went on asking: the next answer came when the time was over.
    assert!(number("slowest_ms") >= number("throttle_ms") / 2, "{told}");
    let throttled = broker.metric("coreline_request_time_throttled_total");
    assert!(throttled >= 1.0 && throttled <= number("requests") as f64 + 10.0, "{throttled} answers throttled: {told}");
    broker.stop();
}

#[test]
fn who_is_muted_is_not_idle() {
    let data = dir();
    let broker = Broker::start(data.path(), &["--shards", "2", "--set", "connections.max.idle.ms=1000"]);
    let mut client = broker.connect();
    assert_eq!(create(&mut client, &[("t", 1)]).topics[0].error_code, 0);
    let mut admin = broker.connect();
    set_quota(&mut admin, "client-id", "test", "producer_byte_rate", Some(10_000.0));
    let throttle = produce(&mut client, 140_000).throttle_time_ms;
    assert!((2_000..=5_000).contains(&throttle), "{throttle} ms: longer than the time of idle ones");
    let muted = Instant::now();
    assert_eq!(read_frame(&mut admin), None, "this one is idle");
    assert!(metadata(&mut client).is_some(), "closed while it was muted");
    let waited = muted.elapsed() + Duration::from_millis(20);
    assert!(waited >= Duration::from_millis(throttle as u64), "read again after {waited:?} of {throttle} ms");
    assert_eq!(read_frame(&mut client), None, "now it is idle too");
    broker.stop();
}

#[test]
fn a_parked_request_is_not_idle() {
    let data = dir();
    let broker = Broker::start(data.path(), &["--shards", "2", "--set", "connections.max.idle.ms=1000"]);
    let mut client = broker.connect();
    assert_eq!(create(&mut client, &[("t", 1)]).topics[0].error_code, 0);
    let mut idle = broker.connect();
    let before = Instant::now();
    assert_eq!(fetch(&mut client, 0, 3_000, 1), (0, 0));
    assert!(before.elapsed() >= Duration::from_millis(2_900), "{:?}", before.elapsed());
    assert_eq!(read_frame(&mut idle), None, "this one was idle all the while");
    assert_eq!(read_frame(&mut client), None, "now it is idle too");
    assert!(before.elapsed() >= Duration::from_millis(3_900) && before.elapsed() < PATIENCE, "{:?}", before.elapsed());
    broker.stop();
}
