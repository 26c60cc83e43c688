//! Tables for people: findings by group, plans by knob. Pure.

use std::fmt::Write as _;

use crate::facts::{Facts, last};
use crate::knob::GROUPS;
use crate::plan::{Plan, Reason};
use crate::transaction::{Outcome, Undone};
use crate::tree::shown;
use crate::{Finding, Severity};

/// Colours, or none.
pub(super) struct Paint {
    pub(super) colour: bool,
}

impl Paint {
    fn wrap(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn severity(&self, severity: Severity, width: usize) -> String {
        let (word, code) = match severity {
            Severity::Ok => ("ok", "32"),
            Severity::Inapplicable => ("-", "2"),
            Severity::Unknown => ("?", "35"),
            Severity::Hint => ("try", "36"),
            Severity::Advice => ("advice", "33"),
            Severity::Fatal => ("FATAL", "1;31"),
        };
        self.wrap(code, &format!("{word:<width$}"))
    }

    fn bold(&self, text: &str) -> String {
        self.wrap("1", text)
    }

    fn faint(&self, text: &str) -> String {
        self.wrap("2", text)
    }
}

/// The report of `check`.
pub(super) fn findings(facts: &Facts, findings: &[Finding], all: bool, paint: &Paint) -> String {
    let mut text = head(facts);
    for group in GROUPS {
        let of_group: Vec<&Finding> = findings.iter().filter(|f| f.group == *group).collect();
        let shown: Vec<&&Finding> =
            of_group.iter().filter(|f| all || f.severity >= Severity::Advice || f.severity == Severity::Unknown).collect();
        let fine = of_group.iter().filter(|f| f.severity == Severity::Ok).count();
        let _ = writeln!(text, "\n{} {}", paint.bold(group), paint.faint(&format!("({fine} of {} fine)", of_group.len())));
        for f in shown {
            let wanted = if f.wanted.is_empty() { String::new() } else { format!("  (wanted: {})", f.wanted) };
            let _ = writeln!(text, "  {} {:<20} {}{wanted}", paint.severity(f.severity, 7), f.id, f.current);
            if f.severity >= Severity::Advice || (all && f.severity == Severity::Hint) {
                let _ = writeln!(text, "          why: {}\n          how: {}", f.effect, f.remedy);
            }
        }
    }
    text += &tail(facts, findings, all, paint);
    text
}

fn head(facts: &Facts) -> String {
    let unknown = "unknown".to_owned();
    let platform = &facts.platform;
    let hypervisor = match (&platform.hypervisor, platform.virtual_kernel) {
        (Some(name), _) => format!(" on {name}"),
        (None, true) => " on a hypervisor".to_owned(),
        _ => String::new(),
    };
    format!(
        "{}{hypervisor}{}, kernel {}, {} CPUs, {} GiB, disks: {}, network: {}\n",
        platform.kind.name(),
        if platform.laptop { " (laptop)" } else { "" },
        facts.kernel_release.as_ref().unwrap_or(&unknown),
        facts.cpus().len(),
        facts.memory_bytes.unwrap_or(0) >> 30,
        facts.disks.iter().map(|d| d.name.as_str()).collect::<Vec<_>>().join(" "),
        facts.network.iter().map(|n| n.name.as_str()).collect::<Vec<_>>().join(" "),
    )
}

fn tail(facts: &Facts, findings: &[Finding], all: bool, paint: &Paint) -> String {
    let of = |severity: Severity| findings.iter().filter(move |f| f.severity == severity);
    let mut text = String::new();
    let _ = writeln!(
        text,
        "\n{} fatal, {} advice, {} fine, {} to try, {} do not apply here, {} not seen",
        of(Severity::Fatal).count(),
        of(Severity::Advice).count(),
        of(Severity::Ok).count(),
        of(Severity::Hint).count(),
        of(Severity::Inapplicable).count(),
        of(Severity::Unknown).count(),
    );
    if !facts.not_seen.is_empty() {
        let _ =
            writeln!(text, "not readable by this user (run as root to see): {} files, first {}", facts.not_seen.len(), facts.not_seen[0]);
    }
    if facts.cut_short {
        let _ = writeln!(text, "reading the host took too long and was cut short: what is missing counts as not seen");
    }
    let hints: Vec<&str> = of(Severity::Hint).map(|f| f.id).collect();
    if !all && !hints.is_empty() {
        let _ = writeln!(text, "{}", paint.faint(&format!("to try (check --all, explain KNOB, prove --knob KNOB): {}", hints.join(" "))));
    }
    let auto = findings.iter().any(|f| f.severity >= Severity::Advice && f.class == crate::knob::Class::Auto);
    if auto {
        text += "next: coreline-tune plan, then sudo coreline-tune apply\n";
    }
    text
}

/// The steps of a plan and what gives none.
pub(super) fn plan(plan: &Plan, paint: &Paint) -> String {
    let mut text = String::new();
    for (knob, steps) in plan.by_knob() {
        let _ = writeln!(text, "{}", paint.bold(knob));
        for s in steps {
            let mark = if s.raise_only { "  (raised; goes down again on rollback)" } else { "" };
            let _ = writeln!(text, "  {}: {} -> {}{mark}", shown(&s.path), s.old, s.new);
            if !s.resets.is_empty() {
                let names: Vec<&str> = s.resets.iter().map(|path| last(path)).collect();
                let _ = writeln!(text, "    the kernel sets {} anew with it; rollback puts them back", names.join(" and "));
            }
        }
    }
    if plan.steps.is_empty() {
        let _ = writeln!(text, "nothing to write for profile {}", plan.profile);
    }
    for (reason, word) in [
        (Reason::AsWanted, "as wanted"),
        (Reason::Inapplicable, "does not apply"),
        (Reason::NotSeen, "not seen"),
        (Reason::NotWritable, "cannot be written"),
    ] {
        for s in plan.skipped.iter().filter(|s| s.reason == reason) {
            let _ = writeln!(text, "{}", paint.faint(&format!("{word}: {} ({})", s.knob, s.why)));
        }
    }
    text
}

/// How settings were put back.
pub(super) fn undone(undone: &[Undone], paint: &Paint) -> String {
    let mut text = String::new();
    for u in undone {
        let old = match u.outcome {
            Outcome::Restored | Outcome::Unchanged => u.old.clone(),
            _ => format!("before us it was {}", u.old),
        };
        let line = format!("  {}: {} ({old})", shown(&u.path), u.outcome.describe());
        let line = match u.outcome {
            Outcome::Failed { .. } => paint.wrap("1;31", &line),
            Outcome::Foreign { .. } | Outcome::Gone { .. } => paint.wrap("33", &line),
            Outcome::Restored | Outcome::Unchanged => line,
        };
        let _ = writeln!(text, "{line}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Snapshot;

    #[test]
    fn findings_are_grouped_with_one_line_of_effect_and_colour_only_when_asked() {
        let text = "/proc/sys/net/core/somaxconn = 128\n/proc/sys/kernel/io_uring_disabled = 2\n";
        let facts = Facts::of(Snapshot::parse(text).expect("parses"), "/data");
        let all = crate::report(&facts);
        let plain = findings(&facts, &all, false, &Paint { colour: false });
        let at = |what: &str| plain.find(what).unwrap_or_else(|| panic!("{what} is not in {plain}"));
        assert!(
            at("\nstart ") < at("FATAL   io_uring") && at("FATAL   io_uring") < at("\nnetwork ") && at("\nnetwork ") < at("accept_backlog")
        );
        assert_eq!(plain.matches("why: a burst of reconnecting clients").count(), 1);
        assert!(!plain.contains('\x1b'));
        let coloured = findings(&facts, &all, false, &Paint { colour: true });
        assert!(coloured.contains("\x1b[1;31mFATAL  \x1b[0m io_uring"), "{coloured}");
    }
}
