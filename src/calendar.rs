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
}
