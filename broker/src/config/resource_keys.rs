//! The settings of groups and of client metrics subscriptions (KIP-714), declared once, with the checks that Kafka makes beyond types and bounds.
//!
//! Names, defaults, sentences and codes were asked from Apache Kafka 4.3.1. Values are records of the metadata log and hold at once. Callers:
//! `alter`, `describe`, whoever honours them (the group coordinator, telemetry).

use coreline_wire::error_code::ErrorCode;
use regex::bytes::{Regex, RegexBuilder};

use super::alter::AlterError;
use super::key::{Spec, Unit, settings};
use super::{Config, ConfigMap, Value};

settings! {
    /// The settings in force for one group.
    pub struct GroupSettings from GROUP_KEYS {
        /// How often members of a consumer group (KIP-848) send a heartbeat.
        consumer_heartbeat_interval_ms: i32 = "consumer.heartbeat.interval.ms" =>
            Spec::new("5000").at_least(1).unit(Unit::Ms).dynamic().synonym("group.consumer.heartbeat.interval.ms");
        /// A member of a consumer group (KIP-848) that sends no heartbeat for this long is removed.
        consumer_session_timeout_ms: i32 = "consumer.session.timeout.ms" =>
            Spec::new("45000").at_least(1).unit(Unit::Ms).dynamic().synonym("group.consumer.session.timeout.ms");
    }
}

settings! {
    /// The settings of one client metrics subscription.
    pub struct ClientMetricsSettings from CLIENT_METRICS_KEYS {
        /// How often a subscribed client pushes its metrics.
        interval_ms: i32 = "interval.ms" => Spec::new("300000").unit(Unit::Ms).dynamic();
        /// Which clients are subscribed: patterns `attribute=expression`, all of which must match; none subscribes every client.
        match_patterns: Vec<String> = "match" => Spec::new("").dynamic();
        /// Prefixes of the metrics that are pushed; `*` for all of them.
        metrics: Vec<String> = "metrics" => Spec::new("").dynamic();
    }
}

/// What a pattern of `match` may be about, in the protocol's names.
pub const MATCH_ATTRIBUTES: &[&str] =
    &["client_instance_id", "client_id", "client_software_name", "client_software_version", "client_source_address", "client_source_port"];
/// Bounds of `interval.ms`.
const INTERVAL_MS: std::ops::RangeInclusive<i64> = 100..=3_600_000;
/// Longest expression of a pattern, in bytes, and its largest compiled form: an expression is the operator's, but is matched for every client.
const EXPRESSION_BYTES_MAX: usize = 1024;
const EXPRESSION_SIZE_MAX: usize = 1 << 20;

impl ClientMetricsSettings {
    /// The settings of a subscription with these overrides; a value that does not pass its check counts as not set.
    pub fn of(overrides: &ConfigMap) -> ClientMetricsSettings {
        let value = |key: &super::Key| overrides.get(key.name).and_then(|text| key.parse(text).ok()).unwrap_or_else(|| key.default_value());
        ClientMetricsSettings::from_values(&CLIENT_METRICS_KEYS.iter().map(value).collect::<Vec<_>>())
    }
}

/// Attribute and expression of a pattern of `match`; `None` for one that is refused.
pub fn match_pattern(pattern: &str) -> Option<(&'static str, Regex)> {
    let (attribute, expression) = pattern.split_once('=')?;
    let attribute = MATCH_ATTRIBUTES.iter().find(|known| **known == attribute.trim())?;
    let expression = expression.trim();
    if expression.len() > EXPRESSION_BYTES_MAX {
        return None;
    }
    // Kafka matches the whole value.
    let whole = format!("^(?:{expression})$");
    Some((attribute, RegexBuilder::new(&whole).unicode(false).size_limit(EXPRESSION_SIZE_MAX).build().ok()?))
}

/// Checks the whole set of a subscription.
pub fn check_client_metrics(set: &ConfigMap) -> Result<(), AlterError> {
    if let Some(interval) = set.get("interval.ms").and_then(|text| text.parse::<i64>().ok())
        && !INTERVAL_MS.contains(&interval)
    {
        let message = format!("Invalid value {interval} for interval.ms, interval must be between 100 and 3600000 (1 hour)");
        return Err(AlterError::new(ErrorCode::InvalidRequest, message));
    }
    let patterns = set.get("match").map(|text| super::value::parse_list(text)).unwrap_or_default();
    match patterns.iter().find(|pattern| match_pattern(pattern).is_none()) {
        Some(pattern) => Err(AlterError::new(ErrorCode::InvalidConfig, format!("Illegal client matching pattern: {pattern}"))),
        None => Ok(()),
    }
}

/// Checks the whole set of a group against the broker's bounds.
pub fn check_group(config: &Config, set: &ConfigMap) -> Result<(), AlterError> {
    let number = |name: &str| set.get(name).and_then(|text| text.parse::<i64>().ok());
    let refuse = |message: String| Err(AlterError::new(ErrorCode::InvalidConfig, message));
    for (name, min, max, defaults) in [
        (
            "consumer.heartbeat.interval.ms",
            "group.consumer.min.heartbeat.interval.ms",
            "group.consumer.max.heartbeat.interval.ms",
            (5_000, 15_000),
        ),
        ("consumer.session.timeout.ms", "group.consumer.min.session.timeout.ms", "group.consumer.max.session.timeout.ms", (45_000, 60_000)),
    ] {
        let bound = |key: &str, default: i64| match config.entry(key).map(|(_, entry)| &entry.value) {
            Some(Value::Int(n)) => *n,
            _ => default,
        };
        let Some(value) = number(name) else { continue };
        if value < bound(min, defaults.0) {
            return refuse(format!("{name} must be greater than or equal to {min}"));
        }
        if value > bound(max, defaults.1) {
            return refuse(format!("{name} must be less than or equal to {max}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> ConfigMap {
        pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()
    }

    #[test]
    fn patterns_name_an_attribute_and_an_expression() {
        for (pattern, fine) in [
            ("client_id=a.*", true),
            ("client_software_version = 1\\.[0-9]+", true),
            ("client_source_port=", true),
            ("x=y", false),
            ("client_id", false),
            ("client_id=(", false),
            ("", false),
        ] {
            assert_eq!(match_pattern(pattern).is_some(), fine, "{pattern:?}");
        }
        let (attribute, expression) = match_pattern("client_id=a|bc").expect("a pattern");
        assert_eq!(attribute, "client_id");
        assert!(expression.is_match(b"a") && expression.is_match(b"bc") && !expression.is_match(b"abc"), "the whole value matches");
        assert!(match_pattern(&format!("client_id={}", "a".repeat(2000))).is_none());
        assert!(match_pattern("client_id=(a{1000}){1000}").is_none(), "an expression has a bound in its compiled form");
    }

    #[test]
    fn subscriptions_are_checked_in_kafkas_words() {
        let check = |pairs: &[(&str, &str)]| check_client_metrics(&map(pairs)).map_err(|e| (e.code, e.message));
        assert_eq!(check(&[("interval.ms", "100"), ("match", "client_id=a,client_id=b"), ("metrics", "")]), Ok(()));
        let words = |n: &str| format!("Invalid value {n} for interval.ms, interval must be between 100 and 3600000 (1 hour)");
        for interval in ["99", "3600001"] {
            assert_eq!(check(&[("interval.ms", interval)]), Err((ErrorCode::InvalidRequest, words(interval))));
        }
        let pattern = Err((ErrorCode::InvalidConfig, "Illegal client matching pattern: x".to_string()));
        assert_eq!(check(&[("match", "client_id=a,x")]), pattern);
    }

    #[test]
    fn a_subscription_has_defaults() {
        let settings = ClientMetricsSettings::of(&map(&[("metrics", "a.,b.")]));
        assert_eq!((settings.interval_ms, settings.metrics.len(), settings.match_patterns.len()), (300_000, 2, 0));
    }

    #[test]
    fn a_group_keeps_to_the_brokers_bounds() {
        let config = Config::default();
        let check = |name: &str, value: &str| check_group(&config, &map(&[(name, value)])).map_err(|e| e.message);
        assert_eq!(check("consumer.session.timeout.ms", "45000"), Ok(()));
        for (name, value, words) in [
            ("consumer.session.timeout.ms", "1", "greater than or equal to group.consumer.min.session.timeout.ms"),
            ("consumer.session.timeout.ms", "60001", "less than or equal to group.consumer.max.session.timeout.ms"),
            ("consumer.heartbeat.interval.ms", "1", "greater than or equal to group.consumer.min.heartbeat.interval.ms"),
            ("consumer.heartbeat.interval.ms", "15001", "less than or equal to group.consumer.max.heartbeat.interval.ms"),
        ] {
            assert_eq!(check(name, value), Err(format!("{name} must be {words}")));
        }
    }
}
