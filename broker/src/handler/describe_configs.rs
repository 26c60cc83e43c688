//! DescribeConfigs (key 32, v1-4): every setting of topics, this broker, the defaults of all brokers, groups, client metrics subscriptions, with
//! source and synonyms.
//!
//! - v1: source and synonyms (KIP-226)
//! - v3: type and documentation (KIP-569)
//! - v4: flexible
//!
//! A group or a client metrics subscription that has no settings of its own, or does not exist, has the defaults, as in Kafka.

use std::rc::Rc;

use bytes::Bytes;
use coreline_wire::error_code::ErrorCode;
use kafka_protocol::messages::DescribeConfigsRequest;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym};
use kafka_protocol::protocol::StrBytes;

use super::broker_logger::{self, BROKER_LOGGER};
use super::codec::ArrayAnswer;
use super::{HandlerResult, RequestContext, codec};
use crate::config::alter::AlterError;
use crate::config::describe::{self, DescribedConfig};
use crate::config::effective::with_topic_overrides;
use crate::config::resource::{self, Target};
use crate::config::{Config, Value};
use crate::metadata::MetadataImage;
use crate::shard::Shard;

/// Answers from this shard's image, one result per resource, in the request's order.
pub async fn handle(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let request: DescribeConfigsRequest = codec::decode(ctx, body)?;
    let image = shard.image();
    let stranger = stranger(&request);
    let mut answer = ArrayAnswer::begin(ctx, request.resources.len());
    for asked in &request.resources {
        let result = result(&shard.config, &image, &request, asked, stranger);
        let steps = STEPS_OF_A_SETTING * (1 + result.configs.len());
        answer.push(result, steps).await?;
    }
    Ok(answer.end())
}

/// Describing a setting takes about so many steps of a loop that only looks something up.
const STEPS_OF_A_SETTING: usize = 2;

/// One kind that there is not makes the whole request one that cannot be answered, as in Kafka.
fn stranger(request: &DescribeConfigsRequest) -> Option<i8> {
    request.resources.iter().map(|asked| asked.resource_type).find(|kind| *kind != BROKER_LOGGER && !resource::is_kind(*kind))
}

fn result(
    config: &Config,
    image: &MetadataImage,
    request: &DescribeConfigsRequest,
    asked: &DescribeConfigsResource,
    stranger: Option<i8>,
) -> DescribeConfigsResult {
    let result = DescribeConfigsResult::default().with_resource_type(asked.resource_type).with_resource_name(asked.resource_name.clone());
    if let Some(kind) = stranger {
        let message = format!("Unknown resource type {kind}");
        return result.with_error_code(ErrorCode::InvalidRequest.code()).with_error_message(Some(message.into()));
    }
    if asked.resource_type == BROKER_LOGGER {
        return match broker_logger::describe(config, &asked.resource_name, asked.configuration_keys.as_deref()) {
            Ok(levels) => result.with_error_message(Some(StrBytes::default())).with_configs(levels),
            Err(error) => result.with_error_code(error.code.code()).with_error_message(Some(error.message.into())),
        };
    }
    match describe_resource(config, image, asked) {
        Ok(described) => {
            let show = |d: DescribedConfig| entry(d, request.include_synonyms, request.include_documentation);
            result.with_error_message(Some(StrBytes::default())).with_configs(described.into_iter().map(show).collect())
        }
        Err(error) => result.with_error_code(error.code.code()).with_error_message(Some(error.message.into())),
    }
}

fn describe_resource(config: &Config, image: &MetadataImage, asked: &DescribeConfigsResource) -> Result<Vec<DescribedConfig>, AlterError> {
    let target = resource::to_describe(config, image, asked.resource_type, asked.resource_name.as_str())?;
    let names: Option<Vec<&str>> = asked.configuration_keys.as_ref().map(|keys| keys.iter().map(StrBytes::as_str).collect());
    // No names are all names, as null is.
    let filter = names.as_deref().filter(|names| !names.is_empty());
    // The name of no topic: only the brokers' dynamic settings count.
    let topic = if let Target::Topic(name) = target { name } else { "" };
    let own = image.config(&target.resource(config)).map(AsRef::as_ref);
    Ok(with_topic_overrides(config, image, topic, |overrides| match target {
        Target::Topic(name) => describe::topic(config, name, overrides, filter),
        Target::ThisBroker => describe::broker(config, overrides, filter),
        Target::AllBrokers => describe::cluster_default(config, overrides, filter),
        Target::Group(_) => describe::group(config, own, overrides, filter),
        Target::ClientMetrics(_) => describe::client_metrics(config, own, filter),
    }))
}

fn entry(described: DescribedConfig, with_synonyms: bool, with_documentation: bool) -> DescribeConfigsResourceResult {
    let text = |value: &Value| if described.sensitive { None } else { value.text().map(StrBytes::from) };
    let synonyms = described
        .synonyms
        .iter()
        .filter(|_| with_synonyms)
        .map(|s| DescribeConfigsSynonym::default().with_name(s.name.into()).with_value(text(&s.value)).with_source(s.source.code()));
    DescribeConfigsResourceResult::default()
        .with_name(described.key.name.into())
        .with_value(described.value.clone().map(StrBytes::from))
        .with_read_only(described.read_only)
        .with_config_source(described.source.code())
        .with_is_sensitive(described.sensitive)
        .with_synonyms(synonyms.collect())
        .with_config_type(described.key.kind.code())
        .with_documentation(with_documentation.then(|| described.key.doc_text().into()))
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::DescribeConfigsResponse;

    use super::*;
    use crate::config::{BROKER_KEYS, CLIENT_METRICS_KEYS, GROUP_KEYS, TOPIC_KEYS};
    use crate::controller::request::{ConfigAlteration, NewTopic};
    use crate::controller::testing::World;
    use crate::handler::{Chunk, Response};
    use crate::metadata::ConfigResource;

    fn world() -> World {
        let mut world = World::with_topics(&["t"]);
        let set = |resource, key: &str, value: &str| ConfigAlteration {
            resource,
            replace_all: false,
            entries: vec![(key.to_string(), Some(value.to_string()))],
        };
        world.alter(set(ConfigResource::topic("t"), "retention.ms", "5")).expect("altered");
        world.alter(set(ConfigResource::broker_default(), "log.retention.bytes", "7")).expect("altered");
        world
    }

    fn ask(resources: &[(i8, &str)], keys: Option<&[&'static str]>) -> Vec<DescribeConfigsResult> {
        let asked = |(kind, name): &(i8, &str)| {
            DescribeConfigsResource::default()
                .with_resource_type(*kind)
                .with_resource_name(name.to_string().into())
                .with_configuration_keys(keys.map(|keys| keys.iter().map(|k| StrBytes::from(*k)).collect()))
        };
        let request = DescribeConfigsRequest::default()
            .with_resources(resources.iter().map(asked).collect())
            .with_include_synonyms(true)
            .with_include_documentation(true);
        let image = world().image;
        let stranger = stranger(&request);
        request.resources.iter().map(|asked| result(&Config::default(), &image, &request, asked, stranger)).collect()
    }

    #[test]
    fn every_key_of_a_topic_and_of_the_broker_is_listed() {
        let results = ask(&[(2, "t"), (4, "1"), (4, ""), (32, "g"), (16, "m")], None);
        let lens: Vec<_> = results.iter().map(|r| (r.error_code, r.configs.len())).collect();
        let of_broker = BROKER_KEYS.iter().filter(|key| !key.is_listed_only_when_set()).count();
        assert_eq!(lens, vec![(0, TOPIC_KEYS.len()), (0, of_broker), (0, 1), (0, GROUP_KEYS.len()), (0, CLIENT_METRICS_KEYS.len())]);
        let heartbeat = &results[3].configs[0];
        assert_eq!(
            (heartbeat.name.as_str(), heartbeat.synonyms[0].name.as_str()),
            ("consumer.heartbeat.interval.ms", "group.consumer.heartbeat.interval.ms")
        );
        assert!(results[4].configs.iter().all(|c| c.config_source == 5 && c.synonyms.is_empty()));
        let bytes = results[0].configs.iter().find(|c| c.name.as_str() == "retention.bytes").expect("listed");
        let synonyms: Vec<_> = bytes.synonyms.iter().map(|s| (s.name.as_str(), s.source)).collect();
        assert_eq!((bytes.value.as_deref(), bytes.config_source, bytes.config_type), (Some("7"), 3, 5));
        assert_eq!(synonyms, vec![("log.retention.bytes", 3), ("log.retention.bytes", 5)]);
        assert!(bytes.documentation.as_ref().is_some_and(|d| d.contains("-1")));
        let fixed = results[1].configs.iter().find(|c| c.name.as_str() == "num.partitions").expect("listed");
        assert!(fixed.read_only && fixed.config_source == 5);
    }

    #[test]
    fn errors_are_kafkas() {
        let asked = [(2, "nope"), (2, "a b"), (4, "7"), (4, "x"), (8, "2"), (16, ""), (32, "")];
        let answers: Vec<_> = ask(&asked, None).iter().map(|r| (r.error_code, r.error_message.clone().unwrap_or_default())).collect();
        assert_eq!(answers.iter().map(|a| a.0).collect::<Vec<_>>(), vec![3, 17, 42, 42, 42, 42, 42]);
        assert_eq!(answers[2].1.as_str(), "Unexpected broker id, expected 1 or empty string, but received 7");
        assert_eq!(answers[3].1.as_str(), "Broker id must be an integer, but it is: x");
        assert!(ask(&[(2, "t"), (99, "z")], None).iter().all(|answer| answer.error_code == 42 && answer.configs.is_empty()));
    }

    #[test]
    fn only_the_keys_asked_for_are_listed() {
        let results = ask(&[(2, "t")], Some(&["retention.ms", "cleanup.policy", "nope"]));
        let names: Vec<_> = results[0].configs.iter().map(|c| (c.name.as_str(), c.value.as_deref(), c.config_source)).collect();
        assert_eq!(names, vec![("cleanup.policy", Some("delete"), 5), ("retention.ms", Some("5"), 1)]);
        assert_eq!(ask(&[(2, "t")], Some(&[])), ask(&[(2, "t")], None), "no keys are all keys");
    }

    #[test]
    fn every_version_encodes_element_by_element_as_at_one_go() {
        let mut world = World::new();
        world.create(NewTopic { name: "t".into(), partitions: 1, replication_factor: 1, ..NewTopic::default() }).expect("created");
        let resource =
            DescribeConfigsResource::default().with_resource_type(2).with_resource_name("t".into()).with_configuration_keys(None);
        let request = DescribeConfigsRequest::default().with_resources(vec![resource; 40]).with_include_synonyms(true);
        let results: Vec<_> =
            request.resources.iter().map(|asked| result(&Config::default(), &world.image, &request, asked, None)).collect();
        for version in 1..=4 {
            let ctx = RequestContext::for_test(32, version);
            let mut answer = ArrayAnswer::begin(&ctx, results.len());
            futures_lite::future::block_on(async {
                for result in &results {
                    answer.push(result.clone(), 0).await.expect("encodes");
                }
            });
            let Response::Chunks(chunks) = answer.end() else { panic!("chunks") };
            let parts: Vec<_> = chunks.iter().map(|chunk| if let Chunk::Bytes(bytes) = chunk { &bytes[..] } else { &[] }).collect();
            assert!(parts.len() > 1, "v{version} comes in blocks");
            let response = DescribeConfigsResponse::default().with_results(results.clone());
            let Ok(Response::Frame(whole)) = codec::encode(&ctx, &response) else { panic!("encodes") };
            assert!(parts.concat() == whole[..], "v{version}");
        }
    }
}
