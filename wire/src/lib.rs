//! The Kafka wire protocol: bytes and nouns, nothing else.
//!
//! Borrow in, bytes out. Nothing here blocks, reads a clock, draws a random number or allocates by a length that came from outside.
//!
//! | module | owns |
//! |---|---|
//! | [`ids`], [`error_code`], [`api`] | nouns: identifiers, error codes, the table of served APIs |
//! | [`decode`], [`encode`], [`varint`], [`primitive`], [`tagged_field`] | the protocol's types |
//! | [`frame`], [`header`] | what surrounds a message |
//! | [`message`] | Produce and Fetch, zero-copy; all other messages come from the `kafka-protocol` crate, behind [`fence`] |
//! | [`record`] | record batches: header, records, codecs, checks |

pub mod api;
pub mod decode;
pub mod encode;
pub mod error_code;
pub mod fence;
pub mod frame;
pub mod header;
pub mod ids;
pub mod message;
pub mod primitive;
pub mod record;
pub mod tagged_field;
pub mod varint;

#[cfg(test)]
mod test_random;

pub use api::{ApiKey, ApiSpec};
pub use decode::{DecodeError, DecodeErrorKind, Decoder};
pub use error_code::ErrorCode;
pub use ids::{TopicId, TopicPartition};
pub use primitive::WireString;
