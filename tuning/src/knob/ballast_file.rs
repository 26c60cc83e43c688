//! A file to delete in an emergency.

use super::{Class, Knob, Look};
use crate::facts::Facts;
use crate::value::Value;

pub(super) const KNOB: Knob = Knob {
    id: "ballast_file",
    group: "disk",
    class: Class::OptIn,
    reads: &["/@ballast?"],
    effect: "a disk that is full to the last byte leaves no room to clean up",
    why: "A gigabyte that can be freed at once lets an operator start the broker and shorten retention.",
    risk: "One gigabyte less. Not made by `apply`: it is no setting, and a file of that size is not written unasked.",
    undo: "Delete the file.",
    source: "rpk ballast_file.",
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, _: &Value) -> Look {
    Look::hint("not looked for", "1 GiB to spare").by(format!("fallocate -l 1G {}/ballast", facts.data_dir.trim_end_matches('/')))
}
