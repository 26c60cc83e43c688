//! The daemon that moves interrupts: told to leave those of the network devices alone.

use super::{Class, Knob, Look};
use crate::facts::Facts;
use crate::persist::IRQBALANCE;
use crate::value::Value;

pub(super) const KNOB: Knob = Knob {
    id: "irqbalance",
    group: "network",
    class: Class::OptIn,
    reads: &[
        "/run/irqbalance?",
        "/run/irqbalance.pid?",
        "/run/irqbalance/irqbalance.pid?",
        "/etc/systemd/system/irqbalance.service.d/50-coreline-tune.conf?",
        "/etc/default/irqbalance",
        "/etc/sysconfig/irqbalance",
    ],
    effect: "every ten seconds irqbalance may move the interrupts that `net_irq` has placed",
    why: "`persist` writes a drop-in for its unit (/etc/systemd/system/irqbalance.service.d/50-coreline-tune.conf) that bans the drivers of the network devices (--banmod) and keeps what its owner's file says, under both names of the \
          variable, IRQBALANCE_ARGS and OPTIONS: distributions differ, and the wrong one is ignored in silence. `apply` looks again after 30 s.",
    risk: "Other devices of the same driver are not balanced either (virtio: disks, whose interrupts the kernel places anyway).",
    undo: "`coreline-tune persist --remove --out /` and `systemctl restart irqbalance`.",
    source: "irqbalance(1); the name of the variable is a known trap (redpanda#17005, seastar#502).",
    look,
    ..Knob::BASE
};

/// True when our drop-in is there.
pub(super) fn is_told(facts: &Facts) -> bool {
    facts.snapshot.exists(&format!("/{IRQBALANCE}"))
}

fn look(facts: &Facts, _: &Value) -> Look {
    if !facts.runs_irqbalance() {
        return Look::inapplicable("irqbalance does not run");
    }
    if !facts.network.iter().any(crate::facts::Nic::is_multi_queue) {
        return Look::inapplicable("no network device with several queues");
    }
    if is_told(facts) {
        return Look::ok("told to leave the network devices alone");
    }
    Look::off("runs and moves the interrupts of the network devices", "a drop-in that bans them").by(
        "coreline-tune persist --out / writes it, then systemctl daemon-reload && systemctl restart irqbalance; or systemctl disable --now irqbalance",
    )
}
