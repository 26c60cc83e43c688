//! CreateTopics (key 19, v2-7): asks the controller, which decides each topic for itself (`controller/topic.rs`).
//!
//! - v4: -1 for the broker's default number of partitions and replicas (KIP-464)
//! - v5: flexible; the answer holds the topic's numbers and its whole configuration (KIP-525)
//! - v6: THROTTLING_QUOTA_EXCEEDED (KIP-599)
//! - v7: the answer holds the topic's id
//!
//! A topic is led and can be produced to, on every connection, when the answer is sent.

use std::rc::Rc;

use bytes::Bytes;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use kafka_protocol::messages::{CreateTopicsRequest, TopicName};

use super::admin::{ask_controller, text, uuid, within_mutation_quota, wrong_answer};
use super::codec::ArrayAnswer;
use super::{HandlerResult, RequestContext, codec};
use crate::config::{Config, ConfigMap, Overrides, describe};
use crate::controller::{ApiError, ControllerRequest, ControllerResponse, CreatedTopic, NewTopic};
use crate::metadata::{ConfigResource, MetadataImage};
use crate::shard::Shard;

/// First version that is told of a used up mutation quota by an error (KIP-599).
const STRICT_VERSION_MIN: i16 = 6;
/// First version that is told the configuration of what it has created (KIP-525).
const CONFIGS_VERSION_MIN: i16 = 5;
/// Describing a setting takes about so many steps of a loop that only looks something up.
const STEPS_OF_A_SETTING: usize = 2;

/// Asks the controller and answers when the topics are on every shard.
pub async fn handle(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let request: CreateTopicsRequest = codec::decode(ctx, body)?;
    let validate_only = request.validate_only;
    let image = shard.image();
    let topics = request.topics.iter().map(|topic| (partitions(&shard.config, &image, topic), new_topic(topic))).collect();
    let ask =
        async |topics| match ask_controller(shard, ControllerRequest::CreateTopics { topics, validate_only }, request.timeout_ms).await {
            Ok(ControllerResponse::CreateTopics(results)) => Ok(results),
            Ok(_) => Err(wrong_answer()),
            Err(error) => Err(error),
        };
    let outcome = within_mutation_quota(shard, ctx, ctx.api_version >= STRICT_VERSION_MIN, topics, ask).await;
    let image = shard.image();
    let results = results(&request, outcome);
    let mut answer = ArrayAnswer::begin(ctx, results.len());
    for (name, result) in results {
        let result = respond(&shard.config, &image, name, result, ctx.api_version);
        let steps = STEPS_OF_A_SETTING * (1 + result.configs.as_ref().map_or(0, Vec::len));
        answer.push(result, steps).await?;
    }
    Ok(answer.end())
}

/// Partitions that a request for this topic would create.
fn partitions(config: &Config, image: &MetadataImage, topic: &CreatableTopic) -> usize {
    let wanted = match (topic.assignments.len(), topic.num_partitions) {
        (0, -1) => config.num_partitions,
        (0, count) => count,
        (placed, _) => i32::try_from(placed).unwrap_or(i32::MAX),
    };
    if image.topic_id(&topic.name).is_some() { 0 } else { usize::try_from(wanted).unwrap_or(0) }
}

fn new_topic(topic: &CreatableTopic) -> NewTopic {
    NewTopic {
        name: topic.name.to_string(),
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: topic
            .assignments
            .iter()
            .map(|assignment| (assignment.partition_index, assignment.broker_ids.iter().map(|id| id.0).collect()))
            .collect(),
        configs: topic.configs.iter().map(|config| (config.name.to_string(), config.value.as_ref().map(ToString::to_string))).collect(),
    }
}

/// One result per name, in the request's order; a name given twice is answered once.
fn results(
    request: &CreateTopicsRequest,
    outcome: Result<Vec<Result<CreatedTopic, ApiError>>, ApiError>,
) -> Vec<(TopicName, Result<CreatedTopic, ApiError>)> {
    let mut all = Vec::with_capacity(request.topics.len());
    let mut seen = std::collections::BTreeSet::new();
    for (place, topic) in request.topics.iter().enumerate() {
        if !seen.insert(topic.name.as_str()) {
            continue;
        }
        let result = match &outcome {
            Ok(results) => results.get(place).cloned().unwrap_or_else(|| Err(wrong_answer())),
            Err(error) => Err(error.clone()),
        };
        all.push((topic.name.clone(), result));
    }
    all
}

fn respond(
    config: &Config,
    image: &MetadataImage,
    name: TopicName,
    result: Result<CreatedTopic, ApiError>,
    version: i16,
) -> CreatableTopicResult {
    match result {
        Ok(created) => {
            let configs = if version >= CONFIGS_VERSION_MIN { settings(config, image, &name, &created) } else { Vec::new() };
            success(name, &created, configs)
        }
        Err(error) => failure(name, error),
    }
}

fn settings(config: &Config, image: &MetadataImage, name: &TopicName, created: &CreatedTopic) -> Vec<CreatableTopicConfigs> {
    // The topic's own overrides as they were decided: the image may not have them (validate_only) or have newer ones.
    let own: ConfigMap = created.configs.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect();
    let broker = image.config(&ConfigResource::broker(config.node_id));
    let cluster = image.config(&ConfigResource::broker_default());
    let overrides = Overrides { topic: Some(&own), broker: broker.map(AsRef::as_ref), cluster: cluster.map(AsRef::as_ref) };
    let configs = describe::topic(config, name, &overrides, None).into_iter().map(|described| {
        CreatableTopicConfigs::default()
            .with_name(described.key.name.into())
            .with_value(text(described.value))
            .with_read_only(described.read_only)
            .with_config_source(described.source.code())
            .with_is_sensitive(described.sensitive)
    });
    configs.collect()
}

fn success(name: TopicName, created: &CreatedTopic, configs: Vec<CreatableTopicConfigs>) -> CreatableTopicResult {
    CreatableTopicResult::default()
        .with_name(name)
        .with_topic_id(uuid(created.id))
        .with_error_message(None)
        .with_num_partitions(created.partitions)
        .with_replication_factor(created.replication_factor)
        .with_configs(Some(configs))
}

fn failure(name: TopicName, error: ApiError) -> CreatableTopicResult {
    CreatableTopicResult::default()
        .with_name(name)
        .with_error_code(error.code.code())
        .with_error_message(text(error.message))
        .with_num_partitions(-1)
        .with_replication_factor(-1)
        .with_configs(Some(Vec::new()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::testing::World;
    use coreline_wire::error_code::ErrorCode;
    use kafka_protocol::messages::CreateTopicsResponse;
    use kafka_protocol::protocol::Encodable;

    fn answer(
        config: &Config,
        image: &MetadataImage,
        request: &CreateTopicsRequest,
        outcome: Result<Vec<Result<CreatedTopic, ApiError>>, ApiError>,
    ) -> CreateTopicsResponse {
        let topics = results(request, outcome).into_iter().map(|(name, result)| respond(config, image, name, result, 7));
        CreateTopicsResponse::default().with_topics(topics.collect())
    }

    fn named(name: &str) -> CreatableTopic {
        CreatableTopic::default().with_name(TopicName(name.to_owned().into())).with_num_partitions(3).with_replication_factor(1)
    }

    fn run(topics: Vec<CreatableTopic>) -> CreateTopicsResponse {
        let mut world = World::new();
        let request = CreateTopicsRequest::default().with_topics(topics);
        let ask = ControllerRequest::CreateTopics { topics: request.topics.iter().map(new_topic).collect(), validate_only: false };
        let ControllerResponse::CreateTopics(results) = world.submit(&ask) else { panic!("another answer") };
        answer(&Config::default(), &world.image, &request, Ok(results))
    }

    #[test]
    fn a_created_topic_is_answered_with_its_id_numbers_and_configuration() {
        use kafka_protocol::messages::create_topics_request::CreatableTopicConfig;
        let config = CreatableTopicConfig::default().with_name("retention.ms".into()).with_value(Some("77".into()));
        let response = run(vec![named("t").with_configs(vec![config])]);
        let topic = &response.topics[0];
        assert_eq!((topic.error_code, topic.num_partitions, topic.replication_factor), (0, 3, 1));
        assert!(!topic.topic_id.is_nil() && topic.error_message.is_none());
        let configs = topic.configs.as_ref().expect("present");
        let find = |name: &str| configs.iter().find(|config| config.name.as_str() == name).expect("described");
        assert_eq!((find("retention.ms").value.as_deref(), find("retention.ms").config_source), (Some("77"), 1));
        assert_eq!((find("cleanup.policy").value.as_deref(), find("cleanup.policy").config_source), (Some("delete"), 5));
        for version in 2..=7 {
            assert!(response.compute_size(version).is_ok());
        }
    }

    #[test]
    fn a_name_given_twice_is_answered_once_with_an_error() {
        let response = run(vec![named("two"), named("one"), named("two")]);
        let told: Vec<_> = response.topics.iter().map(|topic| (topic.name.to_string(), topic.error_code, topic.num_partitions)).collect();
        assert_eq!(told, [("two".to_owned(), 42, -1), ("one".to_owned(), 0, 3)]);
    }

    #[test]
    fn an_error_of_the_controller_is_every_topic_s_error() {
        let request = CreateTopicsRequest::default().with_topics(vec![named("a"), named("b")]);
        let error = ApiError { code: ErrorCode::RequestTimedOut, message: None };
        let response = answer(&Config::default(), &MetadataImage::empty(), &request, Err(error));
        assert!(response.topics.len() == 2 && response.topics.iter().all(|topic| topic.error_code == 7));
    }
}
