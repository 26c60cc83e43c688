//! Tuning that a process holds for itself and that ends with it: idle states by an open file, memory that is never paged out, huge pages.
//!
//! Callers: the broker when its configuration asks for it, `coreline-tune hold`, and `prove`. Huge pages are a matter of one process flag: the
//! broker's allocator advises its arenas by itself, and the flag says whether the kernel may follow.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};

use nix::sys::mman::{MlockAllFlags, mlockall};

use crate::sysfs::{Root, bracketed};

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

/// Why memory is not locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The limit is finite. The kernel counts whole mappings against it, touched or not, and would later refuse the process any more memory.
    #[error("RLIMIT_MEMLOCK is {0} bytes and has to be unlimited")]
    Limit(u64),
    /// The system's words.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Locks the memory of the process, what it has and what it gets, each page from its first touch on; nothing is read in ahead.
///
/// Needs `CAP_IPC_LOCK` or an unlimited `RLIMIT_MEMLOCK` (soft). From then on memory that is freed stays with the process.
pub fn lock_memory(root: &Root) -> Result<(), LockError> {
    let (status, limits) = (root.read("/proc/self/status"), root.read("/proc/self/limits"));
    may_lock(status.as_deref().unwrap_or(""), limits.as_deref().unwrap_or(""))?;
    // Without ONFAULT the kernel would touch every page of the allocator's reserve, gigabytes at the first call.
    let on_fault = MlockAllFlags::from_bits_retain(nix::libc::MCL_ONFAULT);
    Ok(mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE | on_fault).map_err(io::Error::from)?)
}

/// Decides by the two files of `/proc/self`. What does not say is left to the kernel.
fn may_lock(status: &str, limits: &str) -> Result<(), LockError> {
    const CAP_IPC_LOCK: u32 = 14;
    let capabilities = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok());
    if capabilities.is_some_and(|set| set >> CAP_IPC_LOCK & 1 == 1) {
        return Ok(());
    }
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max locked memory")?.split_whitespace().next());
    match soft.and_then(|text| text.parse().ok()) {
        Some(bytes) => Err(LockError::Limit(bytes)),
        None => Ok(()),
    }
}

/// The host's word on huge pages for memory that asks for them: `always`, `madvise` or `never`; `None` where the kernel has none.
pub fn huge_pages_of_host(root: &Root) -> Option<String> {
    root.read("/sys/kernel/mm/transparent_hugepage/enabled").map(|text| bracketed(&text).to_owned())
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

    #[test]
    fn memory_is_locked_with_the_capability_or_without_a_limit() {
        const NONE: &str = "Name:\tx\nCapEff:\t0000000000000000\n";
        const IPC_LOCK: &str = "CapEff:\t0000000000004000\n";
        let limit =
            |text: &str| format!("Limit  Soft Limit  Hard Limit  Units\nMax locked memory         {text}              unlimited  bytes\n");
        assert!(may_lock(IPC_LOCK, &limit("65536")).is_ok());
        assert!(may_lock(NONE, &limit("unlimited")).is_ok());
        assert!(may_lock(NONE, &limit("8388608")).is_err_and(|e| e.to_string().contains("8388608")));
        assert!(may_lock("CapEff:\t00000000fffbbfff\n", &limit("0")).is_err(), "every capability but this one");
        assert!(may_lock("", "").is_ok(), "then the kernel decides");
    }
}
