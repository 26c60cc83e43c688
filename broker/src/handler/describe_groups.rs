//! DescribeGroups, API key 15, versions 0 to 6: classic groups with their members.
//!
//! v3 authorized operations, v4 static names (KIP-345), v5 flexible, v6 GROUP_ID_NOT_FOUND with a message (KIP-1043). Below v6 a group
//! that does not exist, or is of another type, is a dead one. Metadata is told of a stable generation only.

use std::rc::Rc;

use bytes::Bytes;
use coreline_wire::error_code::ErrorCode;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse, GroupId};
use kafka_protocol::protocol::StrBytes;

use super::admin::{GROUP_OPERATIONS, OPERATIONS_NOT_ASKED};
use super::{HandlerResult, RequestContext, codec};
use crate::coordinator::request::{DescribeAnswer, DescribedMember};
use crate::shard::Shard;

/// First version with static names.
const INSTANCE_ID_VERSION: i16 = 4;
/// First version whose clients know GROUP_ID_NOT_FOUND.
const MISSING_GROUP_VERSION: i16 = 6;

/// Describes groups, one by one.
pub async fn handle(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let request: DescribeGroupsRequest = codec::decode(ctx, body)?;
    let mut groups = Vec::new();
    for group_id in request.groups {
        let answer = shard.groups.describe(group_id.to_string()).await;
        groups.push(respond(group_id, answer, ctx.api_version, request.include_authorized_operations));
    }
    codec::encode(ctx, &DescribeGroupsResponse::default().with_groups(groups))
}

fn respond(group_id: GroupId, answer: DescribeAnswer, version: i16, operations: bool) -> DescribedGroup {
    let text = StrBytes::from_string;
    let member = |member: DescribedMember| {
        DescribedGroupMember::default()
            .with_member_id(text(member.member_id))
            .with_group_instance_id(member.instance_id.filter(|_| version >= INSTANCE_ID_VERSION).map(text))
            .with_client_id(text(member.client_id))
            .with_client_host(text(member.client_host))
            .with_member_metadata(member.metadata)
            .with_member_assignment(member.assignment)
    };
    let knows_missing = version >= MISSING_GROUP_VERSION;
    let error = if answer.error == ErrorCode::GroupIdNotFound && !knows_missing { ErrorCode::None } else { answer.error };
    DescribedGroup::default()
        .with_error_code(error.code())
        .with_error_message(answer.message.filter(|_| knows_missing).map(text))
        .with_group_id(group_id)
        .with_group_state(StrBytes::from_static_str(answer.state))
        .with_protocol_type(text(answer.protocol_type))
        .with_protocol_data(text(answer.protocol))
        .with_members(answer.members.into_iter().map(member).collect())
        .with_authorized_operations(if operations && error.is_ok() { GROUP_OPERATIONS } else { OPERATIONS_NOT_ASKED })
}

#[cfg(test)]
mod tests {
    use kafka_protocol::protocol::Encodable;

    use super::*;

    #[test]
    fn a_group_that_is_not_there_is_dead_and_an_error_from_version_6() {
        for version in 0..=6 {
            let missing = DescribeAnswer {
                error: ErrorCode::GroupIdNotFound,
                message: Some("Group g not found.".into()),
                state: "Dead",
                ..DescribeAnswer::default()
            };
            let told = respond(GroupId(StrBytes::from_static_str("g")), missing, version, version >= 3);
            let is_error = version >= 6;
            assert_eq!(told.error_code, if is_error { 69 } else { 0 }, "version {version}");
            assert_eq!((told.error_message.is_some(), told.group_state.as_str()), (is_error, "Dead"), "version {version}");
            let operations = if version < 3 || is_error { i32::MIN } else { 3400 };
            assert_eq!(told.authorized_operations, operations, "version {version}");
        }
    }

    #[test]
    fn every_version_tells_a_static_member() {
        for version in 0..=6 {
            let member = DescribedMember { member_id: "m".into(), instance_id: Some("i".into()), ..DescribedMember::default() };
            let answer = DescribeAnswer { state: "Stable", members: vec![member], ..DescribeAnswer::default() };
            let told = respond(GroupId(StrBytes::from_static_str("g")), answer, version, false);
            assert_eq!(told.members[0].group_instance_id.is_some(), version >= 4, "version {version}");
            assert!(DescribeGroupsResponse::default().with_groups(vec![told]).compute_size(version).is_ok(), "version {version}");
        }
    }
}
