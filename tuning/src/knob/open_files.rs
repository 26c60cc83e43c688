//! Open files and sockets.

use super::{Class, Knob, Look};
use crate::facts::Facts;
use crate::startup::{OPEN_FILES_MIN, OPEN_FILES_WANTED};
use crate::value::Value;

pub(super) const KNOB: Knob = Knob {
    id: "open_files",
    group: "start",
    class: Class::Check,
    reads: &["/proc/self/limits"],
    effect: "connections are refused when files and sockets run out",
    why: "Two files per open segment and one per connection: 10,000 partitions with 10,000 clients need some 65,000.",
    source: "getrlimit(2).",
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, _: &Value) -> Look {
    const REMEDY: &str = "LimitNOFILE=1048576 in the unit (`coreline-tune persist` writes one), or /etc/security/limits.conf";
    let wanted = format!(">= {OPEN_FILES_WANTED}");
    match facts.nofile_hard {
        None => Look::unseen("not readable here"),
        Some(u64::MAX) => Look::ok("unlimited").wanting(wanted),
        Some(n) if n >= OPEN_FILES_WANTED => Look::ok(n.to_string()).wanting(wanted),
        Some(n) if n < OPEN_FILES_MIN => Look::fatal(n.to_string(), wanted).by(REMEDY),
        Some(n) => Look::off(n.to_string(), wanted).by(REMEDY),
    }
}
