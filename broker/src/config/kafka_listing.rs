//! Holds our settings and `broker/CONFIG-KAFKA.md` to what Apache Kafka 4.3.1 lists: every name of Kafka is ours, alike, or explained there. Test only.

use std::collections::BTreeMap;

use super::{Applies, BROKER_KEYS, CLIENT_METRICS_KEYS, GROUP_KEYS, Key, TOPIC_KEYS};

/// Kind of the resource, name, type, whether it changes while the broker runs, `=` and default or `-` for none; by DescribeConfigs.
const KAFKA: &str = include_str!("../../tests/config/kafka-4.3.tsv");
const PAGE: &str = include_str!("../../CONFIG-KAFKA.md");

/// The names or patterns in the first cell of the rows of a section.
fn patterns(section: &str) -> Vec<String> {
    let body = PAGE.split("\n## ").find(|part| part.starts_with(section)).expect("the section is there");
    let cells = body.lines().filter_map(|line| line.strip_prefix("| ")).filter_map(|row| row.split(" | ").next());
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect()
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => name.len() >= head.len() + tail.len() && name.starts_with(head) && name.ends_with(tail),
    }
}

#[test]
fn every_setting_of_kafka_is_ours_or_explained() {
    let tables: BTreeMap<&str, &[Key]> =
        BTreeMap::from([("BROKER", BROKER_KEYS), ("TOPIC", TOPIC_KEYS), ("GROUP", GROUP_KEYS), ("CLIENT_METRICS", CLIENT_METRICS_KEYS)]);
    let (absent, different) = (patterns("Not here"), patterns("Different"));
    let explained = |patterns: &[String], name: &str| patterns.iter().any(|pattern| matches(pattern, name));
    let mut complaints = Vec::new();
    let mut ours = 0;
    for line in KAFKA.lines() {
        let [kind, name, ty, mode, default] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("not a row: {line:?}") };
        let Some(key) = tables[kind].iter().find(|key| key.name == name) else {
            if !explained(&absent, name) {
                complaints.push(format!("{kind} {name} is neither ours nor explained"));
            }
            continue;
        };
        ours += 1;
        if explained(&different, name) {
            continue;
        }
        let here = key.kind.to_string().to_uppercase();
        if here != ty {
            complaints.push(format!("{kind} {name}: {here}, in Kafka {ty}"));
        }
        if (key.applies() == Applies::Dynamic) != (mode == "dynamic") {
            complaints.push(format!("{kind} {name}: {:?}, in Kafka {mode}", key.applies()));
        }
        if let Some(default) = default.strip_prefix('=')
            && key.default_text() != Some(default)
        {
            complaints.push(format!("{kind} {name}: default {:?}, in Kafka {default:?}", key.default_text()));
        }
    }
    assert!(complaints.is_empty(), "see broker/CONFIG-KAFKA.md\n{}", complaints.join("\n"));
    assert!(ours > 80, "the tables are compared: {ours}");
}

#[test]
fn patterns_stand_for_names() {
    assert!(matches("ssl.*", "ssl.protocol") && matches("*.purge", "a.purge") && matches("a", "a"));
    assert!(!matches("ssl.*", "sasl.protocol") && !matches("a", "ab") && !matches("ab*ba", "aba"));
    assert!(patterns("Not here").iter().any(|pattern| pattern == "remote.*"));
}
