//! What the configuration says to the controller: which topic configurations exist, and the defaults of a new topic.
//!
//! Callers: start-up, which hands both to the driver.

use super::decide::{ConfigValidator, ControllerLimits};
use crate::config::{Config, alter};

/// The topic configurations of the registry.
#[derive(Clone, Copy, Debug, Default)]
pub struct RegisteredConfigs;

impl ConfigValidator for RegisteredConfigs {
    fn validate_topic_config(&self, key: &str, value: &str) -> Result<(), String> {
        alter::validate_topic_config(key, value)
    }
}

impl ControllerLimits {
    /// The limits with the defaults of new topics from the configuration.
    pub fn from_config(config: &Config) -> ControllerLimits {
        ControllerLimits {
            partitions_default: config.num_partitions,
            replication_factor_default: i16::try_from(config.default_replication_factor).unwrap_or(i16::MAX),
            ..ControllerLimits::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentences_are_kafkas() {
        let check = |key, value| RegisteredConfigs.validate_topic_config(key, value);
        assert_eq!(check("retention.ms", "77"), Ok(()));
        assert_eq!(check("retention.ms", "-7"), Err("Invalid value -7 for configuration retention.ms: Value must be at least -1".into()));
        assert_eq!(check("foo", "1"), Err("Unknown topic config name: foo".into()));
    }

    #[test]
    fn new_topics_get_the_configured_defaults() {
        let config = Config::with(&["num.partitions=7", "default.replication.factor=3"]).expect("valid");
        let limits = ControllerLimits::from_config(&config);
        assert_eq!((limits.partitions_default, limits.replication_factor_default), (7, 3));
        assert_eq!(ControllerLimits::from_config(&Config::default()), ControllerLimits::default());
    }
}
