//! Every broker setting, declared once: type, name, default, bounds, unit, whether a restart is needed, and what it means.
//!
//! A setting that Kafka has keeps Kafka's name, unit and default; "Diverges:" marks the few other defaults. "Carried:" marks a setting that is
//! stored, checked and shown but that nothing enforces yet. What Coreline does not do has no key here.

use super::key::{Spec, Unit, settings};
use super::listener::{check_advertised, check_host_port, check_listener, check_overrides};
use super::topic_keys::{CLEANUP_POLICIES, COMPRESSION_TYPES, DURABILITY_CLASSES, TIMESTAMP_TYPES, gzip_level};

/// Server-side assignors, see `coordinator/group/consumer/assignor`.
const CONSUMER_ASSIGNORS: &[&str] = &["uniform", "range"];
/// See `group.consumer.migration.policy`.
const MIGRATION_POLICIES: &[&str] = &["bidirectional", "downgrade", "upgrade", "disabled"];

/// Smallest `log.segment.bytes` and `segment.bytes`, as Kafka 4 has it (KIP-1030).
pub const SEGMENT_BYTES_MIN: i64 = 1024 * 1024;

settings! {
    /// The broker's static settings, one typed field per key of [`BROKER_KEYS`]; read at start and never changed.
    pub struct Settings from BROKER_KEYS {
        /// Number of this node in its cluster; stays with the data directory.
        node_id: i32 = "node.id" => Spec::new("1").at_least(0);
        /// Data directory. One directory; created when it does not exist.
        log_dirs: String = "log.dirs" => Spec::new("./coreline-data").check(check_not_empty);
        /// Address of the Kafka listener, `PLAINTEXT://HOST:PORT` or `HOST:PORT`. Port 0 takes a free port.
        listeners: String = "listeners" => Spec::new("PLAINTEXT://127.0.0.1:9092").check(check_listener);
        /// Address that clients are told to connect to, in the form of `listeners`; the listener's own address when unset.
        /// Needed when the listener binds all addresses (0.0.0.0 or [::]).
        advertised_listeners: Option<String> = "advertised.listeners" => Spec::unset().check(check_advertised);
        /// Address of the HTTP listener for /metrics, /health and /ready, `HOST:PORT`. Port 0 takes a free port.
        admin_listen: String = "admin.listen" => Spec::new("127.0.0.1:9644").check(check_host_port);
        /// Number of shards, each a pinned core with its own executor; 0 takes every CPU the process may run on.
        /// May change at any restart: data does not depend on it.
        shards: i32 = "shards" => Spec::new("0").range(0, 1024);
        /// Rack of this broker, told to clients in metadata.
        broker_rack: Option<String> = "broker.rack" => Spec::unset();

        /// Partitions of a topic that is created without a number, by a client or automatically.
        num_partitions: i32 = "num.partitions" => Spec::new("1").at_least(1);
        /// Replicas of a topic that is created without a number.
        default_replication_factor: i32 = "default.replication.factor" => Spec::new("1").at_least(1);
        /// Create a topic when a client asks for the metadata of one that does not exist and allows its creation.
        auto_create_topics_enable: bool = "auto.create.topics.enable" => Spec::new("true");
        /// Whether topics can be deleted.
        delete_topic_enable: bool = "delete.topic.enable" => Spec::new("true");

        /// Largest record batch that is accepted, after compression; a topic's `max.message.bytes` goes before it.
        message_max_bytes: i32 = "message.max.bytes" => Spec::new("1048588").at_least(0).unit(Unit::Bytes).dynamic();
        /// Largest request frame that is read; a larger one closes the connection.
        socket_request_max_bytes: i32 = "socket.request.max.bytes" => Spec::new("104857600").at_least(1).unit(Unit::Bytes);
        /// Length of the listener's queue of connections that were not accepted yet.
        socket_listen_backlog_size: i32 = "socket.listen.backlog.size" => Spec::new("50").at_least(1);
        /// Most bytes in one fetch answer, whatever the client asks for. At least one batch is always returned.
        fetch_max_bytes: i32 = "fetch.max.bytes" => Spec::new("57671680").at_least(1024).unit(Unit::Bytes);
        /// Incremental fetch sessions that are kept (KIP-227); a client beyond them is served without a session.
        max_incremental_fetch_session_cache_slots: i32 =
            "max.incremental.fetch.session.cache.slots" => Spec::new("1000").at_least(0);
        /// Most partitions in one answer to DescribeTopicPartitions, whatever the client asks for.
        max_request_partition_size_limit: i32 = "max.request.partition.size.limit" => Spec::new("2000").at_least(1);
        /// A connection without a request for this long is closed.
        connections_max_idle_ms: i64 = "connections.max.idle.ms" => Spec::new("600000").at_least(1).unit(Unit::Ms);
        /// Most open connections; one more is closed at once. Diverges: Kafka has no bound by default.
        max_connections: i32 = "max.connections" => Spec::new("20000").at_least(0).dynamic();
        /// Most open connections from one address. Diverges: Kafka has no bound by default.
        max_connections_per_ip: i32 = "max.connections.per.ip" => Spec::new("2000").at_least(0).dynamic();
        /// Most open connections from single addresses, `ADDRESS:COUNT,...`; goes before `max.connections.per.ip`. Addresses, not host names.
        max_connections_per_ip_overrides: String =
            "max.connections.per.ip.overrides" => Spec::new("").check(check_overrides).dynamic();
        /// Most new connections in a second, over the window of quotas; more wait to be taken.
        max_connection_creation_rate: i32 = "max.connection.creation.rate" => Spec::new("2147483647").at_least(0).dynamic();

        /// Largest push of a client's metrics, as sent and decompressed (KIP-714).
        telemetry_max_bytes: i32 = "telemetry.max.bytes" => Spec::new("1048576").at_least(1).unit(Unit::Bytes);

        /// Parts of the window that quotas measure a client's rate over; a quiet client may use nearly a window's worth at once.
        quota_window_num: i32 = "quota.window.num" => Spec::new("11").range(2, 10_000);
        /// Length of a part of that window.
        quota_window_size_seconds: i32 = "quota.window.size.seconds" => Spec::new("1").at_least(1).unit(Unit::Seconds);
        /// Parts of the window of controller_mutation_rate.
        controller_quota_window_num: i32 = "controller.quota.window.num" => Spec::new("11").range(2, 10_000);
        /// Length of a part of that window.
        controller_quota_window_size_seconds: i32 =
            "controller.quota.window.size.seconds" => Spec::new("1").at_least(1).unit(Unit::Seconds);

        /// Size at which a new segment is begun.
        log_segment_bytes: i32 =
            "log.segment.bytes" => Spec::new("1073741824").at_least(SEGMENT_BYTES_MIN).unit(Unit::Bytes).dynamic();
        /// Age at which a new segment is begun; `log.roll.hours` when unset.
        log_roll_ms: Option<i64> = "log.roll.ms" => Spec::unset().at_least(1).unit(Unit::Ms).dynamic();
        /// Age at which a new segment is begun, when `log.roll.ms` is unset.
        log_roll_hours: i32 = "log.roll.hours" => Spec::new("168").at_least(1).unit(Unit::Hours);
        /// Most random time that is taken off a segment's age limit, so that segments do not roll together; `log.roll.jitter.hours` when unset.
        log_roll_jitter_ms: Option<i64> = "log.roll.jitter.ms" => Spec::unset().at_least(0).unit(Unit::Ms).dynamic();
        /// Most random time that is taken off a segment's age limit, when `log.roll.jitter.ms` is unset.
        log_roll_jitter_hours: i32 = "log.roll.jitter.hours" => Spec::new("0").at_least(0).unit(Unit::Hours);
        /// Bytes of log between two entries of an index.
        log_index_interval_bytes: i32 = "log.index.interval.bytes" => Spec::new("4096").at_least(0).unit(Unit::Bytes).dynamic();
        /// Largest size of a segment's offset index.
        log_index_size_max_bytes: i32 = "log.index.size.max.bytes" => Spec::new("10485760").at_least(4).unit(Unit::Bytes).dynamic();
        /// Age at which records are deleted; -1 for never; `log.retention.minutes`, then `log.retention.hours`, when unset.
        log_retention_ms: Option<i64> = "log.retention.ms" => Spec::unset().at_least(-1).unit(Unit::Ms).dynamic();
        /// Age at which records are deleted, when `log.retention.ms` is unset; `log.retention.hours` when unset too.
        log_retention_minutes: Option<i32> = "log.retention.minutes" => Spec::unset().at_least(-1).unit(Unit::Minutes);
        /// Age at which records are deleted, when `log.retention.ms` and `log.retention.minutes` are unset; -1 for never.
        log_retention_hours: i32 = "log.retention.hours" => Spec::new("168").at_least(-1).unit(Unit::Hours);
        /// Size of a partition's log above which its oldest segments are deleted; -1 for no bound.
        log_retention_bytes: i64 = "log.retention.bytes" => Spec::new("-1").unit(Unit::Bytes).dynamic();
        /// What happens to old records: `delete` by age and size, `compact` to the last record of each key, both, or nothing.
        log_cleanup_policy: Vec<String> = "log.cleanup.policy" => Spec::new("delete").list_of(CLEANUP_POLICIES, true).dynamic();
        /// How long a tombstone stays after the first compaction that met it.
        log_cleaner_delete_retention_ms: i64 =
            "log.cleaner.delete.retention.ms" => Spec::new("86400000").at_least(0).unit(Unit::Ms).dynamic();
        /// Records younger than this are not compacted.
        log_cleaner_min_compaction_lag_ms: i64 =
            "log.cleaner.min.compaction.lag.ms" => Spec::new("0").at_least(0).unit(Unit::Ms).dynamic();
        /// Records older than this are due for compaction.
        log_cleaner_max_compaction_lag_ms: i64 =
            "log.cleaner.max.compaction.lag.ms" => Spec::new("9223372036854775807").at_least(1).unit(Unit::Ms).dynamic();
        /// Share of a log that must be new before it is compacted.
        log_cleaner_min_cleanable_ratio: f64 = "log.cleaner.min.cleanable.ratio" => Spec::new("0.5").ratio(0.0, 1.0).dynamic();
        /// How long the files of a deleted segment stay on disk. Carried: who reads a file keeps its bytes until it is done, so the file
        /// goes at once.
        log_segment_delete_delay_ms: i64 = "log.segment.delete.delay.ms" => Spec::new("60000").at_least(0).unit(Unit::Ms).dynamic();
        /// How often logs are looked at for segments that are over.
        log_retention_check_interval_ms: i64 =
            "log.retention.check.interval.ms" => Spec::new("300000").at_least(1).unit(Unit::Ms);
        /// Whether logs with `compact` in their policy are compacted.
        log_cleaner_enable: bool = "log.cleaner.enable" => Spec::new("true");
        /// How long the cleaner waits when no log needs it.
        log_cleaner_backoff_ms: i64 = "log.cleaner.backoff.ms" => Spec::new("15000").at_least(0).unit(Unit::Ms).dynamic();
        /// Memory for the keys of one compaction, per shard, taken only while one runs; a log with more keys needs several passes.
        log_cleaner_dedupe_buffer_size: i64 =
            "log.cleaner.dedupe.buffer.size" => Spec::new("134217728").at_least(1024 * 1024).unit(Unit::Bytes).dynamic();
        /// Bytes that compaction reads at a time.
        log_cleaner_io_buffer_size: i32 =
            "log.cleaner.io.buffer.size" => Spec::new("524288").at_least(0).unit(Unit::Bytes).dynamic();
        /// How full the table of keys may become: fuller holds more keys and finds them slower.
        log_cleaner_io_buffer_load_factor: f64 = "log.cleaner.io.buffer.load.factor" => Spec::new("0.9").dynamic();
        /// Most bytes that compaction reads and writes in a second, per shard.
        log_cleaner_io_max_bytes_per_second: f64 =
            "log.cleaner.io.max.bytes.per.second" => Spec::new("1.7976931348623157E308").dynamic();
        /// How often closed segments are read again to compare them with their checksums; the first time within an hour of the start. Coreline's own.
        log_scrub_interval_ms: i64 = "log.scrub.interval.ms" => Spec::new("604800000").at_least(1).unit(Unit::Ms).dynamic();
        /// Most bytes that are read for it in a second, per shard; 0: never. Coreline's own.
        log_scrub_bytes_per_second: i64 =
            "log.scrub.bytes.per.second" => Spec::new("1048576").at_least(0).unit(Unit::Bytes).dynamic();
        /// Threads of the cleaner. Carried: every shard compacts its own logs, one at a time.
        log_cleaner_threads: i32 = "log.cleaner.threads" => Spec::new("1").at_least(0).dynamic();
        /// Codec that batches are kept in; `producer` keeps the one they came with.
        compression_type: String = "compression.type" => Spec::new("producer").one_of(COMPRESSION_TYPES).dynamic();
        /// Effort of gzip where the broker compresses: 1 to 9, -1 for the codec's default.
        compression_gzip_level: i32 = "compression.gzip.level" => Spec::new("-1").check(gzip_level).dynamic();
        /// Effort of lz4 where the broker compresses. Carried: there is one effort for lz4.
        compression_lz4_level: i32 = "compression.lz4.level" => Spec::new("9").range(1, 17).dynamic();
        /// Effort of zstd where the broker compresses.
        compression_zstd_level: i32 = "compression.zstd.level" => Spec::new("3").range(-131_072, 22).dynamic();
        /// Whether files of segments are laid out ahead. Carried: the storage layer decides by itself.
        log_preallocate: bool = "log.preallocate" => Spec::new("false").dynamic();
        /// Age of records on this node when older ones are in tiered storage. Carried: there is none.
        log_local_retention_ms: i64 = "log.local.retention.ms" => Spec::new("-2").at_least(-2).unit(Unit::Ms).dynamic();
        /// Size of the log on this node when older records are in tiered storage. Carried: there is none.
        log_local_retention_bytes: i64 = "log.local.retention.bytes" => Spec::new("-2").at_least(-2).unit(Unit::Bytes).dynamic();
        /// Whether a record's timestamp is the producer's or the time of its append.
        log_message_timestamp_type: String = "log.message.timestamp.type" => Spec::new("CreateTime").one_of(TIMESTAMP_TYPES).dynamic();
        /// How far a producer's timestamp may lie before the broker's clock; beyond it the batch is refused.
        log_message_timestamp_before_max_ms: i64 =
            "log.message.timestamp.before.max.ms" => Spec::new("9223372036854775807").at_least(0).unit(Unit::Ms).dynamic();
        /// How far a producer's timestamp may lie after the broker's clock; beyond it the batch is refused (KIP-1030).
        log_message_timestamp_after_max_ms: i64 =
            "log.message.timestamp.after.max.ms" => Spec::new("3600000").at_least(0).unit(Unit::Ms).dynamic();
        /// Records after which is flushed; 1 makes topics `durable`. See the topic's `flush.messages`.
        log_flush_interval_messages: i64 = "log.flush.interval.messages" => Spec::new("9223372036854775807").at_least(1).dynamic();
        /// Time after which is flushed, unset for no such bound; 0 makes topics `durable`. See the topic's `flush.ms`.
        log_flush_interval_ms: Option<i64> = "log.flush.interval.ms" => Spec::unset().at_least(0).unit(Unit::Ms).dynamic();
        /// In-sync replicas that a produce with acks=all needs.
        min_insync_replicas: i32 = "min.insync.replicas" => Spec::new("1").at_least(1).dynamic();
        /// Whether a replica that is not in sync may lead when no other is left. Carried: partitions have one replica yet.
        unclean_leader_election_enable: bool = "unclean.leader.election.enable" => Spec::new("false").dynamic();
        /// Bytes a second that leaders send to throttled replicas, see the topic's `leader.replication.throttled.replicas`. Set and removed by
        /// tools that reassign partitions, and listed only while it is set. Carried: nothing is replicated yet, so nothing is slowed down.
        leader_replication_throttled_rate: Option<i64> =
            "leader.replication.throttled.rate" => Spec::unset().at_least(0).unit(Unit::Bytes).dynamic().only_when_set();
        /// Bytes a second that throttled followers fetch. Otherwise as `leader.replication.throttled.rate`. Carried: nothing is replicated yet.
        follower_replication_throttled_rate: Option<i64> =
            "follower.replication.throttled.rate" => Spec::unset().at_least(0).unit(Unit::Bytes).dynamic().only_when_set();
        /// Bytes a second that replicas move between log directories. Otherwise as `leader.replication.throttled.rate`. Carried: there is one
        /// directory.
        replica_alter_log_dirs_io_max_bytes_per_second: Option<i64> = "replica.alter.log.dirs.io.max.bytes.per.second" =>
            Spec::unset().at_least(0).unit(Unit::Bytes).dynamic().only_when_set();
        /// What an acknowledgement promises: `durable` answers after the flush, `replicated` after the device has the write, `memory` at once.
        /// Coreline's own; see the topic's `durability.class`. Internal topics are always `durable`.
        log_durability_class: String = "log.durability.class" => Spec::new("durable").one_of(DURABILITY_CLASSES).dynamic();
        /// How long the state of an idle idempotent producer is kept.
        producer_id_expiration_ms: i32 = "producer.id.expiration.ms" => Spec::new("86400000").at_least(1).unit(Unit::Ms).dynamic();

        /// Shortest session timeout that a group member may ask for.
        group_min_session_timeout_ms: i32 = "group.min.session.timeout.ms" => Spec::new("6000").at_least(0).unit(Unit::Ms);
        /// Longest session timeout that a group member may ask for.
        group_max_session_timeout_ms: i32 = "group.max.session.timeout.ms" => Spec::new("1800000").at_least(0).unit(Unit::Ms);
        /// How long an empty group waits for more members before its first rebalance.
        group_initial_rebalance_delay_ms: i32 = "group.initial.rebalance.delay.ms" => Spec::new("3000").at_least(0).unit(Unit::Ms);
        /// Most members of one group; the next one is refused. Diverges: Kafka has no bound by default.
        group_max_size: i32 = "group.max.size" => Spec::new("1000").at_least(1);
        /// A member of a consumer group (KIP-848) that says nothing for this long is removed; a group's `consumer.session.timeout.ms` goes before it.
        group_consumer_session_timeout_ms: i32 =
            "group.consumer.session.timeout.ms" => Spec::new("45000").at_least(1).unit(Unit::Ms);
        /// Shortest session timeout of consumer groups, for the broker's setting and for groups' own.
        group_consumer_min_session_timeout_ms: i32 =
            "group.consumer.min.session.timeout.ms" => Spec::new("45000").at_least(1).unit(Unit::Ms);
        /// Longest session timeout of consumer groups, for the broker's setting and for groups' own.
        group_consumer_max_session_timeout_ms: i32 =
            "group.consumer.max.session.timeout.ms" => Spec::new("60000").at_least(1).unit(Unit::Ms);
        /// How often members of consumer groups are told to send heartbeats; a group's `consumer.heartbeat.interval.ms` goes before it.
        group_consumer_heartbeat_interval_ms: i32 =
            "group.consumer.heartbeat.interval.ms" => Spec::new("5000").at_least(1).unit(Unit::Ms);
        /// Shortest heartbeat interval of consumer groups, for the broker's setting and for groups' own.
        group_consumer_min_heartbeat_interval_ms: i32 =
            "group.consumer.min.heartbeat.interval.ms" => Spec::new("5000").at_least(1).unit(Unit::Ms);
        /// Longest heartbeat interval of consumer groups, for the broker's setting and for groups' own.
        group_consumer_max_heartbeat_interval_ms: i32 =
            "group.consumer.max.heartbeat.interval.ms" => Spec::new("15000").at_least(1).unit(Unit::Ms);
        /// Most members of one consumer group; the next one is refused. Diverges: Kafka has no bound by default.
        group_consumer_max_size: i32 = "group.consumer.max.size" => Spec::new("1000").at_least(1);
        /// Assignors of consumer groups; the first one is for groups whose members prefer none.
        group_consumer_assignors: Vec<String> = "group.consumer.assignors" => Spec::new("uniform,range").list_of(CONSUMER_ASSIGNORS, true);
        /// Which groups may go from one protocol to the other while they have members: classic ones (upgrade), consumer ones (downgrade), both
        /// (bidirectional) or none (disabled).
        group_consumer_migration_policy: String =
            "group.consumer.migration.policy" => Spec::new("bidirectional").one_of(MIGRATION_POLICIES);
        /// Partitions of `__consumer_offsets`; read when that topic is created.
        offsets_topic_num_partitions: i32 = "offsets.topic.num.partitions" => Spec::new("50").range(1, 10_000);
        /// Replicas of `__consumer_offsets`; read when that topic is created. Diverges: Kafka's default is 3, which one node cannot give.
        offsets_topic_replication_factor: i16 = "offsets.topic.replication.factor" => Spec::new("1").at_least(1);
        /// `segment.bytes` of `__consumer_offsets`; read when that topic is created.
        offsets_topic_segment_bytes: i32 =
            "offsets.topic.segment.bytes" => Spec::new("104857600").at_least(SEGMENT_BYTES_MIN).unit(Unit::Bytes);
        /// Codec of the batches that are written to `__consumer_offsets`: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
        offsets_topic_compression_codec: i32 = "offsets.topic.compression.codec" => Spec::new("0").range(0, 4);
        /// How long the offsets of a group without members, and those that no member of a group uses, are kept.
        offsets_retention_minutes: i32 = "offsets.retention.minutes" => Spec::new("10080").at_least(1).unit(Unit::Minutes);
        /// How often the group coordinator looks for offsets that have expired and for groups that nobody needs any more.
        offsets_retention_check_interval_ms: i64 =
            "offsets.retention.check.interval.ms" => Spec::new("600000").at_least(1).unit(Unit::Ms);
        /// How long an offset commit, and every other request that the group coordinator answers when a write is durable, waits for that write;
        /// then it is answered COORDINATOR_NOT_AVAILABLE, which clients try again. The write goes on and counts when it is durable after all.
        offsets_commit_timeout_ms: i32 = "offsets.commit.timeout.ms" => Spec::new("5000").at_least(1).unit(Unit::Ms);
        /// Longest metadata text of a committed offset.
        offset_metadata_max_bytes: i32 = "offset.metadata.max.bytes" => Spec::new("4096").at_least(0).unit(Unit::Bytes);

        /// Size of one file of a shard's journal, rounded up to whole blocks of 4096 bytes; files are written full once and then recycled.
        journal_file_bytes: i64 =
            "journal.file.bytes" => Spec::new("67108864").range(64 * 1024, 1024 * 1024 * 1024).unit(Unit::Bytes);
        /// Most bytes of journal files per shard; at the bound appends wait for the flusher.
        journal_max_bytes: i64 =
            "journal.max.bytes" => Spec::new("536870912").at_least(192 * 1024).unit(Unit::Bytes);
        /// How the journal makes its writes durable: `fua` by writes that are durable by themselves (`O_DSYNC`), `flush` by writes and shared
        /// flushes; `probe` measures both when the journal opens and takes the faster, but flushes where the device has a volatile cache and no FUA,
        /// unless that takes more than twice as long.
        journal_sync_mode: String = "journal.sync.mode" => Spec::new("probe").one_of(&["probe", "fua", "flush"]);
        /// Memory per shard for records that are not in their segment files yet; at the bound appends wait for the flusher.
        tail_memory_bytes: i64 =
            "tail.memory.bytes" => Spec::new("268435456").at_least(1024 * 1024).unit(Unit::Bytes);
        /// Memory per shard for the loaded indexes of segments; at the bound the index loaded longest ago is let go and loaded again when needed.
        index_memory_bytes: i64 =
            "index.memory.bytes" => Spec::new("33554432").at_least(64 * 1024).unit(Unit::Bytes);
        /// Segment files that a shard keeps open, for writing and for reading; at the bound the one idle longest is closed. 0 takes an equal
        /// share of half the descriptors that the process may open (`ulimit -n`), 4096 at most; the other half is for connections.
        segment_files_max: i32 = "segment.files.max" => Spec::new("0").range(0, 1_000_000);
        /// Whether records that are on the disk are sent to consumers from the page cache, with `sendfile`. Otherwise they are read with direct
        /// I/O into memory, which is also what happens where the kernel does not tell what is in the page cache.
        segment_sendfile_enable: bool = "segment.sendfile.enable" => Spec::new("true");
        /// Threads of the process that read ahead of consumers and read what a consumer waits for into the page cache.
        read_ahead_threads: i32 = "read.ahead.threads" => Spec::new("2").range(1, 64);
        /// Most bytes that the process has in work ahead of consumers; at the bound they wait for what they want next. 0 reads nothing ahead.
        read_ahead_bytes: i64 = "read.ahead.bytes" => Spec::new("33554432").at_least(0).unit(Unit::Bytes);

        /// Free bytes of the data directory's file system below which produce is refused with KAFKA_STORAGE_ERROR, which clients try again;
        /// everything else goes on. What was accepted and is not in the segments yet does not count as free. -1 takes 2 %, between 64 and 512 MiB
        /// (a quarter of a file system smaller than 256 MiB); 0 never refuses.
        log_dir_free_min_bytes: i64 = "log.dir.free.min.bytes" => Spec::new("-1").at_least(-1).unit(Unit::Bytes);
        /// Free bytes from which on produce is taken again, at least `log.dir.free.min.bytes`. -1 takes a quarter more than that.
        log_dir_free_resume_bytes: i64 = "log.dir.free.resume.bytes" => Spec::new("-1").at_least(-1).unit(Unit::Bytes);

        /// Log lines for people (`human`) or for machines (`json`).
        log_format: String = "log.format" => Spec::new("human").one_of(&["human", "json"]);
        /// Least severe log lines that are written.
        log_level: String = "log.level" => Spec::new("info").one_of(&["off", "error", "warn", "info", "debug", "trace"]);
        /// How long a task may run before the executor looks at its rings again. The default never fires: work gives way by itself.
        /// Shorter times than the lower bound lose wake-ups under contention (`broker/tests/contention.rs`).
        runtime_preempt_timer_ms: i64 = "runtime.preempt.timer.ms" => Spec::new("3600000").range(1_000, 3_600_000).unit(Unit::Ms);
        /// CPU time in microseconds for which a shard runs before other threads of its core are considered, and its kernel workers with it. Shorter than
        /// the kernel's own (about 3 ms) it wakes up at once where other threads run for longer. Linux 6.12 and later; 0 leaves it as it is.
        runtime_shard_slice_us: i32 = "runtime.shard.slice.us" => Spec::new("100").range(0, 100_000);
        /// A shard that has work and does not turn for this long ends the process, so that its partitions do not go dark; 0 for never.
        runtime_watchdog_ms: i64 = "runtime.watchdog.ms" => Spec::new("60000").at_least(0).unit(Unit::Ms);
        /// Longest time in microseconds that a core may take to wake from idle, held in /dev/cpu_dma_latency while the broker runs; 0 keeps all
        /// cores of the host from sleeping, -1 leaves it alone. Needs write permission on the device. Costs power.
        runtime_cpu_latency_us: i32 = "runtime.cpu.latency.us" => Spec::new("-1").range(-1, 10_000);
        /// Lock the broker's memory and program into RAM, each page from its first use on. Needs an unlimited locked memory limit or
        /// CAP_IPC_LOCK; without it the broker warns and runs unlocked. Memory that was in use once is then not given back to the host.
        runtime_memory_lock: bool = "runtime.memory.lock" => Spec::new("false");
        /// Let the kernel give the broker huge pages where the host allows them (`madvise` or `always`). Fewer TLB misses under load; a quiet
        /// broker holds about twice the memory, and the first touch of each page zeroes 2 MiB on a shard's time. Refused when false.
        runtime_huge_pages: bool = "runtime.huge.pages" => Spec::new("false");
        /// How long a stop waits for the requests in work to end.
        shutdown_drain_ms: i64 = "shutdown.drain.ms" => Spec::new("10000").range(0, 3_600_000).unit(Unit::Ms);
    }
}

fn check_not_empty(text: &str) -> Result<(), String> {
    match text {
        "" => Err("must not be empty".into()),
        text if text.contains(',') => Err("more than one directory is not supported".into()),
        _ => Ok(()),
    }
}
