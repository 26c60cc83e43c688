//! Members that speak the classic protocol inside a consumer group, while a group is moved from one protocol to the other.
//!
//! Their member epoch is their generation. JoinGroup is answered at once with an epoch, SyncGroup with what the member has, and Heartbeat
//! says REBALANCE_IN_PROGRESS when it has to join again: to give up partitions, to get more, or because the group's epoch rose.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use coreline_wire::error_code::ErrorCode;

use super::draft::Draft;
use super::heartbeat::{follow_regexes, replace_static};
use super::reconcile::{reconcile, still_waits};
use super::state::ConsumerState;
use super::target::{follow_epoch, raise_epoch};
use super::{Deadline, Verdict, View};
use crate::coordinator::cluster::Cluster;
use crate::coordinator::consumer_record::{ClassicValue, CurrentValue, MemberState, MemberValue, Partitions};
use crate::coordinator::group::embedded::{self, CONSUMER, Subscription};
use crate::coordinator::request::{Heartbeat, JoinAnswer, JoinGroup, LeavingMember, SyncAnswer, SyncGroup};

/// May a member with these protocols be one of the group?
pub(super) fn supports(state: &ConsumerState, protocol_type: &str, protocols: &[(String, Bytes)]) -> bool {
    let classic = || state.members.values().filter_map(|member| member.classic.as_ref());
    let all_know = |name: &str| classic().all(|member| member.protocols.iter().any(|(known, _)| known == name));
    protocol_type == CONSUMER && protocols.iter().any(|(name, _)| all_know(name))
}

/// JoinGroup.
pub(super) fn join(
    view: &View<'_>,
    draft: &mut Draft<'_>,
    request: &JoinGroup,
    new_id: &str,
    deadlines: &mut Vec<Deadline>,
) -> Result<JoinAnswer, Verdict> {
    let state = draft.state();
    if state.members.len() >= view.config.consumer_max_size && !state.members.contains_key(&request.member_id) {
        return Verdict::refuse(ErrorCode::GroupMaxSizeReached, "");
    }
    let (Some((protocol, metadata)), true) = (request.protocols.first(), supports(state, &request.protocol_type, &request.protocols))
    else {
        return Verdict::refuse(ErrorCode::InconsistentGroupProtocol, "");
    };
    let Ok(subscription) = embedded::subscription(metadata) else {
        return Verdict::refuse(ErrorCode::InconsistentGroupProtocol, "");
    };
    let is_new = request.member_id.is_empty();
    if is_new && request.instance_id.is_none() && request.requires_known_member_id {
        return Ok(JoinAnswer::error(ErrorCode::MemberIdRequired, new_id));
    }
    let member_id = if is_new { new_id } else { &request.member_id };
    if let Some(instance) = request.instance_id.as_deref() {
        match draft.state().static_member(instance).map(str::to_owned) {
            Some(old) if is_new => replace_static(draft, &old, member_id),
            None if is_new => {}
            Some(old) if old != member_id => return Verdict::refuse(ErrorCode::FencedInstanceId, ""),
            Some(_) => {}
            None => return Verdict::refuse(ErrorCode::UnknownMemberId, ""),
        }
    }
    let told = draft.state().members.get(member_id);
    let member = described(told, request, &subscription);
    let changed = told.is_none_or(|told| told.topics != member.topics || told.regex != member.regex);
    if told != Some(&member) {
        draft.set_member(member_id, member);
    }
    let changed = follow_regexes(view, draft, member_id)? || changed;
    if changed || view.stale {
        raise_epoch(view, draft, changed);
    }
    follow_epoch(view, draft);
    let owned = by_id(&subscription.owned, view.cluster);
    let Ok(next) = reconcile(draft.state(), member_id, Some(&owned)) else {
        return Verdict::refuse(ErrorCode::UnknownMemberId, "");
    };
    if draft.state().current.get(member_id) != Some(&next) {
        draft.set_current(member_id, next.clone());
    }
    deadlines.push(Deadline::Rejoin(member_id.to_owned(), None));
    deadlines.push(Deadline::Session(member_id.to_owned(), request.session_timeout_ms));
    deadlines.push(Deadline::Sync(member_id.to_owned(), Some(request.rebalance_timeout_ms)));
    Ok(JoinAnswer {
        error: ErrorCode::None,
        generation_id: next.epoch,
        protocol_type: Some(CONSUMER.to_owned()),
        protocol_name: Some(protocol.clone()),
        // Nobody leads: the coordinator assigns.
        leader: String::new(),
        skip_assignment: false,
        member_id: member_id.to_owned(),
        members: Vec::new(),
    })
}

fn described(told: Option<&MemberValue>, request: &JoinGroup, subscription: &Subscription) -> MemberValue {
    MemberValue {
        instance_id: request.instance_id.clone().or_else(|| told.and_then(|told| told.instance_id.clone())),
        rack_id: subscription.rack_id.clone().or_else(|| told.and_then(|told| told.rack_id.clone())),
        client_id: request.client_id.clone(),
        client_host: request.client_host.clone(),
        topics: subscription.topics.clone(),
        regex: None,
        rebalance_timeout_ms: request.rebalance_timeout_ms,
        assignor: told.and_then(|told| told.assignor.clone()),
        classic: Some(ClassicValue { session_timeout_ms: request.session_timeout_ms, protocols: request.protocols.clone() }),
    }
}

/// Partitions by topic id; topics that are gone are left out.
pub(super) fn by_id(partitions: &BTreeMap<String, BTreeSet<i32>>, cluster: &Cluster) -> Partitions {
    let known = partitions.iter().filter(|(_, partitions)| !partitions.is_empty());
    known.filter_map(|(name, partitions)| Some((cluster.topic(name)?.0, partitions.clone()))).collect()
}

/// The member, if it is known, not fenced, speaks the classic protocol and is of this generation.
fn member<'a>(
    state: &'a ConsumerState,
    member_id: &str,
    instance_id: Option<&str>,
    generation_id: i32,
) -> Result<(&'a ClassicValue, CurrentValue), Verdict> {
    if let Some(instance) = instance_id {
        match state.static_member(instance) {
            None => return Verdict::refuse(ErrorCode::UnknownMemberId, ""),
            Some(current) if current != member_id => return Verdict::refuse(ErrorCode::FencedInstanceId, ""),
            Some(_) => {}
        }
    }
    let Some(classic) = state.members.get(member_id).and_then(|member| member.classic.as_ref()) else {
        return Verdict::refuse(ErrorCode::UnknownMemberId, "");
    };
    let current = state.current_of(member_id);
    if current.epoch != generation_id {
        return Verdict::refuse(ErrorCode::IllegalGeneration, "");
    }
    Ok((classic, current))
}

/// SyncGroup: what the member has.
pub(super) fn sync(
    view: &View<'_>,
    state: &ConsumerState,
    request: &SyncGroup,
    deadlines: &mut Vec<Deadline>,
) -> Result<SyncAnswer, Verdict> {
    let (classic, current) = member(state, &request.member_id, request.instance_id.as_deref(), request.generation_id)?;
    let first = classic.protocols.first();
    let type_differs = request.protocol_type.as_deref().is_some_and(|asked| asked != CONSUMER);
    let name_differs = request.protocol_name.as_deref().is_some_and(|asked| first.is_some_and(|(name, _)| name != asked));
    if type_differs || name_differs {
        return Verdict::refuse(ErrorCode::InconsistentGroupProtocol, "");
    }
    if state.group_epoch() > current.epoch && current.state != MemberState::UnrevokedPartitions {
        deadlines.push(Deadline::Rejoin(request.member_id.clone(), Some(rebalance_timeout_ms(state, &request.member_id))));
        return Ok(SyncAnswer::error(ErrorCode::RebalanceInProgress));
    }
    deadlines.push(Deadline::Sync(request.member_id.clone(), None));
    deadlines.push(Deadline::Session(request.member_id.clone(), classic.session_timeout_ms));
    Ok(SyncAnswer {
        error: ErrorCode::None,
        protocol_type: request.protocol_type.clone(),
        protocol_name: request.protocol_name.clone(),
        assignment: assignment(&current, view.cluster, first.map(|(_, metadata)| metadata)),
    })
}

/// What a member has, in the form that it reads.
pub(super) fn assignment(current: &CurrentValue, cluster: &Cluster, metadata: Option<&Bytes>) -> Bytes {
    let named = current.assigned.iter().filter_map(|(topic, partitions)| {
        let partitions = partitions.keys().copied().collect::<Vec<i32>>();
        Some((cluster.name(*topic)?, partitions))
    });
    embedded::write_assignment(&named.collect(), metadata.map(|metadata| &metadata[..]).unwrap_or_default())
}

/// Heartbeat: alive; must it join again?
pub(super) fn heartbeat(state: &ConsumerState, request: &Heartbeat, deadlines: &mut Vec<Deadline>) -> Result<ErrorCode, Verdict> {
    let (classic, current) = member(state, &request.member_id, request.instance_id.as_deref(), request.generation_id)?;
    deadlines.push(Deadline::Session(request.member_id.clone(), classic.session_timeout_ms));
    let may_get_more = current.state == MemberState::UnreleasedPartitions && !still_waits(state, &request.member_id);
    if current.epoch < state.group_epoch() || current.state == MemberState::UnrevokedPartitions || may_get_more {
        deadlines.push(Deadline::Rejoin(request.member_id.clone(), Some(rebalance_timeout_ms(state, &request.member_id))));
        return Ok(ErrorCode::RebalanceInProgress);
    }
    Ok(ErrorCode::None)
}

fn rebalance_timeout_ms(state: &ConsumerState, member_id: &str) -> i32 {
    state.members.get(member_id).map_or(0, |member| member.rebalance_timeout_ms)
}

/// LeaveGroup: who goes, and what each is told.
pub(super) fn leave(state: &ConsumerState, members: &[LeavingMember]) -> (Vec<String>, Vec<(LeavingMember, ErrorCode)>) {
    let mut gone = Vec::new();
    let mut outcomes = Vec::new();
    for leaving in members {
        let outcome = match leaves(state, leaving) {
            Ok(id) if gone.contains(&id) => ErrorCode::UnknownMemberId,
            Ok(id) => {
                gone.push(id);
                ErrorCode::None
            }
            Err(error) => error,
        };
        outcomes.push((leaving.clone(), outcome));
    }
    (gone, outcomes)
}

fn leaves(state: &ConsumerState, leaving: &LeavingMember) -> Result<String, ErrorCode> {
    let id = match leaving.instance_id.as_deref() {
        None => leaving.member_id.as_str(),
        Some(instance) => match state.static_member(instance) {
            None => return Err(ErrorCode::UnknownMemberId),
            Some(current) if !leaving.member_id.is_empty() && current != leaving.member_id => return Err(ErrorCode::FencedInstanceId),
            Some(current) => current,
        },
    };
    let is_classic = state.members.get(id).is_some_and(|member| member.classic.is_some());
    if is_classic { Ok(id.to_owned()) } else { Err(ErrorCode::UnknownMemberId) }
}
