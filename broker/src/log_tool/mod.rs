//! `coreline log verify|dump DATA_DIR`: reads a stopped broker's data directory and tells what is in it and what is wrong with it, for people or as JSON.
//!
//! Nothing is changed. Refused while a broker holds the directory: its files would not agree with each other. Exit codes: 0 sound, 1 findings, 2 usage.

mod json;
pub(crate) mod metadata;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use coreline_storage::data_dir::DataDir;
use coreline_storage::journal::EntryHeader;
use coreline_storage::verify::{self, Finding, Item, Severity};
use coreline_wire::ids::{TopicId, TopicPartition};
use futures_lite::future::block_on;

use crate::cli::EXIT_USAGE;
use crate::preflight::judge_storage;
use crate::quorum::driver::unknown_partition;

/// What to do with a directory.
#[derive(Subcommand, Debug)]
pub enum LogCommand {
    /// Check every file and tell what is wrong.
    Verify(Target),
    /// Print what is in the files, batch by batch.
    Dump {
        /// Which directory, and what of it.
        #[command(flatten)]
        target: Target,
        /// Print the records, with keys and values.
        #[arg(long)]
        records: bool,
    },
}

/// Which directory, and what of it.
#[derive(Args, Debug)]
pub struct Target {
    /// Data directory of a broker that is stopped.
    #[arg(value_name = "DATA_DIR")]
    dir: PathBuf,
    /// Only this topic.
    #[arg(long, value_name = "NAME")]
    topic: Option<String>,
    /// Only this partition of the topic.
    #[arg(long, value_name = "N", requires = "topic")]
    partition: Option<i32>,
    /// One JSON object per line.
    #[arg(long)]
    json: bool,
}

/// Topic names by id.
pub(crate) type Names = BTreeMap<TopicId, String>;

/// Where everything goes that is found.
pub(crate) trait Sink {
    /// Takes an item of the store.
    fn item(&mut self, item: &Item<'_>);
    /// Takes a line about the metadata quorum: what kind of thing, and what it says.
    fn metadata(&mut self, kind: &str, at: &str, text: &str);
    /// Takes the totals, at the end.
    fn end(&mut self, totals: &Totals);
}

/// What was gone through.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) partitions: u64,
    pub(crate) segments: u64,
    pub(crate) batches: u64,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) blocks_checked: u64,
    pub(crate) journal_entries: u64,
    pub(crate) metadata_entries: u64,
    pub(crate) notes: u64,
    pub(crate) repairable: u64,
    pub(crate) damage: u64,
}

/// Runs a command; the process's exit code.
pub fn run(command: &LogCommand) -> i32 {
    let (target, records, dump) = match command {
        LogCommand::Verify(target) => (target, false, false),
        LogCommand::Dump { target, records } => (target, *records, true),
    };
    // A reader that went away (`| head`) ends the output, not the process with a panic.
    let out: Box<dyn Write> = Box::new(std::io::BufWriter::new(std::io::stdout().lock()));
    match walk(target, records, dump, out) {
        Ok(totals) if totals.damage + totals.repairable > 0 => 1,
        Ok(_) => 0,
        Err(sentence) => {
            eprintln!("coreline: {sentence}");
            EXIT_USAGE
        }
    }
}

fn walk(target: &Target, records: bool, dump: bool, out: Box<dyn Write>) -> Result<Totals, String> {
    let dir = DataDir::new(&target.dir);
    let _lock = dir.lock_existing().map_err(|error| match error {
        coreline_storage::StorageError::InUse { .. } => {
            format!("{error}: stop it first; while it runs its files do not agree with each other")
        }
        error => judge_storage(&error).sentence,
    })?;
    let mut totals = Totals::default();
    let mut found = metadata::Found::default();
    block_on(metadata::read(&dir, &mut found));
    let wanted_topic = match &target.topic {
        None => None,
        Some(name) => match found.names.iter().find(|(_, known)| *known == name) {
            Some((id, _)) => Some(*id),
            None => return Err(format!("the metadata of {} know no topic {name}", target.dir.display())),
        },
    };
    let wanted = |tp: TopicPartition| {
        wanted_topic.is_none_or(|topic| tp.topic == topic) && target.partition.is_none_or(|partition| tp.partition == partition)
    };
    let mut sink: Box<dyn Sink> = if target.json {
        Box::new(json::Json::new(out, found.names.clone(), records))
    } else {
        Box::new(text::Text::new(out, found.names.clone(), records))
    };
    totals.metadata_entries = found.entries;
    for finding in found.findings {
        count(&mut totals, &finding);
        sink.item(&Item::Finding(finding));
    }
    if dump && wanted_topic.is_none() {
        found.lines.iter().for_each(|(kind, at, text)| sink.metadata(kind, at, text));
    }
    let mut last = None;
    let (whole_history, known) = (found.whole_history, found.names);
    let mut forgotten = BTreeSet::new();
    let mut visit = |item: Item<'_>| {
        if let Item::Checkpoint { tp, .. } | Item::JournalEntry { header: EntryHeader { partition: tp, .. }, .. } = &item
            && whole_history
            && !known.contains_key(&tp.topic)
            && forgotten.insert(*tp)
        {
            let why = unknown_partition(&dir.partition(*tp));
            let finding = Finding { severity: Severity::Damage, path: dir.quorum(), position: None, why };
            count(&mut totals, &finding);
            sink.item(&Item::Finding(finding));
        }
        let show = match &item {
            Item::Finding(finding) => {
                count(&mut totals, finding);
                true
            }
            Item::Segment(segment) => {
                totals.partitions += u64::from(last.replace(segment.tp) != Some(segment.tp));
                totals.segments += 1;
                totals.batches += segment.batches;
                totals.records += segment.records;
                totals.bytes += segment.bytes;
                totals.blocks_checked += segment.blocks_checked;
                true
            }
            Item::JournalEntry { .. } => {
                totals.journal_entries += 1;
                dump
            }
            _ => dump,
        };
        if show {
            sink.item(&item);
        }
    };
    block_on(verify::walk(&dir, &wanted, &mut visit)).map_err(|error| judge_storage(&error).sentence)?;
    sink.end(&totals);
    Ok(totals)
}

fn count(totals: &mut Totals, finding: &Finding) {
    match finding.severity {
        Severity::Note => totals.notes += 1,
        Severity::Repairable => totals.repairable += 1,
        Severity::Damage => totals.damage += 1,
    }
}

/// `topic-partition`, by name where it is known.
pub(crate) fn partition_name(names: &Names, tp: TopicPartition) -> String {
    names.get(&tp.topic).map_or_else(|| tp.to_string(), |name| format!("{name}-{}", tp.partition))
}

/// Bytes for a terminal: text as it is but for control characters, anything else as hexadecimal; cut when long.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(VALUE_BYTES_MAX)];
    let mut shown = match std::str::from_utf8(cut) {
        Ok(text) => text.escape_debug().to_string(),
        Err(_) => cut.iter().fold("0x".to_string(), |mut hex, byte| {
            let _ = std::fmt::Write::write_fmt(&mut hex, format_args!("{byte:02x}"));
            hex
        }),
    };
    if cut.len() < bytes.len() {
        shown.push_str(&format!("... ({} bytes)", bytes.len()));
    }
    shown
}

/// Bytes of a key or value that are shown.
const VALUE_BYTES_MAX: usize = 256;
/// Bytes that a batch may have after decompression for its records to be shown.
pub(crate) const BATCH_BYTES_MAX: usize = 256 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_shown_can_steer_a_terminal() {
        assert_eq!(printable(b"plain \xc3\xa4"), "plain ä");
        assert_eq!(printable(b"\x1b[2Jx\n"), "\\u{1b}[2Jx\\n");
        assert_eq!(printable(&[0xff, 0]), "0xff00");
        assert!(printable(&[b'x'; 300]).ends_with("x... (300 bytes)"));
    }
}
