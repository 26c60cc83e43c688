//! LeaveGroup, API key 13, versions 0 to 5: members go, or are removed by name.
//!
//! v3 several members and static names (KIP-345), v4 flexible, v5 a reason (KIP-800, for the log). Below v3 the outcome of the one
//! member is the outcome of the request.

use std::rc::Rc;

use bytes::Bytes;
use coreline_wire::error_code::ErrorCode;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};
use kafka_protocol::protocol::StrBytes;

use super::join_group::reason_for_log;
use super::{HandlerResult, RequestContext, codec};
use crate::coordinator::request::{LeaveAnswer, LeaveGroup, LeavingMember};
use crate::shard::Shard;

/// First version with several members.
const BATCHED_VERSION: i16 = 3;

/// Takes members out of a group.
pub async fn handle(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let request: LeaveGroupRequest = codec::decode(ctx, body)?;
    for member in &request.members {
        if let Some(reason) = member.reason.as_deref().filter(|reason| !reason.is_empty()) {
            let (group, id, instance) = (request.group_id.as_str(), member.member_id.as_str(), member.group_instance_id.as_deref());
            tracing::info!(group, member = id, ?instance, reason = reason_for_log(reason), "a member leaves");
        }
    }
    let answer = shard.groups.leave(to_coordinator(request, ctx.api_version)).await;
    codec::encode(ctx, &respond(answer, ctx.api_version))
}

fn to_coordinator(request: LeaveGroupRequest, version: i16) -> LeaveGroup {
    let members = if version < BATCHED_VERSION {
        vec![LeavingMember { member_id: request.member_id.to_string(), instance_id: None }]
    } else {
        let member = |member: kafka_protocol::messages::leave_group_request::MemberIdentity| LeavingMember {
            member_id: member.member_id.to_string(),
            instance_id: member.group_instance_id.map(|id| id.to_string()),
        };
        request.members.into_iter().map(member).collect()
    };
    LeaveGroup { group_id: request.group_id.to_string(), members }
}

fn respond(answer: LeaveAnswer, version: i16) -> LeaveGroupResponse {
    if version < BATCHED_VERSION {
        let of_member = answer.members.first().map_or(ErrorCode::None, |(_, error)| *error);
        let error = if answer.error.is_ok() { of_member } else { answer.error };
        return LeaveGroupResponse::default().with_error_code(error.code());
    }
    let member = |(member, error): (LeavingMember, ErrorCode)| {
        MemberResponse::default()
            .with_member_id(StrBytes::from_string(member.member_id))
            .with_group_instance_id(member.instance_id.map(StrBytes::from_string))
            .with_error_code(error.code())
    };
    LeaveGroupResponse::default().with_error_code(answer.error.code()).with_members(answer.members.into_iter().map(member).collect())
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::messages::GroupId;
    use kafka_protocol::messages::leave_group_request::MemberIdentity;
    use kafka_protocol::protocol::{Decodable, Encodable};

    use super::*;

    #[test]
    fn one_member_below_version_3_and_several_from_there() {
        let text = StrBytes::from_static_str;
        for version in 0..=5 {
            let mut request = LeaveGroupRequest::default().with_group_id(GroupId(text("g")));
            if version < 3 {
                request = request.with_member_id(text("m-1"));
            } else {
                let by_name = MemberIdentity::default().with_group_instance_id(Some(text("i")));
                request = request.with_members(vec![MemberIdentity::default().with_member_id(text("m-1")), by_name]);
            }
            let mut bytes = BytesMut::new();
            request.encode(&mut bytes, version).expect("encodes");
            let asked = to_coordinator(LeaveGroupRequest::decode(&mut bytes.freeze(), version).expect("decodes"), version);
            let mut expected = vec![LeavingMember { member_id: "m-1".into(), instance_id: None }];
            if version >= 3 {
                expected.push(LeavingMember { member_id: String::new(), instance_id: Some("i".into()) });
            }
            assert_eq!(asked.members, expected, "version {version}");

            let outcomes = asked.members.into_iter().map(|member| (member, ErrorCode::UnknownMemberId)).collect();
            let mut bytes = BytesMut::new();
            let response = respond(LeaveAnswer { error: ErrorCode::None, members: outcomes }, version);
            response.encode(&mut bytes, version).expect("encodes");
            let response = LeaveGroupResponse::decode(&mut bytes.freeze(), version).expect("decodes");
            let of_members: Vec<i16> = response.members.iter().map(|member| member.error_code).collect();
            let expected: (i16, &[i16]) = if version < 3 { (25, &[]) } else { (0, &[25, 25]) };
            assert_eq!((response.error_code, &of_members[..]), expected, "version {version}");
        }
    }
}
