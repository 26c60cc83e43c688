//! `FrameQueue`: entries become frames here, in memory. Each entry is copied once, into the buffer that will be written.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use super::frame::{self, FRAME_HEADER_BYTES, Fragment, FrameHeader, entry_bytes, fragment_bytes_max};
use super::space::{Place, Space};
use super::{EntryHeader, Identity};
use crate::io::{Disk, DiskBuffer};

/// A frame's first buffer, in bytes; it doubles when entries ask for more. Later frames begin with what frames of late have needed.
const FIRST_BUFFER_BYTES: usize = 16 * 1024;

/// Frames that were not handed to the writer yet: the one being built and those that are full.
pub(super) struct FrameQueue<D: Disk> {
    pub(super) space: Space,
    building: Option<Building<D>>,
    full: VecDeque<Building<D>>,
    /// Bytes in `full`.
    full_bytes: usize,
    pending_bytes_max: usize,
    /// First and last frame of each entry that takes several, as far as not released.
    spans: VecDeque<(u64, u64)>,
    /// Size that frames of late have needed.
    buffer_hint: usize,
}

struct Building<D: Disk> {
    buffer: D::Buffer,
    used: usize,
    place: Place,
    sequence: u64,
    entries: u32,
    data_bytes: u64,
    /// It holds an entry that is acknowledged only when it is durable.
    durable: bool,
    began: Duration,
}

/// A sealed frame on its way to the disk.
pub(super) struct Sealed<D: Disk> {
    pub(super) buffer: Rc<D::Buffer>,
    pub(super) sequence: u64,
    pub(super) place: Place,
    pub(super) entries: u32,
    pub(super) data_bytes: u64,
    /// It holds an entry that is acknowledged only when it is durable.
    pub(super) durable: bool,
    pub(super) began: Duration,
}

impl<D: Disk> FrameQueue<D> {
    pub(super) fn new(space: Space, pending_bytes_max: usize) -> FrameQueue<D> {
        FrameQueue {
            space,
            building: None,
            full: VecDeque::new(),
            full_bytes: 0,
            pending_bytes_max,
            spans: VecDeque::new(),
            buffer_hint: FIRST_BUFFER_BYTES,
        }
    }

    /// Largest entry that can ever be taken, in bytes of data.
    pub(super) fn entry_bytes_max(&self) -> u64 {
        self.space.entry_bytes_max().min(crate::limits::JOURNAL_ENTRY_BYTES_MAX)
    }

    /// Whether the files have room for an entry of `len` bytes.
    pub(super) fn has_files_for(&self, len: usize) -> bool {
        match &self.building {
            Some(building) if building.fits(len) => true,
            Some(building) => self.space.has_room(len, self.space.padded(building.used) as u64),
            None => self.space.has_room(len, 0),
        }
    }

    /// Whether the queue in memory has room for an entry of `len` bytes; an empty queue always has.
    pub(super) fn has_queue_for(&self, len: usize) -> bool {
        let pending = self.full_bytes + self.building.as_ref().map_or(0, |b| b.used);
        pending == 0 || pending + entry_bytes(len) <= self.pending_bytes_max
    }

    /// Puts an entry, for which there is room, into the frame being built, or into frames of its own when it is longer than a frame. Returns the
    /// frame that holds its end. Frames with a `durable` entry in them are made durable at once.
    pub(super) fn push(&mut self, disk: &D, header: &EntryHeader, data: &[u8], durable: bool) -> u64 {
        let total = data.len() as u32;
        if self.space.fragments(data.len()) == 1 {
            if !self.building.as_ref().is_some_and(|b| b.fits(data.len())) {
                self.begin(disk, FRAME_HEADER_BYTES + entry_bytes(data.len()));
            }
            return self.put(disk, header, Fragment { at: 0, total }, data, durable);
        }
        let first = self.newest() + 1;
        let mut at = 0;
        let mut sequence = 0;
        while at < data.len() {
            let left = FRAME_HEADER_BYTES + entry_bytes(data.len() - at);
            let place = self.begin(disk, left.min(self.space.frame_bytes_max()));
            let piece = &data[at..(at + fragment_bytes_max(place.len_max)).min(data.len())];
            sequence = self.put(disk, header, Fragment { at: at as u32, total }, piece, durable);
            at += piece.len();
        }
        self.spans.push_back((first, sequence));
        sequence
    }

    /// Frames up to `up_to` are not needed any more, except that an entry over several frames is needed until its last one is released.
    pub(super) fn release(&mut self, up_to: u64) {
        let mut up_to = up_to;
        while let Some(&(first, last)) = self.spans.front() {
            if last > up_to {
                up_to = up_to.min(first - 1);
                break;
            }
            self.spans.pop_front();
        }
        self.space.release(up_to);
    }

    /// Closes the frame being built and begins the next one, of at least `len_min` bytes.
    fn begin(&mut self, disk: &D, len_min: usize) -> Place {
        self.close_building();
        let len_min = self.space.padded(len_min);
        let place = self.space.place(len_min).expect("room was checked");
        let capacity = self.buffer_hint.next_power_of_two().max(len_min).min(place.len_max);
        self.building = Some(Building {
            buffer: disk.buffer_for_overwrite(self.space.padded(capacity)),
            used: FRAME_HEADER_BYTES,
            place,
            sequence: self.space.last_sequence() + 1,
            entries: 0,
            data_bytes: 0,
            durable: false,
            began: disk.now(),
        });
        place
    }

    fn put(&mut self, disk: &D, header: &EntryHeader, fragment: Fragment, data: &[u8], durable: bool) -> u64 {
        let building = self.building.as_mut().expect("a frame is being built");
        let end = building.used + entry_bytes(data.len());
        assert!(end <= building.place.len_max, "an entry ends at {end}, the frame at {}", building.place.len_max);
        if end > building.buffer.len() {
            let capacity = (building.buffer.len() * 2).max(self.space.padded(end)).min(building.place.len_max);
            let mut larger = disk.buffer_for_overwrite(capacity);
            larger.bytes_mut()[..building.used].copy_from_slice(&building.buffer.bytes()[..building.used]);
            building.buffer = larger;
        }
        building.used += frame::put_entry(&mut building.buffer.bytes_mut()[building.used..], header, fragment, data);
        building.entries += 1;
        building.durable |= durable;
        building.data_bytes += data.len() as u64;
        building.sequence
    }

    fn close_building(&mut self) {
        if let Some(building) = self.building.take() {
            self.space.advance(building.sequence, self.space.padded(building.used));
            self.buffer_hint = building.used.max(self.buffer_hint - self.buffer_hint / 8).max(FIRST_BUFFER_BYTES);
            self.full_bytes += building.used;
            self.full.push_back(building);
        }
    }

    /// Sequence of the next frame to be taken, if there is one.
    pub(super) fn next_sequence(&self) -> Option<u64> {
        self.full.front().or(self.building.as_ref()).map(|b| b.sequence)
    }

    /// Newest frame that was pushed into.
    pub(super) fn newest(&self) -> u64 {
        self.building.as_ref().map_or(self.space.last_sequence(), |b| b.sequence)
    }

    /// Takes the next frame, complete with header and checksum.
    pub(super) fn take(&mut self, identity: Identity, completed: u64) -> Option<Sealed<D>> {
        if self.full.is_empty() {
            self.close_building();
        }
        let mut building = self.full.pop_front()?;
        self.full_bytes -= building.used;
        let len = self.space.padded(building.used);
        building.buffer.shorten(len);
        building.buffer.bytes_mut()[building.used..].fill(0);
        let header = FrameHeader {
            journal: identity.journal,
            generation: identity.generation,
            sequence: building.sequence,
            completed,
            released: self.space.released(),
            len: len as u32,
            payload_len: (building.used - FRAME_HEADER_BYTES) as u32,
            entries: building.entries,
        };
        frame::seal(building.buffer.bytes_mut(), &header);
        Some(Sealed {
            buffer: Rc::new(building.buffer),
            sequence: building.sequence,
            place: building.place,
            entries: building.entries,
            data_bytes: building.data_bytes,
            durable: building.durable,
            began: building.began,
        })
    }
}

impl<D: Disk> Building<D> {
    fn fits(&self, len: usize) -> bool {
        self.used + entry_bytes(len) <= self.place.len_max
    }
}
