//! `Failure`: why a command did not do what was asked, in a sentence that says what to do, with its exit code.

use coreline_wire::ErrorCode;

use crate::client::ClientError;

/// Why a command ended without success.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Exit code 2: the arguments or the profile are wrong; nothing was asked of a cluster.
    Usage(String),
    /// Exit code 1: the cluster cannot be reached or refused, or what was looked for is not there.
    Failed(String),
    /// Exit code 1: everything that is to be said was said.
    Said,
    /// Exit code 0: whoever read the output has gone.
    Closed,
}

impl Failure {
    /// The process's exit code.
    pub(crate) fn exit_code(&self) -> i32 {
        match self {
            Failure::Usage(_) => 2,
            Failure::Failed(_) | Failure::Said => 1,
            Failure::Closed => 0,
        }
    }

    /// What to say on standard error.
    pub(crate) fn sentence(&self) -> Option<&str> {
        match self {
            Failure::Usage(sentence) | Failure::Failed(sentence) => Some(sentence),
            Failure::Said | Failure::Closed => None,
        }
    }
}

impl From<std::io::Error> for Failure {
    /// Of writing the output.
    fn from(error: std::io::Error) -> Failure {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Failure::Closed,
            _ => Failure::Failed(format!("writing the output: {error}")),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        let sentence = match &error {
            ClientError::NoTopic { topic } => {
                format!("{error}; create it with `coreline topic create {topic}`, or see what there is with `coreline topic list`")
            }
            ClientError::Unreachable { .. } => format!("{error}; start a broker there, or say where it is with --brokers HOST:PORT"),
            ClientError::Kafka { code, .. } => advice(*code).map_or_else(|| error.to_string(), |advice| format!("{error}; {advice}")),
            _ => error.to_string(),
        };
        Failure::Failed(sentence)
    }
}

/// What to do about an error code.
pub(crate) fn advice(code: ErrorCode) -> Option<&'static str> {
    Some(match code {
        ErrorCode::TopicAlreadyExists => "change it with `coreline topic alter`, or add --if-not-exists",
        ErrorCode::UnknownTopicOrPartition => "see what there is with `coreline topic list`",
        ErrorCode::InvalidReplicationFactor => "give --replicas a number of at most the brokers that `coreline cluster brokers` lists",
        ErrorCode::InvalidConfig => "see names and values with `coreline config list`",
        ErrorCode::NonEmptyGroup => "stop its members first; `coreline group members` lists them",
        ErrorCode::GroupIdNotFound => "see which groups there are with `coreline group list`",
        ErrorCode::GroupSubscribedToTopic => "stop its members first, or reset the offsets instead",
        ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration => "the group has members; stop them first",
        ErrorCode::InconsistentGroupProtocol => "its members use other assignors than `range`; read in a group of another name",
        ErrorCode::MessageTooLarge => {
            "raise max.message.bytes with `coreline config set topic NAME max.message.bytes=BYTES`, or send less at once"
        }
        ErrorCode::OffsetOutOfRange => "see which offsets there are with `coreline topic describe`",
        ErrorCode::NotEnoughReplicas | ErrorCode::NotEnoughReplicasAfterAppend => "see what is wrong with `coreline cluster health`",
        ErrorCode::LeaderNotAvailable => "see what is wrong with `coreline cluster health`",
        ErrorCode::UnsupportedVersion => "the cluster is too old for this, or does not have it",
        ErrorCode::InvalidRecord => "a compacted topic takes no record without a key",
        ErrorCode::TopicAuthorizationFailed | ErrorCode::GroupAuthorizationFailed | ErrorCode::ClusterAuthorizationFailed => {
            "ask the cluster's operator for the right"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_say_what_to_do() {
        let said = |error: ClientError| Failure::from(error).sentence().map(str::to_string).unwrap_or_default();
        assert_eq!(
            said(ClientError::NoTopic { topic: "x".into() }),
            "topic 'x' does not exist; create it with `coreline topic create x`, or see what there is with `coreline topic list`"
        );
        assert!(said(ClientError::Unreachable { tried: vec!["h:1: refused".into()] }).contains("--brokers"));
        assert!(said(ClientError::kafka(68, None, "group 'g'".into())).ends_with("lists them"));
        assert_eq!(Failure::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe)), Failure::Closed);
    }
}
