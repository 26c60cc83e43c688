//! GetTelemetrySubscriptions (key 71, v0, KIP-714): tells a client which of its metrics are wanted, and how often.
//!
//! Told in ApiVersions only while there is a subscription: without one clients do not ask, and none of them logs anything. Who asks all the
//! same is wanted for nothing.

use std::rc::Rc;

use bytes::Bytes;
use coreline_wire::error_code::ErrorCode;
use kafka_protocol::messages::{GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponse};
use uuid::Uuid;

use super::{HandlerResult, RequestContext, codec};
use crate::shard::Shard;
use crate::stage::monotonic_us;
use crate::telemetry::store::Known;
use crate::telemetry::subscription::{ClientFacts, Subscriptions};

/// Numbers of the codecs that pushes may use, in the order that the broker prefers: zstd, lz4, gzip, snappy.
pub const COMPRESSION_TYPES: [i8; 4] = [4, 3, 1, 2];

/// Answers at once.
pub async fn handle(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let request: GetTelemetrySubscriptionsRequest = codec::decode(ctx, body)?;
    let id = if request.client_instance_id.is_nil() { new_id() } else { request.client_instance_id };
    let response = match with_client(shard, ctx, id, |now_ms, version, known| shard.telemetry.get(id, now_ms, version, known)) {
        Err(code) => GetTelemetrySubscriptionsResponse::default().with_error_code(code.code()),
        Ok(subscribed) => GetTelemetrySubscriptionsResponse::default()
            .with_client_instance_id(id)
            .with_subscription_id(subscribed.subscription_id)
            .with_accepted_compression_types(COMPRESSION_TYPES.to_vec())
            .with_push_interval_ms(subscribed.asked.interval_ms)
            .with_telemetry_max_bytes(shard.config.telemetry_max_bytes)
            .with_delta_temporality(true)
            .with_requested_metrics(subscribed.asked.metrics.into_iter().map(Into::into).collect()),
    };
    codec::encode(ctx, &response)
}

/// Calls `f` with the time, the version of the subscriptions, and what is known of the client.
pub(super) fn with_client<T>(
    shard: &Shard,
    ctx: &RequestContext,
    id: Uuid,
    f: impl FnOnce(u64, u64, Known<'_>) -> Result<T, ErrorCode>,
) -> Result<T, ErrorCode> {
    let image = shard.image();
    let software = ctx.connection.client_software.borrow().clone().unwrap_or_default();
    let facts = ClientFacts {
        instance_id: crate::telemetry::id_text(id),
        client_id: ctx.client_id.as_deref().unwrap_or("").chars().take(128).collect(),
        software_name: software.0,
        software_version: software.1,
        address: ctx.peer.ip().to_canonical().to_string(),
        port: ctx.peer.port().to_string(),
    };
    let ask = |client: &ClientFacts| Subscriptions::of(&image).ask(client);
    f(monotonic_us() / 1000, shard.telemetry_version(), Known { facts, ask: &ask })
}

/// A random id, never one of the two that Kafka reserves.
fn new_id() -> Uuid {
    let mut bytes = [1; 16];
    // Without randomness the ids are alike; the clients' metrics are then mixed up and nothing worse happens.
    let _ = getrandom::fill(&mut bytes);
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    Uuid::from_bytes(bytes)
}
