//! Produce, API key 0, versions 3 to 13: the producer appends one record batch per partition.
//!
//! | version | what it brought |
//! |---|---|
//! | 3 | transactional id, batches of magic 2 (KIP-98); 0 to 2 are gone (KIP-896) |
//! | 4 | `KAFKA_STORAGE_ERROR` may be answered (KIP-112) |
//! | 5 | log start offset in the answer (KIP-107) |
//! | 6 | throttling moves behind the answer (KIP-219) |
//! | 7 | zstd (KIP-110) |
//! | 8 | errors per record, error message (KIP-467) |
//! | 9 | flexible (KIP-482) |
//! | 10 | current leader and node endpoints in the answer (KIP-951) |
//! | 11 | `TRANSACTION_ABORTABLE` may be answered (KIP-890) |
//! | 12 | a transactional append adds its partition by itself (KIP-890) |
//! | 13 | topic id instead of topic name (KIP-516) |
//!
//! Records stay slices of the frame. Whether they hold one sound batch is for `record::batch` to say. Unknown tagged fields are skipped.
//! Not here: `acks` outside -1, 0, 1 is left to the handler, which owns the answer to it.

use bytes::{Bytes, BytesMut};

use super::current_leader::{LeaderIdAndEpoch, NodeEndpoint};
use super::topic::{min_topic_size, read_topic, skip_tags, write_no_tags, write_topic};
use super::{read_array, served};
use crate::api::ApiKey;
use crate::decode::{DecodeError, Decoder};
use crate::encode::{Sink, measure};
use crate::error_code::ErrorCode;
use crate::ids::{Offset, PartitionIndex, TopicId};
use crate::primitive::{WireString, put_array, put_bytes_len, put_null_array, put_nullable_string};
use crate::tagged_field;

/// A Produce request.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ProduceRequest {
    /// Set by a transactional producer.
    pub transactional_id: Option<WireString>,
    /// When to answer: -1 all in-sync replicas, 0 never, 1 the leader alone.
    pub acks: i16,
    /// How long the broker may wait for replicas, in milliseconds.
    pub timeout_ms: i32,
    /// The data, by topic.
    pub topics: Vec<ProduceTopic>,
}

/// The data for one topic.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ProduceTopic {
    /// Name; empty from v13 on.
    pub name: WireString,
    /// Id; zero before v13.
    pub topic_id: TopicId,
    /// The data, by partition.
    pub partitions: Vec<ProducePartition>,
}

/// The data for one partition.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ProducePartition {
    /// Partition number.
    pub index: PartitionIndex,
    /// Record batch as it came, unchecked.
    pub records: Option<Bytes>,
}

/// The answer to a Produce request.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ProduceResponse {
    /// Results, by topic.
    pub topics: Vec<ProduceTopicResponse>,
    /// How long the client is muted because of a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// Endpoints of the leaders named in the partitions (v10 on).
    pub node_endpoints: Vec<NodeEndpoint>,
}

/// Results for one topic.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ProduceTopicResponse {
    /// Name; empty from v13 on.
    pub name: WireString,
    /// Id; zero before v13.
    pub topic_id: TopicId,
    /// Results, by partition.
    pub partitions: Vec<ProducePartitionResponse>,
}

/// Result for one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProducePartitionResponse {
    /// Partition number.
    pub index: PartitionIndex,
    /// Outcome.
    pub error_code: ErrorCode,
    /// Offset given to the first record, -1 on error.
    pub base_offset: Offset,
    /// Time given to the batch under `LogAppendTime`, else -1; milliseconds since 1970.
    pub log_append_time_ms: i64,
    /// First offset of the log (v5 on), -1 when unknown.
    pub log_start_offset: Offset,
    /// Which records were at fault (v8 on).
    pub record_errors: Vec<RecordError>,
    /// What was wrong, in words (v8 on).
    pub error_message: Option<WireString>,
    /// Leader to turn to instead (v10 on).
    pub current_leader: Option<LeaderIdAndEpoch>,
}

/// A record that made its batch fail (KIP-467).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordError {
    /// Number of the record within the batch.
    pub batch_index: i32,
    /// What was wrong with it.
    pub message: Option<WireString>,
}

impl Default for ProducePartitionResponse {
    fn default() -> Self {
        ProducePartitionResponse {
            index: 0,
            error_code: ErrorCode::None,
            base_offset: -1,
            log_append_time_ms: -1,
            log_start_offset: -1,
            record_errors: Vec::new(),
            error_message: None,
            current_leader: None,
        }
    }
}

impl ProducePartitionResponse {
    /// The answer for a partition that failed with `error_code`, everything else unset.
    pub fn failed(index: PartitionIndex, error_code: ErrorCode) -> Self {
        ProducePartitionResponse { index, error_code, ..Self::default() }
    }
}

impl ProduceRequest {
    /// Decodes a request body. Records and strings share `body`'s memory.
    pub fn decode(body: &Bytes, version: i16) -> Result<ProduceRequest, DecodeError> {
        let flexible = served(ApiKey::Produce, version)?.is_flexible(version);
        let mut d = Decoder::new(body);
        let transactional_id = d.nullable_string(flexible)?.map(|s| WireString::share(body, s));
        let acks = d.i16()?;
        let timeout_ms = d.i32()?;
        let topics = read_array(&mut d, flexible, false, min_topic_size(version, flexible), |d| {
            let (name, topic_id) = read_topic(d, body, version, flexible)?;
            let partitions = read_array(d, flexible, false, if flexible { 6 } else { 8 }, |d| {
                let index = d.i32()?;
                let records = d.nullable_bytes(flexible)?.map(|range| body.slice(range));
                skip_tags(d, flexible)?;
                Ok(ProducePartition { index, records })
            })?;
            skip_tags(d, flexible)?;
            Ok(ProduceTopic { name, topic_id, partitions })
        })?;
        skip_tags(&mut d, flexible)?;
        d.finish()?;
        Ok(ProduceRequest { transactional_id, acks, timeout_ms, topics })
    }

    /// Exact size of the encoded body in bytes.
    pub fn encoded_len(&self, version: i16) -> usize {
        measure(|w| self.write(w, version))
    }

    /// Appends the encoded body. `version` must be a served one.
    pub fn encode(&self, version: i16, out: &mut BytesMut) {
        out.reserve(self.encoded_len(version));
        self.write(out, version);
    }

    fn write<W: Sink>(&self, w: &mut W, version: i16) {
        let spec = ApiKey::Produce.spec();
        assert!(spec.serves(version), "Produce v{version} is not served");
        let flexible = spec.is_flexible(version);
        put_nullable_string(w, self.transactional_id.as_deref(), flexible);
        w.i16(self.acks);
        w.i32(self.timeout_ms);
        put_array(w, self.topics.len(), flexible);
        for topic in &self.topics {
            write_topic(w, &topic.name, topic.topic_id, version, flexible);
            put_array(w, topic.partitions.len(), flexible);
            for partition in &topic.partitions {
                w.i32(partition.index);
                match &partition.records {
                    Some(records) => {
                        put_bytes_len(w, records.len(), flexible);
                        w.put(records);
                    }
                    None => put_null_array(w, flexible),
                }
                write_no_tags(w, flexible);
            }
            write_no_tags(w, flexible);
        }
        write_no_tags(w, flexible);
    }
}

impl ProduceResponse {
    /// Decodes a response body.
    pub fn decode(body: &Bytes, version: i16) -> Result<ProduceResponse, DecodeError> {
        let flexible = served(ApiKey::Produce, version)?.is_flexible(version);
        let mut d = Decoder::new(body);
        let topics = read_array(&mut d, flexible, false, min_topic_size(version, flexible), |d| {
            let (name, topic_id) = read_topic(d, body, version, flexible)?;
            let partitions = read_array(d, flexible, false, 22, |d| ProducePartitionResponse::decode(d, body, version, flexible))?;
            skip_tags(d, flexible)?;
            Ok(ProduceTopicResponse { name, topic_id, partitions })
        })?;
        let throttle_time_ms = d.i32()?;
        let mut node_endpoints = Vec::new();
        if flexible {
            tagged_field::read(&mut d, |d, tag, _| {
                if tag == 0 && version >= 10 {
                    node_endpoints = NodeEndpoint::decode_array(d, body)?;
                    return Ok(true);
                }
                Ok(false)
            })?;
        }
        d.finish()?;
        Ok(ProduceResponse { topics, throttle_time_ms, node_endpoints })
    }

    /// Exact size of the encoded body in bytes.
    pub fn encoded_len(&self, version: i16) -> usize {
        measure(|w| self.write(w, version))
    }

    /// Appends the encoded body. Fields that the version does not carry are left out. `version` must be a served one.
    pub fn encode(&self, version: i16, out: &mut BytesMut) {
        out.reserve(self.encoded_len(version));
        self.write(out, version);
    }

    fn write<W: Sink>(&self, w: &mut W, version: i16) {
        let spec = ApiKey::Produce.spec();
        assert!(spec.serves(version), "Produce v{version} is not served");
        let flexible = spec.is_flexible(version);
        put_array(w, self.topics.len(), flexible);
        for topic in &self.topics {
            write_topic(w, &topic.name, topic.topic_id, version, flexible);
            put_array(w, topic.partitions.len(), flexible);
            for partition in &topic.partitions {
                partition.write(w, version, flexible);
            }
            write_no_tags(w, flexible);
        }
        w.i32(self.throttle_time_ms);
        if flexible {
            if version >= 10 && !self.node_endpoints.is_empty() {
                w.unsigned_varint(1);
                tagged_field::write_field(w, 0, |w| NodeEndpoint::write_array(&self.node_endpoints, w));
            } else {
                tagged_field::write_none(w);
            }
        }
    }
}

impl ProducePartitionResponse {
    fn decode(d: &mut Decoder<'_>, body: &Bytes, version: i16, flexible: bool) -> Result<Self, DecodeError> {
        let mut out = ProducePartitionResponse {
            index: d.i32()?,
            error_code: ErrorCode::from_code(d.i16()?),
            base_offset: d.i64()?,
            log_append_time_ms: d.i64()?,
            ..Default::default()
        };
        if version >= 5 {
            out.log_start_offset = d.i64()?;
        }
        if version >= 8 {
            out.record_errors = read_array(d, flexible, false, 6, |d| {
                let batch_index = d.i32()?;
                let message = d.nullable_string(flexible)?.map(|s| WireString::share(body, s));
                skip_tags(d, flexible)?;
                Ok(RecordError { batch_index, message })
            })?;
            out.error_message = d.nullable_string(flexible)?.map(|s| WireString::share(body, s));
        }
        if flexible {
            tagged_field::read(d, |d, tag, _| {
                if tag == 0 && version >= 10 {
                    out.current_leader = Some(LeaderIdAndEpoch::decode(d)?);
                    return Ok(true);
                }
                Ok(false)
            })?;
        }
        Ok(out)
    }

    fn write<W: Sink>(&self, w: &mut W, version: i16, flexible: bool) {
        w.i32(self.index);
        w.i16(self.error_code.code());
        w.i64(self.base_offset);
        w.i64(self.log_append_time_ms);
        if version >= 5 {
            w.i64(self.log_start_offset);
        }
        if version >= 8 {
            put_array(w, self.record_errors.len(), flexible);
            for error in &self.record_errors {
                w.i32(error.batch_index);
                put_nullable_string(w, error.message.as_deref(), flexible);
                write_no_tags(w, flexible);
            }
            put_nullable_string(w, self.error_message.as_deref(), flexible);
        }
        if flexible {
            match self.current_leader {
                Some(leader) if version >= 10 && leader != LeaderIdAndEpoch::UNKNOWN => {
                    w.unsigned_varint(1);
                    tagged_field::write_field(w, 0, |w| leader.write(w));
                }
                _ => tagged_field::write_none(w),
            }
        }
    }
}
