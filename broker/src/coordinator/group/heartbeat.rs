//! Heartbeat, and what happens when none comes: the end of a session.

use std::rc::Rc;

use coreline_wire::error_code::ErrorCode;

use super::state::ClassicState;
use super::{ClassicGroup, Context, Slot, Token};
use crate::coordinator::request::{GroupResponse, Heartbeat};

impl Slot {
    pub(super) fn heartbeat(&mut self, ctx: &mut Context<'_>, token: Token, request: &Heartbeat) {
        let group = self.classic(&request.group_id);
        let error = group.map_or(ErrorCode::UnknownMemberId, |group| group.heartbeat(ctx, request));
        ctx.answer(token, GroupResponse::Heartbeat(error));
    }
}

impl ClassicGroup {
    fn heartbeat(&self, ctx: &mut Context<'_>, request: &Heartbeat) -> ErrorCode {
        let error = self.validate_member(&request.member_id, request.instance_id.as_deref());
        if !error.is_ok() {
            return error;
        }
        if request.generation_id != self.generation_id {
            return ErrorCode::IllegalGeneration;
        }
        match self.state {
            ClassicState::Empty | ClassicState::Dead => ErrorCode::UnknownMemberId,
            ClassicState::PreparingRebalance => {
                self.touch(ctx, &request.member_id);
                ErrorCode::RebalanceInProgress
            }
            // Consumers beat from the answer to JoinGroup on, before they have an assignment.
            ClassicState::CompletingRebalance | ClassicState::Stable => {
                self.touch(ctx, &request.member_id);
                ErrorCode::None
            }
        }
    }

    /// A session is over. Who waits for the group, not the group for it, stays; a new member that waits too long does not.
    pub(super) fn session_expired(&mut self, ctx: &mut Context<'_>, member_id: &Rc<str>) {
        if self.pending_joins.contains(member_id) {
            return self.drop_pending_join(ctx, member_id);
        }
        let Some(member) = self.members.get(member_id) else { return };
        let waits = member.awaiting_join.is_some() || member.awaiting_sync.is_some();
        if waits && !member.is_new {
            return;
        }
        tracing::info!(group = %self.id, member = %member_id, "the session is over, the member is removed");
        self.remove_and_go_on(ctx, member_id, "a session is over");
    }
}
