//! Recovers an image and holds the result against what must be there.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use coreline_storage::data_dir::{DataDir, JournalId, Meta};
use coreline_storage::io::sim::{CrashMode, Rng, SimDisk};
use coreline_storage::{
    AppendContext, AppendError, AppendOrigin, Log, ReadSpan, RecoveryReport, StorageError, Store, begin_empty, recover,
};
use coreline_wire::TopicPartition;
use coreline_wire::record::BatchHeader;
use futures_lite::future::{block_on, or};

use super::compacted;
use super::history::{Expectations, Expected, Outcome, Seen};
use super::workload::Setup;

pub(crate) const ROOT: &str = "/data";
/// Wall clock of recoveries, ms.
const NOW_MS: i64 = 1_000_000;

/// A store that was opened on an image, with its logs.
pub(crate) struct Opened {
    pub(crate) report: RecoveryReport,
    pub(crate) stores: Vec<Store<SimDisk>>,
    pub(crate) logs: Vec<(TopicPartition, Log<SimDisk>)>,
}

/// Recovers and opens; every step of it may be cut by a crash.
pub(crate) async fn open(disk: &SimDisk, setup: &Setup, alive: &[TopicPartition], stores: usize, fresh: u64) -> Result<Opened, String> {
    let dir = DataDir::new(ROOT);
    let report = identify(disk, &dir, alive).await.map_err(|e| format!("recovery refuses: {e}"))?;
    let mut opened = Vec::new();
    for i in 0..stores {
        let id = report.journals.get(i).copied().unwrap_or(JournalId(fresh + i as u64));
        opened.push(Store::open(disk.clone(), &dir, id, setup.store.clone()).await.map_err(|e| format!("a store does not open: {e}"))?);
    }
    let mut logs = Vec::new();
    for (index, tp) in alive.iter().enumerate() {
        let log = opened[index % stores].open_log(*tp, setup.log_of(*tp)).await;
        logs.push((*tp, log.map_err(|e| format!("{tp} does not open: {e}"))?));
    }
    Ok(Opened { report, stores: opened, logs })
}

thread_local! {
    static OPENINGS: Cell<u128> = const { Cell::new(0) };
}

/// The directories that a seed formats have the same ids in every run of it.
pub(crate) fn first_opening(seed: u64) {
    OPENINGS.set(u128::from(seed) << 64);
}

/// The start of a process, in the order of the broker: identity, mark of a clean stop, recovery.
async fn identify(disk: &SimDisk, dir: &DataDir, alive: &[TopicPartition]) -> Result<RecoveryReport, StorageError> {
    let opening = OPENINGS.get() + 1;
    OPENINGS.set(opening);
    let meta = Meta { cluster_id: String::new(), node_id: 1, directory_id: opening.to_le_bytes() };
    let formatted = dir.open_or_format(disk, &meta).await?.directory_id == meta.directory_id;
    dir.take_clean_shutdown(disk).await?;
    match formatted {
        true => begin_empty(disk, dir).await,
        false => recover(disk, dir, &|tp| alive.contains(&tp), NOW_MS).await,
    }
}

/// Recovers `image`, checks what it has against `expected`, and crashes again, during or after the recovery: the second recovery must have the same.
pub(crate) fn check(
    image: &SimDisk,
    setup: &Setup,
    expected: &Expectations,
    kill: bool,
    seed: u64,
    again: bool,
) -> Result<Outcome, String> {
    let attempt = catch_unwind(AssertUnwindSafe(|| {
        let mut rng = Rng::new(seed);
        let first = image.fork(rng.next_u64());
        let promised: Expectations;
        let first_expected = if kill {
            promised = expected.iter().map(|(tp, e)| (*tp, Expected { end_min: e.end_min_written, ..e.clone() })).collect();
            &promised
        } else {
            expected
        };
        let (outcome, events) = recovered(&first, setup, first_expected)?;
        if !again {
            return Ok(outcome);
        }
        // What the first recovery has shown to a reader must stay, also when only the process had died before it and the power fails now.
        let survivor = if rng.percent(30) {
            first.crash(rng.next_u64(), if rng.percent(50) { CrashMode::LoseAll } else { CrashMode::Mixed })
        } else {
            let second = image.fork(rng.next_u64());
            second.halt_after(rng.below(events + 1));
            let alive: Vec<_> = expected.keys().copied().collect();
            block_on(or(async { drop(open(&second, setup, &alive, 1, 0xf0).await) }, second.halted()));
            // Part of the recovery may not have happened at all, so only the promise holds, not the first result, unless the image was durable.
            let survivor = second.crash(rng.next_u64(), CrashMode::Mixed);
            if kill {
                recovered(&survivor, setup, expected).map_err(|why| format!("after a second crash: {why}"))?;
                return Ok(outcome);
            }
            survivor
        };
        let (same, _) = recovered(&survivor, setup, expected).map_err(|why| format!("after a second crash: {why}"))?;
        if same != outcome {
            return Err(format!("a second crash changes the result: {outcome:?} first, then {same:?}"));
        }
        Ok(outcome)
    }));
    attempt.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|s| s.to_string()));
        Err(format!("panic: {}", text.unwrap_or_default()))
    })
}

/// Recovers `disk` and checks; answers also with the events that took.
fn recovered(disk: &SimDisk, setup: &Setup, expected: &Expectations) -> Result<(Outcome, u64), String> {
    block_on(async {
        let alive: Vec<_> = expected.keys().copied().collect();
        let opened = open(disk, setup, &alive, 1, 0xf0).await?;
        let events = disk.stats().events;
        let mut outcome = Outcome::new();
        for (tp, log) in &opened.logs {
            let range =
                check_log(log, setup, *tp, &expected[tp]).await.map_err(|why| format!("{tp}: {why} (notes: {:?})", opened.report.notes))?;
            outcome.insert(*tp, range);
        }
        for (tp, log) in &opened.logs {
            check_producers(log, &expected[tp]).map_err(|why| format!("{tp}: {why}"))?;
        }
        Ok((outcome, events))
    })
}

async fn check_log(log: &Log<SimDisk>, setup: &Setup, tp: TopicPartition, expected: &Expected) -> Result<(i64, i64, u32), String> {
    let (start, end) = (log.log_start_offset(), log.log_end_offset());
    if end < expected.end_min {
        return Err(format!("acknowledged up to {}, recovered up to {end}", expected.end_min));
    }
    if log.durable_end_offset() != end {
        return Err(format!("recovered up to {end}, durable only up to {}", log.durable_end_offset()));
    }
    if end != 0 && !expected.batches.iter().any(|b| b.next_offset == end) {
        return Err(format!("the recovered end {end} is no end of a batch that was appended"));
    }
    if start < expected.start_min || start > expected.start_max {
        return Err(format!("log start {start} outside {}..={}", expected.start_min, expected.start_max));
    }
    let found = read(log, setup.compacts(tp)).await?;
    if setup.compacts(tp) {
        let lines = compacted::lines(&found, start)?;
        compacted::check(&lines, expected, start..end, setup.log.delete_retention_ms)?;
        check_lookups(log, lines.iter().map(|line| line.offset)).await?;
        return Ok((start, end, crc32fast::hash(&found)));
    }
    let there = expected.batches.iter().filter(|b| b.next_offset > start && b.next_offset <= end);
    let wanted = there.map(|b| &b.bytes[..]).collect::<Vec<_>>().concat();
    if found != wanted {
        let at = found.iter().zip(&wanted).position(|(a, b)| a != b).unwrap_or(found.len().min(wanted.len()));
        return Err(format!("{} bytes in {start}..{end}, {} appended, different from byte {at} on", found.len(), wanted.len()));
    }
    let there = expected.batches.iter().filter(|b| b.next_offset > start && b.next_offset <= end);
    check_lookups(log, there.map(|b| b.base_offset.max(start))).await?;
    Ok((start, end, crc32fast::hash(&found)))
}

/// Reads at some of these offsets, which are there, begin with the batch that has them: what the indexes say is of this log.
async fn check_lookups(log: &Log<SimDisk>, there: impl Iterator<Item = i64>) -> Result<(), String> {
    let there: Vec<i64> = there.collect();
    for offset in there.iter().skip(1).step_by(there.len() / 5 + 1) {
        let plan = log.read(*offset, 1, i64::MAX, true).await.map_err(|e| format!("read at {offset}: {e}"))?;
        let bytes: Vec<u8> =
            plan.spans.iter().flat_map(|span| if let ReadSpan::Memory(bytes) = span { bytes.to_vec() } else { Vec::new() }).collect();
        match BatchHeader::parse(&bytes) {
            Ok(header) if (header.base_offset..header.next_offset()).contains(offset) => {}
            other => return Err(format!("a read at {offset} begins with {other:?}")),
        }
    }
    Ok(())
}

/// All bytes of a log from its start to its end. Of one with gaps nothing may be left at its end.
async fn read(log: &Log<SimDisk>, gaps: bool) -> Result<Vec<u8>, String> {
    let (start, end) = (log.log_start_offset(), log.log_end_offset());
    let mut found = Vec::new();
    let mut offset = start;
    while offset < end {
        let plan = log.read(offset, 1 << 20, i64::MAX, true).await.map_err(|e| format!("read at {offset}: {e}"))?;
        if plan.bytes == 0 && gaps {
            break;
        }
        if plan.next_offset <= offset {
            return Err(format!("nothing to read at {offset} of {start}..{end}"));
        }
        for span in &plan.spans {
            match span {
                ReadSpan::Memory(bytes) => found.extend_from_slice(bytes),
                ReadSpan::File { .. } => return Err("the simulated disk has no sendfile".into()),
            }
        }
        offset = plan.next_offset;
    }
    Ok(found)
}

/// What readers of a compacted log find in it.
pub(crate) async fn seen(log: &Log<SimDisk>) -> Result<Seen, String> {
    let lines = compacted::lines(&read(log, true).await?, log.log_start_offset())?;
    Ok(Seen { end: log.log_end_offset(), offsets: Rc::new(lines.iter().map(|line| line.offset).collect()) })
}

/// Retries of what is there are found as such; what the crash took is not known any more.
fn check_producers(log: &Log<SimDisk>, expected: &Expected) -> Result<(), String> {
    let end = log.log_end_offset();
    let producers: BTreeSet<i64> = expected.batches.iter().filter_map(|b| b.producer).map(|(id, _)| id).collect();
    let context = AppendContext { now_ms: NOW_MS, leader_epoch: i32::MAX, origin: AppendOrigin::Client };
    for producer in producers {
        let of_producer = || expected.batches.iter().filter(|b| b.producer.is_some_and(|(id, _)| id == producer));
        let there: Vec<_> = of_producer().filter(|b| b.next_offset <= end).collect();
        for batch in there.iter().rev().take(5) {
            match log.append(&batch.raw, context) {
                Ok(a) if a.duplicate && (a.base_offset, a.last_offset + 1) == (batch.base_offset, batch.next_offset) => {}
                other => return Err(format!("retry of producer {producer} at offset {}: {other:?}", batch.base_offset)),
            }
        }
    }
    // One append changes the table, so the first batch that was lost comes last.
    if let Some(lost) = expected.batches.iter().find(|b| b.next_offset > end && b.producer.is_some()) {
        match log.append(&lost.raw, context) {
            Ok(appended) if !appended.duplicate && appended.base_offset == end => {}
            Err(AppendError::Backpressure) => {}
            other => return Err(format!("a batch that the crash took, sent again: {other:?}")),
        }
    }
    Ok(())
}
