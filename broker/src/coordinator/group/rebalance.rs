//! The join phase of a classic group: when it starts, how long it waits, what its end brings. Shared by join, sync, leave and expiry.

use std::rc::Rc;

use bytes::Bytes;
use coreline_wire::error_code::ErrorCode;

use super::classic::InitialDelay;
use super::member::Member;
use super::state::ClassicState;
use super::write::PendingWrite;
use super::{ClassicGroup, Context, Timer, Token};
use crate::coordinator::record::Record;
use crate::coordinator::request::{GroupResponse, JoinAnswer, SyncAnswer};

impl ClassicGroup {
    /// After a reload: every member has a full session to report in. A group above the bound is rebalanced so that it shrinks.
    pub(super) fn resume(&mut self, ctx: &mut Context<'_>, max_size: usize) {
        let members: Vec<Rc<str>> = self.members.keys().cloned().collect();
        members.iter().for_each(|id| self.touch(ctx, id));
        if self.members.len() > max_size && self.state.can_rebalance() {
            self.prepare_rebalance(ctx, "it has more members than group.max.size");
        }
    }

    /// A member is alive: its session starts anew.
    pub(super) fn touch(&self, ctx: &mut Context<'_>, member_id: &str) {
        if let Some(member) = self.members.get(member_id) {
            ctx.set_timer(self.session_timer(&member.id), member.session_timeout_ms);
        }
    }

    pub(super) fn session_timer(&self, member_id: &Rc<str>) -> Timer {
        Timer::Session { group: self.id.clone(), member: member_id.clone() }
    }

    /// Starts a rebalance, or goes on with the one that runs.
    pub(super) fn rebalance_or_complete(&mut self, ctx: &mut Context<'_>, reason: &str) {
        if self.state.can_rebalance() { self.prepare_rebalance(ctx, reason) } else { self.complete_when_all_joined(ctx) }
    }

    /// All members are to rejoin. An empty group waits a little for more members first.
    pub(super) fn prepare_rebalance(&mut self, ctx: &mut Context<'_>, reason: &str) {
        if self.is(ClassicState::CompletingRebalance) {
            self.reset_assignments(ctx, ErrorCode::RebalanceInProgress);
        }
        self.assignment_write = None;
        // Whatever comes of the rebalance is written.
        self.unwritten = false;
        self.pending_syncs.clear();
        ctx.clear_timer(Timer::Sync(self.id.clone()));
        let was_empty = self.is(ClassicState::Empty);
        tracing::info!(group = %self.id, generation = self.generation_id, from = %self.state, reason, "preparing to rebalance");
        self.move_to(ClassicState::PreparingRebalance, ctx.now.wall_ms);
        if was_empty {
            let delay_ms = ctx.config.initial_rebalance_delay_ms;
            let remaining_ms = self.rebalance_timeout_ms().saturating_sub(delay_ms).max(0);
            self.initial_delay = Some(InitialDelay { delay_ms, remaining_ms });
            self.new_member_added = false;
            ctx.set_timer(Timer::Rebalance(self.id.clone()), delay_ms);
        } else if self.all_joined() {
            self.complete_join(ctx);
        } else {
            ctx.set_timer(Timer::Rebalance(self.id.clone()), self.rebalance_timeout_ms());
        }
    }

    /// Ends the join phase early when nobody is missing. The delay of a first rebalance runs to its end.
    pub(super) fn complete_when_all_joined(&mut self, ctx: &mut Context<'_>) {
        if self.is(ClassicState::PreparingRebalance) && self.initial_delay.is_none() && self.all_joined() {
            self.complete_join(ctx);
        }
    }

    /// The join phase, or the delay of the first one, has run out.
    pub(super) fn rebalance_expired(&mut self, ctx: &mut Context<'_>) {
        if !self.is(ClassicState::PreparingRebalance) {
            return;
        }
        match self.initial_delay {
            Some(InitialDelay { delay_ms, remaining_ms }) if self.new_member_added && remaining_ms > 0 => {
                self.new_member_added = false;
                let next_ms = ctx.config.initial_rebalance_delay_ms.min(remaining_ms);
                self.initial_delay = Some(InitialDelay { delay_ms: next_ms, remaining_ms: remaining_ms.saturating_sub(delay_ms).max(0) });
                ctx.set_timer(Timer::Rebalance(self.id.clone()), next_ms);
            }
            _ => self.complete_join(ctx),
        }
    }

    /// Ends the join phase: who did not rejoin is out (static members stay until their session ends), the next generation begins.
    fn complete_join(&mut self, ctx: &mut Context<'_>) {
        let missing = |member: &&Member| member.awaiting_join.is_none() && member.instance_id.is_none();
        let missing: Vec<Rc<str>> = self.members.values().filter(missing).map(|member| member.id.clone()).collect();
        for id in &missing {
            self.remove(id);
            ctx.clear_timer(self.session_timer(id));
        }
        if !missing.is_empty() {
            tracing::info!(group = %self.id, members = missing.len(), "members did not rejoin in time and are removed");
        }
        if !self.elect_joined_leader() && !self.members.is_empty() {
            // Only static members, none of them back yet: wait until they come or their sessions end.
            self.initial_delay = None;
            ctx.set_timer(Timer::Rebalance(self.id.clone()), self.rebalance_timeout_ms());
            return;
        }
        ctx.clear_timer(Timer::Rebalance(self.id.clone()));
        self.initial_delay = None;
        self.new_member_added = false;
        self.generation_id = self.generation_id.checked_add(1).unwrap_or(1);
        self.protocol_name = self.select_protocol();
        self.subscribed = self.subscriptions();
        if self.members.is_empty() { self.become_empty(ctx) } else { self.begin_sync_phase(ctx) }
    }

    fn become_empty(&mut self, ctx: &mut Context<'_>) {
        self.move_to(ClassicState::Empty, ctx.now.wall_ms);
        tracing::info!(group = %self.id, generation = self.generation_id, "the group is empty");
        self.write_state(ctx);
    }

    /// Writes the group as it is to the log; for a stable or an empty one.
    pub(super) fn write_state(&mut self, ctx: &mut Context<'_>) {
        self.unwritten = false;
        let Some(value) = self.settled_value() else { return };
        ctx.append(vec![Record::Group { group: self.id.to_string(), value: Some(value) }], PendingWrite::State);
    }

    fn begin_sync_phase(&mut self, ctx: &mut Context<'_>) {
        self.move_to(ClassicState::CompletingRebalance, ctx.now.wall_ms);
        tracing::info!(
            group = %self.id, generation = self.generation_id, members = self.members.len(), protocol = ?self.protocol_name, leader = ?self.leader,
            "all members have joined"
        );
        self.pending_syncs = self.members.keys().cloned().collect();
        for id in self.pending_syncs.clone() {
            let answer = self.join_answer(&id, self.is_leader(&id));
            if let Some(member) = self.members.get_mut(&id) {
                member.is_new = false;
                if let Some(token) = member.awaiting_join.take() {
                    ctx.answer(token, GroupResponse::Join(answer));
                }
            }
            self.touch(ctx, &id);
        }
        ctx.set_timer(Timer::Sync(self.id.clone()), self.rebalance_timeout_ms());
    }

    /// Nobody has an assignment any more; parked syncs are told why.
    pub(super) fn reset_assignments(&mut self, ctx: &mut Context<'_>, error: ErrorCode) {
        let waiting: Vec<Rc<str>> = self.members.keys().cloned().collect();
        for id in waiting {
            let Some(member) = self.members.get_mut(&id) else { continue };
            member.assignment = Bytes::new();
            if let Some(token) = member.awaiting_sync.take() {
                ctx.answer(token, GroupResponse::Sync(SyncAnswer::error(error)));
                self.touch(ctx, &id);
            }
        }
    }

    /// Takes a member out and answers what it has parked; the rest of the group goes on without it.
    pub(super) fn remove_and_go_on(&mut self, ctx: &mut Context<'_>, member_id: &str, reason: &str) {
        if self.expel(ctx, member_id) {
            self.rebalance_or_complete(ctx, reason);
        }
    }

    /// Takes a member out and answers what it has parked. False when there is no such member.
    pub(super) fn expel(&mut self, ctx: &mut Context<'_>, member_id: &str) -> bool {
        let Some(mut member) = self.remove(member_id) else { return false };
        answer_parked(ctx, &mut member, ErrorCode::UnknownMemberId);
        ctx.clear_timer(self.session_timer(&member.id));
        true
    }

    /// A member that was only given an id does not count any more.
    pub(super) fn drop_pending_join(&mut self, ctx: &mut Context<'_>, member_id: &Rc<str>) {
        self.pending_joins.remove(member_id);
        ctx.clear_timer(self.session_timer(member_id));
        self.complete_when_all_joined(ctx);
    }

    /// Members of an empty group that were only given an id do not count any more: the group is deleted.
    pub(super) fn forget_pending_joins(&mut self, ctx: &mut Context<'_>) {
        if self.is(ClassicState::Empty) {
            for member_id in std::mem::take(&mut self.pending_joins) {
                ctx.clear_timer(self.session_timer(&member_id));
            }
        }
    }

    /// The client of a parked request is gone: the member has not rejoined, or waits for nothing. It has its session to come back.
    pub(super) fn cancel(&mut self, ctx: &mut Context<'_>, token: Token) {
        let Some((id, is_join)) = self.waiting(token) else { return };
        let Some(member) = self.members.get_mut(&id) else { return };
        if !is_join {
            member.awaiting_sync = None;
            self.touch(ctx, &id);
            return;
        }
        member.awaiting_join = None;
        if member.is_new && !member.knows_id {
            // Nobody knows this id, so nobody can come back with it.
            self.remove_and_go_on(ctx, &id, "a new member went away before it was told its id");
        } else {
            self.touch(ctx, &id);
        }
    }
}

/// Tells a member that goes what its parked requests come to.
pub(super) fn answer_parked(ctx: &mut Context<'_>, member: &mut Member, error: ErrorCode) {
    if let Some(token) = member.awaiting_join.take() {
        ctx.answer(token, GroupResponse::Join(JoinAnswer::error(error, &member.id)));
    }
    if let Some(token) = member.awaiting_sync.take() {
        ctx.answer(token, GroupResponse::Sync(SyncAnswer::error(error)));
    }
}
