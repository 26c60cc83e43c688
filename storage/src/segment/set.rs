//! The segments of a log, oldest first; the last one is active. Lookup by offset.
//!
//! Base offsets strictly increase and a segment's end is the next one's base (in a log that was not compacted). There is always at least one.

use std::collections::VecDeque;

use super::Segment;

/// Ordered segments of one log.
#[derive(Clone, Debug)]
pub struct SegmentSet {
    segments: VecDeque<Segment>,
}

impl SegmentSet {
    /// A set of one active segment.
    pub fn new(active: Segment) -> SegmentSet {
        SegmentSet { segments: VecDeque::from([active]) }
    }

    /// Builds from loaded segments in order; `None` when there are none or their bases do not increase.
    pub fn from_segments(segments: Vec<Segment>) -> Option<SegmentSet> {
        let ordered = segments.windows(2).all(|w| w[0].base_offset < w[1].base_offset);
        (ordered && !segments.is_empty()).then(|| SegmentSet { segments: segments.into() })
    }

    /// The segment that is appended to.
    pub fn active(&self) -> &Segment {
        self.segments.back().expect("a set is never empty")
    }

    /// The segment that is appended to.
    pub fn active_mut(&mut self) -> &mut Segment {
        self.segments.back_mut().expect("a set is never empty")
    }

    /// Seals the active segment and adds a new one behind it.
    pub fn roll(&mut self) {
        let active = self.active_mut();
        active.sealed = true;
        let base = active.next_offset;
        assert!(active.base_offset < base, "rolled an empty segment at {base}");
        self.segments.push_back(Segment::new(base));
    }

    /// Segments, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Segment> {
        self.segments.iter()
    }

    /// Segments, oldest first.
    pub fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut Segment> {
        self.segments.iter_mut()
    }

    /// Number of segments.
    pub fn count(&self) -> usize {
        self.segments.len()
    }

    /// The segment with this base offset.
    pub fn get(&self, base_offset: i64) -> Option<&Segment> {
        let at = self.segments.partition_point(|s| s.base_offset < base_offset);
        self.segments.get(at).filter(|s| s.base_offset == base_offset)
    }

    /// The segment with this base offset.
    pub fn get_mut(&mut self, base_offset: i64) -> Option<&mut Segment> {
        let at = self.segments.partition_point(|s| s.base_offset < base_offset);
        self.segments.get_mut(at).filter(|s| s.base_offset == base_offset)
    }

    /// The segment that holds the offset: the newest whose base is not above it.
    pub fn floor(&self, offset: i64) -> Option<&Segment> {
        let after = self.segments.partition_point(|s| s.base_offset <= offset);
        after.checked_sub(1).map(|at| &self.segments[at])
    }

    /// The segment that follows the one with this base offset.
    pub fn after(&self, base_offset: i64) -> Option<&Segment> {
        let at = self.segments.partition_point(|s| s.base_offset <= base_offset);
        self.segments.get(at)
    }

    /// Takes out the oldest segment when all of it lies below `log_start`; never the active one.
    pub fn take_below(&mut self, log_start: i64) -> Option<Segment> {
        let oldest = self.segments.front()?;
        let droppable = self.segments.len() > 1 && oldest.sealed && oldest.trimmed && oldest.next_offset <= log_start;
        if droppable { self.segments.pop_front() } else { None }
    }

    /// Puts compacted segments in the place of those with these base offsets, none of which is the active one.
    pub fn replace(&mut self, old: &[i64], new: Vec<Segment>) {
        let active = self.active().base_offset;
        assert!(old.iter().all(|base| *base < active), "the active segment {active} is not replaced");
        self.segments.retain(|s| !old.contains(&s.base_offset));
        self.segments.extend(new);
        self.segments.make_contiguous().sort_by_key(|s| s.base_offset);
    }

    /// Bytes of batches in all segments.
    pub fn size_bytes(&self) -> u64 {
        self.segments.iter().map(|s| u64::from(s.size)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(bases: &[i64], end: i64) -> SegmentSet {
        let ends = bases.iter().skip(1).copied().chain([end]);
        let list = bases.iter().zip(ends).map(|(&base, next)| Segment::on_disk(base, next, 10, next != end)).collect();
        SegmentSet::from_segments(list).unwrap()
    }

    #[test]
    fn finds_by_offset() {
        let s = set(&[10, 20, 30], 35);
        for (offset, base) in [(9, None), (10, Some(10)), (19, Some(10)), (20, Some(20)), (99, Some(30))] {
            assert_eq!(s.floor(offset).map(|s| s.base_offset), base);
        }
        assert_eq!(s.after(10).unwrap().base_offset, 20);
        assert!(s.after(30).is_none());
        assert!(s.get(15).is_none());
        assert_eq!(s.size_bytes(), 30);
    }

    #[test]
    fn rolls_at_the_end_of_the_active_segment() {
        let mut s = set(&[10], 15);
        s.roll();
        assert!(s.get(10).unwrap().sealed);
        assert_eq!(s.active().base_offset, 15);
    }

    #[test]
    fn drops_only_what_lies_below_and_never_the_active_segment() {
        let mut s = set(&[10, 20, 30], 35);
        assert!(s.take_below(19).is_none());
        assert_eq!(s.take_below(35).unwrap().base_offset, 10);
        assert_eq!(s.take_below(35).unwrap().base_offset, 20);
        assert!(s.take_below(35).is_none());
    }

    #[test]
    fn compacted_segments_take_the_place_of_several() {
        let mut s = set(&[10, 20, 30, 40], 45);
        s.replace(&[10, 20, 30], vec![Segment::on_disk(10, 40, 7, true)]);
        assert_eq!(s.iter().map(|s| (s.base_offset, s.next_offset, s.size)).collect::<Vec<_>>(), [(10, 40, 7), (40, 45, 10)]);
        s.replace(&[10], vec![]);
        assert_eq!(s.active().base_offset, 40);
    }

    #[test]
    fn disorder_is_refused() {
        assert!(SegmentSet::from_segments(vec![]).is_none());
        assert!(SegmentSet::from_segments(vec![Segment::new(5), Segment::new(5)]).is_none());
    }
}
