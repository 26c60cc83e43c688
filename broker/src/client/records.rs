//! Records out of fetched batches: decompressed, control batches and aborted transactions left out, nothing below the wanted offset.

use std::collections::BTreeSet;

use bytes::Bytes;
use coreline_wire::record::batch::{BatchError, BatchHeader, Batches};
use coreline_wire::record::control::ControlType;
use coreline_wire::record::validate;
use coreline_wire::record::{Origin, Record, TimestampType};

use super::BATCH_BYTES_MAX;

/// One record as it was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fetched<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// Milliseconds since 1970.
    pub(crate) timestamp: i64,
    /// True when the broker set the timestamp.
    pub(crate) append_time: bool,
    pub(crate) leader_epoch: i32,
    /// -1 for none.
    pub(crate) producer_id: i64,
    /// -1 for none.
    pub(crate) producer_epoch: i16,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: Vec<(&'a str, Option<&'a [u8]>)>,
}

/// Whether more records are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// Yes.
    More,
    /// No; the one just given was taken.
    Enough,
    /// No; and the one just given was not taken.
    NotThis,
}

/// Aborted transactions of one Fetch answer: producer and first offset.
pub(super) type Aborted = Vec<(i64, i64)>;

/// Walks the batches and gives each record from `from` on. Returns the offset to go on from. `aborted` is empty when uncommitted data are wanted.
pub(super) fn walk<E>(
    bytes: Bytes,
    topic: &str,
    partition: i32,
    from: i64,
    mut aborted: Aborted,
    scratch: &mut Vec<u8>,
    mut each: impl FnMut(&Fetched<'_>) -> Result<Want, E>,
) -> Result<(i64, Want), WalkError<E>> {
    aborted.sort_by_key(|(_, first)| std::cmp::Reverse(*first));
    let mut open: BTreeSet<i64> = BTreeSet::new();
    let mut next = from;
    for batch in Batches::new(bytes) {
        let (header, raw) = match batch {
            Ok(batch) => batch,
            // The last batch of an answer may be cut.
            Err(BatchError::Truncated { .. }) => break,
            Err(error) => return Err(WalkError::Batch { topic: topic.to_string(), partition, offset: next, why: error.to_string() }),
        };
        let wrong = |why: String| WalkError::Batch { topic: topic.to_string(), partition, offset: header.base_offset, why };
        let batch = raw.validate(Origin::Log).map_err(|e| wrong(e.to_string()))?;
        while aborted.last().is_some_and(|(_, first)| *first <= header.last_offset()) {
            open.extend(aborted.pop().map(|(producer, _)| producer));
        }
        let records = validate::records(&header, batch.bytes(), BATCH_BYTES_MAX, scratch).map_err(|e| wrong(e.to_string()))?;
        if header.attributes.is_control() {
            for record in records {
                let record = record.map_err(|e| wrong(e.to_string()))?;
                if record.key.is_some_and(|key| ControlType::parse(key) == Ok(ControlType::Abort)) {
                    open.remove(&header.producer_id);
                }
            }
        } else if !(header.attributes.is_transactional() && open.contains(&header.producer_id)) {
            for record in records {
                let record = record.map_err(|e| wrong(e.to_string()))?;
                let offset = header.base_offset + i64::from(record.offset_delta);
                if offset < from {
                    continue;
                }
                match each(&fetched(&header, &record, topic, partition, offset)).map_err(WalkError::Each)? {
                    Want::More => next = offset + 1,
                    Want::Enough => return Ok((offset + 1, Want::Enough)),
                    Want::NotThis => return Ok((offset, Want::NotThis)),
                }
            }
        }
        next = next.max(header.next_offset());
    }
    Ok((next, Want::More))
}

/// Why a walk ended early.
#[derive(Debug)]
pub(super) enum WalkError<E> {
    /// A batch is not sound.
    Batch { topic: String, partition: i32, offset: i64, why: String },
    /// Whoever took the records failed.
    Each(E),
}

fn fetched<'a>(header: &BatchHeader, record: &Record<'a>, topic: &'a str, partition: i32, offset: i64) -> Fetched<'a> {
    let append_time = header.attributes.timestamp_type() == TimestampType::LogAppendTime;
    Fetched {
        topic,
        partition,
        offset,
        timestamp: validate::timestamp_of(header, record),
        append_time,
        leader_epoch: header.partition_leader_epoch,
        producer_id: header.producer_id,
        producer_epoch: header.producer_epoch,
        key: record.key,
        value: record.value,
        headers: record.headers.iter().map(|h| (h.key, h.value)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coreline_wire::record::control::EndTransactionMarker;
    use coreline_wire::record::{BatchBuilder, Compression};

    fn batch(base: i64, values: &[&str], change: impl FnOnce(BatchBuilder) -> BatchBuilder) -> Vec<u8> {
        let mut builder = change(BatchBuilder::new().base_offset(base));
        for (i, value) in values.iter().enumerate() {
            builder.push(1000 + i as i64, None, Some(value.as_bytes()), &[("h", None)]);
        }
        builder.build().expect("built").to_vec()
    }

    fn values(bytes: Vec<u8>, from: i64, aborted: Aborted, limit: usize) -> (i64, Vec<String>) {
        let mut seen = Vec::new();
        let (next, _) = walk::<()>(Bytes::from(bytes), "t", 0, from, aborted, &mut Vec::new(), |r| {
            seen.push(format!("{}={}", r.offset, String::from_utf8_lossy(r.value.unwrap_or_default())));
            Ok(if seen.len() == limit { Want::Enough } else { Want::More })
        })
        .expect("sound");
        (next, seen)
    }

    #[test]
    fn records_come_out_of_every_codec_from_the_wanted_offset_on() {
        for codec in [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
            let mut bytes = batch(10, &["a", "b", "c"], |b| b.compression(codec, None));
            bytes.extend(batch(20, &["d"], |b| b));
            let cut = bytes.len() - 1;
            assert_eq!(values(bytes.clone(), 11, vec![], 9), (21, vec!["11=b".into(), "12=c".into(), "20=d".into()]));
            assert_eq!(values(bytes.clone(), 0, vec![], 2), (12, vec!["10=a".into(), "11=b".into()]));
            assert_eq!(values(bytes[..cut].to_vec(), 0, vec![], 9).0, 13, "a cut batch is for the next fetch");
        }
    }

    #[test]
    fn aborted_transactions_and_markers_are_left_out() {
        let transaction = |base, value, id| batch(base, &[value], |b| b.producer(id, 0, 0).transactional());
        let marker = |base: i64, id, committed| {
            let marker = EndTransactionMarker { committed, coordinator_epoch: 0 };
            let mut bytes = marker.batch(id, 0, 1).to_vec();
            coreline_wire::record::batch::patch_base_offset(&mut bytes, base);
            bytes
        };
        let mut bytes = transaction(0, "aborted", 7);
        bytes.extend(transaction(1, "other", 8));
        bytes.extend(marker(2, 7, false));
        bytes.extend(transaction(3, "again", 7));
        bytes.extend(marker(4, 7, true));
        assert_eq!(values(bytes.clone(), 0, vec![(7, 0)], 9), (5, vec!["1=other".into(), "3=again".into()]));
        assert_eq!(values(bytes, 0, vec![], 9).1.len(), 3, "uncommitted reading sees them all, but no markers");
    }

    #[test]
    fn a_damaged_batch_is_an_error_that_says_where() {
        let mut bytes = batch(10, &["a"], |b| b);
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        let result = walk::<()>(Bytes::from(bytes), "t", 3, 0, vec![], &mut Vec::new(), |_| Ok(Want::More));
        assert!(matches!(result, Err(WalkError::Batch { partition: 3, offset: 10, .. })));
    }
}
