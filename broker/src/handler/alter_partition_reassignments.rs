//! AlterPartitionReassignments (key 45, v0-1): asks the controller to move replicas, or to stop moving them (KIP-455).
//!
//! - v1: whether the number of replicas may change (KIP-860)

use std::rc::Rc;

use bytes::Bytes;
use coreline_wire::error_code::ErrorCode;
use kafka_protocol::messages::alter_partition_reassignments_response::{ReassignablePartitionResponse, ReassignableTopicResponse};
use kafka_protocol::messages::{AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse};

use super::admin::{ask_controller, text, wrong_answer};
use super::{HandlerResult, RequestContext, codec};
use crate::controller::reassign::Reassignment;
use crate::controller::{ApiError, ControllerRequest, ControllerResponse};
use crate::shard::Shard;

/// Asks the controller and answers when its decision holds everywhere.
pub async fn handle(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let request: AlterPartitionReassignmentsRequest = codec::decode(ctx, body)?;
    let outcome = match ask_controller(shard, ask(&request), request.timeout_ms).await {
        Ok(ControllerResponse::Reassign(results)) => Ok(results),
        Ok(_) => Err(wrong_answer()),
        Err(error) => Err(error),
    };
    codec::encode(ctx, &answer(request, outcome, ctx.api_version))
}

fn ask(request: &AlterPartitionReassignmentsRequest) -> ControllerRequest {
    let partitions = request.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|partition| Reassignment {
            topic: topic.name.to_string(),
            partition: partition.partition_index,
            replicas: partition.replicas.as_ref().map(|all| all.iter().map(|id| id.0).collect()),
        })
    });
    ControllerRequest::Reassign { partitions: partitions.collect(), factor_may_change: request.allow_replication_factor_change }
}

fn answer(
    request: AlterPartitionReassignmentsRequest,
    outcome: Result<Vec<Result<(), ApiError>>, ApiError>,
    version: i16,
) -> AlterPartitionReassignmentsResponse {
    // Kafka has an empty sentence beside an empty answer.
    let sentence = request.topics.is_empty().then(Default::default);
    let mut response = AlterPartitionReassignmentsResponse::default().with_error_message(sentence);
    if version >= 1 {
        response = response.with_allow_replication_factor_change(request.allow_replication_factor_change);
    }
    let mut results = match outcome {
        Err(error) => return response.with_error_code(error.code.code()).with_error_message(text(error.message)),
        Ok(results) => results.into_iter(),
    };
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let result = results.next().unwrap_or_else(|| Err(wrong_answer()));
            let (code, message) = result.map_or_else(|error| (error.code, error.message), |()| (ErrorCode::None, None));
            ReassignablePartitionResponse::default()
                .with_partition_index(asked.partition_index)
                .with_error_code(code.code())
                .with_error_message(text(message))
        });
        let partitions = partitions.collect();
        ReassignableTopicResponse::default().with_name(topic.name).with_partitions(partitions)
    });
    let topics = topics.collect();
    response.with_responses(topics)
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
    use kafka_protocol::messages::{BrokerId, TopicName};

    use super::*;
    use crate::controller::testing::World;

    #[test]
    fn each_partition_gets_its_own_answer() {
        let mut world = World::with_topics(&["t"]);
        let partition = |index, replicas: Option<Vec<i32>>| {
            ReassignablePartition::default()
                .with_partition_index(index)
                .with_replicas(replicas.map(|ids| ids.into_iter().map(BrokerId).collect()))
        };
        let topic =
            |name: &'static str, partitions| ReassignableTopic::default().with_name(TopicName(name.into())).with_partitions(partitions);
        let topics = vec![
            topic("t", vec![partition(0, Some(vec![1])), partition(1, Some(vec![9])), partition(0, None)]),
            topic("u", vec![partition(0, Some(vec![1]))]),
        ];
        let request = AlterPartitionReassignmentsRequest::default().with_topics(topics);
        let ControllerResponse::Reassign(results) = world.submit(&ask(&request)) else { panic!("another answer") };
        for version in 0..=1 {
            let response = answer(request.clone(), Ok(results.clone()), version);
            let codes: Vec<Vec<i16>> = response.responses.iter().map(|t| t.partitions.iter().map(|p| p.error_code).collect()).collect();
            assert_eq!(codes, [vec![0, 39, 85], vec![3]]);
            assert!(codec::encode(&RequestContext::for_test(45, version), &response).is_ok(), "v{version}");
        }
        let late = answer(request, Err(ApiError::new(ErrorCode::RequestTimedOut, "late")), 1);
        assert_eq!((late.error_code, late.responses.len()), (7, 0));
    }
}
