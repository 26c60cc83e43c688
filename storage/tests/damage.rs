//! Damage: a changed bit, a cut and a missing file, in each kind of file of a data directory. Wrong bytes are never read, the other partition goes on, what is
//! refused names a file, and what can be repaired is. Repeat with `cargo test -p coreline-storage --test damage`.
#![allow(clippy::unwrap_used)] // what a test takes for granted may panic

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use coreline_storage::data_dir::{CleanShutdown, DataDir, JournalId, Meta};
use coreline_storage::io::Disk;
use coreline_storage::io::sim::{CrashMode, SimDisk};
use coreline_storage::journal::SyncMode;
use coreline_storage::{
    AppendContext, AppendError, AppendOrigin, Log, LogConfig, ReadError, ReadSpan, StorageError, Store, StoreConfig, recover,
};
use coreline_wire::record::{BatchBuilder, Origin, RawBatch, ValidBatch};
use coreline_wire::{TopicId, TopicPartition};
use futures_lite::future::{block_on, or, pending};

const ROOT: &str = "/data";
const PARTITIONS: i32 = 2;

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

fn log_config() -> LogConfig {
    LogConfig { segment_bytes: 180 << 10, ..LogConfig::default() }
}

fn batch(number: usize) -> ValidBatch {
    let mut builder = BatchBuilder::new().producer(7 + number as i64 % 60, 0, (number / 60) as i32);
    let value: Vec<u8> = (0..3000 + number * 37 % 2000).map(|i| (i * 31 + number) as u8).collect();
    builder.push(4_000 + number as i64, Some(b"key"), Some(&value), &[]);
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

/// A data directory, as a clean stop or a kill leaves it, and what its partitions hold.
struct Image {
    disk: SimDisk,
    logs: Vec<Vec<u8>>,
}

fn image(clean: bool) -> Image {
    block_on(async {
        let disk = SimDisk::new(1);
        disk.mkdir(ROOT);
        let store = open(&disk).await.unwrap();
        let mut logs = Vec::new();
        beside(&store, async {
            let mut all = Vec::new();
            for partition in 0..PARTITIONS {
                all.push(store.open_log(tp(partition), log_config()).await.unwrap());
                // A producer snapshot too large for the checkpoint table becomes a file.
                fill(&store, &all[partition as usize], 0..130).await;
            }
            let checkpoints = store.stats().checkpoints;
            while store.stats().checkpoints < checkpoints + 2 && store.stats().dirty_logs > 0 {
                disk.sleep(Duration::from_millis(1)).await;
            }
            // Something that only the journal has, in the last block and behind it.
            fill(&store, &all[0], 130..133).await;
            for log in &all {
                let (bytes, error) = read(log).await;
                assert!(error.is_none(), "{error:?}");
                logs.push(bytes);
            }
            if clean {
                store.shutdown().await.unwrap();
                dir().write_clean_shutdown(&disk, CleanShutdown { broker_epoch: 3 }).await.unwrap();
            }
        })
        .await;
        Image { disk: disk.crash(0, CrashMode::KeepAll), logs }
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

fn try_start(image: &Image, damage: impl FnOnce(&SimDisk)) -> Result<Outcome, String> {
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
                let outcome = match store.open_log(tp(partition), log_config()).await {
                    Err(error) => names_a_file(&error.to_string()).map(|()| Outcome::Fenced)?,
                    Ok(log) => match read(&log).await {
                        (bytes, _) if !expected.starts_with(&bytes) && !bytes.is_empty() => {
                            return Err(format!("partition {partition}: wrong bytes were read"));
                        }
                        (bytes, None) if bytes.len() == expected.len() => Outcome::Whole,
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

fn names_a_file(error: &str) -> Result<(), String> {
    if error.contains(ROOT) { Ok(()) } else { Err(format!("no file is named: {error}")) }
}

/// Which kind of file.
fn kind(path: &Path) -> &'static str {
    let name = path.file_name().unwrap().to_str().unwrap();
    let folder = path.parent().unwrap().file_name().unwrap().to_str().unwrap();
    match (folder, name.rsplit('.').next().unwrap()) {
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
fn allowed(kind: &str, clean: bool) -> &'static [Outcome] {
    use Outcome::*;
    match kind {
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
fn positions(kind: &str, bytes: &[u8]) -> Vec<usize> {
    // Behind the last batch of the segment that is written to lies padding.
    let padding = bytes.iter().rev().take_while(|byte| **byte == 0).count();
    let len = if kind == "log" { bytes.len() - padding } else { bytes.len() };
    match kind {
        _ if len <= 200 => (0..len).collect(),
        "log" => (0..61).step_by(3).chain((61..len).step_by(len / 16)).chain([len - 1]).collect(),
        // Only where there is something: zeros behind the frames are nobody's.
        "frames" => (0..len).filter(|at| bytes[*at] != 0).step_by(4001).collect(),
        _ => (0..64.min(len)).step_by(5).chain((64..len).step_by((len / 12).max(1))).chain([len - 1]).collect(),
    }
}

fn each_kind(image: &Image, clean: bool, mut check: impl FnMut(&str, &PathBuf, &[u8])) {
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
    let mut expected = vec!["checkpoint", "frames", "index", "journal state", "log", "meta", "producers", "sums", "timeindex"];
    if clean {
        expected.insert(1, "clean-shutdown");
    }
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn a_changed_bit_is_found_in_each_kind_of_file() {
    for clean in [true, false] {
        let image = image(clean);
        assert_eq!(try_start(&image, |_| {}), Ok(Outcome::Whole));
        each_kind(&image, clean, |kind, path, bytes| {
            for at in positions(kind, bytes) {
                let outcome = try_start(&image, |disk| disk.damage(path, at as u64, 1));
                let what = format!("byte {at} of {}, clean {clean}", path.display());
                let outcome = outcome.unwrap_or_else(|why| panic!("{what}: {why}"));
                assert!(allowed(kind, clean).contains(&outcome), "{what}: {outcome:?}");
            }
        });
    }
}

/// Files that were cut at odd lengths, or are gone. What a file that is gone means is the same as for a changed bit, but for those that may be absent.
#[test]
fn cut_and_missing_files_are_found() {
    use Outcome::*;
    for clean in [true, false] {
        let image = image(clean);
        each_kind(&image, clean, |kind, path, bytes| {
            let mut lengths = vec![0, 1, bytes.len() / 3 + 1, bytes.len() - 1];
            lengths.dedup();
            let cuts = lengths.into_iter().map(Some).chain([None]);
            for cut in cuts {
                let outcome = try_start(&image, |disk| {
                    block_on(async {
                        match cut {
                            Some(len) => disk.write_file(path, &bytes[..len]).await.unwrap(),
                            None => disk.remove_file(path).await.unwrap(),
                        }
                    })
                });
                let what = format!("{} cut to {cut:?}, clean {clean}", path.display());
                let outcome = outcome.unwrap_or_else(|why| panic!("{what}: {why}"));
                let fine: &[Outcome] = match (kind, cut) {
                    // The checkpoint's other generation is then a whole table; where there is none, segments without one are an error.
                    ("checkpoint", None) => &[Whole, NoStart, Fenced],
                    ("log", _) => &[Whole, Refused, Fenced, NoStart],
                    ("journal state", None) => &[Whole, NoStart],
                    (kind, _) => allowed(kind, clean),
                };
                assert!(fine.contains(&outcome), "{what}: {outcome:?}");
                // Whole despite a cut log: only when what was cut was padding.
                assert!(kind != "log" || outcome != Whole || cut == Some(bytes.len() - 1), "{what}: {outcome:?}");
            }
        });
    }
}
