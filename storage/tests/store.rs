//! Behaviour of a store as a whole on the simulated disk: deletion, unknown partitions, damaged metadata, device errors, memory of idle logs.
#![allow(clippy::unwrap_used)] // what a test takes for granted may panic

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use coreline_storage::data_dir::{DataDir, JournalId, Meta};
use coreline_storage::io::sim::{CrashMode, Fault, SimDisk};
use coreline_storage::io::{Disk, IoOp, Poison};
use coreline_storage::journal::SyncMode;
use coreline_storage::{
    AppendContext, AppendError, AppendOrigin, Appended, Claims, Log, LogConfig, ReadError, ReadSpan, StorageError, Store, StoreConfig,
    begin_empty, recover,
};
use coreline_wire::record::{BatchBuilder, BatchHeader, Origin, RawBatch, TimestampType, ValidBatch};
use coreline_wire::{TopicId, TopicPartition};
use futures_lite::future::{block_on, or, pending, yield_now};

const ROOT: &str = "/data";
const CLIENT: AppendContext = AppendContext { now_ms: 5_000, leader_epoch: 1, origin: AppendOrigin::Client };

fn tp(partition: i32) -> TopicPartition {
    TopicPartition { topic: TopicId([1; 16]), partition }
}

fn dir() -> DataDir {
    DataDir::new(ROOT)
}

fn disk() -> SimDisk {
    let disk = SimDisk::new(1);
    disk.mkdir(ROOT);
    disk
}

fn config() -> StoreConfig {
    StoreConfig {
        journal_file_bytes: 1 << 20,
        journal_bytes_max: 3 << 20,
        journal_sync_mode: SyncMode::Dsync,
        tail_budget_bytes: 2 << 20,
        flush_interval: Duration::from_millis(5),
        ..StoreConfig::default()
    }
}

fn batch(len: usize) -> ValidBatch {
    let mut builder = BatchBuilder::new();
    builder.push(4_000, None, Some(&vec![7; len]), &[]);
    RawBatch::new(builder.build().unwrap()).validate(Origin::Client { zstd_allowed: true }).unwrap()
}

async fn open(disk: &SimDisk) -> Store<SimDisk> {
    recover(disk, &dir(), &|_| true, 0).await.unwrap();
    Store::open(disk.clone(), &dir(), JournalId(1), config()).await.unwrap()
}

/// Runs `body` beside the store's tasks, which must not fail.
async fn beside<T>(store: &Store<SimDisk>, body: impl Future<Output = T>) -> T {
    let tasks = async {
        let (journal, flusher) = futures_lite::future::zip(store.run_journal(), store.run_flusher()).await;
        journal.and(flusher).unwrap();
        pending::<T>().await
    };
    or(body, tasks).await
}

async fn append(log: &Log<SimDisk>, len: usize) -> Appended {
    let appended = log.append(&batch(len), CLIENT).unwrap();
    log.wait_durable(appended.last_offset + 1).await.unwrap();
    appended
}

#[test]
fn a_directory_formatted_just_now_needs_no_recovery_and_survives_the_first_power_cut() {
    for seed in 0..40 {
        block_on(async {
            let disk = disk();
            let meta = Meta { cluster_id: String::new(), node_id: 1, directory_id: [7; 16] };
            dir().open_or_format(&disk, &meta).await.unwrap();
            begin_empty(&disk, &dir()).await.unwrap();
            let store = Store::open(disk.clone(), &dir(), JournalId(1), config()).await.unwrap();
            beside(&store, async {
                let log = store.open_log(tp(0), LogConfig::default()).await.unwrap();
                append(&log, 5_000).await;
            })
            .await;
            let survivor = disk.crash(seed, CrashMode::Mixed);
            assert_eq!(dir().open_or_format(&survivor, &meta).await.unwrap().directory_id, [7; 16]);
            let store = open(&survivor).await;
            let log = store.open_log(tp(0), LogConfig::default()).await.unwrap();
            assert_eq!(log.log_end_offset(), 1, "seed {seed}: what was acknowledged is there");
        });
    }
}

async fn until(mut condition: impl FnMut() -> bool) {
    for _ in 0..1_000_000 {
        if condition() {
            return;
        }
        yield_now().await;
    }
    panic!("it never came true");
}

#[test]
fn the_durable_end_moves_in_order_and_is_told() {
    block_on(async {
        let disk = disk();
        let store = open(&disk).await;
        beside(&store, async {
            let log = store.open_log(tp(0), LogConfig::default()).await.unwrap();
            let told = Rc::new(RefCell::new(Vec::new()));
            let (list, again, left) = (told.clone(), log.clone(), Cell::new(3));
            log.on_settled(move |end| {
                list.borrow_mut().push(end);
                // A callback may append.
                if left.replace(left.get() - 1) > 0 {
                    again.append(&batch(10), CLIENT).unwrap();
                }
            });
            let first = log.append(&batch(10), CLIENT).unwrap();
            assert_eq!((first.base_offset, log.log_end_offset(), log.durable_end_offset()), (0, 1, 0), "placed, not durable");
            store.wait_durable(first.ticket).await.unwrap();
            until(|| log.durable_end_offset() == 4).await;
            assert_eq!(*told.borrow(), [1, 2, 3, 4]);
        })
        .await;
    });
}

#[test]
fn a_deleted_log_is_gone_and_its_place_is_free() {
    block_on(async {
        let disk = disk();
        let store = open(&disk).await;
        beside(&store, async {
            let log = store.open_log(tp(0), LogConfig::default()).await.unwrap();
            let other = store.open_log(tp(1), LogConfig::default()).await.unwrap();
            append(&log, 5000).await;
            append(&other, 10).await;
            until(|| store.stats().dirty_logs == 0).await;
            log.append(&batch(10), CLIENT).unwrap();
            store.delete_log(tp(0)).await.unwrap();
            assert!(matches!(log.append(&batch(10), CLIENT), Err(AppendError::Storage(StorageError::Closed))));
            assert!(matches!(log.read(0, 1000, i64::MAX, true).await, Err(ReadError::Storage(StorageError::Closed))));
            let prefix = dir().partition(tp(0));
            until(|| !disk.files().iter().any(|f| f.starts_with(&prefix))).await;
            store.shutdown().await.unwrap();
        })
        .await;
        let report = recover(&disk, &dir(), &|p| p == tp(1), 0).await.unwrap();
        assert!(report.notes.is_empty());
        let store = Store::open(disk.clone(), &dir(), JournalId(1), config()).await.unwrap();
        let other = store.open_log(tp(1), LogConfig::default()).await.unwrap();
        assert_eq!(other.log_end_offset(), 1);
    });
}

#[test]
fn partitions_the_metadata_does_not_know_are_left_alone_and_named() {
    block_on(async {
        let disk = disk();
        let store = open(&disk).await;
        beside(&store, async {
            let log = store.open_log(tp(3), LogConfig::default()).await.unwrap();
            append(&log, 100).await;
        })
        .await;
        let report = recover(&disk, &dir(), &|_| false, 0).await.unwrap();
        assert_eq!((report.unknown, report.entries_redone), (vec![tp(3)], 0));
    });
}

#[test]
fn a_damaged_checkpoint_stops_the_start_and_is_named() {
    block_on(async {
        let disk = disk();
        let store = open(&disk).await;
        beside(&store, async {
            let log = store.open_log(tp(0), LogConfig::default()).await.unwrap();
            append(&log, 100).await;
            store.shutdown().await.unwrap();
        })
        .await;
        let table = disk.files().into_iter().find(|f| f.to_string_lossy().contains("checkpoint/0000000000000001")).unwrap();
        disk.damage(&table, 40, 4);
        let error = recover(&disk, &dir(), &|_| true, 0).await.unwrap_err();
        assert!(error.to_string().contains("checkpoint/0000000000000001"), "{error}");
    });
}

/// After a kill only the journal has what was acknowledged last: a start that goes on without it would lose that in silence.
#[test]
fn tables_without_their_journal_are_refused() {
    block_on(async {
        use coreline_storage::io::Disk;
        let disk = disk();
        let store = open(&disk).await;
        beside(&store, async {
            let log = store.open_log(tp(0), LogConfig::default()).await.unwrap();
            append(&log, 5_000).await;
            store.shutdown().await.unwrap();
        })
        .await;
        let whole = disk.crash(0, CrashMode::KeepAll);
        let store = open(&whole.crash(0, CrashMode::KeepAll)).await;
        assert_eq!(store.open_log(tp(0), LogConfig::default()).await.unwrap().log_end_offset(), 1);
        // The newest table is the one of the store at first, and the base alone after a recovery.
        for recovered in [false, true] {
            let disk = whole.crash(0, CrashMode::KeepAll);
            if recovered {
                recover(&disk, &dir(), &|_| true, 0).await.unwrap();
            }
            disk.remove_dir_all(&dir().journal(JournalId(1))).await.unwrap();
            let error = recover(&disk, &dir(), &|_| true, 0).await.unwrap_err().to_string();
            assert!(error.contains("/data/journal") && error.contains("a journal that is not there"), "{recovered}: {error}");
        }
    });
}

#[test]
fn segments_without_a_checkpoint_are_not_taken_for_an_empty_log() {
    block_on(async {
        let disk = disk();
        let store = open(&disk).await;
        beside(&store, async {
            let log = store.open_log(tp(0), LogConfig::default()).await.unwrap();
            append(&log, 100).await;
            store.shutdown().await.unwrap();
        })
        .await;
        use coreline_storage::io::Disk;
        for file in disk.files().iter().filter(|file| file.starts_with("/data/checkpoint")) {
            disk.remove_file(file).await.unwrap();
        }
        // A journal is made behind the first table: without one, what it holds would be lost for good.
        let error = recover(&disk, &dir(), &|_| true, 0).await.unwrap_err();
        assert!(error.to_string().contains("no checkpoint table"), "{error}");
        disk.remove_dir_all(&dir().journal(JournalId(1))).await.unwrap();
        let store = open(&disk).await;
        let error = store.open_log(tp(0), LogConfig::default()).await.unwrap_err();
        assert!(error.to_string().contains("no checkpoint knows this partition"), "{error}");
    });
}

#[test]
fn after_a_device_error_nothing_is_acknowledged() {
    for op in [IoOp::Write, IoOp::Sync] {
        block_on(async {
            let disk = disk();
            let store = open(&disk).await;
            let log = store.open_log(tp(0), LogConfig::default()).await.unwrap();
            let tasks = async {
                let (journal, flusher) = futures_lite::future::zip(store.run_journal(), store.run_flusher()).await;
                assert!(journal.is_err() || flusher.is_err());
                pending::<()>().await
            };
            let body = async {
                append(&log, 100).await;
                // The segment's write, or the flush of the file system: both in the background.
                disk.inject(Fault {
                    op,
                    path_part: if op == IoOp::Write { ".log".into() } else { String::new() },
                    skip: 0,
                    times: 1,
                    errno: libc::EIO,
                });
                until(|| matches!(log.append(&batch(10), CLIENT), Err(AppendError::Storage(StorageError::Poisoned { .. })))).await;
                let end = log.log_end_offset();
                if log.durable_end_offset() < end {
                    assert!(log.wait_durable(end).await.is_err());
                }
                assert!(store.wait_space(10).await.is_err());
            };
            or(body, tasks).await;
        });
    }
}

#[test]
fn log_append_time_is_stamped_and_the_batch_stays_valid() {
    block_on(async {
        let disk = disk();
        let store = open(&disk).await;
        beside(&store, async {
            let config = LogConfig { timestamp_type: TimestampType::LogAppendTime, ..LogConfig::default() };
            let log = store.open_log(tp(0), config).await.unwrap();
            let appended = append(&log, 100).await;
            assert_eq!(appended.log_append_time_ms, Some(5_000));
            let plan = log.read_cached(0, 10_000, i64::MAX, true).unwrap().unwrap();
            let [ReadSpan::Memory(bytes)] = plan.spans.as_slice() else { panic!("{plan:?}") };
            let valid = RawBatch::new(bytes.clone()).validate(Origin::Log).unwrap();
            let header: BatchHeader = *valid.header();
            assert_eq!((header.max_timestamp, header.attributes.timestamp_type()), (5_000, TimestampType::LogAppendTime));
            assert_eq!(header.partition_leader_epoch, 1);
        })
        .await;
    });
}

#[test]
fn many_idle_logs_hold_little_memory_and_few_files() {
    block_on(async {
        let disk = disk();
        disk.set_delay(0);
        let store = open(&disk).await;
        beside(&store, async {
            let mut logs = Vec::new();
            for p in 0..600 {
                let log = store.open_log(tp(p), LogConfig::default()).await.unwrap();
                let appended = log.append(&batch(3000), CLIENT);
                if matches!(appended, Err(AppendError::Backpressure)) {
                    store.wait_space(4000).await.unwrap();
                    log.append(&batch(3000), CLIENT).unwrap();
                }
                logs.push(log);
            }
            // 600 chunks do not fit into the budget of 2 MiB: the oldest left as they were flushed.
            until(|| store.stats().dirty_logs == 0).await;
            let stats = store.stats();
            assert!(stats.tail_bytes <= stats.tail_bytes_max, "{stats:?}");
            assert!(stats.open_files <= 1024, "{stats:?}");
            for log in &logs {
                let plan = log.read(0, 10_000, i64::MAX, true).await.unwrap();
                assert_eq!(plan.next_offset, 1);
            }
        })
        .await;
    });
}

#[test]
fn deleted_records_free_whole_segments() {
    block_on(async {
        let disk = disk();
        let store = open(&disk).await;
        beside(&store, async {
            let log = store.open_log(tp(0), LogConfig { segment_bytes: 8 << 10, ..LogConfig::default() }).await.unwrap();
            for _ in 0..20 {
                append(&log, 3000).await;
            }
            let before = log.segment_count();
            assert_eq!(log.delete_records(13).await.unwrap(), 13);
            assert!(matches!(log.delete_records(21).await, Err(ReadError::OffsetOutOfRange { .. })));
            assert_eq!(log.delete_records(5).await.unwrap(), 13, "never back");
            assert!(matches!(log.read(12, 100, i64::MAX, true).await, Err(ReadError::OffsetOutOfRange { log_start: 13, .. })));
            until(|| log.segment_count() + 5 <= before).await;
            let plan = log.read(13, 100, i64::MAX, true).await.unwrap();
            assert_eq!(plan.next_offset, 14);
            assert!(!disk.files().iter().any(|f| f.ends_with("00000000000000000000.log")));
        })
        .await;
    });
}

/// An append that waits for room in the journal needs a checkpoint, which must not wait until very many deleted logs are removed.
#[test]
fn the_removal_of_many_logs_keeps_no_append_waiting() {
    const DELETED: i32 = 300;
    block_on(async {
        let disk = disk();
        let store = open(&disk).await;
        beside(&store, async {
            let log = store.open_log(tp(0), LogConfig::default()).await.unwrap();
            for partition in 1..=DELETED {
                append(&store.open_log(tp(partition), LogConfig::default()).await.unwrap(), 10).await;
            }
            until(|| store.stats().dirty_logs == 0).await;
            // All at once, so that the flusher finds both.
            for partition in 1..=DELETED {
                store.delete_log(tp(partition)).await.unwrap();
            }
            while log.append(&batch(10_000), CLIENT).is_ok() {}
            store.wait_space(20_000).await.unwrap();
            let removed = store.stats().cleaned.logs_removed;
            assert!(removed <= 128, "{removed} logs were removed first");
            until(|| store.stats().cleaned.logs_removed == DELETED as u64).await;
        })
        .await;
    });
}

/// Tables in whose place stand older ones of their own, from before a log start was moved; the journal has given nothing up since.
#[test]
fn a_moved_log_start_does_not_go_back_with_older_tables() {
    block_on(async {
        let disk = disk();
        let store = open(&disk).await;
        let mut older = Vec::new();
        beside(&store, async {
            let log = store.open_log(tp(0), LogConfig::default()).await.unwrap();
            for _ in 0..10 {
                append(&log, 100).await;
            }
            until(|| store.stats().dirty_logs == 0 && store.stats().journal.oldest > store.stats().journal.newest).await;
            older.extend(
                disk.files().into_iter().filter(|path| path.starts_with(dir().checkpoints())).map(|p| (p.clone(), disk.peek(&p).unwrap())),
            );
            for before in [3, 5, 7] {
                log.delete_records(before).await.unwrap();
            }
            store.shutdown().await.unwrap();
        })
        .await;
        let whole = disk.crash(0, CrashMode::KeepAll);
        assert!(recover(&whole, &dir(), &|_| true, 0).await.is_ok());
        for (path, bytes) in older.iter().filter(|(path, _)| !path.ends_with("base.a") && !path.ends_with("base.b")) {
            disk.write_file(path, bytes).await.unwrap();
        }
        let refused = recover(&disk, &dir(), &|_| true, 0).await.unwrap_err().to_string();
        assert!(refused.contains("older copy") && refused.contains("knows table"), "{refused}");
    });
}

#[test]
fn epochs_are_kept_through_a_restart() {
    block_on(async {
        let disk = disk();
        let store = open(&disk).await;
        beside(&store, async {
            let log = store.open_log(tp(0), LogConfig::default()).await.unwrap();
            for epoch in [1, 1, 4, 6] {
                log.append(&batch(10), AppendContext { leader_epoch: epoch, ..CLIENT }).unwrap();
            }
            assert!(matches!(
                log.append(&batch(10), AppendContext { leader_epoch: 5, ..CLIENT }),
                Err(AppendError::EpochBackwards { current: 6, found: 5 })
            ));
            log.wait_durable(4).await.unwrap();
        })
        .await;
        let store = open(&disk).await;
        let log = store.open_log(tp(0), LogConfig::default()).await.unwrap();
        let ends: Vec<(i32, i64)> = [0, 1, 3, 4, 6, 7].map(|epoch| log.epoch_end_offset(epoch)).to_vec();
        assert_eq!(ends, [(0, 0), (1, 2), (1, 2), (4, 3), (6, 4), (-1, -1)]);
        assert_eq!((log.latest_epoch(), log.leader_epoch_at(2)), (6, 4));
    });
}

/// What was accepted is not lost when the device has no room for it, clients are refused before that, and both end when space is freed.
#[test]
fn a_full_disk_refuses_appends_until_space_is_freed() {
    for free_bytes_min in [Some(300 << 10), Some(0)] {
        block_on(async {
            let disk = disk();
            recover(&disk, &dir(), &|_| true, 0).await.unwrap();
            let config = StoreConfig { free_bytes_min, free_bytes_resume: Some(400 << 10), ..config() };
            let store = Store::open(disk.clone(), &dir(), JournalId(1), config.clone()).await.unwrap();
            beside(&store, async {
                let log = store.open_log(tp(0), LogConfig { segment_bytes: 256 << 10, ..LogConfig::default() }).await.unwrap();
                let other = store.open_log(tp(1), LogConfig::default()).await.unwrap();
                append(&log, 100).await;
                append(&other, 100).await;
                // The journal has its files by now.
                until(|| store.stats().dirty_logs == 0).await;
                let used: u64 = disk.files().iter().map(|path| disk.peek(path).unwrap().len() as u64).sum();
                // Room for the journal's other files and for a little data.
                disk.set_capacity(Some(used + (3 << 20)));
                let mut refused = false;
                for _ in 0..2000 {
                    match log.append(&batch(10_000), CLIENT) {
                        Ok(_) => disk.sleep(Duration::from_millis(1)).await,
                        Err(AppendError::DiskFull { .. }) => {
                            refused = true;
                            break;
                        }
                        Err(AppendError::Backpressure) => disk.sleep(Duration::from_millis(5)).await,
                        Err(error) => panic!("{error}"),
                    }
                }
                assert!(refused, "{:?}", store.stats());
                // The broker's own go on from the reserve, and so do reads.
                if free_bytes_min != Some(0) {
                    let own = AppendContext { origin: AppendOrigin::Coordinator, ..CLIENT };
                    let appended = other.append(&batch(10), own).unwrap();
                    other.wait_durable(appended.last_offset + 1).await.unwrap();
                }
                assert!(log.read(log.log_start_offset(), 1 << 20, i64::MAX, true).await.unwrap().bytes > 0);
                store.delete_log(tp(0)).await.unwrap();
                until(|| !store.stats().space_low).await;
                append(&other, 1000).await;
                until(|| store.stats().dirty_logs == 0).await;
            })
            .await;
        });
    }
}

/// Two stores that fill one file system, with journals that could grow and segments that reserve space ahead, leave the reserve alone together.
#[test]
fn stores_of_one_directory_leave_the_reserve_alone_together() {
    const MIN: u64 = 4 << 20;
    for seed in 0..2 {
        block_on(async {
            let disk = SimDisk::new(seed);
            disk.mkdir(ROOT);
            recover(&disk, &dir(), &|_| true, 0).await.unwrap();
            let config = StoreConfig {
                journal_bytes_max: 8 << 20,
                flush_interval: Duration::from_millis(100 * seed + 5),
                free_bytes_min: Some(MIN),
                free_bytes_resume: Some(MIN),
                ..config()
            };
            let used = |disk: &SimDisk| -> u64 { disk.files().iter().map(|path| disk.peek(path).unwrap().len() as u64).sum() };
            let capacity = used(&disk) + (24 << 20);
            disk.set_capacity(Some(capacity));
            let claims = Claims::default();
            let open = async |journal: u64| {
                Store::open_sharing(disk.clone(), &dir(), JournalId(journal), config.clone(), Poison::new(), claims.clone()).await.unwrap()
            };
            let (one, other) = (open(1).await, open(2).await);
            let filling = async {
                let log_config = LogConfig { segment_bytes: 4 << 20, ..LogConfig::default() };
                let logs = [one.open_log(tp(0), log_config.clone()).await.unwrap(), other.open_log(tp(1), log_config).await.unwrap()];
                let mut least = u64::MAX;
                let (mut taken, mut refused) = (0, 0);
                // Refused again and again: what is given back meanwhile is not taken twice either.
                while refused < 200 {
                    for log in &logs {
                        match log.append(&batch(60_000), CLIENT) {
                            Ok(_) => (taken, refused) = (taken + 1, 0),
                            Err(AppendError::DiskFull { .. }) => refused += 1,
                            Err(AppendError::Backpressure) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                    disk.sleep(Duration::from_millis(1)).await;
                    least = least.min(capacity - used(&disk));
                }
                until(|| one.stats().dirty_logs + other.stats().dirty_logs == 0).await;
                least = least.min(capacity - used(&disk));
                // Tables, checksums and the last block of each segment are the broker's own.
                assert!(least >= MIN - (256 << 10), "seed {seed}: {least} bytes were left of {MIN}");
                assert!(
                    capacity - used(&disk) < MIN + (8 << 20),
                    "seed {seed}: {taken} appends only, {} bytes free",
                    capacity - used(&disk)
                );
            };
            beside(&one, beside(&other, filling)).await;
        });
    }
}

/// A block that is partly on the disk and no longer in memory is to be written again, longer, and there is no room for what it grows by: what was
/// written of it must be known when there is room again.
#[test]
fn a_block_that_did_not_fit_is_written_when_there_is_room_again() {
    block_on(async {
        let disk = disk();
        recover(&disk, &dir(), &|_| true, 0).await.unwrap();
        let config = StoreConfig { free_bytes_min: Some(0), ..config() };
        let store = Store::open(disk.clone(), &dir(), JournalId(1), config).await.unwrap();
        beside(&store, async {
            let log = store.open_log(tp(0), LogConfig::default()).await.unwrap();
            let other = store.open_log(tp(1), LogConfig::default()).await.unwrap();
            append(&log, 1_000).await;
            until(|| store.stats().dirty_logs == 0).await;
            // So much that the block leaves the memory.
            for _ in 0..8 {
                for _ in 0..5 {
                    append(&other, 100_000).await;
                }
                until(|| store.stats().dirty_logs == 0).await;
            }
            let used: u64 = disk.files().iter().map(|path| disk.peek(path).unwrap().len() as u64).sum();
            disk.set_capacity(Some(used));
            log.append(&batch(4_000), CLIENT).unwrap();
            // Memory is short then, so that everything is to be written, the new end of the block too.
            for _ in 0..12 {
                other.append(&batch(100_000), CLIENT).unwrap();
            }
            until(|| store.stats().space_low).await;
            disk.set_capacity(None);
            until(|| !store.stats().space_low).await;
            append(&log, 500).await;
            until(|| store.stats().dirty_logs == 0).await;
        })
        .await;
    });
}

/// The disk is full for one log while files of others are being made.
#[test]
fn files_that_are_being_made_when_the_disk_gets_full_are_known() {
    for seed in 0..12 {
        block_on(async {
            let disk = SimDisk::new(seed);
            disk.mkdir(ROOT);
            let store = open(&disk).await;
            beside(&store, async {
                append(&store.open_log(tp(0), LogConfig::default()).await.unwrap(), 100).await;
                until(|| store.stats().dirty_logs == 0).await;
                disk.inject(Fault { op: IoOp::Write, path_part: "topics/".into(), skip: seed % 3, times: 1, errno: libc::ENOSPC });
                for partition in 0..8 {
                    let log = store.open_log(tp(partition), LogConfig::default()).await.unwrap();
                    log.append(&batch(10_000), CLIENT).unwrap();
                }
                until(|| store.stats().dirty_logs == 0).await;
            })
            .await;
        });
    }
}
