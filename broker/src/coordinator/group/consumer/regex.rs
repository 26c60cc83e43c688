//! Subscriptions by expression: the dialect, its bounds, and what is known of which topics each matches.
//!
//! The dialect is RE2's, as in Kafka: no look-around, no back references, time linear in the name. An expression must match a whole name.
//! Bounded: [`PATTERN_BYTES_MAX`], [`COMPILED_BYTES_MAX`], and names have at most 249 bytes; beyond it is `INVALID_REGULAR_EXPRESSION`.
//! Searching all names may take long, so it is the driver's to do, piece by piece: [`Search`].

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use regex::bytes::{Regex, RegexBuilder};

use crate::coordinator::cluster::Cluster;

/// Bytes of an expression.
const PATTERN_BYTES_MAX: usize = 4_096;
/// Bytes of its compiled form, which bound the time per name.
const COMPILED_BYTES_MAX: usize = 256 * 1024;
/// Bytes that a search may use beside it.
const CACHE_BYTES_MAX: usize = 1024 * 1024;
/// Expressions whose matches are remembered.
const KNOWN_MAX: usize = 4_096;
/// Names searched before the shard's other work gets its turn.
const NAMES_PER_STEP: usize = 64;

/// Checks an expression and makes it searchable. The error is for people.
pub(super) fn compile(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(format!("an expression may have {PATTERN_BYTES_MAX} bytes"));
    }
    let pattern = unquoted(pattern);
    // Alone first, so that `a)(b` does not become valid between our brackets. Classes such as \d are ASCII in RE2; those of Unicode (\pL)
    // need the other mode.
    let build = |pattern: &str, unicode: bool| {
        let mut builder = RegexBuilder::new(pattern);
        builder.unicode(unicode).size_limit(COMPILED_BYTES_MAX).dfa_size_limit(CACHE_BYTES_MAX).build()
    };
    let compiled = |unicode| build(&pattern, unicode).and_then(|_| build(&format!("^(?:{pattern})$"), unicode));
    compiled(false).or_else(|_| compiled(true)).map_err(|error| error.to_string())
}

/// RE2 takes `\Q...\E` literally; the library does not know it.
fn unquoted(pattern: &str) -> Cow<'_, str> {
    let mut rest = pattern;
    let mut out = String::new();
    while let Some(at) = quote(rest) {
        out.push_str(&rest[..at]);
        let quoted = &rest[at + 2..];
        let end = quoted.find("\\E").unwrap_or(quoted.len());
        out.push_str(&regex::escape(&quoted[..end]));
        rest = quoted.get(end + 2..).unwrap_or_default();
    }
    if out.is_empty() && rest.len() == pattern.len() {
        return Cow::Borrowed(pattern);
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Where `\Q` stands, not counting an escaped backslash before a Q.
fn quote(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at + 1 < bytes.len() {
        if bytes[at] == b'\\' {
            if bytes[at + 1] == b'Q' {
                return Some(at);
            }
            at += 1;
        }
        at += 1;
    }
    None
}

/// A search of all topic names for one expression.
#[derive(Clone, Debug)]
pub struct Search {
    /// The expression.
    pub pattern: Rc<str>,
    /// The set of names that it searches.
    pub version: u64,
    regex: Regex,
    names: Vec<Arc<str>>,
    found: BTreeSet<String>,
}

impl Search {
    /// Searches some names. False when all were searched.
    pub fn step(&mut self) -> bool {
        let left = self.names.len().saturating_sub(NAMES_PER_STEP);
        let found = self.names.drain(left..).filter(|name| self.regex.is_match(name.as_bytes()));
        self.found.extend(found.map(|name| name.to_string()));
        !self.names.is_empty()
    }

    /// What was found so far.
    pub fn found(self) -> BTreeSet<String> {
        self.found
    }
}

impl PartialEq for Search {
    fn eq(&self, other: &Self) -> bool {
        self.pattern == other.pattern && self.version == other.version
    }
}

impl Eq for Search {}

/// What is known of expressions. Shared by all groups.
#[derive(Debug, Default)]
pub(crate) struct Regexes {
    /// Rises when topics come or go.
    version: u64,
    known: BTreeMap<Rc<str>, BTreeSet<String>>,
    running: BTreeMap<Rc<str>, u64>,
}

impl Regexes {
    /// The topics that an expression matches, if they were searched since topics came or went.
    pub(super) fn matches(&self, pattern: &str) -> Option<&BTreeSet<String>> {
        self.known.get(pattern)
    }

    /// Starts a search, unless it runs already. `None` too for an expression that is not valid.
    pub(crate) fn search(&mut self, pattern: &str, cluster: &Cluster) -> Option<Search> {
        if self.running.get(pattern) == Some(&self.version) {
            return None;
        }
        let regex = compile(pattern).ok()?;
        let pattern: Rc<str> = Rc::from(pattern);
        self.running.insert(pattern.clone(), self.version);
        Some(Search { pattern, version: self.version, regex, names: cluster.names(), found: BTreeSet::new() })
    }

    /// A search has ended. False when topics came or went meanwhile: it must be done again.
    pub(crate) fn searched(&mut self, pattern: &Rc<str>, version: u64, found: BTreeSet<String>) -> bool {
        if self.running.get(pattern) == Some(&version) {
            self.running.remove(pattern);
        }
        if version != self.version {
            return false;
        }
        if self.known.len() >= KNOWN_MAX {
            self.known.clear();
        }
        self.known.insert(pattern.clone(), found);
        true
    }

    /// Topics came or went.
    pub(crate) fn names_changed(&mut self) {
        self.version += 1;
        self.known.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_matches_whole_names_in_the_dialect_of_re2() {
        for (pattern, name, expected) in [
            ("a.*", "abc", true),
            ("a.*", "xabc", false),
            ("b", "abc", false),
            ("a|b", "b", true),
            ("a|b", "bc", false),
            (r"\Qa.b\E.*", "a.bc", true),
            (r"\Qa.b\E.*", "axbc", false),
            (r"\Qa.b", "a.b", true),
            (r"\\Qa", r"\Qa", true),
            (r"t-\d+", "t-12", true),
            (r"\pL+", "abc", true),
            (r"(?i)ABC", "abc", true),
            (r"[[:alpha:]]+", "abc", true),
        ] {
            let regex = compile(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            assert_eq!(regex.is_match(name.as_bytes()), expected, "{pattern} on {name}");
        }
    }

    #[test]
    fn what_is_no_expression_or_too_large_is_refused() {
        let long = "a".repeat(PATTERN_BYTES_MAX + 1);
        for pattern in ["(", "a)(b", "[", r"(a)\1", "(?=a)", "(a{1000}){1000}", &long] {
            assert!(compile(pattern).is_err(), "{}", &pattern[..pattern.len().min(40)]);
        }
    }
}
