//! Record batches as a whole: built, checked, damaged, patched, and compared with `kafka-protocol`.

use bytes::{Bytes, BytesMut};
use kafka_protocol::records as kp;

use super::batch::{
    self, BatchError, BatchHeader, Batches, HEADER_BYTES, Origin, RawBatch, ValidBatch, patch_base_offset, patch_crc, patch_leader_epoch,
    patch_log_append_time,
};
use super::builder::BatchBuilder;
use super::validate::{RecordRules, RecordsError, TimestampBounds, check_fronts, records, timestamp_of, validate};
use super::{Attributes, Compression, TimestampType};
use crate::error_code::ErrorCode;
use crate::test_random::Random;

const CLIENT: Origin = Origin::Client { zstd_allowed: true };
const RULES: RecordRules = RecordRules { max_decompressed_bytes: 1 << 20, keys_required: false, timestamps: None };

/// Ten records, the fourth without a key, the seventh the newest.
fn sample(codec: Compression) -> Bytes {
    let mut builder = BatchBuilder::new().compression(codec, None).producer(42, 1, 100);
    for i in 0..10i64 {
        let key = format!("key-{i}");
        let value = vec![i as u8; 50];
        let timestamp = if i == 6 { 9_000 } else { 5_000 + i };
        let key = (i != 3).then_some(key.as_bytes());
        builder.push(timestamp, key, Some(&value), &[("h", Some(b"x")), ("none", None)]);
    }
    builder.build().expect("builds")
}

fn valid(bytes: Bytes) -> ValidBatch {
    RawBatch::new(bytes).validate(CLIENT).expect("sound")
}

/// The sample with a change to its header and a renewed checksum.
fn changed(change: impl FnOnce(&mut BatchHeader)) -> Bytes {
    let mut bytes = sample(Compression::None).to_vec();
    let mut header = BatchHeader::parse(&bytes).expect("sound");
    change(&mut header);
    header.write(bytes.first_chunk_mut::<HEADER_BYTES>().expect("long enough"));
    patch_crc(&mut bytes);
    Bytes::from(bytes)
}

#[test]
fn built_batches_pass_and_read_back_in_every_codec() {
    for codec in Compression::ALL {
        let batch = valid(sample(codec));
        let header = *batch.header();
        assert_eq!(header.compression(), Some(codec));
        assert_eq!((header.record_count, header.last_offset_delta, header.last_sequence()), (10, 9, 109));
        assert_eq!((header.base_timestamp, header.max_timestamp), (5_000, 9_000));
        assert_eq!(header.size_bytes(), batch.size_bytes());
        let mut scratch = Vec::new();
        let summary = validate(&batch, &RULES, &mut scratch).expect("sound");
        assert_eq!((summary.max_timestamp, summary.max_timestamp_delta), (9_000, 6));
        let all: Vec<_> =
            records(&header, batch.bytes(), 1 << 20, &mut scratch).expect("opens").map(|record| record.expect("sound")).collect();
        assert_eq!(all.len(), 10);
        assert_eq!((all[3].key, all[4].key), (None, Some(&b"key-4"[..])));
        assert_eq!((all[4].headers.len(), timestamp_of(&header, &all[4])), (2, 5_004));
    }
}

#[test]
fn kafka_protocol_reads_what_we_build() {
    let mut bytes = BytesMut::from(&sample(Compression::None)[..]);
    patch_base_offset(&mut bytes, 1_000);
    patch_leader_epoch(&mut bytes, 7);
    let set = kp::RecordBatchDecoder::decode(&mut bytes.freeze()).expect("decodes");
    assert_eq!(set.records.len(), 10);
    let record = &set.records[6];
    assert_eq!((record.offset, record.timestamp, record.partition_leader_epoch), (1_006, 9_000, 7));
    assert_eq!((record.producer_id, record.producer_epoch, record.sequence), (42, 1, 106));
    assert_eq!(record.key.as_deref(), Some(&b"key-6"[..]));
    let headers: Vec<_> = record.headers.iter().map(|(k, v)| (k.to_string(), v.clone())).collect();
    assert_eq!(headers, [("h".to_owned(), Some(Bytes::from_static(b"x"))), ("none".to_owned(), None)]);
}

#[test]
fn we_read_what_kafka_protocol_builds() {
    let record = |i: i64| kp::Record {
        transactional: true,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: 5,
        producer_epoch: 2,
        timestamp_type: kp::TimestampType::Creation,
        offset: i,
        sequence: i as i32,
        timestamp: 100 - i,
        key: Some(Bytes::from_static(b"k")),
        value: None,
        headers: Default::default(),
    };
    let all: Vec<_> = (0..3).map(record).collect();
    let mut out = BytesMut::new();
    let options = kp::RecordEncodeOptions { version: 2, compression: kp::Compression::None };
    kp::RecordBatchEncoder::encode(&mut out, &all, &options).expect("encodes");
    let batch = valid(out.freeze());
    assert!(batch.header().attributes.is_transactional());
    assert_eq!((batch.header().record_count, batch.header().producer_id, batch.header().max_timestamp), (3, 5, 100));
    assert_eq!(validate(&batch, &RULES, &mut Vec::new()).expect("sound").max_timestamp_delta, 0);
}

#[test]
fn each_rule_for_client_batches_has_its_error_and_code() {
    let refused = |bytes: Bytes| RawBatch::new(bytes).validate(CLIENT).expect_err("refused");
    let cases: Vec<(BatchError, ErrorCode)> = vec![
        (refused(Bytes::new()), ErrorCode::InvalidRecord),
        (refused(changed(|h| h.base_offset = 1)), ErrorCode::InvalidRecord),
        (refused(changed(|h| h.magic = 1)), ErrorCode::InvalidRecord),
        (refused(changed(|h| h.magic = 3)), ErrorCode::CorruptMessage),
        (refused(changed(|h| h.record_count = 11)), ErrorCode::InvalidRecord),
        (refused(changed(|h| (h.record_count, h.last_offset_delta) = (0, -1))), ErrorCode::InvalidRecord),
        (refused(changed(|h| (h.record_count, h.last_offset_delta) = (i32::MIN, i32::MAX))), ErrorCode::InvalidRecord),
        (refused(changed(|h| h.attributes = h.attributes.with_control(true))), ErrorCode::InvalidRecord),
        (refused(changed(|h| h.base_sequence = -1)), ErrorCode::InvalidRecord),
        (refused(changed(|h| h.producer_epoch = -1)), ErrorCode::InvalidRecord),
        (refused(changed(|h| h.attributes = Attributes(0x40))), ErrorCode::InvalidRecord),
        (
            refused(changed(|h| {
                h.producer_id = -1;
                h.attributes = h.attributes.with_transactional(true);
            })),
            ErrorCode::InvalidRecord,
        ),
        (refused(changed(|h| h.attributes = h.attributes.with_timestamp_type(TimestampType::LogAppendTime))), ErrorCode::InvalidTimestamp),
        (refused(changed(|h| h.attributes = Attributes(5))), ErrorCode::UnsupportedCompressionType),
        (refused(changed(|h| h.batch_length = 48)), ErrorCode::CorruptMessage),
        (refused(changed(|h| h.batch_length = -1)), ErrorCode::CorruptMessage),
        (refused(changed(|h| h.batch_length += 1)), ErrorCode::InvalidRecord),
        (refused(changed(|h| h.batch_length -= 1)), ErrorCode::InvalidRecord),
        (refused([sample(Compression::None), sample(Compression::None)].concat().into()), ErrorCode::InvalidRecord),
    ];
    for (error, code) in cases {
        assert_eq!(error.error_code(), code, "{error}");
    }
    let old = RawBatch::new(sample(Compression::Zstd)).validate(Origin::Client { zstd_allowed: false });
    assert_eq!(old.map_err(|e| e.error_code()), Err(ErrorCode::UnsupportedCompressionType));
}

#[test]
fn damage_on_the_way_is_told_from_a_bad_producer() {
    // Without a renewed checksum: the count was damaged in flight, and the producer may send the batch again.
    let mut bytes = sample(Compression::None).to_vec();
    bytes[60] ^= 1;
    let error = RawBatch::new(bytes.into()).validate(CLIENT).expect_err("damaged");
    assert!(matches!(error, BatchError::Crc { .. }));
    assert_eq!(error.error_code(), ErrorCode::CorruptMessage);
    assert!(error.error_code().is_retriable());
}

#[test]
fn logs_may_hold_what_clients_may_not_send() {
    let compacted = changed(|h| {
        h.base_offset = 500;
        h.record_count = 4;
        h.attributes = Attributes(0x48);
    });
    let batch = RawBatch::new(compacted).validate(Origin::Log).expect("compaction leaves gaps");
    assert_eq!((batch.header().last_offset(), batch.header().next_offset()), (509, 510));
    let empty = changed(|h| h.record_count = 0);
    assert!(RawBatch::new(empty).validate(Origin::Log).is_ok(), "compaction leaves empty batches");
    for bad in [
        changed(|h| h.base_offset = -1),
        changed(|h| h.base_offset = i64::MAX),
        changed(|h| h.record_count = 11),
        changed(|h| h.last_offset_delta = -1),
    ] {
        assert!(RawBatch::new(bad).validate(Origin::Log).is_err());
    }
}

#[test]
fn every_cut_and_every_flipped_bit_is_noticed() {
    let bytes = sample(Compression::None);
    for cut in 0..bytes.len() {
        assert!(RawBatch::new(bytes.slice(..cut)).validate(CLIENT).is_err(), "cut at {cut}");
    }
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 1 << bit;
            let result = RawBatch::new(Bytes::from(damaged)).validate(CLIENT);
            // Only the leader epoch is neither checked nor covered: the broker overwrites it.
            assert_eq!(result.is_ok(), (12..16).contains(&at), "byte {at} bit {bit}");
        }
    }
}

#[test]
fn patches_keep_the_batch_sound() {
    let mut bytes = sample(Compression::Lz4).to_vec();
    let crc = BatchHeader::parse(&bytes).expect("sound").crc;
    patch_base_offset(&mut bytes, 1 << 40);
    patch_leader_epoch(&mut bytes, 3);
    let header = *RawBatch::new(bytes.clone().into()).validate(Origin::Log).expect("sound").header();
    assert_eq!((header.base_offset, header.partition_leader_epoch, header.crc), (1 << 40, 3, crc), "no new checksum");
    assert_eq!(header.next_offset(), (1 << 40) + 10);

    patch_log_append_time(&mut bytes, 77_777);
    let batch = RawBatch::new(bytes.into()).validate(Origin::Log).expect("sound");
    assert_ne!(batch.header().crc, crc);
    assert_eq!(batch.header().attributes.timestamp_type(), TimestampType::LogAppendTime);
    assert_eq!(batch.header().compression(), Some(Compression::Lz4), "the codec stays");
    let mut scratch = Vec::new();
    let mut all = records(batch.header(), batch.bytes(), 1 << 20, &mut scratch).expect("opens");
    let first = all.next().expect("one").expect("sound");
    assert_eq!(timestamp_of(batch.header(), &first), 77_777);
}

#[test]
fn batches_in_a_row_are_walked_up_to_the_cut_one() {
    let one = sample(Compression::None);
    let two = sample(Compression::Gzip);
    let cut = two.len() / 2;
    let all: Bytes = [&one[..], &two, &one[..cut]].concat().into();
    let mut walk = Batches::new(all);
    assert_eq!(walk.next().expect("first").expect("whole").1.bytes(), &one);
    assert_eq!(walk.next().expect("second").expect("whole").1.bytes(), &two);
    assert_eq!(walk.remaining(), cut);
    assert!(matches!(walk.next(), Some(Err(BatchError::Truncated { left, .. })) if left == cut));
    assert!(walk.next().is_none());
    assert!(matches!(Batches::new(Bytes::from(vec![0; 70])).next(), Some(Err(BatchError::Magic(0)))));
    assert!(Batches::new(Bytes::new()).next().is_none());
}

#[test]
fn sequences_wrap_to_zero() {
    let header = |base_sequence, last_offset_delta| {
        let bytes = changed(|h| (h.base_sequence, h.last_offset_delta) = (base_sequence, last_offset_delta));
        BatchHeader::parse(&bytes).expect("sound").last_sequence()
    };
    assert_eq!(header(i32::MAX, 0), i32::MAX);
    assert_eq!(header(i32::MAX, 1), 0);
    assert_eq!(header(i32::MAX - 4, 9), 4);
    assert_eq!(header(-1, 9), -1);
}

#[test]
fn deep_validation_finds_keys_timestamps_offsets_and_counts() {
    let mut scratch = Vec::new();
    for codec in [Compression::None, Compression::Zstd] {
        let batch = valid(sample(codec));
        let keys = RecordRules { keys_required: true, ..RULES };
        let error = validate(&batch, &keys, &mut scratch).expect_err("the fourth has no key");
        assert_eq!((error.faults(), error.error_code()), (&[3][..], ErrorCode::InvalidRecord));

        let bounds = TimestampBounds { now_ms: 6_000, before_max_ms: 996, after_max_ms: 1_000 };
        let times = RecordRules { timestamps: Some(bounds), ..RULES };
        let error = validate(&batch, &times, &mut scratch).expect_err("four too old, one too new");
        assert_eq!((error.faults(), error.error_code()), (&[0, 1, 2, 3, 6][..], ErrorCode::InvalidTimestamp));
        let wide = TimestampBounds { now_ms: 6_000, before_max_ms: i64::MAX, after_max_ms: i64::MAX };
        validate(&batch, &RecordRules { timestamps: Some(wide), ..RULES }, &mut scratch).expect("no bounds");
    }
    let tight = RecordRules { max_decompressed_bytes: 100, ..RULES };
    let error = validate(&valid(sample(Compression::Gzip)), &tight, &mut scratch).expect_err("above the limit");
    assert!(matches!(error, RecordsError::Compression(_)));
    assert_eq!(error.error_code(), ErrorCode::MessageTooLarge);

    let mut gap = BatchBuilder::new();
    gap.push(1, None, None, &[]);
    gap.push_at(2, 1, None, None, &[]);
    let gap = RawBatch::new(gap.build().expect("builds")).validate(Origin::Log).expect("sound as a log");
    let error = validate(&gap, &RULES, &mut scratch).expect_err("delta 2 after 0");
    assert!(matches!(error, RecordsError::OffsetDelta { index: 1, offset_delta: 2 }));

    // The header claims fewer and more records than there are.
    for count in [9, 11] {
        let lie = changed(|h| (h.record_count, h.last_offset_delta) = (count, count - 1));
        let error = validate(&valid(lie), &RULES, &mut scratch).expect_err("count is wrong");
        assert!(matches!(error, RecordsError::Malformed { .. }), "{error}");
        assert_eq!(error.error_code(), ErrorCode::InvalidRecord);
    }
    let absurd = changed(|h| (h.record_count, h.last_offset_delta) = (i32::MAX, i32::MAX - 1));
    assert!(validate(&valid(absurd), &RULES, &mut scratch).is_err());
}

#[test]
fn damaged_payloads_under_a_good_checksum_never_panic() {
    let mut random = Random::new(11);
    let mut scratch = Vec::new();
    for codec in Compression::ALL {
        let good = sample(codec);
        for _ in 0..500 {
            let mut bytes = good.to_vec();
            for _ in 0..1 + random.below(4) {
                let at = HEADER_BYTES + random.below((bytes.len() - HEADER_BYTES) as u64) as usize;
                bytes[at] = random.next() as u8;
            }
            patch_crc(&mut bytes);
            let batch = valid(Bytes::from(bytes));
            let _ = validate(&batch, &RULES, &mut scratch);
        }
    }
}

#[test]
fn the_layout_is_the_documented_one() {
    let bytes = BatchBuilder::new().base_offset(0x0102_0304_0506_0708).leader_epoch(0x1112_1314);
    let mut bytes = bytes.producer(0x2122_2324_2526_2728, 0x3132, 0x4142_4344);
    bytes.push(1, None, Some(b"v"), &[]);
    let bytes = bytes.build().expect("builds");
    assert_eq!(bytes[..8], [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(bytes[8..12], ((bytes.len() - 12) as i32).to_be_bytes());
    assert_eq!(bytes[12..17], [0x11, 0x12, 0x13, 0x14, 2]);
    assert_eq!(bytes[43..57], [0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28, 0x31, 0x32, 0x41, 0x42, 0x43, 0x44]);
    assert_eq!(bytes[57..61], [0, 0, 0, 1]);
    // Length 7, attributes, timestamp delta, offset delta, null key, value of one byte, no headers.
    assert_eq!(bytes[61..], [14, 0, 0, 0, 1, 2, b'v', 0]);
    assert_eq!(batch::HEADER_BYTES, 61);
}

#[test]
fn lengths_of_records_must_fill_the_batch() {
    let damaged = |at: usize, byte: u8| {
        let mut bytes = sample(Compression::None).to_vec();
        bytes[batch::HEADER_BYTES + at] = byte;
        patch_crc(&mut bytes);
        check_fronts(&valid(bytes.into()))
    };
    let sound = sample(Compression::None)[batch::HEADER_BYTES];
    assert!(damaged(0, sound).is_ok());
    for length in [0, 1, 10, sound - 2, sound + 2, 0x7e, 0xff] {
        let refused = damaged(0, length).expect_err("refused");
        assert_eq!(refused.error_code(), ErrorCode::InvalidRecord, "{length}: {refused}");
    }
    assert!(damaged(2, 0xff).is_ok(), "attributes are not looked at");
    for bytes in
        [changed(|h| (h.record_count, h.last_offset_delta) = (9, 8)), changed(|h| (h.record_count, h.last_offset_delta) = (11, 10))]
    {
        assert!(check_fronts(&valid(bytes)).is_err());
    }
    assert!(check_fronts(&valid(sample(Compression::Gzip))).is_ok(), "a compressed batch passes");
}

#[test]
fn random_records_come_back_in_every_codec() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let codec = Compression::ALL[random.below(5) as usize];
        let mut builder = BatchBuilder::new().compression(codec, None);
        let mut expected = Vec::new();
        for _ in 0..1 + random.below(20) {
            // Timestamps from all over the range, so that deltas wrap; lengths on both sides of one and two varint bytes.
            let timestamp = if random.below(4) == 0 { random.next() as i64 } else { 1_700_000_000_000 + random.below(5000) as i64 };
            let key = (random.below(3) > 0).then(|| random.bytes(200));
            let value = (random.below(3) > 0).then(|| random.bytes(20_000));
            let headers: Vec<_> = (0..random.below(3)).map(|_| (random.text(70), random.bytes(70))).collect();
            let pairs: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), Some(&value[..]))).collect();
            builder.push(timestamp, key.as_deref(), value.as_deref(), &pairs);
            expected.push((timestamp, key, value, headers));
        }
        let batch = valid(builder.build().expect("builds"));
        let times = || expected.iter().map(|e| e.0);
        let range = (codec == Compression::None).then(|| (times().min().expect("not empty"), times().max().expect("not empty")));
        assert_eq!(check_fronts(&batch).unwrap_or_else(|e| panic!("seed {seed}: {e}")), range, "seed {seed}");
        let mut scratch = Vec::new();
        let summary = validate(&batch, &RULES, &mut scratch).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        assert_eq!(summary.max_timestamp, expected.iter().map(|e| e.0).max().expect("not empty"), "seed {seed}");
        let read = records(batch.header(), batch.bytes(), 1 << 20, &mut scratch).expect("opens");
        for (index, (record, (timestamp, key, value, headers))) in read.zip(&expected).enumerate() {
            let record = record.expect("sound");
            assert_eq!(record.offset_delta as usize, index, "seed {seed}");
            assert_eq!(timestamp_of(batch.header(), &record), *timestamp, "seed {seed}");
            assert_eq!((record.key, record.value), (key.as_deref(), value.as_deref()), "seed {seed}");
            let read: Vec<_> = record.headers.iter().map(|h| (h.key.to_owned(), h.value.unwrap_or_default().to_vec())).collect();
            assert_eq!(&read, headers, "seed {seed}");
        }
    }
}
