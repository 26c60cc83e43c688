//! A store on the real file system: what `sendfile` would serve, and what is in the files, is what was appended.

#![allow(clippy::unwrap_used)] // what a test takes for granted may panic

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use coreline_storage::data_dir::{DataDir, JournalId};
use coreline_storage::io::GlommioDisk;
use coreline_storage::{AppendContext, AppendError, AppendOrigin, Log, LogConfig, ReadSpan, Store, StoreConfig, recover};
use coreline_wire::record::batch::{patch_base_offset, patch_leader_epoch};
use coreline_wire::record::{BatchBuilder, Origin, RawBatch, ValidBatch};
use coreline_wire::{TopicId, TopicPartition};

type Disk = GlommioDisk;

fn tp(partition: i32) -> TopicPartition {
    TopicPartition { topic: TopicId([3; 16]), partition }
}

fn config() -> StoreConfig {
    StoreConfig {
        journal_file_bytes: 1 << 20,
        journal_bytes_max: 4 << 20,
        tail_budget_bytes: 1 << 20,
        flush_chunk_bytes: 64 << 10,
        flush_interval: Duration::from_millis(20),
        ..StoreConfig::default()
    }
}

fn log_config() -> LogConfig {
    LogConfig { segment_bytes: 512 << 10, ..LogConfig::default() }
}

fn batch(number: u64) -> ValidBatch {
    let mut builder = BatchBuilder::new();
    let len = 100 + (number * 7919 % 9000) as usize;
    let value: Vec<u8> = (0..len).map(|i| (i as u64 * 31 + number) as u8).collect();
    builder.push(1_000_000 + number as i64, None, Some(&value), &[]);
    builder.push(1_000_000 + number as i64, None, Some(b"second"), &[]);
    RawBatch::new(builder.build().unwrap()).validate(Origin::Client { zstd_allowed: true }).unwrap()
}

/// Appends a batch, waits for space as long as it must, and answers with its bytes as they lie in the log.
async fn append(store: &Store<Disk>, log: &Log<Disk>, number: u64) -> Vec<u8> {
    let batch = batch(number);
    let ctx = AppendContext { now_ms: 1_000_000, leader_epoch: 4, origin: AppendOrigin::Client };
    loop {
        match log.append(&batch, ctx) {
            Ok(appended) => {
                let mut bytes = batch.bytes().to_vec();
                patch_base_offset(&mut bytes, appended.base_offset);
                patch_leader_epoch(&mut bytes, 4);
                return bytes;
            }
            Err(AppendError::Backpressure) => store.wait_space(batch.size_bytes()).await.unwrap(),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Reads the whole log; answers with its bytes and how many of them came as file spans.
async fn read_all(log: &Log<Disk>) -> (Vec<u8>, usize) {
    let (mut bytes, mut from_files) = (Vec::new(), 0);
    let mut offset = log.log_start_offset();
    while offset < log.log_end_offset() {
        let plan = log.read(offset, 100_000, i64::MAX, true).await.unwrap();
        assert!(plan.next_offset > offset);
        let before = bytes.len();
        for span in &plan.spans {
            match span {
                ReadSpan::Memory(slice) => bytes.extend_from_slice(slice),
                ReadSpan::File { file, position, len, .. } => {
                    // As sendfile does: through the page cache, by position.
                    let file = File::from(file.as_fd().try_clone_to_owned().unwrap());
                    let mut piece = vec![0; *len as usize];
                    file.read_exact_at(&mut piece, *position).unwrap();
                    bytes.extend_from_slice(&piece);
                    from_files += piece.len();
                }
            }
        }
        assert_eq!(bytes.len() - before, plan.bytes);
        offset = plan.next_offset;
    }
    (bytes, from_files)
}

fn segment_files(dir: &Path) -> Vec<u8> {
    let mut names: Vec<PathBuf> =
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|x| x == "log")).collect();
    names.sort();
    names.iter().flat_map(|p| std::fs::read(p).unwrap()).collect()
}

async fn open(root: &Path) -> (Store<Disk>, Vec<glommio::Task<()>>) {
    let disk = GlommioDisk::open(root).await.unwrap();
    let dir = DataDir::new(root);
    let report = recover(&disk, &dir, &|_| true, 0).await.unwrap();
    assert!(report.notes.is_empty() || report.entries_redone > 0, "{:?}", report.notes);
    let id = report.journals.first().copied().unwrap_or(JournalId(7));
    let store = Store::open(disk, &dir, id, config()).await.unwrap();
    let (a, b) = (store.clone(), store.clone());
    let tasks = vec![
        glommio::spawn_local(async move { a.run_journal().await.unwrap() }),
        glommio::spawn_local(async move { b.run_flusher().await.unwrap() }),
    ];
    (store, tasks)
}

async fn close(store: Store<Disk>, tasks: Vec<glommio::Task<()>>) {
    store.shutdown().await.unwrap();
    for task in tasks {
        task.await;
    }
}

#[test]
fn file_spans_and_files_hold_what_was_appended() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().to_path_buf();
    let shard = glommio::LocalExecutorBuilder::default().spawn(move || async move {
        let mut expected = [Vec::new(), Vec::new()];
        let (store, tasks) = open(&root).await;
        let logs = [store.open_log(tp(0), log_config()).await.unwrap(), store.open_log(tp(1), log_config()).await.unwrap()];
        for number in 0..900 {
            let which = (number % 3 == 0) as usize;
            expected[which].extend(append(&store, &logs[which], number).await);
            if number % 100 == 99 {
                // While more is appended, older bytes come from the files.
                assert!(read_all(&logs[which]).await.0 == expected[which], "after {number}");
            }
        }
        for log in &logs {
            log.wait_durable(log.log_end_offset()).await.unwrap();
        }
        let stats = store.stats();
        assert!(stats.tail_bytes <= stats.tail_bytes_max && stats.checkpoints > 0, "{stats:?}");
        let (bytes, from_files) = read_all(&logs[0]).await;
        assert!(bytes == expected[0]);
        assert!(from_files > 1 << 20, "{from_files} bytes came as file spans");
        close(store, tasks).await;

        // After a clean end the files alone hold everything; only the active one is padded.
        for (which, expected) in expected.iter().enumerate() {
            let mut on_disk = segment_files(&DataDir::new(&root).partition(tp(which as i32)));
            assert!(on_disk.len() - expected.len() < 4096);
            assert!(on_disk.split_off(expected.len()).iter().all(|b| *b == 0));
            assert!(on_disk == *expected);
        }
        let (store, tasks) = open(&root).await;
        for (which, expected) in expected.iter_mut().enumerate() {
            let log = store.open_log(tp(which as i32), log_config()).await.unwrap();
            let (bytes, from_files) = read_all(&log).await;
            assert!(bytes == *expected);
            assert!(bytes.len() - from_files < 4096, "all but the last block comes from files");
            // Going on behind a partly filled block.
            expected.extend(append(&store, &log, 5000).await);
            log.wait_durable(log.log_end_offset()).await.unwrap();
            assert!(read_all(&log).await.0 == *expected);
            let found = log.offset_for_timestamp(1_000_000 + 450, i64::MAX).await.unwrap().unwrap();
            assert!(found.timestamp_ms >= 1_000_450 && found.timestamp_ms <= 1_000_452);
        }
        // No shutdown: the next open recovers from the journal.
        drop(store);
        for task in tasks {
            task.cancel().await;
        }
        let (store, tasks) = open(&root).await;
        for (which, expected) in expected.iter_mut().enumerate() {
            let log = store.open_log(tp(which as i32), log_config()).await.unwrap();
            assert!(read_all(&log).await.0 == *expected);
            assert_eq!(log.delete_records(300).await.unwrap(), 300);
            store.delete_log(tp(which as i32)).await.unwrap();
        }
        close(store, tasks).await;
    });
    shard.unwrap().join().unwrap();
}
