//! Whether the clock is kept right.

use super::{Class, Knob, Look};
use crate::facts::Facts;
use crate::value::Value;

pub(super) const KNOB: Knob = Knob {
    id: "clock_sync",
    group: "kernel",
    class: Class::Check,
    reads: &["/run/systemd/timesync/synchronized?", "/run/chrony/chronyd.pid?", "/run/chronyd.pid?", "/run/ntpd.pid?", "/run/ntp.pid?", "/sys/class/ptp/*/clock_name"],
    effect: "time stamps of records jump; retention by age and look-ups by time go wrong",
    why: "Clients and brokers put their clocks into records.",
    source: "chronyd(8), systemd-timesyncd(8); rpk check.",
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, _: &Value) -> Look {
    const DAEMONS: &[(&str, &str)] = &[
        ("/run/systemd/timesync/synchronized", "systemd-timesyncd, synchronized"),
        ("/run/chrony/chronyd.pid", "chronyd runs"),
        ("/run/chronyd.pid", "chronyd runs"),
        ("/run/ntpd.pid", "ntpd runs"),
        ("/run/ntp.pid", "ntpd runs"),
    ];
    if facts.platform.kind == crate::platform::Kind::Container {
        return Look::inapplicable("the clock is the host's");
    }
    if let Some((_, text)) = DAEMONS.iter().find(|(path, _)| facts.snapshot.exists(path)) {
        return Look::ok(*text);
    }
    match facts.snapshot.matching("/sys/class/ptp/*/clock_name").find(|(_, e)| e.text.contains("kvm") || e.text.contains("hyperv")) {
        Some((_, clock)) => Look::hint(format!("no time daemon to see; the hypervisor offers {}", clock.text), "a time daemon").by("chronyd with `refclock PHC /dev/ptp0`"),
        None => Look::off("no time daemon to see", "chronyd or systemd-timesyncd").by("install chrony"),
    }
}
