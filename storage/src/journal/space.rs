//! `Space`: where the next frame goes and what is still needed. Pure bookkeeping of slots; `recycle.rs` gives each slot a file.
//!
//! A *slot* is one file's worth of frames; slots are numbered for ever, files are used again. At most `files_max` slots are alive: those that hold
//! frames not yet released, and the head slot. Positions count from the start of the generation: slot × file size + position in the file.

use std::collections::VecDeque;

use super::frame::{FRAME_HEADER_BYTES, entry_bytes, fragment_bytes_max};

/// Steps in which released space is counted within a file, per file.
const MARKS_PER_FILE: u64 = 256;

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Its slot.
    pub(super) slot: u64,
    /// Byte position in the slot's file.
    pub(super) position: u64,
    /// Most bytes it may have there.
    pub(super) len_max: usize,
}

/// The bookkeeping. See the file's header.
#[derive(Debug)]
pub(super) struct Space {
    alignment: usize,
    file_bytes: u64,
    files_max: u64,
    /// Files that there are, or may be made, when something is pushed; at most `files_max`.
    files_now: u64,
    frame_bytes_max: usize,
    /// Oldest slot alive.
    oldest_slot: u64,
    head_slot: u64,
    /// Where the next frame begins in the head slot.
    head_position: u64,
    /// The first frame of the head slot.
    head_first: u64,
    last_sequence: u64,
    released: u64,
    /// Last sequence of each slot alive before the head slot.
    slot_ends: VecDeque<u64>,
    /// (sequence, position behind it) in steps, for `bytes_used`.
    marks: VecDeque<(u64, u64)>,
    released_position: u64,
}

impl Space {
    pub(super) fn new(alignment: usize, file_bytes: u64, files_max: u64, frame_bytes_max: usize) -> Space {
        Space {
            alignment,
            file_bytes,
            files_max,
            files_now: files_max,
            frame_bytes_max,
            oldest_slot: 0,
            head_slot: 0,
            head_position: 0,
            head_first: 1,
            last_sequence: 0,
            released: 0,
            slot_ends: VecDeque::new(),
            marks: VecDeque::new(),
            released_position: 0,
        }
    }

    /// Largest entry that can ever be taken, in bytes of data.
    pub(super) fn entry_bytes_max(&self) -> u64 {
        (self.files_max - 1) * self.frames_per_file() * fragment_bytes_max(self.frame_bytes_max) as u64
    }

    fn frames_per_file(&self) -> u64 {
        self.file_bytes / self.frame_bytes_max as u64
    }

    /// Bytes on the disk of a frame with `used` bytes of header and entries.
    pub(super) fn padded(&self, used: usize) -> usize {
        used.next_multiple_of(self.alignment)
    }

    /// Frames an entry of `len` bytes is split into; 1: it shares a frame with others.
    pub(super) fn fragments(&self, len: usize) -> usize {
        if FRAME_HEADER_BYTES + entry_bytes(len) <= self.frame_bytes_max {
            1
        } else {
            len.div_ceil(fragment_bytes_max(self.frame_bytes_max))
        }
    }

    /// Whether frames for an entry of `len` bytes can be placed when the next frame begins `behind` bytes after the head.
    pub(super) fn has_room(&self, len: usize, behind: u64) -> bool {
        let fragments = self.fragments(len) as u64;
        let rest = self.file_bytes - (self.head_position + behind).min(self.file_bytes);
        let slots_free = self.files_now.saturating_sub(self.head_slot + 1 - self.oldest_slot);
        if fragments == 1 {
            return self.padded(FRAME_HEADER_BYTES + entry_bytes(len)) as u64 <= rest || slots_free > 0;
        }
        let more = fragments.saturating_sub(rest / self.frame_bytes_max as u64);
        more.div_ceil(self.frames_per_file()) <= slots_free
    }

    /// No more than so many files are counted on from now on; at least two.
    pub(super) fn set_files_now(&mut self, files: u64) {
        self.files_now = files.max(2).min(self.files_max);
    }

    /// The place of the next frame, which needs at least `len_min` bytes; moves to the next slot if need be. `None`: no slot is free.
    pub(super) fn place(&mut self, len_min: usize) -> Option<Place> {
        if self.head_position + len_min as u64 > self.file_bytes {
            if self.head_slot + 1 - self.oldest_slot >= self.files_max {
                return None;
            }
            self.slot_ends.push_back(self.last_sequence);
            self.head_slot += 1;
            self.head_position = 0;
            self.head_first = self.last_sequence + 1;
        }
        let rest = self.file_bytes - self.head_position;
        Some(Place { slot: self.head_slot, position: self.head_position, len_max: rest.min(self.frame_bytes_max as u64) as usize })
    }

    /// The frame `sequence` of `len` bytes took the place given last.
    pub(super) fn advance(&mut self, sequence: u64, len: usize) {
        assert_eq!(sequence, self.last_sequence + 1, "frames are placed in sequence");
        self.last_sequence = sequence;
        self.head_position += len as u64;
        assert!(self.head_position <= self.file_bytes, "a frame ends at {} of {}", self.head_position, self.file_bytes);
        let step = self.file_bytes / MARKS_PER_FILE;
        let position = self.position();
        if self.marks.back().map_or(self.released_position, |m| m.1) + step <= position {
            self.marks.push_back((sequence, position));
        }
    }

    /// Frames up to `up_to` are not needed any more.
    pub(super) fn release(&mut self, up_to: u64) {
        assert!(up_to <= self.last_sequence, "release of frame {up_to}, the last is {}", self.last_sequence);
        self.released = self.released.max(up_to);
        while let Some(&(sequence, position)) = self.marks.front()
            && sequence <= self.released
        {
            self.released_position = position;
            self.marks.pop_front();
        }
        if self.released == self.last_sequence {
            self.released_position = self.position();
        }
    }

    /// Takes the next slot that is wholly released off the living: its file may be used again.
    pub(super) fn retire(&mut self) -> Option<u64> {
        self.slot_ends.front().filter(|end| **end <= self.released)?;
        self.slot_ends.pop_front();
        self.oldest_slot += 1;
        Some(self.oldest_slot - 1)
    }

    fn position(&self) -> u64 {
        self.head_slot * self.file_bytes + self.head_position
    }

    pub(super) fn bytes_used(&self) -> u64 {
        self.position() - self.released_position
    }

    pub(super) fn bytes_limit(&self) -> u64 {
        self.files_max * self.file_bytes
    }

    pub(super) fn released(&self) -> u64 {
        self.released
    }

    pub(super) fn frame_bytes_max(&self) -> usize {
        self.frame_bytes_max
    }

    pub(super) fn last_sequence(&self) -> u64 {
        self.last_sequence
    }

    pub(super) fn head_slot(&self) -> u64 {
        self.head_slot
    }

    /// The first frame of the head slot; perhaps still to come.
    pub(super) fn head_first(&self) -> u64 {
        self.head_first
    }

    /// True in the second half of the head slot: time to have the next file ready.
    pub(super) fn head_is_half_full(&self) -> bool {
        self.head_position * 2 > self.file_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn space() -> Space {
        Space::new(4096, MIB, 3, 256 * 1024)
    }

    fn put(space: &mut Space, len: usize) -> Option<Place> {
        let place = space.place(len)?;
        let next = space.last_sequence() + 1;
        space.advance(next, len);
        Some(place)
    }

    #[test]
    fn frames_follow_each_other_and_never_span_files() {
        let mut space = space();
        for n in 0..8u64 {
            let place = put(&mut space, 200 * 1024).unwrap();
            let (slot, position) = (n / 5, n % 5 * 200 * 1024);
            assert_eq!((place.slot, place.position), (slot, position));
            assert_eq!(place.len_max as u64, (MIB - position).min(256 * 1024));
        }
    }

    #[test]
    fn at_the_bound_there_is_no_place_until_a_slot_is_retired() {
        let mut space = space();
        let mut frames = 0;
        while put(&mut space, 256 * 1024).is_some() {
            frames += 1;
        }
        assert_eq!((frames, space.bytes_used()), (12, 3 * MIB));
        assert!(!space.has_room(1, 0));
        space.release(3);
        assert_eq!(space.retire(), None, "the first slot still has frame 4");
        space.release(4);
        assert_eq!(space.retire(), Some(0));
        assert_eq!((space.retire(), space.bytes_used()), (None, 2 * MIB));
        assert_eq!(put(&mut space, 4096).unwrap(), Place { slot: 3, position: 0, len_max: 256 * 1024 });
        space.release(13);
        assert_eq!(space.bytes_used(), 0, "all released");
        assert_eq!((space.retire(), space.retire(), space.retire()), (Some(1), Some(2), None), "the head slot stays");
    }

    #[test]
    fn files_that_may_not_be_made_are_no_room() {
        let mut space = space();
        space.set_files_now(1);
        while space.has_room(200_000, 0) {
            put(&mut space, 256 * 1024).unwrap();
        }
        assert_eq!(space.bytes_used(), 2 * MIB, "two there are in any case");
        space.set_files_now(9);
        assert!(space.has_room(200_000, 0));
        put(&mut space, 256 * 1024).unwrap();
        space.set_files_now(2);
        assert!(space.has_room(200_000, 0) == (3 * MIB - space.bytes_used() >= 256 * 1024), "what is there already is used");
        space.release(9);
        while space.retire().is_some() {}
        assert!(space.has_room(200_000, 0));
    }

    #[test]
    fn a_long_entry_needs_whole_frames() {
        let mut space = space();
        let most = space.entry_bytes_max() as usize;
        assert_eq!(most, 8 * fragment_bytes_max(256 * 1024));
        assert_eq!(space.fragments(1000), 1);
        assert_eq!(space.fragments(fragment_bytes_max(256 * 1024)), 1);
        assert_eq!(space.fragments(most), 8);
        assert!(space.has_room(most, 0));
        put(&mut space, 4096).unwrap();
        // Three frames of the head file and all of the two others.
        assert!(space.has_room(11 * fragment_bytes_max(256 * 1024), 0));
        assert!(!space.has_room(11 * fragment_bytes_max(256 * 1024) + 1, 0));
        assert!(!space.has_room(11 * fragment_bytes_max(256 * 1024), 1 << 19), "a frame being built takes its part");
    }
}
