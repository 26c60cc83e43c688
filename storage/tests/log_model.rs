//! Random operations on logs against a model in memory, with clean and unclean ends in between.
//!
//! After every restart: what was acknowledged is there, what is there is a prefix of what was appended, byte for byte; a crash during recovery changes
//! nothing; retries of idempotent producers get their first offsets. Repeat one seed: `LOG_SEED=n cargo test -p coreline-storage --test log_model`.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use coreline_storage::config::DurabilityClass;
use coreline_storage::data_dir::{DataDir, JournalId};
use coreline_storage::io::sim::{CrashMode, Rng, SimDisk};
use coreline_storage::journal::SyncMode;
use coreline_storage::{
    AppendContext, AppendError, AppendOrigin, Log, LogConfig, ReadError, ReadSpan, RecoveryReport, Store, StoreConfig, recover,
};
use coreline_wire::record::batch::{patch_base_offset, patch_leader_epoch};
use coreline_wire::record::{BatchBuilder, Compression, Origin, RawBatch, ValidBatch};
use coreline_wire::{TopicId, TopicPartition};
use futures_lite::future::{block_on, or, pending, yield_now};

const ROOT: &str = "/data";
const PARTITIONS: i32 = 5;

fn tp(partition: i32) -> TopicPartition {
    TopicPartition { topic: TopicId([9; 16]), partition }
}

/// A batch as the model remembers it.
struct ModelBatch {
    base_offset: i64,
    next_offset: i64,
    bytes: Vec<u8>,
    timestamps: Vec<i64>,
    /// Producer id and the sequence of the last record.
    producer: Option<(i64, i32)>,
    raw: ValidBatch,
}

/// One partition as it should be.
#[derive(Clone, Default)]
struct ModelLog {
    batches: Vec<Rc<ModelBatch>>,
    log_start: i64,
    /// Largest log start that was asked for, answered or not.
    log_start_asked: i64,
    acked_end: i64,
    next_sequence: BTreeMap<i64, i32>,
}

impl ModelLog {
    fn end(&self) -> i64 {
        self.batches.last().map_or(0, |b| b.next_offset)
    }

    /// Bytes of whole batches from the one that contains `offset` to `end`.
    fn bytes_between(&self, offset: i64, end: i64) -> Vec<u8> {
        let mut out = Vec::new();
        for batch in self.batches.iter().filter(|b| b.next_offset > offset && b.next_offset <= end) {
            out.extend_from_slice(&batch.bytes);
        }
        out
    }
}

struct World {
    rng: RefCell<Rng>,
    models: RefCell<BTreeMap<i32, ModelLog>>,
    epoch: i32,
    now_ms: RefCell<i64>,
    /// Batches are large for a while.
    large: Cell<bool>,
    log_config: LogConfig,
    store_config: StoreConfig,
}

impl World {
    fn below(&self, n: u64) -> u64 {
        self.rng.borrow_mut().below(n)
    }

    fn model(&self, p: i32) -> ModelLog {
        self.models.borrow()[&p].clone()
    }

    fn new(seed: u64) -> World {
        let mut rng = Rng::new(seed);
        let log_config = LogConfig {
            segment_bytes: [16 << 10, 64 << 10, 1 << 20][rng.below(3) as usize],
            index_interval_bytes: [0, 1000, 4096][rng.below(3) as usize],
            max_message_bytes: 1 << 20,
            segment_ms: if rng.below(3) == 0 { 50 } else { i64::MAX },
            durability: [DurabilityClass::Durable, DurabilityClass::Replicated, DurabilityClass::Memory][rng.below(3) as usize],
            ..LogConfig::default()
        };
        let store_config = StoreConfig {
            journal_file_bytes: 1 << 20,
            journal_bytes_max: 3 << 20,
            journal_sync_mode: if rng.below(2) == 0 { SyncMode::Dsync } else { SyncMode::Flush },
            tail_budget_bytes: [1 << 20, 4 << 20][rng.below(2) as usize],
            tail_chunk_bytes_max: [4 << 10, 32 << 10][rng.below(2) as usize],
            flush_chunk_bytes: [4 << 10, 64 << 10][rng.below(2) as usize],
            flush_interval: std::time::Duration::from_millis(1 + rng.below(50)),
            open_files_max: 8,
            copied_read_bytes_max: 8 << 10,
            ..StoreConfig::default()
        };
        World {
            rng: RefCell::new(rng),
            models: RefCell::new((0..PARTITIONS).map(|p| (p, ModelLog::default())).collect()),
            epoch: 0,
            now_ms: RefCell::new(1_000_000),
            large: Cell::new(false),
            log_config,
            store_config,
        }
    }

    fn context(&self) -> AppendContext {
        AppendContext { now_ms: *self.now_ms.borrow(), leader_epoch: self.epoch, origin: AppendOrigin::Client }
    }
}

/// Runs `body` beside the background tasks of the stores.
async fn beside<T>(stores: &[Store<SimDisk>], body: impl Future<Output = T>) -> T {
    let background = async {
        let tasks = stores.iter().map(|s| async {
            let (journal, flusher) = futures_lite::future::zip(s.run_journal(), s.run_flusher()).await;
            journal.expect("the journal works on an honest disk");
            flusher.expect("the flusher works on an honest disk");
        });
        futures_util::future::join_all(tasks).await;
        pending::<T>().await
    };
    or(body, background).await
}

struct Life {
    stores: Vec<Store<SimDisk>>,
    logs: BTreeMap<i32, Log<SimDisk>>,
}

async fn recover_all(disk: &SimDisk) -> RecoveryReport {
    recover(disk, &DataDir::new(ROOT), &|_| true, 1_000_000).await.expect("recovery")
}

async fn open(world: &World, disk: &SimDisk, report: &RecoveryReport) -> Life {
    let dir = DataDir::new(ROOT);
    let count = 1 + world.below(3) as usize;
    let mut stores = Vec::new();
    for i in 0..count {
        // Journals of the last life are used again where there are enough.
        let id = report.journals.get(i).copied().unwrap_or(JournalId(0xabc0 + 64 * world.epoch as u64 + i as u64));
        stores.push(Store::open(disk.clone(), &dir, id, world.store_config.clone()).await.expect("open"));
    }
    stores.iter().for_each(|store| store.know_segments(Some(Arc::new(report.segments.clone()))));
    let mut logs = BTreeMap::new();
    for p in 0..PARTITIONS {
        let store = &stores[world.below(count as u64) as usize];
        // Half of them as the broker does at its start: the first append or read of the end loads what is left.
        let config = world.log_config.clone();
        let lazily = world.below(2) == 0;
        let opened = if lazily { store.open_log_unloaded(tp(p), config).await } else { store.open_log(tp(p), config).await };
        logs.insert(p, opened.expect("open log"));
    }
    stores.iter().for_each(|store| store.know_segments(None));
    Life { stores, logs }
}

/// After a restart the log is a prefix of the model that holds everything acknowledged; the model forgets the rest.
async fn check_recovered(world: &World, life: &Life, clean: bool) {
    for (&p, log) in &life.logs {
        let mut model = world.model(p);
        let end = log.log_end_offset();
        assert_eq!(end, log.durable_end_offset());
        assert!(end >= model.acked_end, "partition {p}: acknowledged up to {}, recovered up to {end}", model.acked_end);
        if clean {
            assert_eq!(end, model.end(), "partition {p}: a clean end loses nothing");
        }
        let cut = model.batches.iter().position(|b| b.next_offset > end).unwrap_or(model.batches.len());
        model.batches.truncate(cut);
        assert_eq!(model.end(), end, "partition {p}: the recovered end is a batch boundary");
        let start = log.log_start_offset();
        assert!(start == model.log_start || (start > model.log_start && start <= model.log_start_asked), "log start {start}");
        model.log_start = start;
        model.log_start_asked = start;
        model.acked_end = end;
        for (&producer, next) in &mut model.next_sequence {
            *next = model
                .batches
                .iter()
                .rev()
                .find_map(|b| b.producer.filter(|(id, _)| *id == producer).map(|(_, last)| last + 1))
                .unwrap_or(0);
        }
        world.models.borrow_mut().insert(p, model.clone());
        read_all(log, &model).await;
        check_retries(world, log, &model).await;
    }
}

async fn read_all(log: &Log<SimDisk>, model: &ModelLog) {
    let mut offset = model.log_start;
    let mut found = Vec::new();
    while offset < model.end() {
        let plan = log.read(offset, 10_000, i64::MAX, true).await.expect("read");
        assert!(plan.next_offset > offset, "no progress at {offset}");
        found.extend(span_bytes(&plan.spans));
        offset = plan.next_offset;
    }
    assert!(found == model.bytes_between(model.log_start, model.end()), "the log's bytes are what was appended");
}

fn span_bytes(spans: &[ReadSpan]) -> Vec<u8> {
    let mut out = Vec::new();
    for span in spans {
        match span {
            ReadSpan::Memory(bytes) => out.extend_from_slice(bytes),
            ReadSpan::File { .. } => panic!("the simulated disk has no sendfile"),
        }
    }
    out
}

/// Retries of the last five batches of each producer are duplicates with their first offsets.
async fn check_retries(world: &World, log: &Log<SimDisk>, model: &ModelLog) {
    // Of a log without records no read has seen to it.
    log.load().await.expect("the end is there");
    for &producer in model.next_sequence.keys() {
        let of_producer = model.batches.iter().rev().filter(|b| b.producer.is_some_and(|(id, _)| id == producer));
        for batch in of_producer.take(5) {
            let appended = log.append(&batch.raw, world.context()).expect("a retry");
            assert!(appended.duplicate, "producer {producer} at offset {}: not found as a retry", batch.base_offset);
            assert_eq!((appended.base_offset, appended.last_offset + 1), (batch.base_offset, batch.next_offset));
        }
    }
}

fn build(world: &World, producer: Option<(i64, i32)>) -> (ValidBatch, Vec<i64>) {
    let mut builder = BatchBuilder::new();
    if let Some((id, sequence)) = producer {
        builder = builder.producer(id, 0, sequence);
    }
    if world.below(4) == 0 {
        builder = builder.compression([Compression::Lz4, Compression::Zstd, Compression::Gzip][world.below(3) as usize], None);
    }
    let records = 1 + world.below(5);
    let len = match world.below(12) {
        _ if world.large.get() => 15_000,
        0 => world.below(60_000),
        1..=3 => world.below(6000),
        _ => world.below(300),
    } / records;
    let mut timestamps = Vec::new();
    for i in 0..records {
        // Mostly rising, sometimes not.
        let step = world.below(5) as i64;
        *world.now_ms.borrow_mut() += step;
        let timestamp = *world.now_ms.borrow() - if world.below(6) == 0 { 20 } else { 0 };
        timestamps.push(timestamp);
        let fill = (world.below(256) ^ i) as u8;
        let value = vec![fill; len as usize];
        builder.push(timestamp, None, Some(&value), &[]);
    }
    let bytes = builder.build().expect("a batch");
    (RawBatch::new(bytes).validate(Origin::Client { zstd_allowed: true }).expect("valid"), timestamps)
}

async fn append(world: &World, life: &Life, p: i32) {
    let log = &life.logs[&p];
    let producer = (world.below(2) == 0).then(|| {
        let id = 100 + world.below(3) as i64;
        (id, world.models.borrow()[&p].next_sequence.get(&id).copied().unwrap_or(0))
    });
    let (batch, timestamps) = build(world, producer);
    if batch.size_bytes() > world.log_config.segment_bytes as usize {
        return;
    }
    let appended = loop {
        match log.append(&batch, world.context()) {
            Ok(appended) => break appended,
            Err(AppendError::Backpressure) => {
                let store = life.stores.iter().find(|s| s.log(tp(p)).is_some()).expect("open");
                store.wait_space(batch.size_bytes()).await.expect("space comes");
            }
            Err(AppendError::NotLoaded) => log.load().await.expect("the end is there"),
            Err(error) => panic!("{error}"),
        }
    };
    let mut models = world.models.borrow_mut();
    let model = models.get_mut(&p).expect("known");
    assert!(!appended.duplicate);
    assert_eq!(appended.base_offset, model.end());
    assert_eq!(appended.log_start_offset, model.log_start);
    let mut bytes = batch.bytes().to_vec();
    patch_base_offset(&mut bytes, appended.base_offset);
    patch_leader_epoch(&mut bytes, world.epoch);
    let producer = producer.map(|(id, first)| {
        let last = first + timestamps.len() as i32 - 1;
        model.next_sequence.insert(id, last + 1);
        (id, last)
    });
    let next_offset = appended.last_offset + 1;
    model.batches.push(Rc::new(ModelBatch { base_offset: appended.base_offset, next_offset, bytes, timestamps, producer, raw: batch }));
}

async fn read(world: &World, life: &Life, p: i32) {
    let log = &life.logs[&p];
    let model = world.model(p);
    let (start, end) = (model.log_start, model.end());
    let offset = start + world.below((end - start) as u64 + 3) as i64 - 1;
    let max_bytes = [1, 500, 5000, 100_000][world.below(4) as usize];
    let upper = if world.below(2) == 0 { end } else { start + world.below((end - start + 1) as u64) as i64 };
    let at_least_one = world.below(4) != 0;
    let result = log.read(offset, max_bytes, upper, at_least_one).await;
    if offset < start || offset > end {
        assert!(matches!(result, Err(ReadError::OffsetOutOfRange { .. })), "offset {offset} of {start}..{end}");
        return;
    }
    let plan = result.expect("a read in range");
    let bytes = span_bytes(&plan.spans);
    assert_eq!(bytes.len(), plan.bytes);
    assert!(bytes == model.bytes_between(offset, plan.next_offset), "read at {offset} of {start}..{end}");
    let first = model.batches.iter().find(|b| b.next_offset > offset);
    if bytes.is_empty() {
        assert_eq!(plan.next_offset, offset);
        let possible = first.is_some_and(|b| b.next_offset <= upper && at_least_one && offset < upper);
        assert!(!possible, "nothing read at {offset} although a batch was there");
    } else {
        assert!(plan.next_offset <= upper);
        let first_len = first.expect("there").bytes.len();
        assert!(bytes.len() <= max_bytes as usize || (at_least_one && bytes.len() == first_len), "{} of {max_bytes} bytes", bytes.len());
    }
}

async fn look_up_time(world: &World, life: &Life, p: i32) {
    let log = &life.logs[&p];
    let model = world.model(p);
    let timestamp = 1_000_000 + world.below((*world.now_ms.borrow() - 1_000_000) as u64 + 3) as i64;
    let records: Vec<(i64, i64)> = model
        .batches
        .iter()
        .flat_map(|b| b.timestamps.iter().enumerate().map(move |(i, t)| (b.base_offset + i as i64, *t)))
        .filter(|(offset, _)| *offset >= model.log_start)
        .collect();
    let expected = records.iter().find(|(_, t)| *t >= timestamp).copied();
    let found = log.offset_for_timestamp(timestamp, i64::MAX).await.expect("a lookup");
    assert_eq!(found.map(|f| (f.offset, f.timestamp_ms)), expected, "timestamp {timestamp}");
    let largest = records.iter().map(|(_, t)| *t).max();
    let expected = records.iter().find(|(_, t)| Some(*t) == largest).copied();
    let found = log.max_timestamp(i64::MAX).await.expect("a lookup");
    assert_eq!(found.map(|f| (f.offset, f.timestamp_ms)), expected, "max timestamp");
}

async fn delete_records(world: &World, life: &Life, p: i32) {
    let log = &life.logs[&p];
    let durable = log.durable_end_offset();
    let before = world.below(durable as u64 + 1) as i64;
    if let Some(model) = world.models.borrow_mut().get_mut(&p) {
        model.log_start_asked = model.log_start_asked.max(before);
    }
    let start = log.delete_records(before).await.expect("delete records");
    let mut models = world.models.borrow_mut();
    let model = models.get_mut(&p).expect("known");
    model.log_start = model.log_start.max(before);
    assert_eq!(start, model.log_start);
    assert_eq!(log.log_start_offset(), model.log_start);
}

async fn acknowledge(world: &World, life: &Life, p: i32) {
    let end = world.models.borrow()[&p].end();
    life.logs[&p].wait_durable(end).await.expect("durable");
    let mut models = world.models.borrow_mut();
    let model = models.get_mut(&p).expect("known");
    model.acked_end = model.acked_end.max(end);
}

async fn workload(world: &World, life: &Life, steps: u64) {
    for _ in 0..steps {
        let p = world.below(PARTITIONS as u64) as i32;
        match world.below(24) {
            0..=12 => append(world, life, p).await,
            13..=15 => acknowledge(world, life, p).await,
            16..=19 => read(world, life, p).await,
            20 => look_up_time(world, life, p).await,
            21 if world.below(3) == 0 => delete_records(world, life, p).await,
            21 if world.below(4) == 0 => {
                world.large.set(true);
                for _ in 0..world.below(120) {
                    append(world, life, p).await;
                }
                world.large.set(false);
            }
            22 => check_retries(world, &life.logs[&p], &world.model(p)).await,
            _ => {
                for _ in 0..world.below(200) {
                    yield_now().await;
                }
            }
        }
    }
}

/// What the seeds have reached, so that the test cannot become empty without being noticed.
#[derive(Clone, Copy, Debug, Default)]
struct Reached {
    checkpoints: u64,
    backpressure: u64,
    redone: u64,
    skipped: u64,
    segments: usize,
    recoveries_cut: u64,
    crashes: u64,
}

/// One seed: several lives with ends of all kinds.
fn run_seed(seed: u64, lie: bool) -> Reached {
    let mut reached = Reached::default();
    let mut world = World::new(seed);
    let mut disk = SimDisk::new(seed);
    disk.mkdir(ROOT);
    let mut clean = true;
    for life_number in 0..4 {
        world.epoch = life_number;
        // Some recoveries are themselves cut short, once or more.
        while world.below(3) == 0 {
            disk.halt_after(disk.stats().events + world.below(60));
            block_on(or(async { drop(recover_all(&disk).await) }, disk.halted()));
            disk = disk.crash(world.below(u64::MAX), CrashMode::Mixed);
            reached.recoveries_cut += 1;
        }
        if lie {
            disk.lie_about_flushes();
        }
        let crash = world.below(3) != 0;
        block_on(async {
            let report = recover_all(&disk).await;
            reached.redone += report.entries_redone;
            reached.skipped += report.entries_skipped;
            let life = open(&world, &disk, &report).await;
            let steps = 20 + world.below(200);
            let run = async {
                check_recovered(&world, &life, clean).await;
                if crash {
                    disk.halt_after(disk.stats().events + world.below(1500));
                }
                workload(&world, &life, steps).await;
                if !crash {
                    for store in &life.stores {
                        store.shutdown().await.expect("a clean end");
                    }
                }
            };
            or(beside(&life.stores, run), disk.halted()).await;
            reached.checkpoints += life.stores.iter().map(|s| s.stats().checkpoints).sum::<u64>();
            reached.backpressure += life.stores.iter().map(|s| s.stats().backpressure).sum::<u64>();
            reached.segments += life.logs.values().map(Log::segment_count).sum::<usize>();
        });
        if crash {
            reached.crashes += 1;
            disk = disk.crash(world.below(u64::MAX), CrashMode::Mixed);
        }
        clean = !crash;
    }
    reached
}

#[test]
fn random_operations_and_crashes() {
    let number = |name| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let seeds = match number("LOG_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("LOG_SEEDS").unwrap_or(120),
    };
    let many = seeds.end - seeds.start > 50;
    let mut total = Reached::default();
    for seed in seeds {
        match std::panic::catch_unwind(|| run_seed(seed, false)) {
            Ok(reached) => {
                total.checkpoints += reached.checkpoints;
                total.backpressure += reached.backpressure;
                total.redone += reached.redone;
                total.skipped += reached.skipped;
                total.segments += reached.segments;
                total.recoveries_cut += reached.recoveries_cut;
                total.crashes += reached.crashes;
            }
            Err(panic) => {
                eprintln!("seed {seed} failed: LOG_SEED={seed} cargo test -p coreline-storage --test log_model");
                std::panic::resume_unwind(panic);
            }
        }
    }
    eprintln!("{total:?}");
    let all = [total.checkpoints, total.backpressure, total.redone, total.skipped, total.recoveries_cut, total.crashes];
    assert!(!many || (all.iter().all(|n| *n > 20) && total.segments > 500), "not everything was reached: {total:?}");
}

/// The control: a disk whose flushes do nothing must be found out.
#[test]
fn a_disk_that_lies_about_flushes_is_found() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let found = (0..40).find(|&seed| std::panic::catch_unwind(|| run_seed(seed, true)).is_err());
    std::panic::set_hook(hook);
    assert!(found.is_some(), "40 seeds passed on a disk that lies");
}
