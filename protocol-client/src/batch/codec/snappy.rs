//! Snappy in its two wrappings: the xerial stream of Java clients and the raw block of librdkafka.
//!
//! A xerial stream is a 16-byte header and blocks, each behind its length as an `i32`:
//! `org.xerial.snappy.SnappyOutputStream`.

use super::{CodecError, Compression};
use snap::raw::{Decoder, Encoder, decompress_len};

const XERIAL_MAGIC: &[u8; 8] = b"\x82SNAPPY\0";
/// The magic, a version and the oldest version that can read it, both 1.
const XERIAL_HEADER: &[u8; 16] = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
/// Size of the blocks that Java's stream cuts its input into, in bytes.
const BLOCK_BYTES: usize = 32 * 1024;

fn malformed(detail: impl ToString) -> CodecError {
    CodecError::malformed(Compression::Snappy, detail)
}

pub(super) fn decompress(input: &[u8], max_bytes: usize) -> Result<Vec<u8>, CodecError> {
    let mut output = Vec::new();
    if !input.starts_with(XERIAL_MAGIC) {
        append_block(input, &mut output, max_bytes)?;
        return Ok(output);
    }
    let mut rest = input;
    while !rest.is_empty() {
        // Concatenated streams have a header in the middle; Java's reader takes them too.
        if rest.starts_with(XERIAL_MAGIC) {
            let behind = rest.get(XERIAL_HEADER.len()..);
            rest = behind.ok_or_else(|| malformed("the stream's header is cut off"))?;
            continue;
        }
        let (length, behind) =
            rest.split_first_chunk().ok_or_else(|| malformed("a block's length is cut off"))?;
        let length = usize::try_from(i32::from_be_bytes(*length))
            .map_err(|_| malformed("a block's length is negative"))?;
        let (block, behind) =
            behind.split_at_checked(length).ok_or_else(|| malformed("a block is cut off"))?;
        append_block(block, &mut output, max_bytes)?;
        rest = behind;
    }
    Ok(output)
}

fn append_block(block: &[u8], output: &mut Vec<u8>, max_bytes: usize) -> Result<(), CodecError> {
    let length = decompress_len(block).map_err(malformed)?;
    if length > max_bytes - output.len() {
        return Err(CodecError::OverLimit { limit_bytes: max_bytes });
    }
    let start = output.len();
    output.resize(start + length, 0);
    let written = Decoder::new().decompress(block, &mut output[start..]).map_err(malformed)?;
    output.truncate(start + written);
    Ok(())
}

pub(super) fn compress(input: &[u8], output: &mut Vec<u8>) -> Result<(), CodecError> {
    output.extend_from_slice(XERIAL_HEADER);
    let mut encoder = Encoder::new();
    for block in input.chunks(BLOCK_BYTES) {
        let packed = encoder.compress_vec(block).map_err(malformed)?;
        output.extend_from_slice(&(packed.len() as i32).to_be_bytes());
        output.extend_from_slice(&packed);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_the_one_java_writes() {
        let mut packed = Vec::new();
        compress(&[b'x'; 40_000], &mut packed).unwrap();
        assert_eq!(packed[..16], *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01");
        let first = i32::from_be_bytes(packed[16..20].try_into().unwrap()) as usize;
        assert_eq!(decompress_len(&packed[20..20 + first]), Ok(BLOCK_BYTES));
        assert_eq!(decompress_len(&packed[20 + first + 4..]), Ok(40_000 - BLOCK_BYTES));
    }

    #[test]
    fn cut_off_streams_are_refused() {
        let mut packed = Vec::new();
        compress(b"some records", &mut packed).unwrap();
        for cut in 0..packed.len() {
            // A header alone is a stream of no blocks.
            assert_eq!(decompress(&packed[..cut], 100).is_ok(), cut == 16, "{cut}");
        }
        let negative = [XERIAL_HEADER, &(-1i32).to_be_bytes()[..]].concat();
        assert!(decompress(&negative, 100).is_err());
    }
}
