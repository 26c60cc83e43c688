//! Open files and sockets.

use super::{Class, Knob, Look};
use crate::facts::Facts;
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

/// Enough for 10,000 partitions and 10,000 connections with two files each.
const WANTED: u64 = 65_536;
/// Below this a broker with its first few hundred partitions runs out.
const FATAL: u64 = 2_048;

fn look(facts: &Facts, _: &Value) -> Look {
    const REMEDY: &str = "LimitNOFILE=1048576 in the unit (`coreline-tune persist` writes one), or /etc/security/limits.conf";
    match facts.nofile_hard {
        None => Look::unseen("not readable here"),
        Some(u64::MAX) => Look::ok("unlimited").wanting(">= 65536"),
        Some(n) if n >= WANTED => Look::ok(n.to_string()).wanting(">= 65536"),
        Some(n) if n < FATAL => Look::fatal(n.to_string(), ">= 65536").by(REMEDY),
        Some(n) => Look::off(n.to_string(), ">= 65536").by(REMEDY),
    }
}
