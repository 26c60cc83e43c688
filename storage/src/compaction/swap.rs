//! The exchange of old segment files for compacted ones: at every instant, also after a crash at any point, a log has either all old files or all new ones.
//!
//! 1. New files are written as `<base>.log.compacted.<generation>`, cut to size, flushed, their checksums beside them; then the directory.
//! 2. The snapshot file `compaction` gets that generation with the old and new base offsets: **this is the moment**.
//! 3. Old files without a successor and everything kept beside old files (indexes) are removed; the directory is flushed.
//! 4. New files are renamed to `<base>.log` and `<base>.sums`; the directory is flushed.
//!
//! `settle` repeats 3 and 4 at the next start when files of the newest generation wait for it, and removes files of any other generation. Readers meanwhile read on from
//! the descriptors they hold; who has to open a file waits for the renames (`LogInner::swaps`).

use std::path::Path;
use std::rc::Rc;

use super::filter::PlacedBatch;
use super::plan::SegmentFacts;
use crate::error::StorageError;
use crate::io::{DirEntry, Disk, DiskBuffer, DiskFile, IoOp, OpenMode};
use crate::log::{LogInner, index_loader, sums};
use crate::segment::name::{self, FileKind};
use crate::segment::sums::{SUM_BLOCK_BYTES, SegmentSums, sign};
use crate::segment::{Segment, SegmentIndex};
use crate::snapshot_file::{SnapshotFile, SnapshotKind};
use crate::store::StoreInner;

/// A compacted segment that is being written.
pub(super) struct NewSegment<D: Disk> {
    base_offset: i64,
    next_offset: i64,
    interval_bytes: u32,
    file: Option<D::File>,
    /// Bytes that do not fill a write yet.
    pending: Vec<u8>,
    /// Bytes written, a multiple of the alignment.
    written: u64,
    size: u32,
    index: SegmentIndex,
    sums: SegmentSums,
    first_timestamp_ms: Option<i64>,
}

impl<D: Disk> NewSegment<D> {
    /// An empty one; its file comes with its first batch.
    pub(super) fn new(base_offset: i64, next_offset: i64, interval_bytes: u32) -> NewSegment<D> {
        NewSegment {
            base_offset,
            next_offset,
            interval_bytes,
            file: None,
            pending: Vec::new(),
            written: 0,
            size: 0,
            index: SegmentIndex::default(),
            sums: SegmentSums::default(),
            first_timestamp_ms: None,
        }
    }

    /// Lets it end where a group ends of which nothing is left.
    pub(super) fn reach(&mut self, next_offset: i64) {
        self.next_offset = next_offset;
    }

    /// Its bytes.
    pub(super) fn size_bytes(&self) -> u64 {
        u64::from(self.size)
    }

    /// Appends batches.
    pub(super) async fn push(
        &mut self,
        store: &StoreInner<D>,
        log: &LogInner<D>,
        generation: u64,
        bytes: &[u8],
        batches: &[PlacedBatch],
    ) -> Result<(), StorageError> {
        if batches.is_empty() {
            return Ok(());
        }
        self.create(store, log, generation).await?;
        let start = self.size;
        for batch in batches {
            let relative = (batch.base_offset - self.base_offset).clamp(0, i64::from(u32::MAX)) as u32;
            self.first_timestamp_ms.get_or_insert(batch.max_timestamp_ms);
            self.index.add_batch(relative, self.size, batch.bytes, batch.base_offset, batch.max_timestamp_ms, self.interval_bytes);
            let too_long = || StorageError::corrupt(&log.dir, None, "a compacted segment grows beyond 2^31 bytes");
            self.size = self.size.checked_add(batch.bytes).filter(|size| *size <= i32::MAX as u32).ok_or_else(too_long)?;
        }
        // Of what ought to be on the disk, before it is there.
        self.sums.extend(start, bytes, SUM_BLOCK_BYTES, self.size);
        self.pending.extend_from_slice(bytes);
        while self.pending.len() >= WRITE_BYTES {
            self.write(store, WRITE_BYTES).await?;
        }
        Ok(())
    }

    async fn create(&mut self, store: &StoreInner<D>, log: &LogInner<D>, generation: u64) -> Result<(), StorageError> {
        if self.file.is_none() {
            let path = log.path(&name::compacted_file(self.base_offset, generation));
            // One of an earlier try that ended early.
            judged(store, store.disk.remove_file(&path).await)?;
            self.file = Some(judged(store, store.disk.open(&path, OpenMode::CreateNew).await)?);
        }
        Ok(())
    }

    /// Makes its file although nothing is in it.
    pub(super) async fn finish_empty(&mut self, store: &StoreInner<D>, log: &LogInner<D>, generation: u64) -> Result<(), StorageError> {
        self.create(store, log, generation).await?;
        match &self.file {
            Some(file) => judged(store, file.sync().await),
            None => Ok(()),
        }
    }

    /// Writes the rest and makes it durable. False when there is nothing: no file then.
    pub(super) async fn finish(&mut self, store: &StoreInner<D>) -> Result<bool, StorageError> {
        if self.size == 0 {
            return Ok(false);
        }
        if !self.pending.is_empty() {
            self.write(store, self.pending.len()).await?;
        }
        if let Some(file) = &self.file {
            judged(store, file.truncate(u64::from(self.size)).await)?;
            if !planted!(CompactedNotFlushed) {
                judged(store, file.sync().await)?;
            }
        }
        Ok(true)
    }

    async fn write(&mut self, store: &StoreInner<D>, bytes: usize) -> Result<(), StorageError> {
        let mut buffer = store.disk.buffer(bytes.next_multiple_of(store.disk.alignment()));
        buffer.bytes_mut()[..bytes].copy_from_slice(&self.pending[..bytes]);
        let written = buffer.len() as u64;
        if let Some(file) = &self.file {
            judged(store, file.write_at(Rc::new(buffer), self.written).await)?;
        }
        self.written += written;
        self.pending.drain(..bytes);
        Ok(())
    }

    /// Writes its checksums beside it: from the exchange on they say what its file must hold, also when a crash comes before they have their place.
    async fn write_sums(&self, store: &StoreInner<D>, log: &LogInner<D>, generation: u64) -> Result<(), StorageError> {
        let Some(sums) = self.sums.encode(self.base_offset, self.next_offset, self.size).filter(|_| self.size > 0) else { return Ok(()) };
        let path = log.path(&name::compacted_sums_file(self.base_offset, generation));
        judged(store, store.disk.write_file(&path, &sign(sums, log.tp)).await)
    }

    /// The segment as the log knows it from now on.
    fn into_segment(self, generation: u32) -> Segment {
        let newest = self.index.max_timestamp.map_or(i64::MIN, |(max, _)| max);
        Segment {
            index: self.index,
            index_from: 0,
            sum_marks: self.sums.marks(),
            sums: self.sums,
            generation,
            max_timestamp_ms: Some(newest),
            first_timestamp_ms: self.first_timestamp_ms,
            ..Segment::on_disk(self.base_offset, self.next_offset, self.size, true)
        }
    }
}

/// A full disk ends the pass and nothing else: no file that counts was touched. Any other failure is one of the device.
fn judged<D: Disk, T>(store: &StoreInner<D>, result: crate::io::IoResult<T>) -> Result<T, StorageError> {
    match result {
        Err(error) if error.is_disk_full() => Err(error.into()),
        other => store.poison.guard(other),
    }
}

/// What the file `compaction` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SwapContent {
    /// Every record below this offset was looked at by a compaction.
    pub cleaned_to: i64,
    /// Base offsets of the new segments, rising.
    pub new: Vec<i64>,
    /// Base offsets of the segments they replace, rising.
    pub old: Vec<i64>,
}

impl SwapContent {
    /// Its bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + 8 * (self.new.len() + self.old.len()));
        out.extend_from_slice(&self.cleaned_to.to_le_bytes());
        out.extend_from_slice(&(self.new.len() as u32).to_le_bytes());
        out.extend_from_slice(&(self.old.len() as u32).to_le_bytes());
        for base in self.new.iter().chain(&self.old) {
            out.extend_from_slice(&base.to_le_bytes());
        }
        out
    }

    /// Reads them; an error text for what `encode` cannot have written.
    pub(crate) fn decode(bytes: &[u8]) -> Result<SwapContent, &'static str> {
        let (head, bases) = bytes.split_first_chunk::<16>().ok_or("cut short")?;
        let int = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| head[at + i])) as usize;
        let (new, old) = (int(8), int(12));
        if bases.len() % 8 != 0 || new.checked_add(old) != Some(bases.len() / 8) {
            return Err("another number of segments than it says");
        }
        let bases: Vec<i64> = bases.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect();
        let (new, old) = (bases[..new].to_vec(), bases[new..].to_vec());
        let rising = |list: &[i64]| list.windows(2).all(|w| w[0] < w[1]);
        let cleaned_to = i64::from_le_bytes(std::array::from_fn(|i| head[i]));
        if !rising(&new) || !rising(&old) || cleaned_to < 0 || !new.iter().all(|base| old.binary_search(base).is_ok()) {
            return Err("impossible segments");
        }
        Ok(SwapContent { cleaned_to, new, old })
    }
}

/// The file `compaction` of a partition.
pub(super) struct SwapFile {
    file: SnapshotFile,
    content: SwapContent,
    damaged: Option<String>,
}

impl SwapFile {
    /// Opens it; without content when no compaction ever finished.
    pub(super) async fn open<D: Disk>(disk: &D, dir: &Path) -> Result<SwapFile, StorageError> {
        let (file, snapshot) = SnapshotFile::open(disk, dir, NAME, KIND, VERSION, CONTENT_BYTES_MAX).await?;
        let Some(snapshot) = snapshot else { return Ok(SwapFile { file, content: SwapContent::default(), damaged: None }) };
        let content = SwapContent::decode(&snapshot.bytes).map_err(|why| StorageError::corrupt(&snapshot.path, None, why))?;
        Ok(SwapFile { file, content, damaged: snapshot.damaged })
    }

    /// Generation of the next exchange: what its files are named by.
    pub(super) fn next_generation(&self) -> u64 {
        self.file.sequence() + 1
    }
}

/// Exchanges the sources for the new segments, on the disk and in memory. False when the log was changed meanwhile: nothing was done.
pub(super) async fn exchange<D: Disk>(
    store: &Rc<StoreInner<D>>,
    log: &Rc<LogInner<D>>,
    swap_file: &mut SwapFile,
    sources: &[SegmentFacts],
    new: Vec<NewSegment<D>>,
    cleaned_to: i64,
) -> Result<bool, StorageError> {
    // Neither a checkpoint nor a removal of segments while this goes on.
    let _lock = store.checkpoint.lock().await;
    store.poison.check()?;
    let generation = {
        let state = log.state.borrow();
        let unchanged = |s: &SegmentFacts| state.segments.get(s.base_offset).is_some_and(|now| now.size == s.size);
        if state.closed || store.cleaning_stopped.get() || !sources.iter().all(unchanged) {
            return Ok(false);
        }
        sources.iter().filter_map(|s| state.segments.get(s.base_offset)).map(|s| s.generation).max().unwrap_or(0) + 1
    };
    for segment in &new {
        segment.write_sums(store, log, swap_file.next_generation()).await?;
    }
    judged(store, store.disk.sync_dir(&log.dir).await)?;
    let content =
        SwapContent { cleaned_to, new: new.iter().map(|s| s.base_offset).collect(), old: sources.iter().map(|s| s.base_offset).collect() };
    if let Err(error) = swap_file.file.write(&store.disk, VERSION, &content.encode()).await {
        // Before the rename nothing has happened; after it nobody knows what a restart would find.
        let before_rename = matches!(&error, StorageError::Io(e) if e.is_disk_full() && matches!(e.op, IoOp::Open | IoOp::Write));
        if !before_rename {
            store.poison.set(&error);
        }
        return Err(error);
    }
    let gate = log.begin_swap();
    let applied = apply(&store.disk, &log.dir, swap_file.file.sequence(), &content).await;
    if let Err(error) = &applied {
        store.poison.set(error);
    }
    applied?;
    let bases = content.new.clone();
    {
        let mut state = log.state.borrow_mut();
        let state = &mut *state;
        state.segments.replace(&content.old, new.into_iter().map(|s| s.into_segment(generation)).collect());
        state.cleaned_to = Some(cleaned_to);
        state.read_marks.clear();
        // Old bytes in memory would go on being answered.
        if let Some(last) = content.old.last() {
            for id in state.drop_chunks_up_to(*last) {
                store.forget_chunk(id);
            }
        }
    }
    content.old.iter().for_each(|base| store.files.borrow_mut().remove((log.tp, *base)));
    drop(gate);
    store.poison.guard(store.disk.sync_dir(&log.dir).await)?;
    for base in bases {
        if let Some(index) = index_loader::capture(log, base) {
            index_loader::save(store, log, base, index).await?;
        }
        sums::save(store, log, base).await?;
        let bytes = log.state.borrow().segments.get(base).map_or(0, |s| s.index.memory_bytes());
        index_loader::keep_within_bound(store, log, base, bytes);
    }
    Ok(true)
}

/// Steps 3 and 4, but for the last flush; repeatable.
async fn apply<D: Disk>(disk: &D, dir: &Path, generation: u64, content: &SwapContent) -> Result<(), StorageError> {
    let mut staged = Vec::new();
    for file in disk.list_dir(dir).await? {
        let Some(base) = name::base_of(&file.name).filter(|base| content.old.binary_search(base).is_ok()) else { continue };
        let goes = match name::parse(&file.name) {
            FileKind::Log(_) => content.new.binary_search(&base).is_err(),
            FileKind::Compacted(_, of) if of == generation => {
                staged.push((name::compacted_file(base, of), name::log_file(base)));
                false
            }
            FileKind::CompactedSums(_, of) if of == generation => {
                staged.push((name::compacted_sums_file(base, of), name::sums_file(base)));
                false
            }
            // Named by an offset that is no segment's, or kept for a person to look at.
            FileKind::ProducerSnapshot(_) => false,
            FileKind::Other if file.name.contains(".log.cut.") => false,
            _ => true,
        };
        if goes {
            disk.remove_file(&dir.join(&file.name)).await?;
        }
    }
    disk.sync_dir(dir).await?;
    for (from, to) in staged {
        disk.rename(&dir.join(from), &dir.join(to)).await?;
    }
    Ok(())
}

/// Removes the files of a pass that ended early.
pub(super) async fn discard<D: Disk>(store: &StoreInner<D>, log: &LogInner<D>) -> Result<(), StorageError> {
    let _lock = store.checkpoint.lock().await;
    // After a failure of the device it is not known which files count: the next start finds out.
    store.poison.check()?;
    if log.state.borrow().deleted {
        return Ok(());
    }
    for file in store.disk.list_dir(&log.dir).await? {
        if let FileKind::Compacted(..) | FileKind::CompactedSums(..) = name::parse(&file.name) {
            store.poison.guard(store.disk.remove_file(&log.path(&file.name)).await)?;
        }
    }
    Ok(())
}

/// Offset below which compactions have seen every record; 0 when there was none.
pub(super) async fn cleaned_to<D: Disk>(disk: &D, dir: &Path) -> Result<i64, StorageError> {
    Ok(SwapFile::open(disk, dir).await?.content.cleaned_to)
}

/// What the files of a partition say about exchanges.
pub(crate) struct Exchange {
    /// Generation of the newest one that was decided; 0 for none.
    pub(crate) generation: u64,
    /// What it says.
    pub(crate) content: SwapContent,
    /// Why the older generation of `compaction` cannot be read.
    pub(crate) damaged: Option<String>,
    /// Files that wait, with their generations.
    pub(crate) staged: Vec<(String, u64)>,
    /// It was decided and not brought to its end.
    pub(crate) unfinished: bool,
}

/// Reads what there is about exchanges; `None` when nothing is. `Corrupt` when it is not known which files count.
pub(crate) async fn look<D: Disk>(disk: &D, dir: &Path, files: &[DirEntry]) -> Result<Option<Exchange>, StorageError> {
    let kept = files.iter().any(|f| f.name == "compaction.a" || f.name == "compaction.b");
    let staged: Vec<(String, u64)> = files
        .iter()
        .filter_map(|f| match name::parse(&f.name) {
            FileKind::Compacted(_, generation) | FileKind::CompactedSums(_, generation) => Some((f.name.clone(), generation)),
            _ => None,
        })
        .collect();
    if !kept && staged.is_empty() {
        return Ok(None);
    }
    let SwapFile { file, content, damaged } = SwapFile::open(disk, dir).await?;
    let newest = staged.iter().map(|(_, of)| *of).max().filter(|_| planted!(UndecidedExchangeTaken));
    let generation = newest.unwrap_or(file.sequence());
    if let Some(damaged) = damaged.as_ref().filter(|_| staged.iter().any(|(_, of)| *of > generation)) {
        // It may be the one that says that these files count.
        return Err(StorageError::corrupt(
            &dir.join(NAME),
            None,
            format!("compacted files wait, and a generation cannot be read: {damaged}"),
        ));
    }
    let is_old = |f: &DirEntry| {
        matches!(name::parse(&f.name), FileKind::Log(base)
            if content.old.binary_search(&base).is_ok() && content.new.binary_search(&base).is_err())
    };
    let unfinished = staged.iter().any(|(_, of)| *of == generation) || files.iter().any(is_old);
    Ok(Some(Exchange { generation, content, damaged, staged, unfinished }))
}

/// Finishes or undoes what a crash has interrupted, before a log is opened. True when files have changed.
pub(crate) async fn settle<D: Disk>(disk: &D, dir: &Path, files: &[DirEntry]) -> Result<bool, StorageError> {
    let Some(Exchange { generation, content, staged, unfinished, .. }) = look(disk, dir, files).await? else { return Ok(false) };
    if planted!(DecidedExchangeUndone) {
        for (name, _) in &staged {
            disk.remove_file(&dir.join(name)).await?;
        }
    } else if unfinished {
        apply(disk, dir, generation, &content).await?;
        tracing::info!(dir = %dir.display(), generation, "finished a compaction that was interrupted");
    }
    for (name, _) in staged.iter().filter(|(_, of)| *of != generation) {
        disk.remove_file(&dir.join(name)).await?;
    }
    if unfinished || !staged.is_empty() {
        disk.sync_dir(dir).await?;
    }
    Ok(unfinished || !staged.is_empty())
}

/// Name of the snapshot file.
const NAME: &str = "compaction";
const KIND: SnapshotKind = *b"COMP";
const VERSION: u32 = 1;
/// Largest content: about a million segments.
const CONTENT_BYTES_MAX: usize = 16 << 20;
/// Size of one write to a new segment, a multiple of any alignment.
const WRITE_BYTES: usize = 512 << 10;

const _: () = assert!(WRITE_BYTES.is_multiple_of(crate::limits::ALIGNMENT_MAX));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_round_trips_and_nonsense_is_refused() {
        let content = SwapContent { cleaned_to: 99, new: vec![0, 50], old: vec![0, 20, 50, 70] };
        let bytes = content.encode();
        assert_eq!(SwapContent::decode(&bytes), Ok(content.clone()));
        for cut in 0..bytes.len() {
            assert!(SwapContent::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        let of = |new: &[i64], old: &[i64]| SwapContent { new: new.to_vec(), old: old.to_vec(), ..content.clone() }.encode();
        assert!(SwapContent::decode(&of(&[5], &[0, 20])).is_err(), "a new segment has the place of an old one");
        assert!(SwapContent::decode(&of(&[], &[20, 0])).is_err());
        assert!(SwapContent::decode(&of(&[], &[0])).is_ok());
    }
}
