//! The structure of the requests that administer partitions, directories, features and the quorum, as in Kafka 4.1's message schemas.
//!
//! Callers: `requests`, which finds them by API.

use super::schema::{BOOL, I8, I16, I32, Kind, STRING, Struct, field, structs};

const I32S: Kind = Kind::Array(&I32);

pub(super) static ALTER_REPLICA_LOG_DIRS: Struct = Struct {
    fields: &[field("dirs", structs![field("path", STRING), field("topics", structs![field("name", STRING), field("partitions", I32S)])])],
};

pub(super) static DESCRIBE_LOG_DIRS: Struct =
    Struct { fields: &[field("topics", structs![field("topic", STRING), field("partitions", I32S)]).nullable(0)] };

pub(super) static ELECT_LEADERS: Struct = Struct {
    fields: &[
        field("election_type", I8).since(1),
        field("topic_partitions", structs![field("topic", STRING), field("partitions", I32S)]).nullable(0),
        field("timeout_ms", I32),
    ],
};

pub(super) static ALTER_PARTITION_REASSIGNMENTS: Struct = Struct {
    fields: &[
        field("timeout_ms", I32),
        field("allow_replication_factor_change", BOOL).since(1),
        field(
            "topics",
            structs![
                field("name", STRING),
                field("partitions", structs![field("partition_index", I32), field("replicas", I32S).nullable(0)]),
            ],
        ),
    ],
};

pub(super) static LIST_PARTITION_REASSIGNMENTS: Struct = Struct {
    fields: &[field("timeout_ms", I32), field("topics", structs![field("name", STRING), field("partition_indexes", I32S)]).nullable(0)],
};

pub(super) static DESCRIBE_QUORUM: Struct = Struct {
    fields: &[field("topics", structs![field("topic_name", STRING), field("partitions", structs![field("partition_index", I32)])])],
};

pub(super) static UPDATE_FEATURES: Struct = Struct {
    fields: &[
        field("timeout_ms", I32),
        field(
            "feature_updates",
            structs![
                field("feature", STRING),
                field("max_version_level", I16),
                field("allow_downgrade", BOOL).until(0),
                field("upgrade_type", I8).since(1),
            ],
        ),
        field("validate_only", BOOL).since(1),
    ],
};

pub(super) static DESCRIBE_PRODUCERS: Struct =
    Struct { fields: &[field("topics", structs![field("name", STRING), field("partition_indexes", I32S)])] };

pub(super) static DESCRIBE_USER_SCRAM_CREDENTIALS: Struct =
    Struct { fields: &[field("users", structs![field("name", STRING)]).nullable(0)] };

pub(super) static UNREGISTER_BROKER: Struct = Struct { fields: &[field("broker_id", I32)] };

pub(super) static LIST_CONFIG_RESOURCES: Struct = Struct { fields: &[field("resource_types", Kind::Array(&I8)).since(1)] };
