//! Starts the quorum, submits records to it, and stops it.
//!
//! A start on an empty directory founds a quorum of one; any later start finds its log and is leader again at once: the vote on disk
//! says that it leads, and with a single voter every flushed entry is a committed one. No timer runs while there is a single voter.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use coreline_storage::error::StorageError;
use coreline_storage::io::Disk;
use coreline_wire::ids::BrokerId;
use futures_util::future::LocalBoxFuture;
use openraft::errors::{ClientWriteError, Fatal, RaftError};
use openraft::impls::BasicNode;
use openraft::{Raft, ServerState, SnapshotPolicy};

use super::log_file::LogFileConfig;
use super::mark::{Mark, shorter_than_mark};
use super::network::NoPeers;
use super::state_machine::{MetadataState, StateMachine};
use super::store::{LogReader, LogStore};
use super::types::{LogId, QuorumTypes, RecordBatch};
use crate::controller::MetadataRecord;
use crate::metadata::{MetadataDelta, MetadataImage};

/// How long a quorum of one may take to lead; it takes a few flushes.
const LEAD_WITHIN: Duration = Duration::from_secs(30);

/// Settings of the quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumConfig {
    /// This node.
    pub node_id: BrokerId,
    /// Where other voters would reach it; kept in the membership.
    pub address: String,
    /// A snapshot is made after this many log entries.
    pub snapshot_entries: u64,
    /// A snapshot is made after this many bytes of log.
    pub snapshot_bytes: u64,
    /// Sizes of the log's files.
    pub log: LogFileConfig,
    /// What shows that a quorum was founded here before, as a sentence, where something does: then none is founded in its place.
    pub founded: Option<String>,
    /// Any number that differs from start to start, e.g. random bytes.
    pub salt: u64,
}

impl QuorumConfig {
    /// The defaults for a node.
    pub fn new(node_id: BrokerId, salt: u64) -> QuorumConfig {
        QuorumConfig {
            node_id,
            address: String::new(),
            snapshot_entries: 1_000,
            snapshot_bytes: 16 * 1024 * 1024,
            log: LogFileConfig::default(),
            founded: None,
            salt,
        }
    }
}

/// Why the quorum did not start or take records.
#[derive(Debug, thiserror::Error)]
pub enum QuorumError {
    /// The log or the snapshot cannot be used, or a write failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The quorum has failed and takes nothing any more; the process must end.
    #[error("the metadata quorum has failed: {0}")]
    Failed(String),
    /// Another node leads, or none.
    #[error("this node does not lead the metadata quorum")]
    NotLeader,
    /// The quorum was shut down.
    #[error("the metadata quorum is stopped")]
    Stopped,
}

/// A log of metadata records with the image of what was applied. The controller's driver sees the quorum as this.
pub trait MetadataLog {
    /// Resolves when the records are committed and applied, as one.
    fn submit(&self, records: Vec<MetadataRecord>) -> LocalBoxFuture<'_, Result<(), QuorumError>>;
    /// The image with everything applied.
    fn image(&self) -> Arc<MetadataImage>;
    /// What was applied since the last call.
    fn take_delta(&self) -> MetadataDelta;
    /// Ends the log; every submission afterwards fails.
    fn shutdown(&self) -> LocalBoxFuture<'_, ()>;
}

/// The running quorum. Clones share it.
pub struct QuorumHandle<D: Disk> {
    raft: Raft<QuorumTypes, StateMachine<D>>,
    state: MetadataState,
    log: LogReader,
    bytes_written: Rc<Cell<u64>>,
    bytes_at_snapshot: Rc<Cell<u64>>,
    snapshot_bytes: u64,
    mark: Mark<D>,
}

impl<D: Disk> Clone for QuorumHandle<D> {
    fn clone(&self) -> Self {
        QuorumHandle {
            raft: self.raft.clone(),
            state: self.state.clone(),
            log: self.log.clone(),
            bytes_written: Rc::clone(&self.bytes_written),
            bytes_at_snapshot: Rc::clone(&self.bytes_at_snapshot),
            snapshot_bytes: self.snapshot_bytes,
            mark: self.mark.clone(),
        }
    }
}

impl<D: Disk> QuorumHandle<D> {
    /// Starts the quorum whose files are below `dir` (the data directory's `quorum/`), founding it when there are none. When it
    /// returns, this node leads and the image holds everything that was ever acknowledged.
    ///
    /// # Errors
    /// `Storage` with a sentence that names file and position, for damage, another node's files, a newer format, a failing disk.
    pub async fn start(disk: D, dir: &Path, config: QuorumConfig) -> Result<QuorumHandle<D>, QuorumError> {
        let node = u64::try_from(config.node_id).map_err(|_| QuorumError::Failed(format!("node id {} is negative", config.node_id)))?;
        let mut store = LogStore::open(disk.clone(), dir, node, config.salt, config.log).await?;
        let machine = StateMachine::open(disk.clone(), dir).await?;
        let (log, state) = (store.reader(), machine.state());
        check_together(dir, &log, &machine)?;
        store.set_sole_voter(is_sole_voter(&log, &machine, node));
        let bytes_written = store.bytes_written();

        let fresh = log.with(|content| content.vote.is_none() && content.last().is_none());
        if let Some(why) = config.founded.as_ref().filter(|_| fresh) {
            return Err(StorageError::corrupt(dir, None, why.clone()).into());
        }
        let (mark, durable) = Mark::open(disk, dir).await?;
        if log.last().map_or(0, |last| last.index) < durable {
            return Err(StorageError::corrupt(dir, None, shorter_than_mark(log.last(), durable)).into());
        }
        let settings = library_config(&config)?;
        let raft = Raft::new(node, Arc::new(settings), NoPeers, store, machine).await.map_err(fatal)?;
        if fresh {
            let members = BTreeMap::from([(node, BasicNode::new(&config.address))]);
            raft.initialize(members).await.map_err(|error| QuorumError::Failed(error.to_string()))?;
        }
        let handle = QuorumHandle {
            raft,
            state,
            log,
            bytes_written,
            bytes_at_snapshot: Rc::new(Cell::new(0)),
            snapshot_bytes: config.snapshot_bytes,
            mark,
        };
        handle.lead(fresh).await?;
        handle.mark.reached(handle.state.last_applied());
        handle.state.set_controller(config.node_id);
        Ok(handle)
    }

    async fn lead(&self, fresh: bool) -> Result<(), QuorumError> {
        if !fresh && !self.raft.is_leader() {
            // A crash between the vote and its acceptance: stand again, since no timer will.
            self.raft.trigger().elect(false).await.map_err(fatal)?;
        }
        let failed = |error: openraft::metrics::WaitError| QuorumError::Failed(error.to_string());
        let wait = || self.raft.wait(Some(LEAD_WITHIN));
        wait().state(ServerState::Leader, "a quorum of one leads").await.map_err(failed)?;
        let last = self.log.last().map(|last| last.index);
        wait().applied_index_at_least(last, "everything in the log is applied").await.map_err(failed)?;
        Ok(())
    }

    /// The applied image and what it shares with its readers.
    pub fn state(&self) -> MetadataState {
        self.state.clone()
    }

    /// A reader of the log.
    pub fn log(&self) -> LogReader {
        self.log.clone()
    }

    /// The log goes back to its first entry: what the image does not know, and was not removed, has never been.
    pub fn has_whole_history(&self) -> bool {
        self.log.with(|content| content.purged.is_none())
    }

    /// Makes a snapshot now and removes the log that it covers; resolves when it is asked for, not when it is done.
    pub async fn snapshot(&self) -> Result<(), QuorumError> {
        self.bytes_at_snapshot.set(self.bytes_written.get());
        self.raft.trigger().snapshot().await.map_err(fatal)
    }

    /// Has a snapshot made of everything that is applied, and waits for it. It is asked for again, since none is made while another is.
    #[cfg(test)]
    pub async fn snapshot_of_all(&self) -> Result<(), QuorumError> {
        const TRY: Duration = Duration::from_millis(100);
        let index = self.state.last_applied().map_or(0, |last| last.index);
        let mut made = Ok(());
        for _ in 0..LEAD_WITHIN.as_millis() / TRY.as_millis() {
            self.snapshot().await?;
            made = self.wait_for_snapshot(index, TRY).await;
            if made.is_ok() {
                break;
            }
        }
        made
    }

    /// Waits until a snapshot holds everything up to an index.
    #[cfg(test)]
    pub async fn wait_for_snapshot(&self, index: u64, within: Duration) -> Result<(), QuorumError> {
        let done = move |metrics: &openraft::RaftMetrics<QuorumTypes>| {
            metrics.snapshot.is_some_and(|last| last.index >= index) && metrics.purged.is_some_and(|last| last.index >= index)
        };
        let waited = self.raft.wait(Some(within)).metrics(done, "the snapshot is written").await;
        waited.map(|_| ()).map_err(|error| QuorumError::Failed(error.to_string()))
    }

    async fn write(&self, records: Vec<MetadataRecord>) -> Result<(), QuorumError> {
        let batch = RecordBatch(records.into());
        match self.raft.client_write(batch).await {
            Ok(_) => {}
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => return Err(QuorumError::NotLeader),
            Err(RaftError::APIError(error)) => return Err(QuorumError::Failed(error.to_string())),
            Err(RaftError::Fatal(error)) => return Err(fatal(error)),
        }
        self.mark.reached(self.state.last_applied());
        if self.bytes_written.get() - self.bytes_at_snapshot.get() > self.snapshot_bytes {
            self.snapshot().await?;
        }
        Ok(())
    }
}

impl<D: Disk> MetadataLog for QuorumHandle<D> {
    fn submit(&self, records: Vec<MetadataRecord>) -> LocalBoxFuture<'_, Result<(), QuorumError>> {
        Box::pin(self.write(records))
    }

    fn image(&self) -> Arc<MetadataImage> {
        self.state.image()
    }

    fn take_delta(&self) -> MetadataDelta {
        self.state.take_delta()
    }

    fn shutdown(&self) -> LocalBoxFuture<'_, ()> {
        Box::pin(async {
            if let Err(error) = self.raft.shutdown().await {
                tracing::error!(%error, "the metadata quorum did not stop cleanly");
            }
            self.mark.write().await;
        })
    }
}

/// What is wrong when a metadata log that goes back to its first entry does not know the partition in `path`.
pub fn unknown_partition(path: &Path) -> String {
    format!(
        "the metadata log has never known the partition in {}: the log, or its end, was lost. Restore quorum/ from a copy, or move the directories of such partitions away",
        path.display()
    )
}

fn library_config(config: &QuorumConfig) -> Result<openraft::Config, QuorumError> {
    let settings = openraft::Config {
        cluster_name: "coreline".to_owned(),
        // With a single voter there is nobody to hear from: no heartbeats, no election timer, no wake-ups when idle.
        enable_tick: false,
        enable_heartbeat: false,
        enable_elect: false,
        heartbeat_interval: 500,
        election_timeout_min: 1_500,
        election_timeout_max: 3_000,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(config.snapshot_entries),
        max_in_snapshot_log_to_keep: 0,
        purge_batch_size: 1,
        api_channel_size: Some(256),
        notification_channel_size: Some(256),
        state_machine_channel_size: Some(64),
        ..openraft::Config::default()
    };
    settings.validate().map_err(|error| QuorumError::Failed(error.to_string()))
}

/// True when the newest membership, in the log or in the snapshot, names this node as the only voter.
fn is_sole_voter<D: Disk>(log: &LogReader, machine: &StateMachine<D>, node: u64) -> bool {
    let in_log = log.with(|content| content.membership().map(|members| members.voter_ids().collect::<Vec<_>>()));
    let voters = in_log.or_else(|| machine.snapshot_membership().map(|members| members.voter_ids().collect()));
    voters.is_some_and(|voters| voters == [node])
}

/// Refuses a snapshot and a log that cannot be of one history.
fn check_together<D: Disk>(dir: &Path, log: &LogReader, machine: &StateMachine<D>) -> Result<(), QuorumError> {
    let snapshot = machine.snapshot_last();
    let refuse = |why: String| Err(QuorumError::Storage(StorageError::corrupt(dir, None, why)));
    log.with(|content| {
        if content.purged > snapshot {
            let (purged, held) = (content.purged.map(|id| id.index), snapshot.map(|id| id.index));
            return refuse(format!(
                "the metadata log begins after entry {purged:?}, the newest snapshot that can be read ends at {held:?}"
            ));
        }
        if snapshot.is_some() && content.vote.is_none() {
            return refuse("there is a metadata snapshot and no metadata log: the log files were lost".to_owned());
        }
        // A snapshot is made of entries that the log has, and with one voter it comes from nowhere else.
        if content.last() < snapshot {
            return refuse(shorter_than_snapshot(content.last(), snapshot));
        }
        Ok(())
    })
}

/// What is wrong when the log ends before the newest snapshot does.
pub fn shorter_than_snapshot(last: Option<LogId>, snapshot: Option<LogId>) -> String {
    format!(
        "the metadata log ends at entry {:?}, the newest snapshot at {:?}: the end of the log was lost, and what came after the snapshot with it. Restore quorum/ from a copy",
        last.map(|id| id.index),
        snapshot.map(|id| id.index)
    )
}

fn fatal(error: Fatal<QuorumTypes>) -> QuorumError {
    match error {
        Fatal::Stopped => QuorumError::Stopped,
        other => QuorumError::Failed(other.to_string()),
    }
}
