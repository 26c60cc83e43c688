//! Consumer groups in their slot: which requests are theirs, one write at a time, what waits for it, deadlines.
//!
//! A request that wants to write while a write of its group is under way waits, and is decided anew behind it; so does everything of a
//! group that is about to change its protocol. What writes nothing is answered at once, from what is durable.

use std::borrow::Cow;
use std::rc::Rc;

use coreline_wire::TopicId;
use coreline_wire::error_code::ErrorCode;

use super::draft::Draft;
use super::{ConsumerGroup, ConsumerState, Deadline, Verdict, View, classic, convert, describe, heartbeat, leave};
use crate::coordinator::consumer_request::{ConsumerDescribeAnswer, ConsumerHeartbeatAnswer};
use crate::coordinator::group::admin::append_parts;
use crate::coordinator::group::write::{PendingWrite, Removal};
use crate::coordinator::group::{Action, ClassicGroup, Context, Group, Slot, Timer, Token, append_error};
use crate::coordinator::record::Record;
use crate::coordinator::request::{
    FetchAnswer, GroupRequest, GroupResponse, JoinAnswer, LeaveAnswer, OffsetCommit, OffsetFetch, SyncAnswer,
};

/// What waits for a write, or for a search, of its group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::coordinator::group) enum Waiting {
    /// A request.
    Request {
        /// Names it.
        token: Token,
        /// What is asked.
        request: GroupRequest,
        /// Random bytes for a member id.
        nonce: [u8; 16],
    },
    /// A deadline that has passed.
    Expired(Timer),
}

/// What a write does to the kind of its group.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Turn {
    /// Nothing.
    Stay,
    /// It becomes a consumer group.
    Consumer,
    /// It becomes a classic group, this one, and rebalances; or one without members.
    Classic(Option<Box<ClassicGroup>>),
}

/// What waits for the write of a consumer group, and follows it.
#[derive(Debug)]
pub(in crate::coordinator::group) struct ConsumerWrite {
    answer: Option<(Token, GroupResponse)>,
    /// A request that goes on behind the write.
    then: Option<(Token, GroupRequest, [u8; 16])>,
    deadlines: Vec<Deadline>,
    turn: Turn,
}

impl ConsumerWrite {
    /// The client of a request that goes on behind the write is gone.
    pub(in crate::coordinator::group) fn cancel(&mut self, token: Token) {
        self.then.take_if(|(waiting, _, _)| *waiting == token);
    }

    /// The answers of who waits, when the write takes too long; nobody waits for it from then on.
    pub(in crate::coordinator::group) fn refuse_who_waits(&mut self, error: ErrorCode) -> Vec<(Token, GroupResponse)> {
        let answer = self.answer.take().map(|(token, response)| (token, refusal(&response, error)));
        let then = self.then.take().map(|(token, request, _)| (token, request.refuse(error)));
        answer.into_iter().chain(then).collect()
    }

    /// Who waits is refused, whatever becomes of the write.
    pub(in crate::coordinator::group) fn refuse(&mut self, error: ErrorCode) {
        if let Some((_, response)) = &mut self.answer {
            *response = refusal(response, error);
        }
    }
}

/// A decision.
pub(super) struct Decision {
    records: Vec<Record>,
    /// `None` when the request goes on behind the write.
    response: Option<GroupResponse>,
    deadlines: Vec<Deadline>,
    turn: Turn,
    /// The subscribed topics were looked at again, all of them.
    looked: bool,
}

impl Decision {
    fn answer(response: GroupResponse, deadlines: Vec<Deadline>) -> Self {
        Decision { records: Vec::new(), response: Some(response), deadlines, turn: Turn::Stay, looked: false }
    }

    fn of(draft: Draft<'_>, response: GroupResponse, deadlines: Vec<Deadline>) -> Self {
        let records = draft.records.into_iter().map(Record::Consumer).collect();
        Decision { records, response: Some(response), deadlines, turn: Turn::Stay, looked: false }
    }
}

impl Slot {
    /// Takes a request that is about a consumer group, or that would make one; gives back any other.
    pub(in crate::coordinator::group) fn consumer_request(
        &mut self,
        ctx: &mut Context<'_>,
        token: Token,
        request: GroupRequest,
        nonce: [u8; 16],
    ) -> Option<GroupRequest> {
        let group_id: Rc<str> = Rc::from(request.group_id().unwrap_or_default());
        if self.converting.contains(&group_id) {
            self.wait(ctx, &group_id, Waiting::Request { token, request, nonce });
            return None;
        }
        let is_consumer = matches!(self.groups.get(&group_id), Some(Group::Consumer(_)));
        let busy = ctx.writes.any_state_of_group(&group_id);
        match request {
            GroupRequest::ConsumerDescribe { .. } => {
                let answer = self.describe_consumer(ctx, &group_id);
                ctx.answer(token, GroupResponse::ConsumerDescribe(Box::new(answer)));
                return None;
            }
            GroupRequest::ConsumerHeartbeat(ref asked) => {
                if let Err(verdict) = heartbeat::validate(asked, ctx.config.member_metadata_max_bytes) {
                    refuse(ctx, token, &request, verdict);
                    return None;
                }
            }
            _ if !is_consumer => return Some(request),
            GroupRequest::Join(_) | GroupRequest::Sync(_) | GroupRequest::Heartbeat(_) | GroupRequest::Leave(_) => {}
            GroupRequest::Commit(mut asked) if !busy => {
                let error = self.validate_consumer_commit(&mut asked);
                if error.is_ok() {
                    return Some(GroupRequest::Commit(asked));
                }
                ctx.answer(token, GroupResponse::Commit(asked.refuse(error)));
                return None;
            }
            GroupRequest::Commit(_) => {
                self.wait(ctx, &group_id, Waiting::Request { token, request, nonce });
                return None;
            }
            GroupRequest::Fetch(ref asked) => {
                let error = self.validate_consumer_fetch(asked);
                if error.is_ok() {
                    return Some(request);
                }
                ctx.answer(token, GroupResponse::Fetch(FetchAnswer { error, topics: Vec::new() }));
                return None;
            }
            GroupRequest::Delete(_) => {
                if busy {
                    self.wait(ctx, &group_id, Waiting::Request { token, request, nonce });
                } else {
                    self.delete_consumer(ctx, &group_id, token);
                }
                return None;
            }
            other => return Some(other),
        }
        // Who joins changes the group in any case; and a group changes its kind only when nothing of it is under way.
        let joins = match &request {
            GroupRequest::Join(_) => true,
            // Who tells everything may have missed an answer: it must see what that said, which may be on its way to the log.
            GroupRequest::ConsumerHeartbeat(asked) => asked.member_epoch == 0 || asked.rebalance_timeout_ms != -1,
            _ => false,
        };
        if busy && (joins || !is_consumer) {
            self.wait(ctx, &group_id, Waiting::Request { token, request, nonce });
            return None;
        }
        match self.decide(ctx, &group_id, &request, nonce) {
            Ok(decision) if busy && !decision.records.is_empty() => {
                self.wait(ctx, &group_id, Waiting::Request { token, request, nonce });
            }
            Ok(decision) => self.carry_out(ctx, &group_id, Some((token, request, nonce)), decision),
            Err(Verdict::Search(pattern)) => self.search_first(ctx, pattern, Waiting::Request { token, request, nonce }),
            Err(verdict) => refuse(ctx, token, &request, verdict),
        }
        None
    }

    fn decide(&mut self, ctx: &mut Context<'_>, group_id: &Rc<str>, request: &GroupRequest, nonce: [u8; 16]) -> Result<Decision, Verdict> {
        let (stale, searched) = self.look_again(ctx, group_id);
        let view = View { now: ctx.now, config: ctx.config, cluster: ctx.cluster, regexes: ctx.regexes, group_id, stale };
        let known = self.image.consumer.get(&**group_id);
        let nothing = ConsumerState::default();
        let mut draft = Draft::new(group_id, known.map_or_else(|| Cow::Owned(ConsumerState::default()), Cow::Borrowed));
        let mut deadlines = Vec::new();
        match request {
            GroupRequest::ConsumerHeartbeat(asked) if asked.member_epoch < 0 => {
                let (gone, answer) = leave::leave(&view, &mut draft, asked)?;
                let response = GroupResponse::ConsumerHeartbeat(answer);
                match gone {
                    Some(member) => Ok(self.fence(&view, draft, &[member], Some(response))),
                    None => Ok(Decision::of(draft, response, deadlines)),
                }
            }
            GroupRequest::ConsumerHeartbeat(asked) => {
                let classic = match self.groups.get(group_id) {
                    Some(Group::Classic(classic)) if asked.member_epoch == 0 => {
                        convert::upgrade(&view, &mut draft, classic)?;
                        Some(classic)
                    }
                    _ => None,
                };
                let new_id = TopicId(nonce).to_string();
                let answer = heartbeat::heartbeat(&view, &mut draft, asked, &new_id, &mut deadlines)?;
                if let Some(classic) = classic {
                    deadlines.extend(classic.members.values().map(|m| Deadline::Session(m.id.to_string(), m.session_timeout_ms)));
                }
                let mut decision = Decision::of(draft, GroupResponse::ConsumerHeartbeat(answer), deadlines);
                decision.looked = searched;
                if classic.is_some() {
                    decision.turn = Turn::Consumer;
                    if self.image.groups.contains_key(&**group_id) {
                        decision.records.insert(0, Record::Group { group: group_id.to_string(), value: None });
                    }
                }
                Ok(decision)
            }
            GroupRequest::Join(asked) => {
                let state = known.unwrap_or(&nothing);
                if state.members.is_empty() {
                    return Ok(forget(state, group_id));
                }
                if view.config.migration.is_disabled() {
                    return Verdict::refuse(ErrorCode::InconsistentGroupProtocol, "");
                }
                // The last member of the consumer protocol is back with the classic one: it joins the classic group that is left.
                let replaced = asked.instance_id.as_deref().filter(|_| asked.member_id.is_empty()).and_then(|i| state.static_member(i));
                if let Some(replaced) = replaced.map(str::to_owned)
                    && classic::supports(state, &asked.protocol_type, &asked.protocols)
                    && let Some(group) = convert::downgrade(&view, state, std::slice::from_ref(&replaced))
                {
                    return Ok(downgraded(state, group, None));
                }
                let new_id = uuid::Builder::from_random_bytes(nonce).into_uuid().to_string();
                let answer = classic::join(&view, &mut draft, asked, &new_id, &mut deadlines)?;
                Ok(Decision { looked: searched, ..Decision::of(draft, GroupResponse::Join(answer), deadlines) })
            }
            GroupRequest::Sync(asked) => {
                let answer = classic::sync(&view, draft.state(), asked, &mut deadlines)?;
                Ok(Decision::answer(GroupResponse::Sync(answer), deadlines))
            }
            GroupRequest::Heartbeat(asked) => {
                let error = classic::heartbeat(draft.state(), asked, &mut deadlines)?;
                Ok(Decision::answer(GroupResponse::Heartbeat(error), deadlines))
            }
            GroupRequest::Leave(asked) => {
                let (gone, members) = classic::leave(draft.state(), &asked.members);
                let response = GroupResponse::Leave(LeaveAnswer { error: ErrorCode::None, members });
                if gone.is_empty() {
                    Ok(Decision::answer(response, deadlines))
                } else {
                    Ok(self.fence(&view, draft, &gone, Some(response)))
                }
            }
            _ => Verdict::refuse(ErrorCode::InvalidRequest, ""),
        }
    }

    /// Members go: the rest goes on without them, as a classic group when only classic members are left.
    pub(super) fn fence(&self, view: &View<'_>, mut draft: Draft<'_>, members: &[String], response: Option<GroupResponse>) -> Decision {
        if let Some(group) = convert::downgrade(view, draft.state(), members) {
            return downgraded(draft.state(), group, response);
        }
        let mut deadlines = Vec::new();
        leave::remove(view, &mut draft, members, &mut deadlines);
        let records = draft.records.into_iter().map(Record::Consumer).collect();
        Decision { records, response, deadlines, turn: Turn::Stay, looked: false }
    }

    /// Whether the subscribed topics must be looked at again, and whether what that takes is known. Searches that are missing are started;
    /// until they have ended it stays so.
    fn look_again(&mut self, ctx: &mut Context<'_>, group_id: &str) -> (bool, bool) {
        match self.groups.get(group_id) {
            Some(Group::Consumer(group)) if !group.stale => return (false, false),
            _ => {}
        }
        let patterns = self.image.consumer.get(group_id).into_iter().flat_map(|state| state.regexes.keys());
        let mut searched = true;
        for pattern in patterns.filter(|pattern| ctx.regexes.matches(pattern).is_none()).cloned().collect::<Vec<_>>() {
            searched = false;
            let search = ctx.regexes.search(&pattern, ctx.cluster);
            ctx.actions.extend(search.map(Action::Search));
        }
        (true, searched)
    }

    pub(super) fn carry_out(
        &mut self,
        ctx: &mut Context<'_>,
        group_id: &Rc<str>,
        caller: Option<(Token, GroupRequest, [u8; 16])>,
        decision: Decision,
    ) {
        let Decision { records, response, deadlines, turn, looked } = decision;
        if let (true, Some(Group::Consumer(group))) = (looked, self.groups.get_mut(group_id)) {
            group.stale = false;
        }
        if records.is_empty() {
            self.set_deadlines(ctx, group_id, deadlines);
            if let (Some((token, _, _)), Some(response)) = (caller, response) {
                ctx.answer(token, response);
            }
            return;
        }
        // Whatever becomes of the write, the member is alive.
        let sessions = deadlines.iter().filter(|deadline| matches!(deadline, Deadline::Session(..))).cloned().collect();
        if turn == Turn::Stay {
            let new = || Group::Consumer(Box::new(ConsumerGroup { stale: false, ..ConsumerGroup::new(group_id.clone()) }));
            self.groups.entry(group_id.clone()).or_insert_with(new);
            self.set_deadlines(ctx, group_id, sessions);
        } else {
            self.converting.insert(group_id.clone());
            self.dismiss(ctx, group_id);
        }
        let (answer, then) = match (caller, response) {
            (Some((token, _, _)), Some(response)) => (Some((token, response)), None),
            (caller, _) => (None, caller),
        };
        ctx.append(records, PendingWrite::Consumer(Box::new(ConsumerWrite { answer, then, deadlines, turn })));
    }

    /// Members of a classic group that is about to be upgraded wait for one another no longer.
    fn dismiss(&mut self, ctx: &mut Context<'_>, group_id: &str) {
        let Some(Group::Classic(group)) = self.groups.get_mut(group_id) else { return };
        for member in group.members.values_mut() {
            if let Some(token) = member.awaiting_join.take() {
                ctx.answer(token, GroupResponse::Join(JoinAnswer::error(ErrorCode::RebalanceInProgress, &member.id)));
            }
            if let Some(token) = member.awaiting_sync.take() {
                ctx.answer(token, GroupResponse::Sync(SyncAnswer::error(ErrorCode::RebalanceInProgress)));
            }
        }
    }

    /// A write of a consumer group is durable, or failed.
    pub(in crate::coordinator::group) fn consumer_written(
        &mut self,
        ctx: &mut Context<'_>,
        group_id: &str,
        write: ConsumerWrite,
        outcome: Result<(), ErrorCode>,
    ) {
        let group_id: Rc<str> = Rc::from(group_id);
        let ConsumerWrite { answer, then, deadlines, turn } = write;
        self.converting.remove(&group_id);
        if let Err(error) = outcome {
            let error = append_error(error);
            tracing::warn!(group = %group_id, %error, "the state of a consumer group could not be written");
            if let Some(Group::Consumer(group)) = self.groups.get_mut(&group_id) {
                group.stale = true;
            }
            if let Some((token, response)) = answer {
                ctx.answer(token, refusal(&response, error));
            }
            if let Some((token, request, _)) = then {
                ctx.answer(token, request.refuse(error));
            }
            self.try_again(ctx, &group_id, &deadlines);
            return;
        }
        match turn {
            Turn::Stay => self.set_deadlines(ctx, &group_id, deadlines),
            Turn::Consumer => {
                ctx.clear_timer(Timer::Rebalance(group_id.clone()));
                ctx.clear_timer(Timer::Sync(group_id.clone()));
                self.groups.insert(group_id.clone(), Group::Consumer(Box::new(ConsumerGroup::new(group_id.clone()))));
                self.set_deadlines(ctx, &group_id, deadlines);
            }
            Turn::Classic(group) => {
                self.set_deadlines(ctx, &group_id, deadlines);
                self.become_classic(ctx, &group_id, group);
            }
        }
        if let Some(state) = self.image.consumer.get(&*group_id) {
            state.check(&group_id);
        }
        if let Some((token, response)) = answer {
            ctx.answer(token, response);
        }
        if let Some((token, request, nonce)) = then {
            self.waiting.entry(group_id).or_default().push_front(Waiting::Request { token, request, nonce });
        }
    }

    /// Who was to be removed has no deadline any more; it gets one again.
    fn try_again(&mut self, ctx: &mut Context<'_>, group_id: &Rc<str>, deadlines: &[Deadline]) {
        let gone = deadlines.iter().filter_map(|deadline| if let Deadline::None(member) = deadline { Some(member) } else { None });
        let again: Vec<String> = gone.cloned().collect();
        for member in again {
            let timeout = self.session_timeout_ms(ctx, group_id, &member);
            self.set_deadlines(ctx, group_id, vec![Deadline::Session(member, timeout)]);
        }
    }

    fn become_classic(&mut self, ctx: &mut Context<'_>, group_id: &Rc<str>, group: Option<Box<ClassicGroup>>) {
        match group {
            Some(group) => {
                tracing::info!(group = %group_id, members = group.members.len(), "the consumer group is downgraded");
                let mut group = *group;
                group.was_written = true;
                group.resume(ctx, ctx.config.max_size);
                if group.state.can_rebalance() {
                    group.prepare_rebalance(ctx, "it was a consumer group");
                }
                self.groups.insert(group_id.clone(), Group::Classic(group));
            }
            None if self.image.knows(group_id) => {
                let group = ClassicGroup { was_written: true, ..ClassicGroup::new(group_id.clone(), ctx.now.wall_ms) };
                self.groups.insert(group_id.clone(), Group::Classic(group));
            }
            None => drop(self.groups.remove(group_id)),
        }
    }

    /// Drops consumer groups without members and offsets.
    pub(in crate::coordinator::group) fn consumer_retention(&mut self, ctx: &mut Context<'_>) {
        let unused = |(id, state): (&String, &ConsumerState)| {
            let unused = state.members.is_empty() && !self.image.offsets.contains_key(id) && !ctx.writes.any_of_group(id);
            (unused && !self.converting.contains(id.as_str())).then(|| Rc::<str>::from(id.as_str()))
        };
        let unused: Vec<Rc<str>> = self.image.consumer.iter().filter_map(unused).collect();
        for id in unused {
            let Some(state) = self.image.consumer.get(&*id) else { continue };
            let decision = Decision { response: None, ..forget(state, &id) };
            self.carry_out(ctx, &id, None, decision);
        }
    }

    /// Takes a group without members away, with all of its offsets.
    fn delete_consumer(&mut self, ctx: &mut Context<'_>, group_id: &Rc<str>, token: Token) {
        let state = self.image.consumer.get(&**group_id).filter(|state| state.members.is_empty());
        let Some(state) = state else { return ctx.answer(token, GroupResponse::Deleted(ErrorCode::NonEmptyGroup)) };
        let decision = Decision { response: Some(GroupResponse::Deleted(ErrorCode::None)), ..forget(state, group_id) };
        let offsets = self.offset_tombstones(ctx, group_id);
        append_parts(ctx, &offsets, Removal::default());
        let caller = (token, GroupRequest::Delete(group_id.to_string()), [0; 16]);
        self.carry_out(ctx, group_id, Some(caller), decision);
    }

    fn describe_consumer(&self, ctx: &Context<'_>, group_id: &str) -> ConsumerDescribeAnswer {
        match self.image.consumer.get(group_id).filter(|state| state.epoch.is_some()) {
            Some(state) => describe::describe(state, ctx.cluster, ctx.config.consumer_assignor()),
            None => ConsumerDescribeAnswer::error(ErrorCode::GroupIdNotFound, Some(format!("Group {group_id} not found."))),
        }
    }

    /// May this be committed? Partitions that the member may not commit are marked.
    fn validate_consumer_commit(&self, request: &mut OffsetCommit) -> ErrorCode {
        let Some(state) = self.image.consumer.get(&request.group_id) else { return ErrorCode::UnknownMemberId };
        let epoch = request.generation_id;
        if epoch < 0 && state.members.is_empty() {
            return ErrorCode::None;
        }
        let Some(member) = state.members.get(&request.member_id) else { return ErrorCode::UnknownMemberId };
        // Version 9 is the first that tells missing groups, and the first with member epochs.
        if member.classic.is_none() && !request.tells_missing_group {
            return ErrorCode::UnsupportedVersion;
        }
        let current = state.current_of(&request.member_id);
        let stale = if member.classic.is_some() { ErrorCode::IllegalGeneration } else { ErrorCode::StaleMemberEpoch };
        if epoch > current.epoch {
            return stale;
        }
        for topic in &mut request.topics {
            for partition in &mut topic.partitions {
                if heartbeat::commit_refusal(&current, epoch, topic.id, partition.partition) {
                    partition.refused = stale;
                }
            }
        }
        ErrorCode::None
    }

    fn validate_consumer_fetch(&self, request: &OffsetFetch) -> ErrorCode {
        if request.member_id.is_none() && request.member_epoch < 0 {
            return ErrorCode::None;
        }
        let Some(state) = self.image.consumer.get(&request.group_id) else { return ErrorCode::None };
        let id = request.member_id.as_deref().unwrap_or_default();
        match state.members.get(id) {
            None => ErrorCode::UnknownMemberId,
            Some(_) if state.member_epoch(id) == request.member_epoch => ErrorCode::None,
            Some(member) if member.classic.is_some() => ErrorCode::IllegalGeneration,
            Some(_) => ErrorCode::StaleMemberEpoch,
        }
    }

    fn search_first(&mut self, ctx: &mut Context<'_>, pattern: String, waiting: Waiting) {
        let search = ctx.regexes.search(&pattern, ctx.cluster);
        ctx.actions.extend(search.map(Action::Search));
        self.searching.entry(pattern).or_default().push(waiting);
    }

    pub(super) fn wait(&mut self, ctx: &mut Context<'_>, group_id: &Rc<str>, waiting: Waiting) {
        let full = self.waiting.get(group_id).is_some_and(|queue| queue.len() >= ctx.config.max_pending_writes);
        match waiting {
            Waiting::Request { token, request, .. } if full || ctx.writes.is_state_overdue(group_id) => {
                ctx.answer(token, request.refuse(ErrorCode::CoordinatorNotAvailable));
            }
            waiting => self.waiting.entry(group_id.clone()).or_default().push_back(waiting),
        }
    }

    /// Requests that wait for a write of their group wait no longer; deadlines do.
    pub(in crate::coordinator::group) fn refuse_waiting(&mut self, ctx: &mut Context<'_>, group_id: &str, error: ErrorCode) {
        let Some(queue) = self.waiting.get_mut(group_id) else { return };
        queue.retain(|waiting| match waiting {
            Waiting::Request { token, request, .. } => {
                ctx.answer(*token, request.refuse(error));
                false
            }
            Waiting::Expired(_) => true,
        });
        if queue.is_empty() {
            self.waiting.remove(group_id);
        }
    }

    /// The client of a waiting request is gone.
    pub(in crate::coordinator::group) fn forget_waiting(&mut self, token: Token, group_id: &str) {
        let other = |waiting: &Waiting| !matches!(waiting, Waiting::Request { token: waits, .. } if *waits == token);
        if let Some(queue) = self.waiting.get_mut(group_id) {
            queue.retain(other);
            if queue.is_empty() {
                self.waiting.remove(group_id);
            }
        }
        self.searching.retain(|_, queue| {
            queue.retain(other);
            !queue.is_empty()
        });
    }
}

/// The log forgets the group, which has no members.
fn forget(state: &ConsumerState, group_id: &str) -> Decision {
    let records = state.tombstones(group_id).into_iter().map(Record::Consumer).collect();
    Decision { records, response: None, deadlines: Vec::new(), turn: Turn::Classic(None), looked: false }
}

/// The log forgets the consumer group and knows a classic one instead.
fn downgraded(state: &ConsumerState, group: Box<ClassicGroup>, response: Option<GroupResponse>) -> Decision {
    let mut records: Vec<Record> = state.tombstones(&group.id).into_iter().map(Record::Consumer).collect();
    records.push(Record::Group { group: group.id.to_string(), value: group.settled_value() });
    let deadlines = state.members.keys().cloned().map(Deadline::None).collect();
    Decision { records, response, deadlines, turn: Turn::Classic(Some(group)), looked: false }
}

fn refuse(ctx: &mut Context<'_>, token: Token, request: &GroupRequest, verdict: Verdict) {
    let Verdict::Refuse(error, message) = verdict else { return };
    let response = match request {
        GroupRequest::ConsumerHeartbeat(_) => {
            let message = Some(message).filter(|message| !message.is_empty());
            GroupResponse::ConsumerHeartbeat(ConsumerHeartbeatAnswer::error(error, message))
        }
        request => request.refuse(error),
    };
    ctx.answer(token, response);
}

/// The refusal in the form of an answer.
fn refusal(response: &GroupResponse, error: ErrorCode) -> GroupResponse {
    match response {
        GroupResponse::Join(answer) => GroupResponse::Join(JoinAnswer::error(error, &answer.member_id)),
        GroupResponse::Deleted(_) => GroupResponse::Deleted(error),
        GroupResponse::Leave(_) => GroupResponse::Leave(LeaveAnswer { error, members: Vec::new() }),
        _ => GroupResponse::ConsumerHeartbeat(ConsumerHeartbeatAnswer::error(error, None)),
    }
}
