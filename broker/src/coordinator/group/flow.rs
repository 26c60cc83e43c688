//! Which part of the machine takes a request or a deadline, what goes on behind a write, what publications and searches bring.

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use coreline_wire::error_code::ErrorCode;

use super::consumer::Waiting;
use super::{Action, Context, Group, GroupCoordinator, Slot, Timer, Token};
use crate::coordinator::Now;
use crate::coordinator::cluster::ClusterChange;
use crate::coordinator::request::GroupRequest;

/// A publication about more topics than this makes all consumer groups look at theirs.
const TOPICS_LOOKED_FOR: usize = 64;

impl GroupCoordinator {
    /// Consumer groups look at their topics again when their members are heard of next.
    pub(super) fn published(&mut self, change: ClusterChange) -> Vec<Action> {
        let ClusterChange { cluster, topics, names_changed } = change;
        self.cluster = cluster;
        if names_changed {
            self.regexes.names_changed();
        }
        let mut actions = Vec::new();
        for slot in &mut self.slots {
            for (id, group) in &mut slot.groups {
                let Group::Consumer(group) = group else { continue };
                let Some(state) = slot.image.consumer.get(&**id) else {
                    // Its first write is under way.
                    group.stale = true;
                    continue;
                };
                // To look once too often costs less than to look for every topic of many.
                let many = topics.len() > TOPICS_LOOKED_FOR;
                let concerned = || many || topics.iter().any(|topic| state.subscribes(topic));
                group.stale |= names_changed && !state.regexes.is_empty() || concerned();
                // Searched by the time that a member is heard of, so that the group's epoch rises once.
                let patterns = state.regexes.keys().filter(|_| names_changed);
                let searches = patterns.filter_map(|pattern| self.regexes.search(pattern, &self.cluster));
                actions.extend(searches.map(Action::Search));
            }
        }
        actions
    }

    pub(super) fn searched(&mut self, pattern: &Rc<str>, version: u64, found: BTreeSet<String>, now: Now) -> Vec<Action> {
        if !self.regexes.searched(pattern, version, found) {
            let waited_for = self.slots.iter().any(|slot| slot.searching.contains_key(&**pattern));
            let search = if waited_for { self.regexes.search(pattern, &self.cluster) } else { None };
            return search.into_iter().map(Action::Search).collect();
        }
        let mut actions = Vec::new();
        let is_full = self.group_count() >= self.config.max_groups;
        for partition in 0..self.slots.len() as i32 {
            let Some((slot, mut ctx)) = self.open(partition, now) else { continue };
            for waiting in slot.searching.remove(&**pattern).unwrap_or_default() {
                let Waiting::Request { token, request, nonce } = waiting else { continue };
                slot.dispatch(&mut ctx, token, request, nonce, is_full);
            }
            actions.append(&mut ctx.actions);
        }
        actions
    }
}

impl Slot {
    pub(super) fn dispatch(&mut self, ctx: &mut Context<'_>, token: Token, request: GroupRequest, nonce: [u8; 16], is_full: bool) {
        let is_new = || request.group_id().is_some_and(|id| !self.groups.contains_key(id));
        if is_full && matches!(request, GroupRequest::ConsumerHeartbeat(_)) && is_new() {
            return ctx.answer(token, request.refuse(ErrorCode::CoordinatorNotAvailable));
        }
        let Some(request) = self.consumer_request(ctx, token, request, nonce) else { return };
        match request {
            GroupRequest::Join(request) => self.join(ctx, token, request, nonce, is_full),
            GroupRequest::Sync(request) => self.sync(ctx, token, request),
            GroupRequest::Heartbeat(request) => self.heartbeat(ctx, token, &request),
            GroupRequest::Leave(request) => self.leave(ctx, token, request),
            GroupRequest::Commit(request) => self.commit(ctx, token, request, is_full),
            GroupRequest::Fetch(request) => self.fetch(ctx, token, request),
            GroupRequest::Describe(group_id) => self.describe(ctx, token, &group_id),
            GroupRequest::Delete(group_id) => self.delete(ctx, token, &group_id),
            GroupRequest::DeleteOffsets(request) => self.delete_offsets(ctx, token, request),
            GroupRequest::Locate | GroupRequest::List(_) | GroupRequest::ConsumerHeartbeat(_) | GroupRequest::ConsumerDescribe { .. } => {}
        }
    }

    pub(super) fn expired(&mut self, ctx: &mut Context<'_>, timer: Timer) {
        let Some(timer) = self.consumer_expired(ctx, timer) else { return };
        match timer {
            Timer::Session { group, member } => {
                if let Some(group) = self.classic_mut(&group) {
                    group.session_expired(ctx, &member);
                }
            }
            Timer::Rebalance(group) => {
                if let Some(group) = self.classic_mut(&group) {
                    group.rebalance_expired(ctx);
                }
            }
            Timer::Sync(group) => {
                if let Some(group) = self.classic_mut(&group) {
                    group.sync_expired(ctx);
                }
            }
            _ => {}
        }
    }

    /// What waited for the writes of a group goes on, until somebody writes again.
    pub(super) fn go_on(&mut self, ctx: &mut Context<'_>, group_id: &str, is_full: bool) {
        while !ctx.writes.any_state_of_group(group_id) {
            let Some(waiting) = self.waiting.get_mut(group_id).and_then(VecDeque::pop_front) else { break };
            match waiting {
                Waiting::Request { token, request, nonce } => self.dispatch(ctx, token, request, nonce, is_full),
                Waiting::Expired(timer) => self.expired(ctx, timer),
            }
        }
        if self.waiting.get(group_id).is_some_and(VecDeque::is_empty) {
            self.waiting.remove(group_id);
        }
    }
}
