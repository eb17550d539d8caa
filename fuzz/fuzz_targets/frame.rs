//! A stream of bytes in pieces of any size: frames come out whole, in order, and within the limit.
#![no_main]

use kmirror_fuzz::Input;
use libfuzzer_sys::fuzz_target;
use protocol_client::wire::frame::{FrameAssembler, FramePool};

const MAX_FRAME_BYTES: usize = 5000;

/// The frames of a stream, cut by the plainest means.
fn frames(mut stream: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while let Some((size, rest)) = stream.split_first_chunk() {
        let Ok(length) = usize::try_from(i32::from_be_bytes(*size)) else { break };
        if length > MAX_FRAME_BYTES {
            break;
        }
        let Some((frame, behind)) = rest.split_at_checked(length) else { break };
        frames.push(frame);
        stream = behind;
    }
    frames
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let piece_bytes = 1 + usize::from(input.byte());
    let mut rest = input.0;
    let mut expected = frames(rest).into_iter();
    let mut assembler = FrameAssembler::new(FramePool::new(1 << 16), MAX_FRAME_BYTES);
    while !rest.is_empty() {
        let (space, room) = assembler.space();
        assert!(room > 0);
        let (piece, behind) = rest.split_at(piece_bytes.min(room).min(rest.len()));
        space.extend_from_slice(piece);
        rest = behind;
        loop {
            match assembler.next_frame() {
                Ok(Some(frame)) => assert_eq!(Some(&frame[..]), expected.next()),
                Ok(None) => break,
                Err(_) => return assert_eq!(expected.next(), None),
            }
        }
    }
    assert_eq!(expected.next(), None);
});
