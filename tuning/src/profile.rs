//! Profiles: which knobs to turn and how far, as TOML. Four are built in; a path names one of the user's own.
//!
//! ```toml
//! name = "mine"
//! about = "what it is for"
//! [set]                  # opt-in knobs, and other values for automatic ones
//! busy_poll = 50         # a number, a word, or true for the knob's default
//! huge_pages = false     # leave an automatic knob alone
//! [unit]                 # for `persist`
//! nofile = 1048576
//! ```

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::knob::{self, Class, Knob};
use crate::value::Value;

/// The built-in profiles: name and text.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("laptop", include_str!("../profile/laptop.toml")),
    ("bench-host", include_str!("../profile/bench-host.toml")),
    ("production-latency", include_str!("../profile/production-latency.toml")),
    ("production-throughput", include_str!("../profile/production-throughput.toml")),
];

/// Largest file that is read as a profile, bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// What is wrong with a profile.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ProfileError {
    /// Neither built in nor a file.
    #[error("no profile named {name:?}; there are {}, or give the path of a .toml file", names())]
    Unknown {
        /// As asked.
        name: String,
    },
    /// Cannot be read.
    #[error("profile {path}: {why}")]
    Unreadable {
        /// Its path.
        path: String,
        /// The system's words.
        why: String,
    },
    /// Not TOML, or not of this form.
    #[error("profile {name}: {why}")]
    Malformed {
        /// Its name.
        name: String,
        /// The parser's words, with the line.
        why: String,
    },
    /// A knob that does not exist.
    #[error("{}no knob named {id:?}{}; `coreline-tune explain` lists them", of(.profile), did_you_mean(.nearest))]
    UnknownKnob {
        /// Where; empty for the command line.
        profile: String,
        /// As written.
        id: String,
        /// The most similar one, where one is.
        nearest: Option<&'static str>,
    },
    /// A value that the knob does not take.
    #[error("{}knob {id} {why}", of(.profile))]
    BadValue {
        /// Where; empty for the command line.
        profile: String,
        /// The knob.
        id: String,
        /// What it takes.
        why: String,
    },
    /// A knob that is never written, or not by a profile.
    #[error("{}knob {id} is of class {class}: {why}", of(.profile))]
    NotSettable {
        /// Where; empty for the command line.
        profile: String,
        /// The knob.
        id: String,
        /// Its class.
        class: &'static str,
        /// Why not.
        why: &'static str,
    },
}

fn names() -> String {
    BUILT_IN.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

fn of(profile: &str) -> String {
    if profile.is_empty() { String::new() } else { format!("profile {profile}: ") }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    about: String,
    #[serde(default)]
    set: BTreeMap<String, toml::Value>,
    #[serde(default)]
    unit: Unit,
}

/// Limits for the broker's unit.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Unit {
    /// LimitNOFILE.
    pub nofile: u64,
    /// LimitMEMLOCK, bytes or `infinity`.
    pub memlock: String,
    /// Whether the unit may swap.
    pub swap: bool,
}

impl Default for Unit {
    fn default() -> Unit {
        Unit { nofile: 1_048_576, memlock: "infinity".to_owned(), swap: false }
    }
}

/// A set of wishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub about: String,
    /// The wish for each knob that is to be turned.
    pub wishes: BTreeMap<&'static str, Value>,
    /// Limits for the unit.
    pub unit: Unit,
}

impl Profile {
    /// The automatic knobs only.
    pub fn automatic() -> Profile {
        Profile { name: "automatic".to_owned(), about: "the automatic knobs".to_owned(), wishes: automatic(), unit: Unit::default() }
    }

    /// A built-in profile, or the file of that path.
    pub fn load(name: &str) -> Result<Profile, ProfileError> {
        if let Some((name, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
            return Profile::parse(name, text);
        }
        if !name.contains('/') && !name.ends_with(".toml") {
            return Err(ProfileError::Unknown { name: name.to_owned() });
        }
        let unreadable = |why: String| ProfileError::Unreadable { path: name.to_owned(), why };
        let metadata = std::fs::metadata(name).map_err(|e| unreadable(e.to_string()))?;
        if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
            return Err(unreadable(format!("not a file of at most {FILE_BYTES_MAX} bytes")));
        }
        let text = std::fs::read_to_string(name).map_err(|e| unreadable(e.to_string()))?;
        Profile::parse(name, &text)
    }

    /// Reads the TOML form.
    pub fn parse(source: &str, text: &str) -> Result<Profile, ProfileError> {
        let file: File = toml::from_str(text)
            .map_err(|e| ProfileError::Malformed { name: source.to_owned(), why: e.to_string().replace('\n', " ").trim().to_owned() })?;
        let mut wishes = automatic();
        for (id, value) in &file.set {
            let knob = known(source, id)?;
            if knob.class >= Class::Check {
                let why = "a profile may only set automatic and opt-in knobs";
                return Err(ProfileError::NotSettable { profile: source.to_owned(), id: id.clone(), class: knob.class.name(), why });
            }
            let text = match value {
                toml::Value::Boolean(false) => {
                    wishes.remove(knob.id);
                    continue;
                }
                toml::Value::Boolean(true) => "true".to_owned(),
                toml::Value::Integer(n) => n.to_string(),
                toml::Value::String(s) => s.clone(),
                other => {
                    let why = format!("takes a number, a word, true or false, not {other}");
                    return Err(ProfileError::BadValue { profile: source.to_owned(), id: id.clone(), why });
                }
            };
            let accepted = knob.param.accept(&text);
            let wish = accepted.map_err(|why| ProfileError::BadValue { profile: source.to_owned(), id: id.clone(), why })?;
            wishes.insert(knob.id, wish);
        }
        Ok(Profile { name: file.name, about: file.about, wishes, unit: file.unit })
    }

    /// Adds a knob as the command line names it: `ID` or `ID=VALUE`. A person may also name one of class check that has something to write.
    pub fn add(&mut self, argument: &str) -> Result<(), ProfileError> {
        let (id, text) = argument.split_once('=').unwrap_or((argument, "true"));
        let knob = known("", id)?;
        let refuse = |why| Err(ProfileError::NotSettable { profile: String::new(), id: id.to_owned(), class: knob.class.name(), why });
        if knob.class == Class::Never {
            return refuse("it is never written; `coreline-tune explain` says why");
        }
        if knob.writes.is_empty() {
            return refuse("it has nothing to write; `coreline-tune explain` says what to do by hand");
        }
        let wish = knob.param.accept(text).map_err(|why| ProfileError::BadValue { profile: String::new(), id: id.to_owned(), why })?;
        self.wishes.insert(knob.id, wish);
        Ok(())
    }

    /// Leaves a knob out.
    pub fn remove(&mut self, id: &str) -> Result<(), ProfileError> {
        let knob = known("", id)?;
        self.wishes.remove(knob.id);
        Ok(())
    }
}

fn did_you_mean(nearest: &Option<&str>) -> String {
    nearest.map(|known| format!(" (did you mean {known:?}?)")).unwrap_or_default()
}

/// A knob by name, or the error that names it.
pub fn known(profile: &str, id: &str) -> Result<&'static Knob, ProfileError> {
    knob::find(id).ok_or_else(|| ProfileError::UnknownKnob { profile: profile.to_owned(), id: id.to_owned(), nearest: knob::nearest(id) })
}

fn automatic() -> BTreeMap<&'static str, Value> {
    knob::ALL.iter().filter(|k| k.class == Class::Auto).map(|k| (k.id, k.param.default_value())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_profiles_are_sound() {
        for (name, _) in BUILT_IN {
            let profile = Profile::load(name).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(profile.name, *name);
            assert!(!profile.about.is_empty() && !profile.wishes.is_empty());
        }
    }

    #[test]
    fn mistakes_are_named() {
        let parse =
            |set: &str| Profile::parse("p.toml", &format!("name = \"p\"\nabout = \"a\"\n[set]\n{set}\n")).map_err(|e| e.to_string());
        assert!(parse("busy_pol = 50").is_err_and(|e| e.contains("busy_pol") && e.contains("\"busy_poll\"") && e.contains("p.toml")));
        assert!(parse("busy_poll = 5000").is_err_and(|e| e.contains("busy_poll") && e.contains("1 to 1000")));
        assert!(parse("busy_poll = 1.5").is_err_and(|e| e.contains("1.5")));
        assert!(parse("disk_write_cache = true").is_err_and(|e| e.contains("never")));
        assert!(parse("vm_dirty = true").is_err_and(|e| e.contains("check")));
        assert!(parse("= 3").is_err_and(|e| e.contains("line 4")));
        assert!(Profile::load("productoin").is_err_and(|e| e.to_string().contains("production-latency")));
        assert!(Profile::load("/no/such.toml").is_err_and(|e| e.to_string().contains("/no/such.toml")));
        let set = parse("huge_pages = false\naccept_backlog = 8192").expect("sound");
        assert_eq!((set.wishes.get("huge_pages"), set.wishes.get("accept_backlog")), (None, Some(&Value::Number(8192))));
    }

    #[test]
    fn a_person_may_name_what_a_profile_may_not() {
        let mut profile = Profile::automatic();
        assert_eq!(profile.add("vm_dirty=67108864"), Ok(()));
        assert_eq!(profile.wishes.get("vm_dirty"), Some(&Value::Number(67_108_864)));
        assert!(profile.add("disk_write_cache").is_err_and(|e| e.to_string().contains("never")));
        assert!(profile.add("memlock").is_err_and(|e| e.to_string().contains("by hand")));
        assert!(profile.add("nothing").is_err());
        assert_eq!(profile.remove("huge_pages"), Ok(()));
        assert!(!profile.wishes.contains_key("huge_pages"));
    }
}
