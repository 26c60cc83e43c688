//! Shared by the integration tests: random Produce and Fetch messages that fit a version, and the same messages as `kafka-protocol` has them.

#![allow(dead_code, reason = "each test binary uses its part")]

mod admin_samples;
mod later;
pub(crate) mod samples;
#[path = "../../src/test_random.rs"]
mod test_random;
pub(crate) mod theirs;

use bytes::Bytes;
use coreline_wire::message::fetch::{
    AbortedTransaction, EpochEndOffset, FetchPartition, FetchPartitionResponse, FetchRequest, FetchResponse, FetchTopic,
    FetchTopicResponse, ForgottenTopic, SnapshotId,
};
use coreline_wire::message::produce::{
    ProducePartition, ProducePartitionResponse, ProduceRequest, ProduceResponse, ProduceTopic, ProduceTopicResponse, RecordError,
};
use coreline_wire::message::{LeaderIdAndEpoch, NodeEndpoint};
use coreline_wire::{ErrorCode, TopicId, WireString};

pub(crate) use test_random::Random;

fn i16(r: &mut Random) -> i16 {
    r.next() as i16
}

fn i32(r: &mut Random) -> i32 {
    r.next() as i32
}

fn i64(r: &mut Random) -> i64 {
    r.next() as i64
}

fn string(r: &mut Random) -> WireString {
    r.text(20).into()
}

fn maybe<T>(r: &mut Random, f: impl FnOnce(&mut Random) -> T) -> Option<T> {
    (r.below(2) == 0).then(|| f(r))
}

fn list<T>(r: &mut Random, f: impl Fn(&mut Random) -> T) -> Vec<T> {
    (0..r.below(4)).map(|_| f(r)).collect()
}

fn error_code(r: &mut Random) -> ErrorCode {
    ErrorCode::ALL[r.below(ErrorCode::ALL.len() as u64) as usize]
}

fn topic(r: &mut Random, version: i16) -> (WireString, TopicId) {
    if version >= 13 { (WireString::EMPTY, TopicId(std::array::from_fn(|_| r.next() as u8))) } else { (string(r), TopicId::ZERO) }
}

fn leader(r: &mut Random) -> LeaderIdAndEpoch {
    LeaderIdAndEpoch { leader_id: r.below(100) as i32, leader_epoch: i32(r) }
}

fn endpoint(r: &mut Random) -> NodeEndpoint {
    NodeEndpoint { node_id: i32(r), host: string(r), port: i32(r), rack: maybe(r, string) }
}

/// A random Produce request with the fields that `version` carries.
pub(crate) fn produce_request(r: &mut Random, version: i16) -> ProduceRequest {
    ProduceRequest {
        transactional_id: maybe(r, string),
        acks: i16(r),
        timeout_ms: i32(r),
        topics: list(r, |r| {
            let (name, topic_id) = topic(r, version);
            let partitions = list(r, |r| ProducePartition { index: i32(r), records: maybe(r, |r| Bytes::from(r.bytes(300))) });
            ProduceTopic { name, topic_id, partitions }
        }),
    }
}

/// A random Produce response with the fields that `version` carries.
pub(crate) fn produce_response(r: &mut Random, version: i16) -> ProduceResponse {
    let partition = |r: &mut Random| {
        let mut out = ProducePartitionResponse {
            index: i32(r),
            error_code: error_code(r),
            base_offset: i64(r),
            log_append_time_ms: i64(r),
            ..Default::default()
        };
        if version >= 5 {
            out.log_start_offset = i64(r);
        }
        if version >= 8 {
            out.record_errors = list(r, |r| RecordError { batch_index: i32(r), message: maybe(r, string) });
            out.error_message = maybe(r, string);
        }
        if version >= 10 {
            out.current_leader = maybe(r, leader);
        }
        out
    };
    ProduceResponse {
        topics: list(r, |r| {
            let (name, topic_id) = topic(r, version);
            ProduceTopicResponse { name, topic_id, partitions: list(r, partition) }
        }),
        throttle_time_ms: i32(r),
        node_endpoints: if version >= 10 { list(r, endpoint) } else { Vec::new() },
    }
}

/// A random Fetch request with the fields that `version` carries.
pub(crate) fn fetch_request(r: &mut Random, version: i16) -> FetchRequest {
    let partition = |r: &mut Random| {
        let mut out = FetchPartition { partition: i32(r), fetch_offset: i64(r), partition_max_bytes: i32(r), ..FetchPartition::default() };
        if version >= 5 {
            out.log_start_offset = i64(r);
        }
        if version >= 9 {
            out.current_leader_epoch = i32(r);
        }
        if version >= 12 {
            out.last_fetched_epoch = i32(r);
        }
        if version >= 17 && r.below(2) == 0 {
            out.replica_directory_id = std::array::from_fn(|_| r.next() as u8);
        }
        if version >= 18 && r.below(2) == 0 {
            out.high_watermark = i64(r);
        }
        out
    };
    let mut out = FetchRequest {
        replica_id: if version <= 14 || r.below(2) == 0 { i32(r) } else { -1 },
        max_wait_ms: i32(r),
        min_bytes: i32(r),
        max_bytes: i32(r),
        isolation_level: r.below(2) as i8,
        topics: list(r, |r| {
            let (name, topic_id) = topic(r, version);
            FetchTopic { name, topic_id, partitions: list(r, partition) }
        }),
        ..FetchRequest::default()
    };
    if version >= 7 {
        out.session_id = i32(r);
        out.session_epoch = i32(r);
        out.forgotten_topics = list(r, |r| {
            let (name, topic_id) = topic(r, version);
            ForgottenTopic { name, topic_id, partitions: list(r, i32) }
        });
    }
    if version >= 11 {
        out.rack_id = string(r);
    }
    if version >= 12 {
        out.cluster_id = maybe(r, string);
    }
    if version >= 15 && out.replica_id != -1 {
        out.replica_epoch = i64(r);
    }
    out
}

/// A random Fetch response with the fields that `version` carries; record data in at most one slice, as a client reads it.
pub(crate) fn fetch_response(r: &mut Random, version: i16) -> FetchResponse<Bytes> {
    let partition = |r: &mut Random| {
        let mut out = FetchPartitionResponse {
            partition: i32(r),
            error_code: error_code(r),
            high_watermark: i64(r),
            last_stable_offset: i64(r),
            aborted_transactions: maybe(r, |r| list(r, |r| AbortedTransaction { producer_id: i64(r), first_offset: i64(r) })),
            records: maybe(r, |r| Bytes::from(r.bytes(500))).into_iter().filter(|b| !b.is_empty()).collect(),
            ..FetchPartitionResponse::default()
        };
        if version >= 5 {
            out.log_start_offset = i64(r);
        }
        if version >= 11 {
            out.preferred_read_replica = i32(r);
        }
        if version >= 12 {
            out.diverging_epoch = maybe(r, |r| EpochEndOffset { epoch: r.below(9) as i32, end_offset: i64(r) });
            out.current_leader = maybe(r, leader);
            out.snapshot_id = maybe(r, |r| SnapshotId { end_offset: i64(r), epoch: r.below(9) as i32 });
        }
        out
    };
    let mut out = FetchResponse {
        throttle_time_ms: i32(r),
        topics: list(r, |r| {
            let (name, topic_id) = topic(r, version);
            FetchTopicResponse { name, topic_id, partitions: list(r, partition) }
        }),
        ..FetchResponse::default()
    };
    if version >= 7 {
        out.error_code = error_code(r);
        out.session_id = i32(r);
    }
    if version >= 16 {
        out.node_endpoints = list(r, endpoint);
    }
    out
}
