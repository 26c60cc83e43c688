//! The log of a shard: journal, segments, indexes, recovery.
//!
//! Knows batches and disks; never sockets, groups or replicas. Only `io/` touches the kernel.

/// True where a bug is planted; false, at no cost, in every normal build.
#[cfg(feature = "planted-bugs")]
macro_rules! planted {
    ($bug:ident) => {
        crate::planted::is_planted(crate::planted::Bug::$bug)
    };
}
#[cfg(not(feature = "planted-bugs"))]
macro_rules! planted {
    ($bug:ident) => {
        false
    };
}

pub mod checkpoint;
mod checkpointer;
pub mod claims;
pub mod compaction;
pub mod config;
pub mod data_dir;
pub mod error;
pub mod io;
pub mod journal;
pub mod leader_epoch;
pub mod limits;
pub mod loader;
pub mod log;
mod notify;
mod opener;
mod pending;
#[cfg(feature = "planted-bugs")]
pub mod planted;
pub mod producer_state;
pub mod recovery;
pub mod retention;
pub mod room;
pub mod segment;
pub mod snapshot_file;
pub mod store;
pub mod verify;

pub use claims::Claims;
pub use config::{LogConfig, StoreConfig};
pub use error::StorageError;
pub use loader::{RecoveryReport, SegmentListing, begin_empty, recover};
pub use log::{AppendContext, AppendError, AppendOrigin, Appended, Log, ReadError, ReadPlan, ReadSpan, SendFile, TimestampOffset};
pub use store::{CleanedStats, Store, StoreStats};
