//! The consensus library's log storage over `log_file`: every vote and entry is flushed before it is answered for.
//!
//! Writes are one after the other, as the library demands; reads come from memory. Errors end the library's core, and with it the process.

use std::cell::{Cell, RefCell};
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::rc::Rc;

use coreline_storage::error::{StorageError, StorageResult};
use coreline_storage::io::Disk;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};

use super::log_content::LogContent;
use super::log_file::{LogFileConfig, LogFiles};
use super::stored::{FrameBody, StoredEntry};
use super::types::{Entry, LogId, QuorumTypes, Vote};

/// The log on disk and its content in memory. One writer; readers are [`LogReader`]s.
pub struct LogStore<D: Disk> {
    content: Rc<RefCell<LogContent>>,
    files: LogFiles<D>,
    sole_voter: bool,
    bytes_written: Rc<Cell<u64>>,
}

/// Reads the log's content; clones share it.
#[derive(Clone)]
pub struct LogReader {
    content: Rc<RefCell<LogContent>>,
}

impl<D: Disk> LogStore<D> {
    /// Opens the log below `dir`. `salt` is any number not used for an earlier file.
    ///
    /// # Errors
    /// As [`LogFiles::open`].
    pub async fn open(disk: D, dir: &Path, node: u64, salt: u64, config: LogFileConfig) -> StorageResult<LogStore<D>> {
        let (files, content) = LogFiles::open(disk, dir, node, salt, config).await?;
        Ok(LogStore { content: Rc::new(RefCell::new(content)), files, sole_voter: false, bytes_written: Rc::default() })
    }

    /// Says that this node is the only voter: then every flushed entry is a committed one, and start-up applies them all.
    pub fn set_sole_voter(&mut self, sole: bool) {
        self.sole_voter = sole;
    }

    /// A reader of the content.
    pub fn reader(&self) -> LogReader {
        LogReader { content: Rc::clone(&self.content) }
    }

    /// Counter of frame bytes written since the log was opened.
    pub fn bytes_written(&self) -> Rc<Cell<u64>> {
        Rc::clone(&self.bytes_written)
    }

    /// Number of files on disk.
    pub fn file_count(&self) -> usize {
        self.files.file_count()
    }

    async fn write(&mut self, body: FrameBody) -> io::Result<()> {
        // A copy of the small part: nothing is borrowed while the write is under way.
        let before = { self.content.borrow().marks() };
        let written = self.files.append(&[body], &before).await;
        self.bytes_written.set(self.files.bytes_written());
        written.map_err(io_error)
    }
}

impl LogReader {
    /// The last entry's id.
    pub fn last(&self) -> Option<LogId> {
        self.content.borrow().last()
    }

    /// A look at the content.
    pub fn with<T>(&self, look: impl FnOnce(&LogContent) -> T) -> T {
        look(&self.content.borrow())
    }
}

impl RaftLogReader<QuorumTypes> for LogReader {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        // Only the start goes to the map: it would panic on a range that is given backwards.
        let content = self.content.borrow();
        let from = content.entries.range((range.start_bound().cloned(), Bound::Unbounded));
        Ok(from.take_while(|(index, _)| range.contains(index)).map(|(_, entry)| entry.clone()).collect())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.content.borrow().vote)
    }
}

impl<D: Disk> RaftLogStorage<QuorumTypes> for LogStore<D> {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> Result<LogState<QuorumTypes>, io::Error> {
        let content = self.content.borrow();
        Ok(LogState { last_purged_log_id: content.purged, last_log_id: content.last() })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        self.reader()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.write(FrameBody::Vote(vote.into())).await?;
        self.content.borrow_mut().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        // Goes to disk with the next entries; until then a restart knows less, which is allowed.
        self.content.borrow_mut().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        let content = self.content.borrow();
        Ok(if self.sole_voter { content.last() } else { content.committed })
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<QuorumTypes>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let body = FrameBody::Entries {
            committed: self.content.borrow().stored_committed(),
            entries: entries.iter().map(StoredEntry::from).collect(),
        };
        match self.write(body).await {
            Ok(()) => {
                self.content.borrow_mut().append(entries);
                callback.io_completed(Ok(()));
                Ok(())
            }
            Err(error) => {
                callback.io_completed(Err(io::Error::new(error.kind(), error.to_string())));
                Err(error)
            }
        }
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        self.write(FrameBody::Truncate { after: last.map(Into::into) }).await?;
        self.content.borrow_mut().truncate(last);
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        self.write(FrameBody::Purge { upto: upto.into() }).await?;
        self.content.borrow_mut().purge(upto);
        self.files.remove_through(upto.index).await.map_err(io_error)
    }
}

fn io_error(error: StorageError) -> io::Error {
    io::Error::other(error.to_string())
}
