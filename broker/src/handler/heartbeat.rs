//! Heartbeat, API key 12, versions 0 to 4: a member is alive and learns whether its generation still holds.
//!
//! v3 static members (KIP-345), v4 flexible.

use std::rc::Rc;

use bytes::Bytes;
use kafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

use super::{HandlerResult, RequestContext, codec};
use crate::coordinator::request::Heartbeat;
use crate::shard::Shard;

/// Keeps a member's session alive.
pub async fn handle(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let request: HeartbeatRequest = codec::decode(ctx, body)?;
    let error = shard.groups.heartbeat(to_coordinator(&request)).await;
    codec::encode(ctx, &HeartbeatResponse::default().with_error_code(error.code()))
}

fn to_coordinator(request: &HeartbeatRequest) -> Heartbeat {
    Heartbeat {
        group_id: request.group_id.to_string(),
        generation_id: request.generation_id,
        member_id: request.member_id.to_string(),
        instance_id: request.group_instance_id.as_ref().map(|id| id.to_string()),
    }
}
