//! Settings of the group coordinator, with Kafka's names, units and defaults, and the bounds that Kafka does not have.

use std::time::Duration;

use coreline_wire::record::Compression;

use super::group::Assignor;
use crate::config::Config;

/// Settings of the group coordinator. Fixed while it runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupConfig {
    /// `group.min.session.timeout.ms`: a JoinGroup below it is refused with `INVALID_SESSION_TIMEOUT`. Default 6 s.
    pub min_session_timeout_ms: i32,
    /// `group.max.session.timeout.ms`: a JoinGroup above it is refused with `INVALID_SESSION_TIMEOUT`. Default 30 min.
    pub max_session_timeout_ms: i32,
    /// `group.initial.rebalance.delay.ms`: how long an empty group waits for more members before its first rebalance ends. Default 3 s.
    pub initial_rebalance_delay_ms: i32,
    /// `group.max.size`: members of one group; the next one is refused with `GROUP_MAX_SIZE_REACHED`. Default 1,000 (Kafka: no limit).
    pub max_size: usize,
    /// `offset.metadata.max.bytes`: longer metadata of an offset commit is refused with `OFFSET_METADATA_TOO_LARGE`. Default 4,096.
    pub offset_metadata_max_bytes: usize,
    /// `offsets.retention.minutes`, in ms: how long offsets are kept that no member uses. Default 7 days.
    pub offsets_retention_ms: i64,
    /// `offsets.topic.compression.codec`: of the batches appended to `__consumer_offsets`. Default none.
    pub compression: Compression,
    /// `offsets.retention.check.interval.ms`: how often expired offsets and groups without members and offsets are dropped. Default 10 min.
    pub retention_check_interval_ms: i64,
    /// How long the JoinGroup of a member that does not know its id yet may stay parked. Default 5 min, as in Kafka.
    pub new_member_join_timeout_ms: i32,
    /// Groups of this coordinator; when full a new group is refused with `COORDINATOR_NOT_AVAILABLE`. Default 100,000.
    pub max_groups: usize,
    /// Protocol metadata of one member, all protocols together, in bytes; more is refused with `INVALID_REQUEST`. Default 1 MiB.
    pub member_metadata_max_bytes: usize,
    /// Writes that wait for the log; when full, offset commits and syncs get `COORDINATOR_NOT_AVAILABLE`. Default 20,000.
    pub max_pending_writes: usize,
    /// Bytes of one batch appended to `__consumer_offsets`; writes that wait together share a batch up to it. Default 512 KiB.
    pub append_batch_max_bytes: usize,
    /// `group.consumer.session.timeout.ms`: a member of a consumer group is removed when it says nothing for this long. Default 45 s.
    pub consumer_session_timeout_ms: i32,
    /// `group.consumer.min.session.timeout.ms`: lower bound of it and of a group's own setting. Default 45 s.
    pub consumer_min_session_timeout_ms: i32,
    /// `group.consumer.max.session.timeout.ms`: upper bound of it and of a group's own setting. Default 60 s.
    pub consumer_max_session_timeout_ms: i32,
    /// `group.consumer.heartbeat.interval.ms`: how often members of consumer groups are to send heartbeats. Default 5 s.
    pub consumer_heartbeat_interval_ms: i32,
    /// `group.consumer.min.heartbeat.interval.ms`: lower bound of it and of a group's own setting. Default 5 s.
    pub consumer_min_heartbeat_interval_ms: i32,
    /// `group.consumer.max.heartbeat.interval.ms`: upper bound of it and of a group's own setting. Default 15 s.
    pub consumer_max_heartbeat_interval_ms: i32,
    /// `group.consumer.max.size`: members of one consumer group; the next is refused with `GROUP_MAX_SIZE_REACHED`. Default 1,000
    /// (Kafka: no limit).
    pub consumer_max_size: usize,
    /// `group.consumer.assignors`: the first one is for groups whose members prefer none. Default `uniform`, `range`.
    pub consumer_assignors: Vec<Assignor>,
    /// `group.consumer.migration.policy`. Default both ways.
    pub migration: MigrationPolicy,
    /// `offsets.commit.timeout.ms`: who waits for a write that takes longer is answered `COORDINATOR_NOT_AVAILABLE`. Default 5 s.
    pub write_timeout_ms: i64,
    /// How long the driver waits after a failed read of the log before it tries again. Default 500 ms.
    pub load_retry: Duration,
}

impl Default for GroupConfig {
    fn default() -> Self {
        GroupConfig {
            min_session_timeout_ms: 6_000,
            max_session_timeout_ms: 1_800_000,
            initial_rebalance_delay_ms: 3_000,
            max_size: 1_000,
            offset_metadata_max_bytes: 4_096,
            offsets_retention_ms: 7 * 24 * 3_600_000,
            compression: Compression::None,
            retention_check_interval_ms: 600_000,
            new_member_join_timeout_ms: 300_000,
            max_groups: 100_000,
            member_metadata_max_bytes: 1024 * 1024,
            max_pending_writes: 20_000,
            append_batch_max_bytes: 512 * 1024,
            consumer_session_timeout_ms: 45_000,
            consumer_min_session_timeout_ms: 45_000,
            consumer_max_session_timeout_ms: 60_000,
            consumer_heartbeat_interval_ms: 5_000,
            consumer_min_heartbeat_interval_ms: 5_000,
            consumer_max_heartbeat_interval_ms: 15_000,
            consumer_max_size: 1_000,
            consumer_assignors: vec![Assignor::Uniform, Assignor::Range],
            migration: MigrationPolicy::Bidirectional,
            write_timeout_ms: 5_000,
            load_retry: Duration::from_millis(500),
        }
    }
}

impl GroupConfig {
    /// The assignor of groups whose members prefer none.
    pub fn consumer_assignor(&self) -> Assignor {
        self.consumer_assignors.first().copied().unwrap_or(Assignor::Uniform)
    }
}

/// Which groups may go from one protocol to the other while they have members.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MigrationPolicy {
    /// Classic groups and consumer groups.
    Bidirectional,
    /// Classic groups.
    Upgrade,
    /// Consumer groups.
    Downgrade,
    /// None.
    Disabled,
}

impl MigrationPolicy {
    /// The policy of this name.
    pub fn from_name(name: &str) -> Option<MigrationPolicy> {
        match name.to_ascii_lowercase().as_str() {
            "bidirectional" => Some(MigrationPolicy::Bidirectional),
            "upgrade" => Some(MigrationPolicy::Upgrade),
            "downgrade" => Some(MigrationPolicy::Downgrade),
            "disabled" => Some(MigrationPolicy::Disabled),
            _ => None,
        }
    }

    /// Classic groups may become consumer groups.
    pub fn upgrades(self) -> bool {
        matches!(self, MigrationPolicy::Bidirectional | MigrationPolicy::Upgrade)
    }

    /// Consumer groups may become classic groups.
    pub fn downgrades(self) -> bool {
        matches!(self, MigrationPolicy::Bidirectional | MigrationPolicy::Downgrade)
    }

    /// No group may.
    pub fn is_disabled(self) -> bool {
        self == MigrationPolicy::Disabled
    }
}

impl From<&Config> for GroupConfig {
    fn from(config: &Config) -> Self {
        GroupConfig {
            min_session_timeout_ms: config.group_min_session_timeout_ms,
            max_session_timeout_ms: config.group_max_session_timeout_ms,
            initial_rebalance_delay_ms: config.group_initial_rebalance_delay_ms,
            max_size: usize::try_from(config.group_max_size).unwrap_or(1),
            offset_metadata_max_bytes: usize::try_from(config.offset_metadata_max_bytes).unwrap_or(0),
            offsets_retention_ms: i64::from(config.offsets_retention_minutes) * 60_000,
            compression: codec(config.offsets_topic_compression_codec),
            write_timeout_ms: i64::from(config.offsets_commit_timeout_ms),
            retention_check_interval_ms: config.offsets_retention_check_interval_ms,
            consumer_session_timeout_ms: config.group_consumer_session_timeout_ms,
            consumer_min_session_timeout_ms: config.group_consumer_min_session_timeout_ms,
            consumer_max_session_timeout_ms: config.group_consumer_max_session_timeout_ms,
            consumer_heartbeat_interval_ms: config.group_consumer_heartbeat_interval_ms,
            consumer_min_heartbeat_interval_ms: config.group_consumer_min_heartbeat_interval_ms,
            consumer_max_heartbeat_interval_ms: config.group_consumer_max_heartbeat_interval_ms,
            consumer_max_size: usize::try_from(config.group_consumer_max_size).unwrap_or(1),
            consumer_assignors: config.group_consumer_assignors.iter().filter_map(|name| Assignor::from_name(name)).collect(),
            migration: MigrationPolicy::from_name(&config.group_consumer_migration_policy).unwrap_or(MigrationPolicy::Bidirectional),
            ..GroupConfig::default()
        }
    }
}

/// The codec with this number; the setting's bounds leave no other.
fn codec(number: i32) -> Compression {
    Compression::ALL.into_iter().find(|codec| i32::from(codec.code()) == number).unwrap_or_default()
}
