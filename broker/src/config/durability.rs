//! Which durability class is in force for a topic, from `durability.class` and Kafka's flush settings. Pure.
//!
//! | set | in force |
//! |---|---|
//! | an internal topic, whatever is set | `durable` |
//! | `flush.messages=1` or `flush.ms=0` | `durable`: Kafka flushes before each acknowledgement then |
//! | otherwise | `durability.class`; below `durable`, `flush.messages` and `flush.ms` bound what a power cut can take |
//!
//! With both set the stronger one is in force, and DescribeConfigs shows that one as the value of `durability.class`.

use coreline_storage::config::DurabilityClass;

use super::topic::{ConfigSource, Overrides, Resolved, Synonym};
use super::{Config, TopicSettings, Value, registry};
use crate::metadata::image::is_internal_topic;

/// Name of the setting.
pub const KEY: &str = "durability.class";

/// The class of a topic with these settings.
pub fn in_force(topic: &str, settings: &TopicSettings) -> DurabilityClass {
    if is_internal_topic(topic) || settings.flush_messages == 1 || settings.flush_ms == 0 {
        return DurabilityClass::Durable;
    }
    match settings.durability_class.as_str() {
        "replicated" => DurabilityClass::Replicated,
        "memory" => DurabilityClass::Memory,
        _ => DurabilityClass::Durable,
    }
}

/// What DescribeConfigs says of `durability.class`, given what the setting itself resolves to: the class in force, and first among the synonyms what
/// makes it so when that is another setting.
pub fn describe(config: &Config, topic: &str, overrides: &Overrides<'_>, set: Resolved) -> Resolved {
    let durable = Value::Text("durable".into());
    let settings = config.topic_settings(overrides);
    if set.value == durable || in_force(topic, &settings) != DurabilityClass::Durable {
        return set;
    }
    let (name, source) = if is_internal_topic(topic) {
        (KEY, ConfigSource::Default)
    } else {
        let name = if settings.flush_messages == 1 { "flush.messages" } else { "flush.ms" };
        let source = registry::topic_key(name).map(|key| config.resolve_topic_key(key, overrides).source);
        (name, source.unwrap_or(ConfigSource::Default))
    };
    let mut synonyms = vec![Synonym { name, value: durable.clone(), source }];
    synonyms.extend(set.synonyms);
    Resolved { key: set.key, value: durable, source, synonyms }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigMap;
    use DurabilityClass::{Durable, Memory, Replicated};

    fn map(pairs: &[(&str, &str)]) -> ConfigMap {
        pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()
    }

    #[test]
    fn kafkas_flush_settings_map_onto_the_classes() {
        let class = |topic: &str, broker: &[&str], set: &[(&str, &str)]| {
            let config = Config::with(broker).expect("valid");
            in_force(topic, &config.topic_settings(&Overrides { topic: Some(&map(set)), ..Overrides::default() }))
        };
        assert_eq!(class("t", &[], &[]), Durable);
        assert_eq!(class("t", &[], &[("durability.class", "replicated")]), Replicated);
        assert_eq!(class("t", &["log.durability.class=memory"], &[]), Memory);
        for strong in [("flush.messages", "1"), ("flush.ms", "0")] {
            assert_eq!(class("t", &[], &[("durability.class", "memory"), strong]), Durable, "{strong:?}");
        }
        assert_eq!(class("t", &["log.flush.interval.messages=1", "log.durability.class=memory"], &[]), Durable);
        assert_eq!(class("t", &[], &[("durability.class", "replicated"), ("flush.messages", "2"), ("flush.ms", "1")]), Replicated);
        assert_eq!(class("__consumer_offsets", &["log.durability.class=memory"], &[("durability.class", "replicated")]), Durable);
    }

    #[test]
    fn what_is_in_force_is_shown_with_what_makes_it_so() {
        let config = Config::with(&["log.durability.class=memory"]).expect("valid");
        let shown = |topic: &str, set: &[(&str, &str)]| {
            let topic_map = map(set);
            let overrides = Overrides { topic: Some(&topic_map), ..Overrides::default() };
            let key = registry::topic_key(KEY).expect("declared");
            let resolved = describe(&config, topic, &overrides, config.resolve_topic_key(key, &overrides));
            let synonyms: Vec<_> = resolved.synonyms.iter().map(|s| (s.name, s.value.to_string())).collect();
            (resolved.value.to_string(), resolved.source, synonyms)
        };
        let (memory, durable) = (("log.durability.class", "memory".to_string()), ("log.durability.class", "durable".to_string()));
        assert_eq!(shown("t", &[]), ("memory".into(), ConfigSource::StaticBroker, vec![memory.clone(), durable.clone()]));
        let by_flush = vec![("flush.messages", "durable".to_string()), (KEY, "replicated".into()), memory.clone(), durable.clone()];
        let both = [("durability.class", "replicated"), ("flush.messages", "1")];
        assert_eq!(shown("t", &both), ("durable".into(), ConfigSource::Topic, by_flush));
        let internal = vec![(KEY, "durable".to_string()), memory, durable];
        assert_eq!(shown("__consumer_offsets", &[]), ("durable".into(), ConfigSource::Default, internal));
    }
}
