//! Builds record batches: for coordinator records, transaction markers, tests and the bench client.
//!
//! Records are written behind a header-sized gap in one buffer; an uncompressed batch is therefore built without copying.

use bytes::Bytes;

use super::attributes::{Attributes, Compression, TimestampType};
use super::batch::{self, BatchHeader, HEADER_BYTES, LOG_OVERHEAD_BYTES, MAGIC};
use super::compression::{self, CompressionError};
use crate::encode::Sink;
use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};
use crate::varint;

/// A header of a record to be written: name and value.
pub type HeaderPair<'a> = (&'a str, Option<&'a [u8]>);

/// A batch under construction.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    buf: Vec<u8>,
    codec: Compression,
    level: Option<i32>,
    attributes: Attributes,
    base_offset: Offset,
    leader_epoch: LeaderEpoch,
    producer_id: ProducerId,
    producer_epoch: ProducerEpoch,
    base_sequence: i32,
    base_timestamp: i64,
    max_timestamp: i64,
    record_count: i32,
    last_offset_delta: i32,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchBuilder {
    /// An empty batch: not compressed, no producer, base offset 0, leader epoch -1, `CreateTime`.
    pub fn new() -> BatchBuilder {
        BatchBuilder {
            buf: vec![0; HEADER_BYTES],
            codec: Compression::None,
            level: None,
            attributes: Attributes::default(),
            base_offset: 0,
            leader_epoch: -1,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            base_timestamp: -1,
            max_timestamp: -1,
            record_count: 0,
            last_offset_delta: -1,
        }
    }

    /// Reserves room for this many bytes of records.
    pub fn capacity(mut self, bytes: usize) -> Self {
        self.buf.reserve(bytes);
        self
    }

    /// Compresses the records with this codec when the batch is built; `None` is the codec's default level.
    pub fn compression(mut self, codec: Compression, level: Option<i32>) -> Self {
        self.codec = codec;
        self.level = level;
        self
    }

    /// Names the idempotent producer and the sequence number of the first record.
    pub fn producer(mut self, id: ProducerId, epoch: ProducerEpoch, base_sequence: i32) -> Self {
        self.producer_id = id;
        self.producer_epoch = epoch;
        self.base_sequence = base_sequence;
        self
    }

    /// Marks the batch as part of a transaction.
    pub fn transactional(mut self) -> Self {
        self.attributes = self.attributes.with_transactional(true);
        self
    }

    /// Marks the batch as holding control records.
    pub fn control(mut self) -> Self {
        self.attributes = self.attributes.with_control(true);
        self
    }

    /// Sets the timestamp type.
    pub fn timestamp_type(mut self, timestamp_type: TimestampType) -> Self {
        self.attributes = self.attributes.with_timestamp_type(timestamp_type);
        self
    }

    /// Sets the offset of the first record.
    pub fn base_offset(mut self, base_offset: Offset) -> Self {
        self.base_offset = base_offset;
        self
    }

    /// Sets the partition leader epoch.
    pub fn leader_epoch(mut self, leader_epoch: LeaderEpoch) -> Self {
        self.leader_epoch = leader_epoch;
        self
    }

    /// Appends a record with the next offset. `timestamp_ms` counts from 1970. A batch holds at most `i32::MAX` records and bytes, which is for
    /// the caller to keep.
    pub fn push(&mut self, timestamp_ms: i64, key: Option<&[u8]>, value: Option<&[u8]>, headers: &[HeaderPair<'_>]) {
        self.push_at(self.last_offset_delta + 1, timestamp_ms, key, value, headers);
    }

    /// Appends a record at a given offset delta, above all before it: compaction leaves gaps.
    pub fn push_at(&mut self, offset_delta: i32, timestamp_ms: i64, key: Option<&[u8]>, value: Option<&[u8]>, headers: &[HeaderPair<'_>]) {
        assert!(offset_delta > self.last_offset_delta, "offset delta {offset_delta} after {}", self.last_offset_delta);
        if self.record_count == 0 {
            self.base_timestamp = timestamp_ms;
            self.max_timestamp = timestamp_ms;
        }
        self.max_timestamp = self.max_timestamp.max(timestamp_ms);
        let timestamp_delta = timestamp_ms.wrapping_sub(self.base_timestamp);
        let body = 1
            + varint::len_u64(varint::unzigzag_i64(timestamp_delta))
            + varint_len(offset_delta)
            + nullable_len(key)
            + nullable_len(value)
            + varint_len(headers.len() as i32)
            + headers.iter().map(|(name, value)| nullable_len(Some(name.as_bytes())) + nullable_len(*value)).sum::<usize>();
        let w = &mut self.buf;
        w.reserve(body + 5);
        w.varint(body as i32);
        let start = w.len();
        w.i8(0);
        w.varlong(timestamp_delta);
        w.varint(offset_delta);
        put_nullable(w, key);
        put_nullable(w, value);
        w.varint(headers.len() as i32);
        for (name, value) in headers {
            put_nullable(w, Some(name.as_bytes()));
            put_nullable(w, *value);
        }
        debug_assert_eq!(w.len() - start, body, "both passes agree");
        self.record_count += 1;
        self.last_offset_delta = offset_delta;
    }

    /// Number of records so far.
    pub fn record_count(&self) -> i32 {
        self.record_count
    }

    /// Size of the batch so far in bytes, before compression.
    pub fn size_bytes(&self) -> usize {
        self.buf.len()
    }

    /// Builds the batch. It must hold a record: the protocol knows empty batches only as a trace of compaction.
    pub fn build(self) -> Result<Bytes, CompressionError> {
        assert!(self.record_count > 0, "a batch holds at least one record");
        let mut header = BatchHeader {
            base_offset: self.base_offset,
            batch_length: 0,
            partition_leader_epoch: self.leader_epoch,
            magic: MAGIC,
            crc: 0,
            attributes: self.attributes.with_compression(self.codec),
            last_offset_delta: self.last_offset_delta,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            base_sequence: self.base_sequence,
            record_count: self.record_count,
        };
        if self.codec == Compression::None {
            let mut buf = self.buf;
            seal(&mut header, &mut buf);
            return Ok(Bytes::from(buf));
        }
        let mut out = vec![0; HEADER_BYTES];
        compression::compress(self.codec, self.level, &self.buf[HEADER_BYTES..], &mut out)?;
        seal(&mut header, &mut out);
        Ok(Bytes::from(out))
    }
}

/// Fills in the length, writes the header into the gap at the front and the checksum over the rest.
fn seal(header: &mut BatchHeader, buf: &mut [u8]) {
    header.batch_length = i32::try_from(buf.len() - LOG_OVERHEAD_BYTES).expect("a batch is below 2 GiB");
    let gap = buf.first_chunk_mut::<HEADER_BYTES>().expect("the buffer begins with the gap");
    header.write(gap);
    batch::patch_crc(buf);
}

fn varint_len(value: i32) -> usize {
    varint::len_u32(varint::unzigzag_i32(value))
}

fn nullable_len(bytes: Option<&[u8]>) -> usize {
    match bytes {
        Some(bytes) => varint_len(bytes.len() as i32) + bytes.len(),
        None => varint_len(-1),
    }
}

fn put_nullable(w: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            w.varint(bytes.len() as i32);
            w.put(bytes);
        }
        None => w.varint(-1),
    }
}
