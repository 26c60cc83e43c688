//! Tables of alterations and their outcome; codes and messages were compared with Apache Kafka 4.3.1.

use super::*;

fn map(pairs: &[(&str, &str)]) -> ConfigMap {
    pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()
}

fn alter(scope: Scope, current: &[(&str, &str)], entries: &[(&str, AlterOp, Option<&str>)]) -> Result<ConfigMap, (ErrorCode, String)> {
    let current = map(current);
    let entries: Vec<AlterEntry> =
        entries.iter().map(|(n, op, v)| AlterEntry { name: n.to_string(), op: *op, value: v.map(str::to_string) }).collect();
    let overrides = Overrides { topic: (scope == Scope::Topic).then_some(&current), ..Overrides::default() };
    incremental(&Config::default(), scope, &current, &overrides, &entries).map_err(|e| (e.code, e.message))
}

#[test]
fn set_and_delete_change_only_their_key() {
    let now = [("retention.ms", "1"), ("segment.ms", "2")];
    assert_eq!(
        alter(Scope::Topic, &now, &[("retention.ms", AlterOp::Set, Some(" 9 "))]),
        Ok(map(&[("retention.ms", "9"), ("segment.ms", "2")]))
    );
    assert_eq!(alter(Scope::Topic, &now, &[("retention.ms", AlterOp::Delete, None)]), Ok(map(&[("segment.ms", "2")])));
    assert_eq!(alter(Scope::Topic, &now, &[("not.a.key", AlterOp::Delete, None)]), Ok(map(&now)));
}

#[test]
fn lists_grow_and_shrink_from_the_effective_value() {
    let policy = |current: &[(&str, &str)], op, items| {
        alter(Scope::Topic, current, &[("cleanup.policy", op, Some(items))]).map(|m| m["cleanup.policy"].to_string())
    };
    assert_eq!(policy(&[], AlterOp::Append, "compact").as_deref(), Ok("delete,compact"));
    assert_eq!(policy(&[], AlterOp::Append, "delete").as_deref(), Ok("delete"));
    assert_eq!(policy(&[("cleanup.policy", "compact,delete")], AlterOp::Subtract, "delete").as_deref(), Ok("compact"));
    assert_eq!(policy(&[], AlterOp::Subtract, "delete").as_deref(), Ok(""));
    assert_eq!(
        policy(&[], AlterOp::Append, "bad"),
        Err((
            ErrorCode::InvalidConfig,
            "Invalid value bad for configuration cleanup.policy: String must be one of: compact, delete".into()
        ))
    );
}

#[test]
fn what_kafka_refuses_is_refused_with_its_code() {
    use AlterOp::{Append, Set, Subtract};
    use ErrorCode::{InvalidConfig, InvalidRequest};
    type Row = (Scope, &'static str, AlterOp, Option<&'static str>, ErrorCode, &'static str);
    let rows: &[Row] = &[
        (
            Scope::Topic,
            "retention.ms",
            Set,
            Some("-2"),
            InvalidConfig,
            "Invalid value -2 for configuration retention.ms: Value must be at least -1",
        ),
        (
            Scope::Topic,
            "retention.ms",
            Set,
            Some("abc"),
            InvalidConfig,
            "Invalid value abc for configuration retention.ms: Not a number of type LONG",
        ),
        (
            Scope::Topic,
            "segment.bytes",
            Set,
            Some("1048575"),
            InvalidConfig,
            "Invalid value 1048575 for configuration segment.bytes: Value must be at least 1048576",
        ),
        (Scope::Topic, "unknown.key", Set, Some("1"), InvalidConfig, "Unknown topic config name: unknown.key"),
        (Scope::Topic, "retention.ms", Set, None, InvalidRequest, "Null value not supported for : retention.ms"),
        (Scope::Topic, "retention.ms", Append, Some("5"), InvalidConfig, "Can't APPEND to key retention.ms because its type is not LIST."),
        (
            Scope::Topic,
            "unknown.key",
            Subtract,
            Some("5"),
            InvalidConfig,
            "Can't SUBTRACT to key unknown.key because its type is not LIST.",
        ),
        (
            Scope::Broker,
            "log.retention.ms",
            Append,
            Some("5"),
            InvalidConfig,
            "Config value append is not allowed for config key: log.retention.ms",
        ),
        (Scope::Broker, "num.partitions", Set, Some("5"), InvalidRequest, "Cannot update these configs dynamically: [num.partitions]"),
        (
            Scope::Broker,
            "log.cleanup.policy",
            Set,
            Some("bad"),
            InvalidRequest,
            "Invalid value bad for configuration log.cleanup.policy: String must be one of: compact, delete",
        ),
    ];
    for (scope, name, op, value, code, message) in rows {
        assert_eq!(alter(*scope, &[], &[(name, *op, *value)]), Err((*code, message.to_string())), "{name} {op:?} {value:?}");
    }
}

#[test]
fn a_key_may_appear_once() {
    let twice = [("retention.ms", AlterOp::Set, Some("1")), ("retention.ms", AlterOp::Delete, None)];
    assert_eq!(alter(Scope::Topic, &[], &twice).map_err(|e| e.0), Err(ErrorCode::InvalidRequest));
    let legacy = [("retention.ms", Some("1")), ("retention.ms", Some("2"))];
    assert_eq!(replace(Scope::Topic, legacy).map_err(|e| e.code), Err(ErrorCode::InvalidRequest));
}

#[test]
fn the_legacy_form_replaces_the_whole_set() {
    assert_eq!(replace(Scope::Topic, [("retention.ms", Some("1"))]), Ok(map(&[("retention.ms", "1")])));
    assert_eq!(replace(Scope::Topic, []), Ok(ConfigMap::new()));
    assert_eq!(replace(Scope::Topic, [("foo", Some("1"))]).map_err(|e| e.code), Err(ErrorCode::InvalidConfig));
}

#[test]
fn a_dynamic_broker_key_is_accepted() {
    assert_eq!(alter(Scope::Broker, &[], &[("log.retention.ms", AlterOp::Set, Some("5"))]), Ok(map(&[("log.retention.ms", "5")])));
}

#[test]
fn compaction_lags_must_fit_together() {
    let max = [("max.compaction.lag.ms", "5")];
    assert_eq!(
        alter(Scope::Topic, &max, &[("min.compaction.lag.ms", AlterOp::Set, Some("6"))]).map_err(|e| e.0),
        Err(ErrorCode::InvalidConfig)
    );
    assert!(alter(Scope::Topic, &max, &[("min.compaction.lag.ms", AlterOp::Set, Some("5"))]).is_ok());
}

#[test]
fn a_stored_key_of_another_version_is_left_alone() {
    let old = [("gone.key", "1")];
    assert_eq!(
        alter(Scope::Topic, &old, &[("retention.ms", AlterOp::Set, Some("2"))]),
        Ok(map(&[("gone.key", "1"), ("retention.ms", "2")]))
    );
    assert_eq!(alter(Scope::Topic, &old, &[("gone.key", AlterOp::Delete, None)]), Ok(ConfigMap::new()));
}

#[test]
fn every_dynamic_broker_key_reaches_topics_or_is_read_anew() {
    // Otherwise an alteration would be accepted and nobody would read it. The cleaner and the scrubber read their settings before each
    // round, the listener takes its limits over with each publication. Throttles of reassignments are only kept.
    let read_anew = |name: &str| {
        ["log.cleaner.", "log.scrub.", "max.connection"].iter().any(|prefix| name.starts_with(prefix))
            || name == "producer.id.expiration.ms"
    };
    let kept = |key: &super::super::Key| key.is_listed_only_when_set() && key.doc.contains("Carried:");
    for key in super::super::BROKER_KEYS.iter().filter(|key| key.applies() == Applies::Dynamic && !read_anew(key.name) && !kept(key)) {
        assert!(super::super::TOPIC_KEYS.iter().any(|topic| topic.synonym() == Some(key.name)), "{}", key.name);
    }
}
