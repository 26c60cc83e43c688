//! FindCoordinator, API key 10, versions 0 to 6: which broker coordinates a group.
//!
//! v1 key types and messages, v3 flexible, v4 several keys (KIP-699), v5 TRANSACTION_ABORTABLE (KIP-890; never answered), v6 share
//! keys (KIP-932). One node coordinates all groups: itself. The first question creates `__consumer_offsets`; while it cannot be
//! created the answer is COORDINATOR_NOT_AVAILABLE, which clients ask again. Left out: transactions and share groups, answered
//! INVALID_REQUEST with a sentence, which clients show and do not ask again.

use std::rc::Rc;

use bytes::Bytes;
use coreline_wire::error_code::ErrorCode;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;

use super::{HandlerResult, RequestContext, codec};
use crate::shard::Shard;

/// First version that asks for several keys at once.
const BATCHED_VERSION: i16 = 4;

/// Where the coordinator is, or why it is nowhere.
struct Place {
    error: ErrorCode,
    message: Option<&'static str>,
    node_id: i32,
    host: String,
    port: i32,
}

impl Place {
    fn nowhere(error: ErrorCode, message: &'static str) -> Self {
        Place { error, message: Some(message), node_id: -1, host: String::new(), port: -1 }
    }
}

/// Answers where groups are coordinated.
pub async fn handle(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let request: FindCoordinatorRequest = codec::decode(ctx, body)?;
    let place = match request.key_type {
        0 => find_group_coordinator(shard).await,
        1 => Place::nowhere(ErrorCode::InvalidRequest, "transactions are not served by this broker"),
        2 => Place::nowhere(ErrorCode::InvalidRequest, "share groups are not served by this broker"),
        _ => Place::nowhere(ErrorCode::InvalidRequest, "the coordinator's key type is not known"),
    };
    codec::encode(ctx, &respond(request, ctx.api_version, &place))
}

async fn find_group_coordinator(shard: &Rc<Shard>) -> Place {
    let error = shard.groups.locate().await;
    if !error.is_ok() {
        return Place::nowhere(error, "the topic of the group coordinator is not available yet");
    }
    let image = shard.image();
    match image.broker(shard.node_id()).and_then(|broker| broker.endpoint("PLAINTEXT")) {
        Some(endpoint) => {
            let (host, port) = (endpoint.host.clone(), i32::from(endpoint.port));
            Place { error: ErrorCode::None, message: None, node_id: shard.node_id(), host, port }
        }
        None => Place::nowhere(ErrorCode::CoordinatorNotAvailable, "this broker is not registered yet"),
    }
}

fn respond(request: FindCoordinatorRequest, version: i16, place: &Place) -> FindCoordinatorResponse {
    // Success has words as well, and other ones since several keys are asked at once.
    let success = if version < BATCHED_VERSION { "NONE" } else { "" };
    let message = Some(StrBytes::from_static_str(place.message.unwrap_or(success)));
    let host = StrBytes::from_string(place.host.clone());
    let response = FindCoordinatorResponse::default();
    if version < BATCHED_VERSION {
        return response
            .with_error_code(place.error.code())
            .with_error_message(message)
            .with_node_id(BrokerId(place.node_id))
            .with_host(host)
            .with_port(place.port);
    }
    let coordinator = |key| {
        Coordinator::default()
            .with_key(key)
            .with_node_id(BrokerId(place.node_id))
            .with_host(host.clone())
            .with_port(place.port)
            .with_error_code(place.error.code())
            .with_error_message(message.clone())
    };
    response.with_coordinators(request.coordinator_keys.into_iter().map(coordinator).collect())
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::protocol::{Decodable, Encodable};

    use super::*;

    fn here() -> Place {
        Place { error: ErrorCode::None, message: None, node_id: 1, host: "localhost".into(), port: 9092 }
    }

    fn request() -> FindCoordinatorRequest {
        FindCoordinatorRequest::default()
            .with_key(StrBytes::from_static_str("g"))
            .with_coordinator_keys(vec![StrBytes::from_static_str("g"), StrBytes::from_static_str("h")])
    }

    #[test]
    fn every_version_tells_the_place_of_every_key() {
        for version in 0..=6 {
            for place in [here(), Place::nowhere(ErrorCode::InvalidRequest, "no")] {
                let mut bytes = BytesMut::new();
                respond(request(), version, &place).encode(&mut bytes, version).expect("encodes");
                let response = FindCoordinatorResponse::decode(&mut bytes.freeze(), version).expect("decodes");
                if version < 4 {
                    let told = (response.error_code, response.node_id.0, response.host.to_string(), response.port);
                    assert_eq!(told, (place.error.code(), place.node_id, place.host, place.port), "version {version}");
                    let words = place.message.unwrap_or("NONE");
                    assert_eq!(response.error_message.is_some_and(|m| m.as_str() == words), version >= 1, "version {version}");
                    continue;
                }
                let told: Vec<_> = response.coordinators.iter().map(|c| (c.key.to_string(), c.error_code, c.node_id.0, c.port)).collect();
                let expected = |key: &str| (key.to_owned(), place.error.code(), place.node_id, place.port);
                assert_eq!(told, [expected("g"), expected("h")], "version {version}");
            }
        }
    }
}
