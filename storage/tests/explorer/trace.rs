//! What happened, as a number to compare and as text to read.

use std::collections::BTreeMap;
use std::path::PathBuf;

use coreline_storage::io::sim::{Event, Fate, Op, Pending, Recording, Sweep};

use super::image::Plan;

/// Events shown before a crash.
const EVENTS_SHOWN: usize = 25;

/// Goes on from `hash` over all events of a recording, data included.
pub(crate) fn hash(hash: u64, recording: &Recording) -> u64 {
    let mut hasher = crc32fast::Hasher::new_with_initial(hash as u32);
    let mut more = hash >> 32;
    for event in recording.events() {
        let text = match event {
            Event::Submitted(id, Op::Write { inode, position, data, dsync }) => {
                hasher.update(data);
                format!("{id} write {inode} {position} {} {dsync}", data.len())
            }
            other => format!("{other:?}"),
        };
        hasher.update(text.as_bytes());
        more = more.wrapping_mul(31).wrapping_add(text.len() as u64);
    }
    more << 32 | u64::from(hasher.finalize())
}

/// What led to a crash and what it left undone.
pub(crate) fn describe(recording: &Recording, sweep: &Sweep<'_>, plan: &Plan) -> String {
    let mut names: BTreeMap<u64, PathBuf> = BTreeMap::new();
    for event in recording.events() {
        if let Event::Submitted(_, Op::Create { path, inode }) = event {
            names.insert(*inode, path.clone());
        }
    }
    let name = |inode: &u64| names.get(inode).map_or_else(|| format!("file {inode}"), |path| path.display().to_string());
    let mut out = vec![format!("{}, not kept (shrunk):", if plan.kill { "the process dies" } else { "the power fails" })];
    let pending = sweep.model().pending();
    let asked = pending.iter().filter(|p| !plan.kill || !is_completed(p));
    for (pending, fate) in asked.zip(&plan.fates).filter(|(_, fate)| **fate != Fate::Keep) {
        let what = match pending {
            Pending::Data { inode, position, len, .. } => format!("{len} bytes at {position} of {}", name(inode)),
            Pending::Size { inode, size, .. } => format!("size {size} of {}", name(inode)),
            Pending::Entry { op, .. } => format!("{op:?}"),
        };
        out.push(format!("    {fate:?}: {what}{}", if is_completed(pending) { "" } else { " (in flight)" }));
    }
    out.push("the events before:".into());
    let from = sweep.events().saturating_sub(EVENTS_SHOWN);
    for (index, event) in recording.events().iter().enumerate().take(sweep.events()).skip(from) {
        let text = match event {
            Event::Submitted(id, Op::Write { inode, position, data, dsync }) => {
                format!("{id} begins: {} bytes at {position} of {}{}", data.len(), name(inode), if *dsync { ", durable" } else { "" })
            }
            Event::Submitted(id, Op::SyncFile { inode }) => format!("{id} begins: flush of {}", name(inode)),
            Event::Submitted(id, Op::SetSize { inode, size }) => format!("{id} begins: size {size} for {}", name(inode)),
            Event::Submitted(id, op) => format!("{id} begins: {op:?}"),
            Event::Completed(id) => format!("{id} done"),
            Event::Failed(id) => format!("{id} failed"),
        };
        out.push(format!("    {index}: {text}"));
    }
    out.join("\n")
}

fn is_completed(pending: &Pending<'_>) -> bool {
    match pending {
        Pending::Data { completed, .. } | Pending::Size { completed, .. } | Pending::Entry { completed, .. } => *completed,
    }
}
