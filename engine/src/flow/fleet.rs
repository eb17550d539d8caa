//! How many lanes lead to one broker: more as long as more are worth it.
//!
//! A connection over distance carries what fits into its window for each round trip, and brokers keep that window small
//! (`socket.send.buffer.bytes` and `socket.receive.buffer.bytes`, 100 KiB by default), so a long line is filled by many
//! connections. What the line takes is measured, not configured: while all lanes are busy there are more and more of them, in
//! large steps as long as those pay and in smaller ones then. Once the line is full, more lanes would only take from other shards, which would answer with
//! more of theirs: so there are no more as soon as each carries clearly less than one did before.

use std::time::Duration;

use crate::model::Moment;

/// How long the rate is measured at least.
const WINDOW: Duration = Duration::from_secs(1);

/// And how many answers a lane gives in that time at least; while connections are being opened, it is one.
const WINDOW_ANSWERS: u32 = 2;

/// How many times the lanes there are to be, and how much more they have to carry then, in percent.
const STEPS: [Step; 3] = [
    Step { times: (4, 1), percent: 60 },
    Step { times: (2, 1), percent: 20 },
    Step { times: (3, 2), percent: 8 },
];

/// How many follow a single one.
const FIRST: u16 = 8;

/// So many are no longer multiplied by the first step: what they would send at once is more than lines hold.
const MANY: u16 = 16;

/// The step that comes first when there are many, and when it has been found that more are not worth it.
const CAREFUL: usize = 1;

/// There are enough lanes when each carries less than this much, in percent, of what one has carried: then they only take
/// from each other, or from the lanes of other shards and programs.
const SHARE_PERCENT: u64 = 75;

/// What one has carried is believed for some thousand windows; the line may change.
const FORGOTTEN: u64 = 4096;

/// How long nothing is tried after an attempt that was not worth it, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(600));

/// After how long without much to do the lanes become fewer.
const IDLE: Duration = Duration::from_secs(30);

/// The lanes of one broker.
#[derive(Debug)]
pub(super) struct Fleet {
    lanes: u16,
    least: u16,
    /// One lane is enough for a broker that is nearer than this.
    near: Duration,
    window: Window,
    phase: Phase,
    /// Which of [`STEPS`] is tried.
    step: usize,
    pause: Duration,
    not_before: Moment,
    busy_at: Moment,
    /// The most that a lane has carried in a second, in bytes.
    best_of_lane: u64,
}

#[derive(Debug, Clone, Copy)]
struct Step {
    times: (u16, u16),
    percent: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Steady,
    /// More lanes were opened; connections begin slowly, so the first window does not count.
    Opening(Before),
    /// Whether they carry more than before is being found out.
    Trying(Before),
}

/// How it was with fewer lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Before {
    lanes: u16,
    bytes_per_second: u64,
}

/// What was carried since a point in time.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    since: Moment,
    bytes: u64,
    answers: u32,
    full: u32,
    longest: Duration,
    /// The shortest round trip of all lanes that answered.
    nearest: Option<Duration>,
}

/// One answer of a lane.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answered {
    pub(super) bytes: usize,
    /// It held about as much as was asked for.
    pub(super) is_full: bool,
    /// Spans were asked for beside it, so it tells nothing if it is not full.
    pub(super) is_aside: bool,
    /// How long it took.
    pub(super) took: Duration,
    /// The shortest that anything takes there and back.
    pub(super) round_trip: Duration,
}

impl Fleet {
    pub(super) fn new(now: Moment, least: u16, near: Duration) -> Self {
        Self {
            lanes: least.max(1),
            least: least.max(1),
            near,
            window: Window { since: now, ..Window::default() },
            phase: Phase::Steady,
            step: 0,
            pause: PAUSE.0,
            not_before: now,
            busy_at: now,
            best_of_lane: 0,
        }
    }

    /// How many lanes there are to be.
    pub(super) fn lanes(&self) -> u16 {
        self.lanes
    }

    /// An answer came; answers whether the number of lanes, `most` of which there may be, has changed.
    pub(super) fn answered(&mut self, now: Moment, answer: Answered, most: u16) -> bool {
        let window = &mut self.window;
        window.bytes += answer.bytes as u64;
        window.answers += u32::from(answer.is_full || !answer.is_aside);
        let nearest = window.nearest.unwrap_or(answer.round_trip);
        window.nearest = Some(nearest.min(answer.round_trip));
        if answer.is_full {
            window.full += 1;
            window.longest = window.longest.max(answer.took);
        }
        let passed = now - window.since;
        let answers = if matches!(self.phase, Phase::Opening(_)) { 1 } else { WINDOW_ANSWERS };
        if passed < WINDOW.max(window.longest * answers) {
            return false;
        }
        let window = std::mem::replace(window, Window { since: now, ..Window::default() });
        let bytes_per_second = (window.bytes as f64 / passed.as_secs_f64()) as u64;
        let is_busy = u64::from(window.full) * 4 >= u64::from(window.answers) * 3
            && window.full >= u32::from(self.lanes);
        if is_busy {
            self.busy_at = now;
        }
        let before = self.lanes;
        let of_lane = bytes_per_second / u64::from(before);
        self.best_of_lane -= self.best_of_lane / FORGOTTEN;
        self.best_of_lane = self.best_of_lane.max(of_lane);
        let has_room = of_lane * 100 >= self.best_of_lane * SHARE_PERCENT;
        let most = most.max(1);
        // A machine that is busy makes a near broker look far to some lanes, never a far one near.
        let is_near = window.nearest.is_some_and(|round_trip| round_trip < self.near);
        let lanes = if is_near && before > self.least {
            self.give_up(now, self.least)
        } else {
            let may_grow = is_busy && has_room && !is_near && before < most;
            self.next(now, may_grow, bytes_per_second)
        };
        self.lanes = lanes.clamp(self.least.min(most), most);
        self.lanes != before
    }

    fn next(&mut self, now: Moment, may_grow: bool, bytes_per_second: u64) -> u16 {
        match self.phase {
            Phase::Opening(before) => {
                self.phase = Phase::Trying(before);
                self.lanes
            }
            Phase::Trying(before) => {
                self.phase = Phase::Steady;
                let needed = before.bytes_per_second * (100 + STEPS[self.step].percent);
                if bytes_per_second * 100 >= needed {
                    self.pause = PAUSE.0;
                    let reached = Before { lanes: self.lanes, bytes_per_second };
                    return if may_grow { self.grow(reached) } else { self.lanes };
                }
                if self.step + 1 < STEPS.len() {
                    self.step += 1;
                    return self.grow(before);
                }
                self.give_up(now, before.lanes)
            }
            Phase::Steady if may_grow && self.not_before <= now => {
                self.grow(Before { lanes: self.lanes, bytes_per_second })
            }
            Phase::Steady if now - self.busy_at >= IDLE => {
                self.busy_at = now;
                self.lanes / 2
            }
            Phase::Steady => self.lanes,
        }
    }

    /// So many lanes do; more are not tried for a while.
    fn give_up(&mut self, now: Moment, lanes: u16) -> u16 {
        self.phase = Phase::Steady;
        self.step = CAREFUL;
        self.not_before = now + self.pause;
        self.pause = (self.pause * 2).min(PAUSE.1);
        lanes
    }

    fn grow(&mut self, before: Before) -> u16 {
        if before.lanes >= MANY {
            self.step = self.step.max(CAREFUL);
        }
        self.phase = Phase::Opening(before);
        if before.lanes == 1 && self.step == 0 {
            return FIRST;
        }
        let (times, parts) = STEPS[self.step].times;
        before.lanes.saturating_mul(times).div_ceil(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::pace::NEAR;

    const MOST: u16 = 64;

    /// A line with this round trip, on which each connection carries 100 KiB for each of them, and all together no more
    /// than `line` bytes in a second.
    fn run(fleet: &mut Fleet, now: &mut Moment, round_trip_ms: u64, line: u64, seconds: u64) {
        let end = *now + Duration::from_secs(seconds);
        let round_trip = Duration::from_millis(round_trip_ms);
        let bytes = 400 << 10;
        while *now < end {
            let lanes = u64::from(fleet.lanes());
            let alone = (100 << 10) * 1000 / round_trip_ms;
            let took = Duration::from_secs_f64(bytes as f64 / alone.min(line / lanes) as f64);
            *now = *now + took;
            for _ in 0..lanes {
                let answer = Answered { bytes, is_full: true, is_aside: false, took, round_trip };
                fleet.answered(*now, answer, MOST);
            }
        }
    }

    #[test]
    fn a_long_line_is_filled() {
        let mut now = Moment::default();
        let mut fleet = Fleet::new(now, 1, NEAR);
        run(&mut fleet, &mut now, 100, 125_000_000, 60);
        assert_eq!(fleet.lanes(), 64, "each carries 1 MB/s");
        let mut fleet = Fleet::new(now, 1, NEAR);
        run(&mut fleet, &mut now, 100, 12_500_000, 25);
        assert!((8..=16).contains(&fleet.lanes()), "{}", fleet.lanes());
    }

    /// As above, for two shards, each of whose lanes has the same part of the line.
    #[test]
    fn those_that_share_a_line_do_not_drive_each_other_up() {
        let mut now = Moment::default();
        let mut fleets = [Fleet::new(now, 1, NEAR), Fleet::new(now, 1, NEAR)];
        let round_trip = Duration::from_millis(100);
        let bytes = 400 << 10;
        for turn in 0..2_000 {
            // The second begins when the first has some lanes.
            let fleets = if turn < 20 { &mut fleets[..1] } else { &mut fleets[..] };
            let lanes: u64 = fleets.iter().map(|fleet| u64::from(fleet.lanes())).sum();
            let took = bytes as f64 / (1_000_000.min(50_000_000 / lanes)) as f64;
            let took = Duration::from_secs_f64(took);
            now = now + took;
            for fleet in fleets {
                for _ in 0..fleet.lanes() {
                    let is_full = true;
                    let answer = Answered { bytes, is_full, is_aside: false, took, round_trip };
                    fleet.answered(now, answer, 256);
                }
            }
        }
        let lanes = fleets.map(|fleet| fleet.lanes());
        // Fifty would do. Who comes later knows the line only as it is shared.
        assert!(lanes.iter().all(|one| (16..=128).contains(one)), "{lanes:?}");
    }

    #[test]
    fn what_brings_nothing_is_tried_ever_more_seldom() {
        let mut now = Moment::default();
        let mut fleet = Fleet::new(now, 1, NEAR);
        run(&mut fleet, &mut now, 50, 1_000_000, 40);
        assert_eq!((fleet.lanes(), fleet.pause), (1, PAUSE.0 * 2));
        run(&mut fleet, &mut now, 50, 1_000_000, 150);
        assert_eq!((fleet.lanes(), fleet.pause), (1, PAUSE.0 * 8));
    }

    #[test]
    fn a_near_broker_has_one_lane() {
        let mut now = Moment::default();
        let mut fleet = Fleet::new(now, 1, NEAR);
        run(&mut fleet, &mut now, 1, 1 << 40, 20);
        assert_eq!(fleet.lanes(), 1);
    }

    #[test]
    fn a_near_broker_that_looked_far_has_one_lane_again() {
        let mut now = Moment::default();
        let mut fleet = Fleet::new(now, 1, NEAR);
        run(&mut fleet, &mut now, 3, 1 << 40, 2);
        assert!(fleet.lanes() > 1);
        let far = Duration::from_millis(3);
        for round_trip in [far, Duration::from_micros(300), far].into_iter().cycle().take(90) {
            now = now + Duration::from_millis(20);
            let took = Duration::from_millis(20);
            let answer =
                Answered { bytes: 1 << 20, is_full: true, is_aside: false, took, round_trip };
            fleet.answered(now, answer, MOST);
        }
        assert_eq!(fleet.lanes(), 1);
    }

    #[test]
    fn lanes_go_when_there_is_little_to_carry() {
        let mut now = Moment::default();
        let mut fleet = Fleet::new(now, 2, NEAR);
        run(&mut fleet, &mut now, 100, 125_000_000, 60);
        for _ in 0..1000 {
            now = now + Duration::from_millis(500);
            let (took, round_trip) = (Duration::from_millis(500), Duration::from_millis(100));
            let idle = Answered { bytes: 0, is_full: false, is_aside: false, took, round_trip };
            fleet.answered(now, idle, MOST);
        }
        assert_eq!(fleet.lanes(), 2, "no fewer than the least");
    }
}
