//! What can be asked of the owner shard of partitions, and its answers. All of it is owned and `Send`, since it crosses the mesh.
//!
//! Answers keep the order of the parts. Sent by the handlers through `shard/route.rs`; answered by [`serve`] on the owner shard.

use std::rc::Rc;

use bytes::Bytes;
use coreline_storage::producer_state::ActiveProducer;
use coreline_wire::TopicPartition;
use coreline_wire::error_code::ErrorCode;
use coreline_wire::ids::{LeaderEpoch, Offset};

use super::{append, delete_records, fetch, lookup};
use crate::fetch_session::FetchWant;
use crate::handler::Chunk;
use crate::shard::Shard;
use crate::stage::StageStamps;

/// One batch for one partition.
#[derive(Debug)]
pub struct ProducePart {
    /// Where it goes.
    pub partition: TopicPartition,
    /// The batch as the client sent it.
    pub records: Bytes,
}

/// How many replicas a produce waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// None: answered (or not answered at all) once the batch has its place.
    None,
    /// The leader's durability class.
    Leader,
    /// The durability class on every in-sync replica.
    All,
}

/// Who appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appender {
    /// A client through the Produce API.
    Client {
        /// False for Produce below version 7, which predates zstd (KIP-110).
        zstd_allowed: bool,
    },
    /// A coordinator of this broker; the only one that may write to internal topics.
    Coordinator,
}

/// What became of a [`ProducePart`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Produced {
    /// The code, `None` for success.
    pub error: ErrorCode,
    /// Offset of the first record, -1 on error.
    pub base_offset: Offset,
    /// The time the broker gave the batch, or -1 when it kept the client's times.
    pub log_append_time_ms: i64,
    /// First offset of the log, -1 on error.
    pub log_start_offset: Offset,
    /// Records that caused the error: place in the batch, and why.
    pub record_errors: Vec<(i32, String)>,
    /// A sentence for a person.
    pub message: Option<String>,
}

impl Produced {
    /// A failed part.
    pub fn failed(error: ErrorCode, message: Option<String>) -> Produced {
        Produced { error, base_offset: -1, log_append_time_ms: -1, log_start_offset: -1, record_errors: Vec::new(), message }
    }
}

/// What a consumer wants from one partition.
#[derive(Clone, Copy, Debug)]
pub struct FetchPart {
    /// The partition.
    pub partition: TopicPartition,
    /// From where, how much.
    pub want: FetchWant,
}

/// What one partition gives to a fetch.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The code, `None` for success.
    pub error: ErrorCode,
    /// High watermark, -1 on error.
    pub high_watermark: Offset,
    /// Last stable offset, -1 on error.
    pub last_stable_offset: Offset,
    /// First offset of the log, -1 on error.
    pub log_start_offset: Offset,
    /// Where the client's log diverges: (epoch, end offset).
    pub diverging: Option<(LeaderEpoch, Offset)>,
    /// Leader epoch here, for clients whose own is out of date.
    pub leader_epoch: LeaderEpoch,
    /// Whole batches, in offset order.
    pub records: Vec<Chunk>,
    /// Bytes of `records`.
    pub bytes: u64,
    /// True when more could be read at once, had the byte limits been larger: waiting would not fill the answer.
    pub limited: bool,
}

impl Fetched {
    /// A failed part.
    pub fn failed(error: ErrorCode) -> Fetched {
        Fetched {
            error,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            diverging: None,
            leader_epoch: -1,
            records: Vec::new(),
            bytes: 0,
            limited: false,
        }
    }
}

/// Which offset ListOffsets asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetQuery {
    /// The partition.
    pub partition: TopicPartition,
    /// A timestamp in milliseconds, or one of the protocol's negative markers.
    pub timestamp: i64,
    /// The client's idea of the leader epoch, -1 for none.
    pub current_leader_epoch: LeaderEpoch,
}

/// The answer to an [`OffsetQuery`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetFound {
    /// The code, `None` for success.
    pub error: ErrorCode,
    /// The offset, -1 when nothing matches.
    pub offset: Offset,
    /// Its timestamp, -1 when none was looked up.
    pub timestamp: i64,
    /// Its leader epoch, -1 when unknown.
    pub leader_epoch: LeaderEpoch,
}

/// Which epoch OffsetForLeaderEpoch asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochQuery {
    /// The partition.
    pub partition: TopicPartition,
    /// The epoch whose end is wanted.
    pub leader_epoch: LeaderEpoch,
    /// The client's idea of the leader epoch, -1 for none.
    pub current_leader_epoch: LeaderEpoch,
}

/// The answer to an [`EpochQuery`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochFound {
    /// The code, `None` for success.
    pub error: ErrorCode,
    /// Largest epoch not above the asked one, -1 when unknown.
    pub leader_epoch: LeaderEpoch,
    /// Its end offset, -1 when unknown.
    pub end_offset: Offset,
}

/// What became of a DeleteRecords part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordsDeleted {
    /// The code, `None` for success.
    pub error: ErrorCode,
    /// First offset of the log afterwards, -1 on error.
    pub low_watermark: Offset,
}

/// A request to the owner of partitions.
#[derive(Debug)]
pub enum PartitionRequest {
    /// Append batches.
    Produce {
        /// How long to wait.
        acks: Acks,
        /// Milliseconds to wait at most.
        timeout_ms: i32,
        /// Who asks.
        appender: Appender,
        /// Where the request has spent its time so far.
        stamps: StageStamps,
        /// The batches; at most one per partition, in request order.
        parts: Vec<ProducePart>,
    },
    /// Read what is there.
    FetchRead {
        /// From where.
        parts: Vec<FetchPart>,
        /// Bytes of all parts together; the first batch is given even when it is larger.
        max_bytes: i32,
    },
    /// Wait until one of the partitions' high watermark is at least the number beside it. Ends early when the caller goes away.
    FetchWait {
        /// Partition and high watermark.
        parts: Vec<(TopicPartition, Offset)>,
    },
    /// Look offsets up by time.
    ListOffsets(Vec<OffsetQuery>),
    /// Where epochs end.
    EpochEnd(Vec<EpochQuery>),
    /// Move log start offsets: partition and first offset to keep, -1 for the high watermark.
    DeleteRecords(Vec<(TopicPartition, Offset)>),
    /// Bytes of logs.
    LogSizes(Vec<TopicPartition>),
    /// The producers that logs remember.
    Producers(Vec<TopicPartition>),
}

/// The answer to a [`PartitionRequest`], variant by variant.
#[derive(Debug)]
pub enum PartitionReply {
    /// To `Produce`: what became of each batch, and where the time went.
    Produced(Vec<Produced>, StageStamps),
    /// To `FetchRead`.
    Fetched(Vec<Fetched>),
    /// To `FetchWait`.
    Moved,
    /// To `ListOffsets`.
    Offsets(Vec<OffsetFound>),
    /// To `EpochEnd`.
    Epochs(Vec<EpochFound>),
    /// To `DeleteRecords`.
    Deleted(Vec<RecordsDeleted>),
    /// To `LogSizes`: bytes, `None` for a partition that is not here or cannot be used.
    LogSizes(Vec<Option<u64>>),
    /// To `Producers`.
    Producers(Vec<Result<Vec<ActiveProducer>, ErrorCode>>),
}

/// Answers a request for partitions of this shard. The part that has to happen in order is over at the first wait.
pub async fn serve(shard: &Rc<Shard>, request: PartitionRequest) -> PartitionReply {
    match request {
        PartitionRequest::Produce { acks, timeout_ms, appender, mut stamps, parts } => {
            let produced = append::produce(shard, parts, acks, timeout_ms, appender, &mut stamps).await;
            PartitionReply::Produced(produced, stamps)
        }
        PartitionRequest::FetchRead { parts, max_bytes } => {
            PartitionReply::Fetched(fetch::read(&shard.partitions, &parts, max_bytes).await)
        }
        PartitionRequest::FetchWait { parts } => {
            fetch::wait(&shard.partitions, &parts).await;
            PartitionReply::Moved
        }
        PartitionRequest::ListOffsets(queries) => PartitionReply::Offsets(lookup::list_offsets(&shard.partitions, &queries).await),
        PartitionRequest::EpochEnd(queries) => PartitionReply::Epochs(lookup::epoch_ends(&shard.partitions, &queries).await),
        PartitionRequest::DeleteRecords(parts) => PartitionReply::Deleted(delete_records::delete_records(&shard.partitions, &parts).await),
        PartitionRequest::LogSizes(parts) => PartitionReply::LogSizes(lookup::log_sizes(&shard.partitions, &parts).await),
        PartitionRequest::Producers(parts) => PartitionReply::Producers(lookup::producers(&shard.partitions, &parts).await),
    }
}
