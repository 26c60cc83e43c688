//! Deep validation: what can only be known by decompressing a batch and reading its records.
//!
//! Record count and consecutive offset deltas, keys where the topic is compacted, timestamps within the topic's bounds, the true max
//! timestamp. It costs CPU, so the broker runs it where the topic asks for it. One scratch buffer serves every batch; nothing is allocated per
//! record. Callers: the produce path, lookup of offsets by timestamp.

use super::attributes::{Compression, TimestampType};
use super::batch::{BatchHeader, HEADER_BYTES, ValidBatch};
use super::compression::{self, CompressionError};
use super::iter::{MIN_RECORD_BYTES, Record, Records};
use crate::decode::{DecodeError, DecodeErrorKind, Decoder};
use crate::error_code::ErrorCode;
use crate::varint;

/// The most records at fault that one error lists.
pub const MAX_FAULTS: usize = 100;

/// What the topic demands of records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordRules {
    /// The most bytes the records may take once decompressed.
    pub max_decompressed_bytes: usize,
    /// True when every record needs a key: compacted topics.
    pub keys_required: bool,
    /// Bounds on `CreateTime`; `None` when the topic uses `LogAppendTime`, which overwrites whatever came.
    pub timestamps: Option<TimestampBounds>,
}

/// How far a record's timestamp may lie from now, in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimestampBounds {
    /// Now, milliseconds since 1970.
    pub now_ms: i64,
    /// `message.timestamp.before.max.ms`; `i64::MAX` for no bound.
    pub before_max_ms: i64,
    /// `message.timestamp.after.max.ms`; `i64::MAX` for no bound (KIP-1030: one hour by default).
    pub after_max_ms: i64,
}

impl TimestampBounds {
    /// True when a record may carry this timestamp. -1, "no timestamp", always may.
    pub fn allow(&self, timestamp_ms: i64) -> bool {
        timestamp_ms == -1
            || (timestamp_ms >= self.now_ms.saturating_sub(self.before_max_ms)
                && timestamp_ms <= self.now_ms.saturating_add(self.after_max_ms))
    }
}

/// What the records turned out to hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordSummary {
    /// Largest timestamp of all records. When it differs from the header's, the header is to be patched before the append.
    pub max_timestamp: i64,
    /// Offset delta of the first record that carries it.
    pub max_timestamp_delta: i32,
    /// Size of the records once decompressed.
    pub decompressed_bytes: usize,
}

/// What is wrong with the records of a batch.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    /// The payload could not be decompressed.
    #[error(transparent)]
    Compression(#[from] CompressionError),
    /// A record is malformed.
    #[error("record {index}: {error}")]
    Malformed {
        /// Number of the record within the batch.
        index: i32,
        /// What was wrong, at which byte of the decompressed payload.
        error: DecodeError,
    },
    /// Offset deltas are not 0, 1, 2, ...
    #[error("record {index} has offset delta {offset_delta}")]
    OffsetDelta {
        /// Number of the record within the batch.
        index: i32,
        /// As it stands in the record.
        offset_delta: i32,
    },
    /// Records without a key in a compacted topic: their numbers within the batch, at most [`MAX_FAULTS`].
    #[error("{} records without a key in a compacted topic", .0.len())]
    MissingKey(Vec<i32>),
    /// Records with timestamps out of bounds: their numbers within the batch, at most [`MAX_FAULTS`].
    #[error("{} records with a timestamp out of bounds", .0.len())]
    Timestamp(Vec<i32>),
}

impl RecordsError {
    /// The Kafka error code that the producer gets. None of them is retriable: the checksum held, so the same bytes would come again.
    pub fn error_code(&self) -> ErrorCode {
        match self {
            RecordsError::Compression(error) => error.error_code(),
            RecordsError::Malformed { .. } | RecordsError::OffsetDelta { .. } | RecordsError::MissingKey(_) => ErrorCode::InvalidRecord,
            RecordsError::Timestamp(_) => ErrorCode::InvalidTimestamp,
        }
    }

    /// Numbers of the records at fault, for the answer's record errors (KIP-467).
    pub fn faults(&self) -> &[i32] {
        match self {
            RecordsError::MissingKey(faults) | RecordsError::Timestamp(faults) => faults,
            RecordsError::OffsetDelta { index, .. } | RecordsError::Malformed { index, .. } => std::slice::from_ref(index),
            RecordsError::Compression(_) => &[],
        }
    }
}

/// The records of a batch, decompressed into `scratch` if need be, at most `limit` bytes of them. `batch` is the whole batch; its header must
/// have been parsed from it.
pub fn records<'a>(header: &BatchHeader, batch: &'a [u8], limit: usize, scratch: &'a mut Vec<u8>) -> Result<Records<'a>, RecordsError> {
    let payload = &batch[HEADER_BYTES..];
    let malformed = |error| RecordsError::Malformed { index: 0, error };
    match header.compression() {
        Some(Compression::None) => Records::new(payload, header.record_count).map_err(malformed),
        Some(codec) => {
            scratch.clear();
            compression::decompress(codec, payload, limit, scratch)?;
            Records::new(scratch, header.record_count).map_err(malformed)
        }
        None => Err(malformed(DecodeError { at: 0, kind: DecodeErrorKind::BadLength(header.attributes.0 as i64) })),
    }
}

/// Reads every record of a batch and holds it against the rules.
pub fn validate(batch: &ValidBatch, rules: &RecordRules, scratch: &mut Vec<u8>) -> Result<RecordSummary, RecordsError> {
    let header = batch.header();
    let mut records = records(header, batch.bytes(), rules.max_decompressed_bytes, scratch)?;
    let mut summary = RecordSummary { max_timestamp: i64::MIN, max_timestamp_delta: 0, decompressed_bytes: 0 };
    let mut missing_keys = Vec::new();
    let mut bad_timestamps = Vec::new();
    let mut index = 0;
    while let Some(record) = records.next() {
        let record = record.map_err(|error| RecordsError::Malformed { index, error })?;
        if record.offset_delta != index {
            return Err(RecordsError::OffsetDelta { index, offset_delta: record.offset_delta });
        }
        let timestamp = timestamp_of(header, &record);
        if timestamp > summary.max_timestamp {
            summary.max_timestamp = timestamp;
            summary.max_timestamp_delta = record.offset_delta;
        }
        if rules.keys_required && record.key.is_none() && missing_keys.len() < MAX_FAULTS {
            missing_keys.push(index);
        }
        if rules.timestamps.is_some_and(|bounds| !bounds.allow(timestamp)) && bad_timestamps.len() < MAX_FAULTS {
            bad_timestamps.push(index);
        }
        summary.decompressed_bytes = records.position();
        index += 1;
    }
    if !missing_keys.is_empty() {
        return Err(RecordsError::MissingKey(missing_keys));
    }
    if !bad_timestamps.is_empty() {
        return Err(RecordsError::Timestamp(bad_timestamps));
    }
    Ok(summary)
}

/// Checks that the payload of an uncompressed batch is cut into as many records as its header says, and tells the smallest and the
/// greatest of their timestamps (milliseconds since 1970): the front of each record is read, some nanoseconds each. Offset deltas may be any,
/// as Kafka takes them. A batch that fails this would stop every consumer that meets it. `None`: compressed, nothing was looked at.
pub fn check_fronts(batch: &ValidBatch) -> Result<Option<(i64, i64)>, RecordsError> {
    let header = batch.header();
    if header.compression() != Some(Compression::None) {
        return Ok(None);
    }
    let payload = batch.payload();
    let malformed = |index, at, kind| Err(RecordsError::Malformed { index, error: DecodeError { at, kind } });
    let (mut at, mut least, mut greatest) = (0, i64::MAX, i64::MIN);
    for index in 0..header.record_count {
        let Ok((zigzag, taken)) = varint::read_u32(&payload[at..]) else {
            return malformed(index, at, DecodeErrorKind::BadLength(0));
        };
        let length = i64::from(zigzag >> 1) ^ -i64::from(zigzag & 1);
        let end = (at + taken) as i64 + length;
        if length < MIN_RECORD_BYTES as i64 - 1 || end > payload.len() as i64 {
            return malformed(index, at, DecodeErrorKind::BadLength(length));
        }
        let mut front = Decoder::new(&payload[at + taken + 1..end as usize]);
        match (front.varlong(), front.varint()) {
            (Ok(timestamp_delta), Ok(_)) => {
                let timestamp = header.base_timestamp.wrapping_add(timestamp_delta);
                least = least.min(timestamp);
                greatest = greatest.max(timestamp);
            }
            (Err(error), _) | (_, Err(error)) => return malformed(index, at + taken + 1 + error.at, error.kind),
        }
        at = end as usize;
    }
    if at < payload.len() { malformed(header.record_count, at, DecodeErrorKind::BadLength(0)) } else { Ok(Some((least, greatest))) }
}

/// The timestamp of a record in milliseconds since 1970, as consumers see it.
pub fn timestamp_of(header: &BatchHeader, record: &Record<'_>) -> i64 {
    match header.attributes.timestamp_type() {
        TimestampType::LogAppendTime => header.max_timestamp,
        TimestampType::CreateTime => header.base_timestamp.wrapping_add(record.timestamp_delta),
    }
}
