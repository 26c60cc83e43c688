//! The few calls that no safe wrapper covers: reading into uninitialised memory, probing io_uring, page-cache residency, the allocator.
//!
//! One of the homes of `unsafe` in this crate; everything here is a thin, checked call.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use bytes::{BufMut, BytesMut};

/// Reads at most `len_max` bytes from a socket into the spare capacity of `buffer`, without waiting. 0 is the end of the stream.
pub fn recv(socket: BorrowedFd<'_>, buffer: &mut BytesMut, len_max: usize) -> io::Result<usize> {
    let spare = buffer.spare_capacity_mut();
    let len = spare.len().min(len_max);
    debug_assert!(len > 0, "a read of no bytes would look like the end of the stream");
    // SAFETY: the pointer and length describe spare capacity that this buffer owns and nobody else sees during the call.
    let read = unsafe { libc::recv(socket.as_raw_fd(), spare.as_mut_ptr().cast(), len, libc::MSG_DONTWAIT) };
    if read < 0 {
        return Err(io::Error::last_os_error());
    }
    let read = read as usize;
    // SAFETY: the kernel has initialised the first `read` bytes of the spare capacity, and `read <= len`.
    unsafe { buffer.advance_mut(read) };
    Ok(read)
}

/// Gives memory that this thread has freed back to the system: what the start needed is not needed again.
pub fn give_back_memory() {
    // SAFETY: collects the calling thread's own heap; any thread may do that at any time.
    unsafe { libmimalloc_sys::mi_collect(true) };
}

/// Tries to set up a ring of four entries and closes it again.
pub fn probe_io_uring() -> io::Result<()> {
    // `struct io_uring_params` is 120 bytes, all zero for defaults.
    let mut params = [0u64; 15];
    // SAFETY: the kernel reads and writes exactly one `io_uring_params` at this pointer.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 4u32, params.as_mut_ptr()) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just returned to us and nobody else knows it.
    unsafe { libc::close(fd as i32) };
    Ok(())
}

/// Registers the process for private expedited memory barriers, once, before other threads exist.
pub fn register_membarrier() {
    const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;
    // SAFETY: no pointers; a kernel without the call answers with an error, and the executor then uses its own fallback.
    unsafe { libc::syscall(libc::SYS_membarrier, REGISTER_PRIVATE_EXPEDITED, 0, 0) };
}

#[repr(C)]
struct CachestatRange {
    position: u64,
    len: u64,
}

#[repr(C)]
#[derive(Default)]
struct Cachestat {
    cached: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

/// True when the whole range of the file is in the page cache. `Unsupported` or a permission error where the kernel does not say.
pub fn is_resident(file: BorrowedFd<'_>, position: u64, len: u64) -> io::Result<bool> {
    const SYS_CACHESTAT: libc::c_long = 451;
    const PAGE_BYTES: u64 = 4096;
    let range = CachestatRange { position, len };
    let mut stat = Cachestat::default();
    // SAFETY: both pointers are to live structs of the layout that the call defines.
    let rc = unsafe { libc::syscall(SYS_CACHESTAT, file.as_raw_fd(), &raw const range, &raw mut stat, 0) };
    if rc < 0 {
        return Err(io::Error::last_os_error());
    }
    let pages = (position + len).div_ceil(PAGE_BYTES) - position / PAGE_BYTES;
    Ok(stat.cached >= pages)
}

/// True when the byte at this position can be read from the page cache without waiting (a miss may start the read).
pub fn can_read_now(file: BorrowedFd<'_>, position: u64) -> bool {
    read_without_waiting(file, position).is_ok_and(|read| read == 1)
}

/// Whether the kernel tells what of this file is in the page cache; the file has at least one byte.
pub fn tells_residency(file: BorrowedFd<'_>) -> bool {
    is_resident(file, 0, 1).is_ok()
        || match read_without_waiting(file, 0) {
            Ok(_) => true,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
}

fn read_without_waiting(file: BorrowedFd<'_>, position: u64) -> io::Result<usize> {
    let mut byte = 0u8;
    let iov = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let position = libc::off_t::try_from(position).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: one iovec, which describes one live byte.
    let read = unsafe { libc::preadv2(file.as_raw_fd(), &raw const iov, 1, position, libc::RWF_NOWAIT) };
    usize::try_from(read).map_err(|_| io::Error::last_os_error())
}

/// Has the calling thread run for short slices of CPU time: an ordinary thread that wakes up then goes at once before one that runs for longer ones
/// (Linux 6.12 and later, sched(7); earlier kernels ignore it). Its share of the CPU stays the same; threads that it starts get the same slices,
/// the kernel's workers for its I/O among them. A thread that is not scheduled in the ordinary way is left alone. The kernel takes 0.1 to 100 ms.
pub fn take_short_slices(slice: std::time::Duration) -> io::Result<()> {
    /// Keeps policy and parameters but for what is given here.
    const SCHED_FLAG_KEEP_POLICY: u64 = 0x08;
    let size = size_of::<libc::sched_attr>() as u32;
    // SAFETY: zeroed memory is a valid `sched_attr` (integers only).
    let mut attr: libc::sched_attr = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer and size describe a live struct; 0 is the calling thread.
    if unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attr, size, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if attr.sched_policy != libc::SCHED_OTHER as u32 {
        return Ok(());
    }
    attr.size = size;
    attr.sched_flags |= SCHED_FLAG_KEEP_POLICY;
    attr.sched_runtime = u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX);
    // SAFETY: as above.
    if unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Lets other threads go before this one, on the CPU and on the disk, where the kernel allows it.
pub fn lower_this_thread() {
    const SYS_IOPRIO_WHO_PROCESS: libc::c_int = 1;
    /// Class "best effort", the lowest of its eight levels.
    const LOWEST_BEST_EFFORT: libc::c_int = (2 << 13) | 7;
    const NICE: libc::c_int = 5;
    // SAFETY: no pointers; 0 is the calling thread. A refusal leaves the thread as it was.
    unsafe {
        libc::syscall(libc::SYS_ioprio_set, SYS_IOPRIO_WHO_PROCESS, 0, LOWEST_BEST_EFFORT);
        libc::setpriority(libc::PRIO_PROCESS, 0, NICE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn scheduling() -> libc::sched_attr {
        // SAFETY: zeroed memory is a valid `sched_attr`; the pointer and size describe it; 0 is the calling thread.
        unsafe {
            let mut attr: libc::sched_attr = std::mem::zeroed();
            let size = size_of::<libc::sched_attr>() as u32;
            assert_eq!(libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attr, size, 0), 0);
            attr
        }
    }

    /// Kernels before 6.12 say 0 and keep their own.
    #[test]
    fn a_thread_takes_short_slices_and_hands_them_on_and_keeps_the_rest() {
        std::thread::spawn(|| {
            let before = scheduling();
            take_short_slices(Duration::from_micros(100)).unwrap();
            let after = scheduling();
            assert_eq!((after.sched_policy, after.sched_nice), (before.sched_policy, before.sched_nice));
            assert!(after.sched_runtime == 100_000 || before.sched_runtime == 0, "{}", after.sched_runtime);
            let child = std::thread::spawn(|| scheduling().sched_runtime).join().unwrap();
            assert_eq!(child, after.sched_runtime, "the kernel's workers get them too");
        })
        .join()
        .unwrap();
    }
}
