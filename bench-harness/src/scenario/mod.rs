//! `Scenario`: one workload, parsed from TOML with every bound checked.
//!
//! `parse` reads files and overrides, `settings` knows each key with its bounds, `committed` holds the scenarios of this repository.

mod committed;
mod parse;
mod settings;

use std::collections::BTreeMap;

use coreline_wire::record::Compression;

pub use committed::{COMMITTED, names};
pub use parse::{Overrides, load};
pub use settings::{KeyDoc, key_table, keys};

/// Bytes at the front of every value that prove its delivery; see `payload`.
pub const VALUE_BYTES_MIN: u64 = 32;

/// A workload.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Name: of the committed scenario, or of the file without `.toml`.
    pub name: String,
    /// One line that names what is measured and with which durability.
    pub title: String,
    /// What it is for, in a few sentences.
    pub description: String,
    /// Seconds that are measured.
    pub duration_s: u32,
    /// Seconds discarded at least.
    pub warmup_s: u32,
    /// Seconds discarded at most while the run is not steady; equal to `warmup_s` when that is not awaited.
    pub warmup_max_s: u32,
    /// Seconds that answers and consumers get after the schedule has ended.
    pub drain_s: u32,
    /// Seconds per window of the time line in the result.
    pub window_s: u32,
    /// Topics created for the run.
    pub topic: Topic,
    /// When records are due.
    pub load: Load,
    /// Who sends them.
    pub producers: Producers,
    /// Who reads them, by name.
    pub consumers: Vec<Consumers>,
    /// What is there besides.
    pub background: Background,
    /// Data written before the run.
    pub preload: Option<Preload>,
    /// The server goes down and comes back during the run.
    pub restart: Option<Restart>,
    /// Measures starts of the server instead of load.
    pub start_up: Option<StartUp>,
    /// The generator's own settings.
    pub generator: Generator,
    /// Every key with the value in force, as text.
    pub settings: BTreeMap<String, String>,
    /// What the command line changed.
    pub overrides: BTreeMap<String, String>,
}

/// Topics of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Topic {
    /// Number of topics.
    pub count: u32,
    /// Partitions of each.
    pub partitions: u32,
    /// Replicas; -1 is the server's default.
    pub replication: i16,
    /// Leave them behind after the run.
    pub keep: bool,
    /// Topic settings.
    pub config: BTreeMap<String, String>,
}

impl Topic {
    /// Partitions of all topics together.
    pub fn all_partitions(&self) -> u32 {
        self.count * self.partitions
    }
}

/// When records are due.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// Records per second of all producers together; `None` sends as fast as the server takes them (a closed loop).
    pub rate: Option<f64>,
    /// How the rate changes over time.
    pub shape: Shape,
}

/// How the rate changes over time; factors multiply the rate.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Always the same.
    Constant,
    /// One factor after the other, each for some seconds; the last one stays.
    Step {
        /// Factors in order.
        factors: Vec<f64>,
        /// Seconds of each.
        each_s: f64,
    },
    /// `1 + amplitude * sin(2 pi t / period)`.
    Sine {
        /// 0 to 1.
        amplitude: f64,
        /// Seconds.
        period_s: f64,
    },
    /// `factor` for the first `burst_s` of every `period_s`, 1 otherwise.
    Burst {
        /// Factor during a burst.
        factor: f64,
        /// Seconds of a burst.
        burst_s: f64,
        /// Seconds from burst to burst.
        period_s: f64,
    },
    /// A recorded list of rates, records per second, one per interval; starts over at its end.
    Replay {
        /// The rates.
        rates: Vec<f64>,
        /// Seconds of each.
        each_s: f64,
    },
}

/// What a produce request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// Nothing; there is no answer.
    None,
    /// The leader.
    Leader,
    /// All in-sync replicas.
    All,
}

impl Acks {
    /// As on the wire.
    pub fn code(self) -> i16 {
        match self {
            Acks::None => 0,
            Acks::Leader => 1,
            Acks::All => -1,
        }
    }
}

/// Which partition a record goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partitioner {
    /// Fill a batch for one partition, then the next one's.
    Sticky,
    /// One record each, in turn.
    RoundRobin,
    /// By the hash of a random key, as Kafka's clients do.
    Keyed,
}

/// What values hold behind the delivery header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filler {
    /// Random bytes: do not compress.
    Random,
    /// Words: compress about as well as JSON does.
    Text,
    /// Zeros: compress to nothing.
    Zeros,
}

/// The producers.
#[derive(Clone, Debug, PartialEq)]
pub struct Producers {
    /// How many, each with a connection of its own per broker.
    pub count: u32,
    /// What they wait for.
    pub acks: Acks,
    /// Bytes of each value.
    pub value_bytes: u32,
    /// Bytes of each key; 0 for none.
    pub key_bytes: u32,
    /// Number of different keys.
    pub keys: u32,
    /// Which partition a record goes to.
    pub partitioner: Partitioner,
    /// Most bytes of a batch before compression.
    pub batch_bytes: u32,
    /// Milliseconds a batch waits for more records.
    pub linger_ms: f64,
    /// Codec.
    pub compression: Compression,
    /// What values hold.
    pub filler: Filler,
    /// Produce requests in flight per connection.
    pub in_flight: u32,
    /// Producer ids and sequence numbers: a repeat is recognised by the server.
    pub idempotent: bool,
    /// Whether a failed batch is sent again until `delivery_timeout_ms`.
    pub retries: bool,
    /// Milliseconds until an unanswered request closes its connection.
    pub request_timeout_ms: u32,
    /// Milliseconds until a batch is given up.
    pub delivery_timeout_ms: u32,
    /// Bytes of records that may wait in one producer; beyond it the schedule runs ahead and response times grow.
    pub buffer_bytes: u64,
}

/// How consumers come to their partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignment {
    /// The harness deals the partitions out.
    Manual,
    /// A consumer group does.
    Group,
}

/// One kind of consumers.
#[derive(Clone, Debug, PartialEq)]
pub struct Consumers {
    /// Name, from the table's.
    pub name: String,
    /// How many independent sets read everything.
    pub copies: u32,
    /// Connections (group members) that share one set's partitions.
    pub members: u32,
    /// Load threads that share the connections of one set.
    pub threads: u32,
    /// How they come to their partitions.
    pub assignment: Assignment,
    /// Read from the start of the log rather than from the end.
    pub from_start: bool,
    /// Seconds after the start of the measured phase when they begin; 0 is before the load starts.
    pub start_at_s: u32,
    /// `fetch.min.bytes`.
    pub min_bytes: u32,
    /// `fetch.max.wait.ms`.
    pub max_wait_ms: u32,
    /// `fetch.max.bytes`.
    pub max_bytes: u32,
    /// `max.partition.fetch.bytes`.
    pub partition_max_bytes: u32,
    /// Use fetch sessions.
    pub sessions: bool,
    /// Whether arrival times count as end-to-end latency.
    pub latency: bool,
    /// Group members leave and come back, one every so many milliseconds; 0 never.
    pub churn_ms: u32,
    /// Group session timeout in milliseconds.
    pub session_timeout_ms: u32,
}

/// What is there besides the load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Background {
    /// Idle connections, each greeted once.
    pub connections: u32,
    /// Partitions of a topic that nobody uses.
    pub partitions: u32,
}

/// Data written before the run, as fast as the server takes it, with the producers' settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preload {
    /// Bytes of keys and values.
    pub bytes: u64,
    /// Restart the server and drop the page cache afterwards. What cannot be done (no process, no right) is said in the notes.
    pub drop_caches: bool,
}

/// The server goes down and comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    /// Seconds after the start of the measured phase.
    pub at_s: u32,
    /// SIGKILL rather than SIGTERM.
    pub kill: bool,
    /// Milliseconds until it is started again.
    pub down_ms: u32,
}

/// Starts of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartUp {
    /// How often.
    pub repeats: u32,
    /// SIGKILL before each start rather than SIGTERM.
    pub kill: bool,
}

/// The generator's own settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Generator {
    /// Load threads.
    pub threads: u32,
    /// Microseconds before each deadline that are spent spinning rather than asleep.
    pub spin_us: u64,
    /// CPUs that the load threads are kept on, in turn; none are any.
    pub cpus: Vec<usize>,
    /// Priority of the load threads under SCHED_FIFO; 0 for none.
    pub realtime: u32,
    /// Bound on the p99 of the intended-time error in microseconds; beyond it the run is invalid.
    pub late_limit_us: f64,
    /// Least share of the schedule that must have been sent for the run to be valid.
    pub sent_share_min: f64,
    /// Seconds without any answer after which the target counts as dead.
    pub dead_after_s: u32,
}
