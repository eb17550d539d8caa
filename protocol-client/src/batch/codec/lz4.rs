//! lz4 frames as Kafka's `Lz4BlockOutputStream` writes and `Lz4BlockInputStream` reads them:
//! independent blocks only.
//!
//! In message format 0 the header checksum was computed over the wrong bytes (KAFKA-3160).

use super::{CodecError, Compression, Framing, read_capped};
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};
use std::io::{self, Write};

/// Where the frame descriptor starts: behind the frame's magic, in bytes.
const DESCRIPTOR_AT: usize = 4;
/// The descriptor's flag of a content size, which takes eight more bytes.
const CONTENT_SIZE_FLAG: u8 = 0x08;
/// The descriptor's flag of a dictionary, which takes four more bytes.
const DICTIONARY_FLAG: u8 = 0x01;

pub(super) fn decompress(
    input: &[u8],
    framing: Framing,
    max_bytes: usize,
) -> Result<Vec<u8>, CodecError> {
    match framing {
        Framing::Standard => read_capped(Compression::Lz4, FrameDecoder::new(input), max_bytes),
        Framing::Magic0 => {
            let mended = with_right_checksum(input).ok_or_else(|| {
                CodecError::malformed(Compression::Lz4, "the frame's header is cut off")
            })?;
            read_capped(Compression::Lz4, FrameDecoder::new(&mended[..]), max_bytes)
        }
    }
}

/// The frame with the header checksum that the lz4 specification asks for.
fn with_right_checksum(frame: &[u8]) -> Option<Vec<u8>> {
    let flags = *frame.get(DESCRIPTOR_AT)?;
    let mut end = DESCRIPTOR_AT + 2;
    end += if flags & CONTENT_SIZE_FLAG != 0 { 8 } else { 0 };
    end += if flags & DICTIONARY_FLAG != 0 { 4 } else { 0 };
    let right = (xxh32_short(frame.get(DESCRIPTOR_AT..end)?) >> 8) as u8;
    let mut mended = frame.to_vec();
    *mended.get_mut(end)? = right;
    Some(mended)
}

/// xxHash32 with seed 0 of fewer than 16 bytes: the xxHash specification, steps 1 (short) and 4 to 6.
fn xxh32_short(input: &[u8]) -> u32 {
    const PRIME_1: u32 = 0x9E37_79B1;
    const PRIME_2: u32 = 0x85EB_CA77;
    const PRIME_3: u32 = 0xC2B2_AE3D;
    const PRIME_4: u32 = 0x27D4_EB2F;
    const PRIME_5: u32 = 0x1656_67B1;
    let mut hash = PRIME_5.wrapping_add(input.len() as u32);
    let (words, bytes) = input.as_chunks::<4>();
    for word in words {
        let step = u32::from_le_bytes(*word).wrapping_mul(PRIME_3);
        hash = hash.wrapping_add(step).rotate_left(17).wrapping_mul(PRIME_4);
    }
    for byte in bytes {
        let step = u32::from(*byte).wrapping_mul(PRIME_5);
        hash = hash.wrapping_add(step).rotate_left(11).wrapping_mul(PRIME_1);
    }
    hash = (hash ^ (hash >> 15)).wrapping_mul(PRIME_2);
    hash = (hash ^ (hash >> 13)).wrapping_mul(PRIME_3);
    hash ^ (hash >> 16)
}

pub(super) fn compress(input: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
    let info = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
    let mut encoder = FrameEncoder::with_frame_info(info, output);
    encoder.write_all(input)?;
    encoder.finish()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_xxhash32() {
        assert_eq!(xxh32_short(b""), 0x02CC_5D05);
        assert_eq!(xxh32_short(b"a"), 0x550D_7456);
        assert_eq!(xxh32_short(b"abc"), 0x32D1_53FF);
        assert_eq!(xxh32_short(&[0x60, 0x40]) >> 8 & 0xff, 0x82);
    }

    #[test]
    fn a_wrong_header_checksum_is_mended_for_format_0_only() {
        let mut frame = Vec::new();
        compress(&[7; 100], &mut frame).unwrap();
        assert_eq!(frame[6], 0x82);
        frame[6] = 0x1a;
        assert!(decompress(&frame, Framing::Standard, 100).is_err());
        assert_eq!(decompress(&frame, Framing::Magic0, 100).unwrap(), [7; 100]);
        assert!(decompress(&frame[..6], Framing::Magic0, 100).is_err());
    }
}
