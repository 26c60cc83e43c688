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

use bytes::{Bytes, BytesMut};

use super::chunk::{Chunk, SpanLen};
use super::current_leader::{LeaderIdAndEpoch, NodeEndpoint};
use super::{read_array, served};
use crate::api::ApiKey;
use crate::decode::{DecodeError, Decoder};
use crate::encode::{Sink, measure};
use crate::error_code::ErrorCode;
use crate::ids::{BrokerId, LeaderEpoch, Offset, PartitionIndex, ProducerId, TopicId};
use crate::primitive::{WireString, put_array, put_bytes_len, put_null_array, put_nullable_string, put_string};
use crate::tagged_field;

/// A Fetch request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchRequest {
    /// Cluster the fetcher believes in (v12 on).
    pub cluster_id: Option<WireString>,
    /// Broker id of a follower, -1 for a consumer. Travels in the replica state from v15 on.
    pub replica_id: BrokerId,
    /// Broker epoch of a follower (v15 on), -1 when unknown.
    pub replica_epoch: i64,
    /// How long to wait for `min_bytes`, in milliseconds.
    pub max_wait_ms: i32,
    /// Answer at once when this many bytes are there.
    pub min_bytes: i32,
    /// Cap on all partitions together; the first batch is returned even when it is larger.
    pub max_bytes: i32,
    /// 0 read uncommitted, 1 read committed.
    pub isolation_level: i8,
    /// Fetch session (v7 on), 0 for none.
    pub session_id: i32,
    /// Epoch of the session (v7 on), -1 for none.
    pub session_epoch: i32,
    /// What to read.
    pub topics: Vec<FetchTopic>,
    /// What to drop from the session (v7 on).
    pub forgotten_topics: Vec<ForgottenTopic>,
    /// Rack of the consumer (v11 on).
    pub rack_id: WireString,
}

impl Default for FetchRequest {
    fn default() -> Self {
        FetchRequest {
            cluster_id: None,
            replica_id: -1,
            replica_epoch: -1,
            max_wait_ms: 0,
            min_bytes: 0,
            max_bytes: i32::MAX,
            isolation_level: 0,
            session_id: 0,
            session_epoch: -1,
            topics: Vec::new(),
            forgotten_topics: Vec::new(),
            rack_id: WireString::EMPTY,
        }
    }
}

/// What to read of one topic.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FetchTopic {
    /// Name; empty from v13 on.
    pub name: WireString,
    /// Id; zero before v13.
    pub topic_id: TopicId,
    /// What to read, by partition.
    pub partitions: Vec<FetchPartition>,
}

/// What to read of one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchPartition {
    /// Partition number.
    pub partition: PartitionIndex,
    /// Leader epoch the fetcher knows (v9 on), -1 when unknown.
    pub current_leader_epoch: LeaderEpoch,
    /// First offset wanted.
    pub fetch_offset: Offset,
    /// Leader epoch of the last record fetched (v12 on), -1 when none.
    pub last_fetched_epoch: LeaderEpoch,
    /// Log start offset of a follower (v5 on), -1 for a consumer.
    pub log_start_offset: Offset,
    /// Cap on this partition.
    pub partition_max_bytes: i32,
    /// Directory of a follower (v17 on), zero when unset.
    pub replica_directory_id: [u8; 16],
    /// High watermark the fetcher knows (v18 on), `i64::MAX` when unset.
    pub high_watermark: Offset,
}

impl Default for FetchPartition {
    fn default() -> Self {
        FetchPartition {
            partition: 0,
            current_leader_epoch: -1,
            fetch_offset: 0,
            last_fetched_epoch: -1,
            log_start_offset: -1,
            partition_max_bytes: 0,
            replica_directory_id: [0; 16],
            high_watermark: i64::MAX,
        }
    }
}

/// Partitions to drop from a fetch session.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ForgottenTopic {
    /// Name; empty from v13 on.
    pub name: WireString,
    /// Id; zero before v13.
    pub topic_id: TopicId,
    /// Partition numbers.
    pub partitions: Vec<PartitionIndex>,
}

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
        FetchResponse {
            throttle_time_ms: 0,
            error_code: ErrorCode::None,
            session_id: 0,
            topics: Vec::new(),
            node_endpoints: Vec::new(),
        }
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

/// Smallest encodings in bytes, by version.
fn min_topic_size(version: i16, flexible: bool) -> usize {
    match (version >= 13, flexible) {
        (true, _) => 16 + 1 + 1,
        (false, true) => 1 + 1 + 1,
        (false, false) => 2 + 4,
    }
}

fn read_topic(d: &mut Decoder<'_>, body: &Bytes, version: i16, flexible: bool) -> Result<(WireString, TopicId), DecodeError> {
    if version >= 13 {
        Ok((WireString::EMPTY, TopicId(d.uuid()?)))
    } else {
        Ok((WireString::share(body, d.string(flexible)?), TopicId::ZERO))
    }
}

fn write_topic<W: Sink>(w: &mut W, name: &str, topic_id: TopicId, version: i16, flexible: bool) {
    if version >= 13 {
        w.put(&topic_id.0);
    } else {
        put_string(w, name, flexible);
    }
}

fn skip_tags(d: &mut Decoder<'_>, flexible: bool) -> Result<(), DecodeError> {
    if flexible { tagged_field::skip(d) } else { Ok(()) }
}

fn write_no_tags<W: Sink>(w: &mut W, flexible: bool) {
    if flexible {
        tagged_field::write_none(w);
    }
}

impl FetchRequest {
    /// Decodes a request body. Strings share `body`'s memory.
    pub fn decode(body: &Bytes, version: i16) -> Result<FetchRequest, DecodeError> {
        let flexible = served(ApiKey::Fetch, version)?.is_flexible(version);
        let mut d = Decoder::new(body);
        let mut out = FetchRequest::default();
        if version <= 14 {
            out.replica_id = d.i32()?;
        }
        out.max_wait_ms = d.i32()?;
        out.min_bytes = d.i32()?;
        out.max_bytes = d.i32()?;
        out.isolation_level = d.i8()?;
        if version >= 7 {
            out.session_id = d.i32()?;
            out.session_epoch = d.i32()?;
        }
        let topic_size = min_topic_size(version, flexible);
        out.topics = read_array(&mut d, flexible, false, topic_size, |d| {
            let (name, topic_id) = read_topic(d, body, version, flexible)?;
            let partitions = read_array(d, flexible, false, 16, |d| FetchPartition::decode(d, version, flexible))?;
            skip_tags(d, flexible)?;
            Ok(FetchTopic { name, topic_id, partitions })
        })?;
        if version >= 7 {
            out.forgotten_topics = read_array(&mut d, flexible, false, topic_size, |d| {
                let (name, topic_id) = read_topic(d, body, version, flexible)?;
                let partitions = read_array(d, flexible, false, 4, |d| d.i32())?;
                skip_tags(d, flexible)?;
                Ok(ForgottenTopic { name, topic_id, partitions })
            })?;
        }
        if version >= 11 {
            out.rack_id = WireString::share(body, d.string(flexible)?);
        }
        if flexible {
            tagged_field::read(&mut d, |d, tag, _| match tag {
                0 => {
                    out.cluster_id = d.nullable_string(true)?.map(|s| WireString::share(body, s));
                    Ok(true)
                }
                1 if version >= 15 => {
                    out.replica_id = d.i32()?;
                    out.replica_epoch = d.i64()?;
                    tagged_field::skip(d)?;
                    Ok(true)
                }
                _ => Ok(false),
            })?;
        }
        d.finish()?;
        Ok(out)
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
        let spec = ApiKey::Fetch.spec();
        assert!(spec.serves(version), "Fetch v{version} is not served");
        let flexible = spec.is_flexible(version);
        if version <= 14 {
            w.i32(self.replica_id);
        }
        w.i32(self.max_wait_ms);
        w.i32(self.min_bytes);
        w.i32(self.max_bytes);
        w.i8(self.isolation_level);
        if version >= 7 {
            w.i32(self.session_id);
            w.i32(self.session_epoch);
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
        if version >= 7 {
            put_array(w, self.forgotten_topics.len(), flexible);
            for topic in &self.forgotten_topics {
                write_topic(w, &topic.name, topic.topic_id, version, flexible);
                put_array(w, topic.partitions.len(), flexible);
                for partition in &topic.partitions {
                    w.i32(*partition);
                }
                write_no_tags(w, flexible);
            }
        }
        if version >= 11 {
            put_string(w, &self.rack_id, flexible);
        }
        if flexible {
            let has_state = version >= 15 && (self.replica_id, self.replica_epoch) != (-1, -1);
            w.unsigned_varint(self.cluster_id.is_some() as u32 + has_state as u32);
            if let Some(cluster_id) = &self.cluster_id {
                tagged_field::write_field(w, 0, |w| put_nullable_string(w, Some(cluster_id), true));
            }
            if has_state {
                tagged_field::write_field(w, 1, |w| {
                    w.i32(self.replica_id);
                    w.i64(self.replica_epoch);
                    w.u8(0);
                });
            }
        }
    }
}

impl FetchPartition {
    fn decode(d: &mut Decoder<'_>, version: i16, flexible: bool) -> Result<Self, DecodeError> {
        let mut out = FetchPartition { partition: d.i32()?, ..Default::default() };
        if version >= 9 {
            out.current_leader_epoch = d.i32()?;
        }
        out.fetch_offset = d.i64()?;
        if version >= 12 {
            out.last_fetched_epoch = d.i32()?;
        }
        if version >= 5 {
            out.log_start_offset = d.i64()?;
        }
        out.partition_max_bytes = d.i32()?;
        if flexible {
            tagged_field::read(d, |d, tag, _| match tag {
                0 if version >= 17 => {
                    out.replica_directory_id = d.uuid()?;
                    Ok(true)
                }
                1 if version >= 18 => {
                    out.high_watermark = d.i64()?;
                    Ok(true)
                }
                _ => Ok(false),
            })?;
        }
        Ok(out)
    }

    fn write<W: Sink>(&self, w: &mut W, version: i16, flexible: bool) {
        w.i32(self.partition);
        if version >= 9 {
            w.i32(self.current_leader_epoch);
        }
        w.i64(self.fetch_offset);
        if version >= 12 {
            w.i32(self.last_fetched_epoch);
        }
        if version >= 5 {
            w.i64(self.log_start_offset);
        }
        w.i32(self.partition_max_bytes);
        if flexible {
            let has_directory = version >= 17 && self.replica_directory_id != [0; 16];
            let has_watermark = version >= 18 && self.high_watermark != i64::MAX;
            w.unsigned_varint(has_directory as u32 + has_watermark as u32);
            if has_directory {
                tagged_field::write_field(w, 0, |w| w.put(&self.replica_directory_id));
            }
            if has_watermark {
                tagged_field::write_field(w, 1, |w| w.i64(self.high_watermark));
            }
        }
    }
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
        let mut buffer =
            ResponseBuffer { fields: BytesMut::with_capacity(counter.fields), cuts: Vec::with_capacity(counter.cuts) };
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
            chunks.extend(partition.records.into_iter().map(Chunk::Span));
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
            let partitions =
                read_array(d, flexible, false, 25, |d| FetchPartitionResponse::decode(d, body, version, flexible))?;
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
