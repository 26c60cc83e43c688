//! Fetch, API key 1, versions 4 to 18: consumers and followers read record batches.
//!
//! | version | what it brought |
//! |---|---|
//! | 4 | isolation level, last stable offset, aborted transactions (KIP-98); below 4 is gone (KIP-896) |
//! | 5 | log start offset, both ways (KIP-107) |
//! | 6 | `KAFKA_STORAGE_ERROR` may be answered (KIP-112) |
//! | 7 | fetch sessions: id, epoch, forgotten topics (KIP-227) |
//! | 8 | throttling moves behind the answer (KIP-219) |
//! | 9 | current leader epoch for fencing (KIP-320) |
//! | 10 | zstd (KIP-110) |
//! | 11 | rack and preferred read replica (KIP-392) |
//! | 12 | flexible (KIP-482); last fetched epoch, diverging epoch (KIP-595); cluster id as a tagged field |
//! | 13 | topic id instead of topic name (KIP-516) |
//! | 14 | `OFFSET_MOVED_TO_TIERED_STORAGE` may be answered (KIP-405) |
//! | 15 | replica state as a tagged field instead of replica id (KIP-903) |
//! | 16 | node endpoints in the answer (KIP-951) |
//! | 17 | replica directory id as a tagged field (KIP-853) |
//! | 18 | high watermark of the fetcher as a tagged field (KIP-1166) |
//!
//! The answer is generic over what stands for record data: the broker's spans when encoding, `Bytes` when a client decodes. Unknown tagged
//! fields are skipped.

mod request;
mod response;

pub use request::{FetchPartition, FetchRequest, FetchTopic, ForgottenTopic};
pub use response::{
    AbortedTransaction, EpochEndOffset, FetchEncoder, FetchPartitionResponse, FetchResponse, FetchTopicResponse, SnapshotId,
};
