//! A shard: all that one core owns. Its id, its end of the mesh, its clock; partitions, metrics and coordinators hang on it.
//!
//! Always held as `Rc<Shard>` on the shard's own thread; another shard is reached by a message, never by a pointer.

pub mod blocking;
pub mod cleaner;
pub mod clock;
pub mod credits;
pub mod deadlines;
pub mod group;
pub mod lifecycle;
pub mod maintenance;
pub mod mesh;
pub mod metadata;
pub mod offsets_log;
pub mod pace;
pub mod parked;
pub mod placement;
pub mod planted_delay;
pub mod remote;
pub mod request;
pub mod rescue;
pub mod route;
pub mod stall;
pub mod start;
pub mod task_queue;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use coreline_storage::StorageError;
use coreline_wire::ids::BrokerId;

use lifecycle::Lifecycle;
pub use request::{Mesh, ShardReply, ShardRequest};
use rescue::Pulse;

use crate::config::{Config, effective};
use crate::controller::ControllerClient;
use crate::coordinator::GroupClient;
use crate::coordinator::cluster::ClusterChange;
use crate::fetch_session::SessionCache;
use crate::handler::init_producer_id::ProducerIdBlock;
use crate::metadata::{ConfigResource, ConfigResourceKind, MetadataImage, Publication};
use crate::metrics::{Counter, Gauge, ShardMetrics, ShardSnapshot};
use crate::net::accept::Net;
use crate::partition::PartitionManager;
use crate::purgatory::Watermark;
use crate::quota::ShardQuotas;
use crate::telemetry::TelemetryStore;

/// Number of a shard within this process, from 0. Never written to disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ShardId(pub u16);

impl ShardId {
    /// The shard that runs the metadata quorum and the coordinators.
    pub const METADATA: ShardId = ShardId(0);

    /// As an index.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// All that one core owns.
pub struct Shard {
    /// Which one this is.
    pub id: ShardId,
    /// How many there are.
    pub count: u16,
    /// Its end of the mesh.
    pub mesh: Mesh,
    /// Its turns and its outstanding work, watched by the rescue thread.
    pub pulse: Arc<Pulse>,
    /// The configuration of this process.
    pub config: Arc<Config>,
    /// What the cluster looks like; replaced as a whole by each publication.
    pub image: RefCell<Arc<MetadataImage>>,
    /// The partitions that live here.
    pub partitions: PartitionManager,
    /// How to ask the controller.
    pub controller: ControllerClient,
    /// How to ask the group coordinator.
    pub groups: GroupClient,
    /// The group coordinator itself, on the metadata shard.
    pub coordinator: Option<group::ShardGroupDriver>,
    /// What clients may use.
    pub quotas: Rc<ShardQuotas>,
    /// Metrics that clients push.
    pub telemetry: Arc<TelemetryStore>,
    /// Changes of the subscriptions to them that this shard has seen; all shards see the same.
    telemetry_version: Cell<u64>,
    /// Fetch sessions of connections accepted here.
    pub sessions: RefCell<SessionCache>,
    /// Producer ids that may still be handed out here.
    pub producer_ids: RefCell<ProducerIdBlock>,
    /// What is counted here.
    pub metrics: Rc<ShardMetrics>,
    /// The phase of the process.
    pub lifecycle: Arc<Lifecycle>,
    /// Connections accepted here.
    pub net: Rc<Net>,
    /// Random id of the data directory.
    pub directory_id: [u8; 16],
    /// 0, and 1 once the broker drains: long polls wait for it too.
    pub stopping: Watermark,
}

impl Shard {
    /// The cluster as this shard knows it now.
    pub fn image(&self) -> Arc<MetadataImage> {
        self.image.borrow().clone()
    }

    /// Takes in a publication: first its partitions follow, then requests see the new image.
    pub async fn publish(&self, publication: &Publication) -> Result<(), StorageError> {
        self.partitions.apply(&publication.image, &publication.delta).await?;
        if publication.delta.client_quotas_changed {
            self.quotas.set(publication.image.client_quotas());
        }
        if publication.delta.configs_changed.iter().any(|resource| resource.kind == ConfigResourceKind::ClientMetrics) {
            self.telemetry_version.set(self.telemetry_version.get() + 1);
        }
        let brokers = |resource: &ConfigResource| resource.kind == ConfigResourceKind::Broker;
        if self.id == ShardId::METADATA && publication.delta.configs_changed.iter().any(brokers) {
            self.net.set_limits(&effective::broker_settings(&self.config, &publication.image));
        }
        *self.image.borrow_mut() = publication.image.clone();
        if let Some(groups) = &self.coordinator {
            groups.topics_deleted(publication.delta.topics_deleted.values().map(|topic| (topic.name.to_string(), topic.id)));
        }
        if let Some(coordinator) = &self.coordinator
            && let Some(change) = ClusterChange::of(publication)
        {
            coordinator.publish(change);
        }
        Ok(())
    }

    /// Ends the long polls of this shard: the broker is stopping.
    pub fn stop_parked(&self) {
        self.stopping.advance(1);
    }

    /// Rises with each change of the subscriptions to clients' metrics.
    pub fn telemetry_version(&self) -> u64 {
        self.telemetry_version.get()
    }

    /// Number of this node.
    pub fn node_id(&self) -> BrokerId {
        self.config.node_id
    }

    /// A number that clients cannot guess.
    pub fn random_i32(&self) -> i32 {
        getrandom::u32().map_or(1, |r| r as i32)
    }

    /// All that is counted here, brought up to date.
    pub fn snapshot(&self) -> ShardSnapshot {
        self.net.observe();
        let metrics = &self.metrics;
        task_queue::stalls().observe();
        metrics.total(Counter::Rescues, self.pulse.rescues());
        metrics.observe_store(&self.partitions.store().stats());
        metrics.set(Gauge::FencedPartitions, self.partitions.fenced_count() as i64);
        metrics.set(Gauge::FetchSessions, self.sessions.borrow().len() as i64);
        if self.id == ShardId::METADATA {
            self.quotas.observe();
        }
        if let Some(groups) = &self.coordinator {
            metrics.set(Gauge::Groups, groups.inspect(|machine| machine.group_count()) as i64);
        }
        metrics.snapshot()
    }

    /// Wall clock, milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
    }
}
