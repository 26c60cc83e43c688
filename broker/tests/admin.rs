//! The admin APIs of a real process: sizes on the disk, the quorum, settings of groups and subscriptions and features over a restart, log levels.
//!
//! What each request answers to bad input is held by `differential.rs`.
#![allow(clippy::unwrap_used)]

#[path = "common/mod.rs"]
mod common;

use std::io::Write;

use bytes::{Bytes, BytesMut};
use common::{Broker, dir, read_frame};
use coreline_wire::record::BatchBuilder;
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, DescribeConfigsRequest, DescribeLogDirsRequest, DescribeQuorumRequest, DescribeQuorumResponse,
    IncrementalAlterConfigsRequest, ListConfigResourcesRequest, ProduceRequest, RequestHeader, ResponseHeader, TopicName,
    create_topics_request as ct, describe_configs_request as dc, describe_quorum_request as dq, incremental_alter_configs_request as ia,
    produce_request as pr,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

fn s(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_string())
}

fn call<R: Request>(broker: &Broker, version: i16, request: &R) -> R::Response {
    let mut inner = BytesMut::new();
    let header = RequestHeader::default().with_request_api_key(R::KEY).with_request_api_version(version).with_client_id(Some(s("test")));
    header.encode(&mut inner, R::header_version(version)).unwrap();
    request.encode(&mut inner, version).unwrap();
    let mut stream = broker.connect();
    stream.write_all(&(inner.len() as i32).to_be_bytes()).unwrap();
    stream.write_all(&inner).unwrap();
    let mut answer = Bytes::from(read_frame(&mut stream).expect("an answer"));
    ResponseHeader::decode(&mut answer, R::Response::header_version(version)).unwrap();
    R::Response::decode(&mut answer, version).unwrap()
}

fn create(broker: &Broker, topic: &str, partitions: i32) {
    let one = ct::CreatableTopic::default().with_name(TopicName(s(topic))).with_num_partitions(partitions).with_replication_factor(1);
    let response = call(broker, 5, &CreateTopicsRequest::default().with_topics(vec![one]).with_timeout_ms(30_000));
    assert_eq!(response.topics[0].error_code, 0);
}

fn produce(broker: &Broker, topic: &str, partition: i32, batch: &[u8]) {
    let partition = pr::PartitionProduceData::default().with_index(partition).with_records(Some(Bytes::copy_from_slice(batch)));
    let topic = pr::TopicProduceData::default().with_name(TopicName(s(topic))).with_partition_data(vec![partition]);
    let response = call(broker, 9, &ProduceRequest::default().with_acks(-1).with_timeout_ms(30_000).with_topic_data(vec![topic]));
    assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
}

fn set(broker: &Broker, kind: i8, name: &str, key: &str, value: &str) {
    let config = ia::AlterableConfig::default().with_name(s(key)).with_value(Some(s(value)));
    let one = ia::AlterConfigsResource::default().with_resource_type(kind).with_resource_name(s(name)).with_configs(vec![config]);
    let response = call(broker, 1, &IncrementalAlterConfigsRequest::default().with_resources(vec![one]));
    assert_eq!(response.responses[0].error_code, 0, "{:?}", response.responses[0].error_message);
}

fn get(broker: &Broker, kind: i8, name: &str, key: &str) -> (Option<String>, i8) {
    let one = dc::DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(s(name))
        .with_configuration_keys(Some(vec![s(key)]));
    let response = call(broker, 4, &DescribeConfigsRequest::default().with_resources(vec![one]));
    let config = &response.results[0].configs[0];
    (config.value.as_ref().map(|v| v.to_string()), config.config_source)
}

fn quorum(broker: &Broker) -> DescribeQuorumResponse {
    let topic = dq::TopicData::default()
        .with_topic_name(TopicName(s("__cluster_metadata")))
        .with_partitions(vec![dq::PartitionData::default().with_partition_index(0)]);
    call(broker, 2, &DescribeQuorumRequest::default().with_topics(vec![topic]))
}

#[test]
fn sizes_are_those_of_the_records() {
    let dir = dir();
    let broker = Broker::start(dir.path(), &["--shards", "2"]);
    create(&broker, "a", 3);
    let mut builder = BatchBuilder::new();
    builder.push(1_700_000_000_000, Some(b"key"), Some(&[7; 5_000]), &[]);
    let batch = builder.build().unwrap();
    produce(&broker, "a", 1, &batch);
    produce(&broker, "a", 1, &batch);
    let response = call(&broker, 4, &DescribeLogDirsRequest::default().with_topics(None));
    let [result] = &response.results[..] else { panic!("one directory: {response:?}") };
    assert_eq!(result.log_dir.as_str(), std::path::absolute(dir.path()).unwrap().display().to_string());
    assert!(0 < result.usable_bytes && result.usable_bytes < result.total_bytes, "{result:?}");
    let topic = result.topics.iter().find(|topic| topic.name.as_str() == "a").expect("the topic");
    let sizes: Vec<_> = topic.partitions.iter().map(|p| (p.partition_index, p.partition_size, p.offset_lag)).collect();
    assert_eq!(sizes, [(0, 0, 0), (1, 2 * batch.len() as i64, 0), (2, 0, 0)]);
    broker.stop();
}

#[test]
fn settings_and_the_quorum_outlive_a_restart_and_log_levels_do_not() {
    let dir = dir();
    let broker = Broker::start(dir.path(), &["--shards", "2"]);
    set(&broker, 16, "m", "metrics", "a.,b.");
    set(&broker, 32, "g", "consumer.session.timeout.ms", "50000");
    set(&broker, 8, "1", "root", "DEBUG");
    assert_eq!(get(&broker, 8, "1", "root"), (Some("DEBUG".to_string()), 6));
    let before = quorum(&broker);
    broker.stop();

    let broker = Broker::start(dir.path(), &["--shards", "1"]);
    assert_eq!(get(&broker, 16, "m", "metrics"), (Some("a.,b.".to_string()), 7));
    assert_eq!(get(&broker, 32, "g", "consumer.session.timeout.ms"), (Some("50000".to_string()), 8));
    assert_eq!(get(&broker, 8, "1", "root").0, Some("INFO".to_string()));
    let listed = call(&broker, 1, &ListConfigResourcesRequest::default().with_resource_types(vec![16, 32]));
    let listed: Vec<_> = listed.config_resources.iter().map(|r| (r.resource_type, r.resource_name.to_string())).collect();
    assert_eq!(listed, [(16, "m".to_string()), (32, "g".to_string())]);

    let after = quorum(&broker);
    let partition = |response: &DescribeQuorumResponse| response.topics[0].partitions[0].clone();
    let (was, is) = (partition(&before), partition(&after));
    assert_eq!((is.error_code, is.leader_id, is.current_voters.len(), is.observers.len()), (0, BrokerId(1), 1, 0));
    assert_eq!(is.current_voters[0].log_end_offset, is.high_watermark);
    assert!(is.high_watermark > was.high_watermark && is.leader_epoch >= was.leader_epoch, "{was:?} then {is:?}");
    assert!(!is.current_voters[0].replica_directory_id.is_nil());
    assert_eq!(is.current_voters[0].replica_directory_id, was.current_voters[0].replica_directory_id);
    assert_eq!(i32::from(after.nodes[0].listeners[0].port), i32::from(broker.addr.port()));
    broker.stop();
}
