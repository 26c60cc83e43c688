//! Damage: a changed bit, a cut and a missing file, in each kind of file of a data directory. Wrong bytes are never read, the other partition goes on, what is
//! refused names a file, what can be repaired is, and the offline walk (`coreline log verify`) names it too. Repeat with `cargo test -p coreline-storage --test damage`.
#![allow(clippy::unwrap_used)] // what a test takes for granted may panic

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use coreline_storage::compaction::CompactionConfig;
use coreline_storage::config::CleanupPolicy;
use coreline_storage::data_dir::{CleanShutdown, DataDir, JournalId, Meta};
use coreline_storage::io::Disk;
use coreline_storage::io::sim::{CrashMode, Recording, SimDisk};
use coreline_storage::journal::SyncMode;
use coreline_storage::verify::{self, Item, Severity};
use coreline_storage::{
    AppendContext, AppendError, AppendOrigin, Log, LogConfig, ReadError, ReadSpan, StorageError, Store, StoreConfig, recover,
};
use coreline_wire::record::{BatchBuilder, Origin, RawBatch, ValidBatch};
use coreline_wire::{TopicId, TopicPartition};
use futures_lite::future::{block_on, or, pending};

const ROOT: &str = "/data";
const PARTITIONS: i32 = 3;
/// The partition whose log is compacted.
const COMPACTED: i32 = 2;

fn tp(partition: i32) -> TopicPartition {
    TopicPartition { topic: TopicId([1; 16]), partition }
}

fn dir() -> DataDir {
    DataDir::new(ROOT)
}

fn config() -> StoreConfig {
    StoreConfig {
        journal_file_bytes: 1 << 20,
        journal_bytes_max: 3 << 20,
        journal_sync_mode: SyncMode::Dsync,
        tail_budget_bytes: 2 << 20,
        flush_chunk_bytes: 64 << 10,
        flush_interval: Duration::from_millis(5),
        ..StoreConfig::default()
    }
}

fn log_config(partition: i32) -> LogConfig {
    let compact = partition == COMPACTED;
    LogConfig {
        segment_bytes: if compact { 90 << 10 } else { 180 << 10 },
        cleanup_policy: CleanupPolicy { compact, delete: !compact },
        min_cleanable_dirty_ppm: 0,
        ..LogConfig::default()
    }
}

fn batch(number: usize) -> ValidBatch {
    let mut builder = BatchBuilder::new().producer(7 + number as i64 % 60, 0, (number / 60) as i32);
    let value: Vec<u8> = (0..3000 + number * 37 % 2000).map(|i| (i * 31 + number) as u8).collect();
    builder.push(4_000 + number as i64, Some(&[number as u8 % 40]), Some(&value), &[]);
    RawBatch::new(builder.build().unwrap()).validate(Origin::Client { zstd_allowed: true }).unwrap()
}

async fn open(disk: &SimDisk) -> Result<Store<SimDisk>, StorageError> {
    let meta = Meta { cluster_id: String::new(), node_id: 1, directory_id: [5; 16] };
    dir().open_or_format(disk, &meta).await?;
    dir().take_clean_shutdown(disk).await?;
    recover(disk, &dir(), &|_| true, 0).await?;
    Store::open(disk.clone(), &dir(), JournalId(1), config()).await
}

async fn beside<T>(store: &Store<SimDisk>, body: impl Future<Output = T>) -> T {
    let tasks = async {
        let (journal, flusher) = futures_lite::future::zip(store.run_journal(), store.run_flusher()).await;
        journal.and(flusher).unwrap();
        pending::<T>().await
    };
    or(body, tasks).await
}

async fn fill(store: &Store<SimDisk>, log: &Log<SimDisk>, batches: std::ops::Range<usize>) {
    let ctx = AppendContext { now_ms: 5_000, leader_epoch: 1, origin: AppendOrigin::Client };
    for number in batches {
        let batch = batch(number);
        loop {
            match log.append(&batch, ctx) {
                Ok(_) => break,
                Err(AppendError::Backpressure) => store.wait_space(batch.size_bytes()).await.unwrap(),
                Err(error) => panic!("{error}"),
            }
        }
    }
    log.wait_durable(log.log_end_offset()).await.unwrap();
}

/// Everything that can be read of a log, batch by batch; the first error ends it.
async fn read(log: &Log<SimDisk>) -> (Vec<u8>, Option<ReadError>) {
    let (mut bytes, mut offset) = (Vec::new(), log.log_start_offset());
    while offset < log.log_end_offset() {
        match log.read(offset, 20_000, i64::MAX, true).await {
            Ok(plan) if plan.next_offset > offset => {
                for span in &plan.spans {
                    let ReadSpan::Memory(slice) = span else { panic!("the simulated disk has no file spans") };
                    bytes.extend_from_slice(slice);
                }
                offset = plan.next_offset;
            }
            Ok(_) => return (bytes, Some(StorageError::corrupt(Path::new("?"), None, format!("nothing at offset {offset}")).into())),
            Err(error) => return (bytes, Some(error)),
        }
    }
    (bytes, None)
}

/// How a data directory was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// By a clean stop.
    Clean,
    /// By the end of the process.
    Killed,
    /// The same, while new segments of a compaction waited whose exchange was decided, or was not yet.
    Exchanging { decided: bool },
}

/// A data directory, and what its partitions may hold.
struct Image {
    disk: SimDisk,
    left: Left,
    logs: Vec<Vec<Vec<u8>>>,
}

async fn checkpointed(store: &Store<SimDisk>, disk: &SimDisk) {
    while store.stats().dirty_logs > 0 {
        disk.sleep(Duration::from_millis(1)).await;
    }
}

async fn whole(log: &Log<SimDisk>) -> Vec<u8> {
    let (bytes, error) = read(log).await;
    assert!(error.is_none(), "{error:?}");
    bytes
}

/// The disk as a compaction leaves it that ends after its new segments were written: before its decision or just behind it.
fn interrupted(recording: &Recording, decided: bool) -> SimDisk {
    let mut sweep = recording.sweep();
    let mut waiting = None;
    while sweep.step() {
        let disk = sweep.crash(0, CrashMode::KeepAll);
        let has = |part: &str| disk.files().iter().any(|f| f.to_str().unwrap().contains(part));
        match has(".sums.compacted.2") && !has("compaction.new") && has("compaction.a") == decided {
            true if decided => return disk,
            true => waiting = Some(disk),
            false if waiting.is_some() => break,
            false => {}
        }
    }
    waiting.expect("compacted segments wait at some time")
}

fn image(left: Left) -> Image {
    block_on(async {
        let disk = SimDisk::new(1);
        disk.mkdir(ROOT);
        let store = open(&disk).await.unwrap();
        let mut logs = Vec::new();
        beside(&store, async {
            let mut all = Vec::new();
            for partition in 0..PARTITIONS {
                all.push(store.open_log(tp(partition), log_config(partition)).await.unwrap());
                // A producer snapshot too large for the checkpoint table becomes a file.
                fill(&store, &all[partition as usize], 0..130).await;
            }
            checkpointed(&store, &disk).await;
            // Two compactions, so that both copies of their file are there.
            let compacted = &all[COMPACTED as usize];
            let mut before = Vec::new();
            let mut recording = None;
            for (round, batches) in [0..0, 130..220].into_iter().enumerate() {
                fill(&store, compacted, batches).await;
                checkpointed(&store, &disk).await;
                compacted.set_high_watermark(compacted.log_end_offset());
                before = whole(compacted).await;
                if round == 1 && matches!(left, Left::Exchanging { .. }) {
                    // Something that only the journal has goes into this image too.
                    fill(&store, &all[0], 130..133).await;
                    disk.record();
                }
                let report = store.compact_next(0, &CompactionConfig::default()).await.unwrap().unwrap();
                assert!(report.segments_after > 1 && report.records_dropped > 10, "{report:?}");
                recording = disk.take_recording();
            }
            if let (Left::Exchanging { decided }, Some(recording)) = (left, recording) {
                for log in &all {
                    logs.push(vec![whole(log).await]);
                }
                let after = logs[COMPACTED as usize][0].clone();
                logs[COMPACTED as usize] = if decided { vec![after, before] } else { vec![before] };
                return Image { disk: interrupted(&recording, decided), left, logs };
            }
            checkpointed(&store, &disk).await;
            // Something that only the journal has, in the last block and behind it.
            fill(&store, &all[0], 130..133).await;
            for log in &all {
                logs.push(vec![whole(log).await]);
            }
            if left == Left::Clean {
                store.shutdown().await.unwrap();
                dir().write_clean_shutdown(&disk, CleanShutdown { broker_epoch: 3 }).await.unwrap();
            }
            Image { disk: disk.crash(0, CrashMode::KeepAll), left, logs }
        })
        .await
    })
}

/// What became of a damaged directory.
#[derive(Debug, PartialEq, Eq, Clone, Copy, PartialOrd, Ord)]
enum Outcome {
    /// Everything is there.
    Whole,
    /// What can be read is right, the rest is refused.
    Refused,
    /// The partition does not open.
    Fenced,
    /// The start is refused.
    NoStart,
    /// The last frames of the journal are taken for a write that the crash interrupted.
    Shorter,
}

fn try_start(image: &Image, damage: impl Fn(&SimDisk)) -> Result<Outcome, String> {
    let disk = image.disk.crash(0, CrashMode::KeepAll);
    damage(&disk);
    block_on(async {
        let store = match open(&disk).await {
            Ok(store) => store,
            Err(error) => return names_a_file(&error.to_string()).map(|()| Outcome::NoStart),
        };
        beside(&store, async {
            let mut worst = Outcome::Whole;
            let mut hurt = 0;
            for partition in 0..PARTITIONS {
                let expected = &image.logs[partition as usize];
                let outcome = match store.open_log(tp(partition), log_config(partition)).await {
                    Err(error) => names_a_file(&error.to_string()).map(|()| Outcome::Fenced)?,
                    Ok(log) => match read(&log).await {
                        (bytes, _) if !bytes.is_empty() && !expected.iter().any(|content| content.starts_with(&bytes)) => {
                            return Err(format!("partition {partition}: wrong bytes were read"));
                        }
                        (bytes, None) if expected.contains(&bytes) => Outcome::Whole,
                        (_, None) => Outcome::Shorter,
                        (_, Some(error)) => names_a_file(&error.to_string()).map(|()| Outcome::Refused)?,
                    },
                };
                hurt += usize::from(outcome != Outcome::Whole);
                worst = worst.max(outcome);
            }
            if hurt > 1 { Err(format!("{hurt} partitions suffer")) } else { Ok(worst) }
        })
        .await
    })
}

/// What the offline walk says of the same directory: the worst finding, if there is one.
fn verified(image: &Image, damage: impl Fn(&SimDisk)) -> Option<Severity> {
    let disk = image.disk.crash(0, CrashMode::KeepAll);
    damage(&disk);
    let root = tempfile::tempdir().unwrap();
    for path in disk.files() {
        let to = root.path().join(path.strip_prefix(ROOT).unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::write(to, disk.peek(&path).unwrap()).unwrap();
    }
    let mut worst = None;
    let mut visit = |item: Item<'_>| {
        if let Item::Finding(finding) = item {
            worst = worst.max(Some(finding.severity));
        }
    };
    match block_on(verify::walk(&DataDir::new(root.path()), &|_| true, &mut visit)) {
        Ok(()) => worst,
        Err(_) => Some(Severity::Damage),
    }
}

fn names_a_file(error: &str) -> Result<(), String> {
    if error.contains(ROOT) { Ok(()) } else { Err(format!("no file is named: {error}")) }
}

/// Which kind of file.
fn kind(path: &Path) -> &'static str {
    let name = path.file_name().unwrap().to_str().unwrap();
    let folder = path.parent().unwrap().file_name().unwrap().to_str().unwrap();
    match (folder, name.rsplit('.').next().unwrap()) {
        _ if name.contains(".log.compacted.") => "waiting log",
        _ if name.contains(".sums.compacted.") => "waiting sums",
        _ if name.starts_with("compaction.") => "compaction",
        ("data", _) if name.starts_with("meta") => "meta",
        ("data", _) if name.starts_with("clean") => "clean-shutdown",
        ("checkpoint", _) => "checkpoint",
        (_, "frames") => "frames",
        (_, "a" | "b") => "journal state",
        (_, "log") => "log",
        (_, "index") => "index",
        (_, "timeindex") => "timeindex",
        (_, "sums") => "sums",
        (_, "producers") => "producers",
        _ => panic!("a file of no known kind: {}", path.display()),
    }
}

/// What may become of damage to a file of this kind.
fn allowed(kind: &str, left: Left) -> &'static [Outcome] {
    use Outcome::*;
    let clean = left == Left::Clean;
    match kind {
        // The other copy is as good, unless files wait and it is not known whether they count.
        "compaction" if matches!(left, Left::Exchanging { .. }) => &[Whole, Fenced],
        "compaction" | "waiting sums" => &[Whole],
        "waiting log" if left == (Left::Exchanging { decided: true }) => &[Refused, Fenced],
        "waiting log" => &[Whole],
        // What the exchange takes away does not count any more.
        "log" if left == (Left::Exchanging { decided: true }) => &[Whole, Refused, Fenced],
        "meta" | "checkpoint" => &[NoStart],
        "clean-shutdown" | "index" | "timeindex" | "sums" | "producers" => &[Whole],
        "journal state" if clean => &[Whole],
        // The only copy of the first generation says which frames count.
        "journal state" => &[Whole, NoStart],
        // Released frames are dead; the newest one that a crash leaves is like one that was being written.
        "frames" if clean => &[Whole],
        "frames" => &[Whole, NoStart, Shorter],
        "log" if clean => &[Refused, Fenced],
        // The journal may have an image of the block.
        "log" => &[Whole, Refused, Fenced],
        _ => unreachable!(),
    }
}

/// Positions to flip: every byte of a small file, else some at the front, at each field of the first batches, and spread over the rest.
fn positions(kind: &str, bytes: &[u8], left: Left) -> Vec<usize> {
    // Behind the last batch of the segment that is written to lies padding.
    let padding = bytes.iter().rev().take_while(|byte| **byte == 0).count();
    let len = if kind.ends_with("log") { bytes.len() - padding } else { bytes.len() };
    match kind {
        _ if len <= 200 => (0..len).step_by(if left == Left::Clean { 1 } else { 5 }).collect(),
        "log" | "waiting log" => (0..61).step_by(5).chain((61..len).step_by(len / 6)).chain([len - 1]).collect(),
        // Only where there is something: zeros behind the frames are nobody's.
        "frames" => (0..len).filter(|at| bytes[*at] != 0).step_by(4001).collect(),
        _ => (0..64.min(len)).step_by(7).chain((64..len).step_by((len / 6).max(1))).chain([len - 1]).collect(),
    }
}

fn each_kind(image: &Image, mut check: impl FnMut(&str, &PathBuf, &[u8])) {
    let mut kinds = std::collections::BTreeSet::new();
    for path in image.disk.files() {
        let bytes = image.disk.peek(&path).unwrap();
        // A write of a snapshot file that was going on is never read.
        if bytes.is_empty() || path.ends_with(".flush") || path.extension().is_some_and(|e| e == "new") {
            continue;
        }
        let kind = kind(&path);
        kinds.insert(kind);
        check(kind, &path, &bytes);
    }
    let mut expected =
        vec!["checkpoint", "compaction", "frames", "index", "journal state", "log", "meta", "producers", "sums", "timeindex"];
    match image.left {
        Left::Clean => expected.insert(1, "clean-shutdown"),
        Left::Killed => {}
        Left::Exchanging { .. } => expected.extend(["waiting log", "waiting sums"]),
    }
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), expected);
}

const ALL: [Left; 4] = [Left::Clean, Left::Killed, Left::Exchanging { decided: false }, Left::Exchanging { decided: true }];

/// Partition 1 is as partition 0, and there to go on. Of the images of an interrupted compaction only the compacted partition is new.
fn is_new(image: &Image, path: &Path) -> bool {
    let of = |partition| path.starts_with(dir().partition(tp(partition)));
    match image.left {
        Left::Clean | Left::Killed => !of(1),
        Left::Exchanging { decided: true } => of(COMPACTED),
        Left::Exchanging { decided: false } => of(COMPACTED) && path.to_str().unwrap().contains("compact"),
    }
}

/// The offline walk calls damage what the start refuses, and nothing that it repairs.
fn agree(outcome: Outcome, severity: Option<Severity>, what: &str) {
    if matches!(outcome, Outcome::Refused | Outcome::Fenced | Outcome::NoStart) {
        assert_eq!(severity, Some(Severity::Damage), "{what}: {outcome:?}");
    }
    if outcome == Outcome::Whole {
        assert_ne!(severity, Some(Severity::Damage), "{what}: a start repairs it");
    }
}

#[test]
fn a_changed_bit_is_found_in_each_kind_of_file() {
    for left in ALL {
        let image = image(left);
        assert_eq!(try_start(&image, |_| {}), Ok(Outcome::Whole), "{left:?}");
        assert!(verified(&image, |_| {}) <= Some(Severity::Note), "{left:?}");
        each_kind(&image, |kind, path, bytes| {
            if !is_new(&image, path) {
                return;
            }
            for (index, at) in positions(kind, bytes, left).into_iter().enumerate() {
                let damage = |disk: &SimDisk| disk.damage(path, at as u64, 1);
                let outcome = try_start(&image, damage);
                let what = format!("byte {at} of {}, left {left:?}", path.display());
                let outcome = outcome.unwrap_or_else(|why| panic!("{what}: {why}"));
                assert!(allowed(kind, left).contains(&outcome), "{what}: {outcome:?}");
                if index % 16 == 0 {
                    agree(outcome, verified(&image, damage), &what);
                }
            }
        });
    }
}

/// A bit that changes behind the back of a running broker, in a block that was read and found good before: the scrubber names it, then readers are refused.
#[test]
fn the_scrubber_finds_what_nobody_reads() {
    block_on(async {
        let disk = SimDisk::new(1);
        disk.mkdir(ROOT);
        let store = open(&disk).await.unwrap();
        beside(&store, async {
            let mut logs = Vec::new();
            for partition in 0..2 {
                logs.push(store.open_log(tp(partition), log_config(partition)).await.unwrap());
                fill(&store, &logs[partition as usize], 0..200).await;
            }
            checkpointed(&store, &disk).await;
            let began = disk.now();
            let report = store.scrub(1 << 20).await.unwrap();
            let took = (disk.now() - began).as_secs_f64();
            assert!(report.segments >= 6 && report.damaged == 0, "{report:?}");
            assert!(took >= report.bytes as f64 / (1 << 20) as f64, "{report:?} in {took} s");
            assert_eq!(store.stats().cleaned.scrubbed_bytes, report.bytes);
            let mut segments: Vec<_> = disk.files().into_iter().filter(|f| f.extension().is_some_and(|e| e == "log")).collect();
            segments.retain(|f| f.starts_with(dir().partition(tp(0))));
            let good = whole(&logs[0]).await;
            disk.damage(&segments[1], 70_000, 1);
            let again = store.scrub(u64::MAX).await.unwrap();
            assert_eq!((again.bytes, again.damaged, store.stats().damaged_blocks), (report.bytes, 1, 1));
            let (bytes, error) = read(&logs[0]).await;
            assert!(good.starts_with(&bytes) && error.is_some_and(|e| e.to_string().contains(segments[1].to_str().unwrap())));
            assert!(read(&logs[1]).await.1.is_none());
            store.stop_cleaning();
            assert_eq!(store.scrub(u64::MAX).await.unwrap().bytes, 0);
        })
        .await;
    });
}

/// Files that were cut at odd lengths, or are gone. What a file that is gone means is the same as for a changed bit, but for those that may be absent.
#[test]
fn cut_and_missing_files_are_found() {
    use Outcome::*;
    for left in ALL {
        let image = image(left);
        each_kind(&image, |kind, path, bytes| {
            if !is_new(&image, path) {
                return;
            }
            let mut lengths = vec![0, 1, bytes.len() / 3 + 1, bytes.len() - 1];
            lengths.dedup();
            let cuts = lengths.into_iter().map(Some).chain([None]);
            for cut in cuts {
                let damage = |disk: &SimDisk| {
                    block_on(async {
                        match cut {
                            Some(len) => disk.write_file(path, &bytes[..len]).await.unwrap(),
                            None => disk.remove_file(path).await.unwrap(),
                        }
                    })
                };
                let outcome = try_start(&image, damage);
                let what = format!("{} cut to {cut:?}, left {left:?}", path.display());
                let outcome = outcome.unwrap_or_else(|why| panic!("{what}: {why}"));
                let fine: &[Outcome] = match (kind, cut) {
                    // The checkpoint's other generation is then a whole table; where there is none, segments without one are an error.
                    ("checkpoint", None) => &[Whole, NoStart, Fenced],
                    ("log", _) => &[Whole, Refused, Fenced, NoStart],
                    ("journal state", None) => &[Whole, NoStart],
                    // Without the copy that decides, what waits was never decided; what it replaces is still there.
                    ("compaction", None) => &[Whole, Refused, Fenced],
                    // Then the old one stays, which may have been the same.
                    ("waiting log", None) => &[Whole, Refused, Fenced],
                    (kind, _) => allowed(kind, left),
                };
                assert!(fine.contains(&outcome), "{what}: {outcome:?}");
                // Whole despite a cut log: only when what was cut was padding, or goes anyway.
                let goes = left == (Left::Exchanging { decided: true });
                assert!(kind != "log" || outcome != Whole || cut == Some(bytes.len() - 1) || goes, "{what}: {outcome:?}");
                if outcome != Whole || matches!(cut, Some(0) | None) {
                    agree(outcome, verified(&image, damage), &what);
                }
            }
        });
    }
}

/// A table of recovery points in whose place stands an older one of its own, or another table: every generation, as it was after each write of it. What the journal
/// has given up since is not missed without a word.
#[test]
fn an_older_or_another_table_is_refused_or_costs_nothing() {
    block_on(async {
        let disk = SimDisk::new(1);
        disk.mkdir(ROOT);
        let is_table = |path: &PathBuf| path.starts_with(dir().checkpoints()) && path.extension().is_some_and(|e| e == "a" || e == "b");
        let mut seen: BTreeMap<PathBuf, Vec<Vec<u8>>> = BTreeMap::new();
        let mut note = |disk: &SimDisk| {
            for path in disk.files().into_iter().filter(is_table) {
                let (bytes, versions) = (disk.peek(&path).unwrap(), seen.entry(path).or_default());
                if versions.last() != Some(&bytes) {
                    versions.push(bytes);
                }
            }
        };
        // The first life ends cleanly, the second by its end; each with more checkpoints than a table has generations.
        let (mut disk, mut logs, mut next) = (disk, Vec::new(), [0; 2]);
        for life in 0..3 {
            let store = open(&disk).await.unwrap();
            note(&disk);
            let mut left = disk.crash(0, CrashMode::KeepAll);
            logs.clear();
            beside(&store, async {
                for round in 0..4 {
                    for partition in 0..2 {
                        let log = store.open_log(tp(partition), log_config(partition)).await.unwrap();
                        // One of them rests in the second life.
                        if partition == 0 || life != 1 {
                            let next = &mut next[partition as usize];
                            fill(&store, &log, *next..*next + 40).await;
                            *next += 40;
                        }
                        if round == 3 {
                            logs.push(vec![whole(&log).await]);
                        }
                    }
                    checkpointed(&store, &disk).await;
                    // Says in a frame what was given up.
                    let log = store.log(tp(0)).unwrap();
                    fill(&store, &log, next[0]..next[0] + 1).await;
                    next[0] += 1;
                    // Before the next table is written.
                    left = disk.crash(0, CrashMode::KeepAll);
                    note(&left);
                    if round == 3 {
                        logs[0] = vec![whole(&log).await];
                    }
                }
                if life == 0 {
                    store.shutdown().await.unwrap();
                    left = disk.crash(0, CrashMode::KeepAll);
                    note(&left);
                }
            })
            .await;
            drop(store);
            disk = left;
        }
        logs.push(vec![Vec::new()]);
        let image = Image { disk, left: Left::Killed, logs };
        assert_eq!(try_start(&image, |_| {}), Ok(Outcome::Whole));
        let (mut refused, mut whole) = (0, 0);
        let places: Vec<PathBuf> = image.disk.files().into_iter().filter(is_table).collect();
        assert_eq!(places.len(), 4, "{places:?}");
        for place in &places {
            for (source, versions) in &seen {
                for (number, bytes) in versions.iter().enumerate() {
                    let damage = |disk: &SimDisk| block_on(disk.write_file(place, bytes)).unwrap();
                    let what = format!("number {number} of {} in {}", source.display(), place.display());
                    let outcome = try_start(&image, damage).unwrap_or_else(|why| panic!("{what}: {why}"));
                    assert!(matches!(outcome, Outcome::Whole | Outcome::NoStart), "{what}: {outcome:?}");
                    // The one that was there, or the older generation, of which nothing is read.
                    *(if outcome == Outcome::Whole { &mut whole } else { &mut refused }) += 1;
                    agree(outcome, verified(&image, damage), &what);
                }
            }
        }
        assert!(refused > 50 && whole >= 4, "{refused} refused, {whole} whole");
    });
}

/// Segments of two partitions may have the same base offset: the checksums of the one say nothing of the other.
#[test]
fn checksums_of_another_partition_are_not_believed() {
    for left in [Left::Clean, Left::Killed] {
        let image = image(left);
        let sums = |partition| dir().partition(tp(partition)).join("00000000000000000000.sums");
        let (own, other) = (image.disk.peek(sums(0)).unwrap(), image.disk.peek(sums(COMPACTED)).unwrap());
        assert_ne!(own[52..], other[52..], "the segments differ");
        let damage = |disk: &SimDisk| block_on(disk.write_file(&sums(0), &other)).unwrap();
        assert_eq!(try_start(&image, damage), Ok(Outcome::Whole), "{left:?}");
        assert_eq!(verified(&image, damage), Some(Severity::Repairable), "{left:?}");
    }
}
