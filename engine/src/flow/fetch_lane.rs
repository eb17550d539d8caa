//! A fetch lane: one connection to one source broker, its fetch session, and one request under way at most.

use std::collections::BTreeSet;

use protocol_client::conn::fetch_session::{
    FetchLimits, FetchSession, Fetched, SessionTopic, Want,
};
use protocol_client::wire::fetch::{RawFetch, RawFetchAnswer};

use super::event::PartitionKey;
use super::frames::Frames;
use super::link::Link;
use super::settings::ShardSettings;
use crate::model::Moment;

/// How long a broker may hold an empty fetch while some partitions of the lane sit out, in milliseconds: they may want
/// to come back at any moment, and a waiting fetch would keep them out.
const SHORT_WAIT_MS: i32 = 5;

/// The smallest answer that is worth a request, in bytes.
const LEAST_BYTES: usize = 64 << 10;

/// Fetch lane towards one broker.
#[derive(Debug)]
pub(super) struct FetchLane {
    pub(super) link: Link,
    session: FetchSession,
    /// Partitions that will want records again as soon as some of theirs have left.
    held_back: BTreeSet<PartitionKey>,
    reserved: Option<usize>,
}

impl FetchLane {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            link: Link::new(now),
            session: FetchSession::default(),
            held_back: BTreeSet::new(),
            reserved: None,
        }
    }

    /// A partition wants records.
    pub(super) fn want(&mut self, key: PartitionKey, topic: &SessionTopic, index: i32, want: Want) {
        self.held_back.remove(&key);
        self.session.set(key, topic, index, want);
    }

    /// A partition wants none at present; `soon` if it may want some again at any moment.
    pub(super) fn leave(&mut self, key: PartitionKey, soon: bool) {
        self.session.remove(key);
        if soon {
            self.held_back.insert(key);
        } else {
            self.held_back.remove(&key);
        }
    }

    /// The next request, if the connection is free, somebody wants records and the budget has room.
    pub(super) fn next_request(
        &mut self,
        lanes: usize,
        settings: &ShardSettings,
        frames: &mut Frames,
    ) -> Option<RawFetch> {
        if !self.link.is_up() || self.reserved.is_some() || self.session.is_empty() {
            return None;
        }
        // Half of the budget is for answers under way, shared by the lanes; the other half for what waits.
        let share = (settings.budget_bytes / 2 / lanes.max(1)).max(LEAST_BYTES);
        let wish = share.min(settings.fetch_max_bytes.unsigned_abs() as usize);
        if frames.free_bytes() < wish {
            return None;
        }
        let all_in = self.held_back.is_empty();
        let max_wait_ms = if all_in {
            settings.fetch_max_wait_ms
        } else {
            SHORT_WAIT_MS.min(settings.fetch_max_wait_ms)
        };
        let request = self.session.next_request(&FetchLimits {
            max_wait_ms,
            min_bytes: settings.fetch_min_bytes,
            max_bytes: i32::try_from(wish).unwrap_or(i32::MAX),
            isolation: settings.isolation,
            rack: String::new(),
        })?;
        frames.reserve(wish);
        self.reserved = Some(wish);
        Some(request)
    }

    /// The parts of an answer, each with its partition. A refused session starts anew with the next request.
    pub(super) fn accept(&mut self, answer: RawFetchAnswer) -> Vec<Fetched> {
        self.link.worked();
        self.session.accept(answer).unwrap_or_default()
    }

    /// The connection is gone; the next session starts anew.
    pub(super) fn lose(&mut self, frames: &mut Frames) {
        self.settle(frames);
        self.session.abort();
    }

    /// What the request under way may bring, in bytes.
    pub(super) fn promised_bytes(&self) -> usize {
        self.reserved.unwrap_or(0)
    }

    /// The request under way is answered or lost.
    pub(super) fn settle(&mut self, frames: &mut Frames) {
        if let Some(bytes) = self.reserved.take() {
            frames.unreserve(bytes);
        }
    }
}
