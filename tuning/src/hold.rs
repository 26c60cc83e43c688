//! Tuning that a process holds for itself and that ends with it: idle states by an open file, memory that is never paged out.
//!
//! Callers: the broker when asked to, `coreline-tune hold`, and `prove`. Advising huge pages needs the address of a mapping and so belongs to the
//! owner of the buffers.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};

use crate::sysfs::Root;

/// Keeps all cores out of idle states that take longer than a bound to leave, as long as it lives.
#[derive(Debug)]
pub struct DmaLatency {
    _file: File,
    latency_us: i32,
}

impl DmaLatency {
    /// Holds `/dev/cpu_dma_latency` at `latency_us` microseconds; 0 keeps cores from sleeping at all. Needs write permission on the device.
    pub fn hold(root: &Root, latency_us: u16) -> io::Result<DmaLatency> {
        let mut file = OpenOptions::new().write(true).open(root.path("/dev/cpu_dma_latency"))?;
        let latency_us = i32::from(latency_us);
        // The kernel takes four bytes in its own byte order; the wish is withdrawn when the file is closed.
        file.write_all(&latency_us.to_ne_bytes())?;
        Ok(DmaLatency { _file: file, latency_us })
    }

    /// The bound in microseconds.
    pub fn latency_us(&self) -> i32 {
        self.latency_us
    }
}

/// Locks all present and future memory of the process; needs `RLIMIT_MEMLOCK` to allow it.
pub fn lock_memory() -> io::Result<()> {
    use nix::sys::mman::{MlockAllFlags, mlockall};
    mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_written_as_four_bytes() {
        let dir = tempfile::tempdir().expect("temporary directory");
        std::fs::create_dir(dir.path().join("dev")).expect("create");
        std::fs::write(dir.path().join("dev/cpu_dma_latency"), []).expect("write");
        let hold = DmaLatency::hold(&Root::at(dir.path()), 10).expect("holds");
        assert_eq!(hold.latency_us(), 10);
        assert_eq!(std::fs::read(dir.path().join("dev/cpu_dma_latency")).expect("reads"), 10_i32.to_ne_bytes());
        assert!(DmaLatency::hold(&Root::at("/no/such/root"), 10).is_err());
    }
}
