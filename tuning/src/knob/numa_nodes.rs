//! NUMA nodes: where memory, disks and network lie.

use super::{Class, Knob, Look};
use crate::facts::Facts;
use crate::value::Value;

pub(super) const KNOB: Knob = Knob {
    id: "numa_nodes",
    group: "cpu",
    class: Class::Check,
    reads: &["/sys/devices/system/node/node*/cpulist", "/sys/devices/system/node/node*/distance"],
    effect: "a shard whose memory, disk or network lies on the other socket pays for every access",
    why: "Shards allocate on their own node; the network device and the disks should hang on the node that serves them.",
    source: "kernel NUMA; rpk relies on hwloc for it and crashes in it.",
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, _: &Value) -> Look {
    let away: Vec<String> = facts.network.iter().filter_map(|n| Some(format!("{} on node {}", n.name, n.numa_node.filter(|n| *n >= 0)?))).collect();
    match facts.numa_nodes {
        0 => Look::inapplicable("not told here"),
        1 => Look::ok("one node"),
        n => Look::hint(format!("{n} nodes; {}", away.join(", ")), "shards on the node of the network device and the disks")
            .by("CPUAffinity= in the unit with the CPUs of that node (`coreline-tune persist --cpus LIST`)"),
    }
}
