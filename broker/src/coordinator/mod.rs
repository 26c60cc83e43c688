//! Coordinators: the shape they share, and the seams to the log, the clock and the other shards.
//!
//! A coordinator is a sans-I/O machine: `(state, event, now) -> actions`. What must survive is a list of records; they are appended to
//! the coordinator's partition of an internal topic, and the answer waits until they are durable there. `replay` applies them to the
//! durable image, at start-up as in operation, and cannot fail. The [`driver`] is the shell around the machine.
//!
//! ```text
//!  handler -> client -> (mesh) -> driver -> group machine: decide -> records -> [log append] -> replay -> answer
//! ```

mod batch;
pub mod client;
pub mod cluster;
pub mod config;
pub mod consumer_record;
pub mod consumer_request;
#[cfg(test)]
mod consumer_test;
pub mod driver;
pub mod group;
pub mod partition;
pub mod record;
mod remote;
pub mod request;
mod request_admin;
mod timer;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use coreline_wire::TopicId;
use coreline_wire::error_code::ErrorCode;

pub use client::{GroupClient, GroupTransport};
pub use config::GroupConfig;
pub use driver::GroupDriver;

/// A boxed future of one shard.
pub type LocalFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// The partitions of `__consumer_offsets`, as the driver needs them. Implemented over the partitions of this node.
///
/// Errors are Kafka's codes, as a producer or consumer of that partition would get them; the driver maps them for its callers.
pub trait OffsetsLog: 'static {
    /// How many partitions the topic has, or `None` while it does not exist. Does not create it.
    fn partition_count(&self) -> impl Future<Output = Result<Option<i32>, ErrorCode>>;

    /// Creates the topic if needed and answers its partition count once appends to it can succeed.
    fn ensure_topic(&self) -> impl Future<Output = Result<i32, ErrorCode>>;

    /// Appends one record batch (magic 2, base offset 0) and answers its base offset when it is durable and committed
    /// (acks=all). An error means that the batch will not be seen by `read`, now or later.
    fn append(&self, partition: i32, batch: Bytes) -> impl Future<Output = Result<i64, ErrorCode>>;

    /// Whether the metadata say that the topic with this id was deleted. A topic that they never heard of was not.
    fn topic_was_deleted(&self, id: TopicId) -> bool;

    /// Whole batches from `from` (or from the log start, when that is higher) and the offset to go on from. No batches: the end was reached.
    fn read(&self, partition: i32, from: i64) -> impl Future<Output = Result<(Vec<Bytes>, i64), ErrorCode>>;
}

/// The two clocks: deadlines go by one that never goes back, records carry the one that people read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    /// Milliseconds of a monotonic clock with any origin.
    pub ticks_ms: i64,
    /// Milliseconds since 1970.
    pub wall_ms: i64,
}

/// What the driver needs of the executor that it runs on. Glommio in production, virtual time in tests.
pub trait Runtime: 'static {
    /// The time.
    fn now(&self) -> Now;
    /// Completes after this long. Dropping it ends the wait.
    fn sleep(&self, duration: Duration) -> LocalFuture<'static, ()>;
    /// Runs a task on this shard, detached.
    fn spawn(&self, task: LocalFuture<'static, ()>);
    /// Sixteen random bytes, for a member id.
    fn random(&self) -> [u8; 16];
}
