//! Looks at every file of a stopped broker's data directory and changes none: what is in it, and what is wrong with it.
//!
//! A walk tells its findings and everything it reads to a visitor, as it comes, so that memory does not grow with the data. The caller holds the directory's
//! lock (`DataDir::lock_existing`). The metadata quorum's files are the broker's to read.

mod segment;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use coreline_wire::ids::TopicPartition;
use coreline_wire::record::BatchHeader;

use crate::checkpoint::{BASE_NAME, CheckpointEntry, CheckpointFile, CheckpointTable, SavedProducers, table_names};
use crate::data_dir::DataDir;
use crate::error::StorageError;
use crate::io::{Disk, OfflineDisk};
use crate::journal::{self, EntryHeader, ReplayEnd};
use crate::producer_state::ProducerTable;
use crate::segment::name::{self, FileKind};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; nothing is wrong with the data.
    Note,
    /// The broker makes it anew from the records.
    Repairable,
    /// Data cannot be trusted: the broker refuses it, or to start.
    Damage,
}

/// Something that is not as it ought to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// The file or directory.
    pub path: PathBuf,
    /// Byte position, where there is one.
    pub position: Option<u64>,
    /// What is wrong.
    pub why: String,
}

/// What a walk comes across.
#[derive(Debug)]
pub enum Item<'a> {
    /// Not as it ought to be.
    Finding(Finding),
    /// An entry of a checkpoint table; each is told, those of older tables first.
    Checkpoint {
        /// Name of the table.
        table: &'a str,
        /// Its sequence.
        sequence: u64,
        /// The partition.
        tp: TopicPartition,
        /// What it says.
        entry: &'a CheckpointEntry,
    },
    /// An entry of a journal that was not released.
    JournalEntry {
        /// The journal's name.
        journal: &'a str,
        /// The entry.
        header: &'a EntryHeader,
        /// Bytes of its data.
        bytes: usize,
    },
    /// A journal was read.
    Journal {
        /// Its name.
        journal: &'a str,
        /// Generation of its frames.
        generation: u64,
        /// Frames that were not released.
        frames: u64,
        /// Entries in them.
        entries: u64,
    },
    /// A batch.
    Batch {
        /// The partition.
        tp: TopicPartition,
        /// Its segment.
        segment: i64,
        /// Position in it.
        position: u64,
        /// Its header.
        header: &'a BatchHeader,
        /// All its bytes.
        bytes: &'a Bytes,
    },
    /// An index file.
    Index {
        /// The partition.
        tp: TopicPartition,
        /// The file's name.
        file: String,
        /// Entries.
        entries: usize,
        /// Bytes of the segment covered.
        covered: u32,
    },
    /// A segment was read.
    Segment(SegmentSummary),
    /// A producer's state as last saved.
    Producers {
        /// The partition.
        tp: TopicPartition,
        /// How many there are.
        producers: usize,
        /// Offset behind the last batch they know.
        offset: i64,
    },
}

/// What is in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentSummary {
    /// The partition.
    pub tp: TopicPartition,
    /// Its base offset.
    pub base_offset: i64,
    /// Bytes of batches.
    pub bytes: u64,
    /// Batches.
    pub batches: u64,
    /// Records.
    pub records: u64,
    /// Offset behind the last one.
    pub next_offset: i64,
    /// Largest timestamp, ms; -1 for none.
    pub max_timestamp: i64,
    /// Blocks of 64 KiB that were compared with their checksum.
    pub blocks_checked: u64,
}

/// Is told what a walk comes across.
pub type Visit<'v> = &'v mut dyn FnMut(Item<'_>);

/// Walks the whole directory; of partitions and journal entries only those that `wanted` names. An error only when the directory itself cannot be read.
pub async fn walk(dir: &DataDir, wanted: &dyn Fn(TopicPartition) -> bool, visit: Visit<'_>) -> Result<(), StorageError> {
    let disk = OfflineDisk;
    if let Err(error) = dir.read_meta(&disk).await.and_then(|meta| match meta {
        Some(_) => Ok(()),
        None => Err(StorageError::corrupt(dir.root(), None, "there is no identity (meta.a or meta.b): is this a data directory?")),
    }) {
        visit(Item::Finding(of_error(dir.root(), Severity::Damage, &error)));
    }
    let table = tables(&disk, dir, wanted, visit).await?;
    let mut beyond: BTreeMap<TopicPartition, i64> = BTreeMap::new();
    for id in dir.list_journals(&disk).await.unwrap_or_default() {
        journal(&disk, &dir.journal(id), &id.to_string(), wanted, &mut beyond, visit).await;
    }
    let mut partitions: Vec<TopicPartition> = dir.list_partitions(&disk).await?;
    partitions.extend(table.keys().copied());
    partitions.sort();
    partitions.dedup();
    for tp in partitions.into_iter().filter(|tp| wanted(*tp)) {
        partition(&disk, &dir.partition(tp), tp, table.get(&tp), beyond.contains_key(&tp), visit).await;
    }
    Ok(())
}

/// All tables merged, the newest one's entries on top.
async fn tables(
    disk: &OfflineDisk,
    dir: &DataDir,
    wanted: &dyn Fn(TopicPartition) -> bool,
    visit: Visit<'_>,
) -> Result<CheckpointTable, StorageError> {
    let mut read = Vec::new();
    for name in table_names(disk, dir).await? {
        match CheckpointFile::open(disk, dir, &name).await {
            Ok((file, Some(table))) => {
                if let Err(error) = file.check_alone() {
                    let severity = if name == BASE_NAME { Severity::Damage } else { Severity::Note };
                    visit(Item::Finding(of_error(dir.root(), severity, &error)));
                }
                read.push((file.sequence(), name, table));
            }
            Ok((_, None)) => {}
            Err(error) => visit(Item::Finding(of_error(dir.root(), Severity::Damage, &error))),
        }
    }
    read.sort_by_key(|(sequence, ..)| *sequence);
    let mut merged = CheckpointTable::new();
    for (sequence, name, table) in read {
        for (tp, entry) in table.iter().filter(|(tp, _)| wanted(**tp)) {
            visit(Item::Checkpoint { table: &name, sequence, tp: *tp, entry });
        }
        merged.extend(table);
    }
    Ok(merged)
}

async fn journal(
    disk: &OfflineDisk,
    path: &Path,
    name: &str,
    wanted: &dyn Fn(TopicPartition) -> bool,
    beyond: &mut BTreeMap<TopicPartition, i64>,
    visit: Visit<'_>,
) {
    let mut take = |header: EntryHeader, data: &[u8]| {
        beyond.insert(header.partition, header.last_offset + 1);
        if wanted(header.partition) {
            visit(Item::JournalEntry { journal: name, header: &header, bytes: data.len() });
        }
        Ok(())
    };
    let replayed = journal::replay(disk, path, &mut take).await;
    let finding = match replayed {
        Err(error) => of_error(path, Severity::Damage, &error),
        Ok(report) => {
            visit(Item::Journal { journal: name, generation: report.generation, frames: report.frames, entries: report.entries });
            let (file, position, severity, why) = match report.end {
                ReplayEnd::Empty | ReplayEnd::End => return,
                ReplayEnd::Torn { file, position } => {
                    (file, position, Severity::Note, "a frame was being written when the process ended".to_string())
                }
                ReplayEnd::Corrupt { file, position, expected, proof } => {
                    let why = format!("frame {} is missing although frame {} says that it was durable", expected.0, proof.0);
                    (file, position, Severity::Damage, why)
                }
            };
            Finding { severity, path: file, position: Some(position), why }
        }
    };
    visit(Item::Finding(finding));
}

async fn partition(
    disk: &OfflineDisk,
    dir: &Path,
    tp: TopicPartition,
    entry: Option<&CheckpointEntry>,
    in_journal: bool,
    visit: Visit<'_>,
) {
    let files = match disk.list_dir(dir).await {
        Ok(files) => files,
        Err(error) if error.is_not_found() && entry.is_none_or(|e| e.point.position == 0) => return,
        Err(error) => return visit(Item::Finding(of_error(dir, Severity::Damage, &error.into()))),
    };
    let mut logs: Vec<(i64, u64)> = Vec::new();
    for file in &files {
        match name::parse(&file.name) {
            FileKind::Log(base) => logs.push((base, file.size_bytes)),
            FileKind::Other if !file.is_dir => {
                let why = "not one of the broker's files, or one that recovery has set aside".to_string();
                visit(Item::Finding(Finding { severity: Severity::Note, path: dir.join(&file.name), position: None, why }));
            }
            _ => {}
        }
    }
    logs.sort_unstable();
    producers(disk, dir, tp, entry, visit).await;
    let Some(entry) = entry else {
        if !in_journal && logs.iter().any(|(_, size)| *size > 0) {
            let why = "there are records, but no checkpoint and no journal knows this partition".to_string();
            visit(Item::Finding(Finding { severity: Severity::Damage, path: dir.to_path_buf(), position: None, why }));
        }
        return;
    };
    segment::walk(disk, dir, tp, entry, &logs, visit).await;
}

async fn producers(disk: &OfflineDisk, dir: &Path, tp: TopicPartition, entry: Option<&CheckpointEntry>, visit: Visit<'_>) {
    let Some(saved) = entry.map(|entry| &entry.producers) else { return };
    match crate::loader::load_producers(disk, dir, saved).await {
        Ok(Some((table, offset))) if *saved != SavedProducers::None => {
            let table: ProducerTable = table;
            visit(Item::Producers { tp, producers: table.len(), offset });
        }
        Ok(_) => {}
        Err(error) => visit(Item::Finding(of_error(dir, Severity::Repairable, &error))),
    }
}

/// An error as a finding: it names its own file where it has one.
fn of_error(path: &Path, severity: Severity, error: &StorageError) -> Finding {
    match error {
        StorageError::Corrupt { path, position, why } => Finding { severity, path: path.clone(), position: *position, why: why.clone() },
        StorageError::Io(e) => {
            Finding { severity, path: e.path.clone(), position: e.position, why: format!("cannot be read: {}", e.source) }
        }
        StorageError::NewerFormat { path, .. } => Finding { severity, path: path.clone(), position: None, why: error.to_string() },
        other => Finding { severity, path: path.to_path_buf(), position: None, why: other.to_string() },
    }
}
