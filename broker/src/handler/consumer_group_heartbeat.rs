//! ConsumerGroupHeartbeat, API key 68, versions 0 and 1: the one request of members of a consumer group (KIP-848).
//!
//! v1 subscribes by expression, and the client makes the member id (KIP-1082). Answered when what it changed is durable. Refused with
//! UNSUPPORTED_VERSION while `group.version` is 0.

use std::collections::BTreeSet;
use std::rc::Rc;

use bytes::Bytes;
use coreline_wire::TopicId;
use coreline_wire::error_code::ErrorCode;
use kafka_protocol::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::{HandlerResult, RequestContext, codec};
use crate::controller::features::consumer_groups_enabled;
use crate::coordinator::consumer_record::Partitions;
use crate::coordinator::request::{ConsumerHeartbeat, ConsumerHeartbeatAnswer};
use crate::shard::Shard;

/// First version whose clients make their member ids.
const CLIENT_ID_VERSION: i16 = 1;

/// Hears of a member.
pub async fn handle(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let request: ConsumerGroupHeartbeatRequest = codec::decode(ctx, body)?;
    let answer = if consumer_groups_enabled(&shard.image()) {
        shard.groups.consumer_heartbeat(to_coordinator(ctx, request)).await
    } else {
        ConsumerHeartbeatAnswer::error(ErrorCode::UnsupportedVersion, None)
    };
    codec::encode(ctx, &respond(answer))
}

fn to_coordinator(ctx: &RequestContext, request: ConsumerGroupHeartbeatRequest) -> ConsumerHeartbeat {
    let text = |text: Option<StrBytes>| text.map(|text| text.to_string());
    let owned = request.topic_partitions.map(|topics| {
        let mut owned = Partitions::new();
        for topic in topics.into_iter().filter(|topic| !topic.partitions.is_empty()) {
            owned.entry(TopicId(*topic.topic_id.as_bytes())).or_default().extend(topic.partitions);
        }
        owned
    });
    ConsumerHeartbeat {
        group_id: request.group_id.to_string(),
        member_id: request.member_id.to_string(),
        member_epoch: request.member_epoch,
        instance_id: text(request.instance_id),
        rack_id: text(request.rack_id),
        rebalance_timeout_ms: request.rebalance_timeout_ms,
        topics: request.subscribed_topic_names.map(|topics| topics.into_iter().map(|topic| topic.to_string()).collect()),
        regex: text(request.subscribed_topic_regex),
        assignor: text(request.server_assignor),
        owned,
        client_id: ctx.client_id.as_deref().unwrap_or_default().to_owned(),
        // As Kafka writes an address, so that its tools show the same.
        client_host: format!("/{}", ctx.peer.ip()),
        may_lack_id: ctx.api_version < CLIENT_ID_VERSION,
    }
}

fn respond(answer: ConsumerHeartbeatAnswer) -> ConsumerGroupHeartbeatResponse {
    let topic = |(id, partitions): (TopicId, BTreeSet<i32>)| {
        TopicPartitions::default().with_topic_id(Uuid::from_bytes(id.0)).with_partitions(partitions.into_iter().collect())
    };
    let assignment =
        answer.assignment.map(|assignment| Assignment::default().with_topic_partitions(assignment.into_iter().map(topic).collect()));
    ConsumerGroupHeartbeatResponse::default()
        .with_error_code(answer.error.code())
        .with_error_message(answer.message.map(StrBytes::from_string))
        .with_member_id(answer.member_id.map(StrBytes::from_string))
        .with_member_epoch(answer.member_epoch)
        .with_heartbeat_interval_ms(answer.heartbeat_interval_ms)
        .with_assignment(assignment)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions as Owned;
    use kafka_protocol::messages::{GroupId, TopicName};
    use kafka_protocol::protocol::{Decodable, Encodable};

    use super::*;

    #[test]
    fn both_versions_of_the_request_become_what_the_coordinator_knows() {
        for version in 0..=1 {
            let text = StrBytes::from_static_str;
            let owned = Owned::default().with_topic_id(Uuid::from_bytes([7; 16])).with_partitions(vec![1, 0]);
            let mut request = ConsumerGroupHeartbeatRequest::default()
                .with_group_id(GroupId(text("g")))
                .with_member_id(text("m"))
                .with_member_epoch(3)
                .with_subscribed_topic_names(Some(vec![TopicName(text("t"))]))
                .with_topic_partitions(Some(vec![owned]));
            if version >= 1 {
                request = request.with_subscribed_topic_regex(Some(text("a.*")));
            }
            let mut bytes = BytesMut::new();
            request.encode(&mut bytes, version).expect("encodes");
            let request = ConsumerGroupHeartbeatRequest::decode(&mut bytes.freeze(), version).expect("decodes");
            let asked = to_coordinator(&RequestContext::for_test(68, version), request);
            let expected = ConsumerHeartbeat {
                group_id: "g".into(),
                member_id: "m".into(),
                member_epoch: 3,
                rebalance_timeout_ms: -1,
                topics: Some(BTreeSet::from(["t".to_owned()])),
                regex: (version >= 1).then(|| "a.*".into()),
                owned: Some(Partitions::from([(TopicId([7; 16]), BTreeSet::from([0, 1]))])),
                client_id: "test".into(),
                client_host: "/127.0.0.1".into(),
                may_lack_id: version == 0,
                ..ConsumerHeartbeat::default()
            };
            assert_eq!(asked, expected, "version {version}");
        }
    }

    #[test]
    fn the_response_holds_an_assignment_only_when_there_is_one() {
        let partitions = Partitions::from([(TopicId([7; 16]), BTreeSet::from([0, 1]))]);
        for (assignment, told) in [(None, None), (Some(Partitions::new()), Some(0)), (Some(partitions), Some(1))] {
            let answer = ConsumerHeartbeatAnswer { member_id: Some("m".into()), member_epoch: 2, assignment, ..Default::default() };
            let mut bytes = BytesMut::new();
            respond(answer).encode(&mut bytes, 1).expect("encodes");
            let response = ConsumerGroupHeartbeatResponse::decode(&mut bytes.freeze(), 1).expect("decodes");
            assert_eq!(response.assignment.map(|assignment| assignment.topic_partitions.len()), told);
        }
    }
}
