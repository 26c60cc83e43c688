//! Bad input that no file of one API has: bodies that end at once, counts beyond reason, internal topics.

use kafka_protocol::messages::{
    ApiKey, BrokerId, CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest, DescribeTopicPartitionsRequest, FetchRequest,
    ListOffsetsRequest, MetadataRequest, OffsetForLeaderEpochRequest, ProduceRequest, TopicName, create_partitions_request as cp,
    create_topics_request as ct, delete_records_request as dr, describe_topic_partitions_request as dp, fetch_request as fr,
    list_offsets_request as lo, metadata_request as md, offset_for_leader_epoch_request as oe, produce_request as pr,
};
use kafka_protocol::protocol::Message;

use super::produce::batch;
use super::session::{Session, api_name, s};
use crate::common;

/// All of this file.
pub fn cases(session: &mut Session) {
    bodies(session);
    counts(session);
    internal(session);
}

/// The APIs whose every version is asked with bodies that are no requests, with the versions that the protocol crate knows.
fn apis() -> Vec<(i16, i16, i16)> {
    use kafka_protocol::messages as kp;
    macro_rules! range {
        ($($request:ident),* $(,)?) => {
            vec![$((kp::ApiKey::try_from(<kp::$request as kafka_protocol::protocol::Request>::KEY).unwrap() as i16, kp::$request::VERSIONS.min, kp::$request::VERSIONS.max)),*]
        };
    }
    range![
        FetchRequest,
        ListOffsetsRequest,
        MetadataRequest,
        OffsetCommitRequest,
        OffsetFetchRequest,
        FindCoordinatorRequest,
        JoinGroupRequest,
        HeartbeatRequest,
        LeaveGroupRequest,
        SyncGroupRequest,
        DescribeGroupsRequest,
        ListGroupsRequest,
        CreateTopicsRequest,
        DeleteTopicsRequest,
        DeleteRecordsRequest,
        InitProducerIdRequest,
        OffsetForLeaderEpochRequest,
        DescribeConfigsRequest,
        AlterConfigsRequest,
        AlterReplicaLogDirsRequest,
        DescribeLogDirsRequest,
        CreatePartitionsRequest,
        DeleteGroupsRequest,
        ElectLeadersRequest,
        IncrementalAlterConfigsRequest,
        AlterPartitionReassignmentsRequest,
        ListPartitionReassignmentsRequest,
        OffsetDeleteRequest,
        DescribeClientQuotasRequest,
        AlterClientQuotasRequest,
        DescribeQuorumRequest,
        UpdateFeaturesRequest,
        DescribeClusterRequest,
        DescribeProducersRequest,
        ConsumerGroupHeartbeatRequest,
        ConsumerGroupDescribeRequest,
        ListConfigResourcesRequest,
        DescribeTopicPartitionsRequest,
    ]
}

fn bodies(session: &mut Session) {
    for (key, min, max) in apis() {
        let name = api_name(key);
        for version in min..=max {
            let flexible = ApiKey::try_from(key).unwrap().request_header_version(version) >= 2;
            for (case, body) in [("no body", &[][..]), ("body of one byte", &[0x7f]), ("body of one byte more than none", &[0])] {
                let case = format!("{name} v{version} {case}");
                if !session.serves(key, version) {
                    session.skip(&case);
                    continue;
                }
                // A body of nothing is well-formed where all that a request has are tags, or nothing at all.
                let frame = common::frame(key, version, 7, &[if flexible { &[0][..] } else { &[] }, body].concat());
                let told = if session.exchange(&frame).is_some() { "answered" } else { "closed" };
                session.record(&case, told);
                session.reconnect();
            }
        }
        for version in [min - 1, max + 20, i16::MAX, i16::MIN] {
            // Above the highest and below the lowest version, whatever those of each broker are.
            let frame = common::frame(key, version, 7, &[0; 40]);
            let told = if session.exchange(&frame).is_some() { "answered" } else { "closed" };
            session.record(&format!("{name}, version {version}"), told);
            session.reconnect();
        }
    }
}

fn counts(session: &mut Session) {
    for (case, partitions, replicas) in [
        ("partitions beyond reason", i32::MAX, 1),
        ("partitions as many as can be", 10_001, 1),
        ("fewest partitions", i32::MIN, 1),
        ("replicas beyond reason", 1, i16::MAX),
        ("fewest replicas", 1, i16::MIN),
    ] {
        for version in [5, 7] {
            let topic = ct::CreatableTopic::default()
                .with_name(session.topic("huge"))
                .with_num_partitions(partitions)
                .with_replication_factor(replicas);
            let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(5000).with_validate_only(true);
            session.ask(case, version, &request);
        }
    }
    let many = (0..400)
        .map(|i| {
            ct::CreatableTopic::default().with_name(session.topic(&format!("many-{i}"))).with_num_partitions(100).with_replication_factor(1)
        })
        .collect();
    let request = CreateTopicsRequest::default().with_topics(many).with_timeout_ms(5000).with_validate_only(true);
    session.ask_as("many topics", 7, &request, |_, r| {
        let mut codes: Vec<i16> = r.topics.iter().map(|t| t.error_code).collect();
        codes.dedup();
        format!("{codes:?} {}", r.topics.len())
    });
    session.create("grown", 1, &[]);
    for count in [i32::MAX, i32::MIN, 20_000] {
        let topic = cp::CreatePartitionsTopic::default().with_name(session.topic("grown")).with_count(count).with_assignments(None);
        let request = CreatePartitionsRequest::default().with_topics(vec![topic]).with_timeout_ms(5000).with_validate_only(true);
        session.ask(&format!("to {count} partitions"), 3, &request);
    }
    for (case, partitions) in [
        ("offset as great as can be", vec![(0, i64::MAX)]),
        ("offset as small as can be", vec![(0, i64::MIN)]),
        ("partition -1", vec![(-1, 0)]),
        ("greatest partition", vec![(i32::MAX, 0)]),
        ("partition twice", vec![(0, 0), (0, -1)]),
        ("no partitions", vec![]),
    ] {
        let partitions =
            partitions.into_iter().map(|(p, o)| dr::DeleteRecordsPartition::default().with_partition_index(p).with_offset(o)).collect();
        let topic = dr::DeleteRecordsTopic::default().with_name(session.topic("grown")).with_partitions(partitions);
        let request = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(5000);
        session.ask(case, 2, &request);
    }
}

/// The topic of committed offsets is there once a group was asked for.
fn internal(session: &mut Session) {
    super::groups::ready(session);
    let offsets = || TopicName(s("__consumer_offsets"));
    let topic = ct::CreatableTopic::default().with_name(offsets()).with_num_partitions(1).with_replication_factor(1);
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(5000).with_validate_only(true);
    session.ask("internal topic", 7, &request);
    let grown = cp::CreatePartitionsTopic::default().with_name(offsets()).with_count(4).with_assignments(None);
    session.ask(
        "internal topic, fewer",
        3,
        &CreatePartitionsRequest::default().with_topics(vec![grown]).with_timeout_ms(5000).with_validate_only(true),
    );
    let topic = md::MetadataRequestTopic::default().with_name(Some(offsets()));
    let request = MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(false);
    for version in [8, 10, 13] {
        session.ask_as("internal topic", version, &request, |_, r| {
            let t = &r.topics[0];
            format!("{} internal {} partitions {} leader {:?}", t.error_code, t.is_internal, t.partitions.len(), t.partitions[0].leader_id)
        });
    }
    let request = DescribeTopicPartitionsRequest::default().with_topics(vec![dp::TopicRequest::default().with_name(offsets())]);
    session.ask_as("internal topic", 0, &request, |_, r| {
        let t = &r.topics[0];
        format!("{} internal {} partitions {}", t.error_code, t.is_internal, t.partitions.len())
    });
    let data = pr::PartitionProduceData::default().with_index(0).with_records(Some(batch(1).build().unwrap()));
    let topic = pr::TopicProduceData::default().with_name(offsets()).with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(5000).with_topic_data(vec![topic]);
    session.ask_as("internal topic", 9, &request, |_, r| format!("{}", r.responses[0].partition_responses[0].error_code));
    let partition = dr::DeleteRecordsPartition::default().with_partition_index(0).with_offset(0);
    let topic = dr::DeleteRecordsTopic::default().with_name(offsets()).with_partitions(vec![partition]);
    session.ask("internal topic", 2, &DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(5000));
    let partition = fr::FetchPartition::default().with_partition(0).with_fetch_offset(0).with_partition_max_bytes(1000);
    let topic = fr::FetchTopic::default().with_topic(offsets()).with_partitions(vec![partition]);
    let request = FetchRequest::default().with_replica_id(BrokerId(-1)).with_max_bytes(1000).with_topics(vec![topic]);
    session.ask_as("internal topic", 12, &request, |_, r| format!("{}", r.responses[0].partitions[0].error_code));
    let partition = lo::ListOffsetsPartition::default().with_partition_index(0).with_timestamp(-2);
    let topic = lo::ListOffsetsTopic::default().with_name(offsets()).with_partitions(vec![partition]);
    session.ask("internal topic", 7, &ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]));
    let partition = oe::OffsetForLeaderPartition::default().with_partition(0).with_leader_epoch(99);
    let topic = oe::OffsetForLeaderTopic::default().with_topic(offsets()).with_partitions(vec![partition]);
    session.ask("internal topic", 4, &OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(-2)).with_topics(vec![topic]));
}
