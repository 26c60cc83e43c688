//! Deadlines of consumer groups: set by decisions, after a reload, and what happens when one passes.

use std::borrow::Cow;
use std::rc::Rc;

use super::draft::Draft;
use super::slot::Waiting;
use super::{ConsumerGroup, Deadline, View};
use crate::coordinator::consumer_record::MemberState;
use crate::coordinator::group::{Context, Group, Slot, Timer};

impl Slot {
    pub(super) fn set_deadlines(&mut self, ctx: &mut Context<'_>, group_id: &Rc<str>, deadlines: Vec<Deadline>) {
        let mut forgotten = Default::default();
        let rejoining = match self.groups.get_mut(group_id) {
            Some(Group::Consumer(group)) => &mut group.rejoining,
            _ => &mut forgotten,
        };
        let name = |member: &str| (group_id.clone(), Rc::<str>::from(member));
        let mut set = |timer: Timer, after_ms: Option<i32>| match after_ms {
            Some(after_ms) => ctx.set_timer(timer, after_ms),
            None => ctx.clear_timer(timer),
        };
        for deadline in deadlines {
            match deadline {
                Deadline::Session(id, after_ms) => {
                    let (group, member) = name(&id);
                    set(Timer::Session { group, member }, Some(after_ms));
                }
                Deadline::Reconcile(id, after_ms) => {
                    let (group, member) = name(&id);
                    set(Timer::Reconcile { group, member }, after_ms);
                }
                Deadline::Rejoin(id, after_ms) => {
                    let (group, member) = name(&id);
                    match after_ms {
                        Some(_) if !rejoining.insert(id) => {}
                        Some(after_ms) => set(Timer::Rejoin { group, member }, Some(after_ms)),
                        None => {
                            rejoining.remove(&*member);
                            set(Timer::Rejoin { group, member }, None);
                        }
                    }
                }
                Deadline::Sync(id, after_ms) => {
                    let (group, member) = name(&id);
                    set(Timer::MemberSync { group, member }, after_ms);
                }
                Deadline::None(id) => {
                    rejoining.remove(&id);
                    let (group, member) = name(&id);
                    set(Timer::Session { group: group.clone(), member: member.clone() }, None);
                    set(Timer::Reconcile { group: group.clone(), member: member.clone() }, None);
                    set(Timer::Rejoin { group: group.clone(), member: member.clone() }, None);
                    set(Timer::MemberSync { group, member }, None);
                }
            }
        }
    }

    /// Takes a deadline that is about a consumer group, or about a group that is about to change its kind; gives back any other.
    pub(in crate::coordinator::group) fn consumer_expired(&mut self, ctx: &mut Context<'_>, timer: Timer) -> Option<Timer> {
        let (group_id, member) = match &timer {
            Timer::Session { group, member }
            | Timer::Reconcile { group, member }
            | Timer::Rejoin { group, member }
            | Timer::MemberSync { group, member } => (group.clone(), Some(member.to_string())),
            Timer::Rebalance(group) | Timer::Sync(group) => (group.clone(), None),
            _ => return Some(timer),
        };
        if self.converting.contains(&group_id) {
            self.wait(ctx, &group_id, Waiting::Expired(timer));
            return None;
        }
        let (Some(Group::Consumer(group)), Some(member)) = (self.groups.get_mut(&group_id), member) else { return Some(timer) };
        if matches!(timer, Timer::Rejoin { .. }) {
            group.rejoining.remove(&member);
        }
        if ctx.writes.any_state_of_group(&group_id) {
            self.wait(ctx, &group_id, Waiting::Expired(timer));
            return None;
        }
        let state = self.image.consumer.get(&*group_id)?;
        let current = state.current_of(&member);
        let is_over = state.members.contains_key(&member)
            && (!matches!(timer, Timer::Reconcile { .. }) || current.state == MemberState::UnrevokedPartitions);
        if is_over {
            tracing::info!(group = %group_id, %member, %timer, "a deadline has passed, the member is removed");
            let view =
                View { now: ctx.now, config: ctx.config, cluster: ctx.cluster, regexes: ctx.regexes, group_id: &group_id, stale: false };
            let draft = Draft::new(&group_id, Cow::Borrowed(state));
            let decision = self.fence(&view, draft, &[member], None);
            self.carry_out(ctx, &group_id, None, decision);
        }
        None
    }

    /// After a reload: every member has a full session to report in, and the full time to give up partitions.
    pub(in crate::coordinator::group) fn resume_consumer(&mut self, ctx: &mut Context<'_>, group_id: &str) {
        let group_id: Rc<str> = Rc::from(group_id);
        let Some(state) = self.image.consumer.get(&*group_id) else { return };
        let mut deadlines = Vec::new();
        for (id, member) in &state.members {
            deadlines.push(Deadline::Session(id.clone(), self.session_timeout_ms(ctx, &group_id, id)));
            if member.classic.is_none() && state.current_of(id).state == MemberState::UnrevokedPartitions {
                deadlines.push(Deadline::Reconcile(id.clone(), Some(member.rebalance_timeout_ms)));
            }
        }
        self.groups.insert(group_id.clone(), Group::Consumer(Box::new(ConsumerGroup::new(group_id.clone()))));
        self.set_deadlines(ctx, &group_id, deadlines);
    }

    pub(super) fn session_timeout_ms(&self, ctx: &Context<'_>, group_id: &str, member: &str) -> i32 {
        let classic = self.image.consumer.get(group_id).and_then(|state| state.members.get(member)?.classic.as_ref());
        let view = View { now: ctx.now, config: ctx.config, cluster: ctx.cluster, regexes: ctx.regexes, group_id, stale: false };
        classic.map_or_else(|| view.session_timeout_ms(), |classic| classic.session_timeout_ms)
    }
}
