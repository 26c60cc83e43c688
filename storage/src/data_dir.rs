//! The data directory: its layout, its identity, its lock, its list of journals and the clean-shutdown mark.
//!
//! ```text
//! meta.a, meta.b            format version, cluster id, node id, directory id     (snapshot file)
//! lock                      flock'ed while a process runs, holds its pid
//! clean-shutdown.a, .b      there only between a clean stop and the next start    (snapshot file)
//! journal/<16 hex>/         one shard journal each, named by a random id
//! topics/<topic>-<partition>/  one partition each; topic id as 22 characters of url-safe base64
//! quorum/                   log and vote of the metadata quorum
//! .flush                    an empty file, flushed to empty the device's write cache
//! ```
//! No shard number appears in any path: the number of shards may change at any start.

use std::fmt;
use std::path::{Path, PathBuf};

use coreline_wire::ids::TopicPartition;

/// Random name of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JournalId(pub u64);

impl fmt::Display for JournalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Paths of a data directory. Cheap to clone; knows nothing of what is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataDir {
    root: PathBuf,
}

impl DataDir {
    /// The data directory at `root`.
    pub fn new(root: impl Into<PathBuf>) -> DataDir {
        DataDir { root: root.into() }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Directory of all journals.
    pub fn journals(&self) -> PathBuf {
        self.root.join("journal")
    }

    /// Directory of one journal.
    pub fn journal(&self, id: JournalId) -> PathBuf {
        self.journals().join(id.to_string())
    }

    /// Directory of all partitions.
    pub fn topics(&self) -> PathBuf {
        self.root.join("topics")
    }

    /// Directory of one partition.
    pub fn partition(&self, tp: TopicPartition) -> PathBuf {
        self.topics().join(tp.to_string())
    }

    /// Directory of the metadata quorum.
    pub fn quorum(&self) -> PathBuf {
        self.root.join("quorum")
    }
}
