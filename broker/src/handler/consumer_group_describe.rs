//! ConsumerGroupDescribe, API key 69, versions 0 and 1: consumer groups (KIP-848) with members, epochs and assignments.
//!
//! v1 tells which members speak the classic protocol. A group of another kind is GROUP_ID_NOT_FOUND.

use std::rc::Rc;

use bytes::Bytes;
use coreline_wire::error_code::ErrorCode;
use kafka_protocol::messages::consumer_group_describe_response::{Assignment, DescribedGroup, Member, TopicPartitions};
use kafka_protocol::messages::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, GroupId, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::admin::OPERATIONS_NOT_ASKED;
use super::{HandlerResult, RequestContext, codec};
use crate::controller::features::consumer_groups_enabled;
use crate::coordinator::request::{ConsumerDescribeAnswer, DescribedConsumer, TopicShare};
use crate::shard::Shard;

/// What everybody may do with a group while there is no authorizer: read, delete, describe, describe and alter its settings.
const GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;
/// First version that tells what kind a member is of.
const MEMBER_TYPE_VERSION: i16 = 1;

/// Describes groups.
pub async fn handle(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let request: ConsumerGroupDescribeRequest = codec::decode(ctx, body)?;
    let operations = if request.include_authorized_operations { GROUP_OPERATIONS } else { OPERATIONS_NOT_ASKED };
    let mut groups = Vec::new();
    for group_id in request.group_ids {
        let answer = if !consumer_groups_enabled(&shard.image()) {
            ConsumerDescribeAnswer::error(ErrorCode::UnsupportedVersion, None)
        } else if group_id.is_empty() {
            ConsumerDescribeAnswer::error(ErrorCode::InvalidGroupId, None)
        } else {
            shard.groups.consumer_describe(group_id.to_string()).await
        };
        groups.push(group(group_id, answer, operations, ctx.api_version));
    }
    codec::encode(ctx, &ConsumerGroupDescribeResponse::default().with_groups(groups))
}

fn group(group_id: GroupId, answer: ConsumerDescribeAnswer, operations: i32, version: i16) -> DescribedGroup {
    let text = StrBytes::from_string;
    DescribedGroup::default()
        .with_authorized_operations(if answer.error.is_ok() { operations } else { OPERATIONS_NOT_ASKED })
        .with_error_code(answer.error.code())
        .with_error_message(answer.message.map(text))
        .with_group_id(group_id)
        .with_group_state(text(answer.state))
        .with_group_epoch(answer.epoch)
        .with_assignment_epoch(answer.assignment_epoch)
        .with_assignor_name(text(answer.assignor))
        .with_members(answer.members.into_iter().map(|one| member(one, version)).collect())
}

fn member(member: DescribedConsumer, version: i16) -> Member {
    let text = StrBytes::from_string;
    let described = Member::default()
        .with_member_id(text(member.member_id))
        .with_instance_id(member.instance_id.map(text))
        .with_rack_id(member.rack_id.map(text))
        .with_member_epoch(member.epoch)
        .with_client_id(text(member.client_id))
        .with_client_host(text(member.client_host))
        .with_subscribed_topic_names(member.topics.into_iter().map(|topic| TopicName(text(topic))).collect())
        // An expression that there is not is an empty one, as in Kafka.
        .with_subscribed_topic_regex(Some(text(member.regex.unwrap_or_default())))
        .with_assignment(assignment(member.assignment))
        .with_target_assignment(assignment(member.target));
    if version < MEMBER_TYPE_VERSION { described } else { described.with_member_type(i8::from(!member.is_classic)) }
}

fn assignment(shares: Vec<TopicShare>) -> Assignment {
    let share = |share: TopicShare| {
        TopicPartitions::default()
            .with_topic_id(Uuid::from_bytes(share.id.0))
            .with_topic_name(TopicName(StrBytes::from_string(share.name)))
            .with_partitions(share.partitions)
    };
    Assignment::default().with_topic_partitions(shares.into_iter().map(share).collect())
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use coreline_wire::TopicId;
    use kafka_protocol::protocol::{Decodable, Encodable};

    use super::*;

    #[test]
    fn both_versions_of_the_response_encode() {
        let share = TopicShare { id: TopicId([1; 16]), name: "t".into(), partitions: vec![0, 2] };
        let one = DescribedConsumer {
            member_id: "m".into(),
            epoch: 3,
            regex: Some("a.*".into()),
            assignment: vec![share],
            ..DescribedConsumer::default()
        };
        let answer = ConsumerDescribeAnswer { state: "Stable".into(), epoch: 3, members: vec![one], ..ConsumerDescribeAnswer::default() };
        for version in 0..=1 {
            let described = group(GroupId(StrBytes::from_static_str("g")), answer.clone(), OPERATIONS_NOT_ASKED, version);
            let mut bytes = BytesMut::new();
            let response = ConsumerGroupDescribeResponse::default().with_groups(vec![described]);
            response.encode(&mut bytes, version).expect("encodes");
            let response = ConsumerGroupDescribeResponse::decode(&mut bytes.freeze(), version).expect("decodes");
            let member = &response.groups[0].members[0];
            assert_eq!(member.assignment.topic_partitions[0].partitions, [0, 2]);
            assert_eq!(member.member_type, if version == 0 { -1 } else { 1 }, "version {version}");
        }
    }
}
