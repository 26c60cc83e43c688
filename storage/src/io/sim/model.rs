//! `Model`: what a file system holds at each moment, as the process sees it and as a crash may leave it. No time, no I/O: a fold over [`Event`]s.
//!
//! Each file has a durable content and a list of pending writes and size changes; the name space has a durable map and pending entries. Pending things
//! become durable by a flush of the file (data, size), of the directory (entries) or of all; a write through `O_DSYNC` at its completion. At a
//! crash each pending thing meets its own [`Fate`], independent of the others: more than any real file system would do, which is the point.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::content::{Content, Rng};
use crate::limits::SECTOR;

/// Number of an operation, in the order of their starts.
pub type OpId = u64;

/// What an operation does to the disk.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Op {
    /// Writes data; `dsync`: durable when it completes.
    Write { inode: u64, position: u64, data: Rc<[u8]>, dsync: bool },
    /// Changes the size.
    SetSize { inode: u64, size: u64 },
    /// Flushes one file's data and size.
    SyncFile { inode: u64 },
    /// Flushes one directory's entries.
    SyncDir { path: PathBuf },
    /// Flushes everything.
    SyncAll,
    /// Creates an empty file.
    Create { path: PathBuf, inode: u64 },
    /// Renames, replacing the target.
    Rename { from: PathBuf, to: PathBuf },
    /// Removes a file.
    Remove { path: PathBuf },
    /// Creates a directory.
    CreateDir { path: PathBuf },
    /// Removes a directory and everything below it.
    RemoveDirAll { path: PathBuf },
}

/// A step of an operation. The sequence of events is all there is to know about a run.
#[derive(Clone, Debug)]
pub enum Event {
    /// The operation was handed to the disk: from here on a crash may leave any part of it.
    Submitted(OpId, Op),
    /// It completed.
    Completed(OpId),
    /// It failed with an error: any part of it may be there, and what a failed flush covered will not become durable by another flush.
    Failed(OpId),
}

/// What a crash does to one pending thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is there whole.
    Keep,
    /// Nothing of it is there.
    Lose,
    /// Some of its sectors are there, chosen by the seed (a size change or directory entry: kept).
    Torn(u64),
    /// Its sectors are old, new or garbage, chosen by the seed (a size change or directory entry: kept).
    Garbage(u64),
}

/// One thing that is not durable yet, as the chooser of fates sees it.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Pending<'a> {
    /// A write of `sectors` sectors.
    Data { inode: u64, position: u64, len: u64, completed: bool, sectors: usize },
    /// A change of a file's size.
    Size { inode: u64, size: u64, completed: bool },
    /// A change of a directory.
    Entry { op: &'a Op, completed: bool },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Dir,
    File(u64),
}

#[derive(Clone, Debug, Default)]
struct Inode {
    live: Content,
    durable: Content,
    pending: Vec<PendingChange>,
}

#[derive(Clone, Debug)]
struct PendingChange {
    id: OpId,
    completed: bool,
    /// A flush over it failed, or it failed itself: no later flush makes it durable.
    doomed: bool,
    change: Change,
}

#[derive(Clone, Debug)]
enum Change {
    /// `alive[i]`: sector i of the write was not overwritten by something durable since.
    Data { position: u64, data: Rc<[u8]>, alive: Vec<bool> },
    /// The size becomes at least this.
    Extend(u64),
    /// The size becomes exactly this.
    SetSize(u64),
}

#[derive(Clone, Debug)]
struct PendingEntry {
    id: OpId,
    completed: bool,
    doomed: bool,
    op: Op,
    /// For a rename: what it moves.
    moved: Option<Node>,
}

#[derive(Clone, Debug)]
enum InFlight {
    Write {
        inode: u64,
        dsync: bool,
    },
    SetSize {
        inode: u64,
    },
    Entry,
    /// The changes and entries that were complete when the flush began.
    Sync {
        changes: Vec<(u64, OpId)>,
        entries: Vec<OpId>,
    },
}

/// The state of the simulated disk. Clones are cheap enough to take one per crash.
#[derive(Clone, Debug, Default)]
pub struct Model {
    inodes: BTreeMap<u64, Inode>,
    live: BTreeMap<PathBuf, Node>,
    durable: BTreeMap<PathBuf, Node>,
    entries: Vec<PendingEntry>,
    in_flight: BTreeMap<OpId, InFlight>,
}

impl Model {
    /// Applies one event.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Submitted(id, op) => self.submit(*id, op),
            Event::Completed(id) => self.complete(*id),
            Event::Failed(id) => self.fail(*id),
        }
    }

    fn submit(&mut self, id: OpId, op: &Op) {
        let in_flight = match op {
            Op::Write { inode, position, data, dsync } => {
                self.submit_write(id, *inode, *position, data);
                InFlight::Write { inode: *inode, dsync: *dsync }
            }
            Op::SetSize { inode, size } => {
                self.push_change(*inode, id, Change::SetSize(*size));
                InFlight::SetSize { inode: *inode }
            }
            Op::SyncFile { inode } => InFlight::Sync { changes: self.flushable(Some(*inode)), entries: Vec::new() },
            Op::SyncDir { path } => InFlight::Sync { changes: Vec::new(), entries: self.flushable_entries(|op| touches(op, path)) },
            Op::SyncAll => InFlight::Sync { changes: self.flushable(None), entries: self.flushable_entries(|_| true) },
            _ => {
                let moved = match op {
                    Op::Rename { from, .. } => self.live.get(from).cloned(),
                    _ => None,
                };
                self.entries.push(PendingEntry { id, completed: false, doomed: false, op: op.clone(), moved });
                InFlight::Entry
            }
        };
        self.in_flight.insert(id, in_flight);
    }

    fn submit_write(&mut self, id: OpId, inode: u64, position: u64, data: &Rc<[u8]>) {
        let end = position + data.len() as u64;
        let file = self.inodes.entry(inode).or_default();
        for other in &file.pending {
            if let Change::Data { position: p, data: d, .. } = &other.change {
                let apart = p + d.len() as u64 <= position || end <= *p;
                assert!(
                    apart || other.completed,
                    "two writes in flight over the same bytes: {} at {p} and {} at {position}",
                    d.len(),
                    data.len()
                );
            }
        }
        let extends = end > file.live.size();
        let alive = vec![true; data.len().div_ceil(SECTOR)];
        let data = data.clone();
        self.push_change(inode, id, Change::Data { position, data, alive });
        if extends {
            self.push_change(inode, id, Change::Extend(end));
        }
    }

    fn push_change(&mut self, inode: u64, id: OpId, change: Change) {
        let file = self.inodes.entry(inode).or_default();
        file.pending.push(PendingChange { id, completed: false, doomed: false, change });
    }

    fn flushable(&self, only: Option<u64>) -> Vec<(u64, OpId)> {
        let files = self.inodes.iter().filter(|(inode, _)| only.is_none_or(|only| only == **inode));
        files
            .flat_map(|(inode, file)| {
                let done = file.pending.iter().filter(|p| p.completed && !p.doomed);
                done.map(|p| (*inode, p.id))
            })
            .collect()
    }

    fn flushable_entries(&self, of: impl Fn(&Op) -> bool) -> Vec<OpId> {
        let done = self.entries.iter().filter(|e| e.completed && !e.doomed && of(&e.op));
        done.map(|e| e.id).collect()
    }

    fn complete(&mut self, id: OpId) {
        match self.in_flight.remove(&id).expect("completion of an operation in flight") {
            InFlight::Write { inode, dsync } => {
                self.finish_changes(inode, id);
                if dsync {
                    self.commit_change(inode, id);
                }
            }
            InFlight::SetSize { inode } => self.finish_changes(inode, id),
            InFlight::Entry => {
                let entry = self.entries.iter_mut().find(|e| e.id == id).expect("entry in flight");
                entry.completed = true;
                let (op, moved) = (entry.op.clone(), entry.moved.clone());
                apply_entry(&mut self.live, &op, moved.as_ref());
                if let Op::Create { inode, .. } = op {
                    self.inodes.entry(inode).or_default();
                }
            }
            InFlight::Sync { changes, entries } => {
                for (inode, id) in changes {
                    self.commit_change(inode, id);
                }
                for id in entries {
                    self.commit_entry(id);
                }
            }
        }
    }

    fn fail(&mut self, id: OpId) {
        match self.in_flight.remove(&id).expect("failure of an operation in flight") {
            InFlight::Write { inode, .. } | InFlight::SetSize { inode } => self.doom_change(inode, id),
            InFlight::Entry => {
                for entry in self.entries.iter_mut().filter(|e| e.id == id) {
                    entry.doomed = true;
                }
            }
            InFlight::Sync { changes, entries } => {
                for (inode, id) in changes {
                    self.doom_change(inode, id);
                }
                for entry in self.entries.iter_mut().filter(|e| entries.contains(&e.id)) {
                    entry.doomed = true;
                }
            }
        }
    }

    fn doom_change(&mut self, inode: u64, id: OpId) {
        let file = self.inodes.entry(inode).or_default();
        for change in file.pending.iter_mut().filter(|p| p.id == id) {
            change.completed = true;
            change.doomed = true;
        }
    }

    /// The process sees the change from here on.
    fn finish_changes(&mut self, inode: u64, id: OpId) {
        let file = self.inodes.entry(inode).or_default();
        for pending in file.pending.iter_mut().filter(|p| p.id == id) {
            pending.completed = true;
            match &pending.change {
                Change::Data { position, data, .. } => file.live.write(*position, data),
                Change::Extend(size) => file.live.extend_to(*size),
                Change::SetSize(size) => file.live.set_size(*size),
            }
        }
    }

    /// Makes the changes of one operation durable.
    fn commit_change(&mut self, inode: u64, id: OpId) {
        let file = self.inodes.entry(inode).or_default();
        while let Some(at) = file.pending.iter().position(|p| p.id == id) {
            let pending = file.pending.remove(at);
            match &pending.change {
                Change::Data { position, data, alive } => {
                    write_sectors(&mut file.durable, *position, data, |i| alive[i]);
                    for older in &mut file.pending[..at] {
                        supersede(&mut older.change, *position, data.len() as u64);
                    }
                }
                Change::Extend(size) => file.durable.extend_to(*size),
                Change::SetSize(size) => file.durable.set_size(*size),
            }
        }
    }

    fn commit_entry(&mut self, id: OpId) {
        if let Some(at) = self.entries.iter().position(|e| e.id == id) {
            let entry = self.entries.remove(at);
            apply_entry(&mut self.durable, &entry.op, entry.moved.as_ref());
        }
    }

    /// Everything a crash would decide about, in the order of the operations per file, then directory entries.
    pub fn pending(&self) -> Vec<Pending<'_>> {
        let changes = self.inodes.iter().flat_map(|(inode, file)| file.pending.iter().map(|p| describe(*inode, p)));
        let entries = self.entries.iter().map(|e| Pending::Entry { op: &e.op, completed: e.completed });
        changes.chain(entries).collect()
    }

    /// The disk after a crash now, each pending thing having met the fate that `choose` gives it (in the order of `pending`).
    pub fn crash(&self, choose: &mut dyn FnMut(&Pending<'_>) -> Fate) -> Model {
        let mut inodes = BTreeMap::new();
        for (inode, file) in &self.inodes {
            let mut content = file.durable.clone();
            for pending in &file.pending {
                let fate = choose(&describe(*inode, pending));
                apply_fate(&mut content, &pending.change, fate);
            }
            // Data above a size that did not survive is gone.
            let size = content.size();
            content.set_size(u64::MAX);
            content.set_size(size);
            inodes.insert(*inode, Inode { live: content.clone(), durable: content, pending: Vec::new() });
        }
        let mut names = self.durable.clone();
        for entry in &self.entries {
            let fate = choose(&Pending::Entry { op: &entry.op, completed: entry.completed });
            if fate != Fate::Lose {
                apply_entry(&mut names, &entry.op, entry.moved.as_ref());
            }
        }
        drop_orphans(&mut names);
        for node in names.values() {
            if let Node::File(inode) = node {
                inodes.entry(*inode).or_default();
            }
        }
        inodes.retain(|inode, _| names.values().any(|n| *n == Node::File(*inode)));
        Model { inodes, live: names.clone(), durable: names, entries: Vec::new(), in_flight: BTreeMap::new() }
    }

    /// The disk after the process alone died now: what had completed is there and still not durable; what was in flight meets the fate that `choose` gives it.
    pub fn kill(&self, choose: &mut dyn FnMut(&Pending<'_>) -> Fate) -> Model {
        let mut left = self.clone();
        left.in_flight.clear();
        for (inode, file) in &mut left.inodes {
            let mut kept = Vec::with_capacity(file.pending.len());
            for mut pending in std::mem::take(&mut file.pending) {
                if !pending.completed {
                    match choose(&describe(*inode, &pending)) {
                        Fate::Lose => continue,
                        Fate::Keep => {}
                        Fate::Torn(seed) | Fate::Garbage(seed) => tear(&mut pending.change, seed),
                    }
                    pending.completed = true;
                    apply_fate(&mut file.live, &pending.change, Fate::Keep);
                }
                kept.push(pending);
            }
            file.pending = kept;
        }
        let mut kept = Vec::with_capacity(left.entries.len());
        for mut entry in std::mem::take(&mut left.entries) {
            if !entry.completed {
                if choose(&Pending::Entry { op: &entry.op, completed: false }) == Fate::Lose {
                    continue;
                }
                entry.completed = true;
                apply_entry(&mut left.live, &entry.op, entry.moved.as_ref());
                if let Op::Create { inode, .. } = entry.op {
                    left.inodes.entry(inode).or_default();
                }
            }
            kept.push(entry);
        }
        left.entries = kept;
        left
    }

    /// The name of a file as the process sees it.
    pub fn path_of(&self, inode: u64) -> Option<&Path> {
        self.live.iter().find(|(_, node)| **node == Node::File(inode)).map(|(path, _)| path.as_path())
    }

    /// Largest number of an operation that is still pending.
    pub(super) fn op_max(&self) -> OpId {
        let changes = self.inodes.values().flat_map(|file| file.pending.iter().map(|p| p.id));
        changes.chain(self.entries.iter().map(|e| e.id)).max().unwrap_or(0)
    }

    pub(super) fn node(&self, path: &Path) -> Option<&Node> {
        self.live.get(path)
    }

    pub(super) fn names(&self) -> &BTreeMap<PathBuf, Node> {
        &self.live
    }

    pub(super) fn content(&self, inode: u64) -> Option<&Content> {
        self.inodes.get(&inode).map(|file| &file.live)
    }

    pub(super) fn inode_max(&self) -> u64 {
        self.inodes.keys().next_back().copied().unwrap_or(0)
    }

    /// A directory that was always there.
    pub(super) fn add_durable_dir(&mut self, path: &Path) {
        self.live.insert(path.to_path_buf(), Node::Dir);
        self.durable.insert(path.to_path_buf(), Node::Dir);
    }

    /// Changes bytes behind everybody's back, durably.
    pub(super) fn overwrite(&mut self, inode: u64, position: u64, data: &[u8]) {
        let file = self.inodes.entry(inode).or_default();
        file.live.write(position, data);
        file.durable.write(position, data);
    }
}

fn describe(inode: u64, pending: &PendingChange) -> Pending<'_> {
    let completed = pending.completed;
    match &pending.change {
        Change::Data { position, data, alive } => {
            Pending::Data { inode, position: *position, len: data.len() as u64, completed, sectors: alive.iter().filter(|a| **a).count() }
        }
        Change::Extend(size) | Change::SetSize(size) => Pending::Size { inode, size: *size, completed },
    }
}

fn apply_fate(content: &mut Content, change: &Change, fate: Fate) {
    let (position, data, alive) = match (change, fate) {
        (_, Fate::Lose) => return,
        (Change::Extend(size), _) => return content.extend_to(*size),
        (Change::SetSize(size), _) => return content.set_size(*size),
        (Change::Data { position, data, alive }, _) => (*position, data, alive),
    };
    match fate {
        Fate::Keep | Fate::Lose => write_sectors(content, position, data, |i| alive[i]),
        Fate::Torn(seed) => {
            let mut rng = Rng::new(seed);
            write_sectors(content, position, data, |i| rng.percent(50) && alive[i]);
        }
        Fate::Garbage(seed) => {
            let mut rng = Rng::new(seed);
            let noise: Vec<u8> = (0..SECTOR).map(|_| rng.next_u64() as u8).collect();
            write_sectors(content, position, data, |i| rng.percent(50) && alive[i]);
            for (i, sector) in data.chunks(SECTOR).enumerate() {
                if alive[i] && rng.percent(40) {
                    content.write(position + (i * SECTOR) as u64, &noise[..sector.len()]);
                }
            }
        }
    }
}

/// Some sectors of a write never reached the page cache or the device.
fn tear(change: &mut Change, seed: u64) {
    if let Change::Data { alive, .. } = change {
        let mut rng = Rng::new(seed);
        alive.iter_mut().for_each(|alive| *alive &= rng.percent(50));
    }
}

fn write_sectors(content: &mut Content, position: u64, data: &[u8], mut take: impl FnMut(usize) -> bool) {
    // Runs of sectors are written at once, so that whole pages of zeros stay free of cost.
    let mut run = 0..0;
    for i in 0..data.len().div_ceil(SECTOR) {
        if take(i) {
            let start = if run.is_empty() { i * SECTOR } else { run.start };
            run = start..((i + 1) * SECTOR).min(data.len());
        } else if !run.is_empty() {
            content.write(position + run.start as u64, &data[run.clone()]);
            run = 0..0;
        }
    }
    if !run.is_empty() {
        content.write(position + run.start as u64, &data[run]);
    }
}

/// Something durable and newer lies over these bytes: the older write can no longer show through.
fn supersede(older: &mut Change, position: u64, len: u64) {
    if let Change::Data { position: p, data, alive } = older {
        for (i, alive) in alive.iter_mut().enumerate() {
            let start = *p + (i * SECTOR) as u64;
            let end = (start + SECTOR as u64).min(*p + data.len() as u64);
            if position <= start && end <= position + len {
                *alive = false;
            }
        }
    }
}

fn apply_entry(names: &mut BTreeMap<PathBuf, Node>, op: &Op, moved: Option<&Node>) {
    match op {
        Op::Create { path, inode } => {
            names.insert(path.clone(), Node::File(*inode));
        }
        Op::Rename { from, to } => {
            if let Some(node) = moved {
                names.remove(from);
                names.insert(to.clone(), node.clone());
            }
        }
        Op::Remove { path } => {
            names.remove(path);
        }
        Op::CreateDir { path } => {
            names.entry(path.clone()).or_insert(Node::Dir);
        }
        Op::RemoveDirAll { path } => names.retain(|name, _| !name.starts_with(path)),
        Op::Write { .. } | Op::SetSize { .. } | Op::SyncFile { .. } | Op::SyncDir { .. } | Op::SyncAll => {}
    }
}

/// Whether a change of a directory lies in this directory. A rename across two directories counts for the target: its source entry goes with it.
fn touches(op: &Op, dir: &Path) -> bool {
    match op {
        Op::Create { path, .. } | Op::Remove { path } | Op::CreateDir { path } | Op::RemoveDirAll { path } => path.parent() == Some(dir),
        Op::Rename { to, .. } => to.parent() == Some(dir),
        Op::Write { .. } | Op::SetSize { .. } | Op::SyncFile { .. } | Op::SyncDir { .. } | Op::SyncAll => false,
    }
}

fn drop_orphans(names: &mut BTreeMap<PathBuf, Node>) {
    loop {
        let orphan = names.keys().find(|path| {
            let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
            parent.is_some_and(|p| p != Path::new("/") && names.get(p) != Some(&Node::Dir))
        });
        match orphan.cloned() {
            Some(path) => names.remove(&path),
            None => return,
        };
    }
}
