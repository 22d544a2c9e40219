//! How images behave and metrics are answered, in words.

use crate::sim::images::{Image, Readiness};
use crate::sim::metrics::{Reading, Source};
use crate::units::parse_duration;

pub(super) fn parse_image(mut words: &[&str]) -> Option<Image> {
    let mut image = Image::default();
    while !words.is_empty() {
        words = match words {
            ["starts", "in", duration, rest @ ..] => {
                image.start = parse_duration(duration)?;
                rest
            }
            ["never", "ready", rest @ ..] => {
                image.readiness = Readiness::Never;
                rest
            }
            ["fails", "to", "pull", rest @ ..] => {
                image.readiness = Readiness::PullFails;
                rest
            }
            ["crashes", "after", duration, rest @ ..] => {
                image.readiness = Readiness::CrashesAfter(parse_duration(duration)?);
                rest
            }
            ["error", "rate", rate, rest @ ..] => {
                image.error_rate = rate.parse().ok()?;
                rest
            }
            _ => return None,
        };
    }
    Some(image)
}

pub(super) fn parse_source(words: &[&str]) -> Option<Source> {
    Some(match words {
        ["traffic"] => Source::Blended,
        ["canary"] => Source::Canary,
        ["empty"] => Source::Fixed(Reading::Vector(Vec::new())),
        ["error", text @ ..] => Source::Fixed(Reading::Error(text.join(" "))),
        [_, ..] => {
            let values: Result<Vec<f64>, _> = words.iter().map(|word| word.parse()).collect();
            Source::Fixed(Reading::Vector(values.ok()?))
        }
        [] => return None,
    })
}
