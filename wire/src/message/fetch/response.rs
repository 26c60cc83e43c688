//! The answer half of Fetch: record data between encoded fields, and its codec. Versions are listed in the parent module.

use bytes::{Bytes, BytesMut};

use crate::api::ApiKey;
use crate::decode::{DecodeError, Decoder};
use crate::encode::Sink;
use crate::error_code::ErrorCode;
use crate::ids::{BrokerId, LeaderEpoch, Offset, PartitionIndex, ProducerId, TopicId};
use crate::message::chunk::{Chunk, SpanLen};
use crate::message::current_leader::{LeaderIdAndEpoch, NodeEndpoint};
use crate::message::topic::{min_topic_size, read_topic, skip_tags, write_no_tags, write_topic};
use crate::message::{read_array, served};
use crate::primitive::{WireString, put_array, put_bytes_len, put_null_array};
use crate::tagged_field;

/// The answer to a Fetch request, with `S` standing for record data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchResponse<S> {
    /// How long the client is muted because of a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// Outcome of the request as a whole (v7 on).
    pub error_code: ErrorCode,
    /// Fetch session (v7 on), 0 for none.
    pub session_id: i32,
    /// Results, by topic.
    pub topics: Vec<FetchTopicResponse<S>>,
    /// Endpoints of the leaders named in the partitions (v16 on).
    pub node_endpoints: Vec<NodeEndpoint>,
}

impl<S> Default for FetchResponse<S> {
    fn default() -> Self {
        FetchResponse { throttle_time_ms: 0, error_code: ErrorCode::None, session_id: 0, topics: Vec::new(), node_endpoints: Vec::new() }
    }
}

/// Results for one topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchTopicResponse<S> {
    /// Name; empty from v13 on.
    pub name: WireString,
    /// Id; zero before v13.
    pub topic_id: TopicId,
    /// Results, by partition.
    pub partitions: Vec<FetchPartitionResponse<S>>,
}

/// Result for one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchPartitionResponse<S> {
    /// Partition number.
    pub partition: PartitionIndex,
    /// Outcome.
    pub error_code: ErrorCode,
    /// High watermark, -1 when unknown.
    pub high_watermark: Offset,
    /// Last stable offset, -1 when unknown.
    pub last_stable_offset: Offset,
    /// First offset of the log (v5 on), -1 when unknown.
    pub log_start_offset: Offset,
    /// Where the fetcher's log diverges from ours (v12 on).
    pub diverging_epoch: Option<EpochEndOffset>,
    /// Leader to turn to instead (v12 on).
    pub current_leader: Option<LeaderIdAndEpoch>,
    /// Snapshot to fetch instead (v12 on; metadata quorum only).
    pub snapshot_id: Option<SnapshotId>,
    /// Transactions aborted within the returned range; `None` under read uncommitted.
    pub aborted_transactions: Option<Vec<AbortedTransaction>>,
    /// Replica to read from instead (v11 on), -1 for none.
    pub preferred_read_replica: BrokerId,
    /// Record data, whole batches, in order. Empty means none.
    pub records: Vec<S>,
}

impl<S> Default for FetchPartitionResponse<S> {
    fn default() -> Self {
        FetchPartitionResponse {
            partition: 0,
            error_code: ErrorCode::None,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            diverging_epoch: None,
            current_leader: None,
            snapshot_id: None,
            aborted_transactions: None,
            preferred_read_replica: -1,
            records: Vec::new(),
        }
    }
}

impl<S> FetchPartitionResponse<S> {
    /// The answer for a partition that failed with `error_code`, everything else unset.
    pub fn failed(partition: PartitionIndex, error_code: ErrorCode) -> Self {
        FetchPartitionResponse { partition, error_code, ..Self::default() }
    }
}

/// The largest epoch the leader has at or below the fetcher's, and where it ends (KIP-595).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpochEndOffset {
    /// Leader epoch, -1 when none.
    pub epoch: LeaderEpoch,
    /// Its end offset, exclusive, -1 when none.
    pub end_offset: Offset,
}

/// Names a metadata snapshot (KIP-630).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SnapshotId {
    /// End offset of the snapshot.
    pub end_offset: Offset,
    /// Its epoch.
    pub epoch: LeaderEpoch,
}

/// An aborted transaction that overlaps the returned range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AbortedTransaction {
    /// Producer of the transaction.
    pub producer_id: ProducerId,
    /// Its first offset in the partition.
    pub first_offset: Offset,
}

/// What the answer is written to: fields as in any sink, and a note of where record data belongs.
trait ResponseSink: Sink {
    /// `len` bytes of record data belong here.
    fn span(&mut self, len: usize);
}

/// Sizes: fields and record data apart.
#[derive(Default)]
struct ResponseCounter {
    fields: usize,
    spans: usize,
    cuts: usize,
}

impl Sink for ResponseCounter {
    fn put(&mut self, bytes: &[u8]) {
        self.fields += bytes.len();
    }
}

impl ResponseSink for ResponseCounter {
    fn span(&mut self, len: usize) {
        self.spans += len;
        self.cuts += 1;
    }
}

/// All fields in one buffer, and the positions at which record data belongs between them.
struct ResponseBuffer {
    fields: BytesMut,
    cuts: Vec<usize>,
}

impl Sink for ResponseBuffer {
    fn put(&mut self, bytes: &[u8]) {
        self.fields.extend_from_slice(bytes);
    }
}

impl ResponseSink for ResponseBuffer {
    fn span(&mut self, _len: usize) {
        self.cuts.push(self.fields.len());
    }
}

impl<S: SpanLen> FetchResponse<S> {
    /// Exact size of the encoded body in bytes, record data included.
    pub fn encoded_len(&self, version: i16) -> usize {
        let counter = self.count(version);
        counter.fields + counter.spans
    }

    /// Encodes the body. Fields lie in one allocation, cut where record data belongs; spans are passed through in order. Fields that the
    /// version does not carry are left out. `version` must be a served one.
    pub fn encode(self, version: i16) -> Vec<Chunk<S>> {
        let counter = self.count(version);
        let mut buffer = ResponseBuffer { fields: BytesMut::with_capacity(counter.fields), cuts: Vec::with_capacity(counter.cuts) };
        self.write(&mut buffer, version);
        debug_assert_eq!(buffer.fields.len(), counter.fields, "both passes agree");

        let mut rest = buffer.fields.freeze();
        let mut consumed = 0;
        let mut cuts = buffer.cuts.into_iter();
        let mut chunks = Vec::with_capacity(2 * counter.cuts + 1);
        for partition in self.topics.into_iter().flat_map(|topic| topic.partitions) {
            if partition.records_len() == 0 {
                continue;
            }
            let cut = cuts.next().expect("one cut for each partition with records");
            chunks.push(Chunk::Bytes(rest.split_to(cut - consumed)));
            consumed = cut;
            // An empty span would read as the end of a file to whoever sends it.
            chunks.extend(partition.records.into_iter().filter(|span| span.span_len() > 0).map(Chunk::Span));
        }
        if !rest.is_empty() {
            chunks.push(Chunk::Bytes(rest));
        }
        chunks
    }

    fn count(&self, version: i16) -> ResponseCounter {
        let mut counter = ResponseCounter::default();
        self.write(&mut counter, version);
        counter
    }

    fn write<W: ResponseSink>(&self, w: &mut W, version: i16) {
        let spec = ApiKey::Fetch.spec();
        assert!(spec.serves(version), "Fetch v{version} is not served");
        let flexible = spec.is_flexible(version);
        w.i32(self.throttle_time_ms);
        if version >= 7 {
            w.i16(self.error_code.code());
            w.i32(self.session_id);
        }
        put_array(w, self.topics.len(), flexible);
        for topic in &self.topics {
            write_topic(w, &topic.name, topic.topic_id, version, flexible);
            put_array(w, topic.partitions.len(), flexible);
            for partition in &topic.partitions {
                partition.write(w, version, flexible);
            }
            write_no_tags(w, flexible);
        }
        if flexible {
            if version >= 16 && !self.node_endpoints.is_empty() {
                w.unsigned_varint(1);
                tagged_field::write_field(w, 0, |w| NodeEndpoint::write_array(&self.node_endpoints, w));
            } else {
                tagged_field::write_none(w);
            }
        }
    }
}

impl<S: SpanLen> FetchPartitionResponse<S> {
    /// Bytes of record data.
    pub fn records_len(&self) -> usize {
        self.records.iter().map(SpanLen::span_len).sum()
    }

    fn write<W: ResponseSink>(&self, w: &mut W, version: i16, flexible: bool) {
        w.i32(self.partition);
        w.i16(self.error_code.code());
        w.i64(self.high_watermark);
        w.i64(self.last_stable_offset);
        if version >= 5 {
            w.i64(self.log_start_offset);
        }
        match &self.aborted_transactions {
            Some(aborted) => {
                put_array(w, aborted.len(), flexible);
                for transaction in aborted {
                    w.i64(transaction.producer_id);
                    w.i64(transaction.first_offset);
                    write_no_tags(w, flexible);
                }
            }
            None => put_null_array(w, flexible),
        }
        if version >= 11 {
            w.i32(self.preferred_read_replica);
        }
        let len = self.records_len();
        put_bytes_len(w, len, flexible);
        if len > 0 {
            w.span(len);
        }
        if flexible {
            self.write_tags(w);
        }
    }

    fn write_tags<W: Sink>(&self, w: &mut W) {
        let leader = self.current_leader.filter(|leader| *leader != LeaderIdAndEpoch::UNKNOWN);
        let count = self.diverging_epoch.is_some() as u32 + leader.is_some() as u32 + self.snapshot_id.is_some() as u32;
        w.unsigned_varint(count);
        if let Some(diverging) = self.diverging_epoch {
            tagged_field::write_field(w, 0, |w| {
                w.i32(diverging.epoch);
                w.i64(diverging.end_offset);
                w.u8(0);
            });
        }
        if let Some(leader) = leader {
            tagged_field::write_field(w, 1, |w| leader.write(w));
        }
        if let Some(snapshot) = self.snapshot_id {
            tagged_field::write_field(w, 2, |w| {
                w.i64(snapshot.end_offset);
                w.i32(snapshot.epoch);
                w.u8(0);
            });
        }
    }
}

impl FetchResponse<Bytes> {
    /// Decodes a response body, as a client does. Records and strings share `body`'s memory.
    pub fn decode(body: &Bytes, version: i16) -> Result<Self, DecodeError> {
        let flexible = served(ApiKey::Fetch, version)?.is_flexible(version);
        let mut d = Decoder::new(body);
        let mut out = FetchResponse { throttle_time_ms: d.i32()?, ..Default::default() };
        if version >= 7 {
            out.error_code = ErrorCode::from_code(d.i16()?);
            out.session_id = d.i32()?;
        }
        out.topics = read_array(&mut d, flexible, false, min_topic_size(version, flexible), |d| {
            let (name, topic_id) = read_topic(d, body, version, flexible)?;
            let partitions = read_array(d, flexible, false, 25, |d| FetchPartitionResponse::decode(d, body, version, flexible))?;
            skip_tags(d, flexible)?;
            Ok(FetchTopicResponse { name, topic_id, partitions })
        })?;
        if flexible {
            tagged_field::read(&mut d, |d, tag, _| {
                if tag == 0 && version >= 16 {
                    out.node_endpoints = NodeEndpoint::decode_array(d, body)?;
                    return Ok(true);
                }
                Ok(false)
            })?;
        }
        d.finish()?;
        Ok(out)
    }
}

impl FetchPartitionResponse<Bytes> {
    fn decode(d: &mut Decoder<'_>, body: &Bytes, version: i16, flexible: bool) -> Result<Self, DecodeError> {
        let mut out = FetchPartitionResponse {
            partition: d.i32()?,
            error_code: ErrorCode::from_code(d.i16()?),
            high_watermark: d.i64()?,
            last_stable_offset: d.i64()?,
            ..Default::default()
        };
        if version >= 5 {
            out.log_start_offset = d.i64()?;
        }
        if let Some(count) = d.nullable_array(flexible, 16)? {
            let mut aborted = Vec::with_capacity(count);
            for _ in 0..count {
                aborted.push(AbortedTransaction { producer_id: d.i64()?, first_offset: d.i64()? });
                skip_tags(d, flexible)?;
            }
            out.aborted_transactions = Some(aborted);
        }
        if version >= 11 {
            out.preferred_read_replica = d.i32()?;
        }
        if let Some(range) = d.nullable_bytes(flexible)?.filter(|range| !range.is_empty()) {
            out.records.push(body.slice(range));
        }
        if flexible {
            tagged_field::read(d, |d, tag, _| {
                match tag {
                    0 => {
                        out.diverging_epoch = Some(EpochEndOffset { epoch: d.i32()?, end_offset: d.i64()? });
                        tagged_field::skip(d)?;
                    }
                    1 => out.current_leader = Some(LeaderIdAndEpoch::decode(d)?),
                    2 => {
                        out.snapshot_id = Some(SnapshotId { end_offset: d.i64()?, epoch: d.i32()? });
                        tagged_field::skip(d)?;
                    }
                    _ => return Ok(false),
                }
                Ok(true)
            })?;
        }
        Ok(out)
    }
}
