//! The ballast file of a data directory as if it were a setting: its size in bytes, 0 for none.
//!
//! The setting's path carries the data directory in one name, so that a journal says which file it is about. Only a regular file called `ballast` is
//! ever made, grown, cut or removed, and no symbolic link is followed to it.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use nix::fcntl::{FallocateFlags, OFlag, fallocate};

use crate::sysfs::Root;

/// The settings.
pub(crate) const PATTERN: &str = "/@ballast/*";

/// Path of the file in a data directory.
pub(crate) fn file_in(data_dir: &str) -> String {
    format!("{}/ballast", data_dir.trim_end_matches('/'))
}

/// The setting of a data directory: `/` is spelled `%2F`, and `%` is `%25`.
pub(crate) fn path_in(data_dir: &str) -> String {
    format!("/@ballast/{}", data_dir.trim_end_matches('/').replace('%', "%25").replace('/', "%2F"))
}

/// True for paths of this kind.
pub(crate) fn is_ballast(path: &str) -> bool {
    path.starts_with("/@ballast/")
}

/// The file that a setting is about, for people.
pub(crate) fn shown(path: &str) -> Option<String> {
    path.strip_prefix("/@ballast/").map(|name| file_in(&data_dir_of(name)))
}

fn data_dir_of(name: &str) -> String {
    name.replace("%2F", "/").replace("%25", "%")
}

/// The file that a setting is about; an error for what no data directory could have been.
fn file_of(root: &Root, path: &str) -> io::Result<PathBuf> {
    let name = path.strip_prefix("/@ballast/").ok_or(io::ErrorKind::NotFound)?;
    let data_dir = data_dir_of(name);
    let is_plain = data_dir.starts_with('/') && !data_dir.split('/').any(|part| part == ".." || part == ".");
    if !is_plain {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not the path of a data directory"));
    }
    Ok(root.path(&file_in(&data_dir)))
}

/// Size of the file; 0 when there is none, an error when there is no data directory.
pub(crate) fn read(root: &Root, path: &str) -> io::Result<String> {
    let file = file_of(root, path)?;
    match file.symlink_metadata() {
        Ok(metadata) if metadata.is_file() => Ok(metadata.len().to_string()),
        Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} is no regular file", file.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound && file.parent().is_some_and(std::path::Path::is_dir) => Ok("0".to_owned()),
        Err(error) => Err(error),
    }
}

/// Makes, grows, cuts or (with 0) removes the file. What could not be had whole is given back.
pub(crate) fn write(root: &Root, path: &str, text: &str) -> io::Result<()> {
    let wanted: u64 = text.parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let now: u64 = read(root, path)?.parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    let file = file_of(root, path)?;
    if wanted == 0 {
        return if now == 0 { Ok(()) } else { std::fs::remove_file(file) };
    }
    let bytes = i64::try_from(wanted).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let open = OpenOptions::new().write(true).create(true).mode(0o600).custom_flags(OFlag::O_NOFOLLOW.bits()).open(&file)?;
    if wanted < now {
        return open.set_len(wanted);
    }
    let made = fallocate(&open, FallocateFlags::empty(), 0, bytes).map_err(io::Error::from);
    if made.is_err() {
        let _ = if now == 0 { std::fs::remove_file(&file) } else { open.set_len(now) };
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_made_grown_cut_and_removed() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let root = Root::at(dir.path());
        let path = path_in("/var/lib/100%/data/");
        assert!(read(&root, &path).is_err(), "no data directory");
        let data = dir.path().join("var/lib/100%/data");
        std::fs::create_dir_all(&data).expect("create");
        for (write_this, reads) in [("4096", "4096"), ("8192", "8192"), ("4096", "4096"), ("0", "0"), ("0", "0")] {
            write(&root, &path, write_this).expect("written");
            assert_eq!(read(&root, &path).expect("read"), reads);
        }
        assert_eq!(std::fs::read_dir(&data).expect("a folder").count(), 0);
    }

    #[test]
    fn only_a_regular_file_of_that_name_is_touched() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let root = Root::at(dir.path());
        std::fs::write(dir.path().join("precious"), "x").expect("write");
        std::os::unix::fs::symlink("precious", dir.path().join("ballast")).expect("link");
        assert!(
            read(&root, &path_in("/")).is_err() && write(&root, &path_in("/"), "0").is_err() && write(&root, &path_in("/"), "9").is_err()
        );
        assert_eq!(std::fs::read(dir.path().join("precious")).expect("there"), b"x");
        for forged in ["/@ballast/..%2Fetc", "/@ballast/%2Fa%2F..%2F..%2Fb", "/@ballast/", "/etc/passwd"] {
            assert!(read(&root, forged).is_err() && write(&root, forged, "1").is_err(), "{forged}");
        }
    }

    #[test]
    fn a_file_that_does_not_fit_leaves_nothing() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (root, path) = (Root::at(dir.path()), path_in("/"));
        // More than any file system holds.
        assert!(write(&root, &path, &(1_u64 << 62).to_string()).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 0);
        assert!(write(&root, &path, "many").is_err() && write(&root, &path, &u64::MAX.to_string()).is_err());
    }
}
