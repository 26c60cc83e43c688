//! `Chunk`: an aligned, append-only piece of memory whose published prefix can be read, also on other threads, while more is appended.
//!
//! One writer owns the [`Chunk`] (it is not `Sync` and cannot be cloned) and appends; readers hold [`Bytes`] slices of what was published
//! before the slice was made. Published bytes never change, so no reader ever waits. Memory comes from a [`ChunkPool`] with a budget; a chunk's
//! memory returns to its pool when the chunk and the last slice of it are gone.

#![allow(unsafe_code)]

use std::alloc::Layout;
use std::cell::Cell;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::limits::ALIGNMENT_MIN;

/// Blocks kept for reuse per pool; more are given back to the allocator.
const FREE_BLOCKS_MAX: usize = 1024;
/// Blocks for reuse are at most this part of the budget.
const FREE_BYTES_PART: usize = 4;

/// Gives out chunks of memory within a budget. Clones share the budget.
#[derive(Clone)]
pub struct ChunkPool(Arc<Shared>);

struct Shared {
    budget_bytes: usize,
    /// Bytes in chunks that are alive, including those only held by slices. Blocks kept for reuse do not count.
    used_bytes: AtomicUsize,
    /// Bytes in `free`; changed under its lock.
    free_bytes: AtomicUsize,
    /// Blocks for reuse. The lock is taken once per chunk, never per append or read.
    free: Mutex<Vec<Memory>>,
}

impl ChunkPool {
    /// A pool that has at most `budget_bytes` bytes in chunks at any time.
    pub fn new(budget_bytes: usize) -> ChunkPool {
        ChunkPool(Arc::new(Shared {
            budget_bytes,
            used_bytes: AtomicUsize::new(0),
            free_bytes: AtomicUsize::new(0),
            free: Mutex::new(Vec::new()),
        }))
    }

    /// An empty chunk of at least `capacity` bytes (rounded up to the alignment); `None` when the budget is used up or memory is short.
    pub fn chunk(&self, capacity: usize) -> Option<Chunk> {
        let capacity = capacity.max(1).checked_next_multiple_of(ALIGNMENT_MIN)?;
        self.0
            .used_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(capacity).filter(|&total| total <= self.0.budget_bytes)
            })
            .ok()?;
        let memory = self.0.take_free(capacity).or_else(|| Memory::allocate(capacity));
        let Some(memory) = memory else {
            self.0.used_bytes.fetch_sub(capacity, Ordering::Relaxed);
            return None;
        };
        Some(Chunk { block: Arc::new(Block { memory: Some(memory), pool: self.0.clone() }), len: Cell::new(0) })
    }

    /// Gives the blocks kept for reuse back to the allocator: nothing is being written.
    pub fn shrink(&self) {
        let mut free = self.0.free.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.free_bytes.store(0, Ordering::Relaxed);
        *free = Vec::new();
    }

    /// Bytes in chunks that are alive (by a `Chunk` or a slice of it).
    pub fn used_bytes(&self) -> usize {
        self.0.used_bytes.load(Ordering::Relaxed)
    }

    /// The budget in bytes.
    pub fn budget_bytes(&self) -> usize {
        self.0.budget_bytes
    }
}

impl Shared {
    fn take_free(&self, capacity: usize) -> Option<Memory> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let at = free.iter().rposition(|m| m.layout.size() == capacity)?;
        self.free_bytes.fetch_sub(capacity, Ordering::Relaxed);
        Some(free.swap_remove(at))
    }

    fn give_back(&self, memory: Memory) {
        self.used_bytes.fetch_sub(memory.layout.size(), Ordering::Relaxed);
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = self.free_bytes.load(Ordering::Relaxed) + memory.layout.size();
        if free.len() < FREE_BLOCKS_MAX && kept <= self.budget_bytes / FREE_BYTES_PART {
            self.free_bytes.store(kept, Ordering::Relaxed);
            free.push(memory);
        }
    }
}

/// A piece of aligned memory, uninitialised until written.
struct Memory {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: `Memory` is the sole owner of its allocation, which any thread may read, write or free; who may do what when is decided by
// `Chunk` and `Slice` (one writer beyond the published length, readers below it).
unsafe impl Send for Memory {}
// SAFETY: a shared `&Memory` gives out only the address; every access through it is justified at the place of the access.
unsafe impl Sync for Memory {}

impl Memory {
    fn allocate(capacity: usize) -> Option<Memory> {
        let layout = Layout::from_size_align(capacity, ALIGNMENT_MIN).ok()?;
        // SAFETY: `capacity` is not zero (callers round up to the alignment), as `alloc` requires.
        let start = NonNull::new(unsafe { std::alloc::alloc(layout) })?;
        Some(Memory { start, layout })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: `start` came from `alloc` with this very layout and is freed only here, once.
        unsafe { std::alloc::dealloc(self.start.as_ptr(), self.layout) }
    }
}

/// The memory of one chunk; goes back to the pool with its last reference.
struct Block {
    /// `None` only while dropping.
    memory: Option<Memory>,
    pool: Arc<Shared>,
}

impl Block {
    fn memory(&self) -> &Memory {
        self.memory.as_ref().expect("taken only in drop")
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if let Some(memory) = self.memory.take() {
            self.pool.give_back(memory);
        }
    }
}

/// An append-only piece of aligned memory with one writer. See the file's header.
pub struct Chunk {
    block: Arc<Block>,
    /// Published length: bytes below are written and never change again. A `Cell` makes the chunk `!Sync`: one writer.
    len: Cell<usize>,
}

impl Chunk {
    /// Copies as much of `data` as fits behind the published bytes, publishes it, and says how many bytes that was.
    pub fn append(&self, data: &[u8]) -> usize {
        let len = self.len.get();
        let memory = self.block.memory();
        let taken = data.len().min(memory.layout.size() - len);
        // SAFETY: the target range `len..len + taken` lies within the allocation. It is above the published length, so no slice (`bytes`, `Slice`)
        // covers it and no reader on any thread looks at it; this is the only writer, because `Chunk` is neither `Clone` nor `Sync`. `data` cannot
        // overlap it: a `&[u8]` into this memory lies below the published length.
        unsafe {
            std::ptr::copy_nonoverlapping(data.as_ptr(), memory.start.as_ptr().add(len), taken);
        }
        self.len.set(len + taken);
        taken
    }

    /// Published bytes.
    pub fn len(&self) -> usize {
        self.len.get()
    }

    /// True when nothing was appended yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that fit in all, a multiple of the alignment.
    pub fn capacity(&self) -> usize {
        self.block.memory().layout.size()
    }

    /// Bytes that still fit.
    pub fn remaining(&self) -> usize {
        self.capacity() - self.len()
    }

    /// The published bytes. Appending while the slice is held is fine: it goes behind it.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the first `len` bytes are initialised and never change again; the memory lives as long as `self.block`, which `&self` keeps.
        unsafe { std::slice::from_raw_parts(self.block.memory().start.as_ptr(), self.len.get()) }
    }

    /// A reference-counted slice of published bytes; it may outlive the chunk and be sent to other threads.
    ///
    /// # Panics
    /// When `range` is not within the published bytes.
    pub fn slice(&self, range: Range<usize>) -> Bytes {
        assert!(range.start <= range.end && range.end <= self.len(), "slice {range:?} of a chunk with {} published bytes", self.len());
        if range.is_empty() {
            return Bytes::new();
        }
        Bytes::from_owner(Slice { block: self.block.clone(), range })
    }
}

impl std::fmt::Debug for Chunk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chunk").field("len", &self.len()).field("capacity", &self.capacity()).finish()
    }
}

/// Owner behind a `Bytes`: keeps the block alive and remembers which published bytes it stands for.
struct Slice {
    block: Arc<Block>,
    range: Range<usize>,
}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `range` was within the published bytes when the slice was made. They were written before that by the thread that made it, so whoever
        // received the slice sees them; they never change again: the writer only touches bytes above the published length, which only grows, and the
        // memory is reused only after the last `Arc<Block>` is gone.
        unsafe { std::slice::from_raw_parts(self.block.memory().start.as_ptr().add(self.range.start), self.range.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appends_publish_and_slices_outlive_the_chunk() {
        let pool = ChunkPool::new(3 * 4096);
        let chunk = pool.chunk(5000).unwrap();
        assert_eq!(chunk.capacity(), 8192);
        assert_eq!(chunk.bytes().as_ptr() as usize % 4096, 0);
        assert_eq!(chunk.append(b"hello "), 6);
        let before = chunk.bytes();
        let slice = chunk.slice(1..4);
        assert_eq!(chunk.append(b"world"), 5);
        assert_eq!(before, b"hello ", "what was published stays");
        assert_eq!(chunk.bytes(), b"hello world");
        assert_eq!(chunk.append(&vec![7; 9000]), 8192 - 11, "the rest does not fit");
        assert_eq!((chunk.remaining(), chunk.append(b"x")), (0, 0));
        assert!(pool.chunk(8192).is_none(), "over the budget");
        drop(chunk);
        assert_eq!(pool.used_bytes(), 8192, "a slice keeps the memory");
        assert_eq!(&slice[..], b"ell");
        drop(slice);
        assert_eq!(pool.used_bytes(), 0);
        assert!(pool.chunk(8192).is_some());
        assert!(pool.chunk(usize::MAX).is_none());
    }

    #[test]
    fn memory_is_reused_only_after_the_last_slice() {
        let pool = ChunkPool::new(1 << 20);
        let chunk = pool.chunk(4096).unwrap();
        chunk.append(b"first");
        let slice = chunk.slice(0..5);
        let address = chunk.bytes().as_ptr();
        drop(chunk);
        let other = pool.chunk(4096).unwrap();
        assert_ne!(other.bytes().as_ptr(), address);
        assert_eq!(&slice[..], b"first");
        drop(slice);
        assert_eq!(pool.chunk(4096).unwrap().bytes().as_ptr(), address);
    }

    #[test]
    fn readers_on_other_threads_see_what_was_published() {
        let pool = ChunkPool::new(1 << 20);
        let chunk = pool.chunk(64 * 1024).unwrap();
        let (sender, receiver) = std::sync::mpsc::channel::<(u8, Bytes)>();
        let reader = std::thread::spawn(move || {
            let mut seen = 0;
            for (fill, bytes) in receiver {
                assert!(bytes.iter().all(|&b| b == fill));
                seen += bytes.len();
            }
            seen
        });
        let mut total = 0;
        for fill in 0..100u8 {
            let from = chunk.len();
            total += chunk.append(&[fill; 333]);
            sender.send((fill, chunk.slice(from..chunk.len()))).unwrap();
        }
        drop((sender, chunk));
        assert_eq!(reader.join().unwrap(), total);
        assert_eq!(pool.used_bytes(), 0);
    }

    #[test]
    #[should_panic(expected = "published bytes")]
    fn unpublished_bytes_cannot_be_sliced() {
        let chunk = ChunkPool::new(1 << 20).chunk(4096).unwrap();
        chunk.append(b"ab");
        let _ = chunk.slice(0..3);
    }
}
