//! A classic group: members, generation, leader, protocol; the questions asked of it and the changes that need no decision.
//!
//! Decisions (when to rebalance, what to answer) are in `join`, `sync`, `heartbeat`, `leave` and `offset`.
//! Standing relations, checked by [`ClassicGroup::check`]: every static name maps to a member that carries it; the leader is a member;
//! an empty or dead group has no members; a stable group has a protocol; only a completing group has parked syncs.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use bytes::Bytes;
use coreline_wire::error_code::ErrorCode;

use super::member::Member;
use super::state::ClassicState;
use super::{Token, WriteId};
use crate::coordinator::record::GroupValue;
use crate::coordinator::request::{JoinAnswer, JoinedMember, SyncAnswer};

/// The wait for more members before the first rebalance of an empty group ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct InitialDelay {
    /// The delay that runs now.
    pub(super) delay_ms: i32,
    /// How much longer the wait may be prolonged after it.
    pub(super) remaining_ms: i32,
}

/// A classic group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClassicGroup {
    /// Its name.
    pub id: Rc<str>,
    pub(super) state: ClassicState,
    pub(super) previous_state: ClassicState,
    pub(super) state_timestamp_ms: i64,
    pub(super) protocol_type: Option<String>,
    pub(super) protocol_name: Option<String>,
    pub(super) generation_id: i32,
    pub(super) leader: Option<Rc<str>>,
    pub(super) members: BTreeMap<Rc<str>, Member>,
    pub(super) static_members: BTreeMap<String, Rc<str>>,
    /// Members that were given an id (KIP-394) and have not come back with it.
    pub(super) pending_joins: BTreeSet<Rc<str>>,
    /// Members of this generation that have not sent SyncGroup.
    pub(super) pending_syncs: BTreeSet<Rc<str>>,
    /// A member came while the first rebalance was delayed: the delay is prolonged once more.
    pub(super) new_member_added: bool,
    pub(super) initial_delay: Option<InitialDelay>,
    /// The leader's assignment of this generation is on its way to the log.
    pub(super) assignment_write: Option<WriteId>,
    /// The log does not have this state, because the write of it failed.
    pub(super) unwritten: bool,
    /// The log has or had something of this group, so that it goes by retention or by an administrator alone.
    pub(super) was_written: bool,
    /// What the members of this generation read, when they are consumers and told it in a way that we can read.
    pub(super) subscribed: Option<BTreeSet<String>>,
}

impl ClassicGroup {
    /// A group that has never had a member.
    pub fn new(id: Rc<str>, now_ms: i64) -> Self {
        ClassicGroup {
            id,
            state: ClassicState::Empty,
            previous_state: ClassicState::Dead,
            state_timestamp_ms: now_ms,
            protocol_type: None,
            protocol_name: None,
            generation_id: 0,
            leader: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending_joins: BTreeSet::new(),
            pending_syncs: BTreeSet::new(),
            new_member_added: false,
            initial_delay: None,
            assignment_write: None,
            unwritten: false,
            was_written: false,
            subscribed: None,
        }
    }

    /// The group as the log describes it: stable with members, empty without.
    pub fn from_value(id: &str, value: &GroupValue) -> Self {
        let mut group = ClassicGroup::new(Rc::from(id), value.state_timestamp_ms);
        let protocol = value.protocol.clone().unwrap_or_default();
        group.state = if value.members.is_empty() { ClassicState::Empty } else { ClassicState::Stable };
        group.protocol_type = Some(value.protocol_type.clone()).filter(|name| !name.is_empty());
        group.protocol_name = value.protocol.clone();
        group.generation_id = value.generation;
        for member in &value.members {
            group.add(Member::from_value(member, &protocol));
        }
        group.leader = value.leader.as_deref().and_then(|id| group.members.get_key_value(id)).map(|(id, _)| id.clone());
        group.subscribed = group.subscriptions();
        group
    }

    /// The group as the log is to describe it, with `assignments` by member id; members without one get an empty one.
    pub fn to_value(&self, assignments: &BTreeMap<&str, Bytes>, state_timestamp_ms: i64) -> GroupValue {
        let protocol = self.protocol_name.as_deref().unwrap_or_default();
        let member = |member: &Member| member.to_value(protocol, assignments.get(&*member.id).cloned().unwrap_or_default());
        GroupValue {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation_id,
            protocol: self.protocol_name.clone(),
            leader: self.leader.as_deref().map(str::to_owned),
            state_timestamp_ms,
            members: self.members.values().map(member).collect(),
        }
    }

    /// The group as the log must have it, when this state is one that the log has: stable or empty, and written.
    pub fn settled_value(&self) -> Option<GroupValue> {
        let settled = matches!(self.state, ClassicState::Stable | ClassicState::Empty) && !self.unwritten;
        let assignments = self.members.values().map(|member| (&*member.id, member.assignment.clone())).collect();
        settled.then(|| self.to_value(&assignments, self.state_timestamp_ms))
    }

    /// Where the group is.
    pub fn state(&self) -> ClassicState {
        self.state
    }

    /// The generation; grows by one with every rebalance.
    pub fn generation_id(&self) -> i32 {
        self.generation_id
    }

    /// Members by id.
    pub fn members(&self) -> &BTreeMap<Rc<str>, Member> {
        &self.members
    }

    pub(super) fn is(&self, state: ClassicState) -> bool {
        self.state == state
    }

    pub(super) fn move_to(&mut self, next: ClassicState, now_ms: i64) {
        assert!(self.state.may_become(next), "group {:?}: illegal move {} -> {next}", self.id, self.state);
        self.previous_state = self.state;
        self.state = next;
        self.state_timestamp_ms = now_ms;
    }

    pub(super) fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    pub(super) fn joined_count(&self) -> usize {
        self.members.values().filter(|member| member.awaiting_join.is_some()).count()
    }

    pub(super) fn all_joined(&self) -> bool {
        self.pending_joins.is_empty() && self.members.values().all(|member| member.awaiting_join.is_some())
    }

    /// The join phase lasts as long as its slowest member may take.
    pub(super) fn rebalance_timeout_ms(&self) -> i32 {
        self.members.values().map(|member| member.rebalance_timeout_ms).max().unwrap_or(0)
    }

    /// Is the member known, and not fenced by another one with its static name?
    pub(super) fn validate_member(&self, member_id: &str, instance_id: Option<&str>) -> ErrorCode {
        if let Some(instance_id) = instance_id {
            match self.static_members.get(instance_id) {
                None => return ErrorCode::UnknownMemberId,
                Some(current) if **current != *member_id => return ErrorCode::FencedInstanceId,
                Some(_) => {}
            }
        }
        if self.members.contains_key(member_id) { ErrorCode::None } else { ErrorCode::UnknownMemberId }
    }

    /// A member may join when its type is the group's and at least one of its protocols is known to all members.
    pub(super) fn supports(&self, protocol_type: &str, protocols: &[(String, Bytes)]) -> bool {
        if self.is(ClassicState::Empty) {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(protocol_type) && protocols.iter().any(|(name, _)| self.all_support(name))
    }

    fn all_support(&self, protocol: &str) -> bool {
        self.members.values().all(|member| member.supports(protocol))
    }

    /// The protocol that most members like best among those that all know; between equals the one that the leader likes better.
    pub(super) fn select_protocol(&self) -> Option<String> {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            if let Some((name, _)) = member.protocols.iter().find(|(name, _)| self.all_support(name)) {
                *votes.entry(name).or_default() += 1;
            }
        }
        let most = votes.values().copied().max()?;
        let leader = self.leader.as_ref().and_then(|id| self.members.get(id));
        let preferred = leader.into_iter().chain(self.members.values()).flat_map(|member| &member.protocols);
        preferred.map(|(name, _)| name).find(|name| votes.get(name.as_str()) == Some(&most)).cloned()
    }

    pub(super) fn add(&mut self, member: Member) {
        if let Some(instance_id) = &member.instance_id {
            self.static_members.insert(instance_id.clone(), member.id.clone());
        }
        if self.leader.is_none() {
            self.leader = Some(member.id.clone());
        }
        self.pending_joins.remove(&member.id);
        self.members.insert(member.id.clone(), member);
    }

    /// Takes a member out. Its parked requests are the caller's to answer.
    pub(super) fn remove(&mut self, member_id: &str) -> Option<Member> {
        let member = self.members.remove(member_id)?;
        self.pending_syncs.remove(member_id);
        if let Some(instance_id) = &member.instance_id
            && self.static_members.get(instance_id).is_some_and(|id| **id == *member_id)
        {
            self.static_members.remove(instance_id);
        }
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        Some(member)
    }

    /// Keeps the leader if it rejoined, else takes the first member that did. False when nobody did.
    pub(super) fn elect_joined_leader(&mut self) -> bool {
        let leader = self.leader.as_ref().and_then(|id| self.members.get(id));
        if leader.is_some_and(|member| member.awaiting_join.is_some()) {
            return true;
        }
        let joined = self.members.values().find(|member| member.awaiting_join.is_some());
        match joined.map(|member| member.id.clone()) {
            Some(id) => {
                self.leader = Some(id);
                true
            }
            None => false,
        }
    }

    /// The current generation as an answer to `member_id`; with everybody's metadata when `with_members`.
    pub(super) fn join_answer(&self, member_id: &str, with_members: bool) -> JoinAnswer {
        JoinAnswer {
            error: ErrorCode::None,
            generation_id: self.generation_id,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            leader: self.leader.as_deref().unwrap_or_default().to_owned(),
            skip_assignment: false,
            member_id: member_id.to_owned(),
            members: if with_members { self.joined_members() } else { Vec::new() },
        }
    }

    fn joined_members(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol_name.as_deref().unwrap_or_default();
        let joined = |member: &Member| JoinedMember {
            member_id: member.id.to_string(),
            instance_id: member.instance_id.clone(),
            metadata: member.metadata(protocol),
        };
        self.members.values().map(joined).collect()
    }

    pub(super) fn sync_answer(&self, assignment: Bytes) -> SyncAnswer {
        SyncAnswer {
            error: ErrorCode::None,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            assignment,
        }
    }

    /// The member that waits under this token, and whether for a join.
    pub(super) fn waiting(&self, token: Token) -> Option<(Rc<str>, bool)> {
        let waits = |member: &&Member| member.awaiting_join == Some(token) || member.awaiting_sync == Some(token);
        self.members.values().find(waits).map(|member| (member.id.clone(), member.awaiting_join == Some(token)))
    }

    /// Asserts the standing relations; called after every change.
    pub(super) fn check(&self) {
        let empty = matches!(self.state, ClassicState::Empty | ClassicState::Dead);
        assert!(!empty || self.members.is_empty(), "group {:?} is {} with {} members", self.id, self.state, self.members.len());
        for (instance_id, member_id) in &self.static_members {
            let carried = self.members.get(member_id).and_then(|member| member.instance_id.as_ref());
            assert!(
                carried == Some(instance_id),
                "group {:?}: static {instance_id:?} maps to {member_id:?}, which carries {carried:?}",
                self.id
            );
        }
        if let Some(leader) = &self.leader {
            assert!(self.members.contains_key(leader), "group {:?}: leader {leader:?} is not a member", self.id);
        }
        let chosen = self.protocol_name.is_some();
        assert!(chosen || !self.is(ClassicState::Stable), "group {:?} is stable without a protocol", self.id);
        let tokens = self.members.values().filter(|member| member.awaiting_sync.is_some()).count();
        let completing = self.is(ClassicState::CompletingRebalance);
        assert!(tokens == 0 || completing, "group {:?} is {} with {tokens} parked syncs", self.id, self.state);
    }
}
