//! The controller: turns each admin request or event into metadata records (decide), has them committed, and applies them (replay).
//!
//! `request` holds what can be asked and the answers, `record` the nouns of the metadata log, `replay` their meaning. The decisions
//! are pure functions of (image, request, limits, randomness): `decide`, `topic`, `partitions`, `config`, `broker`, `producer_id`, `election`, `features`,
//! `reassign`.
//! `driver` runs them on the metadata shard, `client` is how every shard asks.

pub mod broker;
pub mod client;
pub mod client_quota;
pub mod config;
pub mod decide;
#[cfg(test)]
mod decide_tests;
pub mod driver;
pub mod election;
pub mod features;
pub mod partitions;
pub mod placement;
pub mod producer_id;
pub mod reassign;
pub mod record;
pub mod replay;
pub mod request;
pub mod rules;
#[cfg(test)]
pub(crate) mod testing;
pub mod topic;

pub use client::{ControllerClient, ControllerTransport};
pub use decide::{ConfigValidator, ControllerLimits, Randomness};
pub use driver::{Controller, SystemRandom};
pub use record::MetadataRecord;
pub use request::{
    ApiError, BrokerRegistration, ConfigAlteration, ControllerError, ControllerRequest, ControllerResponse, CreatedTopic, DeletedTopic,
    NewPartitions, NewTopic, QuotaAlteration, TopicSelector,
};
