//! The Kafka wire protocol: bytes and nouns, nothing else.
//!
//! Borrow in, bytes out. Nothing here blocks, reads a clock, draws a random number or allocates by a length that came from outside.

pub mod ids;

pub use ids::{TopicId, TopicPartition};
