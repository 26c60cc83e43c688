//! Errors of the broker's own making: why a request cannot be answered, why a start failed.
//!
//! A peer's mistake becomes a Kafka error code or a closed connection ([`HandlerError`]); an operating error that ends the process
//! is a sentence for a person ([`Fatal`]).

use std::fmt;

use crate::shard::mesh::MeshError;

/// Why a handler has no response to give.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandlerError {
    /// The connection is closed with one log line that names client id, address, API and this reason.
    #[error("{0}")]
    Close(String),
    /// The answer cannot be produced because a part of the broker that it needs is stopping or gone; the connection is closed.
    #[error("the broker is stopping")]
    Stopping,
}

impl HandlerError {
    /// A closed connection with a reason.
    pub fn close(reason: impl Into<String>) -> Self {
        HandlerError::Close(reason.into())
    }
}

impl From<MeshError> for HandlerError {
    fn from(_: MeshError) -> Self {
        HandlerError::Stopping
    }
}

/// One clear sentence that ends the process: what is wrong and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fatal {
    /// The sentence, without a trailing line break.
    pub sentence: String,
}

impl Fatal {
    /// Ends the process with this sentence and exit code 1.
    pub fn new(sentence: impl Into<String>) -> Self {
        Fatal { sentence: sentence.into() }
    }
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Fatal {}
