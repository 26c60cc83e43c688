//! A partition on its owner shard: its log, its role, its high watermark, and who waits for it.
//!
//! Lives on one shard as `Rc<Partition>`; code between two awaits is the critical section, so no lock is needed. Created, changed and
//! deleted by `manager.rs` as the metadata says; asked by `request.rs`.

pub mod append;
pub mod delete_records;
pub mod fetch;
pub mod leader;
pub mod lookup;
pub mod manager;
pub mod recode;
pub mod request;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use coreline_storage::config::LogConfig;
use coreline_wire::TopicPartition;
use coreline_wire::error_code::ErrorCode;
use coreline_wire::ids::{BrokerId, LeaderEpoch, Offset};
use coreline_wire::record::attributes::Compression;

pub use manager::PartitionManager;

use crate::config::{Config, effective};
use crate::metadata::{MetadataImage, PartitionImage};
use crate::purgatory::Watermark;
use leader::LeaderState;

/// The log of a partition on the real disk.
pub type PartitionLog = coreline_storage::Log<coreline_storage::io::HostDisk>;
/// A shard's store on the real disk.
pub type ShardStore = coreline_storage::Store<coreline_storage::io::HostDisk>;

/// What the configuration of its topic means for a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionConfig {
    /// What the log obeys.
    pub log: LogConfig,
    /// `min.insync.replicas`.
    pub min_insync_replicas: i32,
    /// `compression.type`: the codec batches are kept in, or `None` for the producer's.
    pub compression: Option<Compression>,
    /// `compression.*.level` of that codec, `None` for its default.
    pub compression_level: Option<i32>,
}

impl PartitionConfig {
    /// What the settings in force for a topic mean for its partitions.
    pub fn of_topic(config: &Config, image: &MetadataImage, topic: &str) -> PartitionConfig {
        let settings = effective::topic_settings(config, image, topic);
        // `producer` names no codec.
        let compression = Compression::from_name(&settings.compression_type);
        PartitionConfig {
            log: LogConfig {
                producer_id_expiration_ms: effective::producer_id_expiration_ms(config, image),
                ..effective::log_config(config, topic, &settings)
            },
            min_insync_replicas: settings.min_insync_replicas,
            compression,
            compression_level: compression.and_then(|codec| settings.compression_level(codec)),
        }
    }
}

/// One partition that this shard leads.
pub struct Partition {
    /// Topic id and number.
    pub id: TopicPartition,
    /// Name of its topic.
    pub topic: Arc<str>,
    /// Its log.
    pub log: PartitionLog,
    /// Everything below is on all in-sync replicas: what consumers may read and acks=all waits for.
    pub high_watermark: Watermark,
    /// Everything below is on this node as its durability class promises (flushed, unless the topic asks for less): what acks=1 waits for.
    pub settled: Watermark,
    broker: BrokerId,
    leader: RefCell<LeaderState>,
    leads: Cell<bool>,
    replicas: Cell<usize>,
    config: RefCell<Rc<PartitionConfig>>,
}

impl Partition {
    /// Takes the lead of an opened log.
    pub fn lead(
        id: TopicPartition,
        topic: Arc<str>,
        broker: BrokerId,
        image: &PartitionImage,
        config: Rc<PartitionConfig>,
        log: PartitionLog,
    ) -> Rc<Partition> {
        let end = log.settled_end_offset();
        log.set_high_watermark(end);
        let partition = Rc::new(Partition {
            id,
            topic,
            high_watermark: Watermark::new(end),
            settled: Watermark::new(end),
            broker,
            leader: RefCell::new(LeaderState::new(image.leader_epoch, &image.isr, end)),
            leads: Cell::new(image.leader == broker),
            replicas: Cell::new(image.replicas.len()),
            config: RefCell::new(config),
            log,
        });
        let weak = Rc::downgrade(&partition);
        partition.log.on_settled(move |end| {
            if let Some(partition) = weak.upgrade() {
                partition.local_end(end);
            }
        });
        partition
    }

    /// Takes over what the metadata says of leader, epoch and ISR.
    fn follow(&self, image: &PartitionImage) {
        let mut state = LeaderState::new(image.leader_epoch, &image.isr, self.high_watermark.get());
        state.replica_end(self.broker, self.settled.get());
        *self.leader.borrow_mut() = state;
        self.leads.set(image.leader == self.broker);
        self.replicas.set(image.replicas.len());
    }

    /// This node's log is up to `end` what its durability class promises.
    fn local_end(&self, end: Offset) {
        self.settled.advance(end);
        let moved = self.leader.borrow_mut().replica_end(self.broker, end);
        if let Some(high_watermark) = moved {
            self.log.set_high_watermark(high_watermark);
            self.high_watermark.advance(high_watermark);
        }
    }

    /// The epoch it leads in.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader.borrow().epoch()
    }

    /// The largest epoch that is not above `epoch` and where it ended; the epoch of now ends at the end of the log, even when nothing was
    /// written in it. `(-1, -1)` for what this log has never seen.
    pub fn epoch_end_offset(&self, epoch: LeaderEpoch) -> (LeaderEpoch, Offset) {
        if epoch == self.leader_epoch() { (epoch, self.log.log_end_offset()) } else { self.log.epoch_end_offset(epoch) }
    }

    /// Replicas that the partition is meant to have, in sync or not.
    pub fn replica_count(&self) -> usize {
        self.replicas.get()
    }

    /// In-sync replicas, this node among them.
    pub fn in_sync_count(&self) -> usize {
        self.leader.borrow().in_sync_count()
    }

    /// Everything below has no open transaction. Without transactions that is the high watermark.
    pub fn last_stable_offset(&self) -> Offset {
        self.high_watermark.get()
    }

    /// The configuration now in force.
    pub fn config(&self) -> Rc<PartitionConfig> {
        self.config.borrow().clone()
    }

    /// Puts a changed configuration in force.
    pub fn set_config(&self, config: Rc<PartitionConfig>) {
        self.log.update_config(config.log.clone());
        *self.config.borrow_mut() = config;
    }

    /// Checks the client's idea of the leader epoch (KIP-320); -1 means that it has none.
    pub fn check_epoch(&self, current_leader_epoch: LeaderEpoch) -> Result<(), ErrorCode> {
        let epoch = self.leader_epoch();
        if !self.leads.get() {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        match current_leader_epoch {
            -1 => Ok(()),
            e if e < epoch => Err(ErrorCode::FencedLeaderEpoch),
            e if e > epoch => Err(ErrorCode::UnknownLeaderEpoch),
            _ => Ok(()),
        }
    }

    /// Ends every wait: the partition is deleted, or its log takes no more writes.
    pub fn close(&self) {
        self.leads.set(false);
        self.high_watermark.close();
        self.settled.close();
    }
}

impl std::fmt::Debug for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Partition")
            .field("id", &self.id)
            .field("topic", &self.topic)
            .field("high_watermark", &self.high_watermark.get())
            .finish_non_exhaustive()
    }
}
