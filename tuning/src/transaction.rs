//! The only code that changes settings: apply a plan as one batch, undo it as one batch, whatever fails or dies in between.
//!
//! ```text
//! apply:    read all old values -> journal them (durable) -> write, read back, journal; any failure undoes the batch
//! rollback: read all -> decide (ours? then the old value; somebody else's? then theirs) -> journal the aims -> write leaders, then followers
//! ```
//! A leader is a setting whose write changes its neighbours (an I/O scheduler resets the queue length): leaders go first in both directions, and
//! then their neighbours get the values they should have. Reads and writes go through [`Tree`], records through [`Log`]; both fail in tests.

use std::collections::BTreeMap;
use std::io;

use serde::Serialize;

use crate::journal::{Entry, Journal, Log, Record, Stamp, begin};
use crate::plan::{Plan, Step, is_lower};
use crate::tree::{Tree, shown};

/// How an entry ended in an undo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// It was ours and has its old value again.
    Restored,
    /// It had its old value already.
    Unchanged,
    /// Somebody else has changed it since: left alone.
    Foreign {
        /// Their value.
        now: String,
    },
    /// It is not there any more (a device was removed).
    Gone {
        /// The system's words.
        why: String,
    },
    /// It is ours and could not be put back.
    Failed {
        /// The system's words.
        why: String,
    },
}

impl Outcome {
    /// In words, for journal and people.
    pub fn describe(&self) -> String {
        match self {
            Outcome::Restored => "restored".to_owned(),
            Outcome::Unchanged => "had its old value".to_owned(),
            Outcome::Foreign { now } => format!("left alone: somebody else set it to {now}"),
            Outcome::Gone { why } => format!("left alone: {why}"),
            Outcome::Failed { why } => format!("NOT restored: {why}"),
        }
    }
}

/// A setting with how its undo ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Undone {
    /// Where.
    pub path: String,
    /// The value it should have.
    pub old: String,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// Why a batch was not applied.
#[derive(Debug, thiserror::Error)]
#[error("{knob}: {}: {why}; {}", shown(path), self.after())]
pub struct ApplyError {
    /// The knob that failed.
    pub knob: String,
    /// The setting.
    pub path: String,
    /// The kernel's words, or what it made of the value.
    pub why: String,
    /// The undo of what was written before.
    pub undone: Vec<Undone>,
}

impl ApplyError {
    fn after(&self) -> String {
        let failed: Vec<&str> =
            self.undone.iter().filter(|u| matches!(u.outcome, Outcome::Failed { .. })).map(|u| u.path.as_str()).collect();
        if failed.is_empty() {
            format!("all settings of this batch are as they were. `--without {}` leaves it out", self.knob)
        } else {
            format!("and these could not be put back: {}. Run `coreline-tune rollback` when the cause is gone", failed.join(", "))
        }
    }
}

/// Writes a plan as one batch. On success every setting reads back as planned; on failure every setting is as it was.
pub fn apply(plan: &Plan, stamp: Stamp, tree: &mut impl Tree, log: &mut impl Log) -> Result<Vec<Entry>, ApplyError> {
    let entries = prepare(plan, tree)?;
    if entries.is_empty() {
        return Ok(entries);
    }
    let failed = |entry: &Entry, why: String| ApplyError { knob: entry.knob.clone(), path: entry.path.clone(), why, undone: Vec::new() };
    log.append(&begin(stamp, entries.clone())).map_err(|e| failed(&entries[0], format!("cannot write the journal: {e}")))?;
    let mut done = vec![None; entries.len()];
    match write_all(&entries, &mut done, tree, log) {
        Ok(()) => Ok(entries),
        Err((at, why)) => {
            let undone = undo(&entries, &done, None, tree, log);
            Err(ApplyError { undone, ..failed(&entries[at], why) })
        }
    }
}

/// The entries of a plan with the values of this moment; raises that somebody else has made meanwhile are left out.
fn prepare(plan: &Plan, tree: &mut impl Tree) -> Result<Vec<Entry>, ApplyError> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut steps: Vec<&Step> = plan.steps.iter().collect();
    steps.sort_by_key(|s| s.rank);
    for step in steps {
        let unreadable = |e: io::Error| ApplyError {
            knob: step.knob.clone(),
            path: step.path.clone(),
            why: format!("cannot be read: {e}"),
            undone: Vec::new(),
        };
        let old = step.format.normal(&tree.read(&step.path).map_err(unreadable)?);
        let is_reset = plan.steps.iter().any(|other| other.resets.contains(&step.path));
        if (old == step.new && !is_reset) || (step.raise_only && is_lower(&step.new, &old)) {
            continue;
        }
        entries.push(Entry {
            knob: step.knob.clone(),
            path: step.path.clone(),
            old,
            new: Some(step.new.clone()),
            format: step.format,
            raise_only: step.raise_only,
            rank: step.rank,
            leader: None,
            not_writable: step.not_writable.clone(),
        });
    }
    for step in &plan.steps {
        let Some(leader) = entries.iter().position(|e| e.path == step.path) else { continue };
        for path in &step.resets {
            if let Some(own) = entries.iter_mut().find(|e| e.path == *path) {
                own.leader = Some(leader);
            } else if let Ok(old) = tree.read(path) {
                // A neighbour that is not there has nothing to be put back.
                let neighbour = Entry {
                    path: path.clone(),
                    old,
                    new: None,
                    rank: u8::MAX,
                    leader: Some(leader),
                    not_writable: None,
                    ..entries[leader].clone()
                };
                entries.push(neighbour);
            }
        }
    }
    Ok(entries)
}

fn write_all(entries: &[Entry], done: &mut [Option<String>], tree: &mut impl Tree, log: &mut impl Log) -> Result<(), (usize, String)> {
    for (i, entry) in entries.iter().enumerate() {
        let fail = |why: String| (i, why);
        if let Some(new) = &entry.new {
            tree.write(&entry.path, new).map_err(|e| fail(format!("the kernel refuses {new:?}: {}", plain(&e))))?;
        }
        let read_back = tree.read(&entry.path).map_err(|e| fail(format!("cannot be read back: {}", plain(&e))))?;
        let read_back = entry.format.normal(&read_back);
        done[i] = Some(read_back.clone());
        log.append(&Record::Done { entry: i, read_back: read_back.clone() }).map_err(|e| fail(format!("cannot write the journal: {e}")))?;
        if entry.new.as_ref().is_some_and(|new| *new != read_back) {
            return Err(fail(format!("the kernel took {:?} and kept {read_back:?}", entry.new.as_deref().unwrap_or(""))));
        }
    }
    log.append(&Record::Commit).map_err(|e| (0, format!("cannot write the journal: {e}")))
}

/// Undoes a transaction: in force, cut off in `apply`, or cut off in an undo. May be repeated.
pub fn rollback(journal: &Journal, tree: &mut impl Tree, log: &mut impl Log) -> Vec<Undone> {
    undo(&journal.entries, &journal.read_back, journal.restoring.as_deref(), tree, log)
}

/// The aim for one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Aim {
    /// To have this value; ours.
    Old(String),
    /// To keep this value of somebody else.
    Theirs(String),
    /// Nothing can be done.
    Gone(String),
}

fn undo(
    entries: &[Entry],
    done: &[Option<String>],
    earlier: Option<&[Option<String>]>,
    tree: &mut impl Tree,
    log: &mut impl Log,
) -> Vec<Undone> {
    let now: Vec<Result<String, String>> =
        entries.iter().map(|e| tree.read(&e.path).map(|t| e.format.normal(&t)).map_err(|e| plain(&e))).collect();
    let aims = aims(entries, done, earlier, &now);
    let targets = aims.iter().map(|a| if let Aim::Old(old) = a { Some(old.clone()) } else { None }).collect();
    // Without this record an undo is still right unless it is cut off as well.
    let _ = log.append(&Record::Restoring { targets });
    let mut errors: BTreeMap<usize, String> = BTreeMap::new();
    // The second round is for values that were refused because a neighbour had not its value yet.
    for _ in 0..2 {
        errors.clear();
        put_back(entries, &aims, tree, &mut errors);
    }
    let outcome = |i: usize| -> Outcome {
        match (&aims[i], now[i].as_ref().ok()) {
            (Aim::Gone(why), _) => Outcome::Gone { why: why.clone() },
            (Aim::Theirs(now), _) => Outcome::Foreign { now: now.clone() },
            (Aim::Old(_), _) if errors.contains_key(&i) => Outcome::Failed { why: errors[&i].clone() },
            (Aim::Old(old), Some(was)) if was == old => Outcome::Unchanged,
            (Aim::Old(_), _) => Outcome::Restored,
        }
    };
    let undone: Vec<Undone> =
        entries.iter().enumerate().map(|(i, e)| Undone { path: e.path.clone(), old: e.old.clone(), outcome: outcome(i) }).collect();
    if !undone.iter().any(|u| matches!(u.outcome, Outcome::Failed { .. })) {
        let _ = log.append(&Record::Closed { outcomes: undone.iter().map(|u| u.outcome.describe()).collect() });
    }
    undone
}

/// Decides what each setting should be. Pure.
fn aims(entries: &[Entry], done: &[Option<String>], earlier: Option<&[Option<String>]>, now: &[Result<String, String>]) -> Vec<Aim> {
    // The entry whose write was under way when the process died; the kernel may have made another value of it.
    let in_flight = done.iter().position(Option::is_none);
    let decided = |i: usize| earlier.is_some_and(|targets| targets.get(i).is_some_and(Option::is_some));
    let is_ours = |i: usize, now: &String| {
        let (entry, after) = (&entries[i], &done[i]);
        *now == entry.old || entry.new.as_ref() == Some(now) || after.as_ref() == Some(now) || (in_flight == Some(i) && entry.new.is_some())
    };
    let aim = |i: usize| -> Aim {
        let entry = &entries[i];
        let value = match &now[i] {
            Err(why) => return Aim::Gone(why.clone()),
            Ok(value) => value,
        };
        let ours = match entry.leader {
            None => is_ours(i, value),
            // What our leader's write, or its undo, did to a neighbour is ours to mend; a later change by others is not.
            Some(leader) => {
                let leads = decided(leader) || now[leader].as_ref().is_ok_and(|n| *n != entries[leader].old && is_ours(leader, n));
                *value == entry.old
                    || entry.new.as_ref() == Some(value)
                    || (leads && (decided(i) || done[i].is_none() || is_ours(i, value)))
            }
        };
        if ours { Aim::Old(entry.old.clone()) } else { Aim::Theirs(value.clone()) }
    };
    (0..entries.len()).map(aim).collect()
}

/// Writes what differs from its aim, in the order of the entries (leaders first), then looks at all once more.
fn put_back(entries: &[Entry], aims: &[Aim], tree: &mut impl Tree, errors: &mut BTreeMap<usize, String>) {
    for (i, entry) in entries.iter().enumerate() {
        let (Aim::Old(aim) | Aim::Theirs(aim)) = &aims[i] else { continue };
        let now = tree.read(&entry.path).map(|t| entry.format.normal(&t));
        // Such a value comes back with its neighbour's.
        if now.as_ref().is_ok_and(|n| n == aim) || entry.not_writable.as_ref() == Some(aim) {
            continue;
        }
        // The check below says whether it worked; a refusal is kept for its words.
        if let Err(error) = tree.write(&entry.path, aim) {
            errors.insert(i, format!("the kernel refuses {aim:?}: {}", plain(&error)));
        }
    }
    for (i, entry) in entries.iter().enumerate() {
        let (Aim::Old(aim) | Aim::Theirs(aim)) = &aims[i] else { continue };
        match tree.read(&entry.path).map(|t| entry.format.normal(&t)) {
            Ok(now) if now == *aim => drop(errors.remove(&i)),
            Ok(now) => drop(errors.entry(i).or_insert_with(|| format!("reads {now:?} after {aim:?} was written"))),
            Err(error) => drop(errors.insert(i, format!("cannot be read: {}", plain(&error)))),
        }
    }
}

/// The system's words without the number.
fn plain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => nix::errno::Errno::from_raw(code).desc().to_lowercase(),
        None => error.to_string(),
    }
}
