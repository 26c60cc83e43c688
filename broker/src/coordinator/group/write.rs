//! Writes on their way to the log: what waits for each, and what happens when it is durable or failed.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use coreline_wire::error_code::ErrorCode;

use super::consumer::ConsumerWrite;
use super::member::Member;
use super::state::ClassicState;
use super::{Action, ClassicGroup, Context, DeletedTopic, Group, GroupCoordinator, Slot, Token, WriteId, append_error};
use crate::coordinator::Now;
use crate::coordinator::record::{GroupValue, Record};
use crate::coordinator::request::{CommitAnswer, GroupResponse, JoinAnswer, OffsetDeleteAnswer};

/// What waits for a write.
#[derive(Debug)]
pub(super) enum PendingWrite {
    /// The leader's assignment: the group becomes stable, parked syncs are answered.
    Assignment(Box<GroupValue>),
    /// A group that became empty, or one that is written again after a failure.
    State,
    /// The end of a group.
    Tombstone,
    /// A static member came back under a new id while its group is stable.
    StaticRejoin(Box<StaticRejoin>),
    /// Committed offsets.
    Commit { token: Token, answer: CommitAnswer },
    /// Tombstones of offsets for which nobody waits.
    Offsets(Removal),
    /// Tombstones of the offsets that an administrator deletes.
    DeletedOffsets { token: Token, answer: OffsetDeleteAnswer },
    /// The last tombstones of a group that an administrator deletes.
    Deleted { token: Token, error: ErrorCode },
    /// A consumer group.
    Consumer(Box<ConsumerWrite>),
}

impl PendingWrite {
    /// A part of it, written before, has failed: who asked is told, whatever becomes of the last one.
    fn refuse(&mut self, refusal: ErrorCode) {
        match self {
            PendingWrite::DeletedOffsets { answer, .. } => *answer = OffsetDeleteAnswer { error: refusal, topics: Vec::new() },
            PendingWrite::Deleted { error, .. } => *error = refusal,
            PendingWrite::Consumer(write) => write.refuse(refusal),
            _ => {}
        }
    }

    /// The answers of who waits for it, when it takes too long. It stays what it is.
    fn refuse_who_waits(&mut self, refusal: ErrorCode) -> Vec<(Token, GroupResponse)> {
        match self {
            PendingWrite::Commit { token, answer } => vec![(*token, GroupResponse::Commit(answer.clone().refuse(refusal)))],
            PendingWrite::DeletedOffsets { token, .. } => {
                vec![(*token, GroupResponse::DeletedOffsets(OffsetDeleteAnswer { error: refusal, topics: Vec::new() }))]
            }
            PendingWrite::Deleted { token, .. } => vec![(*token, GroupResponse::Deleted(refusal))],
            PendingWrite::StaticRejoin(rejoin) => vec![(rejoin.token, GroupResponse::Join(JoinAnswer::error(refusal, "")))],
            PendingWrite::Consumer(write) => write.refuse_who_waits(refusal),
            PendingWrite::Assignment(_) | PendingWrite::State | PendingWrite::Tombstone | PendingWrite::Offsets(_) => Vec::new(),
        }
    }

    /// A write of the group itself, not of offsets.
    fn is_state(&self) -> bool {
        !matches!(self, PendingWrite::Commit { .. } | PendingWrite::Offsets(_) | PendingWrite::DeletedOffsets { .. })
    }
}

/// The first error of the parts of a removal that takes several writes; its last write looks at it.
pub(super) type Parts = Rc<Cell<Option<ErrorCode>>>;

/// Why offsets go for which nobody waits by itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Removal {
    /// They were committed for these: when the write fails, they are removed soon. Expired ones are seen again by the next look.
    pub(super) topics: Rc<[DeletedTopic]>,
    /// It is a part of a removal.
    pub(super) parts: Parts,
}

/// What is needed to tell a static member that it is back, or to undo it.
#[derive(Debug)]
pub(super) struct StaticRejoin {
    pub(super) token: Token,
    /// The member as it was.
    pub(super) old: Member,
    pub(super) new_id: Rc<str>,
    /// Who led the group before.
    pub(super) old_leader: Option<Rc<str>>,
    /// KIP-814: a leader may be told its role, and to skip the assignment.
    pub(super) supports_skip_assignment: bool,
}

#[derive(Debug)]
struct Write {
    partition: i32,
    records: Rc<Vec<Record>>,
    pending: PendingWrite,
    /// What the writes before it that belong to it have come to.
    parts: Option<Parts>,
    /// It has taken longer than clients are to wait.
    overdue: bool,
}

/// All writes on their way, in the order in which they were decided.
#[derive(Debug, Default)]
pub(super) struct Writes {
    next: u64,
    in_flight: BTreeMap<WriteId, Write>,
    by_group: BTreeMap<String, usize>,
    /// Of those, the ones that change the group itself.
    states_by_group: BTreeMap<String, usize>,
    /// How many are overdue.
    overdue: usize,
}

impl Writes {
    pub(super) fn begin(&mut self, partition: i32, records: Rc<Vec<Record>>, pending: PendingWrite, parts: Option<Parts>) -> WriteId {
        let write = WriteId(self.next);
        self.next += 1;
        if let Some(first) = records.first() {
            *self.by_group.entry(first.group().to_owned()).or_default() += 1;
            if pending.is_state() {
                *self.states_by_group.entry(first.group().to_owned()).or_default() += 1;
            }
        }
        self.in_flight.insert(write, Write { partition, records, pending, parts, overdue: false });
        write
    }

    pub(super) fn len(&self) -> usize {
        self.in_flight.len()
    }

    /// The records of a group that are on their way, in their order.
    pub(super) fn records_of_group<'a>(&'a self, group_id: &'a str) -> impl Iterator<Item = &'a Record> {
        let writes = self.any_of_group(group_id).then(|| self.in_flight.values());
        // Every write is about one group.
        let of_group = move |write: &&Write| write.records.first().is_some_and(|record| record.group() == group_id);
        writes.into_iter().flatten().filter(of_group).flat_map(|write| write.records.iter())
    }

    /// The records that are on their way to a partition.
    pub(super) fn records_of_partition(&self, partition: i32) -> impl Iterator<Item = &Record> {
        self.in_flight.values().filter(move |write| write.partition == partition).flat_map(|write| write.records.iter())
    }

    pub(super) fn any_of_group(&self, group_id: &str) -> bool {
        self.by_group.contains_key(group_id)
    }

    /// Whether a write of the group itself, not of offsets, is on its way.
    pub(super) fn any_state_of_group(&self, group_id: &str) -> bool {
        self.states_by_group.contains_key(group_id)
    }

    /// Whether this write is overdue.
    pub(super) fn is_overdue(&self, write: WriteId) -> bool {
        self.overdue > 0 && self.in_flight.get(&write).is_some_and(|write| write.overdue)
    }

    /// Whether a write of the group itself is overdue.
    pub(super) fn is_state_overdue(&self, group_id: &str) -> bool {
        let of_group = |write: &&Write| write.records.first().is_some_and(|record| record.group() == group_id);
        self.overdue > 0 && self.in_flight.values().filter(of_group).any(|write| write.overdue && write.pending.is_state())
    }

    /// The client of a request that goes on behind a write is gone.
    pub(super) fn cancel(&mut self, token: Token) {
        for write in self.in_flight.values_mut() {
            if let PendingWrite::Consumer(write) = &mut write.pending {
                write.cancel(token);
            }
        }
    }

    fn end(&mut self, write: WriteId) -> Option<Write> {
        let ended = self.in_flight.remove(&write)?;
        self.overdue -= usize::from(ended.overdue);
        if let Some(first) = ended.records.first() {
            one_less(&mut self.by_group, first.group());
            if ended.pending.is_state() {
                one_less(&mut self.states_by_group, first.group());
            }
        }
        Some(ended)
    }
}

fn one_less(counts: &mut BTreeMap<String, usize>, group_id: &str) {
    if let Some(count) = counts.get_mut(group_id) {
        *count -= 1;
        if *count == 0 {
            counts.remove(group_id);
        }
    }
}

impl GroupCoordinator {
    /// A write is durable, or failed for good. Durable records are replayed whatever became of the group since.
    pub(super) fn written(&mut self, write: WriteId, outcome: Result<(), ErrorCode>, now: Now) -> Vec<Action> {
        let Some(Write { partition, records, mut pending, parts, .. }) = self.writes.end(write) else { return Vec::new() };
        let is_full = self.group_count() >= self.config.max_groups;
        let Some((slot, mut ctx)) = self.open(partition, now) else { return Vec::new() };
        if outcome.is_ok() {
            records.iter().for_each(|record| slot.image.replay(record));
        }
        // Every write is about one group.
        let Some(group_id) = records.first().map(|record| record.group().to_owned()) else { return Vec::new() };
        if let Some(error) = parts.and_then(|parts| parts.get()) {
            pending.refuse(append_error(error));
        }
        slot.conclude(&mut ctx, &group_id, write, pending, outcome);
        slot.go_on(&mut ctx, &group_id, is_full);
        slot.settle(&mut ctx, &group_id);
        ctx.actions
    }
}

impl GroupCoordinator {
    /// A write takes too long: who waits for it, or behind it, is told to come again. What it does to the group is decided by its end.
    pub(super) fn overdue(&mut self, id: WriteId, now: Now) -> Vec<Action> {
        let refusal = append_error(ErrorCode::RequestTimedOut);
        let Some(write) = self.writes.in_flight.get_mut(&id).filter(|write| !write.overdue) else { return Vec::new() };
        write.overdue = true;
        self.writes.overdue += 1;
        let (partition, is_state) = (write.partition, write.pending.is_state());
        let answers = write.pending.refuse_who_waits(refusal);
        let Some(group_id) = write.records.first().map(|record| record.group().to_owned()) else { return Vec::new() };
        let Some((slot, mut ctx)) = self.open(partition, now) else { return Vec::new() };
        answers.into_iter().for_each(|(token, response)| ctx.answer(token, response));
        if let Some(group) = slot.classic_mut(&group_id) {
            group.assignment_overdue(&mut ctx, id, refusal);
        }
        if is_state {
            slot.refuse_waiting(&mut ctx, &group_id, refusal);
        }
        ctx.actions
    }
}

impl Slot {
    fn conclude(&mut self, ctx: &mut Context<'_>, group_id: &str, write: WriteId, pending: PendingWrite, outcome: Result<(), ErrorCode>) {
        match pending {
            PendingWrite::Assignment(value) => {
                if let Some(group) = self.classic_mut(group_id) {
                    group.assignment_written(ctx, write, &value, outcome);
                }
            }
            PendingWrite::State => {
                if let Some(group) = self.classic_mut(group_id) {
                    group.state_written(outcome);
                }
            }
            PendingWrite::Tombstone => self.tombstone_written(ctx, group_id, outcome),
            PendingWrite::StaticRejoin(rejoin) => {
                if let Some(Group::Classic(group)) = self.groups.get_mut(group_id) {
                    group.static_rejoin_written(ctx, *rejoin, outcome);
                    // Undone or not: a group whose log says something else is written again.
                    group.unwritten = outcome.is_err() && group.settled_value().as_ref() != self.image.groups.get(group_id);
                }
            }
            PendingWrite::Consumer(write) => self.consumer_written(ctx, group_id, *write, outcome),
            PendingWrite::Commit { token, answer } => self.commit_written(ctx, group_id, token, answer, outcome),
            PendingWrite::Offsets(Removal { topics, parts }) => {
                if let Err(error) = outcome {
                    tracing::warn!(group = group_id, %error, "offsets could not be removed; it is tried again");
                    parts.set(Some(error));
                    self.forget_later(ctx, topics.iter().cloned());
                }
            }
            PendingWrite::DeletedOffsets { token, answer } => {
                let refuse = |error| OffsetDeleteAnswer { error: append_error(error), topics: Vec::new() };
                ctx.answer(token, GroupResponse::DeletedOffsets(outcome.map_or_else(refuse, |()| answer)));
            }
            PendingWrite::Deleted { token, error } => {
                if let (Ok(()), Some(group)) = (outcome, self.classic_mut(group_id)) {
                    group.forget_pending_joins(ctx);
                }
                self.tombstone_written(ctx, group_id, outcome);
                ctx.answer(token, GroupResponse::Deleted(outcome.map_or_else(append_error, |()| error)));
            }
        }
    }

    fn commit_written(
        &mut self,
        ctx: &mut Context<'_>,
        group_id: &str,
        token: Token,
        mut answer: CommitAnswer,
        outcome: Result<(), ErrorCode>,
    ) {
        if let Err(error) = outcome {
            let error = match append_error(error) {
                // Too big for a batch: the client's doing, and not worth a retry.
                ErrorCode::UnknownServerError => ErrorCode::InvalidCommitOffsetSize,
                other => other,
            };
            answer = answer.refuse(error);
        } else if !self.groups.contains_key(group_id) {
            let group = ClassicGroup::new(Rc::from(group_id), ctx.now.wall_ms);
            self.groups.insert(group.id.clone(), Group::Classic(group));
        }
        ctx.answer(token, GroupResponse::Commit(answer));
    }
}

impl ClassicGroup {
    fn state_written(&mut self, outcome: Result<(), ErrorCode>) {
        if let Err(error) = outcome {
            tracing::warn!(group = %self.id, %error, "the state of a group could not be written; it is tried again later");
            self.unwritten = matches!(self.state, ClassicState::Empty | ClassicState::Stable);
        }
    }
}
