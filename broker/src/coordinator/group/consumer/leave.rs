//! A member goes: by itself, for a while (static members), or because it was not heard of in time.

use coreline_wire::error_code::ErrorCode;

use super::draft::Draft;
use super::state::STATIC_LEAVE_EPOCH;
use super::target::raise_epoch_after_loss;
use super::{Deadline, Verdict, View};
use crate::coordinator::consumer_record::{CurrentValue, OwnedPartitions};
use crate::coordinator::consumer_request::{ConsumerHeartbeat, ConsumerHeartbeatAnswer};

/// A heartbeat with epoch -1 or -2. Tells which member is to be removed; `None` when it only left for a while.
pub(super) fn leave(
    view: &View<'_>,
    draft: &mut Draft<'_>,
    request: &ConsumerHeartbeat,
) -> Result<(Option<String>, ConsumerHeartbeatAnswer), Verdict> {
    if draft.state().epoch.is_none() {
        return Verdict::refuse(ErrorCode::GroupIdNotFound, format!("group {} is not known", view.group_id));
    }
    let member_id = &request.member_id;
    match request.instance_id.as_deref() {
        None if draft.state().members.contains_key(member_id) => {}
        None => return Verdict::refuse(ErrorCode::UnknownMemberId, format!("member {member_id} is not known")),
        Some(instance) => match draft.state().static_member(instance) {
            None => return Verdict::refuse(ErrorCode::UnknownMemberId, format!("instance id {instance} is not known")),
            Some(current) if current != member_id => {
                return Verdict::refuse(ErrorCode::FencedInstanceId, format!("instance id {instance} is that of member {current} now"));
            }
            Some(_) => {}
        },
    }
    let answer = ConsumerHeartbeatAnswer {
        member_id: Some(member_id.clone()),
        member_epoch: request.member_epoch,
        ..ConsumerHeartbeatAnswer::default()
    };
    if request.instance_id.is_some() && request.member_epoch == STATIC_LEAVE_EPOCH {
        // It keeps what it has until it is back, or its session is over.
        let current = draft.state().current_of(member_id);
        draft.set_current(member_id, CurrentValue { epoch: STATIC_LEAVE_EPOCH, revoking: OwnedPartitions::new(), ..current });
        return Ok((None, answer));
    }
    Ok((Some(member_id.clone()), answer))
}

/// Takes members out; what they had is free, and the next heartbeat of anybody computes a new target.
pub(super) fn remove(view: &View<'_>, draft: &mut Draft<'_>, members: &[String], deadlines: &mut Vec<Deadline>) {
    for member in members {
        tracing::info!(group = %view.group_id, %member, "a member leaves the consumer group");
        draft.remove(member);
        deadlines.push(Deadline::None(member.clone()));
    }
    let used: Vec<String> = draft.state().regexes.keys().cloned().collect();
    for pattern in used {
        if !draft.state().members.values().any(|member| member.regex.as_ref() == Some(&pattern)) {
            draft.set_regex(&pattern, None);
        }
    }
    raise_epoch_after_loss(view, draft);
}
