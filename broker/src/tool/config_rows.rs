//! Configurations of topics, brokers and groups as rows, read by DescribeConfigs and changed by IncrementalAlterConfigs.

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{DescribeConfigsRequest, IncrementalAlterConfigsRequest};
use serde::Serialize;

use super::out::{Row, or_dash};
use crate::client::{ClientError, Cluster, To, text};

/// What a configuration belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    Topic(String),
    /// A broker's own settings.
    Broker(i32),
    /// What holds for all brokers.
    Brokers,
    Group(String),
}

impl Resource {
    fn kind(&self) -> i8 {
        match self {
            Resource::Topic(_) => 2,
            Resource::Broker(_) | Resource::Brokers => 4,
            Resource::Group(_) => 32,
        }
    }

    fn name(&self) -> String {
        match self {
            Resource::Topic(name) | Resource::Group(name) => name.clone(),
            Resource::Broker(id) => id.to_string(),
            Resource::Brokers => String::new(),
        }
    }

    fn to(&self) -> To {
        match self {
            Resource::Broker(id) => To::Node(*id),
            Resource::Group(group) => To::Coordinator(group.clone()),
            _ => To::Any,
        }
    }
}

impl std::fmt::Display for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Resource::Topic(name) => write!(f, "topic '{name}'"),
            Resource::Broker(id) => write!(f, "broker {id}"),
            Resource::Brokers => f.write_str("all brokers"),
            Resource::Group(name) => write!(f, "group '{name}'"),
        }
    }
}

/// One setting.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ConfigRow {
    pub(crate) name: String,
    /// Null when it is not set or hidden.
    pub(crate) value: Option<String>,
    /// Who set it: `default`, `topic`, `broker`, `brokers`, `file`, `group`, ...
    pub(crate) source: &'static str,
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) read_only: bool,
    pub(crate) sensitive: bool,
}

impl Row for ConfigRow {
    const HEAD: &'static [&'static str] = &["CONFIG", "VALUE", "SOURCE"];
    fn cells(&self) -> Vec<String> {
        let value = if self.sensitive { "(hidden)".to_string() } else { or_dash(self.value.as_ref().filter(|v| !v.is_empty())) };
        vec![self.name.clone(), value, self.source.to_string()]
    }
}

/// Names of Kafka's config sources.
fn source(code: i8) -> &'static str {
    match code {
        1 => "topic",
        2 => "broker",
        3 => "brokers",
        4 => "file",
        5 => "default",
        6 => "broker-logger",
        7 => "client-metrics",
        8 => "group",
        _ => "unknown",
    }
}

fn kind(code: i8) -> &'static str {
    match code {
        1 => "boolean",
        2 => "string",
        3 => "int",
        4 => "short",
        5 => "long",
        6 => "double",
        7 => "list",
        8 => "class",
        9 => "password",
        _ => "unknown",
    }
}

/// Reads the settings of a resource, by name; `names` of none means all.
pub(crate) fn describe(cluster: &mut Cluster, resource: &Resource, names: Option<&[String]>) -> Result<Vec<ConfigRow>, ClientError> {
    let make = |_| {
        let ask = DescribeConfigsResource::default()
            .with_resource_type(resource.kind())
            .with_resource_name(text(&resource.name()))
            .with_configuration_keys(names.map(|names| names.iter().map(|n| text(n)).collect()));
        DescribeConfigsRequest::default().with_resources(vec![ask])
    };
    let mut rows = cluster.ask(&resource.to(), make, |answer| {
        let Some(result) = answer.results.into_iter().next() else { return Ok(Vec::new()) };
        let missing = matches!((result.error_code, resource), (3, Resource::Topic(_)));
        if let (true, Resource::Topic(topic)) = (missing, resource) {
            return Err(ClientError::NoTopic { topic: topic.clone() });
        }
        ClientError::check(result.error_code, result.error_message.as_deref(), || format!("settings of {resource}"))?;
        Ok(result.configs.iter().map(row).collect::<Vec<_>>())
    })?;
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(rows)
}

fn row(config: &DescribeConfigsResourceResult) -> ConfigRow {
    ConfigRow {
        name: config.name.to_string(),
        value: config.value.as_ref().filter(|_| !config.is_sensitive).map(|v| v.to_string()),
        source: source(config.config_source),
        kind: kind(config.config_type),
        read_only: config.read_only,
        sensitive: config.is_sensitive,
    }
}

/// A change of one setting; `None` goes back to the default.
pub(crate) type Change = (String, Option<String>);

/// Changes settings of a resource; `dry_run` only asks whether it would work.
pub(crate) fn alter(cluster: &mut Cluster, resource: &Resource, changes: &[Change], dry_run: bool) -> Result<(), ClientError> {
    let make = |_| {
        let configs = changes.iter().map(|(name, value)| {
            AlterableConfig::default()
                .with_name(text(name))
                .with_config_operation(i8::from(value.is_none()))
                .with_value(value.as_deref().map(text))
        });
        let resource = AlterConfigsResource::default()
            .with_resource_type(resource.kind())
            .with_resource_name(text(&resource.name()))
            .with_configs(configs.collect());
        IncrementalAlterConfigsRequest::default().with_resources(vec![resource]).with_validate_only(dry_run)
    };
    let to = match resource {
        Resource::Broker(id) => To::Node(*id),
        _ => To::Controller,
    };
    cluster.ask(&to, make, |answer| {
        let Some(result) = answer.responses.into_iter().next() else { return Ok(()) };
        if let (3, Resource::Topic(topic)) = (result.error_code, resource) {
            return Err(ClientError::NoTopic { topic: topic.clone() });
        }
        ClientError::check(result.error_code, result.error_message.as_deref(), || format!("changing settings of {resource}"))
    })
}
