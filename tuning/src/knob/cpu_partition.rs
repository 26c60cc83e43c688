//! CPUs set apart for the broker's control group without a restart of the host.

use super::{Class, Knob, Look, ProbeKind, Setting, Write};
use crate::facts::Facts;
use crate::value::{Format, Param, Value};

/// The slice of the broker's unit; below the root of the control groups, as a partition has to be.
const CPUS: &str = "/sys/fs/cgroup/coreline.slice/cpuset.cpus";
const PARTITION: &str = "/sys/fs/cgroup/coreline.slice/cpuset.cpus.partition";
const CONTROLLERS: &str = "/sys/fs/cgroup/cgroup.controllers";

pub(super) const KNOB: Knob = Knob {
    id: "cpu_partition",
    group: "cpu",
    class: Class::OptIn,
    reads: &[CONTROLLERS, CPUS, PARTITION],
    writes: &[Write::plain(PARTITION)],
    param: Param::Word { default: "isolated", choices: &["isolated", "root"] },
    effect: "the scheduler balances other programs onto the CPUs of shards",
    why: "A partition of the cpuset controller takes its CPUs from everybody else; `isolated` also keeps the scheduler from balancing between them. \
          Unlike isolcpus it needs no restart and ends with the slice.",
    risk: "All other programs, the kernel's own threads included, share the CPUs that are left. The kernel refuses to take the last ones.",
    undo: "`coreline-tune rollback`, or write `member` to the file; gone when the slice ends.",
    source: "kernel cgroup-v2 (cpuset.cpus.partition, isolated since 6.1); tuned cpu-partitioning.",
    probes: &[ProbeKind::TimerJitter, ProbeKind::WakeUp],
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, wish: &Value) -> Look {
    let Some(controllers) = facts.snapshot.get(CONTROLLERS) else { return Look::inapplicable("control groups v2 are not mounted") };
    if !controllers.split_whitespace().any(|c| c == "cpuset") {
        return Look::inapplicable("the cpuset controller is not among those of control groups v2 here");
    }
    if facts.cpus().len() < 4 {
        return Look::inapplicable("too few CPUs to set some apart");
    }
    let wanted = format!("{} for coreline.slice", wish.word());
    match (facts.snapshot.get(CPUS), facts.snapshot.get(PARTITION)) {
        (Some(cpus), Some(_)) if !cpus.is_empty() => {
            let setting = Setting { path: PARTITION.to_owned(), wanted: wish.word().to_owned() };
            Look { wanted, ..Look::each(&facts.snapshot, Format::Plain, [(format!("coreline.slice {cpus}"), setting)], "") }
        }
        (_, None) => Look::hint("there is no coreline.slice with the cpuset controller", wanted)
            .by("coreline-tune persist --cpus LIST --out / puts the broker in a slice of its own; then start it and apply --with cpu_partition"),
        _ => Look::hint("coreline.slice has no CPUs of its own", wanted).by("AllowedCPUs=LIST in coreline.slice (`coreline-tune persist --cpus LIST`)"),
    }
}
