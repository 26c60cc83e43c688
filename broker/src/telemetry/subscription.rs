//! Which metrics a client is asked for: the subscriptions in the metadata that match it (KIP-714).
//!
//! A subscription is a configuration resource of kind client metrics with `metrics`, `interval.ms` and `match`; it is stored and checked where
//! configurations are.

use regex::bytes::Regex;

use crate::config::ConfigMap;
use crate::config::resource_keys::{ClientMetricsSettings, match_pattern};
use crate::metadata::{ConfigResourceKind, MetadataImage};

/// Interval of clients that no subscription matches, milliseconds.
pub const INTERVAL_MS_DEFAULT: i32 = 300_000;
/// Shortest interval that may be asked for.
const INTERVAL_MS_MIN: i32 = 100;

/// What is known of a client, in the words of `match`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ClientFacts {
    /// Its instance id, as text.
    pub instance_id: String,
    /// Client id.
    pub client_id: String,
    /// Name of its library.
    pub software_name: String,
    /// Version of its library.
    pub software_version: String,
    /// Its address.
    pub address: String,
    /// Its port.
    pub port: String,
}

impl ClientFacts {
    fn of(&self, key: &str) -> Option<&str> {
        match key {
            "client_instance_id" => Some(&self.instance_id),
            "client_id" => Some(&self.client_id),
            "client_software_name" => Some(&self.software_name),
            "client_software_version" => Some(&self.software_version),
            "client_source_address" => Some(&self.address),
            "client_source_port" => Some(&self.port),
            _ => None,
        }
    }
}

/// A subscription, ready to be matched.
#[derive(Debug)]
struct Subscription {
    metrics: Vec<String>,
    interval_ms: i32,
    patterns: Vec<(&'static str, Regex)>,
}

/// All subscriptions.
#[derive(Debug, Default)]
pub struct Subscriptions(Vec<Subscription>);

/// What one client is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Prefixes of names, sorted; a single `*` is everything, none is nothing.
    pub metrics: Vec<String>,
    /// How often it pushes.
    pub interval_ms: i32,
}

/// True when there is any subscription: then clients are told that the APIs are served.
pub fn any(image: &MetadataImage) -> bool {
    image.configs().any(|(resource, _)| resource.kind == ConfigResourceKind::ClientMetrics)
}

impl Subscriptions {
    /// Those of an image. One with a pattern that cannot be used matches nobody.
    pub fn of(image: &MetadataImage) -> Subscriptions {
        let of_kind = image.configs().filter(|(resource, _)| resource.kind == ConfigResourceKind::ClientMetrics);
        Subscriptions(of_kind.filter_map(|(_, configs)| subscription(configs)).collect())
    }

    /// What a client is asked for: all that its subscriptions name, as often as the most eager one wants.
    pub fn ask(&self, client: &ClientFacts) -> Asked {
        let fits = |subscription: &&Subscription| {
            subscription.patterns.iter().all(|(key, pattern)| client.of(key).is_some_and(|text| pattern.is_match(text.as_bytes())))
        };
        let mut asked = Asked { metrics: Vec::new(), interval_ms: INTERVAL_MS_DEFAULT };
        for subscription in self.0.iter().filter(fits) {
            asked.metrics.extend(subscription.metrics.iter().cloned());
            asked.interval_ms = asked.interval_ms.min(subscription.interval_ms);
        }
        asked.metrics.sort_unstable();
        asked.metrics.dedup();
        // `*` is everything.
        if asked.metrics.iter().any(|name| name == "*" || name.is_empty()) {
            asked.metrics = vec!["*".to_owned()];
        }
        asked
    }
}

fn subscription(configs: &ConfigMap) -> Option<Subscription> {
    let settings = ClientMetricsSettings::of(configs);
    let patterns = settings.match_patterns.iter().map(|pattern| match_pattern(pattern)).collect::<Option<Vec<_>>>()?;
    Some(Subscription { metrics: settings.metrics, interval_ms: settings.interval_ms.max(INTERVAL_MS_MIN), patterns })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn subscriptions(all: &[&[(&str, &str)]]) -> Subscriptions {
        let map = |one: &&[(&str, &str)]| one.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect::<ConfigMap>();
        Subscriptions(all.iter().map(map).filter_map(|configs| subscription(&configs)).collect())
    }

    #[test]
    fn a_client_is_asked_for_what_its_subscriptions_name_together() {
        let all = subscriptions(&[
            &[("metrics", "org.apache.kafka.producer., org.apache.kafka.consumer.fetch"), ("interval.ms", "60000")],
            &[
                ("metrics", "org.apache.kafka.producer."),
                ("interval.ms", "5000"),
                ("match", "client_id=app-[0-9]+,client_software_name=librdkafka"),
            ],
            &[("metrics", "*"), ("match", "client_id=everything")],
            &[("metrics", "never"), ("match", "client_id=([")],
            &[("metrics", "never"), ("match", "client_shoe_size=.*")],
        ]);
        let client =
            |id: &str, software: &str| ClientFacts { client_id: id.into(), software_name: software.into(), ..ClientFacts::default() };
        let asked = all.ask(&client("x", "apache-kafka-java"));
        assert_eq!((asked.metrics.len(), asked.interval_ms), (2, 60_000));
        assert_eq!(all.ask(&client("app-12", "librdkafka")).interval_ms, 5_000);
        assert_eq!(all.ask(&client("app-12x", "librdkafka")).interval_ms, 60_000, "the whole text must match");
        assert_eq!(all.ask(&client("everything", "")).metrics, ["*"]);
        assert_eq!(Subscriptions::default().ask(&client("x", "")), Asked { metrics: vec![], interval_ms: INTERVAL_MS_DEFAULT });
    }
}
