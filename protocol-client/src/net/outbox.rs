//! Bytes on their way out: pieces queued for vectored writes.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// Pieces handed to the kernel at once. Linux takes 1024; a quarter of that is 4 KiB of stack, and
/// with pieces of useful size fills any socket buffer.
pub(super) const MAX_SLICES: usize = 256;

/// As many as most requests have: less to lay out for each write.
pub(super) const FEW_SLICES: usize = 16;

/// A queue of pieces, written front to back.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pieces: VecDeque<Bytes>,
}

impl Outbox {
    pub(super) fn push(&mut self, pieces: Vec<Bytes>) {
        self.pieces.extend(pieces.into_iter().filter(|piece| !piece.is_empty()));
    }

    pub(super) fn len(&self) -> usize {
        self.pieces.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Lends the next pieces and returns how many of the slices are filled.
    pub(super) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let filled = slices.iter_mut().zip(&self.pieces);
        filled.map(|(slice, piece)| *slice = IoSlice::new(piece)).count()
    }

    /// Forgets the first `written` bytes.
    pub(super) fn advance(&mut self, mut written: usize) {
        while let Some(front) = self.pieces.front_mut().filter(|_| written > 0) {
            let here = written.min(front.len());
            front.advance(here);
            written -= here;
            if front.is_empty() {
                self.pieces.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn everything_is_written_once_and_in_order(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..9), 0..600),
            step in 1usize..700,
        ) {
            let expected = pieces.concat();
            let mut outbox = Outbox::default();
            outbox.push(pieces.into_iter().map(Bytes::from).collect());
            let mut written = Vec::new();
            while !outbox.is_empty() {
                let mut slices = [IoSlice::new(&[]); MAX_SLICES];
                let filled = outbox.slices(&mut slices);
                let offered = slices[..filled].iter().flat_map(|slice| slice.iter().copied());
                let before = written.len();
                written.extend(offered.take(step));
                let now = written.len() - before;
                outbox.advance(now);
            }
            prop_assert_eq!(written, expected);
        }
    }
}
