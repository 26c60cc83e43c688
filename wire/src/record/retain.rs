//! Rewrites a batch with only some of its records, as compaction leaves it: offsets, sequences and the last offset stay, so there are gaps.
//!
//! Records that stay are copied as they are; only a delete horizon, which takes the place of the base timestamp (KIP-534, attribute bit 6), makes their
//! timestamp deltas new. Caller: `storage compaction/filter.rs`, which decides what stays.

use super::attributes::TimestampType;
use super::batch::{self, BatchHeader, HEADER_BYTES, LOG_OVERHEAD_BYTES};
use super::compression::{self, CompressionError};
use super::iter::Record;
use super::validate::timestamp_of;
use super::{Attributes, Compression};
use crate::decode::{DecodeError, Decoder};
use crate::encode::Sink;
use crate::varint;

/// Time after which tombstones and markers of the batch may go, ms since 1970; `None` when no compaction has met it yet.
pub fn delete_horizon_ms(header: &BatchHeader) -> Option<i64> {
    header.attributes.has_delete_horizon().then_some(header.base_timestamp)
}

/// A batch under rewriting: give it the records that stay, in order.
#[derive(Debug)]
pub struct Rewriter {
    header: BatchHeader,
    records: Vec<u8>,
}

impl Rewriter {
    /// Begins the rewriting of a batch; with `horizon_ms` the batch gets that delete horizon.
    pub fn new(header: &BatchHeader, horizon_ms: Option<i64>) -> Rewriter {
        let mut header = *header;
        if let Some(horizon_ms) = horizon_ms {
            header.base_timestamp = horizon_ms;
            header.attributes = header.attributes.with_delete_horizon(true);
        }
        header.record_count = 0;
        if header.attributes.timestamp_type() == TimestampType::CreateTime {
            header.max_timestamp = i64::MIN;
        }
        Rewriter { header, records: Vec::new() }
    }

    /// Adds a record. `of` is the header it was read with, `raw` its bytes with their length in front.
    pub fn push(&mut self, of: &BatchHeader, record: &Record<'_>, raw: &[u8]) -> Result<(), DecodeError> {
        let timestamp_ms = timestamp_of(of, record);
        if of.base_timestamp == self.header.base_timestamp {
            self.records.extend_from_slice(raw);
        } else {
            let mut d = Decoder::new(raw);
            d.varint()?;
            let attributes = d.i8()?;
            d.varlong()?;
            let rest = d.rest();
            let delta = of.base_timestamp.wrapping_add(record.timestamp_delta).wrapping_sub(self.header.base_timestamp);
            let body = 1 + varint::len_u64(varint::unzigzag_i64(delta)) + rest.len();
            self.records.varint(body as i32);
            self.records.i8(attributes);
            self.records.varlong(delta);
            self.records.put(rest);
        }
        self.header.max_timestamp = self.header.max_timestamp.max(timestamp_ms);
        self.header.record_count += 1;
        Ok(())
    }

    /// Records so far.
    pub fn record_count(&self) -> i32 {
        self.header.record_count
    }

    /// Appends the batch to `out`, compressed as it was. There must be a record in it.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<(), CompressionError> {
        assert!(self.header.record_count > 0, "a batch without records is written by `empty`");
        let start = out.len();
        out.resize(start + HEADER_BYTES, 0);
        match self.header.compression() {
            Some(Compression::None) | None => out.extend_from_slice(&self.records),
            Some(codec) => compression::compress(codec, None, &self.records, out)?,
        }
        seal(&mut self.header, &mut out[start..]);
        Ok(())
    }
}

/// Appends the batch without any record: what stays to remember its producer's last sequence.
pub fn empty(header: &BatchHeader, out: &mut Vec<u8>) {
    let kept = header.attributes;
    let attributes = Attributes::default()
        .with_timestamp_type(kept.timestamp_type())
        .with_transactional(kept.is_transactional())
        .with_control(kept.is_control());
    let mut header = BatchHeader { attributes, base_timestamp: -1, record_count: 0, ..*header };
    let start = out.len();
    out.resize(start + HEADER_BYTES, 0);
    seal(&mut header, &mut out[start..]);
}

fn seal(header: &mut BatchHeader, batch: &mut [u8]) {
    header.batch_length = i32::try_from(batch.len() - LOG_OVERHEAD_BYTES).expect("a part of a batch is below 2 GiB, as the batch was");
    let front = batch.first_chunk_mut::<HEADER_BYTES>().expect("room for the header was made");
    header.write(front);
    batch::patch_crc(batch);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::batch::{Origin, RawBatch, ValidBatch};
    use crate::record::validate::records;
    use crate::record::{BatchBuilder, Records};
    use bytes::Bytes;

    fn five(codec: Compression) -> ValidBatch {
        let mut b = BatchBuilder::new().base_offset(100).leader_epoch(3).producer(7, 1, 40).compression(codec, None);
        for i in 0..5i64 {
            let key = format!("k{i}");
            b.push(1_000 - i * 10, Some(key.as_bytes()), (i != 2).then_some(b"value"), &[("h", Some(b"x"))]);
        }
        RawBatch::new(b.build().unwrap()).validate(Origin::Log).unwrap()
    }

    fn rewrite(batch: &ValidBatch, keep: &[usize], horizon: Option<i64>) -> ValidBatch {
        let mut scratch = Vec::new();
        let header = batch.header();
        let payload = match header.compression() {
            Some(Compression::None) => batch.payload(),
            Some(codec) => {
                compression::decompress(codec, batch.payload(), 1 << 20, &mut scratch).unwrap();
                &scratch
            }
            None => unreachable!(),
        };
        let mut rewriter = Rewriter::new(header, horizon);
        let mut all = Records::new(payload, header.record_count).unwrap();
        let mut at = 0;
        for index in 0.. {
            let Some(record) = all.next() else { break };
            let record = record.unwrap();
            if keep.contains(&index) {
                rewriter.push(header, &record, &payload[at..all.position()]).unwrap();
            }
            at = all.position();
        }
        let mut out = vec![9];
        rewriter.finish(&mut out).unwrap();
        RawBatch::new(Bytes::from(out).slice(1..)).validate(Origin::Log).unwrap()
    }

    fn content(batch: &ValidBatch) -> Vec<(i64, i64, Option<String>, bool)> {
        let mut scratch = Vec::new();
        let header = batch.header();
        records(header, batch.bytes(), 1 << 20, &mut scratch)
            .unwrap()
            .map(|r| {
                let r = r.unwrap();
                let key = r.key.map(|k| String::from_utf8(k.to_vec()).unwrap());
                (header.base_offset + i64::from(r.offset_delta), timestamp_of(header, &r), key, r.value.is_some())
            })
            .collect()
    }

    #[test]
    fn what_stays_keeps_its_offset_time_and_bytes() {
        for codec in Compression::ALL {
            let batch = five(codec);
            for horizon in [None, Some(5_000_000), Some(-3)] {
                let kept = rewrite(&batch, &[1, 2, 4], horizon);
                let expected: Vec<_> = content(&batch).into_iter().filter(|r| [101, 102, 104].contains(&r.0)).collect();
                assert_eq!(content(&kept), expected, "{codec:?} {horizon:?}");
                let (old, new) = (batch.header(), kept.header());
                assert_eq!((new.base_offset, new.last_offset(), new.record_count), (100, 104, 3));
                assert_eq!((new.producer_id, new.producer_epoch, new.base_sequence), (7, 1, 40));
                assert_eq!(new.last_sequence(), old.last_sequence());
                assert_eq!((new.max_timestamp, new.compression()), (990, Some(codec)));
                assert_eq!(delete_horizon_ms(new), horizon);
            }
        }
    }

    #[test]
    fn a_second_horizon_is_read_back_from_the_first() {
        let once = rewrite(&five(Compression::None), &[0, 2], Some(77));
        let twice = rewrite(&once, &[0], None);
        assert_eq!(delete_horizon_ms(twice.header()), Some(77));
        assert_eq!(content(&twice), [(100, 1_000, Some("k0".to_owned()), true)]);
    }

    #[test]
    fn an_empty_batch_remembers_offsets_and_sequences() {
        let batch = five(Compression::Zstd);
        let mut out = Vec::new();
        empty(batch.header(), &mut out);
        let kept = RawBatch::new(out.into()).validate(Origin::Log).unwrap();
        let header = kept.header();
        assert_eq!((header.base_offset, header.last_offset(), header.record_count, header.last_sequence()), (100, 104, 0, 44));
        assert_eq!((header.max_timestamp, header.compression(), kept.size_bytes()), (1_000, Some(Compression::None), HEADER_BYTES));
        assert!(content(&kept).is_empty());
    }
}
