//! The lines at the end of a commit message that say which abort it answers. Git is the record of what was written:
//! whoever finds the trailer of an abort in the branch's log writes nothing more for it.

use std::fmt::Write as _;

use super::abort::{Abort, Rejected};

/// The trailer whose value identifies an abort.
const ABORT: &str = "Serin-Abort";
/// The trailer whose value is the commit that is taken back.
const REVERTS: &str = "Serin-Reverts";
/// Longest value, in characters: an image's reference with its digest, and room.
const LONGEST: usize = 512;

/// The trailers of a commit that reverts the commit `reverts` for an abort; every line ends with a line feed.
#[must_use]
pub fn trailers(rejected: &Rejected, reverts: &str) -> String {
    let abort = &rejected.abort;
    let rollout = format!("{}/{}", abort.namespace, abort.name);
    let identity = abort.identity();
    let images = rejected.images.iter().map(|image| ("Serin-Rejected-Image", image.as_str()));
    let fixed = [("Serin-Rollout", rollout.as_str()), ("Serin-Rejected-Hash", abort.pod_hash.as_str())];
    let known = [(ABORT, identity.as_str()), (REVERTS, reverts)];
    let mut lines = String::new();
    for (key, value) in fixed.into_iter().chain(images).chain(known) {
        // A String takes everything.
        let _ = writeln!(lines, "{key}: {}", line(value));
    }
    lines
}

/// Whether the commit of `message` was written for this abort.
#[must_use]
pub fn is_answered_by(abort: &Abort, message: &str) -> bool {
    has(message, ABORT, &line(&abort.identity()))
}

/// Whether the commit of `message` was written to take the commit `id` back.
#[must_use]
pub fn reverts(message: &str, id: &str) -> bool {
    has(message, REVERTS, id)
}

/// Whether the commit of `message` was written by a write-back, whatever it takes back.
#[must_use]
pub fn is_ours(message: &str) -> bool {
    let is_trailer = |line: &str| line.starts_with(REVERTS);
    message
        .lines()
        .rev()
        .skip_while(|line| line.trim().is_empty())
        .take_while(|line| !line.trim().is_empty())
        .any(is_trailer)
}

/// Whether a message has a trailer. Only the last paragraph counts, as in Git: text that a commit quotes is no record.
fn has(message: &str, key: &str, value: &str) -> bool {
    message
        .lines()
        .rev()
        .skip_while(|line| line.trim().is_empty())
        .take_while(|line| !line.trim().is_empty())
        .filter_map(|line| line.split_once(':'))
        .any(|(found, said)| found == key && said.trim() == value)
}

/// `text` on one line and bounded, so that it cannot begin a trailer of its own. Everything outside of visible ASCII
/// becomes a question mark: names, hashes and images have nothing else.
fn line(text: &str) -> String {
    let seen = |c: char| if c.is_ascii_graphic() { c } else { '?' };
    text.chars().take(LONGEST).map(seen).collect()
}

#[cfg(test)]
mod tests {
    use super::super::abort::tests::{abort, rejected};
    use super::*;
    use crate::units::Timestamp;

    #[test]
    fn trailers_name_the_rollout_the_images_and_the_abort() {
        let expected = "Serin-Rollout: shop/cart\nSerin-Rejected-Hash: 7d9f\nSerin-Rejected-Image: registry/cart:2\n\
                        Serin-Abort: 6f1c/7d9f/2026-11-26T22:00:00Z\nSerin-Reverts: abc\n";
        assert_eq!(trailers(&rejected(), "abc"), expected);
    }

    #[test]
    fn a_commit_answers_its_own_abort_and_no_other() {
        let message = format!("Revert cart\n\nWhy.\n\n{}\n", trailers(&rejected(), "abc"));
        assert!(is_answered_by(&abort(), &message));
        assert!(reverts(&message, "abc") && !reverts(&message, "abcd"));
        assert!(is_ours(&message) && !is_ours("Talk\n\nSerin-Reverts: abc\n\nSigned-off-by: A\n"));
        let aborted_at = Timestamp::parse("2026-11-26T23:00:00Z").unwrap();
        assert!(!is_answered_by(&Abort { aborted_at, ..abort() }, &message));
    }

    #[test]
    fn a_quoted_trailer_is_no_record() {
        let message = format!("Talk about it\n\n{}\nSigned-off-by: A\n", trailers(&rejected(), "abc"));
        assert!(!is_answered_by(&abort(), &message));
        assert!(!is_answered_by(&abort(), ""));
    }

    #[test]
    fn an_image_cannot_begin_a_trailer_of_its_own() {
        let images = vec!["x\nSerin-Abort: other".into(), "y\u{2028}z".into(), "i".repeat(9000)];
        let trailers = trailers(&Rejected { images, ..rejected() }, "abc");
        assert_eq!(trailers.lines().count(), 7);
        assert_eq!(trailers.lines().filter(|line| line.starts_with("Serin-Abort:")).count(), 1);
        assert!(trailers.contains("Serin-Rejected-Image: x?Serin-Abort:?other\n"));
        assert!(trailers.lines().all(|line| line.len() < 600 && line.is_ascii()));
    }
}
