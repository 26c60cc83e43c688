//! CPUs set apart for the broker: kernel command line and control group.

use super::{Class, Knob, Look};
use crate::facts::Facts;
use crate::value::Value;

pub(super) const KNOB: Knob = Knob {
    id: "cpu_isolation",
    group: "cpu",
    class: Class::Check,
    reads: &["/proc/cmdline", "/sys/devices/system/cpu/isolated", "/sys/devices/system/cpu/nohz_full", "/sys/fs/cgroup/cpuset.cpus.isolated"],
    effect: "housekeeping and other programs run between two polls of a shard",
    why: "Isolated CPUs see no scheduler balancing, no timer tick and no RCU callbacks: the last tens of microseconds of the tail.",
    source: "kernel isolcpus, nohz_full, rcu_nocbs, cgroup v2 cpuset partitions; tuned cpu-partitioning.",
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, _: &Value) -> Look {
    let isolated = facts.snapshot.get("/sys/devices/system/cpu/isolated").unwrap_or("");
    let partition = facts.snapshot.get("/sys/fs/cgroup/cpuset.cpus.isolated").unwrap_or("");
    if !isolated.is_empty() || !partition.is_empty() {
        return Look::ok(format!("isolated: {}", if isolated.is_empty() { partition } else { isolated }));
    }
    if facts.cpus().len() < 4 {
        return Look::inapplicable("too few CPUs to set some apart");
    }
    Look::hint("no CPU is set apart", "shards on CPUs of their own, for the lowest tail")
        .by("coreline-tune persist prints a kernel command line to review; without a restart: AllowedCPUs= in the unit")
}
