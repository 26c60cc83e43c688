//! The declarations: every metric's name, type and help, once. Names follow Prometheus: unit last, `_total` on counters.

/// Type of a metric in the text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution of durations in seconds.
    Histogram,
}

impl MetricKind {
    /// Name in a `# TYPE` line.
    pub fn name(self) -> &'static str {
        match self {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        }
    }
}

/// A declared metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricSpec {
    /// Name of the series.
    pub name: &'static str,
    /// Type.
    pub kind: MetricKind,
    /// What it counts, one sentence.
    pub help: &'static str,
}

macro_rules! metrics {
    ($(#[$meta:meta])* pub enum $name:ident: $kind:ident { $( $(#[doc = $doc:literal])+ $variant:ident = $metric:literal, )+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name { $( $(#[doc = $doc])+ $variant, )+ }

        impl $name {
            /// All of them, in order of declaration.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// Its declaration.
            pub fn spec(self) -> MetricSpec {
                match self {
                    $( $name::$variant => MetricSpec { name: $metric, kind: MetricKind::$kind, help: concat!($($doc),+) }, )+
                }
            }
        }
    };
}

metrics! {
    /// Counters that each shard has once.
    pub enum Counter: Counter {
        /// Client connections accepted.
        ConnectionsAccepted = "coreline_connections_accepted_total",
        /// Client connections refused because a bound on connections was reached.
        ConnectionsRefused = "coreline_connections_refused_total",
        /// Client connections closed by the broker for malformed input, a stalled frame, idleness or an error.
        ConnectionsClosed = "coreline_connections_closed_by_broker_total",
        /// Produce requests above producer_byte_rate.
        ProduceThrottled = "coreline_produce_throttled_total",
        /// Fetch requests above consumer_byte_rate.
        FetchThrottled = "coreline_fetch_throttled_total",
        /// Requests above request_percentage.
        RequestThrottled = "coreline_request_time_throttled_total",
        /// Requests above controller_mutation_rate.
        MutationThrottled = "coreline_controller_mutation_throttled_total",
        /// Connections closed after a while because their address was above connection_creation_rate.
        ConnectionThrottled = "coreline_connection_throttled_total",
        /// Throttle times that clients were told, milliseconds.
        ThrottleTime = "coreline_throttle_milliseconds_total",
        /// Bytes read from client sockets.
        BytesReceived = "coreline_received_bytes_total",
        /// Bytes written to client sockets, sendfile included.
        BytesSent = "coreline_sent_bytes_total",
        /// Requests whose handler panicked; their connections were closed.
        HandlerPanics = "coreline_handler_panics_total",
        /// Times the rescue thread woke this shard because it had work and did not turn.
        Rescues = "coreline_rescues_total",
        /// Record batches appended.
        BatchesAppended = "coreline_appended_batches_total",
        /// Records appended.
        RecordsAppended = "coreline_appended_records_total",
        /// Bytes of record batches appended.
        BytesAppended = "coreline_appended_bytes_total",
        /// Bytes of record batches in fetch answers.
        BytesFetched = "coreline_fetched_bytes_total",
        /// Frames the journal has written.
        JournalFrames = "coreline_journal_frames_total",
        /// Bytes the journal has written, padding included.
        JournalBytes = "coreline_journal_written_bytes_total",
        /// Flushes the journal has asked of the device; none where its writes are durable by themselves.
        JournalFlushes = "coreline_journal_flushes_total",
        /// Blocks of 64 KiB of segments that were found damaged; consumers that ask for them get CORRUPT_MESSAGE.
        DamagedBlocks = "coreline_damaged_blocks_total",
        /// Bytes of closed segments that were read again and compared with their checksums.
        ScrubbedBytes = "coreline_scrubbed_bytes_total",
        /// Checksum files of segments that could not be used and were made anew from the records.
        ChecksumsRebuilt = "coreline_checksum_files_rebuilt_total",
        /// Checkpoints written.
        Checkpoints = "coreline_checkpoints_total",
        /// Bytes written to segments, padding included.
        SegmentBytes = "coreline_segment_written_bytes_total",
        /// Appends that had to wait because the journal or the tail memory was full.
        AppendWaits = "coreline_append_waits_total",
        /// Turns of the shard's loop that held it for 2 ms or longer.
        Stalls = "coreline_stalls_total",
        /// Those of them that held it for 2 ms or longer without the time in which its CPU ran another thread.
        OwnStalls = "coreline_own_stalls_total",
        /// Times that a request over many partitions, topics or groups let the shard turn before it went on.
        GaveWay = "coreline_gave_way_total",
        /// Steps of fetch answers that waited for the disk, off the shard, before they were sent.
        ReadWaits = "coreline_read_waits_total",
        /// Bytes of segments read into the page cache ahead of consumers.
        ReadAheadBytes = "coreline_read_ahead_bytes_total",
        /// Segments removed below the start of their log, by retention or DeleteRecords.
        SegmentsRemoved = "coreline_removed_segments_total",
        /// Bytes of removed segments.
        SegmentBytesRemoved = "coreline_removed_segment_bytes_total",
        /// Logs of deleted partitions removed from the disk.
        LogsRemoved = "coreline_removed_logs_total",
        /// Compactions that replaced segments.
        Compactions = "coreline_compactions_total",
        /// Bytes that compaction has read.
        CompactionBytesRead = "coreline_compaction_read_bytes_total",
        /// Bytes that compaction has written.
        CompactionBytesWritten = "coreline_compaction_written_bytes_total",
        /// Records that compaction has left out.
        RecordsCompacted = "coreline_compacted_records_total",
    }
}

metrics! {
    /// Gauges that each shard has once.
    pub enum Gauge: Gauge {
        /// Open client connections.
        Connections = "coreline_connections",
        /// Requests in work.
        RequestsInFlight = "coreline_requests_in_flight",
        /// Bytes of requests in work.
        RequestBytes = "coreline_request_memory_bytes",
        /// Requests parked until a condition or a deadline.
        DelayedOperations = "coreline_delayed_operations",
        /// Incremental fetch sessions.
        FetchSessions = "coreline_fetch_sessions",
        /// Consumer groups this shard coordinates.
        Groups = "coreline_groups",
        /// Partitions this shard owns.
        Partitions = "coreline_partitions",
        /// Partitions whose files cannot be used: they answer KAFKA_STORAGE_ERROR.
        FencedPartitions = "coreline_fenced_partitions",
        /// Free bytes of the data directory's file system as the shard saw it last; 0 before it wrote anything.
        DiskFreeBytes = "coreline_disk_free_bytes",
        /// 1 while producers are refused because little space is left.
        SpaceLow = "coreline_disk_space_low",
        /// Users, client ids, pairs of them and addresses whose usage is measured for a quota, in the whole process; on shard 0.
        QuotaEntities = "coreline_quota_entities",
        /// Connections that are not read because of a quota.
        MutedConnections = "coreline_muted_connections",
        /// Connections above connection_creation_rate that wait to be closed.
        HeldConnections = "coreline_held_connections",
        /// Bytes of the journal that are not recycled yet.
        JournalUsedBytes = "coreline_journal_used_bytes",
        /// What a journal write costs the device that a `replicated` acknowledgement waits for, median of the last 256.
        ReplicatedCostP50 = "coreline_class_replicated_p50_nanoseconds",
        /// The same, 99th percentile.
        ReplicatedCostP99 = "coreline_class_replicated_p99_nanoseconds",
        /// What a durable journal write (or a write and its flush) costs the device that a `durable` acknowledgement waits for, median of the last 256.
        DurableCostP50 = "coreline_class_durable_p50_nanoseconds",
        /// The same, 99th percentile.
        DurableCostP99 = "coreline_class_durable_p99_nanoseconds",
        /// Bytes of records in memory.
        TailBytes = "coreline_tail_memory_bytes",
        /// Bytes of batches that are not flushed to their segments yet.
        UnflushedBytes = "coreline_unflushed_bytes",
        /// Open segment files.
        OpenSegmentFiles = "coreline_open_segment_files",
        /// Longest turn of the shard's loop within the last 30 to 60 seconds, microseconds.
        LongestTurn = "coreline_longest_turn_microseconds",
    }
}

metrics! {
    /// Durations that each shard has once.
    pub enum Timing: Histogram {
        /// Time from the first entry of a journal frame to the start of its write.
        JournalQueue = "coreline_journal_queue_seconds",
        /// Time the device took to write a journal frame.
        JournalWrite = "coreline_journal_write_seconds",
        /// Time the device took to flush the journal.
        JournalFlush = "coreline_journal_flush_seconds",
        /// How long one turn of the shard's loop (one poll of a task) held the shard, on the wall clock.
        Turn = "coreline_turn_seconds",
        /// The same without the time in which the shard's CPU ran another thread: what the broker itself did, or waited for in the kernel.
        TurnOwn = "coreline_turn_own_seconds",
    }
}

/// Requests answered, by API.
pub const REQUESTS: MetricSpec =
    MetricSpec { name: "coreline_requests_total", kind: MetricKind::Counter, help: "Requests answered, by API." };
/// Error codes in answers.
pub const ERRORS: MetricSpec =
    MetricSpec { name: "coreline_errors_total", kind: MetricKind::Counter, help: "Error codes in answers, by Kafka's name of the code." };
/// Whole requests.
pub const REQUEST_SECONDS: MetricSpec = MetricSpec {
    name: "coreline_request_seconds",
    kind: MetricKind::Histogram,
    help: "Time from the first byte of a request to the last byte of its answer, by API.",
};
/// Requests by stage.
pub const STAGE_SECONDS: MetricSpec = MetricSpec {
    name: "coreline_request_stage_seconds",
    kind: MetricKind::Histogram,
    help: "Time of a request by API and stage; the stages of a request sum to its total, stages without time are not counted.",
};
/// Produces and fetches by band.
pub const BAND_REQUESTS: MetricSpec = MetricSpec {
    name: "coreline_request_band_requests_total",
    kind: MetricKind::Counter,
    help: "Produce and Fetch requests by band of their active time (total without the park stage); le is the band's upper bound in seconds.",
};
/// Stages of produces and fetches by band: where the slow ones lost their time.
pub const BAND_STAGE_SECONDS: MetricSpec = MetricSpec {
    name: "coreline_request_band_stage_seconds_total",
    kind: MetricKind::Counter,
    help: "Time that the requests of a band (see coreline_request_band_requests_total) spent in each stage.",
};
/// Gauges that clients push.
pub const CLIENT_METRIC: MetricSpec = MetricSpec {
    name: "coreline_client_metric",
    kind: MetricKind::Gauge,
    help: "Gauges that clients push (KIP-714), by the metric's name and the client.",
};
/// Sums that clients push.
pub const CLIENT_METRIC_TOTAL: MetricSpec = MetricSpec {
    name: "coreline_client_metric_total",
    kind: MetricKind::Counter,
    help: "Sums that clients push (KIP-714), by the metric's name and the client.",
};
/// Clients that push.
pub const CLIENT_METRIC_CLIENTS: MetricSpec = MetricSpec {
    name: "coreline_client_metric_clients",
    kind: MetricKind::Gauge,
    help: "Clients that asked lately which of their metrics are wanted.",
};
/// Pushes.
pub const CLIENT_METRIC_PUSHES: MetricSpec =
    MetricSpec { name: "coreline_client_metric_pushes_total", kind: MetricKind::Counter, help: "Pushes of metrics that were taken." };
/// Points of pushes that were not kept.
pub const CLIENT_METRIC_LEFT_OUT: MetricSpec = MetricSpec {
    name: "coreline_client_metric_left_out_total",
    kind: MetricKind::Counter,
    help: "Points of pushed metrics that were left out because a bound was reached.",
};
/// Information about the build.
pub const BUILD_INFO: MetricSpec =
    MetricSpec { name: "coreline_build_info", kind: MetricKind::Gauge, help: "Always 1; the labels name the build." };
/// CPU time.
pub const PROCESS_CPU: MetricSpec =
    MetricSpec { name: "process_cpu_seconds_total", kind: MetricKind::Counter, help: "CPU time of the process, user and system." };
/// Resident memory.
pub const PROCESS_RESIDENT: MetricSpec =
    MetricSpec { name: "process_resident_memory_bytes", kind: MetricKind::Gauge, help: "Resident memory of the process." };
/// Virtual memory.
pub const PROCESS_VIRTUAL: MetricSpec =
    MetricSpec { name: "process_virtual_memory_bytes", kind: MetricKind::Gauge, help: "Virtual memory of the process." };
/// Open descriptors.
pub const PROCESS_OPEN_FDS: MetricSpec = MetricSpec { name: "process_open_fds", kind: MetricKind::Gauge, help: "Open file descriptors." };
/// Most descriptors.
pub const PROCESS_MAX_FDS: MetricSpec =
    MetricSpec { name: "process_max_fds", kind: MetricKind::Gauge, help: "Most file descriptors the process may open." };
/// Threads.
pub const PROCESS_THREADS: MetricSpec = MetricSpec { name: "process_threads", kind: MetricKind::Gauge, help: "Threads of the process." };
/// Start of the process.
pub const PROCESS_START: MetricSpec =
    MetricSpec { name: "process_start_time_seconds", kind: MetricKind::Gauge, help: "Start of the process, seconds since 1970." };

/// Every declared metric but those of clients, which `telemetry/render.rs` writes.
pub fn all() -> Vec<MetricSpec> {
    let mut all = vec![
        REQUESTS,
        ERRORS,
        REQUEST_SECONDS,
        STAGE_SECONDS,
        BAND_REQUESTS,
        BAND_STAGE_SECONDS,
        BUILD_INFO,
        PROCESS_CPU,
        PROCESS_RESIDENT,
        PROCESS_VIRTUAL,
        PROCESS_OPEN_FDS,
        PROCESS_MAX_FDS,
        PROCESS_THREADS,
        PROCESS_START,
    ];
    all.extend(Counter::ALL.iter().map(|m| m.spec()));
    all.extend(Gauge::ALL.iter().map(|m| m.spec()));
    all.extend(Timing::ALL.iter().map(|m| m.spec()));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_say_their_type() {
        let all = all();
        for metric in &all {
            assert_eq!(all.iter().filter(|m| m.name == metric.name).count(), 1, "{} is declared twice", metric.name);
            assert!(metric.name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'), "{}", metric.name);
            assert_eq!(metric.name.ends_with("_total"), metric.kind == MetricKind::Counter, "{}: _total is for counters", metric.name);
            assert_eq!(
                metric.name.ends_with("_seconds") && metric.name.starts_with("coreline_"),
                metric.kind == MetricKind::Histogram,
                "{}",
                metric.name
            );
            assert!(metric.help.trim().len() > 10 && metric.help.ends_with('.'), "{} needs a sentence", metric.name);
        }
    }
}
