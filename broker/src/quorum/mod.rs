//! The metadata quorum: the consensus library on our executor, its log and vote on disk, and the driver that starts and stops it.
//!
//! `runtime` adapts the executor; `frame`, `stored`, `log_content`, `log_file` and `store` are the log and the vote, `mark` says how long it was; `snapshot` and
//! `state_machine` apply entries to the metadata image; `network` reaches the other voters. Runs on the metadata shard only.
//! Callers: `controller/driver.rs` through [`MetadataLog`], start-up.

pub mod driver;
pub mod frame;
pub mod log_content;
pub mod log_file;
pub mod mark;
pub mod network;
pub mod runtime;
pub mod snapshot;
pub mod state_machine;
pub mod store;
pub mod stored;
pub mod types;

pub use driver::{MetadataLog, QuorumConfig, QuorumError, QuorumHandle};

#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod store_tests;
#[cfg(test)]
mod tests;
