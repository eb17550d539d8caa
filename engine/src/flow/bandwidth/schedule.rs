//! How many bytes a second may be carried, by the time of the day.

/// Minutes of a day.
const DAY_MINUTES: u16 = 24 * 60;

/// Nanoseconds of a minute.
const MINUTE_NS: u64 = 60_000_000_000;

/// A rate, in bytes per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(u64);

impl Rate {
    /// No limit.
    pub const UNLIMITED: Self = Self(u64::MAX);

    /// The smallest that there is, in bytes per second: less would take more than a quarter of an hour for one batch
    /// of a megabyte.
    pub const LEAST: u64 = 1_000;

    /// A rate in bytes per second; none below [`Rate::LEAST`].
    pub fn new(bytes_per_second: u64) -> Option<Self> {
        (bytes_per_second >= Self::LEAST).then_some(Self(bytes_per_second))
    }

    /// Bytes per second.
    pub(super) fn bytes_per_second(self) -> u64 {
        self.0
    }
}

/// A time of every day at which a rate of its own holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// When it begins, in minutes since midnight UTC; a day later is the same.
    pub start_minute: u16,
    /// How long it is, in minutes; it may go on behind midnight.
    pub minutes: u16,
    /// What holds then.
    pub rate: Rate,
}

/// Two windows have a time in common, in minutes since midnight UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overlap {
    /// Which window, counted from 0, meets one before it.
    pub window: usize,
    /// The first minute that they share.
    pub minute: u16,
}

/// The rates of a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// The minute from which each rate holds, in order; the first is 0.
    rates: Vec<(u16, Rate)>,
}

impl Schedule {
    /// One rate at any time.
    pub fn always(rate: Rate) -> Self {
        Self { rates: vec![(0, rate)] }
    }

    /// Windows, and the rate that holds outside of them.
    ///
    /// # Errors
    /// Windows overlap.
    pub fn new(base: Rate, windows: &[Window]) -> Result<Self, Overlap> {
        let mut minutes: Vec<Option<Rate>> = vec![None; usize::from(DAY_MINUTES)];
        for (window, one) in windows.iter().enumerate() {
            for passed in 0..one.minutes {
                let minute = (one.start_minute % DAY_MINUTES + passed) % DAY_MINUTES;
                let at = &mut minutes[usize::from(minute)];
                if at.replace(one.rate).is_some() {
                    return Err(Overlap { window, minute });
                }
            }
        }
        let rates = (0..).zip(minutes).map(|(minute, rate)| (minute, rate.unwrap_or(base)));
        let mut rates: Vec<(u16, Rate)> = rates.collect();
        rates.dedup_by_key(|(_, rate)| *rate);
        Ok(Self { rates })
    }

    /// Whether there is no limit at any time.
    pub fn is_unlimited(&self) -> bool {
        self.rates.iter().all(|(_, rate)| *rate == Rate::UNLIMITED)
    }

    /// The rate at a point in time, in nanoseconds since 1970, and for how many nanoseconds it holds at least.
    pub(super) fn at(&self, wall_ns: i128) -> (Rate, u64) {
        let day_ns = MINUTE_NS * u64::from(DAY_MINUTES);
        let of_day_ns = u64::try_from(wall_ns.rem_euclid(i128::from(day_ns))).unwrap_or(0);
        let begins_ns = |minute: u16| u64::from(minute) * MINUTE_NS;
        let next = self.rates.partition_point(|(minute, _)| begins_ns(*minute) <= of_day_ns);
        let rate = self.rates[..next].last().map_or(Rate::UNLIMITED, |(_, rate)| *rate);
        let end_ns = self.rates.get(next).map_or(day_ns, |(minute, _)| begins_ns(*minute));
        (rate, end_ns - of_day_ns)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: u16 = 60;
    const MINUTE: i128 = MINUTE_NS as i128;

    fn rate(bytes: u64) -> Rate {
        Rate::new(bytes).unwrap()
    }

    fn window(start_minute: u16, minutes: u16, bytes: u64) -> Window {
        Window { start_minute, minutes, rate: rate(bytes) }
    }

    #[test]
    fn a_window_crosses_midnight() {
        let night = window(22 * HOUR, 8 * HOUR, 9_000);
        let schedule = Schedule::new(rate(1_000), &[night]).unwrap();
        let day = 1_440 * MINUTE;
        for days in [-1, 0, 20_000] {
            let at = |minute: i128, ns: i128| schedule.at(days * day + minute * MINUTE + ns);
            assert_eq!(at(0, 0), (rate(9_000), 6 * 60 * MINUTE_NS));
            assert_eq!(at(360, -1), (rate(9_000), 1));
            assert_eq!(at(360, 0), (rate(1_000), 16 * 60 * MINUTE_NS));
            assert_eq!(at(22 * 60, -1), (rate(1_000), 1));
            assert_eq!(at(22 * 60, 0), (rate(9_000), 120 * MINUTE_NS), "to midnight at least");
        }
    }

    #[test]
    fn windows_that_touch_do_not_overlap() {
        let (a, b) = (window(0, 60, 2_000), window(60, 60, 3_000));
        assert!(Schedule::new(rate(1_000), &[a, b]).is_ok());
        let night = window(23 * HOUR, 2 * HOUR, 4_000);
        let clash = Overlap { window: 1, minute: 0 };
        assert_eq!(Schedule::new(rate(1_000), &[a, night]), Err(clash));
        let all_day = window(7 * HOUR, DAY_MINUTES, 4_000);
        let schedule = Schedule::new(rate(1_000), &[all_day]).unwrap();
        assert_eq!(schedule, Schedule::always(rate(4_000)));
        assert_eq!(schedule.at(5).0, rate(4_000));
    }

    proptest! {
        #[test]
        fn each_minute_has_the_rate_of_its_window(
            starts in proptest::collection::vec((0u16..1_440, 1u16..600), 0..6),
        ) {
            let all = (2..).zip(&starts);
            let windows: Vec<Window> = all
                .map(|(number, (start, minutes))| window(*start, *minutes, number * 1_000))
                .collect();
            let holds = |one: &Window, minute: u16| {
                (minute + DAY_MINUTES - one.start_minute) % DAY_MINUTES < one.minutes
            };
            let schedule = Schedule::new(rate(1_000), &windows);
            for minute in 0..DAY_MINUTES {
                let fitting: Vec<&Window> = windows.iter().filter(|one| holds(one, minute)).collect();
                match &schedule {
                    Err(overlap) if overlap.minute == minute => prop_assert!(fitting.len() > 1),
                    Err(_) => {}
                    Ok(schedule) => {
                        let wanted = fitting.first().map_or_else(|| rate(1_000), |one| one.rate);
                        prop_assert!(fitting.len() < 2);
                        let (found, until) = schedule.at(i128::from(minute) * MINUTE);
                        prop_assert_eq!(found, wanted);
                        prop_assert!(until >= MINUTE_NS);
                    }
                }
            }
        }
    }
}
