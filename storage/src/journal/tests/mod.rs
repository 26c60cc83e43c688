//! The journal on the simulated disk and on the real one.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use coreline_wire::ids::{TopicId, TopicPartition};
use futures_lite::future::{block_on, or, yield_now, zip};

use super::*;
use crate::claims::Claims;
use crate::io::SimDisk;
use crate::io::sim::{CrashMode, Fault, Rng};

mod behaviour;
mod crash;
mod files;
mod real_disk;

const DIR: &str = "/d/00000000000000ab";
const MODES: [SyncMode; 2] = [SyncMode::Dsync, SyncMode::Flush];

fn disk(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    disk.mkdir("/d");
    disk
}

fn config(mode: SyncMode) -> JournalConfig {
    JournalConfig {
        file_bytes: 1 << 20,
        journal_bytes_max: 3 << 20,
        in_flight_max: 2,
        pending_bytes_max: 1 << 20,
        sync_mode: mode,
        poison: Poison::new(),
        claims: Claims::default(),
        base_table: 0,
    }
}

fn header(n: u64) -> EntryHeader {
    EntryHeader {
        partition: TopicPartition { topic: TopicId([(n % 7) as u8; 16]), partition: (n % 3) as i32 },
        segment_base: 100,
        position: n,
        base_offset: n as i64,
        last_offset: n as i64 + 1,
        leader_epoch: 5,
        kind: if n.is_multiple_of(9) { EntryKind::BlockImage } else { EntryKind::Batch },
    }
}

/// The data of entry n: its length and content follow from n and `len`.
fn data(n: u64, len: usize) -> Vec<u8> {
    // A period that is no multiple or part of a sector: no two sectors of an entry are alike.
    let mut rng = Rng::new(n);
    let period: [u8; 509] = std::array::from_fn(|_| rng.next_u64() as u8);
    let mut out = period.repeat(len.div_ceil(509));
    out.truncate(len);
    out
}

async fn open<D: Disk>(disk: &D, dir: &Path, config: JournalConfig) -> Journal<D> {
    Journal::open(disk.clone(), dir.to_path_buf(), config).await.unwrap()
}

/// Runs `body` beside the journal's writer; ends with the body, and the journal with it.
async fn beside_writer<D: Disk, T>(journal: &Journal<D>, body: impl Future<Output = T>) -> T {
    let writer = async {
        let ended = journal.run(|_| ()).await;
        ended.expect("the writer goes on while the body runs");
        std::future::pending().await
    };
    or(body, writer).await
}

type Replayed = Vec<(EntryHeader, Vec<u8>)>;

async fn read_back<D: Disk>(disk: &D, dir: &Path) -> (Replayed, ReplayReport) {
    let mut entries = Vec::new();
    let report = replay(disk, dir, &mut |header, data| {
        entries.push((header, data.to_vec()));
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(report.entries, entries.len() as u64);
    (entries, report)
}

fn numbers(entries: &Replayed) -> Vec<u64> {
    for (header, bytes) in entries {
        assert_eq!(*bytes, data(header.position, bytes.len()));
        assert_eq!(*header, self::header(header.position));
    }
    entries.iter().map(|(h, _)| h.position).collect()
}
