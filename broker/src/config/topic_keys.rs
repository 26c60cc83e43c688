//! Every topic setting, declared once, with the broker setting that gives its default.
//!
//! Names, defaults and bounds are those of Apache Kafka 4.3 (checked against a running one); `durability.class` is Coreline's own.

use coreline_wire::record::attributes::Compression;

use super::broker_keys::SEGMENT_BYTES_MIN;
use super::key::{Spec, Unit, settings};

/// Values of `cleanup.policy`.
pub const CLEANUP_POLICIES: &[&str] = &["compact", "delete"];
/// Values of `compression.type`.
pub const COMPRESSION_TYPES: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];
/// Values of `message.timestamp.type`.
pub const TIMESTAMP_TYPES: &[&str] = &["CreateTime", "LogAppendTime"];
/// Values of `durability.class`, strongest first.
pub const DURABILITY_CLASSES: &[&str] = &["durable", "replicated", "memory"];

/// Checks an effort of gzip.
pub fn gzip_level(text: &str) -> Result<(), String> {
    let known = text == "-1" || text.parse().is_ok_and(|level: i32| (1..=9).contains(&level));
    if known { Ok(()) } else { Err("Value must be between 1 and 9 or equal to -1".into()) }
}

fn throttled_replica(text: &str) -> Result<(), String> {
    let pair = text.split_once(':').is_some_and(|(partition, broker)| partition.parse::<u32>().is_ok() && broker.parse::<u32>().is_ok());
    if text == "*" || pair { Ok(()) } else { Err("An item must be * or partition:broker, both numbers".into()) }
}

fn no_tiered_storage(text: &str) -> Result<(), String> {
    if text == "false" { Ok(()) } else { Err("There is no tiered storage in this broker".into()) }
}

settings! {
    /// The settings in force for one topic, one typed field per key of [`TOPIC_KEYS`].
    pub struct TopicSettings from TOPIC_KEYS {
        /// What happens to old records: `delete` by age and size, `compact` to the last record of each key, both, or nothing.
        cleanup_policy: Vec<String> = "cleanup.policy" =>
            Spec::new("delete").list_of(CLEANUP_POLICIES, true).dynamic().synonym("log.cleanup.policy");
        /// Codec that batches are kept in; `producer` keeps the one they came with.
        compression_type: String = "compression.type" =>
            Spec::new("producer").one_of(COMPRESSION_TYPES).dynamic().synonym("compression.type");
        /// Effort of gzip where the broker compresses: 1 to 9, -1 for the codec's default.
        compression_gzip_level: i32 = "compression.gzip.level" =>
            Spec::new("-1").check(gzip_level).dynamic().synonym("compression.gzip.level");
        /// Effort of lz4 where the broker compresses. Carried: there is one effort for lz4.
        compression_lz4_level: i32 = "compression.lz4.level" =>
            Spec::new("9").range(1, 17).dynamic().synonym("compression.lz4.level");
        /// Effort of zstd where the broker compresses.
        compression_zstd_level: i32 = "compression.zstd.level" =>
            Spec::new("3").range(-131_072, 22).dynamic().synonym("compression.zstd.level");
        /// How long a tombstone stays after the first compaction that met it, so that readers can see it.
        delete_retention_ms: i64 = "delete.retention.ms" =>
            Spec::new("86400000").at_least(0).unit(Unit::Ms).dynamic().synonym("log.cleaner.delete.retention.ms");
        /// What an acknowledgement promises: `durable` answers after the flush and survives a power cut; `replicated` after the device has the
        /// write, which a power cut may take (at most about 2 s of it) and the end of the process not; `memory` at once, and the end of the
        /// process may take it too. Coreline's own; Kafka's behaviour lies at `replicated`. `flush.messages=1` or `flush.ms=0` make a topic
        /// durable whatever is set here, and internal topics always are: DescribeConfigs shows the class in force.
        durability_class: String = "durability.class" =>
            Spec::new("durable").one_of(DURABILITY_CLASSES).dynamic().synonym("log.durability.class");
        /// How long the files of a deleted segment stay on disk. Carried: who reads a file keeps its bytes until it is done, so the file
        /// goes at once.
        file_delete_delay_ms: i64 = "file.delete.delay.ms" =>
            Spec::new("60000").at_least(0).unit(Unit::Ms).dynamic().synonym("log.segment.delete.delay.ms");
        /// Records after which is flushed. 1 makes the topic `durable`: flushed before each acknowledgement, as without any setting; other
        /// values bound, per partition, what a power cut can take of a topic whose `durability.class` is weaker.
        flush_messages: i64 = "flush.messages" =>
            Spec::new("9223372036854775807").at_least(1).dynamic().synonym("log.flush.interval.messages");
        /// Time after which is flushed. 0 makes the topic `durable`; other values bound the age of what a power cut can take of a topic whose
        /// `durability.class` is weaker: looked at with each append, beside the flush about every 2 s.
        flush_ms: i64 = "flush.ms" =>
            Spec::new("9223372036854775807").at_least(0).unit(Unit::Ms).dynamic().synonym("log.flush.interval.ms");
        /// Replicas whose fetches are slowed down, as `partition:broker`, or `*`. Carried: nothing is replicated yet.
        follower_replication_throttled_replicas: Vec<String> = "follower.replication.throttled.replicas" =>
            Spec::new("").check(throttled_replica).dynamic();
        /// Bytes of log between two entries of an index.
        index_interval_bytes: i32 = "index.interval.bytes" =>
            Spec::new("4096").at_least(0).unit(Unit::Bytes).dynamic().synonym("log.index.interval.bytes");
        /// Replicas whose leaders are slowed down, as `partition:broker`, or `*`. Carried: nothing is replicated yet.
        leader_replication_throttled_replicas: Vec<String> = "leader.replication.throttled.replicas" =>
            Spec::new("").check(throttled_replica).dynamic();
        /// Size of the log on this node when older records are in tiered storage. Carried: there is none.
        local_retention_bytes: i64 = "local.retention.bytes" =>
            Spec::new("-2").at_least(-2).unit(Unit::Bytes).dynamic().synonym("log.local.retention.bytes");
        /// Age of records on this node when older ones are in tiered storage. Carried: there is none.
        local_retention_ms: i64 = "local.retention.ms" =>
            Spec::new("-2").at_least(-2).unit(Unit::Ms).dynamic().synonym("log.local.retention.ms");
        /// Records older than this are due for compaction, whatever the share of new ones.
        max_compaction_lag_ms: i64 = "max.compaction.lag.ms" =>
            Spec::new("9223372036854775807").at_least(1).unit(Unit::Ms).dynamic().synonym("log.cleaner.max.compaction.lag.ms");
        /// Largest record batch that is accepted, after compression.
        max_message_bytes: i32 = "max.message.bytes" =>
            Spec::new("1048588").at_least(0).unit(Unit::Bytes).dynamic().synonym("message.max.bytes");
        /// How far a producer's timestamp may lie after the broker's clock; beyond it the batch is refused (KIP-1030).
        message_timestamp_after_max_ms: i64 = "message.timestamp.after.max.ms" =>
            Spec::new("3600000").at_least(0).unit(Unit::Ms).dynamic().synonym("log.message.timestamp.after.max.ms");
        /// How far a producer's timestamp may lie before the broker's clock; beyond it the batch is refused.
        message_timestamp_before_max_ms: i64 = "message.timestamp.before.max.ms" =>
            Spec::new("9223372036854775807").at_least(0).unit(Unit::Ms).dynamic().synonym("log.message.timestamp.before.max.ms");
        /// Whether a record's timestamp is the producer's or the time of its append.
        message_timestamp_type: String = "message.timestamp.type" =>
            Spec::new("CreateTime").one_of(TIMESTAMP_TYPES).dynamic().synonym("log.message.timestamp.type");
        /// Share of a log that must be new before it is compacted.
        min_cleanable_dirty_ratio: f64 = "min.cleanable.dirty.ratio" =>
            Spec::new("0.5").ratio(0.0, 1.0).dynamic().synonym("log.cleaner.min.cleanable.ratio");
        /// Records younger than this are not compacted.
        min_compaction_lag_ms: i64 = "min.compaction.lag.ms" =>
            Spec::new("0").at_least(0).unit(Unit::Ms).dynamic().synonym("log.cleaner.min.compaction.lag.ms");
        /// In-sync replicas that a produce with acks=all needs.
        min_insync_replicas: i32 = "min.insync.replicas" =>
            Spec::new("1").at_least(1).dynamic().synonym("min.insync.replicas");
        /// Whether files of segments are laid out ahead. Carried: the storage layer decides by itself.
        preallocate: bool = "preallocate" => Spec::new("false").dynamic().synonym("log.preallocate");
        /// Whether nothing more goes to tiered storage. Carried: there is none.
        remote_log_copy_disable: bool = "remote.log.copy.disable" => Spec::new("false").dynamic();
        /// Whether what is in tiered storage goes when that is switched off. Carried: there is none.
        remote_log_delete_on_disable: bool = "remote.log.delete.on.disable" => Spec::new("false").dynamic();
        /// Whether old segments go to tiered storage. Carried: there is none, so only `false` is accepted.
        remote_storage_enable: bool = "remote.storage.enable" => Spec::new("false").check(no_tiered_storage).dynamic();
        /// Size of a partition's log above which its oldest segments are deleted; -1 for no bound.
        retention_bytes: i64 = "retention.bytes" =>
            Spec::new("-1").unit(Unit::Bytes).dynamic().synonym("log.retention.bytes");
        /// Age at which records are deleted, whole segments by their latest record; -1 for never.
        retention_ms: i64 = "retention.ms" =>
            Spec::new("604800000").at_least(-1).unit(Unit::Ms).dynamic().synonym("log.retention.ms");
        /// Size at which a new segment is begun.
        segment_bytes: i32 = "segment.bytes" =>
            Spec::new("1073741824").at_least(SEGMENT_BYTES_MIN).unit(Unit::Bytes).dynamic().synonym("log.segment.bytes");
        /// Largest size of a segment's offset index.
        segment_index_bytes: i32 = "segment.index.bytes" =>
            Spec::new("10485760").at_least(4).unit(Unit::Bytes).dynamic().synonym("log.index.size.max.bytes");
        /// Most time that is taken off `segment.ms`, differently for each segment, so that segments do not roll together.
        segment_jitter_ms: i64 = "segment.jitter.ms" =>
            Spec::new("0").at_least(0).unit(Unit::Ms).dynamic().synonym("log.roll.jitter.ms");
        /// Age by timestamps at which a new segment is begun.
        segment_ms: i64 = "segment.ms" =>
            Spec::new("604800000").at_least(1).unit(Unit::Ms).dynamic().synonym("log.roll.ms");
        /// Whether a replica that is not in sync may lead when no other is left. Carried: partitions have one replica yet.
        unclean_leader_election_enable: bool = "unclean.leader.election.enable" =>
            Spec::new("false").dynamic().synonym("unclean.leader.election.enable");
    }
}

impl TopicSettings {
    /// The effort that a codec is used with; `None` for the codec's own default.
    pub fn compression_level(&self, codec: Compression) -> Option<i32> {
        match codec {
            Compression::Gzip => Some(self.compression_gzip_level).filter(|&level| level > 0),
            Compression::Zstd => Some(self.compression_zstd_level),
            _ => None,
        }
    }

    /// True if `cleanup.policy` has `compact`.
    pub fn is_compacted(&self) -> bool {
        self.cleanup_policy.iter().any(|p| p == "compact")
    }

    /// True if `cleanup.policy` has `delete`.
    pub fn is_deleted(&self) -> bool {
        self.cleanup_policy.iter().any(|p| p == "delete")
    }

    /// True if records get the time of their append as their timestamp.
    pub fn is_log_append_time(&self) -> bool {
        self.message_timestamp_type == "LogAppendTime"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_checked_beyond_their_type() {
        let ok = |name: &str, text: &str| TOPIC_KEYS.iter().find(|key| key.name == name).expect("declared").parse(text).is_ok();
        for (level, fine) in [("-1", true), ("1", true), ("9", true), ("0", false), ("10", false), ("-2", false)] {
            assert_eq!(ok("compression.gzip.level", level), fine, "{level}");
        }
        for (replicas, fine) in [("", true), ("*", true), ("0:1,12:3", true), ("0", false), ("0:1,x:2", false), ("-1:2", false)] {
            assert_eq!(ok("leader.replication.throttled.replicas", replicas), fine, "{replicas}");
        }
        assert!(ok("remote.storage.enable", "false") && !ok("remote.storage.enable", "true"));
    }
}
