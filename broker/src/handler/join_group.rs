//! JoinGroup, API key 11, versions 0 to 9: a member wants to be part of the next generation.
//!
//! v1 rebalance timeout, v4 MEMBER_ID_REQUIRED (KIP-394), v5 static members (KIP-345), v6 flexible, v7 protocol type and nullable
//! protocol name (KIP-559), v8 a reason (KIP-800, for the log), v9 skipped assignments (KIP-814). Parked until the join phase ends.
//! Served from version 0: old clients with SASL look for it.

use std::rc::Rc;

use bytes::Bytes;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};
use kafka_protocol::protocol::StrBytes;

use super::{HandlerResult, RequestContext, codec};
use crate::coordinator::request::{JoinAnswer, JoinGroup, JoinedMember};
use crate::shard::Shard;

/// First version with a rebalance timeout of its own.
const REBALANCE_TIMEOUT_VERSION: i16 = 1;
/// First version whose clients come back with the id that they are given.
const MEMBER_ID_REQUIRED_VERSION: i16 = 4;
/// First version in which the protocol name may be null.
const NULLABLE_PROTOCOL_VERSION: i16 = 7;
/// First version whose leaders can be told to skip the assignment.
const SKIP_ASSIGNMENT_VERSION: i16 = 9;

/// Joins a group.
pub async fn handle(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let request: JoinGroupRequest = codec::decode(ctx, body)?;
    if let Some(reason) = request.reason.as_deref().filter(|reason| !reason.is_empty()) {
        let (group, member) = (request.group_id.as_str(), request.member_id.as_str());
        tracing::debug!(group, member, reason = reason_for_log(reason), "a member joins");
    }
    // Not `ctx.parked`: the answer comes from another task of this shard, and the rescue thread has to see that it is waited for.
    let answer = shard.groups.join(to_coordinator(ctx, request)).await;
    codec::encode(ctx, &respond(answer, ctx.api_version))
}

/// A client's words, cut to what Kafka's clients send at most.
pub(super) fn reason_for_log(reason: &str) -> &str {
    const REASON_BYTES_MAX: usize = 255;
    let end = (0..=REASON_BYTES_MAX.min(reason.len())).rev().find(|end| reason.is_char_boundary(*end));
    &reason[..end.unwrap_or(0)]
}

fn to_coordinator(ctx: &RequestContext, request: JoinGroupRequest) -> JoinGroup {
    let version = ctx.api_version;
    let protocol = |p: kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol| {
        // Copied: a member must not keep the receive buffer of its connection alive.
        (p.name.to_string(), Bytes::copy_from_slice(&p.metadata))
    };
    JoinGroup {
        group_id: request.group_id.to_string(),
        member_id: request.member_id.to_string(),
        instance_id: request.group_instance_id.map(|id| id.to_string()),
        client_id: ctx.client_id.as_deref().unwrap_or_default().to_owned(),
        // As Kafka writes an address, so that its tools show the same.
        client_host: format!("/{}", ctx.peer.ip()),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms: if version < REBALANCE_TIMEOUT_VERSION { request.session_timeout_ms } else { request.rebalance_timeout_ms },
        protocol_type: request.protocol_type.to_string(),
        protocols: request.protocols.into_iter().map(protocol).collect(),
        requires_known_member_id: version >= MEMBER_ID_REQUIRED_VERSION,
        supports_skip_assignment: version >= SKIP_ASSIGNMENT_VERSION,
    }
}

fn respond(answer: JoinAnswer, version: i16) -> JoinGroupResponse {
    let text = StrBytes::from_string;
    let member = |member: JoinedMember| {
        JoinGroupResponseMember::default()
            .with_member_id(text(member.member_id))
            .with_group_instance_id(member.instance_id.map(text))
            .with_metadata(member.metadata)
    };
    let protocol_name = match answer.protocol_name {
        None if version < NULLABLE_PROTOCOL_VERSION => Some(StrBytes::default()),
        name => name.map(text),
    };
    JoinGroupResponse::default()
        .with_error_code(answer.error.code())
        .with_generation_id(answer.generation_id)
        .with_protocol_type(answer.protocol_type.map(text).filter(|_| version >= NULLABLE_PROTOCOL_VERSION))
        .with_protocol_name(protocol_name)
        .with_leader(text(answer.leader))
        .with_skip_assignment(answer.skip_assignment)
        .with_member_id(text(answer.member_id))
        .with_members(answer.members.into_iter().map(member).collect())
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use coreline_wire::error_code::ErrorCode;
    use kafka_protocol::messages::GroupId;
    use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
    use kafka_protocol::protocol::{Decodable, Encodable};

    use super::*;

    #[test]
    fn a_reason_is_cut_between_characters() {
        assert_eq!(reason_for_log("closing"), "closing");
        assert_eq!(reason_for_log(&"\u{e9}".repeat(200)).len(), 254);
    }

    #[test]
    fn every_version_of_the_request_becomes_what_the_coordinator_knows() {
        for version in 0..=9 {
            let text = StrBytes::from_static_str;
            let protocol = JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(Bytes::from_static(b"m"));
            let mut request = JoinGroupRequest::default()
                .with_group_id(GroupId(text("g")))
                .with_session_timeout_ms(10_000)
                .with_member_id(text("m-1"))
                .with_protocol_type(text("consumer"))
                .with_protocols(vec![protocol]);
            if version >= 1 {
                request = request.with_rebalance_timeout_ms(60_000);
            }
            if version >= 5 {
                request = request.with_group_instance_id(Some(text("i")));
            }
            let mut bytes = BytesMut::new();
            request.encode(&mut bytes, version).expect("encodes");
            let request = JoinGroupRequest::decode(&mut bytes.freeze(), version).expect("decodes");
            let asked = to_coordinator(&RequestContext::for_test(11, version), request);
            let expected = JoinGroup {
                group_id: "g".into(),
                member_id: "m-1".into(),
                instance_id: (version >= 5).then(|| "i".into()),
                client_id: "test".into(),
                client_host: "/127.0.0.1".into(),
                session_timeout_ms: 10_000,
                rebalance_timeout_ms: if version == 0 { 10_000 } else { 60_000 },
                protocol_type: "consumer".into(),
                protocols: vec![("range".into(), Bytes::from_static(b"m"))],
                requires_known_member_id: version >= 4,
                supports_skip_assignment: version >= 9,
            };
            assert_eq!(asked, expected, "version {version}");
        }
    }

    #[test]
    fn every_version_of_the_response_encodes_with_and_without_a_generation() {
        let joined = JoinAnswer {
            error: ErrorCode::None,
            generation_id: 3,
            protocol_type: Some("consumer".into()),
            protocol_name: Some("range".into()),
            leader: "m-1".into(),
            skip_assignment: false,
            member_id: "m-1".into(),
            members: vec![JoinedMember { member_id: "m-1".into(), instance_id: None, metadata: Bytes::from_static(b"m") }],
        };
        for version in 0..=9 {
            for answer in [joined.clone(), JoinAnswer::error(ErrorCode::MemberIdRequired, "m-1")] {
                let mut bytes = BytesMut::new();
                respond(answer.clone(), version).encode(&mut bytes, version).expect("encodes");
                let response = JoinGroupResponse::decode(&mut bytes.freeze(), version).expect("decodes");
                let told = (response.error_code, response.generation_id, response.member_id.to_string(), response.members.len());
                assert_eq!(told, (answer.error.code(), answer.generation_id, answer.member_id, answer.members.len()), "version {version}");
                let name = response.protocol_name.map(|name| name.to_string());
                let expected = if version < 7 { Some(answer.protocol_name.unwrap_or_default()) } else { answer.protocol_name };
                assert_eq!(name, expected, "version {version}");
            }
        }
    }
}
