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
    /// There is no other generation although this is not the first write.
    pub alone: bool,
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
        let mut damaged: Option<StorageError> = None;
        for slot in 0..2 {
            let path = slot_path(dir, name, slot);
            let Some(bytes) = disk.read_file(&path, len_max + ENVELOPE_BYTES).await? else {
                continue;
            };
            match open_envelope(&path, &bytes, kind, version_max) {
                Ok(snapshot) if snapshot.sequence % 2 != slot => {
                    let why = format!("generation {} does not belong into this file: it is a copy of another", snapshot.sequence);
                    damaged = Some(StorageError::corrupt(&path, Some(16), why));
                }
                Ok(snapshot) => found.push(snapshot),
                Err(error @ StorageError::Corrupt { .. }) => damaged = Some(error),
                Err(other) => return Err(other),
            }
        }
        found.sort_by_key(|s| s.sequence);
        if let [older, newer] = &found[..]
            && older.sequence + 1 != newer.sequence
        {
            let why = format!("generation {} beside {}: it is a copy from another time or place", older.sequence, newer.sequence);
            damaged = Some(StorageError::corrupt(&older.path, Some(16), why));
            found.remove(0);
        }
        if planted!(OlderGenerationRead) {
            found.reverse();
        }
        let mut newest = found.pop();
        if let Some(snapshot) = &mut newest {
            snapshot.alone = snapshot.sequence > 1 && found.is_empty() && damaged.is_none();
        }
        if let Some(error) = damaged {
            tracing::error!(%error, "a snapshot file cannot be used");
            match &mut newest {
                None => return Err(error),
                Some(snapshot) => snapshot.damaged = Some(error.to_string()),
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

    /// A file of which nothing is known, not even whether it is there: to be removed before it is written.
    pub fn absent(dir: &Path, name: &str, kind: SnapshotKind, version_max: u32) -> SnapshotFile {
        SnapshotFile { dir: dir.to_path_buf(), name: name.to_string(), kind, version_max, sequence: 0 }
    }

    /// Writes `bytes` as the next generation. Durable when it returns; until then the newest earlier one stays readable.
    pub async fn write<D: Disk>(&mut self, disk: &D, version: u32, bytes: &[u8]) -> StorageResult<()> {
        assert!(version <= self.version_max, "writing version {version}, which this version cannot read");
        let sequence = self.sequence + 1;
        let new = self.dir.join(format!("{}.new", self.name));
        let sealed = seal_envelope(self.kind, version, sequence, bytes);
        match planted!(RenameBeforeFsync) {
            true => disk.write_file_unsynced(&new, &sealed).await?,
            false => disk.write_file(&new, &sealed).await?,
        }
        disk.rename(&new, &slot_path(&self.dir, &self.name, sequence)).await?;
        if !planted!(SnapshotDirSyncSkipped) {
            disk.sync_dir(&self.dir).await?;
        }
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
    Ok(Snapshot { version, sequence: u64_at(16), bytes: aligned, path: path.to_path_buf(), damaged: None, alone: false })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::SimDisk;
    use crate::io::sim::{CrashMode, Rng};
    use futures_lite::future::{block_on, or};
    use proptest::prelude::*;

    const KIND: SnapshotKind = *b"TEST";
    const DIR: &str = "/d";

    fn disk(seed: u64) -> SimDisk {
        let disk = SimDisk::new(seed);
        disk.mkdir(DIR);
        disk
    }

    async fn open(disk: &SimDisk) -> StorageResult<(SnapshotFile, Option<Snapshot>)> {
        SnapshotFile::open(disk, Path::new(DIR), "table", KIND, 3, 1 << 20).await
    }

    #[test]
    fn the_newest_write_is_read_and_the_one_before_is_kept() {
        block_on(async {
            let disk = disk(1);
            let (mut file, none) = open(&disk).await.unwrap();
            assert!(none.is_none());
            for n in 1..=5u8 {
                file.write(&disk, 2, &[n; 100]).await.unwrap();
                let (again, found) = open(&disk).await.unwrap();
                let found = found.unwrap();
                assert_eq!((found.version, found.sequence, &found.bytes[..], found.damaged), (2, u64::from(n), &[n; 100][..], None));
                assert_eq!(again.sequence(), file.sequence());
                assert_eq!(found.bytes.as_ptr() as usize % 16, 0, "aligned for rkyv");
            }
            disk.damage("/d/table.b", 50, 1);
            let (mut file, found) = open(&disk).await.unwrap();
            let found = found.unwrap();
            assert_eq!((found.sequence, found.bytes[0]), (4, 4), "the one before");
            assert!(found.damaged.unwrap().contains("/d/table.b"));
            file.write(&disk, 2, b"new").await.unwrap();
            assert_eq!(&open(&disk).await.unwrap().1.unwrap().bytes[..], b"new", "written over the damaged one");
            file.remove(&disk).await.unwrap();
            assert!(open(&disk.crash(0, CrashMode::LoseAll)).await.unwrap().1.is_none());
        });
    }

    #[test]
    fn a_generation_from_another_time_or_place_counts_as_damaged() {
        block_on(async {
            let disk = disk(3);
            let (mut file, _) = open(&disk).await.unwrap();
            let mut copies = Vec::new();
            for n in 1..=6u8 {
                file.write(&disk, 1, &[n; 10]).await.unwrap();
                copies.push(disk.read_file(&slot_path(Path::new("/d"), "table", u64::from(n)), 1 << 20).await.unwrap().unwrap());
            }
            // .a has 6, .b has 5: an older one of the same file, the other copy, and as a control the right one.
            for (slot, copy, left) in [(0, 2, 5), (0, 5, 5), (1, 1, 6), (1, 6, 6), (1, 5, 6)] {
                let disk = disk.crash(0, CrashMode::KeepAll);
                disk.write_file(&slot_path(Path::new("/d"), "table", slot), &copies[copy - 1]).await.unwrap();
                let found = open(&disk).await.unwrap().1.unwrap();
                assert_eq!((found.sequence, found.damaged.is_some()), (left, copy as u64 != 5 || slot == 0), "{copy} in {slot}");
            }
        });
    }

    #[test]
    fn unreadable_is_not_absent() {
        block_on(async {
            let disk = disk(2);
            let (mut file, _) = open(&disk).await.unwrap();
            file.write(&disk, 1, b"only").await.unwrap();
            disk.damage("/d/table.b", 33, 1);
            let error = open(&disk).await.unwrap_err().to_string();
            assert!(error.starts_with("/d/table.b is damaged at byte 4: checksum"), "{error}");
            let too_long = disk.write_file(Path::new("/d/table.b"), &vec![0; (1 << 20) + 33]).await;
            too_long.unwrap();
            assert!(matches!(open(&disk).await, Err(StorageError::Io(_))), "longer than allowed");
        });
    }

    #[test]
    fn other_kinds_and_newer_versions_are_refused() {
        let path = Path::new("f");
        let sealed = seal_envelope(KIND, 3, 1, b"content");
        assert!(open_envelope(path, &sealed, KIND, 3).is_ok());
        assert!(matches!(open_envelope(path, &sealed, *b"ELSE", 3), Err(StorageError::Corrupt { .. })));
        assert!(matches!(open_envelope(path, &sealed, KIND, 2), Err(StorageError::NewerFormat { found: 3, supported: 2, .. })));
    }

    proptest! {
        #[test]
        fn every_flip_and_every_cut_is_found(content in proptest::collection::vec(any::<u8>(), 0..200), at in any::<usize>(), bit in 0u8..8) {
            let path = Path::new("f");
            let sealed = seal_envelope(KIND, 1, 9, &content);
            prop_assert_eq!(&open_envelope(path, &sealed, KIND, 1).unwrap().bytes[..], &content[..]);
            let at = at % sealed.len();
            let mut flipped = sealed.clone();
            flipped[at] ^= 1 << bit;
            prop_assert!(open_envelope(path, &flipped, KIND, 1).is_err());
            prop_assert!(open_envelope(path, &sealed[..at], KIND, 1).is_err());
        }
    }

    #[test]
    fn a_crash_during_a_write_leaves_the_old_or_the_new() {
        for seed in 0..400 {
            let mut rng = Rng::new(seed);
            block_on(async {
                let disk = disk(seed);
                let (mut file, _) = open(&disk).await.unwrap();
                file.write(&disk, 1, &[1; 3000]).await.unwrap();
                file.write(&disk, 1, &[2; 3000]).await.unwrap();
                disk.halt_after(disk.stats().events + rng.below(14));
                let done = or(async { file.write(&disk, 1, &[3; 3000]).await.map(|()| true).unwrap() }, async {
                    disk.halted().await;
                    false
                })
                .await;
                let survivor = disk.crash(rng.next_u64(), CrashMode::Mixed);
                let found = open(&survivor).await.unwrap().1.unwrap();
                let sequence = found.sequence;
                assert!(sequence == 3 || (sequence == 2 && !done), "seed {seed}: {sequence}");
                assert_eq!(found.bytes[..], [sequence as u8; 3000], "seed {seed}");
                assert_eq!(found.damaged, None, "seed {seed}: a write never damages what was there");
            });
        }
    }
}
