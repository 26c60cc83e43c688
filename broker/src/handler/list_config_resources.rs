//! ListConfigResources (key 74, v0-1): what has, or may have, settings of its own.
//!
//! - v0: client metrics subscriptions (KIP-714)
//! - v1: any kind that is asked for; all without a list (KIP-1142)
//!
//! Topics and brokers are listed whether or not something is set on them; groups and subscriptions when something is.

use std::rc::Rc;

use bytes::Bytes;
use coreline_wire::error_code::ErrorCode;
use kafka_protocol::messages::list_config_resources_response::ConfigResource;
use kafka_protocol::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};

use super::{HandlerResult, RequestContext, codec};
use crate::metadata::{ConfigResourceKind, MetadataImage};
use crate::shard::Shard;

const TOPIC: i8 = ConfigResourceKind::Topic as i8;
const BROKER: i8 = ConfigResourceKind::Broker as i8;
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = ConfigResourceKind::ClientMetrics as i8;
const GROUP: i8 = ConfigResourceKind::Group as i8;

/// Answers at once from this shard's image.
pub async fn handle(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let request: ListConfigResourcesRequest = codec::decode(ctx, body)?;
    codec::encode(ctx, &answer(&shard.image(), &request, ctx.api_version))
}

fn answer(image: &MetadataImage, request: &ListConfigResourcesRequest, version: i16) -> ListConfigResourcesResponse {
    let supported: &[i8] = if version == 0 { &[CLIENT_METRICS] } else { &[TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP] };
    if request.resource_types.iter().any(|kind| !supported.contains(kind)) {
        return ListConfigResourcesResponse::default().with_error_code(ErrorCode::UnsupportedVersion.code());
    }
    let mut kinds = if request.resource_types.is_empty() { supported.to_vec() } else { request.resource_types.clone() };
    kinds.sort_unstable();
    kinds.dedup();
    let resources = kinds.into_iter().flat_map(|kind| {
        let named = move |name: String| ConfigResource::default().with_resource_type(kind).with_resource_name(name.into());
        names(image, kind).into_iter().map(named)
    });
    ListConfigResourcesResponse::default().with_config_resources(resources.collect())
}

/// The names of a kind, sorted.
fn names(image: &MetadataImage, kind: i8) -> Vec<String> {
    match kind {
        TOPIC => image.topics_sorted().into_iter().map(|topic| topic.name.to_string()).collect(),
        BROKER | BROKER_LOGGER => image.live_brokers().map(|broker| broker.id.to_string()).collect(),
        _ => {
            let of_kind = image.configs().filter(|(resource, _)| resource.kind as i8 == kind);
            let mut names: Vec<String> = of_kind.map(|(resource, _)| resource.name.to_string()).collect();
            names.sort_unstable();
            names
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::request::ConfigAlteration;
    use crate::controller::testing::World;

    fn world() -> World {
        let mut world = World::with_topics(&["b", "a"]);
        for (kind, name) in [(ConfigResourceKind::ClientMetrics, "m"), (ConfigResourceKind::Group, "g"), (ConfigResourceKind::Group, "f")] {
            let resource = crate::metadata::ConfigResource { kind, name: name.into() };
            let entries = vec![("x".to_string(), Some("y".to_string()))];
            world.alter(ConfigAlteration { resource, replace_all: false, entries }).expect("altered");
        }
        world
    }

    fn listed(version: i16, kinds: &[i8]) -> Result<Vec<String>, i16> {
        let response = answer(&world().image, &ListConfigResourcesRequest::default().with_resource_types(kinds.to_vec()), version);
        assert!(codec::encode(&RequestContext::for_test(74, version), &response).is_ok(), "v{version}");
        let shown = |r: &ConfigResource| format!("{}:{}", r.resource_type, r.resource_name);
        if response.error_code == 0 { Ok(response.config_resources.iter().map(shown).collect()) } else { Err(response.error_code) }
    }

    #[test]
    fn kinds_are_listed_as_asked_and_all_without_a_list() {
        assert_eq!(listed(0, &[]), Ok(vec!["16:m".to_string()]));
        let all = ["2:a", "2:b", "4:1", "8:1", "16:m", "32:f", "32:g"].map(str::to_string).to_vec();
        assert_eq!(listed(1, &[]), Ok(all));
        assert_eq!(listed(1, &[32, 2, 32]), Ok(["2:a", "2:b", "32:f", "32:g"].map(str::to_string).to_vec()));
        for kinds in [&[0][..], &[2, 99], &[-1]] {
            assert_eq!(listed(1, kinds), Err(35), "{kinds:?}");
        }
    }
}
