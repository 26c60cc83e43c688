//! What `coreline log --json` prints: one object per line, each with its `type`.

use std::io::Write;

use coreline_storage::verify::{Item, Severity};
use coreline_wire::record::validate;
use serde_json::{Value, json};

use super::{BATCH_BYTES_MAX, Names, Sink, Totals, partition_name, printable};

/// Prints to a writer. A writer that fails is left alone: whoever read it has gone.
pub(super) struct Json {
    out: Box<dyn Write>,
    names: Names,
    records: bool,
}

impl Json {
    pub(super) fn new(out: Box<dyn Write>, names: Names, records: bool) -> Json {
        Json { out, names, records }
    }

    fn line(&mut self, value: &Value) {
        let _ = writeln!(self.out, "{value}");
    }
}

impl Sink for Json {
    fn item(&mut self, item: &Item<'_>) {
        let name = |tp| partition_name(&self.names, tp);
        let value = match item {
            Item::Finding(f) => {
                let severity = match f.severity {
                    Severity::Note => "note",
                    Severity::Repairable => "repairable",
                    Severity::Damage => "damage",
                };
                json!({"type": "finding", "severity": severity, "file": f.path.display().to_string(), "position": f.position, "why": f.why})
            }
            Item::Checkpoint { table, sequence, tp, entry } => json!({
                "type": "checkpoint", "table": table, "sequence": sequence, "partition": name(*tp), "logStart": entry.log_start,
                "highWatermark": entry.high_watermark, "segment": entry.point.segment_base, "position": entry.point.position,
                "offset": entry.point.offset,
                "epochs": entry.epochs.entries().iter().map(|e| [i64::from(e.epoch), e.start_offset]).collect::<Vec<_>>(),
            }),
            Item::JournalEntry { journal, header, bytes } => json!({
                "type": "journalEntry", "journal": journal, "partition": name(header.partition), "kind": format!("{:?}", header.kind),
                "baseOffset": header.base_offset, "lastOffset": header.last_offset, "segment": header.segment_base,
                "position": header.position, "bytes": bytes,
            }),
            Item::Journal { journal, generation, frames, entries } => {
                json!({"type": "journal", "journal": journal, "generation": generation, "frames": frames, "entries": entries})
            }
            Item::Batch { tp, segment, position, header, bytes } => {
                let mut batch = json!({
                    "type": "batch", "partition": name(*tp), "segment": segment, "position": position, "baseOffset": header.base_offset,
                    "lastOffset": header.last_offset(), "records": header.record_count, "bytes": bytes.len(),
                    "leaderEpoch": header.partition_leader_epoch, "producerId": header.producer_id, "producerEpoch": header.producer_epoch,
                    "baseSequence": header.base_sequence, "maxTimestamp": header.max_timestamp,
                    "compression": header.compression().map(|codec| format!("{codec:?}").to_lowercase()),
                });
                if self.records {
                    let mut scratch = Vec::new();
                    let records = validate::records(header, bytes, BATCH_BYTES_MAX, &mut scratch).map(|records| {
                        records
                            .map_while(Result::ok)
                            .map(|r| {
                                json!({
                                    "offset": header.base_offset + i64::from(r.offset_delta),
                                    "timestamp": validate::timestamp_of(header, &r), "key": r.key.map(printable), "value": r.value.map(printable),
                                    "headers": r.headers.iter().map(|h| json!([h.key, h.value.map(printable)])).collect::<Vec<_>>(),
                                })
                            })
                            .collect::<Vec<_>>()
                    });
                    batch["payload"] = records.map_or_else(|error| json!(error.to_string()), Value::Array);
                }
                batch
            }
            Item::Index { tp, file, entries, covered } => {
                json!({"type": "index", "partition": name(*tp), "file": file, "entries": entries, "covered": covered})
            }
            Item::Exchange { tp, sequence, cleaned_to, new, old, unfinished } => json!({
                "type": "exchange", "partition": name(*tp), "sequence": sequence, "cleanedTo": cleaned_to, "newSegments": new,
                "oldSegments": old, "unfinished": unfinished,
            }),
            Item::Producers { tp, producers, offset } => {
                json!({"type": "producers", "partition": name(*tp), "producers": producers, "offset": offset})
            }
            Item::Segment(s) => json!({
                "type": "segment", "partition": name(s.tp), "baseOffset": s.base_offset, "bytes": s.bytes, "batches": s.batches,
                "records": s.records, "nextOffset": s.next_offset, "maxTimestamp": s.max_timestamp, "blocksChecked": s.blocks_checked,
            }),
        };
        self.line(&value);
    }

    fn metadata(&mut self, kind: &str, at: &str, text: &str) {
        self.line(&json!({"type": "metadata", "kind": kind, "at": at, "text": text}));
    }

    fn end(&mut self, t: &Totals) {
        self.line(&json!({
            "type": "totals", "partitions": t.partitions, "segments": t.segments, "batches": t.batches, "records": t.records, "bytes": t.bytes,
            "blocksChecked": t.blocks_checked, "journalEntries": t.journal_entries, "metadataEntries": t.metadata_entries, "notes": t.notes,
            "repairable": t.repairable, "damage": t.damage,
        }));
        let _ = self.out.flush();
    }
}
