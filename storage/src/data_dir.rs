//! The data directory: its layout, its identity, its lock, its list of journals and the clean-shutdown mark.
//!
//! ```text
//! meta.a, meta.b            format version, cluster id, node id, directory id     (snapshot file)
//! lock                      flock'ed while a process runs, holds its pid
//! clean-shutdown.a, .b      there only between a clean stop and the next start    (snapshot file)
//! journal/<16 hex>/         one shard journal each, named by a random id
//! checkpoint/               tables of recovery points, one per journal
//! topics/<topic>-<partition>/  one partition each; topic id as 22 characters of url-safe base64
//! quorum/                   log and vote of the metadata quorum
//! .flush                    an empty file, flushed to empty the device's write cache
//! ```
//! No shard number appears in any path: the number of shards may change at any start. Order of a start: `lock` (before any executor), `open_or_format`,
//! `take_clean_shutdown` (before any log is loaded), recovery, `journals`.

use std::fmt;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use coreline_wire::ids::{TopicId, TopicPartition};
use nix::fcntl::{Flock, FlockArg};

use crate::error::{StorageError, StorageResult};
use crate::io::{Disk, IoError, IoOp, regular};
use crate::limits::SMALL_FILE_BYTES_MAX;
use crate::snapshot_file::{SnapshotFile, SnapshotKind};

/// Version of the data directory's format; a directory of a newer one is refused.
pub const FORMAT_VERSION: u32 = 1;

const META_KIND: SnapshotKind = *b"META";
const CLEAN_KIND: SnapshotKind = *b"CLSD";
const CLEAN_VERSION: u32 = 1;
/// Characters of a topic id in a directory name.
const TOPIC_ID_CHARS: usize = 22;
/// Longest cluster id in bytes.
const CLUSTER_ID_BYTES_MAX: usize = 256;

/// Random name of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JournalId(pub u64);

impl fmt::Display for JournalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl JournalId {
    /// The id that a directory name stands for; `None` for any other name.
    pub fn parse(name: &str) -> Option<JournalId> {
        let canonical = name.len() == 16 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        canonical.then(|| u64::from_str_radix(name, 16).ok().map(JournalId))?
    }
}

/// Whose data directory it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Id of the cluster.
    pub cluster_id: String,
    /// Id of the node.
    pub node_id: i32,
    /// Random id of this directory: a replaced disk is recognised by a new one.
    pub directory_id: [u8; 16],
}

/// What a clean stop leaves behind: everything was flushed, nothing needs recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanShutdown {
    /// The broker epoch the process had.
    pub broker_epoch: i64,
}

/// Paths of a data directory. Cheap to clone; knows nothing of what is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataDir {
    root: PathBuf,
}

/// Holds the data directory for this process; another process gets `InUse` until it is dropped.
#[derive(Debug)]
pub struct DataDirLock {
    _file: Flock<File>,
}

impl DataDir {
    /// The data directory at `root`.
    pub fn new(root: impl Into<PathBuf>) -> DataDir {
        DataDir { root: root.into() }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Directory of all journals.
    pub fn journals(&self) -> PathBuf {
        self.root.join("journal")
    }

    /// Directory of one journal.
    pub fn journal(&self, id: JournalId) -> PathBuf {
        self.journals().join(id.to_string())
    }

    /// Directory of all partitions.
    pub fn topics(&self) -> PathBuf {
        self.root.join("topics")
    }

    /// Directory of one partition.
    pub fn partition(&self, tp: TopicPartition) -> PathBuf {
        self.topics().join(tp.to_string())
    }

    /// Directory of the metadata quorum.
    pub fn quorum(&self) -> PathBuf {
        self.root.join("quorum")
    }

    /// Directory of the checkpoint tables.
    pub fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoint")
    }

    /// The partition that a directory name below `topics` stands for; `None` for any other name.
    pub fn parse_partition(name: &str) -> Option<TopicPartition> {
        let (id, number) = (name.get(..TOPIC_ID_CHARS)?, name.get(TOPIC_ID_CHARS..)?.strip_prefix('-')?);
        let tp = TopicPartition { topic: parse_topic_id(id)?, partition: number.parse().ok().filter(|n| *n >= 0)? };
        // Only the one way to write it counts: no leading zeros, no stray bits.
        (tp.to_string() == name).then_some(tp)
    }

    /// Takes the directory for this process, creating it when missing. Blocking: call it before the executors start, and keep the lock until the end.
    pub fn lock(&self) -> StorageResult<DataDirLock> {
        let io = |op: IoOp, path: &Path, e: std::io::Error| StorageError::Io(IoError::new(op, path, None, e));
        std::fs::create_dir_all(&self.root).map_err(|e| io(IoOp::CreateDir, &self.root, e))?;
        let path = self.root.join("lock");
        let file = regular::open(File::options().read(true).write(true).create(true).truncate(false), &path);
        let file = file.map_err(|e| io(IoOp::Open, &path, e))?;
        let mut locked = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => locked,
            Err((mut file, nix::errno::Errno::EWOULDBLOCK)) => {
                let mut text = String::new();
                let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(StorageError::InUse { path: self.root.clone(), pid });
            }
            Err((_, errno)) => return Err(io(IoOp::Open, &path, errno.into())),
        };
        // The pid is only for the other process's message: no harm if it cannot be written.
        if locked.set_len(0).and_then(|()| locked.write_all(format!("{}\n", std::process::id()).as_bytes())).is_err() {
            tracing::warn!(path = %path.display(), "the lock file cannot be written; the lock holds all the same");
        }
        Ok(DataDirLock { _file: locked })
    }

    /// Takes a directory that must exist for a tool that only reads it; nothing is written. `InUse` while a broker runs.
    pub fn lock_existing(&self) -> StorageResult<Option<DataDirLock>> {
        let io = |op: IoOp, path: &Path, e: std::io::Error| StorageError::Io(IoError::new(op, path, None, e));
        std::fs::read_dir(&self.root).map_err(|e| io(IoOp::List, &self.root, e))?;
        let path = self.root.join("lock");
        let file = match regular::open(File::options().read(true), &path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|e| io(IoOp::Open, &path, e))?,
        };
        match Flock::lock(file, FlockArg::LockSharedNonblock) {
            Ok(locked) => Ok(Some(DataDirLock { _file: locked })),
            Err((mut file, nix::errno::Errno::EWOULDBLOCK)) => {
                let mut text = String::new();
                let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                Err(StorageError::InUse { path: self.root.clone(), pid })
            }
            Err((_, errno)) => Err(io(IoOp::Open, &path, errno.into())),
        }
    }

    /// Reads whose directory this is; `None` when it was never formatted.
    pub async fn read_meta<D: Disk>(&self, disk: &D) -> StorageResult<Option<Meta>> {
        let (_, found) = self.meta_file(disk).await?;
        let decode = |snapshot: crate::snapshot_file::Snapshot| {
            Meta::decode(&snapshot.bytes).ok_or_else(|| StorageError::corrupt(&snapshot.path, None, "the identity cannot be decoded"))
        };
        found.map(decode).transpose()
    }

    /// Opens the directory for `wanted`, or formats an empty one for it. Returns what the directory says: its `directory_id` may differ from the
    /// wanted one, which serves only for formatting. `WrongIdentity` when it belongs to another node or cluster; `NewerFormat`; `Corrupt` when there is data
    /// but no identity.
    pub async fn open_or_format<D: Disk>(&self, disk: &D, wanted: &Meta) -> StorageResult<Meta> {
        if let Some(meta) = self.read_meta(disk).await? {
            let show = |m: &Meta| format!("node {} of cluster {}", m.node_id, m.cluster_id);
            if (meta.node_id, &meta.cluster_id) != (wanted.node_id, &wanted.cluster_id) {
                return Err(StorageError::WrongIdentity { path: self.root.clone(), found: show(&meta), expected: show(wanted) });
            }
            self.create_dirs(disk).await?;
            return Ok(meta);
        }
        for entry in disk.list_dir(&self.root).await? {
            if entry.is_dir && matches!(entry.name.as_str(), "journal" | "topics" | "quorum" | "checkpoint") {
                let dir = self.root.join(&entry.name);
                if !disk.list_dir(&dir).await?.is_empty() {
                    return Err(StorageError::corrupt(
                        &self.root,
                        None,
                        format!("there is data in {} but no identity (meta)", dir.display()),
                    ));
                }
            }
        }
        self.create_dirs(disk).await?;
        let (mut file, _) = self.meta_file(disk).await?;
        file.write(disk, FORMAT_VERSION, &wanted.encode()?).await?;
        tracing::info!(path = %self.root.display(), node = wanted.node_id, cluster = wanted.cluster_id, "data directory formatted");
        Ok(wanted.clone())
    }

    async fn meta_file<D: Disk>(&self, disk: &D) -> StorageResult<(SnapshotFile, Option<crate::snapshot_file::Snapshot>)> {
        SnapshotFile::open(disk, &self.root, "meta", META_KIND, FORMAT_VERSION, SMALL_FILE_BYTES_MAX).await
    }

    /// Creates the directories below the root; durable when it returns.
    pub async fn create_dirs<D: Disk>(&self, disk: &D) -> StorageResult<()> {
        for dir in [self.journals(), self.topics(), self.quorum(), self.checkpoints()] {
            disk.create_dir(&dir).await?;
        }
        disk.sync_dir(&self.root).await?;
        Ok(())
    }

    /// Ids of the journals that are there, in order.
    pub async fn list_journals<D: Disk>(&self, disk: &D) -> StorageResult<Vec<JournalId>> {
        let entries = disk.list_dir(&self.journals()).await?;
        Ok(entries.iter().filter(|e| e.is_dir).filter_map(|e| JournalId::parse(&e.name)).collect())
    }

    /// `count` journals to open, one per shard: those that are there first, then new ones named by `random`.
    pub async fn journals_for<D: Disk>(&self, disk: &D, count: usize, random: &mut dyn FnMut() -> u64) -> StorageResult<Vec<JournalId>> {
        let mut ids = self.list_journals(disk).await?;
        ids.truncate(count);
        while ids.len() < count {
            let id = JournalId(random());
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        Ok(ids)
    }

    /// Partitions that have a directory, in order of their names.
    pub async fn list_partitions<D: Disk>(&self, disk: &D) -> StorageResult<Vec<TopicPartition>> {
        let entries = disk.list_dir(&self.topics()).await?;
        Ok(entries.iter().filter(|e| e.is_dir).filter_map(|e| DataDir::parse_partition(&e.name)).collect())
    }

    /// Leaves the mark of a clean stop; the very last write of a process. Durable when it returns.
    pub async fn write_clean_shutdown<D: Disk>(&self, disk: &D, mark: CleanShutdown) -> StorageResult<()> {
        let (mut file, _) = self.clean_file(disk).await?;
        file.write(disk, CLEAN_VERSION, &mark.broker_epoch.to_le_bytes()).await
    }

    /// Takes the mark of a clean stop away and returns it; `None` when the last process did not stop cleanly. The removal is durable when it returns: call it before
    /// any log is loaded, so that a crash from here on counts as one. A mark that cannot be read counts as none.
    pub async fn take_clean_shutdown<D: Disk>(&self, disk: &D) -> StorageResult<Option<CleanShutdown>> {
        let mark = match self.clean_file(disk).await {
            Ok((_, mark)) => mark,
            Err(StorageError::Corrupt { path, why, .. }) => {
                tracing::warn!(path = %path.display(), why, "the mark of a clean stop cannot be read: this counts as an unclean stop");
                None
            }
            Err(other) => return Err(other),
        };
        for name in ["clean-shutdown.a", "clean-shutdown.b", "clean-shutdown.new"] {
            disk.remove_file(&self.root.join(name)).await?;
        }
        disk.sync_dir(&self.root).await?;
        let epoch = mark.and_then(|m| m.bytes.as_slice().try_into().ok().map(i64::from_le_bytes));
        Ok(epoch.map(|broker_epoch| CleanShutdown { broker_epoch }))
    }

    async fn clean_file<D: Disk>(&self, disk: &D) -> StorageResult<(SnapshotFile, Option<crate::snapshot_file::Snapshot>)> {
        SnapshotFile::open(disk, &self.root, "clean-shutdown", CLEAN_KIND, CLEAN_VERSION, SMALL_FILE_BYTES_MAX).await
    }
}

impl Meta {
    fn encode(&self) -> StorageResult<Vec<u8>> {
        let len = self.cluster_id.len();
        if len > CLUSTER_ID_BYTES_MAX {
            return Err(StorageError::InvalidConfig { name: "cluster id length", value: len as u64, why: "must be at most 256 bytes" });
        }
        let mut out = Vec::with_capacity(24 + len);
        out.extend_from_slice(&self.directory_id);
        out.extend_from_slice(&self.node_id.to_le_bytes());
        out.extend_from_slice(&(len as u32).to_le_bytes());
        out.extend_from_slice(self.cluster_id.as_bytes());
        Ok(out)
    }

    fn decode(bytes: &[u8]) -> Option<Meta> {
        let (head, cluster_id) = bytes.split_first_chunk::<24>()?;
        let len = u32::from_le_bytes(head[20..24].try_into().ok()?) as usize;
        if len != cluster_id.len() || len > CLUSTER_ID_BYTES_MAX {
            return None;
        }
        Some(Meta {
            cluster_id: String::from_utf8(cluster_id.to_vec()).ok()?,
            node_id: i32::from_le_bytes(head[16..20].try_into().ok()?),
            directory_id: head[0..16].try_into().ok()?,
        })
    }
}

/// Url-safe base64 without padding, 22 characters, back to a topic id.
fn parse_topic_id(text: &str) -> Option<TopicId> {
    let mut bits: u128 = 0;
    for (i, byte) in text.bytes().enumerate() {
        let group = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        // 21 groups of six bits, then two bits and four zeros.
        bits = if i < TOPIC_ID_CHARS - 1 { bits << 6 | u128::from(group) } else { bits << 2 | u128::from(group >> 4) };
    }
    (text.len() == TOPIC_ID_CHARS).then(|| TopicId(bits.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::SimDisk;
    use crate::io::sim::{CrashMode, Rng};
    use futures_lite::future::block_on;

    fn meta() -> Meta {
        Meta { cluster_id: "coreline-1".into(), node_id: 7, directory_id: [3; 16] }
    }

    fn disk() -> (SimDisk, DataDir) {
        let disk = SimDisk::new(1);
        disk.mkdir("/d");
        (disk, DataDir::new("/d"))
    }

    #[test]
    fn directory_names_come_back_as_partitions() {
        let mut rng = Rng::new(5);
        for n in 0..500 {
            let bytes: Vec<u8> = (0..16).map(|_| rng.next_u64() as u8).collect();
            let topic = TopicId(bytes.try_into().unwrap());
            let tp = TopicPartition { topic, partition: n * n * 17 };
            assert_eq!(DataDir::parse_partition(&tp.to_string()), Some(tp), "{tp}");
        }
        let good = TopicPartition::default().to_string();
        for bad in [
            "",
            "x",
            &good[..22],
            &good[1..],
            &format!("{good}x"),
            "AAAAAAAAAAAAAAAAAAAAAA-01",
            "AAAAAAAAAAAAAAAAAAAAAB-0",
            "AAAAAAAAAAAAAAAAAAAAAA--1",
        ] {
            assert_eq!(DataDir::parse_partition(bad), None, "{bad}");
        }
        assert_eq!(JournalId::parse(&JournalId(0xab).to_string()), Some(JournalId(0xab)));
        assert_eq!((JournalId::parse("00000000000000AB"), JournalId::parse("+0000000000000ab")), (None, None));
    }

    #[test]
    fn a_directory_is_formatted_once_and_keeps_its_identity() {
        block_on(async {
            let (disk, dir) = disk();
            assert_eq!(dir.read_meta(&disk).await.unwrap(), None);
            assert_eq!(dir.open_or_format(&disk, &meta()).await.unwrap(), meta());
            let after = disk.crash(1, CrashMode::LoseAll);
            let again = dir.open_or_format(&after, &Meta { directory_id: [9; 16], ..meta() }).await.unwrap();
            assert_eq!(again, meta(), "the directory's own id counts");
            let other = dir.open_or_format(&after, &Meta { node_id: 8, ..meta() }).await.unwrap_err();
            assert_eq!(
                other.to_string(),
                "data directory /d belongs to node 7 of cluster coreline-1, this node is node 8 of cluster coreline-1"
            );
            let too_long = Meta { cluster_id: "x".repeat(257), ..meta() };
            let (disk, dir) = self::disk();
            assert!(matches!(dir.open_or_format(&disk, &too_long).await, Err(StorageError::InvalidConfig { .. })));
        });
    }

    #[test]
    fn data_without_identity_is_not_an_empty_directory() {
        block_on(async {
            let (disk, dir) = disk();
            dir.create_dirs(&disk).await.unwrap();
            disk.mkdir(dir.journal(JournalId(1)));
            let error = dir.open_or_format(&disk, &meta()).await.unwrap_err();
            assert!(matches!(error, StorageError::Corrupt { .. }), "{error}");
            // And an identity that cannot be read is not a missing one.
            let (disk, dir) = self::disk();
            dir.open_or_format(&disk, &meta()).await.unwrap();
            disk.damage("/d/meta.b", 40, 1);
            assert!(matches!(dir.open_or_format(&disk, &meta()).await, Err(StorageError::Corrupt { .. })));
        });
    }

    #[test]
    fn a_newer_format_is_refused_with_a_sentence() {
        block_on(async {
            let (disk, dir) = disk();
            let newer = crate::snapshot_file::seal_envelope(META_KIND, FORMAT_VERSION + 1, 1, b"from the future");
            disk.write_file(Path::new("/d/meta.b"), &newer).await.unwrap();
            let error = dir.open_or_format(&disk, &meta()).await.unwrap_err();
            let expected = "/d/meta.b has format version 2, this version reads up to 1: start the newer version, or restore a backup";
            assert_eq!(error.to_string(), expected);
        });
    }

    #[test]
    fn journals_are_used_again_before_new_ones_are_named() {
        block_on(async {
            let (disk, dir) = disk();
            dir.create_dirs(&disk).await.unwrap();
            for id in [0x30, 0x10, 0x20] {
                disk.mkdir(dir.journal(JournalId(id)));
            }
            disk.mkdir("/d/journal/something-else");
            let mut next = 0x0f;
            let mut random = || {
                next += 1;
                next
            };
            let all = dir.journals_for(&disk, 5, &mut random).await.unwrap();
            assert_eq!(all, [0x10, 0x20, 0x30, 0x11, 0x12].map(JournalId), "0x10 is taken already");
            assert_eq!(dir.journals_for(&disk, 2, &mut random).await.unwrap(), [0x10, 0x20].map(JournalId));
            let tp = TopicPartition { topic: TopicId([1; 16]), partition: 4 };
            disk.mkdir(dir.partition(tp));
            disk.mkdir("/d/topics/lost+found");
            assert_eq!(dir.list_partitions(&disk).await.unwrap(), [tp]);
        });
    }

    #[test]
    fn the_mark_of_a_clean_stop_is_taken_once() {
        block_on(async {
            let (disk, dir) = disk();
            assert_eq!(dir.take_clean_shutdown(&disk).await.unwrap(), None);
            dir.write_clean_shutdown(&disk, CleanShutdown { broker_epoch: 42 }).await.unwrap();
            let after = disk.crash(0, CrashMode::LoseAll);
            assert_eq!(dir.take_clean_shutdown(&after).await.unwrap(), Some(CleanShutdown { broker_epoch: 42 }));
            let crashed = after.crash(0, CrashMode::LoseAll);
            assert_eq!(dir.take_clean_shutdown(&crashed).await.unwrap(), None, "its removal is durable");
            dir.write_clean_shutdown(&crashed, CleanShutdown { broker_epoch: 43 }).await.unwrap();
            crashed.damage("/d/clean-shutdown.b", 33, 1);
            assert_eq!(dir.take_clean_shutdown(&crashed).await.unwrap(), None, "unreadable: not clean");
        });
    }

    #[test]
    fn the_lock_keeps_a_second_owner_out_and_names_the_first() {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::new(temp.path().join("new"));
        let lock = dir.lock().unwrap();
        let StorageError::InUse { pid, .. } = dir.lock().unwrap_err() else { panic!("a second lock") };
        assert_eq!(pid, Some(std::process::id()));
        drop(lock);
        dir.lock().unwrap();
    }
}
