//! The structure of every served request but Produce and Fetch, as in Kafka 4.1's message schemas.
//!
//! Versions below an API's minimum are not described. Callers: `fence`.

use super::admin_requests as admin;
use super::schema::{BOOL, BYTES, F64, Field, I8, I16, I32, I64, Kind, STRING, Struct, UUID, field, structs};
use crate::api::ApiKey;

/// The structure of an API's request.
pub(super) fn request(api: ApiKey) -> Option<&'static Struct> {
    Some(match api {
        ApiKey::Produce | ApiKey::Fetch => return None,
        ApiKey::ListOffsets => &LIST_OFFSETS,
        ApiKey::Metadata => &METADATA,
        ApiKey::OffsetCommit => &OFFSET_COMMIT,
        ApiKey::OffsetFetch => &OFFSET_FETCH,
        ApiKey::FindCoordinator => &FIND_COORDINATOR,
        ApiKey::JoinGroup => &JOIN_GROUP,
        ApiKey::Heartbeat => &HEARTBEAT,
        ApiKey::LeaveGroup => &LEAVE_GROUP,
        ApiKey::SyncGroup => &SYNC_GROUP,
        ApiKey::DescribeGroups => &DESCRIBE_GROUPS,
        ApiKey::ListGroups => &LIST_GROUPS,
        ApiKey::ApiVersions => &API_VERSIONS,
        ApiKey::CreateTopics => &CREATE_TOPICS,
        ApiKey::DeleteTopics => &DELETE_TOPICS,
        ApiKey::DeleteRecords => &DELETE_RECORDS,
        ApiKey::InitProducerId => &INIT_PRODUCER_ID,
        ApiKey::OffsetForLeaderEpoch => &OFFSET_FOR_LEADER_EPOCH,
        ApiKey::DescribeConfigs => &DESCRIBE_CONFIGS,
        ApiKey::AlterConfigs => &ALTER_CONFIGS,
        ApiKey::AlterReplicaLogDirs => &admin::ALTER_REPLICA_LOG_DIRS,
        ApiKey::DescribeLogDirs => &admin::DESCRIBE_LOG_DIRS,
        ApiKey::CreatePartitions => &CREATE_PARTITIONS,
        ApiKey::DeleteGroups => &DELETE_GROUPS,
        ApiKey::ElectLeaders => &admin::ELECT_LEADERS,
        ApiKey::IncrementalAlterConfigs => &INCREMENTAL_ALTER_CONFIGS,
        ApiKey::AlterPartitionReassignments => &admin::ALTER_PARTITION_REASSIGNMENTS,
        ApiKey::ListPartitionReassignments => &admin::LIST_PARTITION_REASSIGNMENTS,
        ApiKey::OffsetDelete => &OFFSET_DELETE,
        ApiKey::DescribeClientQuotas => &DESCRIBE_CLIENT_QUOTAS,
        ApiKey::AlterClientQuotas => &ALTER_CLIENT_QUOTAS,
        ApiKey::DescribeUserScramCredentials => &admin::DESCRIBE_USER_SCRAM_CREDENTIALS,
        ApiKey::DescribeQuorum => &admin::DESCRIBE_QUORUM,
        ApiKey::UpdateFeatures => &admin::UPDATE_FEATURES,
        ApiKey::DescribeCluster => &DESCRIBE_CLUSTER,
        ApiKey::DescribeProducers => &admin::DESCRIBE_PRODUCERS,
        ApiKey::UnregisterBroker => &admin::UNREGISTER_BROKER,
        ApiKey::GetTelemetrySubscriptions => &GET_TELEMETRY_SUBSCRIPTIONS,
        ApiKey::PushTelemetry => &PUSH_TELEMETRY,
        ApiKey::ListConfigResources => &admin::LIST_CONFIG_RESOURCES,
        ApiKey::ConsumerGroupHeartbeat => &CONSUMER_GROUP_HEARTBEAT,
        ApiKey::ConsumerGroupDescribe => &CONSUMER_GROUP_DESCRIBE,
        ApiKey::DescribeTopicPartitions => &DESCRIBE_TOPIC_PARTITIONS,
    })
}

const STRINGS: Kind = Kind::Array(&STRING);
const I32S: Kind = Kind::Array(&I32);

const fn topic_name(name: &'static str) -> Field {
    field(name, STRING)
}

static LIST_OFFSETS: Struct = Struct {
    fields: &[
        field("replica_id", I32),
        field("isolation_level", I8).since(2),
        field(
            "topics",
            structs![
                topic_name("name"),
                field(
                    "partitions",
                    structs![field("partition_index", I32), field("current_leader_epoch", I32).since(4), field("timestamp", I64),],
                ),
            ],
        ),
        field("timeout_ms", I32).since(10),
    ],
};

static METADATA: Struct = Struct {
    fields: &[
        field("topics", structs![field("topic_id", UUID).since(10), topic_name("name").nullable(10)]).nullable(1),
        field("allow_auto_topic_creation", BOOL).since(4),
        field("include_cluster_authorized_operations", BOOL).since(8).until(10),
        field("include_topic_authorized_operations", BOOL).since(8),
    ],
};

static OFFSET_COMMIT: Struct = Struct {
    fields: &[
        field("group_id", STRING),
        field("generation_id_or_member_epoch", I32),
        field("member_id", STRING),
        field("group_instance_id", STRING).since(7).nullable(7),
        field("retention_time_ms", I64).until(4),
        field(
            "topics",
            structs![
                topic_name("name").until(9),
                field("topic_id", UUID).since(10),
                field(
                    "partitions",
                    structs![
                        field("partition_index", I32),
                        field("committed_offset", I64),
                        field("committed_leader_epoch", I32).since(6),
                        field("committed_metadata", STRING).nullable(0),
                    ],
                ),
            ],
        ),
    ],
};

static OFFSET_FETCH: Struct = Struct {
    fields: &[
        field("group_id", STRING).until(7),
        field("topics", structs![topic_name("name"), field("partition_indexes", I32S)]).until(7).nullable(2),
        field(
            "groups",
            structs![
                field("group_id", STRING),
                field("member_id", STRING).since(9).nullable(9),
                field("member_epoch", I32).since(9),
                field(
                    "topics",
                    structs![topic_name("name").until(9), field("topic_id", UUID).since(10), field("partition_indexes", I32S)],
                )
                .nullable(8),
            ],
        )
        .since(8),
        field("require_stable", BOOL).since(7),
    ],
};

static CONSUMER_GROUP_HEARTBEAT: Struct = Struct {
    fields: &[
        field("group_id", STRING),
        field("member_id", STRING),
        field("member_epoch", I32),
        field("instance_id", STRING).nullable(0),
        field("rack_id", STRING).nullable(0),
        field("rebalance_timeout_ms", I32),
        field("subscribed_topic_names", STRINGS).nullable(0),
        field("subscribed_topic_regex", STRING).since(1).nullable(1),
        field("server_assignor", STRING).nullable(0),
        field("topic_partitions", structs![field("topic_id", UUID), field("partitions", I32S)]).nullable(0),
    ],
};

static CONSUMER_GROUP_DESCRIBE: Struct = Struct { fields: &[field("group_ids", STRINGS), field("include_authorized_operations", BOOL)] };

static FIND_COORDINATOR: Struct =
    Struct { fields: &[field("key", STRING).until(3), field("key_type", I8).since(1), field("coordinator_keys", STRINGS).since(4)] };

static JOIN_GROUP: Struct = Struct {
    fields: &[
        field("group_id", STRING),
        field("session_timeout_ms", I32),
        field("rebalance_timeout_ms", I32).since(1),
        field("member_id", STRING),
        field("group_instance_id", STRING).since(5).nullable(5),
        field("protocol_type", STRING),
        field("protocols", structs![field("name", STRING), field("metadata", BYTES)]),
        field("reason", STRING).since(8).nullable(8),
    ],
};

static HEARTBEAT: Struct = Struct {
    fields: &[
        field("group_id", STRING),
        field("generation_id", I32),
        field("member_id", STRING),
        field("group_instance_id", STRING).since(3).nullable(3),
    ],
};

static LEAVE_GROUP: Struct = Struct {
    fields: &[
        field("group_id", STRING),
        field("member_id", STRING).until(2),
        field(
            "members",
            structs![
                field("member_id", STRING),
                field("group_instance_id", STRING).nullable(3),
                field("reason", STRING).since(5).nullable(5),
            ],
        )
        .since(3),
    ],
};

static SYNC_GROUP: Struct = Struct {
    fields: &[
        field("group_id", STRING),
        field("generation_id", I32),
        field("member_id", STRING),
        field("group_instance_id", STRING).since(3).nullable(3),
        field("protocol_type", STRING).since(5).nullable(5),
        field("protocol_name", STRING).since(5).nullable(5),
        field("assignments", structs![field("member_id", STRING), field("assignment", BYTES)]),
    ],
};

static DESCRIBE_GROUPS: Struct = Struct { fields: &[field("groups", STRINGS), field("include_authorized_operations", BOOL).since(3)] };

static LIST_GROUPS: Struct = Struct { fields: &[field("states_filter", STRINGS).since(4), field("types_filter", STRINGS).since(5)] };

static API_VERSIONS: Struct =
    Struct { fields: &[field("client_software_name", STRING).since(3), field("client_software_version", STRING).since(3)] };

static CREATE_TOPICS: Struct = Struct {
    fields: &[
        field(
            "topics",
            structs![
                topic_name("name"),
                field("num_partitions", I32),
                field("replication_factor", I16),
                field("assignments", structs![field("partition_index", I32), field("broker_ids", I32S)]),
                field("configs", structs![field("name", STRING), field("value", STRING).nullable(0)]),
            ],
        ),
        field("timeout_ms", I32),
        field("validate_only", BOOL),
    ],
};

static DELETE_TOPICS: Struct = Struct {
    fields: &[
        field("topics", structs![topic_name("name").nullable(6), field("topic_id", UUID)]).since(6),
        field("topic_names", STRINGS).until(5),
        field("timeout_ms", I32),
    ],
};

static DELETE_RECORDS: Struct = Struct {
    fields: &[
        field("topics", structs![topic_name("name"), field("partitions", structs![field("partition_index", I32), field("offset", I64)]),]),
        field("timeout_ms", I32),
    ],
};

static INIT_PRODUCER_ID: Struct = Struct {
    fields: &[
        field("transactional_id", STRING).nullable(0),
        field("transaction_timeout_ms", I32),
        field("producer_id", I64).since(3),
        field("producer_epoch", I16).since(3),
    ],
};

static OFFSET_FOR_LEADER_EPOCH: Struct = Struct {
    fields: &[
        field("replica_id", I32).since(3),
        field(
            "topics",
            structs![
                topic_name("topic"),
                field("partitions", structs![field("partition", I32), field("current_leader_epoch", I32), field("leader_epoch", I32)],),
            ],
        ),
    ],
};

static DESCRIBE_CONFIGS: Struct = Struct {
    fields: &[
        field(
            "resources",
            structs![field("resource_type", I8), field("resource_name", STRING), field("configuration_keys", STRINGS).nullable(0),],
        ),
        field("include_synonyms", BOOL),
        field("include_documentation", BOOL).since(3),
    ],
};

static ALTER_CONFIGS: Struct = Struct {
    fields: &[
        field(
            "resources",
            structs![
                field("resource_type", I8),
                field("resource_name", STRING),
                field("configs", structs![field("name", STRING), field("value", STRING).nullable(0)]),
            ],
        ),
        field("validate_only", BOOL),
    ],
};

static CREATE_PARTITIONS: Struct = Struct {
    fields: &[
        field(
            "topics",
            structs![topic_name("name"), field("count", I32), field("assignments", structs![field("broker_ids", I32S)]).nullable(0),],
        ),
        field("timeout_ms", I32),
        field("validate_only", BOOL),
    ],
};

static DELETE_GROUPS: Struct = Struct { fields: &[field("groups_names", STRINGS)] };

static OFFSET_DELETE: Struct = Struct {
    fields: &[
        field("group_id", STRING),
        field("topics", structs![topic_name("name"), field("partitions", structs![field("partition_index", I32)])]),
    ],
};

static INCREMENTAL_ALTER_CONFIGS: Struct = Struct {
    fields: &[
        field(
            "resources",
            structs![
                field("resource_type", I8),
                field("resource_name", STRING),
                field("configs", structs![field("name", STRING), field("config_operation", I8), field("value", STRING).nullable(0)],),
            ],
        ),
        field("validate_only", BOOL),
    ],
};

static GET_TELEMETRY_SUBSCRIPTIONS: Struct = Struct { fields: &[field("client_instance_id", UUID)] };

static PUSH_TELEMETRY: Struct = Struct {
    fields: &[
        field("client_instance_id", UUID),
        field("subscription_id", I32),
        field("terminating", BOOL),
        field("compression_type", I8),
        field("metrics", BYTES),
    ],
};

static DESCRIBE_CLIENT_QUOTAS: Struct = Struct {
    fields: &[
        field("components", structs![field("entity_type", STRING), field("match_type", I8), field("match", STRING).nullable(0)]),
        field("strict", BOOL),
    ],
};

static ALTER_CLIENT_QUOTAS: Struct = Struct {
    fields: &[
        field(
            "entries",
            structs![
                field("entity", structs![field("entity_type", STRING), field("entity_name", STRING).nullable(0)]),
                field("ops", structs![field("key", STRING), field("value", F64), field("remove", BOOL)]),
            ],
        ),
        field("validate_only", BOOL),
    ],
};

static DESCRIBE_CLUSTER: Struct = Struct {
    fields: &[
        field("include_cluster_authorized_operations", BOOL),
        field("endpoint_type", I8).since(1),
        field("include_fenced_brokers", BOOL).since(2),
    ],
};

static DESCRIBE_TOPIC_PARTITIONS: Struct = Struct {
    fields: &[
        field("topics", structs![topic_name("name")]),
        field("response_partition_limit", I32),
        field("cursor", Kind::Optional(&Struct { fields: &[field("topic_name", STRING), field("partition_index", I32)] })),
    ],
};
