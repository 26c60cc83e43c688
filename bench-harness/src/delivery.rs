//! The delivery check: what each stream's sequence numbers say about loss, repeats and order, in memory bounded by the number of streams.
//!
//! In order costs one comparison and one addition. Numbers that are skipped are remembered as gaps, [`GAPS_MAX`] per stream; what fills a gap
//! later came out of order, what lies before it came twice. Only what was acknowledged can be lost.

use crate::result::ConsumerDelivery;

/// Gaps remembered per stream.
pub const GAPS_MAX: usize = 64;

/// Ranges of records without acknowledgement remembered per stream.
pub const NOT_ACKED_MAX: usize = 4096;

/// Sequence numbers from the first up to, not including, the second.
pub type Range = (u64, u64);

/// What a producer did in one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Numbers given out: 0 up to, not including, this.
    pub assigned: u64,
    /// Those that were not acknowledged, ascending and disjoint; they may or may not have arrived.
    pub not_acked: Vec<Range>,
}

impl Sent {
    /// Notes that these were not acknowledged. Beyond [`NOT_ACKED_MAX`] ranges the last one grows over what lies between, which can hide a
    /// loss there but never invents one.
    pub fn not_acked(&mut self, range: Range) {
        let full = self.not_acked.len() >= NOT_ACKED_MAX;
        match self.not_acked.last_mut() {
            Some(last) if last.1 == range.0 || full => *last = (last.0.min(range.0), last.1.max(range.1)),
            _ => self.not_acked.push(range),
        }
    }

    /// Sorts and joins; call before [`Checker::finish`].
    pub fn settle(&mut self) {
        self.not_acked.sort_unstable();
        let mut joined: Vec<Range> = Vec::with_capacity(self.not_acked.len());
        for range in self.not_acked.drain(..) {
            match joined.last_mut() {
                Some(last) if range.0 <= last.1 => last.1 = last.1.max(range.1),
                _ => joined.push(range),
            }
        }
        self.not_acked = joined;
    }
}

/// What one set of consumers saw of each stream.
#[derive(Clone, Debug)]
pub struct Checker {
    streams: Vec<Stream>,
    /// Records seen, repeats included.
    pub received: u64,
    /// Seen more than once.
    pub duplicates: u64,
    /// Seen after a later one.
    pub reordered: u64,
    /// Damaged batches and values that are not what this run writes.
    pub corrupt: u64,
    /// Records of other runs.
    pub foreign: u64,
    /// Records in gaps that were forgotten for want of room.
    forgotten: u64,
    overflowed: bool,
}

#[derive(Clone, Debug, Default)]
struct Stream {
    next: u64,
    gaps: Vec<Range>,
}

impl Checker {
    /// A checker of so many streams.
    pub fn new(streams: usize) -> Checker {
        Checker {
            streams: vec![Stream::default(); streams],
            received: 0,
            duplicates: 0,
            reordered: 0,
            corrupt: 0,
            foreign: 0,
            forgotten: 0,
            overflowed: false,
        }
    }

    /// Takes note of a record. A stream that does not exist counts as damage.
    #[inline]
    pub fn see(&mut self, stream: usize, sequence: u64) {
        let Some(s) = self.streams.get_mut(stream) else {
            self.corrupt += 1;
            return;
        };
        self.received += 1;
        if sequence == s.next {
            s.next += 1;
            return;
        }
        self.out_of_line(stream, sequence);
    }

    #[cold]
    fn out_of_line(&mut self, stream: usize, sequence: u64) {
        let s = &mut self.streams[stream];
        if sequence > s.next {
            if s.gaps.len() < GAPS_MAX {
                s.gaps.push((s.next, sequence));
            } else {
                self.forgotten += sequence - s.next;
                self.overflowed = true;
            }
            s.next = sequence + 1;
            return;
        }
        match s.gaps.iter().position(|g| (g.0..g.1).contains(&sequence)) {
            None => self.duplicates += 1,
            Some(i) => {
                self.reordered += 1;
                let (from, to) = s.gaps[i];
                match (from < sequence, sequence + 1 < to) {
                    (false, false) => {
                        s.gaps.remove(i);
                    }
                    (true, false) => s.gaps[i] = (from, sequence),
                    (false, true) => s.gaps[i] = (sequence + 1, to),
                    (true, true) => {
                        s.gaps[i] = (from, sequence);
                        if s.gaps.len() < GAPS_MAX {
                            s.gaps.insert(i + 1, (sequence + 1, to));
                        } else {
                            self.forgotten += to - sequence - 1;
                            self.overflowed = true;
                        }
                    }
                }
            }
        }
    }

    /// Takes in what another part of the same set saw. Each stream was read by one part: the partition that it goes to has one reader.
    pub fn join(&mut self, other: &Checker) {
        for (mine, theirs) in self.streams.iter_mut().zip(&other.streams) {
            // Two that read the same stream would each have gaps that the other fills; then the counts are bounds.
            self.overflowed |= mine.next > 0 && theirs.next > 0;
            if theirs.next > mine.next {
                mine.clone_from(theirs);
            }
        }
        self.received += other.received;
        self.duplicates += other.duplicates;
        self.reordered += other.reordered;
        self.corrupt += other.corrupt;
        self.foreign += other.foreign;
        self.forgotten += other.forgotten;
        self.overflowed |= other.overflowed;
    }

    /// The verdict, once the set has read to the end. `sent` is by stream.
    pub fn finish(&self, name: &str, sent: &[Sent], caught_up: bool, duplicates_expected: bool) -> ConsumerDelivery {
        let (mut lost, mut expected) = (self.forgotten, 0);
        for (s, sent) in self.streams.iter().zip(sent) {
            expected += sent.assigned - sent.not_acked.iter().map(|r| r.1 - r.0).sum::<u64>();
            if !caught_up {
                continue;
            }
            let tail = (s.next < sent.assigned).then_some((s.next, sent.assigned));
            lost += s.gaps.iter().copied().chain(tail).map(|gap| without(gap, &sent.not_acked)).sum::<u64>();
        }
        ConsumerDelivery {
            name: name.to_string(),
            received: self.received,
            lost,
            duplicates: self.duplicates,
            reordered: self.reordered,
            corrupt: self.corrupt,
            foreign: self.foreign,
            overflowed: self.overflowed,
            duplicates_expected,
            expected,
            caught_up,
        }
    }
}

/// Numbers in `gap` that lie in none of `ranges` (disjoint).
fn without(gap: Range, ranges: &[Range]) -> u64 {
    let overlap = |r: &Range| r.1.min(gap.1).saturating_sub(r.0.max(gap.0));
    (gap.1 - gap.0).saturating_sub(ranges.iter().map(overlap).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(seen: &[u64], assigned: u64, not_acked: &[Range]) -> ConsumerDelivery {
        let mut checker = Checker::new(1);
        seen.iter().for_each(|s| checker.see(0, *s));
        let mut sent = Sent { assigned, not_acked: not_acked.to_vec() };
        sent.settle();
        checker.finish("t", &[sent], true, false)
    }

    #[test]
    fn each_fault_is_counted_as_what_it_is() {
        // (seen, lost, duplicates, reordered)
        for (seen, lost, duplicates, reordered) in [
            (&[0, 1, 2, 3, 4, 5][..], 0, 0, 0),
            (&[0, 1, 3, 4, 5], 1, 0, 0),
            (&[0, 1, 2, 3], 2, 0, 0),
            (&[2, 3, 4, 5], 2, 0, 0),
            (&[0, 1, 1, 2, 3, 4, 5], 0, 1, 0),
            (&[0, 1, 2, 0, 1, 2, 3, 4, 5], 0, 3, 0),
            (&[0, 2, 1, 3, 4, 5], 0, 0, 1),
            (&[3, 4, 5, 0, 1, 2], 0, 0, 3),
            (&[5, 2, 4, 0, 3, 1], 0, 0, 5),
            (&[5, 2, 2], 4, 1, 1),
            (&[], 6, 0, 0),
        ] {
            let d = checked(seen, 6, &[]);
            assert_eq!((d.lost, d.duplicates, d.reordered), (lost, duplicates, reordered), "{seen:?}");
            assert_eq!((d.expected, d.received), (6, seen.len() as u64));
        }
    }

    #[test]
    fn only_what_was_acknowledged_can_be_lost() {
        assert_eq!(checked(&[0, 1, 4], 8, &[(6, 8), (2, 3)]).lost, 2, "3 and 5");
        assert_eq!(checked(&[0, 1, 4], 8, &[(2, 4), (3, 8)]).lost, 0);
    }

    #[test]
    fn parts_of_a_set_add_up_to_what_one_reader_would_have_seen() {
        let seen: &[(usize, u64)] = &[(0, 0), (1, 0), (2, 1), (0, 1), (1, 2), (1, 1), (0, 1), (3, 0), (0, 3), (2, 2), (9, 0)];
        let sent: Vec<Sent> = (0..4).map(|_| Sent { assigned: 4, not_acked: Vec::new() }).collect();
        let mut whole = Checker::new(4);
        seen.iter().for_each(|(stream, sequence)| whole.see(*stream, *sequence));
        let mut parts = [Checker::new(4), Checker::new(4)];
        seen.iter().for_each(|(stream, sequence)| parts[stream % 2].see(*stream, *sequence));
        let [mut joined, other] = parts;
        joined.join(&other);
        let verdict = |checker: &Checker| checker.finish("t", &sent, true, false);
        assert_eq!(verdict(&joined), verdict(&whole));
        assert!(verdict(&whole).lost > 0 && whole.duplicates > 0 && whole.reordered > 0 && whole.corrupt > 0 && !joined.overflowed);
        let mut again = joined.clone();
        again.join(&whole);
        assert!(again.overflowed, "a stream that two have read");
    }

    #[test]
    fn many_gaps_stay_bounded_and_are_still_counted() {
        let mut checker = Checker::new(1);
        (0..10_000).filter(|s| s % 2 == 1).for_each(|s| checker.see(0, s));
        let d = checker.finish("t", &[Sent { assigned: 10_000, not_acked: Vec::new() }], true, false);
        assert_eq!((d.lost, d.overflowed), (5_000, true));
        assert!(checker.streams[0].gaps.len() <= GAPS_MAX);
        checker.see(7, 0);
        assert_eq!(checker.corrupt, 1, "no such stream");
    }
}
