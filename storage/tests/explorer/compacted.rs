//! What may be in a log that was compacted: of each key the newest record, everything that no compaction has looked at, tombstones until their time.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bytes::Bytes;
use coreline_wire::record::Origin;
use coreline_wire::record::batch::Batches;
use coreline_wire::record::validate::{records, timestamp_of};

use super::history::{Expected, Line};

/// The records from `start` on in the bytes of whole batches.
pub(crate) fn lines(bytes: &[u8], start: i64) -> Result<Vec<Line>, String> {
    let (mut out, mut scratch, mut next_offset) = (Vec::new(), Vec::new(), 0);
    for batch in Batches::new(Bytes::copy_from_slice(bytes)) {
        let (header, batch) = batch.map_err(|e| e.to_string())?;
        if header.base_offset < next_offset {
            return Err(format!("a batch at {} where {next_offset} follows", header.base_offset));
        }
        next_offset = header.next_offset();
        let batch = batch.validate(Origin::Log).map_err(|e| format!("the batch at {}: {e}", header.base_offset))?;
        let of_batch = records(&header, batch.bytes(), 1 << 20, &mut scratch).map_err(|e| e.to_string())?;
        for record in of_batch {
            let record = record.map_err(|e| format!("a record of the batch at {}: {e}", header.base_offset))?;
            let offset = header.base_offset + i64::from(record.offset_delta);
            if offset >= start {
                let (key, value) = (record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec));
                out.push(Line { offset, timestamp: timestamp_of(&header, &record), key, value });
            }
        }
    }
    if !out.windows(2).all(|pair| pair[0].offset < pair[1].offset) {
        return Err("offsets do not rise".into());
    }
    Ok(out)
}

/// Holds what was found in `range` against what was appended there and what compactions may have taken and must have taken.
pub(crate) fn check(found: &[Line], expected: &Expected, range: Range<i64>, delete_retention_ms: i64) -> Result<(), String> {
    let appended: BTreeMap<i64, &Line> = expected.batches.iter().flat_map(|b| b.lines.iter()).map(|line| (line.offset, line)).collect();
    let there: BTreeSet<i64> = found.iter().map(|line| line.offset).collect();
    if let Some(line) = found.iter().find(|line| appended.get(&line.offset) != Some(line)) {
        return Err(format!("the record at {} is not the one that was appended", line.offset));
    }
    let looked_at = expected.clean_asked.iter().map(|(below, _)| *below).max().unwrap_or(0);
    let newest_below = |end: i64| -> BTreeMap<&Vec<u8>, i64> {
        appended.range(..end.max(0)).filter_map(|(offset, line)| Some((line.key.as_ref()?, *offset))).collect()
    };
    let newest = newest_below(looked_at.min(range.end));
    for (offset, line) in appended.range(range.clone()).filter(|(offset, _)| !there.contains(offset)) {
        let superseded = line.key.as_ref().is_none_or(|key| newest.get(key).is_some_and(|newest| newest > offset));
        if *offset >= looked_at {
            return Err(format!("the record at {offset} is gone, compactions looked only below {looked_at}"));
        }
        if !superseded && (line.value.is_some() || !horizon_passed(expected, *offset, delete_retention_ms)) {
            let what = if line.value.is_some() { "record" } else { "tombstone" };
            return Err(format!("the newest {what} of its key, at {offset}, is gone; compactions: {:?}", expected.clean_asked));
        }
    }
    let newest = newest_below(expected.clean_min);
    for line in found.iter().filter(|line| line.offset < expected.clean_min) {
        if line.key.as_ref().is_none_or(|key| newest[key] > line.offset) {
            return Err(format!("the record at {} is there, compacted up to {}", line.offset, expected.clean_min));
        }
    }
    if let Some(seen) = &expected.seen
        && let Some(back) = there.iter().find(|offset| **offset < seen.end && !seen.offsets.contains(offset))
    {
        return Err(format!("the record at {back} was gone and is back"));
    }
    Ok(())
}

/// Whether a compaction may have met a tombstone, and another one its time's end.
fn horizon_passed(expected: &Expected, offset: i64, delete_retention_ms: i64) -> bool {
    let asked = &expected.clean_asked;
    asked.iter().enumerate().any(|(index, (below, now_ms))| {
        *below > offset && asked[index + 1..].iter().any(|(_, later)| *later >= now_ms.saturating_add(delete_retention_ms))
    })
}
