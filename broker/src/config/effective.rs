//! The settings in force for a topic, from the static configuration and the metadata image, and the configuration of its logs made from them.
//!
//! Callers: the partition manager when a log is opened or a config changed, produce for size bounds, the admin handlers.

use coreline_storage::config::{CleanupPolicy, LogConfig, StoreConfig, TimestampType};
use coreline_storage::journal::SyncMode;

use super::broker_keys::Settings;
use super::topic::Overrides;
use super::{BROKER_KEYS, Config, Key, TopicSettings, Value, durability, registry};
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

/// The broker's own settings in force, dynamic ones included.
pub fn broker_settings(config: &Config, image: &MetadataImage) -> Settings {
    let values: Vec<Value> = BROKER_KEYS.iter().map(|key| broker_value(config, image, key)).collect();
    Settings::from_values(&values)
}

/// How long an idle producer's state is kept, milliseconds (`producer.id.expiration.ms`).
pub fn producer_id_expiration_ms(config: &Config, image: &MetadataImage) -> i64 {
    match registry::broker_key("producer.id.expiration.ms").map(|key| broker_value(config, image, key)) {
        Some(Value::Int(ms)) => ms,
        _ => i64::from(config.producer_id_expiration_ms),
    }
}

fn broker_value(config: &Config, image: &MetadataImage, key: &'static Key) -> Value {
    let broker = image.config(&ConfigResource::broker(config.node_id)).map(AsRef::as_ref);
    let cluster = image.config(&ConfigResource::broker_default()).map(AsRef::as_ref);
    config.resolve_broker_key(key, &Overrides { topic: None, broker, cluster }).value
}

/// The configuration of the logs of the partitions of the topic of this name.
pub fn log_config(config: &Config, topic: &str, settings: &TopicSettings) -> LogConfig {
    LogConfig {
        segment_bytes: non_negative(settings.segment_bytes),
        segment_ms: settings.segment_ms,
        segment_jitter_ms: settings.segment_jitter_ms,
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
        delete_retention_ms: settings.delete_retention_ms,
        min_compaction_lag_ms: settings.min_compaction_lag_ms,
        max_compaction_lag_ms: settings.max_compaction_lag_ms,
        min_cleanable_dirty_ppm: (settings.min_cleanable_dirty_ratio * 1e6).round() as u32,
        durability: durability::in_force(topic, settings),
        flush_messages: settings.flush_messages,
        flush_ms: settings.flush_ms,
        producer_id_expiration_ms: i64::from(config.producer_id_expiration_ms),
        ..LogConfig::default()
    }
}

/// Segment files that each of `shards` shards may keep open in a process that may open `descriptors`: an equal share of half of what is left
/// when the rings, the journals and the listeners have theirs, so that connections find the other half.
pub fn segment_files_max(config: &Config, descriptors: u64, shards: u64) -> usize {
    if config.segment_files_max > 0 {
        return usize::try_from(config.segment_files_max).unwrap_or(usize::MAX).max(SEGMENT_FILES_MIN);
    }
    let spare = descriptors.saturating_sub(DESCRIPTORS_OF_PROCESS + shards * DESCRIPTORS_OF_SHARD);
    let share = spare / 2 / shards.max(1);
    usize::try_from(share).unwrap_or(usize::MAX).clamp(SEGMENT_FILES_MIN, SEGMENT_FILES_DERIVED_MAX)
}

/// Fewest segment files kept open: with less every flush would open its file anew.
const SEGMENT_FILES_MIN: usize = 32;
/// Most segment files kept open unless the setting asks for more.
const SEGMENT_FILES_DERIVED_MAX: usize = 4096;
/// Descriptors of a process without shards: standard streams, lock, admin connections, read-ahead.
const DESCRIPTORS_OF_PROCESS: u64 = 64;
/// Descriptors of a shard besides segments and connections: rings, eventfds, journal files, the disk's own.
const DESCRIPTORS_OF_SHARD: u64 = 64;

/// The configuration of a shard's store, which keeps at most `segment_files` files open.
pub fn store_config(config: &Config, segment_files: usize) -> StoreConfig {
    let bytes = |n: i64| u64::try_from(n).expect("bounded from below by its declaration");
    let file = bytes(config.journal_file_bytes).next_multiple_of(4096);
    StoreConfig {
        journal_file_bytes: file,
        journal_bytes_max: bytes(config.journal_max_bytes).max(3 * file),
        journal_sync_mode: match config.journal_sync_mode.as_str() {
            "fua" => SyncMode::Dsync,
            "flush" => SyncMode::Flush,
            _ => SyncMode::Probe,
        },
        tail_budget_bytes: usize::try_from(config.tail_memory_bytes).unwrap_or(usize::MAX),
        index_cache_bytes: usize::try_from(config.index_memory_bytes).unwrap_or(usize::MAX),
        open_files_max: segment_files,
        sendfile: config.segment_sendfile_enable,
        free_bytes_min: u64::try_from(config.log_dir_free_min_bytes).ok(),
        free_bytes_resume: u64::try_from(config.log_dir_free_resume_bytes).ok(),
        ..StoreConfig::default()
    }
}

fn non_negative(n: i32) -> u32 {
    u32::try_from(n).expect("bounded from below by its declaration")
}

#[cfg(test)]
mod tests {
    use coreline_storage::config::DurabilityClass;

    use super::*;
    use crate::config::{ConfigMap, registry};

    #[test]
    fn defaults_make_the_default_log_and_store() {
        let config = Config::default();
        let settings = topic_settings(&config, &MetadataImage::empty(), "t");
        assert_eq!(log_config(&config, "t", &settings), LogConfig::default());
        assert_eq!(store_config(&config, StoreConfig::default().open_files_max), StoreConfig::default());
    }

    #[test]
    fn segment_files_leave_room_for_connections() {
        let config = Config::default();
        for (descriptors, shards, expected) in
            [(0, 1, 32), (1024, 1, 448), (4096, 2, 976), (4096, 64, 32), (1_048_576, 2, 4096), (u64::MAX, 1, 4096)]
        {
            assert_eq!(segment_files_max(&config, descriptors, shards), expected, "{descriptors} {shards}");
        }
        let asked = Config::with(&["segment.files.max=20000"]).expect("valid");
        assert_eq!(segment_files_max(&asked, 1024, 2), 20_000, "who asks knows the limit");
    }

    #[test]
    fn broker_settings_follow_the_static_configuration() {
        let config = Config::with(&["log.cleaner.backoff.ms=7"]).expect("valid");
        let settings = broker_settings(&config, &MetadataImage::empty());
        assert_eq!((settings.log_cleaner_backoff_ms, settings.log_retention_check_interval_ms), (7, 300_000));
        assert_eq!(settings, *config);
        assert_eq!(producer_id_expiration_ms(&config, &MetadataImage::empty()), 86_400_000);
    }

    #[test]
    fn the_extremes_that_are_accepted_make_a_valid_log() {
        let config = Config::with(&["journal.file.bytes=65537", "journal.max.bytes=200000", "tail.memory.bytes=1048576"]).expect("valid");
        assert_eq!(store_config(&config, SEGMENT_FILES_MIN).validate(), Ok(()));
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
        let log = log_config(&config, "t", &config.topic_settings(&Overrides { topic: Some(&small), ..Overrides::default() }));
        assert_eq!(log.validate(), Ok(()));
        assert_eq!(log.cleanup_policy, CleanupPolicy { delete: false, compact: false });
        assert_eq!((log.durability, log.timestamp_type), (DurabilityClass::Memory, TimestampType::LogAppendTime));
    }
}
