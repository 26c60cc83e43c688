//! `Buffers`: a few direct-I/O buffers of one size, kept for the next write of that size, so that steady writing takes no memory and meets no page faults.
//!
//! Single-threaded. At most `kept_max` are kept; others go back to the allocator. `clear` lets all go while there is nothing to write.

use std::rc::Rc;

use super::{Disk, DiskBuffer};

/// The buffers. See the file's header.
pub(crate) struct Buffers<D: Disk> {
    len: usize,
    kept_max: usize,
    kept: Vec<D::Buffer>,
}

impl<D: Disk> Buffers<D> {
    /// Keeps up to `kept_max` buffers of exactly `len` bytes.
    pub(crate) fn new(len: usize, kept_max: usize) -> Buffers<D> {
        Buffers { len, kept_max, kept: Vec::new() }
    }

    /// A buffer of `len` bytes with unspecified content.
    pub(crate) fn take(&mut self, disk: &D, len: usize) -> D::Buffer {
        let kept = if len == self.len { self.kept.pop() } else { None };
        kept.unwrap_or_else(|| disk.buffer_for_overwrite(len))
    }

    /// A write of it is over: keeps it, when it has the size and nobody else holds it.
    pub(crate) fn put(&mut self, buffer: Rc<D::Buffer>) {
        if let Ok(buffer) = Rc::try_unwrap(buffer)
            && buffer.len() == self.len
            && self.kept.len() < self.kept_max
        {
            self.kept.push(buffer);
        }
    }

    /// Lets all kept buffers go.
    pub(crate) fn clear(&mut self) {
        self.kept = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::SimDisk;

    #[test]
    fn buffers_of_the_size_are_used_again_and_few_are_kept() {
        let disk = SimDisk::new(1);
        let mut buffers = Buffers::new(8192, 2);
        let first = buffers.take(&disk, 8192);
        let address = first.bytes().as_ptr();
        buffers.put(Rc::new(first));
        buffers.put(Rc::new(disk.buffer(4096)));
        assert_eq!((buffers.kept.len(), buffers.take(&disk, 4096).len()), (1, 4096));
        assert_eq!(buffers.take(&disk, 8192).bytes().as_ptr(), address);
        let held = Rc::new(disk.buffer(8192));
        buffers.put(held.clone());
        assert!(buffers.kept.is_empty(), "somebody still reads it: {}", held.len());
        (0..3).for_each(|_| buffers.put(Rc::new(disk.buffer(8192))));
        assert_eq!(buffers.kept.len(), 2);
        buffers.clear();
        assert!(buffers.kept.is_empty());
    }
}
