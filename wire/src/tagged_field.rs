//! Tagged fields (KIP-482): optional fields behind a structure, each with a tag and a size; unknown ones are skipped, never kept.
//!
//! Tags ascend strictly. A structure may carry at most [`MAX_UNKNOWN_TAGS`] tags that its version does not know.
//! Callers: `header`, `fence`, `message/*`.

use crate::decode::{DecodeError, DecodeErrorKind, Decoder};
use crate::encode::{Sink, measure};

/// The most tags unknown to us that one structure may carry.
pub const MAX_UNKNOWN_TAGS: usize = 64;

/// Element budget taken by one unknown tag: a decoder that keeps them pays for a map node, not just for the bytes.
const UNKNOWN_TAG_COST: usize = 8;

/// Walks a tagged-field section. `known` is called with each tag and the decoder at its content and its size in bytes; it answers whether it
/// read the field (it must then have read exactly `size` bytes) or does not know the tag.
pub fn read<'a>(
    d: &mut Decoder<'a>,
    mut known: impl FnMut(&mut Decoder<'a>, u32, usize) -> Result<bool, DecodeError>,
) -> Result<(), DecodeError> {
    let count = d.unsigned_varint()?;
    if count == 0 {
        return Ok(());
    }
    // A tagged field is at least a tag byte and a size byte.
    let possible = d.remaining() / 2;
    if count as usize > possible {
        return Err(d.error(DecodeErrorKind::CountTooLarge { count: count as u64, possible }));
    }
    let mut unknown = 0;
    let mut previous = None;
    for _ in 0..count {
        let tag = d.unsigned_varint()?;
        if previous.is_some_and(|p| p >= tag) {
            return Err(d.error(DecodeErrorKind::TagOrder));
        }
        previous = Some(tag);
        let size = d.unsigned_varint()? as usize;
        if size > d.remaining() {
            return Err(d.error(DecodeErrorKind::Truncated { needed: size, left: d.remaining() }));
        }
        let start = d.position();
        if known(d, tag, size)? {
            if d.position() != start + size {
                return Err(d.error(DecodeErrorKind::BadTag(tag)));
            }
        } else {
            unknown += 1;
            if unknown > MAX_UNKNOWN_TAGS {
                return Err(d.error(DecodeErrorKind::TooManyTags));
            }
            d.charge(UNKNOWN_TAG_COST)?;
            d.bytes(size)?;
        }
    }
    Ok(())
}

/// Skips a section of which no tag is known.
pub fn skip(d: &mut Decoder<'_>) -> Result<(), DecodeError> {
    read(d, |_, _, _| Ok(false))
}

/// Writes an empty section.
pub fn write_none<W: Sink>(w: &mut W) {
    w.u8(0);
}

/// Writes one field of a section: tag, size, content. The caller has written the count and keeps the tags ascending.
pub fn write_field<W: Sink>(w: &mut W, tag: u32, content: impl Fn(&mut dyn Sink)) {
    w.unsigned_varint(tag);
    w.unsigned_varint(measure(|c| content(c)) as u32);
    content(w);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_tags_are_skipped_up_to_the_bound() {
        let section = |n: u32| {
            let mut out = Vec::new();
            out.unsigned_varint(n);
            for tag in 0..n {
                write_field(&mut out, tag, |w| w.put(b"xyz"));
            }
            out
        };
        let ok = section(MAX_UNKNOWN_TAGS as u32);
        let mut d = Decoder::new(&ok);
        skip(&mut d).expect("64 are allowed");
        d.finish().expect("all read");
        let too_many = section(MAX_UNKNOWN_TAGS as u32 + 1);
        assert_eq!(skip(&mut Decoder::new(&too_many)).map_err(|e| e.kind), Err(DecodeErrorKind::TooManyTags));
    }

    #[test]
    fn tags_out_of_order_repeated_or_with_a_wrong_size_are_refused() {
        let two = |a: u32, b: u32| vec![2, a as u8, 0, b as u8, 0];
        assert!(skip(&mut Decoder::new(&two(1, 2))).is_ok());
        for bad in [two(2, 1), two(1, 1)] {
            assert_eq!(skip(&mut Decoder::new(&bad)).map_err(|e| e.kind), Err(DecodeErrorKind::TagOrder));
        }
        let short = [1, 0, 2, 7, 7];
        let known = read(&mut Decoder::new(&short), |d, _, _| d.u8().map(|_| true));
        assert_eq!(known.map_err(|e| e.kind), Err(DecodeErrorKind::BadTag(0)));
        let huge_count = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0];
        assert!(matches!(skip(&mut Decoder::new(&huge_count)).map_err(|e| e.kind), Err(DecodeErrorKind::CountTooLarge { .. })));
        let huge_size = [1, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0];
        assert!(matches!(skip(&mut Decoder::new(&huge_size)).map_err(|e| e.kind), Err(DecodeErrorKind::Truncated { .. })));
    }
}
