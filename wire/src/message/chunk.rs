//! A response as a list of chunks: owned bytes, and spans of record data that the encoder never looks into.
//!
//! A span may be a slice of memory or a range of a file that goes out with `sendfile`; the encoder needs its length alone.

use bytes::Bytes;

/// Something that stands for a known number of bytes.
pub trait SpanLen {
    /// How many bytes it stands for.
    fn span_len(&self) -> usize;
}

impl SpanLen for Bytes {
    fn span_len(&self) -> usize {
        self.len()
    }
}

/// A piece of an encoded message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Chunk<S> {
    /// Encoded fields.
    Bytes(Bytes),
    /// Record data supplied by the caller.
    Span(S),
}

impl<S: SpanLen> SpanLen for Chunk<S> {
    fn span_len(&self) -> usize {
        match self {
            Chunk::Bytes(bytes) => bytes.len(),
            Chunk::Span(span) => span.span_len(),
        }
    }
}

/// Total length of a list of chunks in bytes.
pub fn total_len<S: SpanLen>(chunks: &[Chunk<S>]) -> usize {
    chunks.iter().map(SpanLen::span_len).sum()
}
