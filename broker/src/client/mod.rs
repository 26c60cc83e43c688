//! A small blocking Kafka client for the command line: connections, version negotiation, routing to leaders and coordinators, records, group membership.
//!
//! It speaks to any Kafka-protocol cluster and knows nothing of this broker's internals. One thread; every wait has a bound.
//!
//! | file | owns |
//! |---|---|
//! | `address`, `versions`, `backoff` | decisions: what an address is, which version is spoken, when to try again |
//! | `connection` | one socket: requests out, answers in, in order |
//! | `cluster` | all sockets: who answers what; retries |
//! | `metadata`, `offsets` | what there is, and from where to where |
//! | `partitioner`, `produce` | records to partitions, and batches to leaders |
//! | `records`, `fetch` | batches from leaders, and records out of them |
//! | `assign`, `member` | a member of a classic consumer group |
//! | `groups` | what a cluster knows of its groups |

pub(crate) mod address;
pub(crate) mod assign;
mod backoff;
pub(crate) mod cluster;
mod connection;
mod error;
pub(crate) mod fetch;
pub(crate) mod groups;
pub(crate) mod member;
pub(crate) mod metadata;
pub(crate) mod offsets;
pub(crate) mod partitioner;
pub(crate) mod produce;
pub(crate) mod records;
mod versions;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub(crate) use cluster::{Cluster, To};
pub(crate) use error::ClientError;
use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::StrBytes;
pub(crate) use versions::api_name;

/// A topic and a partition of it.
pub(crate) type Partition = (String, i32);

/// How to speak to a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Addresses to begin with, `HOST:PORT`.
    pub(crate) brokers: Vec<String>,
    /// What the client calls itself.
    pub(crate) client_id: String,
    /// Longest time for one operation, retries included.
    pub(crate) timeout: Duration,
    /// Raised when the user wants to end.
    pub(crate) stop: Stop,
}

/// Whether the user wants to end; waits on sockets end with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Raised?
    pub(crate) fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The flag itself, for a signal handler.
    pub(crate) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

/// Longest wait for a connection.
const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// Largest answer believed.
const FRAME_BYTES_MAX: usize = 256 << 20;
/// Largest payload of a batch after decompression.
const BATCH_BYTES_MAX: usize = 256 << 20;

/// Text for a message.
pub(crate) fn text(s: &str) -> StrBytes {
    StrBytes::from_string(s.to_string())
}

/// A topic's name for a message.
pub(crate) fn topic_name(s: &str) -> TopicName {
    TopicName(text(s))
}
