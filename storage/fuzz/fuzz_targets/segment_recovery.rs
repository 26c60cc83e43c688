//! Arbitrary bytes in a segment, a journal with arbitrary frames, any recovery point: recovery and reading end with a result or an error that says where.
#![no_main]

use coreline_storage::checkpoint::{self, CheckpointEntry, Covered, RecoveryPoint, TableHead};
use coreline_storage::data_dir::JournalId;
use coreline_storage::journal::SyncMode;
use coreline_storage::snapshot_file::seal_envelope;
use coreline_storage::{LogConfig, Store, StoreConfig, recover};
use coreline_storage_fuzz::{JOURNAL, PARTITION, directory, frames, write};
use futures_lite::future::block_on;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((control, body)) = input.split_first_chunk::<8>() else { return };
    let cut = body.len() * usize::from(control[0]) / 255;
    let (segment, journal) = body.split_at(cut);
    let file = frames(journal, 1, true);
    block_on(async {
        let (disk, dir) = directory(&file, 1, 0, file.len()).await;
        let position = u32::from(u16::from_le_bytes([control[1], control[2]]));
        let offset = i64::from(control[3]);
        let point = RecoveryPoint { segment_base: 0, position, offset };
        let entry = CheckpointEntry { log_start: i64::from(control[4]).min(offset), point, ..CheckpointEntry::empty(0) };
        if control[5] & 1 == 0 {
            // Half of the time as if the table covered whatever the frames say is released.
            let covers = vec![Covered { journal: JOURNAL, generation: 1, up_to: if control[7] & 1 == 0 { u64::MAX } else { u64::from(control[7]) } }];
            let head = TableHead { sequence: 1, name: "base".to_string(), covers: Some(covers) };
            let content = checkpoint::encode(&head, [(PARTITION, &entry)].into_iter());
            write(&disk, &dir.checkpoints().join("base.b"), &seal_envelope(*b"CKPT", 3, 1, &content)).await;
        }
        if control[5] & 2 == 0 {
            write(&disk, &dir.partition(PARTITION).join("00000000000000000000.log"), segment).await;
        }
        let Ok(report) = recover(&disk, &dir, &|_| true, 1_000_000).await else { return };
        let config = StoreConfig { journal_sync_mode: SyncMode::Dsync, journal_file_bytes: 1 << 20, journal_bytes_max: 3 << 20, ..StoreConfig::default() };
        let Ok(store) = Store::open(disk, &dir, JournalId(JOURNAL), config).await else { return };
        let Ok(log) = store.open_log(PARTITION, LogConfig::default()).await else { return };
        let mut offset = log.log_start_offset();
        while offset < log.log_end_offset() {
            let Ok(plan) = log.read(offset, 4096, i64::MAX, true).await else { break };
            assert!(plan.next_offset > offset, "no progress at {offset} after {report:?}");
            offset = plan.next_offset;
        }
        let _ = log.offset_for_timestamp(i64::from(control[6]), i64::MAX).await;
        let _ = log.max_timestamp(i64::MAX).await;
    });
});
