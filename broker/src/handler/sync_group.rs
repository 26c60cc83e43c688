//! SyncGroup, API key 14, versions 0 to 5: a member asks for its assignment, the leader brings everybody's.
//!
//! v3 static members (KIP-345), v4 flexible, v5 protocol type and name are named and checked (KIP-559). Parked until the assignment
//! is durable.

use std::rc::Rc;

use bytes::Bytes;
use coreline_wire::error_code::ErrorCode;
use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};
use kafka_protocol::protocol::StrBytes;

use super::{HandlerResult, RequestContext, codec};
use crate::coordinator::request::{SyncAnswer, SyncGroup};
use crate::shard::Shard;

/// First version that names the protocol, and must.
const PROTOCOL_VERSION: i16 = 5;

/// Gives a member its assignment.
pub async fn handle(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let request: SyncGroupRequest = codec::decode(ctx, body)?;
    let unnamed = request.protocol_type.is_none() || request.protocol_name.is_none();
    let answer = if ctx.api_version >= PROTOCOL_VERSION && unnamed {
        SyncAnswer::error(ErrorCode::InconsistentGroupProtocol)
    } else {
        // Not `ctx.parked`, as in `join_group.rs`.
        shard.groups.sync(to_coordinator(request)).await
    };
    codec::encode(ctx, &respond(answer, ctx.api_version))
}

fn to_coordinator(request: SyncGroupRequest) -> SyncGroup {
    SyncGroup {
        group_id: request.group_id.to_string(),
        generation_id: request.generation_id,
        member_id: request.member_id.to_string(),
        instance_id: request.group_instance_id.map(|id| id.to_string()),
        protocol_type: request.protocol_type.map(|name| name.to_string()),
        protocol_name: request.protocol_name.map(|name| name.to_string()),
        // Copied: a group must not keep the receive buffer of its leader's connection alive.
        assignments: request.assignments.into_iter().map(|a| (a.member_id.to_string(), Bytes::copy_from_slice(&a.assignment))).collect(),
    }
}

fn respond(answer: SyncAnswer, version: i16) -> SyncGroupResponse {
    let named = |name: Option<String>| name.map(StrBytes::from_string).filter(|_| version >= PROTOCOL_VERSION);
    SyncGroupResponse::default()
        .with_error_code(answer.error.code())
        .with_protocol_type(named(answer.protocol_type))
        .with_protocol_name(named(answer.protocol_name))
        .with_assignment(answer.assignment)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::messages::GroupId;
    use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
    use kafka_protocol::protocol::{Decodable, Encodable};

    use super::*;

    #[test]
    fn every_version_round_trips() {
        let text = StrBytes::from_static_str;
        for version in 0..=5 {
            let assignment = SyncGroupRequestAssignment::default().with_member_id(text("m-1")).with_assignment(Bytes::from_static(b"as"));
            let mut request = SyncGroupRequest::default()
                .with_group_id(GroupId(text("g")))
                .with_generation_id(3)
                .with_member_id(text("m-1"))
                .with_assignments(vec![assignment]);
            if version >= 3 {
                request = request.with_group_instance_id(Some(text("i")));
            }
            if version >= 5 {
                request = request.with_protocol_type(Some(text("consumer"))).with_protocol_name(Some(text("range")));
            }
            let mut bytes = BytesMut::new();
            request.encode(&mut bytes, version).expect("encodes");
            let asked = to_coordinator(SyncGroupRequest::decode(&mut bytes.freeze(), version).expect("decodes"));
            let expected = SyncGroup {
                group_id: "g".into(),
                generation_id: 3,
                member_id: "m-1".into(),
                instance_id: (version >= 3).then(|| "i".into()),
                protocol_type: (version >= 5).then(|| "consumer".into()),
                protocol_name: (version >= 5).then(|| "range".into()),
                assignments: vec![("m-1".into(), Bytes::from_static(b"as"))],
            };
            assert_eq!(asked, expected, "version {version}");

            let answer = SyncAnswer {
                error: ErrorCode::None,
                protocol_type: Some("consumer".into()),
                protocol_name: Some("range".into()),
                assignment: Bytes::from_static(b"as"),
            };
            let mut bytes = BytesMut::new();
            respond(answer, version).encode(&mut bytes, version).expect("encodes");
            let response = SyncGroupResponse::decode(&mut bytes.freeze(), version).expect("decodes");
            assert_eq!((response.error_code, &response.assignment[..]), (0, &b"as"[..]), "version {version}");
            assert_eq!(response.protocol_name.is_some(), version >= 5, "version {version}");
        }
    }
}
