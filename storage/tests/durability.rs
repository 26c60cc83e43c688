//! Durability classes: when an append counts as acknowledged, what it costs the device, and what a power cut and the end of the process leave.
//!
//! Repeat one seed of the crash test: `DURABILITY_SEED=n cargo test -p coreline-storage --test durability crash`.
#![allow(clippy::unwrap_used)] // what a test takes for granted may panic

use std::cell::RefCell;
use std::future::Future;
use std::time::Duration;

use coreline_storage::config::DurabilityClass::{self, Durable, Memory, Replicated};
use coreline_storage::data_dir::{DataDir, JournalId};
use coreline_storage::io::sim::{CrashMode, Fate, Pending, Rng, SimDisk};
use coreline_storage::journal::SyncMode;
use coreline_storage::{AppendContext, AppendError, AppendOrigin, Log, LogConfig, ReadSpan, Store, StoreConfig, recover};
use coreline_wire::record::{BatchBuilder, Origin, RawBatch, ValidBatch};
use coreline_wire::{TopicId, TopicPartition};
use futures_lite::future::{block_on, or, pending, yield_now};

const ROOT: &str = "/data";
const CLASSES: [DurabilityClass; 3] = [Durable, Replicated, Memory];
const MODES: [SyncMode; 2] = [SyncMode::Dsync, SyncMode::Flush];

fn tp(partition: i32) -> TopicPartition {
    TopicPartition { topic: TopicId([5; 16]), partition }
}

fn disk(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    disk.mkdir(ROOT);
    disk
}

fn config(mode: SyncMode) -> StoreConfig {
    StoreConfig {
        journal_file_bytes: 1 << 20,
        journal_bytes_max: 4 << 20,
        journal_sync_mode: mode,
        tail_budget_bytes: 8 << 20,
        // No checkpoint comes between, unless a test asks for it.
        flush_interval: Duration::from_secs(3600),
        ..StoreConfig::default()
    }
}

fn of_class(durability: DurabilityClass) -> LogConfig {
    LogConfig { durability, ..LogConfig::default() }
}

fn batch(number: u64, len: usize) -> ValidBatch {
    let mut builder = BatchBuilder::new();
    builder.push(4_000, Some(&number.to_be_bytes()), Some(&vec![number as u8; len]), &[]);
    RawBatch::new(builder.build().unwrap()).validate(Origin::Client { zstd_allowed: true }).unwrap()
}

fn context(now_ms: i64) -> AppendContext {
    AppendContext { now_ms, leader_epoch: 1, origin: AppendOrigin::Client }
}

async fn open(disk: &SimDisk, config: StoreConfig) -> Store<SimDisk> {
    let dir = DataDir::new(ROOT);
    let report = recover(disk, &dir, &|_| true, 0).await.unwrap();
    let journal = report.journals.first().copied().unwrap_or(JournalId(1));
    Store::open(disk.clone(), &dir, journal, config).await.unwrap()
}

async fn beside<T>(store: &Store<SimDisk>, body: impl Future<Output = T>) -> T {
    let tasks = async {
        let (journal, flusher) = futures_lite::future::zip(store.run_journal(), store.run_flusher()).await;
        journal.and(flusher).unwrap();
        pending::<T>().await
    };
    or(body, tasks).await
}

async fn until(mut condition: impl FnMut() -> bool) {
    for _ in 0..100_000 {
        if condition() {
            return;
        }
        yield_now().await;
    }
    panic!("it never came true");
}

/// Appends and waits for what an acknowledgement waits for.
async fn acked(log: &Log<SimDisk>, number: u64) {
    log.append(&batch(number, 100), context(5_000)).unwrap();
    until(|| log.settled_end_offset() == log.log_end_offset()).await;
}

#[test]
fn each_class_is_acknowledged_by_its_own_mark_at_its_own_cost() {
    for mode in MODES {
        block_on(async {
            let disk = disk(1);
            let store = open(&disk, config(mode)).await;
            beside(&store, async {
                let mut logs = Vec::new();
                for (i, class) in CLASSES.into_iter().enumerate() {
                    logs.push(store.open_log(tp(i as i32), of_class(class)).await.unwrap());
                }
                // The journal's files are prepared first: their flushes are not the appends'.
                acked(&logs[0], 0).await;
                for _ in 0..3000 {
                    yield_now().await;
                }

                logs[2].append(&batch(1, 100), context(5_000)).unwrap();
                assert_eq!((logs[2].settled_end_offset(), store.stats().journal_stats.frames), (1, 1), "in memory at once");

                let before = (disk.stats(), store.stats().journal_stats);
                for n in 0..20 {
                    acked(&logs[1], n).await;
                }
                until(|| store.stats().journal.newest.0 == store.stats().journal_stats.frames).await;
                let after = (disk.stats(), store.stats().journal_stats);
                assert_eq!(after.0.syncs - before.0.syncs, 0, "{mode:?}: no flush for class replicated");
                assert_eq!(after.0.writes - before.0.writes, after.1.frames - before.1.frames, "one device write each");
                assert!(logs[1].durable_end_offset() == 0 && logs[1].settled_end_offset() == 20);

                let before = (disk.stats(), store.stats().journal_stats);
                for n in 0..20 {
                    acked(&logs[0], n).await;
                    assert_eq!(logs[0].durable_end_offset(), logs[0].log_end_offset());
                }
                let after = (disk.stats(), store.stats().journal_stats);
                assert_eq!(after.0.writes - before.0.writes, 20, "one device write each");
                // With O_DSYNC one flush is needed once, for the replicated frames before.
                let flushes = if mode == SyncMode::Flush { 20 } else { 1 };
                assert_eq!(after.0.syncs - before.0.syncs, flushes, "{mode:?}");
                assert_eq!(after.1.flushes - before.1.flushes, flushes);
                assert_eq!(logs[1].durable_end_offset(), 20, "what lay before a durable frame is durable with it");
            })
            .await;
        });
    }
}

#[test]
fn a_frame_of_mixed_classes_is_one_write_and_is_flushed_only_for_its_durable_entry() {
    for mode in MODES {
        block_on(async {
            let disk = disk(2);
            let store = open(&disk, config(mode)).await;
            beside(&store, async {
                let mut logs = Vec::new();
                for (i, class) in CLASSES.into_iter().enumerate() {
                    logs.push(store.open_log(tp(i as i32), of_class(class)).await.unwrap());
                }
                acked(&logs[0], 0).await;
                for _ in 0..3000 {
                    yield_now().await;
                }
                for with_durable in [true, false] {
                    let before = disk.stats();
                    let mine = if with_durable { &logs[..] } else { &logs[1..] };
                    for log in mine {
                        log.append(&batch(1, 100), context(5_000)).unwrap();
                    }
                    until(|| mine.iter().all(|log| log.settled_end_offset() == log.log_end_offset())).await;
                    let after = disk.stats();
                    let flushes = u64::from(with_durable && mode == SyncMode::Flush);
                    assert_eq!((after.writes - before.writes, after.syncs - before.syncs), (1, flushes), "{mode:?}, {with_durable}");
                }
            })
            .await;
        });
    }
}

#[test]
fn flushes_do_not_grow_with_the_partitions() {
    for mode in MODES {
        for partitions in [1, 64, 1000] {
            block_on(async {
                let disk = disk(3);
                // Large enough that no frame meets the end of a file.
                let config = StoreConfig { journal_file_bytes: 8 << 20, journal_bytes_max: 32 << 20, ..config(mode) };
                let store = open(&disk, config).await;
                beside(&store, async {
                    let mut logs = Vec::new();
                    for partition in 0..partitions {
                        logs.push(store.open_log(tp(partition), LogConfig::default()).await.unwrap());
                    }
                    acked(&logs[0], 0).await;
                    for _ in 0..20_000 {
                        yield_now().await;
                    }
                    let before = (disk.stats(), store.stats().journal_stats);
                    for round in 0..5 {
                        for log in &logs {
                            log.append(&batch(round, 10), context(5_000)).unwrap();
                        }
                        until(|| logs.iter().all(|log| log.durable_end_offset() == log.log_end_offset())).await;
                    }
                    let after = (disk.stats(), store.stats().journal_stats);
                    let flushes = if mode == SyncMode::Flush { 5 } else { 0 };
                    let did = (after.0.writes - before.0.writes, after.0.syncs - before.0.syncs);
                    assert_eq!(did, (5, flushes), "{mode:?}, {partitions} partitions, five rounds of one batch each");
                    assert_eq!((after.1.frames - before.1.frames, after.1.flushes - before.1.flushes), did);
                })
                .await;
            });
        }
    }
}

#[test]
fn a_change_of_class_is_in_force_at_once_and_a_stronger_one_flushes_what_was_before() {
    block_on(async {
        let disk = disk(4);
        let store = open(&disk, config(SyncMode::Dsync)).await;
        beside(&store, async {
            let log = store.open_log(tp(0), of_class(Replicated)).await.unwrap();
            acked(&log, 0).await;
            assert_eq!((log.settled_end_offset(), log.durable_end_offset()), (1, 0));
            log.update_config(of_class(Durable));
            until(|| log.durable_end_offset() == 1).await;
            // A durable batch in flight holds up the memory batch behind it: an acknowledgement covers all offsets below.
            log.append(&batch(1, 100), context(5_000)).unwrap();
            log.update_config(of_class(Memory));
            log.append(&batch(2, 100), context(5_000)).unwrap();
            assert_eq!(log.settled_end_offset(), 1);
            until(|| log.settled_end_offset() == 3).await;
            assert!(log.durable_end_offset() >= 2);
            log.append(&batch(3, 100), context(5_000)).unwrap();
            assert_eq!(log.settled_end_offset(), 4);
        })
        .await;
    });
}

#[test]
fn kafkas_flush_settings_bound_what_a_weaker_class_can_lose() {
    block_on(async {
        let disk = disk(5);
        let store = open(&disk, config(SyncMode::Dsync)).await;
        beside(&store, async {
            let by_count = LogConfig { flush_messages: 10, ..of_class(Replicated) };
            let log = store.open_log(tp(0), by_count).await.unwrap();
            for n in 0..9 {
                acked(&log, n).await;
            }
            assert_eq!(log.durable_end_offset(), 0);
            acked(&log, 9).await;
            until(|| log.durable_end_offset() == 10).await;

            let by_age = LogConfig { flush_ms: 100, ..of_class(Memory) };
            let log = store.open_log(tp(1), by_age).await.unwrap();
            for now_ms in [5_000, 5_050, 5_099] {
                log.append(&batch(0, 10), context(now_ms)).unwrap();
            }
            for _ in 0..3000 {
                yield_now().await;
            }
            assert_eq!((log.settled_end_offset(), log.durable_end_offset()), (3, 0));
            log.append(&batch(0, 10), context(5_100)).unwrap();
            until(|| log.durable_end_offset() == 4).await;
        })
        .await;
    });
}

#[test]
fn a_checkpoint_makes_everything_durable_and_deleted_records_stay_deleted() {
    block_on(async {
        let disk = disk(6);
        let mut config = config(SyncMode::Dsync);
        config.flush_interval = Duration::from_millis(5);
        let store = open(&disk, config.clone()).await;
        beside(&store, async {
            let log = store.open_log(tp(0), of_class(Memory)).await.unwrap();
            acked(&log, 0).await;
            until(|| log.durable_end_offset() == 1).await;
        })
        .await;
        drop(store);
        config.flush_interval = Duration::from_secs(3600);
        let store = open(&disk, config).await;
        beside(&store, async {
            let log = store.open_log(tp(0), of_class(Memory)).await.unwrap();
            log.append(&batch(1, 10), context(5_000)).unwrap();
            assert_eq!(log.delete_records(2).await.unwrap(), 2, "readable, so it can be deleted, though it was not flushed yet");
            assert_eq!(log.durable_end_offset(), 2);
        })
        .await;
    });
}

/// What one log should hold after a crash.
#[derive(Default)]
struct Expected {
    appended: i64,
    settled: i64,
}

async fn recovered(log: &Log<SimDisk>) -> Vec<u8> {
    let (mut bytes, mut offset) = (Vec::new(), 0);
    while offset < log.log_end_offset() {
        let plan = log.read(offset, 1 << 20, i64::MAX, true).await.unwrap();
        for span in &plan.spans {
            match span {
                ReadSpan::Memory(slice) => bytes.extend_from_slice(slice),
                ReadSpan::File { .. } => panic!("a simulated disk has no descriptors"),
            }
        }
        offset = plan.next_offset;
    }
    bytes
}

/// One run with logs of all classes (and one whose class changes), ended by a power cut or by the end of the process.
fn crash(seed: u64, lie: bool) {
    let mut rng = Rng::new(seed);
    let current = disk(seed);
    let mut config = config(MODES[rng.below(2) as usize]);
    config.flush_interval = Duration::from_millis([2, 3_600_000][rng.below(2) as usize]);
    let power_cut = rng.below(2) == 0;
    let expected: RefCell<Vec<Expected>> = RefCell::new((0..4).map(|_| Expected::default()).collect());
    // The log whose class changes promises what the weakest class it had promises: nothing is checked of it but its prefix.
    let classes = [Durable, Replicated, Memory, Memory];
    block_on(async {
        let store = open(&current, config.clone()).await;
        let body = async {
            let mut logs = Vec::new();
            for (i, class) in classes.into_iter().enumerate() {
                logs.push(store.open_log(tp(i as i32), of_class(class)).await.unwrap());
            }
            current.set_delay(1 + rng.below(6));
            if lie {
                current.lie_about_flushes();
            }
            current.halt_after(current.stats().events + 1 + rng.below(150));
            loop {
                let i = rng.below(4) as usize;
                if i == 3 && rng.below(3) == 0 {
                    logs[3].update_config(of_class(CLASSES[rng.below(3) as usize]));
                }
                let number = expected.borrow()[i].appended as u64;
                match logs[i].append(&batch(number, rng.below(3000) as usize), context(5_000)) {
                    Ok(_) => expected.borrow_mut()[i].appended += 1,
                    Err(AppendError::Backpressure) => store.wait_space(4000).await.unwrap(),
                    Err(error) => panic!("{error}"),
                }
                for _ in 0..rng.below(6) {
                    yield_now().await;
                }
                for (log, expected) in logs.iter().zip(expected.borrow_mut().iter_mut()) {
                    expected.settled = log.settled_end_offset();
                }
            }
        };
        or(beside(&store, body), current.halted()).await;
    });
    let survivor = if power_cut {
        current.crash(seed, [CrashMode::Mixed, CrashMode::LoseAll][(seed % 2) as usize])
    } else {
        // The process ends, the device goes on: what it had completed is there.
        let mut fate = Rng::new(seed);
        current.crash_with(seed, &mut |pending: &Pending<'_>| match pending {
            Pending::Data { completed: true, .. } | Pending::Size { completed: true, .. } | Pending::Entry { completed: true, .. } => {
                Fate::Keep
            }
            _ => [Fate::Keep, Fate::Lose][fate.below(2) as usize],
        })
    };
    block_on(async {
        let store = open(&survivor, config).await;
        for (i, expected) in expected.take().iter().enumerate() {
            let log = store.open_log(tp(i as i32), of_class(classes[i])).await.unwrap();
            let end = log.log_end_offset();
            let promised = match (i, power_cut) {
                (0, _) | (1, false) => expected.settled,
                _ => 0,
            };
            assert!(
                end >= promised && end <= expected.appended,
                "log {i}: {end} of {promised}..={}, power cut {power_cut}",
                expected.appended
            );
            // Whole batches, in order: each has its number as its key.
            let bytes = recovered(&log).await;
            let found = coreline_wire::record::batch::Batches::new(bytes.into()).count() as i64;
            assert_eq!(found, end, "log {i}");
        }
    });
}

#[test]
fn crashes_leave_what_each_class_promises() {
    let seeds = match std::env::var("DURABILITY_SEED").ok().and_then(|s| s.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..300u64,
    };
    for seed in seeds {
        if let Err(panic) = std::panic::catch_unwind(|| crash(seed, false)) {
            eprintln!("seed {seed} failed: DURABILITY_SEED={seed} cargo test -p coreline-storage --test durability crash");
            std::panic::resume_unwind(panic);
        }
    }
}

/// The control: on a disk whose flushes do nothing the test above must fail.
#[test]
fn a_disk_that_lies_about_flushes_is_found() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let found = (0..60).any(|seed| std::panic::catch_unwind(|| crash(seed, true)).is_err());
    std::panic::set_hook(hook);
    assert!(found, "60 seeds passed on a disk that lies");
}
