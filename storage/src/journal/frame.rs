//! Frames and entries as bytes: sealing, checking, walking. Pure; the layout is in `FORMAT.md`.
//!
//! A frame is a 64-byte header, then entries (72-byte header and data, padded to 8 bytes), then zeros up to the device's alignment. The CRC-32 covers everything
//! behind itself, padding included, so any changed bit of a frame is found. Lengths are checked against limits before anything is read by them.

use coreline_wire::ids::{TopicId, TopicPartition};

use super::{EntryHeader, EntryKind};
use crate::limits::{ALIGNMENT_MIN, JOURNAL_ENTRY_BYTES_MAX, JOURNAL_FRAME_BYTES_MAX};

/// Bytes of a frame's header.
pub(super) const FRAME_HEADER_BYTES: usize = 64;
/// Bytes of an entry's header.
pub(super) const ENTRY_HEADER_BYTES: usize = 72;
/// Version of the format of frames and entries.
pub(super) const FORMAT_VERSION: u16 = 1;

const MAGIC: u32 = u32::from_le_bytes(*b"CLJF");
const ENTRY_ALIGNMENT: usize = 8;

// An entry is found at a multiple of 8, so its header must keep that.
const _: () = assert!(FRAME_HEADER_BYTES.is_multiple_of(ENTRY_ALIGNMENT) && ENTRY_HEADER_BYTES.is_multiple_of(ENTRY_ALIGNMENT));

/// What a frame says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    /// The journal it belongs to.
    pub(super) journal: u64,
    /// The opening of the journal it was written by.
    pub(super) generation: u64,
    /// Its number, from 1 in each generation.
    pub(super) sequence: u64,
    /// The newest frame known durable when this one was sent: frames up to it can never be "not yet written".
    pub(super) completed: u64,
    /// The newest frame known released when this one was sent.
    pub(super) released: u64,
    /// Bytes on the disk, padding included.
    pub(super) len: u32,
    /// Bytes of entries.
    pub(super) payload_len: u32,
    /// Number of entries (fragments count each).
    pub(super) entries: u32,
}

/// Which part of an entry a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fragment {
    /// Where in the entry's data it begins.
    pub(super) at: u32,
    /// Length of the entry's data.
    pub(super) total: u32,
}

/// Bytes an entry with `len` bytes of data takes in a frame.
pub(super) fn entry_bytes(len: usize) -> usize {
    ENTRY_HEADER_BYTES + len.next_multiple_of(ENTRY_ALIGNMENT)
}

/// Most bytes of data that one fragment holds in a frame of at most `frame_bytes_max`.
pub(super) fn fragment_bytes_max(frame_bytes_max: usize) -> usize {
    frame_bytes_max - FRAME_HEADER_BYTES - ENTRY_HEADER_BYTES
}

/// Writes an entry (or a fragment of one) at the start of `out`, which has room for `entry_bytes(data.len())`; says how much that was.
pub(super) fn put_entry(out: &mut [u8], header: &EntryHeader, fragment: Fragment, data: &[u8]) -> usize {
    let bytes = entry_bytes(data.len());
    let (head, body) = out[..bytes].split_at_mut(ENTRY_HEADER_BYTES);
    head[0..16].copy_from_slice(&header.partition.topic.0);
    head[16..20].copy_from_slice(&header.partition.partition.to_le_bytes());
    head[20..24].copy_from_slice(&header.leader_epoch.to_le_bytes());
    head[24..32].copy_from_slice(&header.segment_base.to_le_bytes());
    head[32..40].copy_from_slice(&header.position.to_le_bytes());
    head[40..48].copy_from_slice(&header.base_offset.to_le_bytes());
    head[48..56].copy_from_slice(&header.last_offset.to_le_bytes());
    head[56..60].copy_from_slice(&(data.len() as u32).to_le_bytes());
    head[60..64].copy_from_slice(&fragment.at.to_le_bytes());
    head[64..68].copy_from_slice(&fragment.total.to_le_bytes());
    head[68..72].copy_from_slice(&[header.kind as u8, 0, 0, 0]);
    body[..data.len()].copy_from_slice(data);
    body[data.len()..].fill(0);
    bytes
}

/// Fills in the header and the checksum of a frame whose entries and padding are already in `frame`.
pub(super) fn seal(frame: &mut [u8], header: &FrameHeader) {
    debug_assert_eq!(frame.len(), header.len as usize);
    frame[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    frame[8..10].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    frame[10..12].copy_from_slice(&[0; 2]);
    frame[12..16].copy_from_slice(&header.entries.to_le_bytes());
    frame[16..24].copy_from_slice(&header.journal.to_le_bytes());
    frame[24..32].copy_from_slice(&header.generation.to_le_bytes());
    frame[32..40].copy_from_slice(&header.sequence.to_le_bytes());
    frame[40..48].copy_from_slice(&header.completed.to_le_bytes());
    frame[48..56].copy_from_slice(&header.released.to_le_bytes());
    frame[56..60].copy_from_slice(&header.len.to_le_bytes());
    frame[60..64].copy_from_slice(&header.payload_len.to_le_bytes());
    let crc = crc32fast::hash(&frame[8..]);
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// Reads a header without its checksum: `None` unless magic, version and lengths are possible. `head` has at least 64 bytes.
pub(super) fn peek(head: &[u8]) -> Option<FrameHeader> {
    let head = head.first_chunk::<FRAME_HEADER_BYTES>()?;
    if u32_at(head, 0) != MAGIC || u16::from_le_bytes([head[8], head[9]]) != FORMAT_VERSION {
        return None;
    }
    let header = FrameHeader {
        journal: u64_at(head, 16),
        generation: u64_at(head, 24),
        sequence: u64_at(head, 32),
        completed: u64_at(head, 40),
        released: u64_at(head, 48),
        len: u32_at(head, 56),
        payload_len: u32_at(head, 60),
        entries: u32_at(head, 12),
    };
    let len = header.len as usize;
    let possible = len.is_multiple_of(ALIGNMENT_MIN)
        && (ALIGNMENT_MIN..=JOURNAL_FRAME_BYTES_MAX).contains(&len)
        && header.payload_len as usize <= len - FRAME_HEADER_BYTES
        && header.entries as usize <= header.payload_len as usize / ENTRY_HEADER_BYTES
        && header.sequence > 0
        && header.completed < header.sequence
        && header.released <= header.completed;
    possible.then_some(header)
}

/// Checks a whole frame, `frame.len()` being the length its header says.
pub(super) fn check(frame: &[u8]) -> Option<FrameHeader> {
    let header = peek(frame)?;
    let good = planted!(FrameCrcNotChecked) || u32_at(frame, 4) == crc32fast::hash(&frame[8..]);
    let whole = frame.len() == header.len as usize && good;
    whole.then_some(header)
}

/// Walks over the entries of a checked frame. An error tells what is inconsistent, which a checksum cannot cause: the writer did.
pub(super) fn entries<'a>(
    frame: &'a [u8],
    header: &FrameHeader,
) -> impl Iterator<Item = Result<(EntryHeader, Fragment, &'a [u8]), String>> + use<'a> {
    let payload = &frame[FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + header.payload_len as usize];
    let mut rest = payload;
    let mut left = header.entries;
    std::iter::from_fn(move || {
        if left == 0 {
            let surplus = !rest.is_empty();
            rest = &[];
            return surplus.then(|| Err("bytes behind the last entry".to_string()));
        }
        left -= 1;
        let taken = take_entry(&mut rest);
        if taken.is_err() {
            (left, rest) = (0, &[]);
        }
        Some(taken)
    })
}

fn take_entry<'a>(rest: &mut &'a [u8]) -> Result<(EntryHeader, Fragment, &'a [u8]), String> {
    let (head, body) = rest.split_first_chunk::<ENTRY_HEADER_BYTES>().ok_or("an entry is cut short")?;
    let len = u32_at(head, 56) as usize;
    let fragment = Fragment { at: u32_at(head, 60), total: u32_at(head, 64) };
    if len.next_multiple_of(ENTRY_ALIGNMENT) > body.len() {
        return Err(format!("an entry of {len} bytes, {} are there", body.len()));
    }
    if u64::from(fragment.at) + len as u64 > u64::from(fragment.total) || u64::from(fragment.total) > JOURNAL_ENTRY_BYTES_MAX {
        return Err(format!("a fragment of {len} bytes at {} of {}", fragment.at, fragment.total));
    }
    let kind = match head[68] {
        1 => EntryKind::Batch,
        2 => EntryKind::BlockImage,
        other => return Err(format!("entry kind {other}")),
    };
    let header = EntryHeader {
        partition: TopicPartition { topic: TopicId(head[0..16].try_into().expect("sixteen bytes")), partition: u32_at(head, 16) as i32 },
        segment_base: u64_at(head, 24) as i64,
        position: u64_at(head, 32),
        base_offset: u64_at(head, 40) as i64,
        last_offset: u64_at(head, 48) as i64,
        leader_epoch: u32_at(head, 20) as i32,
        kind,
    };
    *rest = &body[len.next_multiple_of(ENTRY_ALIGNMENT)..];
    Ok((header, fragment, &body[..len]))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(n: i64, kind: EntryKind) -> EntryHeader {
        EntryHeader {
            partition: TopicPartition { topic: TopicId([n as u8; 16]), partition: n as i32 - 5 },
            segment_base: n * 1000,
            position: n as u64 * 4096 + 1,
            base_offset: -n,
            last_offset: i64::MAX - n,
            leader_epoch: -1,
            kind,
        }
    }

    fn frame(data: &[Vec<u8>]) -> (Vec<u8>, FrameHeader) {
        let payload: usize = data.iter().map(|d| entry_bytes(d.len())).sum();
        let mut bytes = vec![0; (FRAME_HEADER_BYTES + payload).next_multiple_of(4096)];
        let mut at = FRAME_HEADER_BYTES;
        for (n, data) in data.iter().enumerate() {
            let fragment = Fragment { at: 0, total: data.len() as u32 };
            at += put_entry(&mut bytes[at..], &header(n as i64, EntryKind::Batch), fragment, data);
        }
        let header = FrameHeader {
            journal: 0x1122_3344_5566_7788,
            generation: 9,
            sequence: 100,
            completed: 98,
            released: 50,
            len: bytes.len() as u32,
            payload_len: payload as u32,
            entries: data.len() as u32,
        };
        seal(&mut bytes, &header);
        (bytes, header)
    }

    proptest! {
        #[test]
        fn a_frame_comes_back_as_it_was(data in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..40)) {
            let (bytes, expected) = frame(&data);
            let found = check(&bytes).unwrap();
            prop_assert_eq!(found, expected);
            let walked: Vec<_> = entries(&bytes, &found).map(|e| e.unwrap()).collect();
            prop_assert_eq!(walked.len(), data.len());
            for (n, (entry, fragment, body)) in walked.into_iter().enumerate() {
                prop_assert_eq!(entry, header(n as i64, EntryKind::Batch));
                prop_assert_eq!(fragment, Fragment { at: 0, total: data[n].len() as u32 });
                prop_assert_eq!(body, &data[n][..]);
            }
        }

        #[test]
        fn arbitrary_bytes_are_no_frame_and_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..5000)) {
            prop_assert!(check(&bytes).is_none());
        }

        #[test]
        fn arbitrary_entries_behind_a_good_checksum_never_panic(payload in proptest::collection::vec(any::<u8>(), 0..400), count in 0u32..8) {
            let mut bytes = vec![0; 4096];
            bytes[FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + payload.len()].copy_from_slice(&payload);
            let payload_len = payload.len() as u32;
            let header = FrameHeader { journal: 1, generation: 1, sequence: 1, completed: 0, released: 0, len: 4096, payload_len, entries: count };
            seal(&mut bytes, &header);
            if let Some(found) = check(&bytes) {
                prop_assert!(entries(&bytes, &found).count() <= count as usize + 1);
            }
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let (bytes, _) = frame(&[b"hello".to_vec(), vec![7; 100]]);
        assert!(check(&bytes).is_some());
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(check(&flipped).is_none(), "bit {bit}");
        }
        for cut in 0..bytes.len() {
            assert!(check(&bytes[..cut]).is_none(), "cut at {cut}");
        }
    }

    #[test]
    fn impossible_lengths_are_refused_before_use() {
        let (bytes, header) = frame(&[vec![1; 10]]);
        let with = |change: fn(&mut FrameHeader)| {
            let mut changed = header;
            change(&mut changed);
            let mut copy = bytes.clone();
            let len = changed.len;
            changed.len = header.len;
            seal(&mut copy, &changed);
            copy[56..60].copy_from_slice(&len.to_le_bytes());
            peek(&copy)
        };
        assert!(with(|_| ()).is_some());
        assert!(with(|h| h.len = u32::MAX - 4095).is_none());
        assert!(with(|h| h.len = 0).is_none());
        assert!(with(|h| h.len = 4097).is_none());
        assert!(with(|h| h.payload_len = 4096).is_none());
        assert!(with(|h| h.entries = u32::MAX).is_none());
        assert!(with(|h| h.completed = 100).is_none());
        assert!(with(|h| h.sequence = 0).is_none());
    }
}
