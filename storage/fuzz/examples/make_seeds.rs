//! Writes the seeds that are committed: `cargo run --example make_seeds` in `storage/fuzz`.

use std::fs;
use std::path::Path;

use coreline_storage::checkpoint::{self, CheckpointEntry, RecoveryPoint, SavedProducers};
use coreline_storage::data_dir::{DataDir, JournalId};
use coreline_storage::io::SimDisk;
use coreline_storage::journal::SyncMode;
use coreline_storage::producer_state::{ProducerBatch, ProducerTable};
use coreline_storage::segment::{IndexFileHeader, OFFSET_INDEX_MAGIC, TIME_INDEX_MAGIC, encode_index_file};
use coreline_storage::{AppendContext, AppendOrigin, LogConfig, Store, StoreConfig, recover};
use coreline_storage_fuzz::{JOURNAL, PARTITION, ROOT};
use coreline_wire::record::{BatchBuilder, Origin, RawBatch};
use futures_lite::future::{block_on, or};

fn put(target: &str, name: &str, bytes: &[u8]) {
    let dir = Path::new("seeds").join(target);
    fs::create_dir_all(&dir).expect("a directory");
    fs::write(dir.join(name), bytes).expect("a seed");
}

/// Frames of a journal and bytes of a segment, as a store writes them.
fn written(checkpoints: bool) -> (Vec<u8>, Vec<u8>) {
    block_on(async {
        let disk = SimDisk::new(1);
        disk.mkdir(ROOT);
        let dir = DataDir::new(ROOT);
        recover(&disk, &dir, &|_| true, 0).await.expect("an empty directory");
        let config = StoreConfig {
            journal_sync_mode: SyncMode::Dsync,
            journal_file_bytes: 1 << 20,
            journal_bytes_max: 3 << 20,
            flush_interval: std::time::Duration::from_millis(if checkpoints { 1 } else { 100_000_000 }),
            ..StoreConfig::default()
        };
        let store = Store::open(disk.clone(), &dir, JournalId(JOURNAL), config).await.expect("a store");
        let log = store.open_log(PARTITION, LogConfig::default()).await.expect("a log");
        let work = async {
            for i in 0..4 {
                let mut batch = BatchBuilder::new().producer(7, 0, i);
                batch.push(1_000_000 + i64::from(i), Some(b"key"), Some(&vec![i as u8; 700]), &[]);
                let batch = RawBatch::new(batch.build().expect("a batch")).validate(Origin::Client { zstd_allowed: true }).expect("valid");
                let context = AppendContext { now_ms: 1_000_000, leader_epoch: 1, origin: AppendOrigin::Client };
                log.append(&batch, context).expect("appended");
                log.wait_durable(i64::from(i) + 1).await.expect("durable");
                if checkpoints {
                    let before = store.stats().checkpoints;
                    while store.stats().checkpoints < before + 3 && store.stats().dirty_logs > 0 {
                        futures_lite::future::yield_now().await;
                    }
                }
            }
        };
        or(work, async {
            let _ = futures_lite::future::zip(store.run_journal(), store.run_flusher()).await;
        })
        .await;
        let mut frames = disk.peek(dir.journal(JournalId(JOURNAL)).join("00000000.frames")).expect("frames");
        frames.truncate(5 * 4096);
        (frames, disk.peek(dir.partition(PARTITION).join("00000000000000000000.log")).unwrap_or_default())
    })
}

fn main() {
    for checkpoints in [false, true] {
        let name = if checkpoints { "with_images" } else { "batches" };
        let (frames, segment) = written(checkpoints);
        put("journal_replay", name, &[&[1, 0, 0, 255][..], &frames].concat());
        put("journal_replay", &format!("{name}_two_files"), &[&[1, 1, 0, 128][..], &frames].concat());
        let cut = (255 * segment.len()).div_ceil(segment.len() + frames.len()) as u8;
        put("segment_recovery", name, &[&[cut, 0, 0, 0, 0, 1, 0, 0][..], &segment, &frames].concat());
        let one = u16::from_le_bytes([0, 3]).to_le_bytes();
        put("segment_recovery", &format!("{name}_from_a_point"), &[&[cut, one[0], one[1], 1, 0, 0, 0, 0][..], &segment, &frames].concat());
    }
    let header = IndexFileHeader { base_offset: 0, covered: 9000, next_offset: 30, max_timestamp: Some((1000, 20)) };
    let offsets: Vec<u8> = [(0u32, 0u32), (10, 4000), (20, 8000)].iter().flat_map(|(a, b)| [a.to_le_bytes(), b.to_le_bytes()].concat()).collect();
    put("index_files", "offsets", &[&[0][..], &encode_index_file(OFFSET_INDEX_MAGIC, &header, 8, &offsets)].concat());
    let times: Vec<u8> = [(500i64, 10u32, 4000u32), (900, 20, 8000)].iter().flat_map(|(t, a, b)| [&t.to_le_bytes()[..], &a.to_le_bytes(), &b.to_le_bytes()].concat()).collect();
    put("index_files", "times", &[&[1][..], &encode_index_file(TIME_INDEX_MAGIC, &header, 16, &times)].concat());
    let mut producers = ProducerTable::default();
    for i in 0..3 {
        let batch = ProducerBatch { producer_id: i, epoch: 0, first_sequence: 0, last_offset_delta: 4 };
        producers.apply(&batch, i * 5, -1, 1000, 10);
    }
    let inline = producers.encode(15);
    put("checkpoint_files", "producers", &[&[1][..], &inline].concat());
    let point = RecoveryPoint { segment_base: 0, position: 4711, offset: 15 };
    let entry = CheckpointEntry { point, producers: SavedProducers::Inline(inline), ..CheckpointEntry::empty(0) };
    put("checkpoint_files", "table", &[&[0][..], &checkpoint::encode(3, [(PARTITION, &entry)].into_iter())].concat());
}
