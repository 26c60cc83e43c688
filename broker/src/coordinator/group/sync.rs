//! SyncGroup: the leader brings the assignment, everybody gets theirs once it is durable.

use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use coreline_wire::error_code::ErrorCode;

use super::state::ClassicState;
use super::write::PendingWrite;
use super::{ClassicGroup, Context, Slot, Timer, Token, WriteId, append_error};
use crate::coordinator::record::{GroupValue, Record};
use crate::coordinator::request::{GroupResponse, SyncAnswer, SyncGroup};

impl Slot {
    pub(super) fn sync(&mut self, ctx: &mut Context<'_>, token: Token, request: SyncGroup) {
        let Some(group) = self.classic_mut(&request.group_id) else {
            return refuse(ctx, token, ErrorCode::UnknownMemberId);
        };
        group.sync(ctx, token, &request);
        self.settle(ctx, &request.group_id);
    }
}

impl ClassicGroup {
    fn sync(&mut self, ctx: &mut Context<'_>, token: Token, request: &SyncGroup) {
        let error = self.validate_sync(request);
        if !error.is_ok() {
            return refuse(ctx, token, error);
        }
        match self.state {
            ClassicState::Empty | ClassicState::Dead => refuse(ctx, token, ErrorCode::UnknownMemberId),
            ClassicState::PreparingRebalance => refuse(ctx, token, ErrorCode::RebalanceInProgress),
            ClassicState::CompletingRebalance => {
                self.note_sync(ctx, &request.member_id);
                if self.assignment_write.is_some_and(|write| ctx.writes.is_overdue(write)) {
                    return refuse(ctx, token, append_error(ErrorCode::RequestTimedOut));
                }
                let Some(member) = self.members.get_mut(request.member_id.as_str()) else { return };
                if let Some(superseded) = member.awaiting_sync.replace(token) {
                    refuse(ctx, superseded, ErrorCode::RebalanceInProgress);
                }
                // A leader that asks twice does not write twice.
                if self.is_leader(&request.member_id) && self.assignment_write.is_none() {
                    self.write_assignment(ctx, &request.assignments);
                }
            }
            ClassicState::Stable => {
                self.note_sync(ctx, &request.member_id);
                let assignment = self.members.get(request.member_id.as_str()).map(|member| member.assignment.clone());
                ctx.answer(token, GroupResponse::Sync(self.sync_answer(assignment.unwrap_or_default())));
                self.touch(ctx, &request.member_id);
            }
        }
    }

    fn validate_sync(&self, request: &SyncGroup) -> ErrorCode {
        let differs = |asked: &Option<String>, ours: &Option<String>| asked.is_some() && ours.is_some() && asked != ours;
        let error = self.validate_member(&request.member_id, request.instance_id.as_deref());
        if !error.is_ok() {
            return error;
        }
        if request.generation_id != self.generation_id {
            return ErrorCode::IllegalGeneration;
        }
        // KIP-559.
        if differs(&request.protocol_type, &self.protocol_type) || differs(&request.protocol_name, &self.protocol_name) {
            return ErrorCode::InconsistentGroupProtocol;
        }
        ErrorCode::None
    }

    /// The member has sent SyncGroup; when all have, their deadline is off.
    fn note_sync(&mut self, ctx: &mut Context<'_>, member_id: &str) {
        if self.pending_syncs.remove(member_id) && self.pending_syncs.is_empty() {
            ctx.clear_timer(Timer::Sync(self.id.clone()));
        }
    }

    fn write_assignment(&mut self, ctx: &mut Context<'_>, assignments: &[(String, Bytes)]) {
        let assignments = assignments.iter().map(|(member_id, assignment)| (member_id.as_str(), assignment.clone())).collect();
        let value = self.to_value(&assignments, ctx.now.wall_ms);
        let record = Record::Group { group: self.id.to_string(), value: Some(value.clone()) };
        self.assignment_write = Some(ctx.append(vec![record], PendingWrite::Assignment(Box::new(value))));
    }

    /// The write of the assignment takes too long: who has sent SyncGroup is told to come again.
    pub(super) fn assignment_overdue(&mut self, ctx: &mut Context<'_>, write: WriteId, refusal: ErrorCode) {
        if self.assignment_write == Some(write) {
            let waiting = self.members.values_mut().filter_map(|member| member.awaiting_sync.take());
            waiting.for_each(|token| refuse(ctx, token, refusal));
        }
    }

    /// The assignment is durable: the group is stable. If it could not be written everybody joins again, as in Kafka.
    pub(super) fn assignment_written(&mut self, ctx: &mut Context<'_>, write: WriteId, value: &GroupValue, outcome: Result<(), ErrorCode>) {
        // The group may have begun another rebalance since; then the outcome concerns nobody.
        if !self.is(ClassicState::CompletingRebalance) || self.assignment_write != Some(write) {
            return;
        }
        self.assignment_write = None;
        if let Err(error) = outcome {
            self.reset_assignments(ctx, append_error(error));
            return self.rebalance_or_complete(ctx, "the assignment could not be written");
        }
        self.move_to(ClassicState::Stable, value.state_timestamp_ms);
        let assignments: BTreeMap<&str, &Bytes> =
            value.members.iter().map(|member| (member.member_id.as_str(), &member.assignment)).collect();
        let ids: Vec<Rc<str>> = self.members.keys().cloned().collect();
        for id in ids {
            let assignment = assignments.get(&*id).map(|assignment| (*assignment).clone()).unwrap_or_default();
            let answer = self.sync_answer(assignment.clone());
            let Some(member) = self.members.get_mut(&id) else { continue };
            member.assignment = assignment;
            if let Some(token) = member.awaiting_sync.take() {
                ctx.answer(token, GroupResponse::Sync(answer));
                // Its session may have run out while it waited for the others.
                self.touch(ctx, &id);
            }
        }
    }

    /// Members of this generation that have not sent SyncGroup in time are out.
    pub(super) fn sync_expired(&mut self, ctx: &mut Context<'_>) {
        let late = !self.pending_syncs.is_empty() && matches!(self.state, ClassicState::CompletingRebalance | ClassicState::Stable);
        if !late {
            return;
        }
        for id in self.pending_syncs.clone() {
            self.expel(ctx, &id);
        }
        self.prepare_rebalance(ctx, "members did not send SyncGroup in time");
    }
}

fn refuse(ctx: &mut Context<'_>, token: Token, error: ErrorCode) {
    ctx.answer(token, GroupResponse::Sync(SyncAnswer::error(error)));
}
