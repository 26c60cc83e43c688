//! Bounds of the network side, the mesh and the executors, each with what happens when it is reached.
//!
//! Bounds that an operator may want to change are in the configuration; these are the ones that are part of the design.

/// Smallest receive buffer of a connection, in bytes; grown as bytes arrive, returned to this after a big frame.
pub const RECEIVE_BUFFER_BYTES: usize = 16 * 1024;
/// A connection that is quiet for a moment keeps the trust that its frames are as big as before up to this size, in bytes.
pub const RECEIVE_TRUST_BYTES: usize = 1024 * 1024;
/// Most bytes taken from a socket by one `recv`; bounds the work between two turns of the shard.
pub const RECEIVE_STEP_BYTES: usize = 256 * 1024;
/// A frame at least this big gets a buffer of its own that grows with the bytes that arrive, never by the length that it claims.
pub const BIG_FRAME_BYTES: usize = 64 * 1024;
/// Requests of one connection that may be in flight; the next one is not read until the oldest is answered.
pub const IN_FLIGHT_REQUESTS_MAX: usize = 128;
/// Finished responses of one connection that may wait for the socket, in bytes; above it no further request is started.
pub const PENDING_RESPONSE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Request bytes that one shard holds for requests in flight; above it no connection of the shard reads.
pub const SHARD_REQUEST_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Requests that a connection starts before it gives way to the others through the reactor.
pub const REQUESTS_PER_TURN: usize = 32;
/// Largest step of one `sendfile`, in bytes.
pub const SENDFILE_STEP_BYTES: usize = 256 * 1024;
/// The same while a write or flush of a journal is in flight: who waits for it is answered behind the step.
pub const SENDFILE_SHORT_STEP_BYTES: usize = 64 * 1024;
/// Bytes of a segment file brought into the page cache by one piece of work of the read-ahead threads.
pub const READ_WINDOW_BYTES: u64 = 1024 * 1024;
/// Bytes that a read-ahead thread asks the device for at once: a journal's write waits behind what the device is already doing.
pub const READ_PIECE_BYTES: u64 = 128 * 1024;
/// While writes of the journal are in flight, a read-ahead thread begins one such piece in this time: what consumers of old records get beside a
/// producer that never pauses, 64 MiB/s for each thread.
pub const READ_PIECE_EVERY: std::time::Duration = std::time::Duration::from_millis(2);
/// The longest that a piece waits for a write in flight, when the pieces before it came earlier than that; then it is read all the same.
pub const READ_GIVES_WAY_MAX: std::time::Duration = std::time::Duration::from_millis(50);
/// How often it looks whether they are done.
pub const READ_GIVES_WAY_STEP: std::time::Duration = std::time::Duration::from_micros(50);
/// How far ahead of a sequential reader its file is read, in bytes, as far as the budget of the process goes.
pub const READ_AHEAD_BYTES: u64 = 4 * 1024 * 1024;
/// Parts of one answer that are looked at when it is begun, so that those on the disk are read while others are sent.
pub const READ_ANNOUNCED_MAX: usize = 16;
/// Parts of one `sendmsg`; more are sent by the next one.
pub const SEND_PARTS_MAX: usize = 64;
/// Bytes in memory that a connection sends before it gives way to the others through the reactor; of files it is one step.
pub const SEND_STEP_BYTES: usize = 512 * 1024;
/// A call that sends less than this counts as so many bytes of [`SEND_STEP_BYTES`]: calls take time too.
pub const SEND_CALL_BYTES: usize = 16 * 1024;
/// Share of a big frame that must arrive within [`FRAME_PROGRESS_SECONDS`]: one part in this many, at least 64 KiB or all of it.
pub const FRAME_PROGRESS_PARTS: usize = 128;
/// New connections per second and shard; more wait in the listener's backlog.
pub const CONNECTIONS_PER_SECOND: u32 = 500;
/// Connections that a shard keeps unanswered for a moment because of `connection_creation_rate`; more are closed at once.
pub const HELD_CONNECTIONS_MAX: i64 = 1024;
/// Least length of the listener's backlog, so that a burst within the accept rate is not refused by the kernel.
pub const LISTEN_BACKLOG_MIN: i32 = 1024;
/// How long a start waits for its address to be released by a process that has just ended; then the address is in use.
pub const ADDRESS_RELEASE: std::time::Duration = std::time::Duration::from_millis(500);
/// Lines of the log that may wait to be written; what comes beyond is left out, and its number is written.
pub const LOG_QUEUE_LINES_MAX: usize = 4096;
/// The same in bytes.
pub const LOG_QUEUE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of an admin request's head; more is answered with 431.
pub const ADMIN_HEAD_BYTES_MAX: usize = 8 * 1024;
/// Admin connections at once; more are closed at once.
pub const ADMIN_CONNECTIONS_MAX: usize = 32;
/// Seconds that an admin request may take to arrive and to be answered.
pub const ADMIN_SECONDS: u64 = 10;
/// Seconds that a frame may take without a byte of progress before its connection is closed.
pub const FRAME_PROGRESS_SECONDS: u64 = 30;
/// How long a connection that is read no further, since the client ends it or broke the protocol, is kept for the answers to what came
/// before; then they are dropped.
pub const LAST_ANSWERS: std::time::Duration = std::time::Duration::from_secs(1);

/// Messages in one lane of the mesh (one ordered pair of shards), a power of two; when full the sender queues within its credits.
pub const MESH_LANE_MESSAGES: usize = 256;
/// Ordinary requests that one shard may have open at one other; the next caller waits.
pub const MESH_CREDITS: usize = 1024;
/// Parked requests (long polls) that one shard may have open at one other; the next caller waits.
pub const MESH_PARKED_CREDITS: usize = 16 * 1024;
/// Messages that a lane's receiver handles before it gives way through the reactor.
pub const MESH_MESSAGES_PER_TURN: usize = 128;

/// Entries of each ring's submission queue.
pub const RING_ENTRIES: usize = 128;
/// Threads of a shard's blocking pool: page-cache misses, compression, renames. Not pinned.
pub const BLOCKING_THREADS: usize = 2;

const _: () = assert!(MESH_LANE_MESSAGES.is_power_of_two(), "the lane's ring masks its index");
const _: () = assert!(RECEIVE_BUFFER_BYTES <= BIG_FRAME_BYTES, "a small frame must fit a small buffer after at most two doublings");
const _: () = assert!(SENDFILE_STEP_BYTES as u64 <= READ_WINDOW_BYTES, "a step lies in at most two windows");
const _: () = assert!(SENDFILE_STEP_BYTES <= 256 * 1024, "a longer step would hold the shard for more than about 30 us");
