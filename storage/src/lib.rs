//! The log of a shard: journal, segments, indexes, recovery.
//!
//! Knows batches and disks; never sockets, groups or replicas. Only `io/` touches the kernel.

pub mod config;
pub mod io;
