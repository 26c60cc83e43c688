//! Small files that must never be half there: an envelope of magic, kind, version, sequence, length and CRC-32 around opaque or rkyv bytes.
//!
//! A write goes to `NAME.new`, is flushed, renamed over the older of `NAME.a` and `NAME.b`, and the directory is flushed; the newer of the two stays
//! until the new one is durable. A read takes the newest valid one. Unreadable is not absent: files that exist, none of them valid, are an error.

use std::path::{Path, PathBuf};

use rkyv::util::AlignedVec;

use crate::error::{StorageError, StorageResult};
use crate::io::Disk;

const MAGIC: u32 = u32::from_le_bytes(*b"CLSF");
/// Bytes before the content: magic, CRC, kind, version, sequence, length. A multiple of 16, so that aligned content stays aligned.
pub const ENVELOPE_BYTES: usize = 32;

/// What kind of content a snapshot file has: four letters, stored in it.
pub type SnapshotKind = [u8; 4];

/// A valid snapshot that was read.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The content's format version.
    pub version: u32,
    /// Number of the write, increasing by one.
    pub sequence: u64,
    /// The content, aligned for rkyv.
    pub bytes: AlignedVec,
    /// The file it came from.
    pub path: PathBuf,
    /// Why the other generation could not be used, when it exists and is damaged: the content may then be one write old.
    pub damaged: Option<String>,
}

/// A checksummed file with two generations.
#[derive(Debug, Clone)]
pub struct SnapshotFile {
    dir: PathBuf,
    name: String,
    kind: SnapshotKind,
    version_max: u32,
    sequence: u64,
}

impl SnapshotFile {
    /// Opens `dir/NAME.a` and `dir/NAME.b` and reads the newest valid one: `None` when neither exists. Content is at most `len_max` bytes, of a version up to
    /// `version_max` (`NewerFormat` otherwise).
    pub async fn open<D: Disk>(
        disk: &D,
        dir: &Path,
        name: &str,
        kind: SnapshotKind,
        version_max: u32,
        len_max: usize,
    ) -> StorageResult<(SnapshotFile, Option<Snapshot>)> {
        let mut found: Vec<Snapshot> = Vec::new();
        let mut damaged: Option<(PathBuf, String)> = None;
        for slot in 0..2 {
            let path = slot_path(dir, name, slot);
            let Some(bytes) = disk.read_file(&path, len_max + ENVELOPE_BYTES).await? else {
                continue;
            };
            match open_envelope(&path, &bytes, kind, version_max) {
                Ok(snapshot) => found.push(snapshot),
                Err(StorageError::Corrupt { path, why, .. }) => damaged = Some((path, why)),
                Err(other) => return Err(other),
            }
        }
        found.sort_by_key(|s| s.sequence);
        let mut newest = found.pop();
        if let Some((path, why)) = damaged {
            tracing::error!(path = %path.display(), why, "a snapshot file is damaged");
            match &mut newest {
                None => return Err(StorageError::corrupt(&path, None, why)),
                Some(snapshot) => snapshot.damaged = Some(format!("{}: {why}", path.display())),
            }
        }
        let file = SnapshotFile {
            dir: dir.to_path_buf(),
            name: name.to_string(),
            kind,
            version_max,
            sequence: newest.as_ref().map_or(0, |s| s.sequence),
        };
        Ok((file, newest))
    }

    /// Writes `bytes` as the next generation. Durable when it returns; until then the newest earlier one stays readable.
    pub async fn write<D: Disk>(&mut self, disk: &D, version: u32, bytes: &[u8]) -> StorageResult<()> {
        assert!(version <= self.version_max, "writing version {version}, which this version cannot read");
        let sequence = self.sequence + 1;
        let new = self.dir.join(format!("{}.new", self.name));
        disk.write_file(&new, &seal_envelope(self.kind, version, sequence, bytes)).await?;
        disk.rename(&new, &slot_path(&self.dir, &self.name, sequence)).await?;
        disk.sync_dir(&self.dir).await?;
        self.sequence = sequence;
        Ok(())
    }

    /// Removes both generations; durable when it returns.
    pub async fn remove<D: Disk>(&mut self, disk: &D) -> StorageResult<()> {
        // The older one first: a crash in between must not bring it back as the newest.
        for sequence in [self.sequence + 1, self.sequence] {
            disk.remove_file(&slot_path(&self.dir, &self.name, sequence)).await?;
            disk.sync_dir(&self.dir).await?;
        }
        Ok(())
    }

    /// Number of the newest generation; 0 before the first write.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }
}

/// Even sequences live in `.a`, odd ones in `.b`: the next write replaces the older of the two.
fn slot_path(dir: &Path, name: &str, sequence: u64) -> PathBuf {
    dir.join(format!("{name}.{}", if sequence.is_multiple_of(2) { 'a' } else { 'b' }))
}

/// The content in its envelope.
pub fn seal_envelope(kind: SnapshotKind, version: u32, sequence: u64, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(ENVELOPE_BYTES + content.len());
    out.extend_from_slice(&MAGIC.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&kind);
    out.extend_from_slice(&version.to_le_bytes());
    out.extend_from_slice(&sequence.to_le_bytes());
    out.extend_from_slice(&(content.len() as u64).to_le_bytes());
    out.extend_from_slice(content);
    let crc = crc32fast::hash(&out[8..]);
    out[4..8].copy_from_slice(&crc.to_le_bytes());
    out
}

/// Checks an envelope and takes the content out of it. `Corrupt` names `path`; `NewerFormat` when the version is above `version_max`.
pub fn open_envelope(path: &Path, bytes: &[u8], kind: SnapshotKind, version_max: u32) -> StorageResult<Snapshot> {
    let damaged = |position: u64, why: String| Err(StorageError::corrupt(path, Some(position), why));
    let Some((head, content)) = bytes.split_first_chunk::<ENVELOPE_BYTES>() else {
        return damaged(0, format!("{} bytes are too few for an envelope", bytes.len()));
    };
    let u32_at = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
    let u64_at = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"));
    if u32_at(0) != MAGIC {
        return damaged(0, format!("magic is {:#010x}, not {MAGIC:#010x}", u32_at(0)));
    }
    let crc = crc32fast::hash(&bytes[8..]);
    if u32_at(4) != crc {
        return damaged(4, format!("checksum is {:#010x}, the content has {crc:#010x}", u32_at(4)));
    }
    if head[8..12] != kind {
        return damaged(8, format!("kind is {:?}, not {:?}", String::from_utf8_lossy(&head[8..12]), String::from_utf8_lossy(&kind)));
    }
    if u64_at(24) != content.len() as u64 {
        return damaged(24, format!("length is {}, the content has {} bytes", u64_at(24), content.len()));
    }
    let version = u32_at(12);
    if version > version_max {
        return Err(StorageError::NewerFormat { path: path.to_path_buf(), found: version, supported: version_max });
    }
    let mut aligned = AlignedVec::with_capacity(content.len());
    aligned.extend_from_slice(content);
    Ok(Snapshot { version, sequence: u64_at(16), bytes: aligned, path: path.to_path_buf(), damaged: None })
}
