//! Points in time as people read them.

/// Date and time of a point in time, in seconds since 1970, in UTC: `2026-11-28`, `21:40:52`.
pub fn utc(seconds: i64) -> (String, String) {
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let rest = seconds.rem_euclid(86_400);
    let time = format!("{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
    (format!("{year:04}-{month:02}-{day:02}"), time)
}

/// Year, month and day of a day counted from 1970-01-01 (Howard Hinnant, "chrono-compatible
/// low-level date algorithms", `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The day of a date such as `2026-11-28`, counted from 1970-01-01; none where the calendar has no such
/// day (Hinnant's `days_from_civil`).
pub fn day(date: &str) -> Option<i64> {
    let is_written = date.len() == 10
        && date.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    if !is_written {
        return None;
    }
    let number = |range: std::ops::Range<usize>| date[range].parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let shifted = year - i64::from(month <= 2);
    let (era, year_of_era) = (shifted.div_euclid(400), shifted.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    (civil(days) == (year, month, day)).then_some(days)
}

/// A point in time as programs write it (RFC 3339: `2026-11-28T21:40:52Z`, `2026-11-28T22:40:52.5+01:00`), in seconds since
/// 1970; parts of a second are left out. None where it is written in another way.
pub fn seconds(text: &str) -> Option<i64> {
    let (date, rest) = text.split_at_checked(10)?;
    let (time, rest) = rest.strip_prefix(['T', 't', ' '])?.split_at_checked(8)?;
    let digits =
        rest.strip_prefix('.').map_or(0, |rest| 1 + rest.bytes().take_while(u8::is_ascii_digit).count());
    let time = clock(time, 60)?;
    let ahead = match rest.get(digits..)? {
        "Z" | "z" => 0,
        zone => {
            let (sign, zone) = zone.split_at_checked(1)?;
            let ahead = clock(&format!("{zone}:00"), 59)?;
            if sign == "+" { ahead } else { (sign == "-").then_some(-ahead)? }
        }
    };
    Some(day(date)? * 86_400 + time - ahead)
}

/// The second of a day such as `21:40:52`. A minute may have a leap second.
fn clock(text: &str, most_seconds: i64) -> Option<i64> {
    let parts: Vec<&str> = text.split(':').collect();
    let number = |at: usize, most: i64| {
        let text = parts[at];
        let is_written = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<i64>().ok().filter(|number| is_written && *number <= most)
    };
    if parts.len() != 3 {
        return None;
    }
    Some(number(0, 23)? * 3600 + number(1, 59)? * 60 + number(2, most_seconds)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// git-lfs parses the time of a lock, and refuses all locks where it can't.
    #[test]
    fn times_are_those_of_the_calendar() {
        let text = |seconds| {
            let (date, time) = utc(seconds);
            format!("{date} {time}")
        };
        assert_eq!(text(0), "1970-01-01 00:00:00");
        assert_eq!(text(-1), "1969-12-31 23:59:59");
        assert_eq!(text(951_782_400), "2000-02-29 00:00:00");
        assert_eq!(text(4_102_444_799), "2099-12-31 23:59:59");
    }

    /// A price of the 31st of February has no age: dates that do not exist are refused.
    #[test]
    fn dates_are_days_and_back() {
        for days in (-1000..40_000).step_by(13) {
            let (date, _) = utc(days * 86_400);
            assert_eq!(day(&date), Some(days), "{date}");
        }
        for text in
            ["2026-02-29", "2026-13-01", "2026-00-10", "2026-1-1", "26-01-01", "", "2026/01/01", "+026-01-01"]
        {
            assert_eq!(day(text), None, "{text}");
        }
    }

    /// Keys whose end is misread are used too long, or asked for each time.
    #[test]
    fn points_in_time_are_read_as_programs_write_them() {
        assert_eq!(seconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(seconds("2000-02-29T00:00:01.999Z"), Some(951_782_401));
        assert_eq!(seconds("2000-02-29t01:30:00+01:30"), Some(951_782_400));
        assert_eq!(seconds("2000-02-28 19:00:00-05:00"), Some(951_782_400));
        for text in [
            "2000-02-29T00:00:00",
            "2000-02-30T00:00:00Z",
            "2000-02-29T24:00:00Z",
            "2000-02-29T1:00:00Z",
            "2000-02-29T00:00:00+1:00",
            "2000-02-29T00:00:00~01:00",
            "2000-02-29T00:00:00Zx",
            "2000-02-29",
            "\u{20ac}\u{20ac}\u{20ac}\u{20ac}-29T00:00:00Z",
            "",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
