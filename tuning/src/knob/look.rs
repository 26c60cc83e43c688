//! The answer of a knob: how things are, what is wanted, and the settings that lead there. Pure.

use crate::facts::Facts;
use crate::value::Format;
use crate::{Severity, snapshot::Snapshot};

/// A setting to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Where.
    pub path: String,
    /// What, as the kernel wants it spelled.
    pub wanted: String,
}

/// Which side of a number is fine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Only the number.
    Exactly,
    /// It or more.
    AtLeast,
    /// It or less.
    AtMost,
}

/// The answer of a knob.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Look {
    /// How much it matters.
    pub severity: Severity,
    /// How things are.
    pub current: String,
    /// How they should be.
    pub wanted: String,
    /// What to write; only what differs.
    pub settings: Vec<Setting>,
    /// What a person can do where nothing is written for them.
    pub remedy: Option<String>,
}

impl Look {
    fn new(severity: Severity, current: impl Into<String>) -> Look {
        Look { severity, current: current.into(), wanted: String::new(), settings: Vec::new(), remedy: None }
    }

    /// As wanted.
    pub fn ok(current: impl Into<String>) -> Look {
        Look::new(Severity::Ok, current)
    }

    /// No question on this host.
    pub fn inapplicable(why: impl Into<String>) -> Look {
        Look::new(Severity::Inapplicable, why)
    }

    /// Not readable.
    pub fn unseen(why: impl Into<String>) -> Look {
        Look::new(Severity::Unknown, why)
    }

    /// Not as wanted.
    pub fn off(current: impl Into<String>, wanted: impl Into<String>) -> Look {
        Look { wanted: wanted.into(), ..Look::new(Severity::Advice, current) }
    }

    /// Not as wanted, and the broker cannot run so.
    pub fn fatal(current: impl Into<String>, wanted: impl Into<String>) -> Look {
        Look { severity: Severity::Fatal, ..Look::off(current, wanted) }
    }

    /// For those who may want to know; no fault.
    pub fn hint(current: impl Into<String>, wanted: impl Into<String>) -> Look {
        Look { severity: Severity::Hint, ..Look::off(current, wanted) }
    }

    /// With what is wanted (for looks that are fine).
    pub fn wanting(self, wanted: impl Into<String>) -> Look {
        Look { wanted: wanted.into(), ..self }
    }

    /// With what to do by hand.
    pub fn by(self, remedy: impl Into<String>) -> Look {
        Look { remedy: Some(remedy.into()), ..self }
    }

    /// One number in a file.
    pub fn number(facts: &Facts, path: &str, wanted: u64, direction: Direction) -> Look {
        let Some(current) = facts.snapshot.number(path) else { return Look::unseen("not there") };
        let (fine, sign) = match direction {
            Direction::Exactly => (current == wanted, ""),
            Direction::AtLeast => (current >= wanted, ">= "),
            Direction::AtMost => (current <= wanted, "<= "),
        };
        let look = if fine { Look::ok(current.to_string()) } else { Look::off(current.to_string(), "") };
        let settings = if fine { vec![] } else { vec![Setting { path: path.to_owned(), wanted: wanted.to_string() }] };
        Look { settings, ..look }.wanting(format!("{sign}{wanted}"))
    }

    /// Settings of several devices, each with the device's name; those that are as wanted already are left out.
    ///
    /// `none` says why there is no device to ask.
    pub fn each(snapshot: &Snapshot, format: Format, settings: impl IntoIterator<Item = (String, Setting)>, none: &str) -> Look {
        let mut off = Vec::new();
        let mut differing: Vec<String> = Vec::new();
        let (mut seen, mut wanted) = (0_usize, String::new());
        for (name, setting) in settings {
            let Some(current) = snapshot.get(&setting.path).map(|t| format.normal(t)) else { continue };
            seen += 1;
            if wanted.is_empty() {
                wanted.clone_from(&setting.wanted);
            } else if wanted != setting.wanted {
                "its own per device".clone_into(&mut wanted);
            }
            if current != format.normal(&setting.wanted) {
                differing.push(if current.is_empty() { format!("{name}: empty") } else { format!("{name}: {current}") });
                off.push(setting);
            }
        }
        if seen == 0 {
            return Look::inapplicable(none);
        }
        if off.is_empty() {
            return Look::ok(if seen == 1 { wanted.clone() } else { format!("all {seen}") }).wanting(wanted);
        }
        Look { settings: off, ..Look::off(summary(&differing), wanted) }
    }
}

/// The first few of many.
fn summary(items: &[String]) -> String {
    const SHOWN: usize = 3;
    let more = items.len().saturating_sub(SHOWN);
    let shown = items[..items.len().min(SHOWN)].join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

impl Look {
    /// One queue attribute of some disks, the same for all.
    pub fn disks(
        facts: &Facts,
        chosen: impl Fn(&crate::facts::Disk) -> bool,
        attribute: &str,
        wanted: &str,
        format: Format,
        none: &str,
    ) -> Look {
        let settings = facts
            .disks
            .iter()
            .filter(|d| chosen(d))
            .map(|d| (d.name.clone(), Setting { path: d.attribute(attribute), wanted: wanted.to_owned() }));
        Look::each(&facts.snapshot, format, settings, none)
    }
}
