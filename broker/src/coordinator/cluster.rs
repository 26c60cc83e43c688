//! The cluster as consumer groups see it: topics by name and id, their partition counts, the groups' own settings.
//!
//! A view of the metadata image, which is immutable; each publication brings the next one.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use coreline_wire::TopicId;

use crate::metadata::{ConfigResource, ConfigResourceKind, MetadataImage, Publication};

/// The cluster at one position of the metadata log.
#[derive(Clone)]
pub struct Cluster(Arc<MetadataImage>);

/// A new view of the cluster, and what is new in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClusterChange {
    /// The view.
    pub cluster: Cluster,
    /// Names of topics that were created, deleted, or got partitions.
    pub topics: BTreeSet<String>,
    /// Some of them were created or deleted, so expressions may match others.
    pub names_changed: bool,
}

impl ClusterChange {
    /// What a publication changes for consumer groups; `None` for a publication that is not about topics or the settings of groups.
    pub fn of(publication: &Publication) -> Option<ClusterChange> {
        let (image, delta) = (&publication.image, &publication.delta);
        let grown = delta.partitions_created.iter().map(|tp| &tp.topic).collect::<BTreeSet<_>>();
        let live = delta.topics_created.iter().chain(grown).filter_map(|id| image.topic_name(*id));
        let topics = live.chain(delta.topics_deleted.values().map(|topic| &topic.name));
        let topics: BTreeSet<String> = topics.map(|name| name.to_string()).collect();
        let is_group = |resource: &ConfigResource| resource.kind == ConfigResourceKind::Group;
        if topics.is_empty() && !delta.configs_changed.iter().any(is_group) {
            return None;
        }
        let names_changed = !delta.topics_created.is_empty() || !delta.topics_deleted.is_empty();
        Some(ClusterChange { cluster: Cluster::new(image.clone()), topics, names_changed })
    }
}

impl Cluster {
    /// A view of this image.
    pub fn new(image: Arc<MetadataImage>) -> Self {
        Cluster(image)
    }

    /// A topic's id and partition count.
    pub fn topic(&self, name: &str) -> Option<(TopicId, i32)> {
        let topic = self.0.topic_by_name(name)?;
        Some((topic.id, i32::try_from(topic.partitions.len()).ok()?))
    }

    /// A topic's name.
    pub fn name(&self, id: TopicId) -> Option<&str> {
        self.0.topic_name(id).map(|name| &**name)
    }

    /// All names, in no useful order.
    pub fn names(&self) -> Vec<Arc<str>> {
        self.0.topics().map(|topic| topic.name.clone()).collect()
    }

    /// Position in the metadata log.
    pub fn version(&self) -> i64 {
        i64::try_from(self.0.position.index).unwrap_or(i64::MAX)
    }

    /// A group's own setting, when it has it and it is a number.
    pub fn group_setting(&self, group: &str, key: &str) -> Option<i32> {
        let resource = ConfigResource { kind: ConfigResourceKind::Group, name: Arc::from(group) };
        self.0.config(&resource)?.get(key)?.parse().ok()
    }
}

impl Default for Cluster {
    fn default() -> Self {
        Cluster(Arc::new(MetadataImage::empty()))
    }
}

impl PartialEq for Cluster {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Eq for Cluster {}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cluster({:?}, {} topics)", self.0.position, self.0.topic_count())
    }
}
