//! The consensus library's type parameters, chosen once for this broker.

use std::fmt;
use std::sync::Arc;

use super::runtime::GlommioRuntime;
use crate::controller::MetadataRecord;

openraft::declare_raft_types!(
    /// Types of the metadata quorum: node ids are broker ids, one leader per quorum epoch, payloads are record batches.
    pub QuorumTypes:
        D = RecordBatch,
        R = (),
        NodeId = u64,
        Node = openraft::impls::BasicNode,
        LeaderId = openraft::impls::leader_id_std::LeaderId<u64, u64>,
        AsyncRuntime = GlommioRuntime,
);

/// Records that are committed together. Clones share them.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RecordBatch(pub Arc<[MetadataRecord]>);

impl fmt::Display for RecordBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} records", self.0.len())
    }
}

impl fmt::Debug for RecordBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A batch may hold 10,000 records: never printed whole by the library's logs.
        fmt::Display::fmt(self, f)
    }
}

/// Id of a log entry: quorum epoch and index.
pub type LogId = openraft::type_config::alias::LogIdOf<QuorumTypes>;
/// A log entry.
pub type Entry = openraft::type_config::alias::EntryOf<QuorumTypes>;
/// A vote, possibly for a leader that a quorum has accepted.
pub type Vote = openraft::type_config::alias::VoteOf<QuorumTypes>;
/// Voters and observers of the quorum.
pub type Membership = openraft::Membership<u64, openraft::impls::BasicNode>;
/// A membership with the id of the entry that set it.
pub type StoredMembership = openraft::type_config::alias::StoredMembershipOf<QuorumTypes>;
/// Identity of a snapshot.
pub type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<QuorumTypes>;
/// The payload of a log entry.
pub type Payload = openraft::type_config::alias::PayloadOf<QuorumTypes>;
/// A snapshot: its identity and its bytes.
pub type MetadataSnapshot = openraft::type_config::alias::SnapshotOf<QuorumTypes, bytes::Bytes>;
