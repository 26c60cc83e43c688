//! Arbitrary checkpoint tables, producer snapshots and their envelope: decoded or refused; what is decoded encodes to something that decodes to the same.
#![no_main]

use std::path::Path;

use coreline_storage::checkpoint;
use coreline_storage::producer_state::ProducerTable;
use coreline_storage::snapshot_file::{ENVELOPE_BYTES, open_envelope, seal_envelope};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&kind, body)) = input.split_first() else { return };
    let magic = if kind & 1 == 0 { *b"CKPT" } else { *b"PROD" };
    let file = if kind & 2 == 0 { seal_envelope(magic, 1, 1, body) } else { body.to_vec() };
    let Ok(snapshot) = open_envelope(Path::new("fuzz"), &file, magic, 1) else { return };
    assert!(snapshot.bytes.len() + ENVELOPE_BYTES == file.len());
    if kind & 1 == 0 {
        let version = if kind & 4 == 0 { 3 } else { 2 };
        let Ok((mut head, table)) = checkpoint::decode(version, &snapshot.bytes) else { return };
        head.covers.get_or_insert_default();
        let again = checkpoint::encode(&head, table.iter().map(|(tp, entry)| (*tp, entry)));
        let sealed = seal_envelope(magic, 1, 1, &again);
        let reopened = open_envelope(Path::new("fuzz"), &sealed, magic, 1).expect("what was sealed opens");
        assert_eq!(checkpoint::decode(3, &reopened.bytes).expect("what was encoded decodes"), (head, table));
    } else if let Ok((table, offset)) = ProducerTable::decode(&snapshot.bytes) {
        let again = table.encode(offset);
        let (reread, at) = ProducerTable::decode(&again).expect("what was encoded decodes");
        assert_eq!((reread.encode(at), at), (again, offset));
    }
});
