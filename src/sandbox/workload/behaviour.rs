//! What a pod of the demo image does, as its image tag says it.
//!
//! A tag is words joined by `-`. Words that mean nothing here name the version, so `v2-err30` is version 2 with 30 % of
//! requests failing:
//!
//! | word | the pod |
//! |---|---|
//! | `err30` | answers 30 % of requests with status 500 |
//! | `lat20ms`, `lat1.5s` | takes that long to answer |
//! | `backlog50` | falls behind by 50 messages a second with the work of its queue |
//! | `slow-start5s` | becomes ready 5 s after its start |
//! | `slow-stop5s` | serves on for 5 s after its deletion, and then until no request comes any more |
//! | `crash` | ends with an error right after its start, again and again |
//! | `never` | runs and never becomes ready |
//! | `badimage` | never starts: its image does not exist |

use std::time::Duration;

use crate::units::parse_duration;

/// The longest time a tag may ask for; longer waits are of no use in a sandbox.
const LONGEST: Duration = Duration::from_hours(1);

/// What a pod does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// How it starts.
    pub start: Start,
    /// Requests that fail, in percent, from 0 to 100.
    pub error_percent: u8,
    /// Time to answer a request.
    pub latency: Duration,
    /// Messages that pile up in a second.
    pub backlog_rate: u32,
    /// From the deletion of the pod until it looks whether requests still come; it ends once none does.
    pub stops_after: Duration,
}

/// How a pod starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Ready after the usual time.
    Usual,
    /// Ready after this time.
    ReadyAfter(Duration),
    /// Runs, and is never ready.
    NeverReady,
    /// Ends with an error right after its start.
    Crash,
    /// Its image cannot be pulled.
    ImageMissing,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            start: Start::Usual,
            error_percent: 0,
            latency: Duration::ZERO,
            backlog_rate: 0,
            stops_after: Duration::ZERO,
        }
    }
}

/// A word of a tag that starts like a known one and goes on wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("image tag '{tag}': '{word}' is not {wanted}")]
pub struct TagError {
    tag: String,
    word: String,
    wanted: &'static str,
}

impl Behaviour {
    /// Reads the behaviour off an image reference such as `serin-demo:v2-err30`; every name is accepted.
    ///
    /// # Errors
    /// When a word of the tag starts like a known one and its number or time cannot be read.
    pub fn of_image(image: &str) -> Result<Self, TagError> {
        Self::of_tag(tag(image))
    }

    fn of_tag(tag: &str) -> Result<Self, TagError> {
        let mut behaviour = Self::default();
        let mut words = tag.split('-').peekable();
        while let Some(word) = words.next() {
            let wrong = |wanted| TagError { tag: tag.to_owned(), word: word.to_owned(), wanted };
            match word {
                "crash" => behaviour.start = Start::Crash,
                "never" => behaviour.start = Start::NeverReady,
                "badimage" => behaviour.start = Start::ImageMissing,
                "slow" => {
                    let slow = words.next().and_then(slow);
                    match slow.ok_or_else(|| wrong("followed by a time up to 1h, as in slow-start5s"))? {
                        Slow::Start(time) => behaviour.start = Start::ReadyAfter(time),
                        Slow::Stop(time) => behaviour.stops_after = time,
                    }
                }
                _ => {
                    if let Some(number) = quantity(word, "err") {
                        behaviour.error_percent = percent(number)
                            .ok_or_else(|| wrong("a percentage from 0 to 100, as in err30"))?;
                    } else if let Some(text) = quantity(word, "lat") {
                        behaviour.latency =
                            time(text).ok_or_else(|| wrong("a time up to 1h, as in lat20ms"))?;
                    } else if let Some(number) = quantity(word, "backlog") {
                        behaviour.backlog_rate =
                            number.parse().map_err(|_| wrong("messages per second, as in backlog50"))?;
                    }
                }
            }
        }
        Ok(behaviour)
    }
}

/// What takes its time.
enum Slow {
    Start(Duration),
    Stop(Duration),
}

/// The word after `slow`.
fn slow(word: &str) -> Option<Slow> {
    match word.strip_prefix("stop") {
        Some(text) => time(text).map(Slow::Stop),
        None => word.strip_prefix("start").and_then(time).map(Slow::Start),
    }
}

/// The tag of an image reference; `latest` when it has none, as for every image.
#[must_use]
pub fn tag(image: &str) -> &str {
    let named = image.split_once('@').map_or(image, |(named, _)| named);
    // A colon before the last slash belongs to a registry's port.
    let last = named.rsplit_once('/').map_or(named, |(_, last)| last);
    last.split_once(':').map_or("latest", |(_, tag)| tag)
}

/// What follows `prefix`, if it begins with a digit: `err30` is a quantity of `err`, `error` and `latest` are names.
fn quantity<'a>(word: &'a str, prefix: &str) -> Option<&'a str> {
    word.strip_prefix(prefix).filter(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}

fn percent(text: &str) -> Option<u8> {
    text.parse().ok().filter(|percent| *percent <= 100)
}

/// A time with its unit; a bare number is refused, because 20 could be meant as milliseconds.
fn time(text: &str) -> Option<Duration> {
    let unit = text.ends_with(|last: char| last.is_ascii_alphabetic());
    parse_duration(text).filter(|time| unit && *time <= LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(image: &str, start: Start, error_percent: u8, latency_ms: u64) {
        let latency = Duration::from_millis(latency_ms);
        let expected = Behaviour { start, error_percent, latency, ..Behaviour::default() };
        assert_eq!(Behaviour::of_image(image), Ok(expected), "{image}");
    }

    #[test]
    fn a_tag_names_error_rate_latency_and_start() {
        check("serin-demo:good", Start::Usual, 0, 0);
        check("serin-demo:v2-err30", Start::Usual, 30, 0);
        check("serin-demo:err5-lat20ms", Start::Usual, 5, 20);
        check("serin-demo:v3-lat1.5s", Start::Usual, 0, 1500);
        check("serin-demo:slow-start5s", Start::ReadyAfter(Duration::from_secs(5)), 0, 0);
        check("serin-demo:v2-slow-start250ms-err100", Start::ReadyAfter(Duration::from_millis(250)), 100, 0);
        check("serin-demo:v2-crash", Start::Crash, 0, 0);
        check("serin-demo:never", Start::NeverReady, 0, 0);
        check("serin-demo:badimage", Start::ImageMissing, 0, 0);
    }

    #[test]
    fn a_tag_says_how_long_a_pod_goes_on_after_its_deletion() {
        let behaviour = Behaviour::of_image("serin-demo:v2-slow-start1s-slow-stop2s").unwrap();
        assert_eq!(behaviour.start, Start::ReadyAfter(Duration::from_secs(1)));
        assert_eq!(behaviour.stops_after, Duration::from_secs(2));
    }

    #[test]
    fn a_tag_says_how_fast_a_pod_falls_behind() {
        assert_eq!(Behaviour::of_image("serin-demo:v2-backlog50").unwrap().backlog_rate, 50);
        assert_eq!(Behaviour::of_image("serin-demo:v2-backlog").unwrap().backlog_rate, 0);
    }

    #[test]
    fn any_image_and_any_version_word_is_accepted() {
        for image in
            ["nginx", "nginx:latest", "a/b:1.27.0-alpine", "registry:5000/a", "x:error", "x:2026-01-02"]
        {
            check(image, Start::Usual, 0, 0);
        }
        check("registry:5000/team/app:v2-err7@sha256:0123", Start::Usual, 7, 0);
    }

    #[test]
    fn a_word_that_goes_on_wrong_is_named_with_an_example() {
        for (image, word, example) in [
            ("x:err300", "'err300'", "err30"),
            ("x:err5x", "'err5x'", "err30"),
            ("x:v1-lat20", "'lat20'", "lat20ms"),
            ("x:lat2h", "'lat2h'", "lat20ms"),
            ("x:backlog5x", "'backlog5x'", "backlog50"),
            ("x:slow", "'slow'", "slow-start5s"),
            ("x:slow-err5", "'slow'", "slow-start5s"),
            ("x:slow-stop5", "'slow'", "slow-start5s"),
        ] {
            let error = Behaviour::of_image(image).unwrap_err().to_string();
            assert!(error.contains(word) && error.ends_with(example), "{image}: {error}");
        }
    }
}
