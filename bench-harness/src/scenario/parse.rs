//! From a file (or a committed scenario) and overrides to typed values: every complaint names file, line and reason.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::settings::{KeyDoc, build};
use super::{COMMITTED, Scenario};
use crate::error::BenchError;

/// Largest scenario file in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Entries of a list at most.
const LIST_MAX: usize = 1_000_000;

/// What the command line changes.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--duration`: seconds.
    pub duration_s: Option<u32>,
    /// `--warmup`: seconds, also the most.
    pub warmup_s: Option<u32>,
    /// `--rate`: records per second or `max`.
    pub rate: Option<String>,
    /// `--set KEY=VALUE`.
    pub set: Vec<String>,
}

/// Reads a committed scenario by name, or a file that ends in `.toml`.
pub fn load(name: &str, overrides: &Overrides) -> Result<Scenario, BenchError> {
    if let Some((_, text)) = COMMITTED.iter().find(|(committed, _)| *committed == name) {
        return parse(name, &format!("scenario {name}"), text, overrides).map_err(BenchError::Config);
    }
    let path = Path::new(name);
    if path.extension().is_none_or(|e| e != "toml") {
        return Err(BenchError::Config(format!("no scenario `{name}`: `coreline-bench list` shows the names; a file ends in .toml")));
    }
    let read = |path: &Path| -> std::io::Result<String> {
        let meta = std::fs::metadata(path)?;
        let size = meta.len();
        if !meta.is_file() {
            // A pipe would be waited for without an end.
            return Err(std::io::Error::other("no regular file"));
        }
        if size > FILE_BYTES_MAX {
            return Err(std::io::Error::other(format!("{size} bytes, at most {FILE_BYTES_MAX}")));
        }
        std::fs::read_to_string(path)
    };
    let text = read(path).map_err(|e| BenchError::Config(format!("{name}: {e}")))?;
    let stem = path.file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned());
    parse(&stem, name, &text, overrides).map_err(BenchError::Config)
}

/// Parses the text of a scenario; `file` is what complaints call it.
pub(super) fn parse(name: &str, file: &str, text: &str, overrides: &Overrides) -> Result<Scenario, String> {
    let table = DeTable::parse(text).map_err(|e| {
        let line = e.span().map_or(1, |span| line_of(text, span.start));
        format!("{file}:{line}: {}", e.message())
    })?;
    let mut found = BTreeMap::new();
    flatten(text, "", table.get_ref(), &mut found).map_err(|e| format!("{file}:{e}"))?;
    let changes = changes(overrides)?;
    for (key, value) in &changes {
        let value = match key.as_str() {
            // `--set topic.config.KEY=VALUE` adds to the map of settings.
            _ if key.starts_with("topic.config.") => Scalar::Text(value.clone()),
            _ => scalar_of(value),
        };
        found.insert(key.clone(), Found { line: 0, value });
    }
    let names: BTreeSet<String> =
        found.keys().filter_map(|k| k.strip_prefix("consumers.")).filter_map(|k| k.split('.').next()).map(str::to_string).collect();
    let mut reader = Reader::new(file, found);
    let mut scenario = build(&mut reader, name, &names.into_iter().collect::<Vec<_>>())?;
    reader.finish()?;
    scenario.overrides = changes;
    Ok(scenario)
}

fn changes(o: &Overrides) -> Result<BTreeMap<String, String>, String> {
    let mut changes = BTreeMap::new();
    if let Some(s) = o.duration_s {
        changes.insert("duration_s".to_string(), s.to_string());
    }
    if let Some(s) = o.warmup_s {
        changes.insert("warmup_s".to_string(), s.to_string());
        changes.insert("warmup_max_s".to_string(), s.to_string());
    }
    if let Some(rate) = &o.rate {
        changes.insert("load.rate".to_string(), rate.clone());
    }
    for set in &o.set {
        let Some((key, value)) = set.split_once('=').filter(|(key, _)| !key.trim().is_empty()) else {
            return Err(format!("--set {set}: must be KEY=VALUE"));
        };
        changes.insert(key.trim().to_string(), value.trim().to_string());
    }
    Ok(changes)
}

/// A value as found: where, and what.
#[derive(Clone, Debug)]
pub(super) struct Found {
    line: usize,
    value: Scalar,
}

impl Found {
    pub(super) fn table() -> Found {
        Found { line: 0, value: Scalar::Table }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Scalar {
    Int(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    Floats(Vec<f64>),
    /// A table, empty or not; only `consumers.NAME` may stand without keys.
    Table,
}

impl Scalar {
    fn kind(&self) -> &'static str {
        match self {
            Scalar::Int(_) => "an integer",
            Scalar::Float(_) => "a number",
            Scalar::Bool(_) => "a boolean",
            Scalar::Text(_) => "a text",
            Scalar::Floats(_) => "a list of numbers",
            Scalar::Table => "a table",
        }
    }
}

/// The value of an override: as TOML would read it, or else as text.
fn scalar_of(text: &str) -> Scalar {
    if let Some(list) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'))
        && let Ok(list) = list.split(',').map(|n| n.trim().parse()).collect()
    {
        return Scalar::Floats(list);
    }
    match (text.replace('_', "").parse(), text.parse(), text) {
        (Ok(int), _, _) => Scalar::Int(int),
        (_, Ok(float), _) => Scalar::Float(float),
        (_, _, "true") => Scalar::Bool(true),
        (_, _, "false") => Scalar::Bool(false),
        _ => Scalar::Text(text.trim_matches('"').to_string()),
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes().iter().take(at).filter(|b| **b == b'\n').count() + 1
}

fn flatten(text: &str, prefix: &str, table: &DeTable<'_>, found: &mut BTreeMap<String, Found>) -> Result<(), String> {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.get_ref().to_string() } else { format!("{prefix}.{}", name.get_ref()) };
        let line = line_of(text, name.span().start);
        let value = match value.get_ref() {
            DeValue::Table(inner) => {
                if key.matches('.').count() > 4 {
                    return Err(format!("{line}: {key}: nested too deeply"));
                }
                flatten(text, &key, inner, found)?;
                Scalar::Table
            }
            other => scalar(other).map_err(|why| format!("{line}: {key}: {why}"))?,
        };
        found.insert(key, Found { line, value });
    }
    Ok(())
}

fn scalar(value: &DeValue<'_>) -> Result<Scalar, String> {
    Ok(match value {
        DeValue::String(s) => Scalar::Text(s.to_string()),
        DeValue::Boolean(b) => Scalar::Bool(*b),
        DeValue::Integer(i) => Scalar::Int(i64::from_str_radix(i.as_str(), i.radix()).map_err(|_| format!("{i} is out of range"))?),
        DeValue::Float(f) => Scalar::Float(f.as_str().parse().map_err(|_| format!("{f} is no number"))?),
        DeValue::Array(items) if items.len() > LIST_MAX => return Err(format!("{} entries, at most {LIST_MAX}", items.len())),
        DeValue::Array(items) => {
            let number = |v: &Spanned<DeValue<'_>>| match scalar(v.get_ref())? {
                Scalar::Int(i) => Ok(i as f64),
                Scalar::Float(f) => Ok(f),
                other => Err(format!("a list of numbers holds {}", other.kind())),
            };
            Scalar::Floats(items.iter().map(number).collect::<Result<_, String>>()?)
        }
        DeValue::Datetime(_) => return Err("a date has no meaning here".to_string()),
        DeValue::Table(_) => Scalar::Table,
    })
}

/// Hands out values by key, with bounds, and remembers which keys there are.
pub(super) struct Reader {
    file: String,
    found: BTreeMap<String, Found>,
    known: BTreeSet<String>,
    pub(super) in_force: BTreeMap<String, String>,
    pub(super) docs: Vec<KeyDoc>,
}

impl Reader {
    pub(super) fn new(file: &str, found: BTreeMap<String, Found>) -> Reader {
        Reader { file: file.to_string(), found, known: BTreeSet::new(), in_force: BTreeMap::new(), docs: Vec::new() }
    }

    /// A complaint about a key, where it stands.
    pub(super) fn complain(&self, key: &str, why: impl std::fmt::Display) -> String {
        match self.found.get(key) {
            Some(Found { line: 0, .. }) => format!("{key} on the command line: {why}"),
            Some(found) => format!("{}:{}: {key}: {why}", self.file, found.line),
            None => format!("{}: {key}: {why}", self.file),
        }
    }

    fn take(&mut self, key: &str, bounds: String, default: String, meaning: &'static str) -> Option<Scalar> {
        self.known.insert(key.to_string());
        self.docs.push(KeyDoc { key: key.to_string(), bounds, default, meaning });
        self.found.get(key).map(|f| f.value.clone())
    }

    fn wrong(&self, key: &str, wanted: &str, got: &Scalar) -> String {
        self.complain(key, format!("{} where {wanted} is expected", got.kind()))
    }

    fn settle(&mut self, key: &str, value: impl std::fmt::Display) {
        self.in_force.insert(key.to_string(), value.to_string());
    }

    pub(super) fn int(&mut self, key: &str, default: i64, range: RangeInclusive<i64>, meaning: &'static str) -> Result<i64, String> {
        let (low, high) = (*range.start(), *range.end());
        let value = match self.take(key, format!("{low} to {high}"), default.to_string(), meaning) {
            None => default,
            Some(Scalar::Int(i)) if range.contains(&i) => i,
            Some(Scalar::Int(i)) => return Err(self.complain(key, format!("{i} is out of bounds, {low} to {high} allowed"))),
            Some(other) => return Err(self.wrong(key, "an integer", &other)),
        };
        self.settle(key, value);
        Ok(value)
    }

    pub(super) fn float(&mut self, key: &str, default: f64, range: RangeInclusive<f64>, meaning: &'static str) -> Result<f64, String> {
        let (low, high) = (*range.start(), *range.end());
        let value = match self.take(key, format!("{low} to {high}"), default.to_string(), meaning) {
            None => default,
            Some(Scalar::Int(i)) => i as f64,
            Some(Scalar::Float(f)) => f,
            Some(other) => return Err(self.wrong(key, "a number", &other)),
        };
        if !range.contains(&value) {
            return Err(self.complain(key, format!("{value} is out of bounds, {low} to {high} allowed")));
        }
        self.settle(key, value);
        Ok(value)
    }

    pub(super) fn floats(
        &mut self,
        key: &str,
        default: &[f64],
        range: RangeInclusive<f64>,
        meaning: &'static str,
    ) -> Result<Vec<f64>, String> {
        let (low, high) = (*range.start(), *range.end());
        let list = match self.take(key, format!("list, each {low} to {high}"), format!("{default:?}"), meaning) {
            None => default.to_vec(),
            Some(Scalar::Floats(list)) => list,
            Some(other) => return Err(self.wrong(key, "a list of numbers", &other)),
        };
        if let Some(bad) = list.iter().find(|f| !range.contains(*f)) {
            return Err(self.complain(key, format!("{bad} is out of bounds, {low} to {high} allowed")));
        }
        self.settle(key, format!("{list:?}"));
        Ok(list)
    }

    pub(super) fn flag(&mut self, key: &str, default: bool, meaning: &'static str) -> Result<bool, String> {
        let value = match self.take(key, "true, false".to_string(), default.to_string(), meaning) {
            None => default,
            Some(Scalar::Bool(b)) => b,
            Some(other) => return Err(self.wrong(key, "true or false", &other)),
        };
        self.settle(key, value);
        Ok(value)
    }

    pub(super) fn text(&mut self, key: &str, default: &str, meaning: &'static str) -> Result<String, String> {
        let value = match self.take(key, "text".to_string(), default.to_string(), meaning) {
            None => default.to_string(),
            Some(Scalar::Text(t)) => t,
            Some(other) => return Err(self.wrong(key, "a text", &other)),
        };
        self.settle(key, &value);
        Ok(value)
    }

    /// A list of CPUs as the kernel writes it: `0-2,5`.
    pub(super) fn cpus(&mut self, key: &str, meaning: &'static str) -> Result<Vec<usize>, String> {
        let text = match self.take(key, "list of CPUs".to_string(), String::new(), meaning) {
            None => String::new(),
            Some(Scalar::Text(t)) => t,
            // One CPU reads as a number.
            Some(Scalar::Int(i)) => i.to_string(),
            Some(other) => return Err(self.wrong(key, "a list of CPUs", &other)),
        };
        let cpus = crate::cpus::parse(&text).map_err(|why| self.complain(key, why))?;
        self.settle(key, &text);
        Ok(cpus)
    }

    pub(super) fn choice(&mut self, key: &str, default: &str, of: &[&str], meaning: &'static str) -> Result<String, String> {
        let value = match self.take(key, of.join(", "), default.to_string(), meaning) {
            None => default.to_string(),
            Some(Scalar::Text(t)) => t,
            // `acks = 1` and `acks = "1"` mean the same.
            Some(Scalar::Int(i)) => i.to_string(),
            Some(other) => return Err(self.wrong(key, "a text", &other)),
        };
        if !of.contains(&value.as_str()) {
            return Err(self.complain(key, format!("`{value}` is none of {}", of.join(", "))));
        }
        self.settle(key, &value);
        Ok(value)
    }

    /// A rate: a number above 0, or `max` as `None`, which is the default.
    pub(super) fn rate(&mut self, key: &str, meaning: &'static str) -> Result<Option<f64>, String> {
        let value = match self.take(key, "0.001 to 1e9, \"max\"".to_string(), "max".to_string(), meaning) {
            None => None,
            Some(Scalar::Text(t)) if t == "max" => None,
            Some(Scalar::Int(i)) => Some(i as f64),
            Some(Scalar::Float(f)) => Some(f),
            Some(other) => return Err(self.wrong(key, "a number or \"max\"", &other)),
        };
        if let Some(rate) = value.filter(|r| !(0.001..=1e9).contains(r)) {
            return Err(self.complain(key, format!("{rate} is out of bounds, 0.001 to 1e9 allowed")));
        }
        self.settle(key, value.map_or("max".to_string(), |r| r.to_string()));
        Ok(value)
    }

    /// A table of texts; numbers and booleans are taken as written.
    pub(super) fn map(&mut self, key: &str, meaning: &'static str) -> Result<BTreeMap<String, String>, String> {
        self.take(key, "table".to_string(), "empty".to_string(), meaning);
        let prefix = format!("{key}.");
        let mut map = BTreeMap::new();
        for (full, found) in &self.found {
            let Some(name) = full.strip_prefix(&prefix) else { continue };
            let text = match &found.value {
                Scalar::Text(t) => t.clone(),
                Scalar::Int(i) => i.to_string(),
                Scalar::Float(f) => f.to_string(),
                Scalar::Bool(b) => b.to_string(),
                Scalar::Table => continue,
                other => return Err(self.wrong(full, "a text", other)),
            };
            map.insert(name.to_string(), text);
        }
        for name in map.keys() {
            self.known.insert(format!("{prefix}{name}"));
        }
        for (name, value) in &map {
            self.settle(&format!("{prefix}{name}"), value);
        }
        Ok(map)
    }

    /// Complains about the first key that nobody asked for.
    pub(super) fn finish(&self) -> Result<(), String> {
        for (key, found) in self.found.iter().filter(|(key, _)| !self.known.contains(*key)) {
            let leads_on = self.known.iter().any(|k| k.starts_with(&format!("{key}.")));
            match &found.value {
                Scalar::Table if leads_on => {}
                other if leads_on => return Err(self.wrong(key, "a table", other)),
                _ => return Err(self.complain(key, "unknown key; bench-harness/README.md lists all")),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(text: &str) -> String {
        parse("t", "t.toml", text, &Overrides::default()).expect_err("refused")
    }

    #[test]
    fn a_bad_file_is_refused_with_line_and_reason() {
        for (text, wanted) in [
            ("duration_s = 10\nspeed = 3\n", "t.toml:2: speed: unknown key"),
            ("[producers]\ncount = 1\nackss = \"1\"\n", "t.toml:3: producers.ackss: unknown key"),
            ("\n[producers]\ncount = \"many\"\n", "t.toml:3: producers.count: a text where an integer is expected"),
            ("duration_s = 0\n", "t.toml:1: duration_s: 0 is out of bounds, 1 to 604800 allowed"),
            ("[load]\nrate = -5\n", "t.toml:2: load.rate: -5 is out of bounds"),
            ("[load]\nrate = nan\n", "t.toml:2: load.rate: NaN is out of bounds"),
            ("[load]\nshape = \"zigzag\"\n", "t.toml:2: load.shape: `zigzag` is none of constant, step"),
            ("[load]\nrate = 5\nshape = \"step\"\n", "load.factors: a step needs a factor above 0"),
            ("[load]\nshape = \"sine\"\n", "t.toml:2: load.shape: a shape needs a rate"),
            ("[producers]\nvalue_bytes = 16\n", "t.toml:2: producers.value_bytes: 16 is out of bounds, 32 to"),
            ("[producers]\nacks = 1\n", "producers.idempotent: needs producers.acks = \"all\""),
            ("[producers\n", "t.toml:1: "),
            ("topic = 3\n", "t.toml:1: topic: an integer where a table is expected"),
            ("[topic]\npartitions = 99999\ncount = 9999\n", "t.toml:2: topic.partitions: topics x partitions"),
            ("[consumers.a]\nchurn_ms = 5\n", "t.toml:2: consumers.a.churn_ms: only members"),
            ("[consumers.a]\nthreads = 2\nmembers = 2\n", "t.toml:2: consumers.a.threads: must not exceed generator.threads (1)"),
            ("[consumers.a]\nthreads = 2\n", "t.toml:2: consumers.a.threads: must not exceed consumers.a.members (1)"),
            ("[consumers.a]\nassignment = \"group\"\nmembers = 3\nthreads = 2\n", "t.toml:4: consumers.a.threads: members of a group"),
            ("[consumers]\na = 5\n", "consumers.a"),
            ("warmup_s = 20\nwarmup_max_s = 10\n", "t.toml:2: warmup_max_s: must not be below"),
            ("duration_s = 5\n[restart]\nat_s = 5\n", "t.toml:3: restart.at_s: must lie below"),
            ("[producers]\ncount = 100000\n[topic]\npartitions = 1000\n", "at most"),
            ("duration_s = 2000-01-01\n", "t.toml:1: duration_s: a date"),
            ("duration_s = 99999999999999999999\n", "t.toml:1: duration_s:"),
        ] {
            let got = error_of(text);
            assert!(got.contains(wanted), "{text:?}: {got:?} lacks {wanted:?}");
        }
    }

    #[test]
    fn overrides_go_before_the_file_and_are_checked_alike() {
        let o = |set: &[&str]| Overrides { set: set.iter().map(ToString::to_string).collect(), ..Default::default() };
        let text = "[producers]\ncount = 2\n[consumers.tail]\n";
        let s =
            parse("t", "t.toml", text, &o(&["producers.count=7", "topic.config.retention.ms=5", "consumers.tail.copies=3"])).expect("fits");
        assert_eq!((s.producers.count, s.consumers[0].copies, s.topic.config["retention.ms"].as_str()), (7, 3, "5"));
        assert_eq!(s.overrides["producers.count"], "7");
        let all = Overrides { duration_s: Some(9), warmup_s: Some(1), rate: Some("1e3".into()), set: Vec::new() };
        let s = parse("t", "t.toml", text, &all).expect("fits");
        assert_eq!((s.duration_s, s.warmup_s, s.warmup_max_s, s.load.rate), (9, 1, 1, Some(1000.0)));
        for (set, wanted) in [
            ("producers.count", "must be KEY=VALUE"),
            ("=5", "must be KEY=VALUE"),
            ("producers.count=x", "on the command line: a text"),
            ("nope=1", "nope on the command line: unknown"),
        ] {
            let got = parse("t", "t.toml", text, &o(&[set])).expect_err(set);
            assert!(got.contains(wanted), "{got}");
        }
    }

    #[test]
    fn every_committed_scenario_parses() {
        for (name, _) in COMMITTED {
            let scenario = load(name, &Overrides::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert!(!scenario.description.is_empty() && scenario.title != scenario.name, "{name} needs a title and a description");
        }
        assert!(load("no-such", &Overrides::default()).expect_err("unknown").to_string().contains("no scenario `no-such`"));
    }
}
