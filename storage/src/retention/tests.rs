//! Retention on a simulated disk with a clock of the test's own: what goes, what stays, that it is still so after a restart.

use std::future::Future;
use std::time::Duration;

use coreline_wire::record::{BatchBuilder, Origin, RawBatch};
use coreline_wire::{TopicId, TopicPartition};
use futures_lite::future::{block_on, or, pending, yield_now};

use super::RetentionReport;
use crate::data_dir::{DataDir, JournalId};
use crate::io::SimDisk;
use crate::io::sim::CrashMode;
use crate::journal::SyncMode;
use crate::{AppendContext, AppendOrigin, Log, LogConfig, ReadError, Store, StoreConfig, recover};

const ROOT: &str = "/data";
const DAY: i64 = 86_400_000;

fn tp(partition: i32) -> TopicPartition {
    TopicPartition { topic: TopicId([1; 16]), partition }
}

async fn open(disk: &SimDisk) -> Store<SimDisk> {
    let dir = DataDir::new(ROOT);
    recover(disk, &dir, &|_| true, 0).await.unwrap();
    let config = StoreConfig {
        journal_file_bytes: 1 << 20,
        journal_bytes_max: 3 << 20,
        journal_sync_mode: SyncMode::Dsync,
        tail_budget_bytes: 2 << 20,
        flush_interval: Duration::from_millis(5),
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

async fn append(log: &Log<SimDisk>, timestamp_ms: i64) -> i64 {
    let mut builder = BatchBuilder::new();
    builder.push(timestamp_ms, Some(b"key"), Some(&[7; 1000]), &[]);
    let batch = RawBatch::new(builder.build().unwrap()).validate(Origin::Client { zstd_allowed: true }).unwrap();
    let ctx = AppendContext { now_ms: timestamp_ms, leader_epoch: 1, origin: AppendOrigin::Client };
    let appended = log.append(&batch, ctx).unwrap();
    log.wait_durable(appended.last_offset + 1).await.unwrap();
    log.set_high_watermark(log.durable_end_offset());
    appended.base_offset
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

/// Segment files of a partition.
fn files(disk: &SimDisk, partition: i32) -> usize {
    let dir = DataDir::new(ROOT).partition(tp(partition));
    disk.files().iter().filter(|path| path.starts_with(&dir) && path.extension().is_some_and(|e| e == "log")).count()
}

fn config() -> LogConfig {
    // Three batches to a segment.
    LogConfig { segment_bytes: 4096, retention_ms: DAY, ..LogConfig::default() }
}

#[test]
fn old_segments_go_and_the_log_goes_on_behind_them() {
    block_on(async {
        let disk = SimDisk::new(3);
        disk.mkdir(ROOT);
        let store = open(&disk).await;
        beside(&store, async {
            let log = store.open_log(tp(0), config()).await.unwrap();
            for i in 0..9 {
                append(&log, i * DAY).await;
            }
            assert_eq!(log.segment_count(), 3);
            // Now is day 4: the first segment's newest record is of day 2.
            assert_eq!(store.apply_retention(4 * DAY).await.unwrap().segments, 1);
            assert_eq!(log.log_start_offset(), 3);
            assert!(matches!(log.read(2, 100, 100, true).await, Err(ReadError::OffsetOutOfRange { .. })));
            assert_eq!(store.apply_retention(4 * DAY).await.unwrap(), RetentionReport::default());
            until(|| store.stats().cleaned.segments_removed == 1).await;
            until(|| files(&disk, 0) <= 2).await;
            // Everything is over: the active segment is rolled and goes too.
            assert_eq!(store.apply_retention(20 * DAY).await.unwrap().segments, 2);
            assert_eq!((log.log_start_offset(), log.log_end_offset(), log.size_bytes() > 0), (9, 9, true));
            until(|| log.size_bytes() == 0).await;
            assert_eq!(append(&log, 20 * DAY).await, 9);
            until(|| files(&disk, 0) == 1).await;
        })
        .await;
        // A crash now: the start is where it was, and what was appended behind it is there.
        let disk = disk.crash(5, CrashMode::LoseAll);
        let store = open(&disk).await;
        let log = store.open_log(tp(0), config()).await.unwrap();
        assert_eq!((log.log_start_offset(), log.log_end_offset()), (9, 10));
        assert!(log.read(9, 5000, 10, true).await.unwrap().bytes > 1000);
    });
}

#[test]
fn after_a_restart_ages_are_looked_up_and_the_active_segment_goes_on_ageing() {
    block_on(async {
        let disk = SimDisk::new(4);
        disk.mkdir(ROOT);
        let store = open(&disk).await;
        beside(&store, async {
            let log = store.open_log(tp(0), config()).await.unwrap();
            for i in 0..5 {
                append(&log, i * DAY).await;
            }
            store.shutdown().await.unwrap();
        })
        .await;
        let store = open(&disk).await;
        beside(&store, async {
            let log = store.open_log(tp(0), LogConfig { segment_ms: 2 * DAY, segment_bytes: 1 << 20, ..config() }).await.unwrap();
            log.set_high_watermark(log.durable_end_offset());
            assert_eq!(store.apply_retention(4 * DAY).await.unwrap().segments, 1);
            assert_eq!((log.log_start_offset(), log.segment_count() <= 2), (3, true));
            // The active segment began with a record of day 3, which the sweep has found out.
            append(&log, 5 * DAY).await;
            let before = log.segment_count();
            append(&log, 5 * DAY + 1).await;
            assert_eq!(log.segment_count(), before + 1);
        })
        .await;
    });
}

#[test]
fn size_bounds_many_logs_with_one_table_write() {
    block_on(async {
        let disk = SimDisk::new(5);
        disk.mkdir(ROOT);
        let store = open(&disk).await;
        beside(&store, async {
            let mut logs = Vec::new();
            for partition in 0..20 {
                let log = store.open_log(tp(partition), LogConfig { retention_bytes: 4000, ..config() }).await.unwrap();
                for _ in 0..9 {
                    append(&log, DAY).await;
                }
                logs.push(log);
            }
            until(|| store.stats().dirty_logs == 0).await;
            let before = disk.stats().syncs;
            let report = store.apply_retention(DAY).await.unwrap();
            assert_eq!((report.logs, report.segments), (20, 40 - 20));
            assert!(disk.stats().syncs - before <= 4, "{} flushes", disk.stats().syncs - before);
            assert!(logs.iter().all(|log| log.log_start_offset() == 3));
        })
        .await;
    });
}
