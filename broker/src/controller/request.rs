//! What the controller can be asked, and what it answers. All of it is owned and `Send`, since requests cross shards.
//!
//! Answers keep the order of the request's elements. Callers: handlers, the coordinator, start-up.

use coreline_wire::error_code::ErrorCode;
use coreline_wire::ids::{BrokerId, PartitionIndex, TopicId};

use super::election::{ElectionType, Elections, TopicPartitions};
use super::features::FeatureUpdate;
use super::reassign::Reassignment;
use crate::metadata::{ConfigResource, Endpoint};

/// A request to the controller.
#[derive(Clone, Debug, PartialEq)]
pub enum ControllerRequest {
    /// Create topics.
    CreateTopics {
        /// The topics, in the client's order.
        topics: Vec<NewTopic>,
        /// Decide and answer, but change nothing.
        validate_only: bool,
    },
    /// Delete topics and their configuration.
    DeleteTopics {
        /// By name or by id.
        topics: Vec<TopicSelector>,
    },
    /// Add partitions to topics.
    CreatePartitions {
        /// The topics and their new totals.
        topics: Vec<NewPartitions>,
        /// Decide and answer, but change nothing.
        validate_only: bool,
    },
    /// Set and remove overrides. Keys and values were validated by the caller.
    AlterConfigs {
        /// One per resource.
        resources: Vec<ConfigAlteration>,
        /// Decide and answer, but change nothing.
        validate_only: bool,
    },
    /// Set and remove client quotas.
    AlterClientQuotas {
        /// One per entity.
        entries: Vec<QuotaAlteration>,
        /// Decide and answer, but change nothing.
        validate_only: bool,
    },
    /// The next block of producer ids.
    AllocateProducerIds {
        /// The broker that will hand them out.
        broker: BrokerId,
    },
    /// A broker has started.
    RegisterBroker(BrokerRegistration),
    /// A broker goes away on purpose: it is fenced.
    FenceBroker {
        /// Its node id.
        id: BrokerId,
        /// The epoch its registration was answered with; an older one changes nothing.
        epoch: i64,
    },
    /// Elect leaders.
    ElectLeaders {
        /// Who shall lead.
        kind: ElectionType,
        /// Of which partitions; of all when `None`.
        topics: Option<Vec<TopicPartitions>>,
    },
    /// Move replicas, or cancel their moving.
    Reassign {
        /// What shall be where, in the client's order.
        partitions: Vec<Reassignment>,
        /// Whether a partition may get another number of replicas.
        factor_may_change: bool,
    },
    /// Change finalized levels of features; all of them or none.
    UpdateFeatures {
        /// The levels.
        updates: Vec<FeatureUpdate>,
        /// Decide and answer, but change nothing.
        validate_only: bool,
        /// The node that is asked, named in refusals.
        node: BrokerId,
    },
    /// Forget a broker that does not run.
    UnregisterBroker {
        /// Its node id.
        id: BrokerId,
    },
}

/// The answer to a [`ControllerRequest`], variant by variant.
#[derive(Clone, Debug, PartialEq)]
pub enum ControllerResponse {
    /// To `CreateTopics`.
    CreateTopics(Vec<Result<CreatedTopic, ApiError>>),
    /// To `DeleteTopics`. Both sides carry what is known of the topic.
    DeleteTopics(Vec<DeletedTopic>),
    /// To `CreatePartitions`.
    CreatePartitions(Vec<Result<(), ApiError>>),
    /// To `AlterConfigs`.
    AlterConfigs(Vec<Result<(), ApiError>>),
    /// To `AlterClientQuotas`: the distinct entities with what became of them.
    AlterClientQuotas(Vec<AlteredQuotas>),
    /// To `AllocateProducerIds`: ids `first .. first + len` belong to the caller alone.
    ProducerIds {
        /// First id of the block.
        first: i64,
        /// Number of ids.
        len: i32,
    },
    /// To `RegisterBroker`.
    BrokerRegistered {
        /// The broker epoch of this run of the broker.
        epoch: i64,
    },
    /// To `FenceBroker`.
    BrokerFenced,
    /// To `ElectLeaders`.
    ElectLeaders(Vec<Elections>),
    /// To `Reassign`.
    Reassign(Vec<Result<(), ApiError>>),
    /// To `UpdateFeatures`.
    UpdateFeatures(Result<(), ApiError>),
    /// To `UnregisterBroker`.
    UnregisterBroker(Result<(), ApiError>),
}

/// A topic to be created.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct NewTopic {
    /// Its name, not yet validated.
    pub name: String,
    /// Number of partitions; -1 for the broker's default, or when `assignments` is given.
    pub partitions: i32,
    /// Number of replicas; -1 for the broker's default, or when `assignments` is given.
    pub replication_factor: i16,
    /// Replicas by partition, if the client places them itself.
    pub assignments: Vec<(PartitionIndex, Vec<BrokerId>)>,
    /// Overrides.
    pub configs: Vec<(String, Option<String>)>,
}

impl NewTopic {
    /// A topic with the broker's default number of partitions and replicas.
    pub fn with_defaults(name: &str) -> NewTopic {
        NewTopic { name: name.to_owned(), partitions: -1, replication_factor: -1, ..NewTopic::default() }
    }
}

/// A created topic (or one that would be, with `validate_only`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its name.
    pub name: String,
    /// Its id; drawn and forgotten with `validate_only`.
    pub id: TopicId,
    /// Number of partitions.
    pub partitions: i32,
    /// Number of replicas of each.
    pub replication_factor: i16,
    /// Its overrides, sorted by key.
    pub configs: Vec<(String, String)>,
}

/// A topic to be deleted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TopicSelector {
    /// By name.
    Name(String),
    /// By id.
    Id(TopicId),
}

/// What became of a topic to be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedTopic {
    /// Its name, unless it was asked for by an id that does not exist.
    pub name: Option<String>,
    /// Its id, zero when it was asked for by a name that does not exist.
    pub id: TopicId,
    /// Deleted, or why not.
    pub result: Result<(), ApiError>,
}

/// A topic that grows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPartitions {
    /// The topic's name.
    pub name: String,
    /// Total number of partitions it shall have.
    pub count: i32,
    /// Replicas of each added partition, if the client places them itself.
    pub assignments: Option<Vec<Vec<BrokerId>>>,
}

/// The change of one resource's overrides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigAlteration {
    /// The resource.
    pub resource: ConfigResource,
    /// Overrides that are not in `entries` are removed (the non-incremental AlterConfigs).
    pub replace_all: bool,
    /// Key and value; `None` removes the override.
    pub entries: Vec<(String, Option<String>)>,
}

/// The change of one entity's quotas.
#[derive(Clone, Debug, PartialEq)]
pub struct QuotaAlteration {
    /// Type and name of each part as on the wire, not yet validated; no name is the default.
    pub entity: Vec<(String, Option<String>)>,
    /// Key and value; `None` removes the quota.
    pub ops: Vec<(String, Option<f64>)>,
}

/// An entity as asked, each type once, and what became of it.
pub type AlteredQuotas = (Vec<(String, Option<String>)>, Result<(), ApiError>);

/// What a broker says of itself when it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerRegistration {
    /// Its node id.
    pub id: BrokerId,
    /// Drawn anew at each start.
    pub incarnation: [u8; 16],
    /// Its advertised listeners; at least one.
    pub endpoints: Vec<Endpoint>,
    /// Its rack, if set.
    pub rack: Option<String>,
}

/// A Kafka error for one element of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// The code.
    pub code: ErrorCode,
    /// A sentence for a person.
    pub message: Option<String>,
}

impl ApiError {
    /// An error with a sentence.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> ApiError {
        ApiError { code, message: Some(message.into()) }
    }
}

/// Why the controller gave no answer at all. The request may or may not take effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControllerError {
    /// Too many requests wait for the controller; nothing was done.
    #[error("the controller has too many requests waiting")]
    Overloaded,
    /// This node does not lead the metadata quorum; nothing was done.
    #[error("this node is not the controller")]
    NotController,
    /// The deadline passed; the request may still take effect.
    #[error("the controller did not answer in time")]
    TimedOut,
    /// The broker is stopping.
    #[error("the controller is stopping")]
    Stopping,
    /// The metadata log failed; the process is about to end.
    #[error("the metadata log failed: {0}")]
    Failed(String),
}

impl ControllerError {
    /// The code a client is answered: one that it retries.
    pub fn code(&self) -> ErrorCode {
        match self {
            ControllerError::Overloaded | ControllerError::TimedOut => ErrorCode::RequestTimedOut,
            ControllerError::NotController | ControllerError::Stopping => ErrorCode::NotController,
            ControllerError::Failed(_) => ErrorCode::KafkaStorageError,
        }
    }
}

impl From<&ControllerError> for ApiError {
    fn from(error: &ControllerError) -> ApiError {
        ApiError::new(error.code(), error.to_string())
    }
}
