//! Arbitrary record batches: valid or refused; what is inside is read, decompressed within its limit, patched and walked without a panic.
#![no_main]

use bytes::Bytes;
use coreline_wire::record::batch::{HEADER_BYTES, patch_base_offset, patch_crc, patch_leader_epoch, patch_log_append_time};
use coreline_wire::record::validate::{self, RecordRules, TimestampBounds};
use coreline_wire::record::{Batches, Origin, RawBatch};
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 1 << 20;

fuzz_target!(|input: &[u8]| {
    let Some((&control, body)) = input.split_first() else { return };
    let mut bytes = body.to_vec();
    if control & 1 == 0 && bytes.len() >= HEADER_BYTES {
        // Length, magic and checksum put right, so that the rest is reached.
        let length = (bytes.len() - 12) as i32;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[16] = 2;
        patch_crc(&mut bytes);
    }
    let mut walked = 0;
    for batch in Batches::new(Bytes::from(bytes.clone())) {
        let Ok((header, batch)) = batch else { break };
        walked += header.size_bytes();
        assert_eq!(batch.bytes().len(), header.size_bytes());
    }
    assert!(walked <= bytes.len());
    let origin = [Origin::Client { zstd_allowed: true }, Origin::Client { zstd_allowed: false }, Origin::Broker, Origin::Log][usize::from(control >> 1 & 3)];
    let Ok(batch) = RawBatch::new(Bytes::from(bytes)).validate(origin) else { return };
    let timestamps = (control & 8 == 0).then_some(TimestampBounds { now_ms: 1_000_000, before_max_ms: 1000, after_max_ms: i64::MAX });
    let rules = RecordRules { max_decompressed_bytes: LIMIT, keys_required: control & 16 == 0, timestamps };
    let mut scratch = Vec::new();
    if let Ok(summary) = validate::validate(&batch, &rules, &mut scratch) {
        assert!(summary.decompressed_bytes <= LIMIT.max(batch.payload().len()));
    }
    let _ = validate::check_fronts(&batch);
    let mut scratch = Vec::new();
    if let Ok(records) = validate::records(batch.header(), batch.bytes(), LIMIT, &mut scratch) {
        for record in records {
            let Ok(record) = record else { break };
            let _ = validate::timestamp_of(batch.header(), &record);
            assert!(record.headers.iter().count() <= record.headers.len());
        }
    }
    let mut patched = batch.bytes().to_vec();
    patch_base_offset(&mut patched, 42);
    patch_leader_epoch(&mut patched, 3);
    patch_log_append_time(&mut patched, 1_000_000);
    RawBatch::new(Bytes::from(patched)).validate(Origin::Log).expect("a patched batch is still one");
});
