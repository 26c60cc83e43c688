//! `sendfile` of a range in steps, without ever waiting for the disk on the shard.
//!
//! A step whose pages are in the page cache is sent at once; other pages are brought in on the blocking pool first. Files sent here
//! are never truncated or overwritten in the range (see `storage`), so what is queued in the socket cannot change.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::sendfile::sendfile64;

use crate::handler::FileSpan;
use crate::limits::{SENDFILE_READ_BYTES, SENDFILE_STEP_BYTES};
use crate::sys;

/// Sends at most one step of the range and takes it off the span. `WouldBlock` when the socket is full.
pub async fn step(socket: &OwnedFd, span: &mut FileSpan) -> io::Result<usize> {
    let len = (span.len as usize).min(SENDFILE_STEP_BYTES);
    if !is_resident(span.file.as_fd(), span.position, len) {
        let file = Arc::clone(&span.file);
        let (position, read) = (span.position, (span.len as usize).min(SENDFILE_READ_BYTES));
        glommio::executor().spawn_blocking(move || read_in(file.as_fd(), position, read)).await?;
    }
    let mut position = i64::try_from(span.position).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let sent = sendfile64(socket, span.file.as_fd(), Some(&mut position), len)?;
    if sent == 0 {
        // Shorter than its span: the client's response cannot be completed.
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("a segment ends at {position}, inside a range being sent")));
    }
    span.position += sent as u64;
    span.len -= sent as u32;
    Ok(sent)
}

/// Whether the range can be sent without the disk. When the kernel does not tell (before 6.5, or not our file), a read that may not wait does.
fn is_resident(file: BorrowedFd<'_>, position: u64, len: usize) -> bool {
    match sys::is_resident(file, position, len as u64) {
        Ok(resident) => resident,
        Err(_) => {
            let last = position + len as u64 - 1;
            sys::can_read_now(file, position) && sys::can_read_now(file, last)
        }
    }
}

/// Reads the range into the page cache; on the blocking pool.
fn read_in(file: BorrowedFd<'_>, position: u64, len: usize) -> io::Result<()> {
    let mut buffer = vec![0; len.min(SENDFILE_STEP_BYTES)];
    let mut done = 0;
    while done < len {
        let want = buffer.len().min(len - done);
        let at = i64::try_from(position + done as u64).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        match nix::sys::uio::pread(file, &mut buffer[..want], at) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
