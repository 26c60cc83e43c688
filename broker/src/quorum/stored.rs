//! What the metadata log and its snapshots store of the consensus library's nouns: own types with a fixed encoding (postcard), so that
//! a new release of the library cannot change the format. Callers: `log_file`, `snapshot`.

use std::collections::BTreeMap;

use openraft::EntryPayload;
use openraft::entry::RaftEntry;
use openraft::impls::{BasicNode, leader_id_std};
use serde::{Deserialize, Serialize};

use super::types::{Entry, LogId, Membership, RecordBatch, Vote};
use crate::controller::record::{decode_batch, encode_batch};

/// Quorum epoch and index of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct StoredLogId {
    /// Quorum epoch.
    pub term: u64,
    /// Index, from 0.
    pub index: u64,
}

/// A vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredVote {
    /// Quorum epoch.
    pub term: u64,
    /// Node voted for.
    pub node: u64,
    /// A quorum has accepted it as leader.
    pub committed: bool,
}

/// Voters (two sets while they change) and all nodes with their addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct StoredMembershipConfig {
    /// Voter sets.
    pub configs: Vec<Vec<u64>>,
    /// Voters and observers by id, with their address.
    pub nodes: Vec<(u64, String)>,
}

/// Bytes that postcard copies at once instead of one by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob(pub Vec<u8>);

/// The payload of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoredPayload {
    /// Written by a new leader.
    Blank,
    /// A batch of records in its own versioned encoding.
    Records(Blob),
    /// A change of the quorum's members.
    Membership(StoredMembershipConfig),
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredEntry {
    /// Its id.
    pub id: StoredLogId,
    /// Its payload.
    pub payload: StoredPayload,
}

/// What a frame of the log says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrameBody {
    /// First frame of a file: everything that earlier files said beside entries.
    State {
        /// The node whose log this is.
        node: u64,
        /// The last vote.
        vote: Option<StoredVote>,
        /// The last commit known.
        committed: Option<StoredLogId>,
        /// Everything up to here is in a snapshot and gone from the log.
        purged: Option<StoredLogId>,
        /// The last entry of the files before this one, purged or not.
        last: Option<StoredLogId>,
    },
    /// A new vote.
    Vote(StoredVote),
    /// Entries, each following the one before, and the last commit known when they were written.
    Entries {
        /// The last commit known.
        committed: Option<StoredLogId>,
        /// The entries.
        entries: Vec<StoredEntry>,
    },
    /// Entries after this one are void.
    Truncate {
        /// The last entry that stays; `None`: none stays.
        after: Option<StoredLogId>,
    },
    /// Entries up to this one are in a snapshot.
    Purge {
        /// The last entry that goes.
        upto: StoredLogId,
    },
}

impl From<LogId> for StoredLogId {
    fn from(id: LogId) -> Self {
        StoredLogId { term: *id.leader_id, index: id.index }
    }
}

impl From<StoredLogId> for LogId {
    fn from(id: StoredLogId) -> Self {
        LogId::new_term_index(id.term, id.index)
    }
}

impl From<&Vote> for StoredVote {
    fn from(vote: &Vote) -> Self {
        StoredVote { term: vote.leader_id.term, node: vote.leader_id.voted_for, committed: vote.committed }
    }
}

impl From<StoredVote> for Vote {
    fn from(vote: StoredVote) -> Self {
        Vote { leader_id: leader_id_std::LeaderId { term: vote.term, voted_for: vote.node }, committed: vote.committed }
    }
}

impl From<&Membership> for StoredMembershipConfig {
    fn from(membership: &Membership) -> Self {
        StoredMembershipConfig {
            configs: membership.get_joint_config().iter().map(|voters| voters.iter().copied().collect()).collect(),
            nodes: membership.nodes().map(|(id, node)| (*id, node.addr.clone())).collect(),
        }
    }
}

impl StoredMembershipConfig {
    /// The library's form; the error is a sentence.
    pub fn to_membership(&self) -> Result<Membership, String> {
        let configs = self.configs.iter().map(|voters| voters.iter().copied().collect()).collect();
        let nodes: BTreeMap<u64, BasicNode> = self.nodes.iter().map(|(id, addr)| (*id, BasicNode::new(addr))).collect();
        Membership::new(configs, nodes).map_err(|error| format!("the members of the quorum do not hold together: {error}"))
    }
}

impl From<&Entry> for StoredEntry {
    fn from(entry: &Entry) -> Self {
        let payload = match &entry.payload {
            EntryPayload::Blank => StoredPayload::Blank,
            EntryPayload::Normal(batch) => StoredPayload::Records(Blob(encode_batch(&batch.0))),
            EntryPayload::Membership(membership) => StoredPayload::Membership(membership.into()),
        };
        StoredEntry { id: entry.log_id.into(), payload }
    }
}

impl StoredEntry {
    /// The library's form; the error is a sentence. Applying it later cannot fail.
    pub fn to_entry(&self) -> Result<Entry, String> {
        let payload = match &self.payload {
            StoredPayload::Blank => EntryPayload::Blank,
            StoredPayload::Records(bytes) => {
                let records = decode_batch(&bytes.0).map_err(|error| error.to_string())?;
                EntryPayload::Normal(RecordBatch(records.into()))
            }
            StoredPayload::Membership(membership) => EntryPayload::Membership(membership.to_membership()?),
        };
        Ok(Entry::new(self.id.into(), payload))
    }
}

impl Serialize for Blob {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Blob;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}
