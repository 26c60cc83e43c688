//! `coreline produce`: records from standard input, a file or the command line into a topic.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use coreline_wire::record::Compression;
use serde::Serialize;

use super::failure::Failure;
use super::moment::parse_time;
use super::out::Progress;
use super::remote::{Remote, Session};
use super::template::{self, Piece};
use super::template_read::{self, Described, Reader};
use super::{key_value, now_ms};
use crate::client::partitioner::{Partitioner, Spread};
use crate::client::produce::{NewRecord, Placed, Producer, Producing};

/// Records that are read ahead of sending.
const READ_AHEAD: usize = 4096;
/// How long a record waits for others to share its batch.
const LINGER: Duration = Duration::from_millis(5);
/// Records collected before they are sent, whatever their size.
const RECORDS_PER_FLUSH: usize = 50_000;

/// Send records to a topic.
///
/// Without -v or a file, records are read from standard input, one per line; -f describes other input. Ctrl-C sends what was read and ends.
#[derive(Args, Debug)]
#[command(after_long_help = template::HELP)]
pub struct ProduceArgs {
    #[command(flatten)]
    remote: Remote,
    /// The topic. Left out when the format has %t.
    #[arg(value_name = "TOPIC")]
    topic: Option<String>,
    /// A value to send; may be given many times.
    #[arg(short = 'v', long = "value", value_name = "VALUE", conflicts_with_all = ["file", "format", "key_delimiter", "tombstone"])]
    values: Vec<String>,
    /// The key of every record that brings none.
    #[arg(short = 'k', long, value_name = "KEY")]
    key: Option<String>,
    /// A header of every record; may be given many times.
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE")]
    headers: Vec<String>,
    /// Send a record without value: it deletes its key in a compacted topic.
    #[arg(long, requires = "key", conflicts_with_all = ["file", "format", "key_delimiter"])]
    tombstone: bool,
    /// How records are read: %k key, %v value, %h headers, %t topic, %p partition, %T or %d timestamp, %K %V lengths [default: '%v\n'].
    #[arg(short = 'f', long, value_name = "FORMAT")]
    format: Option<String>,
    /// Each line is a key and a value with this between them; the same as -f '%kDELIMITER%v\n'.
    #[arg(short = 'K', long, value_name = "DELIMITER", conflicts_with = "format")]
    key_delimiter: Option<String>,
    /// Text that stands for a null key, value or header value.
    #[arg(long, value_name = "TEXT")]
    null: Option<String>,
    /// Read records from here instead of standard input; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The partition of every record.
    #[arg(short = 'p', long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// How records without a partition are spread.
    #[arg(long, value_name = "HOW", value_enum, default_value = "hash")]
    partitioner: Spread,
    /// The timestamp of every record: a date and time, or milliseconds since 1970 [default: now].
    #[arg(long, value_name = "TIME")]
    timestamp: Option<String>,
    /// Compression.
    #[arg(short = 'z', long, value_name = "CODEC", value_enum, default_value = "none")]
    compression: Codec,
    /// Level of the compression, as the codec counts.
    #[arg(long, value_name = "N", allow_hyphen_values = true, requires = "compression")]
    compression_level: Option<i32>,
    /// Who has to have a record before it counts as sent.
    #[arg(long, value_name = "WHO", value_enum, default_value = "all")]
    acks: Acks,
    /// Send without producer id: a retry may write a record twice.
    #[arg(long)]
    no_idempotence: bool,
    /// Size at which a batch is sent, in bytes before compression.
    #[arg(long, value_name = "BYTES", default_value = "262144", value_parser = clap::value_parser!(u32).range(1..=100 << 20))]
    batch_bytes: u32,
    /// Let the broker create the topic if it is configured to.
    #[arg(long)]
    create: bool,
    /// Print where each batch went.
    #[arg(long)]
    verbose: bool,
}

/// Compression codecs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Codec {
    /// Refuses a level that the codec does not have.
    fn check_level(self, level: Option<i32>) -> Result<(), Failure> {
        let levels = match self {
            Codec::Gzip => 0..=9,
            Codec::Zstd => -7..=22,
            Codec::None | Codec::Snappy | Codec::Lz4 if level.is_some() => {
                return Err(Failure::Usage("--compression-level is for gzip (0 to 9) and zstd (-7 to 22)".into()));
            }
            _ => return Ok(()),
        };
        match level {
            Some(level) if !levels.contains(&level) => {
                let (low, high) = levels.into_inner();
                Err(Failure::Usage(format!("there is no compression level {level}; it is {low} to {high}")))
            }
            _ => Ok(()),
        }
    }

    fn of(self) -> Compression {
        match self {
            Codec::None => Compression::None,
            Codec::Gzip => Compression::Gzip,
            Codec::Snappy => Compression::Snappy,
            Codec::Lz4 => Compression::Lz4,
            Codec::Zstd => Compression::Zstd,
        }
    }
}

/// Acknowledgements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Acks {
    /// All in-sync replicas.
    #[value(alias = "-1")]
    All,
    /// The leader.
    #[value(name = "1", alias = "leader")]
    One,
    /// Nobody.
    #[value(name = "0", alias = "none")]
    Zero,
}

impl Acks {
    fn code(self) -> i16 {
        match self {
            Acks::All => -1,
            Acks::One => 1,
            Acks::Zero => 0,
        }
    }
}

/// What was sent.
#[derive(Debug, Default, Serialize)]
struct Sent {
    records: u64,
    batches: u64,
    /// Where the last batch of this run went, by partition.
    placed: Vec<PlacedRow>,
}

#[derive(Clone, Debug, Serialize)]
struct PlacedRow {
    topic: String,
    partition: i32,
    /// Offset of the batch's first record; -1 without acknowledgement.
    offset: i64,
    records: i32,
}

enum Event {
    Record(Box<Described>),
    End(Result<(), String>),
}

/// Runs the command.
pub(crate) fn run(args: &ProduceArgs) -> Result<(), Failure> {
    let pieces = pieces(args).map_err(Failure::Usage)?;
    let names_topic = pieces.iter().any(|p| matches!(p, Piece::Field(template::Field::Topic, _)));
    if args.topic.is_none() && !names_topic {
        return Err(Failure::Usage("which topic? Write `coreline produce TOPIC`, or a format with %t".into()));
    }
    args.compression.check_level(args.compression_level)?;
    let base = template_of(args)?;
    let input: Option<Box<dyn Read + Send>> = if args.tombstone || !args.values.is_empty() {
        None
    } else {
        match args.file.as_ref().filter(|f| f.as_os_str() != "-") {
            None => Some(Box::new(std::io::stdin())),
            Some(path) => {
                let file = std::fs::File::open(path).map_err(|e| Failure::Usage(format!("{}: {e}", path.display())))?;
                Some(Box::new(file))
            }
        }
    };
    let mut session = args.remote.open()?;
    let mut sender = Sender::new(&mut session, args)?;
    match input {
        None => {
            let value = |v: &String| Described {
                record: NewRecord { value: Some(v.clone().into_bytes()), ..Default::default() },
                ..Default::default()
            };
            let all: Vec<Described> = if args.tombstone { vec![Described::default()] } else { args.values.iter().map(value).collect() };
            for one in all {
                sender.add(&mut session, args, &base, one)?;
            }
            sender.flush(&mut session)?;
        }
        Some(input) => {
            session.catch_interrupts()?;
            let (to, from) = sync_channel(READ_AHEAD);
            let null = args.null.as_ref().map(|n| n.clone().into_bytes());
            std::thread::Builder::new()
                .name("input".into())
                .spawn(move || read(Reader::new(input, pieces, null), &to))
                .map_err(|e| Failure::Failed(format!("starting a thread: {e}")))?;
            let result = pump(&mut session, args, &base, &mut sender, &from);
            // What was read before a mistake is sent all the same.
            sender.flush(&mut session)?;
            result?;
        }
    }
    finish(&mut session, args, sender)
}

fn finish(session: &mut Session, args: &ProduceArgs, sender: Sender) -> Result<(), Failure> {
    if session.out.json {
        session.out.value(&sender.sent)?;
    } else if !args.verbose && session.out.terminal {
        let records = super::topic_show::count(usize::try_from(sender.sent.records).unwrap_or(usize::MAX), "record");
        session.out.line(&format!("{records} sent"))?;
    }
    session.out.flush()
}

/// Reads records until the input ends or nobody wants them.
fn read(mut reader: Reader<Box<dyn Read + Send>>, to: &SyncSender<Event>) {
    loop {
        let event = match reader.next() {
            Ok(Some(described)) => Event::Record(Box::new(described)),
            Ok(None) => Event::End(Ok(())),
            Err(why) => Event::End(Err(why)),
        };
        let last = matches!(event, Event::End(_));
        if to.send(event).is_err() || last {
            return;
        }
    }
}

/// Takes records as they come and sends them in batches.
fn pump(session: &mut Session, args: &ProduceArgs, base: &Base, sender: &mut Sender, from: &Receiver<Event>) -> Result<(), Failure> {
    // Whoever types sees what was typed.
    let mut progress = Progress::new(args.verbose || (args.file.is_none() && std::io::stdin().is_terminal()));
    let started = Instant::now();
    loop {
        // Short while something waits to be sent; else only so long that Ctrl-C is noticed.
        let wait = if sender.collected > 0 { LINGER } else { Duration::from_millis(100) };
        match from.recv_timeout(wait) {
            Ok(Event::Record(described)) => sender.add(session, args, base, *described)?,
            Ok(Event::End(result)) => return result.map_err(Failure::Failed),
            Err(RecvTimeoutError::Timeout) => sender.flush(session)?,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        if session.stop.is_raised() {
            return Ok(());
        }
        progress.show(|| {
            let seconds = started.elapsed().as_secs_f64();
            format!("{} records, {:.0}/s", sender.sent.records, sender.sent.records as f64 / seconds)
        });
    }
}

/// What every record gets that does not bring it.
struct Base {
    key: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
    timestamp: Option<i64>,
}

fn template_of(args: &ProduceArgs) -> Result<Base, Failure> {
    let headers =
        args.headers.iter().map(|h| key_value(h).map(|(name, value)| (name, Some(value.into_bytes())))).collect::<Result<_, _>>()?;
    let timestamp = args.timestamp.as_deref().map(|t| parse_time(t, now_ms())).transpose().map_err(Failure::Usage)?;
    Ok(Base { key: args.key.clone().map(String::into_bytes), headers, timestamp })
}

fn pieces(args: &ProduceArgs) -> Result<Vec<Piece>, String> {
    let pieces = match (&args.format, &args.key_delimiter) {
        (Some(format), _) => template::parse(format)?,
        (None, Some(delimiter)) => {
            let delimiter = template::unescape(delimiter)?;
            if delimiter.is_empty() {
                return Err("the delimiter is empty".into());
            }
            let plain = |field| Piece::Field(field, template::Coding::Plain);
            vec![plain(template::Field::Key), Piece::Literal(delimiter), plain(template::Field::Value), Piece::Literal(b"\n".to_vec())]
        }
        (None, None) => template::parse("%v\\n")?,
    };
    template_read::check(&pieces)?;
    Ok(pieces)
}

/// Collects records and sends them.
struct Sender {
    producer: Producer,
    partitioner: Partitioner,
    /// Partitions of each topic that was looked up.
    counts: std::collections::BTreeMap<String, u32>,
    collected: usize,
    verbose: bool,
    sent: Sent,
}

impl Sender {
    fn new(session: &mut Session, args: &ProduceArgs) -> Result<Sender, Failure> {
        let producing = Producing {
            acks: args.acks.code(),
            codec: args.compression.of(),
            level: args.compression_level,
            // Only a full acknowledgement makes it worth anything.
            idempotent: !args.no_idempotence && args.acks == Acks::All,
            batch_bytes: args.batch_bytes as usize,
        };
        let mut counts = std::collections::BTreeMap::new();
        if let Some(topic) = &args.topic {
            counts.insert(topic.clone(), lookup(session, topic, args)?);
        }
        let producer = Producer::new(&mut session.cluster, producing)?;
        let seed = now_ms() as u64 ^ u64::from(std::process::id()) << 32;
        let partitioner = Partitioner::new(args.partitioner, seed);
        Ok(Sender { producer, partitioner, counts, collected: 0, verbose: args.verbose, sent: Sent::default() })
    }

    fn add(&mut self, session: &mut Session, args: &ProduceArgs, base: &Base, described: Described) -> Result<(), Failure> {
        let Described { mut record, topic, partition, timestamp } = described;
        record.key = record.key.or_else(|| base.key.clone());
        record.headers.extend(base.headers.iter().cloned());
        record.timestamp = timestamp.or(base.timestamp).unwrap_or_else(now_ms);
        let topic = topic.or_else(|| args.topic.clone()).unwrap_or_default();
        let count = match self.counts.get(&topic) {
            Some(count) => *count,
            None => {
                let count = lookup(session, &topic, args)?;
                *self.counts.entry(topic.clone()).or_insert(count)
            }
        };
        let index = match partition.or(args.partition) {
            None => self.partitioner.choose(record.key.as_deref(), count),
            Some(index) if index >= 0 && (index as u32) < count => index,
            Some(index) => {
                return Err(Failure::Failed(format!("topic '{topic}' has no partition {index}; it has 0 to {}", i64::from(count) - 1)));
            }
        };
        self.collected += 1;
        let full = self.producer.push(&(topic, index), &record);
        if full || self.collected >= RECORDS_PER_FLUSH { self.flush(session) } else { Ok(()) }
    }

    fn flush(&mut self, session: &mut Session) -> Result<(), Failure> {
        if self.collected == 0 {
            return Ok(());
        }
        let placed = self.producer.flush(&mut session.cluster)?;
        self.partitioner.batch_sent();
        self.collected = 0;
        for Placed { partition: (topic, partition), base_offset, records } in placed {
            self.sent.records += u64::from(records.unsigned_abs());
            self.sent.batches += 1;
            let row = PlacedRow { topic, partition, offset: base_offset, records };
            if self.verbose && !session.out.json {
                session
                    .out
                    .line(&format!("topic {} partition {} offset {}: {} records", row.topic, row.partition, row.offset, row.records))?;
                session.out.flush()?;
            }
            self.sent.placed.retain(|p| (&p.topic, p.partition) != (&row.topic, row.partition));
            self.sent.placed.push(row);
        }
        Ok(())
    }
}

/// Number of partitions of a topic.
fn lookup(session: &mut Session, topic: &str, args: &ProduceArgs) -> Result<u32, Failure> {
    let topics = session.cluster.topics(&[topic.to_string()], args.create)?;
    let count = topics.first().map_or(0, |t| t.partitions.len());
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    match args.partition {
        Some(index) if index as u32 >= count => {
            Err(Failure::Failed(format!("topic '{topic}' has no partition {index}; it has 0 to {}", i64::from(count) - 1)))
        }
        _ => Ok(count),
    }
}
