//! The codecs of record batches: every decompression has a hard limit on its output.
//!
//! Which bytes Kafka's clients write and read: `org.apache.kafka.common.compress`.

mod lz4;
mod snappy;

use super::header::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use std::io::{self, Read, Write};
use structured_zstd::decoding::StreamingDecoder;
use structured_zstd::encoding::{CompressionLevel, compress_slice_to_vec};
use thiserror::Error;

/// Level of the zstd encoder: as small as Kafka's default of 3 on batches, at half the work
/// (docs/decisions/0002-zstd-in-rust.md).
const ZSTD_LEVEL: i32 = 1;

/// Why records could not be decompressed or compressed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CodecError {
    /// There is more than the caller allows; reading stopped there.
    #[error("its records have more than {limit_bytes} bytes when decompressed")]
    OverLimit {
        /// The limit, in bytes.
        limit_bytes: usize,
    },
    /// The input is not what the codec writes.
    #[error("its records cannot be decompressed as {codec}: {detail}")]
    Malformed {
        /// Name of the codec.
        codec: &'static str,
        /// What the decoder says.
        detail: String,
    },
    /// What was compressed does not decompress to the same bytes, and was not used.
    #[error("its records do not survive compression as {codec}; this is a defect, report it")]
    RoundTrip {
        /// Name of the codec.
        codec: &'static str,
    },
}

impl CodecError {
    fn malformed(codec: Compression, detail: impl ToString) -> Self {
        Self::Malformed { codec: codec.name(), detail: detail.to_string() }
    }
}

/// Whose framing the input has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// That of format 1 and 2.
    Standard,
    /// That of format 0: the header checksum of its lz4 frames is wrong and not checked.
    Magic0,
}

/// Decompresses `input` to at most `max_bytes`.
///
/// # Errors
/// [`CodecError::OverLimit`] when there is more, [`CodecError::Malformed`] for other bytes.
pub fn decompress(
    codec: Compression,
    framing: Framing,
    input: &[u8],
    max_bytes: usize,
) -> Result<Vec<u8>, CodecError> {
    match codec {
        Compression::None if input.len() > max_bytes => {
            Err(CodecError::OverLimit { limit_bytes: max_bytes })
        }
        Compression::None => Ok(input.to_vec()),
        Compression::Gzip => read_capped(codec, MultiGzDecoder::new(input), max_bytes),
        Compression::Snappy => snappy::decompress(input, max_bytes),
        Compression::Lz4 => lz4::decompress(input, framing, max_bytes),
        Compression::Zstd => {
            // A frame may ask for a window of any size: what the output cannot fill is refused.
            let mut decoder = StreamingDecoder::new(input);
            let window = (max_bytes as u64).next_power_of_two().max(MIN_ZSTD_WINDOW_BYTES);
            decoder
                .decoder_mut()
                .set_max_window_size(window)
                .map_err(|error| CodecError::malformed(codec, error))?;
            read_capped(codec, decoder, max_bytes)
        }
    }
}

/// Smallest window that a zstd decoder must accept: RFC 8878 section 3.1.1.1.2, in bytes.
const MIN_ZSTD_WINDOW_BYTES: u64 = 8 << 20;

fn read_capped(
    codec: Compression,
    reader: impl Read,
    max_bytes: usize,
) -> Result<Vec<u8>, CodecError> {
    let mut output = Vec::new();
    let limit = (max_bytes as u64).saturating_add(1);
    reader
        .take(limit)
        .read_to_end(&mut output)
        .map_err(|error| CodecError::malformed(codec, error))?;
    if output.len() > max_bytes {
        return Err(CodecError::OverLimit { limit_bytes: max_bytes });
    }
    Ok(output)
}

/// Compresses `input` and appends the result to `output`.
///
/// # Errors
/// [`CodecError::RoundTrip`] when zstd's result does not decompress to `input`: its encoder is
/// young, so it is never trusted blindly. [`CodecError::Malformed`] when an encoder fails.
pub fn compress(codec: Compression, input: &[u8], output: &mut Vec<u8>) -> Result<(), CodecError> {
    let failed = |error: io::Error| CodecError::malformed(codec, error);
    match codec {
        Compression::None => output.extend_from_slice(input),
        Compression::Gzip => {
            let mut encoder = GzEncoder::new(output, flate2::Compression::default());
            encoder.write_all(input).and_then(|()| encoder.try_finish()).map_err(failed)?;
        }
        Compression::Snappy => snappy::compress(input, output)?,
        Compression::Lz4 => lz4::compress(input, output).map_err(failed)?,
        Compression::Zstd => {
            let frame = compress_slice_to_vec(input, CompressionLevel::from_level(ZSTD_LEVEL));
            let back = decompress(codec, Framing::Standard, &frame, input.len());
            if back.as_deref() != Ok(input) {
                return Err(CodecError::RoundTrip { codec: codec.name() });
            }
            output.extend_from_slice(&frame);
        }
    }
    Ok(())
}
