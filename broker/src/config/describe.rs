//! What DescribeConfigs says about a topic, a broker, the defaults of all brokers, a group, a client metrics subscription; also the configs in a CreateTopics answer (v5+).

use super::key::{Applies, Key};
use super::topic::{ConfigMap, ConfigSource, Overrides, Resolved, Synonym};
use super::{BROKER_KEYS, CLIENT_METRICS_KEYS, Config, GROUP_KEYS, TOPIC_KEYS, durability};

/// One setting as DescribeConfigs shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct DescribedConfig {
    /// The declaration: name, type, documentation.
    pub key: &'static Key,
    /// The value in force as text; `None` when unset or sensitive.
    pub value: Option<String>,
    /// True if it cannot be altered while the broker runs.
    pub read_only: bool,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// True if the value is hidden.
    pub sensitive: bool,
    /// All levels that have a value; values are hidden when sensitive.
    pub synonyms: Vec<Synonym>,
}

impl DescribedConfig {
    fn new(resolved: Resolved) -> DescribedConfig {
        let key = resolved.key;
        DescribedConfig {
            key,
            value: if key.is_sensitive() { None } else { resolved.value.text() },
            read_only: key.applies() == Applies::Restart,
            source: resolved.source,
            sensitive: key.is_sensitive(),
            synonyms: resolved.synonyms,
        }
    }
}

/// Which names were asked for; `None` means all.
pub type Filter<'a> = Option<&'a [&'a str]>;

fn wanted(filter: Filter<'_>, key: &Key) -> bool {
    filter.is_none_or(|names| names.contains(&key.name))
}

/// Every setting of the topic of this name.
pub fn topic(config: &Config, name: &str, overrides: &Overrides<'_>, filter: Filter<'_>) -> Vec<DescribedConfig> {
    let keys = TOPIC_KEYS.iter().filter(|key| wanted(filter, key));
    let resolve = |key| match config.resolve_topic_key(key, overrides) {
        set if key.name == durability::KEY => durability::describe(config, name, overrides, set),
        resolved => resolved,
    };
    keys.map(|key| DescribedConfig::new(resolve(key))).collect()
}

/// Every setting of this broker.
pub fn broker(config: &Config, overrides: &Overrides<'_>, filter: Filter<'_>) -> Vec<DescribedConfig> {
    let keys = BROKER_KEYS.iter().filter(|key| wanted(filter, key));
    let described = keys.map(|key| DescribedConfig::new(config.resolve_broker_key(key, overrides)));
    described.filter(|config| config.source != ConfigSource::Default || !config.key.is_listed_only_when_set()).collect()
}

/// Every setting of a group; `own` is what is set on it.
pub fn group(config: &Config, own: Option<&ConfigMap>, overrides: &Overrides<'_>, filter: Filter<'_>) -> Vec<DescribedConfig> {
    let keys = GROUP_KEYS.iter().filter(|key| wanted(filter, key));
    keys.map(|key| DescribedConfig::new(config.resolve_group_key(key, own, overrides))).collect()
}

/// Every setting of a client metrics subscription; `own` is what is set on it.
pub fn client_metrics(config: &Config, own: Option<&ConfigMap>, filter: Filter<'_>) -> Vec<DescribedConfig> {
    let keys = CLIENT_METRICS_KEYS.iter().filter(|key| wanted(filter, key));
    keys.map(|key| DescribedConfig::new(config.resolve_client_metrics_key(key, own))).collect()
}

/// The settings that were given to all brokers while they run; nothing else, as Kafka answers for the broker with the empty name.
pub fn cluster_default(config: &Config, overrides: &Overrides<'_>, filter: Filter<'_>) -> Vec<DescribedConfig> {
    let only = Overrides { cluster: overrides.cluster, ..Overrides::default() };
    let is_set = |key: &&'static Key| overrides.cluster.is_some_and(|map| map.contains_key(key.name));
    let keys = BROKER_KEYS.iter().filter(is_set).filter(|key| wanted(filter, key));
    keys.map(|key| DescribedConfig::new(config.resolve_broker_key(key, &only))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> ConfigMap {
        pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()
    }

    fn levels(described: &[DescribedConfig], name: &str) -> (Option<String>, ConfigSource, Vec<(&'static str, String, ConfigSource)>) {
        let d = described.iter().find(|d| d.key.name == name).expect("declared");
        let synonyms = d.synonyms.iter().map(|s| (s.name, s.value.to_string(), s.source)).collect();
        (d.value.clone(), d.source, synonyms)
    }

    #[test]
    fn each_level_goes_before_the_next_and_all_are_listed() {
        use ConfigSource::*;
        let config = Config::with(&["log.retention.bytes=1000"]).expect("valid");
        let (t, b, c) = (map(&[("retention.bytes", "5")]), map(&[("log.retention.bytes", "7")]), map(&[("log.retention.bytes", "8")]));
        let all = topic(&config, "t", &Overrides { topic: Some(&t), broker: Some(&b), cluster: Some(&c) }, None);
        let static_levels = [("log.retention.bytes", "1000".to_string(), StaticBroker), ("log.retention.bytes", "-1".into(), Default)];
        let mut expected = vec![
            ("retention.bytes", "5".to_string(), Topic),
            ("log.retention.bytes", "7".into(), DynamicBroker),
            ("log.retention.bytes", "8".into(), DynamicDefaultBroker),
        ];
        expected.extend(static_levels.clone());
        assert_eq!(levels(&all, "retention.bytes"), (Some("5".into()), Topic, expected.clone()));
        let without_topic = topic(&config, "t", &Overrides { topic: None, broker: Some(&b), cluster: Some(&c) }, None);
        assert_eq!(levels(&without_topic, "retention.bytes"), (Some("7".into()), DynamicBroker, expected[1..].to_vec()));
        let static_only = topic(&config, "t", &Overrides::default(), None);
        assert_eq!(levels(&static_only, "retention.bytes"), (Some("1000".into()), StaticBroker, static_levels.to_vec()));
        let defaults = topic(&Config::default(), "t", &Overrides::default(), None);
        assert_eq!(levels(&defaults, "retention.bytes").1, Default);
        assert_eq!(all.len(), TOPIC_KEYS.len());
    }

    #[test]
    fn ages_in_other_units_count_and_say_so() {
        let config = Config::with(&["log.retention.minutes=700", "log.roll.hours=1"]).expect("valid");
        let all = topic(&config, "t", &Overrides::default(), None);
        assert_eq!(levels(&all, "retention.ms"), (Some("42000000".into()), ConfigSource::StaticBroker, vec![]));
        assert_eq!(levels(&all, "segment.ms").0.as_deref(), Some("3600000"));
        let settings = config.topic_settings(&Overrides::default());
        assert_eq!((settings.retention_ms, settings.segment_ms), (42_000_000, 3_600_000));
        let forever = Config::with(&["log.retention.hours=-1"]).expect("valid");
        assert_eq!(forever.topic_settings(&Overrides::default()).retention_ms, -1);
    }

    #[test]
    fn a_filter_selects_and_the_cluster_default_shows_only_what_is_set() {
        let config = Config::default();
        let one = topic(&config, "t", &Overrides::default(), Some(&["retention.ms", "no.such.key"]));
        assert_eq!(one.iter().map(|d| d.key.name).collect::<Vec<_>>(), vec!["retention.ms"]);
        let c = map(&[("message.max.bytes", "5000")]);
        let set = cluster_default(&config, &Overrides { cluster: Some(&c), ..Overrides::default() }, None);
        assert_eq!(set.len(), 1);
        assert_eq!((set[0].value.as_deref(), set[0].source), (Some("5000"), ConfigSource::DynamicDefaultBroker));
        assert!(cluster_default(&config, &Overrides::default(), None).is_empty());
    }

    #[test]
    fn a_throttle_is_listed_where_it_is_set() {
        let (config, key) = (Config::default(), "leader.replication.throttled.rate");
        assert!(broker(&config, &Overrides::default(), Some(&[key])).is_empty());
        let b = map(&[(key, "1000000")]);
        let set = broker(&config, &Overrides { broker: Some(&b), ..Overrides::default() }, None);
        assert_eq!(levels(&set, key).2, [(key, "1000000".to_string(), ConfigSource::DynamicBroker)]);
    }

    #[test]
    fn a_stored_value_that_is_no_longer_valid_is_passed_over() {
        let t = map(&[("retention.ms", "-7")]);
        let settings = Config::default().topic_settings(&Overrides { topic: Some(&t), ..Overrides::default() });
        assert_eq!(settings.retention_ms, 604_800_000);
    }
}
