//! Apply and rollback against a kernel in memory: every operation fails once, the process dies at every operation, others change settings meanwhile.

mod support;

use std::collections::BTreeMap;

use coreline_tuning::facts::Facts;
use coreline_tuning::journal::{Stamp, State};
use coreline_tuning::plan::{Plan, plan};
use coreline_tuning::profile::Profile;
use coreline_tuning::transaction::{Outcome, apply, rollback};
use proptest::prelude::*;
use support::{Fate, Fault, Kernel, MemoryLog};

/// A host on which many knobs of all kinds have something to do, with couplings.
const HOST: &[(&str, &str)] = &[
    ("/proc/meminfo", "MemTotal: 16777216 kB"),
    ("/proc/swaps", "Filename\n/swap file"),
    ("/proc/sys/net/core/busy_poll", "0"),
    ("/proc/sys/net/core/busy_read", "0"),
    ("/proc/sys/net/core/somaxconn", "128"),
    ("/proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t1048576"),
    ("/proc/sys/net/ipv4/tcp_wmem", "4096\t16384\t1048576"),
    ("/proc/sys/vm/dirty_background_bytes", "0"),
    ("/proc/sys/vm/dirty_background_ratio", "10"),
    ("/proc/sys/vm/dirty_bytes", "0"),
    ("/proc/sys/vm/dirty_ratio", "20"),
    ("/proc/sys/vm/swappiness", "60"),
    ("/sys/block/nvme0n1/queue/nr_requests", "300"),
    ("/sys/block/nvme0n1/queue/rotational", "0"),
    ("/sys/block/nvme0n1/queue/scheduler", "none [mq-deadline] kyber"),
    ("/sys/block/nvme0n1/queue/wbt_lat_usec", "1234"),
    ("/sys/block/vda/queue/nr_requests", "256"),
    ("/sys/block/vda/queue/scheduler", "none mq-deadline [bfq]"),
    ("/sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never"),
];

fn profile() -> Profile {
    let mut profile = Profile::load("production-latency").expect("built in");
    for knob in ["vm_dirty", "tcp_buffers", "disk_nr_requests=100"] {
        profile.add(knob).expect("a person may name it");
    }
    profile
}

fn plan_for(kernel: &Kernel) -> Plan {
    plan(&Facts::of(kernel.snapshot(), "/var/lib/coreline"), &profile())
}

/// The settings that are not as they were, except those in `theirs`.
fn differing(before: &BTreeMap<String, String>, kernel: &Kernel, theirs: &BTreeMap<String, String>) -> Vec<String> {
    let now = kernel.normal();
    let wanted = |path: &String| theirs.get(path).or_else(|| before.get(path));
    now.iter().filter(|(p, t)| wanted(p) != Some(t)).map(|(p, t)| format!("{p}: {t}, not {:?}", wanted(p))).collect()
}

#[test]
fn all_is_written_and_all_is_put_back() {
    let kernel = Kernel::new(HOST);
    let before = kernel.normal();
    let plan = plan_for(&kernel);
    assert!(plan.steps.len() >= 12, "{plan:#?}");
    let mut log = MemoryLog::default();
    apply(&plan, Stamp::default(), &mut kernel.clone(), &mut log).expect("applies");
    for step in &plan.steps {
        assert_eq!(step.format.normal(&kernel.get(&step.path)), step.new, "{}", step.path);
    }
    assert_eq!(kernel.get("/proc/sys/vm/dirty_ratio"), "0", "the kernel's coupling is there");
    assert!(plan_for(&kernel).steps.is_empty(), "a second plan has nothing to do");
    let journal = log.journal();
    assert_eq!(journal.state(), State::InForce);
    assert!(journal.read_back.iter().all(Option::is_some));
    let undone = rollback(&journal, &mut kernel.clone(), &mut log);
    assert_eq!(differing(&before, &kernel, &BTreeMap::new()), Vec::<String>::new(), "{undone:#?}");
    assert_eq!(log.journal().state(), State::Closed);
}

#[test]
fn every_operation_of_apply_fails_once_and_the_batch_is_undone() {
    let total = operations();
    for at in 1..=total {
        for fault in [Fault::Refuse, Fault::Ignore] {
            let kernel = Kernel::new(HOST);
            let before = kernel.normal();
            let plan = plan_for(&kernel);
            *kernel.fate.borrow_mut() = Fate { fault_at: Some((at, fault)), ..Fate::default() };
            let mut log = MemoryLog::with(&kernel.fate);
            let error = apply(&plan, Stamp::default(), &mut kernel.clone(), &mut log).expect_err("something failed");
            assert_eq!(differing(&before, &kernel, &BTreeMap::new()), Vec::<String>::new(), "operation {at}, {fault:?}: {error}");
            let text = error.to_string();
            assert!(text.contains(&error.path) && text.contains("as they were"), "{text}");
            assert!(
                matches!(log.journal().state(), State::Closed | State::Empty),
                "operation {at}, {fault:?}: {:?}",
                log.journal().state()
            );
        }
    }
}

fn operations() -> usize {
    let kernel = Kernel::new(HOST);
    let mut log = MemoryLog::with(&kernel.fate);
    apply(&plan_for(&kernel), Stamp::default(), &mut kernel.clone(), &mut log).expect("applies");
    let operations = kernel.fate.borrow().operations;
    assert!(operations > 25, "{operations}");
    operations
}

#[test]
fn the_process_dies_at_every_operation_of_apply_and_the_next_one_undoes_it() {
    for at in 1..=operations() {
        for fault in [Fault::DieBefore, Fault::DieAfter] {
            let kernel = Kernel::new(HOST);
            let before = kernel.normal();
            let plan = plan_for(&kernel);
            *kernel.fate.borrow_mut() = Fate { fault_at: Some((at, fault)), ..Fate::default() };
            let mut log = MemoryLog::with(&kernel.fate);
            let _ = apply(&plan, Stamp::default(), &mut kernel.clone(), &mut log);
            log.revive();
            let journal = log.journal();
            if journal.state() == State::Empty {
                assert_eq!(kernel.normal(), before, "operation {at}, {fault:?}: nothing is journalled, so nothing may be written");
                continue;
            }
            rollback(&journal, &mut kernel.clone(), &mut log);
            assert_eq!(differing(&before, &kernel, &BTreeMap::new()), Vec::<String>::new(), "operation {at}, {fault:?}");
            assert_eq!(log.journal().state(), State::Closed);
        }
    }
}

#[test]
fn the_process_dies_at_every_operation_of_rollback_and_the_next_one_goes_on() {
    for at in 1.. {
        let mut reached = false;
        for fault in [Fault::DieBefore, Fault::DieAfter] {
            let kernel = Kernel::new(HOST);
            let before = kernel.normal();
            let mut log = MemoryLog::with(&kernel.fate);
            apply(&plan_for(&kernel), Stamp::default(), &mut kernel.clone(), &mut log).expect("applies");
            *kernel.fate.borrow_mut() = Fate { fault_at: Some((at, fault)), ..Fate::default() };
            rollback(&log.journal(), &mut kernel.clone(), &mut log);
            reached |= kernel.fate.borrow().dead;
            log.revive();
            if log.journal().state() != State::Closed {
                rollback(&log.journal(), &mut kernel.clone(), &mut log);
            }
            assert_eq!(differing(&before, &kernel, &BTreeMap::new()), Vec::<String>::new(), "operation {at}, {fault:?}");
            assert_eq!(log.journal().state(), State::Closed);
        }
        if !reached {
            assert!(at > 12, "{at}");
            break;
        }
    }
}

#[test]
fn what_others_changed_since_is_theirs() {
    let kernel = Kernel::new(HOST);
    let before = kernel.normal();
    let mut log = MemoryLog::default();
    apply(&plan_for(&kernel), Stamp::default(), &mut kernel.clone(), &mut log).expect("applies");
    // A value, a follower of a leader that is ours, and a device that went away.
    kernel.set("/proc/sys/vm/swappiness", "30").expect("sets");
    kernel.set("/sys/block/vda/queue/nr_requests", "64").expect("sets");
    kernel.settings.borrow_mut().remove("/proc/sys/net/core/busy_read");
    let undone = rollback(&log.journal(), &mut kernel.clone(), &mut log);
    let outcome = |path: &str| undone.iter().find(|u| u.path == path).map(|u| u.outcome.clone()).expect("listed");
    assert_eq!(outcome("/proc/sys/vm/swappiness"), Outcome::Foreign { now: "30".into() });
    assert_eq!(outcome("/sys/block/vda/queue/nr_requests"), Outcome::Foreign { now: "64".into() });
    assert!(matches!(outcome("/proc/sys/net/core/busy_read"), Outcome::Gone { .. }));
    assert_eq!(outcome("/sys/block/vda/queue/scheduler"), Outcome::Restored);
    let theirs = [("/proc/sys/vm/swappiness", "30"), ("/sys/block/vda/queue/nr_requests", "64")].map(|(p, t)| (p.to_owned(), t.to_owned()));
    assert_eq!(differing(&before, &kernel, &theirs.into()), Vec::<String>::new());
}

#[test]
fn a_value_that_cannot_be_put_back_keeps_the_journal_open() {
    let kernel = Kernel::new(HOST);
    let mut log = MemoryLog::with(&kernel.fate);
    apply(&plan_for(&kernel), Stamp::default(), &mut kernel.clone(), &mut log).expect("applies");
    struct Stubborn(Kernel);
    impl coreline_tuning::tree::Tree for Stubborn {
        fn read(&mut self, path: &str) -> std::io::Result<String> {
            self.0.read(path)
        }
        fn write(&mut self, path: &str, text: &str) -> std::io::Result<()> {
            if path.ends_with("swappiness") { Err(std::io::Error::from_raw_os_error(1)) } else { self.0.write(path, text) }
        }
    }
    let undone = rollback(&log.journal(), &mut Stubborn(kernel.clone()), &mut log);
    let failed: Vec<_> = undone.iter().filter(|u| matches!(u.outcome, Outcome::Failed { .. })).map(|u| u.path.as_str()).collect();
    assert_eq!(failed, ["/proc/sys/vm/swappiness"]);
    assert_eq!(log.journal().state(), State::Restoring);
    rollback(&log.journal(), &mut kernel.clone(), &mut log);
    assert_eq!((log.journal().state(), kernel.get("/proc/sys/vm/swappiness").as_str()), (State::Closed, "60"));
}

#[test]
fn a_raise_by_somebody_else_between_plan_and_apply_is_kept() {
    let kernel = Kernel::new(HOST);
    let plan = plan_for(&kernel);
    kernel.set("/proc/sys/net/core/somaxconn", "65535").expect("sets");
    let entries = apply(&plan, Stamp::default(), &mut kernel.clone(), &mut MemoryLog::default()).expect("applies");
    assert_eq!(kernel.get("/proc/sys/net/core/somaxconn"), "65535");
    assert!(!entries.iter().any(|e| e.path.ends_with("somaxconn")));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Two faults anywhere, foreign changes in between: at the end every setting is as it was or as others made it.
    #[test]
    fn nothing_is_left_behind(
        first in 1_usize..60, second in 1_usize..60, foreign in proptest::collection::vec((0_usize..4, 1_u32..100), 0..3),
        kinds in (0_usize..4, 0_usize..4), drop in 0_usize..12,
    ) {
        const FAULTS: [Fault; 4] = [Fault::Refuse, Fault::Ignore, Fault::DieBefore, Fault::DieAfter];
        const FREE: [&str; 4] = ["/proc/sys/vm/swappiness", "/proc/sys/net/core/busy_poll", "/proc/sys/net/core/busy_read", "/proc/sys/net/core/somaxconn"];
        let kernel = Kernel::new(HOST);
        let before = kernel.normal();
        let mut plan = plan_for(&kernel);
        if drop < plan.steps.len() {
            plan.steps.remove(drop);
        }
        *kernel.fate.borrow_mut() = Fate { fault_at: Some((first, FAULTS[kinds.0])), ..Fate::default() };
        let mut log = MemoryLog::with(&kernel.fate);
        let applied = apply(&plan, Stamp::default(), &mut kernel.clone(), &mut log).is_ok() && !kernel.fate.borrow().dead;
        log.revive();
        let mut theirs = BTreeMap::new();
        if applied {
            for (which, value) in foreign {
                let (path, value) = (FREE[which], value.to_string());
                kernel.set(path, &value).expect("sets");
                theirs.insert(path.to_owned(), value);
            }
        }
        // A value of theirs that happens to be ours counts as ours.
        let ours: Vec<String> = plan.steps.iter().filter(|s| theirs.get(&s.path) == Some(&s.new)).map(|s| s.path.clone()).collect();
        ours.iter().for_each(|path| drop_of(&mut theirs, path));
        *kernel.fate.borrow_mut() = Fate { fault_at: Some((second, FAULTS[kinds.1])), ..Fate::default() };
        if !matches!(log.journal().state(), State::Closed | State::Empty) {
            rollback(&log.journal(), &mut kernel.clone(), &mut log);
        }
        log.revive();
        if !matches!(log.journal().state(), State::Closed | State::Empty) {
            rollback(&log.journal(), &mut kernel.clone(), &mut log);
        }
        prop_assert_eq!(differing(&before, &kernel, &theirs), Vec::<String>::new());
        prop_assert!(matches!(log.journal().state(), State::Closed | State::Empty));
    }
}

fn drop_of(map: &mut BTreeMap<String, String>, path: &str) {
    map.remove(path);
}
