//! `quorum/mark`: up to which entry the metadata log was durable and committed when this was written. A start misses the end of a log by it that was lost
//! behind a whole frame, which the log by itself cannot tell from a log that was never longer.
//!
//! Written beside appends and not before their answers: at most once in [`PAUSE`] while there are any, and at a clean stop. A mark that cannot be read or
//! written says nothing and stops nothing; entries of the last moments before a kill are not covered. What is applied is never taken back by any
//! voter, so that a mark stays true when there are several.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use coreline_storage::error::{StorageError, StorageResult};
use coreline_storage::io::Disk;
use coreline_storage::snapshot_file::{Snapshot, SnapshotFile, SnapshotKind};
use futures_util::lock::Mutex;
use openraft::AsyncRuntime;

use super::runtime::GlommioRuntime;
use super::types::LogId;

/// How long entries are gathered before the next mark.
const PAUSE: Duration = Duration::from_secs(1);
const NAME: &str = "mark";
const KIND: SnapshotKind = *b"CLQM";
const VERSION: u32 = 1;
const BYTES_MAX: usize = 4096;

/// The file, and what it is to say.
pub struct Mark<D: Disk>(Rc<Inner<D>>);

struct Inner<D: Disk> {
    disk: D,
    file: Mutex<SnapshotFile>,
    reached: Cell<u64>,
    written: Cell<u64>,
    /// A task waits to write it.
    waits: Cell<bool>,
}

impl<D: Disk> Clone for Mark<D> {
    fn clone(&self) -> Self {
        Mark(Rc::clone(&self.0))
    }
}

/// Looks at the mark below `dir`: the index of an entry that the log must have, if one is named.
///
/// # Errors
/// `Corrupt` when there is one and none of its copies can be read; `NewerFormat`; an error of the disk.
pub async fn look<D: Disk>(disk: &D, dir: &Path) -> StorageResult<(SnapshotFile, Option<u64>)> {
    let (file, found) = SnapshotFile::open(disk, dir, NAME, KIND, VERSION, BYTES_MAX).await?;
    Ok((file, found.and_then(|found| index(&found))))
}

fn index(found: &Snapshot) -> Option<u64> {
    Some(u64::from_le_bytes(found.bytes.as_slice().try_into().ok()?))
}

impl<D: Disk> Mark<D> {
    /// Opens it, and tells what it says.
    ///
    /// # Errors
    /// `NewerFormat`; an error of the disk. One that cannot be read is as good as none.
    pub async fn open(disk: D, dir: &Path) -> StorageResult<(Mark<D>, u64)> {
        let (file, index) = match look(&disk, dir).await {
            Err(error @ StorageError::Corrupt { .. }) => {
                tracing::warn!(%error, "the mark of the metadata log cannot be read: it is begun anew");
                let mut nothing = SnapshotFile::absent(dir, NAME, KIND, VERSION);
                nothing.remove(&disk).await?;
                (nothing, None)
            }
            found => found?,
        };
        let index = index.unwrap_or(0);
        let inner = Inner { disk, file: Mutex::new(file), reached: Cell::new(index), written: Cell::new(index), waits: Cell::new(false) };
        Ok((Mark(Rc::new(inner)), index))
    }

    /// This entry is applied: the mark will say so soon.
    pub fn reached(&self, last: Option<LogId>) {
        let inner = &self.0;
        inner.reached.set(last.map_or(0, |id| id.index).max(inner.reached.get()));
        if inner.reached.get() > inner.written.get() && !inner.waits.replace(true) {
            let mark = self.clone();
            drop(GlommioRuntime::spawn(async move {
                mark.0.disk.sleep(PAUSE).await;
                mark.0.waits.set(false);
                mark.write().await;
            }));
        }
    }

    /// Writes it, if it says something new.
    pub async fn write(&self) {
        let inner = &self.0;
        let mut file = inner.file.lock().await;
        let reached = inner.reached.get();
        if reached <= inner.written.get() {
            return;
        }
        match file.write(&inner.disk, VERSION, &reached.to_le_bytes()).await {
            Ok(()) => inner.written.set(reached),
            // The log has it, and the next mark says more.
            Err(error) => tracing::warn!(%error, "the mark of the metadata log could not be written"),
        }
    }
}

/// What is wrong when the log ends before the entry that was durable.
pub fn shorter_than_mark(last: Option<LogId>, mark: u64) -> String {
    format!(
        "the metadata log ends at entry {:?}, and entry {mark} was durable: the end of the log was lost. Restore quorum/ from a copy; to go on without what was \
         lost, remove mark.a and mark.b there",
        last.map(|id| id.index)
    )
}
