//! The memory that all flows of the process share: what may be held, and the buffers that it is held in.

use std::time::Duration;

use protocol_client::wire::frame::FramePool;
use tokio::time::sleep;

use crate::flow::budget::Budget;

/// Buffers that nobody has needed for so long go back to the system.
const UNUSED: Duration = Duration::from_secs(5);

/// `kmirror.memory.bytes`, for everybody.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    pub(super) budget: Budget,
    pub(super) frames: FramePool,
}

impl Memory {
    pub(super) fn new(bytes: u64, shards: usize) -> Self {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        Self { budget: Budget::shared(bytes, shards), frames: FramePool::new(bytes) }
    }

    /// Gives unused buffers back, until the process ends.
    pub(super) async fn tidy(self) {
        loop {
            sleep(UNUSED).await;
            self.frames.trim();
        }
    }
}
