//! RecordBatch v2: its header as a view, the checks that turn received bytes into a `ValidBatch`, and patching in place.
//!
//! ```text
//! at  size  field                     at  size  field
//!  0    8   base offset               27    8   base timestamp (ms)
//!  8    4   batch length, from 12 on  35    8   max timestamp (ms)
//! 12    4   partition leader epoch    43    8   producer id, -1 none
//! 16    1   magic = 2                 51    2   producer epoch, -1 none
//! 17    4   CRC-32C, from 21 on       53    4   base sequence, -1 none
//! 21    2   attributes                57    4   record count
//! 23    4   last offset delta         61    ..  records, maybe compressed
//! ```
//!
//! Base offset and leader epoch lie outside the checksum, so the broker sets them without touching it; changing a timestamp costs a new one.
//! Callers: the produce path, storage (append, recovery, reads), the bench client.

use bytes::Bytes;

use super::attributes::{Attributes, Compression, TimestampType};
use super::crc32c::crc32c;
use crate::error_code::ErrorCode;
use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};

/// Bytes of the batch header.
pub const HEADER_BYTES: usize = 61;
/// Bytes before the part that the batch length counts: base offset and length. Kafka calls it the log overhead.
pub const LOG_OVERHEAD_BYTES: usize = 12;
/// The only format there is (KIP-724).
pub const MAGIC: i8 = 2;

const MIN_BATCH_LENGTH: usize = HEADER_BYTES - LOG_OVERHEAD_BYTES;
const BATCH_LENGTH_AT: usize = 8;
const LEADER_EPOCH_AT: usize = 12;
const MAGIC_AT: usize = 16;
const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;
const LAST_OFFSET_DELTA_AT: usize = 23;
const BASE_TIMESTAMP_AT: usize = 27;
const MAX_TIMESTAMP_AT: usize = 35;
const PRODUCER_ID_AT: usize = 43;
const PRODUCER_EPOCH_AT: usize = 51;
const BASE_SEQUENCE_AT: usize = 53;
const RECORD_COUNT_AT: usize = 57;

/// What is wrong with a batch. [`BatchError::error_code`] is what the client is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BatchError {
    /// The bytes end before the batch does.
    #[error("batch of {needed} bytes, {left} bytes left")]
    Truncated {
        /// Size of the batch, or of its header when that is cut.
        needed: usize,
        /// Bytes there are.
        left: usize,
    },
    /// The batch length is smaller than a header.
    #[error("batch length {0}")]
    BadLength(i32),
    /// Another magic than 2.
    #[error("magic {0}, only 2 is supported")]
    Magic(i8),
    /// The checksum does not match.
    #[error("CRC-32C {stored:#010x} in the batch, {computed:#010x} computed")]
    Crc {
        /// As it stands in the batch.
        stored: u32,
        /// As computed over the bytes.
        computed: u32,
    },
    /// More than one batch, or bytes behind the batch.
    #[error("{0} bytes behind the one batch that is allowed")]
    NotOneBatch(usize),
    /// No batch at all.
    #[error("no batch")]
    Empty,
    /// A client's batch starts at another offset than 0.
    #[error("base offset {0}, must be 0")]
    BaseOffset(Offset),
    /// The record count is not positive or does not match the last offset delta.
    #[error("{record_count} records with last offset delta {last_offset_delta}")]
    Count {
        /// As it stands in the batch.
        record_count: i32,
        /// As it stands in the batch.
        last_offset_delta: i32,
    },
    /// A client sent a control batch.
    #[error("control batch from a client")]
    Control,
    /// Producer id, epoch and sequence contradict each other.
    #[error("producer id {producer_id}, epoch {producer_epoch}, sequence {base_sequence}")]
    Producer {
        /// As it stands in the batch.
        producer_id: ProducerId,
        /// As it stands in the batch.
        producer_epoch: ProducerEpoch,
        /// As it stands in the batch.
        base_sequence: i32,
    },
    /// A client set an attribute bit that only a broker may set.
    #[error("attributes {0:#06x} from a client")]
    Attributes(i16),
    /// A client's batch claims `LogAppendTime`.
    #[error("LogAppendTime set by a client")]
    TimestampType,
    /// A codec number that stands for none, or zstd from a client too old for it.
    #[error("compression codec {0} not supported here")]
    Codec(u8),
}

impl BatchError {
    /// True when it shows before the partition's rules are looked at: the answer then does not tell the partition's log start offset.
    pub fn is_before_log(&self) -> bool {
        use BatchError::{BadLength, Codec, Crc, Empty, Magic, NotOneBatch, Truncated};
        matches!(self, Empty | Truncated { .. } | BadLength(_) | NotOneBatch(_) | Magic(_) | Crc { .. } | Codec(_))
    }

    /// The Kafka error code that the producer gets.
    pub fn error_code(&self) -> ErrorCode {
        match self {
            BatchError::BadLength(_) | BatchError::Crc { .. } => ErrorCode::CorruptMessage,
            // Magics of the past are refused for good, others look like damage.
            BatchError::Magic(magic) if !(0..=1).contains(magic) => ErrorCode::CorruptMessage,
            BatchError::TimestampType => ErrorCode::InvalidTimestamp,
            BatchError::Codec(_) => ErrorCode::UnsupportedCompressionType,
            BatchError::Magic(_)
            // Kafka finds no whole batch in it, where one has to be.
            | BatchError::Truncated { .. }
            | BatchError::NotOneBatch(_)
            | BatchError::Empty
            | BatchError::BaseOffset(_)
            | BatchError::Count { .. }
            | BatchError::Control
            | BatchError::Producer { .. }
            | BatchError::Attributes(_) => ErrorCode::InvalidRecord,
        }
    }
}

/// The header of a batch, as it stands in the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchHeader {
    /// Offset of the first record; 0 in a client's batch.
    pub base_offset: Offset,
    /// Bytes of the batch behind this field.
    pub batch_length: i32,
    /// Leader epoch under which it was appended; -1 in a client's batch.
    pub partition_leader_epoch: LeaderEpoch,
    /// Format, 2.
    pub magic: i8,
    /// CRC-32C over everything from the attributes on.
    pub crc: u32,
    /// Codec and flags.
    pub attributes: Attributes,
    /// Offset of the last record, from the base offset.
    pub last_offset_delta: i32,
    /// Timestamp the records' deltas count from, milliseconds since 1970.
    pub base_timestamp: i64,
    /// Largest timestamp in the batch, milliseconds since 1970.
    pub max_timestamp: i64,
    /// Idempotent producer, -1 for none.
    pub producer_id: ProducerId,
    /// Its epoch, -1 for none.
    pub producer_epoch: ProducerEpoch,
    /// Sequence number of the first record, -1 for none.
    pub base_sequence: i32,
    /// Number of records.
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the header at the front of `bytes`, which need not hold the whole batch. Checks magic and the lower bound of the length.
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        let Some(raw) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(BatchError::Truncated { needed: HEADER_BYTES, left: bytes.len() });
        };
        let batch_length = i32::from_be_bytes(at(raw, BATCH_LENGTH_AT));
        let magic = raw[MAGIC_AT] as i8;
        if magic != MAGIC {
            return Err(BatchError::Magic(magic));
        }
        if batch_length < MIN_BATCH_LENGTH as i32 {
            return Err(BatchError::BadLength(batch_length));
        }
        Ok(BatchHeader {
            base_offset: i64::from_be_bytes(at(raw, 0)),
            batch_length,
            partition_leader_epoch: i32::from_be_bytes(at(raw, LEADER_EPOCH_AT)),
            magic,
            crc: u32::from_be_bytes(at(raw, CRC_AT)),
            attributes: Attributes(i16::from_be_bytes(at(raw, ATTRIBUTES_AT))),
            last_offset_delta: i32::from_be_bytes(at(raw, LAST_OFFSET_DELTA_AT)),
            base_timestamp: i64::from_be_bytes(at(raw, BASE_TIMESTAMP_AT)),
            max_timestamp: i64::from_be_bytes(at(raw, MAX_TIMESTAMP_AT)),
            producer_id: i64::from_be_bytes(at(raw, PRODUCER_ID_AT)),
            producer_epoch: i16::from_be_bytes(at(raw, PRODUCER_EPOCH_AT)),
            base_sequence: i32::from_be_bytes(at(raw, BASE_SEQUENCE_AT)),
            record_count: i32::from_be_bytes(at(raw, RECORD_COUNT_AT)),
        })
    }

    /// Writes the header as it stands, checksum and length included.
    pub fn write(&self, out: &mut [u8; HEADER_BYTES]) {
        out[..8].copy_from_slice(&self.base_offset.to_be_bytes());
        put(out, BATCH_LENGTH_AT, self.batch_length.to_be_bytes());
        put(out, LEADER_EPOCH_AT, self.partition_leader_epoch.to_be_bytes());
        put(out, MAGIC_AT, self.magic.to_be_bytes());
        put(out, CRC_AT, self.crc.to_be_bytes());
        put(out, ATTRIBUTES_AT, self.attributes.0.to_be_bytes());
        put(out, LAST_OFFSET_DELTA_AT, self.last_offset_delta.to_be_bytes());
        put(out, BASE_TIMESTAMP_AT, self.base_timestamp.to_be_bytes());
        put(out, MAX_TIMESTAMP_AT, self.max_timestamp.to_be_bytes());
        put(out, PRODUCER_ID_AT, self.producer_id.to_be_bytes());
        put(out, PRODUCER_EPOCH_AT, self.producer_epoch.to_be_bytes());
        put(out, BASE_SEQUENCE_AT, self.base_sequence.to_be_bytes());
        put(out, RECORD_COUNT_AT, self.record_count.to_be_bytes());
    }

    /// Size of the whole batch in bytes.
    pub fn size_bytes(&self) -> usize {
        LOG_OVERHEAD_BYTES + self.batch_length as usize
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> Offset {
        self.base_offset.saturating_add(self.last_offset_delta as i64)
    }

    /// The offset behind the last record.
    pub fn next_offset(&self) -> Offset {
        self.last_offset().saturating_add(1)
    }

    /// The codec; `None` for a number that stands for none.
    pub fn compression(&self) -> Option<Compression> {
        self.attributes.compression()
    }

    /// True when an idempotent or transactional producer sent it.
    pub fn has_producer_id(&self) -> bool {
        self.producer_id >= 0
    }

    /// Sequence number of the last record, which wraps from `i32::MAX` to 0; -1 when the batch has none.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return -1;
        }
        let last = self.base_sequence as i64 + self.last_offset_delta as i64;
        (last % (i32::MAX as i64 + 1)) as i32
    }
}

/// Where a batch came from, which decides what it must satisfy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A Produce request: every rule.
    Client {
        /// False for Produce below v7, which predates zstd (KIP-110).
        zstd_allowed: bool,
    },
    /// Built by this broker: as a client's, but control batches are allowed.
    Broker,
    /// Read from a log, ours or the leader's: offsets are assigned, compaction may have left gaps or nothing.
    Log,
}

/// Bytes that claim to hold batches.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RawBatch {
    bytes: Bytes,
}

impl RawBatch {
    /// Takes the bytes of one batch, unchecked.
    pub fn new(bytes: Bytes) -> RawBatch {
        RawBatch { bytes }
    }

    /// The bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The header, checked as [`BatchHeader::parse`] does.
    pub fn header(&self) -> Result<BatchHeader, BatchError> {
        BatchHeader::parse(&self.bytes)
    }

    /// Checks that the bytes are exactly one sound batch for its origin, checksum included. Records are not looked into: see `validate`.
    pub fn validate(self, origin: Origin) -> Result<ValidBatch, BatchError> {
        if self.bytes.is_empty() {
            return Err(BatchError::Empty);
        }
        let header = self.header()?;
        let size = header.size_bytes();
        if size > self.bytes.len() {
            return Err(BatchError::Truncated { needed: size, left: self.bytes.len() });
        }
        if size < self.bytes.len() {
            return Err(BatchError::NotOneBatch(self.bytes.len() - size));
        }
        // Before the rules: damage on the way is retriable, a rule broken is not.
        let computed = crc32c(&self.bytes[ATTRIBUTES_AT..]);
        if computed != header.crc {
            return Err(BatchError::Crc { stored: header.crc, computed });
        }
        match origin {
            Origin::Client { zstd_allowed } => check_client(&header, zstd_allowed)?,
            Origin::Broker => check_appended(&header)?,
            Origin::Log => check_logged(&header)?,
        }
        Ok(ValidBatch { bytes: self.bytes, header })
    }
}

/// The rules for anything that gets its offsets here.
fn check_appended(header: &BatchHeader) -> Result<(), BatchError> {
    if header.base_offset != 0 {
        return Err(BatchError::BaseOffset(header.base_offset));
    }
    let (count, delta) = (header.record_count, header.last_offset_delta);
    // As i64, so that a delta of i32::MAX cannot wrap to a negative count.
    if count <= 0 || delta as i64 + 1 != count as i64 {
        return Err(BatchError::Count { record_count: count, last_offset_delta: delta });
    }
    if header.compression().is_none() {
        return Err(codec_error(header));
    }
    let producer_error = BatchError::Producer {
        producer_id: header.producer_id,
        producer_epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
    };
    let is_marker = header.attributes.is_control();
    if header.has_producer_id() && (header.producer_epoch < 0 || (header.base_sequence < 0 && !is_marker)) {
        return Err(producer_error);
    }
    if !header.has_producer_id() && header.attributes.is_transactional() {
        return Err(producer_error);
    }
    Ok(())
}

fn check_client(header: &BatchHeader, zstd_allowed: bool) -> Result<(), BatchError> {
    if header.attributes.is_control() {
        return Err(BatchError::Control);
    }
    check_appended(header)?;
    if header.attributes.timestamp_type() == TimestampType::LogAppendTime {
        return Err(BatchError::TimestampType);
    }
    if header.attributes.has_delete_horizon() {
        return Err(BatchError::Attributes(header.attributes.0));
    }
    if header.compression() == Some(Compression::Zstd) && !zstd_allowed {
        return Err(codec_error(header));
    }
    Ok(())
}

fn check_logged(header: &BatchHeader) -> Result<(), BatchError> {
    let (count, delta) = (header.record_count, header.last_offset_delta);
    if count < 0 || delta < 0 || delta as i64 + 1 < count as i64 {
        return Err(BatchError::Count { record_count: count, last_offset_delta: delta });
    }
    if header.base_offset < 0 || header.base_offset.checked_add(delta as i64 + 1).is_none() {
        return Err(BatchError::BaseOffset(header.base_offset));
    }
    if header.compression().is_none() {
        return Err(codec_error(header));
    }
    Ok(())
}

fn codec_error(header: &BatchHeader) -> BatchError {
    BatchError::Codec((header.attributes.0 & 7) as u8)
}

/// Exactly one batch whose header, length and checksum hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ValidBatch {
    bytes: Bytes,
    header: BatchHeader,
}

impl ValidBatch {
    /// The header.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The whole batch.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The whole batch.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// Everything behind the header: the records, maybe compressed.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[HEADER_BYTES..]
    }

    /// Size in bytes, which is what `max.message.bytes` is compared with.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// Walks several batches in a row, as a log or a Fetch answer holds them. Each item shares the memory. A batch that is cut off at the end
/// comes out as [`BatchError::Truncated`]; after any error the walk is over.
#[derive(Clone, Debug)]
pub struct Batches {
    rest: Bytes,
}

impl Batches {
    /// Starts at the front of `bytes`.
    pub fn new(bytes: Bytes) -> Batches {
        Batches { rest: bytes }
    }

    /// Bytes not yet walked.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }
}

impl Iterator for Batches {
    type Item = Result<(BatchHeader, RawBatch), BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let header = match BatchHeader::parse(&self.rest) {
            Ok(header) if header.size_bytes() <= self.rest.len() => header,
            Ok(header) => {
                let left = std::mem::take(&mut self.rest).len();
                return Some(Err(BatchError::Truncated { needed: header.size_bytes(), left }));
            }
            Err(error) => {
                self.rest = Bytes::new();
                return Some(Err(error));
            }
        };
        let bytes = self.rest.split_to(header.size_bytes());
        Some(Ok((header, RawBatch { bytes })))
    }
}

/// Sets the base offset of the batch at the front of `batch`. The checksum does not cover it.
pub fn patch_base_offset(batch: &mut [u8], base_offset: Offset) {
    put(batch, 0, base_offset.to_be_bytes());
}

/// Sets the partition leader epoch of the batch at the front of `batch`. The checksum does not cover it.
pub fn patch_leader_epoch(batch: &mut [u8], leader_epoch: LeaderEpoch) {
    put(batch, LEADER_EPOCH_AT, leader_epoch.to_be_bytes());
}

/// Stamps a batch with the broker's time: sets `LogAppendTime` and the max timestamp, and renews the checksum. `batch` is exactly one batch.
pub fn patch_log_append_time(batch: &mut [u8], now_ms: i64) {
    let attributes = Attributes(i16::from_be_bytes(at(batch, ATTRIBUTES_AT))).with_timestamp_type(TimestampType::LogAppendTime);
    put(batch, ATTRIBUTES_AT, attributes.0.to_be_bytes());
    patch_max_timestamp(batch, now_ms);
}

/// Sets the max timestamp and renews the checksum. `batch` is exactly one batch.
pub fn patch_max_timestamp(batch: &mut [u8], max_timestamp_ms: i64) {
    put(batch, MAX_TIMESTAMP_AT, max_timestamp_ms.to_be_bytes());
    patch_crc(batch);
}

/// Renews the checksum of exactly one batch.
pub fn patch_crc(batch: &mut [u8]) {
    let crc = crc32c(&batch[ATTRIBUTES_AT..]);
    put(batch, CRC_AT, crc.to_be_bytes());
}

#[inline]
fn at<const N: usize>(bytes: &[u8], position: usize) -> [u8; N] {
    *bytes[position..].first_chunk::<N>().expect("the header is as long as its fields")
}

#[inline]
fn put<const N: usize>(bytes: &mut [u8], position: usize, value: [u8; N]) {
    bytes[position..position + N].copy_from_slice(&value);
}
