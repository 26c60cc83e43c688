//! A member of a classic group: what it told, what it was assigned, which of its requests are parked.

use std::rc::Rc;

use bytes::Bytes;

use super::Token;
use crate::coordinator::record::MemberValue;
use crate::coordinator::request::JoinGroup;

/// A member of a classic group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Its id, unique in the group.
    pub id: Rc<str>,
    /// KIP-345: its static name.
    pub instance_id: Option<String>,
    /// The client's name for itself.
    pub client_id: String,
    /// Its address.
    pub client_host: String,
    /// How long it may take to rejoin.
    pub rebalance_timeout_ms: i32,
    /// It is removed when it says nothing for this long.
    pub session_timeout_ms: i32,
    /// Protocols that it knows, the preferred one first. After a reload only the one that the group uses.
    pub protocols: Vec<(String, Bytes)>,
    /// Its assignment in the last stable generation.
    pub assignment: Bytes,
    /// Its parked JoinGroup: it has rejoined.
    pub awaiting_join: Option<Token>,
    /// Its parked SyncGroup.
    pub awaiting_sync: Option<Token>,
    /// It has not been told a generation yet, so it cannot send heartbeats.
    pub is_new: bool,
    /// It came with its id (or a static name), so it can come back after its connection broke.
    pub knows_id: bool,
}

impl Member {
    /// A member as its JoinGroup describes it.
    pub fn from_join(id: Rc<str>, request: JoinGroup, token: Token) -> Self {
        Member {
            knows_id: !request.member_id.is_empty() || request.instance_id.is_some(),
            id,
            instance_id: request.instance_id,
            client_id: request.client_id,
            client_host: request.client_host,
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            session_timeout_ms: request.session_timeout_ms,
            protocols: request.protocols,
            assignment: Bytes::new(),
            awaiting_join: Some(token),
            awaiting_sync: None,
            is_new: true,
        }
    }

    /// A member as the log describes it, in a group that uses `protocol`.
    pub fn from_value(value: &MemberValue, protocol: &str) -> Self {
        Member {
            id: Rc::from(value.member_id.as_str()),
            instance_id: value.instance_id.clone(),
            client_id: value.client_id.clone(),
            client_host: value.client_host.clone(),
            // Records of version 0 have no rebalance timeout.
            rebalance_timeout_ms: if value.rebalance_timeout_ms < 0 { value.session_timeout_ms } else { value.rebalance_timeout_ms },
            session_timeout_ms: value.session_timeout_ms,
            protocols: vec![(protocol.to_owned(), value.subscription.clone())],
            assignment: value.assignment.clone(),
            awaiting_join: None,
            awaiting_sync: None,
            is_new: false,
            knows_id: true,
        }
    }

    /// The member as the log describes it.
    pub fn to_value(&self, protocol: &str, assignment: Bytes) -> MemberValue {
        MemberValue {
            member_id: self.id.to_string(),
            instance_id: self.instance_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            session_timeout_ms: self.session_timeout_ms,
            subscription: self.metadata(protocol),
            assignment,
        }
    }

    /// Its blob for a protocol; empty when it does not know the protocol.
    pub fn metadata(&self, protocol: &str) -> Bytes {
        self.protocols.iter().find(|(name, _)| name == protocol).map_or_else(Bytes::new, |(_, metadata)| metadata.clone())
    }

    /// Whether it knows a protocol.
    pub fn supports(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|(name, _)| name == protocol)
    }
}
