//! The codecs of record batches: every decompression has a hard limit on its output.
//!
//! Which bytes Kafka's clients write and read: `org.apache.kafka.common.compress`.

mod gzip;
mod lz4;
mod snappy;

use super::header::Compression;
use std::fmt;
use std::io::{self, Read};
use structured_zstd::decoding::{ContentChecksum, FrameDecoder, StreamingDecoder};
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

/// Decoders that serve one batch after the other: setting one up costs more than a small batch.
#[derive(Default)]
pub struct Decompressor {
    inflater: Option<flate2::Decompress>,
    zstd: Option<Box<FrameDecoder>>,
}

impl fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decompressor").finish_non_exhaustive()
    }
}

impl Decompressor {
    /// Decompresses `input` to at most `max_bytes`.
    ///
    /// # Errors
    /// [`CodecError::OverLimit`] when there is more, [`CodecError::Malformed`] for other bytes.
    pub fn decompress(
        &mut self,
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
            Compression::Gzip => {
                let raw = || flate2::Decompress::new(false);
                gzip::decompress(self.inflater.get_or_insert_with(raw), input, max_bytes)
            }
            Compression::Snappy => snappy::decompress(input, max_bytes),
            Compression::Lz4 => lz4::decompress(input, framing, max_bytes),
            Compression::Zstd => self.decompress_zstd(input, max_bytes),
        }
    }

    fn decompress_zstd(&mut self, input: &[u8], max_bytes: usize) -> Result<Vec<u8>, CodecError> {
        let codec = Compression::Zstd;
        let mut decoder = self.zstd.take().unwrap_or_default();
        decoder.set_content_checksum(ContentChecksum::Verify);
        // A frame may ask for a window of any size: what the output cannot fill is refused.
        let window = (max_bytes as u64).next_power_of_two().max(MIN_ZSTD_WINDOW_BYTES);
        decoder.set_max_window_size(window).map_err(|error| CodecError::malformed(codec, error))?;
        let mut stream = StreamingDecoder::new_with_decoder(input, &mut *decoder);
        let output = read_capped(codec, &mut stream, max_bytes)?;
        // After an error it is not used again, so that no input can spoil the next one.
        self.zstd = Some(decoder);
        Ok(output)
    }
}

/// Decompresses `input` to at most `max_bytes`, with decoders of its own.
///
/// # Errors
/// As [`Decompressor::decompress`].
pub fn decompress(
    codec: Compression,
    framing: Framing,
    input: &[u8],
    max_bytes: usize,
) -> Result<Vec<u8>, CodecError> {
    Decompressor::default().decompress(codec, framing, input, max_bytes)
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
/// The zstd encoder is young, so it is never trusted blindly: a frame that does not decompress to
/// `input` is thrown away and `input` stored in a frame without compression.
///
/// # Errors
/// [`CodecError::Malformed`] when an encoder fails.
pub fn compress(codec: Compression, input: &[u8], output: &mut Vec<u8>) -> Result<(), CodecError> {
    let failed = |error: io::Error| CodecError::malformed(codec, error);
    match codec {
        Compression::None => output.extend_from_slice(input),
        Compression::Gzip => gzip::compress(input, output).map_err(failed)?,
        Compression::Snappy => snappy::compress(input, output)?,
        Compression::Lz4 => lz4::compress(input, output).map_err(failed)?,
        Compression::Zstd => {
            let frame = compress_slice_to_vec(input, CompressionLevel::from_level(ZSTD_LEVEL));
            let back = decompress(codec, Framing::Standard, &frame, input.len());
            if back.as_deref() != Ok(input) {
                store_as_zstd(input, output);
                return Ok(());
            }
            output.extend_from_slice(&frame);
        }
    }
    Ok(())
}

/// Appends a zstd frame of raw blocks: RFC 8878 section 3.1.1.
fn store_as_zstd(input: &[u8], output: &mut Vec<u8>) {
    /// Frame magic; a descriptor that announces no content size; a window of 128 KiB.
    const HEADER: [u8; 6] = [0x28, 0xB5, 0x2F, 0xFD, 0x00, (17 - 10) << 3];
    const MAX_BLOCK_BYTES: usize = 128 << 10;
    output.extend_from_slice(&HEADER);
    let mut blocks = input.chunks(MAX_BLOCK_BYTES).peekable();
    loop {
        let block = blocks.next().unwrap_or_default();
        let is_last = blocks.peek().is_none();
        let header = (block.len() as u32) << 3 | u32::from(is_last);
        output.extend_from_slice(&header.to_le_bytes()[..3]);
        output.extend_from_slice(block);
        if is_last {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::sample::{self, CODECS};
    use proptest::prelude::*;

    const LIMIT: usize = 1 << 20;

    /// Bytes that compress: words out of a small vocabulary between noise.
    fn text() -> impl Strategy<Value = Vec<u8>> {
        let word = prop_oneof![
            4 => prop::sample::select(vec![&b"order"[..], b"customer", b"\0\0\0\0", b"{\"id\":"])
                .prop_map(<[u8]>::to_vec),
            1 => prop::collection::vec(any::<u8>(), 0..40),
        ];
        prop::collection::vec(word, 0..2000).prop_map(|words| words.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn bytes_come_back(codec in sample::codec(), input in text()) {
            let mut packed = Vec::new();
            compress(codec, &input, &mut packed).unwrap();
            let unpack = |limit| decompress(codec, Framing::Standard, &packed, limit);
            prop_assert!(unpack(LIMIT).as_deref() == Ok(&input));
            prop_assert!(unpack(input.len()).as_deref() == Ok(&input));
            if let Some(limit_bytes) = input.len().checked_sub(1) {
                prop_assert_eq!(unpack(limit_bytes), Err(CodecError::OverLimit { limit_bytes }));
            }
        }

        #[test]
        fn damaged_input_never_panics_nor_exceeds_the_limit(
            codec in sample::codec(),
            input in text(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            cut: prop::sample::Index,
        ) {
            let mut packed = Vec::new();
            compress(codec, &input, &mut packed).unwrap();
            if !packed.is_empty() {
                for (at, byte) in changes {
                    let at = at.index(packed.len());
                    packed[at] = byte;
                }
                packed.truncate(cut.index(packed.len() * 2));
            }
            for framing in [Framing::Standard, Framing::Magic0] {
                if let Ok(output) = decompress(codec, framing, &packed, 10_000) {
                    prop_assert!(output.len() <= 10_000);
                }
            }
        }

        #[test]
        fn zstd_agrees_with_the_reference(input in text(), level in -5i32..20) {
            let mut ours = Vec::new();
            compress(Compression::Zstd, &input, &mut ours).unwrap();
            prop_assert_eq!(&zstd::decode_all(&ours[..]).unwrap(), &input);
            let theirs = zstd::encode_all(&input[..], level).unwrap();
            let back = decompress(Compression::Zstd, Framing::Standard, &theirs, LIMIT);
            prop_assert_eq!(back, Ok(input));
        }

        #[test]
        fn damaged_zstd_gives_what_the_reference_gives(
            input in text(),
            at: prop::sample::Index,
            byte: u8,
        ) {
            let mut packed = zstd::encode_all(&input[..], 3).unwrap();
            let at = at.index(packed.len());
            packed[at] = byte;
            let ours = decompress(Compression::Zstd, Framing::Standard, &packed, LIMIT);
            if let (Ok(ours), Ok(theirs)) = (ours, zstd::decode_all(&packed[..])) {
                prop_assert_eq!(ours, theirs);
            }
        }
    }

    #[test]
    fn bombs_stop_at_the_limit() {
        let zeros = vec![0; 64 << 20];
        for codec in CODECS {
            let mut bomb = Vec::new();
            compress(codec, &zeros, &mut bomb).unwrap();
            for limit_bytes in [0, 1000, LIMIT] {
                let result = decompress(codec, Framing::Standard, &bomb, limit_bytes);
                assert_eq!(result, Err(CodecError::OverLimit { limit_bytes }), "{codec:?}");
            }
        }
    }

    #[test]
    fn nothing_and_noise_come_back() {
        let mut seed = 1u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 56) as u8
        })
        .take(300_000)
        .collect();
        for codec in CODECS {
            for input in [&[][..], &noise] {
                let mut packed = Vec::new();
                compress(codec, input, &mut packed).unwrap();
                assert!(packed.len() <= input.len() + input.len() / 64 + 128, "{codec:?}");
                let back = decompress(codec, Framing::Standard, &packed, input.len());
                assert_eq!(back.as_deref(), Ok(input), "{codec:?}");
            }
        }
    }

    #[test]
    fn a_stored_zstd_frame_is_one() {
        for length in [0, 1, 131_071, 131_072, 131_073, 300_000] {
            let input = vec![b'x'; length];
            let mut frame = Vec::new();
            store_as_zstd(&input, &mut frame);
            assert_eq!(zstd::decode_all(&frame[..]).unwrap(), input);
            let back = decompress(Compression::Zstd, Framing::Standard, &frame, length);
            assert_eq!(back, Ok(input));
        }
    }

    #[test]
    fn gzip_members_and_zstd_frames_may_follow_each_other() {
        for codec in [Compression::Gzip, Compression::Zstd, Compression::Snappy] {
            let mut packed = Vec::new();
            compress(codec, b"first ", &mut packed).unwrap();
            compress(codec, b"second", &mut packed).unwrap();
            let back = decompress(codec, Framing::Standard, &packed, 100);
            assert_eq!(back.as_deref(), Ok(&b"first second"[..]), "{codec:?}");
        }
    }

    #[test]
    fn raw_snappy_is_read_too() {
        let packed = snap::raw::Encoder::new().compress_vec(&[b'a'; 500]).unwrap();
        let back = decompress(Compression::Snappy, Framing::Standard, &packed, 500);
        assert_eq!(back, Ok(vec![b'a'; 500]));
    }
}
