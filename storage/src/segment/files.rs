//! Open segment files of a shard: at most so many at a time, the one idle longest is closed first.
//!
//! Two kinds per segment: for direct reads and writes, and for `sendfile`. Readers that hold a clone keep the descriptor alive after it left here.

use std::collections::BTreeMap;
use std::sync::Arc;

use coreline_wire::ids::TopicPartition;
use hashbrown::HashMap;

use crate::io::Disk;
use crate::log::SendFile;

/// Names a segment within a shard.
pub(crate) type SegmentKey = (TopicPartition, i64);

/// The open files.
pub(crate) struct FileCache<D: Disk> {
    direct: HashMap<SegmentKey, (D::File, u64)>,
    send: HashMap<SegmentKey, (Arc<SendFile>, u64)>,
    files_max: usize,
    tick: u64,
}

impl<D: Disk> FileCache<D> {
    /// A cache of at most `files_max` files.
    pub(crate) fn new(files_max: usize) -> Self {
        FileCache { direct: HashMap::new(), send: HashMap::new(), files_max, tick: 0 }
    }

    /// Number of open files.
    pub(crate) fn len(&self) -> usize {
        self.direct.len() + self.send.len()
    }

    /// The file for direct I/O, when it is open.
    pub(crate) fn direct(&mut self, key: SegmentKey) -> Option<D::File> {
        self.tick += 1;
        let (file, used) = self.direct.get_mut(&key)?;
        *used = self.tick;
        Some(file.clone())
    }

    /// The file for `sendfile`, when it is open.
    pub(crate) fn send(&mut self, key: SegmentKey) -> Option<Arc<SendFile>> {
        self.tick += 1;
        let (file, used) = self.send.get_mut(&key)?;
        *used = self.tick;
        Some(file.clone())
    }

    /// Keeps a file that was opened.
    pub(crate) fn put_direct(&mut self, key: SegmentKey, file: D::File) {
        self.make_room();
        self.direct.insert(key, (file, self.tick));
    }

    /// Keeps a file that was opened.
    pub(crate) fn put_send(&mut self, key: SegmentKey, file: Arc<SendFile>) {
        self.make_room();
        self.send.insert(key, (file, self.tick));
    }

    /// Closes a segment's files.
    pub(crate) fn remove(&mut self, key: SegmentKey) {
        self.direct.remove(&key);
        self.send.remove(&key);
    }

    /// Closes all files of a partition.
    pub(crate) fn remove_partition(&mut self, tp: TopicPartition) {
        self.direct.retain(|key, _| key.0 != tp);
        self.send.retain(|key, _| key.0 != tp);
    }

    /// Closes everything.
    pub(crate) fn clear(&mut self) {
        self.direct.clear();
        self.send.clear();
    }

    fn make_room(&mut self) {
        self.tick += 1;
        if self.len() < self.files_max {
            return;
        }
        let idle_direct = self.direct.iter().min_by_key(|(_, (_, used))| *used).map(|(key, (_, used))| (*used, *key));
        let idle_send = self.send.iter().min_by_key(|(_, (_, used))| *used).map(|(key, (_, used))| (*used, *key));
        match (idle_direct, idle_send) {
            (Some(d), Some(s)) if s.0 < d.0 => drop(self.send.remove(&s.1)),
            (Some(d), _) => drop(self.direct.remove(&d.1)),
            (None, Some(s)) => drop(self.send.remove(&s.1)),
            (None, None) => {}
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
