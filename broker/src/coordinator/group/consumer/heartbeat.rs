//! ConsumerGroupHeartbeat: a member joins, tells what changed of it, confirms what it gave up, and learns what it has.

use coreline_wire::TopicId;
use coreline_wire::error_code::ErrorCode;

use super::assignor::Assignor;
use super::draft::Draft;
use super::reconcile::{Fenced, reconcile};
use super::state::{LEAVE_EPOCH, STATIC_LEAVE_EPOCH};
use super::target::{follow_epoch, is_within, raise_epoch};
use super::{Deadline, Verdict, View, regex};
use crate::coordinator::consumer_record::{CurrentValue, MemberState, MemberValue, RegexValue};
use crate::coordinator::consumer_request::{ConsumerHeartbeat, ConsumerHeartbeatAnswer, without_epochs};

/// What can be said of the request without looking at the group.
pub(super) fn validate(request: &ConsumerHeartbeat, bytes_max: usize) -> Result<(), Verdict> {
    let invalid = |message: &str| Verdict::refuse(ErrorCode::InvalidRequest, message);
    let needs_id = !request.may_lack_id || request.member_epoch > 0 || request.member_epoch == LEAVE_EPOCH;
    let is_blank = |text: &str| text.trim().is_empty();
    if is_blank(&request.group_id) {
        return invalid("GroupId can't be empty.");
    }
    if needs_id && is_blank(&request.member_id) {
        return invalid("MemberId can't be empty.");
    }
    if request.instance_id.as_deref().is_some_and(is_blank) {
        return invalid("InstanceId can't be empty.");
    }
    if request.rack_id.as_deref().is_some_and(is_blank) {
        return invalid("RackId can't be empty.");
    }
    match request.member_epoch {
        0 if request.rebalance_timeout_ms == -1 => return invalid("a member that joins tells its rebalance timeout"),
        0 if request.owned.as_ref().is_none_or(|owned| !owned.is_empty()) => return invalid("a member that joins owns no partitions"),
        0 if request.topics.is_none() && request.regex.is_none() => return invalid("a member that joins tells its subscription"),
        STATIC_LEAVE_EPOCH if request.instance_id.is_none() => return invalid("only a static member leaves for a while"),
        epoch if epoch < STATIC_LEAVE_EPOCH => return invalid("the member epoch is not valid"),
        _ => {}
    }
    if let Some(name) = request.assignor.as_deref().filter(|name| Assignor::from_name(name).is_none()) {
        let known: Vec<&str> = Assignor::ALL.iter().map(|assignor| assignor.name()).collect();
        return Verdict::refuse(ErrorCode::UnsupportedAssignor, format!("assignor {name} is not known, only {}", known.join(", ")));
    }
    let texts = [&request.instance_id, &request.rack_id, &request.regex].into_iter().flatten();
    let bytes: usize = texts.map(String::len).sum::<usize>() + request.topics.iter().flatten().map(String::len).sum::<usize>();
    if bytes > bytes_max { invalid("the subscription is too large") } else { Ok(()) }
}

/// A heartbeat other than one that leaves. `new_id` is for a member that has none.
pub(super) fn heartbeat(
    view: &View<'_>,
    draft: &mut Draft<'_>,
    request: &ConsumerHeartbeat,
    new_id: &str,
    deadlines: &mut Vec<Deadline>,
) -> Result<ConsumerHeartbeatAnswer, Verdict> {
    let joins = request.member_epoch == 0;
    if !joins && draft.state().epoch.is_none() {
        return Verdict::refuse(ErrorCode::GroupIdNotFound, format!("group {} is not known", view.group_id));
    }
    let member_id = if request.member_id.is_empty() { new_id } else { &request.member_id };
    if draft.state().members.len() >= view.config.consumer_max_size && !draft.state().members.contains_key(member_id) {
        return Verdict::refuse(ErrorCode::GroupMaxSizeReached, "the group has as many members as it may have");
    }
    admit(draft, request, member_id)?;
    let before = draft.state().current_of(member_id);

    let told = draft.state().members.get(member_id);
    let member = described(told, request);
    let mut changed = told.is_none_or(|told| told.topics != member.topics || told.regex != member.regex);
    if told != Some(&member) {
        draft.set_member(member_id, member);
    }
    changed |= follow_regexes(view, draft, member_id)?;
    if changed || view.stale {
        raise_epoch(view, draft, changed);
    }
    follow_epoch(view, draft);
    follow_target(draft, member_id, request, deadlines)?;
    deadlines.push(Deadline::Session(member_id.to_owned(), view.session_timeout_ms()));

    let now = draft.state().current_of(member_id);
    let is_full =
        joins || request.rebalance_timeout_ms != -1 && (request.topics.is_some() || request.regex.is_some()) && request.owned.is_some();
    // Who comes with the epoch before has missed an answer, which may have held an assignment.
    let missed = request.member_epoch != before.epoch;
    let assignment = (is_full || missed || now.assigned != before.assigned).then(|| without_epochs(&now.assigned));
    Ok(ConsumerHeartbeatAnswer {
        error: ErrorCode::None,
        message: None,
        member_id: Some(member_id.to_owned()),
        member_epoch: now.epoch,
        heartbeat_interval_ms: view.heartbeat_interval_ms(),
        assignment,
    })
}

/// Is the member who it says, and where it says? A static member that is back takes its place under its new id.
fn admit(draft: &mut Draft<'_>, request: &ConsumerHeartbeat, member_id: &str) -> Result<(), Verdict> {
    let joins = request.member_epoch == 0;
    let Some(instance) = request.instance_id.as_deref() else {
        return match draft.state().members.contains_key(member_id) {
            true => validate_epoch(&draft.state().current_of(member_id), request),
            false if joins => Ok(()),
            false => unknown(member_id),
        };
    };
    let known = draft.state().static_member(instance).map(str::to_owned);
    match known {
        None if joins => Ok(()),
        None => Verdict::refuse(ErrorCode::UnknownMemberId, format!("instance id {instance} is not known")),
        Some(old) if joins => {
            let is_classic = draft.state().members.get(&old).is_some_and(|member| member.classic.is_some());
            if !is_classic && draft.state().member_epoch(&old) != STATIC_LEAVE_EPOCH {
                let message = format!("instance id {instance} is still that of member {old}");
                return Verdict::refuse(ErrorCode::UnreleasedInstanceId, message);
            }
            replace_static(draft, &old, member_id);
            Ok(())
        }
        Some(old) if old != member_id => {
            Verdict::refuse(ErrorCode::FencedInstanceId, format!("instance id {instance} is that of member {old} now"))
        }
        Some(_) => validate_epoch(&draft.state().current_of(member_id), request),
    }
}

/// Gives the place of a static member to its new id: what it told, its target and what it has, at epoch 0.
pub(super) fn replace_static(draft: &mut Draft<'_>, old: &str, new: &str) {
    let Some(member) = draft.state().members.get(old).cloned() else { return };
    let target = draft.state().targets.get(old).cloned().unwrap_or_default();
    let current = CurrentValue { epoch: 0, previous_epoch: 0, ..draft.state().current_of(old) };
    draft.remove(old);
    draft.set_member(new, member);
    draft.set_target(new, target);
    draft.set_current(new, current);
}

/// The member's epoch, or the one before when the answer that raised it may have been lost.
fn validate_epoch(current: &CurrentValue, request: &ConsumerHeartbeat) -> Result<(), Verdict> {
    let asked = request.member_epoch;
    let repeats = || asked == current.previous_epoch && request.owned.as_ref().is_some_and(|owned| is_within(owned, &current.assigned));
    if asked == 0 || asked == current.epoch || asked < current.epoch && repeats() {
        return Ok(());
    }
    Verdict::refuse(ErrorCode::FencedMemberEpoch, format!("the member is at epoch {}, not {asked}; it must rejoin", current.epoch))
}

fn unknown<T>(member_id: &str) -> Result<T, Verdict> {
    Verdict::refuse(ErrorCode::UnknownMemberId, format!("member {member_id} is not known"))
}

/// The member with what the request tells of it.
fn described(told: Option<&MemberValue>, request: &ConsumerHeartbeat) -> MemberValue {
    let told = told.cloned().unwrap_or_else(|| MemberValue { rebalance_timeout_ms: -1, ..MemberValue::default() });
    let newer = |new: &Option<String>, old: Option<String>| new.clone().or(old);
    MemberValue {
        instance_id: newer(&request.instance_id, told.instance_id),
        rack_id: newer(&request.rack_id, told.rack_id),
        client_id: request.client_id.clone(),
        client_host: request.client_host.clone(),
        topics: request.topics.clone().unwrap_or(told.topics),
        regex: newer(&request.regex, told.regex),
        rebalance_timeout_ms: if request.rebalance_timeout_ms == -1 { told.rebalance_timeout_ms } else { request.rebalance_timeout_ms },
        assignor: newer(&request.assignor, told.assignor),
        classic: None,
    }
}

/// Brings what is written of the group's expressions up to date: new ones are searched first, forgotten ones go, those searched anew since
/// topics came or went count. True when some member's topics changed.
pub(super) fn follow_regexes(view: &View<'_>, draft: &mut Draft<'_>, member_id: &str) -> Result<bool, Verdict> {
    let state = draft.state();
    let wanted = state.members.get(member_id).and_then(|member| member.regex.clone()).filter(|regex| !regex.is_empty());
    if let Some(pattern) = wanted.filter(|pattern| !state.regexes.contains_key(pattern)) {
        if let Err(error) = regex::compile(&pattern) {
            return Verdict::refuse(ErrorCode::InvalidRegularExpression, format!("expression {pattern} is not valid: {error}"));
        }
        let Some(topics) = view.regexes.matches(&pattern) else { return Err(Verdict::Search(pattern)) };
        let value = RegexValue { topics: topics.clone(), version: view.cluster.version(), timestamp_ms: view.now.wall_ms };
        draft.set_regex(&pattern, Some(value));
    }
    let mut changed = false;
    let known: Vec<String> = draft.state().regexes.keys().cloned().collect();
    for pattern in known {
        if !draft.state().members.values().any(|member| member.regex.as_ref() == Some(&pattern)) {
            draft.set_regex(&pattern, None);
            continue;
        }
        if let (true, Some(topics)) = (view.stale, view.regexes.matches(&pattern))
            && draft.state().regexes.get(&pattern).is_some_and(|known| known.topics != *topics)
        {
            let value = RegexValue { topics: topics.clone(), version: view.cluster.version(), timestamp_ms: view.now.wall_ms };
            draft.set_regex(&pattern, Some(value));
            changed = true;
        }
    }
    Ok(changed)
}

/// One step of the member towards its target.
fn follow_target(
    draft: &mut Draft<'_>,
    member_id: &str,
    request: &ConsumerHeartbeat,
    deadlines: &mut Vec<Deadline>,
) -> Result<(), Verdict> {
    let Ok(next) = reconcile(draft.state(), member_id, request.owned.as_ref()) else {
        let Fenced = Fenced;
        return Verdict::refuse(ErrorCode::FencedMemberEpoch, "the member is in an unknown state; it must rejoin");
    };
    if draft.state().current.get(member_id) == Some(&next) {
        return Ok(());
    }
    let timeout = draft.state().members.get(member_id).map_or(0, |member| member.rebalance_timeout_ms);
    let must_give_up = next.state == MemberState::UnrevokedPartitions;
    deadlines.push(Deadline::Reconcile(member_id.to_owned(), must_give_up.then_some(timeout)));
    draft.set_current(member_id, next);
    Ok(())
}

/// May the member, of this epoch, commit this partition? It may with an older epoch too, for what it has had since then (KIP-1251).
pub(super) fn commit_refusal(current: &CurrentValue, epoch: i32, topic: TopicId, partition: i32) -> bool {
    if epoch == current.epoch {
        return false;
    }
    let since = |held: &crate::coordinator::consumer_record::OwnedPartitions| held.get(&topic)?.get(&partition).copied();
    since(&current.assigned).or_else(|| since(&current.revoking)).is_none_or(|since| epoch < since)
}
