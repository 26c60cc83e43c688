//! Bytes as text and back: hexadecimal and base64, both alphabets, for formats, topic ids and JSON.

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]).map(char::from).collect()
}

/// Bytes of hexadecimal text in either case.
pub(crate) fn from_hex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

/// Standard base64 with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    let mut out = encode(bytes, STANDARD);
    while !out.len().is_multiple_of(4) {
        out.push('=');
    }
    out
}

/// A topic's or directory's id as Kafka writes it: base64 for URLs without padding.
pub(crate) fn kafka_id(id: &uuid::Uuid) -> String {
    encode(id.as_bytes(), URL_SAFE)
}

fn encode(bytes: &[u8], alphabet: &[u8; 64]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        out.extend((0..=chunk.len()).map(|i| char::from(alphabet[(word >> (18 - 6 * i)) as usize & 63])));
    }
    out
}

/// Bytes of base64 text in either alphabet, padding optional.
pub(crate) fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    let end = text.iter().rposition(|b| *b != b'=').map_or(0, |i| i + 1);
    if text.len() - end > 2 || end % 4 == 1 {
        return None;
    }
    let digit = |b: &u8| STANDARD.iter().position(|s| s == b).or_else(|| URL_SAFE.iter().position(|s| s == b));
    let mut out = Vec::with_capacity(end / 4 * 3 + 2);
    for chunk in text[..end].chunks(4) {
        let word = chunk.iter().try_fold(0u32, |word, b| Some(word << 6 | digit(b)? as u32))? << (6 * (4 - chunk.len()));
        out.extend_from_slice(&word.to_be_bytes()[1..chunk.len()]);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_texts() {
        for (plain, wanted) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(plain.as_bytes()), wanted);
            assert_eq!(from_base64(wanted.as_bytes()).as_deref(), Some(plain.as_bytes()));
        }
        assert_eq!(from_base64(b"-_8"), from_base64(b"+/8="));
        assert_eq!((from_base64(b"A"), from_base64(b"A==="), from_base64(b"A*")), (None, None, None));
        assert_eq!((hex(&[0, 255, 16]).as_str(), from_hex(b"00fF1"), from_hex(b"0g")), ("00ff10", None, None));
        assert_eq!(kafka_id(&uuid::Uuid::nil()), "AAAAAAAAAAAAAAAAAAAAAA");
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(bytes in prop::collection::vec(any::<u8>(), 0..50)) {
            prop_assert_eq!(from_hex(hex(&bytes).as_bytes()), Some(bytes.clone()));
            prop_assert_eq!(from_base64(base64(&bytes).as_bytes()), Some(bytes));
        }
    }
}
