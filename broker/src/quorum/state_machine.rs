//! The quorum's state machine: applies committed batches to the metadata image through `controller/replay`, and makes snapshots of it.
//!
//! Applying cannot fail. The image and the delta since the last publication are shared with the controller's driver on the same shard
//! through [`MetadataState`]. A snapshot is on disk, flushed and renamed into place, before it is reported.

use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use coreline_storage::error::{StorageError, StorageResult};
use coreline_storage::io::Disk;
use coreline_storage::snapshot_file::SnapshotFile;
use coreline_wire::ids::BrokerId;
use futures_util::lock::Mutex;
use futures_util::{Stream, TryStreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot};
use openraft::{EntryPayload, OptionalSend};

use super::snapshot::{CONTENT_BYTES_MAX, CONTENT_VERSION, SnapshotContent};
use super::types::{LogId, MetadataSnapshot, Payload, QuorumTypes, SnapshotMeta, StoredMembership};
use crate::controller::MetadataRecord;
use crate::controller::replay::replay_batch;
use crate::metadata::{ImagePosition, MetadataDelta, MetadataImage};

/// Above this many partitions a snapshot is made on another thread: here it would hold the shard for more than about a millisecond.
const INLINE_PARTITIONS_MAX: usize = 4_000;
/// Records replayed in one turn of the shard, of some 100 ns to 2 us each.
const RECORDS_PER_TURN: usize = 512;

/// The applied image, shared by the state machine and its readers on the metadata shard; clones share it.
#[derive(Clone)]
pub struct MetadataState(Rc<RefCell<Applied>>);

struct Applied {
    image: Arc<MetadataImage>,
    delta: MetadataDelta,
    last: Option<LogId>,
    membership: StoredMembership,
}

impl MetadataState {
    fn new() -> MetadataState {
        MetadataState(Rc::new(RefCell::new(Applied {
            image: Arc::new(MetadataImage::empty()),
            delta: MetadataDelta::default(),
            last: None,
            membership: StoredMembership::default(),
        })))
    }

    /// The image with everything applied.
    pub fn image(&self) -> Arc<MetadataImage> {
        Arc::clone(&self.0.borrow().image)
    }

    /// What was applied since the last call.
    pub fn take_delta(&self) -> MetadataDelta {
        std::mem::take(&mut self.0.borrow_mut().delta)
    }

    /// Id of the last applied entry.
    pub fn last_applied(&self) -> Option<LogId> {
        self.0.borrow().last
    }

    /// Notes which node leads the quorum; it is part of the image and not of the log.
    pub fn set_controller(&self, id: BrokerId) {
        let mut applied = self.0.borrow_mut();
        if applied.image.controller_id != id {
            Arc::make_mut(&mut applied.image).controller_id = id;
            applied.delta.controller_changed = true;
        }
    }

    /// Applies an entry. A large batch is replayed in steps, on a copy that nobody sees before it is whole: the image changes at once, as always.
    async fn apply<D: Disk>(&self, disk: &D, id: LogId, payload: Payload) {
        let replayed = match &payload {
            EntryPayload::Normal(batch) if batch.0.len() > RECORDS_PER_TURN => Some(self.replay_in_turns(disk, &batch.0).await),
            _ => None,
        };
        let mut applied = self.0.borrow_mut();
        let Applied { image, delta, last, membership } = &mut *applied;
        assert!(last.is_none_or(|last| last.index < id.index), "entry {id} is applied after {last:?}");
        if let Some((mut replayed, change)) = replayed {
            // Said meanwhile, and not by the log.
            replayed.controller_id = image.controller_id;
            *image = Arc::new(replayed);
            delta.append(change);
        }
        let image = Arc::make_mut(image);
        match payload {
            EntryPayload::Blank => {}
            EntryPayload::Normal(batch) if batch.0.len() > RECORDS_PER_TURN => {}
            EntryPayload::Normal(batch) => replay_batch(image, delta, &batch.0),
            EntryPayload::Membership(members) => *membership = StoredMembership::new(Some(id), members),
        }
        image.position = ImagePosition { quorum_epoch: *id.leader_id, index: id.index };
        *last = Some(id);
    }

    async fn replay_in_turns<D: Disk>(&self, disk: &D, records: &[MetadataRecord]) -> (MetadataImage, MetadataDelta) {
        let (mut image, mut delta) = (MetadataImage::clone(&self.image()), MetadataDelta::default());
        for some in records.chunks(RECORDS_PER_TURN) {
            replay_batch(&mut image, &mut delta, some);
            disk.sleep(Duration::ZERO).await;
        }
        (image, delta)
    }

    fn install(&self, meta: &SnapshotMeta, mut image: MetadataImage) {
        let mut applied = self.0.borrow_mut();
        image.controller_id = applied.image.controller_id;
        let change = MetadataDelta::between(&applied.image, &image);
        applied.delta.merge(&change);
        applied.image = Arc::new(image);
        applied.last = meta.last_log_id;
        applied.membership = meta.last_membership.clone();
    }

    fn meta(&self) -> SnapshotMeta {
        let applied = self.0.borrow();
        SnapshotMeta { last_log_id: applied.last, last_membership: applied.membership.clone() }
    }
}

/// Applies entries; see the file's header.
pub struct StateMachine<D: Disk> {
    state: MetadataState,
    snapshots: Rc<Snapshots<D>>,
}

/// The newest snapshot, on disk and in memory.
struct Snapshots<D: Disk> {
    disk: D,
    file: Mutex<SnapshotFile>,
    current: RefCell<Option<(SnapshotMeta, Bytes)>>,
}

impl<D: Disk> StateMachine<D> {
    /// Opens the newest snapshot below `dir`, an existing directory, and takes its image.
    ///
    /// # Errors
    /// `Corrupt` when the snapshot is there and cannot be used.
    pub async fn open(disk: D, dir: &Path) -> StorageResult<StateMachine<D>> {
        let (file, found) = SnapshotFile::open(&disk, dir, "metadata", *b"CLQS", CONTENT_VERSION, CONTENT_BYTES_MAX).await?;
        let snapshots = Rc::new(Snapshots { disk, file: Mutex::new(file), current: RefCell::new(None) });
        let machine = StateMachine { state: MetadataState::new(), snapshots };
        if let Some(found) = found {
            let (meta, image) = load(&found.bytes).map_err(|why| StorageError::corrupt(&found.path, None, why))?;
            machine.state.install(&meta, image);
            *machine.snapshots.current.borrow_mut() = Some((meta, Bytes::from_owner(found.bytes)));
        }
        Ok(machine)
    }

    /// The applied image.
    pub fn state(&self) -> MetadataState {
        self.state.clone()
    }

    /// The last entry in the newest snapshot, if there is one.
    pub fn snapshot_last(&self) -> Option<LogId> {
        self.snapshots.current.borrow().as_ref().and_then(|(meta, _)| meta.last_log_id)
    }

    /// Members of the quorum as of the newest snapshot.
    pub fn snapshot_membership(&self) -> Option<StoredMembership> {
        self.snapshots.current.borrow().as_ref().map(|(meta, _)| meta.last_membership.clone())
    }
}

impl<D: Disk> Snapshots<D> {
    async fn write(&self, meta: SnapshotMeta, bytes: Bytes) -> io::Result<()> {
        let mut file = self.file.lock().await;
        file.write(&self.disk, CONTENT_VERSION, &bytes).await.map_err(|error| io::Error::other(error.to_string()))?;
        *self.current.borrow_mut() = Some((meta, bytes));
        Ok(())
    }
}

impl<D: Disk> RaftStateMachine<QuorumTypes> for StateMachine<D> {
    type SnapshotData = Bytes;
    type SnapshotBuilder = SnapshotBuilder<D>;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let applied = self.state.0.borrow();
        Ok((applied.last, applied.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<QuorumTypes>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            self.state.apply(&self.snapshots.disk, entry.log_id, entry.payload).await;
            if let Some(responder) = responder {
                responder.send(());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder<D> {
        SnapshotBuilder { meta: self.state.meta(), image: self.state.image(), snapshots: Rc::clone(&self.snapshots) }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Bytes) -> Result<(), io::Error> {
        let (_, image) = load(&snapshot).map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))?;
        self.snapshots.write(meta.clone(), snapshot).await?;
        self.state.install(meta, image);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<MetadataSnapshot>, io::Error> {
        let current = self.snapshots.current.borrow();
        Ok(current.as_ref().map(|(meta, bytes)| Snapshot { meta: meta.clone(), snapshot: bytes.clone() }))
    }
}

/// Makes a snapshot of the image as it was when the builder was made.
pub struct SnapshotBuilder<D: Disk> {
    meta: SnapshotMeta,
    image: Arc<MetadataImage>,
    snapshots: Rc<Snapshots<D>>,
}

impl<D: Disk> RaftSnapshotBuilder<QuorumTypes> for SnapshotBuilder<D> {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> Result<MetadataSnapshot, io::Error> {
        let (image, meta) = (Arc::clone(&self.image), self.meta.clone());
        let bytes = if image.partition_count() <= INLINE_PARTITIONS_MAX {
            store(&image, &meta)
        } else {
            glommio::executor().spawn_blocking(move || store(&image, &meta)).await
        };
        self.snapshots.write(self.meta.clone(), bytes.clone()).await?;
        tracing::info!(bytes = bytes.len(), last = ?self.meta.last_log_id.map(|id| id.index), "metadata snapshot written");
        Ok(Snapshot { meta: self.meta.clone(), snapshot: bytes })
    }
}

fn store(image: &MetadataImage, meta: &SnapshotMeta) -> Bytes {
    let membership = &meta.last_membership;
    let content =
        SnapshotContent::of(image, meta.last_log_id.map(Into::into), membership.log_id().map(Into::into), membership.membership().into());
    Bytes::from_owner(content.to_bytes())
}

fn load(bytes: &[u8]) -> Result<(SnapshotMeta, MetadataImage), String> {
    let content = SnapshotContent::from_bytes(bytes)?;
    let membership = content.membership.to_membership()?;
    let last_membership = StoredMembership::new(content.membership_id.map(Into::into), membership);
    let meta = SnapshotMeta { last_log_id: content.last.map(Into::into), last_membership };
    Ok((meta, content.to_image()?))
}
