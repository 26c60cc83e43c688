//! Record batches of `__consumer_offsets`: records in, bytes out, and back.

use bytes::{Bytes, BytesMut};
use kafka_protocol::records::{
    Compression, Record as WireRecord, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};

use super::record::{Decoded, Record, RecordError};

/// Key and value of a record as bytes; no value for a tombstone.
pub(super) type Encoded = (Bytes, Option<Bytes>);

/// What a batch of the log held beside the records that we understand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Skipped {
    /// Records of other kinds of groups.
    pub(super) unknown: usize,
    /// Records that do not decode.
    pub(super) malformed: usize,
}

/// Bytes that a record takes in a batch, at most.
pub(super) fn size_bytes(record: &Encoded) -> usize {
    const FRAMING_BYTES_MAX: usize = 32;
    record.0.len() + record.1.as_ref().map_or(0, Bytes::len) + FRAMING_BYTES_MAX
}

/// One batch (magic 2, base offset 0, uncompressed) with the wall clock as its timestamp.
pub(super) fn encode(records: &[Encoded], wall_ms: i64) -> Result<Bytes, String> {
    let record = |(n, (key, value)): (usize, &Encoded)| WireRecord {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: -1,
        producer_epoch: -1,
        timestamp_type: TimestampType::Creation,
        offset: n as i64,
        sequence: -1,
        timestamp: wall_ms,
        key: Some(key.clone()),
        value: value.clone(),
        headers: Default::default(),
    };
    let records: Vec<WireRecord> = records.iter().enumerate().map(record).collect();
    let mut out = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut out, records.iter(), &options).map_err(|error| error.to_string())?;
    Ok(out.freeze())
}

/// The records of one batch of the log. A record that we cannot read is skipped and counted, so that one of them does not keep
/// a whole partition of groups from loading.
pub(super) fn decode(batch: &Bytes, skipped: &mut Skipped) -> Result<Vec<Record>, String> {
    let set = RecordBatchDecoder::decode(&mut batch.clone()).map_err(|error| error.to_string())?;
    let mut records = Vec::new();
    for record in set.records.iter().filter(|record| !record.control) {
        match read(record.key.as_deref(), record.value.as_deref()) {
            Ok(Decoded::Known(record)) => records.push(record),
            Ok(Decoded::Unknown(_)) => skipped.unknown += 1,
            Err(_) => skipped.malformed += 1,
        }
    }
    Ok(records)
}

fn read(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Decoded, RecordError> {
    Record::decode(key.ok_or(RecordError::UnexpectedNull)?, value)
}
