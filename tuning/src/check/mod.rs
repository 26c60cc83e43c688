//! The checks: one function per knob from [`Facts`] to a [`Finding`]. Pure; each says what it wants and why.

mod cpu;
mod limit;
mod memory;
mod storage;

use crate::{Facts, Finding, Severity};

/// A check.
pub type Check = fn(&Facts) -> Finding;

/// All checks in the order they are reported: what can stop the broker first.
pub const ALL: &[Check] = &[
    limit::io_uring,
    limit::memlock,
    limit::open_files,
    limit::kernel_release,
    limit::accept_backlog,
    cpu::governor,
    cpu::clocksource,
    memory::huge_pages,
    memory::swappiness,
    storage::block_scheduler,
];

/// What a check says before it looks: its name, its wish, its reason, its remedy.
struct About {
    id: &'static str,
    wanted: &'static str,
    effect: &'static str,
    remedy: &'static str,
}

impl About {
    fn finding(&self, severity: Severity, current: impl Into<String>) -> Finding {
        let About { id, wanted, effect, remedy } = *self;
        Finding { id, severity, current: current.into(), wanted: wanted.to_owned(), effect, remedy }
    }

    /// `Ok` when the value passes, otherwise `otherwise`; `Unknown` when there is no value.
    fn judge<T: ToString>(&self, value: Option<T>, passes: impl Fn(&T) -> bool, otherwise: Severity) -> Finding {
        match value {
            None => self.finding(Severity::Unknown, "not readable here"),
            Some(v) if passes(&v) => self.finding(Severity::Ok, v.to_string()),
            Some(v) => self.finding(otherwise, v.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{report, worst};

    fn good() -> Facts {
        Facts {
            kernel_release: Some("6.18.1-generic".into()),
            io_uring_disabled: Some(0),
            memlock_bytes: Some(u64::MAX),
            nofile_hard: Some(1_048_576),
            cpus_online: Some("0-7".into()),
            governors: vec!["performance".into(); 8],
            clocksource: Some("tsc".into()),
            huge_pages: Some("madvise".into()),
            swappiness: Some(60),
            swap_active: Some(false),
            block_schedulers: vec![("nvme0n1".into(), "none".into())],
            somaxconn: Some(4096),
        }
    }

    #[test]
    fn a_good_host_has_no_findings() {
        let findings = report(&good());
        assert_eq!(worst(&findings), Severity::Ok, "{findings:#?}");
        assert_eq!(findings.len(), ALL.len());
    }

    #[test]
    fn each_knob_is_found_when_it_is_off() {
        type Spoil = fn(&mut Facts);
        let cases: [(&str, Severity, Spoil); 10] = [
            ("io_uring", Severity::Fatal, |f| f.io_uring_disabled = Some(2)),
            ("memlock", Severity::Fatal, |f| f.memlock_bytes = Some(64 * 1024)),
            ("open_files", Severity::Advice, |f| f.nofile_hard = Some(1024)),
            ("kernel_release", Severity::Advice, |f| f.kernel_release = Some("5.10.0".into())),
            ("accept_backlog", Severity::Advice, |f| f.somaxconn = Some(128)),
            ("governor", Severity::Advice, |f| f.governors[3] = "powersave".into()),
            ("clocksource", Severity::Advice, |f| f.clocksource = Some("hpet".into())),
            ("huge_pages", Severity::Advice, |f| f.huge_pages = Some("always".into())),
            ("swappiness", Severity::Advice, |f| f.swap_active = Some(true)),
            ("block_scheduler", Severity::Advice, |f| f.block_schedulers[0].1 = "bfq".into()),
        ];
        for (id, severity, spoil) in cases {
            let mut facts = good();
            spoil(&mut facts);
            let off: Vec<_> = report(&facts).into_iter().filter(|f| f.severity != Severity::Ok).collect();
            assert_eq!(off.iter().map(|f| (f.id, f.severity)).collect::<Vec<_>>(), [(id, severity)], "{off:#?}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_said_and_not_counted() {
        let findings = report(&Facts::default());
        assert_eq!(worst(&findings), Severity::Ok);
        assert!(findings.iter().filter(|f| f.severity == Severity::Unknown).count() >= 6);
    }
}
