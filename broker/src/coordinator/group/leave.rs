//! LeaveGroup: members go by themselves, or an administrator removes static ones by name (v3+).

use std::rc::Rc;

use coreline_wire::error_code::ErrorCode;

use super::{ClassicGroup, Context, Slot, Token};
use crate::coordinator::request::{GroupResponse, LeaveAnswer, LeaveGroup, LeavingMember};

impl Slot {
    pub(super) fn leave(&mut self, ctx: &mut Context<'_>, token: Token, request: LeaveGroup) {
        let LeaveGroup { group_id, members } = request;
        let members = match self.classic_mut(&group_id) {
            Some(group) => group.leave(ctx, members),
            None => members.into_iter().map(|member| (member, ErrorCode::UnknownMemberId)).collect(),
        };
        ctx.answer(token, GroupResponse::Leave(LeaveAnswer { error: ErrorCode::None, members }));
        self.settle(ctx, &group_id);
    }
}

impl ClassicGroup {
    /// All go before the rest of the group goes on, so that there is one rebalance.
    fn leave(&mut self, ctx: &mut Context<'_>, members: Vec<LeavingMember>) -> Vec<(LeavingMember, ErrorCode)> {
        let mut left = false;
        let mut outcomes = Vec::with_capacity(members.len());
        for member in members {
            let outcome = self.leave_one(ctx, &member);
            left |= outcome.is_ok();
            outcomes.push((member, outcome));
        }
        if left {
            self.go_on_after_leave(ctx);
        }
        outcomes
    }

    fn leave_one(&mut self, ctx: &mut Context<'_>, member: &LeavingMember) -> ErrorCode {
        let by_name = member.instance_id.as_ref().and_then(|instance_id| self.static_members.get(instance_id)).cloned();
        if member.member_id.is_empty() {
            let Some(id) = by_name else { return ErrorCode::UnknownMemberId };
            self.expel(ctx, &id);
            return ErrorCode::None;
        }
        let member_id: Rc<str> = Rc::from(member.member_id.as_str());
        if self.pending_joins.contains(&member_id) {
            self.drop_pending_join(ctx, &member_id);
            return ErrorCode::None;
        }
        let error = self.validate_member(&member_id, member.instance_id.as_deref());
        if error.is_ok() {
            self.expel(ctx, &member_id);
        }
        error
    }

    fn go_on_after_leave(&mut self, ctx: &mut Context<'_>) {
        use super::ClassicState::{CompletingRebalance, PreparingRebalance, Stable};
        match self.state {
            Stable | CompletingRebalance => self.prepare_rebalance(ctx, "members leave"),
            PreparingRebalance => self.complete_when_all_joined(ctx),
            super::ClassicState::Empty | super::ClassicState::Dead => {}
        }
    }
}
