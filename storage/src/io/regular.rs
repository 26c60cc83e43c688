//! Opening and listing files of which it is not certain what they are: a pipe, a device or a directory in the place of a file is refused, never waited for.
//!
//! With `O_NONBLOCK` the opening of a pipe does not wait for its other end; of a file it changes nothing, but through `io_uring`, where these descriptors never go.

use std::fs::{File, FileType, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use super::DirEntry;

/// Opens a file as `options` say, at once.
///
/// # Errors
/// `InvalidData` when it is something else than a file.
pub(crate) fn open(options: &OpenOptions, path: &Path) -> io::Result<File> {
    let mut options = options.clone();
    let file = match options.custom_flags(libc::O_NONBLOCK).open(path) {
        // A pipe or a socket that nobody reads; a directory that was to be written.
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENXIO | libc::EISDIR)) => {
            return Err(not_a_file(std::fs::symlink_metadata(path)?.file_type()));
        }
        other => other?,
    };
    let kind = file.metadata()?.file_type();
    if kind.is_file() { Ok(file) } else { Err(not_a_file(kind)) }
}

/// Entries of a directory, sorted by name.
///
/// # Errors
/// `InvalidData` when one is neither a file nor a directory nor a link.
pub(crate) fn list(path: &Path) -> io::Result<Vec<DirEntry>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            // Removed since the directory was read.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        let kind = metadata.file_type();
        if !(kind.is_file() || kind.is_dir() || kind.is_symlink()) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{name}: {}", not_a_file(kind))));
        }
        entries.push(DirEntry { name, is_dir: kind.is_dir(), size_bytes: if kind.is_dir() { 0 } else { metadata.len() } });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

fn not_a_file(kind: FileType) -> io::Error {
    let what = match kind {
        _ if kind.is_dir() => "a directory",
        _ if kind.is_fifo() => "a pipe",
        _ if kind.is_socket() => "a socket",
        _ => "a device",
    };
    io::Error::new(io::ErrorKind::InvalidData, format!("it is {what}, not a file: move it away, and put the file back from a copy"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_file_is_refused_at_once() {
        let temp = tempfile::tempdir().unwrap();
        let path = |name: &str| temp.path().join(name);
        std::fs::write(path("file"), b"12345").unwrap();
        std::fs::create_dir(path("folder")).unwrap();
        let listed = list(temp.path()).unwrap();
        assert_eq!(
            listed.iter().map(|e| (e.name.as_str(), e.is_dir, e.size_bytes)).collect::<Vec<_>>(),
            [("file", false, 5), ("folder", true, 0)]
        );
        nix::unistd::mkfifo(&path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        for (name, what) in [("folder", "a directory"), ("pipe", "a pipe"), ("socket", "a socket")] {
            let (mut read, mut write) = (File::options(), File::options());
            for options in [read.read(true), write.write(true).create(true)] {
                let error = open(options, &path(name)).unwrap_err();
                assert!(error.kind() == io::ErrorKind::InvalidData && error.to_string().contains(what), "{name}: {error}");
            }
        }
        assert!(open(File::options().read(true), &path("file")).is_ok());
        assert_eq!(open(File::options().read(true), &path("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
        let error = list(temp.path()).unwrap_err().to_string();
        assert!(error.contains("pipe: it is a pipe") || error.contains("socket: it is a socket"), "{error}");
    }
}
