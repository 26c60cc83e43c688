//! Control-plane bodies in and out: `decode` (fence, then the `kafka-protocol` decoder) and `encode`. A version that is newer than that crate
//! is read and written as the last that it knows; where the bytes differ, the handler has a codec of our own instead (`wire api::LATER`).
//!
//! Callers: every handler but produce and fetch, whose bodies the wire crate reads itself.

use bytes::{Buf, Bytes, BytesMut};
use coreline_wire::{DecodeError, api, fence};
use kafka_protocol::protocol::{Decodable, Encodable};

use super::{HandlerError, RequestContext, Response};

/// Decodes a request body. A malformed body closes the connection, as in Kafka.
pub fn decode<T: Decodable>(ctx: &RequestContext, mut body: Bytes) -> Result<T, HandlerError> {
    fence::check_request(ctx.api_key, ctx.api_version, &body)
        .map_err(|error| HandlerError::close(format!("malformed request: {error}")))?;
    let version = api::known_version(ctx.api_key, ctx.api_version);
    let request = T::decode(&mut body, version).map_err(|error| HandlerError::close(format!("malformed request: {error}")))?;
    if body.has_remaining() {
        return Err(HandlerError::close(format!("malformed request: {} bytes after its end", body.remaining())));
    }
    Ok(request)
}

/// Decodes a request body by a codec of our own. A malformed body closes the connection, as in Kafka.
pub fn decode_own<T>(ctx: &RequestContext, body: &Bytes, decode: fn(&Bytes, i16) -> Result<T, DecodeError>) -> Result<T, HandlerError> {
    decode(body, ctx.api_version).map_err(|error| HandlerError::close(format!("malformed request: {error}")))
}

/// Encodes a response body in the version of its request.
pub fn encode<T: Encodable>(ctx: &RequestContext, response: &T) -> Result<Response, HandlerError> {
    let version = api::known_version(ctx.api_key, ctx.api_version);
    let size = response.compute_size(version).map_err(|error| HandlerError::close(format!("response does not encode: {error}")))?;
    let mut body = BytesMut::with_capacity(size);
    response.encode(&mut body, version).map_err(|error| HandlerError::close(format!("response does not encode: {error}")))?;
    Ok(Response::Frame(body))
}
