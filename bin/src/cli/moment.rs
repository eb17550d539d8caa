//! Points in time as people write them: RFC 3339, or how long ago.

/// A point in time or a duration before now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    /// In milliseconds since 1970.
    At(i64),
    /// So many milliseconds ago.
    Ago(i64),
}

impl Since {
    /// In milliseconds since 1970.
    pub(crate) fn timestamp_ms(self, now_ms: i64) -> i64 {
        match self {
            Self::At(timestamp_ms) => timestamp_ms,
            Self::Ago(ago_ms) => now_ms.saturating_sub(ago_ms),
        }
    }
}

/// Reads `2026-05-01T12:30:00Z`, `2026-05-01T12:30:00.250+02:00`, `2026-05-01`, or `90s`, `15m`, `2h`, `7d`.
pub(crate) fn parse(text: &str) -> Result<Since, String> {
    let wrong = || "neither a time like 2026-05-01T12:00:00Z nor a duration like 2h".to_owned();
    let units = [("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    for (unit, unit_ms) in units {
        if let Some(number) = text.strip_suffix(unit) {
            let number: i64 = number.parse().map_err(|_| wrong())?;
            let ago = number.checked_mul(unit_ms).filter(|ago| *ago >= 0);
            return ago.map(Since::Ago).ok_or_else(wrong);
        }
    }
    timestamp_ms(text).map(Since::At).ok_or_else(wrong)
}

fn timestamp_ms(text: &str) -> Option<i64> {
    let (date, time) = match text.split_once(['T', ' ']) {
        Some((date, time)) => (date, time),
        None => (text, "00:00:00Z"),
    };
    let mut parts = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) {
        return None;
    }
    let zone_at = time.find(['Z', '+', '-'])?;
    let (clock, zone) = time.split_at_checked(zone_at)?;
    let mut parts = clock.splitn(3, ':');
    let (hour, minute): (i64, i64) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let seconds: f64 = parts.next()?.parse().ok()?;
    let clock_is_good = (0..24).contains(&hour) && (0..60).contains(&minute);
    if !clock_is_good
        || !(0.0..61.0).contains(&seconds)
        || !(1..=days_in(year, month)).contains(&day)
    {
        return None;
    }
    let offset_minutes = match zone {
        "Z" => 0,
        zone => {
            let (hours, minutes) = zone.get(1..)?.split_once(':')?;
            let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
            let sign = if zone.starts_with('-') { -1 } else { 1 };
            sign * (hours * 60 + minutes)
        }
    };
    let minutes = (days_since_1970(year, month, day) * 24 + hour) * 60 + minute - offset_minutes;
    Some(minutes * 60_000 + (seconds * 1_000.0).round() as i64)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let years: i64 = (1970..year).map(|year| 365 + i64::from(is_leap(year))).sum();
    let months: i64 = (1..month).map(|month| days_in(year, month)).sum();
    years + months + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_durations_are_read() {
        assert_eq!(parse("1970-01-01"), Ok(Since::At(0)));
        assert_eq!(parse("2024-02-29T23:59:59Z"), Ok(Since::At(1_709_251_199_000)));
        assert_eq!(parse("2026-05-01T14:00:00.250+02:00"), Ok(Since::At(1_777_636_800_250)));
        assert_eq!(parse("2026-05-01 10:30:00-01:30"), Ok(Since::At(1_777_636_800_000)));
        assert_eq!(parse("90s"), Ok(Since::Ago(90_000)));
        assert_eq!(parse("7d"), Ok(Since::Ago(604_800_000)));
        assert_eq!(Since::Ago(5).timestamp_ms(12), 7);
    }

    #[test]
    fn what_is_neither_is_refused() {
        for bad in
            ["", "2h30m", "-2h", "yesterday", "2026-13-01", "2026-02-30", "2026-05-01T25:00:00Z"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse("99999999999999999d").is_err());
    }
}
