//! The metadata shard's own part of the start: the quorum, the controller on it, this broker's registration, and the store's recovery,
//! which needs to know the partitions.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use coreline_storage::data_dir::{DataDir, JournalId};
use coreline_storage::io::{HostDisk, Poison};
use coreline_storage::{Claims, StorageError};
use coreline_wire::TopicPartition;

use super::start::Boot;
use super::task_queue::{self, Queue, Task};
use crate::config::Config;
use crate::controller::decide::ControllerLimits;
use crate::controller::driver::{Controller, SystemRandom};
use crate::controller::rules::RegisteredConfigs;
use crate::controller::{BrokerRegistration, ControllerRequest};
use crate::error::Fatal;
use crate::metadata::Endpoint;
use crate::quorum::driver::unknown_partition;
use crate::quorum::{QuorumConfig, QuorumError, QuorumHandle};

/// Name of the one listener, as Kafka names it.
const LISTENER: &str = "PLAINTEXT";

/// The running controller.
pub struct Metadata {
    /// The controller; its requests are answered by the task below.
    pub controller: Controller,
    running: Task<()>,
}

impl Metadata {
    /// Ends the controller and the quorum; everything it acknowledged is on the disk.
    pub async fn close(self) {
        self.controller.shutdown().await;
        self.running.cancel().await;
    }
}

/// Opens the quorum, registers this broker, recovers the store of the whole process. `dir` comes with whether it was formatted just
/// now, and with its id.
pub(super) async fn open(
    config: &Arc<Config>,
    disk: &HostDisk,
    (dir, formatted, directory_id): (&DataDir, bool, [u8; 16]),
    shards: u16,
    bound: SocketAddr,
    fail: impl Fn(Fatal) + 'static,
) -> Result<(Boot, Metadata), Fatal> {
    let no_randomness = |error: getrandom::Error| Fatal::new(format!("the system gives no random numbers: {error}"));
    let salt = getrandom::u64().map_err(no_randomness)?;
    let not_started = |error: QuorumError| Fatal::new(format!("the metadata quorum cannot be started: {error}"));
    let partitions = dir.list_partitions(disk).await.map_err(|error| not_started(error.into()))?;
    let unknown = |tp: &TopicPartition| unknown_partition(&dir.partition(*tp));
    let settings = QuorumConfig { founded: partitions.first().map(unknown), ..QuorumConfig::new(config.node_id, salt) };
    let quorum = QuorumHandle::start(disk.clone(), &dir.quorum(), settings).await.map_err(not_started)?;
    let whole_history = quorum.has_whole_history();
    let controller =
        Controller::new(Rc::new(quorum), ControllerLimits::from_config(config), Box::new(RegisteredConfigs), Box::new(SystemRandom));
    let running = {
        let controller = controller.clone();
        task_queue::spawn(Queue::Net, async move {
            if let Err(error) = controller.run().await {
                fail(Fatal::new(format!("the controller has failed: {error}")));
            }
        })
    };
    let mut incarnation = [0; 16];
    getrandom::fill(&mut incarnation).map_err(no_randomness)?;
    let advertised = config.advertised(bound);
    let registration = BrokerRegistration {
        id: config.node_id,
        incarnation,
        endpoints: vec![Endpoint { name: LISTENER.into(), host: advertised.host, port: advertised.port }],
        rack: config.broker_rack.clone(),
    };
    let registered = controller.client().submit(ControllerRequest::RegisterBroker(registration)).await;
    registered.map_err(|error| Fatal::new(format!("this broker cannot be registered in the metadata: {error}")))?;

    let image = controller.image();
    let now_ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    let recovered = match formatted {
        true => coreline_storage::begin_empty(disk, dir).await,
        false => coreline_storage::recover(disk, dir, &|id| image.contains(id), now_ms).await,
    };
    let report = recovered.map_err(|error| Fatal::new(format!("the data directory cannot be recovered: {error}")))?;
    for note in &report.notes {
        tracing::warn!("recovery: {note}");
    }
    // Before a journal is opened under a new generation: what it has of such a partition is still there when the metadata are.
    if let Some(partition) = report.forgotten.iter().find(|tp| whole_history && !image.was_removed(tp.topic)) {
        return Err(not_started(StorageError::corrupt(&dir.quorum(), None, unknown(partition)).into()));
    }
    tracing::info!(
        partitions = report.partitions,
        entries = report.entries_redone,
        bytes = report.bytes_redone,
        "recovered from the journals"
    );
    let (removed, strange): (Vec<_>, Vec<_>) = report.unknown.iter().copied().partition(|id| image.was_removed(id.topic));
    if !removed.is_empty() {
        tracing::info!(partitions = removed.len(), "going on with the removal of deleted partitions");
    }
    for partition in &strange {
        // Never removed unless the metadata log says so: the metadata might be the wrong ones.
        tracing::warn!(%partition, path = %dir.partition(*partition).display(), "files of a partition that the metadata does not know are left alone: if its topic was deleted, remove the directory");
    }
    let mut journals = report.journals;
    while journals.len() < usize::from(shards) {
        journals.push(JournalId(getrandom::u64().map_err(no_randomness)?));
    }
    Ok((
        Boot {
            image,
            journals,
            segments: Arc::new(report.segments),
            removed,
            directory_id,
            poison: Poison::new(),
            claims: Claims::default(),
        },
        Metadata { controller, running },
    ))
}
