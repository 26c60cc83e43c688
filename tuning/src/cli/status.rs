//! `status`: what is in force, what was cut off, what others changed since, what is persisted. Reads only.

use serde_json::json;

use super::{Answer, Common, Failure};
use crate::journal::{Journal, State};
use crate::persist;
use crate::tree::{Tree, shown};
use crate::value::date;

/// What the profile of a proof's batch is called, before the knob.
pub(super) const PROOF: &str = "proof of ";

pub(super) fn status(common: &Common) -> Result<Answer, Failure> {
    let boot = common.root().read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let (mut text, mut batches, mut findings) = (String::new(), Vec::new(), false);
    let busy = common.store().is_busy();
    if busy {
        text += "another coreline-tune is at work here\n";
    }
    for (number, journal) in common.store().load()? {
        let state = journal.state();
        if matches!(state, State::Closed | State::Empty) {
            continue;
        }
        let gone = journal.stamp.boot_id != boot;
        // A proof is in force only while it measures.
        let is_passing = state != State::InForce || journal.stamp.profile.starts_with(PROOF);
        let word = match state {
            _ if gone => "over: the host was started anew since",
            _ if busy && is_passing => "under way",
            State::Unfinished => "CUT OFF in the middle of apply: run `coreline-tune rollback`",
            State::Restoring => "CUT OFF in the middle of an undo: run `coreline-tune rollback`",
            _ if is_passing => "LEFT BEHIND by a proof that was killed: run `coreline-tune rollback`",
            _ => "in force",
        };
        findings |= !gone && !busy && is_passing;
        text += &format!(
            "batch {number}: profile {}, by {} at {}, {word}\n",
            journal.stamp.profile,
            journal.stamp.who,
            date(journal.stamp.at_unix_ms)
        );
        let (lines, settings, drift) = if gone { (String::new(), Vec::new(), false) } else { settings(common, &journal) };
        findings |= drift;
        text += &lines;
        batches.push(json!({ "batch": number, "stamp": journal.stamp, "state": state, "previous_start": gone, "settings": settings }));
    }
    if batches.is_empty() {
        text += "nothing is in force\n";
    }
    let persisted = persist::present(&common.root);
    for path in &persisted {
        text += &format!("persisted: {path}\n");
    }
    Ok(Answer { code: u8::from(findings), text, json: json!({ "batches": batches, "persisted": persisted }) })
}

/// Lines for people, values, and whether somebody else has changed something.
fn settings(common: &Common, journal: &Journal) -> (String, Vec<serde_json::Value>, bool) {
    let mut tree = common.tree();
    let (mut text, mut values, mut drift) = (String::new(), Vec::new(), false);
    for entry in &journal.entries {
        let Some(new) = &entry.new else { continue };
        let (now, word) = match tree.read(&entry.path).map(|t| entry.format.normal(&t)) {
            Ok(now) if now == *new => (Some(now), "ours"),
            Ok(now) if now == entry.old => (Some(now), "as before"),
            Ok(now) => (Some(now), "changed by somebody else"),
            Err(_) => (None, "not there any more"),
        };
        drift |= word != "ours";
        let value = now.as_deref().unwrap_or("-");
        text += &format!("  {}: {value} ({word}; we wrote {new}, before {})\n", shown(&entry.path), entry.old);
        values.push(json!({ "path": entry.path, "knob": entry.knob, "old": entry.old, "new": new, "now": now, "is": word }));
    }
    (text, values, drift)
}
