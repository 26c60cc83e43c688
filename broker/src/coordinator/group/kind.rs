//! A live group is of one kind at a time: classic, or of the consumer protocol (KIP-848). Both go by one name space.

use super::{ClassicGroup, Slot};
use crate::coordinator::group::consumer::ConsumerGroup;

/// A live group.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(clippy::large_enum_variant)] // Most groups are classic.
pub enum Group {
    /// Members coordinate by JoinGroup and SyncGroup; also a group that only has offsets.
    Classic(ClassicGroup),
    /// The coordinator assigns, members reconcile by heartbeats.
    Consumer(Box<ConsumerGroup>),
}

impl Group {
    /// The classic group, if it is one.
    pub fn classic(&self) -> Option<&ClassicGroup> {
        match self {
            Group::Classic(group) => Some(group),
            Group::Consumer(_) => None,
        }
    }

    /// The consumer group, if it is one.
    pub fn consumer(&self) -> Option<&ConsumerGroup> {
        match self {
            Group::Classic(_) => None,
            Group::Consumer(group) => Some(group),
        }
    }
}

impl Slot {
    /// The classic group of this name; `None` for a group of another kind.
    pub(super) fn classic(&self, group_id: &str) -> Option<&ClassicGroup> {
        self.groups.get(group_id).and_then(Group::classic)
    }

    /// The classic group of this name, to change; `None` for a group of another kind.
    pub(super) fn classic_mut(&mut self, group_id: &str) -> Option<&mut ClassicGroup> {
        match self.groups.get_mut(group_id) {
            Some(Group::Classic(group)) => Some(group),
            _ => None,
        }
    }
}
