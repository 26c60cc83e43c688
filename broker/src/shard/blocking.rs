//! Work that may block, off the shard's thread: on the executor's pool of unpinned threads.

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

use nix::sys::uio::pread;

use crate::handler::FileSpan;

/// Reads a range of a file whole.
pub async fn read_span(span: FileSpan) -> io::Result<Vec<u8>> {
    glommio::executor()
        .spawn_blocking(move || {
            let mut bytes = vec![0; span.len as usize];
            let mut done = 0;
            while done < bytes.len() {
                match pread(span.file.as_fd(), &mut bytes[done..], (span.position + done as u64) as i64) {
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(n) => done += n,
                    Err(nix::errno::Errno::EINTR) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
            Ok(bytes)
        })
        .await
}

/// The file system that a directory is on, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Volume {
    /// All of it.
    pub total: u64,
    /// What this process may still use.
    pub usable: u64,
}

/// Asks for the file system of a directory.
pub async fn volume(dir: PathBuf) -> io::Result<Volume> {
    glommio::executor()
        .spawn_blocking(move || {
            let found = nix::sys::statvfs::statvfs(&dir)?;
            let bytes = |blocks: u64| blocks.saturating_mul(found.fragment_size());
            Ok(Volume { total: bytes(found.blocks()), usable: bytes(found.blocks_available()) })
        })
        .await
}
