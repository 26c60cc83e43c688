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

/// Encodes an answer piece by piece: the head, then each topic with its partitions, then the end. The number of topics and of each topic's partitions
/// is said beforehand. So an answer of very many partitions need not be encoded at one go.
#[derive(Debug)]
pub struct FetchEncoder<S> {
    version: i16,
    flexible: bool,
    fields: BytesMut,
    chunks: Vec<Chunk<S>>,
}

/// Fields are collected in blocks of so many bytes, which the chunks between record data share.
const FIELD_BLOCK_BYTES: usize = 8 * 1024;
/// The first block: enough for an answer of one or two partitions.
const FIRST_BLOCK_BYTES: usize = 256;

impl Sink for BlockSink<'_> {
    fn put(&mut self, bytes: &[u8]) {
        if self.0.capacity() - self.0.len() < bytes.len() {
            self.0.reserve(bytes.len().max(FIELD_BLOCK_BYTES));
        }
        self.0.extend_from_slice(bytes);
    }
}

struct BlockSink<'a>(&'a mut BytesMut);

impl<S: SpanLen> FetchEncoder<S> {
    /// Begins an answer of so many topics. `version` must be a served one.
    pub fn begin(version: i16, throttle_time_ms: i32, error_code: ErrorCode, session_id: i32, topics: usize) -> Self {
        let spec = ApiKey::Fetch.spec();
        assert!(spec.serves(version), "Fetch v{version} is not served");
        let fields = BytesMut::with_capacity(FIRST_BLOCK_BYTES);
        let mut encoder = FetchEncoder { version, flexible: spec.is_flexible(version), fields, chunks: Vec::new() };
        let flexible = encoder.flexible;
        let w = &mut encoder.sink();
        w.i32(throttle_time_ms);
        if version >= 7 {
            w.i16(error_code.code());
            w.i32(session_id);
        }
        put_array(w, topics, flexible);
        encoder
    }

    /// Begins a topic of so many partitions.
    pub fn topic(&mut self, name: &str, topic_id: TopicId, partitions: usize) {
        let (version, flexible) = (self.version, self.flexible);
        let w = &mut self.sink();
        write_topic(w, name, topic_id, version, flexible);
        put_array(w, partitions, flexible);
    }

    /// A partition of the topic.
    pub fn partition(&mut self, partition: FetchPartitionResponse<S>) {
        let (version, flexible) = (self.version, self.flexible);
        partition.write_before_records(&mut self.sink(), version, flexible);
        let mut spans = partition.records.into_iter().filter(|span| span.span_len() > 0).peekable();
        if spans.peek().is_some() {
            self.chunks.push(Chunk::Bytes(self.fields.split().freeze()));
            // An empty span would read as the end of a file to whoever sends it.
            self.chunks.extend(spans.map(Chunk::Span));
        }
        if flexible {
            write_tags(&mut self.sink(), partition.diverging_epoch, partition.current_leader, partition.snapshot_id);
        }
    }

    /// Ends a topic, behind its last partition.
    pub fn topic_end(&mut self) {
        let flexible = self.flexible;
        write_no_tags(&mut self.sink(), flexible);
    }

    /// Ends the answer. Fields that the version does not carry were left out; spans are passed through in order.
    pub fn end(mut self, node_endpoints: &[NodeEndpoint]) -> Vec<Chunk<S>> {
        if self.flexible {
            let with_endpoints = self.version >= 16 && !node_endpoints.is_empty();
            let w = &mut self.sink();
            if with_endpoints {
                w.unsigned_varint(1);
                tagged_field::write_field(w, 0, |w| NodeEndpoint::write_array(node_endpoints, w));
            } else {
                tagged_field::write_none(w);
            }
        }
        if !self.fields.is_empty() {
            self.chunks.push(Chunk::Bytes(self.fields.freeze()));
        }
        self.chunks
    }

    fn sink(&mut self) -> BlockSink<'_> {
        BlockSink(&mut self.fields)
    }
}

impl<S: SpanLen> FetchResponse<S> {
    /// Encodes the body at one go; see [`FetchEncoder`].
    pub fn encode(self, version: i16) -> Vec<Chunk<S>> {
        let mut encoder = FetchEncoder::begin(version, self.throttle_time_ms, self.error_code, self.session_id, self.topics.len());
        for topic in self.topics {
            encoder.topic(&topic.name, topic.topic_id, topic.partitions.len());
            topic.partitions.into_iter().for_each(|partition| encoder.partition(partition));
            encoder.topic_end();
        }
        encoder.end(&self.node_endpoints)
    }
}

impl<S: SpanLen> FetchPartitionResponse<S> {
    /// Bytes of record data.
    pub fn records_len(&self) -> usize {
        self.records.iter().map(SpanLen::span_len).sum()
    }

    fn write_before_records<W: Sink>(&self, w: &mut W, version: i16, flexible: bool) {
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
        put_bytes_len(w, self.records_len(), flexible);
    }
}

fn write_tags<W: Sink>(w: &mut W, diverging: Option<EpochEndOffset>, leader: Option<LeaderIdAndEpoch>, snapshot: Option<SnapshotId>) {
    let leader = leader.filter(|leader| *leader != LeaderIdAndEpoch::UNKNOWN);
    let count = diverging.is_some() as u32 + leader.is_some() as u32 + snapshot.is_some() as u32;
    w.unsigned_varint(count);
    if let Some(diverging) = diverging {
        tagged_field::write_field(w, 0, |w| {
            w.i32(diverging.epoch);
            w.i64(diverging.end_offset);
            w.u8(0);
        });
    }
    if let Some(leader) = leader {
        tagged_field::write_field(w, 1, |w| leader.write(w));
    }
    if let Some(snapshot) = snapshot {
        tagged_field::write_field(w, 2, |w| {
            w.i64(snapshot.end_offset);
            w.i32(snapshot.epoch);
            w.u8(0);
        });
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
