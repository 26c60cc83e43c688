//! PushTelemetry (key 72, v0, KIP-714): metrics of a client, which then are in `/metrics`.
//!
//! Compressed pushes are decompressed up to `telemetry.max.bytes`. What cannot be read is INVALID_RECORD, after which clients stop pushing.

use std::rc::Rc;

use bytes::Bytes;
use coreline_wire::error_code::ErrorCode;
use coreline_wire::record::Compression;
use coreline_wire::record::compression::{CompressionError, decompress};
use kafka_protocol::messages::{PushTelemetryRequest, PushTelemetryResponse};

use super::get_telemetry_subscriptions::{COMPRESSION_TYPES, with_client};
use super::{HandlerResult, RequestContext, codec};
use crate::shard::Shard;
use crate::telemetry::otlp::{self, Point};
use crate::telemetry::store::Push;

/// Answers when the metrics are taken over.
pub async fn handle(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let request: PushTelemetryRequest = codec::decode(ctx, body)?;
    let code = match take(shard, ctx, &request) {
        Ok(()) => ErrorCode::None,
        Err(code) => code,
    };
    codec::encode(ctx, &PushTelemetryResponse::default().with_error_code(code.code()))
}

fn take(shard: &Shard, ctx: &RequestContext, request: &PushTelemetryRequest) -> Result<(), ErrorCode> {
    let id = request.client_instance_id;
    if id.is_nil() || id.as_u128() == 1 {
        return Err(ErrorCode::InvalidRequest);
    }
    let bytes_max = usize::try_from(shard.config.telemetry_max_bytes).unwrap_or(0);
    let push = Push {
        subscription_id: request.subscription_id,
        terminating: request.terminating,
        compression_known: request.compression_type == 0 || COMPRESSION_TYPES.contains(&request.compression_type),
        fits: request.metrics.len() <= bytes_max,
    };
    with_client(shard, ctx, id, |now_ms, version, known| shard.telemetry.push(id, now_ms, version, push, known))?;
    if !request.metrics.is_empty() {
        let (points, left_out) = points(request.compression_type, &request.metrics, bytes_max)?;
        shard.telemetry.record(id, points, left_out);
    }
    Ok(())
}

/// What a push holds, and how much of it was left out.
fn points(compression: i8, metrics: &[u8], bytes_max: usize) -> Result<(Vec<Point>, usize), ErrorCode> {
    let codec = u8::try_from(compression).ok().and_then(Compression::from_code).ok_or(ErrorCode::UnsupportedCompressionType)?;
    let mut plain = Vec::new();
    decompress(codec, metrics, bytes_max, &mut plain).map_err(|error| match error {
        CompressionError::TooLarge { .. } => ErrorCode::TelemetryTooLarge,
        _ => ErrorCode::InvalidRecord,
    })?;
    otlp::read(&plain).map_err(|_| ErrorCode::InvalidRecord)
}

#[cfg(test)]
mod tests {
    use coreline_wire::record::compression::compress;

    use super::*;

    #[test]
    fn every_codec_is_read_and_bounded() {
        // MetricsData with a field that nobody knows, of a megabyte.
        let large = [&[0x7a, 0x80, 0x80, 0x40][..], &vec![0; 1 << 20]].concat();
        for codec in 0..5i8 {
            let mut sent = Vec::new();
            compress(Compression::ALL[codec as usize], None, &large, &mut sent).expect("compresses");
            assert_eq!(points(codec, &sent, 2 << 20), Ok((vec![], 0)), "codec {codec}");
            assert_eq!(points(codec, &sent, 1 << 20), Err(ErrorCode::TelemetryTooLarge), "codec {codec}");
            assert_eq!(points(codec, &[0xff; 40], 1 << 20), Err(ErrorCode::InvalidRecord), "codec {codec}");
        }
        assert_eq!(points(5, &large, 1 << 20), Err(ErrorCode::UnsupportedCompressionType));
        assert_eq!(points(-1, &large, 1 << 20), Err(ErrorCode::UnsupportedCompressionType));
    }
}
