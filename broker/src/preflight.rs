//! What must be true of the host before the first executor starts (CPUs, io_uring, locked memory, descriptors, the data directory), and what
//! the process holds for itself when asked: bounded idle states, locked memory, huge pages.
//!
//! Facts are read here, decided on by pure functions, and each refusal is one sentence that says what to do. Callers: `main`, `start`.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use coreline_storage::StorageError;
use coreline_tuning::hold::{self, DmaLatency};
use coreline_tuning::startup::{self, LOCKED_BYTES_MIN, LOCKED_BYTES_PER_SHARD, OPEN_FILES_MIN, OPEN_FILES_WANTED};
use coreline_tuning::sysfs::Root;
use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;

use crate::error::Fatal;
use crate::sys;

/// What the executors get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// One CPU per shard; repeated when there are more shards than CPUs.
    pub cpus: Vec<usize>,
    /// I/O memory registered per shard, bytes.
    pub io_memory: usize,
    /// File descriptors that the process may open.
    pub descriptors: u64,
    /// Whether the kernel tells which pages of the data directory's files are in the page cache.
    pub tells_residency: bool,
}

/// I/O memory per shard that is registered with each of its three rings, bytes. Small: data is written from buffers of our own.
const IO_MEMORY: usize = 256 * 1024;
/// The same where locked memory is short, bytes; the executor takes no less.
const IO_MEMORY_MIN: usize = 64 * 1024;
/// Rings of a shard that register its I/O memory.
const RINGS: u64 = 3;
const _: () = assert!(RINGS * IO_MEMORY as u64 == LOCKED_BYTES_PER_SHARD, "the host's checks count as we do");

/// Reads the host and logs one line for each setting that costs latency or throughput. Writes nothing; takes up to half a second.
///
/// What is fatal is left out: [`check`] has tried those three things themselves and refused, or knows better than a file of the kernel.
pub fn advise(data_dir: &Path) {
    for line in startup::check(&Root::at("/"), &data_dir.to_string_lossy()).iter().filter(|line| !line.fatal) {
        tracing::warn!("host: {}", line.text);
    }
}

/// Whether the kernel may give this process huge pages; first of all, before memory is touched. The allocator advises its arenas for them
/// by itself, so a process flag decides.
pub fn set_huge_pages(wanted: bool) {
    // Unasked they would make a quiet broker twice as big, and each first touch of one zeroes 2 MiB on a shard's own time. Kernels that
    // do not know the flag refuse it, which costs memory only.
    let set = prctl::set_thp_disable(!wanted);
    if !wanted {
        return;
    }
    match (set, hold::huge_pages_of_host(&Root::at("/")).as_deref()) {
        (Ok(()), Some(host @ ("madvise" | "always"))) => tracing::info!("huge pages are used for the broker's memory (host: {host})"),
        (Err(error), _) => tracing::warn!("runtime.huge.pages: the kernel refuses: {error}"),
        (Ok(()), host) => tracing::warn!(
            "runtime.huge.pages has no effect: /sys/kernel/mm/transparent_hugepage/enabled is {} on this host: write madvise to it as root",
            host.unwrap_or("not there")
        ),
    }
}

/// Bounds the idle states of the host's cores for as long as the result lives, when the setting (microseconds, -1 for no) asks for it.
pub fn hold_cpu_latency(latency_us: i32) -> Option<DmaLatency> {
    let latency_us = u16::try_from(latency_us).ok()?;
    match DmaLatency::hold(&Root::at("/"), latency_us) {
        Ok(held) => {
            tracing::info!("idle states of all cores are bounded to {latency_us} us while the broker runs (/dev/cpu_dma_latency)");
            Some(held)
        }
        Err(error) => {
            tracing::warn!("runtime.cpu.latency.us: idle states are not bounded: {}", judge_cpu_latency(&error));
            None
        }
    }
}

fn judge_cpu_latency(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "this user may not write /dev/cpu_dma_latency: give its group write permission with a udev rule \
             (KERNEL==\"cpu_dma_latency\", GROUP=\"coreline\", MODE=\"0660\"), or run `coreline-tune hold` as root"
                .to_string()
        }
        io::ErrorKind::NotFound => {
            "there is no /dev/cpu_dma_latency here: in a container hand the device in (Docker: --device /dev/cpu_dma_latency)".to_string()
        }
        _ => format!("/dev/cpu_dma_latency: {error}"),
    }
}

/// Locks the memory of the process when the setting asks for it; a refusal is a warning, and the broker runs unlocked. Takes milliseconds.
pub fn lock_memory(wanted: bool) {
    if !wanted {
        return;
    }
    match hold::lock_memory(&Root::at("/")) {
        Ok(()) => tracing::info!("memory is locked: what is in use is not paged out"),
        Err(error) => tracing::warn!(
            "runtime.memory.lock: memory is not locked: {error}: LimitMEMLOCK=infinity in the unit file, `ulimit -l unlimited`, \
             --ulimit memlock=-1 with Docker, or CAP_IPC_LOCK"
        ),
    }
}

/// Checks the host and prepares the process; `shards` is the setting, 0 for one per CPU.
pub fn check(shards: i32, data_dir: &Path) -> Result<Plan, Fatal> {
    let cpus = plan_cpus(&allowed_cpus()?, shards)?;
    judge_io_uring(sys::probe_io_uring().map_err(|error| error.raw_os_error().unwrap_or(0)), io_uring_disabled())?;
    let io_memory = prepare_locked_memory(cpus.len() as u64)?;
    let descriptors = prepare_descriptors()?;
    let tells_residency = prepare_data_dir(data_dir)?;
    if !tells_residency {
        tracing::warn!("this kernel does not tell what is in the page cache of the data directory: old records are read with direct I/O");
    }
    sys::register_membarrier();
    Ok(Plan { cpus, io_memory, descriptors, tells_residency })
}

/// CPUs that this process may run on (`taskset`, cpusets and containers restrict them).
fn allowed_cpus() -> Result<Vec<usize>, Fatal> {
    let set = sched_getaffinity(Pid::from_raw(0))
        .map_err(|error| Fatal::new(format!("the CPUs that this process may use cannot be read: {error}")))?;
    Ok((0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect())
}

/// Which CPU each shard is pinned to.
fn plan_cpus(allowed: &[usize], shards: i32) -> Result<Vec<usize>, Fatal> {
    if allowed.is_empty() {
        return Err(Fatal::new("this process may run on no CPU: check taskset, cpusets or the container's CPU setting"));
    }
    let count = match usize::try_from(shards) {
        Ok(0) | Err(_) => allowed.len(),
        Ok(count) => count,
    };
    Ok(allowed.iter().copied().cycle().take(count).collect())
}

/// `kernel.io_uring_disabled`, on kernels that have it (6.6 and later).
fn io_uring_disabled() -> Option<i32> {
    fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?.trim().parse().ok()
}

/// Whether io_uring can be used; `probe` is the outcome of a trial set-up or its error number.
fn judge_io_uring(probe: Result<(), i32>, disabled: Option<i32>) -> Result<(), Fatal> {
    let Err(number) = probe else { return Ok(()) };
    let errno = Errno::from_raw(number);
    Err(Fatal::new(match (errno, disabled) {
        (Errno::ENOSYS, _) => "this kernel has no io_uring: Coreline needs Linux 5.15 or later, built with CONFIG_IO_URING".to_string(),
        (Errno::EPERM | Errno::EACCES, Some(2)) => {
            "io_uring is switched off on this host (kernel.io_uring_disabled = 2): run `sysctl -w kernel.io_uring_disabled=0` as root"
                .to_string()
        }
        (Errno::EPERM | Errno::EACCES, Some(1)) => {
            "io_uring is reserved to privileged processes on this host (kernel.io_uring_disabled = 1): \
             run `sysctl -w kernel.io_uring_disabled=0` as root, or add this user's group to kernel.io_uring_group"
                .to_string()
        }
        (Errno::EPERM | Errno::EACCES, _) => "io_uring is forbidden to this process, most likely by a container's seccomp profile: \
             allow io_uring_setup, io_uring_enter and io_uring_register (with Docker: --security-opt seccomp=unconfined)"
            .to_string(),
        (Errno::ENOMEM, _) => {
            "io_uring gets no memory: raise the locked memory limit (`ulimit -l unlimited`, LimitMEMLOCK=infinity in the unit file)"
                .to_string()
        }
        (Errno::EMFILE | Errno::ENFILE, _) => {
            "no file descriptor is left for io_uring: raise the limit (`ulimit -n 65536`, LimitNOFILE=65536 in the unit file)".to_string()
        }
        _ => format!("io_uring cannot be set up: {}", io::Error::from_raw_os_error(number)),
    }))
}

/// What to do about locked memory.
#[derive(Debug, Clone, PartialEq, Eq)]
struct MemlockPlan {
    /// New limits to set first (soft, hard), if any.
    raise: Option<(u64, u64)>,
    io_memory: usize,
}

/// Decides by the limits in bytes. `may_raise_hard` is true for a process with CAP_SYS_RESOURCE.
fn plan_memlock(soft: u64, hard: u64, shards: u64, may_raise_hard: bool) -> Option<MemlockPlan> {
    let need = LOCKED_BYTES_MIN.max(shards * RINGS * IO_MEMORY as u64);
    let need_least = LOCKED_BYTES_MIN.max(shards * RINGS * IO_MEMORY_MIN as u64);
    if soft >= need {
        Some(MemlockPlan { raise: None, io_memory: IO_MEMORY })
    } else if hard >= need {
        Some(MemlockPlan { raise: Some((hard, hard)), io_memory: IO_MEMORY })
    } else if may_raise_hard {
        Some(MemlockPlan { raise: Some((need, need)), io_memory: IO_MEMORY })
    } else if hard >= LOCKED_BYTES_MIN {
        // Between the least need and the executor's own minimum the rings run with memory that is not registered.
        let raise = (soft < need_least.min(hard)).then_some((hard, hard));
        Some(MemlockPlan { raise, io_memory: IO_MEMORY_MIN })
    } else {
        None
    }
}

fn prepare_locked_memory(shards: u64) -> Result<usize, Fatal> {
    let (soft, hard) =
        getrlimit(Resource::RLIMIT_MEMLOCK).map_err(|error| Fatal::new(format!("the locked memory limit cannot be read: {error}")))?;
    let refuse = || {
        Fatal::new(format!(
            "this process may lock {} KiB of memory and needs {} KiB for io_uring: raise the limit (`ulimit -l unlimited`, \
             LimitMEMLOCK=infinity in the unit file, --ulimit memlock=-1 with Docker)",
            hard / 1024,
            LOCKED_BYTES_MIN / 1024
        ))
    };
    // Whether the hard limit may be raised is found out by trying.
    for may_raise_hard in [true, false] {
        let plan = plan_memlock(soft, hard, shards, may_raise_hard).ok_or_else(refuse)?;
        match plan.raise {
            None => return Ok(plan.io_memory),
            Some((soft, hard)) if setrlimit(Resource::RLIMIT_MEMLOCK, soft, hard).is_ok() => return Ok(plan.io_memory),
            Some(_) => {}
        }
    }
    Err(refuse())
}

/// As many descriptors as the host lets us have, and how many that is.
fn prepare_descriptors() -> Result<u64, Fatal> {
    let (soft, hard) =
        getrlimit(Resource::RLIMIT_NOFILE).map_err(|error| Fatal::new(format!("the limit of open files cannot be read: {error}")))?;
    let now = if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft };
    judge_descriptors(now).map(|()| now)
}

/// Too few to run at all are refused. Too few for many connections or partitions are among the host's checks, which log a line.
fn judge_descriptors(limit: u64) -> Result<(), Fatal> {
    if limit >= OPEN_FILES_MIN {
        return Ok(());
    }
    Err(Fatal::new(format!(
        "this process may open {limit} files and needs {OPEN_FILES_MIN} to run with a few partitions: raise the limit \
         (`ulimit -n {OPEN_FILES_WANTED}`, LimitNOFILE={OPEN_FILES_WANTED} in the unit file, --ulimit nofile={OPEN_FILES_WANTED} with Docker)"
    )))
}

/// Creates the data directory, checks that files can be made in it, and whether the kernel tells what of them is in the page cache.
fn prepare_data_dir(path: &Path) -> Result<bool, Fatal> {
    let trial = path.join(".writable");
    let tried = fs::create_dir_all(path)
        .and_then(|()| fs::write(&trial, b"x"))
        .and_then(|()| fs::File::open(&trial))
        .map(|file| sys::tells_residency(file.as_fd()))
        .and_then(|told| fs::remove_file(&trial).map(|()| told));
    tried.map_err(|error| judge_data_dir(path, &error))
}

fn judge_data_dir(path: &Path, error: &io::Error) -> Fatal {
    let path = path.display();
    Fatal::new(match error.kind() {
        io::ErrorKind::PermissionDenied => {
            format!("the data directory {path} is not writable by this user: change its owner or choose another with --data-dir")
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            format!("the data directory {path} is not a directory: choose another with --data-dir")
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            format!("the data directory {path} is on a read-only file system: choose another with --data-dir")
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            format!("the disk of the data directory {path} is full: free some space or choose another with --data-dir")
        }
        _ => format!("the data directory {path} cannot be used: {error}"),
    })
}

/// What is wrong with the data directory, as a sentence that says what to do.
pub fn judge_storage(error: &StorageError) -> Fatal {
    Fatal::new(match error {
        StorageError::InUse { .. } => format!("{error}: stop that process or choose another directory with --data-dir"),
        StorageError::WrongIdentity { .. } => {
            format!("{error}: start it with that node's --node-id or choose another directory with --data-dir")
        }
        StorageError::Io(io) if matches!(io.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
            format!("the disk of {} is full: free some space and start again", io.path.display())
        }
        error => error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_spread_over_the_allowed_cpus() {
        for (allowed, shards, expected) in [
            (&[0, 1][..], 0, Some(vec![0, 1])),
            (&[2, 5, 7], 0, Some(vec![2, 5, 7])),
            (&[2, 5, 7], 1, Some(vec![2])),
            (&[2, 5], 5, Some(vec![2, 5, 2, 5, 2])),
            (&[], 0, None),
            (&[], 1, None),
        ] {
            assert_eq!(plan_cpus(allowed, shards).ok(), expected, "{allowed:?}, {shards} shards");
        }
    }

    #[test]
    fn each_io_uring_refusal_says_what_to_do() {
        assert_eq!(judge_io_uring(Ok(()), Some(2)), Ok(()));
        for (errno, disabled, expected) in [
            (Errno::ENOSYS, None, "Linux 5.15"),
            (Errno::EPERM, Some(2), "kernel.io_uring_disabled=0"),
            (Errno::EPERM, Some(1), "kernel.io_uring_group"),
            (Errno::EPERM, Some(0), "seccomp"),
            (Errno::EPERM, None, "seccomp"),
            (Errno::ENOMEM, None, "locked memory"),
            (Errno::EMFILE, None, "ulimit -n"),
            (Errno::EIO, None, "cannot be set up"),
        ] {
            let sentence = judge_io_uring(Err(errno as i32), disabled).unwrap_err().sentence;
            assert!(sentence.contains(expected), "{errno:?}: {sentence}");
            assert_eq!(sentence.lines().count(), 1);
        }
    }

    #[test]
    fn locked_memory_is_raised_shrunk_or_refused() {
        let enough = 2 * RINGS * IO_MEMORY as u64;
        let full = |raise| Some(MemlockPlan { raise, io_memory: IO_MEMORY });
        let small = |raise| Some(MemlockPlan { raise, io_memory: IO_MEMORY_MIN });
        for (soft, hard, may_raise_hard, expected) in [
            (u64::MAX, u64::MAX, false, full(None)),
            (enough, enough, false, full(None)),
            (0, u64::MAX, false, full(Some((u64::MAX, u64::MAX)))),
            (64 << 10, enough, false, full(Some((enough, enough)))),
            (0, 0, true, full(Some((enough, enough)))),
            (LOCKED_BYTES_MIN, LOCKED_BYTES_MIN, false, small(None)),
            (64 << 10, LOCKED_BYTES_MIN, false, small(Some((LOCKED_BYTES_MIN, LOCKED_BYTES_MIN)))),
            (0, LOCKED_BYTES_MIN - 1, false, None),
            (0, 0, false, None),
        ] {
            assert_eq!(plan_memlock(soft, hard, 2, may_raise_hard), expected, "{soft} {hard} {may_raise_hard}");
        }
    }

    #[test]
    fn few_open_files_are_refused() {
        assert_eq!(judge_descriptors(OPEN_FILES_MIN), Ok(()));
        let sentence = judge_descriptors(OPEN_FILES_MIN - 1).unwrap_err().sentence;
        assert!(sentence.contains("ulimit -n"), "{sentence}");
    }

    #[test]
    fn an_idle_bound_that_is_refused_says_what_to_do() {
        for (kind, expected) in [(io::ErrorKind::PermissionDenied, "udev"), (io::ErrorKind::NotFound, "--device")] {
            let sentence = judge_cpu_latency(&io::Error::from(kind));
            assert!(sentence.contains(expected) && !sentence.contains('\n'), "{sentence}");
        }
    }

    #[test]
    fn an_unusable_data_directory_is_one_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("a/b");
        prepare_data_dir(&inside).unwrap();
        assert_eq!(fs::read_dir(&inside).unwrap().count(), 0, "the trial file is gone");
        let file = dir.path().join("file");
        fs::write(&file, "x").unwrap();
        let sentence = prepare_data_dir(&file).unwrap_err().sentence;
        assert!(sentence.contains("is not a directory"), "{sentence}");
        for kind in [io::ErrorKind::PermissionDenied, io::ErrorKind::ReadOnlyFilesystem, io::ErrorKind::StorageFull] {
            let sentence = judge_data_dir(&file, &io::Error::from(kind)).sentence;
            assert!(sentence.contains("--data-dir"), "{sentence}");
        }
    }
}
