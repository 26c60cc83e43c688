//! Times and durations as people write them: `2026-11-22T10:00:00Z`, `1763805600000`, `-2h`, `30s`; read and written without a clock of its own.

use std::time::Duration;

const DAY_MS: i64 = 86_400_000;

/// Reads a duration: a number with `ms`, `s`, `m`, `h` or `d`; without one, seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let scale = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(format!("'{text}' is not a duration; write a number with ms, s, m, h or d, such as 30s")),
    };
    let number: f64 = number.parse().map_err(|_| format!("'{text}' is not a duration; write for instance 30s"))?;
    Duration::try_from_secs_f64(number * scale).map_err(|_| format!("'{text}' is too long"))
}

/// Reads a point in time as milliseconds since 1970: milliseconds (11 digits or more), seconds (fewer), a date, a date with time (UTC unless it
/// says otherwise), or a duration before now (`-2h`).
pub(crate) fn parse_time(text: &str, now_ms: i64) -> Result<i64, String> {
    let wrong =
        || format!("'{text}' is not a time; write 2026-11-22, 2026-11-22T10:00:00Z, milliseconds since 1970, or -2h for two hours ago");
    if let Some(ago) = text.strip_prefix('-') {
        let ago = parse_duration(ago).map_err(|_| wrong())?;
        return Ok(now_ms - i64::try_from(ago.as_millis()).map_err(|_| wrong())?);
    }
    if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
        let number: i64 = text.parse().map_err(|_| wrong())?;
        return Ok(if text.len() >= 11 { number } else { number * 1000 });
    }
    calendar(text).ok_or_else(wrong)
}

fn calendar(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize| -> Option<i64> {
        let part = text.get(from..to)?;
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())?
    };
    let at = |i: usize, wanted: &[u8]| text.as_bytes().get(i).is_some_and(|b| wanted.contains(b));
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    if !at(4, b"-") || !at(7, b"-") || !(1..=12).contains(&month) || !(1..=days_of(year, month)).contains(&day) {
        return None;
    }
    let midnight = days_from_civil(year, month, day) * DAY_MS;
    if text.len() == 10 {
        return Some(midnight);
    }
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !at(10, b"T ") || !at(13, b":") || !at(16, b":") || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut rest = &text[19..];
    let mut millis = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return None;
        }
        millis = format!("{:0<3}", &fraction[..digits.min(3)]).parse().ok()?;
        rest = &fraction[digits..];
    }
    let zone_ms = match rest.as_bytes() {
        [] | [b'Z'] => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] if [h1, h2, m1, m2].iter().all(|b| b.is_ascii_digit()) => {
            let pair = |a: &u8, b: &u8| i64::from(a - b'0') * 10 + i64::from(b - b'0');
            let zone = (pair(h1, h2) * 60 + pair(m1, m2)) * 60_000;
            if *sign == b'+' { zone } else { -zone }
        }
        _ => return None,
    };
    Some(midnight + ((hour * 60 + minute) * 60 + second) * 1000 + millis - zone_ms)
}

/// A point in time as text, in UTC: `2026-11-22T10:00:00.000Z`.
pub(crate) fn show_time(ms: i64) -> String {
    let (days, rest) = (ms.div_euclid(DAY_MS), ms.rem_euclid(DAY_MS));
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second, millis) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60, rest % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// A count of bytes for people.
pub(crate) fn show_bytes(bytes: i64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value.abs() >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

fn days_of(year: i64, month: i64) -> i64 {
    let (next_year, next_month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    days_from_civil(next_year, next_month, 1) - days_from_civil(year, month, 1)
}

/// Days since 1970 of a date of the Gregorian calendar. Years begin in March, so that the leap day is the last one.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days.saturating_add(719_468);
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let now = 1_763_805_600_000;
        for (text, wanted) in [
            ("1763805600000", 1_763_805_600_000),
            ("1763805600", 1_763_805_600_000),
            ("0", 0),
            ("2025-11-22T10:00:00Z", 1_763_805_600_000),
            ("2025-11-22 10:00:00.25", 1_763_805_600_250),
            ("2025-11-22T11:30:00+01:30", 1_763_805_600_000),
            ("1970-01-02", DAY_MS),
            ("2024-02-29", 1_709_164_800_000),
            ("-1h", now - 3_600_000),
        ] {
            assert_eq!(parse_time(text, now), Ok(wanted), "{text}");
        }
        for text in [
            "",
            "x",
            "2025-13-01",
            "2025-02-29",
            "2025-11-22T25:00:00Z",
            "2025-11-22T10:00:00x",
            "-5y",
            "2025-11-22T10:00:00.Z",
            "2025-1é-02",
        ] {
            assert!(parse_time(text, now).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_and_sizes() {
        let millis = |text| parse_duration(text).map(|d| d.as_millis());
        assert_eq!((millis("30"), millis("1.5s"), millis("2m"), millis("250ms")), (Ok(30_000), Ok(1500), Ok(120_000), Ok(250)));
        assert!(millis("x").is_err() && millis("3y").is_err() && millis("").is_err());
        assert_eq!((show_bytes(1023), show_bytes(1536), show_bytes(3 << 30)), ("1023 B".into(), "1.5 KiB".into(), "3.0 GiB".into()));
    }

    proptest! {
        #[test]
        fn a_time_that_is_written_reads_back(ms in -60_000_000_000_000i64..250_000_000_000_000) {
            prop_assert_eq!(parse_time(&show_time(ms), 0), Ok(ms));
        }
    }
}
