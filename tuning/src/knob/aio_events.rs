//! Requests of the old asynchronous I/O: not used.

use super::{Class, Knob, Look};

pub(super) const KNOB: Knob = Knob {
    id: "aio_events",
    group: "kernel",
    class: Class::Never,
    reads: &["/proc/sys/fs/aio-max-nr"],
    effect: "none: the broker uses io_uring",
    why: "Others need a high fs.aio-max-nr for their I/O. Nothing here asks for it.",
    risk: "None.",
    source: "kernel fs sysctl; rpk sets 1048576.",
    look: |_, _| Look::inapplicable("the broker uses io_uring"),
    ..Knob::BASE
};
