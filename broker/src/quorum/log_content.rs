//! What the metadata log says, in memory: the vote, the commit and purge marks, and every entry that is not in a snapshot yet.
//!
//! Built frame by frame, at start and live alike. Its size is bounded by the snapshot policy: entries go when a snapshot holds them.

use std::collections::BTreeMap;

use openraft::EntryPayload;
use openraft::entry::RaftEntry;

use super::stored::{FrameBody, StoredEntry, StoredLogId};
use super::types::{Entry, LogId, Membership, Vote};

/// The log's content.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogContent {
    /// The last vote.
    pub vote: Option<Vote>,
    /// The last commit known.
    pub committed: Option<LogId>,
    /// Entries up to here are gone.
    pub purged: Option<LogId>,
    /// During recovery: the last entry of files that are not there any more. A later frame must say that it was purged.
    pub missing: Option<LogId>,
    /// The entries after `purged`, by index, without a hole.
    pub entries: BTreeMap<u64, Entry>,
}

impl LogContent {
    /// Id of the last entry, purged or not.
    pub fn last(&self) -> Option<LogId> {
        self.entries.values().next_back().map(|entry| entry.log_id()).or(self.purged.max(self.missing))
    }

    /// Index that the next entry must have; any, for an empty log.
    fn next_index(&self) -> Option<u64> {
        self.last().map(|last| last.index + 1)
    }

    /// The members that the newest membership entry names, if one is in the log.
    pub fn membership(&self) -> Option<&Membership> {
        self.entries.values().rev().find_map(|entry| match &entry.payload {
            EntryPayload::Membership(membership) => Some(membership),
            _ => None,
        })
    }

    /// Takes over what a frame says; the error is a sentence about why it contradicts the frames before it.
    pub fn take(&mut self, body: &FrameBody, node: u64) -> Result<(), FrameError> {
        match body {
            FrameBody::State { node: found, .. } if *found != node => return Err(FrameError::WrongNode(*found)),
            FrameBody::State { vote, committed, purged, last, .. } => {
                self.vote = vote.map(Vote::from);
                self.committed = committed.map(LogId::from);
                if let Some(upto) = purged {
                    self.purge((*upto).into());
                }
                let last = last.map(LogId::from);
                if self.last() != last {
                    if self.last() > last || !self.entries.is_empty() {
                        let why = format!("the file follows entry {last:?}, the file before it ends with {:?}", self.last());
                        return Err(FrameError::Contradiction(why));
                    }
                    self.missing = last;
                }
            }
            FrameBody::Vote(vote) => self.vote = Some((*vote).into()),
            FrameBody::Entries { committed, entries } => {
                if let Some(committed) = committed {
                    self.committed = Some((*committed).into());
                }
                for entry in entries {
                    self.take_entry(entry)?;
                }
            }
            FrameBody::Truncate { after } => self.truncate(after.map(LogId::from)),
            FrameBody::Purge { upto } => self.purge((*upto).into()),
        }
        Ok(())
    }

    fn take_entry(&mut self, stored: &StoredEntry) -> Result<(), FrameError> {
        let index = stored.id.index;
        if let Some(next) = self.next_index().filter(|next| *next != index) {
            return Err(FrameError::Contradiction(format!("entry {index} follows entry {}", next as i128 - 1)));
        }
        let entry = stored.to_entry().map_err(FrameError::Contradiction)?;
        self.entries.insert(index, entry);
        Ok(())
    }

    /// Adds entries that follow the last one.
    pub fn append(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            let index = entry.index();
            let next = self.next_index();
            assert!(next.is_none_or(|next| next == index), "entry {index} is appended where {next:?} is next");
            self.entries.insert(index, entry);
        }
    }

    /// Removes the entries after one.
    pub fn truncate(&mut self, after: Option<LogId>) {
        let first = after.map_or(0, |last| last.index + 1);
        self.entries.split_off(&first);
        self.missing = self.missing.min(after);
    }

    /// Removes the entries up to one.
    pub fn purge(&mut self, upto: LogId) {
        self.entries = self.entries.split_off(&(upto.index + 1));
        self.purged = self.purged.max(Some(upto));
    }

    /// The first frame of a new file.
    pub fn state_frame(&self, node: u64) -> FrameBody {
        FrameBody::State {
            node,
            vote: self.vote.as_ref().map(Into::into),
            committed: self.committed.map(Into::into),
            purged: self.purged.map(Into::into),
            last: self.last().map(Into::into),
        }
    }

    /// Everything but the entries, the last of which stands for all.
    pub fn marks(&self) -> LogContent {
        let last = self.entries.iter().next_back().map(|(index, entry)| (*index, entry.clone()));
        LogContent { entries: last.into_iter().collect(), ..LogContent { entries: BTreeMap::new(), ..*self } }
    }

    /// The commit mark as stored with entries.
    pub fn stored_committed(&self) -> Option<StoredLogId> {
        self.committed.map(Into::into)
    }
}

/// Why a good frame cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The log belongs to this other node.
    WrongNode(u64),
    /// It contradicts the frames before it.
    Contradiction(String),
}
