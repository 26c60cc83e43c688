//! Variable-length integers: unsigned (KIP-482 lengths and tags) and zig-zag (inside records).
//!
//! Canonical or not, an encoding may take at most 5 (32-bit) or 10 (64-bit) bytes and may not carry bits beyond the type.

/// Why a varint could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VarintError {
    /// The bytes end inside it.
    Truncated,
    /// It is longer than its type allows or carries bits beyond it.
    Overflow,
}

/// Reads an unsigned 32-bit varint from the front of `buf`: value and bytes taken.
#[inline]
pub fn read_u32(buf: &[u8]) -> Result<(u32, usize), VarintError> {
    // Lengths, counts and tags below 128 are almost all there is.
    if let Some(&first) = buf.first()
        && first < 0x80
    {
        return Ok((first as u32, 1));
    }
    let mut value = 0u32;
    for i in 0..5 {
        let byte = *buf.get(i).ok_or(VarintError::Truncated)?;
        if i == 4 && byte > 0x0f {
            return Err(VarintError::Overflow);
        }
        value |= ((byte & 0x7f) as u32) << (7 * i);
        if byte < 0x80 {
            return Ok((value, i + 1));
        }
    }
    Err(VarintError::Overflow)
}

/// Reads an unsigned 64-bit varint from the front of `buf`: value and bytes taken.
#[inline]
pub fn read_u64(buf: &[u8]) -> Result<(u64, usize), VarintError> {
    let mut value = 0u64;
    for i in 0..10 {
        let byte = *buf.get(i).ok_or(VarintError::Truncated)?;
        if i == 9 && byte > 0x01 {
            return Err(VarintError::Overflow);
        }
        value |= ((byte & 0x7f) as u64) << (7 * i);
        if byte < 0x80 {
            return Ok((value, i + 1));
        }
    }
    Err(VarintError::Overflow)
}

/// Bytes that `value` takes as an unsigned varint, 1 to 5.
#[inline]
pub const fn len_u32(value: u32) -> usize {
    let bits = 32 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Bytes that `value` takes as an unsigned varint, 1 to 10.
#[inline]
pub const fn len_u64(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Writes `value` into the front of `out` and says how many bytes it took.
#[inline]
pub fn write_u64(mut value: u64, out: &mut [u8; 10]) -> usize {
    let mut len = 0;
    while value >= 0x80 {
        out[len] = value as u8 | 0x80;
        value >>= 7;
        len += 1;
    }
    out[len] = value as u8;
    len + 1
}

/// Undoes zig-zag.
#[inline]
pub const fn zigzag_i32(value: u32) -> i32 {
    (value >> 1) as i32 ^ -((value & 1) as i32)
}

/// Undoes zig-zag.
#[inline]
pub const fn zigzag_i64(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Zig-zag: small magnitudes become small unsigned numbers.
#[inline]
pub const fn unzigzag_i32(value: i32) -> u32 {
    ((value << 1) ^ (value >> 31)) as u32
}

/// Zig-zag: small magnitudes become small unsigned numbers.
#[inline]
pub const fn unzigzag_i64(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const EDGES: [u64; 12] =
        [0, 1, 127, 128, 16_383, 16_384, 0x001f_ffff, 0x0020_0000, 0x0fff_ffff, 0x1000_0000, u32::MAX as u64, u64::MAX];

    #[test]
    fn every_edge_comes_back_with_its_length() {
        for value in EDGES {
            let mut out = [0; 10];
            let len = write_u64(value, &mut out);
            assert_eq!(len, len_u64(value));
            assert_eq!(read_u64(&out[..len]), Ok((value, len)));
            for cut in 0..len {
                assert_eq!(read_u64(&out[..cut]), Err(VarintError::Truncated));
            }
            match u32::try_from(value) {
                Ok(small) => {
                    assert_eq!(len, len_u32(small));
                    assert_eq!(read_u32(&out[..len]), Ok((small, len)));
                }
                Err(_) => assert_eq!(read_u32(&out[..len]), Err(VarintError::Overflow)),
            }
        }
    }

    #[test]
    fn bits_beyond_the_type_are_refused() {
        assert_eq!(read_u32(&[0xff, 0xff, 0xff, 0xff, 0x1f]), Err(VarintError::Overflow));
        assert_eq!(read_u32(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x00]), Err(VarintError::Overflow));
        let mut long = [0xff; 10];
        long[9] = 0x02;
        assert_eq!(read_u64(&long), Err(VarintError::Overflow));
    }

    #[test]
    fn zigzag_is_its_own_inverse() {
        for v in [0, 1, -1, 2, -2, i32::MAX, i32::MIN] {
            assert_eq!(zigzag_i32(unzigzag_i32(v)), v);
            assert_eq!(zigzag_i64(unzigzag_i64(v as i64)), v as i64);
        }
        assert_eq!(unzigzag_i64(i64::MIN), u64::MAX);
        assert_eq!((unzigzag_i32(-1), unzigzag_i32(1)), (1, 2));
    }
}
