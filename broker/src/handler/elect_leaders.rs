//! ElectLeaders (key 43, v0-2): asks the controller to let the preferred replica lead, or any live one (KIP-183, KIP-460).
//!
//! - v1: the type of the election, an error code of the whole answer
//! - v2: flexible

use std::rc::Rc;

use bytes::Bytes;
use coreline_wire::error_code::ErrorCode;
use kafka_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use kafka_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse, TopicName};

use super::admin::{ask_controller, text, wrong_answer};
use super::{HandlerResult, RequestContext, codec};
use crate::controller::election::{ElectionType, Elections};
use crate::controller::{ApiError, ControllerRequest, ControllerResponse};
use crate::shard::Shard;

/// Asks the controller and answers when the new leaders lead.
pub async fn handle(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let request: ElectLeadersRequest = codec::decode(ctx, body)?;
    let outcome = match ElectionType::from_code(request.election_type) {
        None => Err(ApiError::new(ErrorCode::InvalidRequest, format!("Unknown election type {}", request.election_type))),
        Some(kind) => {
            let topics = request
                .topic_partitions
                .as_ref()
                .map(|topics| topics.iter().map(|topic| (topic.topic.to_string(), topic.partitions.clone())).collect());
            match ask_controller(shard, ControllerRequest::ElectLeaders { kind, topics }, request.timeout_ms).await {
                Ok(ControllerResponse::ElectLeaders(elections)) => Ok(elections),
                Ok(_) => Err(wrong_answer()),
                Err(error) => Err(error),
            }
        }
    };
    codec::encode(ctx, &answer(&request, outcome, ctx.api_version))
}

fn answer(request: &ElectLeadersRequest, outcome: Result<Vec<Elections>, ApiError>, version: i16) -> ElectLeadersResponse {
    let failed = outcome.as_ref().err().cloned();
    // Who fails as a whole fails for each partition too: v0 has no other place for it.
    let elections = outcome.unwrap_or_else(|error| {
        let topics = request.topic_partitions.iter().flatten();
        topics.map(|t| (t.topic.to_string(), t.partitions.iter().map(|index| (*index, Err(error.clone()))).collect())).collect()
    });
    let results = elections.into_iter().map(|(name, results)| {
        let partition = |(index, result): (i32, Result<(), ApiError>)| {
            let (code, message) = result.map_or_else(|error| (error.code, error.message), |()| (ErrorCode::None, None));
            PartitionResult::default().with_partition_id(index).with_error_code(code.code()).with_error_message(text(message))
        };
        ReplicaElectionResult::default()
            .with_topic(TopicName(name.into()))
            .with_partition_result(results.into_iter().map(partition).collect())
    });
    let response = ElectLeadersResponse::default().with_replica_election_results(results.collect());
    match failed {
        Some(error) if version >= 1 => response.with_error_code(error.code.code()),
        _ => response,
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::elect_leaders_request::TopicPartitions;

    use super::*;

    #[test]
    fn a_failure_of_the_whole_is_told_for_each_partition() {
        let topics = vec![TopicPartitions::default().with_topic(TopicName("t".into())).with_partitions(vec![0, 1])];
        let request = ElectLeadersRequest::default().with_topic_partitions(Some(topics));
        for version in 0..=2 {
            let failed = Err(ApiError::new(ErrorCode::RequestTimedOut, "late"));
            let response = answer(&request, failed, version);
            assert_eq!(response.error_code, if version == 0 { 0 } else { 7 });
            assert!(response.replica_election_results[0].partition_result.iter().all(|p| p.error_code == 7));
            assert!(codec::encode(&RequestContext::for_test(43, version), &response).is_ok(), "v{version}");
        }
    }
}
