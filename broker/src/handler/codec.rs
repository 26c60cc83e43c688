//! Control-plane bodies in and out: `decode` (fence, then the `kafka-protocol` decoder) and `encode`. A version that is newer than that crate
//! is read and written as the last that it knows; where the bytes differ, the handler has a codec of our own instead (`wire api::LATER`).
//!
//! Callers: every handler but produce and fetch, whose bodies the wire crate reads itself.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use coreline_wire::primitive::put_array;
use coreline_wire::{DecodeError, api, fence};
use kafka_protocol::protocol::{Decodable, Encodable};

use super::{Chunk, HandlerError, RequestContext, Response};
use crate::shard::pace::Pace;

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

/// An answer that is a throttle time and one array, of which every element is large: encoded element by element, each of which is gone before the
/// next is made, in blocks that are never copied.
pub struct ArrayAnswer {
    version: i16,
    flexible: bool,
    block: BytesMut,
    chunks: Vec<Chunk>,
    pace: Pace,
}

/// Bytes of a block, about: an element is not cut.
const BLOCK_BYTES: usize = 64 * 1024;

impl ArrayAnswer {
    /// Begins an answer of so many elements.
    pub fn begin(ctx: &RequestContext, elements: usize) -> ArrayAnswer {
        let version = api::known_version(ctx.api_key, ctx.api_version);
        let flexible = api::find(ctx.api_key).is_some_and(|spec| spec.is_flexible(version));
        let mut block = BytesMut::new();
        block.put_i32(0);
        put_array(&mut block, elements, flexible);
        ArrayAnswer { version, flexible, block, chunks: Vec::new(), pace: Pace::new() }
    }

    /// The next element, which took so many steps to make and takes as many to encode.
    pub async fn push<T: Encodable>(&mut self, element: T, steps: usize) -> Result<(), HandlerError> {
        if self.block.len() >= BLOCK_BYTES {
            self.cut();
        }
        element.encode(&mut self.block, self.version).map_err(|error| HandlerError::close(format!("response does not encode: {error}")))?;
        drop(element);
        self.pace.steps(steps).await;
        Ok(())
    }

    /// Ends it.
    pub fn end(mut self) -> Response {
        if self.flexible {
            self.block.put_u8(0);
        }
        self.cut();
        Response::Chunks(self.chunks)
    }

    fn cut(&mut self) {
        let full = std::mem::take(&mut self.block);
        self.block.reserve(BLOCK_BYTES + BLOCK_BYTES / 4);
        self.chunks.push(Chunk::Bytes(full.freeze()));
    }
}
