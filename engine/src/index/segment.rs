//! What an index consists of: records in a row and the holes behind them, as a few bytes.

use super::is_offset;

/// Some forwarded records and what follows them until the next segment begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    /// How many records were forwarded.
    pub(super) count: i64,
    /// Offsets of the source that stand for no forwarded record.
    pub(super) source_hole: i64,
    /// Offsets of the target that hold none of ours.
    pub(super) target_hole: i64,
    /// Where the holes are. At the end of the segment: translation is exact. Anywhere in it (`is_thinned`): only the
    /// counts are known, and of the records that there were at least `count`.
    pub(super) is_thinned: bool,
}

/// Most bytes of one segment: three varints.
pub(super) const MAX_SEGMENT_BYTES: usize = 30;

/// How a segment goes on behind its first varint, in that varint's lowest bits. Transaction markers are what breaks
/// most runs, so that one offset missing on a side costs no byte.
const KIND_BITS: u32 = 3;
const SOURCE_HOLE_OF_ONE: u64 = 0;
const TARGET_HOLE_OF_ONE: u64 = 1;
const BOTH_HOLES_OF_ONE: u64 = 2;
const SOURCE_HOLE: u64 = 3;
const HOLES: u64 = 4;
const THINNED_SOURCE_HOLE: u64 = 5;
const THINNED_HOLES: u64 = 6;

impl Segment {
    /// Writes the segment; its numbers are at most [`super::MAX_OFFSET`].
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let kind = match (self.is_thinned, self.source_hole, self.target_hole) {
            (false, 1, 0) => SOURCE_HOLE_OF_ONE,
            (false, 0, 1) => TARGET_HOLE_OF_ONE,
            (false, 1, 1) => BOTH_HOLES_OF_ONE,
            (false, _, 0) => SOURCE_HOLE,
            (false, ..) => HOLES,
            (true, _, 0) => THINNED_SOURCE_HOLE,
            (true, ..) => THINNED_HOLES,
        };
        put(out, self.count.unsigned_abs() << KIND_BITS | kind);
        if kind >= SOURCE_HOLE {
            put(out, self.source_hole.unsigned_abs());
        }
        if matches!(kind, HOLES | THINNED_HOLES) {
            put(out, self.target_hole.unsigned_abs());
        }
    }

    /// Takes a segment off the front; none if the bytes are no whole segment.
    // Looking up a position does little else. Left to the compiler it depended on how it cuts the crate into units.
    #[inline(always)]
    pub(super) fn take(bytes: &mut &[u8]) -> Option<Self> {
        let first = take(bytes)?;
        let count = (first >> KIND_BITS) as i64;
        let (source_hole, target_hole, is_thinned) = match first & ((1 << KIND_BITS) - 1) {
            SOURCE_HOLE_OF_ONE => (1, 0, false),
            TARGET_HOLE_OF_ONE => (0, 1, false),
            BOTH_HOLES_OF_ONE => (1, 1, false),
            SOURCE_HOLE => (take_i64(bytes)?, 0, false),
            HOLES => (take_i64(bytes)?, take_i64(bytes)?, false),
            THINNED_SOURCE_HOLE => (take_i64(bytes)?, 0, true),
            THINNED_HOLES => (take_i64(bytes)?, take_i64(bytes)?, true),
            _ => return None,
        };
        Some(Self { count, source_hole, target_hole, is_thinned })
    }

    /// Where the next segment begins at the source; none beyond the range of offsets.
    pub(super) fn source_end(&self, source: i64) -> Option<i64> {
        sum([source, self.count, self.source_hole])
    }

    /// Where the next segment begins at the target; none beyond the range of offsets.
    pub(super) fn target_end(&self, target: i64) -> Option<i64> {
        sum([target, self.count, self.target_hole])
    }

    /// How many offsets of the source the segment covers.
    pub(super) fn source_span(&self) -> i64 {
        self.count + self.source_hole
    }

    /// Both segments, one behind the other, as one of which less is known.
    pub(super) fn merge(self, next: Self) -> Self {
        Self {
            count: self.count + next.count,
            source_hole: self.source_hole + next.source_hole,
            target_hole: self.target_hole + next.target_hole,
            is_thinned: true,
        }
    }
}

fn sum(parts: [i64; 3]) -> Option<i64> {
    let sum = parts.into_iter().try_fold(0_i64, i64::checked_add)?;
    Some(sum).filter(|sum| is_offset(*sum))
}

/// Writes a number, seven bits a byte, the lowest first (LEB128).
pub(super) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes a number off the front; none if the bytes end within it or it does not fit.
#[inline]
pub(super) fn take(bytes: &mut &[u8]) -> Option<u64> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    if *first < 0x80 {
        return Some(u64::from(*first));
    }
    take_long(bytes, u64::from(*first & 0x7f))
}

fn take_long(bytes: &mut &[u8], mut value: u64) -> Option<u64> {
    for shift in (7..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        if (bits << shift) >> shift != bits {
            return None;
        }
        value |= bits << shift;
        if *byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// As [`take`], for offsets and counts.
pub(super) fn take_i64(bytes: &mut &[u8]) -> Option<i64> {
    i64::try_from(take(bytes)?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::index::MAX_OFFSET;

    #[test]
    fn a_marker_after_ten_records_is_one_byte() {
        let mut out = Vec::new();
        Segment { count: 10, source_hole: 1, target_hole: 0, is_thinned: false }.write(&mut out);
        assert_eq!(out, [80]);
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        for bytes in [&[0xff; 10][..], &[0x80][..], &[], &[0x80; 11][..]] {
            assert_eq!(take(&mut { bytes }), None);
        }
        let mut most = [0xff; 10];
        most[9] = 1;
        assert_eq!(take(&mut &most[..]), Some(u64::MAX));
        assert_eq!(take_i64(&mut &most[..]), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            count in 0..=MAX_OFFSET, source_hole in 0..=MAX_OFFSET, target_hole in 0..=MAX_OFFSET,
            small in 0_u32..60, is_thinned: bool,
        ) {
            let segment = Segment {
                count: count >> small,
                source_hole: source_hole >> small,
                target_hole: target_hole >> small,
                is_thinned,
            };
            let mut out = Vec::new();
            segment.write(&mut out);
            prop_assert!(out.len() <= MAX_SEGMENT_BYTES);
            let mut rest = &out[..];
            prop_assert_eq!(Segment::take(&mut rest), Some(segment));
            prop_assert!(rest.is_empty());
        }
    }
}
