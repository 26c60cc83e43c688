//! `Poison`: remembers the first failed write or flush of a log directory; from then on every asker is told so.
//!
//! A failed flush is never retried: Linux reports it once and then calls the lost pages clean. One `Poison` is shared by all that
//! write below one data directory (clones share it, also across threads).

use std::sync::{Arc, OnceLock};

use super::{IoError, IoOp, IoResult};
use crate::error::{StorageError, StorageResult};

/// The first device failure of a log directory, if there was one. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Poison(Arc<OnceLock<Arc<str>>>);

impl Poison {
    /// No failure yet.
    pub fn new() -> Poison {
        Poison::default()
    }

    /// `Poisoned` with the first failure once there was one.
    pub fn check(&self) -> StorageResult<()> {
        match self.0.get() {
            None => Ok(()),
            Some(cause) => Err(StorageError::Poisoned { cause: cause.clone() }),
        }
    }

    /// True after the first failure.
    pub fn is_poisoned(&self) -> bool {
        self.0.get().is_some()
    }

    /// The first failure.
    pub fn cause(&self) -> Option<Arc<str>> {
        self.0.get().cloned()
    }

    /// Records a failure; only the first is kept.
    pub fn set(&self, cause: impl std::fmt::Display) {
        let mut first = false;
        let cause = self.0.get_or_init(|| {
            first = true;
            Arc::from(cause.to_string())
        });
        if first {
            tracing::error!(%cause, "device error: the log directory takes no more writes");
        }
    }

    /// Passes a result of a disk operation on; a failed write, flush, rename, removal or truncate poisons. Reads, opens and lists do not,
    /// and neither does a refused reservation of space (it changed nothing).
    pub fn guard<T>(&self, result: IoResult<T>) -> StorageResult<T> {
        result.map_err(|e| {
            if poisons(&e) {
                self.set(&e);
            }
            StorageError::Io(e)
        })
    }
}

fn poisons(error: &IoError) -> bool {
    match error.op {
        IoOp::Write | IoOp::Sync | IoOp::Rename | IoOp::Remove | IoOp::Truncate => true,
        IoOp::Open | IoOp::Read | IoOp::List | IoOp::Allocate | IoOp::CreateDir => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn eio(op: IoOp) -> IoResult<()> {
        Err(IoError::new(op, Path::new("f"), Some(4096), std::io::Error::from_raw_os_error(libc::EIO)))
    }

    #[test]
    fn the_first_failed_write_is_remembered_and_shared() {
        let poison = Poison::new();
        let other = poison.clone();
        assert!(poison.check().is_ok());
        assert!(poison.guard(eio(IoOp::Read)).is_err());
        assert!(!other.is_poisoned(), "a failed read concerns one file");
        assert!(poison.guard(eio(IoOp::Sync)).is_err());
        other.set("second");
        let StorageError::Poisoned { cause } = other.check().unwrap_err() else { panic!("not poisoned") };
        assert!(cause.starts_with("flush of f at byte 4096"), "{cause}");
    }
}
