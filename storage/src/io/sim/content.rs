//! `Content`: the bytes of a simulated file, sparse and cheap to clone, and a small seeded generator of random numbers.

use std::collections::BTreeMap;
use std::rc::Rc;

const PAGE: usize = 4096;
static ZEROS: [u8; PAGE] = [0; PAGE];

/// A file's bytes. Absent pages are zeros; nothing is stored above the size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    size: u64,
    pages: BTreeMap<u64, Rc<[u8; PAGE]>>,
}

impl Content {
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Cuts or extends (with zeros).
    pub(super) fn set_size(&mut self, size: u64) {
        if size < self.size {
            self.pages.split_off(&size.div_ceil(PAGE as u64));
            let within = (size % PAGE as u64) as usize;
            if within > 0
                && let Some(page) = self.pages.get_mut(&(size / PAGE as u64))
            {
                Rc::make_mut(page)[within..].fill(0);
            }
        }
        self.size = size;
    }

    pub(super) fn extend_to(&mut self, size: u64) {
        self.size = self.size.max(size);
    }

    /// Writes without regard to the size: the caller sets that.
    pub(super) fn write(&mut self, position: u64, data: &[u8]) {
        let mut at = 0;
        while at < data.len() {
            let place = position + at as u64;
            let within = (place % PAGE as u64) as usize;
            let take = (PAGE - within).min(data.len() - at);
            let bytes = &data[at..at + take];
            let number = place / PAGE as u64;
            if bytes == ZEROS {
                self.pages.remove(&number);
            } else {
                let page = self.pages.entry(number).or_insert_with(|| Rc::new([0; PAGE]));
                Rc::make_mut(page)[within..within + take].copy_from_slice(bytes);
            }
            at += take;
        }
    }

    /// Up to `len` bytes; shorter at the end.
    pub(super) fn read(&self, position: u64, len: usize) -> Vec<u8> {
        let len = self.size.saturating_sub(position).min(len as u64) as usize;
        let mut out = vec![0; len];
        let mut at = 0;
        while at < len {
            let place = position + at as u64;
            let within = (place % PAGE as u64) as usize;
            let take = (PAGE - within).min(len - at);
            if let Some(page) = self.pages.get(&(place / PAGE as u64)) {
                out[at..at + take].copy_from_slice(&page[within..within + take]);
            }
            at += take;
        }
        out
    }
}

/// SplitMix64: one seed, one sequence, on every machine.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator from a seed.
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound` (0 for a bound of 0).
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next_u64() % bound }
    }

    /// True in `percent` of 100 cases.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_a_sparse_file() {
        let mut content = Content::default();
        content.write(5000, b"hello");
        content.extend_to(5005);
        assert_eq!(content.read(4998, 100), b"\0\0hello");
        content.set_size(5002);
        content.set_size(9000);
        assert_eq!(content.read(5000, 6), b"he\0\0\0\0", "what was cut does not come back");
        content.write(4096, &[0; 4096]);
        assert!(content.pages.is_empty());
        assert_eq!(content.read(8999, 10), b"\0");
        assert_eq!(content.read(9001, 10), b"");
    }
}
