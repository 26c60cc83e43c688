//! Recorded hosts: what is found on each, what each profile would write, and that all of it can be applied and undone there.
//!
//! `tests/fixture/NAME.tree` is the host, `NAME.expected` what is said about it. `CORELINE_UPDATE_GOLDEN=1 cargo test -p coreline-tuning --test hosts`
//! writes the expected files anew; read the difference before it is committed.

mod support;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use coreline_tuning::facts::Facts;
use coreline_tuning::journal::{Stamp, State};
use coreline_tuning::persist;
use coreline_tuning::plan::{Reason, plan};
use coreline_tuning::platform::Kind;
use coreline_tuning::profile::{BUILT_IN, Profile};
use coreline_tuning::snapshot::Snapshot;
use coreline_tuning::transaction::{apply, rollback};
use coreline_tuning::{Severity, knob, report};
use support::{Fate, Fault, Kernel, MemoryLog};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixture")
}

fn host(name: &str) -> Facts {
    let text = std::fs::read_to_string(folder().join(format!("{name}.tree"))).expect("the recorded host is there");
    Facts::of(Snapshot::parse(&text).unwrap_or_else(|e| panic!("{name}: {e}")), "/var/lib/coreline")
}

const HOSTS: &[(&str, Kind)] = &[
    ("arm-metal-recorded", Kind::BareMetal),
    ("bare-metal-nvme", Kind::BareMetal),
    ("cloud-metal-tuned", Kind::BareMetal),
    ("container", Kind::Container),
    ("container-recorded", Kind::Container),
    ("four-numa-nodes-recorded", Kind::BareMetal),
    ("laptop", Kind::BareMetal),
    ("laptop-recorded", Kind::BareMetal),
    ("nvme-recorded", Kind::BareMetal),
    ("two-numa-nodes", Kind::BareMetal),
    ("two-numa-nodes-recorded", Kind::BareMetal),
    ("vm-virtio", Kind::VirtualMachine),
    ("wsl", Kind::Wsl),
];

/// A fixture is the whole of what the knobs look at: a file that is missing is missing on purpose, and the fixture says so.
#[test]
fn each_host_says_where_it_is_from_and_what_it_has_not() {
    let mut complaints = Vec::new();
    for (name, _) in HOSTS {
        let text = std::fs::read_to_string(folder().join(format!("{name}.tree"))).expect("the host is there");
        let snapshot = Snapshot::parse(&text).expect("parses");
        if !["# Recorded (", "# Composed from "].iter().any(|how| text.starts_with(how)) {
            complaints.push(format!("{name}: the first line does not say where it is from"));
        }
        let absent: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("# absent: ")).collect();
        let is_there = |pattern: &str| snapshot.matching(pattern).next().is_some() || snapshot.is_denied(pattern);
        let mut patterns: Vec<&str> = knob::ALL.iter().flat_map(|k| k.reads).copied().collect();
        patterns.sort_unstable();
        patterns.dedup();
        for pattern in &patterns {
            if is_there(pattern) == absent.contains(pattern) {
                let what = if is_there(pattern) { "is there and said to be absent" } else { "is neither there nor said to be absent" };
                complaints.push(format!("{name}: {pattern} {what}"));
            }
        }
        complaints.extend(absent.iter().filter(|a| !patterns.contains(a)).map(|a| format!("{name}: absent {a}, which nobody reads")));
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// No setting is wanted by two knobs: interrupts are told apart by their device.
#[test]
fn no_setting_is_asked_for_twice() {
    for (name, _) in HOSTS {
        let facts = host(name);
        let mut seen = std::collections::BTreeMap::new();
        for k in knob::ALL {
            for setting in (k.look)(&facts, &k.param.default_value()).settings {
                if let Some(other) = seen.insert(setting.path.clone(), k.id) {
                    panic!("{name}: {} is asked for by {other} and {}", setting.path, k.id);
                }
            }
        }
    }
}

/// What could not be seen is not fine. Found by recordings that hold less than the knobs read.
#[test]
fn nothing_is_fine_without_a_file_that_says_so() {
    let mut complaints = Vec::new();
    for (name, _) in HOSTS {
        let facts = host(name);
        for finding in report(&facts).iter().filter(|f| f.severity == Severity::Ok) {
            let knob = knob::ALL.iter().find(|k| k.id == finding.id).expect("findings are of knobs");
            let seen = knob.reads.iter().any(|pattern| facts.snapshot.matching(pattern).next().is_some());
            if !seen && !knob.reads.is_empty() {
                complaints.push(format!("{name}: {} is {:?} and nothing of {:?} is there", knob.id, finding.current, knob.reads));
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn each_host_is_told_for_what_it_is() {
    for (name, kind) in HOSTS {
        let facts = host(name);
        assert_eq!(facts.platform.kind, *kind, "{name}: {:?}", facts.platform.evidence);
        let sources = facts.platform.evidence.len();
        assert!(sources >= 1, "{name}: {sources} sources");
    }
    assert!(host("laptop").platform.laptop && host("laptop-recorded").platform.laptop);
    assert!(host("container").platform.virtual_kernel, "what the container runs on is told apart from the container");
}

#[test]
fn what_is_said_about_each_host_is_as_expected() {
    let update = std::env::var_os("CORELINE_UPDATE_GOLDEN").is_some();
    for (name, _) in HOSTS {
        let (path, said) = (folder().join(format!("{name}.expected")), describe(&host(name)));
        if update {
            std::fs::write(&path, &said).expect("the folder is writable");
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        for (i, (line, wanted)) in said.lines().zip(expected.lines()).enumerate() {
            assert_eq!(line, wanted, "{name}.expected line {}", i + 1);
        }
        assert_eq!(said.lines().count(), expected.lines().count(), "{name}");
    }
}

fn describe(facts: &Facts) -> String {
    let mut text = format!("kind: {:?}, hypervisor: {:?}\n", facts.platform.kind, facts.platform.hypervisor);
    for f in report(facts) {
        let _ = writeln!(
            text,
            "{:?} {}: {}{}",
            f.severity,
            f.id,
            f.current,
            if f.wanted.is_empty() { String::new() } else { format!(" (wanted {})", f.wanted) }
        );
    }
    for (name, _) in BUILT_IN {
        let plan = plan(facts, &Profile::load(name).expect("built in"));
        let mut knobs: Vec<String> = plan.by_knob().iter().map(|(k, steps)| format!("{k} {}", steps.len())).collect();
        let kept_out = plan.skipped.iter().filter(|s| s.reason == Reason::NotWritable).count();
        if kept_out > 0 {
            knobs.push(format!("({kept_out} not writable)"));
        }
        let _ = writeln!(text, "{name}: {}", if knobs.is_empty() { "nothing".to_owned() } else { knobs.join(", ") });
    }
    text
}

/// Everything that can be asked for on this host.
fn everything() -> Profile {
    let mut profile = Profile::load("production-latency").expect("built in");
    for k in knob::ALL.iter().filter(|k| k.class != knob::Class::Never && !k.writes.is_empty()) {
        profile.add(k.id).expect("can be asked for");
    }
    profile
}

#[test]
fn all_that_can_be_asked_for_is_applied_and_undone_on_each_host() {
    for (name, _) in HOSTS {
        let facts = host(name);
        let kernel = Kernel::of(&facts.snapshot);
        let before = kernel.normal();
        let steps = plan(&facts, &everything());
        let mut log = MemoryLog::default();
        apply(&steps, Stamp::default(), &mut kernel.clone(), &mut log).unwrap_or_else(|e| panic!("{name}: {e}"));
        let again = plan(&Facts::of(kernel.snapshot(), "/var/lib/coreline"), &everything());
        // One round settles it, except for what only shows after another knob has changed.
        let left: Vec<&str> = again.steps.iter().map(|s| s.path.as_str()).filter(|p| facts.unwritable(p).is_none()).collect();
        assert!(left.is_empty(), "{name}: {left:?}");
        if log.journal().state() != State::Empty {
            rollback(&log.journal(), &mut kernel.clone(), &mut log);
        }
        let now = kernel.normal();
        let differing: Vec<_> = before.iter().filter(|(p, t)| now.get(*p) != Some(t)).map(|(p, t)| (p, t, now.get(p))).collect();
        assert!(differing.is_empty(), "{name}: {differing:?}");
    }
}

#[test]
fn every_write_fails_once_on_each_host_and_nothing_is_left() {
    for (name, _) in HOSTS {
        let facts = host(name);
        let steps = plan(&facts, &everything());
        // Large hosts have hundreds of settings: a step that meets them all over the run, ends included.
        let total = 2 * steps.steps.len() + 2;
        let stride = (total / 12).max(1);
        for at in (1..=total).filter(|at| at % stride == 0 || *at <= 3 || *at > total - 3) {
            for fault in [Fault::Refuse, Fault::Ignore, Fault::DieBefore, Fault::DieAfter] {
                let kernel = Kernel::of(&facts.snapshot);
                let before = kernel.normal();
                *kernel.fate.borrow_mut() = Fate { fault_at: Some((at, fault)), ..Fate::default() };
                let mut log = MemoryLog::with(&kernel.fate);
                let _ = apply(&steps, Stamp::default(), &mut kernel.clone(), &mut log);
                log.revive();
                if !matches!(log.journal().state(), State::Closed | State::Empty) {
                    rollback(&log.journal(), &mut kernel.clone(), &mut log);
                }
                assert!(kernel.normal() == before, "{name}: operation {at}, {fault:?}");
            }
        }
    }
}

#[test]
fn nothing_that_risks_data_is_ever_planned() {
    for (name, _) in HOSTS {
        let steps = plan(&host(name), &everything()).steps;
        assert!(!steps.iter().any(|s| s.path.contains("write_cache") || s.path.contains("core_pattern")), "{name}");
    }
}

#[test]
fn inapplicable_is_not_failed() {
    let vm = report(&host("vm-virtio"));
    for id in ["cpu_governor", "net_irq", "net_rfs", "net_xps"] {
        assert_eq!(vm.iter().find(|f| f.id == id).map(|f| f.severity), Some(Severity::Inapplicable), "{id}");
    }
    let container = report(&host("container"));
    let backlog = container.iter().find(|f| f.id == "syn_backlog").expect("reported");
    assert!(backlog.remedy.contains("on the host"), "{backlog:?}");
    assert!(plan(&host("container"), &Profile::automatic()).steps.iter().all(|s| !s.path.starts_with("/proc/sys/")));
}

#[test]
fn what_is_persisted_says_where_it_came_from_and_does_not_depend_on_apply() {
    let facts = host("bare-metal-nvme");
    let profile = Profile::load("production-latency").expect("built in");
    let stamp =
        Stamp { profile: profile.name.clone(), who: "alice\nExecStart=/bin/evil".into(), program: "1.2.3".into(), ..Stamp::default() };
    let made = persist::make(&facts, &[], &profile, &stamp, Some("8-31"));
    for file in &made.files {
        assert!(
            file.text.starts_with("# made by coreline-tune persist\n# profile production-latency, coreline-tune 1.2.3"),
            "{}",
            file.text
        );
        assert!(!file.text.lines().any(|l| l.starts_with("ExecStart=/bin/evil")), "a name does not become a line");
    }
    let text = |end: &str| made.files.iter().find(|f| f.path.ends_with(end)).map(|f| f.text.as_str()).expect("made");
    assert!(text("coreline-tune.service").contains("ExecStart=/usr/bin/coreline-tune apply --profile production-latency --yes"));
    assert!(text("50-coreline-tune.conf").contains("LimitMEMLOCK=infinity") && text("50-coreline-tune.conf").contains("CPUAffinity=8-31"));
    assert!(text("sysctl.d/90-coreline-tune.conf").contains("net.ipv4.tcp_slow_start_after_idle = 0"));
    assert!(
        text(".rules")
            .contains("SUBSYSTEM==\"block\", ENV{DEVTYPE}==\"disk\", KERNEL==\"nvme[0-9]*n[0-9]*\", ATTR{queue/scheduler}=\"none\"")
    );
    let mut changed = profile.clone();
    changed.add("busy_poll=20").expect("known");
    let unit = persist::make(&facts, &[], &changed, &stamp, None).files[0].text.clone();
    assert!(unit.contains("apply --only --with") && unit.contains(" --with busy_poll=20 "), "what the command line changed lasts: {unit}");
    assert!(made.command_line.contains("isolcpus=managed_irq,domain,8-31"), "{}", made.command_line);

    assert!(text("coreline.slice").contains("AllowedCPUs=8-31") && text("50-coreline-tune.conf").contains("Slice=coreline.slice"));
    assert!(!made.files.iter().any(|f| f.path.contains("irqbalance")), "it does not run there");

    let kernel = Kernel::of(&facts.snapshot);
    let entries = apply(&plan(&facts, &profile), stamp.clone(), &mut kernel.clone(), &mut MemoryLog::default()).expect("applies");
    let after = Facts::of(kernel.snapshot(), "/var/lib/coreline");
    assert_eq!(persist::make(&after, &entries, &profile, &stamp, Some("8-31")).files, made.files);
}

#[test]
fn irqbalance_is_told_under_both_names_and_keeps_what_its_owner_wrote() {
    let facts = host("two-numa-nodes");
    let made = persist::make(&facts, &[], &Profile::automatic(), &Stamp::default(), None);
    let text = |end: &str| made.files.iter().find(|f| f.path.ends_with(end)).map(|f| f.text.as_str()).expect("made");
    assert!(made.tells_irqbalance());
    assert!(text("irqbalance.service.d/50-coreline-tune.conf").contains("\nEnvironmentFile=/etc/default/irqbalance-coreline\n"));
    let variables = text("irqbalance-coreline");
    assert!(variables.contains("\nIRQBALANCE_ARGS=\"--deepestcache=2 --banmod=bnxt_en\"\n"), "{variables}");
    assert!(variables.contains("\nOPTIONS=\"--banmod=bnxt_en\"\n"), "{variables}");
    let mut without = Profile::automatic();
    without.remove("net_irq").expect("known");
    assert!(!persist::make(&facts, &[], &without, &Stamp::default(), None).files.iter().any(|f| f.path.contains("irqbalance")));
    // With the drop-in in place the queues are placed.
    let steps = |snapshot: Snapshot| plan(&Facts::of(snapshot, "/var/lib/coreline"), &Profile::automatic()).steps;
    let mut told = facts.snapshot.clone();
    told.insert("/etc/systemd/system/irqbalance.service.d/50-coreline-tune.conf?", "present");
    assert!(steps(facts.snapshot.clone()).iter().all(|s| s.knob != "net_irq") && steps(told).iter().any(|s| s.knob == "net_irq"));
}

#[test]
fn files_of_others_are_neither_overwritten_nor_removed() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let out = dir.path().to_str().expect("UTF-8");
    let made = persist::make(&host("vm-virtio"), &[], &Profile::automatic(), &Stamp::default(), None);
    let theirs = dir.path().join("etc/sysctl.d/90-coreline-tune.conf");
    std::fs::create_dir_all(theirs.parent().expect("a folder")).expect("create");
    std::fs::write(&theirs, "vm.swappiness = 7\n").expect("write");
    let error = persist::write(out, &made.files).expect_err("theirs").to_string();
    assert!(error.contains("90-coreline-tune.conf") && persist::present(out).is_empty(), "{error}");
    std::fs::remove_file(&theirs).expect("remove");
    assert_eq!(persist::write(out, &made.files).expect("writes").len(), 4);
    persist::write(out, &made.files).expect("ours may be written again");
    std::fs::write(&theirs, "vm.swappiness = 7\n").expect("write");
    assert_eq!(persist::remove(out).expect("removes").len(), 3);
    assert!(theirs.exists());
}
