//! Sizes and bounds of the storage layer, held against each other at compile time. Each says what happens when it is reached.

/// Smallest alignment of direct I/O that is ever used, in bytes; devices that ask for more get more.
pub const ALIGNMENT_MIN: usize = 4096;
/// Largest alignment accepted from a device, in bytes; a device that asks for more is refused.
pub const ALIGNMENT_MAX: usize = 64 * 1024;
/// Sector: the unit in which a crash may tear a write, in bytes.
pub const SECTOR: usize = 512;

/// Largest frame of a journal, in bytes; a longer entry is split over several frames.
pub const JOURNAL_FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A frame is at most this part of a journal file, so that little is lost at the end of a file.
pub const JOURNAL_FRAMES_PER_FILE_MIN: u64 = 4;
/// Smallest journal file, in bytes.
pub const JOURNAL_FILE_BYTES_MIN: u64 = 1024 * 1024;
/// Largest journal file, in bytes.
pub const JOURNAL_FILE_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// Fewest journal files: one is written while the other waits for the flusher.
pub const JOURNAL_FILES_MIN: u64 = 2;
/// Most journal files.
pub const JOURNAL_FILES_MAX: u64 = 4096;
/// Most frames of one journal that may be in flight.
pub const JOURNAL_IN_FLIGHT_MAX: usize = 16;
/// Largest entry that replay gathers from its fragments, in bytes; a larger one is corruption.
pub const JOURNAL_ENTRY_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Longest small metadata file that is read whole, in bytes; a longer one is refused as damaged.
pub const SMALL_FILE_BYTES_MAX: usize = 64 * 1024;

const _: () = assert!(ALIGNMENT_MIN.is_power_of_two() && ALIGNMENT_MAX.is_power_of_two() && ALIGNMENT_MIN.is_multiple_of(SECTOR));
// The smallest frame limit (a quarter of the smallest file) must still hold a header and an entry at the largest alignment.
const _: () = assert!(JOURNAL_FILE_BYTES_MIN / JOURNAL_FRAMES_PER_FILE_MIN >= 2 * ALIGNMENT_MAX as u64);
const _: () = assert!(JOURNAL_FRAME_BYTES_MAX.is_multiple_of(ALIGNMENT_MAX));
// Lengths inside a frame and of an entry are 32-bit fields on the disk.
const _: () = assert!(JOURNAL_ENTRY_BYTES_MAX <= u32::MAX as u64 && JOURNAL_FRAME_BYTES_MAX as u64 <= u32::MAX as u64);
