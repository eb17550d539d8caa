//! Checksums of batches, and how a checksum changes when only the header does.
//!
//! Version 2 has a CRC-32C (Castagnoli, RFC 3720 appendix B.4) over everything from the attributes
//! (byte 21) to the end; magic 0 and 1 a CRC-32 (IEEE 802.3) over everything from the magic
//! (byte 16) to the end.

use super::error::BatchError;
use super::header::{BatchHeader, CRC_START, MAGIC_AT};

/// The Castagnoli polynomial, bits reversed.
const POLYNOMIAL: u32 = 0x82F6_3B78;
/// The polynomial 1, bits reversed.
const ONE: u32 = 1 << 31;
/// `x^8`, bits reversed: one byte of shift.
const ONE_BYTE: u32 = 1 << (31 - 8);
/// `POWERS[k][b]` is `x^(8 * b * 256^k)`: a shift by `b * 256^k` bytes.
const POWERS: [[u32; 256]; 4] = powers();

/// `REDUCED[n]` is what becomes of the four highest powers, the bits `n`, when they are shifted by `x^4`.
const REDUCED: [u32; 16] = reduced();

/// `a` times `x` modulo the Castagnoli polynomial, bits reversed.
const fn times_x(a: u32) -> u32 {
    (a >> 1) ^ (POLYNOMIAL & 0u32.wrapping_sub(a & 1))
}

const fn reduced() -> [u32; 16] {
    let mut table = [0; 16];
    let mut n = 0;
    while n < 16 {
        table[n] = times_x(times_x(times_x(times_x(n as u32))));
        n += 1;
    }
    table
}

/// Product of two polynomials modulo the Castagnoli polynomial, all bits reversed; four bits of `a` at a time.
const fn multiply(a: u32, b: u32) -> u32 {
    // Of four bits the highest stands for 1 and the lowest for x^3.
    let mut multiples = [0; 16];
    multiples[8] = b;
    multiples[4] = times_x(b);
    multiples[2] = times_x(multiples[4]);
    multiples[1] = times_x(multiples[2]);
    let mut n: usize = 3;
    while n < 16 {
        let lowest = n & n.wrapping_neg();
        multiples[n] = multiples[lowest] ^ multiples[n ^ lowest];
        n += 1;
    }
    let mut product: u32 = 0;
    let mut shift = 0;
    while shift < 32 {
        product = (product >> 4) ^ REDUCED[(product & 15) as usize];
        product ^= multiples[((a >> shift) & 15) as usize];
        shift += 4;
    }
    product
}

const fn powers() -> [[u32; 256]; 4] {
    let mut table = [[ONE; 256]; 4];
    let mut step = ONE_BYTE;
    let mut k = 0;
    while k < 4 {
        let mut b = 1;
        while b < 256 {
            table[k][b] = multiply(table[k][b - 1], step);
            b += 1;
        }
        step = multiply(table[k][255], step);
        k += 1;
    }
    table
}

/// What the difference of two CRC-32C values becomes when `len` equal bytes follow both messages.
///
/// `crc(a || p) ^ crc(b || p) == shift(crc(a) ^ crc(b), p.len())` for `a` and `b` of one length:
/// a CRC is affine over GF(2), so its start value and final inversion cancel in the difference.
/// At most four multiplications, whatever the length.
#[must_use]
pub fn shift(difference: u32, len: u32) -> u32 {
    let mut shifted = difference;
    for (powers, byte) in POWERS.iter().zip(len.to_le_bytes()) {
        if byte != 0 {
            shifted = multiply(shifted, powers[usize::from(byte)]);
        }
    }
    shifted
}

/// CRC-32C of the records alone, sealed as they are, from the header alone.
///
/// Two batches whose records have the same number of bytes and the same value here hold the same
/// records, whatever their headers say, as surely as a CRC-32C can tell.
#[must_use]
pub fn of_payload(header: &BatchHeader<'_>) -> u32 {
    let bytes = header.as_bytes();
    let payload_bytes = (header.total_bytes() - bytes.len()) as u32;
    header.crc() ^ shift(crc32c(&bytes[CRC_START..]), payload_bytes)
}

/// CRC-32C of `bytes`.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// CRC-32 (IEEE) of `bytes`.
#[must_use]
pub fn crc32_ieee(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// Checks the stored checksum of one entry of any message format.
///
/// # Errors
/// [`BatchError::Checksum`] when it is not that of the bytes, [`BatchError::Length`] and
/// [`BatchError::Magic`] when the entry is not a whole one.
pub fn verify(entry: &[u8]) -> Result<(), BatchError> {
    let (stored, computed) = match entry.get(MAGIC_AT) {
        Some(0 | 1) => {
            let stored = entry.get(12..MAGIC_AT).and_then(|raw| raw.first_chunk::<4>());
            let stored = u32::from_be_bytes(*stored.ok_or_else(|| short(entry))?);
            let end = super::walk::entry_bytes(entry, 0)?.ok_or_else(|| short(entry))?;
            (stored, crc32_ieee(entry.get(MAGIC_AT..end).ok_or_else(|| short(entry))?))
        }
        _ => {
            let header = BatchHeader::parse(entry)?;
            let checked = entry.get(CRC_START..header.total_bytes());
            (header.crc(), crc32c(checked.ok_or_else(|| short(entry))?))
        }
    };
    if stored == computed {
        return Ok(());
    }
    let base_offset = entry.first_chunk().map_or(-1, |raw| i64::from_be_bytes(*raw));
    Err(BatchError::Checksum { base_offset, stored, computed })
}

fn short(entry: &[u8]) -> BatchError {
    BatchError::Length { at: 0, length: entry.len() as i64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_values() {
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        assert_eq!(crc32_ieee(b"123456789"), 0xCBF4_3926);
        assert_eq!(shift(0xDEAD_BEEF, 0), 0xDEAD_BEEF);
        assert_eq!(shift(0, 12345), 0);
    }

    proptest! {
        #[test]
        fn shift_is_what_a_full_recompute_gives(
            a in prop::array::uniform32(any::<u8>()),
            b in prop::array::uniform32(any::<u8>()),
            tail in prop::collection::vec(any::<u8>(), 0..3000),
        ) {
            let whole = |head: &[u8]| crc32c(&[head, &tail].concat());
            let shifted = shift(crc32c(&a) ^ crc32c(&b), tail.len() as u32);
            prop_assert_eq!(whole(&a) ^ whole(&b), shifted);
        }

        #[test]
        fn shifts_add_up(difference: u32, first in 0u32..1 << 30, second in 0u32..1 << 30) {
            prop_assert_eq!(
                shift(shift(difference, first), second),
                shift(difference, first + second)
            );
        }
    }

    #[test]
    fn the_records_checksum_follows_from_the_header() {
        let mut builder = crate::batch::BatchBuilder::new();
        builder.push(Some(b"key"), Some(&[7; 500]), &[], 1);
        let bytes = builder.build().unwrap().bytes;
        let header = BatchHeader::parse(&bytes).unwrap();
        assert_eq!(of_payload(&header), crc32c(&bytes[crate::batch::HEADER_BYTES..]));
    }

    #[test]
    fn long_tails() {
        for len in [255, 256, 257, 65_535, 65_536, 1 << 20, (1 << 24) + 77] {
            let tail = vec![0xA5; len];
            let whole = |head: &[u8]| crc32c::crc32c_append(crc32c(head), &tail);
            let shifted = shift(crc32c(b"old") ^ crc32c(b"new"), len as u32);
            assert_eq!(whole(b"old") ^ whole(b"new"), shifted, "{len}");
        }
    }
}
