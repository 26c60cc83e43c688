//! The checkpoint table: per partition, up to where its segments are durable by themselves, and the small facts that go with it.
//!
//! One table per journal (`checkpoint/<journal id>`) and one that recovery writes (`checkpoint/base`); of several entries for a partition the one
//! in the table with the highest sequence holds. A table says which it is, and up to where it makes which journals needless: one that was exchanged for another or
//! for an older one is found out. Content: rkyv in the checksummed envelope of `snapshot_file`. Callers: store (writes), loader (reads).

use std::collections::BTreeMap;
use std::path::PathBuf;

use coreline_wire::ids::{TopicId, TopicPartition};
use rkyv::rancor;

use crate::data_dir::{DataDir, JournalId};
use crate::error::{StorageError, StorageResult};
use crate::io::Disk;
use crate::leader_epoch::{EpochStart, LeaderEpochs};
use crate::segment::sums::SavedSums;
use crate::snapshot_file::{SnapshotFile, SnapshotKind};

/// Where recovery of a partition starts: below it the segments have everything, durably.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecoveryPoint {
    /// Base offset of the segment.
    pub segment_base: i64,
    /// Position in it, the end of a batch.
    pub position: u32,
    /// Offset behind that batch.
    pub offset: i64,
}

/// What the checkpoint says about one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointEntry {
    /// First offset a client may read.
    pub log_start: i64,
    /// High watermark at the time; a hint.
    pub high_watermark: i64,
    /// Where recovery starts.
    pub point: RecoveryPoint,
    /// Checksums of the segment's bytes below the recovery point, as far as the sidecar does not have them.
    pub sums: SavedSums,
    /// Leader epochs that start below the recovery point.
    pub epochs: LeaderEpochs,
    /// The producers.
    pub producers: SavedProducers,
}

/// Where a partition's producer snapshot is. It may reach further than the recovery point, but only over durable batches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SavedProducers {
    /// No producer has state.
    #[default]
    None,
    /// Small: the snapshot's bytes.
    Inline(Vec<u8>),
    /// Large: in the file named by this offset.
    File(i64),
}

impl CheckpointEntry {
    /// The entry of a log that starts, empty, at `offset`.
    pub fn empty(offset: i64) -> CheckpointEntry {
        CheckpointEntry {
            log_start: offset,
            high_watermark: offset,
            point: RecoveryPoint { segment_base: offset, position: 0, offset },
            sums: SavedSums::empty(),
            epochs: LeaderEpochs::default(),
            producers: SavedProducers::None,
        }
    }
}

/// Entries of one table.
pub type CheckpointTable = BTreeMap<TopicPartition, CheckpointEntry>;

/// A table as it lies on the disk.
#[derive(Debug)]
pub struct CheckpointFile {
    file: SnapshotFile,
    sequence: u64,
    name: String,
    /// The one that is there when another should be.
    alone: Option<PathBuf>,
    covers: Option<Vec<Covered>>,
}

/// Frames of a journal that a table makes needless, with those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Covered {
    /// The journal.
    pub journal: u64,
    /// Its generation.
    pub generation: u64,
    /// Frames of this generation up to here, and all of earlier ones.
    pub up_to: u64,
}

/// What a table says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableHead {
    /// Higher than that of every table before it.
    pub sequence: u64,
    /// Its name, without generation.
    pub name: String,
    /// Up to where it makes journals needless; `None` in tables of version 2, which do not say.
    pub covers: Option<Vec<Covered>>,
}

impl CheckpointFile {
    /// Opens a table: the file for writing, and what it holds (with its sequence). A damaged file is an error that names it: a table is never
    /// taken for empty because it cannot be read.
    pub async fn open<D: Disk>(disk: &D, dir: &DataDir, name: &str) -> StorageResult<(CheckpointFile, Option<CheckpointTable>)> {
        let (file, snapshot) = SnapshotFile::open(disk, &checkpoint_dir(dir), name, KIND, VERSION, TABLE_BYTES_MAX).await?;
        let name = name.to_string();
        let Some(snapshot) = snapshot else { return Ok((CheckpointFile { file, sequence: 0, name, alone: None, covers: None }, None)) };
        let path = snapshot.path.clone();
        // The damaged generation may have been the newer one: then what is left does not match the journal any more.
        if let Some(damaged) = snapshot.damaged {
            return Err(StorageError::corrupt(&path, None, format!("its other generation cannot be read: {damaged}")));
        }
        if snapshot.version < VERSION_MIN {
            let why = format!(
                "it has format version {}, of a development build: only versions from {VERSION_MIN} on can be read",
                snapshot.version
            );
            return Err(StorageError::corrupt(&path, None, why));
        }
        let (head, table) = decode(snapshot.version, &snapshot.bytes).map_err(|why| StorageError::corrupt(&path, None, why))?;
        if head.covers.is_some() && head.name != name {
            let why = format!("it is a copy of the table {:?}. Restore this directory from a copy", head.name);
            return Err(StorageError::corrupt(&path, None, why));
        }
        let alone = snapshot.alone.then_some(path);
        Ok((CheckpointFile { file, sequence: head.sequence, name, alone, covers: head.covers }, Some(table)))
    }

    /// Refuses a table whose other generation is gone: that may have been the newer one. Not for a table that a newer one covers: it was being removed.
    pub fn check_alone(&self) -> StorageResult<()> {
        match &self.alone {
            None => Ok(()),
            Some(path) => Err(StorageError::corrupt(path, None, "its other generation is missing, which may be the newer one")),
        }
    }

    /// Up to where it makes journals needless; `None` when it does not say, or there is none.
    pub fn covers(&self) -> Option<&[Covered]> {
        self.covers.as_deref()
    }

    /// What the next write, under `sequence`, says of itself.
    pub fn head(&self, sequence: u64, covers: Vec<Covered>) -> TableHead {
        TableHead { sequence, name: self.name.clone(), covers: Some(covers) }
    }

    /// Its name: `base`, or a journal's id.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sequence of the newest content, 0 when there is none.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Makes the next write's sequence at least one above `sequence`.
    pub fn start_after(&mut self, sequence: u64) {
        self.sequence = self.sequence.max(sequence);
    }

    /// Writes the table durably under a sequence above all that were written before.
    pub async fn write<D: Disk>(&mut self, disk: &D, sequence: u64, content: &[u8]) -> StorageResult<()> {
        assert!(sequence > self.sequence, "checkpoint sequence {} after {}", sequence, self.sequence);
        self.file.write(disk, VERSION, content).await?;
        self.sequence = sequence;
        Ok(())
    }

    /// Removes the table.
    pub async fn remove<D: Disk>(&mut self, disk: &D) -> StorageResult<()> {
        self.file.remove(disk).await
    }
}

/// Directory of the tables.
pub fn checkpoint_dir(dir: &DataDir) -> PathBuf {
    dir.root().join("checkpoint")
}

/// Name of the table that recovery writes.
pub const BASE_NAME: &str = "base";

/// Name of a journal's table.
pub fn journal_table_name(journal: JournalId) -> String {
    journal.to_string()
}

/// Names of the tables in the data directory, without generation.
pub async fn table_names<D: Disk>(disk: &D, dir: &DataDir) -> StorageResult<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    for entry in disk.list_dir(&checkpoint_dir(dir)).await? {
        if let Some((name, "a" | "b")) = entry.name.rsplit_once('.')
            && names.last().is_none_or(|last| last != name)
        {
            names.push(name.to_string());
        }
    }
    Ok(names)
}

#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct TableOnDisk {
    sequence: u64,
    name: String,
    /// (journal, generation, up to)
    covers: Vec<(u64, u64, u64)>,
    entries: Vec<EntryOnDisk>,
}

#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct TableOnDiskV2 {
    sequence: u64,
    entries: Vec<EntryOnDisk>,
}

#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct EntryOnDisk {
    topic: [u8; 16],
    partition: i32,
    log_start: i64,
    high_watermark: i64,
    segment_base: i64,
    position: u32,
    offset: i64,
    sums_first: u32,
    sums: Vec<u32>,
    /// -1 when it is not known.
    sums_prefix: i64,
    epochs: Vec<(i32, i64)>,
    /// Offset in the name of the producer snapshot file, -1 for none.
    producers_file: i64,
    producers_inline: Vec<u8>,
}

/// Bytes of a table.
pub fn encode<'a>(head: &TableHead, entries: impl Iterator<Item = (TopicPartition, &'a CheckpointEntry)>) -> Vec<u8> {
    let entries = entries
        .map(|(tp, e)| EntryOnDisk {
            topic: tp.topic.0,
            partition: tp.partition,
            log_start: e.log_start,
            high_watermark: e.high_watermark,
            segment_base: e.point.segment_base,
            position: e.point.position,
            offset: e.point.offset,
            sums_first: e.sums.first,
            sums: e.sums.full.clone(),
            sums_prefix: e.sums.prefix.map_or(-1, i64::from),
            epochs: e.epochs.entries().iter().map(|s| (s.epoch, s.start_offset)).collect(),
            producers_file: if let SavedProducers::File(offset) = e.producers { offset } else { -1 },
            producers_inline: if let SavedProducers::Inline(bytes) = &e.producers { bytes.clone() } else { Vec::new() },
        })
        .collect();
    let covers = head.covers.iter().flatten().map(|c| (c.journal, c.generation, c.up_to)).collect();
    let table = TableOnDisk { sequence: head.sequence, name: head.name.clone(), covers, entries };
    rkyv::to_bytes::<rancor::Error>(&table).expect("plain data into memory does not fail").into_vec()
}

/// Reads a table's bytes of a version, which must be aligned for rkyv. An error text for what `encode` cannot have written.
pub fn decode(version: u32, bytes: &[u8]) -> Result<(TableHead, CheckpointTable), String> {
    let (head, list) = if version < VERSION {
        let table = rkyv::from_bytes::<TableOnDiskV2, rancor::Error>(bytes).map_err(|e| e.to_string())?;
        (TableHead { sequence: table.sequence, name: String::new(), covers: None }, table.entries)
    } else {
        let table = rkyv::from_bytes::<TableOnDisk, rancor::Error>(bytes).map_err(|e| e.to_string())?;
        let covers = table.covers.into_iter().map(|(journal, generation, up_to)| Covered { journal, generation, up_to }).collect();
        (TableHead { sequence: table.sequence, name: table.name, covers: Some(covers) }, table.entries)
    };
    let mut entries = CheckpointTable::new();
    for e in list {
        let tp = TopicPartition { topic: TopicId(e.topic), partition: e.partition };
        let epochs = e.epochs.into_iter().map(|(epoch, start_offset)| EpochStart { epoch, start_offset }).collect();
        let entry = CheckpointEntry {
            log_start: e.log_start,
            high_watermark: e.high_watermark,
            point: RecoveryPoint { segment_base: e.segment_base, position: e.position, offset: e.offset },
            sums: SavedSums { first: e.sums_first, full: e.sums, prefix: u32::try_from(e.sums_prefix).ok() },
            epochs: LeaderEpochs::from_entries(epochs).map_err(|why| format!("{tp}: {why}"))?,
            producers: match (e.producers_file, e.producers_inline) {
                (-1, inline) if inline.is_empty() => SavedProducers::None,
                (-1, inline) => SavedProducers::Inline(inline),
                (offset, _) => SavedProducers::File(offset),
            },
        };
        if entry.log_start < 0 || entry.point.segment_base < 0 || entry.point.offset < entry.point.segment_base {
            return Err(format!("{tp}: impossible offsets"));
        }
        // At the front of a segment nothing lies before the point but the segment's own first offset: logs have no gap at their end.
        if entry.point.position == 0 && entry.point.offset != entry.point.segment_base {
            return Err(format!("{tp}: offset {} at the front of segment {}", entry.point.offset, entry.point.segment_base));
        }
        if entries.insert(tp, entry).is_some() {
            return Err(format!("{tp} twice"));
        }
    }
    Ok((head, entries))
}

const KIND: SnapshotKind = *b"CKPT";
/// 2: checksums. 3: name and what it covers.
const VERSION: u32 = 3;
const VERSION_MIN: u32 = 2;
/// Largest table, bytes: about a million partitions with small producer snapshots.
const TABLE_BYTES_MAX: usize = 512 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(offset: i64) -> CheckpointEntry {
        CheckpointEntry {
            log_start: 5,
            high_watermark: 9,
            point: RecoveryPoint { segment_base: 5, position: 4711, offset },
            sums: SavedSums { first: 3, full: vec![1, 2], prefix: Some(77) },
            epochs: LeaderEpochs::from_entries(vec![EpochStart { epoch: 1, start_offset: 5 }]).unwrap(),
            producers: SavedProducers::Inline(vec![1, 2, 3]),
        }
    }

    fn head(sequence: u64) -> TableHead {
        let covers = vec![Covered { journal: 0xab, generation: 3, up_to: 77 }, Covered { journal: 7, generation: 1, up_to: u64::MAX }];
        TableHead { sequence, name: BASE_NAME.to_string(), covers: Some(covers) }
    }

    fn aligned(bytes: &[u8]) -> rkyv::util::AlignedVec<16> {
        let mut aligned = rkyv::util::AlignedVec::<16>::new();
        aligned.extend_from_slice(bytes);
        aligned
    }

    #[test]
    fn a_table_round_trips() {
        let tp = |p| TopicPartition { topic: TopicId([7; 16]), partition: p };
        let table: CheckpointTable = [
            (tp(0), entry(10)),
            (tp(1), CheckpointEntry { producers: SavedProducers::File(44), ..entry(11) }),
            (tp(2), CheckpointEntry::empty(0)),
        ]
        .into();
        let head = head(3);
        let bytes = encode(&head, table.iter().map(|(tp, e)| (*tp, e)));
        assert_eq!(decode(VERSION, &aligned(&bytes)), Ok((head, table)));
    }

    #[test]
    fn a_table_of_the_version_before_is_read() {
        let old = TableOnDiskV2 { sequence: 4, entries: Vec::new() };
        let bytes = rkyv::to_bytes::<rancor::Error>(&old).unwrap();
        let head = TableHead { sequence: 4, name: String::new(), covers: None };
        assert_eq!(decode(2, &bytes), Ok((head, CheckpointTable::new())));
    }

    #[test]
    fn impossible_tables_are_refused() {
        let tp = TopicPartition::default();
        for bad in [entry(4), CheckpointEntry { log_start: -1, ..entry(10) }] {
            assert!(decode(VERSION, &aligned(&encode(&head(1), [(tp, &bad)].into_iter()))).is_err());
        }
        let ahead = CheckpointEntry { point: RecoveryPoint { segment_base: 5, position: 0, offset: 6 }, ..entry(10) };
        assert!(decode(VERSION, &aligned(&encode(&head(1), [(tp, &ahead)].into_iter()))).unwrap_err().contains("front of segment 5"));
        let twice = aligned(&encode(&head(1), [(tp, &entry(10)), (tp, &entry(11))].into_iter()));
        assert!(decode(VERSION, &twice).unwrap_err().contains("twice"));
        assert!(decode(VERSION, &twice[..10]).is_err());
    }
}
