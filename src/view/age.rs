//! Durations for people: the coarser the longer.

use std::time::Duration;

use crate::units::{Timestamp, format_duration};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A time span in at most two units: `45s`, `3m12s`, `25m`, `5h10m`, `30h`, `4d6h`, `9d`, `3y`.
pub(super) fn short(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => two(seconds, MINUTE, "m", 1, "s"),
        600..10_800 => format!("{}m", seconds / MINUTE),
        10_800..28_800 => two(seconds, HOUR, "h", MINUTE, "m"),
        28_800..172_800 => format!("{}h", seconds / HOUR),
        172_800..691_200 => two(seconds, DAY, "d", HOUR, "h"),
        691_200..63_072_000 => format!("{}d", seconds / DAY),
        _ => format!("{}y", seconds / (365 * DAY)),
    }
}

/// The time since `start`; empty when that is not known.
pub(super) fn of(start: Option<Timestamp>, now: Timestamp) -> String {
    start.map_or_else(String::new, |start| short(now.since(start)))
}

/// A coming time with its distance: `at 08:25:06Z (in 4m12s)`; a time gone by, with how long ago.
pub(super) fn when(at: Timestamp, now: Timestamp) -> String {
    format!("at {}", moment(at, now))
}

/// The same without a word before it.
pub(super) fn moment(at: Timestamp, now: Timestamp) -> String {
    let text = at.to_string();
    let same_day = now.to_string().get(..10) == text.get(..10);
    let clock = if same_day { text.get(11..).unwrap_or(&text) } else { &text };
    if at >= now {
        // Whole seconds, rounded up, so that the end of a wait is never shown as `in 0s` before it has come.
        let millis = u64::try_from(at.as_millis() - now.as_millis()).unwrap_or_default();
        format!("{clock} (in {})", format_duration(Duration::from_secs(millis.div_ceil(1000))))
    } else {
        format!("{clock} ({} ago)", short(now.since(at)))
    }
}

fn two(seconds: u64, large: u64, large_name: &str, small: u64, small_name: &str) -> String {
    let rest = seconds % large / small;
    let first = format!("{}{large_name}", seconds / large);
    if rest == 0 { first } else { format!("{first}{rest}{small_name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_get_coarser_as_they_grow() {
        for (seconds, text) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (192, "3m12s"),
            (1_500, "25m"),
            (18_600, "5h10m"),
            (108_000, "30h"),
            (367_200, "4d6h"),
            (777_600, "9d"),
            (94_608_000, "3y"),
        ] {
            assert_eq!(short(Duration::from_secs(seconds)), text, "{seconds}");
        }
    }

    #[test]
    fn a_wait_of_a_part_of_a_second_is_not_over() {
        let now = Timestamp::from_millis(1_000);
        assert_eq!(when(Timestamp::from_millis(1_200), now), "at 00:00:01Z (in 1s)");
        assert_eq!(when(Timestamp::from_millis(0), now), "at 00:00:00Z (1s ago)");
    }
}
