//! Open segment files of a shard: at most so many at a time, the one idle longest is closed first.
//!
//! Two kinds per segment: for direct reads and writes, and for `sendfile`. Readers that hold a clone keep the descriptor alive after it left here.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use coreline_wire::ids::TopicPartition;
use hashbrown::HashMap;

use crate::io::{Disk, DiskFile};
use crate::log::SendFile;

/// Names a segment within a shard.
pub(crate) type SegmentKey = (TopicPartition, i64);

/// Which descriptor of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Direct,
    Send,
}

/// A descriptor and when it was used last.
enum Open<D: Disk> {
    Direct(D::File),
    Send(Arc<SendFile>),
}

/// The open files.
pub(crate) struct FileCache<D: Disk> {
    open: BTreeMap<(SegmentKey, Kind), (Open<D>, u64)>,
    /// By the time of the last use.
    idle: BTreeMap<u64, (SegmentKey, Kind)>,
    files_max: usize,
    tick: u64,
}

impl<D: Disk> FileCache<D> {
    /// A cache of at most `files_max` files.
    pub(crate) fn new(files_max: usize) -> Self {
        FileCache { open: BTreeMap::new(), idle: BTreeMap::new(), files_max, tick: 0 }
    }

    /// Number of open files.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// The file for direct I/O, when it is open.
    pub(crate) fn direct(&mut self, key: SegmentKey) -> Option<D::File> {
        match self.used((key, Kind::Direct))? {
            Open::Direct(file) => Some(file.clone()),
            Open::Send(_) => None,
        }
    }

    /// The file for `sendfile`, when it is open.
    pub(crate) fn send(&mut self, key: SegmentKey) -> Option<Arc<SendFile>> {
        match self.used((key, Kind::Send))? {
            Open::Send(file) => Some(file.clone()),
            Open::Direct(_) => None,
        }
    }

    /// Keeps a file that was opened.
    pub(crate) fn put_direct(&mut self, key: SegmentKey, file: D::File) {
        self.put((key, Kind::Direct), Open::Direct(file));
    }

    /// Keeps a file that was opened.
    pub(crate) fn put_send(&mut self, key: SegmentKey, file: Arc<SendFile>) {
        self.put((key, Kind::Send), Open::Send(file));
    }

    /// Closes a segment's files, whose names go.
    pub(crate) fn remove(&mut self, key: SegmentKey) {
        self.tell(&(key, Kind::Direct));
        self.close(&(key, Kind::Direct));
        self.close(&(key, Kind::Send));
    }

    /// Closes all files of a partition, whose names go.
    pub(crate) fn remove_partition(&mut self, tp: TopicPartition) {
        let all: RangeInclusive<_> = ((tp, i64::MIN), Kind::Direct)..=((tp, i64::MAX), Kind::Send);
        let gone: Vec<_> = self.open.range(all).map(|(key, _)| *key).collect();
        for key in &gone {
            self.tell(key);
            self.close(key);
        }
    }

    /// Closes everything.
    pub(crate) fn clear(&mut self) {
        self.open.clear();
        self.idle.clear();
    }

    fn used(&mut self, key: (SegmentKey, Kind)) -> Option<&Open<D>> {
        let (file, used) = self.open.get_mut(&key)?;
        self.tick += 1;
        self.idle.remove(used);
        *used = self.tick;
        self.idle.insert(self.tick, key);
        Some(file)
    }

    fn put(&mut self, key: (SegmentKey, Kind), file: Open<D>) {
        self.close(&key);
        while self.open.len() >= self.files_max
            && let Some((_, idlest)) = self.idle.first_key_value()
        {
            let idlest = *idlest;
            self.close(&idlest);
        }
        self.tick += 1;
        self.open.insert(key, (file, self.tick));
        self.idle.insert(self.tick, key);
    }

    /// A reader, or the executor, may have the last hold of it when its name is gone. (A file for `sendfile` needs not be told.)
    fn tell(&self, key: &(SegmentKey, Kind)) {
        if let Some((Open::Direct(file), _)) = self.open.get(key) {
            file.will_be_removed();
        }
    }

    fn close(&mut self, key: &(SegmentKey, Kind)) {
        if let Some((_, used)) = self.open.remove(key) {
            self.idle.remove(&used);
        }
    }
}

/// Memory of loaded indexes that nothing is appended to: sealed segments' and idle logs'. Oldest load first out.
#[derive(Default)]
pub(crate) struct IndexCache {
    loaded: HashMap<SegmentKey, (u64, usize)>,
    by_age: BTreeMap<u64, SegmentKey>,
    bytes: usize,
    tick: u64,
}

impl IndexCache {
    /// Notes a loaded index; returns the segments whose indexes must go to stay within the bound.
    pub(crate) fn add(&mut self, key: SegmentKey, bytes: usize, bytes_max: usize) -> Vec<SegmentKey> {
        self.forget(key);
        self.tick += 1;
        self.loaded.insert(key, (self.tick, bytes));
        self.by_age.insert(self.tick, key);
        self.bytes += bytes;
        let mut surplus = Vec::new();
        while self.bytes > bytes_max
            && self.loaded.len() > 1
            && let Some((_, key)) = self.by_age.first_key_value()
        {
            let key = *key;
            self.forget(key);
            surplus.push(key);
        }
        surplus
    }

    fn forget(&mut self, key: SegmentKey) {
        if let Some((tick, bytes)) = self.loaded.remove(&key) {
            self.by_age.remove(&tick);
            self.bytes -= bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_idle_longest_is_closed_at_the_bound() {
        let key = |partition, base| (TopicPartition { partition, ..TopicPartition::default() }, base);
        let file = || Arc::new(SendFile::new(Arc::new(tempfile::tempfile().unwrap().into())));
        let mut cache = FileCache::<crate::io::SimDisk>::new(3);
        for base in 0..3 {
            cache.put_send(key(0, base), file());
        }
        assert!(cache.send(key(0, 0)).is_some());
        cache.put_send(key(1, 7), file());
        assert_eq!(cache.len(), 3);
        assert!(cache.send(key(0, 1)).is_none(), "the one idle longest went");
        assert!(cache.send(key(0, 0)).is_some() && cache.send(key(0, 2)).is_some() && cache.send(key(1, 7)).is_some());
        assert!(cache.direct(key(0, 0)).is_none(), "the two kinds are apart");
        cache.put_send(key(1, 7), file());
        assert_eq!(cache.len(), 3, "the same one again replaces itself");
        cache.remove_partition(key(0, 0).0);
        assert_eq!((cache.len(), cache.send(key(0, 0)).is_none()), (1, true));
        cache.remove(key(1, 7));
        assert_eq!((cache.len(), cache.idle.len()), (0, 0));
    }

    #[test]
    fn indexes_leave_oldest_first_and_count_once() {
        let key = |base| (TopicPartition::default(), base);
        let mut cache = IndexCache::default();
        assert_eq!(cache.add(key(1), 40, 100), []);
        assert_eq!(cache.add(key(2), 40, 100), []);
        assert_eq!(cache.add(key(1), 50, 100), [], "the same one again replaces itself");
        assert_eq!(cache.add(key(3), 30, 100), [key(2)]);
        assert_eq!(cache.add(key(4), 500, 100), [key(1), key(3)], "the newest always stays");
    }
}
