//! What reaches the device, operation by operation: which task calls it, and that no write ever lies over acknowledged bytes without a copy of them.
//!
//! The watcher of the simulated disk sees each call before it happens. Frames are read here by the tables of `FORMAT.md`, not by the code under test.
#![allow(clippy::unwrap_used)] // what a test takes for granted may panic

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use coreline_storage::data_dir::{DataDir, JournalId};
use coreline_storage::io::IoOp;
use coreline_storage::io::sim::{Rng, SimDisk};
use coreline_storage::journal::SyncMode;
use coreline_storage::{AppendContext, AppendError, AppendOrigin, Log, LogConfig, Store, StoreConfig, recover};
use coreline_wire::record::{BatchBuilder, Origin, RawBatch, ValidBatch};
use coreline_wire::{TopicId, TopicPartition};
use futures_lite::future::{block_on, or, pending, yield_now};

const ROOT: &str = "/data";
const BLOCK: usize = 4096;

thread_local! {
    /// The task that is running.
    static TASK: Cell<&'static str> = const { Cell::new("") };
}

/// Runs a future as a task of this name.
async fn named<T>(name: &'static str, task: impl Future<Output = T>) -> T {
    let mut task = std::pin::pin!(task);
    std::future::poll_fn(move |context| {
        let outer = TASK.replace(name);
        let polled = task.as_mut().poll(context);
        TASK.set(outer);
        polled
    })
    .await
}

fn tp(partition: i32) -> TopicPartition {
    TopicPartition { topic: TopicId([6; 16]), partition }
}

fn batch(number: u64, len: usize) -> ValidBatch {
    // An idempotent producer each: their snapshots become too large for the checkpoint table.
    let mut builder = BatchBuilder::new().producer(number as i64, 0, 0);
    builder.push(4_000, None, Some(&vec![number as u8 | 1; len]), &[]);
    RawBatch::new(builder.build().unwrap()).validate(Origin::Client { zstd_allowed: true }).unwrap()
}

fn config(mode: SyncMode) -> StoreConfig {
    StoreConfig {
        journal_file_bytes: 1 << 20,
        journal_bytes_max: 3 << 20,
        journal_sync_mode: mode,
        tail_budget_bytes: 2 << 20,
        flush_chunk_bytes: 64 << 10,
        flush_interval: Duration::from_millis(3),
        preallocate_step_bytes: 1 << 20,
        ..StoreConfig::default()
    }
}

async fn open(disk: &SimDisk, mode: SyncMode) -> Store<SimDisk> {
    let dir = DataDir::new(ROOT);
    recover(disk, &dir, &|_| true, 0).await.unwrap();
    Store::open(disk.clone(), &dir, JournalId(1), config(mode)).await.unwrap()
}

/// Appends batches of mixed sizes to a few logs, waiting now and then, so that segments roll and last blocks are written again and again.
async fn workload(store: &Store<SimDisk>, logs: &[Log<SimDisk>], batches: u64, watched: &Cell<bool>) {
    let mut rng = Rng::new(3);
    for number in 0..batches {
        let log = &logs[rng.below(logs.len() as u64) as usize];
        let batch = batch(number, if rng.below(4) == 0 { 20_000 } else { 300 });
        loop {
            let ctx = AppendContext { now_ms: 5_000, leader_epoch: 1, origin: AppendOrigin::Client };
            watched.set(true);
            let appended = log.append(&batch, ctx);
            watched.set(false);
            match appended {
                Ok(_) => break,
                Err(AppendError::Backpressure) => store.wait_space(batch.size_bytes()).await.unwrap(),
                Err(error) => panic!("{error}"),
            }
        }
        if rng.below(3) == 0 {
            log.wait_durable(log.log_end_offset()).await.unwrap();
        }
        for _ in 0..rng.below(40) {
            yield_now().await;
        }
    }
}

fn run(disk: &SimDisk, mode: SyncMode, batches: u64, appending: &Cell<bool>, with_store: impl FnOnce(&Store<SimDisk>)) {
    block_on(async {
        let store = open(disk, mode).await;
        with_store(&store);
        let mut logs = Vec::new();
        for partition in 0..3 {
            let log_config = LogConfig { segment_bytes: 200 << 10, ..LogConfig::default() };
            logs.push(store.open_log(tp(partition), log_config).await.unwrap());
        }
        let tasks = async {
            let journal = named("journal", store.run_journal());
            let flusher = named("flusher", store.run_flusher());
            let (journal, flusher) = futures_lite::future::zip(journal, flusher).await;
            journal.and(flusher).unwrap();
            pending::<()>().await
        };
        let body = named("append", async {
            workload(&store, &logs, batches, appending).await;
        });
        or(body, tasks).await;
        assert!(logs.iter().all(|log| log.segment_count() > 3), "segments rolled");
        assert!(store.stats().journal_stats.files_recycled > 0, "files were used again");
    });
}

fn disk() -> SimDisk {
    let disk = SimDisk::new(11);
    disk.mkdir(ROOT);
    disk
}

#[test]
fn appending_calls_nothing_and_the_journal_only_writes_frames() {
    for mode in [SyncMode::Dsync, SyncMode::Flush] {
        let disk = disk();
        let appending = Rc::new(Cell::new(false));
        let seen: Rc<RefCell<BTreeMap<(&str, String, String), u64>>> = Rc::default();
        let (in_append, counts) = (appending.clone(), seen.clone());
        disk.watch(move |op, path, _, _| {
            assert!(!in_append.get(), "append called {op} of {}", path.display());
            let kind = path.extension().unwrap_or_else(|| path.file_name().unwrap_or_default()).to_string_lossy().into_owned();
            if !TASK.get().is_empty() {
                *counts.borrow_mut().entry((TASK.get(), op.to_string(), kind)).or_default() += 1;
            }
        });
        run(&disk, mode, 800, &appending, |_| ());
        let seen = seen.borrow();
        let of = |task: &str| seen.keys().filter(|k| k.0 == task).map(|k| (k.1.as_str(), k.2.as_str())).collect::<BTreeSet<_>>();
        // Segments were rolled, indexes and producer snapshots written meanwhile: none of it by whoever appends, not even indirectly.
        assert_eq!(of("append"), BTreeSet::new(), "{seen:?}");
        // Its files are created and filled once, marks are kept in the state file (`journal.a`, `.b`, written as `.new`): nothing else.
        let allowed = ["frames", "a", "b", "new", "journal", "0000000000000001"];
        assert!(of("journal").iter().all(|(_, kind)| allowed.contains(kind)), "{:?}", of("journal"));
        assert!(of("flusher").iter().all(|(_, kind)| *kind != "frames"), "{:?}", of("flusher"));
        for (op, kind) in [("write", "log"), ("write", "producers"), ("write", "index"), ("truncate", "log"), ("flush", "")] {
            assert!(of("flusher").contains(&(op, kind)), "the flusher never did {op} of {kind}: {:?}", of("flusher"));
        }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Sequence and bytes of the valid frames in a piece of a journal file.
fn frames(bytes: &[u8]) -> Vec<(u64, &[u8])> {
    let mut found = Vec::new();
    for at in (0..bytes.len()).step_by(BLOCK) {
        if bytes[at..].starts_with(b"CLJF") {
            let len = u32_at(bytes, at + 56) as usize;
            if let Some(frame) = bytes.get(at..at + len)
                && crc32fast::hash(&frame[8..]) == u32_at(frame, 4)
            {
                found.push((u64_at(frame, 32), frame));
            }
        }
    }
    found
}

/// Whether a live frame of the journal has the image of a block that begins with `bytes`.
fn has_image(disk: &SimDisk, partition: u32, segment_base: u64, position: u64, bytes: &[u8], oldest: u64) -> bool {
    disk.files().iter().filter(|f| f.extension().is_some_and(|e| e == "frames")).any(|file| {
        let content = disk.peek(file).unwrap();
        frames(&content).iter().filter(|(sequence, _)| *sequence >= oldest).any(|(_, frame)| {
            let (mut at, mut left) = (64, u32_at(frame, 12));
            while left > 0 {
                let entry = &frame[at..];
                let len = u32_at(entry, 56) as usize;
                let place = (u32_at(entry, 16), u64_at(entry, 24), u64_at(entry, 32), entry[68]);
                if place == (partition, segment_base, position, 2) && entry[72..72 + len].starts_with(bytes) {
                    return true;
                }
                at += 72 + len.next_multiple_of(8);
                left -= 1;
            }
            false
        })
    })
}

#[test]
fn no_write_lies_over_acknowledged_bytes_without_a_copy_of_them() {
    for mode in [SyncMode::Dsync, SyncMode::Flush] {
        let disk = disk();
        let (appending, store) = (Cell::new(false), Rc::new(RefCell::new(None::<Store<SimDisk>>)));
        let (in_place, over_frames) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        // Of each segment file: where its last write ended.
        let ends: RefCell<BTreeMap<PathBuf, u64>> = RefCell::default();
        {
            let (disk, store, in_place, over_frames) = (disk.clone(), store.clone(), in_place.clone(), over_frames.clone());
            disk.clone().watch(move |op, path, position, data| {
                let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
                let oldest = store.borrow().as_ref().map_or(0, |store| store.stats().journal.oldest.0);
                match (op, extension) {
                    (IoOp::Write, "frames") => {
                        let content = disk.peek(path).unwrap();
                        let over = content.get(position as usize..).unwrap_or_default();
                        let over = &over[..data.len().min(over.len())];
                        for (sequence, _) in frames(over) {
                            assert!(
                                sequence < oldest,
                                "frame {sequence} is needed (oldest {oldest}) and overwritten in {}",
                                path.display()
                            );
                            over_frames.set(over_frames.get() + 1);
                        }
                    }
                    (IoOp::Write, "log") => {
                        let end = ends.borrow_mut().insert(path.to_path_buf(), position + data.len() as u64).unwrap_or(0);
                        if position >= end {
                            return;
                        }
                        // The last block, partly filled before, is written again: the bytes it held must be the same, and in the journal.
                        assert_eq!(end - position, BLOCK as u64, "more than the last block is written again");
                        let block = &disk.peek(path).unwrap()[position as usize..][..BLOCK];
                        let filled = block.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
                        assert_eq!(block[..filled], data[..filled], "{}", path.display());
                        let (partition, base) = place_of(path);
                        assert!(has_image(&disk, partition, base, position, &block[..filled], oldest), "{} at {position}", path.display());
                        in_place.set(in_place.get() + 1);
                    }
                    _ => {}
                }
            });
        }
        run(&disk, mode, 800, &appending, |opened| *store.borrow_mut() = Some(opened.clone()));
        assert!(in_place.get() > 20 && over_frames.get() > 20, "{} blocks, {} frames", in_place.get(), over_frames.get());
        store.take();
    }
}

/// Partition and base offset from `topics/<id>-<partition>/<base>.log`.
fn place_of(path: &Path) -> (u32, u64) {
    let dir = path.parent().and_then(Path::file_name).unwrap().to_str().unwrap();
    let partition = dir.rsplit_once('-').unwrap().1.parse().unwrap();
    (partition, path.file_stem().unwrap().to_str().unwrap().parse().unwrap())
}
