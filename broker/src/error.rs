//! Errors of the broker's own making: why a request cannot be answered, why a start failed.
//!
//! A peer's mistake becomes a Kafka error code or a closed connection ([`HandlerError`]); an operating error that ends the process
//! is a sentence for a person ([`Fatal`]).

use std::fmt;

use coreline_storage::{AppendError, StorageError};
use coreline_wire::error_code::ErrorCode;

use crate::partition::request::Produced;
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

/// What a client is told when the log below a partition failed: a code that makes it look for another leader or try again.
pub fn storage_error_code(error: &StorageError) -> ErrorCode {
    match error {
        StorageError::Full => ErrorCode::NotEnoughReplicas,
        StorageError::EntryTooLarge { .. } => ErrorCode::RecordListTooLarge,
        StorageError::Closed => ErrorCode::NotLeaderOrFollower,
        // Unlike the code below, which makes clients ask again for ever, this one is told to the application, with the offset.
        StorageError::Corrupt { .. } => ErrorCode::CorruptMessage,
        _ => ErrorCode::KafkaStorageError,
    }
}

/// What a producer is told when its batch was not appended.
pub fn append_error(error: AppendError) -> Produced {
    let code = match &error {
        AppendError::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
        AppendError::InvalidProducerEpoch { .. } => ErrorCode::InvalidProducerEpoch,
        AppendError::TooLarge { .. } => ErrorCode::MessageTooLarge,
        AppendError::LargerThanSegment { .. } => ErrorCode::RecordListTooLarge,
        AppendError::InvalidTimestamp { .. } => ErrorCode::InvalidTimestamp,
        AppendError::OffsetMismatch { .. } | AppendError::OffsetOverflow(_) => ErrorCode::InvalidRecord,
        AppendError::EpochBackwards { .. } => ErrorCode::FencedLeaderEpoch,
        // Nothing was appended. Every client tries again after this code, and looks whether another broker leads by now.
        AppendError::DiskFull { .. } => ErrorCode::KafkaStorageError,
        // The caller waits for room instead; this is what a producer may safely retry should it ever come through.
        AppendError::Backpressure | AppendError::NotLoaded => ErrorCode::NotEnoughReplicas,
        AppendError::Storage(error) => storage_error_code(error),
    };
    Produced::failed(code, Some(error.to_string()))
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

    /// The same sentence with what was being done before it.
    pub fn of(self, what: impl fmt::Display) -> Self {
        Fatal { sentence: format!("{what}: {}", self.sentence) }
    }
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Fatal {}
