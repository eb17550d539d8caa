//! Refuses a request whose first array claims more elements than the request has bytes.
//!
//! `kafka-protocol` reserves memory for the claimed number before it reads, and a wrong number can end the
//! process. Only the first array of a request is looked at, which the frame limit makes enough for mistakes;
//! whoever is on the loopback with intent can still do harm.

use kafka_protocol::messages::ApiKey;

/// The claimed number cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AbsurdCount;

#[derive(Clone, Copy)]
enum Field {
    Fixed(usize),
    Text,
}

use Field::{Fixed, Text};

/// The fields before the first array, and the first version with compact encoding.
fn layout(api: ApiKey, version: i16) -> Option<(&'static [Field], i16)> {
    Some(match api {
        ApiKey::Produce => (&[Text, Fixed(6)], 9),
        ApiKey::Fetch if version <= 6 => (&[Fixed(17)], 12),
        ApiKey::Fetch if version <= 14 => (&[Fixed(25)], 12),
        ApiKey::Fetch => (&[Fixed(21)], 12),
        ApiKey::ListOffsets if version < 2 => (&[Fixed(4)], 6),
        ApiKey::ListOffsets => (&[Fixed(5)], 6),
        ApiKey::Metadata => (&[], 9),
        ApiKey::CreateTopics => (&[], 5),
        ApiKey::DeleteTopics => (&[], 4),
        ApiKey::DeleteRecords => (&[], 2),
        ApiKey::CreatePartitions => (&[], 2),
        ApiKey::DescribeConfigs => (&[], 4),
        ApiKey::AlterConfigs => (&[], 2),
        ApiKey::IncrementalAlterConfigs => (&[], 1),
        ApiKey::DescribeGroups => (&[], 5),
        ApiKey::DeleteGroups => (&[], 2),
        ApiKey::OffsetForLeaderEpoch if version < 3 => (&[], 4),
        ApiKey::OffsetForLeaderEpoch => (&[Fixed(4)], 4),
        ApiKey::OffsetFetch if version < 8 => (&[Text], 6),
        ApiKey::OffsetFetch => (&[], 6),
        ApiKey::OffsetDelete => (&[Text], i16::MAX),
        ApiKey::FindCoordinator if version >= 4 => (&[Fixed(1)], 3),
        ApiKey::ListGroups if version >= 4 => (&[], 3),
        ApiKey::DescribeProducers | ApiKey::DescribeTopicPartitions => (&[], 0),
        _ => return None,
    })
}

/// Checks the first array of a request's body.
pub(crate) fn check_count(api: ApiKey, version: i16, body: &[u8]) -> Result<(), AbsurdCount> {
    let Some((fields, flexible_from)) = layout(api, version) else { return Ok(()) };
    let flexible = version >= flexible_from;
    let mut rest = body;
    for field in fields {
        let skipped = match *field {
            Fixed(bytes) => bytes,
            Text if flexible => uvarint(&mut rest).map_or(0, |length| length.saturating_sub(1)),
            Text => take_i16(&mut rest).map_or(0, |length| usize::try_from(length).unwrap_or(0)),
        };
        let Some(behind) = rest.get(skipped..) else { return Ok(()) };
        rest = behind;
    }
    let claimed = if flexible {
        uvarint(&mut rest).map(|count| count.saturating_sub(1))
    } else {
        rest.split_first_chunk::<4>()
            .and_then(|(raw, _)| usize::try_from(i32::from_be_bytes(*raw)).ok())
    };
    if claimed.is_some_and(|claimed| claimed > rest.len()) { Err(AbsurdCount) } else { Ok(()) }
}

fn take_i16(rest: &mut &[u8]) -> Option<i16> {
    let (raw, behind) = rest.split_first_chunk::<2>()?;
    *rest = behind;
    Some(i16::from_be_bytes(*raw))
}

fn uvarint(rest: &mut &[u8]) -> Option<usize> {
    let mut value = 0usize;
    for shift in (0..35).step_by(7) {
        let (&byte, behind) = rest.split_first()?;
        *rest = behind;
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absurd_count_is_refused_and_an_honest_one_is_not() {
        let absurd = [0x7f, 0xff, 0xff, 0xff, 0, 0];
        assert_eq!(check_count(ApiKey::Metadata, 1, &absurd), Err(AbsurdCount));
        let compact = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
        assert_eq!(check_count(ApiKey::Metadata, 12, &compact), Err(AbsurdCount));
        assert_eq!(check_count(ApiKey::Metadata, 1, &[0, 0, 0, 1, 0, 1, b'a']), Ok(()));
        assert_eq!(check_count(ApiKey::Metadata, 1, &[0xff; 4]), Ok(()));
        let produce = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0x7f, 0xff, 0xff, 0xff];
        assert_eq!(check_count(ApiKey::Produce, 3, &produce), Err(AbsurdCount));
    }
}
