//! Control-plane bodies in and out: `decode` (fence, then the `kafka-protocol` decoder) and `encode`.
//!
//! Callers: every handler but produce and fetch, whose bodies the wire crate reads itself.

use bytes::{Buf, Bytes, BytesMut};
use coreline_wire::fence;
use kafka_protocol::protocol::{Decodable, Encodable};

use super::{HandlerError, RequestContext, Response};

/// Decodes a request body. A malformed body closes the connection, as in Kafka.
pub fn decode<T: Decodable>(ctx: &RequestContext, mut body: Bytes) -> Result<T, HandlerError> {
    fence::check_request(ctx.api_key, ctx.api_version, &body)
        .map_err(|error| HandlerError::close(format!("malformed request: {error}")))?;
    let request = T::decode(&mut body, ctx.api_version).map_err(|error| HandlerError::close(format!("malformed request: {error}")))?;
    if body.has_remaining() {
        return Err(HandlerError::close(format!("malformed request: {} bytes after its end", body.remaining())));
    }
    Ok(request)
}

/// Encodes a response body in the version of its request.
pub fn encode<T: Encodable>(ctx: &RequestContext, response: &T) -> Result<Response, HandlerError> {
    let version = ctx.api_version;
    let size = response.compute_size(version).map_err(|error| HandlerError::close(format!("response does not encode: {error}")))?;
    let mut body = BytesMut::with_capacity(size);
    response.encode(&mut body, version).map_err(|error| HandlerError::close(format!("response does not encode: {error}")))?;
    Ok(Response::Frame(body))
}
