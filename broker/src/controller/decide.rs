//! The decision of any request: which file decides it, and what every decision is given and gives.
//!
//! A decision reads the image, draws from the given randomness, returns records and an answer, and touches nothing. Called by
//! `controller/driver.rs` with an image that holds all records decided before, committed or not.

use coreline_wire::ids::TopicId;

use super::record::MetadataRecord;
use super::request::{ControllerRequest, ControllerResponse};
use super::{broker, client_quota, config, election, features, partitions, producer_id, reassign, topic};
use crate::metadata::MetadataImage;

/// Records to be committed, and the answer that is given once they are.
#[must_use]
#[derive(Clone, Debug, PartialEq)]
pub struct Decision<T> {
    /// Take effect together, in order; none for a request that changes nothing.
    pub records: Vec<MetadataRecord>,
    /// The answer once they are committed, applied and published.
    pub answer: T,
}

impl<T> Decision<T> {
    /// The same records with a changed answer.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Decision<U> {
        Decision { records: self.records, answer: f(self.answer) }
    }
}

/// Defaults and bounds of decisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerLimits {
    /// `num.partitions`: for topics that do not say.
    pub partitions_default: i32,
    /// `default.replication.factor`: for topics that do not say.
    pub replication_factor_default: i16,
    /// Partitions that one request may create; above it the request is refused with POLICY_VIOLATION, as in Kafka.
    pub partitions_per_request_max: usize,
    /// Partitions of the whole cluster; above it creation is refused with POLICY_VIOLATION.
    pub partitions_max: usize,
}

impl Default for ControllerLimits {
    fn default() -> Self {
        ControllerLimits {
            partitions_default: 1,
            replication_factor_default: 1,
            partitions_per_request_max: 10_000,
            partitions_max: 1_000_000,
        }
    }
}

/// Knows which topic configurations exist and what they may be.
pub trait ConfigValidator {
    /// Checks one override of a topic; the error is the sentence for the client.
    fn validate_topic_config(&self, key: &str, value: &str) -> Result<(), String>;
}

/// Random bytes for ids: from the system in the broker, from a seed in tests.
pub trait Randomness {
    /// Sixteen random bytes.
    fn bytes16(&mut self) -> [u8; 16];

    /// A topic id: random, never one of the two that Kafka reserves, and never one that starts with a dash (tools would take it
    /// for an option).
    fn topic_id(&mut self) -> TopicId {
        loop {
            let mut bytes = self.bytes16();
            // A version 4 UUID, as Kafka draws them.
            bytes[6] = (bytes[6] & 0x0f) | 0x40;
            bytes[8] = (bytes[8] & 0x3f) | 0x80;
            let id = TopicId(bytes);
            if !id.to_string().starts_with('-') {
                return id;
            }
        }
    }
}

/// What a decision is given beside the image and the request.
pub struct Env<'a> {
    /// Defaults and bounds.
    pub limits: &'a ControllerLimits,
    /// Knows the topic configurations.
    pub configs: &'a dyn ConfigValidator,
    /// For ids.
    pub random: &'a mut dyn Randomness,
}

/// Decides one request.
pub fn decide(image: &MetadataImage, request: &ControllerRequest, env: &mut Env<'_>) -> Decision<ControllerResponse> {
    match request {
        ControllerRequest::CreateTopics { topics, validate_only } => {
            topic::create_topics(image, topics, *validate_only, env).map(ControllerResponse::CreateTopics)
        }
        ControllerRequest::DeleteTopics { topics } => topic::delete_topics(image, topics).map(ControllerResponse::DeleteTopics),
        ControllerRequest::CreatePartitions { topics, validate_only } => {
            partitions::create_partitions(image, topics, *validate_only, env.limits).map(ControllerResponse::CreatePartitions)
        }
        ControllerRequest::AlterConfigs { resources, validate_only } => {
            config::alter_configs(image, resources, *validate_only).map(ControllerResponse::AlterConfigs)
        }
        ControllerRequest::AlterClientQuotas { entries, validate_only } => {
            client_quota::alter_client_quotas(image, entries, *validate_only).map(ControllerResponse::AlterClientQuotas)
        }
        ControllerRequest::AllocateProducerIds { broker } => producer_id::allocate_block(image, *broker),
        ControllerRequest::RegisterBroker(registration) => broker::register(image, registration, env.random),
        ControllerRequest::FenceBroker { id, epoch } => broker::fence(image, *id, *epoch),
        ControllerRequest::ElectLeaders { kind, topics } => {
            election::elect_leaders(image, *kind, topics.as_deref()).map(ControllerResponse::ElectLeaders)
        }
        ControllerRequest::Reassign { partitions, factor_may_change } => {
            reassign::reassign(image, partitions, *factor_may_change).map(ControllerResponse::Reassign)
        }
        ControllerRequest::UpdateFeatures { updates, validate_only, node } => {
            features::update_features(image, updates, *validate_only, *node).map(ControllerResponse::UpdateFeatures)
        }
        ControllerRequest::UnregisterBroker { id } => broker::unregister(image, *id).map(ControllerResponse::UnregisterBroker),
    }
}
