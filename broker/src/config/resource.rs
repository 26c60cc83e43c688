//! Which settings a resource of the config APIs names: a topic, this broker, all brokers, a group, a subscription; or the error Kafka 4.3.1 gives.
//!
//! Callers: the handlers of DescribeConfigs, AlterConfigs and IncrementalAlterConfigs.

use coreline_wire::error_code::ErrorCode;

use super::Config;
use super::alter::{AlterError, Scope};
use crate::metadata::{ConfigResource, ConfigResourceKind, MetadataImage, topic_name};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

/// What the resource is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// An existing topic.
    Topic(&'a str),
    /// This broker.
    ThisBroker,
    /// The default of all brokers.
    AllBrokers,
    /// A group, which need not exist.
    Group(&'a str),
    /// A client metrics subscription, which need not exist.
    ClientMetrics(&'a str),
}

impl Target<'_> {
    /// Its key in the metadata image.
    pub fn resource(&self, config: &Config) -> ConfigResource {
        match self {
            Target::Topic(name) => ConfigResource::topic(name),
            Target::ThisBroker => ConfigResource::broker(config.node_id),
            Target::AllBrokers => ConfigResource::broker_default(),
            Target::Group(name) => ConfigResource { kind: ConfigResourceKind::Group, name: (*name).into() },
            Target::ClientMetrics(name) => ConfigResource { kind: ConfigResourceKind::ClientMetrics, name: (*name).into() },
        }
    }

    /// Which keys it takes.
    pub fn scope(&self) -> Scope {
        match self {
            Target::Topic(_) => Scope::Topic,
            Target::ThisBroker | Target::AllBrokers => Scope::Broker,
            Target::Group(_) => Scope::Group,
            Target::ClientMetrics(_) => Scope::ClientMetrics,
        }
    }
}

/// The resource of a DescribeConfigs entry.
pub fn to_describe<'a>(config: &Config, image: &MetadataImage, kind: i8, name: &'a str) -> Result<Target<'a>, AlterError> {
    let id = config.node_id;
    match kind {
        TOPIC => {
            topic_name::validate(name).map_err(|reason| AlterError::new(ErrorCode::InvalidTopicException, reason))?;
            // Kafka gives no message here, and clients show the code's own.
            existing(image, name).ok_or(AlterError { code: ErrorCode::UnknownTopicOrPartition, message: String::new() })
        }
        BROKER if name.is_empty() => Ok(Target::AllBrokers),
        BROKER if broker_id(name)? == id => Ok(Target::ThisBroker),
        BROKER => refuse(format!("Unexpected broker id, expected {id} or empty string, but received {name}")),
        CLIENT_METRICS if name.is_empty() => refuse("Client metrics subscription name must not be empty".into()),
        CLIENT_METRICS => Ok(Target::ClientMetrics(name)),
        GROUP if name.is_empty() => refuse("Group name must not be empty".into()),
        GROUP => Ok(Target::Group(name)),
        _ => refuse(format!("Unknown resource type {kind}")),
    }
}

/// The resource of an AlterConfigs or IncrementalAlterConfigs entry. Whether a topic exists is asked of [`check_exists`] once the settings
/// are found to be sound, in which order Kafka complains.
pub fn to_alter<'a>(config: &Config, kind: i8, name: &'a str) -> Result<Target<'a>, AlterError> {
    let id = config.node_id;
    match kind {
        TOPIC if name.is_empty() => refuse("Default topic resources are not allowed.".into()),
        TOPIC => {
            topic_name::validate(name).map_err(|reason| AlterError::new(ErrorCode::InvalidTopicException, reason))?;
            Ok(Target::Topic(name))
        }
        BROKER if name.is_empty() => Ok(Target::AllBrokers),
        BROKER => match name.parse::<i32>() {
            Ok(asked) if asked == id => Ok(Target::ThisBroker),
            Ok(_) => refuse(format!("Unexpected broker id, expected {id}, but received {name}")),
            Err(_) => refuse(format!("Node id must be an integer, but it is: {name}")),
        },
        CLIENT_METRICS if name.is_empty() => refuse("Subscription name can't be empty".into()),
        CLIENT_METRICS => Ok(Target::ClientMetrics(name)),
        GROUP if name.is_empty() => refuse("Default group resources are not allowed.".into()),
        GROUP => Ok(Target::Group(name)),
        _ => refuse(format!("Unknown resource type {kind}")),
    }
}

/// Refuses a topic that does not exist.
pub fn check_exists(image: &MetadataImage, target: &Target<'_>) -> Result<(), AlterError> {
    match target {
        Target::Topic(name) if image.topic_id(name).is_none() => {
            Err(AlterError::new(ErrorCode::UnknownTopicOrPartition, format!("The topic '{name}' does not exist.")))
        }
        _ => Ok(()),
    }
}

/// Whether there is such a kind of resource.
pub fn is_kind(kind: i8) -> bool {
    matches!(kind, TOPIC | BROKER | CLIENT_METRICS | GROUP)
}

fn existing<'a>(image: &MetadataImage, name: &'a str) -> Option<Target<'a>> {
    image.topic_id(name).map(|_| Target::Topic(name))
}

fn broker_id(name: &str) -> Result<i32, AlterError> {
    name.parse().map_err(|_| AlterError::new(ErrorCode::InvalidRequest, format!("Broker id must be an integer, but it is: {name}")))
}

fn refuse<T>(message: String) -> Result<T, AlterError> {
    Err(AlterError::new(ErrorCode::InvalidRequest, message))
}
