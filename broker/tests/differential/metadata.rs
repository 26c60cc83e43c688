//! What clients learn first: ApiVersions, Metadata, DescribeCluster, DescribeTopicPartitions; requests that nobody serves.

use std::collections::BTreeSet;

use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, DescribeClusterRequest, DescribeTopicPartitionsRequest, MetadataRequest,
    MetadataResponse, TopicName, api_versions_response::ApiVersion, describe_topic_partitions_request as dp, metadata_request as md,
};
use uuid::Uuid;

use super::golden::RANGE;
use super::session::{Session, api_name, s, versions as versions_of};
use crate::common;

/// What brokers and controllers say to each other.
const AMONG_BROKERS: [i16; 16] = [4, 5, 6, 7, 52, 53, 54, 56, 58, 59, 62, 63, 67, 70, 73, 82];

/// ApiVersions, before any topic exists.
pub fn versions(session: &mut Session) {
    let named = ApiVersionsRequest::default().with_client_software_name(s("suite")).with_client_software_version(s("1.0"));
    let full = session.call(4, &named).unwrap().api_keys;
    for key in (0..=92).filter(|key| ApiKey::try_from(*key).is_ok() && !AMONG_BROKERS.contains(key)) {
        let range = full.iter().find(|v| v.api_key == key).map(|v| format!("{} to {}", v.min_version, v.max_version));
        session.note(&format!("{RANGE}{}", api_name(key)), range);
    }
    let tell = |_: &Session, r: &ApiVersionsResponse| {
        let ranges = |keys: &[ApiVersion]| keys.iter().map(|v| (v.api_key, v.min_version, v.max_version)).collect::<BTreeSet<_>>();
        let same = if ranges(&r.api_keys) == ranges(&full) { "all" } else { "not all" };
        format!("{} {} {}", r.error_code, r.throttle_time_ms, if r.api_keys.is_empty() { "none" } else { same })
    };
    for version in [0, 1, 2] {
        session.ask_as("whole list", version, &ApiVersionsRequest::default(), tell);
    }
    for version in [3, 4] {
        session.ask_as("whole list", version, &named, tell);
        for (case, name, software) in [
            ("empty name", "", "1.0"),
            ("empty version", "suite", ""),
            ("dash at the end", "suite-", "1.0"),
            ("space", "su ite", "1.0"),
            ("dots and dashes", "su-i.te", "1.0-rc.1"),
        ] {
            let request = ApiVersionsRequest::default().with_client_software_name(s(name)).with_client_software_version(s(software));
            session.ask_as(case, version, &request, tell);
        }
    }
    raw(session, "ApiVersions v9 is unsupported", 18, 9, &[0, 2, b'a', 2, b'b', 0]);
    session.reconnect();
    raw(session, "Metadata v99", 3, 99, &[]);
    raw(session, "API 999", 999, 0, &[]);
    raw(session, "Produce v2", 0, 2, &[]);
    raw(session, "Produce v14", 0, 14, &[]);
    raw(session, "OffsetForLeaderEpoch v1", 23, 1, &[]);
    raw(session, "JoinGroup v10", 11, 10, &[]);
    raw(session, "Metadata v1 cut", 3, 1, &[0, 0]);
    raw(session, "Metadata v1 with a byte too many", 3, 1, &[0, 0, 0, 0, 9]);
    raw(session, "Metadata v1 with a huge count", 3, 1, &[0x7f, 0xff, 0xff, 0xff]);
    malformed(session);
}

/// Null where null is not allowed, lengths that lie, frames that are none.
fn malformed(session: &mut Session) {
    const NULL: [u8; 4] = [0xff; 4];
    let bodies: [(&str, i16, i16, &[&[u8]]); 14] = [
        ("Metadata v0 null topics", 3, 0, &[&NULL]),
        ("Metadata v1 count -2", 3, 1, &[&[0xff, 0xff, 0xff, 0xfe]]),
        ("Metadata v1 null name", 3, 1, &[&[0, 0, 0, 1, 0xff, 0xff]]),
        ("Metadata v1 name of length -2", 3, 1, &[&[0, 0, 0, 1, 0xff, 0xfe]]),
        ("Metadata v1 name that is no UTF-8", 3, 1, &[&[0, 0, 0, 1, 0, 2, 0xff, 0xfe]]),
        ("Produce v3 null topics", 0, 3, &[&[0xff, 0xff, 0, 1], &[0; 4], &NULL]),
        ("Fetch v4 null topics", 1, 4, &[&NULL, &[0; 13], &NULL]),
        ("ListOffsets v1 null topics", 2, 1, &[&NULL, &NULL]),
        ("FindCoordinator v0 null key", 10, 0, &[&[0xff, 0xff]]),
        ("Heartbeat v0 null group", 12, 0, &[&[0xff, 0xff], &[0; 4], &[0, 1, b'm']]),
        ("DeleteTopics v1 null names", 20, 1, &[&NULL, &[0; 4]]),
        ("CreatePartitions v0 null topics", 37, 0, &[&NULL, &[0; 5]]),
        ("DescribeConfigs v1 null resources", 32, 1, &[&NULL, &[0]]),
        ("OffsetFetch v1 null topics", 9, 1, &[&[0, 1, b'g'], &NULL]),
    ];
    for (case, key, version, body) in bodies {
        raw(session, case, key, version, &body.concat());
    }
    let frames: [(&str, &[u8]); 5] = [
        ("frame of no bytes", &[0, 0, 0, 0]),
        ("frame of three bytes", &[0, 0, 0, 3, 0, 3, 0]),
        ("frame of negative length", &[0xff, 0xff, 0xff, 0xff, 0, 0]),
        ("frame of 2 GiB", &[0x7f, 0xff, 0xff, 0xff, 0, 3]),
        ("frame with a null client id", &[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff]),
    ];
    for (case, frame) in frames {
        let told = if session.exchange(frame).is_some() { "answered" } else { "closed" };
        session.record(case, told);
        session.reconnect();
    }
}

/// Sends a body as it is and records the bytes of a short answer. The topics of Metadata are not compared here.
fn raw(session: &mut Session, case: &str, key: i16, version: i16, body: &[u8]) {
    let mut frame = common::frame(key, version, 7, body);
    if key == 18 || version == 99 {
        // A flexible header ends with tagged fields.
        frame = common::frame(key, version, 7, &[&[0], body].concat());
    }
    let answer = session.exchange(&frame);
    let text = match &answer {
        None => "closed".to_string(),
        Some(_) if key == 3 => "answered".to_string(),
        Some(bytes) => format!("{:?}", &bytes[..bytes.len().min(10)]),
    };
    session.record(case, &text);
    session.reconnect();
}

fn tell(session: &Session, response: &MetadataResponse) -> String {
    let mut response = response.clone();
    response.topics.retain(|t| t.error_code != 0 || t.name.as_ref().is_some_and(|n| session.is_mine(&n.0)));
    response.topics.sort_by(|a, b| a.name.cmp(&b.name));
    for topic in &mut response.topics {
        topic.partitions.sort_by_key(|p| p.partition_index);
    }
    format!("{response:?}")
}

fn by_name(session: &Session, names: &[&str]) -> MetadataRequest {
    let topics = names.iter().map(|n| md::MetadataRequestTopic::default().with_name(Some(session.topic(n)))).collect();
    MetadataRequest::default().with_topics(Some(topics)).with_allow_auto_topic_creation(false)
}

fn by_id(id: Uuid, name: Option<TopicName>) -> MetadataRequest {
    let topic = md::MetadataRequestTopic::default().with_topic_id(id).with_name(name);
    MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(false)
}

/// The rest, with topics.
pub fn cases(session: &mut Session) {
    let id = session.create("known", 2, &[]);
    let first = session.call(12, &MetadataRequest::default().with_topics(Some(vec![]))).unwrap();
    session.mask(&first.cluster_id.unwrap(), "<cluster>");
    for version in versions_of(3) {
        let allow = version < 4;
        let known = by_name(session, &["known"]).with_allow_auto_topic_creation(true);
        session.ask_as("known", version, &known, tell);
        let unknown = by_name(session, &["nowhere"]);
        if !allow {
            session.ask_as("unknown", version, &unknown, tell);
        }
        session.ask_as("no topics", version, &MetadataRequest::default().with_topics(Some(vec![])), |session, r| {
            let mut r = r.clone();
            if version == 0 {
                r.topics.retain(|t| t.name == Some(session.topic("known")));
            }
            tell(session, &r)
        });
        if version > 0 {
            session.ask_as("all topics", version, &MetadataRequest::default().with_topics(None), |session, r| {
                let mut r = r.clone();
                r.topics.retain(|t| t.name == Some(session.topic("known")));
                tell(session, &r)
            });
        }
    }
    let request = by_name(session, &["known", "known", "nowhere", "known"]);
    session.ask_as("duplicates", 12, &request, tell);
    let request = by_name(session, &["in valid"]);
    session.ask_as("invalid name", 12, &request, tell);
    let request = by_name(session, &["in valid"]).with_allow_auto_topic_creation(true);
    session.ask_as("invalid name with auto-creation", 12, &request, tell);
    let empty = md::MetadataRequestTopic::default().with_name(Some(TopicName(s(""))));
    session.ask_as("empty name", 12, &MetadataRequest::default().with_topics(Some(vec![empty])), tell);
    session.ask_as("by id", 12, &by_id(id, None), tell);
    session.ask_as("by id", 13, &by_id(id, None), tell);
    let strange = Uuid::from_u128(0x1234_5678_1234_5678_1234_5678_1234_5678);
    session.ask_as("unknown id", 12, &by_id(strange, None), tell);
    session.ask_as("unknown id", 13, &by_id(strange, None), tell);
    session.ask_as("nil id without name", 10, &by_id(Uuid::nil(), None), tell);
    session.ask_as("id below v12", 10, &by_id(id, Some(session.topic("known"))), tell);
    session.ask_as("id and name", 12, &by_id(id, Some(session.topic("known"))), tell);
    session.ask_as("id and another name", 12, &by_id(id, Some(session.topic("nowhere"))), tell);
    let request =
        by_name(session, &["known"]).with_include_topic_authorized_operations(true).with_include_cluster_authorized_operations(true);
    session.ask_as("authorized operations", 8, &request, tell);
    let request = by_name(session, &["known"]).with_include_topic_authorized_operations(true);
    session.ask_as("authorized operations", 12, &request, tell);
    for version in [1, 4, 12] {
        let name = format!("auto-{version}");
        let request = by_name(session, &[&name]).with_allow_auto_topic_creation(true);
        session.ask_as("auto-creation", version, &request, |_, r| {
            // Whether the new topic is visible at once is a race in Kafka; that it is not an error to retry is not.
            format!("{} {:?}", r.topics.len(), matches!(r.topics[0].error_code, 0 | 3 | 5))
        });
        session.wait_for_leader(&name);
    }
    clusters(session);
    partitions(session);
}

fn clusters(session: &mut Session) {
    for version in [0, 1, 2] {
        session.ask("plain", version, &DescribeClusterRequest::default());
        session.ask("operations", version, &DescribeClusterRequest::default().with_include_cluster_authorized_operations(true));
    }
    for endpoint in [0, 2, 9] {
        session.ask(&format!("endpoint type {endpoint}"), 1, &DescribeClusterRequest::default().with_endpoint_type(endpoint));
    }
}

fn partitions(session: &mut Session) {
    session.create("wide", 5, &[]);
    session.create("narrow", 1, &[]);
    let request = |session: &Session, names: &[&str]| {
        DescribeTopicPartitionsRequest::default()
            .with_topics(names.iter().map(|n| dp::TopicRequest::default().with_name(session.topic(n))).collect())
    };
    let cursor =
        |session: &Session, name: &str, index| dp::Cursor::default().with_topic_name(session.topic(name)).with_partition_index(index);
    let all = request(session, &["wide", "narrow", "nowhere"]);
    session.ask("three", 0, &all);
    session.ask("limit 2", 0, &all.clone().with_response_partition_limit(2));
    session.ask("limit 1", 0, &all.clone().with_response_partition_limit(1));
    session.ask("limit 0", 0, &all.clone().with_response_partition_limit(0));
    session.ask("limit -1", 0, &all.clone().with_response_partition_limit(-1));
    session.ask("cursor in wide", 0, &all.clone().with_cursor(Some(cursor(session, "wide", 2))));
    session.ask("cursor in wide, limit 2", 0, &all.clone().with_response_partition_limit(2).with_cursor(Some(cursor(session, "wide", 2))));
    session.ask("cursor at a topic that is not there", 0, &all.clone().with_cursor(Some(cursor(session, "o", 0))));
    session.ask("cursor behind the last partition", 0, &all.clone().with_cursor(Some(cursor(session, "wide", 9))));
    session.ask("cursor before the first partition", 0, &all.clone().with_cursor(Some(cursor(session, "wide", -1))));
    session.ask("duplicates", 0, &request(session, &["narrow", "narrow"]));
    session.ask("invalid name", 0, &request(session, &["in valid"]));
    session.ask_as("all", 0, &DescribeTopicPartitionsRequest::default(), |session, r| {
        let mut r = r.clone();
        r.topics.retain(|t| t.name == Some(session.topic("known")));
        format!("{r:?}")
    });
}
