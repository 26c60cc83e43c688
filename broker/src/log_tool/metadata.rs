//! The metadata quorum's files: the topics' names, the log's frames, the snapshot; read without changing them.

use std::path::Path;

use coreline_storage::StorageError;
use coreline_storage::data_dir::DataDir;
use coreline_storage::io::{Disk, OfflineDisk};
use coreline_storage::snapshot_file::SnapshotFile;
use coreline_storage::verify::{Finding, Severity};
use coreline_wire::ids::TopicId;

use super::Names;
use crate::controller::record::{MetadataRecord, decode_batch};
use crate::quorum::driver::shorter_than_snapshot;
use crate::quorum::frame::{self, ScanError};
use crate::quorum::log_content::{FrameError, LogContent};
use crate::quorum::mark::{self, shorter_than_mark};
use crate::quorum::snapshot::{CONTENT_BYTES_MAX, CONTENT_VERSION, SnapshotContent};
use crate::quorum::stored::{FrameBody, StoredPayload};
use crate::quorum::types::LogId;

/// What the files say.
#[derive(Default)]
pub(crate) struct Found {
    /// Topics' names by id.
    pub(crate) names: Names,
    /// What is wrong.
    pub(crate) findings: Vec<Finding>,
    /// Kind, where, what.
    pub(crate) lines: Vec<(&'static str, String, String)>,
    /// Entries of the log.
    pub(crate) entries: u64,
    /// The log can be read and goes back to its first entry: it knows every topic that ever was.
    pub(crate) whole_history: bool,
}

impl Found {
    fn damage(&mut self, path: &Path, position: Option<u64>, why: impl Into<String>) {
        self.findings.push(Finding { severity: Severity::Damage, path: path.to_path_buf(), position, why: why.into() });
    }

    fn error(&mut self, path: &Path, error: &StorageError) {
        match error {
            StorageError::Corrupt { path, position, why } => self.damage(path, *position, why.clone()),
            other => self.damage(path, None, other.to_string()),
        }
    }
}

/// Reads all of them.
pub(crate) async fn read(dir: &DataDir, found: &mut Found) {
    let (disk, quorum) = (OfflineDisk, dir.quorum());
    let snapshot = snapshot(&disk, &quorum, found).await;
    let mark = mark(&disk, &quorum, found).await;
    let mut content = LogContent::default();
    let before = found.findings.len();
    let entries = match disk.list_dir(&quorum).await {
        Ok(entries) => entries,
        Err(error) => return found.error(&quorum, &error.into()),
    };
    let mut files: Vec<_> = entries
        .iter()
        .filter_map(|entry| Some((u64::from_str_radix(entry.name.strip_suffix(".log")?, 16).ok()?, quorum.join(&entry.name))))
        .collect();
    files.sort_unstable();
    let count = files.len();
    let mut next = None;
    for (place, (number, path)) in files.into_iter().enumerate() {
        if next.is_some_and(|next| next != number) {
            found.damage(&path, None, format!("the log goes on at frame {number}, frame {} is missing", next.unwrap_or(0)));
        }
        let bytes = match disk.read_file(&path, FILE_BYTES_MAX).await {
            Ok(bytes) => bytes.unwrap_or_default(),
            Err(error) => {
                found.error(&path, &error.into());
                continue;
            }
        };
        match frame::scan(&bytes, Some(number)) {
            Err(ScanError::Damaged { position, why }) => found.damage(&path, Some(position), why),
            Err(ScanError::NewerFormat { found: version }) => {
                found.damage(&path, None, format!("has format version {version}, of a newer broker"))
            }
            Ok(scan) => {
                match &scan.torn {
                    Some(why) if place + 1 < count => found.damage(&path, Some(scan.end), format!("{why}, and a later file exists")),
                    Some(why) => found.findings.push(Finding {
                        severity: Severity::Note,
                        path: path.clone(),
                        position: Some(scan.end),
                        why: format!("{why}: a write that the end of the process interrupted"),
                    }),
                    None => {}
                }
                next = Some(scan.frames.last().map_or(number, |frame| frame.sequence + 1));
                for frame in &scan.frames {
                    take(&path, frame.position, &frame.body, found);
                    let node = if let FrameBody::State { node, .. } = &frame.body { *node } else { 0 };
                    if let Err(FrameError::Contradiction(why)) = content.take(&frame.body, node) {
                        found.damage(&path, Some(frame.position), why);
                    }
                }
            }
        }
    }
    // What a start would say of files that are good one by one.
    let lost = found.findings[before..].iter().any(|finding| finding.severity == Severity::Damage);
    if let Some(last) = snapshot.filter(|_| !lost)
        && let Some(why) = contradiction(&content, last).or_else(|| {
            let durable = mark?;
            (content.last().map_or(0, |last| last.index) < durable).then(|| shorter_than_mark(content.last(), durable))
        })
    {
        found.damage(&quorum, None, why);
    }
    found.whole_history = !lost && content.purged.is_none();
}

/// Why a log and the newest snapshot's last entry cannot be of one history; what `quorum/log_file.rs` and `quorum/driver.rs` refuse.
fn contradiction(log: &LogContent, snapshot: Option<LogId>) -> Option<String> {
    let index = |id: Option<LogId>| id.map(|id| id.index);
    if log.missing > log.purged {
        return Some(format!("entries up to {:?} are missing and no snapshot holds them", index(log.missing)));
    }
    if log.committed > log.last() {
        return Some(format!("entry {:?} was committed, the last one found is {:?}", index(log.committed), index(log.last())));
    }
    if log.purged > snapshot {
        let (purged, held) = (index(log.purged), index(snapshot));
        return Some(format!("the metadata log begins after entry {purged:?}, the newest snapshot that can be read ends at {held:?}"));
    }
    if snapshot.is_some() && log.vote.is_none() {
        return Some("there is a metadata snapshot and no metadata log: the log files were lost".to_owned());
    }
    (log.last() < snapshot).then(|| shorter_than_snapshot(log.last(), snapshot))
}

/// The entry that the log must have; `None` where nothing says so.
async fn mark(disk: &OfflineDisk, quorum: &Path, found: &mut Found) -> Option<u64> {
    match mark::look(disk, quorum).await {
        Ok((_, index)) => index,
        Err(error @ StorageError::Corrupt { .. }) => {
            let why = format!("the mark of the metadata log cannot be read, and is begun anew: {error}");
            found.findings.push(Finding { severity: Severity::Repairable, path: quorum.to_path_buf(), position: None, why });
            None
        }
        Err(error) => {
            found.error(quorum, &error);
            None
        }
    }
}

/// The last entry in the newest snapshot, where there is one; `None` when it cannot be read.
async fn snapshot(disk: &OfflineDisk, quorum: &Path, found: &mut Found) -> Option<Option<LogId>> {
    let read = SnapshotFile::open(disk, quorum, "metadata", *b"CLQS", CONTENT_VERSION, CONTENT_BYTES_MAX).await;
    match read {
        Err(error) => {
            found.error(quorum, &error);
            None
        }
        Ok((_, None)) => Some(None),
        Ok((_, Some(snapshot))) => {
            if let Some(why) = &snapshot.damaged {
                found.findings.push(Finding {
                    severity: Severity::Repairable,
                    path: snapshot.path.clone(),
                    position: None,
                    why: format!("its other generation cannot be read: {why}"),
                });
            }
            let content = SnapshotContent::from_bytes(&snapshot.bytes);
            match content.and_then(|content| Ok((content.last, content.to_image()?))) {
                Err(why) => {
                    found.damage(&snapshot.path, None, why);
                    None
                }
                Ok((last, image)) => {
                    for topic in image.topics_sorted() {
                        found.names.insert(topic.id, topic.name.to_string());
                    }
                    let text = format!("{} topics, up to entry {}", image.topics_sorted().len(), image.position.index);
                    found.lines.push(("snapshot", snapshot.path.display().to_string(), text));
                    Some(last.map(LogId::from))
                }
            }
        }
    }
}

fn take(path: &Path, position: u64, body: &FrameBody, found: &mut Found) {
    let at = format!("{}:{position}", path.file_name().unwrap_or_default().to_string_lossy());
    let FrameBody::Entries { entries, .. } = body else {
        found.lines.push(("mark", at, format!("{body:?}")));
        return;
    };
    for entry in entries {
        found.entries += 1;
        let place = format!("{at} entry {}.{}", entry.id.term, entry.id.index);
        let StoredPayload::Records(bytes) = &entry.payload else {
            found.lines.push(("entry", place, format!("{:?}", entry.payload)));
            continue;
        };
        match decode_batch(&bytes.0) {
            Err(error) => found.damage(path, Some(position), format!("entry {}: {error}", entry.id.index)),
            Ok(records) => {
                for record in records {
                    // Names of deleted topics stay: their files may still be there.
                    if let MetadataRecord::Topic { id, name } = &record {
                        found.names.insert(TopicId(*id), name.clone());
                    }
                    found.lines.push(("record", place.clone(), format!("{record:?}")));
                }
            }
        }
    }
}

/// Largest file of the log that is read, bytes.
const FILE_BYTES_MAX: usize = 512 << 20;
