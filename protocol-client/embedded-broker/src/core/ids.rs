//! Ids without randomness: equal seeds give equal clusters.

use uuid::Uuid;

/// A sequence of ids from a seed.
#[derive(Debug, Clone)]
pub(super) struct Ids {
    state: u64,
}

impl Ids {
    /// Starts the sequence.
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits (Steele, Lea, Flood: SplitMix64).
    pub(super) fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The next version 4 UUID.
    pub(super) fn next_uuid(&mut self) -> Uuid {
        let raw = (u128::from(self.next_u64()) << 64) | u128::from(self.next_u64());
        uuid::Builder::from_random_bytes(raw.to_be_bytes()).into_uuid()
    }

    /// The next positive id of a fetch session.
    pub(super) fn next_session_id(&mut self) -> i32 {
        ((self.next_u64() & 0x7fff_fffe) + 1) as i32
    }
}
