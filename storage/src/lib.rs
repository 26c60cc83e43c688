//! The log of a shard: journal, segments, indexes, recovery.
//!
//! Knows batches and disks; never sockets, groups or replicas. Only `io/` touches the kernel.

pub mod config;
pub mod data_dir;
pub mod error;
pub mod io;
pub mod journal;
pub mod limits;
pub mod snapshot_file;
