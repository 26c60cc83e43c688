//! CPU: frequency governor and clock source.

use super::About;
use crate::{Facts, Finding, Severity};

/// Clock sources that are read without a system call.
const FAST_CLOCKS: &[&str] = &["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter"];

pub(super) fn governor(facts: &Facts) -> Finding {
    let about = About {
        id: "governor",
        wanted: "performance on every CPU",
        effect: "a core that clocked down adds its ramp-up to the first requests after a pause",
        remedy: "echo performance | tee /sys/devices/system/cpu/cpufreq/policy*/scaling_governor",
    };
    if facts.governors.is_empty() {
        return about.finding(Severity::Unknown, "no frequency control here");
    }
    let slow = facts.governors.iter().filter(|g| *g != "performance").count();
    let severity = if slow == 0 { Severity::Ok } else { Severity::Advice };
    about.finding(severity, format!("{slow} of {} policies differ", facts.governors.len()))
}

pub(super) fn clocksource(facts: &Facts) -> Finding {
    let about = About {
        id: "clocksource",
        wanted: "one that is read without a system call",
        effect: "each time stamp costs a system call of about a microsecond",
        remedy: "see /sys/devices/system/clocksource/clocksource0/available_clocksource; prefer tsc on bare metal",
    };
    about.judge(facts.clocksource.clone(), |c| FAST_CLOCKS.contains(&c.as_str()), Severity::Advice)
}
