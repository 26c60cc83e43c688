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
use crate::compaction::swap::{self, Exchange, SwapContent};
use crate::data_dir::{DataDir, JournalId};
use crate::error::StorageError;
use crate::io::{DirEntry, Disk, OfflineDisk};
use crate::journal::{self, EntryHeader, ReplayEnd, ReplayReport};
use crate::loader::Coverage;
use crate::producer_state::ProducerTable;
use crate::segment::name::{self, FileKind};
use segment::LogFile;

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
    /// The newest exchange of segments by compaction.
    Exchange {
        /// The partition.
        tp: TopicPartition,
        /// Its number.
        sequence: u64,
        /// Every record below was looked at by a compaction.
        cleaned_to: i64,
        /// Base offsets of the new segments.
        new: &'a [i64],
        /// Base offsets of the segments they replace.
        old: &'a [i64],
        /// The next start has to finish it.
        unfinished: bool,
    },
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
    let (table, coverage) = tables(&disk, dir, wanted, visit).await.unwrap_or_else(|error| {
        visit(Item::Finding(of_error(&dir.root().join("checkpoint"), Severity::Damage, &error)));
        (CheckpointTable::new(), None)
    });
    let mut beyond: BTreeMap<TopicPartition, i64> = BTreeMap::new();
    for id in dir.list_journals(&disk).await.unwrap_or_default() {
        let replayed = journal(&disk, &dir.journal(id), &id.to_string(), wanted, &mut beyond, visit).await;
        if let (Some(coverage), Some(replayed)) = (&coverage, replayed)
            && let Err(error) = coverage.check(dir, id, &replayed)
        {
            visit(Item::Finding(of_error(dir.root(), Severity::Damage, &error)));
        }
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

/// All tables merged, the newest one's entries on top, and what they say of the journals.
async fn tables(
    disk: &OfflineDisk,
    dir: &DataDir,
    wanted: &dyn Fn(TopicPartition) -> bool,
    visit: Visit<'_>,
) -> Result<(CheckpointTable, Option<Coverage>), StorageError> {
    let mut read = Vec::new();
    let mut files = Vec::new();
    let mut alone = Vec::new();
    let names = table_names(disk, dir).await?;
    let journals = dir.list_journals(disk).await.unwrap_or_default();
    if !names.iter().any(|name| name == BASE_NAME) && !journals.is_empty() {
        visit(Item::Finding(of_error(dir.root(), Severity::Damage, &crate::loader::tables_lost(dir))));
    }
    for name in names {
        match CheckpointFile::open(disk, dir, &name).await {
            Ok((file, Some(table))) => {
                if let Err(error) = file.check_alone() {
                    alone.push((file.sequence(), error));
                }
                read.push((file.sequence(), name, table));
                files.push(file);
            }
            Ok((_, None)) => {}
            Err(error) => visit(Item::Finding(of_error(dir.root(), Severity::Damage, &error))),
        }
    }
    // One that is older than the base was being removed.
    let base = read.iter().find(|(_, name, _)| name == BASE_NAME).map_or(0, |(sequence, ..)| *sequence);
    for (sequence, error) in alone {
        let severity = if sequence >= base { Severity::Damage } else { Severity::Note };
        visit(Item::Finding(of_error(dir.root(), severity, &error)));
    }
    let lost = read.iter().filter(|(sequence, ..)| *sequence > base).filter_map(|(_, name, _)| JournalId::parse(name));
    let mut lost: Vec<PathBuf> = lost.filter(|id| !journals.contains(id)).map(|id| dir.journal(id)).collect();
    if lost.is_empty() && journals.is_empty() && read.iter().any(|(.., table)| !table.is_empty()) {
        lost.push(dir.journals());
    }
    for path in lost {
        visit(Item::Finding(of_error(dir.root(), Severity::Damage, &crate::loader::journal_lost(dir, &path))));
    }
    let base_file = read.iter().position(|(_, name, _)| name == BASE_NAME).map(|at| &files[at]);
    let coverage = base_file.map(|base| Coverage::new(base, files.iter()));
    read.sort_by_key(|(sequence, ..)| *sequence);
    let mut merged = CheckpointTable::new();
    for (sequence, name, table) in read {
        for (tp, entry) in table.iter().filter(|(tp, _)| wanted(**tp)) {
            visit(Item::Checkpoint { table: &name, sequence, tp: *tp, entry });
        }
        merged.extend(table);
    }
    Ok((merged, coverage))
}

async fn journal(
    disk: &OfflineDisk,
    path: &Path,
    name: &str,
    wanted: &dyn Fn(TopicPartition) -> bool,
    beyond: &mut BTreeMap<TopicPartition, i64>,
    visit: Visit<'_>,
) -> Option<ReplayReport> {
    let mut take = |header: EntryHeader, data: &[u8]| {
        beyond.insert(header.partition, header.last_offset + 1);
        if wanted(header.partition) {
            visit(Item::JournalEntry { journal: name, header: &header, bytes: data.len() });
        }
        Ok(())
    };
    let replayed = journal::replay(disk, path, &mut take).await;
    let report = match replayed {
        Err(error) => {
            visit(Item::Finding(of_error(path, Severity::Damage, &error)));
            return None;
        }
        Ok(report) => report,
    };
    visit(Item::Journal { journal: name, generation: report.generation, frames: report.frames, entries: report.entries });
    let (file, position, severity, why) = match &report.end {
        ReplayEnd::Empty | ReplayEnd::End => return Some(report),
        ReplayEnd::Torn { file, position } => {
            (file, position, Severity::Note, "a frame was being written when the process ended; the next start leaves it out".to_string())
        }
        ReplayEnd::Corrupt { file, position, expected, proof } => {
            (file, position, Severity::Damage, format!("frame {} is missing although {proof}", expected.0))
        }
    };
    visit(Item::Finding(Finding { severity, path: file.clone(), position: Some(*position), why }));
    // Of what is damaged nothing more is said.
    (severity != Severity::Damage).then_some(report)
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
    let mut logs: Vec<LogFile> = Vec::new();
    for file in &files {
        match name::parse(&file.name) {
            FileKind::Log(base) => logs.push(LogFile { base, size: file.size_bytes, waits: None }),
            FileKind::Other if file.name == "compaction.a" || file.name == "compaction.b" => {}
            FileKind::Other if !file.is_dir => {
                let why = "not one of the broker's files, or one that recovery has set aside".to_string();
                visit(Item::Finding(Finding { severity: Severity::Note, path: dir.join(&file.name), position: None, why }));
            }
            _ => {}
        }
    }
    exchange(disk, dir, tp, &files, &mut logs, visit).await;
    logs.sort_unstable_by_key(|log| log.base);
    producers(disk, dir, tp, entry, visit).await;
    let Some(entry) = entry else {
        if !in_journal && logs.iter().any(|log| log.size > 0) {
            let why = "there are records, but no checkpoint and no journal knows this partition".to_string();
            visit(Item::Finding(Finding { severity: Severity::Damage, path: dir.to_path_buf(), position: None, why }));
        }
        return;
    };
    segment::walk(disk, dir, tp, entry, &logs, visit).await;
}

/// What compaction says of the segments; puts those of an exchange that was decided in the place of the old ones, as the next start will.
async fn exchange(disk: &OfflineDisk, dir: &Path, tp: TopicPartition, files: &[DirEntry], logs: &mut Vec<LogFile>, visit: Visit<'_>) {
    let found = match swap::look(disk, dir, files).await {
        Ok(Some(found)) => found,
        Ok(None) => return,
        Err(error) => return visit(Item::Finding(of_error(dir, Severity::Damage, &error))),
    };
    let Exchange { generation, content, damaged, staged, unfinished } = found;
    let mut tell = |severity, path: PathBuf, why: String| visit(Item::Finding(Finding { severity, path, position: None, why }));
    if let Some(why) = damaged {
        tell(Severity::Repairable, dir.to_path_buf(), format!("the older generation of the file compaction cannot be read: {why}"));
    }
    if unfinished {
        let why = format!("compaction {generation} was interrupted; the next start finishes it");
        tell(Severity::Note, dir.to_path_buf(), why);
    }
    for (name, of) in staged.iter().filter(|(_, of)| *of != generation) {
        tell(Severity::Note, dir.join(name), format!("left of compaction {of}, which was never decided; the next start removes it"));
    }
    let SwapContent { cleaned_to, new, old } = content;
    visit(Item::Exchange { tp, sequence: generation, cleaned_to, new: &new, old: &old, unfinished });
    if !unfinished {
        return;
    }
    logs.retain(|log| old.binary_search(&log.base).is_err() || new.binary_search(&log.base).is_ok());
    for file in files {
        if let FileKind::Compacted(base, of) = name::parse(&file.name)
            && of == generation
        {
            logs.retain(|log| log.base != base);
            logs.push(LogFile { base, size: file.size_bytes, waits: Some(of) });
        }
    }
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
