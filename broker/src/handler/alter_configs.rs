//! AlterConfigs (key 33, v0-2): the entries become the whole set of a resource's dynamic settings.
//!
//! - v1: throttle first
//! - v2: flexible
//!
//! Superseded by IncrementalAlterConfigs (KIP-339), still used by older clients. What both share is here: plan each resource, submit what is fine
//! to the controller in one request, answer in the request's order.

use std::rc::Rc;

use bytes::Bytes;
use kafka_protocol::messages::alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};
use kafka_protocol::protocol::StrBytes;

use super::{HandlerResult, RequestContext, codec};
use crate::config::Config;
use crate::config::alter::{self, AlterError};
use crate::config::resource;
use crate::controller::request::{ConfigAlteration, ControllerRequest, ControllerResponse};
use crate::controller::{ApiError, ControllerClient};
use crate::metadata::MetadataImage;
use crate::shard::Shard;
use crate::shard::pace::Pace;
use coreline_wire::error_code::ErrorCode;

/// Answers when the change is committed and every shard has it.
pub async fn handle(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let request: AlterConfigsRequest = codec::decode(ctx, body)?;
    let plans = plan(&shard.config, &shard.image(), &request.resources).await;
    let results = submit(&shard.controller, plans, request.validate_only).await;
    let responses = request.resources.into_iter().zip(results).map(|(asked, result)| {
        let (code, message) = code_and_message(result);
        AlterConfigsResourceResponse::default()
            .with_error_code(code)
            .with_error_message(message)
            .with_resource_type(asked.resource_type)
            .with_resource_name(asked.resource_name)
    });
    codec::encode(ctx, &AlterConfigsResponse::default().with_responses(responses.collect()))
}

/// What to change per resource, or why not. Gives way.
pub async fn plan(config: &Config, image: &MetadataImage, resources: &[AlterConfigsResource]) -> Vec<Plan> {
    let doubled = doubled(resources.iter().map(|r| (r.resource_type, r.resource_name.as_str())));
    let one = |asked: &AlterConfigsResource, doubled: bool| {
        if doubled {
            return Err(twice());
        }
        let target = resource::to_alter(config, asked.resource_type, asked.resource_name.as_str())?;
        let entries = asked.configs.iter().map(|c| (c.name.as_str(), c.value.as_deref()));
        let (scope, resource) = (target.scope(), target.resource(config));
        let set = alter::replace(scope, entries)?;
        alter::check_set(config, scope, &set)?;
        resource::check_exists(image, &target)?;
        let entries = set.iter().map(|(k, v)| (k.to_string(), Some(v.to_string()))).collect();
        Ok(Some(ConfigAlteration { resource, replace_all: true, entries }))
    };
    let (mut pace, mut plans) = (Pace::new(), Vec::with_capacity(resources.len()));
    for (asked, doubled) in resources.iter().zip(doubled) {
        plans.push(one(asked, doubled));
        pace.steps(STEPS_OF_A_RESOURCE).await;
    }
    plans
}

/// Planning the changes of a resource takes about so many steps of a loop that only looks something up.
pub(super) const STEPS_OF_A_RESOURCE: usize = 8;

/// The change of one resource; `Ok(None)` when there is nothing to do.
pub type Plan = Result<Option<ConfigAlteration>, AlterError>;

pub(super) fn twice() -> AlterError {
    AlterError::new(ErrorCode::InvalidRequest, "Each resource must appear at most once.")
}

/// Which resources of a request occur more than once.
pub(super) fn doubled<'a>(resources: impl Iterator<Item = (i8, &'a str)>) -> Vec<bool> {
    let all: Vec<_> = resources.collect();
    let mut sorted = all.clone();
    sorted.sort_unstable();
    let is_doubled = |r| {
        let first = sorted.partition_point(|other| other < r);
        sorted.get(first + 1) == Some(r)
    };
    all.iter().map(is_doubled).collect()
}

/// Has the controller carry out the plans; one result per plan, in order.
pub(super) async fn submit(controller: &ControllerClient, plans: Vec<Plan>, validate_only: bool) -> Vec<Result<(), ApiError>> {
    let (mut resources, mut results, mut waiting) = (Vec::new(), Vec::with_capacity(plans.len()), Vec::new());
    for (i, plan) in plans.into_iter().enumerate() {
        match plan {
            Ok(Some(alteration)) => {
                resources.push(alteration);
                waiting.push(i);
                results.push(Ok(()));
            }
            Ok(None) => results.push(Ok(())),
            Err(error) => results.push(Err(ApiError::new(error.code, error.message))),
        }
    }
    if resources.is_empty() {
        return results;
    }
    let answers = match controller.submit(ControllerRequest::AlterConfigs { resources, validate_only }).await {
        Ok(ControllerResponse::AlterConfigs(answers)) if answers.len() == waiting.len() => answers,
        Ok(other) => {
            tracing::error!(?other, "the controller answered AlterConfigs with something else");
            vec![Err(ApiError::new(ErrorCode::UnknownServerError, "unexpected answer of the controller")); waiting.len()]
        }
        Err(error) => vec![Err(ApiError::from(&error)); waiting.len()],
    };
    for (i, answer) in waiting.into_iter().zip(answers) {
        results[i] = answer;
    }
    results
}

pub(super) fn code_and_message(result: Result<(), ApiError>) -> (i16, Option<StrBytes>) {
    match result {
        Ok(()) => (0, None),
        Err(error) => (error.code.code(), error.message.map(StrBytes::from)),
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::block_on;

    use kafka_protocol::messages::alter_configs_request::AlterableConfig;

    use super::*;
    use crate::controller::testing::World;

    fn asked(kind: i8, name: &str, entries: &[(&'static str, Option<&'static str>)]) -> AlterConfigsResource {
        let config = |(k, v): &(&'static str, Option<&'static str>)| {
            AlterableConfig::default().with_name((*k).into()).with_value(v.map(StrBytes::from))
        };
        let configs = entries.iter().map(config).collect();
        AlterConfigsResource::default().with_resource_type(kind).with_resource_name(name.to_string().into()).with_configs(configs)
    }

    #[test]
    fn each_resource_gets_its_own_answer() {
        let world = World::with_topics(&["t"]);
        let resources = [
            asked(2, "t", &[("retention.ms", Some("5"))]),
            asked(2, "nope", &[("retention.ms", Some("5"))]),
            asked(2, "a b", &[]),
            asked(2, "", &[]),
            asked(4, "7", &[]),
            asked(4, "1", &[("num.partitions", Some("6"))]),
            asked(4, "", &[("log.retention.ms", Some("6"))]),
            asked(8, "1", &[("x", Some("y"))]),
            asked(32, "g", &[("x", Some("y"))]),
        ];
        let plans = block_on(plan(&Config::default(), &world.image, &resources));
        let codes: Vec<i16> = plans.iter().map(|p| p.as_ref().map_or_else(|e| e.code.code(), |_| 0)).collect();
        assert_eq!(codes, vec![0, 3, 17, 42, 42, 42, 0, 42, 40]);
        let alteration = plans[0].clone().ok().flatten().expect("a change");
        assert!(alteration.replace_all);
        assert_eq!(alteration.entries, vec![("retention.ms".to_string(), Some("5".to_string()))]);
    }

    #[test]
    fn a_resource_that_occurs_twice_is_refused_each_time() {
        let world = World::with_topics(&["t", "u"]);
        let resources = [asked(2, "t", &[]), asked(2, "u", &[]), asked(2, "t", &[])];
        let plans = block_on(plan(&Config::default(), &world.image, &resources));
        assert_eq!(plans.iter().map(Result::is_ok).collect::<Vec<_>>(), vec![false, true, false]);
    }
}
