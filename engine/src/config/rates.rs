//! Rates and their daily schedule: `20MB/s, 08:00-18:00 5MB/s`.

use super::values::ValueProblem;
use crate::flow::bandwidth::{Overlap, Rate, Schedule, Window};

/// Units and their bytes per second, in eighths: kilo is 1000, kibi 1024, and a byte has eight bits.
const UNITS: [(&str, f64); 13] = [
    ("", 8.0),
    ("B/s", 8.0),
    ("kB/s", 8e3),
    ("KB/s", 8e3),
    ("MB/s", 8e6),
    ("GB/s", 8e9),
    ("KiB/s", 8.0 * 1024.0),
    ("MiB/s", 8.0 * 1_048_576.0),
    ("GiB/s", 8.0 * 1_073_741_824.0),
    ("bit/s", 1.0),
    ("kbit/s", 1e3),
    ("Mbit/s", 1e6),
    ("Gbit/s", 1e9),
];

const HOW_RATE: &str = "write a number and B/s, kB/s, MB/s, GB/s, KiB/s, MiB/s or GiB/s (bytes), kbit/s, Mbit/s or Gbit/s \
     (bits), as in `50MB/s`, or `unlimited`";

const HOW_WINDOW: &str = "write windows as in `50MB/s, 08:00-18:00 10MB/s`, in UTC, or with an offset: `08:00-18:00+02:00 10MB/s`";

/// More than any network carries, in bytes per second.
const MOST: f64 = 1e12;

const DAY_MINUTES: i32 = 24 * 60;

/// Reads a rate, and the windows of the day at which another one holds.
pub(super) fn schedule(value: &str) -> Result<Schedule, ValueProblem> {
    let (base, rest) =
        value.split_once(',').map_or((value, None), |(base, rest)| (base, Some(rest)));
    if base.contains(':') {
        let problem = format!("the rate that holds outside of `{}` is missing", base.trim());
        return Err(wrong(problem, "write it first: `unlimited, 08:00-18:00 10MB/s`"));
    }
    let base = rate(base)?;
    let texts: Vec<&str> =
        rest.map(|rest| rest.split(',').map(str::trim).collect()).unwrap_or_default();
    let windows = texts.iter().map(|text| window(text)).collect::<Result<Vec<_>, _>>()?;
    Schedule::new(base, &windows).map_err(|Overlap { window, minute }| {
        let text = texts.get(window).copied().unwrap_or_default();
        let (hour, minute) = (minute / 60, minute % 60);
        let problem = format!("`{text}` overlaps a window before it, at {hour:02}:{minute:02} UTC");
        wrong(problem, "let each window begin where the one before it ends, or later")
    })
}

fn rate(text: &str) -> Result<Rate, ValueProblem> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("unlimited") {
        return Ok(Rate::UNLIMITED);
    }
    let bad = || wrong(format!("`{text}` is not a rate"), HOW_RATE);
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| bad())?;
    let (_, eighths) = UNITS.iter().find(|(name, _)| *name == unit.trim()).ok_or_else(bad)?;
    let bytes_per_second = number * eighths / 8.0;
    if bytes_per_second > MOST {
        return Err(wrong(
            format!("`{text}` is more than any network carries"),
            "write `unlimited`",
        ));
    }
    Rate::new(bytes_per_second as u64).ok_or_else(|| {
        let least = Rate::LEAST;
        let problem =
            format!("`{text}` is less than {least} bytes per second, the smallest rate there is");
        wrong(problem, HOW_RATE)
    })
}

/// `HH:MM-HH:MM RATE`, with an offset from UTC behind the times if they are not in UTC.
fn window(text: &str) -> Result<Window, ValueProblem> {
    let bad = || wrong(format!("`{text}` is not a window"), HOW_WINDOW);
    let (span, rest) = text.split_once(char::is_whitespace).ok_or_else(bad)?;
    let (from, to) = span.split_once('-').ok_or_else(bad)?;
    let (to, offset) = to.split_at_checked(5).ok_or_else(bad)?;
    let offset = offset_minutes(offset).ok_or_else(bad)?;
    let from = time(from).filter(|from| *from < DAY_MINUTES).ok_or_else(bad)?;
    let to = time(to).ok_or_else(bad)?;
    if from == to {
        let problem = format!("`{text}` ends when it begins");
        return Err(wrong(problem, "for the whole day write 00:00-24:00, or the rate alone"));
    }
    let start = (from - offset).rem_euclid(DAY_MINUTES);
    let minutes = if to > from { to - from } else { to + DAY_MINUTES - from };
    Ok(Window { start_minute: minute(start), minutes: minute(minutes), rate: rate(rest)? })
}

/// `HH:MM` in minutes since midnight, up to 24:00.
fn time(text: &str) -> Option<i32> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str, most: i32| {
        let is_number = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<i32>().ok().filter(|number| is_number && *number <= most)
    };
    let time = number(hours, 24)? * 60 + number(minutes, 59)?;
    (time <= DAY_MINUTES).then_some(time)
}

/// `+HH:MM` or `-HH:MM` in minutes; nothing is UTC.
fn offset_minutes(text: &str) -> Option<i32> {
    if text.is_empty() {
        return Some(0);
    }
    let (sign, ahead) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
        (Some(ahead), _) => (1, ahead),
        (_, Some(behind)) => (-1, behind),
        _ => return None,
    };
    // The earth's clocks go from 12 hours behind to 14 ahead.
    time(ahead).filter(|minutes| *minutes <= 14 * 60).map(|minutes| sign * minutes)
}

fn minute(minutes: i32) -> u16 {
    u16::try_from(minutes).unwrap_or_default()
}

fn wrong(problem: impl Into<String>, remedy: impl Into<String>) -> ValueProblem {
    ValueProblem { problem: problem.into(), remedy: remedy.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(bytes_per_second: u64) -> Schedule {
        Schedule::always(Rate::new(bytes_per_second).unwrap())
    }

    #[test]
    fn rates_of_all_units() {
        for (text, wanted) in [
            ("50MB/s", 50_000_000),
            (" 20 MiB/s ", 20 << 20),
            ("400Mbit/s", 50_000_000),
            ("1.5GB/s", 1_500_000_000),
            ("64KiB/s", 64 << 10),
            ("8kbit/s", 1_000),
            ("123456", 123_456),
        ] {
            assert_eq!(schedule(text), Ok(bytes(wanted)), "{text}");
        }
        assert!(schedule("Unlimited").unwrap().is_unlimited());
        assert!(!schedule("unlimited, 00:00-00:01 1GB/s").unwrap().is_unlimited());
        assert!(
            schedule("1kB/s, 07:00-24:00 unlimited, 00:00-07:00 unlimited").unwrap().is_unlimited()
        );
    }

    #[test]
    fn windows_in_utc_and_elsewhere() {
        let utc = schedule("50MB/s, 22:00-06:30 unlimited, 08:00-18:00 1MB/s").unwrap();
        let berlin = "50MB/s, 00:00-08:30+02:00 unlimited,10:00-20:00+02:00 1MB/s";
        assert_eq!(schedule(berlin).unwrap(), utc);
        let halifax = "50MB/s,18:30-03:00-03:30 unlimited, 04:30-14:30-03:30  1 MB/s";
        assert_eq!(schedule(halifax).unwrap(), utc);
        assert_eq!(schedule("5MB/s, 00:00-24:00 1MB/s").unwrap(), bytes(1_000_000));
        assert_eq!(schedule("5MB/s, 00:00-24:00+05:45 1MB/s").unwrap(), bytes(1_000_000));
    }

    #[test]
    fn what_is_none_is_said() {
        for (text, part) in [
            ("", "`` is not a rate"),
            ("fast", "`fast` is not a rate"),
            ("50 Mb/s", "`50 Mb/s` is not a rate"),
            ("50MB", "`50MB` is not a rate"),
            ("1.2.3MB/s", "is not a rate"),
            ("-5MB/s", "is not a rate"),
            (".", "is not a rate"),
            ("0", "less than 1000 bytes per second"),
            ("50", "less than 1000 bytes per second"),
            ("2000GB/s", "more than any network"),
            ("08:00-18:00 10MB/s", "outside of `08:00-18:00 10MB/s` is missing"),
            ("1MB/s,", "`` is not a window"),
            ("1MB/s, 08:00-18:00", "is not a window"),
            ("1MB/s, 8:00-18:00 2MB/s", "is not a window"),
            ("1MB/s, 08:00-24:01 2MB/s", "is not a window"),
            ("1MB/s, 24:00-08:00 2MB/s", "is not a window"),
            ("1MB/s, 08:60-18:00 2MB/s", "is not a window"),
            ("1MB/s, 08:00-18:00+15:00 2MB/s", "is not a window"),
            ("1MB/s, 08:00-18:00Z 2MB/s", "is not a window"),
            ("1MB/s, 08:00-1é:00 2MB/s", "is not a window"),
            ("1MB/s, 08:00-08:00 2MB/s", "ends when it begins"),
            ("1MB/s, 08:00-18:00 much", "`much` is not a rate"),
            ("1MB/s, 08:00-18:00 2MB/s, 17:59-19:00 3MB/s", "at 17:59 UTC"),
            ("1MB/s, 22:00-06:00 2MB/s, 05:00-19:00 3MB/s", "`05:00-19:00 3MB/s` overlaps"),
        ] {
            let found = schedule(text).expect_err(text);
            assert!(found.problem.contains(part), "{text}: {found:?}");
            assert!(!found.remedy.is_empty());
        }
    }
}
