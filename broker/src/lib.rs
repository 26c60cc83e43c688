//! Coreline: a Kafka-protocol broker, one pinned executor per core, no locks on the data path.
//!
//! ```text
//!  main thread            shard 0 .. n-1 (one pinned thread each)          rescue thread
//!  args, config,          net: accept -> connection -> pipeline -> send    wakes a shard that has
//!  preflight,             dispatch -> handler -> partition / coordinator   work and does not turn;
//!  signals, exit code     mesh: typed requests to the other shards         ends the process if one is dead
//! ```
//!
//! Modules are listed one per line in alphabetical order so that parts can be added without touching each other.

pub mod admin;
pub mod cli;
mod client;
pub mod config;
pub mod controller;
pub mod coordinator;
pub mod dispatch;
pub mod error;
pub mod fetch_session;
pub mod handler;
pub mod limits;
pub mod log_level;
pub mod log_tool;
pub mod logging;
pub mod metadata;
pub mod metrics;
pub mod net;
pub mod partition;
pub mod preflight;
pub mod purgatory;
pub mod quorum;
pub mod quota;
pub mod shard;
pub mod shutdown;
pub mod stage;
pub mod sys;
pub mod telemetry;
pub mod tool;
