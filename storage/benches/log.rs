//! Benchmarks of the log on a real disk, beside raw writes to the same disk in the same run.
//!
//! `CORELINE_BENCH_DIR=/where/the/disk/is cargo bench -p coreline-storage --bench log` (default: below `target/`). At the end medians and
//! their ratios to the raw disk are printed, which is what is demanded: durable append <= 1.15 x a raw write and flush, streaming >= 0.9 x raw.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use coreline_storage::data_dir::{DataDir, JournalId};
use coreline_storage::io::{Disk, DiskBuffer, DiskFile, HostDisk, OpenMode};
use coreline_storage::journal::SyncMode;
use coreline_storage::{AppendContext, AppendError, AppendOrigin, Log, LogConfig, Store, StoreConfig, recover};
use coreline_wire::record::{BatchBuilder, Origin, RawBatch, ValidBatch};
use coreline_wire::{TopicId, TopicPartition};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_lite::future::{or, zip};

const MODES: [(&str, SyncMode); 2] = [("dsync", SyncMode::Dsync), ("flush", SyncMode::Flush)];
/// Bytes moved by one round of a streaming benchmark.
const STREAM_BYTES: usize = 64 << 20;
const RAW_FILE_BYTES: u64 = 32 << 20;

/// Nanoseconds of single operations, by name, for medians over the whole run.
static SINGLE: Mutex<BTreeMap<String, Vec<u64>>> = Mutex::new(BTreeMap::new());

fn note(name: &str, took: Duration) -> Duration {
    SINGLE.lock().unwrap().entry(name.to_string()).or_default().push(took.as_nanos() as u64);
    took
}

fn median(name: &str) -> Option<f64> {
    let mut all = SINGLE.lock().unwrap().get(name)?.clone();
    all.sort_unstable();
    all.get(all.len() / 2).map(|ns| *ns as f64)
}

fn place() -> tempfile::TempDir {
    let dir = std::env::var_os("CORELINE_BENCH_DIR").map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    tempfile::Builder::new().prefix("bench-").tempdir_in(dir).unwrap()
}

/// Runs a body on an executor of its own, pinned as a shard is.
fn on_executor<F: Future<Output = Duration> + 'static>(body: impl FnOnce(PathBuf) -> F + Send + 'static) -> Duration {
    let dir = place();
    let path = dir.path().to_path_buf();
    let placement = glommio::Placement::Fixed(0);
    let shard = glommio::LocalExecutorBuilder::new(placement).spawn(move || async move { body(path).await }).unwrap();
    shard.join().unwrap()
}

fn batch(bytes: usize) -> ValidBatch {
    let mut builder = BatchBuilder::new();
    builder.push(1_000_000, None, Some(&vec![7; bytes]), &[]);
    RawBatch::new(builder.build().unwrap()).validate(Origin::Client { zstd_allowed: true }).unwrap()
}

fn tp(partition: i32) -> TopicPartition {
    TopicPartition { topic: TopicId([3; 16]), partition }
}

const CONTEXT: AppendContext = AppendContext { now_ms: 1_000_000, leader_epoch: 0, origin: AppendOrigin::Client };

/// An open store with `partitions` logs, its background running beside `body`.
async fn with_store<F>(dir: &Path, mode: SyncMode, partitions: i32, body: impl FnOnce(Store<HostDisk>, Vec<Log<HostDisk>>) -> F) -> Duration
where
    F: Future<Output = Duration>,
{
    let disk = HostDisk::open(dir).await.unwrap();
    let dir = DataDir::new(dir);
    recover(&disk, &dir, &|_| true, 0).await.unwrap();
    let config = StoreConfig { journal_sync_mode: mode, ..StoreConfig::default() };
    let store = Store::open(disk, &dir, JournalId(0xbe), config).await.unwrap();
    let mut logs = Vec::new();
    for partition in 0..partitions {
        logs.push(store.open_log(tp(partition), LogConfig::default()).await.unwrap());
    }
    let background = async {
        let (journal, flusher) = zip(store.run_journal(), store.run_flusher()).await;
        panic!("the background ended: {journal:?} {flusher:?}");
    };
    or(body(store.clone(), logs), background).await
}

async fn append(store: &Store<HostDisk>, log: &Log<HostDisk>, batch: &ValidBatch) -> i64 {
    loop {
        match log.append(batch, CONTEXT) {
            Ok(appended) => return appended.last_offset + 1,
            Err(AppendError::Backpressure) => store.wait_space(batch.size_bytes()).await.unwrap(),
            Err(error) => panic!("{error}"),
        }
    }
}

/// A file of zeros, and its handle for durable writes in this mode.
async fn raw_file(disk: &HostDisk, path: &Path, mode: SyncMode) -> <HostDisk as Disk>::File {
    let plain = disk.open(path, OpenMode::CreateNew).await.unwrap();
    plain.allocate(0, RAW_FILE_BYTES).await.unwrap();
    let zeros = Rc::new(disk.buffer(1 << 20));
    for at in (0..RAW_FILE_BYTES).step_by(1 << 20) {
        plain.write_at(zeros.clone(), at).await.unwrap();
    }
    plain.sync().await.unwrap();
    if mode == SyncMode::Dsync { disk.open(path, OpenMode::ReadWriteDsync).await.unwrap() } else { plain }
}

fn durable(c: &mut Criterion) {
    let mut group = c.benchmark_group("durable");
    group.sample_size(20).measurement_time(Duration::from_secs(5));
    for (name, mode) in MODES {
        let raw = format!("raw {name}");
        group.bench_function(raw.clone(), |b| {
            b.iter_custom(|rounds| {
                let raw = raw.clone();
                on_executor(move |dir| async move {
                    let disk = HostDisk::open(&dir).await.unwrap();
                    let file = raw_file(&disk, &dir.join("raw"), mode).await;
                    let mut total = Duration::ZERO;
                    for round in 0..rounds {
                        let mut buffer = disk.buffer(4096);
                        buffer.bytes_mut().fill(round as u8);
                        let began = Instant::now();
                        file.write_at(Rc::new(buffer), round * 4096 % RAW_FILE_BYTES).await.unwrap();
                        if mode == SyncMode::Flush {
                            file.sync().await.unwrap();
                        }
                        total += note(&raw, began.elapsed());
                    }
                    total
                })
            });
        });
        let one = format!("append {name}");
        group.bench_function(one.clone(), |b| {
            b.iter_custom(|rounds| {
                let one = one.clone();
                on_executor(move |dir| async move {
                    with_store(&dir, mode, 1, |store, logs| async move {
                        let batch = batch(1024);
                        let mut total = Duration::ZERO;
                        for round in 0..rounds + 1 {
                            let began = Instant::now();
                            let end = append(&store, &logs[0], &batch).await;
                            logs[0].wait_durable(end).await.unwrap();
                            // The first waits for the journal's file.
                            if round > 0 {
                                total += note(&one, began.elapsed());
                            }
                        }
                        total
                    })
                    .await
                })
            });
        });
        let many = format!("group commit of 64 partitions {name}");
        group.bench_function(many.clone(), |b| {
            b.iter_custom(|rounds| {
                let many = many.clone();
                on_executor(move |dir| async move {
                    with_store(&dir, mode, 64, |store, logs| async move {
                        let batch = batch(1024);
                        let mut total = Duration::ZERO;
                        for round in 0..rounds + 1 {
                            let began = Instant::now();
                            let mut ends = Vec::with_capacity(logs.len());
                            for log in &logs {
                                ends.push(append(&store, log, &batch).await);
                            }
                            for (log, end) in logs.iter().zip(ends) {
                                log.wait_durable(end).await.unwrap();
                            }
                            if round > 0 {
                                total += note(&many, began.elapsed());
                            }
                        }
                        total
                    })
                    .await
                })
            });
        });
    }
    group.finish();
}

fn streaming(c: &mut Criterion) {
    let mut group = c.benchmark_group("streaming");
    group.sample_size(10).throughput(Throughput::Bytes(STREAM_BYTES as u64));
    group.bench_function("raw", |b| {
        b.iter_custom(|rounds| {
            on_executor(move |dir| async move {
                let disk = HostDisk::open(&dir).await.unwrap();
                let mut total = Duration::ZERO;
                for round in 0..rounds {
                    let file = disk.open(&dir.join(format!("raw{round}")), OpenMode::CreateNew).await.unwrap();
                    let buffer = Rc::new(disk.buffer(1 << 20));
                    let began = Instant::now();
                    for at in (0..STREAM_BYTES as u64).step_by(1 << 20) {
                        file.write_at(buffer.clone(), at).await.unwrap();
                    }
                    file.sync().await.unwrap();
                    total += note("raw streaming", began.elapsed());
                }
                total
            })
        });
    });
    group.bench_function("append", |b| {
        b.iter_custom(|rounds| {
            on_executor(move |dir| async move {
                with_store(&dir, SyncMode::Probe, 1, |store, logs| async move {
                    let batch = batch(256 << 10);
                    let mut total = Duration::ZERO;
                    for _ in 0..rounds {
                        let began = Instant::now();
                        let mut end = 0;
                        for _ in 0..STREAM_BYTES / batch.size_bytes() {
                            end = append(&store, &logs[0], &batch).await;
                        }
                        logs[0].wait_durable(end).await.unwrap();
                        total += note("append streaming", began.elapsed());
                    }
                    total
                })
                .await
            })
        });
    });
    group.finish();
}

fn read_plan(c: &mut Criterion) {
    let mut group = c.benchmark_group("read plan");
    group.sample_size(10);
    for max_bytes in [1024u32, 1 << 20] {
        group.bench_function(format!("tail, up to {max_bytes} bytes"), |b| {
            b.iter_custom(|rounds| {
                on_executor(move |dir| async move {
                    with_store(&dir, SyncMode::Probe, 1, |store, logs| async move {
                        let batch = batch(1024);
                        let mut end = 0;
                        for _ in 0..4096 {
                            end = append(&store, &logs[0], &batch).await;
                        }
                        logs[0].wait_durable(end).await.unwrap();
                        let bytes = Cell::new(0);
                        let began = Instant::now();
                        for round in 0..rounds {
                            let plan = logs[0].read_cached((round * 97) as i64 % end, max_bytes, end, true);
                            bytes.set(bytes.get() + plan.expect("in memory").unwrap().bytes);
                        }
                        let took = began.elapsed();
                        assert!(bytes.get() > 0);
                        took
                    })
                    .await
                })
            });
        });
    }
    group.finish();
}

fn recovery(c: &mut Criterion) {
    let mut group = c.benchmark_group("recovery");
    group.sample_size(10).measurement_time(Duration::from_secs(10)).throughput(Throughput::Bytes(STREAM_BYTES as u64));
    group.bench_function("64 MiB in the journal", |b| {
        b.iter_custom(|rounds| {
            let mut total = Duration::ZERO;
            for _ in 0..rounds {
                total += on_executor(move |dir| async move {
                    let path = dir.clone();
                    with_store(&path, SyncMode::Probe, 16, |store, logs| async move {
                        let batch = batch(64 << 10);
                        for round in 0..STREAM_BYTES / batch.size_bytes() {
                            append(&store, &logs[round % logs.len()], &batch).await;
                        }
                        for log in &logs {
                            log.wait_durable(log.log_end_offset()).await.unwrap();
                        }
                        // Nothing is shut down: the store ends as a killed process does.
                        Duration::ZERO
                    })
                    .await;
                    let disk = HostDisk::open(&dir).await.unwrap();
                    let began = Instant::now();
                    recover(&disk, &DataDir::new(&dir), &|_| true, 0).await.unwrap();
                    began.elapsed()
                });
            }
            total
        });
    });
    group.finish();
}

fn ratios(_: &mut Criterion) {
    println!("\nmedians of single operations, and what is demanded of their ratios");
    for (name, _) in MODES {
        if let (Some(raw), Some(one)) = (median(&format!("raw {name}")), median(&format!("append {name}"))) {
            println!("  {name}: raw write {:.0} us, durable append {:.0} us: {:.2} x (at most 1.15)", raw / 1e3, one / 1e3, one / raw);
        }
    }
    if let (Some(raw), Some(append)) = (median("raw streaming"), median("append streaming")) {
        let rate = |ns: f64| STREAM_BYTES as f64 / ns * 1e3;
        println!("  streaming: raw {:.0} MB/s, append {:.0} MB/s: {:.2} x (at least 0.9)", rate(raw), rate(append), raw / append);
    }
}

criterion_group!(benches, durable, streaming, read_plan, recovery, ratios);
criterion_main!(benches);
