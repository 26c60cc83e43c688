//! `plan`, `apply`, `rollback` and `persist`.

use serde_json::json;

use super::{Answer, Choice, Common, Failure, table};
use crate::facts::Facts;
use crate::journal::{FileLog, Journal, Locked, State, Store};
use crate::transaction::{self, Outcome, Undone};
use crate::tree::Tree;
use crate::value::cpu_list;
use crate::{persist as files, plan as planning};

pub(super) fn plan(common: &Common, choice: &Choice) -> Result<Answer, Failure> {
    let profile = choice.profile()?;
    let plan = planning::plan(&common.facts(), &profile);
    let code = u8::from(!plan.steps.is_empty());
    Ok(Answer { code, text: table::plan(&plan, &common.paint()), json: json!({ "plan": plan }) })
}

/// How long a batch that places interrupts is watched where irqbalance runs, seconds; it looks every ten.
const SETTLE_S: u64 = 30;

pub(super) fn apply(common: &Common, choice: &Choice, yes: bool, settle_s: Option<u64>) -> Result<Answer, Failure> {
    let profile = choice.profile()?;
    let facts = common.facts();
    let plan = planning::plan(&facts, &profile);
    let mut text = table::plan(&plan, &common.paint());
    if !common.store().is_busy() {
        refuse_unfinished(common)?;
    }
    if plan.steps.is_empty() {
        return Ok(Answer { code: 0, text, json: json!({ "plan": plan, "applied": [] }) });
    }
    common.require_root(&facts, "apply")?;
    if !common.confirm(yes, &text, "write these settings?")? {
        return Ok(Answer { code: 1, text: "nothing was written\n".to_owned(), json: json!({ "applied": [] }) });
    }
    let store = common.store();
    let locked = store.lock()?;
    // Somebody may have been faster.
    refuse_unfinished(common)?;
    locked.tidy()?;
    let (number, mut log) = locked.create()?;
    let applied = transaction::apply(&plan, common.stamp(&facts, &profile.name), &mut common.tree(), &mut log);
    let entries = applied.map_err(|e| Failure::Other(e.to_string()))?;
    let places_interrupts = entries.iter().any(|e| e.path.starts_with("/proc/irq/"));
    let settle_s = settle_s.unwrap_or(if places_interrupts && facts.runs_irqbalance() { SETTLE_S } else { 0 });
    if settle_s > 0 {
        wait(settle_s);
        hold_on(common, &store, number, &mut log, settle_s)?;
    }
    let written = entries.iter().filter(|e| e.new.is_some()).count();
    text += &format!("written and read back: {written} settings (batch {number}); `coreline-tune rollback` puts them back\n");
    Ok(Answer { code: 0, text, json: json!({ "plan": plan, "batch": number, "applied": entries }) })
}

fn wait(seconds: u64) {
    #[allow(clippy::disallowed_methods, reason = "somebody else's change has no event to wait for")]
    std::thread::sleep(std::time::Duration::from_secs(seconds));
}

/// Undoes a batch of which somebody has changed a setting since it was written.
fn hold_on(common: &Common, store: &Store, number: u64, log: &mut FileLog, settle_s: u64) -> Result<(), Failure> {
    let Some((_, journal)) = store.load()?.into_iter().find(|(n, _)| *n == number) else {
        return Err(Failure::Other(format!("journal {number} is gone")));
    };
    let mut tree = common.tree();
    let moved = journal.entries.iter().find_map(|e| {
        let now = tree.read(&e.path).map_or_else(|error| error.to_string(), |text| e.format.normal(&text));
        (e.new.as_ref().is_some_and(|new| *new != now))
            .then(|| format!("{}: {} became {now} within {settle_s} s", e.path, e.new.as_deref().unwrap_or("")))
    });
    let Some(moved) = moved else { return Ok(()) };
    transaction::rollback(&journal, &mut tree, log);
    let who =
        if moved.starts_with("/proc/irq/") { "irqbalance, most likely (`coreline-tune explain irqbalance`)" } else { "somebody else" };
    Err(Failure::Other(format!("{moved}, by {who}: the batch is undone, and what others changed is left to them")))
}

/// A batch that was cut off must be undone first: its old values are not the ones that the host has now.
pub(super) fn refuse_unfinished(common: &Common) -> Result<(), Failure> {
    let boot = common.root().read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    for (number, journal) in common.store().load()? {
        if matches!(journal.state(), State::Unfinished | State::Restoring) && journal.stamp.boot_id == boot {
            let text = format!("batch {number} was cut off in the middle: run `coreline-tune rollback` first (`status` shows it)");
            return Err(Failure::Other(text));
        }
    }
    Ok(())
}

pub(super) fn rollback(common: &Common, last: bool, yes: bool) -> Result<Answer, Failure> {
    let facts = common.facts();
    let store = common.store();
    let mut open: Vec<(u64, Journal)> = store.load()?;
    open.retain(|(_, j)| !matches!(j.state(), State::Closed | State::Empty));
    open.reverse();
    if last {
        open.truncate(1);
    }
    if open.is_empty() {
        return Ok(Answer { code: 0, text: "nothing is in force\n".to_owned(), json: json!({ "batches": [] }) });
    }
    common.require_root(&facts, "rollback")?;
    let names: Vec<String> = open.iter().map(|(n, j)| format!("batch {n} (profile {})\n", j.stamp.profile)).collect();
    if !common.confirm(yes, &names.concat(), "put back their old values?")? {
        return Ok(Answer { code: 1, text: "nothing was written\n".to_owned(), json: json!({ "batches": [] }) });
    }
    let locked = store.lock()?;
    let (mut text, mut batches, mut code) = (String::new(), Vec::new(), 0);
    for (number, _) in open {
        // Read once more below the lock.
        let Some((_, journal)) = store.load()?.into_iter().find(|(n, _)| *n == number) else { continue };
        let undone = undo(common, &facts, &locked, number, &journal)?;
        for u in &undone {
            code = code.max(match u.outcome {
                Outcome::Failed { .. } => 2,
                Outcome::Foreign { .. } | Outcome::Gone { .. } => 1,
                Outcome::Restored | Outcome::Unchanged => 0,
            });
        }
        text += &format!("batch {number} (profile {}):\n{}", journal.stamp.profile, table::undone(&undone, &common.paint()));
        batches.push(json!({ "batch": number, "settings": undone }));
    }
    Ok(Answer { code, text, json: json!({ "batches": batches }) })
}

fn undo(common: &Common, facts: &Facts, locked: &Locked<'_>, number: u64, journal: &Journal) -> Result<Vec<Undone>, Failure> {
    use crate::journal::{Log, Record};
    let mut log = locked.reopen(number)?;
    if facts.boot_id.as_deref() != Some(journal.stamp.boot_id.as_str()) {
        // The kernel has forgotten them all.
        let outcomes = vec!["the host was started anew since".to_owned(); journal.entries.len()];
        log.append(&Record::Closed { outcomes }).map_err(|e| Failure::Other(format!("journal {number}: {e}")))?;
        return Ok(Vec::new());
    }
    Ok(transaction::rollback(journal, &mut common.tree(), &mut log))
}

pub(super) fn persist(common: &Common, choice: &Choice, out: Option<&str>, cpus: Option<&str>, remove: bool) -> Result<Answer, Failure> {
    if remove && let Some(out) = out {
        let removed = files::remove(out).map_err(|e| Failure::Other(e.to_string()))?;
        let text = removed.iter().map(|p| format!("removed {p}\n")).collect();
        return Ok(Answer { code: 0, text, json: json!({ "removed": removed }) });
    }
    if let Some(cpus) = cpus
        && cpu_list(cpus).is_none_or(|list| list.is_empty())
    {
        return Err(Failure::Other(format!("--cpus {cpus:?}: not a list of CPUs such as 2-7,10")));
    }
    let profile = choice.profile()?;
    let facts = common.facts();
    let online = facts.cpus();
    if let Some(absent) = cpus.and_then(cpu_list).and_then(|list| list.into_iter().find(|cpu| !online.is_empty() && !online.contains(cpu)))
    {
        let has = facts.cpus_online.as_deref().unwrap_or("");
        return Err(Failure::Other(format!("--cpus {}: there is no CPU {absent} here, only {has}", cpus.unwrap_or(""))));
    }
    let stamp = common.stamp(&facts, &profile.name);
    let open =
        common.store().load()?.into_iter().filter(|(_, j)| j.state() == State::InForce && Some(&j.stamp.boot_id) == facts.boot_id.as_ref());
    let in_force: Vec<_> = open.flat_map(|(_, j)| j.entries).collect();
    let made = files::make(&facts, &in_force, &profile, &stamp, cpus);
    let json = json!({ "files": made.files, "kernel_command_line": made.command_line });
    let review = format!("kernel command line, for review (not written anywhere; needs a restart):\n  {}\n", made.command_line);
    match out {
        None => {
            let text: String = made.files.iter().map(|f| format!("==> {} <==\n{}\n", f.path, f.text)).collect();
            Ok(Answer { code: 0, text: text + &review, json })
        }
        Some(out) => {
            let written = files::write(out, &made.files).map_err(|e| Failure::Other(e.to_string()))?;
            let text: String = written.iter().map(|p| format!("wrote {p}\n")).collect();
            let restart = if made.tells_irqbalance() { " && systemctl restart irqbalance" } else { "" };
            let next = format!("next: systemctl daemon-reload && systemctl enable coreline-tune && udevadm control --reload{restart}\n");
            Ok(Answer { code: 0, text: text + &next + &review, json })
        }
    }
}
