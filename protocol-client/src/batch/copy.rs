//! Copies that are so short, and so many, that a call of `memcpy` would cost more than the bytes. musl's aligns and repeats byte by
//! byte, which takes tens of nanoseconds for a record of 200 bytes.

/// What is copied at once, as a constant that the compiler turns into moves between registers.
pub(super) const PIECE_BYTES: usize = 32;

/// From here on `memcpy` is worth its call everywhere.
const LONG_BYTES: usize = 1024;

/// Appends `bytes` to `out`.
#[inline]
pub(super) fn append(out: &mut Vec<u8>, bytes: &[u8]) {
    if cfg!(target_env = "musl") {
        append_in_pieces(out, bytes);
    } else {
        out.extend_from_slice(bytes);
    }
}

#[inline]
fn append_in_pieces(out: &mut Vec<u8>, bytes: &[u8]) {
    let last = bytes.last_chunk::<PIECE_BYTES>().filter(|_| bytes.len() < LONG_BYTES);
    let Some(last) = last else { return out.extend_from_slice(bytes) };
    out.reserve(bytes.len() + PIECE_BYTES);
    let end = out.len() + bytes.len();
    for piece in bytes.as_chunks::<PIECE_BYTES>().0 {
        out.extend_from_slice(piece);
    }
    // The last piece covers what of the one before it would have been too much.
    out.truncate(end - PIECE_BYTES);
    out.extend_from_slice(last);
}

/// Appends the first `length` bytes of a piece.
#[inline]
pub(super) fn append_head(out: &mut Vec<u8>, piece: &[u8; PIECE_BYTES], length: usize) {
    let end = out.len() + length;
    out.extend_from_slice(piece);
    out.truncate(end);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_any_length_are_what_they_were() {
        let bytes: Vec<u8> = (0..2000u32).map(|at| (at * 7 % 251) as u8).collect();
        for length in (0..200).chain([1023, 1024, 1025, 2000]) {
            let mut out = vec![9; 3];
            append_in_pieces(&mut out, &bytes[..length]);
            assert_eq!(out[..3], [9; 3]);
            assert_eq!(out[3..], bytes[..length], "{length}");
        }
    }

    #[test]
    fn the_head_of_a_piece_is_taken() {
        let mut out = vec![1];
        append_head(&mut out, &[7; PIECE_BYTES], 2);
        assert_eq!(out, [1, 7, 7]);
    }
}
