//! Runs recovery once per process, before the shards open their stores; single logs are opened by `opener.rs`.
//!
//! Recovery: sync, read the checkpoint tables, replay the journals, put back what the segments lack, sync, write the base table. Nothing in the journals is
//! needed after that. A crash at any point repeats it with the same result. Its time depends on the journals, not on the data. A table that cannot be
//! read is an error that names the file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;

use coreline_wire::ids::TopicPartition;
use futures_util::stream::StreamExt;

use crate::checkpoint::{
    self, BASE_NAME, CheckpointEntry, CheckpointFile, CheckpointTable, Covered, RecoveryPoint, SavedProducers, checkpoint_dir, table_names,
};
use crate::compaction::swap;
use crate::data_dir::{DataDir, JournalId};
use crate::error::StorageError;
use crate::io::{DirEntry, Disk, DiskBuffer, DiskFile, OpenMode};
use crate::journal::{self, ReplayEnd, ReplayReport};
use crate::log::append_plan::producer_batch;
use crate::producer_state::ProducerTable;
use crate::recovery::{Redo, RedoSegment, RedoVerdict};
use crate::segment::name::{self, FileKind};
use crate::snapshot_file::{open_envelope, seal_envelope};

/// What recovery found and did.
#[derive(Clone, Debug, Default)]
pub struct RecoveryReport {
    /// Journals in the data directory, all drained: their ids may be given to `Store::open` again.
    pub journals: Vec<JournalId>,
    /// Partitions that have a log.
    pub partitions: usize,
    /// Journal entries that were put back into segments.
    pub entries_redone: u64,
    /// Their bytes.
    pub bytes_redone: u64,
    /// Journal entries that the segments had already.
    pub entries_skipped: u64,
    /// Partitions on the disk or in a journal that `exists` denied, directories that no table names among them: left alone. `Store::delete_log` removes their files.
    pub unknown: Vec<TopicPartition>,
    /// Those of `unknown` that a checkpoint table or a journal names: the store wrote them, so the metadata knew them once.
    pub forgotten: Vec<TopicPartition>,
    /// What a person should know: torn ends, files set aside.
    pub notes: Vec<String>,
    /// The segments on the disk when recovery was done; see `Store::know_segments`.
    pub segments: SegmentListing,
}

/// Segment files by partition, as (base offset, bytes) in the order of their names. A partition that has a directory has an entry.
pub type SegmentListing = BTreeMap<TopicPartition, Vec<(i64, u64)>>;

/// Brings segments and checkpoint up to what the journals hold. The caller holds the data directory's lock.
pub async fn recover<D: Disk>(
    disk: &D,
    dir: &DataDir,
    exists: &dyn Fn(TopicPartition) -> bool,
    now_ms: i64,
) -> Result<RecoveryReport, StorageError> {
    for path in [dir.root(), &dir.journals(), &dir.topics(), &checkpoint_dir(dir)] {
        disk.create_dir(path).await?;
    }
    // Nothing may be decided by bytes that were never durable.
    disk.sync_all().await?;
    let mut report = RecoveryReport::default();
    let Tables { mut base, mut merged, sequence_max, others, coverage } = read_tables(disk, dir).await?;
    let mut drained = Vec::new();
    report.journals = dir.list_journals(disk).await?;
    let mut unknown: BTreeSet<TopicPartition> = merged.keys().copied().filter(|tp| !exists(*tp)).collect();
    let mut redos: BTreeMap<TopicPartition, Redo> = BTreeMap::new();
    for id in report.journals.clone() {
        let replayed = replay_journal(disk, &dir.journal(id), exists, &merged, &mut redos, &mut unknown, &mut report).await?;
        coverage.check(dir, id, &replayed)?;
        drained.push(Covered { journal: id.0, generation: replayed.generation, up_to: u64::MAX });
        put_back_all(disk, dir, &mut merged, &mut redos, now_ms, &mut report).await?;
    }
    list_all(disk, dir, &merged, &unknown, sequence_max, &mut report).await?;
    // Directories that no table names, and entries of which nothing is left: of deleted partitions, as a rule.
    let present: BTreeSet<TopicPartition> = dir.list_partitions(disk).await?.into_iter().collect();
    unknown.retain(|tp| present.contains(tp) || !merged.contains_key(tp));
    report.forgotten = unknown.iter().copied().collect();
    merged.retain(|tp, _| present.contains(tp) || exists(*tp));
    unknown.extend(present.into_iter().filter(|tp| !exists(*tp)));
    if !planted!(RecoveryTableBeforeSync) {
        disk.sync_all().await?;
    }
    let sequence = sequence_max + 1;
    let content = checkpoint::encode(&base.head(sequence, drained), merged.iter().map(|(tp, entry)| (*tp, entry)));
    base.write(disk, sequence, &content).await?;
    // Everything is in the base table now.
    for mut table in others {
        table.remove(disk).await?;
    }
    report.partitions = merged.len();
    report.unknown = unknown.into_iter().collect();
    tracing::info!(
        partitions = report.partitions,
        journals = report.journals.len(),
        entries = report.entries_redone,
        bytes = report.bytes_redone,
        skipped = report.entries_skipped,
        "recovery is done"
    );
    Ok(report)
}

/// In place of [`recover`] for a directory that `DataDir::open_or_format` has formatted in this very process: there is nothing to read, so
/// nothing that a sync would have to make trustworthy first. Syncing a whole file system waits for what other programs have written.
pub async fn begin_empty<D: Disk>(disk: &D, dir: &DataDir) -> Result<RecoveryReport, StorageError> {
    let (mut base, table) = CheckpointFile::open(disk, dir, BASE_NAME).await?;
    assert!(table.is_none(), "a directory formatted by this process has no checkpoint yet");
    let content = checkpoint::encode(&base.head(1, Vec::new()), std::iter::empty());
    base.write(disk, 1, &content).await?;
    Ok(RecoveryReport::default())
}

/// What the tables say of the journals: an older copy of a table does not fit to what the journals know.
pub(crate) struct Coverage {
    base: u64,
    /// `None` when a table is of a version that does not say.
    covers: Option<Vec<Covered>>,
    /// The tables of journals, with their sequences.
    tables: Vec<(JournalId, u64)>,
}

impl Coverage {
    /// Of the tables that count, `base` among them.
    pub(crate) fn new<'a>(base: &CheckpointFile, tables: impl Iterator<Item = &'a CheckpointFile>) -> Coverage {
        let mut covers = base.covers().map(<[Covered]>::to_vec);
        let mut named = Vec::new();
        for table in tables.filter(|table| table.sequence() > base.sequence()) {
            covers = covers.zip(table.covers()).map(|(all, some)| [&all, some].concat());
            named.extend(JournalId::parse(table.name()).map(|id| (id, table.sequence())));
        }
        Coverage { base: base.sequence(), covers, tables: named }
    }

    /// Refuses tables that are older than a journal: it was opened behind a newer base, knows a newer table of its own, or has given up frames that no table
    /// makes needless.
    pub(crate) fn check(&self, dir: &DataDir, id: JournalId, replayed: &ReplayReport) -> Result<(), StorageError> {
        let tables = checkpoint_dir(dir);
        let (path, newest, why) = if replayed.base_table > self.base {
            let newest = format!("begins behind table {}", replayed.base_table);
            (tables.join(BASE_NAME), newest, format!("it has sequence {}", self.base))
        } else if let Some(found) = self.older_than(id, replayed.newest_table) {
            let newest = format!("knows table {}", replayed.newest_table);
            (tables.join(checkpoint::journal_table_name(id)), newest, format!("it has sequence {found}"))
        } else {
            let covers = |c: &Covered| {
                c.journal == id.0
                    && (c.generation > replayed.generation || (c.generation == replayed.generation && c.up_to >= replayed.released.0))
            };
            match &self.covers {
                Some(all) if replayed.released.0 > 0 && !all.iter().any(covers) => {
                    let newest = format!("has given up its frames up to {} of generation {}", replayed.released.0, replayed.generation);
                    (tables.join(checkpoint::journal_table_name(id)), newest, "no table has what they held".to_string())
                }
                _ => return Ok(()),
            }
        };
        let why = format!(
            "{why}, but the journal {} {newest}: this is an older copy, and acknowledged records may be missing with it. Restore this directory from a copy",
            dir.journal(id).display()
        );
        Err(StorageError::corrupt(&path, None, why))
    }

    /// The sequence of a journal's table, or 0 without one, where that is older than `newest` and no later recovery has taken its place.
    fn older_than(&self, id: JournalId, newest: u64) -> Option<u64> {
        let found = self.tables.iter().find(|(journal, _)| *journal == id).map_or(0, |(_, sequence)| *sequence);
        (newest > self.base && newest > found).then_some(found)
    }
}

struct Tables {
    /// For writing.
    base: CheckpointFile,
    /// All entries, those of the newest sequence last.
    merged: CheckpointTable,
    sequence_max: u64,
    /// For removal.
    others: Vec<CheckpointFile>,
    coverage: Coverage,
}

async fn read_tables<D: Disk>(disk: &D, dir: &DataDir) -> Result<Tables, StorageError> {
    let (base, base_table) = CheckpointFile::open(disk, dir, BASE_NAME).await?;
    let journals = dir.list_journals(disk).await?;
    if base_table.is_none() && !journals.is_empty() {
        return Err(tables_lost(dir));
    }
    let mut tables: Vec<(u64, CheckpointTable)> = vec![(base.sequence(), base_table.unwrap_or_default())];
    base.check_alone()?;
    let mut others = Vec::new();
    for name in table_names(disk, dir).await? {
        if name != BASE_NAME {
            let (file, table) = CheckpointFile::open(disk, dir, &name).await?;
            if file.sequence() > base.sequence() {
                file.check_alone()?;
                if let Some(id) = JournalId::parse(&name).filter(|id| !journals.contains(id)) {
                    return Err(journal_lost(dir, &dir.journal(id)));
                }
            }
            tables.push((file.sequence(), table.unwrap_or_default()));
            others.push(file);
        }
    }
    tables.sort_by_key(|(sequence, _)| *sequence);
    let sequence_max = tables.last().map_or(0, |(sequence, _)| *sequence);
    if planted!(TableOrderReversed) {
        tables.reverse();
    }
    let mut merged = CheckpointTable::new();
    for (_, table) in tables {
        merged.extend(table);
    }
    if journals.is_empty() && !merged.is_empty() {
        return Err(journal_lost(dir, &dir.journals()));
    }
    let coverage = Coverage::new(&base, others.iter());
    Ok(Tables { base, merged, sequence_max, others, coverage })
}

/// A journal is made before the table of its store and before the first partition, and is never removed: what only it held is lost with it.
pub(crate) fn journal_lost(dir: &DataDir, at: &Path) -> StorageError {
    let tables = checkpoint_dir(dir);
    let why = format!(
        "the checkpoint tables in {} speak of a journal that is not there: acknowledged records may be lost with it. Restore this directory from a copy",
        tables.display()
    );
    StorageError::corrupt(at, None, why)
}

/// A table is written before the first journal is made: without any, what the journals hold cannot be put back.
pub(crate) fn tables_lost(dir: &DataDir) -> StorageError {
    let why = "there is a journal and no checkpoint table (base.a or base.b): the tables were lost. Restore this directory from a copy";
    StorageError::corrupt(&checkpoint_dir(dir), None, why)
}

async fn replay_journal<D: Disk>(
    disk: &D,
    path: &Path,
    exists: &dyn Fn(TopicPartition) -> bool,
    merged: &CheckpointTable,
    redos: &mut BTreeMap<TopicPartition, Redo>,
    unknown: &mut BTreeSet<TopicPartition>,
    report: &mut RecoveryReport,
) -> Result<ReplayReport, StorageError> {
    let alignment = disk.alignment() as u32;
    let mut visit = |header: crate::journal::EntryHeader, data: &[u8]| {
        if unknown.contains(&header.partition) || !exists(header.partition) {
            unknown.insert(header.partition);
            return Ok(());
        }
        let redo = redos.entry(header.partition).or_insert_with(|| {
            let entry = merged.get(&header.partition);
            Redo::new(entry.map(|e| e.point), entry.map_or(-1, |e| e.epochs.latest()), alignment)
        });
        match redo.offer(&header, data) {
            RedoVerdict::Taken => {
                report.entries_redone += 1;
                report.bytes_redone += data.len() as u64;
            }
            RedoVerdict::Skipped => report.entries_skipped += 1,
            RedoVerdict::Stopped => {}
        }
        Ok(())
    };
    let replayed = journal::replay(disk, path, &mut visit).await?;
    match &replayed.end {
        ReplayEnd::Empty | ReplayEnd::End => Ok(replayed),
        ReplayEnd::Torn { file, position } => {
            report.notes.push(format!("{}: a frame was being written at byte {position} when the process ended", file.display()));
            Ok(replayed)
        }
        ReplayEnd::Corrupt { file, position, expected, proof } => {
            let why = format!(
                "frame {} is missing although {proof}: acknowledged data cannot be read. Restore this directory from a copy",
                expected.0
            );
            Err(StorageError::corrupt(file, Some(*position), why))
        }
    }
}

/// Puts back what the redos of all partitions hold, a few partitions at a time.
async fn put_back_all<D: Disk>(
    disk: &D,
    dir: &DataDir,
    merged: &mut CheckpointTable,
    redos: &mut BTreeMap<TopicPartition, Redo>,
    now_ms: i64,
    report: &mut RecoveryReport,
) -> Result<(), StorageError> {
    let mut work = Vec::new();
    for (tp, redo) in redos.iter_mut() {
        if let Some(why) = redo.stopped() {
            tracing::error!(partition = %tp, why, "recovery stopped within the journal");
            report.notes.push(format!("{tp}: stopped at {why}"));
        }
        if !redo.is_empty() {
            let entry = merged.remove(tp).unwrap_or_else(|| CheckpointEntry::empty(redo.start().offset));
            work.push((*tp, entry, redo));
        }
    }
    let work = work.into_iter().map(async |(tp, mut entry, redo)| {
        let mut notes = Vec::new();
        let done = put_back(disk, &dir.partition(tp), &mut entry, redo, now_ms, &mut notes).await;
        done.map(|()| (tp, entry, notes))
    });
    let mut done = std::pin::pin!(futures_util::stream::iter(work).buffered(PUT_BACK_AT_ONCE));
    while let Some(done) = done.next().await {
        let (tp, entry, notes) = done?;
        merged.insert(tp, entry);
        report.notes.extend(notes);
    }
    Ok(())
}

/// Writes what a redo holds and brings the partition's checkpoint entry up to it.
async fn put_back<D: Disk>(
    disk: &D,
    dir: &Path,
    entry: &mut CheckpointEntry,
    redo: &mut Redo,
    now_ms: i64,
    notes: &mut Vec<String>,
) -> Result<(), StorageError> {
    disk.create_dir(dir).await?;
    let mut producers = load_producers(disk, dir, &entry.producers).await.unwrap_or_else(|error| {
        // Rebuilt when the log is opened: its entry names a file that is not there.
        notes.push(format!("{}: {error}", dir.display()));
        None
    });
    let end = redo.end();
    let start = redo.start();
    let segments: Vec<&RedoSegment> = redo.segments().iter().collect();
    if segments.is_empty()
        && let Some(head) = redo.head()
    {
        let block = RedoSegment { base_offset: start.segment_base, start: start.position, bytes: Vec::new() };
        write_segment(disk, dir, &block, Some(head), false).await?;
    }
    for (index, segment) in segments.iter().enumerate() {
        let head = redo.head().filter(|_| segment.base_offset == start.segment_base);
        write_segment(disk, dir, segment, head, index + 1 < segments.len()).await?;
    }
    if segments.first().is_some_and(|s| s.base_offset != start.segment_base) {
        // The checkpointed segment got nothing more: it is sealed now.
        cut_to_size(disk, dir, start).await?;
    }
    let mut epochs = entry.epochs.clone();
    for batch in redo.batches() {
        let header = &batch.header;
        epochs.observe(header.partition_leader_epoch, header.base_offset);
        if let Some((table, covered)) = &mut producers
            && header.base_offset >= *covered
            && let Some(producer) = producer_batch(header)
        {
            table.apply(&producer, header.base_offset, header.max_timestamp, now_ms, PRODUCERS_RECOVERED_MAX);
        }
    }
    if let Some((mut table, _)) = producers {
        table.truncate_back(end.offset);
        entry.producers = save_producers(disk, dir, &table, end.offset).await?;
    }
    entry.epochs = epochs;
    entry.sums = redo.sums(&entry.sums);
    entry.point = end;
    entry.log_start = entry.log_start.min(end.offset);
    redo.written();
    Ok(())
}

/// Writes the bytes of one segment in place; `head` is what stands before them in their first block, when the journal has it.
async fn write_segment<D: Disk>(
    disk: &D,
    dir: &Path,
    segment: &RedoSegment,
    head: Option<&[u8]>,
    sealed: bool,
) -> Result<(), StorageError> {
    let path = dir.join(name::log_file(segment.base_offset));
    let file = match disk.open(&path, OpenMode::ReadWrite).await {
        Ok(file) => file,
        Err(error) if error.is_not_found() && segment.start == 0 => disk.open(&path, OpenMode::CreateNew).await?,
        Err(error) => return Err(error.into()),
    };
    let alignment = disk.alignment();
    let head_len = segment.start as usize % alignment;
    let block_start = segment.start as usize - head_len;
    let mut content = match head {
        Some(head) => head.to_vec(),
        None => {
            let head = file.read_at(block_start as u64, head_len).await?;
            if head.len() != head_len {
                return Err(StorageError::corrupt(
                    &path,
                    Some((block_start + head.len()) as u64),
                    format!("ends before its checkpoint at {}", segment.start),
                ));
            }
            head
        }
    };
    content.extend_from_slice(&segment.bytes);
    let size = block_start + content.len();
    content.resize(content.len().next_multiple_of(alignment), 0);
    let mut from = 0;
    if head.is_none() && head_len > 0 {
        // No image: the block was full when it was written, so it is there. It is not written again: that could tear what only it holds.
        let on_disk = file.read_at(block_start as u64, alignment).await?;
        if on_disk == content[..alignment] {
            from = alignment;
        }
    }
    let pieces = (from..content.len()).step_by(WRITE_BYTES).map(async |at| {
        let piece = &content[at..content.len().min(at + WRITE_BYTES)];
        let mut buffer = disk.buffer_for_overwrite(piece.len());
        buffer.bytes_mut().copy_from_slice(piece);
        file.write_at(Rc::new(buffer), (block_start + at) as u64).await
    });
    // In any order: nothing of it counts before the sync that follows.
    let mut writes = std::pin::pin!(futures_util::stream::iter(pieces).buffer_unordered(WRITES_AT_ONCE));
    while let Some(written) = writes.next().await {
        written?;
    }
    let file_size = if sealed && !planted!(TornTailNotCut) { size } else { size.next_multiple_of(alignment) } as u64;
    if file.size().await? != file_size {
        file.truncate(file_size).await?;
    }
    // Index files of an earlier life may not fit any more; checksums of a finished segment may go beyond what was recovered of it.
    let base = segment.base_offset;
    if segment.start == 0 {
        disk.remove_file(&dir.join(name::offset_index_file(base))).await?;
        disk.remove_file(&dir.join(name::time_index_file(base))).await?;
    }
    if segment.start == 0 || sealed {
        disk.remove_file(&dir.join(name::sums_file(base))).await?;
    }
    Ok(())
}

async fn cut_to_size<D: Disk>(disk: &D, dir: &Path, point: RecoveryPoint) -> Result<(), StorageError> {
    let path = dir.join(name::log_file(point.segment_base));
    let file = disk.open(&path, OpenMode::ReadWrite).await?;
    let size = file.size().await?;
    if size < u64::from(point.position) {
        return Err(StorageError::corrupt(&path, Some(size), format!("ends before its checkpoint at {}", point.position)));
    }
    if size != u64::from(point.position) {
        file.truncate(u64::from(point.position)).await?;
        disk.remove_file(&dir.join(name::sums_file(point.segment_base))).await?;
    }
    Ok(())
}

/// Looks at every partition's files, many directories at a time, and notes the segments.
async fn list_all<D: Disk>(
    disk: &D,
    dir: &DataDir,
    merged: &CheckpointTable,
    unknown: &BTreeSet<TopicPartition>,
    generation: u64,
    report: &mut RecoveryReport,
) -> Result<(), StorageError> {
    let known: Vec<(TopicPartition, &CheckpointEntry)> =
        merged.iter().filter(|(tp, _)| !unknown.contains(tp)).map(|(tp, entry)| (*tp, entry)).collect();
    let lists = futures_util::stream::iter(known.chunks(LIST_DIRS).map(async |some| {
        let dirs: Vec<_> = some.iter().map(|(tp, _)| dir.partition(*tp)).collect();
        (some, disk.list_dirs(&dirs).await)
    }));
    let mut lists = std::pin::pin!(lists.buffered(LISTS_AT_ONCE));
    while let Some((some, lists)) = lists.next().await {
        for ((tp, entry), files) in some.iter().zip(lists) {
            let files = match files {
                Ok(files) => files,
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error.into()),
            };
            let files = match settle_compaction(disk, &dir.partition(*tp), files, report).await {
                Ok(files) => files,
                // A matter of this log: without a listing its opening meets the same, and it alone is refused.
                Err(error) if error.is_of_one_log() => {
                    report.notes.push(error.to_string());
                    continue;
                }
                Err(error) => return Err(error),
            };
            let segments = set_aside_later_segments(disk, &dir.partition(*tp), files, entry, generation, report).await?;
            report.segments.insert(*tp, segments);
        }
    }
    Ok(())
}

/// Finishes or undoes a compaction that was interrupted; answers with the files that are there then.
async fn settle_compaction<D: Disk>(
    disk: &D,
    dir: &Path,
    files: Vec<DirEntry>,
    report: &mut RecoveryReport,
) -> Result<Vec<DirEntry>, StorageError> {
    if !swap::settle(disk, dir, &files).await? {
        return Ok(files);
    }
    report.notes.push(format!("{}: a compaction was interrupted and is finished now", dir.display()));
    Ok(disk.list_dir(dir).await?)
}

/// Moves files of segments behind the recovered end out of the way: empty ones are removed, others are kept for a person to look at. Answers with
/// the segments that stay.
async fn set_aside_later_segments<D: Disk>(
    disk: &D,
    dir: &Path,
    files: Vec<DirEntry>,
    entry: &CheckpointEntry,
    generation: u64,
    report: &mut RecoveryReport,
) -> Result<Vec<(i64, u64)>, StorageError> {
    let mut segments = Vec::new();
    for file in files {
        match name::parse(&file.name) {
            FileKind::Log(base) if base <= entry.point.segment_base => segments.push((base, file.size_bytes)),
            FileKind::Log(base) if base > entry.point.segment_base => {
                let path = dir.join(&file.name);
                if file.size_bytes == 0 {
                    disk.remove_file(&path).await?;
                } else {
                    let aside = dir.join(name::cut_file(base, generation));
                    disk.rename(&path, &aside).await?;
                    report.notes.push(format!("{} lies behind the recovered end and was moved to {}", path.display(), aside.display()));
                }
            }
            FileKind::OffsetIndex(base) | FileKind::TimeIndex(base) | FileKind::Sums(base) if base > entry.point.segment_base => {
                disk.remove_file(&dir.join(&file.name)).await?;
            }
            FileKind::ProducerSnapshot(offset) if entry.producers != SavedProducers::File(offset) => {
                disk.remove_file(&dir.join(&file.name)).await?;
            }
            _ => {}
        }
    }
    Ok(segments)
}

/// The saved producers and the offset up to which they are known; `Ok(None)` never stands for damage.
pub(crate) async fn load_producers<D: Disk>(
    disk: &D,
    dir: &Path,
    saved: &SavedProducers,
) -> Result<Option<(ProducerTable, i64)>, StorageError> {
    match saved {
        SavedProducers::None => Ok(Some((ProducerTable::default(), 0))),
        SavedProducers::Inline(bytes) => {
            let decoded = ProducerTable::decode(bytes)
                .map_err(|why| StorageError::corrupt(dir, None, format!("producers in the checkpoint: {why}")))?;
            Ok(Some(decoded))
        }
        SavedProducers::File(offset) => {
            let path = dir.join(name::producer_snapshot_file(*offset));
            let bytes = disk.read_file(&path, PRODUCERS_BYTES_MAX).await?.ok_or_else(|| StorageError::corrupt(&path, None, "missing"))?;
            let snapshot = open_envelope(&path, &bytes, crate::checkpointer::PRODUCERS_KIND, crate::checkpointer::PRODUCERS_VERSION)?;
            let decoded = ProducerTable::decode(&snapshot.bytes).map_err(|why| StorageError::corrupt(&path, None, why))?;
            Ok(Some(decoded))
        }
    }
}

async fn save_producers<D: Disk>(disk: &D, dir: &Path, table: &ProducerTable, offset: i64) -> Result<SavedProducers, StorageError> {
    if table.is_empty() {
        return Ok(SavedProducers::None);
    }
    let bytes = table.encode(offset);
    if bytes.len() <= crate::checkpointer::PRODUCERS_INLINE_BYTES_MAX {
        return Ok(SavedProducers::Inline(bytes));
    }
    let content = seal_envelope(crate::checkpointer::PRODUCERS_KIND, crate::checkpointer::PRODUCERS_VERSION, offset as u64, &bytes);
    disk.write_file_unsynced(&dir.join(name::producer_snapshot_file(offset)), &content).await?;
    Ok(SavedProducers::File(offset))
}

/// Size of one write during recovery, bytes.
const WRITE_BYTES: usize = 1 << 20;
/// Partitions that are put back together.
const PUT_BACK_AT_ONCE: usize = 4;
/// Writes of one segment in flight together.
const WRITES_AT_ONCE: usize = 4;
/// Largest producer snapshot that is read, bytes.
const PRODUCERS_BYTES_MAX: usize = 512 << 20;
/// Producers kept while redoing a journal; the log's own bound applies from the first append on.
const PRODUCERS_RECOVERED_MAX: usize = 1_000_000;
/// Directories listed by one call, and calls in flight.
const LIST_DIRS: usize = 128;
const LISTS_AT_ONCE: usize = 4;
