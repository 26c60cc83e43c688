//! The mesh: typed requests from one shard to another and their answers, bounded, in order.
//!
//! One lane per ordered pair of shards. Requests of a lane are taken in the order in which they were sent and each is run up to its
//! first wait before the next one starts; then they run beside each other. A caller that goes away cancels its request.

/// Why a call to another shard has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MeshError {
    /// The other shard is stopping or gone; the process is about to end.
    #[error("the shard that owns this is gone")]
    Gone,
    /// The request was answered by a panic on the other shard.
    #[error("the request failed on the shard that owns this")]
    Panicked,
}

/// A request to another shard. Owned and `Send`; one variant per kind, grouped by the part that answers it.
#[derive(Debug)]
pub enum ShardRequest {
    /// Answered with `Pong` (health check, tests).
    Ping,
}

/// The answer to a [`ShardRequest`], variant by variant.
#[derive(Debug)]
pub enum ShardReply {
    /// To `Ping`.
    Pong,
}
