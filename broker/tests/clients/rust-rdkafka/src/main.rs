//! The librdkafka client program: the common command line of `broker/tests/clients/README.md` over the `rdkafka` crate.

mod member;

use base64::{Engine, engine::general_purpose::STANDARD as B64};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, DeliveryResult, Header, Headers, Message, OwnedHeaders, Timestamp};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::io::{BufRead, Write};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

type Failure = Box<dyn std::error::Error>;

fn main() {
    let args = Args::parse(std::env::args().skip(1));
    if let Err(failure) = run(&args) {
        eprintln!("{}: {failure}", args.words.join(" "));
        std::process::exit(1);
    }
}

fn run(args: &Args) -> Result<(), Failure> {
    match args.word(0)? {
        "version" => {
            let (_, version) = rdkafka::util::get_rdkafka_version();
            print(&json!({"client": "librdkafka (rdkafka crate)", "version": version}));
            Ok(())
        }
        "create" => create(args),
        "delete" => delete(args),
        "describe" => describe(args),
        "list-offsets" => list_offsets(args),
        "produce" => produce(args),
        "consume" => consume(args),
        "group-consume" => group_consume(args),
        "burn" => burn(args),
        "member" => member::member(args),
        "watch" => member::watch(args),
        "group-offsets" => member::group_offsets(args),
        "group-reset" => member::group_reset(args),
        other => Err(format!("unknown command {other}").into()),
    }
}

// Topics ---------------------------------------------------------------------------------------------------------------

fn create(args: &Args) -> Result<(), Failure> {
    let admin: AdminClient<DefaultClientContext> = args.config().create()?;
    let partitions: i32 = args.word(2)?.parse()?;
    let names = args.topics()?;
    let topics: Vec<NewTopic> = names.iter().map(|name| NewTopic::new(name, partitions, TopicReplication::Fixed(1))).collect();
    let options = AdminOptions::new().operation_timeout(Some(args.timeout()));
    for result in block_on(admin.create_topics(&topics, &options))? {
        result.map_err(|(topic, code)| format!("{topic}: {code}"))?;
    }
    Ok(())
}

fn delete(args: &Args) -> Result<(), Failure> {
    let admin: AdminClient<DefaultClientContext> = args.config().create()?;
    let names = args.topics()?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for result in block_on(admin.delete_topics(&names, &AdminOptions::new()))? {
        result.map_err(|(topic, code)| format!("{topic}: {code}"))?;
    }
    Ok(())
}

fn describe(args: &Args) -> Result<(), Failure> {
    let consumer: BaseConsumer = args.config().create()?;
    let metadata = consumer.fetch_metadata(Some(args.word(1)?), args.timeout())?;
    for topic in metadata.topics() {
        if let Some(code) = topic.error() {
            return Err(format!("{}: {code:?}", topic.name()).into());
        }
        for partition in topic.partitions() {
            print(&json!({"topic": topic.name(), "partition": partition.id(), "leader": partition.leader(),
                "replicas": partition.replicas(), "isr": partition.isr()}));
        }
    }
    Ok(())
}

fn list_offsets(args: &Args) -> Result<(), Failure> {
    let topic = args.word(1)?;
    let consumer: BaseConsumer = args.config().create()?;
    for partition in partitions(&consumer, topic, args.timeout())? {
        let (earliest, latest) = consumer.fetch_watermarks(topic, partition, args.timeout())?;
        let mut line = json!({"topic": topic, "partition": partition, "earliest": earliest, "latest": latest});
        if let Some(timestamp) = args.options.get("timestamp") {
            let mut wanted = TopicPartitionList::new();
            wanted.add_partition_offset(topic, partition, Offset::Offset(timestamp.parse()?))?;
            let found = consumer.offsets_for_times(wanted, args.timeout())?;
            let element = found.find_partition(topic, partition).ok_or("no answer for the partition")?;
            element.error()?;
            line["at"] = match element.offset() {
                Offset::Offset(offset) => json!(offset),
                _ => json!(-1),
            };
        }
        print(&line);
    }
    Ok(())
}

/// `burn TOPIC --client-id C`: asks one question after the other until the broker says that it throttles, and three times more.
fn burn(args: &Args) -> Result<(), Failure> {
    let mut config = args.config();
    config.set("client.id", args.option("client-id", "burner")).set("statistics.interval.ms", "100");
    let consumer: BaseConsumer<Throttled> = config.create_with_context(Throttled::default())?;
    let deadline = Instant::now() + args.timeout();
    let (mut asked, mut left, mut slowest) = (0u64, 3, Duration::ZERO);
    while left > 0 {
        if Instant::now() > deadline {
            return Err(format!("not throttled after {asked} requests").into());
        }
        let began = Instant::now();
        consumer.fetch_metadata(Some(args.word(1)?), args.timeout())?;
        asked += 1;
        slowest = slowest.max(began.elapsed());
        // Statistics come with it.
        drop(consumer.poll(Duration::ZERO));
        left -= u64::from(consumer.context().0.load(Ordering::Relaxed) > 0);
    }
    let throttle_ms = consumer.context().0.load(Ordering::Relaxed);
    print(&json!({"requests": asked, "throttle_ms": throttle_ms, "slowest_ms": slowest.as_millis()}));
    Ok(())
}

/// The longest throttle time that a broker told, milliseconds.
#[derive(Default)]
struct Throttled(AtomicUsize);

impl ClientContext for Throttled {
    fn stats(&self, statistics: rdkafka::Statistics) {
        let told = statistics.brokers.values().filter_map(|broker| broker.throttle.as_ref()).map(|window| window.max);
        self.0.fetch_max(told.max().and_then(|ms| usize::try_from(ms).ok()).unwrap_or(0), Ordering::Relaxed);
    }
}

impl rdkafka::consumer::ConsumerContext for Throttled {}

fn partitions(consumer: &BaseConsumer, topic: &str, timeout: Duration) -> Result<Vec<i32>, Failure> {
    let metadata = consumer.fetch_metadata(Some(topic), timeout)?;
    let topic = metadata.topics().first().ok_or("no such topic in the metadata")?;
    if let Some(code) = topic.error() {
        return Err(format!("{}: {code:?}", topic.name()).into());
    }
    Ok(topic.partitions().iter().map(|partition| partition.id()).collect())
}

// Produce --------------------------------------------------------------------------------------------------------------

#[derive(Default)]
struct Reports {
    acknowledged: AtomicUsize,
    failed: AtomicUsize,
}

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<i64>;

    fn delivery(&self, result: &DeliveryResult<'_>, i: Box<i64>) {
        match result {
            Ok(message) => {
                print(&json!({"i": *i, "partition": message.partition(), "offset": message.offset()}));
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Err((error, _)) => {
                eprintln!("record {i}: {error}");
                self.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn produce(args: &Args) -> Result<(), Failure> {
    let topic = args.word(1)?;
    let mut config = args.config();
    config.set("compression.codec", args.option("codec", "none"));
    config.set("acks", args.option("acks", "all"));
    config.set("enable.idempotence", if args.flag("idempotent") { "true" } else { "false" });
    if !args.flag("idempotent") {
        config.set("max.in.flight.requests.per.connection", "1");
    }
    config.set("linger.ms", "5");
    config.set("retry.backoff.ms", "50");
    config.set("message.timeout.ms", args.timeout().as_millis().to_string());
    let producer: BaseProducer<Reports> = config.create_with_context(Reports::default())?;
    let pace = Pace::new(args)?;
    let file = std::io::BufReader::new(std::fs::File::open(args.option("file", ""))?);
    let mut sent = 0;
    for line in file.lines() {
        let line: Value = serde_json::from_str(&line?)?;
        while !pace.due(sent) {
            producer.poll(Duration::from_millis(1));
        }
        send(&producer, topic, &line)?;
        sent += 1;
    }
    producer.flush(args.timeout())?;
    let reports = producer.context();
    let acknowledged = reports.acknowledged.load(Ordering::Relaxed);
    if acknowledged != sent || reports.failed.load(Ordering::Relaxed) > 0 {
        return Err(format!("{acknowledged} of {sent} records acknowledged").into());
    }
    Ok(())
}

fn send(producer: &BaseProducer<Reports>, topic: &str, line: &Value) -> Result<(), Failure> {
    let i = line["i"].as_i64().ok_or("record without i")?;
    let key = bytes(&line["key"])?;
    let value = bytes(&line["value"])?;
    let mut record: BaseRecord<'_, [u8], [u8], Box<i64>> = BaseRecord::with_opaque_to(topic, Box::new(i));
    if let Some(partition) = line["partition"].as_i64() {
        record = record.partition(i32::try_from(partition)?);
    }
    if let Some(timestamp) = line["timestamp"].as_i64() {
        record = record.timestamp(timestamp);
    }
    if let Some(key) = &key {
        record = record.key(key);
    }
    if let Some(value) = &value {
        record = record.payload(value);
    }
    let headers = line["headers"].as_array().ok_or("record without headers")?;
    if !headers.is_empty() {
        let mut owned = OwnedHeaders::new();
        for header in headers {
            let value = bytes(&header[1])?;
            owned = owned.insert(Header { key: header[0].as_str().ok_or("header without name")?, value: value.as_ref() });
        }
        record = record.headers(owned);
    }
    loop {
        match producer.send(record) {
            Ok(()) => {
                producer.poll(Duration::ZERO);
                return Ok(());
            }
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                record = back;
                producer.poll(Duration::from_millis(10));
            }
            Err((error, _)) => return Err(error.into()),
        }
    }
}

// Consume --------------------------------------------------------------------------------------------------------------

fn consume(args: &Args) -> Result<(), Failure> {
    let consumer: BaseConsumer = args.config().set("group.id", "unused").set("enable.auto.commit", "false").create()?;
    let mut assignment = TopicPartitionList::new();
    for topic in args.topics()? {
        for partition in partitions(&consumer, &topic, args.timeout())? {
            assignment.add_partition_offset(&topic, partition, Offset::Beginning)?;
        }
    }
    consumer.assign(&assignment)?;
    receive(args, &consumer).map(drop)
}

fn group_consume(args: &Args) -> Result<(), Failure> {
    let mut config = args.config();
    config.set("group.id", args.option("group", "")).set("enable.auto.commit", "false");
    config.set("auto.offset.reset", "earliest");
    let consumer: BaseConsumer = config.create()?;
    let topics = args.topics()?;
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    consumer.subscribe(&topics)?;
    let next = receive(args, &consumer)?;
    if args.flag("commit") {
        let mut offsets = TopicPartitionList::new();
        for ((topic, partition), offset) in next {
            offsets.add_partition_offset(&topic, partition, Offset::Offset(offset))?;
        }
        consumer.commit(&offsets, CommitMode::Sync)?;
    }
    Ok(())
}

/// Prints `--count` records; returns the next offset of every partition seen.
fn receive(args: &Args, consumer: &BaseConsumer) -> Result<BTreeMap<(String, i32), i64>, Failure> {
    let count: usize = args.option("count", "").parse()?;
    let deadline = Instant::now() + args.timeout();
    let mut next = BTreeMap::new();
    let mut received = 0;
    while received < count {
        if Instant::now() > deadline {
            return Err(format!("{received} of {count} records within the timeout").into());
        }
        match consumer.poll(Duration::from_millis(100)) {
            None => {}
            Some(Ok(message)) => {
                print(&record(&message)?);
                next.insert((message.topic().to_owned(), message.partition()), message.offset() + 1);
                received += 1;
            }
            Some(Err(error)) => eprintln!("poll: {error}"),
        }
    }
    Ok(next)
}

fn record(message: &BorrowedMessage<'_>) -> Result<Value, Failure> {
    let (timestamp, kind) = match message.timestamp() {
        Timestamp::CreateTime(ms) => (json!(ms), "create"),
        Timestamp::LogAppendTime(ms) => (json!(ms), "append"),
        Timestamp::NotAvailable => (Value::Null, "none"),
    };
    let headers: Vec<Value> = message
        .headers()
        .map(|headers| headers.iter().map(|header| json!([header.key, header.value.map(|value| B64.encode(value))])).collect())
        .unwrap_or_default();
    Ok(json!({"topic": message.topic(), "partition": message.partition(), "offset": message.offset(),
        "timestamp": timestamp, "timestampType": kind, "key": message.key().map(|key| B64.encode(key)),
        "value": message.payload().map(|value| B64.encode(value)), "headers": headers}))
}

// Helpers --------------------------------------------------------------------------------------------------------------

struct Args {
    words: Vec<String>,
    options: HashMap<String, String>,
}

impl Args {
    fn parse(args: impl Iterator<Item = String>) -> Args {
        let mut parsed = Args { words: Vec::new(), options: HashMap::new() };
        let mut args = args.peekable();
        while let Some(arg) = args.next() {
            match arg.strip_prefix("--") {
                Some(name @ ("idempotent" | "commit")) => drop(parsed.options.insert(name.into(), "true".into())),
                Some(name) => drop(parsed.options.insert(name.into(), args.next().unwrap_or_default())),
                None => parsed.words.push(arg),
            }
        }
        parsed
    }

    fn word(&self, at: usize) -> Result<&str, Failure> {
        self.words.get(at).map(String::as_str).ok_or_else(|| format!("argument {at} is missing").into())
    }

    fn topics(&self) -> Result<Vec<String>, Failure> {
        Ok(self.word(1)?.split(',').map(str::to_owned).collect())
    }

    fn option<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.options.get(name).map_or(default, String::as_str)
    }

    fn flag(&self, name: &str) -> bool {
        self.options.contains_key(name)
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(self.option("timeout", "60").parse().unwrap_or(60))
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.option("bootstrap", "127.0.0.1:9092"));
        config.set("broker.address.family", "v4");
        config.set("reconnect.backoff.max.ms", "500");
        config
    }
}

struct Pace {
    start: Instant,
    per_second: Option<f64>,
}

impl Pace {
    fn new(args: &Args) -> Result<Pace, Failure> {
        let per_second = args.options.get("rate").map(|rate| rate.parse()).transpose()?;
        Ok(Pace { start: Instant::now(), per_second })
    }

    fn due(&self, sent: usize) -> bool {
        self.per_second.is_none_or(|rate| self.start.elapsed().as_secs_f64() * rate >= sent as f64)
    }
}

fn bytes(value: &Value) -> Result<Option<Vec<u8>>, Failure> {
    Ok(value.as_str().map(|text| B64.decode(text)).transpose()?)
}

fn print(line: &Value) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{line}").is_err() {
        std::process::exit(2);
    }
}

/// The admin client answers with a future that its own thread wakes.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
