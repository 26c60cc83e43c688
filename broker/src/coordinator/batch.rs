//! Record batches of `__consumer_offsets`: records in, bytes out, and back. Any codec both ways.

use std::borrow::Cow;

use bytes::Bytes;
use coreline_wire::record::batch::HEADER_BYTES;
use coreline_wire::record::compression::{self, CompressionError};
use coreline_wire::record::{BatchBuilder, BatchError, Batches, Compression, Origin, Records, ValidBatch};

use super::record::{Decoded, Record, RecordError};

/// Key and value of a record as bytes; no value for a tombstone.
pub(super) type Encoded = (Bytes, Option<Bytes>);

/// What a batch of the log held beside the records that we understand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Skipped {
    /// Records of other kinds of groups, and of transactions.
    pub(super) unknown: usize,
    /// Records that do not decode.
    pub(super) malformed: usize,
}

/// Why a batch of the log cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("{0}")]
    Batch(#[from] BatchError),
    #[error("{0}")]
    Compression(#[from] CompressionError),
    #[error("{0}")]
    Records(#[from] coreline_wire::decode::DecodeError),
}

/// The most that a batch of this topic may come to when it is decompressed; the largest batch that a log takes is far below.
const DECOMPRESSED_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Bytes that a record takes in a batch, at most.
pub(super) fn size_bytes(record: &Encoded) -> usize {
    const FRAMING_BYTES_MAX: usize = 32;
    record.0.len() + record.1.as_ref().map_or(0, Bytes::len) + FRAMING_BYTES_MAX
}

/// One batch (magic 2, base offset 0) with the wall clock as its timestamp. `records` is not empty.
pub(super) fn encode(records: &[Encoded], codec: Compression, wall_ms: i64) -> Result<Bytes, CompressionError> {
    let size: usize = HEADER_BYTES + records.iter().map(size_bytes).sum::<usize>();
    let mut batch = BatchBuilder::new().capacity(size).compression(codec, None);
    for (key, value) in records {
        batch.push(wall_ms, Some(key), value.as_deref(), &[]);
    }
    batch.build()
}

/// The records of a run of whole batches of the log, behind those that `records` holds. A record that we cannot read is skipped and
/// counted, so that one of them does not keep a whole partition of groups from loading; so are those of transactions, which do not
/// count before their marker. With an error, `records` has what came before it.
pub(super) fn decode(batches: &Bytes, records: &mut Vec<Record>, skipped: &mut Skipped) -> Result<(), ReadError> {
    for batch in Batches::new(batches.clone()) {
        let (_, raw) = batch?;
        let batch = raw.validate(Origin::Log)?;
        let count = batch.header().record_count;
        if batch.header().attributes.is_control() {
            continue;
        }
        if batch.header().attributes.is_transactional() {
            skipped.unknown += usize::try_from(count).unwrap_or(0);
            continue;
        }
        let payload = payload(&batch)?;
        for record in Records::new(&payload, count)? {
            let record = record?;
            match read(record.key, record.value) {
                Ok(Decoded::Known(record)) => records.push(record),
                Ok(Decoded::Unknown(_)) => skipped.unknown += 1,
                Err(_) => skipped.malformed += 1,
            }
        }
    }
    Ok(())
}

fn payload(batch: &ValidBatch) -> Result<Cow<'_, [u8]>, ReadError> {
    match batch.header().compression() {
        None | Some(Compression::None) => Ok(Cow::Borrowed(batch.payload())),
        Some(codec) => {
            let mut out = Vec::new();
            compression::decompress(codec, batch.payload(), DECOMPRESSED_BYTES_MAX, &mut out)?;
            Ok(Cow::Owned(out))
        }
    }
}

fn read(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Decoded, RecordError> {
    Record::decode(key.ok_or(RecordError::UnexpectedNull)?, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(group: &str) -> Record {
        Record::Group { group: group.into(), value: None }
    }

    #[test]
    fn several_batches_in_a_row_and_compressed_ones_are_read() {
        let (key, _) = record("zipped").encode().expect("encodes");
        for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
            let plain = encode(&[record("a").encode().expect("encodes"), record("b").encode().expect("encodes")], Compression::None, 7)
                .expect("builds");
            let mut zipped = BatchBuilder::new().compression(codec, None);
            zipped.push(7, Some(&key), None, &[]);
            let both = [plain, zipped.build().expect("builds")].concat();
            let mut skipped = Skipped::default();
            let mut records = Vec::new();
            decode(&Bytes::from(both), &mut records, &mut skipped).expect("reads");
            assert_eq!(records, [record("a"), record("b"), record("zipped")], "{codec:?}");
            assert_eq!(skipped, Skipped::default());
        }
    }

    #[test]
    fn what_a_transaction_wrote_is_passed_over() {
        let (key, _) = record("g").encode().expect("encodes");
        let mut batch = BatchBuilder::new().producer(1, 0, 0).transactional();
        batch.push(7, Some(&key), None, &[]);
        let mut skipped = Skipped::default();
        let mut records = Vec::new();
        decode(&batch.build().expect("builds"), &mut records, &mut skipped).expect("reads");
        assert_eq!((records, skipped), (Vec::new(), Skipped { unknown: 1, malformed: 0 }));
    }

    #[test]
    fn damage_is_an_error() {
        let batch = encode(&[record("g").encode().expect("encodes")], Compression::None, 7).expect("builds");
        for at in 0..batch.len() {
            let mut damaged = batch.to_vec();
            damaged[at] ^= 0x40;
            // Only the base offset and the leader epoch lie outside the checksum.
            let harmless = at < 8 || (12..16).contains(&at);
            let is_ok = |bytes: Bytes| decode(&bytes, &mut Vec::new(), &mut Skipped::default()).is_ok();
            assert_eq!(is_ok(Bytes::from(damaged)), harmless, "byte {at}");
            assert!(at == 0 || !is_ok(batch.slice(..at)), "cut at {at}");
        }
    }
}
