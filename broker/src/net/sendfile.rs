//! `sendfile` of a range in steps, without ever waiting for the disk on the shard.
//!
//! A step whose pages are in the page cache is sent at once; others are brought in by `read_ahead` first. Files sent here are never
//! truncated or overwritten in the range (see `storage`), so what is queued in the socket cannot change.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use coreline_storage::io::JournalIo;
use nix::sys::sendfile::sendfile64;
use socket2::SockRef;

use super::read_ahead::{self, ReadAhead};
use crate::handler::{Chunk, FileSpan, SendSource};
use crate::limits::{READ_AHEAD_BYTES, READ_ANNOUNCED_MAX, READ_WINDOW_BYTES, SENDFILE_SHORT_STEP_BYTES, SENDFILE_STEP_BYTES};
use crate::metrics::Counter;
use crate::shard::{blocking, task_queue};
use crate::sys;

/// How often a step is brought into the page cache before it is sent from memory: under memory pressure it may be gone again at once.
const ATTEMPTS_MAX: u32 = 3;
/// Bytes of a step that is sent from memory.
const COPIED_STEP_BYTES: u32 = 64 * 1024;

/// Has those parts of an answer read that are not in the page cache, all but the first: that one is waited for anyway.
pub fn announce<'a>(parts: impl Iterator<Item = &'a Chunk>) {
    let files = parts.filter_map(|part| if let Chunk::File(span) = part { Some(span) } else { None });
    for span in files.take(READ_ANNOUNCED_MAX).skip(1) {
        let end = span.position + u64::from(span.len).min(READ_WINDOW_BYTES);
        if !is_resident(span.file.as_fd(), span.position, end) {
            task_queue::count(Counter::ReadAheadBytes, read_ahead::of_process().ahead(&span.file, span.position, end));
        }
    }
}

/// How long a step is now, in bytes: short while somebody waits for a journal, who is answered behind it.
pub fn step_bytes() -> usize {
    if JournalIo::in_flight() > 0 { SENDFILE_SHORT_STEP_BYTES } else { SENDFILE_STEP_BYTES }
}

/// Sends at most one step of the range, of at most [`SENDFILE_STEP_BYTES`], and takes it off the span. `WouldBlock` when the socket is full.
pub async fn step(socket: &OwnedFd, span: &mut FileSpan, step_bytes: usize) -> io::Result<usize> {
    let read_ahead = read_ahead::of_process();
    let len = (span.len as usize).min(step_bytes);
    let end = span.position + len as u64;
    let mut attempts = 0;
    while read_ahead.is_in_work(&span.file, span.position, end) || !is_resident(span.file.as_fd(), span.position, end) {
        if attempts == ATTEMPTS_MAX {
            return copied_step(socket, span).await;
        }
        attempts += 1;
        task_queue::count(Counter::ReadWaits, 1);
        keep_ahead(read_ahead, span);
        let missing = first_missing(read_ahead, &span.file, span.position, end);
        read_ahead.bring_in(&span.file, missing, span.position + u64::from(span.len) + u64::from(span.ahead)).await?;
    }
    if span.position % READ_WINDOW_BYTES < SENDFILE_STEP_BYTES as u64 {
        keep_ahead(read_ahead, span);
    }
    let mut position = i64::try_from(span.position).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let sent = sendfile64(socket, span.file.as_fd(), Some(&mut position), len)?;
    if sent == 0 {
        return Err(cut_short(span));
    }
    take(span, sent);
    Ok(sent)
}

/// Where the part of a step begins that has to be brought in: at the step or, when it crosses into another window, there.
fn first_missing(read_ahead: &ReadAhead, file: &Arc<dyn SendSource>, from: u64, to: u64) -> u64 {
    let border = from.next_multiple_of(READ_WINDOW_BYTES);
    let first_is_there =
        from < border && border < to && !read_ahead.is_in_work(file, from, border) && is_resident(file.as_fd(), from, border);
    if first_is_there { border } else { from }
}

/// Has what follows the present window read: the rest of the range and what the reader will want behind it. Looks first whether the far end
/// is there already, so that a reader of cached records costs one call per window.
fn keep_ahead(read_ahead: &ReadAhead, span: &FileSpan) {
    let next = (span.position / READ_WINDOW_BYTES + 1) * READ_WINDOW_BYTES;
    let end = (next + READ_AHEAD_BYTES).min(span.position + u64::from(span.len) + u64::from(span.ahead));
    let there = |from: u64, to: u64| is_resident(span.file.as_fd(), from, to) || read_ahead.is_in_work(&span.file, from, to);
    if next >= end || there((end - 1) / READ_WINDOW_BYTES * READ_WINDOW_BYTES, end) {
        return;
    }
    let mut at = next;
    while at < end {
        let to = (at + READ_WINDOW_BYTES).min(end);
        if !there(at, to) {
            task_queue::count(Counter::ReadAheadBytes, read_ahead.ahead(&span.file, at, to));
        }
        at = to;
    }
}

/// Reads a small step into memory and sends that.
async fn copied_step(socket: &OwnedFd, span: &mut FileSpan) -> io::Result<usize> {
    let bytes = blocking::read_span(FileSpan { len: span.len.min(COPIED_STEP_BYTES), ..span.clone() }).await?;
    let sent = SockRef::from(socket).send_with_flags(&bytes, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)?;
    take(span, sent);
    Ok(sent)
}

fn take(span: &mut FileSpan, sent: usize) {
    span.position += sent as u64;
    span.len -= sent as u32;
}

/// The file is shorter than its span: the client's response cannot be completed.
fn cut_short(span: &FileSpan) -> io::Error {
    let why = format!("a segment ends at {}, inside a range being sent", span.position);
    io::Error::new(io::ErrorKind::UnexpectedEof, why)
}

/// Whether the range can be sent without the disk. The kernel counts pages that are on their way as cached; nobody but `read_ahead` reads these
/// files, and whether the ends are complete is asked as well. Where the kernel does not count (before 6.5), reads that may not wait tell.
fn is_resident(file: BorrowedFd<'_>, from: u64, to: u64) -> bool {
    const PROBE_BYTES: usize = 16 * 1024;
    let ends = || sys::can_read_now(file, from) && sys::can_read_now(file, to - 1);
    match sys::is_resident(file, from, to - from) {
        Ok(resident) => resident && ends(),
        Err(_) => (from..to).step_by(PROBE_BYTES).all(|at| sys::can_read_now(file, at)) && ends(),
    }
}
