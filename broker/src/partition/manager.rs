//! The partitions of a shard: opened, reconfigured and deleted as the metadata says, looked up by every request.
//!
//! Driven by image and delta from `metadata/publish`; a publication is acknowledged once the shard's partitions match it, so that who
//! created a topic can produce to it at once.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use coreline_storage::error::StorageError;
use coreline_storage::journal::FrameCost;
use coreline_wire::TopicPartition;
use coreline_wire::error_code::ErrorCode;
use coreline_wire::ids::{BrokerId, TopicId};
use hashbrown::{HashMap, HashSet};

use super::{Partition, PartitionConfig, ShardStore};
use crate::metadata::{ConfigResourceKind, MetadataDelta, MetadataImage, TopicImage};
use crate::purgatory::Turnstile;
use crate::shard::ShardId;
use crate::shard::pace::{Pace, STEPS_PER_TURN};
use crate::shard::placement::owner_shard;

/// Resolves what the configuration means for a topic.
pub type ResolveConfig = Rc<dyn Fn(&MetadataImage, &str) -> PartitionConfig>;

/// Logs that are opened at the same time while starting; bounds the files and reads in flight.
const OPENING_MAX: usize = 32;

/// Deleting a partition takes as long as so many steps of a loop that only looks something up: its memory is given back.
const STEPS_OF_A_DELETION: usize = 8;
/// The same of new settings, which may have to be resolved for each topic.
const STEPS_OF_A_SETTING: usize = 8;

/// Resolves the configuration of each topic once, however many partitions of it are opened; they share it.
struct TopicConfigs<'a> {
    resolve: &'a ResolveConfig,
    image: &'a MetadataImage,
    known: HashMap<TopicId, Rc<PartitionConfig>>,
}

impl TopicConfigs<'_> {
    fn of(&mut self, id: TopicId, name: &str) -> Rc<PartitionConfig> {
        self.known.entry(id).or_insert_with(|| Rc::new((self.resolve)(self.image, name))).clone()
    }
}

/// All partitions that a shard owns.
pub struct PartitionManager {
    shard: ShardId,
    shards: u16,
    broker: BrokerId,
    store: ShardStore,
    resolve: ResolveConfig,
    partitions: RefCell<HashMap<TopicPartition, Rc<Partition>>>,
    /// Partitions whose files cannot be used; the others go on.
    fenced: RefCell<HashSet<TopicPartition>>,
    /// Appends pass here one at a time; see its file.
    pub appends: Turnstile,
    /// What the last group commit cost: tells a finished produce where its wait went.
    pub frame_cost: Cell<FrameCost>,
}

impl PartitionManager {
    /// An empty manager over a shard's store.
    pub fn new(shard: ShardId, shards: u16, broker: BrokerId, store: ShardStore, resolve: ResolveConfig) -> PartitionManager {
        PartitionManager {
            shard,
            shards,
            broker,
            store,
            resolve,
            partitions: RefCell::new(HashMap::new()),
            fenced: RefCell::default(),
            appends: Turnstile::default(),
            frame_cost: Cell::new(FrameCost { bytes: 0, entries: 0, queued_ns: 0, write_ns: 0, flush_ns: 0 }),
        }
    }

    /// The shard's store.
    pub fn store(&self) -> &ShardStore {
        &self.store
    }

    /// Partitions held.
    pub fn len(&self) -> usize {
        self.partitions.borrow().len()
    }

    /// True when none is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Partitions whose files cannot be used.
    pub fn fenced_count(&self) -> usize {
        self.fenced.borrow().len()
    }

    /// The partition; UNKNOWN_TOPIC_OR_PARTITION, or KAFKA_STORAGE_ERROR for one whose files cannot be used.
    pub fn get(&self, id: TopicPartition) -> Result<Rc<Partition>, ErrorCode> {
        let found = self.partitions.borrow().get(&id).cloned();
        found.ok_or_else(
            || if self.fenced.borrow().contains(&id) { ErrorCode::KafkaStorageError } else { ErrorCode::UnknownTopicOrPartition },
        )
    }

    /// All of them, in no order.
    pub fn all(&self) -> Vec<Rc<Partition>> {
        self.partitions.borrow().values().cloned().collect()
    }

    /// Brings the partitions of this shard to what `image` says, looking only at what `delta` names. Gives way in between: until it is done, some
    /// partitions follow already and others do not, as between any two shards.
    pub async fn apply(&self, image: &MetadataImage, delta: &MetadataDelta) -> Result<(), StorageError> {
        let mut pace = Pace::new();
        for topic in delta.topics_deleted.values() {
            for index in 0..topic.partitions.len() as i32 {
                self.delete(TopicPartition { topic: topic.id, partition: index }).await?;
                pace.steps(STEPS_OF_A_DELETION).await;
            }
        }
        let mut wanted = Vec::new();
        for &id in &delta.partitions_created {
            pace.step().await;
            if owner_shard(id, self.shards) == self.shard
                && let Some(topic) = image.topic(id.topic)
                && !self.partitions.borrow().contains_key(&id)
            {
                wanted.push((id, topic.clone()));
            }
        }
        let mut configs = TopicConfigs { resolve: &self.resolve, image, known: HashMap::new() };
        for some in wanted.chunks(OPENING_MAX) {
            let opened = some.iter().map(|(id, topic)| self.open(*id, topic, configs.of(topic.id, &topic.name)));
            futures_util::future::try_join_all(opened).await?;
            pace.steps(STEPS_PER_TURN).await;
        }
        for &id in &delta.partitions_changed {
            pace.step().await;
            if let (Ok(partition), Some(changed)) = (self.get(id), image.partition(id)) {
                partition.follow(changed);
            }
        }
        self.reconfigure(image, delta, &mut configs, &mut pace).await;
        Ok(())
    }

    /// Gives partitions the settings that `delta` says have changed: those of the topics that it names, or all, when it names a broker.
    async fn reconfigure(&self, image: &MetadataImage, delta: &MetadataDelta, configs: &mut TopicConfigs<'_>, pace: &mut Pace) {
        let of_kind = |kind: ConfigResourceKind| delta.configs_changed.iter().filter(move |resource| resource.kind == kind);
        let concerned: Vec<Rc<Partition>> = if of_kind(ConfigResourceKind::Broker).next().is_some() {
            self.all()
        } else {
            let mut concerned = Vec::new();
            for topic in of_kind(ConfigResourceKind::Topic).filter_map(|resource| image.topic_by_name(&resource.name)) {
                for index in 0..topic.partitions.len() as i32 {
                    concerned.extend(self.get(TopicPartition { topic: topic.id, partition: index }).ok());
                    pace.step().await;
                }
            }
            concerned
        };
        for partition in concerned {
            let config = configs.of(partition.id.topic, &partition.topic);
            if partition.config() != config {
                partition.set_config(config);
            }
            pace.steps(STEPS_OF_A_SETTING).await;
        }
    }

    async fn open(&self, id: TopicPartition, topic: &Arc<TopicImage>, config: Rc<PartitionConfig>) -> Result<(), StorageError> {
        let Some(partition_image) = topic.partition(id.partition) else { return Ok(()) };
        let log = match self.store.open_log_unloaded(id, config.log.clone()).await {
            Ok(log) => log,
            Err(error) if error.is_of_one_log() || error.is_disk_full() => {
                tracing::error!(
                    partition = %id, topic = %topic.name, %error,
                    "the partition is fenced and its files are left as they are: see `coreline log verify`, restore them and start again, or delete the topic"
                );
                self.fenced.borrow_mut().insert(id);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let partition = Partition::lead(id, topic.name.clone(), self.broker, partition_image, config, log);
        self.partitions.borrow_mut().insert(id, partition);
        Ok(())
    }

    async fn delete(&self, id: TopicPartition) -> Result<(), StorageError> {
        let gone = self.partitions.borrow_mut().remove(&id);
        if let Some(partition) = &gone {
            partition.close();
        }
        if self.fenced.borrow_mut().remove(&id) || gone.is_some() {
            self.store.delete_log(id).await?;
        }
        Ok(())
    }

    /// Ends every wait: the shard is stopping, or its log directory takes no more writes.
    pub fn close(&self) {
        self.all().iter().for_each(|p| p.close());
    }
}

impl std::fmt::Debug for PartitionManager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PartitionManager").field("shard", &self.shard).field("partitions", &self.len()).finish_non_exhaustive()
    }
}
