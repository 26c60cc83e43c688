//! ListGroups, DescribeGroups, DeleteGroups, OffsetDelete: what an administrator sees of the groups and may take away.

use std::collections::BTreeSet;

use bytes::Bytes;
use coreline_wire::error_code::ErrorCode;

use super::embedded::CONSUMER;
use super::member::Member;
use super::state::ClassicState;
use super::write::{PendingWrite, Removal};
use super::{ClassicGroup, Context, Group, GroupCoordinator, Slot, Token};
use crate::coordinator::record::Record;
use crate::coordinator::request::{
    DescribeAnswer, DescribedMember, GroupResponse, ListAnswer, ListGroups, ListedGroup, OffsetDelete, OffsetDeleteAnswer,
};

/// The type of these groups in lists.
const CLASSIC: &str = "classic";
/// Tombstones of one write; a group with more offsets takes several.
const TOMBSTONES_PER_WRITE: usize = 1_000;

impl GroupCoordinator {
    /// The groups of all partitions that pass the filters.
    pub(super) fn list(&self, request: &ListGroups) -> ListAnswer {
        if self.slots.iter().any(|slot| !slot.loaded) {
            return ListAnswer { error: ErrorCode::CoordinatorLoadInProgress, groups: Vec::new() };
        }
        let passes =
            |filter: &[String], value: &str| filter.is_empty() || filter.iter().any(|text| text.trim().eq_ignore_ascii_case(value));
        let groups = self.slots.iter().flat_map(|slot| slot.groups.values().map(|group| slot.listed(group)));
        let groups = groups.filter(|group| passes(&request.states, group.state) && passes(&request.types, group.kind));
        ListAnswer { error: ErrorCode::None, groups: groups.collect() }
    }
}

impl Slot {
    pub(super) fn describe(&self, ctx: &mut Context<'_>, token: Token, group_id: &str) {
        let missing = |message: String| DescribeAnswer {
            error: ErrorCode::GroupIdNotFound,
            message: Some(message),
            state: ClassicState::Dead.name(),
            ..DescribeAnswer::default()
        };
        let answer = match self.groups.get(group_id) {
            Some(Group::Classic(group)) => group.described(),
            Some(Group::Consumer(_)) => missing(format!("Group {group_id} is not a classic group.")),
            None => missing(format!("Group {group_id} not found.")),
        };
        ctx.answer(token, GroupResponse::Described(answer));
    }

    /// Takes a group without members away, with all of its offsets.
    pub(super) fn delete(&mut self, ctx: &mut Context<'_>, token: Token, group_id: &str) {
        let refusal = match self.groups.get(group_id) {
            None => Some(ErrorCode::GroupIdNotFound),
            Some(Group::Classic(group)) if !group.is(ClassicState::Empty) => Some(ErrorCode::NonEmptyGroup),
            Some(_) => None,
        };
        if let Some(error) = refusal {
            return ctx.answer(token, GroupResponse::Deleted(error));
        }
        let mut records = self.offset_tombstones(ctx, group_id);
        records.push(Record::Group { group: group_id.to_owned(), value: None });
        append_in_parts(ctx, records, PendingWrite::Deleted { token, error: ErrorCode::None });
    }

    /// Takes offsets away that no member uses.
    pub(super) fn delete_offsets(&mut self, ctx: &mut Context<'_>, token: Token, request: OffsetDelete) {
        let error = match self.groups.get(request.group_id.as_str()) {
            None => ErrorCode::GroupIdNotFound,
            Some(Group::Classic(group)) => group.validate_offset_delete(),
            Some(Group::Consumer(_)) => ErrorCode::None,
        };
        if !error.is_ok() {
            return ctx.answer(token, GroupResponse::DeletedOffsets(OffsetDeleteAnswer { error, topics: Vec::new() }));
        }
        let subscribed = |topic: &str| self.is_subscribed(&request.group_id, topic);
        let outcome = |topic: &str| if subscribed(topic) { ErrorCode::GroupSubscribedToTopic } else { ErrorCode::None };
        let topics = request.topics.into_iter().map(|(topic, partitions)| {
            let error = outcome(&topic);
            (topic, partitions.into_iter().map(|partition| (partition, error)).collect::<Vec<_>>())
        });
        let answer = OffsetDeleteAnswer { error: ErrorCode::None, topics: topics.collect() };
        let asked =
            answer.topics.iter().flat_map(|(topic, partitions)| partitions.iter().map(move |(p, error)| (topic.as_str(), *p, *error)));
        let asked = asked.filter(|(.., error)| error.is_ok()).map(|(topic, partition, _)| (topic, partition));
        let on_the_way = offsets_on_the_way(ctx, &request.group_id);
        let known = |(topic, partition): &(&str, i32)| {
            self.image.offset(&request.group_id, topic, *partition).is_some() || on_the_way.contains(&(*topic, *partition))
        };
        let keys: BTreeSet<(&str, i32)> = asked.filter(known).collect();
        let records: Vec<Record> = keys.into_iter().map(|(topic, partition)| tombstone(&request.group_id, topic, partition)).collect();
        if records.is_empty() {
            return ctx.answer(token, GroupResponse::DeletedOffsets(answer));
        }
        append_in_parts(ctx, records, PendingWrite::DeletedOffsets { token, answer });
    }

    /// Tombstones for all offsets of a group, those that are on their way to the log included.
    pub(super) fn offset_tombstones(&self, ctx: &Context<'_>, group_id: &str) -> Vec<Record> {
        let mut keys = offsets_on_the_way(ctx, group_id);
        for (topic, partitions) in self.image.offsets.get(group_id).into_iter().flatten() {
            keys.extend(partitions.keys().map(|partition| (topic.as_str(), *partition)));
        }
        keys.into_iter().map(|(topic, partition)| tombstone(group_id, topic, partition)).collect()
    }
}

/// Offsets of a group whose commit is not durable yet.
fn offsets_on_the_way<'a>(ctx: &'a Context<'_>, group_id: &'a str) -> BTreeSet<(&'a str, i32)> {
    let key = |record: &'a Record| match record {
        Record::Offset { topic, partition, value: Some(_), .. } => Some((topic.as_str(), *partition)),
        _ => None,
    };
    ctx.writes.records_of_group(group_id).filter_map(key).collect()
}

/// What removes an offset from the log.
pub(super) fn tombstone(group_id: &str, topic: &str, partition: i32) -> Record {
    Record::Offset { group: group_id.to_owned(), topic: topic.to_owned(), partition, value: None }
}

/// Appends records in writes of a bounded size; `last` waits for the last of them, and so for all, and learns of a failure of any.
pub(super) fn append_in_parts(ctx: &mut Context<'_>, mut records: Vec<Record>, last: PendingWrite) {
    let last_count = (records.len().max(1) - 1) % TOMBSTONES_PER_WRITE + 1;
    let rest = records.split_off(records.len() - last_count.min(records.len()));
    let of = if let PendingWrite::Offsets(removal) = &last { removal.clone() } else { Removal::default() };
    append_parts(ctx, &records, of);
    ctx.append(rest, last);
}

/// Appends what goes before the next write of the context, which belongs to it.
pub(super) fn append_parts(ctx: &mut Context<'_>, records: &[Record], removal: Removal) {
    for part in records.chunks(TOMBSTONES_PER_WRITE) {
        ctx.append(part.to_vec(), PendingWrite::Offsets(removal.clone()));
    }
    ctx.parts = Some(removal.parts);
}

impl Slot {
    fn listed(&self, group: &Group) -> ListedGroup {
        match group {
            Group::Classic(group) => group.listed(),
            Group::Consumer(group) => ListedGroup {
                group_id: group.id.to_string(),
                protocol_type: CONSUMER.to_owned(),
                state: self.image.consumer.get(&*group.id).map_or(ClassicState::Empty.name(), |state| state.state().name()),
                kind: CONSUMER,
            },
        }
    }

    /// Whether offsets of this topic are in use.
    pub(super) fn is_subscribed(&self, group_id: &str, topic: &str) -> bool {
        match self.groups.get(group_id) {
            None => false,
            Some(Group::Classic(group)) => group.is_subscribed(topic),
            Some(Group::Consumer(_)) => self.image.consumer.get(group_id).is_some_and(|state| state.subscribes(topic)),
        }
    }
}

impl ClassicGroup {
    fn listed(&self) -> ListedGroup {
        ListedGroup {
            group_id: self.id.to_string(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            state: self.state.name(),
            kind: CLASSIC,
        }
    }

    /// Metadata only of a stable generation: while members rejoin it is not known which protocol theirs will be of.
    fn described(&self) -> DescribeAnswer {
        let protocol = self.protocol_name.clone().filter(|_| self.is(ClassicState::Stable));
        let describe = |member: &Member| DescribedMember {
            member_id: member.id.to_string(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: protocol.as_deref().map_or_else(Bytes::new, |protocol| member.metadata(protocol)),
            assignment: member.assignment.clone(),
        };
        DescribeAnswer {
            error: ErrorCode::None,
            message: None,
            state: self.state.name(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            members: self.members.values().map(describe).collect(),
            protocol: protocol.clone().unwrap_or_default(),
        }
    }

    /// Only groups of consumers tell which offsets they use; the others use all while they have members.
    fn validate_offset_delete(&self) -> ErrorCode {
        match self.state {
            ClassicState::Dead => ErrorCode::GroupIdNotFound,
            ClassicState::Empty => ErrorCode::None,
            _ if self.is_of_consumers() => ErrorCode::None,
            _ => ErrorCode::NonEmptyGroup,
        }
    }
}
