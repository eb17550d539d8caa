//! lz4 frames as Kafka's `Lz4BlockOutputStream` writes and `Lz4BlockInputStream` reads them:
//! independent blocks only.
//!
//! In message format 0 the header checksum was computed over the wrong bytes (KAFKA-3160).

use super::{CodecError, Compression, Framing, read_capped};
use crate::batch::copy;
use lz4_flex::block::decompress_into;
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};
use std::cell::RefCell;
use std::io::{self, Write};

/// Where the frame descriptor starts: behind the frame's magic, in bytes.
const DESCRIPTOR_AT: usize = 4;
/// The descriptor's flag of a content size, which takes eight more bytes.
const CONTENT_SIZE_FLAG: u8 = 0x08;
/// The descriptor's flag of a dictionary, which takes four more bytes.
const DICTIONARY_FLAG: u8 = 0x01;

/// The header of a plain frame, as Kafka's own clients and librdkafka write it: the magic, independent blocks without checksums, blocks of
/// 64 KiB at most, the header's checksum.
const PLAIN_HEADER: [u8; 7] = [0x04, 0x22, 0x4D, 0x18, 0x60, 0x40, 0x82];
/// The bit of a block's length that says that the block is stored as it is.
const STORED_FLAG: u32 = 1 << 31;
/// Most bytes that a block of a plain frame has, however it is stored.
const PLAIN_BLOCK_BYTES: usize = 64 << 10;

thread_local! {
    /// Room for one block, zeroed once. Each partition whose copy is compared keeps a decompressor; there it would be too much.
    static ROOM: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

pub(super) fn decompress(
    input: &[u8],
    framing: Framing,
    max_bytes: usize,
) -> Result<Vec<u8>, CodecError> {
    match framing {
        Framing::Standard => ROOM
            .with_borrow_mut(|room| plain(room, input, max_bytes))
            .unwrap_or_else(|| any(input, max_bytes)),
        Framing::Magic0 => {
            let mended = with_right_checksum(input).ok_or_else(|| {
                CodecError::malformed(Compression::Lz4, "the frame's header is cut off")
            })?;
            any(&mended, max_bytes)
        }
    }
}

/// Decompresses a plain frame; `None` for any other, and for a damaged one.
///
/// A stream decoder has two buffers of a block's largest size for each frame, which costs more than to decompress a tiny batch.
fn plain(
    room: &mut Vec<u8>,
    frame: &[u8],
    max_bytes: usize,
) -> Option<Result<Vec<u8>, CodecError>> {
    let mut rest = frame.strip_prefix(&PLAIN_HEADER)?;
    room.resize(PLAIN_BLOCK_BYTES, 0);
    let mut output = Vec::new();
    loop {
        let (length, behind) = rest.split_first_chunk()?;
        let length = u32::from_le_bytes(*length);
        if length == 0 {
            return Some(Ok(output));
        }
        let (mut block, behind) = behind.split_at_checked((length & !STORED_FLAG) as usize)?;
        if block.len() > PLAIN_BLOCK_BYTES {
            return None;
        }
        if length & STORED_FLAG == 0 {
            let written = decompress_into(block, room).ok()?;
            block = &room[..written];
        }
        if block.len() > max_bytes - output.len() {
            return Some(Err(CodecError::OverLimit { limit_bytes: max_bytes }));
        }
        copy::append(&mut output, block);
        rest = behind;
    }
}

/// Decompresses any frame.
fn any(frame: &[u8], max_bytes: usize) -> Result<Vec<u8>, CodecError> {
    read_capped(Compression::Lz4, FrameDecoder::new(frame), max_bytes)
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
    fn a_plain_frame_is_what_the_stream_decoder_says() {
        let text = b"an order of a customer, ".repeat(20_000);
        let noise: Vec<u8> = (0..200_000u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
        let mut room = Vec::new();
        for input in [&b""[..], b"x", &text[..300], &text, &noise] {
            let mut frame = Vec::new();
            compress(input, &mut frame).unwrap();
            assert!(plain(&mut room, &frame, input.len()).unwrap().unwrap() == input);
            assert!(any(&frame, input.len()).unwrap() == input);
            for end in (0..frame.len()).step_by(1 + frame.len() / 100) {
                assert_eq!(plain(&mut room, &frame[..end], input.len()), None);
            }
            if let Some(limit_bytes) = input.len().checked_sub(1) {
                let over = Err(CodecError::OverLimit { limit_bytes });
                assert_eq!(plain(&mut room, &frame, limit_bytes), Some(over.clone()));
                assert_eq!(any(&frame, limit_bytes), over);
            }
        }
    }

    #[test]
    fn other_frames_are_left_to_the_stream_decoder() {
        let infos = [
            FrameInfo::new().content_checksum(true),
            FrameInfo::new().block_checksums(true),
            FrameInfo::new().block_size(BlockSize::Max4MB),
            FrameInfo::new().block_mode(BlockMode::Linked),
            FrameInfo::new().content_size(Some(100)),
        ];
        for info in infos {
            let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
            encoder.write_all(&[7; 100]).unwrap();
            let frame = encoder.finish().unwrap();
            assert_eq!(plain(&mut Vec::new(), &frame, 100), None);
            assert_eq!(decompress(&frame, Framing::Standard, 100).unwrap(), [7; 100]);
        }
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
