//! Groups that nobody needs any more, and groups whose last write failed: looked for once per `offsets.retention.check.interval.ms`.

use coreline_wire::error_code::ErrorCode;

use super::state::ClassicState;
use super::write::PendingWrite;
use super::{Action, ClassicGroup, Context, Group, GroupCoordinator, Slot, Timer};
use crate::coordinator::Now;
use crate::coordinator::record::Record;

impl GroupCoordinator {
    /// Drops empty groups without offsets, writes again what could not be written, and sets the next look.
    pub(super) fn retention(&mut self, now: Now) -> Vec<Action> {
        let mut actions = vec![Action::SetTimer(Timer::Retention, now.ticks_ms + self.config.retention_check_interval_ms)];
        for partition in 0..self.slots.len() as i32 {
            if let Some((slot, mut ctx)) = self.open(partition, now)
                && slot.loaded
            {
                slot.retention(&mut ctx);
                actions.append(&mut ctx.actions);
            }
        }
        actions
    }
}

impl Slot {
    fn retention(&mut self, ctx: &mut Context<'_>) {
        let image = &self.image;
        for (id, group) in &mut self.groups {
            let Group::Classic(group) = group else { continue };
            if ctx.writes.any_of_group(id) || ctx.writes.len() >= ctx.config.max_pending_writes {
                continue;
            }
            if group.is_unused() && !image.offsets.contains_key(&**id) {
                ctx.append(vec![Record::Group { group: id.to_string(), value: None }], PendingWrite::Tombstone);
            } else if group.unwritten {
                group.write_state(ctx);
            }
        }
    }

    /// The log has forgotten the group; so does memory, unless somebody came meanwhile.
    pub(super) fn tombstone_written(&mut self, ctx: &mut Context<'_>, group_id: &str, outcome: Result<(), ErrorCode>) {
        let Some(Group::Classic(group)) = self.groups.get_mut(group_id) else { return };
        if outcome.is_err() || !group.is_unused() {
            return;
        }
        if ctx.writes.any_of_group(group_id) {
            // Whatever is on its way may need the group; it is written again, or dropped, at the next look.
            group.unwritten = true;
            return;
        }
        if self.image.knows(group_id) {
            // Offsets were committed meanwhile: they belong to a group that begins again, as it would after a restart.
            *group = ClassicGroup::new(group.id.clone(), ctx.now.wall_ms);
            return;
        }
        group.move_to(ClassicState::Dead, ctx.now.wall_ms);
        self.groups.remove(group_id);
    }
}

impl ClassicGroup {
    fn is_unused(&self) -> bool {
        self.is(ClassicState::Empty) && self.pending_joins.is_empty()
    }
}
