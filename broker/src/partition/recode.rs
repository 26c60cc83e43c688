//! What a topic's configuration asks of a batch's content before it is placed: keys on compacted topics, timestamps within bounds,
//! one codec for all batches.
//!
//! A batch that needs none of it is not decompressed as Kafka does with every batch, and its bytes are kept as they came; of uncompressed
//! ones the front of each record is checked. Records are read for compacted topics, when the header's timestamps are out of bounds (to
//! name the records), and when the codec has to change. It runs on the shard, since the order of a producer's batches hangs on it. Called by `append.rs`. Pure.

use bytes::BytesMut;
use coreline_storage::config::TimestampType;
use coreline_wire::record::attributes::Compression;
use coreline_wire::record::batch::{Origin, RawBatch, ValidBatch, patch_max_timestamp};
use coreline_wire::record::builder::{BatchBuilder, HeaderPair};
use coreline_wire::record::validate::{self, RecordRules, RecordsError, TimestampBounds};

use super::PartitionConfig;
use super::request::Produced;

/// A batch may always grow to this many bytes when it is decompressed.
const DECOMPRESSED_BYTES_FLOOR: usize = 64 << 20;
/// Beyond the floor it may grow by this factor.
const DECOMPRESSED_FACTOR: usize = 8;

/// The batch as it is to be appended, or why it is refused.
pub fn prepare(batch: ValidBatch, config: &PartitionConfig, now_ms: i64) -> Result<ValidBatch, Produced> {
    let header = batch.header();
    let bounds = (config.log.timestamp_type == TimestampType::CreateTime).then_some(TimestampBounds {
        now_ms,
        before_max_ms: config.log.timestamp_before_max_ms,
        after_max_ms: config.log.timestamp_after_max_ms,
    });
    let fronts = validate::check_fronts(&batch).map_err(|error| Produced::failed(error.error_code(), Some(error.to_string())))?;
    // Some producers write a greatest timestamp that is not: lookups by time rest on it, so it is put right (as Kafka does).
    let (least, greatest) = fronts.unwrap_or((header.base_timestamp, header.max_timestamp));
    let out_of_bounds = bounds.is_some_and(|b| !b.allow(least) || !b.allow(greatest));
    let codec = config.compression.filter(|&codec| header.compression() != Some(codec));
    if !config.log.cleanup_policy.compact && !out_of_bounds && codec.is_none() {
        return with_max_timestamp(batch, greatest, config);
    }
    let limit = batch.size_bytes().saturating_mul(DECOMPRESSED_FACTOR).max(DECOMPRESSED_BYTES_FLOOR);
    let rules = RecordRules { max_decompressed_bytes: limit, keys_required: config.log.cleanup_policy.compact, timestamps: bounds };
    let mut scratch = Vec::new();
    let summary = validate::validate(&batch, &rules, &mut scratch).map_err(|error| refuse(&error))?;
    match codec {
        Some(codec) => recompress(&batch, (codec, config.compression_level), limit, &mut scratch),
        None => with_max_timestamp(batch, summary.max_timestamp, config),
    }
}

fn with_max_timestamp(batch: ValidBatch, max_timestamp: i64, config: &PartitionConfig) -> Result<ValidBatch, Produced> {
    if max_timestamp == batch.header().max_timestamp || config.log.timestamp_type == TimestampType::LogAppendTime {
        return Ok(batch);
    }
    let mut bytes = BytesMut::from(&batch.bytes()[..]);
    patch_max_timestamp(&mut bytes, max_timestamp);
    revalidate(bytes.freeze())
}

fn refuse(error: &RecordsError) -> Produced {
    let why = match error {
        RecordsError::MissingKey(_) => "Compacted topic cannot accept message without key",
        RecordsError::Timestamp(_) => "Timestamp is out of range",
        _ => "Record is malformed",
    };
    let record_errors = error.faults().iter().map(|&index| (index, why.to_owned())).collect();
    Produced { record_errors, ..Produced::failed(error.error_code(), Some(error.to_string())) }
}

fn recompress(batch: &ValidBatch, codec: (Compression, Option<i32>), limit: usize, scratch: &mut Vec<u8>) -> Result<ValidBatch, Produced> {
    let header = batch.header();
    let mut builder = BatchBuilder::new()
        .compression(codec.0, codec.1)
        .producer(header.producer_id, header.producer_epoch, header.base_sequence)
        .capacity(batch.size_bytes());
    if header.attributes.is_transactional() {
        builder = builder.transactional();
    }
    let mut pairs: Vec<HeaderPair<'_>> = Vec::new();
    for record in validate::records(header, batch.bytes(), limit, scratch).map_err(|error| refuse(&error))? {
        let record = record.map_err(|error| refuse(&RecordsError::Malformed { index: 0, error }))?;
        pairs.clear();
        pairs.extend(record.headers.iter().map(|h| (h.key, h.value)));
        builder.push(validate::timestamp_of(header, &record), record.key, record.value, &pairs);
    }
    let bytes = builder.build().map_err(|error| Produced::failed(error.error_code(), Some(error.to_string())))?;
    revalidate(bytes)
}

fn revalidate(bytes: bytes::Bytes) -> Result<ValidBatch, Produced> {
    RawBatch::new(bytes).validate(Origin::Broker).map_err(|error| Produced::failed(error.error_code(), Some(error.to_string())))
}

#[cfg(test)]
mod tests {
    use coreline_storage::config::{CleanupPolicy, LogConfig};
    use coreline_wire::error_code::ErrorCode;

    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    fn config(compact: bool, compression: Option<Compression>) -> PartitionConfig {
        let log = LogConfig { cleanup_policy: CleanupPolicy { delete: !compact, compact }, ..LogConfig::default() };
        PartitionConfig { log, min_insync_replicas: 1, compression, compression_level: None }
    }

    fn batch(codec: Compression, records: &[(i64, Option<&str>, &str)]) -> ValidBatch {
        let mut builder = BatchBuilder::new().compression(codec, None).producer(7, 0, 40);
        for (timestamp, key, value) in records {
            builder.push(*timestamp, key.map(str::as_bytes), Some(value.as_bytes()), &[("h", Some(b"v")), ("h", None)]);
        }
        RawBatch::new(builder.build().expect("builds")).validate(Origin::Client { zstd_allowed: true }).expect("valid")
    }

    #[test]
    fn the_level_decides_how_small_a_recompressed_batch_gets() {
        let text = "All work and no play makes a long value, again and again and again.".repeat(40);
        let size = |level| {
            let config = PartitionConfig { compression_level: level, ..config(false, Some(Compression::Zstd)) };
            prepare(batch(Compression::None, &[(NOW, None, &text)]), &config, NOW).expect("fine").size_bytes()
        };
        assert!(size(Some(19)) < size(Some(-131_072)), "{} and {}", size(Some(19)), size(Some(-131_072)));
        assert_eq!(size(None), size(Some(3)), "the default");
    }

    #[test]
    fn a_batch_that_needs_nothing_keeps_its_bytes() {
        let b = batch(Compression::Lz4, &[(NOW, None, "a")]);
        let out = prepare(b.clone(), &config(false, None), NOW).expect("fine");
        assert_eq!(out.bytes().as_ptr(), b.bytes().as_ptr());
        assert!(prepare(b.clone(), &config(false, Some(Compression::Lz4)), NOW).is_ok_and(|o| o == b));
    }

    #[test]
    fn a_greatest_timestamp_that_is_not_is_put_right() {
        let true_batch = batch(Compression::None, &[(NOW - 9, None, "a"), (NOW, None, "b"), (NOW - 5, None, "c")]);
        let mut bytes = BytesMut::from(&true_batch.bytes()[..]);
        patch_max_timestamp(&mut bytes, NOW - 7);
        let false_batch = RawBatch::new(bytes.freeze()).validate(Origin::Client { zstd_allowed: true }).expect("valid");
        assert_eq!(prepare(false_batch.clone(), &config(false, None), NOW).expect("fine"), true_batch);
        let mut stamped = config(false, None);
        stamped.log.timestamp_type = TimestampType::LogAppendTime;
        assert_eq!(prepare(false_batch, &stamped, NOW).expect("fine").header().max_timestamp, NOW - 7, "overwritten by the append");
    }

    #[test]
    fn a_compacted_topic_names_the_records_without_a_key() {
        let b = batch(Compression::Zstd, &[(NOW, Some("k"), "a"), (NOW, None, "b"), (NOW, None, "c")]);
        let refused = prepare(b, &config(true, None), NOW).expect_err("no key");
        assert_eq!(refused.error, ErrorCode::InvalidRecord);
        assert_eq!(refused.record_errors.iter().map(|e| e.0).collect::<Vec<_>>(), [1, 2]);
        assert!(prepare(batch(Compression::Zstd, &[(NOW, Some("k"), "a")]), &config(true, None), NOW).is_ok());
    }

    #[test]
    fn a_timestamp_beyond_the_bound_names_its_record() {
        let late = NOW + 2 * 3_600_000;
        let refused = prepare(batch(Compression::None, &[(NOW, None, "a"), (late, None, "b")]), &config(false, None), NOW);
        let refused = refused.expect_err("an hour is allowed");
        assert_eq!((refused.error, refused.record_errors[0].0), (ErrorCode::InvalidTimestamp, 1));
    }

    #[test]
    fn another_codec_keeps_records_headers_producer_and_times() {
        let from = batch(Compression::Gzip, &[(NOW, Some("k"), "value value value"), (NOW + 5, None, "")]);
        for codec in Compression::ALL {
            let out = prepare(from.clone(), &config(false, Some(codec)), NOW).expect("recompressed");
            assert_eq!(out.header().compression(), Some(codec));
            assert_eq!((out.header().producer_id, out.header().base_sequence), (7, 40));
            assert_eq!((out.header().base_timestamp, out.header().max_timestamp), (NOW, NOW + 5));
            let mut scratch = Vec::new();
            let records: Vec<_> = validate::records(out.header(), out.bytes(), 1 << 20, &mut scratch)
                .expect("readable")
                .map(|r| r.map(|r| (r.key.map(<[u8]>::to_vec), r.value.map(<[u8]>::to_vec), r.headers.len())).expect("sound"))
                .collect();
            assert_eq!(records, [(Some(b"k".to_vec()), Some(b"value value value".to_vec()), 2), (None, Some(Vec::new()), 2)]);
        }
    }
}
