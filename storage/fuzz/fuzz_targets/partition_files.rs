//! Arbitrary checksum sidecars, exchange files and compacted segments beside a real log: it opens or is refused, and whatever is read was appended.
#![no_main]

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use coreline_storage::config::CleanupPolicy;
use coreline_storage::data_dir::{DataDir, JournalId};
use coreline_storage::io::SimDisk;
use coreline_storage::journal::SyncMode;
use coreline_storage::segment::name;
use coreline_storage::segment::sums::{SUMS_HEADER_BYTES, SUMS_MAGIC, SegmentSums};
use coreline_storage::snapshot_file::seal_envelope;
use coreline_storage::{AppendContext, AppendOrigin, LogConfig, ReadSpan, Store, StoreConfig, recover};
use coreline_storage_fuzz::{JOURNAL, PARTITION, ROOT, write};
use coreline_wire::record::batch::Batches;
use coreline_wire::record::{BatchBuilder, Origin, RawBatch};
use futures_lite::future::{block_on, or, pending, zip};
use libfuzzer_sys::fuzz_target;

/// A log of several segments as a clean stop leaves it, with its batches by offset.
struct Template {
    disk: SimDisk,
    batches: BTreeMap<i64, Bytes>,
    /// Segments with their bytes.
    segments: Vec<(i64, Vec<u8>)>,
}

thread_local! {
    static TEMPLATE: OnceCell<Template> = const { OnceCell::new() };
}

fn log_config() -> LogConfig {
    LogConfig {
        segment_bytes: 70 << 10,
        cleanup_policy: CleanupPolicy { delete: false, compact: true },
        min_cleanable_dirty_ppm: 0,
        ..LogConfig::default()
    }
}

async fn open(disk: &SimDisk) -> Option<Store<SimDisk>> {
    let dir = DataDir::new(ROOT);
    recover(disk, &dir, &|_| true, 1_000_000).await.ok()?;
    let config = StoreConfig {
        journal_sync_mode: SyncMode::Dsync,
        journal_file_bytes: 1 << 20,
        journal_bytes_max: 3 << 20,
        flush_interval: Duration::from_millis(1),
        ..StoreConfig::default()
    };
    Store::open(disk.clone(), &dir, JournalId(JOURNAL), config).await.ok()
}

fn template() -> Template {
    block_on(async {
        let disk = SimDisk::new(1);
        disk.mkdir(ROOT);
        let store = open(&disk).await.expect("an empty directory opens");
        let mut batches = BTreeMap::new();
        let body = async {
            let log = store.open_log(PARTITION, log_config()).await.expect("a new log");
            let ctx = AppendContext { now_ms: 5_000, leader_epoch: 0, origin: AppendOrigin::Client };
            for number in 0..60u32 {
                let mut builder = BatchBuilder::new();
                let value = [number as u8; 5000];
                builder.push(4_000, Some(&(number % 7).to_le_bytes()), Some(&value), &[]);
                let batch = RawBatch::new(builder.build().expect("a batch")).validate(Origin::Client { zstd_allowed: true }).expect("valid");
                log.append(&batch, ctx).expect("there is room");
            }
            log.wait_durable(log.log_end_offset()).await.expect("it writes");
            let mut offset = 0;
            while offset < log.log_end_offset() {
                let plan = log.read(offset, 100_000, i64::MAX, true).await.expect("it reads");
                for batch in Batches::new(bytes_of(&plan.spans)) {
                    let (header, batch) = batch.expect("a batch");
                    batches.insert(header.base_offset, batch.bytes().clone());
                }
                offset = plan.next_offset;
            }
            store.shutdown().await.expect("a clean end");
        };
        let background = async {
            let _ = zip(store.run_journal(), store.run_flusher()).await;
            pending().await
        };
        or(body, background).await;
        let dir = DataDir::new(ROOT).partition(PARTITION);
        let logs = disk.files().into_iter().filter(|f| f.starts_with(&dir) && f.extension().is_some_and(|e| e == "log"));
        let segments = logs.map(|f| {
            let base = f.file_stem().and_then(|s| s.to_str()).and_then(|s| s.parse().ok()).expect("named by an offset");
            (base, disk.peek(&f).expect("it is there"))
        });
        let segments = segments.collect();
        Template { disk, batches, segments }
    })
}

fn bytes_of(spans: &[ReadSpan]) -> Bytes {
    let mut out = Vec::new();
    for span in spans {
        if let ReadSpan::Memory(bytes) = span {
            out.extend_from_slice(bytes);
        }
    }
    out.into()
}

fuzz_target!(|input: &[u8]| {
    let Some((control, body)) = input.split_first_chunk::<6>() else { return };
    TEMPLATE.with(|cell| block_on(try_one(cell.get_or_init(template), control, body)));
});

async fn try_one(template: &Template, control: &[u8; 6], body: &[u8]) {
    let disk = template.disk.fork(1);
    let dir = DataDir::new(ROOT).partition(PARTITION);
    let segment = &template.segments[usize::from(control[1]) % template.segments.len()];
    let (first, second) = body.split_at(body.len() * usize::from(control[2]) / 255);
    let mut arbitrary_segment = false;
    if control[0] & 1 != 0 {
        let mut file = first.to_vec();
        if control[0] & 2 == 0 && file.len() >= SUMS_HEADER_BYTES {
            file[..8].copy_from_slice(SUMS_MAGIC);
            file[8..10].copy_from_slice(&1u16.to_le_bytes());
            let sums = (file.len() - SUMS_HEADER_BYTES) as u32 / 4;
            file[12..16].copy_from_slice(&sums.to_le_bytes());
            file[16..24].copy_from_slice(&segment.0.to_le_bytes());
            file[36..40].fill(0);
            let crc = crc32fast::hash(&file);
            file[36..40].copy_from_slice(&crc.to_le_bytes());
        }
        if let Ok(sidecar) = SegmentSums::decode(segment.0, &file) {
            let again = sidecar.sums.encode(segment.0, sidecar.next_offset, sidecar.resume).expect("from the first block on");
            assert_eq!(SegmentSums::decode(segment.0, &again).as_ref(), Ok(&sidecar));
        }
        write(&disk, &dir.join(name::sums_file(segment.0)), &file).await;
    }
    let sequence = u64::from(control[3] % 4);
    if control[0] & 4 != 0 {
        // Offsets of segments are made from bytes, so that they are often some of this log.
        let mut content = Vec::new();
        let named: Vec<i64> = second.iter().skip(3).map(|at| template.segments[usize::from(*at) % template.segments.len()].0).collect();
        if control[0] & 8 == 0 {
            let new = usize::from(second.first().copied().unwrap_or(0)).min(named.len());
            content.extend_from_slice(&i64::from(second.get(1).copied().unwrap_or(0)).to_le_bytes());
            content.extend_from_slice(&(new as u32).to_le_bytes());
            content.extend_from_slice(&((named.len() - new) as u32).to_le_bytes());
            named.iter().for_each(|base| content.extend_from_slice(&base.to_le_bytes()));
        } else {
            content.extend_from_slice(second);
        }
        let slot = if sequence.is_multiple_of(2) { "compaction.a" } else { "compaction.b" };
        let file = if control[0] & 16 == 0 { seal_envelope(*b"COMP", 1, sequence, &content) } else { content };
        write(&disk, &dir.join(slot), &file).await;
    }
    if control[0] & 32 != 0 {
        let of = u64::from(control[4] % 4);
        let file = dir.join(name::compacted_file(segment.0, of));
        if control[0] & 64 == 0 {
            write(&disk, &file, &segment.1).await;
        } else {
            arbitrary_segment = true;
            write(&disk, &file, first).await;
        }
    }
    let Some(store) = open(&disk).await else { return };
    let Ok(log) = store.open_log(PARTITION, log_config()).await else { return };
    let mut offset = log.log_start_offset();
    while offset < log.log_end_offset() {
        let Ok(plan) = log.read(offset, 20_000, i64::MAX, true).await else { break };
        assert!(plan.next_offset > offset, "no progress at {offset}");
        for batch in Batches::new(bytes_of(&plan.spans)).filter(|_| !arbitrary_segment) {
            let (header, batch) = batch.expect("whole batches are read");
            assert_eq!(template.batches.get(&header.base_offset), Some(batch.bytes()), "at {}", header.base_offset);
        }
        offset = plan.next_offset;
    }
    let _ = log.offset_for_timestamp(i64::from(control[5]), i64::MAX).await;
    let _ = log.max_timestamp(i64::MAX).await;
}
