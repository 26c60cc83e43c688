//! One sample request for every API but Produce and Fetch, with every field set that a version carries, encoded by `kafka-protocol`.

use bytes::{Bytes, BytesMut};
use coreline_wire::ApiKey;
use coreline_wire::api::known_version;
use kafka_protocol::messages::{
    self as kp, BrokerId, GroupId, ProducerId, TopicName, TransactionalId, alter_client_quotas_request as alter_quotas,
    alter_configs_request as alter, create_partitions_request as grow, create_topics_request as create, delete_records_request as purge,
    delete_topics_request as delete, describe_client_quotas_request as describe_quotas, describe_configs_request as configs,
    describe_topic_partitions_request as describe, incremental_alter_configs_request as incremental, join_group_request as join,
    leave_group_request as leave, list_offsets_request as list, metadata_request as metadata, offset_commit_request as commit,
    offset_delete_request as forget, offset_fetch_request as fetch, offset_for_leader_epoch_request as epoch, sync_group_request as sync,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use uuid::Uuid;

use super::{admin_samples, later};

pub(super) const fn s(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

pub(super) fn topic(text: &'static str) -> TopicName {
    TopicName(s(text))
}

const ID: Uuid = Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);

pub(super) fn encode<T: Encodable>(message: T, version: i16) -> Bytes {
    let mut out = BytesMut::new();
    message.encode(&mut out, version).expect("every field fits the version");
    out.freeze()
}

/// The sample's body; `None` for Produce and Fetch, which have codecs of their own.
pub(crate) fn body(api: ApiKey, v: i16) -> Option<Bytes> {
    if let Some(body) = later::body(api, v) {
        return Some(body);
    }
    let v = known_version(api.code(), v);
    Some(match api {
        ApiKey::Produce | ApiKey::Fetch => return None,
        ApiKey::ListOffsets => encode(list_offsets(v), v),
        ApiKey::Metadata => encode(metadata_request(v), v),
        ApiKey::OffsetCommit => encode(offset_commit(v), v),
        ApiKey::OffsetFetch => encode(offset_fetch(v), v),
        ApiKey::FindCoordinator => encode(find_coordinator(v), v),
        ApiKey::JoinGroup => encode(join_group(v), v),
        ApiKey::Heartbeat => {
            let request =
                kp::HeartbeatRequest::default().with_group_id(GroupId(s("group"))).with_generation_id(7).with_member_id(s("member"));
            encode(request.with_group_instance_id((v >= 3).then(|| s("instance"))), v)
        }
        ApiKey::LeaveGroup => encode(leave_group(v), v),
        ApiKey::SyncGroup => encode(sync_group(v), v),
        ApiKey::DescribeGroups => {
            let request = kp::DescribeGroupsRequest::default().with_groups(vec![GroupId(s("group")), GroupId(s("other"))]);
            encode(request.with_include_authorized_operations(v >= 3), v)
        }
        ApiKey::ListGroups => {
            let states = if v >= 4 { vec![s("Stable"), s("Empty")] } else { Vec::new() };
            let types = if v >= 5 { vec![s("classic")] } else { Vec::new() };
            encode(kp::ListGroupsRequest::default().with_states_filter(states).with_types_filter(types), v)
        }
        ApiKey::ApiVersions => {
            let mut request = kp::ApiVersionsRequest::default();
            if v >= 3 {
                request = request.with_client_software_name(s("golden")).with_client_software_version(s("1.0"));
            }
            encode(request, v)
        }
        ApiKey::CreateTopics => encode(create_topics(), v),
        ApiKey::DeleteTopics => encode(delete_topics(v), v),
        ApiKey::DeleteRecords => {
            let partition = purge::DeleteRecordsPartition::default().with_partition_index(3).with_offset(1000);
            let topics = vec![purge::DeleteRecordsTopic::default().with_name(topic("events")).with_partitions(vec![partition])];
            encode(kp::DeleteRecordsRequest::default().with_topics(topics).with_timeout_ms(30_000), v)
        }
        ApiKey::InitProducerId => {
            let mut request = kp::InitProducerIdRequest::default()
                .with_transactional_id(Some(TransactionalId(s("tx"))))
                .with_transaction_timeout_ms(60_000);
            if v >= 3 {
                request = request.with_producer_id(ProducerId(4000)).with_producer_epoch(2);
            }
            encode(request, v)
        }
        ApiKey::OffsetForLeaderEpoch => {
            let partition = epoch::OffsetForLeaderPartition::default().with_partition(1).with_current_leader_epoch(5).with_leader_epoch(4);
            let topics = vec![epoch::OffsetForLeaderTopic::default().with_topic(topic("events")).with_partitions(vec![partition])];
            let request = kp::OffsetForLeaderEpochRequest::default().with_topics(topics);
            encode(if v >= 3 { request.with_replica_id(BrokerId(-1)) } else { request }, v)
        }
        ApiKey::DescribeConfigs => {
            let one = configs::DescribeConfigsResource::default().with_resource_type(2).with_resource_name(s("events"));
            let two = one.clone().with_configuration_keys(Some(vec![s("cleanup.policy"), s("retention.ms")]));
            let one = one.with_configuration_keys(None);
            let request = kp::DescribeConfigsRequest::default().with_resources(vec![one, two]).with_include_synonyms(true);
            encode(request.with_include_documentation(v >= 3), v)
        }
        ApiKey::AlterConfigs => {
            let value = |value| alter::AlterableConfig::default().with_name(s("retention.ms")).with_value(value);
            let resource = alter::AlterConfigsResource::default().with_resource_type(2).with_resource_name(s("events"));
            let resource = resource.with_configs(vec![value(Some(s("1000"))), value(None)]);
            encode(kp::AlterConfigsRequest::default().with_resources(vec![resource]).with_validate_only(true), v)
        }
        ApiKey::CreatePartitions => {
            let assignment = grow::CreatePartitionsAssignment::default().with_broker_ids(vec![BrokerId(1), BrokerId(2)]);
            let one = grow::CreatePartitionsTopic::default().with_name(topic("events")).with_count(8);
            let two = one.clone().with_assignments(Some(vec![assignment]));
            let topics = vec![one.with_assignments(None), two];
            encode(kp::CreatePartitionsRequest::default().with_topics(topics).with_timeout_ms(30_000).with_validate_only(true), v)
        }
        ApiKey::DeleteGroups => {
            encode(kp::DeleteGroupsRequest::default().with_groups_names(vec![GroupId(s("group")), GroupId(s("other"))]), v)
        }
        ApiKey::IncrementalAlterConfigs => {
            let config = |operation, value| {
                incremental::AlterableConfig::default().with_name(s("cleanup.policy")).with_config_operation(operation).with_value(value)
            };
            let resource = incremental::AlterConfigsResource::default().with_resource_type(2).with_resource_name(s("events"));
            let resource = resource.with_configs(vec![config(0, Some(s("compact"))), config(1, None)]);
            encode(kp::IncrementalAlterConfigsRequest::default().with_resources(vec![resource]).with_validate_only(true), v)
        }
        ApiKey::OffsetDelete => {
            let partition = forget::OffsetDeleteRequestPartition::default().with_partition_index(4);
            let topics = vec![forget::OffsetDeleteRequestTopic::default().with_name(topic("events")).with_partitions(vec![partition])];
            encode(kp::OffsetDeleteRequest::default().with_group_id(GroupId(s("group"))).with_topics(topics), v)
        }
        ApiKey::GetTelemetrySubscriptions => encode(kp::GetTelemetrySubscriptionsRequest::default().with_client_instance_id(ID), v),
        ApiKey::PushTelemetry => {
            let request = kp::PushTelemetryRequest::default().with_client_instance_id(ID).with_subscription_id(-77);
            encode(request.with_terminating(true).with_compression_type(4).with_metrics(Bytes::from_static(&[1, 2, 3])), v)
        }
        ApiKey::DescribeClientQuotas => {
            let part =
                |kind, how, name| describe_quotas::ComponentData::default().with_entity_type(s(kind)).with_match_type(how).with_match(name);
            let components = vec![part("user", 0, Some(s("alice"))), part("client-id", 1, None)];
            encode(kp::DescribeClientQuotasRequest::default().with_components(components).with_strict(true), v)
        }
        ApiKey::AlterClientQuotas => {
            let part = |kind, name| alter_quotas::EntityData::default().with_entity_type(s(kind)).with_entity_name(name);
            let set = alter_quotas::OpData::default().with_key(s("producer_byte_rate")).with_value(1e6);
            let remove = alter_quotas::OpData::default().with_key(s("request_percentage")).with_remove(true);
            let entry = alter_quotas::EntryData::default()
                .with_entity(vec![part("user", Some(s("alice"))), part("client-id", None)])
                .with_ops(vec![set, remove]);
            encode(kp::AlterClientQuotasRequest::default().with_entries(vec![entry]).with_validate_only(true), v)
        }
        ApiKey::DescribeCluster => {
            let mut request = kp::DescribeClusterRequest::default().with_include_cluster_authorized_operations(true);
            if v >= 1 {
                request = request.with_endpoint_type(1);
            }
            encode(request.with_include_fenced_brokers(v >= 2), v)
        }
        ApiKey::DescribeTopicPartitions => {
            let cursor = describe::Cursor::default().with_topic_name(topic("events")).with_partition_index(17);
            let topics = vec![describe::TopicRequest::default().with_name(topic("events"))];
            let request = kp::DescribeTopicPartitionsRequest::default().with_topics(topics).with_response_partition_limit(2000);
            encode(request.with_cursor(Some(cursor)), v)
        }
        ApiKey::AlterReplicaLogDirs
        | ApiKey::DescribeLogDirs
        | ApiKey::ElectLeaders
        | ApiKey::AlterPartitionReassignments
        | ApiKey::ListPartitionReassignments
        | ApiKey::DescribeUserScramCredentials
        | ApiKey::DescribeQuorum
        | ApiKey::UpdateFeatures
        | ApiKey::DescribeProducers
        | ApiKey::UnregisterBroker
        | ApiKey::ListConfigResources => admin_samples::body(api, v),
        ApiKey::ConsumerGroupHeartbeat => {
            let owned = kp::consumer_group_heartbeat_request::TopicPartitions::default().with_topic_id(ID).with_partitions(vec![0, 1]);
            let request = kp::ConsumerGroupHeartbeatRequest::default()
                .with_group_id(GroupId(s("group")))
                .with_member_id(s("member"))
                .with_instance_id(Some(s("instance")))
                .with_rebalance_timeout_ms(60_000)
                .with_subscribed_topic_names(Some(vec![topic("topic")]))
                .with_server_assignor(Some(s("uniform")))
                .with_topic_partitions(Some(vec![owned]));
            encode(if v >= 1 { request.with_subscribed_topic_regex(Some(s("t.*"))) } else { request }, v)
        }
        ApiKey::ConsumerGroupDescribe => {
            let groups = vec![GroupId(s("group"))];
            encode(kp::ConsumerGroupDescribeRequest::default().with_group_ids(groups).with_include_authorized_operations(true), v)
        }
    })
}

fn list_offsets(v: i16) -> kp::ListOffsetsRequest {
    let mut partition = list::ListOffsetsPartition::default().with_partition_index(2).with_timestamp(-1);
    if v >= 4 {
        partition = partition.with_current_leader_epoch(9);
    }
    let topics = vec![list::ListOffsetsTopic::default().with_name(topic("events")).with_partitions(vec![partition])];
    let mut request = kp::ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(topics);
    if v >= 2 {
        request = request.with_isolation_level(1);
    }
    if v >= 10 { request.with_timeout_ms(5000) } else { request }
}

fn metadata_request(v: i16) -> kp::MetadataRequest {
    let mut one = metadata::MetadataRequestTopic::default().with_name(Some(topic("events")));
    if v >= 10 {
        one = one.with_topic_id(ID);
    }
    let mut topics = vec![one];
    if v >= 12 {
        topics.push(metadata::MetadataRequestTopic::default().with_name(None).with_topic_id(ID));
    }
    let mut request = kp::MetadataRequest::default().with_topics(Some(topics));
    if v >= 4 {
        request = request.with_allow_auto_topic_creation(false);
    }
    if (8..=10).contains(&v) {
        request = request.with_include_cluster_authorized_operations(true);
    }
    if v >= 8 { request.with_include_topic_authorized_operations(true) } else { request }
}

fn offset_commit(v: i16) -> kp::OffsetCommitRequest {
    let partition = commit::OffsetCommitRequestPartition::default().with_partition_index(4).with_committed_offset(1234);
    let mut noted = partition.clone().with_committed_metadata(Some(s("note")));
    if v >= 6 {
        noted = noted.with_committed_leader_epoch(3);
    }
    let partitions = vec![noted, partition.with_committed_metadata(None)];
    let topics = vec![commit::OffsetCommitRequestTopic::default().with_name(topic("events")).with_partitions(partitions)];
    let mut request = kp::OffsetCommitRequest::default()
        .with_group_id(GroupId(s("group")))
        .with_generation_id_or_member_epoch(7)
        .with_member_id(s("member"))
        .with_topics(topics);
    if v <= 4 {
        request = request.with_retention_time_ms(86_400_000);
    }
    if v >= 7 { request.with_group_instance_id(Some(s("instance"))) } else { request }
}

fn offset_fetch(v: i16) -> kp::OffsetFetchRequest {
    let mut request = kp::OffsetFetchRequest::default();
    if v <= 7 {
        let one = fetch::OffsetFetchRequestTopic::default().with_name(topic("events")).with_partition_indexes(vec![0, 1]);
        request = request.with_group_id(GroupId(s("group"))).with_topics(Some(vec![one]));
    } else {
        let one = fetch::OffsetFetchRequestTopics::default().with_name(topic("events")).with_partition_indexes(vec![0, 1]);
        let mut group = fetch::OffsetFetchRequestGroup::default().with_group_id(GroupId(s("group"))).with_topics(Some(vec![one]));
        if v >= 9 {
            group = group.with_member_id(Some(s("member"))).with_member_epoch(6);
        }
        let all = fetch::OffsetFetchRequestGroup::default().with_group_id(GroupId(s("other"))).with_topics(None);
        request = request.with_groups(vec![group, all]);
    }
    request.with_require_stable(v >= 7)
}

fn find_coordinator(v: i16) -> kp::FindCoordinatorRequest {
    let mut request = kp::FindCoordinatorRequest::default();
    if v <= 3 {
        request = request.with_key(s("group"));
    } else {
        request = request.with_coordinator_keys(vec![s("group"), s("other")]);
    }
    if v >= 1 { request.with_key_type(1) } else { request }
}

fn join_group(v: i16) -> kp::JoinGroupRequest {
    let protocol = join::JoinGroupRequestProtocol::default().with_name(s("range")).with_metadata(Bytes::from_static(&[0, 1, 2, 3]));
    let mut request = kp::JoinGroupRequest::default()
        .with_group_id(GroupId(s("group")))
        .with_session_timeout_ms(45_000)
        .with_member_id(s("member"))
        .with_protocol_type(s("consumer"))
        .with_protocols(vec![protocol]);
    if v >= 1 {
        request = request.with_rebalance_timeout_ms(300_000);
    }
    if v >= 5 {
        request = request.with_group_instance_id(Some(s("instance")));
    }
    if v >= 8 { request.with_reason(Some(s("joining"))) } else { request }
}

fn leave_group(v: i16) -> kp::LeaveGroupRequest {
    let request = kp::LeaveGroupRequest::default().with_group_id(GroupId(s("group")));
    if v <= 2 {
        return request.with_member_id(s("member"));
    }
    let mut member = leave::MemberIdentity::default().with_member_id(s("member")).with_group_instance_id(Some(s("instance")));
    if v >= 5 {
        member = member.with_reason(Some(s("closing")));
    }
    request.with_members(vec![member])
}

fn sync_group(v: i16) -> kp::SyncGroupRequest {
    let assignment =
        sync::SyncGroupRequestAssignment::default().with_member_id(s("member")).with_assignment(Bytes::from_static(&[9, 8, 7]));
    let mut request = kp::SyncGroupRequest::default()
        .with_group_id(GroupId(s("group")))
        .with_generation_id(7)
        .with_member_id(s("member"))
        .with_assignments(vec![assignment]);
    if v >= 3 {
        request = request.with_group_instance_id(Some(s("instance")));
    }
    if v >= 5 {
        request = request.with_protocol_type(Some(s("consumer"))).with_protocol_name(Some(s("range")));
    }
    request
}

fn create_topics() -> kp::CreateTopicsRequest {
    let assignment = create::CreatableReplicaAssignment::default().with_partition_index(0).with_broker_ids(vec![BrokerId(1), BrokerId(2)]);
    let config = |value| create::CreatableTopicConfig::default().with_name(s("retention.ms")).with_value(value);
    let plain = create::CreatableTopic::default().with_name(topic("events")).with_num_partitions(6).with_replication_factor(3);
    let assigned = create::CreatableTopic::default()
        .with_name(topic("placed"))
        .with_num_partitions(-1)
        .with_replication_factor(-1)
        .with_assignments(vec![assignment])
        .with_configs(vec![config(Some(s("1000"))), config(None)]);

    kp::CreateTopicsRequest::default().with_topics(vec![plain, assigned]).with_timeout_ms(30_000).with_validate_only(true)
}

fn delete_topics(v: i16) -> kp::DeleteTopicsRequest {
    let request = kp::DeleteTopicsRequest::default().with_timeout_ms(30_000);
    if v <= 5 {
        return request.with_topic_names(vec![topic("events"), topic("other")]);
    }
    let named = delete::DeleteTopicState::default().with_name(Some(topic("events")));
    request.with_topics(vec![named, delete::DeleteTopicState::default().with_name(None).with_topic_id(ID)])
}

/// What `kafka-protocol` reads from a request body, in its debug form.
pub(crate) fn debug(api: ApiKey, version: i16, body: &Bytes) -> Result<String, String> {
    if let Some(told) = later::debug(api, version, body) {
        return told;
    }
    let version = known_version(api.code(), version);
    fn read<T: Decodable + std::fmt::Debug>(version: i16, body: &Bytes) -> Result<String, String> {
        let mut rest = body.clone();
        let message = T::decode(&mut rest, version).map_err(|e| e.to_string())?;
        if rest.is_empty() { Ok(format!("{message:#?}")) } else { Err(format!("{} bytes left", rest.len())) }
    }
    macro_rules! dispatch {
        ($($api:ident => $request:ident),* $(,)?) => {
            match api {
                $(ApiKey::$api => read::<kp::$request>(version, body),)*
            }
        };
    }
    dispatch! {
        Produce => ProduceRequest, Fetch => FetchRequest,
        ListOffsets => ListOffsetsRequest, Metadata => MetadataRequest, OffsetCommit => OffsetCommitRequest,
        OffsetFetch => OffsetFetchRequest, FindCoordinator => FindCoordinatorRequest, JoinGroup => JoinGroupRequest,
        Heartbeat => HeartbeatRequest, LeaveGroup => LeaveGroupRequest, SyncGroup => SyncGroupRequest,
        DescribeGroups => DescribeGroupsRequest, ListGroups => ListGroupsRequest,
        ApiVersions => ApiVersionsRequest, CreateTopics => CreateTopicsRequest, DeleteTopics => DeleteTopicsRequest,
        DeleteRecords => DeleteRecordsRequest, InitProducerId => InitProducerIdRequest,
        OffsetForLeaderEpoch => OffsetForLeaderEpochRequest, DescribeConfigs => DescribeConfigsRequest,
        AlterConfigs => AlterConfigsRequest, CreatePartitions => CreatePartitionsRequest,
        DeleteGroups => DeleteGroupsRequest, IncrementalAlterConfigs => IncrementalAlterConfigsRequest,
        OffsetDelete => OffsetDeleteRequest, DescribeClientQuotas => DescribeClientQuotasRequest,
        AlterClientQuotas => AlterClientQuotasRequest, DescribeCluster => DescribeClusterRequest,
        DescribeTopicPartitions => DescribeTopicPartitionsRequest,
        AlterReplicaLogDirs => AlterReplicaLogDirsRequest, DescribeLogDirs => DescribeLogDirsRequest,
        ElectLeaders => ElectLeadersRequest, AlterPartitionReassignments => AlterPartitionReassignmentsRequest,
        ListPartitionReassignments => ListPartitionReassignmentsRequest, DescribeQuorum => DescribeQuorumRequest,
        UpdateFeatures => UpdateFeaturesRequest, DescribeProducers => DescribeProducersRequest,
        ConsumerGroupHeartbeat => ConsumerGroupHeartbeatRequest, ConsumerGroupDescribe => ConsumerGroupDescribeRequest,
        DescribeUserScramCredentials => DescribeUserScramCredentialsRequest,
        UnregisterBroker => UnregisterBrokerRequest, GetTelemetrySubscriptions => GetTelemetrySubscriptionsRequest,
            PushTelemetry => PushTelemetryRequest, ListConfigResources => ListConfigResourcesRequest,
    }
}
