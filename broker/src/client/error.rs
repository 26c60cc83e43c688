//! `ClientError`: why a request got no good answer, and whether asking again may help.

use std::io;
use std::time::Duration;

use coreline_wire::ErrorCode;

/// Why a request got no good answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// None of the addresses could be reached.
    #[error("no broker can be reached: {}", .tried.join("; "))]
    Unreachable {
        /// Address and reason, one after the other.
        tried: Vec<String>,
    },
    /// A connection failed.
    #[error("{at}: {error}")]
    Io {
        /// The broker's address.
        at: String,
        /// What happened.
        error: io::Error,
    },
    /// No answer in time.
    #[error("{at}: no answer to {api} within {} s", .after.as_secs_f32())]
    Timeout {
        /// The broker's address.
        at: String,
        /// What was asked.
        api: String,
        /// How long was waited.
        after: Duration,
    },
    /// The broker does not know the API, or no version in common.
    #[error("{at}: {}", unsupported(.api, .theirs, .ours))]
    Unsupported {
        /// The broker's address.
        at: String,
        /// The API's name.
        api: String,
        /// Lowest and highest version that the broker speaks.
        theirs: Option<(i16, i16)>,
        /// Lowest and highest version spoken here.
        ours: (i16, i16),
    },
    /// What came back is not the protocol.
    #[error("{at}: {why}")]
    Protocol {
        /// The broker's address.
        at: String,
        /// What is wrong with it.
        why: String,
    },
    /// The broker refused.
    #[error("{what}: {code}{}", .message.as_ref().map_or(String::new(), |m| format!(": {m}")))]
    Kafka {
        /// What was asked for.
        what: String,
        /// Kafka's error code.
        code: ErrorCode,
        /// The broker's own words.
        message: Option<String>,
    },
    /// There is no such topic.
    #[error("topic '{topic}' does not exist")]
    NoTopic {
        /// Its name.
        topic: String,
    },
    /// The user ended it.
    #[error("interrupted")]
    Interrupted,
}

fn unsupported(api: &str, theirs: &Option<(i16, i16)>, ours: &(i16, i16)) -> String {
    match theirs {
        None => format!("this cluster does not support {api}"),
        Some((low, high)) => format!("no common version of {api}: the broker speaks {low} to {high}, this client {} to {}", ours.0, ours.1),
    }
}

impl ClientError {
    /// An error code of an answer as a result; `what` is asked for when there is one.
    pub(crate) fn check(code: i16, message: Option<&str>, what: impl FnOnce() -> String) -> Result<(), ClientError> {
        match code {
            0 => Ok(()),
            _ => Err(ClientError::kafka(code, message, what())),
        }
    }

    /// An error code of an answer as an error.
    pub(crate) fn kafka(code: i16, message: Option<&str>, what: String) -> ClientError {
        ClientError::Kafka {
            what,
            code: ErrorCode::from_code(code),
            message: message.filter(|m| !m.is_empty()).map(|m| m.trim_end_matches('.').to_string()),
        }
    }

    /// True when the same request may succeed later or elsewhere.
    pub(crate) fn is_retriable(&self) -> bool {
        match self {
            ClientError::Io { .. } => true,
            ClientError::Kafka { code, .. } => code.is_retriable(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_who_what_and_why() {
        let refused = ClientError::check(3, Some("gone"), || "topic x".into()).expect_err("an error code");
        assert_eq!(refused.to_string(), "topic x: UNKNOWN_TOPIC_OR_PARTITION(3): gone");
        assert!(refused.is_retriable());
        assert!(ClientError::check(0, None, || unreachable!()).is_ok());
        let old = ClientError::Unsupported { at: "h:1".into(), api: "Fetch".into(), theirs: Some((0, 3)), ours: (4, 12) };
        assert_eq!(old.to_string(), "h:1: no common version of Fetch: the broker speaks 0 to 3, this client 4 to 12");
        let none = ClientError::Unsupported { at: "h:1".into(), api: "Fetch".into(), theirs: None, ours: (4, 12) };
        assert_eq!(none.to_string(), "h:1: this cluster does not support Fetch");
    }
}
