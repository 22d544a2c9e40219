//! An image in lines of text: where a file of Git names it, whole or by its tag or digest alone.

/// An image's reference in its parts, as `registry/cart:2@sha256:…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image<'a> {
    /// All of it.
    pub whole: &'a str,
    /// What comes before tag and digest.
    pub repository: &'a str,
    /// Its tag.
    pub tag: Option<&'a str>,
    /// Its digest, with the algorithm.
    pub digest: Option<&'a str>,
}

impl<'a> Image<'a> {
    /// Reads a reference. A port of the registry is no tag.
    #[must_use]
    pub fn parse(whole: &'a str) -> Self {
        let (name, digest) = match whole.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (whole, None),
        };
        let (repository, tag) = match name.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
            _ => (name, None),
        };
        Self { whole, repository, tag, digest }
    }

    /// Whether a line names this image and no other: by the reference, or by the digest.
    #[must_use]
    pub fn is_named_by(&self, line: &str) -> bool {
        let is_reference = (self.tag.is_some() || self.digest.is_some()) && has_word(line, self.whole);
        is_reference || self.digest.is_some_and(|digest| has_word(line, digest))
    }

    /// The last part of the repository, as people call it.
    #[must_use]
    pub fn short_name(&self) -> &'a str {
        self.repository.rsplit('/').next().unwrap_or_default()
    }

    /// Whether one of the lines has that name.
    #[must_use]
    pub fn is_mentioned_in(&self, lines: &[String]) -> bool {
        lines.iter().any(|line| line.split('/').any(|part| has_word(part, self.short_name())))
    }

    /// Whether a line has its tag, which other things may be called, too.
    #[must_use]
    pub fn is_tag_in(&self, line: &str) -> bool {
        self.tag.is_some_and(|tag| has_word(line, tag))
    }
}

/// Whether a text has a word, and not only as a part of a longer one.
fn has_word(text: &str, word: &str) -> bool {
    let goes_on = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let joins = |c: char| goes_on(c) || c == '/';
    !word.is_empty()
        && text.match_indices(word).any(|(at, _)| {
            let before = text.get(..at).and_then(|before| before.chars().next_back());
            let after = text.get(at.saturating_add(word.len())..).and_then(|after| after.chars().next());
            !before.is_some_and(joins) && !after.is_some_and(goes_on)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_has_its_parts() {
        let parts = |whole| {
            let image = Image::parse(whole);
            (image.repository, image.tag, image.digest)
        };
        assert_eq!(parts("cart"), ("cart", None, None));
        assert_eq!(parts("localhost:5000/cart"), ("localhost:5000/cart", None, None));
        assert_eq!(parts("localhost:5000/cart:2"), ("localhost:5000/cart", Some("2"), None));
        assert_eq!(parts("r/cart:2@sha256:ab"), ("r/cart", Some("2"), Some("sha256:ab")));
    }

    #[test]
    fn a_line_names_an_image_as_a_whole_word() {
        let image = Image::parse("registry/cart:1.2");
        assert!(image.is_named_by("  image: registry/cart:1.2"));
        assert!(image.is_named_by("image: \"registry/cart:1.2\" # new"));
        for other in [
            "image: registry/cart:1.23",
            "my.registry/cart:1.2",
            "x/registry/cart:1.2",
            "registry/cart:1.2-rc1",
        ] {
            assert!(!image.is_named_by(other), "{other}");
        }
        let pinned = Image::parse("registry/cart@sha256:0a1b");
        assert!(pinned.is_named_by("digest: sha256:0a1b") && !pinned.is_named_by("digest: sha256:0a1bc"));
        assert!(!Image::parse("cart").is_named_by("name: cart"), "every line of the service would name it");
    }

    #[test]
    fn a_tag_is_a_whole_word_too() {
        let image = Image::parse("registry/cart:v2");
        assert!(image.is_tag_in("newTag: v2") && image.is_tag_in("tag: 'v2'"));
        assert!(!image.is_tag_in("newTag: v21") && !image.is_tag_in("api/v2") && !image.is_tag_in("v2.1"));
    }
}
