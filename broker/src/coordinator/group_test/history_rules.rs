//! What must hold in every history whatever the machine decides: an offset goes only for a reason, an assignment has one owner.

use std::collections::BTreeMap;

use bytes::Bytes;
use coreline_wire::TopicId;

use super::history::{OFFSETS_RETENTION_MS, World};
use crate::coordinator::group::{ClassicState, DeletedTopic};
use crate::coordinator::request::OffsetDelete;

/// The event that is being taken in, as far as it may take offsets away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cause {
    Other,
    Retention,
    DeleteGroup(String),
    DeleteOffsets(OffsetDelete),
    TopicDeleted(DeletedTopic),
}

impl World {
    /// An offset is about to go, by a write to partition `log`: is there a reason? The deleted topic, if that is it.
    pub(super) fn check_tombstone(&mut self, log: i32, group_id: &str, topic: &str, partition: i32) -> Option<DeletedTopic> {
        let value = self.machine.images().find_map(|image| image.offset(group_id, topic, partition)).cloned();
        match self.cause.clone() {
            Cause::Retention if self.owed_for(log, topic, value.as_ref().map(|value| value.topic_id)).is_some() => {
                self.seen.retried += 1;
                return self.owed_for(log, topic, value.map(|value| value.topic_id));
            }
            Cause::Retention => {
                self.seen.expired += 1;
                let value = value.expect("only what is durable expires");
                let group = self.machine.group(group_id).expect("alive");
                let as_told = group.to_value(&BTreeMap::new(), 0);
                let used = as_told
                    .members
                    .iter()
                    .any(|member| member.subscription.windows(3).any(|w| w[..2] == [0, 1] && w[2] == topic.as_bytes()[0]));
                assert!(!used, "{topic}/{partition} of {group_id} expires and is read");
                assert!(
                    matches!(group.state(), ClassicState::Empty | ClassicState::Stable),
                    "an offset of {group_id} expires in {}",
                    group.state()
                );
                let old = |since: i64| self.now.wall_ms - since >= OFFSETS_RETENTION_MS;
                let was_left = group.settled_value().is_some_and(|value| !value.protocol_type.is_empty() && value.members.is_empty());
                let empty_for_long = was_left && old(group.settled_value().map_or(i64::MAX, |value| value.state_timestamp_ms));
                let due = match value.expire_timestamp_ms {
                    -1 => old(value.commit_timestamp_ms) || empty_for_long,
                    at_ms => self.now.wall_ms >= at_ms,
                };
                assert!(due, "{topic}/{partition} of {group_id} expires too early: {value:?}");
            }
            Cause::DeleteGroup(asked) => {
                assert_eq!(asked, group_id);
                let members = self.machine.group(group_id).map_or(0, |group| group.members().len());
                assert_eq!(members, 0, "{group_id} has members and its offsets are deleted");
            }
            Cause::DeleteOffsets(asked) => {
                self.seen.forgotten += 1;
                let is_asked = asked.group_id == group_id && asked.topics.iter().any(|(name, p)| name == topic && p.contains(&partition));
                assert!(is_asked, "nobody asked for {topic}/{partition} of {group_id}: {asked:?}");
            }
            Cause::TopicDeleted(asked) => {
                self.seen.of_deleted_topics += 1;
                assert_eq!(asked.name, topic);
                let of_it = value.is_none_or(|value| value.topic_id == asked.id || value.topic_id == TopicId::ZERO);
                assert!(of_it || self.writes_of(group_id), "{topic}/{partition} of {group_id} is of another topic");
                return Some(asked);
            }
            Cause::Other => panic!("{topic}/{partition} of {group_id} goes by itself"),
        }
        None
    }

    /// The deleted topic whose offsets in this partition of the log are still to go.
    fn owed_for(&self, log: i32, topic: &str, id: Option<TopicId>) -> Option<DeletedTopic> {
        let is_it = |gone: &DeletedTopic| gone.name == topic && id.is_none_or(|id| id == TopicId::ZERO || id == gone.id);
        self.owed.iter().find(|(partition, gone)| *partition == log && is_it(gone)).map(|(_, gone)| gone.clone())
    }

    fn writes_of(&self, group_id: &str) -> bool {
        self.in_flight.iter().any(|(_, _, records)| records.iter().any(|record| record.group() == group_id))
    }

    /// Each assignment of a generation is told to one member; a static member may come back for it under another id.
    pub(super) fn assigned(&mut self, who: usize, assignment: Bytes) {
        let client = &self.clients[who];
        let key = (client.group.clone(), client.generation, assignment.clone());
        let asks = (client.instance.clone(), client.member.clone());
        let owner = self.owners.entry(key).or_insert_with(|| asks.clone());
        let same = if owner.0.is_some() { owner.0 == asks.0 } else { *owner == asks };
        assert!(same, "{assignment:?} of generation {} in {} has two owners: {owner:?} and {asks:?}", client.generation, client.group);
    }
}
