//! The header that a forwarded batch gets; its records stay sealed.
//!
//! What a broker demands of a produced batch: Kafka's `LogValidator` and
//! `UnifiedLog#analyzeAndValidateRecords`.

use super::crc;
use super::header::{BatchHeader, CRC_START, HEADER_BYTES};

/// Codec (bits 0-2) and control (bit 5): what a forwarded batch keeps of its attributes.
///
/// Cleared are the timestamp type, which the target decides; the transaction, which ended at the
/// source; the delete horizon (KIP-534), which the target's cleaner sets for itself; and the unused bits.
const KEPT_ATTRIBUTES: i16 = 0b0010_0111;
/// Bit 4: part of a transaction of the producer that the header names.
const TRANSACTIONAL: i16 = 0b0001_0000;

/// Who produces a batch to the target: the fields that an idempotent producer numbers (KIP-98).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerStamp {
    /// The producer's id.
    pub producer_id: i64,
    /// The epoch of that id.
    pub epoch: i16,
    /// Sequence number of the first record.
    pub base_sequence: i32,
}

impl ProducerStamp {
    /// No producer: the batch is appended whenever it arrives.
    pub const NONE: Self = Self { producer_id: -1, epoch: -1, base_sequence: -1 };
}

/// The header under which the batch of `header` is produced to the target.
///
/// The checksum follows from the old one and the change of the header, so a batch that was
/// damaged before it came here has a wrong checksum still, and the target refuses it.
#[must_use]
pub fn patch(header: &BatchHeader<'_>, stamp: ProducerStamp) -> [u8; HEADER_BYTES] {
    patched(header, stamp, header.attributes() & KEPT_ATTRIBUTES)
}

/// Like [`patch`], as part of a transaction at the target.
#[must_use]
pub fn patch_in_transaction(header: &BatchHeader<'_>, stamp: ProducerStamp) -> [u8; HEADER_BYTES] {
    patched(header, stamp, (header.attributes() & KEPT_ATTRIBUTES) | TRANSACTIONAL)
}

fn patched(header: &BatchHeader<'_>, stamp: ProducerStamp, attributes: i16) -> [u8; HEADER_BYTES] {
    let old = header.as_bytes();
    let mut new = *old;
    new[..8].copy_from_slice(&0i64.to_be_bytes());
    new[12..16].copy_from_slice(&(-1i32).to_be_bytes());
    new[21..23].copy_from_slice(&attributes.to_be_bytes());
    new[43..51].copy_from_slice(&stamp.producer_id.to_be_bytes());
    new[51..53].copy_from_slice(&stamp.epoch.to_be_bytes());
    new[53..57].copy_from_slice(&stamp.base_sequence.to_be_bytes());
    let difference = crc::crc32c(&old[CRC_START..]) ^ crc::crc32c(&new[CRC_START..]);
    let payload_bytes = (header.total_bytes() - HEADER_BYTES) as u32;
    let crc = header.crc() ^ crc::shift(difference, payload_bytes);
    new[17..CRC_START].copy_from_slice(&crc.to_be_bytes());
    new
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::error::BatchError;
    use proptest::prelude::*;

    fn batch(fields: &[u8; 40], payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0u8; CRC_START];
        bytes[..8].copy_from_slice(&77i64.to_be_bytes());
        bytes[8..12].copy_from_slice(&((payload.len() + 49) as i32).to_be_bytes());
        bytes[12..16].copy_from_slice(&9i32.to_be_bytes());
        bytes[16] = 2;
        bytes.extend(fields);
        bytes.extend(payload);
        let crc = crc::crc32c(&bytes[CRC_START..]);
        bytes[17..CRC_START].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    fn fields() -> impl Strategy<Value = [u8; 40]> {
        (prop::array::uniform32(any::<u8>()), any::<[u8; 8]>()).prop_map(|(a, b)| {
            let mut fields = [0; 40];
            fields[..32].copy_from_slice(&a);
            fields[32..].copy_from_slice(&b);
            fields
        })
    }

    fn stamp() -> impl Strategy<Value = ProducerStamp> {
        (any::<i64>(), any::<i16>(), any::<i32>()).prop_map(
            |(producer_id, epoch, base_sequence)| ProducerStamp {
                producer_id,
                epoch,
                base_sequence,
            },
        )
    }

    proptest! {
        #[test]
        fn the_checksum_is_that_of_the_new_bytes(
            fields in fields(),
            stamp in stamp(),
            payload in prop::collection::vec(any::<u8>(), 0..2000),
        ) {
            let old = batch(&fields, &payload);
            let view = BatchHeader::parse(&old).unwrap();
            let new = [&patch(&view, stamp)[..], &payload].concat();
            prop_assert_eq!(crc::verify(&new), Ok(()));
            let header = BatchHeader::parse(&new).unwrap();
            prop_assert_eq!(header.base_offset(), 0);
            prop_assert_eq!(header.partition_leader_epoch(), -1);
            prop_assert_eq!(header.attributes(), view.attributes() & 0x27);
            prop_assert_eq!(header.producer_id(), stamp.producer_id);
            prop_assert_eq!(header.producer_epoch(), stamp.epoch);
            prop_assert_eq!(header.base_sequence(), stamp.base_sequence);
            prop_assert_eq!(&new[8..12], &old[8..12]);
            prop_assert_eq!(&new[23..43], &old[23..43]);
            prop_assert_eq!(&new[57..], &old[57..]);
            let new = [&patch_in_transaction(&view, stamp)[..], &payload].concat();
            prop_assert_eq!(crc::verify(&new), Ok(()));
            let attributes = BatchHeader::parse(&new).unwrap().attributes();
            prop_assert_eq!(attributes, (view.attributes() & 0x27) | 0x10);
        }

        #[test]
        fn what_was_damaged_stays_damaged(
            fields in fields(),
            stamp in stamp(),
            payload in prop::collection::vec(any::<u8>(), 1..2000),
            bit: u32,
        ) {
            let mut old = batch(&fields, &payload);
            let bit = bit as usize % ((old.len() - CRC_START) * 8);
            old[CRC_START + bit / 8] ^= 1 << (bit % 8);
            let view = BatchHeader::parse(&old).unwrap();
            let new = [&patch(&view, stamp)[..], &old[HEADER_BYTES..]].concat();
            let refused = matches!(crc::verify(&new), Err(BatchError::Checksum { .. }));
            prop_assert!(refused);
        }
    }
}
