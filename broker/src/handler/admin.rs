//! What the topic and cluster handlers share: asking the controller within a deadline, ids on the wire, what everybody may do.

use std::future::Future;
use std::time::Duration;

use coreline_wire::error_code::ErrorCode;
use coreline_wire::ids::TopicId;
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::RequestContext;
use crate::controller::{ApiError, ControllerError, ControllerRequest, ControllerResponse};
use crate::shard::{Shard, clock};

/// Sent where authorized operations were not asked for.
pub const OPERATIONS_NOT_ASKED: i32 = i32::MIN;
/// What everybody may do with a topic while there is no authorizer: read, write, create, delete, alter, describe, and both for configs.
pub const TOPIC_OPERATIONS: i32 = bits(&[3, 4, 5, 6, 7, 8, 10, 11]);
/// What everybody may do with the cluster: create, alter, describe, cluster action, describe and alter configs, idempotent write.
pub const CLUSTER_OPERATIONS: i32 = bits(&[5, 7, 8, 9, 10, 11, 12]);
/// What everybody may do with a group: read, delete, describe, and both for configs.
pub const GROUP_OPERATIONS: i32 = bits(&[3, 6, 8, 10, 11]);

const fn bits(operations: &[u8]) -> i32 {
    let (mut set, mut i) = (0, 0);
    while i < operations.len() {
        set |= 1 << operations[i];
        i += 1;
    }
    set
}

/// Asks the controller and waits for at most the client's timeout. The request may still take effect after it.
///
/// # Errors
/// As the client is told: a code that it retries. A timeout of 0 or less is over before anything is done, as in Kafka.
pub async fn ask_controller(shard: &Shard, request: ControllerRequest, timeout_ms: i32) -> Result<ControllerResponse, ApiError> {
    let limit = Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0));
    if limit.is_zero() {
        return Err(ApiError { code: ControllerError::TimedOut.code(), message: None });
    }
    match clock::within(limit, shard.controller.submit(request)).await {
        Some(answer) => answer.map_err(|error| ApiError::from(&error)),
        None => Err(ApiError { code: ControllerError::TimedOut.code(), message: None }),
    }
}

/// Takes the partitions of each element from the client's mutation quota, then asks for those that fit; `ask` gives one result per element it
/// gets. What was refused or failed costs nothing. Older clients (`strict` is false) are only told to wait. KIP-599.
///
/// # Errors
/// Those of `ask`, which are everybody's.
pub async fn within_mutation_quota<T, R, F>(
    shard: &Shard,
    ctx: &RequestContext,
    strict: bool,
    elements: Vec<(usize, T)>,
    ask: impl FnOnce(Vec<T>) -> F,
) -> Result<Vec<Result<R, ApiError>>, ApiError>
where
    F: Future<Output = Result<Vec<Result<R, ApiError>>, ApiError>>,
{
    let quota = shard.quotas.mutations(&ctx.connection.quotas, ctx.client_id.as_ref(), strict);
    if quota.is_free() {
        return ask(elements.into_iter().map(|(_, element)| element).collect()).await;
    }
    let mut taken = Vec::with_capacity(elements.len());
    let mut fit = Vec::new();
    for (partitions, element) in elements {
        // Nothing to be created or deleted: the controller says why.
        let fits = partitions == 0 || quota.take(partitions);
        taken.push(fits.then_some(partitions));
        if fits {
            fit.push(element);
        }
    }
    let refused = taken.contains(&None);
    let outcome = if fit.is_empty() && refused { Ok(Vec::new()) } else { ask(fit).await };
    let mut results = outcome.as_ref().map(|results| results.iter()).ok();
    for partitions in taken.iter().flatten() {
        if !results.as_mut().and_then(Iterator::next).is_some_and(|result| result.is_ok()) {
            quota.give_back(*partitions);
        }
    }
    ctx.track.throttle(shard.quotas.mutated(&quota, refused));
    let mut results = outcome?.into_iter();
    let all = taken.into_iter().map(|taken| match taken {
        Some(_) => results.next().unwrap_or_else(|| Err(wrong_answer())),
        None => Err(ApiError::new(ErrorCode::ThrottlingQuotaExceeded, "The throttling quota has been exceeded.")),
    });
    Ok(all.collect())
}

/// The error for an answer of another kind than the question.
pub fn wrong_answer() -> ApiError {
    ApiError::new(ErrorCode::UnknownServerError, "the controller gave an answer to another question")
}

/// A topic id as the message types have it.
pub fn uuid(id: TopicId) -> Uuid {
    Uuid::from_bytes(id.0)
}

/// A topic id from the message types.
pub fn topic_id(id: Uuid) -> TopicId {
    TopicId(id.into_bytes())
}

/// A sentence for the client.
pub fn text(message: Option<String>) -> Option<StrBytes> {
    message.map(StrBytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_kafka_s_numbers() {
        assert_eq!((TOPIC_OPERATIONS, CLUSTER_OPERATIONS), (3576, 8096));
    }
}
