//! Sends responses: memory parts gathered into one `sendmsg`, file parts by `sendfile`, waiting when the socket is full.
//!
//! Never blocks the shard: every call is non-blocking and is followed by a wait for writability.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;

use bytes::Buf;
use glommio::io::PollableFd;
use socket2::SockRef;

use super::sendfile;
use crate::handler::Chunk;
use crate::limits::{SEND_CALL_BYTES, SEND_PARTS_MAX, SEND_STEP_BYTES};
use crate::shard::task_queue;

/// Sends all parts in order. `progress` gets the bytes that each step handed to the kernel. An error ends the connection.
pub async fn send_all(socket: &PollableFd<OwnedFd>, parts: &mut VecDeque<Chunk>, mut progress: impl FnMut(usize)) -> io::Result<()> {
    let mut since_turn = 0;
    sendfile::announce(parts.iter());
    while let Some(front) = parts.front_mut() {
        if front.is_empty() {
            parts.pop_front();
            continue;
        }
        // A reader of old records is one of many tasks, and the only one that always has something to send.
        let turn_bytes = if matches!(front, Chunk::File(_)) { sendfile::step_bytes() } else { SEND_STEP_BYTES };
        let step = match front {
            Chunk::File(span) => sendfile::step(socket.get_ref(), span, turn_bytes).await,
            Chunk::Bytes(_) => send_memory(socket.get_ref(), parts),
        };
        match step {
            Ok(sent) => {
                progress(sent);
                since_turn += sent.max(SEND_CALL_BYTES);
                if since_turn >= turn_bytes {
                    since_turn = 0;
                    task_queue::reactor_turn().await;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                since_turn = 0;
                socket.writable().await.map_err(io::Error::from)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// One `sendmsg` of the memory parts at the front; takes what was sent off them.
fn send_memory(socket: &OwnedFd, parts: &mut VecDeque<Chunk>) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); SEND_PARTS_MAX];
    let mut used = 0;
    let mut bytes = 0;
    let mut more_after = false;
    for part in parts.iter() {
        let Chunk::Bytes(part) = part else {
            more_after = true;
            break;
        };
        if used == SEND_PARTS_MAX || bytes >= SEND_STEP_BYTES {
            more_after = true;
            break;
        }
        slices[used] = IoSlice::new(part);
        used += 1;
        bytes += part.len();
    }
    let more = if more_after { libc::MSG_MORE } else { 0 };
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | more;
    let sent = SockRef::from(socket).send_vectored_with_flags(&slices[..used], flags)?;
    let mut left = sent;
    while left > 0 {
        let Some(Chunk::Bytes(front)) = parts.front_mut() else { break };
        let taken = left.min(front.len());
        front.advance(taken);
        left -= taken;
        if front.is_empty() {
            parts.pop_front();
        }
    }
    Ok(sent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
    use std::cell::Cell;
    use std::io::{Read, Seek, SeekFrom, Write};
    use std::os::unix::net::UnixStream;
    use std::rc::Rc;
    use std::sync::Arc;

    use crate::handler::FileSpan;

    #[test]
    fn memory_and_file_parts_arrive_in_order_byte_by_byte_through_a_full_socket() {
        let mut file = tempfile::tempfile().unwrap();
        let file_bytes: Vec<u8> = (0..3_000_000u32).map(|i| (i / 7) as u8).collect();
        file.write_all(&file_bytes).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        // Most of it must come from the disk first.
        file.sync_all().unwrap();
        posix_fadvise(&file, 1_000_000, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap();
        let file = Arc::new(OwnedFd::from(file));
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();

        let mut parts = VecDeque::new();
        let mut expected = Vec::new();
        for i in 0..200u32 {
            let bytes: Vec<u8> = (0..(i * 37) % 5000).map(|b| (b + i) as u8).collect();
            expected.extend_from_slice(&bytes);
            parts.push_back(Chunk::Bytes(Bytes::from(bytes)));
            if i % 50 == 0 {
                let position = u64::from(i) * 1001;
                let len = 700_001;
                expected.extend_from_slice(&file_bytes[position as usize..position as usize + len]);
                parts.push_back(Chunk::File(FileSpan { file: file.clone(), position, len: len as u32, ahead: 0 }));
            }
        }

        let reader = std::thread::spawn(move || {
            let mut got = Vec::new();
            theirs.read_to_end(&mut got).unwrap();
            got
        });
        let sent = Rc::new(Cell::new(0));
        let counted = Rc::clone(&sent);
        glommio::LocalExecutorBuilder::default().make().unwrap().run(async move {
            let socket = PollableFd::new(OwnedFd::from(ours)).unwrap();
            send_all(&socket, &mut parts, |n| counted.set(counted.get() + n)).await.unwrap();
            assert!(parts.is_empty());
        });
        let got = reader.join().unwrap();
        assert_eq!(got.len(), expected.len());
        assert!(got == expected, "content differs");
        assert_eq!(sent.get(), expected.len());
    }
}
