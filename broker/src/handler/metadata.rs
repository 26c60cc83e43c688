//! Metadata (key 3, v0-13): brokers, controller, and topics with their partitions; creates missing topics when that is allowed.
//!
//! - v0: an empty list of topics means all; from v1 null means all and empty means none
//! - v4: the client says whether missing topics may be created (before, they may)
//! - v5: offline replicas; v7: leader epochs; v8: authorized operations, flexible from v9
//! - v10: topic ids in the answer; v12: topics asked for by id; v13: an error of the whole answer
//!
//! Diverges: a topic that this request creates is in its answer, led and ready; Kafka answers 3 first and lets the client ask again.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use coreline_wire::error_code::ErrorCode;
use coreline_wire::ids::TopicId;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic};
use kafka_protocol::messages::{BrokerId, MetadataRequest, MetadataResponse, TopicName};

use super::admin::{CLUSTER_OPERATIONS, OPERATIONS_NOT_ASKED, TOPIC_OPERATIONS, topic_id, uuid};
use super::{HandlerResult, RequestContext, codec};
use crate::controller::{ControllerRequest, NewTopic};
use crate::metadata::image::{PartitionImage, is_internal_topic};
use crate::metadata::{MetadataImage, TopicImage, topic_name};
use crate::shard::pace::Pace;
use crate::shard::{Shard, clock};

/// First version in which topics may be asked for by id.
const BY_ID_VERSION: i16 = 12;
/// How long an answer waits for the topics that it creates; after it they are answered as unknown, which clients retry.
const CREATE_WITHIN: Duration = Duration::from_secs(5);

/// Answers from this shard's image, after the creation of what is missing if that is allowed.
pub async fn handle(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let request: MetadataRequest = codec::decode(ctx, body)?;
    if request.allow_auto_topic_creation && shard.config.auto_create_topics_enable {
        let missing = missing_topics(&shard.image(), &request);
        if !missing.is_empty() {
            create(shard, missing).await;
        }
    }
    let answer = answer(&shard.image(), &request, ctx.api_version);
    // Made in one turn, encoded in another.
    Pace::new().steps(answer.topics.iter().map(|topic| 1 + topic.partitions.len()).sum()).await;
    codec::encode(ctx, &answer)
}

/// Whether topics are asked for by id: one id makes it so, and topics that are only named are left out then, as in Kafka.
fn asks_by_id(request: &MetadataRequest) -> bool {
    request.topics.iter().flatten().any(|asked| !asked.topic_id.is_nil())
}

/// The names asked for that do not exist and may be created by asking. Internal topics are created by those who use them.
fn missing_topics(image: &MetadataImage, request: &MetadataRequest) -> Vec<String> {
    if asks_by_id(request) {
        return Vec::new();
    }
    let names = request.topics.iter().flatten().filter_map(|topic| topic.name.as_ref());
    let missing: BTreeSet<&str> = names
        .map(|name| name.as_str())
        .filter(|name| image.topic_by_name(name).is_none() && topic_name::validate(name).is_ok() && !is_internal_topic(name))
        .collect();
    missing.into_iter().map(str::to_owned).collect()
}

/// Failures are not told here: a topic that was not created is answered as unknown, as in Kafka.
async fn create(shard: &Shard, names: Vec<String>) {
    let topics = names.iter().map(|name| NewTopic::with_defaults(name)).collect();
    let request = ControllerRequest::CreateTopics { topics, validate_only: false };
    match clock::within(CREATE_WITHIN, shard.controller.submit(request)).await {
        Some(Ok(results)) => tracing::debug!(?names, ?results, "topics created because a client asked for them"),
        Some(Err(error)) => tracing::warn!(?names, %error, "topics could not be created on a client's request"),
        None => tracing::warn!(?names, "the creation of topics on a client's request takes long"),
    }
}

/// The answer, as a function of the image.
pub fn answer(image: &MetadataImage, request: &MetadataRequest, version: i16) -> MetadataResponse {
    let operations = if request.include_topic_authorized_operations && version >= 8 { TOPIC_OPERATIONS } else { OPERATIONS_NOT_ASKED };
    let all = match &request.topics {
        None => true,
        Some(topics) => version == 0 && topics.is_empty(),
    };
    let mut topics = Vec::new();
    let by_id_early = |topic: &MetadataRequestTopic| !topic.topic_id.is_nil() || topic.name.is_none();
    if version < BY_ID_VERSION && request.topics.iter().flatten().any(by_id_early) {
        return refused(request);
    }
    if all {
        topics.extend(image.topics_sorted().into_iter().map(|topic| describe(image, topic, version)));
    } else {
        let mut seen = BTreeSet::new();
        let ids_only = asks_by_id(request);
        for asked in request.topics.iter().flatten().filter(|asked| !ids_only || !asked.topic_id.is_nil()) {
            let id = topic_id(asked.topic_id);
            let name = asked.name.as_ref().map_or("", |name| name.as_str());
            // An id wins over a name that comes with it, as in Kafka.
            if seen.insert(if id.is_zero() { (name, id) } else { ("", id) }) {
                topics.push(if id.is_zero() { by_name(image, name, version) } else { by_id(image, id, version) });
            }
        }
    }
    for topic in topics.iter_mut().filter(|topic| topic.error_code != ErrorCode::UnknownTopicId.code()) {
        topic.topic_authorized_operations = operations;
    }
    let cluster = request.include_cluster_authorized_operations && (8..=10).contains(&version);
    MetadataResponse::default()
        .with_brokers(brokers(image, version))
        .with_cluster_id(Some(image.cluster_id.to_string().into()))
        .with_controller_id(BrokerId(image.controller_id))
        .with_topics(topics)
        .with_cluster_authorized_operations(if cluster { CLUSTER_OPERATIONS } else { OPERATIONS_NOT_ASKED })
}

/// The answer to ids in a version that has the field but does not serve it: nothing but errors.
fn refused(request: &MetadataRequest) -> MetadataResponse {
    let topics = request.topics.iter().flatten().map(|asked| {
        MetadataResponseTopic::default()
            .with_error_code(ErrorCode::InvalidRequest.code())
            .with_name(Some(asked.name.clone().unwrap_or_default()))
            .with_topic_id(asked.topic_id)
    });
    MetadataResponse::default().with_topics(topics.collect())
}

fn brokers(image: &MetadataImage, version: i16) -> Vec<MetadataResponseBroker> {
    let told = image.live_brokers().filter_map(|broker| {
        let endpoint = broker.endpoints.first()?;
        let rack = broker.rack.as_ref().filter(|_| version >= 1).map(|rack| rack.to_string().into());
        Some(
            MetadataResponseBroker::default()
                .with_node_id(BrokerId(broker.id))
                .with_host(endpoint.host.clone().into())
                .with_port(endpoint.port.into())
                .with_rack(rack),
        )
    });
    told.collect()
}

fn by_name(image: &MetadataImage, name: &str, version: i16) -> MetadataResponseTopic {
    match image.topic_by_name(name) {
        Some(topic) => describe(image, topic, version),
        None => {
            let valid = topic_name::validate(name).is_ok();
            let code = if valid { ErrorCode::UnknownTopicOrPartition } else { ErrorCode::InvalidTopicException };
            MetadataResponseTopic::default()
                .with_error_code(code.code())
                .with_name(Some(TopicName(name.to_owned().into())))
                .with_is_internal(is_internal_topic(name))
        }
    }
}

fn by_id(image: &MetadataImage, id: TopicId, version: i16) -> MetadataResponseTopic {
    match image.topic(id) {
        Some(topic) => describe(image, topic, version),
        None => MetadataResponseTopic::default()
            .with_error_code(ErrorCode::UnknownTopicId.code())
            .with_topic_id(uuid(id))
            // Null since v12; the versions before know no ids to ask for.
            .with_name((version < 12).then(TopicName::default)),
    }
}

fn describe(image: &MetadataImage, topic: &TopicImage, version: i16) -> MetadataResponseTopic {
    let brokers = |ids: &[i32]| ids.iter().copied().map(BrokerId).collect::<Vec<_>>();
    let partitions = topic.partitions.iter().enumerate().map(|(index, partition)| {
        let (leader, error) = leader_and_error(image, partition);
        MetadataResponsePartition::default()
            .with_error_code(error.code())
            .with_partition_index(index as i32)
            .with_leader_id(BrokerId(leader))
            .with_leader_epoch(if version >= 7 { partition.leader_epoch } else { -1 })
            .with_replica_nodes(brokers(&partition.replicas))
            .with_isr_nodes(brokers(&partition.isr))
            .with_offline_replicas(if version >= 5 { offline(image, partition) } else { Vec::new() })
    });
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(topic.name.to_string().into())))
        .with_topic_id(if version >= 10 { uuid(topic.id) } else { uuid(TopicId::ZERO) })
        .with_is_internal(topic.is_internal())
        .with_partitions(partitions.collect())
}

/// The leader that a client can reach, or -1 with LEADER_NOT_AVAILABLE, which it retries.
pub(super) fn leader_and_error(image: &MetadataImage, partition: &PartitionImage) -> (i32, ErrorCode) {
    if is_live(image, partition.leader) { (partition.leader, ErrorCode::None) } else { (-1, ErrorCode::LeaderNotAvailable) }
}

/// Replicas on brokers that are not live.
pub(super) fn offline(image: &MetadataImage, partition: &PartitionImage) -> Vec<BrokerId> {
    partition.replicas.iter().copied().filter(|id| !is_live(image, *id)).map(BrokerId).collect()
}

fn is_live(image: &MetadataImage, id: i32) -> bool {
    image.broker(id).is_some_and(|broker| !broker.fenced)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::testing::World;
    use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
    use kafka_protocol::protocol::Encodable;

    fn world() -> World {
        let mut world = World::with_topics(&["b", "a", "c"]);
        world.image.controller_id = 1;
        world
    }

    fn named(name: &str) -> MetadataRequestTopic {
        MetadataRequestTopic::default().with_name(Some(TopicName(name.to_owned().into())))
    }

    fn with_id(id: TopicId) -> MetadataRequestTopic {
        MetadataRequestTopic::default().with_name(None).with_topic_id(uuid(id))
    }

    fn ask(topics: Option<Vec<MetadataRequestTopic>>) -> MetadataRequest {
        MetadataRequest::default().with_topics(topics)
    }

    fn told(response: &MetadataResponse) -> Vec<(String, i16)> {
        let name = |topic: &MetadataResponseTopic| topic.name.as_ref().map_or("null".to_owned(), |name| name.to_string());
        response.topics.iter().map(|topic| (name(topic), topic.error_code)).collect()
    }

    fn pairs(want: &[(&str, i16)]) -> Vec<(String, i16)> {
        want.iter().map(|(name, code)| ((*name).to_owned(), *code)).collect()
    }

    #[test]
    fn all_topics_is_null_or_in_version_0_empty() {
        let image = world().image;
        let all = pairs(&[("a", 0), ("b", 0), ("c", 0)]);
        assert_eq!(told(&answer(&image, &ask(Some(vec![])), 0)), all);
        for version in 1..=13 {
            assert_eq!(told(&answer(&image, &ask(None), version)), all, "v{version}");
            assert_eq!(told(&answer(&image, &ask(Some(vec![])), version)), [], "v{version}");
        }
    }

    #[test]
    fn every_version_encodes_with_its_own_fields() {
        let mut world = world();
        world.register(2);
        let epoch = world.image.broker(2).expect("registered").epoch;
        world.create_with_assignment("two", vec![vec![2, 1]]);
        let _ = world.submit(&ControllerRequest::FenceBroker { id: 2, epoch });
        let request = ask(Some(vec![named("two"), named("nope"), named("a b")]))
            .with_include_topic_authorized_operations(true)
            .with_include_cluster_authorized_operations(true);
        for version in 0..=13 {
            let response = answer(&world.image, &request, version);
            response.compute_size(version).unwrap_or_else(|error| panic!("v{version}: {error}"));
            assert_eq!(told(&response), pairs(&[("two", 0), ("nope", 3), ("a b", 17)]));
            let partition = &response.topics[0].partitions[0];
            assert_eq!((partition.leader_id.0, partition.error_code), (1, 0));
            assert_eq!(partition.leader_epoch, if version >= 7 { 1 } else { -1 });
            assert_eq!(partition.offline_replicas.len(), usize::from(version >= 5));
            assert_eq!(response.topics[0].topic_id.is_nil(), version < 10);
            assert_eq!(response.brokers.len(), 1, "a fenced broker is not told");
            assert_eq!(response.cluster_authorized_operations == 8096, (8..=10).contains(&version));
        }
    }

    #[test]
    fn topics_are_found_by_id_and_told_once() {
        let image = world().image;
        let id = image.topic_id("b").expect("exists");
        let unknown = TopicId([1; 16]);
        let request = ask(Some(vec![named("c"), with_id(id), with_id(unknown), with_id(id), named("c"), named("zz")]))
            .with_include_topic_authorized_operations(true);
        for version in [12, 13] {
            let response = answer(&image, &request, version);
            assert_eq!(told(&response), pairs(&[("b", 0), ("null", 100)]), "beside ids names do not count");
            assert_eq!(response.topics[1].topic_id, uuid(unknown));
            let operations = [TOPIC_OPERATIONS, OPERATIONS_NOT_ASKED];
            assert_eq!(response.topics.iter().map(|topic| topic.topic_authorized_operations).collect::<Vec<_>>(), operations);
            assert!(response.compute_size(version).is_ok());
        }
        let both = MetadataRequestTopic::default().with_name(Some(TopicName("a".into()))).with_topic_id(uuid(id));
        assert_eq!(told(&answer(&image, &ask(Some(vec![both])), 12)), pairs(&[("b", 0)]), "an id wins over a name");
    }

    #[test]
    fn a_partition_without_a_live_leader_says_so() {
        let mut world = world();
        let epoch = world.image.broker(1).expect("registered").epoch;
        let _ = world.submit(&ControllerRequest::FenceBroker { id: 1, epoch });
        let response = answer(&world.image, &ask(Some(vec![named("a")])), 12);
        let partition = &response.topics[0].partitions[0];
        assert_eq!((partition.leader_id.0, partition.error_code, partition.offline_replicas.len()), (-1, 5, 1));
        assert!(response.brokers.is_empty());
    }

    #[test]
    fn operations_are_told_only_when_asked_for() {
        let image = world().image;
        let response = answer(&image, &ask(None), 9);
        assert!(response.topics.iter().all(|topic| topic.topic_authorized_operations == i32::MIN));
        assert_eq!(response.cluster_authorized_operations, i32::MIN);
    }

    #[test]
    fn only_valid_missing_names_are_created() {
        let image = world().image;
        let topics = vec![named("new"), named("a"), named("x y"), named("new"), named("__consumer_offsets")];
        assert_eq!(missing_topics(&image, &ask(Some(topics))), ["new"]);
        let beside_id = vec![named("new"), with_id(TopicId([1; 16]))];
        assert!(missing_topics(&image, &ask(Some(beside_id))).is_empty());
        assert!(missing_topics(&image, &ask(None)).is_empty());
    }
}
