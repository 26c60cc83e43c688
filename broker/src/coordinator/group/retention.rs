//! What nobody needs any more: expired offsets, offsets of deleted topics, empty groups without offsets. Also groups whose last write failed.
//!
//! Looked for once per `offsets.retention.check.interval.ms`. Offsets expire `offsets.retention.minutes` after the group became empty, and
//! those of topics that no consumer of a stable group reads, or that were committed without group management, that long after their
//! commit; what came with a retention of its own (OffsetCommit v2 to v4) when that is over.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use coreline_wire::TopicId;
use coreline_wire::error_code::ErrorCode;

use super::admin::{append_in_parts, tombstone};
use super::state::ClassicState;
use super::write::{PendingWrite, Removal};
use super::{Action, ClassicGroup, ConsumerState, Context, DeletedTopic, Group, GroupCoordinator, Slot, Timer};
use crate::coordinator::Now;
use crate::coordinator::record::{OffsetValue, Record};

/// How long after a failure the offsets of a deleted topic are removed again, milliseconds.
const REMOVAL_RETRY_MS: i64 = 10_000;

impl GroupCoordinator {
    /// Looks at one partition: expired offsets and empty groups without offsets go, what could not be written is written again. Each
    /// partition has its turn once per interval, one after the other, so that no turn is long.
    pub(super) fn retention(&mut self, partition: i32, now: Now) -> Vec<Action> {
        let next = Action::SetTimer(Timer::Retention(partition), now.ticks_ms + self.config.retention_check_interval_ms);
        let mut actions = vec![next];
        if let Some((slot, mut ctx)) = self.open(partition, now)
            && slot.loaded
        {
            let deleted = std::mem::take(&mut slot.deleted_topics);
            slot.forget_topics(&mut ctx, deleted.into_iter().collect());
            slot.retention(&mut ctx);
            slot.consumer_retention(&mut ctx);
            actions.append(&mut ctx.actions);
        }
        actions
    }

    /// Topics are gone, and with them what was committed for them in this partition. While it is loaded they are remembered.
    pub(super) fn topics_deleted(&mut self, partition: i32, topics: &[DeletedTopic], now: Now) -> Vec<Action> {
        let Some((slot, mut ctx)) = self.open(partition, now) else { return Vec::new() };
        if slot.loaded {
            slot.forget_topics(&mut ctx, topics.iter().cloned().collect());
        } else {
            slot.deleted_topics.extend(topics.iter().cloned());
        }
        ctx.actions
    }
}

impl Slot {
    fn retention(&mut self, ctx: &mut Context<'_>) {
        for (id, group) in &mut self.groups {
            if ctx.writes.any_of_group(id) || self.converting.contains(id) || ctx.writes.len() >= ctx.config.max_pending_writes {
                continue;
            }
            let offsets = self.image.offsets.get(&**id);
            if let (Group::Classic(group), Some(_)) = (&mut *group, offsets)
                && group.unwritten
            {
                // First the log has to know since when the group is empty.
                group.write_state(ctx);
                continue;
            }
            let expiry = match offsets {
                Some(offsets) => group.expire(offsets, self.image.consumer.get(&**id), ctx.now.wall_ms, ctx.config.offsets_retention_ms),
                None => Some(Expiry::NOTHING_LEFT),
            };
            let Some(Expiry { expired, all }) = expiry else { continue };
            let mut records: Vec<Record> = expired.into_iter().map(|(topic, partition)| tombstone(id, topic, partition)).collect();
            let Group::Classic(group) = group else {
                if !records.is_empty() {
                    append_in_parts(ctx, records, PendingWrite::Offsets(Removal::default()));
                }
                continue;
            };
            if all && group.is_unused() {
                records.push(Record::Group { group: id.to_string(), value: None });
                append_in_parts(ctx, records, PendingWrite::Tombstone);
            } else if group.unwritten {
                group.write_state(ctx);
            } else if !records.is_empty() {
                append_in_parts(ctx, records, PendingWrite::Offsets(Removal::default()));
            }
        }
    }

    /// Tombstones for what was committed for topics that do not exist any more, or is about to be.
    pub(super) fn forget_topics(&mut self, ctx: &mut Context<'_>, topics: Rc<[DeletedTopic]>) {
        if topics.is_empty() {
            return;
        }
        // Without an id it may be of this topic; with another one it is of a topic that had or has this name.
        let is_deleted = |topic: &str, id: TopicId| topics.iter().any(|gone| gone.name == topic && (id == TopicId::ZERO || id == gone.id));
        let mut gone: BTreeMap<String, BTreeSet<(String, i32)>> = BTreeMap::new();
        let mut note = |group: &str, topic: &str, partition: i32, value: &OffsetValue| {
            if is_deleted(topic, value.topic_id) {
                gone.entry(group.to_owned()).or_default().insert((topic.to_owned(), partition));
            }
        };
        for (group, by_topic) in &self.image.offsets {
            for DeletedTopic { name, .. } in &*topics {
                let partitions = by_topic.get(name).into_iter().flatten();
                partitions.for_each(|(partition, value)| note(group, name, *partition, value));
            }
        }
        for record in ctx.writes.records_of_partition(ctx.partition) {
            if let Record::Offset { group, topic, partition, value: Some(value) } = record {
                note(group, topic, *partition, value);
            }
        }
        if ctx.writes.len() + gone.len() > ctx.config.max_pending_writes {
            tracing::warn!(topics = topics.len(), "too many writes wait; offsets of deleted topics are removed later");
            return self.forget_later(ctx, topics.iter().cloned());
        }
        for (group, keys) in gone {
            let records = keys.into_iter().map(|(topic, partition)| tombstone(&group, &topic, partition)).collect();
            append_in_parts(ctx, records, PendingWrite::Offsets(Removal { topics: topics.clone(), parts: Rc::default() }));
        }
    }

    /// What was committed for these topics could not be removed: the partition is looked at again soon.
    pub(super) fn forget_later(&mut self, ctx: &mut Context<'_>, topics: impl Iterator<Item = DeletedTopic>) {
        let known = self.deleted_topics.len();
        self.deleted_topics.extend(topics);
        // Once for all that fail together: each write of a group would put it off otherwise.
        if known == 0 && !self.deleted_topics.is_empty() {
            let after_ms = REMOVAL_RETRY_MS.min(ctx.config.retention_check_interval_ms);
            ctx.actions.push(Action::SetTimer(Timer::Retention(ctx.partition), ctx.now.ticks_ms.saturating_add(after_ms)));
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

/// Which offsets of a group have expired, and whether they are all that it has.
struct Expiry<'a> {
    expired: Vec<(&'a str, i32)>,
    all: bool,
}

impl Expiry<'_> {
    const NOTHING_LEFT: Expiry<'static> = Expiry { expired: Vec::new(), all: true };
}

/// Offsets of one group, by topic and partition.
type Offsets = BTreeMap<String, BTreeMap<i32, OffsetValue>>;

impl Group {
    /// What of the group's offsets has expired. `None`: nothing may expire now. Offsets of topics that members read never do.
    fn expire<'a>(&self, offsets: &'a Offsets, state: Option<&ConsumerState>, now_ms: i64, retention_ms: i64) -> Option<Expiry<'a>> {
        let is_subscribed = |topic: &str| match self {
            Group::Classic(group) => group.is_subscribed(topic),
            Group::Consumer(_) => state.is_some_and(|state| state.subscribes(topic)),
        };
        let since_ms = match self {
            Group::Classic(group) => group.expires_since_ms()?,
            Group::Consumer(_) => None,
        };
        let mut expiry = Expiry { expired: Vec::new(), all: true };
        for (topic, partitions) in offsets {
            if is_subscribed(topic) {
                expiry.all = false;
                continue;
            }
            for (partition, value) in partitions {
                let is_expired = match value.expire_timestamp_ms {
                    at_ms @ 0.. => now_ms >= at_ms,
                    _ => now_ms.saturating_sub(since_ms.unwrap_or(value.commit_timestamp_ms)) >= retention_ms,
                };
                if is_expired {
                    expiry.expired.push((topic, *partition));
                } else {
                    expiry.all = false;
                }
            }
        }
        Some(expiry)
    }
}

impl ClassicGroup {
    /// From when the retention of its offsets counts: from a fixed time, or (`Some(None)`) from each offset's own commit. `None`: they
    /// do not expire while the group is as it is.
    fn expires_since_ms(&self) -> Option<Option<i64>> {
        if self.protocol_type.is_none() {
            // Consumers without group management.
            return Some(None);
        }
        match self.state {
            // Groups written before records had the time of the state count from the commits.
            ClassicState::Empty => Some(Some(self.state_timestamp_ms).filter(|at_ms| *at_ms >= 0)),
            ClassicState::Stable if self.subscribed.is_some() => Some(None),
            _ => None,
        }
    }

    fn is_unused(&self) -> bool {
        self.is(ClassicState::Empty) && self.pending_joins.is_empty()
    }
}
