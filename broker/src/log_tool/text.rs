//! What `coreline log` prints for people: one line per thing, in columns.

use std::io::Write;

use coreline_storage::verify::{Item, Severity};
use coreline_wire::record::validate;

use super::{BATCH_BYTES_MAX, Names, Sink, Totals, partition_name, printable};

/// Prints to a writer. A writer that fails is left alone: whoever read it has gone.
pub(super) struct Text {
    out: Box<dyn Write>,
    names: Names,
    records: bool,
}

impl Text {
    pub(super) fn new(out: Box<dyn Write>, names: Names, records: bool) -> Text {
        Text { out, names, records }
    }

    fn line(&mut self, line: &str) {
        let _ = writeln!(self.out, "{line}");
    }
}

impl Sink for Text {
    fn item(&mut self, item: &Item<'_>) {
        let line = match item {
            Item::Finding(finding) => {
                let what = match finding.severity {
                    Severity::Note => "note      ",
                    Severity::Repairable => "repairable",
                    Severity::Damage => "DAMAGE    ",
                };
                let at = finding.position.map(|p| format!(" at byte {p}")).unwrap_or_default();
                format!("{what} {}{at}: {}", finding.path.display(), finding.why)
            }
            Item::Checkpoint { table, sequence, tp, entry } => format!(
                "checkpoint {table} {sequence:>6} {:<24} start {:>10} end {:>10} segment {:>10} position {:>10} epochs {}",
                partition_name(&self.names, *tp),
                entry.log_start,
                entry.point.offset,
                entry.point.segment_base,
                entry.point.position,
                entry.epochs.entries().len()
            ),
            Item::JournalEntry { journal, header, bytes } => format!(
                "journal {journal} {:<24} offsets {:>10}..{:<10} segment {:>10} position {:>10} bytes {bytes:>8} {:?}",
                partition_name(&self.names, header.partition),
                header.base_offset,
                header.last_offset,
                header.segment_base,
                header.position,
                header.kind
            ),
            Item::Journal { journal, generation, frames, entries } => {
                format!("journal {journal} generation {generation}: {frames} frames with {entries} entries that were not released")
            }
            Item::Batch { tp, segment, position, header, bytes } => {
                let line = format!(
                    "batch {:<24} segment {segment:>10} position {position:>10} offsets {:>10}..{:<10} records {:>6} bytes {:>8} epoch {:>4} \
                     producer {} epoch {} sequence {} {} max timestamp {}",
                    partition_name(&self.names, *tp),
                    header.base_offset,
                    header.last_offset(),
                    header.record_count,
                    bytes.len(),
                    header.partition_leader_epoch,
                    header.producer_id,
                    header.producer_epoch,
                    header.base_sequence,
                    header.compression().map_or("?".to_string(), |codec| format!("{codec:?}").to_lowercase()),
                    header.max_timestamp
                );
                self.line(&line);
                if self.records {
                    let mut scratch = Vec::new();
                    match validate::records(header, bytes, BATCH_BYTES_MAX, &mut scratch) {
                        Err(error) => self.line(&format!("  the records cannot be read: {error}")),
                        Ok(records) => {
                            for record in records {
                                let Ok(record) = record else {
                                    self.line("  a record cannot be read");
                                    break;
                                };
                                let show = |bytes: Option<&[u8]>| bytes.map_or("null".to_string(), printable);
                                let headers: String =
                                    record.headers.iter().map(|h| format!(" {}={}", h.key.escape_debug(), show(h.value))).collect();
                                let line = format!(
                                    "  offset {:>10} timestamp {} key {} value {}{headers}",
                                    header.base_offset + i64::from(record.offset_delta),
                                    validate::timestamp_of(header, &record),
                                    show(record.key),
                                    show(record.value)
                                );
                                self.line(&line);
                            }
                        }
                    }
                }
                return;
            }
            Item::Index { tp, file, entries, covered } => {
                format!("index {:<24} {file}: {entries} entries for {covered} bytes", partition_name(&self.names, *tp))
            }
            Item::Exchange { tp, sequence, cleaned_to, new, old, unfinished } => format!(
                "compaction {:<24} {sequence:>6} up to offset {cleaned_to}: {} segments in place of {}{}",
                partition_name(&self.names, *tp),
                new.len(),
                old.len(),
                if *unfinished { ", not finished" } else { "" }
            ),
            Item::Producers { tp, producers, offset } => {
                format!("producers {:<24} {producers} as of offset {offset}", partition_name(&self.names, *tp))
            }
            Item::Segment(s) => format!(
                "segment {:<24} {:>20} bytes {:>12} batches {:>8} records {:>10} next offset {:>10} blocks checked {}",
                partition_name(&self.names, s.tp),
                s.base_offset,
                s.bytes,
                s.batches,
                s.records,
                s.next_offset,
                s.blocks_checked
            ),
        };
        self.line(&line);
    }

    fn metadata(&mut self, kind: &str, at: &str, text: &str) {
        self.line(&format!("metadata {kind} {at}: {text}"));
    }

    fn end(&mut self, t: &Totals) {
        let line = format!(
            "{} partitions, {} segments, {} batches, {} records, {} bytes ({} blocks against their checksums); {} journal entries, {} metadata entries",
            t.partitions, t.segments, t.batches, t.records, t.bytes, t.blocks_checked, t.journal_entries, t.metadata_entries
        );
        self.line(&line);
        let line = match (t.damage, t.repairable) {
            (0, 0) => "sound".to_string(),
            (0, n) => format!("{n} things that the broker repairs by itself"),
            (n, m) => format!(
                "{n} DAMAGED, {m} things that the broker repairs by itself: restore the files named above, or delete the topics and start again"
            ),
        };
        self.line(&line);
        let _ = self.out.flush();
    }
}
