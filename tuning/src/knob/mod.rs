//! The knobs: one file each, with what it reads, what it may write, why, the risk and the way back; and the one list of them.
//!
//! A knob's `look` is pure: facts and a wish in, a [`Look`] out. The paths in `reads` are all it can see, the patterns in `writes` are all that is
//! ever written for it (`plan` and `tree` both hold to that). To add a knob: a file here, its name in `ALL`, its row in the README (a test asks).

#![allow(clippy::needless_update, reason = "knobs start from one base, whether or not they set every field")]

mod look;

use serde::Serialize;

pub use look::{Direction, Look, Setting};

use crate::facts::Facts;
use crate::value::{Format, Param, Value};
use crate::{Finding, Severity};

/// What is done about a knob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Applied by every profile that does not leave it out.
    Auto,
    /// Applied when a profile or the command line names it.
    OptIn,
    /// Reported; written only when the command line names it, and only where it has something to write.
    Check,
    /// Never written, whoever asks.
    Never,
}

impl Class {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Class::Auto => "auto",
            Class::OptIn => "opt-in",
            Class::Check => "check",
            Class::Never => "never",
        }
    }
}

/// A built-in measurement that can show what a knob does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeKind {
    /// How late a short sleep ends.
    TimerJitter,
    /// How long a sleeping thread takes to run after it was woken.
    WakeUp,
    /// Round trip of a small message over loopback.
    Loopback,
    /// Write of one block plus flush.
    WriteFlush,
    /// Large writes and reads past the page cache.
    SequentialDisk,
    /// Single blocks read at random past the page cache.
    RandomDisk,
}

/// A setting that a knob may write.
#[derive(Clone, Copy, Debug)]
pub struct Write {
    /// Paths, with `*`.
    pub pattern: &'static str,
    /// How the kernel spells it.
    pub format: Format,
    /// Never lowered.
    pub raise_only: bool,
    /// Earlier ranks are written first, on the way in and on the way back.
    pub rank: u8,
    /// Files in the same directory that the kernel changes when this one is written.
    pub resets: &'static [&'static str],
    /// A value that the kernel shows but does not take: it comes back when one of `resets` is written.
    pub not_writable: Option<&'static str>,
}

impl Write {
    /// One pattern of plain values.
    pub const fn plain(pattern: &'static str) -> Write {
        Write { pattern, format: Format::Plain, raise_only: false, rank: 1, resets: &[], not_writable: None }
    }

    /// The same, spelled otherwise.
    pub const fn spelled(self, format: Format) -> Write {
        Write { format, ..self }
    }

    /// The same, never lowered.
    pub const fn raising(self) -> Write {
        Write { raise_only: true, ..self }
    }

    /// The same, before all others, changing its neighbours.
    pub const fn leading(self, resets: &'static [&'static str]) -> Write {
        Write { rank: 0, resets, ..self }
    }
}

/// A tuner.
#[derive(Debug)]
pub struct Knob {
    /// Stable name.
    pub id: &'static str,
    /// Part of the host that it belongs to; the order of [`GROUPS`].
    pub group: &'static str,
    /// What is done about it.
    pub class: Class,
    /// All paths that it looks at.
    pub reads: &'static [&'static str],
    /// All paths that may be written for it; empty where there is nothing to write.
    pub writes: &'static [Write],
    /// The wishes it takes.
    pub param: Param,
    /// What it costs to leave it, in one line.
    pub effect: &'static str,
    /// Why the wish is right for a broker.
    pub why: &'static str,
    /// What can go wrong.
    pub risk: &'static str,
    /// The way back.
    pub undo: &'static str,
    /// Where the knowledge comes from.
    pub source: &'static str,
    /// What can show its effect.
    pub probes: &'static [ProbeKind],
    /// The decision.
    pub look: fn(&Facts, &Value) -> Look,
}

impl Knob {
    /// A knob that only reads; the base of most others.
    const BASE: Knob = Knob {
        id: "",
        group: "",
        class: Class::Check,
        reads: &[],
        writes: &[],
        param: Param::Fixed,
        effect: "",
        why: "",
        risk: "None: nothing is written.",
        undo: "Nothing to undo.",
        source: "",
        probes: &[],
        look: |_, _| Look::unseen(""),
    };

    /// What the knob says about a host.
    pub fn finding(&self, facts: &Facts, wish: &Value) -> Finding {
        let mut look = (self.look)(facts, wish);
        if look.severity == Severity::Unknown && self.reads.iter().any(|r| facts.snapshot.is_denied(r)) {
            look.current = "not readable by this user: run as root to see it".to_owned();
        }
        let severity = match (look.severity, self.class) {
            // What is only done on request, or never, is no fault of the host.
            (Severity::Advice, Class::OptIn | Class::Never) => Severity::Hint,
            (severity, _) => severity,
        };
        let remedy = match look.remedy {
            Some(remedy) => remedy,
            None if look.settings.is_empty() => self.undo_free_remedy(severity),
            None => self.remedy(facts, &look.settings),
        };
        Finding {
            id: self.id,
            group: self.group,
            class: self.class,
            severity,
            current: look.current,
            wanted: look.wanted,
            effect: self.effect,
            remedy,
        }
    }

    /// The way to say it by hand, for those who do not want to run us as root.
    fn remedy(&self, facts: &Facts, settings: &[Setting]) -> String {
        if let Some(why) = settings.iter().find_map(|s| facts.unwritable(&s.path)) {
            return why.to_owned();
        }
        let first = &settings[0];
        let by_hand = match first.path.strip_prefix("/proc/sys/") {
            Some(sysctl) => format!("sysctl -w {}='{}'", sysctl.replace('/', "."), first.wanted),
            None if first.path.starts_with("/@") => format!("{} = {}", crate::tree::shown(&first.path), first.wanted),
            None => format!("echo '{}' > {}", first.wanted, first.path),
        };
        let more = if settings.len() > 1 { format!(" (and {} more)", settings.len() - 1) } else { String::new() };
        match self.class {
            Class::Auto => format!("coreline-tune apply --with {}, or: {by_hand}{more}", self.id),
            Class::OptIn => format!("coreline-tune prove --knob {0}, then apply --with {0}, or: {by_hand}{more}", self.id),
            Class::Check | Class::Never => format!("{by_hand}{more}"),
        }
    }

    fn undo_free_remedy(&self, severity: Severity) -> String {
        if severity >= Severity::Hint { format!("coreline-tune explain {}", self.id) } else { String::new() }
    }

    /// The declared write that covers `path`.
    pub fn write_for(&self, path: &str) -> Option<&'static Write> {
        self.writes.iter().find(|w| crate::snapshot::fits(w.pattern, path))
    }
}

/// The groups in the order of a report: what can stop the broker first.
pub const GROUPS: &[&str] = &["start", "cpu", "memory", "disk", "network", "kernel"];

macro_rules! knobs {
    ($($file:ident),+ $(,)?) => {
        $(mod $file;)+
        /// All knobs in the order they are reported.
        pub const ALL: &[Knob] = &[$($file::KNOB),+];
    };
}

knobs!(
    io_uring,
    memlock,
    open_files,
    kernel_release,
    cpu_governor,
    cpu_boost,
    cpu_energy,
    cpu_dma_latency,
    cpu_resume_latency,
    cpu_smt,
    cpu_isolation,
    cpu_partition,
    cpu_boot_limits,
    workqueue_cpus,
    numa_nodes,
    clocksource,
    huge_pages,
    huge_pages_defrag,
    huge_pages_collapse,
    swappiness,
    memory_size,
    vm_dirty,
    zone_reclaim,
    min_free_kbytes,
    max_map_count,
    disk_scheduler,
    disk_nomerges,
    disk_nr_requests,
    disk_read_ahead,
    disk_rq_affinity,
    disk_io_poll,
    disk_wbt,
    disk_irq,
    disk_write_cache,
    filesystem,
    mount_options,
    disk_space,
    fstrim,
    ballast_file,
    io_properties,
    net_irq,
    irqbalance,
    net_rps,
    net_rfs,
    net_arfs,
    net_xps,
    net_channels,
    net_rings,
    net_coalescing,
    net_offloads,
    napi_defer,
    napi_threaded,
    busy_poll,
    accept_backlog,
    syn_backlog,
    tcp_memory,
    tcp_buffers,
    tcp_slow_start,
    tcp_notsent,
    tcp_fastopen,
    stat_interval,
    numa_balancing,
    timer_migration,
    nmi_watchdog,
    aio_events,
    core_dump,
    clock_sync,
);

/// The knob of a name.
pub fn find(id: &str) -> Option<&'static Knob> {
    ALL.iter().find(|k| k.id == id)
}

/// The known name that is most like `id`, for error messages; `None` when more than a third of it differs.
pub fn nearest(id: &str) -> Option<&'static str> {
    let (known, differing) = ALL.iter().map(|k| (k.id, distance(k.id, id))).min_by_key(|(_, differing)| *differing)?;
    (differing * 3 <= known.len()).then_some(known)
}

/// Levenshtein's distance; names are short.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let next = (corner + usize::from(x != *y)).min(row[j] + 1).min(row[j + 1] + 1);
            corner = row[j + 1];
            row[j + 1] = next;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests;
