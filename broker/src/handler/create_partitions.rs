//! CreatePartitions (key 37, v0-3): asks the controller to let topics grow; one result per topic.
//!
//! - v2: flexible
//! - v3: THROTTLING_QUOTA_EXCEEDED (KIP-599)

use std::collections::BTreeSet;
use std::rc::Rc;

use bytes::Bytes;
use coreline_wire::error_code::ErrorCode;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};

use super::admin::{ask_controller, text, within_mutation_quota, wrong_answer};
use super::{HandlerResult, RequestContext, codec};
use crate::controller::{ApiError, ControllerRequest, ControllerResponse, NewPartitions};
use crate::shard::Shard;

/// First version that is told of a used up mutation quota by an error (KIP-599).
const STRICT_VERSION_MIN: i16 = 3;

/// Asks the controller and answers when the partitions are on every shard.
pub async fn handle(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let request: CreatePartitionsRequest = codec::decode(ctx, body)?;
    let image = shard.image();
    let grown = |topic: &NewPartitions| {
        let now = image.topic_by_name(&topic.name).map(|now| now.partitions.len());
        now.and_then(|now| usize::try_from(topic.count).ok()?.checked_sub(now)).unwrap_or(0)
    };
    let topics = new_partitions(&request).map(|topic| (grown(&topic), topic)).collect();
    let validate_only = request.validate_only;
    let ask = async |topics| match ask_controller(shard, ControllerRequest::CreatePartitions { topics, validate_only }, request.timeout_ms)
        .await
    {
        Ok(ControllerResponse::CreatePartitions(results)) => Ok(results),
        Ok(_) => Err(wrong_answer()),
        Err(error) => Err(error),
    };
    let outcome = within_mutation_quota(shard, ctx, ctx.api_version >= STRICT_VERSION_MIN, topics, ask).await;
    codec::encode(ctx, &answer(&request, &outcome))
}

fn new_partitions(request: &CreatePartitionsRequest) -> impl Iterator<Item = NewPartitions> {
    request.topics.iter().map(|topic| NewPartitions {
        name: topic.name.to_string(),
        count: topic.count,
        assignments: topic
            .assignments
            .as_ref()
            .map(|all| all.iter().map(|assignment| assignment.broker_ids.iter().map(|id| id.0).collect()).collect()),
    })
}

/// One result per name, in the request's order; a name given twice is answered once.
fn answer(request: &CreatePartitionsRequest, outcome: &Result<Vec<Result<(), ApiError>>, ApiError>) -> CreatePartitionsResponse {
    let mut seen = BTreeSet::new();
    let each_once = request.topics.iter().enumerate().filter(|(_, topic)| seen.insert(topic.name.to_string()));
    let results = each_once.map(|(place, topic)| {
        let result = match outcome {
            Ok(results) => results.get(place).cloned().unwrap_or_else(|| Err(wrong_answer())),
            Err(error) => Err(error.clone()),
        };
        let (code, message) = match result {
            Ok(()) => (ErrorCode::None, None),
            Err(error) => (error.code, error.message),
        };
        CreatePartitionsTopicResult::default().with_name(topic.name.clone()).with_error_code(code.code()).with_error_message(text(message))
    });
    CreatePartitionsResponse::default().with_results(results.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::testing::World;
    use kafka_protocol::messages::TopicName;
    use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;

    #[test]
    fn every_topic_has_its_result() {
        let mut world = World::with_topics(&["a", "b"]);
        let topic = |name: &str, count: i32| {
            CreatePartitionsTopic::default().with_name(TopicName(name.to_owned().into())).with_count(count).with_assignments(None)
        };
        let topics = vec![topic("a", 5), topic("nope", 5), topic("b", 2), topic("x", 1), topic("x", 2)];
        let request = CreatePartitionsRequest::default().with_topics(topics);
        let topics = new_partitions(&request).collect();
        let ask = ControllerRequest::CreatePartitions { topics, validate_only: request.validate_only };
        let ControllerResponse::CreatePartitions(results) = world.submit(&ask) else { panic!("another answer") };
        let response = answer(&request, &Ok(results));
        let told: Vec<_> = response.results.iter().map(|result| (result.name.to_string(), result.error_code)).collect();
        let want = [("a", 0), ("nope", 3), ("b", 37), ("x", 42)].map(|(name, code)| (name.to_owned(), code));
        assert_eq!(told, want);
        assert_eq!(world.image.topic_by_name("a").map(|topic| topic.partitions.len()), Some(5));
        let all = answer(&request, &Err(ApiError { code: ErrorCode::NotController, message: None }));
        assert!(all.results.len() == 4 && all.results.iter().all(|result| result.error_code == 41));
    }
}
