//! Compaction on a simulated disk: against a model, with random keys, tombstones, codecs and producers, and with a crash at every event of the disk.
//!
//! Repeat one seed: `COMPACTION_SEED=n cargo test -p coreline-storage --lib compaction::tests`.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use coreline_wire::record::batch::Batches;
use coreline_wire::record::validate::{records, timestamp_of};
use coreline_wire::record::{BatchBuilder, Compression, Origin, RawBatch, ValidBatch};
use coreline_wire::{TopicId, TopicPartition};
use futures_lite::future::{block_on, or, pending, yield_now};

use super::{CompactionConfig, CompactionReport};
use crate::config::CleanupPolicy;
use crate::data_dir::{DataDir, JournalId};
use crate::io::SimDisk;
use crate::io::sim::{CrashMode, Rng};
use crate::journal::SyncMode;
use crate::log::ReadSpan;
use crate::{AppendContext, AppendError, AppendOrigin, Log, LogConfig, StorageError, Store, StoreConfig, recover};

const ROOT: &str = "/data";
const TP: TopicPartition = TopicPartition { topic: TopicId([1; 16]), partition: 0 };
const DAY: i64 = 86_400_000;

/// Offset, timestamp, key, value.
type Line = (i64, i64, Option<Vec<u8>>, Option<Vec<u8>>);

async fn open(disk: &SimDisk) -> Store<SimDisk> {
    let dir = DataDir::new(ROOT);
    recover(disk, &dir, &|_| true, 0).await.unwrap();
    let config = StoreConfig {
        journal_file_bytes: 1 << 20,
        journal_bytes_max: 3 << 20,
        journal_sync_mode: SyncMode::Dsync,
        tail_budget_bytes: 2 << 20,
        flush_interval: Duration::from_millis(5),
        copied_read_bytes_max: 16 << 10,
        ..StoreConfig::default()
    };
    Store::open(disk.clone(), &dir, JournalId(1), config).await.unwrap()
}

async fn beside<T>(store: &Store<SimDisk>, body: impl Future<Output = T>) -> T {
    let tasks = async {
        let (journal, flusher) = futures_lite::future::zip(store.run_journal(), store.run_flusher()).await;
        journal.and(flusher).unwrap();
        pending::<T>().await
    };
    or(body, tasks).await
}

fn log_config(segment_bytes: u32) -> LogConfig {
    LogConfig {
        segment_bytes,
        index_interval_bytes: 500,
        cleanup_policy: CleanupPolicy { delete: false, compact: true },
        delete_retention_ms: DAY,
        min_cleanable_dirty_ppm: 0,
        ..LogConfig::default()
    }
}

/// A random workload, and what it has appended.
struct World {
    rng: Rng,
    lines: Vec<Line>,
    sequences: BTreeMap<i64, i32>,
    last_of_producer: BTreeMap<i64, ValidBatch>,
    now_ms: i64,
    keys: u64,
}

impl World {
    fn new(seed: u64) -> World {
        let mut rng = Rng::new(seed);
        let keys = 1 + rng.below(40);
        World { rng, lines: Vec::new(), sequences: BTreeMap::new(), last_of_producer: BTreeMap::new(), now_ms: 1_000_000, keys }
    }

    async fn append(&mut self, store: &Store<SimDisk>, log: &Log<SimDisk>) {
        let rng = &mut self.rng;
        let producer = (rng.below(2) == 0).then(|| 100 + rng.below(3) as i64);
        let codec = if rng.below(3) == 0 { Compression::ALL[rng.below(5) as usize] } else { Compression::None };
        let mut builder = BatchBuilder::new().compression(codec, None);
        let sequence = producer.map(|id| self.sequences.get(&id).copied().unwrap_or(0));
        if let (Some(id), Some(sequence)) = (producer, sequence) {
            builder = builder.producer(id, 0, sequence);
        }
        let base = log.log_end_offset();
        let count = 1 + rng.below(6) as i64;
        for i in 0..count {
            self.now_ms += rng.below(50) as i64;
            let key = (rng.below(20) != 0).then(|| format!("key {}", rng.below(self.keys)).into_bytes());
            let value = (rng.below(5) != 0).then(|| vec![rng.below(256) as u8; rng.below(400) as usize]);
            builder.push(self.now_ms, key.as_deref(), value.as_deref(), &[("h", Some(b"x"))]);
            self.lines.push((base + i, self.now_ms, key, value));
        }
        let batch = RawBatch::new(builder.build().unwrap()).validate(Origin::Client { zstd_allowed: true }).unwrap();
        let ctx = AppendContext { now_ms: self.now_ms, leader_epoch: 1, origin: AppendOrigin::Client };
        let appended = loop {
            match log.append(&batch, ctx) {
                Err(AppendError::Backpressure) => store.wait_space(batch.size_bytes()).await.unwrap(),
                other => break other.unwrap(),
            }
        };
        assert_eq!(appended.base_offset, base);
        if let (Some(id), Some(sequence)) = (producer, sequence) {
            self.sequences.insert(id, sequence + count as i32);
            self.last_of_producer.insert(id, batch);
        }
    }

    /// Appends, makes everything durable, and waits until the segments are settled.
    async fn fill(&mut self, store: &Store<SimDisk>, log: &Log<SimDisk>, batches: u64) {
        for _ in 0..batches {
            self.append(store, log).await;
        }
        log.wait_durable(log.log_end_offset()).await.unwrap();
        log.set_high_watermark(log.log_end_offset());
        while store.stats().dirty_logs > 0 {
            yield_now().await;
        }
    }

    /// What must be there after everything below `cleaned_to` was compacted: records below it with nothing newer below it, all above it.
    fn expected(&self, cleaned_to: i64) -> Vec<Line> {
        let below = self.lines.iter().filter(|l| l.0 < cleaned_to);
        let newest: BTreeMap<&Vec<u8>, i64> = below.filter_map(|l| l.2.as_ref().map(|key| (key, l.0))).collect();
        let stays = |l: &&Line| l.0 >= cleaned_to || l.2.as_ref().is_some_and(|key| newest[key] == l.0);
        self.lines.iter().filter(stays).cloned().collect()
    }
}

/// All records of a log, by reads from its start.
async fn content(log: &Log<SimDisk>) -> Vec<Line> {
    let mut out = Vec::new();
    let mut offset = log.log_start_offset();
    let mut scratch = Vec::new();
    loop {
        let plan = log.read(offset, 6000, i64::MAX, true).await.unwrap();
        if plan.bytes == 0 {
            break;
        }
        assert!(plan.next_offset > offset);
        let bytes: Vec<u8> =
            plan.spans.iter().flat_map(|s| if let ReadSpan::Memory(b) = s { b.to_vec() } else { panic!("no file") }).collect();
        for batch in Batches::new(Bytes::from(bytes)) {
            let (header, batch) = batch.unwrap();
            let batch = batch.validate(Origin::Log).unwrap();
            for record in records(&header, batch.bytes(), 1 << 20, &mut scratch).unwrap() {
                let record = record.unwrap();
                let at = header.base_offset + i64::from(record.offset_delta);
                if at >= offset {
                    out.push((at, timestamp_of(&header, &record), record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec)));
                }
            }
        }
        offset = plan.next_offset;
    }
    assert!(out.windows(2).all(|w| w[0].0 < w[1].0), "offsets rise");
    out
}

/// Compacts until nothing is due.
async fn compact(store: &Store<SimDisk>, now_ms: i64, config: &CompactionConfig) -> Vec<CompactionReport> {
    let mut reports = Vec::new();
    while let Some(report) = store.compact_next(now_ms, config).await.unwrap() {
        reports.push(report);
        assert!(reports.len() < 1000, "no end: {report:?}");
    }
    reports
}

/// Every lookup by time agrees with the records that are there.
async fn check_times(log: &Log<SimDisk>, lines: &[Line]) {
    let times = lines.iter().flat_map(|l| [l.1 - 1, l.1, l.1 + 1]).step_by(7);
    for timestamp in times {
        let expected = lines.iter().find(|l| l.1 >= timestamp).map(|l| (l.0, l.1));
        let found = log.offset_for_timestamp(timestamp, i64::MAX).await.unwrap().map(|f| (f.offset, f.timestamp_ms));
        assert_eq!(found, expected, "timestamp {timestamp}");
    }
    let largest = lines.iter().map(|l| l.1).max();
    let expected = lines.iter().find(|l| Some(l.1) == largest).map(|l| (l.0, l.1));
    assert_eq!(log.max_timestamp(i64::MAX).await.unwrap().map(|f| (f.offset, f.timestamp_ms)), expected, "max timestamp");
}

/// A read at any offset answers with the first records at or behind it.
async fn check_offsets(log: &Log<SimDisk>, lines: &[Line]) {
    for offset in (log.log_start_offset()..log.log_end_offset()).step_by(5) {
        let expected = lines.iter().find(|l| l.0 >= offset).map(|l| l.0);
        let mut from = offset;
        let found = loop {
            let plan = log.read(from, 1, i64::MAX, true).await.unwrap();
            if plan.bytes == 0 {
                break None;
            }
            let ReadSpan::Memory(bytes) = &plan.spans[0] else { panic!("no file") };
            let whole: Vec<u8> = plan.spans.iter().flat_map(|s| if let ReadSpan::Memory(b) = s { b.to_vec() } else { vec![] }).collect();
            assert!(!bytes.is_empty());
            let (header, batch) = Batches::new(Bytes::from(whole)).next().unwrap().unwrap();
            let mut scratch = Vec::new();
            let hit = records(&header, batch.bytes(), 1 << 20, &mut scratch)
                .unwrap()
                .map(|r| header.base_offset + i64::from(r.unwrap().offset_delta))
                .find(|at| *at >= offset);
            if hit.is_some() {
                break hit;
            }
            from = plan.next_offset;
        };
        assert_eq!(found, expected, "read at {offset}");
    }
}

fn run_seed(seed: u64) -> (usize, usize, u64) {
    let mut world = World::new(seed);
    let disk = SimDisk::new(seed);
    disk.mkdir(ROOT);
    let segment_bytes = [4096, 16 << 10][world.rng.below(2) as usize];
    let config = CompactionConfig { keys_bytes: [0, 240, 1 << 20][world.rng.below(3) as usize], ..CompactionConfig::default() };
    let (mut passes, mut merged, mut dropped) = (0, 0, 0);
    block_on(async {
        let store = open(&disk).await;
        beside(&store, async {
            let log = store.open_log(TP, log_config(segment_bytes)).await.unwrap();
            for _ in 0..3 {
                let batches = 10 + world.rng.below(60);
                world.fill(&store, &log, batches).await;
                let before = content(&log).await;
                // Tombstones stay: their time has not come.
                for report in compact(&store, world.now_ms, &config).await {
                    passes += 1;
                    merged += report.segments_before - report.segments_after;
                    dropped += report.records_dropped;
                }
                let cleaned_to = log.inner().state.borrow().cleaned_to.unwrap();
                let after = content(&log).await;
                assert_eq!(after, world.expected(cleaned_to), "seed {seed}: {} records before, cleaned to {cleaned_to}", before.len());
                check_times(&log, &after).await;
                check_offsets(&log, &after).await;
            }
            store.shutdown().await.unwrap();
        })
        .await;
        // Another life: the same content, and producers are remembered.
        let store = open(&disk).await;
        beside(&store, async {
            let log = store.open_log(TP, log_config(segment_bytes)).await.unwrap();
            let cleaned_before = super::swap::cleaned_to(&disk, &DataDir::new(ROOT).partition(TP)).await.unwrap();
            assert_eq!(content(&log).await, world.expected(cleaned_before), "seed {seed}: after a restart");
            for batch in world.last_of_producer.values() {
                let ctx = AppendContext { now_ms: world.now_ms, leader_epoch: 1, origin: AppendOrigin::Client };
                assert!(log.append(batch, ctx).unwrap().duplicate, "seed {seed}: a retry");
            }
            // A day later tombstones go; the mark must move for that, so a little more is appended.
            world.now_ms += 2 * DAY;
            world.fill(&store, &log, 40).await;
            let now_ms = world.now_ms;
            compact(&store, now_ms, &config).await;
            let cleaned_to = log.inner().state.borrow().cleaned_to.unwrap();
            let expected = world.expected(cleaned_to);
            let found = content(&log).await;
            let due = |l: &&Line| l.3.is_none() && l.0 < cleaned_before;
            assert!(cleaned_to > cleaned_before && !found.iter().any(|l| due(&l)), "seed {seed}: tombstones whose time has come");
            assert!(found.iter().all(|l| expected.contains(l)), "seed {seed}");
            let missing: Vec<&Line> = expected.iter().filter(|l| !found.contains(l)).collect();
            assert!(missing.iter().all(|l| l.3.is_none() && l.2.is_some()), "seed {seed}: only tombstones go: {missing:?}");
        })
        .await;
    });
    (passes, merged, dropped)
}

#[test]
fn the_newest_record_of_every_key_stays_and_nothing_else() {
    let number = |name| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let seeds = match number("COMPACTION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("COMPACTION_SEEDS").unwrap_or(16),
    };
    let many = seeds.end - seeds.start > 10;
    let (mut passes, mut merged, mut dropped) = (0, 0, 0);
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| run_seed(seed));
        let (p, m, d) = outcome.unwrap_or_else(|panic| {
            eprintln!("seed {seed} failed: COMPACTION_SEED={seed} cargo test -p coreline-storage --lib compaction::tests");
            std::panic::resume_unwind(panic)
        });
        (passes, merged, dropped) = (passes + p, merged + m, dropped + d);
    }
    eprintln!("{passes} passes, {merged} segments merged away, {dropped} records dropped");
    assert!(!many || (passes > 40 && merged > 40 && dropped > 1000), "not everything was reached: {passes} {merged} {dropped}");
}

/// A compaction recorded event by event; then a crash at each of them, and at some of those another crash while starting again. Answers with the number of
/// crashes, or with what was wrong.
fn crash_everywhere(seed: u64, lie: bool) -> Result<usize, String> {
    let mut world = World::new(seed);
    let disk = SimDisk::new(seed);
    disk.mkdir(ROOT);
    if lie {
        disk.lie_about_flushes();
    }
    let (recording, before, after) = block_on(async {
        let store = open(&disk).await;
        beside(&store, async {
            let log = store.open_log(TP, log_config(4096)).await.unwrap();
            world.fill(&store, &log, 50).await;
            let before = content(&log).await;
            disk.record();
            let reports = compact(&store, world.now_ms, &CompactionConfig::default()).await;
            assert_eq!(reports.len(), 1);
            assert!(reports[0].segments_before > reports[0].segments_after && reports[0].records_dropped > 20, "{reports:?}");
            (disk.take_recording().unwrap(), before, content(&log).await)
        })
        .await
    });
    let mut crashes = 0;
    let mut seen = [false; 2];
    let mut sweep = recording.sweep();
    loop {
        for mode in [CrashMode::KeepAll, CrashMode::LoseAll, CrashMode::Mixed, CrashMode::Mixed] {
            crashes += 1;
            let at = sweep.events();
            let mut survivor = sweep.crash(seed * 1000 + crashes as u64, mode);
            if crashes % 3 == 0 {
                // The start itself is cut short.
                survivor.halt_after(survivor.stats().events + (crashes as u64 * 7) % 40);
                let cut = async {
                    let store = open(&survivor).await;
                    drop(store.open_log(TP, log_config(4096)).await);
                };
                block_on(or(cut, survivor.halted()));
                survivor = survivor.crash(crashes as u64, CrashMode::Mixed);
            }
            let found = block_on(async {
                let store = open(&survivor).await;
                let log = store.open_log(TP, log_config(4096)).await.map_err(|e: StorageError| e.to_string())?;
                let found = content(&log).await;
                let dir = DataDir::new(ROOT).partition(TP);
                let left = survivor.files().iter().any(|f| f.starts_with(&dir) && f.to_string_lossy().contains(".compacted."));
                if left { Err("files of an unfinished compaction are left".to_owned()) } else { Ok(found) }
            });
            match found {
                Ok(found) if found == before => seen[0] = true,
                Ok(found) if found == after => seen[1] = true,
                Ok(_) => return Err(format!("seed {seed}, event {at}, {mode:?}: neither the old nor the new content")),
                Err(why) => return Err(format!("seed {seed}, event {at}, {mode:?}: {why}")),
            }
        }
        if !sweep.step() {
            break;
        }
    }
    if seen == [true; 2] { Ok(crashes) } else { Err(format!("seed {seed}: not both outcomes were met: {seen:?}")) }
}

#[test]
fn a_crash_at_any_event_leaves_the_old_segments_or_the_new_ones() {
    let seeds = std::env::var("COMPACTION_CRASH_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(2);
    let crashes: usize = (0..seeds).map(|seed| crash_everywhere(seed, false).unwrap()).sum();
    eprintln!("{crashes} crashes");
    assert!(crashes > 200);
}

/// The control: on a disk whose flushes do nothing the same walk must find something.
#[test]
fn a_disk_that_lies_is_found_out() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let found = (0..5).any(|seed| std::panic::catch_unwind(|| crash_everywhere(seed, true)).is_ok_and(|outcome| outcome.is_err()));
    std::panic::set_hook(hook);
    assert!(found, "a disk that lies passed");
}

#[test]
fn a_full_disk_ends_the_pass_and_nothing_else() {
    let mut world = World::new(7);
    let disk = SimDisk::new(7);
    disk.mkdir(ROOT);
    block_on(async {
        let store = open(&disk).await;
        beside(&store, async {
            let log = store.open_log(TP, log_config(4096)).await.unwrap();
            world.fill(&store, &log, 60).await;
            let before = content(&log).await;
            disk.inject(crate::io::sim::Fault {
                op: crate::io::IoOp::Write,
                path_part: ".compacted.".into(),
                skip: 0,
                times: 1,
                errno: libc::ENOSPC,
            });
            let error = store.compact_next(world.now_ms, &CompactionConfig::default()).await.unwrap_err();
            assert!(error.is_disk_full(), "{error}");
            assert_eq!(content(&log).await, before);
            assert!(disk.files().iter().all(|f| !f.to_string_lossy().contains(".compacted.")), "its space is given back");
            assert!(!compact(&store, world.now_ms, &CompactionConfig::default()).await.is_empty(), "the next one works");
        })
        .await;
    });
}

#[test]
fn a_bound_on_bytes_per_second_is_kept_and_a_stop_is_heard() {
    let mut world = World::new(9);
    let disk = SimDisk::new(9);
    disk.mkdir(ROOT);
    block_on(async {
        let store = open(&disk).await;
        beside(&store, async {
            let log = store.open_log(TP, log_config(4096)).await.unwrap();
            world.fill(&store, &log, 60).await;
            let slow = CompactionConfig { bytes_per_second: 10_000.0, ..CompactionConfig::default() };
            use crate::io::Disk;
            let start = disk.now();
            let report = store.compact_next(world.now_ms, &slow).await.unwrap().unwrap();
            let (took, stats) = ((disk.now() - start).as_secs_f64(), store.stats().cleaned);
            let bytes = (stats.compaction_bytes_read + stats.compaction_bytes_written) as f64;
            // The last step is not waited for.
            assert!(took >= (bytes - 8192.0) / 10_000.0, "{bytes} bytes in {took} s");
            assert_eq!((stats.compactions, stats.records_compacted), (1, report.records_dropped));
            world.fill(&store, &log, 60).await;
            store.stop_cleaning();
            assert_eq!(store.compact_next(world.now_ms, &slow).await.unwrap(), None);
        })
        .await;
    });
}

#[test]
fn a_log_deleted_while_it_is_compacted_is_removed_afterwards() {
    let mut world = World::new(11);
    let disk = SimDisk::new(11);
    disk.mkdir(ROOT);
    block_on(async {
        let store = open(&disk).await;
        beside(&store, async {
            let log = store.open_log(TP, log_config(4096)).await.unwrap();
            world.fill(&store, &log, 60).await;
            let slow = CompactionConfig { bytes_per_second: 20_000.0, ..CompactionConfig::default() };
            let deleting = async {
                while store.stats().cleaned.compaction_bytes_read == 0 {
                    yield_now().await;
                }
                store.delete_log(TP).await.unwrap();
            };
            let (outcome, ()) = futures_lite::future::zip(store.compact_next(world.now_ms, &slow), deleting).await;
            assert_eq!(outcome.unwrap(), None);
            while store.stats().cleaned.logs_removed == 0 {
                yield_now().await;
            }
            let dir = DataDir::new(ROOT).partition(TP);
            assert!(disk.files().iter().all(|f| !f.starts_with(&dir)));
        })
        .await;
    });
}
