//! One step of a member towards its target: what it keeps, what it must give up, what it gets now, what it waits for.
//!
//! ```text
//!                    nothing to give up, nothing to wait for
//!   Stable ------------------------------------------------------> Stable at the target's epoch
//!     |  must give up                     | has to wait for others
//!     v                                   v
//!   UnrevokedPartitions --confirmed--> UnreleasedPartitions --free at last--> Stable
//! ```
//!
//! A partition is given only when nobody has it any more, and it counts as had until its member confirms that it is given up.

use coreline_wire::TopicId;

use super::state::ConsumerState;
use crate::coordinator::consumer_record::{CurrentValue, MemberState, OwnedPartitions, Partitions};

/// The member must begin again from nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Fenced;

/// The member's next state. `owned` is what it says it owns, if it says so.
pub(super) fn reconcile(state: &ConsumerState, member: &str, owned: Option<&Partitions>) -> Result<CurrentValue, Fenced> {
    let current = state.current_of(member);
    let target_epoch = state.assignment_epoch();
    let nothing = Partitions::new();
    let target = state.targets.get(member).unwrap_or(&nothing);
    let step = Step { state, target, target_epoch, owned, current: &current };
    match current.state {
        MemberState::Stable if current.epoch == target_epoch => Ok(current),
        MemberState::Stable | MemberState::UnreleasedPartitions => Ok(step.next(current.epoch)),
        MemberState::UnrevokedPartitions if step.owns_any(&current.revoking) => Ok(current),
        // All is given up: the member is one epoch further.
        MemberState::UnrevokedPartitions => Ok(step.next(current.epoch.saturating_add(1))),
        MemberState::Unknown if owned.is_some_and(Partitions::is_empty) => Ok(step.next(target_epoch)),
        MemberState::Unknown => Err(Fenced),
    }
}

struct Step<'a> {
    state: &'a ConsumerState,
    target: &'a Partitions,
    target_epoch: i32,
    owned: Option<&'a Partitions>,
    current: &'a CurrentValue,
}

impl Step<'_> {
    /// A member that does not say what it owns may own anything that it had.
    fn owns_any(&self, partitions: &OwnedPartitions) -> bool {
        let Some(owned) = self.owned else { return true };
        let held = |topic: &TopicId, partition: &i32| partitions.get(topic).is_some_and(|held| held.contains_key(partition));
        owned.iter().any(|(topic, owned)| owned.iter().any(|partition| held(topic, partition)))
    }

    fn next(&self, member_epoch: i32) -> CurrentValue {
        let mut keeps = OwnedPartitions::new();
        let mut revoking = OwnedPartitions::new();
        for (topic, partitions) in &self.current.assigned {
            for (partition, epoch) in partitions {
                let stays = self.target.get(topic).is_some_and(|target| target.contains(partition));
                let into = if stays { &mut keeps } else { &mut revoking };
                into.entry(*topic).or_default().insert(*partition, *epoch);
            }
        }
        if !revoking.is_empty() && self.owns_any(&revoking) {
            return self.value(member_epoch, MemberState::UnrevokedPartitions, keeps, revoking);
        }
        let mut waits = false;
        for (topic, partitions) in self.target {
            for partition in partitions {
                if keeps.get(topic).is_some_and(|kept| kept.contains_key(partition)) {
                    continue;
                }
                if self.state.owner(*topic, *partition).is_some() {
                    waits = true;
                } else {
                    keeps.entry(*topic).or_default().insert(*partition, self.target_epoch);
                }
            }
        }
        let state = if waits { MemberState::UnreleasedPartitions } else { MemberState::Stable };
        self.value(self.target_epoch, state, keeps, OwnedPartitions::new())
    }

    fn value(&self, epoch: i32, state: MemberState, assigned: OwnedPartitions, revoking: OwnedPartitions) -> CurrentValue {
        let previous_epoch = if epoch == self.current.epoch { self.current.previous_epoch } else { self.current.epoch };
        CurrentValue { epoch, previous_epoch, state, assigned, revoking }
    }
}

/// A member that waits for partitions of others still has to.
pub(super) fn still_waits(state: &ConsumerState, member: &str) -> bool {
    let current = state.current_of(member);
    let Some(target) = state.targets.get(member) else { return false };
    let missing = |topic: &TopicId, partition: &i32| !current.assigned.get(topic).is_some_and(|had| had.contains_key(partition));
    target.iter().any(|(topic, partitions)| partitions.iter().any(|p| missing(topic, p) && state.owner(*topic, *p).is_some()))
}
