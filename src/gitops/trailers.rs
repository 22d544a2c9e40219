//! The lines at the end of a commit message that say which abort it answers. Git is the record of what was written:
//! whoever finds the trailer of an abort in the branch's log writes nothing more for it.

/// The trailer whose value identifies an abort.
const ABORT: &str = "Serin-Abort";
/// Longest value, in characters: an image's reference with its digest, and room.
const LONGEST: usize = 512;

/// What was aborted, as the trailers say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The Rollout's namespace.
    pub namespace: String,
    /// The Rollout's name.
    pub name: String,
    /// The Rollout's uid: one of the same name that came later is another one.
    pub uid: String,
    /// The pod hash of the rejected revision.
    pub pod_hash: String,
    /// The images of its pod template.
    pub images: Vec<String>,
    /// When it was aborted, as the status says: the same revision can be tried and aborted again.
    pub aborted_at: String,
}

impl Rejected {
    /// What tells this abort from all others.
    #[must_use]
    pub fn identity(&self) -> String {
        line(&format!("{}/{}/{}", self.uid, self.pod_hash, self.aborted_at))
    }

    /// The trailers of a commit that reverts the commit `reverts` for this abort; every line ends with a line feed.
    #[must_use]
    pub fn trailers(&self, reverts: &str) -> String {
        let rollout = format!("{}/{}", self.namespace, self.name);
        let identity = self.identity();
        let images = self.images.iter().map(|image| ("Serin-Rejected-Image", image.as_str()));
        [("Serin-Rollout", rollout.as_str()), ("Serin-Rejected-Hash", self.pod_hash.as_str())]
            .into_iter()
            .chain(images)
            .chain([(ABORT, identity.as_str()), ("Serin-Reverts", reverts)])
            .map(|(key, value)| format!("{key}: {}\n", line(value)))
            .collect()
    }

    /// Whether the commit of `message` was written for this abort. Only the last paragraph counts, as in Git: text
    /// that a commit quotes is no record.
    #[must_use]
    pub fn is_answered_by(&self, message: &str) -> bool {
        let identity = self.identity();
        message
            .lines()
            .rev()
            .skip_while(|line| line.trim().is_empty())
            .take_while(|line| !line.trim().is_empty())
            .filter_map(|line| line.split_once(':'))
            .any(|(key, value)| key == ABORT && value.trim() == identity)
    }
}

/// `text` on one line and bounded, so that it cannot begin a trailer of its own. Everything outside of visible ASCII
/// becomes a question mark: names, hashes and images have nothing else.
fn line(text: &str) -> String {
    let seen = |c: char| if c.is_ascii_graphic() { c } else { '?' };
    text.chars().take(LONGEST).map(seen).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejected() -> Rejected {
        Rejected {
            namespace: "shop".into(),
            name: "cart".into(),
            uid: "6f1c".into(),
            pod_hash: "7d9f".into(),
            images: vec!["registry/cart:2".into()],
            aborted_at: "2026-11-26T22:00:00Z".into(),
        }
    }

    #[test]
    fn trailers_name_the_rollout_the_images_and_the_abort() {
        let expected = "Serin-Rollout: shop/cart\nSerin-Rejected-Hash: 7d9f\nSerin-Rejected-Image: registry/cart:2\n\
                        Serin-Abort: 6f1c/7d9f/2026-11-26T22:00:00Z\nSerin-Reverts: abc\n";
        assert_eq!(rejected().trailers("abc"), expected);
    }

    #[test]
    fn a_commit_answers_its_own_abort_and_no_other() {
        let message = format!("Revert cart\n\nWhy.\n\n{}\n", rejected().trailers("abc"));
        assert!(rejected().is_answered_by(&message));
        let again = Rejected { aborted_at: "2026-11-26T23:00:00Z".into(), ..rejected() };
        assert!(!again.is_answered_by(&message));
    }

    #[test]
    fn a_quoted_trailer_is_no_record() {
        let message = format!("Talk about it\n\n{}\nSigned-off-by: A\n", rejected().trailers("abc"));
        assert!(!rejected().is_answered_by(&message));
        assert!(!rejected().is_answered_by(""));
    }

    #[test]
    fn an_image_cannot_begin_a_trailer_of_its_own() {
        let images = vec!["x\nSerin-Abort: other".into(), "y\u{2028}z".into(), "i".repeat(9000)];
        let trailers = Rejected { images, ..rejected() }.trailers("abc");
        assert_eq!(trailers.lines().count(), 7);
        assert_eq!(trailers.lines().filter(|line| line.starts_with("Serin-Abort:")).count(), 1);
        assert!(trailers.contains("Serin-Rejected-Image: x?Serin-Abort:?other\n"));
        assert!(trailers.lines().all(|line| line.len() < 600 && line.is_ascii()));
    }
}
