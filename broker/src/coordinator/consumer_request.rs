//! What members and administrators of consumer groups ask (KIP-848), and the answers: owned and `Send`, like all of `request`.

use std::collections::BTreeSet;

use coreline_wire::TopicId;
use coreline_wire::error_code::ErrorCode;

use super::consumer_record::{OwnedPartitions, Partitions};

/// A member is alive, tells what changed of itself, and takes in what changed for it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ConsumerHeartbeat {
    /// The group.
    pub group_id: String,
    /// Made by the client from version 1 (KIP-1082); may be empty with epoch 0 before.
    pub member_id: String,
    /// 0 joins, -1 leaves, -2 leaves for a while (static members).
    pub member_epoch: i32,
    /// KIP-345: its static name.
    pub instance_id: Option<String>,
    /// Its rack.
    pub rack_id: Option<String>,
    /// How long it may take to give up partitions; -1 when it did not change.
    pub rebalance_timeout_ms: i32,
    /// Topics subscribed by name; `None` when they did not change.
    pub topics: Option<BTreeSet<String>>,
    /// The expression subscribed; `None` when it did not change, empty to take it back.
    pub regex: Option<String>,
    /// The assignor that it prefers; `None` when it did not change.
    pub assignor: Option<String>,
    /// What it owns; `None` when it did not change.
    pub owned: Option<Partitions>,
    /// The client's name for itself.
    pub client_id: String,
    /// Its address, `/127.0.0.1`.
    pub client_host: String,
    /// Version 0: the coordinator makes the id of a new member.
    pub may_lack_id: bool,
}

/// What a heartbeat comes to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ConsumerHeartbeatAnswer {
    /// Outcome.
    pub error: ErrorCode,
    /// Why it was refused, for people.
    pub message: Option<String>,
    /// The member's id, maybe just made.
    pub member_id: Option<String>,
    /// The epoch that its next heartbeat carries.
    pub member_epoch: i32,
    /// When that is due.
    pub heartbeat_interval_ms: i32,
    /// What it has now; `None` when that did not change.
    pub assignment: Option<Partitions>,
}

impl ConsumerHeartbeatAnswer {
    /// A refusal.
    pub fn error(error: ErrorCode, message: Option<String>) -> Self {
        ConsumerHeartbeatAnswer { error, message, ..ConsumerHeartbeatAnswer::default() }
    }
}

/// A consumer group, described.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ConsumerDescribeAnswer {
    /// Outcome.
    pub error: ErrorCode,
    /// Why it was refused, for people.
    pub message: Option<String>,
    /// `Empty`, `Assigning`, `Reconciling` or `Stable`; empty with an error.
    pub state: String,
    /// Its epoch.
    pub epoch: i32,
    /// Epoch of the target assignment.
    pub assignment_epoch: i32,
    /// The assignor in use.
    pub assignor: String,
    /// Its members.
    pub members: Vec<DescribedConsumer>,
}

impl ConsumerDescribeAnswer {
    /// A refusal.
    pub fn error(error: ErrorCode, message: Option<String>) -> Self {
        ConsumerDescribeAnswer { error, message, ..ConsumerDescribeAnswer::default() }
    }
}

/// A member, described.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DescribedConsumer {
    /// Its id.
    pub member_id: String,
    /// Its static name.
    pub instance_id: Option<String>,
    /// Its rack.
    pub rack_id: Option<String>,
    /// Its epoch.
    pub epoch: i32,
    /// The client's name for itself.
    pub client_id: String,
    /// Its address.
    pub client_host: String,
    /// Topics subscribed by name.
    pub topics: Vec<String>,
    /// The expression subscribed.
    pub regex: Option<String>,
    /// What it has.
    pub assignment: Vec<TopicShare>,
    /// What it is to have.
    pub target: Vec<TopicShare>,
    /// It speaks the classic protocol.
    pub is_classic: bool,
}

/// Partitions of one topic.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TopicShare {
    /// The topic's id.
    pub id: TopicId,
    /// Its name.
    pub name: String,
    /// The partitions.
    pub partitions: Vec<i32>,
}

/// Partitions without the epochs at which they were got.
pub fn without_epochs(owned: &OwnedPartitions) -> Partitions {
    owned.iter().map(|(topic, partitions)| (*topic, partitions.keys().copied().collect())).collect()
}
