//! What the cluster looks like, as an immutable value, and how every shard is told of a change.
//!
//! `image` is the value, `delta` what a run of records changed in it, `publish` the order in which both reach the shards,
//! `topic_name` what a topic may be called,
//! `shared_map` the map that lets two versions of an image share what did not change.

pub mod client_quota;
pub mod delta;
pub mod image;
pub mod publish;
pub mod shared_map;
pub mod topic_name;

pub use delta::MetadataDelta;
pub use image::{BrokerImage, ConfigResource, ConfigResourceKind, Endpoint, ImagePosition, MetadataImage, PartitionImage, TopicImage};
pub use publish::{Publication, Publisher};
