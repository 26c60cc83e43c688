//! Finding a key by its name, and guessing which one was meant.

use super::key::Key;
use super::{BROKER_KEYS, CLIENT_METRICS_KEYS, GROUP_KEYS, TOPIC_KEYS};

/// Index of a broker key in its table.
pub fn broker_index(name: &str) -> Option<usize> {
    BROKER_KEYS.iter().position(|key| key.name == name)
}

/// A broker key by name.
pub fn broker_key(name: &str) -> Option<&'static Key> {
    BROKER_KEYS.iter().find(|key| key.name == name)
}

/// A topic key by name.
pub fn topic_key(name: &str) -> Option<&'static Key> {
    TOPIC_KEYS.iter().find(|key| key.name == name)
}

/// A group key by name.
pub fn group_key(name: &str) -> Option<&'static Key> {
    GROUP_KEYS.iter().find(|key| key.name == name)
}

/// A key of client metrics subscriptions by name.
pub fn client_metrics_key(name: &str) -> Option<&'static Key> {
    CLIENT_METRICS_KEYS.iter().find(|key| key.name == name)
}

/// True if a shorter key is a prefix of this one, as `max.connections` is of `max.connections.per.ip`: TOML then needs this one in quotes
/// when both are set.
pub fn extends_a_key(name: &str) -> bool {
    BROKER_KEYS.iter().any(|key| name.strip_prefix(key.name).is_some_and(|rest| rest.starts_with('.')))
}

/// Why a broker key is refused, with the key that was probably meant.
pub fn unknown_broker_key(name: &str) -> String {
    if let Some(broker) = topic_key(name).and_then(Key::synonym) {
        return format!("is a setting of topics; the broker's default for it is {broker}");
    }
    match nearest(name, BROKER_KEYS.iter().map(|key| key.name)) {
        Some(near) => format!("unknown key; did you mean {near}?"),
        None => "unknown key; `coreline config --docs` lists all".into(),
    }
}

/// The name with the smallest edit distance, if it is near enough to be a slip: at most 2, or a quarter of the length.
pub fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // A name far longer than any key is not compared: the distance costs its length times the key's.
    if name.len() > 128 {
        return None;
    }
    let allowed = (name.len() / 4).max(2);
    names.map(|candidate| (edit_distance(name, candidate), candidate)).min().filter(|(d, _)| *d <= allowed).map(|(_, n)| n)
}

fn edit_distance(a: &str, b: &str) -> usize {
    let b = b.as_bytes();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_find_their_key_and_nonsense_does_not() {
        assert_eq!(nearest("num.partition", BROKER_KEYS.iter().map(|k| k.name)), Some("num.partitions"));
        assert_eq!(nearest("log.retentoin.ms", BROKER_KEYS.iter().map(|k| k.name)), Some("log.retention.ms"));
        assert_eq!(nearest("zookeeper.connect", BROKER_KEYS.iter().map(|k| k.name)), None);
        assert!(unknown_broker_key("retention.ms").contains("log.retention.ms"));
        assert_eq!(edit_distance("kitten", "sitting"), 3);
    }

    #[test]
    fn names_are_unique() {
        for keys in [BROKER_KEYS, TOPIC_KEYS, GROUP_KEYS, CLIENT_METRICS_KEYS] {
            for a in keys {
                assert_eq!(keys.iter().filter(|b| b.name == a.name).count(), 1, "{} is declared twice", a.name);
            }
        }
        assert!(extends_a_key("max.connections.per.ip") && !extends_a_key("max.connections"));
    }

    #[test]
    fn every_default_passes_its_own_check_and_every_doc_is_a_sentence() {
        for key in BROKER_KEYS.iter().chain(TOPIC_KEYS).chain(GROUP_KEYS).chain(CLIENT_METRICS_KEYS) {
            match key.default_text() {
                Some(text) => assert_eq!(key.parse(text).map(|v| v.to_string()).as_deref(), Ok(text), "default of {}", key.name),
                None => assert!(key.optional, "{} needs a default", key.name),
            }
            let doc = key.doc_text();
            assert!(doc.len() > 20 && doc.ends_with('.'), "{}: {doc:?}", key.name);
        }
    }

    #[test]
    fn a_topic_key_agrees_with_the_broker_key_that_gives_its_default() {
        // In Kafka, too, these are settings of topics alone.
        let alone = ["remote.", "follower.replication.", "leader.replication."];
        for key in TOPIC_KEYS.iter().filter(|key| !alone.iter().any(|prefix| key.name.starts_with(prefix))) {
            let name = key.synonym().unwrap_or_else(|| panic!("{} has no broker key", key.name));
            let broker = broker_key(name).unwrap_or_else(|| panic!("{name} is not declared"));
            assert_eq!((broker.kind, broker.unit(), broker.applies()), (key.kind, key.unit(), key.applies()), "{}", key.name);
            assert_eq!(broker.valid_text(), key.valid_text(), "{} and {name} must accept the same values", key.name);
            if let Some(text) = broker.default_text() {
                assert_eq!(Some(text), key.default_text(), "{}", key.name);
            }
        }
    }
}
