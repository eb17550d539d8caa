//! Any bytes as the output of each codec: never more than the limit comes out, a decoder that was
//! used before gives what a new one gives, and what came out survives compression.
#![no_main]

use kmirror_fuzz::Input;
use libfuzzer_sys::fuzz_target;
use protocol_client::batch::codec::{Decompressor, Framing, compress, decompress};

const LIMIT_BYTES: usize = 1 << 18;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let codec = input.codec();
    let framing = if input.byte() & 1 == 0 { Framing::Standard } else { Framing::Magic0 };
    let first = decompress(codec, framing, input.0, LIMIT_BYTES);
    let mut decompressor = Decompressor::default();
    for _ in 0..2 {
        assert_eq!(decompressor.decompress(codec, framing, input.0, LIMIT_BYTES), first);
    }
    let Ok(output) = first else { return };
    assert!(output.len() <= LIMIT_BYTES);
    let mut packed = Vec::new();
    compress(codec, &output, &mut packed).expect("every input can be compressed");
    let back = decompressor.decompress(codec, Framing::Standard, &packed, output.len());
    assert_eq!(back.as_ref(), Ok(&output));
});
