//! Requests that are half right, found by walking through the APIs at random beside a Kafka.

use kafka_protocol::messages::{
    AlterConfigsRequest, BrokerId, DeleteTopicsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest, InitProducerIdRequest,
    InitProducerIdResponse, ListGroupsRequest, MetadataRequest, OffsetCommitRequest, ProducerId, TopicName, alter_configs_request as ac,
    delete_topics_request as dt, describe_configs_request as dc, incremental_alter_configs_request as ia, metadata_request as md,
};
use uuid::Uuid;

use super::fetch::one;
use super::groups::commit;
use super::produce::{batch, put, request};
use super::session::{Session, all, s};
use crate::common;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const LOGGER: i8 = 8;

/// All of this file.
pub fn cases(session: &mut Session) {
    super::groups::ready(session);
    let id = session.create("mixed", 1, &[]);
    let brokers = session.call(12, &MetadataRequest::default().with_topics(Some(vec![]))).unwrap();
    session.mask(&brokers.cluster_id.unwrap(), "<cluster>");
    named_by_id(session, id);
    producer_ids(session);
    numbers(session);
    deletions(session);
    settings(session);
    kinds(session);
    group_without_topic(session);
    endings(session);
}

/// Metadata by names and ids at once, and of ids that nobody has.
fn named_by_id(session: &mut Session, id: Uuid) {
    let other = session.create("other", 1, &[]);
    let strange = Uuid::from_u128(0x1234_5678_1234_5678_1234_5678_1234_5678);
    let by_name = |session: &Session, name: &str| md::MetadataRequestTopic::default().with_name(Some(session.topic(name)));
    let by_id = |id| md::MetadataRequestTopic::default().with_name(None).with_topic_id(id);
    for (case, topics) in [
        ("a name and its id", vec![by_name(session, "mixed"), by_id(id)]),
        ("a name and another id", vec![by_name(session, "mixed"), by_id(other)]),
        ("an id and a bad name", vec![by_id(other), by_name(session, "in valid")]),
        ("an id twice", vec![by_id(other), by_id(other)]),
        ("unknown ids", vec![by_id(strange), by_id(strange)]),
        ("ids known and unknown", vec![by_id(strange), by_id(other)]),
    ] {
        for version in [12, 13] {
            let request = MetadataRequest::default()
                .with_topics(Some(topics.clone()))
                .with_allow_auto_topic_creation(false)
                .with_include_topic_authorized_operations(true);
            session.ask_as(case, version, &request, |_, r| {
                let mut topics = r.topics.clone();
                topics.sort_by_key(|t| t.error_code);
                format!("{} {topics:?}", r.error_code)
            });
        }
    }
}

/// Without a transactional id; what comes of one is in the cases of Produce.
fn producer_ids(session: &mut Session) {
    // Kafka asks for its first block when somebody first wants one of it, and says 14 so long.
    let plain = || InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(60_000);
    while session.call(0, &plain()).unwrap().error_code == 14 {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let tell = |_: &Session, r: &InitProducerIdResponse| format!("{} {} {}", r.error_code, r.producer_id.0.min(0), r.producer_epoch);
    for version in all::<InitProducerIdRequest>().filter(|version| *version <= 5) {
        session.ask_as("of nobody", version, &plain(), tell);
        for timeout in [0, -1, i32::MAX] {
            session.ask_as(&format!("of nobody, timeout {timeout}"), version, &plain().with_transaction_timeout_ms(timeout), tell);
        }
        for (case, id, epoch) in
            [("id and epoch", 5, 1), ("id without epoch", 5, -1), ("epoch without id", -1, 0), ("negative id", -2, -1), ("both -2", -2, -2)]
        {
            if version >= 3 {
                let request = plain().with_producer_id(ProducerId(id)).with_producer_epoch(epoch);
                session.ask_as(&format!("of nobody, {case}"), version, &request, tell);
            }
        }
    }
}

/// Times and epochs below what makes sense.
fn numbers(session: &mut Session) {
    for acks in [1, -1] {
        for timeout in [0, -1, i32::MIN] {
            let request = request(session, "mixed", 0, Some(batch(1).build().unwrap())).with_acks(acks).with_timeout_ms(timeout);
            session.ask_as(&format!("acks {acks}, timeout {timeout}"), 9, &request, |_, r| {
                let told = &r.responses[0].partition_responses[0];
                format!("{} {} {}", told.error_code, told.base_offset, told.log_start_offset)
            });
        }
    }
    for version in 9..=12 {
        for epoch in [-2, i32::MIN] {
            let mut request = one(session, "mixed", 0, 0).with_replica_id(BrokerId(-1));
            request.topics[0].partitions[0].current_leader_epoch = epoch;
            session.ask_as(&format!("leader epoch {epoch}"), version, &request, |_, r| {
                let told = &r.responses[0].partitions[0];
                format!("{} {} {}", told.error_code, told.high_watermark, told.records.as_ref().is_some_and(|r| !r.is_empty()))
            });
        }
    }
}

/// Topics that are to go twice.
fn deletions(session: &mut Session) {
    let strange = Uuid::from_u128(0x1234_5678_1234_5678_1234_5678_1234_5679);
    let names = |names: &[&str]| DeleteTopicsRequest::default().with_topic_names(names.iter().map(|n| TopicName(s(n))).collect());
    let by_name = |name: &'static str| dt::DeleteTopicState::default().with_name(Some(TopicName(s(name))));
    let by_id = |id| dt::DeleteTopicState::default().with_name(None).with_topic_id(id);
    for version in [1, 4, 5] {
        session.ask("unknown name twice", version, &names(&["zq-nowhere", "zq-nowhere"]).with_timeout_ms(5000));
    }
    for (case, topics) in [
        ("unknown name twice", vec![by_name("zq-nowhere"), by_name("zq-nowhere")]),
        ("unknown id twice", vec![by_id(strange), by_id(strange)]),
        ("unknown id and name", vec![by_id(strange), by_name("zq-nowhere")]),
    ] {
        let request = DeleteTopicsRequest::default().with_topics(topics).with_timeout_ms(5000);
        session.ask_as(case, 6, &request, |_, r| {
            let mut told: Vec<_> = r.responses.iter().map(|t| (t.error_code, t.name.clone(), t.topic_id)).collect();
            told.sort();
            format!("{told:?}")
        });
    }
}

/// Several things wrong at once: what is complained of first.
fn settings(session: &mut Session) {
    let (unknown, known) = (session.name("nowhere"), session.name("mixed"));
    let bad: [(&str, &[(&str, i8, Option<&str>)]); 8] = [
        ("bad value", &[("retention.ms", 0, Some("soon"))]),
        ("out of bounds", &[("segment.bytes", 0, Some("13"))]),
        ("unknown key", &[("no.such.key", 0, Some("1"))]),
        ("deleted unknown key", &[("no.such.key", 1, None)]),
        ("null", &[("retention.ms", 0, None)]),
        ("appended number", &[("retention.ms", 2, Some("1"))]),
        ("appended number twice", &[("retention.ms", 2, Some("1")), ("retention.ms", 2, Some("2"))]),
        ("nothing", &[]),
    ];
    for (case, changes) in bad {
        for (which, name) in [("unknown", unknown.as_str()), ("known", &known), ("badly named", "no where")] {
            let configs = changes
                .iter()
                .map(|(k, op, v)| ia::AlterableConfig::default().with_name(s(k)).with_config_operation(*op).with_value(v.map(s)))
                .collect();
            let resource = ia::AlterConfigsResource::default().with_resource_type(TOPIC).with_resource_name(s(name)).with_configs(configs);
            let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]).with_validate_only(true);
            session.ask_as(&format!("{case} of {which} topic"), 1, &request, |_, r| format!("{}", r.responses[0].error_code));
            let configs = changes.iter().map(|(k, _, v)| ac::AlterableConfig::default().with_name(s(k)).with_value(v.map(s))).collect();
            let resource = ac::AlterConfigsResource::default().with_resource_type(TOPIC).with_resource_name(s(name)).with_configs(configs);
            let request = AlterConfigsRequest::default().with_resources(vec![resource]).with_validate_only(true);
            session.ask_as(&format!("{case} of {which} topic"), 2, &request, |_, r| format!("{}", r.responses[0].error_code));
        }
    }
}

/// Kinds of resources that are none, beside some that are; a logger's level.
fn kinds(session: &mut Session) {
    let topic = session.name("mixed");
    let ask = |kind: i8, name: &str, key: &str| {
        dc::DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(s(name))
            .with_configuration_keys(Some(vec![s(key)]))
    };
    for kind in [-1, 0, 1, 3, 99] {
        let good = ask(TOPIC, &topic, "retention.ms");
        for (case, resources) in [
            ("before a topic", vec![ask(kind, "x", "y"), good.clone()]),
            ("behind a topic and a broker", vec![good.clone(), ask(BROKER, "1", "x"), ask(kind, "x", "y")]),
        ] {
            let request = DescribeConfigsRequest::default().with_resources(resources);
            session.ask_as(&format!("kind {kind} {case}"), 4, &request, |_, r| {
                let told: Vec<_> = r.results.iter().map(|r| (r.error_code, r.configs.len())).collect();
                format!("{told:?}")
            });
        }
    }
    for version in 1..=4 {
        for documented in [false, true] {
            let request = DescribeConfigsRequest::default().with_resources(vec![ask(LOGGER, "1", "root")]);
            let request = if documented && version >= 3 { request.with_include_documentation(true) } else { request };
            session.ask(&format!("root logger, documented {documented}"), version, &request);
        }
    }
}

/// A group whose only offset goes with its topic.
fn group_without_topic(session: &mut Session) {
    session.create("leaving", 1, &[]);
    put(session, "leaving", 0, batch(1).build().unwrap());
    let request: OffsetCommitRequest = commit(session, "left", "leaving", 0, 1, None);
    session.ask("of the topic that goes", 8, &request);
    let gone = DeleteTopicsRequest::default().with_topic_names(vec![session.topic("leaving")]).with_timeout_ms(5000);
    assert_eq!(session.call(5, &gone).unwrap().responses[0].error_code, 0);
    session.settle();
    session.ask_as("once the topic is gone", 4, &ListGroupsRequest::default(), |session, r| {
        let mine: Vec<_> = r.groups.iter().filter(|g| session.is_mine(&g.group_id.0)).collect();
        format!("{mine:?}")
    });
}

/// What was asked before a connection ends is answered, however it ends.
fn endings(session: &mut Session) {
    let ask = |version: i16, body: &[u8]| common::frame(3, version, 7, body);
    let good = || ask(1, &[0, 0, 0, 0]);
    for (case, last) in [
        ("the client closes its side", vec![]),
        ("half a frame and the client closes its side", vec![0, 0, 0, 9, 1]),
        ("a frame of negative length", vec![0xff; 8]),
        ("a frame without a header", vec![0, 0, 0, 2, 0, 3]),
        ("a version that is not served", ask(99, &[0])),
        ("an API that is none", common::frame(999, 0, 7, &[])),
        ("a body that is cut off", ask(1, &[0, 0])),
    ] {
        let half_close = case.ends_with("closes its side");
        for before in [1, 100] {
            let frames = [good().repeat(before), last.clone()].concat();
            let answered = session.answered_before_the_end(&frames, half_close);
            session.record(&format!("{before} requests, then {case}"), &format!("{answered} answered"));
        }
    }
}
