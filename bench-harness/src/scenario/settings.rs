//! Every key of a scenario: its type, bounds, default and meaning; and the way from keys to a [`Scenario`].

use std::collections::BTreeMap;

use coreline_wire::record::Compression;

use super::parse::{Found, Reader};
use super::{
    Acks, Assignment, Background, Consumers, Filler, Generator, Load, Partitioner, Preload, Producers, Restart, Scenario, Shape, StartUp,
    Topic, VALUE_BYTES_MIN,
};

/// Streams (producer and partition) times readers of them that a run may have: what the delivery check remembers is bounded by it.
const STREAMS_MAX: u64 = 8 << 20;

/// A key as documented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDoc {
    /// Full name; consumers' keys stand under `consumers.NAME`.
    pub key: String,
    /// What it may be.
    pub bounds: String,
    /// What it is when left out.
    pub default: String,
    /// What it means.
    pub meaning: &'static str,
}

/// All keys, in the order of the README's table.
pub fn keys() -> Vec<KeyDoc> {
    let mut reader = Reader::new("", BTreeMap::from([("consumers.NAME".to_string(), Found::table())]));
    let _ = build(&mut reader, "", &["NAME".to_string()]);
    reader.docs
}

/// All keys as the README's table.
pub fn key_table() -> String {
    let mut text = String::from("| key | values | default | meaning |\n|---|---|---|---|\n");
    for k in keys() {
        text.push_str(&format!("| `{}` | {} | {} | {} |\n", k.key, k.bounds, k.default, k.meaning));
    }
    text
}

/// Builds a scenario; the error names file, line and reason.
pub(super) fn build(r: &mut Reader, name: &str, consumers: &[String]) -> Result<Scenario, String> {
    let title = r.text("title", "", "one line for reports; names the durability")?;
    let description = r.text("description", "", "what the scenario is for")?;
    let duration_s = r.int("duration_s", 30, 1..=604_800, "seconds that are measured (`--duration`)")? as u32;
    let warmup_s = r.int("warmup_s", 5, 0..=3_600, "seconds discarded at least (`--warmup`)")? as u32;
    let warmup_max_s =
        r.int("warmup_max_s", 0, 0..=3_600, "seconds discarded at most while throughput or p99 still drifts; 0: `warmup_s`")?;
    let drain_s = r.int("drain_s", 10, 0..=600, "seconds for answers and consumers after the schedule has ended")? as u32;
    let window_s = r.int("window_s", 1, 1..=3_600, "seconds per window of the time line in the result")? as u32;
    let topic = topic(r)?;
    let load = load(r)?;
    let producers = producers(r)?;
    let consumers = consumers.iter().map(|name| consumer(r, name)).collect::<Result<Vec<_>, _>>()?;
    let background = Background {
        connections: r.int("background.connections", 0, 0..=200_000, "idle connections, each greeted once")? as u32,
        partitions: r.int("background.partitions", 0, 0..=200_000, "partitions that nobody uses")? as u32,
    };
    let preload_bytes = r.int("preload.bytes", 0, 0..=1 << 44, "bytes of keys and values written before the run; 0: none")? as u64;
    let drop_caches = r.flag("preload.drop_caches", true, "restart the server and drop the page cache behind it, as far as allowed")?;
    let preload = (preload_bytes > 0).then_some(Preload { bytes: preload_bytes, drop_caches });
    let restart_at = r.int("restart.at_s", -1, -1..=604_800, "seconds into the measured phase when the server goes down; -1: never")?;
    let how = r.choice("restart.how", "kill", &["kill", "stop"], "SIGKILL or SIGTERM")?;
    let down_ms = r.int("restart.down_ms", 500, 0..=600_000, "milliseconds until it is started again")? as u32;
    let restart = (restart_at >= 0).then_some(Restart { at_s: restart_at as u32, kill: how == "kill", down_ms });
    if restart_at >= duration_s as i64 {
        return Err(r.complain("restart.at_s", format!("must lie below duration_s ({duration_s})")));
    }
    let repeats = r.int("start_up.repeats", 0, 0..=1_000, "starts to measure instead of load; 0: none")? as u32;
    let how = r.choice("start_up.how", "stop", &["kill", "stop"], "how the server ends before each start")?;
    let start_up = (repeats > 0).then_some(StartUp { repeats, kill: how == "kill" });
    let generator = generator(r)?;

    let warmup_max_s = if warmup_max_s == 0 { warmup_s } else { warmup_max_s as u32 };
    if warmup_max_s < warmup_s {
        return Err(r.complain("warmup_max_s", format!("must not be below warmup_s ({warmup_s})")));
    }
    if let Some(c) = consumers.iter().find(|c| c.threads > generator.threads) {
        let why = format!("must not exceed generator.threads ({})", generator.threads);
        return Err(r.complain(&format!("consumers.{}.threads", c.name), why));
    }
    let copies: u64 = consumers.iter().map(|c| u64::from(c.copies) * u64::from(c.threads)).sum();
    let streams = u64::from(producers.count) * u64::from(topic.all_partitions()) * copies.max(1);
    if streams > STREAMS_MAX {
        let why = format!("producers x partitions x copies of consumers is {streams}, at most {STREAMS_MAX} are checked");
        return Err(r.complain("producers.count", why));
    }
    if let Some(c) = consumers.iter().find(|c| c.start_at_s >= duration_s) {
        return Err(r.complain(&format!("consumers.{}.start_at_s", c.name), format!("must lie below duration_s ({duration_s})")));
    }
    Ok(Scenario {
        name: name.to_string(),
        title: if title.is_empty() { name.to_string() } else { title },
        description,
        duration_s,
        warmup_s,
        warmup_max_s,
        drain_s,
        window_s,
        topic,
        load,
        producers,
        consumers,
        background,
        preload,
        restart,
        start_up,
        generator,
        settings: r.in_force.clone(),
        overrides: BTreeMap::new(),
    })
}

fn topic(r: &mut Reader) -> Result<Topic, String> {
    let count = r.int("topic.count", 1, 1..=10_000, "topics created for the run")? as u32;
    let partitions = r.int("topic.partitions", 1, 1..=100_000, "partitions of each")? as u32;
    if u64::from(count) * u64::from(partitions) > 200_000 {
        return Err(r.complain("topic.partitions", "topics x partitions must not exceed 200000"));
    }
    Ok(Topic {
        count,
        partitions,
        replication: r.int("topic.replication", -1, -1..=100, "replicas; -1: the server's default")? as i16,
        keep: r.flag("topic.keep", false, "leave the topics behind")?,
        config: r.map("topic.config", "topic settings, as text: `\"retention.bytes\" = \"1000000\"`")?,
    })
}

fn load(r: &mut Reader) -> Result<Load, String> {
    let rate = r.rate("load.rate", "records per second of all producers together (`--rate`); \"max\": as fast as the server takes them")?;
    let shape = r.choice("load.shape", "constant", &["constant", "step", "sine", "burst", "replay"], "how the rate changes over time")?;
    let each_s = r.float("load.each_s", 1.0, 0.01..=86_400.0, "step, replay: seconds of each entry")?;
    let factors = r.floats("load.factors", &[], 0.0..=1e6, "step: factors of the rate in order, the last one stays")?;
    let rates = r.floats("load.rates", &[], 0.0..=1e9, "replay: records per second in order, then from the start again")?;
    let amplitude = r.float("load.amplitude", 0.5, 0.0..=1.0, "sine: share of the rate")?;
    let period_s = r.float("load.period_s", 10.0, 0.1..=86_400.0, "sine, burst: seconds")?;
    let factor = r.float("load.burst_factor", 10.0, 0.0..=1e6, "burst: factor of the rate during a burst")?;
    let burst_s = r.float("load.burst_s", 1.0, 0.001..=86_400.0, "burst: seconds of a burst")?;
    let shape = match shape.as_str() {
        "step" if !factors.iter().any(|f| *f > 0.0) => return Err(r.complain("load.factors", "a step needs a factor above 0")),
        "step" => Shape::Step { factors, each_s },
        "sine" => Shape::Sine { amplitude, period_s },
        "burst" if burst_s >= period_s => return Err(r.complain("load.burst_s", "a burst must be shorter than load.period_s")),
        "burst" => Shape::Burst { factor, burst_s, period_s },
        "replay" if !rates.iter().any(|f| *f > 0.0) => return Err(r.complain("load.rates", "a replay needs a rate above 0")),
        "replay" => Shape::Replay { rates, each_s },
        _ => Shape::Constant,
    };
    if rate.is_none() && shape != Shape::Constant {
        return Err(r.complain("load.shape", "a shape needs a rate; \"max\" has none"));
    }
    Ok(Load { rate, shape })
}

fn producers(r: &mut Reader) -> Result<Producers, String> {
    let acks = r.choice("producers.acks", "all", &["0", "1", "all"], "what an answer waits for; 0 has no answer")?;
    let partitioner = r.choice(
        "producers.partitioner",
        "sticky",
        &["sticky", "round-robin", "keyed"],
        "sticky: a batch for one partition, then the next; round-robin: a record each; keyed: by hash of a random key",
    )?;
    let compression = r.choice("producers.compression", "none", &["none", "gzip", "snappy", "lz4", "zstd"], "codec of the batches")?;
    let filler = r.choice("producers.filler", "random", &["random", "text", "zeros"], "what values hold behind the delivery header")?;
    let value_min = VALUE_BYTES_MIN as i64;
    let p = Producers {
        count: r.int("producers.count", 1, 0..=100_000, "producers, each with a connection of its own per broker; 0: none")? as u32,
        acks: match acks.as_str() {
            "0" => Acks::None,
            "1" => Acks::Leader,
            _ => Acks::All,
        },
        value_bytes: r.int("producers.value_bytes", 1024, value_min..=16 << 20, "bytes of each value, delivery header included")? as u32,
        key_bytes: r.int("producers.key_bytes", 0, 0..=1024, "bytes of each key; 0: none, unless keyed, which needs 8")? as u32,
        keys: r.int("producers.keys", 10_000, 1..=1_000_000, "different keys")? as u32,
        partitioner: match partitioner.as_str() {
            "round-robin" => Partitioner::RoundRobin,
            "keyed" => Partitioner::Keyed,
            _ => Partitioner::Sticky,
        },
        batch_bytes: r.int("producers.batch_bytes", 65_536, 128..=32 << 20, "most bytes of a batch before compression")? as u32,
        linger_ms: r.float("producers.linger_ms", 0.0, 0.0..=60_000.0, "milliseconds a batch waits for more records")?,
        compression: Compression::from_name(&compression).unwrap_or(Compression::None),
        filler: match filler.as_str() {
            "text" => Filler::Text,
            "zeros" => Filler::Zeros,
            _ => Filler::Random,
        },
        in_flight: r.int("producers.in_flight", 5, 1..=1_000, "produce requests in flight per connection")? as u32,
        idempotent: r.flag("producers.idempotent", true, "producer ids and sequence numbers, so that a repeat is no duplicate")?,
        retries: r.flag("producers.retries", true, "send a failed batch again until `delivery_timeout_ms`")?,
        request_timeout_ms: r.int(
            "producers.request_timeout_ms",
            30_000,
            100..=600_000,
            "until an unanswered request ends its connection",
        )? as u32,
        delivery_timeout_ms: r.int("producers.delivery_timeout_ms", 120_000, 100..=3_600_000, "until a batch is given up")? as u32,
        buffer_bytes: r.int("producers.buffer_bytes", 32 << 20, 1 << 10..=1 << 32, "bytes of records waiting in one producer at most")?
            as u64,
    };
    if p.partitioner == Partitioner::Keyed && p.key_bytes < 8 {
        return Err(r.complain("producers.key_bytes", "the keyed partitioner needs keys of at least 8 bytes"));
    }
    if p.key_bytes > 0 && p.key_bytes < 8 {
        return Err(r.complain("producers.key_bytes", "keys have at least 8 bytes"));
    }
    if p.idempotent && p.acks != Acks::All {
        return Err(r.complain("producers.idempotent", "needs producers.acks = \"all\"; set it to false otherwise"));
    }
    if p.idempotent && p.in_flight > 5 {
        return Err(r.complain("producers.in_flight", "an idempotent producer has at most 5 requests in flight"));
    }
    if p.buffer_bytes < u64::from(p.value_bytes) + u64::from(p.key_bytes) {
        return Err(r.complain("producers.buffer_bytes", "must hold at least one record"));
    }
    Ok(p)
}

fn consumer(r: &mut Reader, name: &str) -> Result<Consumers, String> {
    let key = |k: &str| format!("consumers.{name}.{k}");
    let assignment = r.choice(&key("assignment"), "manual", &["manual", "group"], "who deals out the partitions")?;
    let start = r.choice(&key("from"), "end", &["start", "end"], "where reading begins")?;
    let c = Consumers {
        name: name.to_string(),
        copies: r.int(&key("copies"), 1, 1..=10_000, "independent sets of consumers that each read everything")? as u32,
        members: r.int(&key("members"), 1, 1..=10_000, "connections (group members) that share a set's partitions")? as u32,
        threads: r.int(&key("threads"), 1, 1..=256, "manual: load threads that share a set, at most `members` and `generator.threads`")?
            as u32,
        assignment: if assignment == "group" { Assignment::Group } else { Assignment::Manual },
        from_start: start == "start",
        start_at_s: r.int(&key("start_at_s"), 0, 0..=604_800, "seconds into the measured phase when they begin; 0: before the load")?
            as u32,
        min_bytes: r.int(&key("min_bytes"), 1, 0..=1 << 30, "`fetch.min.bytes`")? as u32,
        max_wait_ms: r.int(&key("max_wait_ms"), 500, 0..=600_000, "`fetch.max.wait.ms`")? as u32,
        max_bytes: r.int(&key("max_bytes"), 50 << 20, 1_024..=256 << 20, "`fetch.max.bytes`")? as u32,
        partition_max_bytes: r.int(&key("partition_max_bytes"), 1 << 20, 1_024..=256 << 20, "`max.partition.fetch.bytes`")? as u32,
        sessions: r.flag(&key("sessions"), true, "fetch sessions (KIP-227)")?,
        latency: r.flag(&key("latency"), true, "whether arrivals count as end-to-end latency")?,
        churn_ms: r.int(
            &key("churn_ms"),
            0,
            0..=3_600_000,
            "group: a member leaves, and comes back, every so many milliseconds; 0: never",
        )? as u32,
        session_timeout_ms: r.int(&key("session_timeout_ms"), 10_000, 6_000..=300_000, "group: `session.timeout.ms`")? as u32,
    };
    if c.churn_ms > 0 && c.assignment == Assignment::Manual {
        return Err(r.complain(&key("churn_ms"), "only members of a group leave and come back"));
    }
    if c.threads > 1 && c.assignment == Assignment::Group {
        return Err(r.complain(&key("threads"), "members of a group share one thread: partitions go from one to the other"));
    }
    if c.threads > c.members {
        return Err(
            r.complain(&key("threads"), format!("must not exceed consumers.{name}.members ({}): a connection is not shared", c.members))
        );
    }
    Ok(c)
}

fn generator(r: &mut Reader) -> Result<Generator, String> {
    Ok(Generator {
        threads: r.int("generator.threads", 1, 1..=256, "load threads")? as u32,
        spin_us: r.int("generator.spin_us", 0, 0..=1_000_000, "microseconds before a deadline spent spinning rather than asleep")? as u64,
        cpus: r.cpus("generator.cpus", "CPUs that the load threads are kept on, in turn, as `1` or `2-3,6`; empty: any")?,
        realtime: r.int(
            "generator.realtime",
            0,
            0..=99,
            "priority of the load threads that time something under SCHED_FIFO, by `chrt`; 0: none",
        )? as u32,
        late_limit_us: r.float(
            "generator.late_limit_us",
            1_000.0,
            1.0..=1e7,
            "p99 of the intended-time error beyond which a run is invalid",
        )?,
        sent_share_min: r.float("generator.sent_share_min", 0.995, 0.0..=1.0, "least share of the schedule sent for a run to be valid")?,
        dead_after_s: r.int("generator.dead_after_s", 30, 1..=3_600, "seconds without any answer after which the target counts as dead")?
            as u32,
    })
}
