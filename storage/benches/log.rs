//! Benchmarks of the log on a real disk, each beside raw writes or reads of the same disk, in turns with them, so that what else the machine does meets both.
//!
//! `CORELINE_BENCH_DIR=/where/the/disk/is cargo bench -p coreline-storage --bench log` (default: below `target/`), about two minutes. At the end medians and
//! their ratios to the raw disk are printed, which is what is demanded: durable append <= 1.15 x a raw write and flush, streaming >= 0.9 x raw or bound by
//! the CPU, whose share is printed too.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};

use coreline_storage::data_dir::{DataDir, JournalId};
use coreline_storage::io::{Disk, DiskBuffer, DiskFile, HostDisk, OpenMode};
use coreline_storage::journal::SyncMode;
use coreline_storage::{AppendContext, AppendError, AppendOrigin, Log, LogConfig, Store, StoreConfig, recover};
use coreline_wire::record::{BatchBuilder, Origin, RawBatch, ValidBatch};
use coreline_wire::{TopicId, TopicPartition};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_lite::StreamExt;
use futures_lite::future::{or, zip};

const MODES: [(&str, SyncMode); 2] = [("dsync", SyncMode::Dsync), ("flush", SyncMode::Flush)];
/// Partitions of a group commit.
const MANY: usize = 64;
/// Bytes moved by one round of a streaming benchmark.
const STREAM_BYTES: usize = 64 << 20;
/// Raw writes and reads in flight while streaming.
const STREAM_DEPTH: usize = 4;
const STREAM_WRITE_BYTES: usize = 1 << 20;
const RAW_FILE_BYTES: u64 = 32 << 20;

/// Nanoseconds of single operations, by name, for medians over the whole run.
static SINGLE: Mutex<BTreeMap<String, Vec<u64>>> = Mutex::new(BTreeMap::new());
/// CPU time of the shard while it streamed, and the time that took, in seconds.
static STREAMING_CPU: Mutex<(f64, f64)> = Mutex::new((0.0, 0.0));

fn note(name: &str, took: Duration) -> Duration {
    SINGLE.lock().unwrap().entry(name.to_string()).or_default().push(took.as_nanos() as u64);
    took
}

/// A quantile in microseconds, and how many there were.
fn quantile(name: &str, part: f64) -> Option<(f64, usize)> {
    let mut all = SINGLE.lock().unwrap().get(name)?.clone();
    all.sort_unstable();
    all.get((all.len() as f64 * part) as usize).map(|ns| (*ns as f64 / 1e3, all.len()))
}

fn place() -> tempfile::TempDir {
    let dir = std::env::var_os("CORELINE_BENCH_DIR").map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    tempfile::Builder::new().prefix("bench-").tempdir_in(dir).unwrap()
}

/// CPU time of this thread, seconds; the kernel counts it in hundredths.
fn thread_cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / 100.0
}

fn batch(bytes: usize) -> ValidBatch {
    let mut builder = BatchBuilder::new();
    builder.push(1_000_000, None, Some(&vec![7; bytes]), &[]);
    RawBatch::new(builder.build().unwrap()).validate(Origin::Client { zstd_allowed: true }).unwrap()
}

fn tp(partition: usize) -> TopicPartition {
    TopicPartition { topic: TopicId([3; 16]), partition: partition as i32 }
}

const CONTEXT: AppendContext = AppendContext { now_ms: 1_000_000, leader_epoch: 0, origin: AppendOrigin::Client };

/// What a shard is asked to do some number of times.
#[derive(Clone, Copy)]
enum Op {
    Durable,
    GroupCommit,
    Stream,
    ReadTail(u32),
}

/// A store on an executor of its own, pinned as a shard is, for as long as this lives. Answers with the time that the rounds took, raw ones left out.
struct Shard {
    ask: Sender<(Op, u64)>,
    answer: Receiver<Duration>,
}

impl Shard {
    fn start(name: &'static str, mode: SyncMode) -> Shard {
        let (ask, asked) = channel::<(Op, u64)>();
        let (tell, answer) = channel();
        let placement = glommio::Placement::Fixed(0);
        let body = move || async move {
            let dir = place();
            let path = dir.path().to_path_buf();
            with_store(&path.clone(), mode, |disk, store, logs| async move {
                let raw = raw_file(&disk, &path.join("raw"), mode).await;
                let bench = Bench { name, mode, disk, path, store, logs, raw, raw_at: Cell::new(0) };
                loop {
                    match asked.try_recv() {
                        Ok((op, rounds)) => tell.send(bench.run(op, rounds).await).unwrap(),
                        Err(TryRecvError::Empty) => bench.disk.sleep(Duration::from_millis(1)).await,
                        Err(TryRecvError::Disconnected) => return,
                    }
                }
            })
            .await;
        };
        glommio::LocalExecutorBuilder::new(placement).spawn(body).unwrap();
        Shard { ask, answer }
    }

    fn run(&self, op: Op, rounds: u64) -> Duration {
        self.ask.send((op, rounds)).unwrap();
        self.answer.recv().unwrap()
    }
}

/// An open store with logs, its background running beside `body`.
async fn with_store<F, T>(dir: &Path, mode: SyncMode, body: impl FnOnce(HostDisk, Store<HostDisk>, Vec<Log<HostDisk>>) -> F) -> T
where
    F: Future<Output = T>,
{
    let disk = HostDisk::open(dir).await.unwrap();
    let dir = DataDir::new(dir);
    recover(&disk, &dir, &|_| true, 0).await.unwrap();
    let config = StoreConfig { journal_sync_mode: mode, ..StoreConfig::default() };
    let store = Store::open(disk.clone(), &dir, JournalId(0xbe), config).await.unwrap();
    let mut logs = Vec::new();
    for partition in 0..MANY {
        logs.push(store.open_log(tp(partition), LogConfig::default()).await.unwrap());
    }
    let background = async {
        let (journal, flusher) = zip(store.run_journal(), store.run_flusher()).await;
        panic!("the background ended: {journal:?} {flusher:?}");
    };
    or(body(disk, store.clone(), logs), background).await
}

/// A file of zeros, and its handle for durable writes in this mode.
async fn raw_file(disk: &HostDisk, path: &Path, mode: SyncMode) -> <HostDisk as Disk>::File {
    let plain = disk.open(path, OpenMode::CreateNew).await.unwrap();
    plain.allocate(0, RAW_FILE_BYTES).await.unwrap();
    let zeros = Rc::new(disk.buffer(1 << 20));
    for at in (0..RAW_FILE_BYTES).step_by(1 << 20) {
        plain.write_at(zeros.clone(), at).await.unwrap();
    }
    plain.sync().await.unwrap();
    if mode == SyncMode::Dsync { disk.open(path, OpenMode::ReadWriteDsync).await.unwrap() } else { plain }
}

async fn append(store: &Store<HostDisk>, log: &Log<HostDisk>, batch: &ValidBatch) -> i64 {
    loop {
        match log.append(batch, CONTEXT) {
            Ok(appended) => return appended.last_offset + 1,
            Err(AppendError::Backpressure) => store.wait_space(batch.size_bytes()).await.unwrap(),
            Err(error) => panic!("{error}"),
        }
    }
}

struct Bench {
    name: &'static str,
    mode: SyncMode,
    disk: HostDisk,
    path: PathBuf,
    store: Store<HostDisk>,
    logs: Vec<Log<HostDisk>>,
    raw: <HostDisk as Disk>::File,
    raw_at: Cell<u64>,
}

impl Bench {
    async fn run(&self, op: Op, rounds: u64) -> Duration {
        let mut total = Duration::ZERO;
        // What is asked for first waits for the journal's file.
        self.durable(&self.logs[..1], None).await;
        for round in 0..rounds {
            total += match op {
                Op::Durable => {
                    self.raw_write("append").await;
                    self.durable(&self.logs[..1], Some("append")).await
                }
                Op::GroupCommit => {
                    self.raw_write("group commit").await;
                    self.durable(&self.logs, Some("group commit")).await
                }
                Op::Stream => {
                    self.raw_stream().await;
                    self.stream().await
                }
                Op::ReadTail(bytes) => self.read_tail(bytes, round).await,
            };
        }
        total
    }

    /// One block, written and flushed as the journal does, in turns with `beside`.
    async fn raw_write(&self, beside: &str) {
        let at = self.raw_at.get();
        self.raw_at.set((at + 4096) % RAW_FILE_BYTES);
        let mut buffer = self.disk.buffer(4096);
        buffer.bytes_mut().fill((at >> 12) as u8);
        let began = Instant::now();
        self.raw.write_at(Rc::new(buffer), at).await.unwrap();
        if self.mode == SyncMode::Flush {
            self.raw.sync().await.unwrap();
        }
        note(&format!("raw {beside} {}", self.name), began.elapsed());
    }

    /// A small batch to each log, all durable.
    async fn durable(&self, logs: &[Log<HostDisk>], name: Option<&str>) -> Duration {
        let batch = batch(1024);
        let began = Instant::now();
        let mut ends = Vec::with_capacity(logs.len());
        for log in logs {
            ends.push(append(&self.store, log, &batch).await);
        }
        for (log, end) in logs.iter().zip(ends) {
            log.wait_durable(end).await.unwrap();
        }
        let took = began.elapsed();
        match name {
            Some(name) => note(&format!("{name} {}", self.name), took),
            None => took,
        }
    }

    /// Large direct writes one behind the other to a new file whose space is reserved, as a segment's is, and a flush.
    async fn raw_stream(&self) {
        let path = self.path.join("raw-stream");
        let file = self.disk.open(&path, OpenMode::CreateNew).await.unwrap();
        let buffer = Rc::new(self.disk.buffer(STREAM_WRITE_BYTES));
        let began = Instant::now();
        file.allocate(0, STREAM_BYTES as u64).await.unwrap();
        let writes = (0..STREAM_BYTES as u64).step_by(STREAM_WRITE_BYTES).map(|at| file.write_at(buffer.clone(), at));
        let mut writes = std::pin::pin!(futures_util::StreamExt::buffer_unordered(futures_lite::stream::iter(writes), STREAM_DEPTH));
        while let Some(written) = writes.next().await {
            written.unwrap();
        }
        file.sync().await.unwrap();
        note("raw streaming", began.elapsed());
        self.disk.remove_file(&path).await.unwrap();
    }

    async fn stream(&self) -> Duration {
        let batch = batch(256 << 10);
        let (cpu, began) = (thread_cpu(), Instant::now());
        let mut end = 0;
        for _ in 0..STREAM_BYTES / batch.size_bytes() {
            end = append(&self.store, &self.logs[0], &batch).await;
        }
        self.logs[0].wait_durable(end).await.unwrap();
        let took = note("append streaming", began.elapsed());
        let mut sum = STREAMING_CPU.lock().unwrap();
        *sum = (sum.0 + thread_cpu() - cpu, sum.1 + took.as_secs_f64());
        took
    }

    async fn read_tail(&self, max_bytes: u32, round: u64) -> Duration {
        let log = &self.logs[1];
        if log.log_end_offset() < 4096 {
            let batch = batch(1024);
            let mut end = 0;
            for _ in 0..4096 {
                end = append(&self.store, log, &batch).await;
            }
            log.wait_durable(end).await.unwrap();
        }
        let end = log.log_end_offset();
        let began = Instant::now();
        let plan = log.read_cached((round * 97) as i64 % end, max_bytes, end, true);
        let took = began.elapsed();
        assert!(plan.expect("in memory").unwrap().bytes > 0);
        took
    }
}

fn durable(c: &mut Criterion) {
    let mut group = c.benchmark_group("durable");
    group.sample_size(20).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(4));
    for (name, mode) in MODES {
        let shard = Shard::start(name, mode);
        group.bench_function(format!("append {name}"), |b| b.iter_custom(|rounds| shard.run(Op::Durable, rounds)));
        group.bench_function(format!("group commit of {MANY} partitions {name}"), |b| {
            b.iter_custom(|rounds| shard.run(Op::GroupCommit, rounds));
        });
    }
    group.finish();
}

fn streaming(c: &mut Criterion) {
    let mut group = c.benchmark_group("streaming");
    group.sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(8));
    group.throughput(Throughput::Bytes(STREAM_BYTES as u64));
    let shard = Shard::start("streaming", SyncMode::Probe);
    group.bench_function("append", |b| b.iter_custom(|rounds| shard.run(Op::Stream, rounds)));
    group.finish();
}

fn read_plan(c: &mut Criterion) {
    let mut group = c.benchmark_group("read plan");
    group.sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(2));
    let shard = Shard::start("reading", SyncMode::Probe);
    for max_bytes in [1024u32, 1 << 20] {
        group.bench_function(format!("tail, up to {max_bytes} bytes"), |b| {
            b.iter_custom(|rounds| shard.run(Op::ReadTail(max_bytes), rounds));
        });
    }
    group.finish();
}

/// A store with 64 MiB in its journal ends as a killed process does; then its directory is read raw and recovered.
async fn recovered(dir: PathBuf) -> Duration {
    with_store(&dir, SyncMode::Probe, |_, store, logs| async move {
        let batch = batch(64 << 10);
        for round in 0..STREAM_BYTES / batch.size_bytes() {
            append(&store, &logs[round % 16], &batch).await;
        }
        for log in &logs {
            log.wait_durable(log.log_end_offset()).await.unwrap();
        }
    })
    .await;
    let disk = HostDisk::open(&dir).await.unwrap();
    let journal = DataDir::new(&dir).journal(JournalId(0xbe));
    let largest = disk.list_dir(&journal).await.unwrap().into_iter().max_by_key(|f| f.size_bytes).unwrap();
    let file = disk.open(&journal.join(largest.name), OpenMode::Read).await.unwrap();
    let began = Instant::now();
    let reads = (0..largest.size_bytes.min(STREAM_BYTES as u64)).step_by(STREAM_WRITE_BYTES).map(|at| file.read_at(at, STREAM_WRITE_BYTES));
    let mut reads = std::pin::pin!(futures_util::StreamExt::buffer_unordered(futures_lite::stream::iter(reads), STREAM_DEPTH));
    while let Some(bytes) = reads.next().await {
        bytes.unwrap();
    }
    note("raw read", began.elapsed());
    let began = Instant::now();
    recover(&disk, &DataDir::new(&dir), &|_| true, 0).await.unwrap();
    note("recovery", began.elapsed())
}

fn recovery(c: &mut Criterion) {
    let mut group = c.benchmark_group("recovery");
    group.sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(5));
    group.throughput(Throughput::Bytes(STREAM_BYTES as u64));
    group.bench_function("64 MiB in the journal", |b| {
        b.iter_custom(|rounds| {
            let mut total = Duration::ZERO;
            for _ in 0..rounds {
                let dir = place();
                let path = dir.path().to_path_buf();
                let placement = glommio::Placement::Fixed(0);
                let shard = glommio::LocalExecutorBuilder::new(placement).spawn(move || async move { recovered(path).await }).unwrap();
                total += shard.join().unwrap();
            }
            total
        });
    });
    group.finish();
}

fn ratios(_: &mut Criterion) {
    println!("\nsingle operations, raw ones in turns with ours, and what is demanded of the ratio of their medians");
    for (name, _) in MODES {
        for (what, demanded) in [("append", "at most 1.15"), ("group commit", "of 64 partitions")] {
            let of = |name: &str| Some((quantile(name, 0.5)?, quantile(name, 0.99)?));
            if let (Some((raw, raw99)), Some((ours, ours99))) = (of(&format!("raw {what} {name}")), of(&format!("{what} {name}"))) {
                println!(
                    "  {name}: raw write p50 {:.0} us p99 {:.0} us ({}); {what} p50 {:.0} us p99 {:.0} us ({}): {:.2} x ({demanded})",
                    raw.0,
                    raw99.0,
                    raw.1,
                    ours.0,
                    ours99.0,
                    ours.1,
                    ours.0 / raw.0
                );
            }
        }
    }
    let rate = |us: f64| STREAM_BYTES as f64 / us;
    if let (Some((raw, _)), Some((ours, rounds))) = (quantile("raw streaming", 0.5), quantile("append streaming", 0.5)) {
        let (cpu, took) = *STREAMING_CPU.lock().unwrap();
        println!(
            "  streaming ({rounds} rounds of 64 MiB): raw {:.0} MB/s, append {:.0} MB/s: {:.2} x (at least 0.9); the shard's thread used {:.0} % of a CPU",
            rate(raw),
            rate(ours),
            raw / ours,
            100.0 * cpu / took
        );
    }
    if let (Some((raw, _)), Some((ours, rounds))) = (quantile("raw read", 0.5), quantile("recovery", 0.5)) {
        println!(
            "  recovery of 64 MiB ({rounds}): {:.0} ms = {:.0} MB/s; reading the same bytes raw {:.0} ms: {:.2} x",
            ours / 1e3,
            rate(ours),
            raw / 1e3,
            ours / raw
        );
    }
}

criterion_group!(benches, durable, streaming, read_plan, recovery, ratios);
criterion_main!(benches);
