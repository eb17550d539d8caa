//! gzip members around raw deflate: RFC 1952.
//!
//! The members are read here, and not by a stream decoder, because an inflater costs more to set
//! up than a small batch to decompress, and only a raw one can be used again.

use super::{CodecError, Compression};
use crate::batch::crc;
use flate2::write::GzEncoder;
use flate2::{Decompress, FlushDecompress, Status};
use std::io::{self, Write};

const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
const FLAG_HEADER_CRC: u8 = 0x02;
const FLAG_EXTRA: u8 = 0x04;
const FLAG_NAME: u8 = 0x08;
const FLAG_COMMENT: u8 = 0x10;
/// What the output grows by at least, in bytes.
const STEP_BYTES: usize = 4 * 1024;

fn malformed(detail: impl ToString) -> CodecError {
    CodecError::malformed(Compression::Gzip, detail)
}

/// Decompresses all members of `input`; `inflater` is a raw one in any state.
pub(super) fn decompress(
    inflater: &mut Decompress,
    input: &[u8],
    max_bytes: usize,
) -> Result<Vec<u8>, CodecError> {
    let mut output = Vec::new();
    let mut rest = input;
    loop {
        rest = behind_header(rest).ok_or_else(|| malformed("a member's header is damaged"))?;
        let start = output.len();
        rest = inflate(inflater, rest, &mut output, max_bytes)?;
        let (trailer, behind) =
            rest.split_first_chunk::<8>().ok_or_else(|| malformed("a member is cut off"))?;
        let member = &output[start..];
        let expected = [crc::crc32_ieee(member), member.len() as u32].map(u32::to_le_bytes);
        if trailer[..] != *expected.as_flattened() {
            return Err(malformed("a member's checksum or length is wrong"));
        }
        if behind.is_empty() {
            return Ok(output);
        }
        rest = behind;
    }
}

/// Skips the header of a member: RFC 1952 section 2.3.
fn behind_header(member: &[u8]) -> Option<&[u8]> {
    let (fixed, mut rest) = member.split_first_chunk::<10>()?;
    if fixed[..3] != MAGIC {
        return None;
    }
    let flags = fixed[3];
    if flags & FLAG_EXTRA != 0 {
        let (length, behind) = rest.split_first_chunk::<2>()?;
        rest = behind.get(usize::from(u16::from_le_bytes(*length))..)?;
    }
    for flag in [FLAG_NAME, FLAG_COMMENT] {
        if flags & flag != 0 {
            let end = rest.iter().position(|byte| *byte == 0)?;
            rest = &rest[end + 1..];
        }
    }
    if flags & FLAG_HEADER_CRC != 0 {
        rest = rest.get(2..)?;
    }
    Some(rest)
}

/// Appends the inflated member to `output` and gives what follows it in the input.
fn inflate<'a>(
    inflater: &mut Decompress,
    input: &'a [u8],
    output: &mut Vec<u8>,
    max_bytes: usize,
) -> Result<&'a [u8], CodecError> {
    inflater.reset(false);
    loop {
        // One byte over the limit is enough to see that there is more.
        let room = (max_bytes - output.len()).saturating_add(1);
        if output.len() == output.capacity() {
            let guess = (input.len() * 2).max(output.len()).max(STEP_BYTES);
            output.reserve_exact(guess.min(room));
        }
        let (taken, given) = (inflater.total_in(), inflater.total_out());
        let rest = input.get(taken as usize..).unwrap_or_default();
        let status =
            inflater.decompress_vec(rest, output, FlushDecompress::None).map_err(malformed)?;
        if output.len() > max_bytes {
            return Err(CodecError::OverLimit { limit_bytes: max_bytes });
        }
        if status == Status::StreamEnd {
            return Ok(input.get(inflater.total_in() as usize..).unwrap_or_default());
        }
        let stuck = (inflater.total_in(), inflater.total_out()) == (taken, given);
        if stuck && output.len() < output.capacity() {
            return Err(malformed("a member is cut off"));
        }
    }
}

pub(super) fn compress(input: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
    let mut encoder = GzEncoder::new(output, flate2::Compression::default());
    encoder.write_all(input)?;
    encoder.try_finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::GzBuilder;

    fn unpack(input: &[u8]) -> Result<Vec<u8>, CodecError> {
        decompress(&mut Decompress::new(false), input, 1 << 20)
    }

    #[test]
    fn every_optional_field_of_the_header_is_skipped() {
        let builder = GzBuilder::new().extra("extra").filename("name").comment("comment");
        let mut encoder = builder.write(Vec::new(), flate2::Compression::best());
        encoder.write_all(b"value").unwrap();
        let mut packed = encoder.finish().unwrap();
        assert_eq!(unpack(&packed).unwrap(), b"value");
        let end = packed.len();
        packed[end - 5] ^= 1;
        assert!(unpack(&packed).is_err());
        for cut in 0..end {
            assert!(unpack(&packed[..cut]).is_err());
        }
    }
}
