//! Which partition of `__consumer_offsets` holds a group: Java's `String.hashCode`, without its sign, modulo the partition count.
//!
//! Outside readers of the topic rely on it, so it is part of the format.

/// The partition that holds `group_id`. `partitions` is positive.
pub fn partition_of(group_id: &str, partitions: i32) -> i32 {
    debug_assert!(partitions > 0, "a topic has partitions, not {partitions}");
    // The one hash without a positive counterpart counts as 0.
    java_hash(group_id).checked_abs().unwrap_or(0) % partitions.max(1)
}

/// Java's `String.hashCode`: over UTF-16 code units, wrapping.
fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_as_java_does() {
        // Values of `"...".hashCode()` in Java 17.
        for (text, expected) in [
            ("", 0),
            ("a", 97),
            ("console-consumer-12345", 158_455_506),
            ("hello", 99_162_322),
            ("polygenelubricants", i32::MIN),
            ("gr\u{fc}ppe", -1_233_264_812),
            ("\u{1F600}", 1_772_899),
        ] {
            assert_eq!(java_hash(text), expected, "{text:?}");
        }
    }

    #[test]
    fn the_most_negative_hash_lies_in_partition_zero() {
        assert_eq!(partition_of("polygenelubricants", 50), 0);
    }

    #[test]
    fn a_partition_is_always_in_range() {
        for n in 0..1_000 {
            let partition = partition_of(&format!("group-{n}"), 7);
            assert!((0..7).contains(&partition), "group-{n} in {partition}");
        }
    }
}
