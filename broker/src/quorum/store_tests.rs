//! The log on disk: the library's storage suite, restarts, rotation, damage, and a power cut at every event of a random history.

use std::path::{Path, PathBuf};

use coreline_storage::error::StorageError;
use coreline_storage::io::glommio::GlommioDisk;
use coreline_storage::io::sim::{CrashMode, SimDisk};
use futures_lite::future::block_on;
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{AsyncRuntime, EntryPayload};

use super::log_content::LogContent;
use super::log_file::LogFileConfig;
use super::runtime::GlommioRuntime;
use super::state_machine::StateMachine;
use super::store::LogStore;
use super::types::{Entry, LogId, QuorumTypes, RecordBatch, Vote};
use crate::controller::MetadataRecord;
use crate::controller::testing::Seeded;

const NODE: u64 = 1;
const SMALL: LogFileConfig = LogFileConfig { file_bytes_max: 40 * 4096, prewrite_bytes: 8 * 4096 };

fn dir() -> PathBuf {
    PathBuf::from("/data/quorum")
}

fn sim(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    disk.mkdir("/data");
    disk
}

fn id(term: u64, index: u64) -> LogId {
    LogId::new_term_index(term, index)
}

fn entry(term: u64, index: u64, records: usize) -> Entry {
    let record = |n: usize| MetadataRecord::Topic { id: [n as u8; 16], name: format!("topic-{index}-{n}-{}", "x".repeat(200)) };
    Entry::new(id(term, index), EntryPayload::Normal(RecordBatch((0..records).map(record).collect())))
}

async fn open(disk: &SimDisk) -> Result<LogStore<SimDisk>, StorageError> {
    LogStore::open(disk.clone(), &dir(), NODE, disk.stats().events + 1, SMALL).await
}

fn content(store: &LogStore<SimDisk>) -> LogContent {
    store.reader().with(LogContent::clone)
}

struct OnDisk;

impl StoreBuilder<QuorumTypes, LogStore<GlommioDisk>, StateMachine<GlommioDisk>, tempfile::TempDir> for OnDisk {
    async fn build(
        &self,
    ) -> Result<(tempfile::TempDir, LogStore<GlommioDisk>, StateMachine<GlommioDisk>), openraft::StorageError<QuorumTypes>> {
        let root = tempfile::tempdir().expect("a temporary directory");
        let disk = GlommioDisk::open(root.path()).await.expect("the disk opens");
        let dir = root.path().join("quorum");
        let store = LogStore::open(disk.clone(), &dir, 0, 1, LogFileConfig::default()).await.expect("an empty log opens");
        let machine = StateMachine::open(disk, &dir).await.expect("no snapshot yet");
        Ok((root, store, machine))
    }
}

#[test]
fn the_library_s_storage_suite_passes() {
    GlommioRuntime::run(async { Suite::test_all(OnDisk).await }).expect("the suite passes");
}

#[test]
fn a_restart_finds_vote_entries_truncation_and_purge() {
    block_on(async {
        let disk = sim(1);
        let mut store = open(&disk).await.expect("opens");
        store.save_vote(&Vote::new(1, NODE)).await.expect("voted");
        store.append([entry(1, 0, 1), entry(1, 1, 3)], IOFlushed::noop()).await.expect("appended");
        store.append([entry(1, 2, 0), entry(1, 3, 1)], IOFlushed::noop()).await.expect("appended");
        store.save_committed(Some(id(1, 1))).await.expect("noted");
        store.truncate_after(Some(id(1, 2))).await.expect("truncated");
        store.save_vote(&Vote::new_committed(2, NODE)).await.expect("voted");
        store.append([entry(2, 3, 2)], IOFlushed::noop()).await.expect("appended");
        store.purge(id(1, 0)).await.expect("purged");
        let live = content(&store);
        drop(store);
        let store = open(&disk).await.expect("opens again");
        assert_eq!(content(&store), live);
        assert_eq!((live.last(), live.purged, live.committed), (Some(id(2, 3)), Some(id(1, 0)), Some(id(1, 1))));
    });
}

#[test]
fn files_rotate_and_go_with_their_entries() {
    block_on(async {
        let disk = sim(2);
        let mut store = open(&disk).await.expect("opens");
        store.save_vote(&Vote::new_committed(1, NODE)).await.expect("voted");
        for index in 0..200 {
            store.append([entry(1, index, 1)], IOFlushed::noop()).await.expect("appended");
        }
        let many = store.file_count();
        assert!(many >= 5, "200 entries of a block each need several files of 40 blocks, there are {many}");
        store.purge(id(1, 150)).await.expect("purged");
        assert!(store.file_count() < many);
        let live = content(&store);
        drop(store);
        let mut store = open(&disk).await.expect("opens without its first files");
        assert_eq!(content(&store), live);
        store.purge(id(1, 199)).await.expect("purged");
        assert_eq!(store.file_count(), 1, "what is left is the file being written");
        let live = content(&store);
        drop(store);
        let mut store = open(&disk).await.expect("opens");
        assert_eq!(content(&store), live);
        store.append([entry(1, 200, 1)], IOFlushed::noop()).await.expect("goes on");
        assert_eq!(disk.files().iter().filter(|path| path.starts_with(dir())).count(), store.file_count());
    });
}

#[test]
fn a_power_cut_anywhere_keeps_what_was_acknowledged() {
    for seed in 0..3u64 {
        let disk = sim(seed);
        disk.record();
        // What the log must say after the n-th operation, and the events that had happened when it was acknowledged.
        let mut history: Vec<(usize, LogContent)> = Vec::new();
        block_on(async {
            let mut random = Seeded(seed);
            let mut store = open(&disk).await.expect("opens");
            history.push((disk.recorded_events(), content(&store)));
            let mut term = 1;
            for _ in 0..60 {
                operate(&mut store, &mut random, &mut term).await;
                history.push((disk.recorded_events(), content(&store)));
            }
        });
        let recording = disk.take_recording().expect("it was kept");
        let mut sweep = recording.sweep();
        loop {
            let events = sweep.events();
            for mode in [CrashMode::KeepAll, CrashMode::LoseAll, CrashMode::Mixed] {
                let crashed = sweep.crash(seed * 1_000_003 + events as u64, mode);
                crashed.mkdir("/data");
                let acked = history.iter().rposition(|(at, _)| *at <= events).unwrap_or(0);
                block_on(assert_recovers(&crashed, &history, acked, &format!("seed {seed}, event {events}, {mode:?}")));
            }
            if !sweep.step() {
                break;
            }
        }
    }
}

async fn operate(store: &mut LogStore<SimDisk>, random: &mut Seeded, term: &mut u64) {
    let now = content(store);
    let next = now.last().map_or(0, |last| last.index + 1);
    match random.below(10) {
        0 => {
            *term += 1;
            store.save_vote(&Vote::new_committed(*term, NODE)).await.expect("voted");
        }
        1 if !now.entries.is_empty() => {
            let after = next - 1 - random.below(now.entries.len() as u64);
            let last = after.checked_sub(1).and_then(|index| now.entries.get(&index).map(|entry| entry.log_id).or(now.purged));
            store.truncate_after(last).await.expect("truncated");
            *term += 1;
        }
        2 if now.entries.len() > 3 => {
            let upto = now.entries.values().nth(now.entries.len() / 2).map(|entry| entry.log_id).expect("there are some");
            store.purge(upto).await.expect("purged");
        }
        // Sometimes a frame of several blocks.
        _ => {
            let count = 1 + random.below(3);
            let entries: Vec<_> = (0..count).map(|n| entry(*term, next + n, random.below(40) as usize)).collect();
            store.append(entries, IOFlushed::noop()).await.expect("appended");
        }
    }
}

async fn assert_recovers(disk: &SimDisk, history: &[(usize, LogContent)], acked: usize, run: &str) {
    let strip = |content: &LogContent| LogContent { committed: None, ..content.clone() };
    let store = open(disk).await.unwrap_or_else(|error| panic!("{run}: {error}"));
    let found = strip(&content(&store));
    let possible = [Some(acked), acked.checked_add(1).filter(|next| *next < history.len())];
    let fits = possible.into_iter().flatten().any(|at| strip(&history[at].1) == found);
    assert!(fits, "{run}: found last {:?}, acknowledged {:?}", found.last(), history[acked].1.last());
    // What recovery leaves behind is a good log again.
    drop(store);
    let mut store = open(disk).await.unwrap_or_else(|error| panic!("{run}, second start: {error}"));
    assert_eq!(strip(&content(&store)), found, "{run}, second start");
    let next = found.last().map_or(0, |last| last.index + 1);
    store.append([entry(1_000, next, 1)], IOFlushed::noop()).await.expect("appends again");
    let live = content(&store);
    drop(store);
    let store = open(disk).await.unwrap_or_else(|error| panic!("{run}, third start: {error}"));
    assert_eq!(strip(&content(&store)), strip(&live), "{run}, third start");
}

#[test]
fn damage_before_the_last_frame_is_refused_with_file_and_position() {
    block_on(async {
        let disk = sim(3);
        let mut store = open(&disk).await.expect("opens");
        for index in 0..10 {
            store.append([entry(1, index, 1)], IOFlushed::noop()).await.expect("appended");
        }
        drop(store);
        let file = only_file(&disk);
        disk.damage(&file, 3 * 4096 + 100, 1);
        let error = open(&disk).await.err().expect("refused").to_string();
        assert_eq!(
            error,
            "/data/quorum/0000000000000000.log is damaged at byte 12288: its checksum is wrong, and a good frame follows at 16384"
        );
    });
}

#[test]
fn a_torn_tail_is_cut_and_stays_cut() {
    block_on(async {
        let disk = sim(4);
        let mut store = open(&disk).await.expect("opens");
        store.append([entry(1, 0, 1)], IOFlushed::noop()).await.expect("appended");
        let before = content(&store);
        store.append([entry(1, 1, 50)], IOFlushed::noop()).await.expect("appended");
        drop(store);
        // The last frame has several blocks: its second one did not make it.
        disk.damage(only_file(&disk), 2 * 4096 + 5000, 512);
        let mut store = open(&disk).await.expect("opens");
        assert_eq!(content(&store), before);
        store.append([entry(2, 1, 1)], IOFlushed::noop()).await.expect("appended");
        let live = content(&store);
        drop(store);
        assert_eq!(content(&open(&disk).await.expect("opens")), live);
    });
}

#[test]
fn lost_files_and_foreign_logs_are_refused() {
    block_on(async {
        let disk = sim(5);
        let mut store = open(&disk).await.expect("opens");
        for index in 0..120 {
            store.append([entry(1, index, 1)], IOFlushed::noop()).await.expect("appended");
        }
        assert!(store.file_count() >= 3);
        drop(store);
        let error = LogStore::open(disk.clone(), &dir(), 2, 1, SMALL).await.err().expect("refused").to_string();
        assert_eq!(error, "data directory /data/quorum belongs to node 1, this node is node 2");

        let mut files: Vec<_> = disk.files().into_iter().filter(|path| path.starts_with(dir())).collect();
        files.sort();
        for (lost, words) in [(0, "are missing and no snapshot holds them"), (1, "is missing")] {
            use coreline_storage::io::Disk;
            let copy = disk.crash(9, CrashMode::KeepAll);
            copy.remove_file(&files[lost]).await.expect("removed");
            let error = open(&copy).await.err().expect("refused").to_string();
            assert!(error.contains(words), "file {lost} lost: {error}");
        }
    });
}

#[test]
fn after_a_failed_write_nothing_is_written_any_more() {
    block_on(async {
        let disk = sim(6);
        let mut store = open(&disk).await.expect("opens");
        store.append([entry(1, 0, 1)], IOFlushed::noop()).await.expect("appended");
        disk.fail_write(0, libc::EIO);
        assert!(store.append([entry(1, 1, 1)], IOFlushed::noop()).await.is_err());
        let writes = disk.stats().writes;
        let error = store.append([entry(1, 1, 1)], IOFlushed::noop()).await.expect_err("refused").to_string();
        assert!(error.contains("takes no more writes"), "{error}");
        assert_eq!(disk.stats().writes, writes);
        assert_eq!(content(&store).last(), Some(id(1, 0)), "an entry that failed is not readable");
    });
}

fn only_file(disk: &SimDisk) -> PathBuf {
    let files: Vec<_> = disk.files().into_iter().filter(|path| path.starts_with(dir())).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    Path::new(&files[0]).to_path_buf()
}
