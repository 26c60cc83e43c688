//! The metadata snapshot: an image with the log position it stands at, as rkyv bytes that are validated when read.
//!
//! Topics, brokers, configurations and features are stored in sorted order, so equal images give equal bytes. The file around the bytes
//! (checksum, two generations) is `coreline_storage::snapshot_file`. Callers: `state_machine`.

use std::collections::BTreeMap;
use std::sync::Arc;

use coreline_wire::ids::TopicId;
use rkyv::rancor;
use rkyv::util::AlignedVec;

use super::stored::{StoredLogId, StoredMembershipConfig};
use crate::metadata::client_quota::{QuotaEntity, QuotaEntityType, QuotaValues};
use crate::metadata::image::{ConfigMap, PartitionImage};
use crate::metadata::{BrokerImage, ConfigResource, ConfigResourceKind, Endpoint, ImagePosition, MetadataImage, TopicImage, topic_name};

/// Version of the content written by this build.
pub const CONTENT_VERSION: u32 = 1;
/// Largest snapshot that is read, in bytes: about ten million partitions.
pub const CONTENT_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// A snapshot's content.
#[derive(Clone, Debug, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct SnapshotContent {
    /// Last entry in it.
    pub last: Option<StoredLogId>,
    /// Entry that set the membership.
    pub membership_id: Option<StoredLogId>,
    /// Members of the quorum.
    pub membership: StoredMembershipConfig,
    quorum_epoch: u64,
    index: u64,
    cluster_id: String,
    next_producer_id: i64,
    brokers: Vec<StoredBroker>,
    topics: Vec<StoredTopic>,
    configs: Vec<StoredConfig>,
    features: Vec<(String, i16)>,
}

#[derive(Clone, Debug, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct StoredBroker {
    id: i32,
    incarnation: [u8; 16],
    epoch: i64,
    endpoints: Vec<(String, String, u16)>,
    rack: Option<String>,
    fenced: bool,
}

#[derive(Clone, Debug, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct StoredTopic {
    id: [u8; 16],
    name: String,
    /// Replica lists of the partitions, each once.
    replicas: Vec<Vec<i32>>,
    partitions: Vec<StoredPartition>,
}

#[derive(Clone, Copy, Debug, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct StoredPartition {
    /// Place of the replicas in the topic's lists.
    replicas: u32,
    /// Place of the in-sync replicas in the topic's lists.
    isr: u32,
    leader: i32,
    leader_epoch: i32,
    partition_epoch: i32,
}

#[derive(Clone, Debug, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct StoredConfig {
    kind: i8,
    name: String,
    overrides: Vec<(String, String)>,
}

impl SnapshotContent {
    /// The content of an image at a position.
    pub fn of(
        image: &MetadataImage,
        last: Option<StoredLogId>,
        membership_id: Option<StoredLogId>,
        membership: StoredMembershipConfig,
    ) -> SnapshotContent {
        let mut configs: Vec<_> = image.configs().collect();
        configs.sort_unstable_by_key(|(resource, _)| *resource);
        SnapshotContent {
            last,
            membership_id,
            membership,
            quorum_epoch: image.position.quorum_epoch,
            index: image.position.index,
            cluster_id: image.cluster_id.to_string(),
            next_producer_id: image.next_producer_id,
            brokers: image.brokers().map(|broker| store_broker(broker)).collect(),
            topics: image.topics_sorted().into_iter().map(|topic| store_topic(topic)).collect(),
            configs: configs
                .into_iter()
                .map(|(resource, overrides)| store_config(resource, overrides))
                .chain(image.client_quotas().iter().map(|(entity, values)| store_quotas(entity, values)))
                .collect(),
            features: image.features().map(|(name, level)| (name.to_string(), level)).collect(),
        }
    }

    /// As bytes. Costs about 300 ns per partition.
    pub fn to_bytes(&self) -> AlignedVec {
        rkyv::to_bytes::<rancor::Error>(self).expect("the content is plain data and a vector grows")
    }

    /// From bytes that may be anything; the error is a sentence.
    pub fn from_bytes(bytes: &[u8]) -> Result<SnapshotContent, String> {
        let mut aligned = AlignedVec::<16>::with_capacity(bytes.len());
        aligned.extend_from_slice(bytes);
        rkyv::from_bytes::<SnapshotContent, rancor::Error>(&aligned)
            .map_err(|error| format!("the metadata snapshot does not hold together: {error}"))
    }

    /// The image; the error is a sentence about a contradiction within the content.
    pub fn to_image(&self) -> Result<MetadataImage, String> {
        let mut image = MetadataImage {
            position: ImagePosition { quorum_epoch: self.quorum_epoch, index: self.index },
            cluster_id: Arc::from(self.cluster_id.as_str()),
            next_producer_id: self.next_producer_id,
            ..MetadataImage::empty()
        };
        let brokers: BTreeMap<_, _> = self.brokers.iter().map(|broker| (broker.id, Arc::new(load_broker(broker)))).collect();
        image.brokers = Arc::new(brokers);
        for stored in &self.topics {
            let topic = load_topic(stored)?;
            let (id, name) = (topic.id, Arc::clone(&topic.name));
            image.partition_count += topic.partitions.len();
            if topic_name::may_collide(&name) {
                image.topic_forms.insert(Arc::from(topic_name::collision_form(&name)), Arc::clone(&name));
            }
            let twice = image.topic_ids.insert(name, id).is_some() | image.topics.insert(id, Arc::new(topic)).is_some();
            if twice {
                return Err(format!("topic {} is in the metadata snapshot twice", stored.name));
            }
        }
        for stored in &self.configs {
            if stored.kind == CLIENT_QUOTAS {
                let (entity, values) = load_quotas(stored)?;
                Arc::make_mut(&mut image.client_quotas).insert(entity, values);
                continue;
            }
            let kind = ConfigResourceKind::from_code(stored.kind)
                .ok_or_else(|| format!("unknown kind {} of configuration resource in the metadata snapshot", stored.kind))?;
            let overrides: ConfigMap =
                stored.overrides.iter().map(|(key, value)| (Arc::from(key.as_str()), Arc::from(value.as_str()))).collect();
            image.configs.insert(ConfigResource { kind, name: Arc::from(stored.name.as_str()) }, Arc::new(overrides));
        }
        image.features = Arc::new(self.features.iter().map(|(name, level)| (Arc::from(name.as_str()), *level)).collect());
        Ok(image)
    }
}

fn store_broker(broker: &BrokerImage) -> StoredBroker {
    StoredBroker {
        id: broker.id,
        incarnation: broker.incarnation,
        epoch: broker.epoch,
        endpoints: broker.endpoints.iter().map(|at| (at.name.clone(), at.host.clone(), at.port)).collect(),
        rack: broker.rack.as_ref().map(|rack| rack.to_string()),
        fenced: broker.fenced,
    }
}

fn load_broker(stored: &StoredBroker) -> BrokerImage {
    let endpoint = |(name, host, port): &(String, String, u16)| Endpoint { name: name.clone(), host: host.clone(), port: *port };
    BrokerImage {
        id: stored.id,
        incarnation: stored.incarnation,
        epoch: stored.epoch,
        endpoints: stored.endpoints.iter().map(endpoint).collect(),
        rack: stored.rack.as_deref().map(Arc::from),
        fenced: stored.fenced,
    }
}

fn store_topic(topic: &TopicImage) -> StoredTopic {
    let mut replicas: Vec<Vec<i32>> = Vec::new();
    let mut place = |list: &[i32]| {
        // Few distinct lists per topic; the last one used is the likeliest.
        let found = replicas.iter().rposition(|known| known == list).unwrap_or_else(|| {
            replicas.push(list.to_vec());
            replicas.len() - 1
        });
        found as u32
    };
    let partitions = topic
        .partitions
        .iter()
        .map(|partition| StoredPartition {
            replicas: place(&partition.replicas),
            isr: place(&partition.isr),
            leader: partition.leader,
            leader_epoch: partition.leader_epoch,
            partition_epoch: partition.partition_epoch,
        })
        .collect();
    StoredTopic { id: topic.id.0, name: topic.name.to_string(), replicas, partitions }
}

fn load_topic(stored: &StoredTopic) -> Result<TopicImage, String> {
    let lists: Vec<Arc<[i32]>> = stored.replicas.iter().map(|list| Arc::from(list.as_slice())).collect();
    let list = |place: u32| {
        lists.get(place as usize).cloned().ok_or_else(|| format!("topic {} names a list of replicas that is not there", stored.name))
    };
    let mut partitions = Vec::with_capacity(stored.partitions.len());
    for partition in &stored.partitions {
        partitions.push(PartitionImage {
            replicas: list(partition.replicas)?,
            isr: list(partition.isr)?,
            leader: partition.leader,
            leader_epoch: partition.leader_epoch,
            partition_epoch: partition.partition_epoch,
        });
    }
    Ok(TopicImage { id: TopicId(stored.id), name: Arc::from(stored.name.as_str()), partitions })
}

fn store_config(resource: &ConfigResource, overrides: &ConfigMap) -> StoredConfig {
    StoredConfig {
        kind: resource.kind as i8,
        name: resource.name.to_string(),
        overrides: overrides.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
    }
}

/// Client quotas are kept among the configurations, as a kind of their own, with the entity as a name: so format 1 holds them.
const CLIENT_QUOTAS: i8 = 64;

fn store_quotas(entity: &QuotaEntity, values: &QuotaValues) -> StoredConfig {
    let parts: Vec<(QuotaEntityType, Option<&str>)> = entity.parts().collect();
    StoredConfig {
        kind: CLIENT_QUOTAS,
        name: serde_json::to_string(&parts).expect("plain data"),
        // Bits, so that every value comes back as it was.
        overrides: values.iter().map(|(key, value)| (key.to_string(), value.to_bits().to_string())).collect(),
    }
}

fn load_quotas(stored: &StoredConfig) -> Result<(QuotaEntity, QuotaValues), String> {
    let wrong = |what: &str| format!("the quotas of entity {} in the metadata snapshot: {what}", stored.name);
    let parts: Vec<(QuotaEntityType, Option<String>)> = serde_json::from_str(&stored.name).map_err(|error| wrong(&error.to_string()))?;
    let entity = QuotaEntity::of(parts.iter().map(|(kind, name)| (*kind, name.as_deref())));
    let value = |(key, bits): &(String, String)| Some((Arc::from(key.as_str()), f64::from_bits(bits.parse().ok()?)));
    let values: Option<QuotaValues> = stored.overrides.iter().map(value).collect();
    Ok((entity, values.ok_or_else(|| wrong("a value is no number"))?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::testing::World;
    use crate::controller::{ConfigAlteration, ControllerRequest, NewTopic, QuotaAlteration};

    fn sample() -> MetadataImage {
        let mut world = World::with_topics(&["a", "b.c", "d"]);
        world.register(2);
        world.create(NewTopic { partitions: 300, replication_factor: 2, ..NewTopic::with_defaults("wide") }).expect("created");
        let alteration = ConfigAlteration {
            resource: ConfigResource::topic("a"),
            replace_all: false,
            entries: vec![("retention.ms".into(), Some("5".into())), ("segment.ms".into(), Some("6".into()))],
        };
        world.alter(alteration).expect("altered");
        let broker = ConfigAlteration {
            resource: ConfigResource::broker_default(),
            replace_all: false,
            entries: vec![("k".into(), Some("v".into()))],
        };
        world.alter(broker).expect("altered");
        for (entity, value) in [(vec![("user", Some("a \"b\"")), ("client-id", None)], 0.1), (vec![("ip", Some("::1"))], 7.0)] {
            let key = if entity.len() == 1 { "connection_creation_rate" } else { "request_percentage" };
            let entity = entity.into_iter().map(|(kind, name)| (kind.to_owned(), name.map(str::to_owned))).collect();
            let entries = vec![QuotaAlteration { entity, ops: vec![(key.to_owned(), Some(value))] }];
            let _ = world.submit(&ControllerRequest::AlterClientQuotas { entries, validate_only: false });
        }
        assert_eq!(world.image.client_quotas().len(), 2);
        world.image
    }

    fn content(image: &MetadataImage) -> SnapshotContent {
        let membership = StoredMembershipConfig { configs: vec![vec![1]], nodes: vec![(1, "h:1".into())] };
        SnapshotContent::of(image, Some(StoredLogId { term: 1, index: 9 }), Some(StoredLogId { term: 1, index: 0 }), membership)
    }

    #[test]
    fn an_image_survives_its_snapshot() {
        let mut image = sample();
        let bytes = content(&image).to_bytes();
        let read = SnapshotContent::from_bytes(&bytes).expect("valid bytes");
        assert_eq!(read, content(&image));
        let loaded = read.to_image().expect("a content that holds together");
        image.controller_id = loaded.controller_id; // Known from the quorum, not stored.
        assert_eq!(loaded, image);
        assert_eq!(loaded.colliding_topic("b_c").map(|name| name.to_string()), Some("b.c".to_owned()));
    }

    #[test]
    fn equal_images_give_equal_bytes() {
        assert_eq!(content(&sample()).to_bytes()[..], content(&sample()).to_bytes()[..]);
    }

    #[test]
    fn damaged_bytes_are_an_error_and_never_a_panic() {
        let bytes = content(&sample()).to_bytes();
        for cut in (0..bytes.len()).step_by(37) {
            let _ = SnapshotContent::from_bytes(&bytes[..cut]).map(|content| content.to_image());
        }
        for at in (0..bytes.len()).step_by(13) {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 0xff;
            let _ = SnapshotContent::from_bytes(&damaged).map(|content| content.to_image());
        }
        assert!(SnapshotContent::from_bytes(&[]).is_err());
    }
}
