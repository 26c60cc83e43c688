//! The decision behind AlterConfigs and IncrementalAlterConfigs: what was asked and what is set now give the new set, or the error Kafka gives.
//!
//! CreateTopics validates its configs here too. Nothing is written: the controller puts the result into the metadata log.

use std::collections::BTreeSet;

use coreline_wire::error_code::ErrorCode;

use super::key::{Applies, Key, Kind};
use super::topic::{ConfigMap, Overrides};
use super::value::{Value, parse_list};
use super::{Config, registry, resource_keys};

/// What an entry of IncrementalAlterConfigs does (KIP-339).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlterOp {
    /// Sets the value.
    Set,
    /// Removes it, so that the next level counts.
    Delete,
    /// Adds items to a list.
    Append,
    /// Takes items out of a list.
    Subtract,
}

impl AlterOp {
    /// The operation by its number on the wire.
    pub fn from_code(code: i8) -> Option<AlterOp> {
        [AlterOp::Set, AlterOp::Delete, AlterOp::Append, AlterOp::Subtract].get(usize::try_from(code).ok()?).copied()
    }

    fn name(self) -> &'static str {
        match self {
            AlterOp::Set => "SET",
            AlterOp::Delete => "DELETE",
            AlterOp::Append => "APPEND",
            AlterOp::Subtract => "SUBTRACT",
        }
    }
}

/// One entry of IncrementalAlterConfigs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlterEntry {
    /// The key.
    pub name: String,
    /// What to do.
    pub op: AlterOp,
    /// The value; may be absent only for [`AlterOp::Delete`].
    pub value: Option<String>,
}

/// What a set of dynamic settings belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A topic.
    Topic,
    /// One broker, or all of them.
    Broker,
    /// A group.
    Group,
    /// A client metrics subscription.
    ClientMetrics,
}

impl Scope {
    fn key(self, name: &str) -> Option<&'static Key> {
        match self {
            Scope::Topic => registry::topic_key(name),
            Scope::Broker => registry::broker_key(name),
            Scope::Group => registry::group_key(name),
            Scope::ClientMetrics => registry::client_metrics_key(name),
        }
    }

    /// What Kafka answers to a key that there is not.
    fn unknown(self, name: &str) -> AlterError {
        let (code, what) = match self {
            Scope::Topic => (ErrorCode::InvalidConfig, "topic config name"),
            // Diverges: Kafka stores unknown broker configs; nothing here would ever read them.
            Scope::Broker => (ErrorCode::InvalidConfig, "broker config name"),
            Scope::Group => (ErrorCode::InvalidConfig, "group config name"),
            Scope::ClientMetrics => (ErrorCode::InvalidRequest, "client metrics configuration"),
        };
        AlterError::new(code, format!("Unknown {what}: {name}"))
    }

    /// Whether a key takes APPEND and SUBTRACT. Kafka knows no lists of groups and subscriptions.
    fn is_list(self, key: &Key) -> bool {
        key.kind == Kind::List && matches!(self, Scope::Topic | Scope::Broker)
    }
}

/// Why an alteration is refused, in the words that are sent to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlterError {
    /// The error code.
    pub code: ErrorCode,
    /// The message.
    pub message: String,
}

impl AlterError {
    /// An error with its message.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> AlterError {
        AlterError { code, message: message.into() }
    }
}

/// AlterConfigs (legacy): the entries become the whole set.
pub fn replace<'a>(scope: Scope, entries: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) -> Result<ConfigMap, AlterError> {
    let mut result = ConfigMap::new();
    for (name, value) in entries {
        let Some(value) = value else {
            return Err(AlterError::new(ErrorCode::InvalidRequest, format!("Null value not supported for : {name}")));
        };
        if result.insert(name.into(), value.into()).is_some() {
            return Err(AlterError::new(ErrorCode::InvalidRequest, "Error due to duplicate config keys"));
        }
    }
    let result = canonical(scope, result)?;
    fits_together(scope, &result)?;
    Ok(result)
}

/// Checks one override of a topic; the error is the sentence for the client.
pub fn validate_topic_config(name: &str, value: &str) -> Result<(), String> {
    replace(Scope::Topic, [(name, Some(value))]).map(|_| ()).map_err(|error| error.message)
}

/// IncrementalAlterConfigs: applies the entries to the set of today. `overrides` gives the effective value that a list operation starts from
/// when the resource itself has none.
pub fn incremental(
    config: &Config,
    scope: Scope,
    current: &ConfigMap,
    overrides: &Overrides<'_>,
    entries: &[AlterEntry],
) -> Result<ConfigMap, AlterError> {
    let mut names = BTreeSet::new();
    if !entries.iter().all(|entry| names.insert(entry.name.as_str())) {
        return Err(AlterError::new(ErrorCode::InvalidRequest, "Error due to duplicate config keys"));
    }
    let mut result = current.clone();
    for entry in entries {
        match (entry.op, &entry.value) {
            // DELETE of a key that is unknown or not set is fine.
            (AlterOp::Delete, _) => {
                result.remove(entry.name.as_str());
            }
            (_, None) => {
                return Err(AlterError::new(ErrorCode::InvalidRequest, format!("Null value not supported for : {}", entry.name)));
            }
            (AlterOp::Set, Some(value)) => {
                result.insert(entry.name.as_str().into(), value.as_str().into());
            }
            (AlterOp::Append | AlterOp::Subtract, Some(value)) => {
                let key = scope.key(&entry.name).filter(|key| scope.is_list(key));
                let Some(key) = key else {
                    let (op, name) = (entry.op.name(), &entry.name);
                    let message = match scope {
                        Scope::Broker => format!("Config value {} is not allowed for config key: {name}", op.to_lowercase()),
                        _ => format!("Can't {op} to key {name} because its type is not LIST."),
                    };
                    return Err(AlterError::new(ErrorCode::InvalidConfig, message));
                };
                let mut items = match current.get(entry.name.as_str()) {
                    Some(text) => parse_list(text),
                    None => match effective(config, scope, key, overrides) {
                        Value::List(items) => items,
                        _ => Vec::new(),
                    },
                };
                let given = parse_list(value);
                if entry.op == AlterOp::Append {
                    for item in given {
                        if !items.contains(&item) {
                            items.push(item);
                        }
                    }
                } else {
                    items.retain(|item| !given.contains(item));
                }
                result.insert(entry.name.as_str().into(), items.join(",").into());
            }
        }
    }
    let named = |name: &str| entries.iter().any(|entry| entry.name == name);
    let touched = result.iter().filter(|(name, _)| named(name)).map(|(k, v)| (k.clone(), v.clone())).collect();
    result.extend(canonical(scope, touched)?);
    fits_together(scope, &result)?;
    Ok(result)
}

fn effective(config: &Config, scope: Scope, key: &'static Key, overrides: &Overrides<'_>) -> Value {
    match scope {
        Scope::Topic => config.resolve_topic_key(key, overrides).value,
        _ => config.resolve_broker_key(key, overrides).value,
    }
}

/// Checks a whole set and writes each value in canonical form, so that every reader of the metadata log sees the same text.
fn canonical(scope: Scope, map: ConfigMap) -> Result<ConfigMap, AlterError> {
    refuse_restart_keys(scope, map.keys().map(AsRef::as_ref))?;
    let mut result = ConfigMap::new();
    for (name, text) in map {
        let Some(key) = scope.key(&name) else { return Err(scope.unknown(&name)) };
        match key.parse(&text) {
            Ok(value) => result.insert(name, value.to_string().into()),
            Err(reason) => {
                // Kafka answers 42 for brokers and 40 for the others.
                let code = if scope == Scope::Broker { ErrorCode::InvalidRequest } else { ErrorCode::InvalidConfig };
                return Err(AlterError::new(code, format!("Invalid value {} for configuration {name}: {reason}", key.refused_part(&text))));
            }
        };
    }
    Ok(result)
}

/// Checks the whole set of a group or of a subscription, once it is known.
pub fn check_set(config: &Config, scope: Scope, set: &ConfigMap) -> Result<(), AlterError> {
    match scope {
        Scope::Group => resource_keys::check_group(config, set),
        Scope::ClientMetrics => resource_keys::check_client_metrics(set),
        Scope::Topic | Scope::Broker => Ok(()),
    }
}

/// Checks that the values of a topic do not exclude each other.
fn fits_together(scope: Scope, map: &ConfigMap) -> Result<(), AlterError> {
    let number = |name: &str| map.get(name).and_then(|text| text.parse::<i64>().ok());
    match (number("min.compaction.lag.ms"), number("max.compaction.lag.ms")) {
        (Some(min), Some(max)) if scope == Scope::Topic && min > max => {
            let message = format!("conflict topic config setting min.compaction.lag.ms ({min}) > max.compaction.lag.ms ({max})");
            Err(AlterError::new(ErrorCode::InvalidConfig, message))
        }
        _ => Ok(()),
    }
}

fn refuse_restart_keys<'a>(scope: Scope, names: impl IntoIterator<Item = &'a str>) -> Result<(), AlterError> {
    let fixed = |name: &&str| scope.key(name).is_some_and(|key| key.applies() == Applies::Restart);
    let names: Vec<&str> = names.into_iter().filter(fixed).collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(AlterError::new(ErrorCode::InvalidRequest, format!("Cannot update these configs dynamically: [{}]", names.join(", "))))
}

#[cfg(test)]
mod tests;
