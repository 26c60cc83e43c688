//! `StorageError`: the closed list of what can go wrong below a log, each naming the file and position it happened at.
//!
//! Four answers (see the crate's conventions): a failed write or flush poisons the log directory ([`StorageError::Poisoned`] from then on);
//! a failed read or checksum concerns one file; `Full` is back-pressure and not a failure; a refused start says what the operator can do.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::io::{IoError, IoOp};

/// Result of a storage operation.
pub type StorageResult<T> = Result<T, StorageError>;

/// What went wrong below a log.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The operating system refused an operation. A failed write, flush, rename or truncate has also poisoned the log directory.
    #[error(transparent)]
    Io(#[from] IoError),
    /// Bytes on the disk are not what was written, or files contradict each other.
    #[error("{} is damaged{}: {why}", path.display(), at(position))]
    Corrupt {
        /// The file (or directory, when files contradict each other).
        path: PathBuf,
        /// Byte position in the file, where there is one.
        position: Option<u64>,
        /// What was expected and what was found.
        why: String,
    },
    /// An earlier write or flush failed; nothing may be acknowledged by this log directory until the process was restarted.
    #[error("the log directory takes no more writes after a device error: {cause}")]
    Poisoned {
        /// The first failure.
        cause: Arc<str>,
    },
    /// The journal (or its queue in memory) is at its bound: wait for space and try again. Nothing was written.
    #[error("the journal is full")]
    Full,
    /// One entry is larger than the journal can ever take.
    #[error("an entry of {bytes} bytes is larger than the {bytes_max} bytes the journal can take")]
    EntryTooLarge {
        /// Size of the entry in bytes.
        bytes: u64,
        /// The largest that fits.
        bytes_max: u64,
    },
    /// The component was closed; nothing more is written.
    #[error("closed")]
    Closed,
    /// Another process holds the data directory.
    #[error("data directory {} is in use by another process{}", path.display(), pid_text(pid))]
    InUse {
        /// The data directory.
        path: PathBuf,
        /// Its process id, when the lock file says it.
        pid: Option<u32>,
    },
    /// The file was written by a newer version of this program.
    #[error("{} has format version {found}, this version reads up to {supported}: start the newer version, or restore a backup", path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Version in the file.
        found: u32,
        /// Newest version this program reads.
        supported: u32,
    },
    /// The data directory belongs to another node or cluster.
    #[error("data directory {} belongs to {found}, this node is {expected}", path.display())]
    WrongIdentity {
        /// The data directory.
        path: PathBuf,
        /// What the directory says.
        found: String,
        /// What the configuration says.
        expected: String,
    },
    /// A setting is out of its range.
    #[error("{name} = {value}: {why}")]
    InvalidConfig {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: u64,
        /// The rule it breaks.
        why: &'static str,
    },
}

impl StorageError {
    /// A `Corrupt` error.
    pub fn corrupt(path: &Path, position: Option<u64>, why: impl Into<String>) -> StorageError {
        StorageError::Corrupt { path: path.to_path_buf(), position, why: why.into() }
    }

    /// True for bytes that cannot be read or are not what was written: it concerns one log; the others go on.
    pub fn is_of_one_log(&self) -> bool {
        match self {
            StorageError::Corrupt { .. } => true,
            StorageError::Io(e) => matches!(e.op, IoOp::Open | IoOp::Read | IoOp::List) && !e.is_disk_full(),
            _ => false,
        }
    }

    /// True when the device is out of space (or quota): the caller may free some and try again.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, StorageError::Io(e) if e.is_disk_full())
    }
}

fn at(position: &Option<u64>) -> String {
    position.map(|p| format!(" at byte {p}")).unwrap_or_default()
}

fn pid_text(pid: &Option<u32>) -> String {
    pid.map(|p| format!(" (pid {p})")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_the_file_and_the_position() {
        let e = StorageError::corrupt(Path::new("/d/journal/1"), Some(4096), "checksum is 1, not 2");
        assert_eq!(e.to_string(), "/d/journal/1 is damaged at byte 4096: checksum is 1, not 2");
        let e = StorageError::InUse { path: "/d".into(), pid: Some(7) };
        assert_eq!(e.to_string(), "data directory /d is in use by another process (pid 7)");
    }
}
