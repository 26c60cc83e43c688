//! Whether the disks complete requests by polling: only told, since the driver makes its queues when it loads.

use super::{Class, Knob, Look};
use crate::facts::Facts;
use crate::value::Value;

pub(super) const KNOB: Knob = Knob {
    id: "disk_io_poll",
    group: "disk",
    class: Class::Check,
    reads: &["/sys/block/*/queue/io_poll"],
    effect: "nothing unless the broker polls for completions",
    why: "Polling saves an interrupt per request on the fastest disks; the driver needs poll queues (nvme.poll_queues=N), made when it loads.",
    source: "kernel queue-sysfs; nvme module parameter poll_queues.",
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, _: &Value) -> Look {
    let polled: Vec<&str> =
        facts.disks.iter().filter(|d| d.queue.get("io_poll").is_some_and(|v| v == "1")).map(|d| d.name.as_str()).collect();
    if facts.disks.is_empty() {
        return Look::inapplicable("no disk to see");
    }
    if facts.disks.iter().all(|d| !d.queue.contains_key("io_poll")) {
        return Look::inapplicable("this kernel does not tell");
    }
    Look::ok(if polled.is_empty() { "interrupts".to_owned() } else { format!("poll queues: {}", polled.join(", ")) })
}
