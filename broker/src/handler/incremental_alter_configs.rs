//! IncrementalAlterConfigs (key 44, v0-1, KIP-339): SET, DELETE, APPEND and SUBTRACT single dynamic settings.
//!
//! - v1: flexible
//!
//! List operations start from the value in force on this shard's image; two clients that append to one list at the same moment may lose one of
//! the appends, single keys never.

use std::rc::Rc;

use bytes::Bytes;
use kafka_protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use super::alter_configs::{self, Plan};
use super::broker_logger::{self, BROKER_LOGGER};
use super::{HandlerResult, RequestContext, codec};
use crate::config::alter::{self, AlterEntry, AlterError, AlterOp};
use crate::config::effective::with_topic_overrides;
use crate::config::resource::{self, Target};
use crate::config::{Config, ConfigMap};
use crate::controller::request::ConfigAlteration;
use crate::metadata::MetadataImage;
use crate::shard::Shard;
use crate::shard::pace::Pace;
use coreline_wire::error_code::ErrorCode;

/// Answers when the change is committed and every shard has it.
pub async fn handle(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let request: IncrementalAlterConfigsRequest = codec::decode(ctx, body)?;
    let plans = plan(&shard.config, &shard.image(), &request.resources).await;
    if !request.validate_only {
        let fine = request.resources.iter().zip(&plans).filter(|(asked, plan)| asked.resource_type == BROKER_LOGGER && plan.is_ok());
        fine.filter_map(|(asked, _)| broker_logger::changes(&shard.config, asked).ok()).for_each(|changes| broker_logger::apply(&changes));
    }
    let results = alter_configs::submit(&shard.controller, plans, request.validate_only).await;
    let responses = request.resources.into_iter().zip(results).map(|(asked, result)| {
        let (code, message) = alter_configs::code_and_message(result);
        AlterConfigsResourceResponse::default()
            .with_error_code(code)
            .with_error_message(message)
            .with_resource_type(asked.resource_type)
            .with_resource_name(asked.resource_name)
    });
    codec::encode(ctx, &IncrementalAlterConfigsResponse::default().with_responses(responses.collect()))
}

/// What to change per resource, or why not. Gives way.
pub async fn plan(config: &Config, image: &MetadataImage, resources: &[AlterConfigsResource]) -> Vec<Plan> {
    let doubled = alter_configs::doubled(resources.iter().map(|r| (r.resource_type, r.resource_name.as_str())));
    let (mut pace, mut plans) = (Pace::new(), Vec::with_capacity(resources.len()));
    for (asked, doubled) in resources.iter().zip(doubled) {
        plans.push(if doubled { Err(alter_configs::twice()) } else { plan_one(config, image, asked) });
        pace.steps(alter_configs::STEPS_OF_A_RESOURCE).await;
    }
    plans
}

fn plan_one(config: &Config, image: &MetadataImage, asked: &AlterConfigsResource) -> Plan {
    if asked.resource_type == BROKER_LOGGER {
        // No record: levels are not kept.
        return broker_logger::changes(config, asked).map(|_| None);
    }
    let target = resource::to_alter(config, asked.resource_type, asked.resource_name.as_str())?;
    let entries = asked.configs.iter().map(|c| match AlterOp::from_code(c.config_operation) {
        Some(op) => Ok(AlterEntry { name: c.name.to_string(), op, value: c.value.as_ref().map(|v| v.to_string()) }),
        None => Err(AlterError::new(ErrorCode::InvalidRequest, format!("Unknown config operation {}", c.config_operation))),
    });
    let entries = entries.collect::<Result<Vec<_>, _>>()?;
    let (scope, resource) = (target.scope(), target.resource(config));
    let none = ConfigMap::new();
    let current = image.config(&resource).map_or(&none, AsRef::as_ref);
    let topic = if let Target::Topic(name) = target { name } else { "" };
    let set = with_topic_overrides(config, image, topic, |o| alter::incremental(config, scope, current, o, &entries))?;
    alter::check_set(config, scope, &set)?;
    resource::check_exists(image, &target)?;
    // Only the keys that were named go to the controller: a change of another key at the same moment is not undone.
    let entries = entries.into_iter().map(|e| {
        let value = set.get(e.name.as_str()).map(|v| v.to_string());
        (e.name, value)
    });
    let entries: Vec<_> = entries.collect();
    Ok((!entries.is_empty()).then_some(ConfigAlteration { resource, replace_all: false, entries }))
}

#[cfg(test)]
mod tests {
    use futures_lite::future::block_on;

    use kafka_protocol::messages::incremental_alter_configs_request::AlterableConfig;
    use kafka_protocol::protocol::StrBytes;

    use super::*;
    use crate::controller::testing::World;

    type Entry = (&'static str, i8, Option<&'static str>);

    fn asked(kind: i8, name: &str, entries: &[Entry]) -> AlterConfigsResource {
        let config = |(k, op, v): &Entry| {
            AlterableConfig::default().with_name((*k).into()).with_config_operation(*op).with_value(v.map(StrBytes::from))
        };
        let configs = entries.iter().map(config).collect();
        AlterConfigsResource::default().with_resource_type(kind).with_resource_name(name.to_string().into()).with_configs(configs)
    }

    fn run(world: &mut World, resource: AlterConfigsResource) -> Result<(), (i16, String)> {
        let plan = block_on(plan(&Config::default(), &world.image, &[resource])).remove(0).map_err(|e| (e.code.code(), e.message))?;
        match plan {
            Some(alteration) => world.alter(alteration).map_err(|e| (e.code.code(), e.message.unwrap_or_default())),
            None => Ok(()),
        }
    }

    #[test]
    fn operations_build_on_each_other() {
        let mut world = World::with_topics(&["t"]);
        assert_eq!(run(&mut world, asked(2, "t", &[("cleanup.policy", 2, Some("compact")), ("retention.ms", 0, Some("5"))])), Ok(()));
        let set = |k: &str, v: &str| (k.to_string(), v.to_string());
        assert_eq!(world.topic_config("t"), vec![set("cleanup.policy", "delete,compact"), set("retention.ms", "5")]);
        assert_eq!(run(&mut world, asked(2, "t", &[("cleanup.policy", 3, Some("delete"))])), Ok(()));
        assert_eq!(world.topic_config("t"), vec![set("cleanup.policy", "compact"), set("retention.ms", "5")]);
        assert_eq!(run(&mut world, asked(2, "t", &[("cleanup.policy", 1, None), ("retention.ms", 1, None)])), Ok(()));
        assert!(world.topic_config("t").is_empty());
        assert_eq!(run(&mut world, asked(2, "t", &[])), Ok(()));
    }

    #[test]
    fn refusals_change_nothing() {
        let mut world = World::with_topics(&["t"]);
        for (resource, code) in [
            (asked(2, "t", &[("retention.ms", 0, Some("5")), ("segment.ms", 0, Some("0"))]), 40),
            (asked(2, "t", &[("retention.ms", 9, Some("5"))]), 42),
            (asked(2, "t", &[("retention.ms", 0, None)]), 42),
            (asked(2, "nope", &[("retention.ms", 0, Some("5"))]), 3),
            (asked(4, "1", &[("num.partitions", 0, Some("5"))]), 42),
            (asked(4, "2", &[("log.retention.ms", 0, Some("5"))]), 42),
            (asked(16, "m", &[("interval.ms", 0, Some("5"))]), 42),
            (asked(16, "m", &[("no.such", 0, Some("5"))]), 42),
            (asked(16, "m", &[("match", 0, Some("5"))]), 40),
            (asked(16, "m", &[("metrics", 2, Some("a"))]), 40),
            (asked(16, "", &[("metrics", 0, Some("a"))]), 42),
            (asked(32, "", &[("consumer.session.timeout.ms", 0, Some("45000"))]), 42),
            (asked(32, "g", &[("consumer.session.timeout.ms", 0, Some("1"))]), 40),
            (asked(32, "g", &[("x", 0, Some("5"))]), 40),
        ] {
            let what = format!("{resource:?}");
            assert_eq!(run(&mut world, resource).map_err(|e| e.0), Err(code), "{what}");
        }
        assert!(world.topic_config("t").is_empty());
    }

    #[test]
    fn groups_and_subscriptions_keep_their_settings() {
        let mut world = World::new();
        for (kind, name, key, value) in [(16, "m", "metrics", "a.,b."), (32, "g", "consumer.session.timeout.ms", "50000")] {
            assert_eq!(run(&mut world, asked(kind, name, &[(key, 0, Some(value))])), Ok(()));
            let set: Vec<_> = world.image.configs().filter(|(resource, _)| resource.kind as i8 == kind).collect();
            assert_eq!((set.len(), &*set[0].0.name, set[0].1.get(key).map(|v| &**v)), (1, name, Some(value)));
            assert_eq!(run(&mut world, asked(kind, name, &[(key, 1, None), ("no.such", 1, None)])), Ok(()));
            assert_eq!(world.image.configs().count(), 0);
        }
    }

    #[test]
    fn a_default_of_all_brokers_reaches_topics() {
        let mut world = World::with_topics(&["t"]);
        assert_eq!(run(&mut world, asked(4, "", &[("log.retention.ms", 0, Some("9"))])), Ok(()));
        let settings = crate::config::effective::topic_settings(&Config::default(), &world.image, "t");
        assert_eq!(settings.retention_ms, 9);
        assert_eq!(run(&mut world, asked(4, "1", &[("log.retention.ms", 0, Some("8"))])), Ok(()));
        assert_eq!(crate::config::effective::topic_settings(&Config::default(), &world.image, "t").retention_ms, 8);
    }
}
