//! The settings in force for a topic, from the static configuration and the metadata image, and the configuration of its logs made from them.
//!
//! Callers: the partition manager when a log is opened or a config changed, produce for size bounds, the admin handlers.

use coreline_storage::config::{CleanupPolicy, DurabilityClass, LogConfig, StoreConfig, TimestampType};

use super::topic::Overrides;
use super::{Config, TopicSettings};
use crate::metadata::{ConfigResource, MetadataImage};

/// Calls `f` with the dynamic settings that count for a topic on this node.
pub fn with_topic_overrides<T>(config: &Config, image: &MetadataImage, topic: &str, f: impl FnOnce(&Overrides<'_>) -> T) -> T {
    let broker = image.config(&ConfigResource::broker(config.node_id));
    let cluster = image.config(&ConfigResource::broker_default());
    f(&Overrides {
        topic: image.topic_config(topic).map(AsRef::as_ref),
        broker: broker.map(AsRef::as_ref),
        cluster: cluster.map(AsRef::as_ref),
    })
}

/// The settings in force for a topic, which need not exist: then the defaults count.
pub fn topic_settings(config: &Config, image: &MetadataImage, topic: &str) -> TopicSettings {
    with_topic_overrides(config, image, topic, |overrides| config.topic_settings(overrides))
}

/// The configuration of the logs of a topic's partitions.
pub fn log_config(config: &Config, settings: &TopicSettings) -> LogConfig {
    LogConfig {
        segment_bytes: non_negative(settings.segment_bytes),
        segment_ms: settings.segment_ms,
        index_interval_bytes: non_negative(settings.index_interval_bytes),
        // Kafka accepts down to 4 bytes, a log needs room for a few entries.
        segment_index_bytes: non_negative(settings.segment_index_bytes).max(1024),
        timestamp_type: if settings.is_log_append_time() { TimestampType::LogAppendTime } else { TimestampType::CreateTime },
        timestamp_before_max_ms: settings.message_timestamp_before_max_ms,
        timestamp_after_max_ms: settings.message_timestamp_after_max_ms,
        // 61 bytes is the header of a batch: with less nothing at all fits, which is what so small a value asks for.
        max_message_bytes: non_negative(settings.max_message_bytes).max(61),
        retention_ms: settings.retention_ms,
        retention_bytes: settings.retention_bytes,
        file_delete_delay_ms: settings.file_delete_delay_ms,
        cleanup_policy: CleanupPolicy { delete: settings.is_deleted(), compact: settings.is_compacted() },
        durability: match settings.durability_class.as_str() {
            "replicated" => DurabilityClass::Replicated,
            "memory" => DurabilityClass::Memory,
            _ => DurabilityClass::Durable,
        },
        producer_id_expiration_ms: i64::from(config.producer_id_expiration_ms),
        ..LogConfig::default()
    }
}

/// The configuration of a shard's store.
pub fn store_config(config: &Config) -> StoreConfig {
    let bytes = |n: i64| u64::try_from(n).expect("bounded from below by its declaration");
    let file = bytes(config.journal_file_bytes).next_multiple_of(4096);
    StoreConfig {
        journal_file_bytes: file,
        journal_bytes_max: bytes(config.journal_max_bytes).max(3 * file),
        tail_budget_bytes: usize::try_from(config.tail_memory_bytes).unwrap_or(usize::MAX),
        ..StoreConfig::default()
    }
}

fn non_negative(n: i32) -> u32 {
    u32::try_from(n).expect("bounded from below by its declaration")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigMap, registry};

    #[test]
    fn defaults_make_the_default_log_and_store() {
        let config = Config::default();
        let settings = topic_settings(&config, &MetadataImage::empty(), "t");
        assert_eq!(log_config(&config, &settings), LogConfig::default());
        assert_eq!(store_config(&config), StoreConfig::default());
    }

    #[test]
    fn the_extremes_that_are_accepted_make_a_valid_log() {
        let config = Config::with(&["journal.file.bytes=65537", "journal.max.bytes=200000", "tail.memory.bytes=1048576"]).expect("valid");
        assert_eq!(store_config(&config).validate(), Ok(()));
        let small: ConfigMap = [
            ("segment.bytes", "1048576"),
            ("segment.index.bytes", "4"),
            ("max.message.bytes", "0"),
            ("segment.ms", "1"),
            ("cleanup.policy", ""),
            ("durability.class", "memory"),
            ("message.timestamp.type", "LogAppendTime"),
        ]
        .into_iter()
        .map(|(k, v)| {
            assert!(registry::topic_key(k).expect("declared").parse(v).is_ok(), "{k}={v}");
            (k.into(), v.into())
        })
        .collect();
        let log = log_config(&config, &config.topic_settings(&Overrides { topic: Some(&small), ..Overrides::default() }));
        assert_eq!(log.validate(), Ok(()));
        assert_eq!(log.cleanup_policy, CleanupPolicy { delete: false, compact: false });
        assert_eq!((log.durability, log.timestamp_type), (DurabilityClass::Memory, TimestampType::LogAppendTime));
    }
}
