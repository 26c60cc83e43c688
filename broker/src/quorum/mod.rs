//! The metadata quorum: the consensus library on our executor, its log and vote on disk, and the driver that starts and stops it.
//!
//! `runtime` adapts the executor, `store` is the log and the vote, `state_machine` applies entries to the metadata image, `network`
//! reaches the other voters. Runs on the metadata shard only. Callers: `controller/driver.rs`, start-up.

pub mod runtime;
