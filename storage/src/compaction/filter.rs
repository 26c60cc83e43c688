//! Decides record by record what compaction keeps, and makes the bytes that stay. Pure: bytes in, bytes out.
//!
//! As Kafka: of each key the newest record; a tombstone until the delete horizon that the first compaction sets on its batch has passed (KIP-534); a
//! transaction's marker until its records are gone and the horizon has passed; nothing of an aborted transaction; the batch with a producer's last sequence, empty
//! if need be. Records without a key go. What cannot be decoded stays as it is. Runs on pool threads; caller: `compaction/pass.rs`.

use bytes::Bytes;
use coreline_wire::record::batch::Batches;
use coreline_wire::record::control::ControlType;
use coreline_wire::record::retain::{self, Rewriter, delete_horizon_ms};
use coreline_wire::record::{BatchHeader, Compression, Origin, Records, ValidBatch, compression};
use hashbrown::{HashMap, HashSet};

use super::key_map::KeyMap;

/// An aborted transaction that has records in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aborted {
    /// Its producer.
    pub producer_id: i64,
    /// First offset of its records.
    pub first_offset: i64,
    /// Offset of its marker.
    pub last_offset: i64,
}

/// Everything a pass knows while it walks over batches.
#[derive(Debug)]
pub struct Pass {
    /// Newest offset of each key.
    pub keys: KeyMap,
    /// Wall clock, ms: one moment for the whole pass.
    pub now_ms: i64,
    /// `delete.retention.ms`.
    pub delete_retention_ms: i64,
    /// Last offset that each producer with state has written.
    pub last_of_producer: HashMap<i64, i64>,
    /// Aborted transactions; `None` when nobody looked, because the log seemed to have no transactions.
    pub aborted: Option<Vec<Aborted>>,
    /// Producers of whose transaction a batch was met since its last marker.
    pub open_transactions: HashSet<i64>,
    /// Decompressed records, reused.
    pub scratch: Vec<u8>,
}

/// A batch in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlacedBatch {
    /// Offset of its first record, as it was.
    pub base_offset: i64,
    /// Its bytes.
    pub bytes: u32,
    /// Largest timestamp, ms; `i64::MIN` for a batch without records.
    pub max_timestamp_ms: i64,
}

/// What a chunk has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filtered {
    /// Batches that stay, one behind the other.
    pub bytes: Vec<u8>,
    /// The same, one by one.
    pub batches: Vec<PlacedBatch>,
    /// Records left out.
    pub dropped: u64,
}

/// Why a chunk was not processed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// There are transactions: find the aborted ones and start the pass over.
    NeedTransactions,
    /// A batch is damaged: byte within the chunk, and why.
    Damaged(usize, String),
}

impl Pass {
    /// Puts the keys of a chunk's records from `from` on into the map. True when all of it went in; the map's `latest` tells how far it came.
    pub fn learn(&mut self, chunk: Bytes, from: i64) -> Result<bool, Stop> {
        let mut position = 0;
        for batch in Batches::new(chunk) {
            let (header, batch) = batch.map_err(|e| Stop::Damaged(position, e.to_string()))?;
            if header.last_offset() >= from {
                let batch = batch.validate(Origin::Log).map_err(|e| Stop::Damaged(position, e.to_string()))?;
                if !self.learn_batch(&batch, from)? {
                    return Ok(false);
                }
            }
            self.keys.set_latest(header.last_offset());
            position += header.size_bytes();
        }
        Ok(true)
    }

    fn learn_batch(&mut self, batch: &ValidBatch, from: i64) -> Result<bool, Stop> {
        let header = batch.header();
        if self.is_of_transaction(header)? && (header.attributes.is_control() || self.is_aborted(header)) {
            return Ok(true);
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        // What cannot be decoded keeps its keys to itself, and stays whole.
        if let Some(records) = records_of(batch, &mut scratch)
            && records.clone().all(|r| r.is_ok())
        {
            for record in records.flatten() {
                let offset = header.base_offset + i64::from(record.offset_delta);
                if offset < from {
                    continue;
                }
                if let Some(key) = record.key
                    && !self.keys.put(key, offset)
                {
                    self.keys.set_latest(offset - 1);
                    self.scratch = scratch;
                    return Ok(false);
                }
            }
        }
        self.scratch = scratch;
        Ok(true)
    }

    /// Filters a chunk of whole batches.
    pub fn filter(&mut self, chunk: Bytes) -> Result<Filtered, Stop> {
        let mut out = Filtered { bytes: Vec::with_capacity(chunk.len()), ..Filtered::default() };
        let mut position = 0;
        for batch in Batches::new(chunk) {
            let damaged = |e: String| Stop::Damaged(position, e);
            let (header, batch) = batch.map_err(|e| damaged(e.to_string()))?;
            let batch = batch.validate(Origin::Log).map_err(|e| damaged(e.to_string()))?;
            self.filter_batch(&batch, &mut out).map_err(|stop| stop.unwrap_or_else(|| damaged("it cannot be compressed again".into())))?;
            position += header.size_bytes();
        }
        Ok(out)
    }

    fn filter_batch(&mut self, batch: &ValidBatch, out: &mut Filtered) -> Result<(), Option<Stop>> {
        let header = *batch.header();
        let in_transaction = self.is_of_transaction(&header).map_err(Some)?;
        let mut scratch = std::mem::take(&mut self.scratch);
        let payload = payload_of(batch, &mut scratch);
        let horizon = delete_horizon_ms(&header);
        let passed = horizon.is_some_and(|horizon| horizon <= self.now_ms);
        // KIP-534: a marker may go once nothing of its transaction was met.
        let mut marks_nothing = false;
        let mut discard = false;
        if header.attributes.is_control() {
            let ends = payload.is_none_or(|payload| ends_transaction(&header, payload));
            marks_nothing = ends && !self.open_transactions.remove(&header.producer_id);
            discard = marks_nothing && passed;
        } else if in_transaction {
            self.open_transactions.insert(header.producer_id);
            discard = self.is_aborted(&header);
        }
        let is_last = self.last_of_producer.get(&header.producer_id) == Some(&header.last_offset());
        let verdicts = payload.and_then(|payload| self.judge_records(&header, payload, discard, passed));
        let written = match (&verdicts, payload) {
            (Some(verdicts), Some(payload)) => {
                let kept = verdicts.kept.iter().filter(|keep| **keep).count();
                out.dropped += (verdicts.kept.len() - kept) as u64;
                let new_horizon = ((verdicts.tombstones || marks_nothing) && horizon.is_none())
                    .then(|| self.now_ms.saturating_add(self.delete_retention_ms));
                if kept == 0 {
                    if is_last {
                        place(out, &header, true, |bytes| {
                            retain::empty(&header, bytes);
                            Ok(header.max_timestamp)
                        })
                    } else {
                        Ok(())
                    }
                } else if kept == verdicts.kept.len() && new_horizon.is_none() {
                    keep_whole(out, batch)
                } else {
                    place(out, &header, false, |bytes| rewrite(&header, payload, &verdicts.kept, new_horizon, bytes))
                }
            }
            _ => keep_whole(out, batch),
        };
        self.scratch = scratch;
        written
    }

    /// Which records stay; `None` when the records cannot be read.
    fn judge_records(&self, header: &BatchHeader, payload: &[u8], discard: bool, passed: bool) -> Option<Verdicts> {
        let mut verdicts = Verdicts { kept: Vec::new(), tombstones: false };
        for record in Records::new(payload, header.record_count).ok()? {
            let record = record.ok()?;
            let offset = header.base_offset + i64::from(record.offset_delta);
            let keep = !discard
                && (header.attributes.is_control()
                    || offset > self.keys.latest()
                    || record.key.is_some_and(|key| {
                        offset >= self.keys.get(key).unwrap_or(-1) && (record.value.is_some() || !(passed || planted!(TombstonesAtOnce)))
                    }));
            verdicts.tombstones |= keep && record.value.is_none() && !header.attributes.is_control();
            verdicts.kept.push(keep);
        }
        Some(verdicts)
    }

    fn is_of_transaction(&self, header: &BatchHeader) -> Result<bool, Stop> {
        let of_transaction = header.attributes.is_control() || header.attributes.is_transactional();
        if of_transaction && self.aborted.is_none() {
            return Err(Stop::NeedTransactions);
        }
        Ok(of_transaction)
    }

    fn is_aborted(&self, header: &BatchHeader) -> bool {
        let of = |a: &Aborted| a.producer_id == header.producer_id && (a.first_offset..a.last_offset).contains(&header.base_offset);
        self.aborted.as_ref().is_some_and(|aborted| aborted.iter().any(of))
    }
}

struct Verdicts {
    kept: Vec<bool>,
    /// A tombstone is among those that stay.
    tombstones: bool,
}

/// Finds the aborted transactions of a log from its batches in order.
#[derive(Debug, Default)]
pub struct TransactionScan {
    first_offset: HashMap<i64, i64>,
    /// What was found.
    pub aborted: Vec<Aborted>,
}

impl TransactionScan {
    /// Looks at a chunk of whole batches.
    pub fn look(&mut self, chunk: Bytes) -> Result<(), Stop> {
        let mut position = 0;
        for batch in Batches::new(chunk) {
            let damaged = |e: String| Stop::Damaged(position, e);
            let (header, batch) = batch.map_err(|e| damaged(e.to_string()))?;
            if header.attributes.is_control() {
                let batch = batch.validate(Origin::Log).map_err(|e| damaged(e.to_string()))?;
                if let Some(kind) = control_type(&header, batch.payload()).filter(|kind| is_marker(*kind))
                    && let Some(first_offset) = self.first_offset.remove(&header.producer_id)
                    && kind == ControlType::Abort
                {
                    self.aborted.push(Aborted { producer_id: header.producer_id, first_offset, last_offset: header.base_offset });
                }
            } else if header.attributes.is_transactional() {
                self.first_offset.entry(header.producer_id).or_insert(header.base_offset);
            }
            position += header.size_bytes();
        }
        Ok(())
    }
}

fn is_marker(kind: ControlType) -> bool {
    matches!(kind, ControlType::Commit | ControlType::Abort)
}

fn control_type(header: &BatchHeader, payload: &[u8]) -> Option<ControlType> {
    let record = Records::new(payload, header.record_count).ok()?.next()?.ok()?;
    ControlType::parse(record.key?).ok()
}

/// True for a marker, and for a control batch whose record is gone.
fn ends_transaction(header: &BatchHeader, payload: &[u8]) -> bool {
    header.record_count == 0 || control_type(header, payload).is_some_and(is_marker)
}

fn payload_of<'a>(batch: &'a ValidBatch, scratch: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    match batch.header().compression()? {
        Compression::None => Some(batch.payload()),
        codec => {
            scratch.clear();
            compression::decompress(codec, batch.payload(), BATCH_BYTES_MAX, scratch).ok()?;
            Some(scratch)
        }
    }
}

fn records_of<'a>(batch: &'a ValidBatch, scratch: &'a mut Vec<u8>) -> Option<Records<'a>> {
    Records::new(payload_of(batch, scratch)?, batch.header().record_count).ok()
}

fn keep_whole(out: &mut Filtered, batch: &ValidBatch) -> Result<(), Option<Stop>> {
    let header = batch.header();
    place(out, header, header.record_count == 0, |bytes| {
        bytes.extend_from_slice(batch.bytes());
        Ok(header.max_timestamp)
    })
}

fn rewrite(header: &BatchHeader, payload: &[u8], kept: &[bool], horizon: Option<i64>, out: &mut Vec<u8>) -> Result<i64, Option<Stop>> {
    let mut rewriter = Rewriter::new(header, horizon);
    let mut records = Records::new(payload, header.record_count).map_err(|_| None)?;
    let (mut at, mut max_timestamp_ms) = (0, i64::MIN);
    for keep in kept {
        let record = records.next().and_then(Result::ok).ok_or(None)?;
        if *keep {
            max_timestamp_ms = max_timestamp_ms.max(coreline_wire::record::validate::timestamp_of(header, &record));
            rewriter.push(header, &record, &payload[at..records.position()]).map_err(|_| None)?;
        }
        at = records.position();
    }
    rewriter.finish(out).map_err(|_| None)?;
    Ok(max_timestamp_ms)
}

/// Notes the batch that `write` appends; it answers with the batch's largest timestamp.
fn place(
    out: &mut Filtered,
    header: &BatchHeader,
    without_records: bool,
    write: impl FnOnce(&mut Vec<u8>) -> Result<i64, Option<Stop>>,
) -> Result<(), Option<Stop>> {
    let before = out.bytes.len();
    let max_timestamp_ms = write(&mut out.bytes)?;
    let max_timestamp_ms = if without_records { i64::MIN } else { max_timestamp_ms };
    // A batch is below 2 GiB.
    out.batches.push(PlacedBatch { base_offset: header.base_offset, bytes: (out.bytes.len() - before) as u32, max_timestamp_ms });
    Ok(())
}

/// Largest size that one batch may unpack to, bytes; a larger one stays as it is.
const BATCH_BYTES_MAX: usize = 128 << 20;

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
