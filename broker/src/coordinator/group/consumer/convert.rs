//! A group goes from one protocol to the other: empty, or online with its members (`group.consumer.migration.policy`).
//!
//! Up: a classic group whose members are consumers takes in a member of the consumer protocol; the others keep what they have and are
//! asked to rejoin. Down: the last member of the consumer protocol goes; the others, all classic, rebalance among themselves.
//! Offsets stay where they are: they belong to the group's name.

use std::rc::Rc;

use coreline_wire::error_code::ErrorCode;

use super::classic::{assignment, by_id};
use super::draft::Draft;
use super::state::ConsumerState;
use super::{Verdict, View};
use crate::coordinator::consumer_record::{
    ClassicValue, CurrentValue, EpochValue, MemberState, MemberValue, OwnedPartitions, TargetEpochValue,
};
use crate::coordinator::group::embedded::{self, CONSUMER};
use crate::coordinator::group::member::Member;
use crate::coordinator::group::{ClassicGroup, ClassicState};

/// Fills an empty draft with the members of a classic group, each with what it has. An empty group has none.
pub(super) fn upgrade(view: &View<'_>, draft: &mut Draft<'_>, classic: &ClassicGroup) -> Result<(), Verdict> {
    let refuse = |reason: &str| {
        tracing::info!(group = %view.group_id, reason, "the classic group is not upgraded");
        Verdict::refuse(ErrorCode::GroupIdNotFound, format!("group {} is a classic group: {reason}", view.group_id))
    };
    if classic.is(ClassicState::Empty) {
        return Ok(());
    }
    if !view.config.migration.upgrades() {
        return refuse("its upgrade is disabled");
    }
    if classic.protocol_type.as_deref() != Some(CONSUMER) {
        return refuse("its members are no consumers");
    }
    if classic.members.len() > view.config.consumer_max_size {
        return refuse("it has more members than a consumer group may have");
    }
    let epoch = classic.generation_id;
    for (id, member) in &classic.members {
        let Ok((value, assigned)) = taken_over(view, classic, member) else { return refuse("a member's subscription is malformed") };
        draft.set_member(id, value);
        let target = crate::coordinator::consumer_request::without_epochs(&assigned);
        draft.set_target(id, target);
        draft.set_current(
            id,
            CurrentValue { epoch, previous_epoch: epoch, state: MemberState::Stable, assigned, ..CurrentValue::default() },
        );
    }
    draft.set_epoch(EpochValue { epoch, metadata_hash: 0 });
    draft.set_target_epoch(TargetEpochValue { epoch, timestamp_ms: view.now.wall_ms });
    tracing::info!(group = %view.group_id, epoch, members = classic.members.len(), "the classic group is upgraded");
    Ok(())
}

fn taken_over(view: &View<'_>, classic: &ClassicGroup, member: &Member) -> Result<(MemberValue, OwnedPartitions), embedded::Malformed> {
    let chosen = classic.protocol_name.as_deref().filter(|name| member.supports(name));
    let metadata = match chosen {
        Some(name) => member.metadata(name),
        None => member.protocols.first().map(|(_, metadata)| metadata.clone()).unwrap_or_default(),
    };
    let subscription = embedded::subscription(&metadata)?;
    let had = by_id(&embedded::assignment(&member.assignment)?, view.cluster);
    let epoch = classic.generation_id;
    let assigned = had.into_iter().map(|(topic, had)| (topic, had.into_iter().map(|partition| (partition, epoch)).collect()));
    let value = MemberValue {
        instance_id: member.instance_id.clone(),
        rack_id: subscription.rack_id,
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        topics: subscription.topics,
        regex: None,
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        assignor: None,
        classic: Some(ClassicValue { session_timeout_ms: member.session_timeout_ms, protocols: member.protocols.clone() }),
    };
    Ok((value, assigned.collect()))
}

/// The classic group that is left when these members go: `None` when somebody else speaks the consumer protocol, nobody is left, or the
/// policy is against it.
pub(super) fn downgrade(view: &View<'_>, state: &ConsumerState, leaving: &[String]) -> Option<Box<ClassicGroup>> {
    let stays = |id: &&String| !leaving.contains(id);
    let staying: Vec<&String> = state.members.keys().filter(stays).collect();
    let is_classic = |id: &String| state.members.get(id).is_some_and(|member| member.classic.is_some());
    if staying.is_empty() || !staying.iter().all(|id| is_classic(id)) || leaving.iter().all(is_classic) {
        return None;
    }
    if !view.config.migration.downgrades() || staying.len() > view.config.max_size {
        tracing::info!(group = %view.group_id, members = staying.len(), "the consumer group is not downgraded");
        return None;
    }
    let mut group = ClassicGroup::new(Rc::from(view.group_id), view.now.wall_ms);
    group.state = ClassicState::Stable;
    group.protocol_type = Some(CONSUMER.to_owned());
    group.generation_id = state.group_epoch();
    for id in staying {
        let (Some(value), current) = (state.members.get(id), state.current_of(id)) else { continue };
        let Some(classic) = value.classic.as_ref() else { continue };
        group.add(Member {
            id: Rc::from(id.as_str()),
            instance_id: value.instance_id.clone(),
            client_id: value.client_id.clone(),
            client_host: value.client_host.clone(),
            rebalance_timeout_ms: value.rebalance_timeout_ms,
            session_timeout_ms: classic.session_timeout_ms,
            protocols: classic.protocols.clone(),
            assignment: assignment(&current, view.cluster, classic.protocols.first().map(|(_, metadata)| metadata)),
            awaiting_join: None,
            awaiting_sync: None,
            is_new: false,
            knows_id: true,
        });
    }
    group.protocol_name = group.select_protocol();
    group.subscribed = group.subscriptions();
    group.protocol_name.is_some().then(|| Box::new(group))
}
