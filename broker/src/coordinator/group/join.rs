//! JoinGroup: who may join, under which id, and whether that starts a rebalance.
//!
//! Answered at once when it changes nothing, else parked in the member until the join phase ends.
//! KIP-345 static members, KIP-394 known member ids, KIP-814 skipped assignments.

use std::rc::Rc;

use coreline_wire::error_code::ErrorCode;

use super::member::Member;
use super::state::ClassicState;
use super::write::{PendingWrite, StaticRejoin};
use super::{ClassicGroup, Context, Group, Slot, TEXT_BYTES_MAX, Timer, Token, append_error};
use crate::coordinator::record::Record;
use crate::coordinator::request::{GroupResponse, JoinAnswer, JoinGroup, SyncAnswer};

/// Bytes of a client id that go into a generated member id.
const CLIENT_ID_IN_MEMBER_ID_MAX: usize = 1_024;

impl Slot {
    pub(super) fn join(&mut self, ctx: &mut Context<'_>, token: Token, request: JoinGroup, nonce: [u8; 16], is_full: bool) {
        let refuse = |ctx: &mut Context<'_>, error| ctx.answer(token, GroupResponse::Join(JoinAnswer::error(error, &request.member_id)));
        let sessions = ctx.config.min_session_timeout_ms..=ctx.config.max_session_timeout_ms;
        if !sessions.contains(&request.session_timeout_ms) {
            return refuse(ctx, ErrorCode::InvalidSessionTimeout);
        }
        if !fits(&request, ctx.config.member_metadata_max_bytes) {
            return refuse(ctx, ErrorCode::InvalidRequest);
        }
        let group_id: Rc<str> = Rc::from(request.group_id.as_str());
        if !self.groups.contains_key(&group_id) {
            if !request.member_id.is_empty() {
                return refuse(ctx, ErrorCode::UnknownMemberId);
            }
            if is_full {
                return refuse(ctx, ErrorCode::CoordinatorNotAvailable);
            }
        }
        let new = || Group::Classic(ClassicGroup::new(group_id.clone(), ctx.now.wall_ms));
        match self.groups.entry(group_id.clone()).or_insert_with(new) {
            Group::Classic(group) => group.join(ctx, token, request, nonce),
            Group::Consumer(_) => return refuse(ctx, ErrorCode::InconsistentGroupProtocol),
        }
        self.settle(ctx, &group_id);
    }
}

/// Texts must fit a record of the offsets topic, and the metadata its bound.
fn fits(request: &JoinGroup, metadata_bytes_max: usize) -> bool {
    let texts = [&request.member_id, &request.protocol_type, &request.client_id, &request.client_host];
    let texts = texts.into_iter().chain(&request.instance_id).chain(request.protocols.iter().map(|(name, _)| name));
    let metadata_bytes: usize = request.protocols.iter().map(|(name, metadata)| name.len() + metadata.len()).sum();
    texts.into_iter().all(|text| text.len() <= TEXT_BYTES_MAX - CLIENT_ID_IN_MEMBER_ID_MAX) && metadata_bytes <= metadata_bytes_max
}

impl ClassicGroup {
    fn join(&mut self, ctx: &mut Context<'_>, token: Token, request: JoinGroup, nonce: [u8; 16]) {
        if !self.has_room(&request.member_id, ctx.config.max_size) {
            // A member above the bound goes, so that it cannot hold up the others.
            if self.expel(ctx, &request.member_id) {
                self.complete_when_all_joined(ctx);
            }
            return refuse(ctx, token, ErrorCode::GroupMaxSizeReached, "");
        }
        if !self.supports(&request.protocol_type, &request.protocols) {
            return refuse(ctx, token, ErrorCode::InconsistentGroupProtocol, &request.member_id);
        }
        if request.member_id.is_empty() {
            self.join_new(ctx, token, request, nonce);
        } else {
            self.join_known(ctx, token, request);
        }
    }

    /// While members are awaited, those that are there count: so the last ones of a group that is too big stay outside.
    fn has_room(&self, member_id: &str, max_size: usize) -> bool {
        let member = self.members.get(member_id);
        let known = member.is_some() || self.pending_joins.contains(member_id);
        let may_wait = known || self.pending_joins.len() < max_size;
        match self.state {
            ClassicState::Empty | ClassicState::Dead => may_wait,
            ClassicState::PreparingRebalance => {
                member.is_some_and(|member| member.awaiting_join.is_some()) || self.joined_count() < max_size && may_wait
            }
            ClassicState::CompletingRebalance | ClassicState::Stable => member.is_some() || self.members.len() < max_size && may_wait,
        }
    }

    fn join_new(&mut self, ctx: &mut Context<'_>, token: Token, request: JoinGroup, nonce: [u8; 16]) {
        let new_id = member_id(request.instance_id.as_deref().unwrap_or(&request.client_id), nonce);
        let known = request.instance_id.as_ref().and_then(|instance_id| self.static_members.get(instance_id)).cloned();
        match known {
            Some(old_id) => self.rejoin_static(ctx, token, request, old_id, new_id),
            None if request.instance_id.is_none() && request.requires_known_member_id => {
                // KIP-394: come back with this id; it is forgotten like a session.
                ctx.set_timer(Timer::Session { group: self.id.clone(), member: new_id.clone() }, request.session_timeout_ms);
                self.pending_joins.insert(new_id.clone());
                refuse(ctx, token, ErrorCode::MemberIdRequired, &new_id);
            }
            None => self.add_and_rebalance(ctx, token, request, new_id),
        }
    }

    fn join_known(&mut self, ctx: &mut Context<'_>, token: Token, request: JoinGroup) {
        let member_id: Rc<str> = Rc::from(request.member_id.as_str());
        if self.pending_joins.contains(&member_id) && request.instance_id.is_none() {
            return self.add_and_rebalance(ctx, token, request, member_id);
        }
        let error = self.validate_member(&member_id, request.instance_id.as_deref());
        if !error.is_ok() {
            return refuse(ctx, token, error, &member_id);
        }
        let unchanged = self.members.get(&member_id).is_some_and(|member| member.protocols == request.protocols);
        match self.state {
            ClassicState::PreparingRebalance => self.update_and_rebalance(ctx, token, request, &member_id, "a member rejoins"),
            // It did not get the answer to its JoinGroup: it gets it again.
            ClassicState::CompletingRebalance if unchanged => {
                let answer = self.join_answer(&member_id, self.is_leader(&member_id));
                ctx.answer(token, GroupResponse::Join(answer));
            }
            ClassicState::Stable if self.is_leader(&member_id) => {
                self.update_and_rebalance(ctx, token, request, &member_id, "the leader rejoins");
            }
            // A follower with nothing new may go straight to SyncGroup.
            ClassicState::Stable if unchanged => ctx.answer(token, GroupResponse::Join(self.join_answer(&member_id, false))),
            ClassicState::CompletingRebalance | ClassicState::Stable => {
                self.update_and_rebalance(ctx, token, request, &member_id, "a member changes its metadata");
            }
            ClassicState::Empty | ClassicState::Dead => refuse(ctx, token, ErrorCode::UnknownMemberId, &member_id),
        }
    }

    fn add_and_rebalance(&mut self, ctx: &mut Context<'_>, token: Token, request: JoinGroup, member_id: Rc<str>) {
        if self.members.is_empty() {
            self.protocol_type = Some(request.protocol_type.clone());
        }
        if self.initial_delay.is_some() {
            self.new_member_added = true;
        }
        // A new member cannot send heartbeats while its JoinGroup is parked. Its client may be gone and back under another id,
        // so it is not awaited for ever.
        ctx.set_timer(self.session_timer(&member_id), ctx.config.new_member_join_timeout_ms);
        self.add(Member::from_join(member_id, request, token));
        self.rebalance_or_complete(ctx, "a member joins");
    }

    fn update_and_rebalance(&mut self, ctx: &mut Context<'_>, token: Token, request: JoinGroup, member_id: &str, reason: &str) {
        self.update(ctx, token, request, member_id);
        self.rebalance_or_complete(ctx, reason);
    }

    /// The member rejoins with what it knows now. A JoinGroup that it had parked is superseded.
    fn update(&mut self, ctx: &mut Context<'_>, token: Token, request: JoinGroup, member_id: &str) {
        let Some(member) = self.members.get_mut(member_id) else { return };
        member.protocols = request.protocols;
        member.rebalance_timeout_ms = request.rebalance_timeout_ms;
        member.session_timeout_ms = request.session_timeout_ms;
        member.knows_id = true;
        if let Some(superseded) = member.awaiting_join.replace(token) {
            refuse(ctx, superseded, ErrorCode::RebalanceInProgress, member_id);
        }
        if !member.is_new {
            self.touch(ctx, member_id);
        }
    }

    /// KIP-345: a static member is back under a new id. The old id is fenced; a stable group need not rebalance.
    fn rejoin_static(&mut self, ctx: &mut Context<'_>, token: Token, request: JoinGroup, old_id: Rc<str>, new_id: Rc<str>) {
        let Some(old) = self.replace(ctx, &old_id, &new_id) else { return refuse(ctx, token, ErrorCode::UnknownMemberId, "") };
        let old_leader = if self.is_leader(&new_id) { Some(old_id) } else { self.leader.clone() };
        let supports_skip_assignment = request.supports_skip_assignment;
        if self.is(ClassicState::Stable) {
            if let Some(member) = self.members.get_mut(&new_id) {
                member.protocols = request.protocols;
                member.rebalance_timeout_ms = request.rebalance_timeout_ms;
                member.session_timeout_ms = request.session_timeout_ms;
            }
            self.touch(ctx, &new_id);
            if self.select_protocol() == self.protocol_name {
                self.subscribed = self.subscriptions();
                let value = self.settled_value();
                let rejoin = StaticRejoin { token, old, new_id, old_leader, supports_skip_assignment };
                let record = Record::Group { group: self.id.to_string(), value };
                ctx.append(vec![record], PendingWrite::StaticRejoin(Box::new(rejoin)));
                return;
            }
            if let Some(member) = self.members.get_mut(&new_id) {
                member.awaiting_join = Some(token);
            }
            return self.rebalance_or_complete(ctx, "a static member's return changes the protocol");
        }
        // While the old id may be with the leader already, the new one would get no assignment: everybody joins again.
        self.update_and_rebalance(ctx, token, request, &new_id, "a static member is back");
    }

    /// Gives a static member's place to a new id, and answers the old id's parked requests: there are two of them.
    fn replace(&mut self, ctx: &mut Context<'_>, old_id: &Rc<str>, new_id: &Rc<str>) -> Option<Member> {
        let was_leader = self.is_leader(old_id);
        let old = self.members.remove(old_id)?;
        self.pending_syncs.remove(old_id);
        ctx.clear_timer(self.session_timer(old_id));
        if let Some(token) = old.awaiting_join {
            refuse(ctx, token, ErrorCode::FencedInstanceId, old_id);
        }
        if let Some(token) = old.awaiting_sync {
            ctx.answer(token, GroupResponse::Sync(SyncAnswer::error(ErrorCode::FencedInstanceId)));
        }
        let member = Member { id: new_id.clone(), awaiting_join: None, awaiting_sync: None, ..old.clone() };
        if let Some(instance_id) = &member.instance_id {
            self.static_members.insert(instance_id.clone(), new_id.clone());
        }
        self.members.insert(new_id.clone(), member);
        if was_leader {
            self.leader = Some(new_id.clone());
        }
        Some(Member { awaiting_join: None, awaiting_sync: None, ..old })
    }

    pub(super) fn static_rejoin_written(&mut self, ctx: &mut Context<'_>, rejoin: StaticRejoin, outcome: Result<(), ErrorCode>) {
        let StaticRejoin { token, old, new_id, old_leader, supports_skip_assignment } = rejoin;
        if let Err(error) = outcome {
            self.undo_replace(ctx, old, &new_id);
            return refuse(ctx, token, append_error(error), "");
        }
        let error = self.validate_member(&new_id, old.instance_id.as_deref());
        if !error.is_ok() {
            return refuse(ctx, token, error, &new_id);
        }
        let is_leader = self.is_leader(&new_id);
        let mut answer = self.join_answer(&new_id, supports_skip_assignment && is_leader);
        if supports_skip_assignment {
            answer.skip_assignment = is_leader;
        } else {
            // A client without KIP-814 must not find itself the leader, or it would compute an assignment.
            answer.leader = old_leader.as_deref().unwrap_or_default().to_owned();
        }
        ctx.answer(token, GroupResponse::Join(answer));
    }

    /// The log does not know of the new id: the old one gets its place back, unless the group has moved on.
    fn undo_replace(&mut self, ctx: &mut Context<'_>, old: Member, new_id: &Rc<str>) {
        let instance = old.instance_id.as_ref().and_then(|instance_id| self.static_members.get(instance_id));
        if !self.is(ClassicState::Stable) || instance != Some(new_id) {
            return;
        }
        tracing::warn!(group = %self.id, member = %old.id, "the return of a static member could not be written and is undone");
        let was_leader = self.is_leader(new_id);
        let was_awaited = self.pending_syncs.contains(new_id);
        self.remove(new_id);
        ctx.clear_timer(self.session_timer(new_id));
        let old_id = old.id.clone();
        self.add(old);
        if was_leader {
            self.leader = Some(old_id.clone());
        }
        if was_awaited {
            self.pending_syncs.insert(old_id.clone());
        }
        self.subscribed = self.subscriptions();
        self.touch(ctx, &old_id);
    }
}

/// `prefix-uuid`, as Kafka's clients and operators know it.
fn member_id(prefix: &str, nonce: [u8; 16]) -> Rc<str> {
    let mut end = prefix.len().min(CLIENT_ID_IN_MEMBER_ID_MAX);
    while !prefix.is_char_boundary(end) {
        end -= 1;
    }
    Rc::from(format!("{}-{}", &prefix[..end], uuid::Builder::from_random_bytes(nonce).into_uuid()))
}

fn refuse(ctx: &mut Context<'_>, token: Token, error: ErrorCode, member_id: &str) {
    ctx.answer(token, GroupResponse::Join(JoinAnswer::error(error, member_id)));
}
