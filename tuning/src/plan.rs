//! From facts and a profile to the settings that would be written, in order. Pure: nothing is read or written here.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::facts::Facts;
use crate::knob::{self, Class, Knob};
use crate::profile::Profile;
use crate::value::Format;
use crate::{Severity, tree};

/// One setting to be written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The knob that asks for it.
    pub knob: String,
    /// Where.
    pub path: String,
    /// How it is now.
    pub old: String,
    /// What to write.
    pub new: String,
    /// How the kernel spells it.
    pub format: Format,
    /// Never lowered.
    pub raise_only: bool,
    /// Earlier ranks go first.
    pub rank: u8,
    /// Neighbours that the kernel changes with it.
    pub resets: Vec<String>,
    /// A value that is shown but not taken.
    pub not_writable: Option<String>,
}

/// A knob that was asked for and gives no step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// The knob.
    pub knob: &'static str,
    /// As wanted already, not applicable, or not writable.
    pub reason: Reason,
    /// In words.
    pub why: String,
}

/// Why a knob gives no step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Nothing to do.
    AsWanted,
    /// No question on this host.
    Inapplicable,
    /// Cannot be read, so it could not be put back.
    NotSeen,
    /// There is a setting, and nobody may write it here.
    NotWritable,
}

/// What `apply` would do.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The profile's name.
    pub profile: String,
    /// In the order of writing.
    pub steps: Vec<Step>,
    /// The rest.
    pub skipped: Vec<Skipped>,
}

/// Makes a plan.
pub fn plan(facts: &Facts, profile: &Profile) -> Plan {
    let (mut steps, mut skipped): (Vec<Step>, Vec<Skipped>) = (Vec::new(), Vec::new());
    for knob in knob::ALL {
        let Some(wish) = profile.wishes.get(knob.id) else { continue };
        if knob.class == Class::Never || knob.writes.is_empty() {
            let why = (knob.look)(facts, wish).remedy.unwrap_or_else(|| "nothing to write".to_owned());
            skipped.push(Skipped { knob: knob.id, reason: Reason::Inapplicable, why });
            continue;
        }
        let look = (knob.look)(facts, wish);
        let mut skip = |reason, why: &str| skipped.push(Skipped { knob: knob.id, reason, why: why.to_owned() });
        match look.severity {
            Severity::Ok => skip(Reason::AsWanted, &look.current),
            Severity::Inapplicable => skip(Reason::Inapplicable, &look.current),
            Severity::Unknown => skip(Reason::NotSeen, &look.current),
            _ if look.settings.is_empty() => skip(Reason::Inapplicable, look.remedy.as_deref().unwrap_or(&look.current)),
            _ => {
                for setting in look.settings {
                    match facts.unwritable(&setting.path) {
                        Some(why) => skip(Reason::NotWritable, &format!("{}: {why}", setting.path)),
                        None => steps.extend(step(facts, knob, &setting.path, setting.wanted)),
                    }
                }
            }
        }
    }
    let kept = kept_neighbours(facts, profile, &steps);
    steps.extend(kept);
    steps.sort_by(|a, b| (a.rank, &a.path).cmp(&(b.rank, &b.path)));
    steps.dedup_by(|a, b| a.path == b.path);
    Plan { profile: profile.name.clone(), steps, skipped }
}

/// Settings that are as wanted now and would not be after a leader's write: they are written again behind it.
fn kept_neighbours(facts: &Facts, profile: &Profile, steps: &[Step]) -> Vec<Step> {
    let mut kept = Vec::new();
    for path in steps.iter().flat_map(|s| &s.resets).filter(|p| !steps.iter().any(|s| s.path == **p)) {
        let wished = knob::ALL.iter().filter(|k| profile.wishes.contains_key(k.id));
        let Some((knob, write)) = wished.filter_map(|k| Some((k, k.write_for(path)?))).next() else { continue };
        let Some(now) = facts.snapshot.get(path).map(|t| write.format.normal(t)) else { continue };
        kept.push(Step {
            knob: knob.id.to_owned(),
            path: path.clone(),
            old: now.clone(),
            new: now,
            format: write.format,
            raise_only: write.raise_only,
            rank: write.rank,
            resets: Vec::new(),
            not_writable: write.not_writable.map(str::to_owned),
        });
    }
    kept
}

fn step(facts: &Facts, knob: &Knob, path: &str, new: String) -> Option<Step> {
    let write = knob.write_for(path);
    assert!(write.is_some() && tree::is_declared(path), "{} wants to write {path}, which it does not declare", knob.id);
    let write = write?;
    let old = write.format.normal(facts.snapshot.get(path)?);
    if old == write.format.normal(&new) || (write.raise_only && is_lower(&new, &old)) {
        return None;
    }
    let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir);
    Some(Step {
        knob: knob.id.to_owned(),
        path: path.to_owned(),
        old,
        new: write.format.normal(&new),
        format: write.format,
        raise_only: write.raise_only,
        rank: write.rank,
        resets: write.resets.iter().map(|name| format!("{dir}/{name}")).collect(),
        not_writable: write.not_writable.map(str::to_owned),
    })
}

/// True when any number of `new` is below that of `old`; what is no number is never lower.
pub fn is_lower(new: &str, old: &str) -> bool {
    new.split_whitespace().zip(old.split_whitespace()).any(|(n, o)| match (n.parse::<u64>(), o.parse::<u64>()) {
        (Ok(n), Ok(o)) => n < o,
        _ => false,
    })
}

impl Plan {
    /// Steps by knob, for people.
    pub fn by_knob(&self) -> BTreeMap<&str, Vec<&Step>> {
        let mut groups: BTreeMap<&str, Vec<&Step>> = BTreeMap::new();
        for step in &self.steps {
            groups.entry(&step.knob).or_default().push(step);
        }
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Snapshot;

    fn facts(recording: &str) -> Facts {
        Facts::of(Snapshot::parse(recording).expect("parses"), "/var/lib/coreline")
    }

    #[test]
    fn leaders_come_first_and_nothing_is_lowered() {
        let facts = facts(
            "/proc/sys/net/core/somaxconn = 65535\n/proc/sys/net/ipv4/tcp_max_syn_backlog = 256\n/sys/block/nvme0n1/queue/scheduler = none [mq-deadline]\n\
             /sys/block/nvme0n1/queue/nr_requests = 64\n",
        );
        let mut profile = Profile::automatic();
        profile.add("disk_nr_requests=128").expect("known");
        let plan = plan(&facts, &profile);
        let steps: Vec<_> = plan.steps.iter().map(|s| (s.knob.as_str(), s.old.as_str(), s.new.as_str())).collect();
        assert_eq!(
            steps,
            [("disk_scheduler", "mq-deadline", "none"), ("syn_backlog", "256", "4096"), ("disk_nr_requests", "64", "128")],
            "{plan:#?}"
        );
        assert_eq!(plan.steps[0].resets, ["/sys/block/nvme0n1/queue/nr_requests", "/sys/block/nvme0n1/queue/wbt_lat_usec"]);
        assert!(plan.skipped.iter().any(|s| s.knob == "accept_backlog" && s.reason == Reason::AsWanted));
    }

    #[test]
    fn what_nobody_may_write_is_skipped_with_its_reason() {
        let facts = facts(
            "/proc/self/mountinfo = 1 0 0:50 / / rw - overlay overlay rw\\n2 1 0:5 / /proc/sys ro - proc proc rw\n/proc/sys/net/core/somaxconn = 128\n",
        );
        let plan = plan(&facts, &Profile::automatic());
        assert!(plan.steps.is_empty());
        let skipped = plan.skipped.iter().find(|s| s.knob == "accept_backlog").expect("reported");
        assert!(skipped.reason == Reason::NotWritable && skipped.why.contains("on the host"), "{skipped:?}");
    }

    #[test]
    fn lower_is_judged_number_by_number() {
        assert!(is_lower("1", "2") && !is_lower("2", "1") && !is_lower("none", "2"));
        assert!(is_lower("4 8 15", "4 8 16") && !is_lower("4 8 17", "4 8 16"));
    }
}
