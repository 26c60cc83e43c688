//! Which value of a topic setting is in force: topic override, then dynamic broker, dynamic default, static broker, default.
//!
//! The maps are those of the metadata image; they were checked when they were written. A stored value that no longer passes its check (written by
//! another version) is passed over, so that the next level counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::key::Key;
use super::value::Value;
use super::{Config, Source, TOPIC_KEYS, TopicSettings, registry};

/// Dynamic settings of one topic, one broker or all brokers, as the metadata image keeps them.
pub type ConfigMap = BTreeMap<Arc<str>, Arc<str>>;

/// Where an effective value comes from, with the code DescribeConfigs sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum ConfigSource {
    /// Set on the topic.
    Topic = 1,
    /// Set on this broker while it runs.
    DynamicBroker = 2,
    /// Set on all brokers while they run.
    DynamicDefaultBroker = 3,
    /// From the file or the command line.
    StaticBroker = 4,
    /// Nobody set it.
    Default = 5,
    /// Set on the client metrics subscription.
    ClientMetrics = 7,
    /// Set on the group.
    Group = 8,
}

impl ConfigSource {
    /// Code of the source in DescribeConfigs v1+.
    pub fn code(self) -> i8 {
        self as i8
    }
}

/// The dynamic settings that count for one topic (or, without `topic`, for one broker).
#[derive(Clone, Copy, Debug, Default)]
pub struct Overrides<'a> {
    /// Of the topic.
    pub topic: Option<&'a ConfigMap>,
    /// Of this broker.
    pub broker: Option<&'a ConfigMap>,
    /// Of all brokers (resource name empty).
    pub cluster: Option<&'a ConfigMap>,
}

/// One of the values that a setting could have, in order of precedence.
#[derive(Clone, Debug, PartialEq)]
pub struct Synonym {
    /// The key it is set under.
    pub name: &'static str,
    /// The value there.
    pub value: Value,
    /// The level.
    pub source: ConfigSource,
}

/// The value in force, its source, and every level that has a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// The key.
    pub key: &'static Key,
    /// The value in force.
    pub value: Value,
    /// The level it comes from.
    pub source: ConfigSource,
    /// All levels that have a value, the one in force first.
    pub synonyms: Vec<Synonym>,
}

impl Config {
    /// The settings in force for a topic.
    pub fn topic_settings(&self, overrides: &Overrides<'_>) -> TopicSettings {
        let values: Vec<Value> = TOPIC_KEYS.iter().map(|key| self.resolve_topic_key(key, overrides).value).collect();
        TopicSettings::from_values(&values)
    }

    /// One topic setting with its source and synonyms.
    pub fn resolve_topic_key(&self, key: &'static Key, overrides: &Overrides<'_>) -> Resolved {
        let mut synonyms = Vec::new();
        push_dynamic(&mut synonyms, key, overrides.topic, ConfigSource::Topic);
        if let Some(broker) = key.synonym().and_then(registry::broker_key) {
            self.push_broker_levels(&mut synonyms, broker, overrides);
        }
        match synonyms.first() {
            Some(first) if first.source != ConfigSource::Default => {
                Resolved { key, value: first.value.clone(), source: first.source, synonyms }
            }
            _ => {
                let (value, source) = self.other_unit(key).unwrap_or((key.default_value(), ConfigSource::Default));
                Resolved { key, value, source, synonyms }
            }
        }
    }

    /// One setting of a group with its source and synonyms; `own` is what is set on the group.
    pub fn resolve_group_key(&self, key: &'static Key, own: Option<&ConfigMap>, overrides: &Overrides<'_>) -> Resolved {
        let mut synonyms = Vec::new();
        push_dynamic(&mut synonyms, key, own, ConfigSource::Group);
        match key.synonym().and_then(|name| registry::broker_key(name).map(|broker| (name, broker))) {
            Some((_, broker)) => self.push_broker_levels(&mut synonyms, broker, overrides),
            None => {
                let name = key.synonym().unwrap_or(key.name);
                synonyms.push(Synonym { name, value: key.default_value(), source: ConfigSource::Default });
            }
        }
        let (value, source) = synonyms.first().map_or((Value::Unset, ConfigSource::Default), |first| (first.value.clone(), first.source));
        Resolved { key, value, source, synonyms }
    }

    /// One setting of a client metrics subscription; its default is no synonym, as in Kafka.
    pub fn resolve_client_metrics_key(&self, key: &'static Key, own: Option<&ConfigMap>) -> Resolved {
        let mut synonyms = Vec::new();
        push_dynamic(&mut synonyms, key, own, ConfigSource::ClientMetrics);
        match synonyms.first() {
            Some(first) => Resolved { key, value: first.value.clone(), source: first.source, synonyms },
            None => Resolved { key, value: key.default_value(), source: ConfigSource::Default, synonyms },
        }
    }

    /// One broker setting with its source and synonyms.
    pub fn resolve_broker_key(&self, key: &'static Key, overrides: &Overrides<'_>) -> Resolved {
        let mut synonyms = Vec::new();
        self.push_broker_levels(&mut synonyms, key, overrides);
        match synonyms.first() {
            Some(first) => Resolved { key, value: first.value.clone(), source: first.source, synonyms },
            None => Resolved { key, value: Value::Unset, source: ConfigSource::Default, synonyms },
        }
    }

    fn push_broker_levels(&self, synonyms: &mut Vec<Synonym>, key: &'static Key, overrides: &Overrides<'_>) {
        push_dynamic(synonyms, key, overrides.broker, ConfigSource::DynamicBroker);
        push_dynamic(synonyms, key, overrides.cluster, ConfigSource::DynamicDefaultBroker);
        if let Some((_, entry)) = self.entry(key.name)
            && entry.source != Source::Default
            && entry.value != Value::Unset
        {
            synonyms.push(Synonym { name: key.name, value: entry.value.clone(), source: ConfigSource::StaticBroker });
        }
        if let value @ (Value::Bool(_) | Value::Int(_) | Value::Double(_) | Value::Text(_) | Value::List(_)) = key.default_value() {
            synonyms.push(Synonym { name: key.name, value, source: ConfigSource::Default });
        }
    }

    /// Ages that the broker's file gives in minutes or hours. They are no synonyms, whose values must have the key's unit.
    fn other_unit(&self, key: &Key) -> Option<(Value, ConfigSource)> {
        let (value, names): (i64, &[&str]) = match key.name {
            "retention.ms" => (self.retention_ms(), &["log.retention.minutes", "log.retention.hours"]),
            "segment.ms" => (self.roll_ms(), &["log.roll.hours"]),
            "segment.jitter.ms" => (self.roll_jitter_ms(), &["log.roll.jitter.hours"]),
            _ => return None,
        };
        let is_set = names.iter().any(|name| self.entry(name).is_some_and(|(_, e)| e.source != Source::Default));
        Some((Value::Int(value), if is_set { ConfigSource::StaticBroker } else { ConfigSource::Default }))
    }
}

fn push_dynamic(synonyms: &mut Vec<Synonym>, key: &'static Key, map: Option<&ConfigMap>, source: ConfigSource) {
    if let Some(text) = map.and_then(|m| m.get(key.name))
        && let Ok(value) = key.parse(text)
    {
        synonyms.push(Synonym { name: key.name, value, source });
    }
}
