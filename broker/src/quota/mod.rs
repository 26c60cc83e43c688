//! Client quotas: who is bound by which, how much was used, and for how long a connection is muted (KIP-219, KIP-599, KIP-612).
//!
//! `table` finds the quota of a user and client id, `window` measures a rate, `tokens` hands out controller mutations, `registry` keeps one
//! bucket per bound entity for the whole process, `shard` is what a shard asks, `work` says which request the thread works for. Decisions take their time as an argument.
//!
//! Connections of one client live on several shards and share its quota: a bucket is a few atomics that each shard adds to, without a lock and
//! without a message. A connection keeps the buckets it was given until a quota changes. While no quota is set, a request costs one branch.

pub mod registry;
pub mod shard;
pub mod table;
pub mod tokens;
pub mod window;
pub mod work;

pub use registry::{Bucket, QuotaRegistry};
pub use shard::{Resolved, ShardQuotas};
pub use table::QuotaTable;
pub use window::WindowSpec;
