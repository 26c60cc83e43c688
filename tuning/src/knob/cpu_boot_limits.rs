//! Limits of idle states and clocks on the kernel's command line: only told.

use super::{Class, Knob, Look};
use crate::facts::Facts;
use crate::value::Value;

pub(super) const KNOB: Knob = Knob {
    id: "cpu_boot_limits",
    group: "cpu",
    class: Class::Check,
    reads: &["/proc/cmdline"],
    effect: "none: what other tools set here needs a restart and holds for every program; idle states can be bounded at run time",
    why: "`idle=poll` and `max_cstate` burn power for as long as the host is up, `intel_pstate=disable` takes the better driver away. Holding \
          /dev/cpu_dma_latency (`runtime.cpu.latency.us` of the broker) does the same while it is needed.",
    source: "rpk --reboot-allowed writes intel_idle.max_cstate=0 processor.max_cstate=1 intel_pstate=disable to GRUB; kernel-parameters.",
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, _: &Value) -> Look {
    const LIMITS: &[&str] = &["intel_idle.max_cstate=", "processor.max_cstate=", "intel_pstate=disable", "amd_pstate=disable", "idle=", "mitigations="];
    let Some(line) = &facts.kernel_command_line else { return Look::unseen("not readable here") };
    let found: Vec<&str> = line.split_whitespace().filter(|word| LIMITS.iter().any(|limit| word.starts_with(limit))).collect();
    Look::ok(if found.is_empty() { "none".to_owned() } else { found.join(" ") }).wanting("as the owner likes")
}
