//! How the kernel spells a value, and when two spellings are the same: numbers, choices in brackets, words, CPU masks. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a setting is spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A number or a word.
    Plain,
    /// One of several words; the kernel shows all and brackets the chosen one.
    Choice,
    /// Several numbers; the kernel separates them by tabs.
    Words,
    /// A CPU mask in groups of eight hexadecimal digits.
    Mask,
}

impl Format {
    /// The one spelling that is compared and written.
    pub fn normal(self, text: &str) -> String {
        let text = text.trim();
        match self {
            Format::Plain => text.to_owned(),
            Format::Choice => crate::sysfs::bracketed(text).to_owned(),
            Format::Words => text.split_whitespace().collect::<Vec<_>>().join(" "),
            Format::Mask => {
                let digits: String = text.chars().filter(|c| *c != ',').collect();
                let digits = digits.trim_start_matches('0').to_ascii_lowercase();
                if digits.is_empty() { "0".to_owned() } else { grouped(&digits) }
            }
        }
    }

    /// How the kernel would show `value` where it shows `text` now: a choice keeps its other words.
    pub fn chosen(self, text: &str, value: &str) -> String {
        if self != Format::Choice {
            return value.to_owned();
        }
        let words = text.split_whitespace().map(|w| w.trim_matches(['[', ']']));
        words.map(|w| if w == value { format!("[{w}]") } else { w.to_owned() }).collect::<Vec<_>>().join(" ")
    }
}

/// Groups of eight digits from the right, as the kernel reads masks of more than 32 CPUs.
fn grouped(digits: &str) -> String {
    let first = digits.len() % 8;
    let mut groups: Vec<&str> = Vec::new();
    if first > 0 {
        groups.push(&digits[..first]);
    }
    let mut rest = &digits[first..];
    while !rest.is_empty() {
        groups.push(&rest[..8]);
        rest = &rest[8..];
    }
    groups.join(",")
}

/// The mask of some CPUs.
pub fn mask_of(cpus: impl IntoIterator<Item = usize>) -> String {
    let mut nibbles: Vec<u8> = Vec::new();
    for cpu in cpus {
        // A kernel knows at most 8192 CPUs.
        let at = cpu.min(8191) / 4;
        if nibbles.len() <= at {
            nibbles.resize(at + 1, 0);
        }
        nibbles[at] |= 1 << (cpu % 4);
    }
    let digits: String = nibbles.iter().rev().filter_map(|n| char::from_digit(u32::from(*n), 16)).collect();
    Format::Mask.normal(&digits)
}

/// A moment in UTC to the minute, for people: `2026-11-22 19:51 UTC`.
pub fn date(unix_ms: u64) -> String {
    let (minutes, days) = (unix_ms / 60_000, unix_ms / 86_400_000);
    // Years from March on, so that the leap day is the last day of one; eras of 400 years are alike.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month, late) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 }, u64::from(month >= 10));
    format!("{:04}-{month:02}-{day:02} {:02}:{:02} UTC", era * 400 + year + late, minutes / 60 % 24, minutes % 60)
}

/// The CPUs of a list such as `0-3,8`; `None` when it is no such list.
pub fn cpu_list(text: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in text.trim().split(',').filter(|p| !p.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if last < first || last >= 8192 {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

/// A wish for a knob: what a profile or the command line gives, or the knob's default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// The knob takes no value.
    On,
    /// A number.
    Number(u64),
    /// A word.
    Word(String),
}

impl Value {
    /// The number; 0 when it is none, which `Param` has ruled out.
    pub fn number(&self) -> u64 {
        match self {
            Value::Number(n) => *n,
            _ => 0,
        }
    }

    /// The word; empty when it is none, which `Param` has ruled out.
    pub fn word(&self) -> &str {
        match self {
            Value::Word(w) => w,
            _ => "",
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::On => f.write_str("on"),
            Value::Number(n) => write!(f, "{n}"),
            Value::Word(w) => f.write_str(w),
        }
    }
}

/// Which wishes a knob takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Param {
    /// None: the knob knows what is right.
    Fixed,
    /// A number within bounds, both included.
    Number {
        /// Used when nobody says otherwise.
        default: u64,
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
        /// For people.
        unit: &'static str,
    },
    /// One of some words.
    Word {
        /// Used when nobody says otherwise.
        default: &'static str,
        /// All that are allowed.
        choices: &'static [&'static str],
    },
}

impl Param {
    /// The wish when nobody says otherwise.
    pub fn default_value(&self) -> Value {
        match self {
            Param::Fixed => Value::On,
            Param::Number { default, .. } => Value::Number(*default),
            Param::Word { default, .. } => Value::Word((*default).to_owned()),
        }
    }

    /// A wish as a user wrote it, or what is wrong with it.
    pub fn accept(&self, text: &str) -> Result<Value, String> {
        if matches!(text, "on" | "true") {
            return Ok(self.default_value());
        }
        match self {
            Param::Fixed => Err(format!("takes no value but `true`, not {text:?}")),
            Param::Number { min, max, unit, .. } => match text.parse::<u64>() {
                Ok(n) if (*min..=*max).contains(&n) => Ok(Value::Number(n)),
                _ => Err(format!("takes a number of {unit} from {min} to {max}, not {text:?}")),
            },
            Param::Word { choices, .. } if choices.contains(&text) => Ok(Value::Word(text.to_owned())),
            Param::Word { choices, .. } => Err(format!("takes one of {}, not {text:?}", choices.join(", "))),
        }
    }

    /// What it takes, in words.
    pub fn describe(&self) -> String {
        match self {
            Param::Fixed => "no value".to_owned(),
            Param::Number { default, min, max, unit } => format!("{min} to {max} {unit}, default {default}"),
            Param::Word { default, choices } => format!("{}, default {default}", choices.join(" | ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_value_are_the_same() {
        assert_eq!(Format::Choice.normal("none [mq-deadline] bfq\n"), "mq-deadline");
        assert_eq!(Format::Choice.normal("none"), "none");
        assert_eq!(Format::Choice.chosen("none [mq-deadline] bfq", "none"), "[none] mq-deadline bfq");
        assert_eq!(Format::Words.normal("4096\t131072\t6291456\n"), "4096 131072 6291456");
        assert_eq!(Format::Mask.normal("00000000,0000000F"), "f");
        assert_eq!(Format::Mask.normal("00000000"), "0");
        assert_eq!(Format::Mask.normal("1,00000000"), "1,00000000");
    }

    #[test]
    fn a_moment_is_written_as_people_read_it() {
        assert_eq!(date(0), "1970-01-01 00:00 UTC");
        assert_eq!(date(951_782_399_000), "2000-02-28 23:59 UTC");
        assert_eq!(date(951_782_400_000), "2000-02-29 00:00 UTC");
        assert_eq!(date(1_795_377_097_684), "2026-11-22 19:51 UTC");
        assert!(!date(u64::MAX).is_empty());
    }

    #[test]
    fn masks_and_lists_name_the_same_cpus() {
        assert_eq!(mask_of([0, 1]), "3");
        assert_eq!(mask_of([32]), "1,00000000");
        assert_eq!(mask_of([]), "0");
        assert_eq!(mask_of(cpu_list("0-3,8").expect("list")), "10f");
        assert_eq!(cpu_list("3-1"), None);
        assert_eq!(cpu_list("0-999999999"), None, "no allocation from forged text");
        assert_eq!(cpu_list(""), Some(vec![]));
    }

    #[test]
    fn a_wish_out_of_bounds_is_refused_in_words() {
        let param = Param::Number { default: 50, min: 1, max: 200, unit: "us" };
        assert_eq!(param.accept("true"), Ok(Value::Number(50)));
        assert_eq!(param.accept("200"), Ok(Value::Number(200)));
        assert!(param.accept("201").is_err_and(|e| e.contains("1 to 200")));
        assert!(Param::Fixed.accept("3").is_err());
        assert!(Param::Word { default: "a", choices: &["a", "b"] }.accept("c").is_err_and(|e| e.contains("a, b")));
    }
}
