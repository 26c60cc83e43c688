//! Decides the creation and deletion of topics, with Kafka's checks, in Kafka's order, in Kafka's words.
//!
//! Order of the checks: size of the request, then of each new topic: duplicate in the request, forbidden name, name, existence, collision, configuration, replication
//! factor, number of partitions, placement, size of the cluster. The first that fails is the topic's answer; the other topics go on.

use std::collections::{BTreeMap, BTreeSet};

use coreline_wire::error_code::ErrorCode;
use coreline_wire::ids::TopicId;

use super::decide::{Decision, Env};
use super::placement::{self, Replicas};
use super::record::MetadataRecord;
use super::request::{ApiError, CreatedTopic, DeletedTopic, NewTopic, TopicSelector};
use crate::metadata::topic_name::{self, CLUSTER_METADATA_TOPIC};
use crate::metadata::{ConfigResourceKind, MetadataImage};

/// What earlier topics of the same request have taken already.
#[derive(Default)]
struct Taken {
    names: BTreeSet<String>,
    forms: BTreeMap<String, String>,
    partitions: usize,
}

/// One result per topic, in the request's order.
pub fn create_topics(
    image: &MetadataImage,
    topics: &[NewTopic],
    validate_only: bool,
    env: &mut Env<'_>,
) -> Decision<Vec<Result<CreatedTopic, ApiError>>> {
    if asked_partitions(topics, env) > env.limits.partitions_per_request_max {
        return Decision { records: Vec::new(), answer: topics.iter().map(|_| Err(too_many_partitions())).collect() };
    }
    let duplicates = duplicates(topics.iter().map(|topic| topic.name.as_str()));
    let mut records = Vec::new();
    let mut taken = Taken::default();
    let mut answer = Vec::with_capacity(topics.len());
    for topic in topics {
        let result = if duplicates.contains(topic.name.as_str()) {
            Err(duplicate_name())
        } else {
            create_topic(image, topic, &mut taken, env).map(|(created, its_records)| {
                records.extend(its_records);
                created
            })
        };
        answer.push(result);
    }
    if validate_only {
        records.clear();
    }
    Decision { records, answer }
}

/// Partitions that all topics of a request ask for together: too many refuse all of them, as in Kafka.
fn asked_partitions(topics: &[NewTopic], env: &Env<'_>) -> usize {
    let asked = |topic: &NewTopic| match topic.partitions {
        _ if !topic.assignments.is_empty() => topic.assignments.len(),
        -1 => usize::try_from(env.limits.partitions_default).unwrap_or(0),
        count => usize::try_from(count).unwrap_or(0),
    };
    topics.iter().map(asked).fold(0, usize::saturating_add)
}

fn create_topic(
    image: &MetadataImage,
    topic: &NewTopic,
    taken: &mut Taken,
    env: &mut Env<'_>,
) -> Result<(CreatedTopic, Vec<MetadataRecord>), ApiError> {
    check_name(image, &topic.name, taken)?;
    let configs = check_configs(topic, env)?;
    let partitions = place(image, topic, taken, env)?;
    let count = partitions.len() as i32;
    let replication_factor = partitions.first().map_or(0, |replicas| replicas.replicas.len()) as i16;

    taken.partitions += partitions.len();
    taken.names.insert(topic.name.clone());
    if topic_name::may_collide(&topic.name) {
        taken.forms.insert(topic_name::collision_form(&topic.name), topic.name.clone());
    }

    let id = env.random.topic_id();
    let mut records = vec![MetadataRecord::Topic { id: id.0, name: topic.name.clone() }];
    records.extend(configs.iter().map(|(key, value)| MetadataRecord::Config {
        kind: ConfigResourceKind::Topic,
        resource: topic.name.clone(),
        key: key.clone(),
        value: Some(value.clone()),
    }));
    records.extend(partitions.into_iter().enumerate().map(|(index, replicas)| replicas.into_record(id, index as i32)));
    let created =
        CreatedTopic { name: topic.name.clone(), id, partitions: count, replication_factor, configs: configs.into_iter().collect() };
    Ok((created, records))
}

fn check_name(image: &MetadataImage, name: &str, taken: &Taken) -> Result<(), ApiError> {
    if name == CLUSTER_METADATA_TOPIC {
        return Err(ApiError::new(ErrorCode::InvalidRequest, format!("Creation of internal topic {name} is prohibited.")));
    }
    topic_name::validate(name).map_err(|message| ApiError::new(ErrorCode::InvalidTopicException, message))?;
    if image.topic_by_name(name).is_some() {
        return Err(ApiError::new(ErrorCode::TopicAlreadyExists, format!("Topic '{name}' already exists.")));
    }
    // Diverges: two topics of one request may not collide with each other either.
    let form = topic_name::collision_form(name);
    let other = image.colliding_topic(name).map(|other| &**other).or_else(|| taken.forms.get(&form).map(String::as_str));
    if let Some(other) = other {
        let message = format!("Topic '{name}' collides with existing topic: {other}");
        return Err(ApiError::new(ErrorCode::InvalidTopicException, message));
    }
    Ok(())
}

/// The overrides, each key once: the last one given counts.
fn check_configs(topic: &NewTopic, env: &Env<'_>) -> Result<BTreeMap<String, String>, ApiError> {
    let mut configs = BTreeMap::new();
    for (key, value) in &topic.configs {
        let invalid = |message: String| ApiError::new(ErrorCode::InvalidConfig, message);
        let value = value.as_ref().ok_or_else(|| invalid(format!("Null value not supported for topic configs: {key}")))?;
        env.configs.validate_topic_config(key, value).map_err(invalid)?;
        configs.insert(key.clone(), value.clone());
    }
    Ok(configs)
}

/// Replicas of every partition of a new topic.
fn place(image: &MetadataImage, topic: &NewTopic, taken: &Taken, env: &Env<'_>) -> Result<Vec<Replicas>, ApiError> {
    let limits = env.limits;
    let room = |count: usize| {
        // Diverges: also a bound on the whole cluster; Kafka has none.
        let in_request = taken.partitions + count;
        if image.partition_count() + in_request <= limits.partitions_max { Ok(()) } else { Err(too_many_partitions()) }
    };
    if !topic.assignments.is_empty() {
        room(topic.assignments.len())?;
        return placement::manual(image, topic);
    }
    let refuse = |code, message: &str| Err(ApiError::new(code, message));
    if topic.replication_factor < -1 || topic.replication_factor == 0 {
        return refuse(ErrorCode::InvalidReplicationFactor, "Replication factor must be larger than 0, or -1 to use the default value.");
    }
    if topic.partitions < -1 || topic.partitions == 0 {
        return refuse(ErrorCode::InvalidPartitions, "Number of partitions was set to an invalid non-positive value.");
    }
    let or_default = |value: i32, default: i32| if value == -1 { default } else { value };
    let count = or_default(topic.partitions, limits.partitions_default) as usize;
    let factor = or_default(topic.replication_factor.into(), limits.replication_factor_default.into()) as usize;
    room(count)?;
    placement::spread(image, 0, count, factor)
}

/// One result per selector, in the request's order; a topic asked for twice is not deleted.
pub fn delete_topics(image: &MetadataImage, topics: &[TopicSelector]) -> Decision<Vec<DeletedTopic>> {
    let resolve = |selector: &TopicSelector| match selector {
        TopicSelector::Name(name) => image.topic_by_name(name),
        TopicSelector::Id(id) => image.topic(*id),
    };
    let mut times: BTreeMap<TopicId, usize> = BTreeMap::new();
    for topic in topics.iter().filter_map(resolve) {
        *times.entry(topic.id).or_default() += 1;
    }
    // What is asked for twice is told so even where there is no such topic.
    let mut asked = BTreeMap::new();
    for selector in topics {
        *asked.entry(selector).or_insert(0) += 1;
    }
    let mut records = Vec::new();
    let mut answer = Vec::with_capacity(topics.len());
    for selector in topics {
        let known = resolve(selector);
        let twice = asked.get(selector).is_some_and(|times| *times > 1);
        let result = match (known, selector) {
            (known, selector) if twice || known.is_some_and(|topic| times.get(&topic.id).is_some_and(|times| *times > 1)) => {
                Err(match selector {
                    TopicSelector::Name(_) => duplicate_name(),
                    TopicSelector::Id(_) => ApiError::new(ErrorCode::InvalidRequest, "Duplicate topic id."),
                })
            }
            (Some(topic), _) => {
                records.push(MetadataRecord::RemoveTopic { id: topic.id.0 });
                Ok(())
            }
            (None, TopicSelector::Name(_)) => {
                Err(ApiError::new(ErrorCode::UnknownTopicOrPartition, "This server does not host this topic-partition."))
            }
            (None, TopicSelector::Id(_)) => Err(ApiError::new(ErrorCode::UnknownTopicId, "This server does not host this topic ID.")),
        };
        let (name, id) = match selector {
            TopicSelector::Name(name) => (Some(name.clone()), known.filter(|_| result.is_ok()).map_or(TopicId::ZERO, |topic| topic.id)),
            TopicSelector::Id(id) => (known.map(|topic| topic.name.to_string()), *id),
        };
        answer.push(DeletedTopic { name, id, result });
    }
    Decision { records, answer }
}

/// Names that occur more than once.
pub(super) fn duplicates<'a>(names: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    names.filter(|name| !seen.insert(*name)).collect()
}

pub(super) fn duplicate_name() -> ApiError {
    ApiError::new(ErrorCode::InvalidRequest, "Duplicate topic name.")
}

pub(super) fn too_many_partitions() -> ApiError {
    ApiError::new(ErrorCode::PolicyViolation, "Excessively large number of partitions per request.")
}
