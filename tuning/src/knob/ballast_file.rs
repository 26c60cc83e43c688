//! A file to delete in an emergency.

use super::{Class, Knob, Look, Setting, Write};
use crate::ballast;
use crate::facts::Facts;
use crate::value::{Param, Value};

pub(super) const KNOB: Knob = Knob {
    id: "ballast_file",
    group: "disk",
    class: Class::OptIn,
    reads: &[ballast::PATTERN, "/@space"],
    writes: &[Write::plain(ballast::PATTERN).raising()],
    param: Param::Number { default: 1024, min: 1, max: 65_536, unit: "MiB" },
    effect: "a disk that is full to the last byte leaves no room to clean up",
    why: "A gigabyte that can be freed at once lets an operator start the broker and shorten retention.",
    risk: "That much less room for records. Not made where it would take more than a tenth of what is free.",
    undo: "`coreline-tune rollback`, or delete the file `ballast` in the data directory; it stays after a restart of the host.",
    source: "rpk ballast_file; made by fallocate(2), so nothing is written to the disk.",
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, wish: &Value) -> Look {
    let path = ballast::path_in(&facts.data_dir);
    let Some(now) = facts.snapshot.number(&path) else { return Look::inapplicable("there is no data directory yet") };
    let wanted = wish.number() << 20;
    let (now_text, wanted_text) = (format!("{} MiB", now >> 20), format!(">= {} MiB", wish.number()));
    if now >= wanted {
        return Look::ok(now_text).wanting(wanted_text);
    }
    let free = facts.snapshot.get("/@space").and_then(|t| t.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0);
    if free / 10 < wanted - now {
        return Look::inapplicable(format!("{} MiB are free: too little to set {} MiB aside", free >> 20, wish.number()));
    }
    let setting = Setting { path, wanted: wanted.to_string() };
    Look { settings: vec![setting], ..Look::off(if now == 0 { "no ballast file".to_owned() } else { now_text }, wanted_text) }
        .by(format!("coreline-tune apply --only --with ballast_file, or: fallocate -l {}M {}", wish.number(), ballast::file_in(&facts.data_dir)))
}
