//! `RunResult`: everything a run found out, as one JSON document of a versioned schema.
//!
//! Times on the time line are whole seconds from the start of the schedule; durations are nanoseconds in histograms and seconds elsewhere, as
//! the names say. Fields of other parts (server cost, host, disk, stages) are `None` until those fill them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::latency::Latency;
use crate::quiet::Quiet;

/// Version of the schema; raised by every change that a reader could stumble over.
pub const SCHEMA: u32 = 1;

/// Result of one run of one scenario against one target.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RunResult {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Version of the harness.
    pub tool_version: String,
    /// Name of the scenario.
    pub scenario: String,
    /// Its title, which names the durability.
    pub title: String,
    /// Every key of the scenario with the value in force.
    pub settings: BTreeMap<String, String>,
    /// What the command line changed: key and value.
    pub overrides: BTreeMap<String, String>,
    /// When the run started, milliseconds since 1970.
    pub started_unix_ms: i64,
    /// Id of the run in every payload.
    pub run_id: u32,
    /// The server.
    pub target: TargetInfo,
    /// What an acknowledgement promised: acks, retries, idempotence, topic settings.
    pub durability: String,
    /// True when it was cut short: what was measured is here.
    pub interrupted: bool,
    /// Whether it may be quoted.
    pub verdict: Verdict,
    /// Parts of the time line, in order.
    pub phases: Vec<Phase>,
    /// The measured phase.
    pub measured: Measured,
    /// Per-window counts and histograms, warm-up and drain included.
    pub timeline: Vec<Window>,
    /// What became of every record.
    pub delivery: Delivery,
    /// Errors by kind: Kafka's error names, or `connect`, `disconnect`, `timeout`, `malformed`.
    pub errors: BTreeMap<String, u64>,
    /// The generator's check of itself.
    pub generator: GeneratorCheck,
    /// Single figures of the scenario's kind, such as `start_to_first_ack_s` or `consumer.cold.mb_per_s`.
    pub figures: BTreeMap<String, f64>,
    /// Server-side cost of the measured phase.
    pub server_cost: Option<serde_json::Value>,
    /// Share of each stage of the server at each quantile.
    pub stages: Option<serde_json::Value>,
    /// The first 16 digits of the SHA-256 of this program's executable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_sha256: Option<String>,
    /// Fingerprint of the host.
    pub host: Option<serde_json::Value>,
    /// Disk probe before and after.
    pub disk: Option<serde_json::Value>,
}

/// The server as the harness saw it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TargetInfo {
    /// Name of the target.
    pub name: String,
    /// `HOST:PORT`.
    pub bootstrap: String,
    /// Process id, when known.
    pub pid: Option<u32>,
    /// Brokers that its metadata names.
    pub brokers: u32,
    /// Its version, for servers that the harness starts.
    #[serde(default)]
    pub version: Option<String>,
    /// Settings that differ from its defaults, for servers that the harness starts.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// The first 16 digits of the SHA-256 of its executable, or of the list of sums of Kafka's jars, for servers that the harness starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Why it counts as dead, if it does.
    #[serde(default)]
    pub died: Option<String>,
}

/// Whether a result may be quoted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// False when a reason below speaks against it.
    pub valid: bool,
    /// Why it is invalid.
    pub reasons: Vec<String>,
    /// What a reader should know though it does not make the result invalid.
    pub notes: Vec<String>,
}

/// A part of the time line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// `warmup`, `measured` or `drain`.
    pub name: String,
    /// First second.
    pub from_s: u32,
    /// Second behind the last.
    pub to_s: u32,
    /// Of the warm-up: whether it ended because the run was steady; `None` where that was not asked.
    pub steady: Option<bool>,
}

/// The measured phase, all threads merged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Seconds it lasted.
    pub seconds: f64,
    /// Counts.
    pub counts: Counts,
    /// Histograms by metric; see [`Metric`].
    pub latency: BTreeMap<Metric, Latency>,
    /// CPU seconds of the generator in this phase, user and system together.
    pub generator_cpu_s: f64,
}

/// One window of the time line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// First second.
    pub from_s: u32,
    /// Seconds it covers.
    pub seconds: u32,
    /// What happened in it.
    pub counts: Counts,
    /// Histograms of the records whose intended time lies in it, however late they completed.
    pub latency: BTreeMap<Metric, Latency>,
}

/// What is timed. All are nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// From the intended time of a record to its acknowledgement.
    ProduceResponse,
    /// From handing the request to the socket to its acknowledgement.
    ProduceService,
    /// From the intended time of a record to its arrival at a consumer.
    E2eResponse,
    /// From handing the record to the socket to its arrival at a consumer.
    E2eService,
    /// From the intended time of a record to when the generator noticed it: the generator's error.
    Lateness,
    /// The same without the time that the load thread was held up by the kernel, by other threads or by the hypervisor; see `client::poll`.
    LatenessOwn,
}

impl Metric {
    /// All of them.
    pub const ALL: [Metric; 6] =
        [Metric::ProduceResponse, Metric::ProduceService, Metric::E2eResponse, Metric::E2eService, Metric::Lateness, Metric::LatenessOwn];

    /// Name as in JSON and in objectives.
    pub fn name(self) -> &'static str {
        match self {
            Metric::ProduceResponse => "produce_response",
            Metric::ProduceService => "produce_service",
            Metric::E2eResponse => "e2e_response",
            Metric::E2eService => "e2e_service",
            Metric::Lateness => "lateness",
            Metric::LatenessOwn => "lateness_own",
        }
    }
}

/// Counts of a stretch of time, by when things happened. Bytes are those of keys and values, without framing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Records the schedule asked for.
    pub scheduled: u64,
    /// Records handed to the socket for the first time.
    pub sent: u64,
    /// Records acknowledged (with acks=0: handed to the socket).
    pub acked: u64,
    /// Bytes of the acknowledged records.
    pub acked_bytes: u64,
    /// Records given up.
    pub failed: u64,
    /// Produce requests sent, repeats included.
    pub produce_requests: u64,
    /// Records that consumers received.
    pub received: u64,
    /// Bytes of the received records.
    pub received_bytes: u64,
    /// Fetch answers received.
    pub fetch_responses: u64,
    /// Errors of any kind.
    pub errors: u64,
}

impl Counts {
    /// Adds another stretch.
    pub fn add(&mut self, o: &Counts) {
        self.scheduled += o.scheduled;
        self.sent += o.sent;
        self.acked += o.acked;
        self.acked_bytes += o.acked_bytes;
        self.failed += o.failed;
        self.produce_requests += o.produce_requests;
        self.received += o.received;
        self.received_bytes += o.received_bytes;
        self.fetch_responses += o.fetch_responses;
        self.errors += o.errors;
    }
}

/// What became of the records, over the whole run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// True when consumers of this run checked every record; false when nothing was read back.
    pub verified: bool,
    /// Records given a sequence number.
    pub produced: u64,
    /// Records acknowledged.
    pub acked: u64,
    /// Records given up by the producer; they may or may not be there.
    pub failed: u64,
    /// Records without a final answer when the run ended.
    pub unanswered: u64,
    /// Per group of consumers.
    pub consumers: Vec<ConsumerDelivery>,
}

/// What one set of consumers that should see every record saw.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumerDelivery {
    /// Name of the consumers in the scenario, and number of the copy.
    pub name: String,
    /// Records of this run received, duplicates included.
    pub received: u64,
    /// Acknowledged records that never came.
    pub lost: u64,
    /// Records that came more than once.
    pub duplicates: u64,
    /// Records that came after a later one of the same producer and partition.
    pub reordered: u64,
    /// Records whose payload is not what was sent, batches with a wrong checksum.
    pub corrupt: u64,
    /// Records of other runs, not counted otherwise.
    pub foreign: u64,
    /// True when more gaps were open at once than are remembered: `lost` and `reordered` are then lower bounds.
    pub overflowed: bool,
    /// True when repeats are expected here (group consumers that rebalance, producers without idempotence that retry).
    pub duplicates_expected: bool,
    /// Records it should have seen.
    pub expected: u64,
    /// Whether it had read to the end when the run ended; otherwise what is missing is not counted as lost.
    pub caught_up: bool,
}

/// The generator's check of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GeneratorCheck {
    /// Bound on the p99 of the intended-time error in microseconds.
    pub late_limit_us: f64,
    /// The p99 of the intended-time error in the measured phase, microseconds; `None` for a closed loop or too few samples.
    pub late_p99_us: Option<f64>,
    /// What the verdict goes by, quantile and microseconds: the p99, or the highest of p90 and p50 that fewer samples carry.
    #[serde(default)]
    pub late_carried: Option<(f64, f64)>,
    /// The p99 of the error without the time that load threads were held up by others: what of it is the generator's own work, at most.
    #[serde(default)]
    pub late_own_p99_us: Option<f64>,
    /// Largest intended-time error in the measured phase, microseconds.
    pub late_max_us: Option<f64>,
    /// Records sent as a share of those scheduled in the measured phase; 1 for a closed loop.
    pub sent_share: f64,
    /// CPU seconds of the whole run: user.
    pub cpu_user_s: f64,
    /// CPU seconds of the whole run: system.
    pub cpu_system_s: f64,
    /// CPU seconds per 10^9 bytes sent and received, measured phase; `None` without bytes.
    pub cpu_s_per_gb: Option<f64>,
    /// CPU seconds per million records sent and received, measured phase; `None` without records.
    pub cpu_s_per_million: Option<f64>,
    /// Load threads.
    pub threads: u32,
    /// Microseconds each deadline is awaited spinning.
    pub spin_us: u64,
    /// Share of the measured phase that the busiest load thread ran, spinning included; near 1 in a closed loop the generator is the bound.
    #[serde(default)]
    pub busiest_thread: Option<f64>,
    /// Seconds of the measured phase that load threads were ready to run while others had the CPU, all together.
    #[serde(default)]
    pub waited_for_cpu_s: Option<f64>,
    /// CPU seconds of the measured phase that the hypervisor gave to others while this host wanted them, of all CPUs; `None` where it does not tell.
    #[serde(default)]
    pub steal_s: Option<f64>,
    /// The intended-time error of the seconds in which the hypervisor took nothing from the load threads' CPUs (of any, where they are not kept on
    /// some); `None` for a closed loop and where the host does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet: Option<Quiet>,
}

impl RunResult {
    /// The histogram of a metric in the measured phase, if there is one.
    pub fn latency(&self, metric: Metric) -> Option<&Latency> {
        self.measured.latency.get(&metric)
    }

    /// Acknowledged records per second in the measured phase.
    pub fn acked_per_s(&self) -> f64 {
        per_second(self.measured.counts.acked, self.measured.seconds)
    }

    /// Acknowledged bytes per second in the measured phase.
    pub fn acked_bytes_per_s(&self) -> f64 {
        per_second(self.measured.counts.acked_bytes, self.measured.seconds)
    }

    /// Records per second that consumers received in the measured phase.
    pub fn received_per_s(&self) -> f64 {
        per_second(self.measured.counts.received, self.measured.seconds)
    }

    /// Bytes per second that consumers received in the measured phase.
    pub fn received_bytes_per_s(&self) -> f64 {
        per_second(self.measured.counts.received_bytes, self.measured.seconds)
    }

    /// Errors of the measured phase.
    pub fn error_count(&self) -> u64 {
        self.measured.counts.errors
    }
}

fn per_second(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}
