//! Arbitrary index files: decoded or refused, never more entries than bytes, and what is decoded can be looked up in.
#![no_main]

use coreline_storage::segment::offset_index::OffsetIndex;
use coreline_storage::segment::time_index::TimeIndex;
use coreline_storage::segment::{INDEX_HEADER_BYTES, OFFSET_INDEX_MAGIC, TIME_INDEX_MAGIC, decode_index_file};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&kind, body)) = input.split_first() else { return };
    let (magic, entry_bytes) = if kind & 1 == 0 { (OFFSET_INDEX_MAGIC, 8) } else { (TIME_INDEX_MAGIC, 16) };
    let mut file = body.to_vec();
    if kind & 2 == 0 && file.len() >= INDEX_HEADER_BYTES {
        file[..8].copy_from_slice(magic);
        file[52..56].fill(0);
        let crc = crc32fast::hash(&file);
        file[52..56].copy_from_slice(&crc.to_le_bytes());
    }
    let base = i64::from(kind >> 2);
    let Ok((header, entries)) = decode_index_file(magic, base, entry_bytes, &file) else { return };
    assert!(header.next_offset >= base);
    if entry_bytes == 8 {
        if let Ok(index) = OffsetIndex::decode(entries, header.covered) {
            let _ = (index.floor_by_offset(7), index.floor_by_position(7), index.floor_by_offset(u32::MAX));
            let mut out = Vec::new();
            index.encode(&mut out);
            assert_eq!(out, entries);
        }
    } else if let Ok(index) = TimeIndex::decode(entries, header.covered) {
        assert!(index.search_start(i64::MAX) < header.covered.max(1));
        let mut out = Vec::new();
        index.encode(&mut out);
        assert_eq!(out, entries);
    }
});
