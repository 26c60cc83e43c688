//! Configuration: what a key is, where its value came from, and the typed settings the broker reads.
//!
//! Static settings come from the defaults, then a TOML file, then `--set`, then dedicated flags; the last one wins and [`Config`] remembers which.
//! Topic settings and a few broker settings change while the broker runs: their values are records of the metadata log, and
//! `topic.rs` puts them over the static ones. Keys are declared in `broker_keys.rs`, `topic_keys.rs` and `resource_keys.rs`,
//! nowhere else.
//!
//! Everything here is a function of its arguments but [`Config::load`], which reads the file.

pub mod alter;
pub mod broker_keys;
pub mod describe;
pub mod durability;
pub mod effective;
pub mod file;
pub mod key;
pub mod listener;
pub mod print;
pub mod registry;
pub mod resource;
pub mod resource_keys;
pub mod topic;
pub mod topic_keys;
pub mod value;

use std::fmt;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};

pub use broker_keys::{BROKER_KEYS, Settings};
pub use describe::DescribedConfig;
pub use key::{Applies, Key, Kind, Unit};
pub use listener::HostPort;
pub use resource_keys::{CLIENT_METRICS_KEYS, ClientMetricsSettings, GROUP_KEYS, GroupSettings};
pub use topic::{ConfigMap, ConfigSource, Overrides, Resolved, Synonym};
pub use topic_keys::{TOPIC_KEYS, TopicSettings};
pub use value::Value;

/// Where a static value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody set it.
    Default,
    /// A line of the configuration file, from 1.
    File {
        /// The file's path as given.
        path: String,
        /// The line of the key.
        line: usize,
    },
    /// `--set KEY=VALUE`.
    Set,
    /// A flag of its own, such as `--shards`.
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::File { path, line } => write!(f, "{path}:{line}"),
            Source::Set => f.write_str("--set"),
            Source::Flag(flag) => f.write_str(flag),
        }
    }
}

/// One thing that is wrong with a configuration: where, which key, why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `FILE:LINE`, `--set`, the flag, or nothing when several values do not fit together.
    pub place: String,
    /// The key, empty when the place itself cannot be read.
    pub key: String,
    /// Why it is refused.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.place.as_str(), self.key.as_str()) {
            ("", key) => write!(f, "{key}: {}", self.reason),
            (place, "") => write!(f, "{place}: {}", self.reason),
            // `--set num.partitions: reason` reads as it was typed; a file gets `FILE:LINE: key: reason`.
            (place, key) if place.starts_with("--") => write!(f, "{place} {key}: {}", self.reason),
            (place, key) => write!(f, "{place}: {key}: {}", self.reason),
        }
    }
}

/// Everything that is wrong with a configuration, one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(pub Vec<Problem>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// A value and where it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The value, checked.
    pub value: Value,
    /// Its origin.
    pub source: Source,
}

/// The static configuration of one process: immutable, shared by all shards. Dereferences to [`Settings`], so that `config.num_partitions` reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    settings: Settings,
    entries: Vec<Entry>,
}

impl Deref for Config {
    type Target = Settings;

    fn deref(&self) -> &Settings {
        &self.settings
    }
}

impl Default for Config {
    /// All defaults.
    fn default() -> Config {
        ConfigBuilder::new().finish().expect("defaults fit together, a test holds it")
    }
}

impl Config {
    /// Reads the file, if there is one, then applies `--set` pairs and flags (`(flag, key, value)`) over it.
    pub fn load(file: Option<&Path>, sets: &[String], flags: &[(&'static str, &'static str, String)]) -> Result<Config, ConfigError> {
        let mut builder = ConfigBuilder::new();
        if let Some(path) = file {
            match std::fs::read_to_string(path) {
                Ok(text) => builder.file(&path.display().to_string(), &text),
                Err(error) => builder.problem(path.display().to_string(), "", format!("cannot be read: {error}")),
            }
        }
        for pair in sets {
            builder.set(pair);
        }
        for (flag, key, value) in flags {
            builder.flag(flag, key, value);
        }
        builder.finish()
    }

    /// Defaults with `KEY=VALUE` pairs over them; for tests.
    pub fn with(pairs: &[&str]) -> Result<Config, ConfigError> {
        let mut builder = ConfigBuilder::new();
        for pair in pairs {
            builder.set(pair);
        }
        builder.finish()
    }

    /// Every key with its value and source, in table order.
    pub fn entries(&self) -> impl Iterator<Item = (&'static Key, &Entry)> {
        BROKER_KEYS.iter().zip(&self.entries)
    }

    /// The entry of a broker key by name.
    pub fn entry(&self, name: &str) -> Option<(&'static Key, &Entry)> {
        let index = registry::broker_index(name)?;
        Some((&BROKER_KEYS[index], &self.entries[index]))
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        PathBuf::from(&self.settings.log_dirs)
    }

    /// Address of the Kafka listener.
    pub fn listen(&self) -> HostPort {
        listener::parse_listener(&self.settings.listeners).expect("checked when it was set")
    }

    /// Address of the admin listener.
    pub fn admin_listen(&self) -> HostPort {
        self.settings.admin_listen.parse().expect("checked when it was set")
    }

    /// What clients are told to connect to, once the listener is bound: the advertised address, or the listener's own host and bound port.
    /// A port of 0 in either means the bound port.
    pub fn advertised(&self, bound: SocketAddr) -> HostPort {
        let mut address = match &self.settings.advertised_listeners {
            Some(text) => listener::parse_listener(text).expect("checked when it was set"),
            None => self.listen(),
        };
        if address.port == 0 {
            address.port = bound.port();
        }
        address
    }

    /// Age at which a segment is rolled, milliseconds: `log.roll.ms` or `log.roll.hours`.
    pub fn roll_ms(&self) -> i64 {
        self.settings.log_roll_ms.unwrap_or(i64::from(self.settings.log_roll_hours) * MS_PER_HOUR)
    }

    /// Most jitter on that age, milliseconds: `log.roll.jitter.ms` or `log.roll.jitter.hours`.
    pub fn roll_jitter_ms(&self) -> i64 {
        self.settings.log_roll_jitter_ms.unwrap_or(i64::from(self.settings.log_roll_jitter_hours) * MS_PER_HOUR)
    }

    /// Retention by age, milliseconds, -1 for never: the first of `log.retention.ms`, `.minutes`, `.hours` that is set.
    pub fn retention_ms(&self) -> i64 {
        let in_ms = |n: i32, ms: i64| if n < 0 { -1 } else { i64::from(n) * ms };
        match (self.settings.log_retention_ms, self.settings.log_retention_minutes) {
            (Some(ms), _) => ms,
            (None, Some(minutes)) => in_ms(minutes, MS_PER_MINUTE),
            (None, None) => in_ms(self.settings.log_retention_hours, MS_PER_HOUR),
        }
    }
}

const MS_PER_MINUTE: i64 = 60_000;
const MS_PER_HOUR: i64 = 60 * MS_PER_MINUTE;

/// Collects values from their sources in order of precedence, and every problem on the way.
#[derive(Debug)]
pub struct ConfigBuilder {
    entries: Vec<Entry>,
    problems: Vec<Problem>,
}

impl Default for ConfigBuilder {
    fn default() -> Self {
        ConfigBuilder::new()
    }
}

impl ConfigBuilder {
    /// All defaults.
    pub fn new() -> ConfigBuilder {
        let entries = BROKER_KEYS.iter().map(|key| Entry { value: key.default_value(), source: Source::Default }).collect();
        ConfigBuilder { entries, problems: Vec::new() }
    }

    /// Notes a problem.
    pub fn problem(&mut self, place: String, key: &str, reason: String) {
        self.problems.push(Problem { place, key: key.to_string(), reason });
    }

    /// Applies a TOML text; `name` is the file as the operator called it.
    pub fn file(&mut self, name: &str, text: &str) {
        let lines = match file::parse(text) {
            Ok(lines) => lines,
            Err((line, reason)) => return self.problem(format!("{name}:{line}"), "", reason),
        };
        for line in lines {
            let source = Source::File { path: name.to_string(), line: line.line };
            let value = |key: &Key| line.value.to_value(key);
            self.apply(&line.key, value, source);
            if let Some(first) = line.duplicate_of {
                self.problem(format!("{name}:{}", line.line), &line.key, format!("set twice, first on line {first}"));
            }
        }
    }

    /// Applies one `--set KEY=VALUE`.
    pub fn set(&mut self, pair: &str) {
        match pair.split_once('=') {
            Some((key, value)) => self.apply(key.trim(), |k| found(k.parse(value), value), Source::Set),
            None => self.problem("--set".into(), "", format!("expected KEY=VALUE, found {pair:?}")),
        }
    }

    /// Applies a dedicated flag that stands for a key.
    pub fn flag(&mut self, flag: &'static str, key: &str, value: &str) {
        let Some(index) = registry::broker_index(key) else {
            return self.problem(flag.into(), "", format!("stands for the unknown key {key}"));
        };
        match found(BROKER_KEYS[index].parse(value), value) {
            Ok(value) => self.entries[index] = Entry { value, source: Source::Flag(flag) },
            Err(reason) => self.problem(flag.into(), "", reason),
        }
    }

    fn apply(&mut self, name: &str, value: impl FnOnce(&Key) -> Result<Value, String>, source: Source) {
        let Some(index) = registry::broker_index(name) else {
            return self.problem(source.to_string(), name, registry::unknown_broker_key(name));
        };
        match value(&BROKER_KEYS[index]) {
            Ok(value) => self.entries[index] = Entry { value, source },
            Err(reason) => self.problem(source.to_string(), name, reason),
        }
    }

    /// The configuration, or all that is wrong with it.
    pub fn finish(mut self) -> Result<Config, ConfigError> {
        if !self.problems.is_empty() {
            return Err(ConfigError(self.problems));
        }
        let values: Vec<Value> = self.entries.iter().map(|e| e.value.clone()).collect();
        let settings = Settings::from_values(&values);
        let config = Config { settings, entries: std::mem::take(&mut self.entries) };
        let problems = relations(&config);
        if problems.is_empty() { Ok(config) } else { Err(ConfigError(problems)) }
    }
}

fn found(result: Result<Value, String>, value: &str) -> Result<Value, String> {
    result.map_err(|reason| format!("{reason}, found {:?}", value.trim()))
}

/// Checks that values fit together.
fn relations(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut check = |fits: bool, key: &str, reason: String| {
        if !fits {
            let place = match config.entry(key).map(|(_, e)| &e.source) {
                None | Some(Source::Default) => String::new(),
                Some(source) => source.to_string(),
            };
            problems.push(Problem { place, key: key.to_string(), reason });
        }
    };
    check(
        config.group_min_session_timeout_ms <= config.group_max_session_timeout_ms,
        "group.min.session.timeout.ms",
        format!("must not exceed group.max.session.timeout.ms, which is {}", config.group_max_session_timeout_ms),
    );
    check(
        (config.group_consumer_min_session_timeout_ms..=config.group_consumer_max_session_timeout_ms)
            .contains(&config.group_consumer_session_timeout_ms),
        "group.consumer.session.timeout.ms",
        "must lie between group.consumer.min.session.timeout.ms and group.consumer.max.session.timeout.ms".into(),
    );
    check(
        (config.group_consumer_min_heartbeat_interval_ms..=config.group_consumer_max_heartbeat_interval_ms)
            .contains(&config.group_consumer_heartbeat_interval_ms),
        "group.consumer.heartbeat.interval.ms",
        "must lie between group.consumer.min.heartbeat.interval.ms and group.consumer.max.heartbeat.interval.ms".into(),
    );
    check(
        config.group_consumer_heartbeat_interval_ms < config.group_consumer_session_timeout_ms,
        "group.consumer.heartbeat.interval.ms",
        "must be shorter than group.consumer.session.timeout.ms".into(),
    );
    check(
        config.advertised_listeners.is_some() || !config.listen().is_wildcard(),
        "listeners",
        "binds all addresses, which clients cannot connect to: say which address they use with --advertise HOST:PORT".into(),
    );
    check(
        config.journal_max_bytes >= 3 * config.journal_file_bytes,
        "journal.max.bytes",
        format!("must be at least three times journal.file.bytes, which is {}", config.journal_file_bytes),
    );
    check(
        i64::from(config.socket_request_max_bytes) >= i64::from(config.message_max_bytes),
        "socket.request.max.bytes",
        format!("must be at least message.max.bytes, which is {}", config.message_max_bytes),
    );
    problems
}

#[cfg(test)]
mod kafka_listing;
#[cfg(test)]
mod tests;
