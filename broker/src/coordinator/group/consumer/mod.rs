//! Groups of the consumer protocol (KIP-848): the coordinator assigns, members follow by heartbeats.
//!
//! What the group is, is what the log says: [`ConsumerState`], in the durable image. Decisions (`heartbeat`, `leave`, `classic`, `convert`)
//! are made on it through a [`draft::Draft`], whose records are appended as one batch; `slot` lets one write of a group be under way at a
//! time, so every decision sees all the decisions before it. The live [`ConsumerGroup`] holds only what a restart may forget.
//!
//! ```text
//!  heartbeat -> member -> subscriptions -> epoch -> target (assignor) -> reconcile -> records -> [log] -> replay -> answer
//! ```

mod assignor;
mod classic;
mod convert;
mod deadline;
mod describe;
mod draft;
mod heartbeat;
mod leave;
mod reconcile;
mod regex;
mod slot;
mod state;
mod target;

use std::collections::BTreeSet;
use std::rc::Rc;

use coreline_wire::error_code::ErrorCode;

pub use assignor::Assignor;
pub(crate) use regex::Regexes;
pub use regex::Search;
pub(super) use slot::{ConsumerWrite, Waiting};
pub use state::{ConsumerGroupState, ConsumerState};

use crate::coordinator::Now;
use crate::coordinator::cluster::Cluster;
use crate::coordinator::config::GroupConfig;

/// What a live consumer group has beside what the log says of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConsumerGroup {
    /// Its name.
    pub id: Rc<str>,
    /// Subscribed topics may not be what they were when the epoch rose last.
    pub(super) stale: bool,
    /// Classic members that were told to rejoin and have a deadline for it.
    pub(super) rejoining: BTreeSet<String>,
}

impl ConsumerGroup {
    /// A group that has just come into memory.
    pub(super) fn new(id: Rc<str>) -> Self {
        ConsumerGroup { id, stale: true, rejoining: BTreeSet::new() }
    }
}

/// What a decision may look at.
struct View<'a> {
    now: Now,
    config: &'a GroupConfig,
    cluster: &'a Cluster,
    regexes: &'a Regexes,
    group_id: &'a str,
    /// See [`ConsumerGroup::stale`].
    stale: bool,
}

impl View<'_> {
    /// Setting of the group, or of the broker.
    fn session_timeout_ms(&self) -> i32 {
        let config = self.config;
        let own = self.cluster.group_setting(self.group_id, SESSION_TIMEOUT);
        own.unwrap_or(config.consumer_session_timeout_ms).clamp(
            config.consumer_min_session_timeout_ms,
            config.consumer_max_session_timeout_ms.max(config.consumer_min_session_timeout_ms),
        )
    }

    /// Setting of the group, or of the broker.
    fn heartbeat_interval_ms(&self) -> i32 {
        let config = self.config;
        let own = self.cluster.group_setting(self.group_id, HEARTBEAT_INTERVAL);
        let max = config.consumer_max_heartbeat_interval_ms.max(config.consumer_min_heartbeat_interval_ms);
        own.unwrap_or(config.consumer_heartbeat_interval_ms).clamp(config.consumer_min_heartbeat_interval_ms, max)
    }
}

/// A group's own session timeout.
pub const SESSION_TIMEOUT: &str = "consumer.session.timeout.ms";
/// A group's own heartbeat interval.
pub const HEARTBEAT_INTERVAL: &str = "consumer.heartbeat.interval.ms";

/// Why a decision does not come about.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Verdict {
    /// The request is refused.
    Refuse(ErrorCode, String),
    /// First it has to be known what this expression matches.
    Search(String),
}

impl Verdict {
    fn refuse<T>(error: ErrorCode, message: impl Into<String>) -> Result<T, Verdict> {
        Err(Verdict::Refuse(error, message.into()))
    }
}

/// A deadline that a decision sets or takes away, once it is durable.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Deadline {
    /// The member must be heard of.
    Session(String, i32),
    /// The member must give up partitions.
    Reconcile(String, Option<i32>),
    /// A classic member must send JoinGroup. Does not put off a deadline that runs.
    Rejoin(String, Option<i32>),
    /// A classic member must send SyncGroup.
    Sync(String, Option<i32>),
    /// The member is gone: none of the above.
    None(String),
}
