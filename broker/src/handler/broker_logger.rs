//! The BROKER_LOGGER resource of DescribeConfigs and IncrementalAlterConfigs: the log's levels of this broker, see `log_level.rs`.
//!
//! Sentences and codes were asked from Apache Kafka 4.3.1.

use coreline_wire::error_code::ErrorCode;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use kafka_protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use kafka_protocol::protocol::StrBytes;
use tracing::level_filters::LevelFilter;

use crate::config::Config;
use crate::config::alter::{AlterError, AlterOp};
use crate::log_level;

/// Number of the kind.
pub const BROKER_LOGGER: i8 = 8;
/// The source of such a value (KIP-412).
const DYNAMIC_BROKER_LOGGER: i8 = 6;

/// The type of a setting that has none.
const UNKNOWN_TYPE: i8 = 0;

/// A logger and its new level; none takes it away.
pub type Change = (String, Option<LevelFilter>);

/// Checks that the resource is this broker.
fn check_broker(config: &Config, name: &str) -> Result<(), AlterError> {
    let refuse = |message: String| Err(AlterError::new(ErrorCode::InvalidRequest, message));
    match name.parse::<i32>() {
        _ if name.is_empty() => refuse("Broker id must not be empty".to_owned()),
        Err(_) => refuse(format!("Node id must be an integer, but it is: {name}")),
        Ok(id) if id != config.node_id => refuse(format!("Unexpected broker id, expected {} but received {name}", config.node_id)),
        Ok(_) => Ok(()),
    }
}

/// Every logger, or those that were asked for.
pub fn describe(config: &Config, name: &str, keys: Option<&[StrBytes]>) -> Result<Vec<DescribeConfigsResourceResult>, AlterError> {
    check_broker(config, name)?;
    let wanted = |logger: &str| keys.is_none_or(|keys| keys.is_empty() || keys.iter().any(|key| key.as_str() == logger));
    let entry = |(logger, level): (&'static str, &'static str)| {
        DescribeConfigsResourceResult::default()
            .with_name(logger.into())
            .with_value(Some(level.into()))
            .with_config_source(DYNAMIC_BROKER_LOGGER)
            // Loggers have no type and no documentation, which Kafka tells as an empty one, asked or not.
            .with_config_type(UNKNOWN_TYPE)
            .with_documentation(Some(StrBytes::default()))
    };
    Ok(log_level::describe().into_iter().filter(|(logger, _)| wanted(logger)).map(entry).collect())
}

/// The changes that are asked for, or why not.
pub fn changes(config: &Config, asked: &AlterConfigsResource) -> Result<Vec<Change>, AlterError> {
    check_broker(config, &asked.resource_name)?;
    asked.configs.iter().map(|c| change(&c.name, c.config_operation, c.value.as_deref())).collect()
}

fn change(logger: &str, operation: i8, level: Option<&str>) -> Result<Change, AlterError> {
    let exists = || match log_level::LOGGERS.contains(&logger) {
        true => Ok(()),
        false => Err(AlterError::new(ErrorCode::InvalidConfig, format!("Logger {logger} does not exist!"))),
    };
    let refuse = |message: String| Err(AlterError::new(ErrorCode::InvalidRequest, message));
    match AlterOp::from_code(operation) {
        Some(AlterOp::Set) => {
            exists()?;
            let text = level.unwrap_or_default();
            let message = || {
                format!(
                    "Cannot set the log level of {logger} to {text} as it is not a supported log level. \
                     Valid log levels are DEBUG, ERROR, FATAL, INFO, TRACE, WARN"
                )
            };
            let level = log_level::parse(text).ok_or_else(|| AlterError::new(ErrorCode::InvalidConfig, message()))?;
            Ok((logger.to_owned(), Some(level)))
        }
        Some(AlterOp::Delete) if logger == log_level::ROOT => refuse("Removing the log level of the root logger is not allowed".to_owned()),
        Some(AlterOp::Delete) => exists().map(|()| (logger.to_owned(), None)),
        Some(AlterOp::Append) => refuse("APPEND operation is not allowed for the BROKER_LOGGER resource".to_owned()),
        Some(AlterOp::Subtract) => refuse("SUBTRACT operation is not allowed for the BROKER_LOGGER resource".to_owned()),
        None => refuse(format!("Unknown config operation {operation}")),
    }
}

/// Puts changes in force.
pub fn apply(changes: &[Change]) {
    log_level::alter(changes.iter().map(|(logger, level)| (logger.as_str(), *level)));
    for (logger, level) in changes {
        tracing::info!(logger, level = level.map_or("as root".to_owned(), |level| level.to_string()), "log level changed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_changes_are_refused_in_kafkas_words() {
        let code = |logger, operation, level| change(logger, operation, level).map_err(|e| (e.code.code(), e.message));
        assert_eq!(code("no.such", 0, Some("DEBUG")), Err((40, "Logger no.such does not exist!".to_string())));
        assert_eq!(code("no.such", 1, None), Err((40, "Logger no.such does not exist!".to_string())));
        let words = "Cannot set the log level of root to LOUD as it is not a supported log level. \
                     Valid log levels are DEBUG, ERROR, FATAL, INFO, TRACE, WARN";
        assert_eq!(code("root", 0, Some("LOUD")), Err((40, words.to_string())));
        assert_eq!(code("root", 1, None), Err((42, "Removing the log level of the root logger is not allowed".to_string())));
        assert_eq!(code("root", 2, Some("INFO")), Err((42, "APPEND operation is not allowed for the BROKER_LOGGER resource".to_string())));
        assert_eq!(code("coreline_storage", 0, Some("TRACE")), Ok(("coreline_storage".to_string(), Some(LevelFilter::TRACE))));
        assert_eq!(code("coreline_storage", 1, None), Ok(("coreline_storage".to_string(), None)));
    }

    #[test]
    fn only_this_broker_has_loggers() {
        let config = Config::default();
        let described = describe(&config, "1", None).expect("this broker");
        assert_eq!(described.len(), log_level::LOGGERS.len());
        assert!(described.iter().all(|entry| entry.config_source == 6 && !entry.read_only));
        let one = describe(&config, "1", Some(&["root".into(), "x".into()])).expect("this broker");
        assert_eq!(one.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), ["root"]);
        for name in ["", "2", "x"] {
            assert_eq!(describe(&config, name, None).map_err(|e| e.code), Err(ErrorCode::InvalidRequest), "{name:?}");
        }
    }
}
