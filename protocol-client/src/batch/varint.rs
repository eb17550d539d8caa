//! Zig-zag variable-length integers, as in Kafka's `ByteUtils#readVarint` and `#readVarlong`.

/// Longest encoding of a 64-bit number, in bytes.
pub(super) const MAX_BYTES: usize = 10;

/// Appends `value`; 32-bit numbers have the same encoding when sign-extended.
#[inline]
pub(super) fn put(out: &mut Vec<u8>, value: i64) {
    let mut buffer = [0; MAX_BYTES];
    let length = write(&mut buffer, 0, value);
    out.extend_from_slice(&buffer[..length]);
}

/// Writes `value` to `out` from `at` on, where it must have room, and says where it ends.
#[inline]
pub(super) fn write(out: &mut [u8], mut at: usize, value: i64) -> usize {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        out[at] = rest as u8 | 0x80;
        rest >>= 7;
        at += 1;
    }
    out[at] = rest as u8;
    at + 1
}

/// Length of the encoding of `value`, in bytes.
#[inline]
pub(super) fn size(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Takes a 32-bit number off the front of `input`; `None` when it is cut off or too long.
#[inline]
pub(super) fn take_i32(input: &mut &[u8]) -> Option<i32> {
    let raw = take(input, 5)? as u32;
    Some((raw >> 1) as i32 ^ -((raw & 1) as i32))
}

/// Takes a 64-bit number off the front of `input`; `None` when it is cut off or too long.
#[inline]
pub(super) fn take_i64(input: &mut &[u8]) -> Option<i64> {
    let raw = take(input, MAX_BYTES)?;
    Some((raw >> 1) as i64 ^ -((raw & 1) as i64))
}

#[inline]
fn take(input: &mut &[u8], max_bytes: usize) -> Option<u64> {
    let mut value = 0u64;
    for (i, &byte) in input.iter().take(max_bytes).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            *input = &input[i + 1..];
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn limits() {
        for (value, bytes) in [(0, 1), (-1, 1), (63, 1), (64, 2), (i64::MAX, 10), (i64::MIN, 10)] {
            let mut out = Vec::new();
            put(&mut out, value);
            assert_eq!((out.len(), size(value)), (bytes, bytes));
            assert_eq!(take_i64(&mut out.as_slice()), Some(value));
        }
        assert_eq!(take_i32(&mut [0x80; 5].as_slice()), None);
        assert_eq!(take_i64(&mut [0x80; 10].as_slice()), None);
        assert_eq!(take_i32(&mut [].as_slice()), None);
    }

    proptest! {
        #[test]
        fn numbers_come_back(long: i64, short: i32) {
            let mut out = Vec::new();
            put(&mut out, long);
            put(&mut out, i64::from(short));
            prop_assert_eq!(out.len(), size(long) + size(i64::from(short)));
            let mut rest = out.as_slice();
            prop_assert_eq!(take_i64(&mut rest), Some(long));
            prop_assert_eq!(take_i32(&mut rest), Some(short));
            prop_assert!(rest.is_empty());
        }
    }
}
