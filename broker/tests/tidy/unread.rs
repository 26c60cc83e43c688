//! Declared but unused: settings that nothing reads and metrics that nothing counts are lies to the operator.

use coreline_broker::config::{BROKER_KEYS, TOPIC_KEYS};

use crate::source::Source;

pub(crate) const RULE: &str = "A setting that is declared is read, a metric that is declared is counted. Think: either the part that honours it is \
missing, or the declaration should go. A setting that is only stored and shown says `Carried:` in its documentation.";

/// Checks the declarations against every other file of the broker.
pub(crate) fn check(sources: &[Source]) -> Vec<String> {
    let outside = |folder: &'static str| {
        let files = sources.iter().filter(move |s| s.path.starts_with("broker/src/") && !s.path.starts_with(folder));
        files.map(Source::code).collect::<Vec<_>>().join("\n")
    };
    let mut complaints = Vec::new();
    // These turn settings into addresses, ages, predicates and the configuration of logs: that is a use.
    let users = [
        "broker/src/config/mod.rs",
        "broker/src/config/effective.rs",
        "broker/src/config/durability.rs",
        "broker/src/config/topic_keys.rs",
    ];
    let used: String = sources.iter().filter(|s| users.contains(&s.path.as_str())).map(Source::code).collect::<Vec<_>>().join("\n");
    let readers = outside("broker/src/config") + &used;
    for key in BROKER_KEYS {
        // A dynamic broker setting is the default of a topic setting, which is checked itself.
        let reaches_topics = TOPIC_KEYS.iter().any(|topic| topic.synonym() == Some(key.name));
        if !reaches_topics && !key.doc.contains("Carried") && !reads(&readers, key.name) {
            complaints.push(format!("the broker setting {} is read nowhere", key.name));
        }
    }
    for key in TOPIC_KEYS.iter().filter(|key| !key.doc.contains("Carried") && !reads(&readers, key.name)) {
        complaints.push(format!("the topic setting {} is read nowhere", key.name));
    }
    let registry = sources.iter().find(|s| s.path == "broker/src/metrics/registry.rs").map_or("", Source::code);
    // `observe.rs` takes over what other parts count.
    let mut counters = outside("broker/src/metrics");
    counters.extend(sources.iter().filter(|s| s.path == "broker/src/metrics/observe.rs").map(Source::code));
    for function in ["observe_store(", "observe_frame("].iter().filter(|f| !outside("broker/src/metrics").contains(**f)) {
        complaints.push(format!("{function}) of metrics/observe.rs is called nowhere"));
    }
    for name in variants(registry).filter(|name| !counters.contains(name.as_str())) {
        complaints.push(format!("the metric {name} is counted nowhere"));
    }
    complaints
}

/// True if some code names the key's field: `.num_partitions`, or its reader in `Config` such as `.listen()`.
fn reads(code: &str, key: &str) -> bool {
    let field = format!(".{}", key.replace('.', "_"));
    code.match_indices(&field).any(|(at, _)| !code[at + field.len()..].starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_'))
}

/// `Counter::X`, `Gauge::X` and `Timing::X` of the registry's declarations.
fn variants(registry: &str) -> impl Iterator<Item = String> {
    let mut name = String::new();
    let mut found = Vec::new();
    for line in registry.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("pub enum ") {
            name = rest.split([':', ' ']).next().unwrap_or("").to_string();
        } else if let Some((variant, _)) = line.split_once(" = \"").filter(|(v, _)| v.chars().all(char::is_alphanumeric)) {
            found.push(format!("{name}::{variant}"));
        }
    }
    found.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_read_by_its_whole_name() {
        assert!(reads("config.max_connections < 5", "max.connections"));
        assert!(!reads("config.max_connections_per_ip < 5", "max.connections"));
        assert!(!reads("let max_connections = 5", "max.connections"));
    }

    #[test]
    fn an_unread_setting_and_an_uncounted_metric_are_found() {
        let sources = [
            Source::new(
                "broker/src/metrics/registry.rs",
                "    pub enum Counter: Counter {\n        Lonely = \"coreline_lonely_total\",\n        Used = \"x\",\n",
            ),
            Source::new("broker/src/net/accept.rs", "metrics.inc(Counter::Used); config.num_partitions;"),
        ];
        let complaints = check(&sources);
        let about = |name: &str| complaints.iter().any(|c| c.split(' ').any(|word| word == name));
        assert!(about("Counter::Lonely") && about("shards") && about("max.message.bytes"));
        assert!(!about("Counter::Used") && !about("num.partitions") && !about("file.delete.delay.ms"), "used, or carried and said so");
    }
}
