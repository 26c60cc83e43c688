//! The effective configuration as text: TOML with the source of each value (it can be read back as a file), JSON, and the documentation of all keys.

use std::fmt::Write;

use super::key::{Applies, Key};
use super::{BROKER_KEYS, CLIENT_METRICS_KEYS, Config, GROUP_KEYS, TOPIC_KEYS, registry};

/// TOML, one key per line with the source of its value; unset keys as comments.
pub fn toml(config: &Config) -> String {
    let lines: Vec<(String, String)> = config
        .entries()
        .map(|(key, entry)| {
            let value = if key.is_sensitive() { None } else { entry.value.toml() };
            let text = match value {
                Some(value) if registry::extends_a_key(key.name) => format!("\"{}\" = {value}", key.name),
                Some(value) => format!("{} = {value}", key.name),
                None if key.is_sensitive() => format!("# {} (hidden)", key.name),
                None => format!("# {} (not set)", key.name),
            };
            (text, entry.source.to_string())
        })
        .collect();
    let width = lines.iter().map(|(text, _)| text.len()).max().unwrap_or(0).min(72);
    lines.iter().fold(String::new(), |mut out, (text, source)| {
        let _ = writeln!(out, "{text:width$}  # {source}");
        out
    })
}

/// JSON: an array of `{"key", "value", "source"}`, values as text or null.
pub fn json(config: &Config) -> String {
    let rows: Vec<String> = config
        .entries()
        .map(|(key, entry)| {
            let value = if key.is_sensitive() { None } else { entry.value.text() };
            let value = value.map_or("null".to_string(), |v| json_string(&v));
            format!("  {{\"key\": {}, \"value\": {value}, \"source\": {}}}", json_string(key.name), json_string(&entry.source.to_string()))
        })
        .collect();
    format!("[\n{}\n]\n", rows.join(",\n"))
}

/// The documentation of every key as Markdown tables: broker keys, topic keys, keys of groups and of client metrics subscriptions.
pub fn docs() -> String {
    let mut out = String::new();
    table(&mut out, "Broker settings", BROKER_KEYS);
    out.push('\n');
    table(&mut out, "Topic settings", TOPIC_KEYS);
    out.push('\n');
    table(&mut out, "Group settings", GROUP_KEYS);
    out.push('\n');
    table(&mut out, "Settings of client metrics subscriptions", CLIENT_METRICS_KEYS);
    out
}

fn table(out: &mut String, title: &str, keys: &[Key]) {
    let _ = writeln!(out, "### {title}\n\n| key | type | default | accepted | changes | meaning |\n|---|---|---|---|---|---|");
    for key in keys {
        let unit = if key.unit().name().is_empty() { String::new() } else { format!(", {}", key.unit().name()) };
        let changes = if key.applies() == Applies::Dynamic { "at once" } else { "at restart" };
        let default = key.default_text().map_or("not set".to_string(), |d| if d.is_empty() { "empty".into() } else { format!("`{d}`") });
        let _ =
            writeln!(out, "| `{}` | {}{unit} | {default} | {} | {changes} | {} |", key.name, key.kind, key.valid_text(), key.doc_text());
    }
}

fn json_string(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if (c as u32) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigBuilder;

    #[test]
    fn the_printed_configuration_reads_back_as_the_same_values() {
        let config = Config::with(&["num.partitions=7", "log.cleanup.policy=compact,delete", "log.dirs=/tmp/a \"b\""]).expect("valid");
        let text = toml(&config);
        assert!(text.contains("num.partitions = 7 ") && text.contains("# --set") && text.contains("# default"), "{text}");
        let mut builder = ConfigBuilder::new();
        builder.file("printed.toml", &text);
        let again = builder.finish().expect("what is printed can be read");
        for ((key, a), (_, b)) in config.entries().zip(again.entries()) {
            assert_eq!(a.value, b.value, "{}", key.name);
        }
    }

    #[test]
    fn json_is_json() {
        let parsed: serde_json::Value = serde_json::from_str(&json(&Config::default())).expect("valid JSON");
        assert_eq!(parsed.as_array().map(Vec::len), Some(BROKER_KEYS.len()));
    }

    #[test]
    fn the_documentation_has_every_key_once() {
        let docs = docs();
        for key in BROKER_KEYS.iter().chain(TOPIC_KEYS).chain(GROUP_KEYS).chain(CLIENT_METRICS_KEYS) {
            assert!(docs.contains(&format!("| `{}` |", key.name)), "{}", key.name);
        }
    }
}
