//! Rings, coalescing and channels of network devices by ethtool netlink, shown as files below `/@ethtool/`.

use std::io;

use crate::snapshot::Snapshot;

/// Adds what the kernel tells about each device that has a driver.
pub(crate) fn read_into(_snapshot: &mut Snapshot) {}

/// One value.
pub(crate) fn read(_path: &str) -> io::Result<String> {
    Err(io::ErrorKind::NotFound.into())
}

/// Sets one value.
pub(crate) fn write(_path: &str, _text: &str) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
