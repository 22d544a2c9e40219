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

    /// Whether a line has that name as a word of its own, or as the end of a path.
    #[must_use]
    pub fn is_mentioned_in(&self, line: &str) -> bool {
        let is_end = |after: Option<char>| !after.is_some_and(|c| goes_on(c) || c == '/');
        let is_begin = |before: Option<char>| !before.is_some_and(goes_on);
        has(line, self.short_name(), is_begin, is_end)
    }
}

/// What a line says as the whole value of a field for versions, as `newTag: "2"` or `"appVersion": "2",`, without quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    before: String,
    after: String,
}

impl Version {
    /// Finds `value` in a line as such a value.
    #[must_use]
    pub fn of(line: &str, value: &str) -> Option<Self> {
        let plain = unquoted(line);
        plain.match_indices(value).find_map(|(at, _)| {
            let (before, rest) = plain.split_at_checked(at)?;
            let after = rest.get(value.len()..)?;
            let next = after.trim_start();
            let is_end = next.is_empty() || next.starts_with([',', '}', ']', '#']);
            (is_end && is_version_field(before))
                .then(|| Self { before: before.to_owned(), after: after.to_owned() })
        })
    }

    /// What another line says in its place; `None` where that differs in more than the version.
    #[must_use]
    pub fn replaced(&self, line: &str) -> Option<String> {
        let plain = unquoted(line);
        let value = plain.strip_prefix(self.before.as_str())?.strip_suffix(self.after.as_str())?;
        let is_word = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
        (!value.is_empty() && value.chars().all(is_word)).then(|| value.to_owned())
    }
}

/// Whether a line says of which image those around it are: a field for its name.
#[must_use]
pub fn is_name(line: &str) -> bool {
    let plain = unquoted(line).to_lowercase();
    let Some((key, value)) = plain.split_once(':') else { return false };
    !value.trim().is_empty() && ["name", "repository", "image"].iter().any(|end| key.ends_with(end))
}

fn unquoted(line: &str) -> String {
    line.chars().filter(|c| !matches!(c, '"' | '\'')).collect()
}

/// Whether what comes before a value ends with a field for versions.
fn is_version_field(before: &str) -> bool {
    let Some(before) = before.trim_end().strip_suffix([':', '=']) else { return false };
    let is_of_key = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    let reversed: String = before.trim_end().chars().rev().take_while(is_of_key).collect();
    let key = reversed.chars().rev().collect::<String>().to_lowercase();
    ["tag", "version", "digest"].iter().any(|end| key.ends_with(end)) || key == "value"
}

/// Whether a text has a word, and not only as a part of a longer one or as the end of a path.
fn has_word(text: &str, word: &str) -> bool {
    let is_begin = |before: Option<char>| !before.is_some_and(|c| goes_on(c) || c == '/');
    has(text, word, is_begin, |after| !after.is_some_and(goes_on))
}

/// Whether a text has a word between such characters.
fn has(
    text: &str,
    word: &str,
    is_begin: impl Fn(Option<char>) -> bool,
    is_end: impl Fn(Option<char>) -> bool,
) -> bool {
    !word.is_empty()
        && text.match_indices(word).any(|(at, _)| {
            let before = text.get(..at).and_then(|before| before.chars().next_back());
            let after = text.get(at.saturating_add(word.len())..).and_then(|after| after.chars().next());
            is_begin(before) && is_end(after)
        })
}

const fn goes_on(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
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
    fn a_version_is_the_whole_value_of_a_field_for_versions() {
        for line in [
            "newTag: v2",
            "  tag: 'v2' # new",
            "\"appVersion\": \"v2\",",
            "image: {repository: cart, tag: v2}",
            "image.tag=v2",
            "  value: v2",
        ] {
            assert!(Version::of(line, "v2").is_some(), "{line}");
        }
        for line in ["newTag: v21", "api: v2", "image: registry/pay:v2", "url: http://cart:80/v2"] {
            assert_eq!(Version::of(line, "v2"), None, "{line}");
        }
        assert_eq!(Version::of("replicas: 2", "2"), None);
    }

    #[test]
    fn what_a_version_has_replaced_is_told_whatever_the_quotes() {
        let new = Version::of("  tag: \"1234567\" # of 2", "1234567").unwrap();
        assert_eq!(new.replaced("  tag: abc # of 2").as_deref(), Some("abc"));
        assert_eq!(new.replaced("  tags: abc # of 2"), None);
        assert_eq!(new.replaced("  tag: abc # of 3"), None);
    }

    #[test]
    fn a_line_that_names_an_image_has_its_name_as_the_end_of_a_path() {
        let image = Image::parse("registry/cart:2");
        for line in ["- name: registry/cart", "  repository: cart", "image: ghcr.io/shop/cart:3"] {
            assert!(is_name(line) && image.is_mentioned_in(line), "{line}");
        }
        for line in ["- name: registry/cart/worker", "name: cart-db", "repository: registry/pay"] {
            assert!(is_name(line) && !image.is_mentioned_in(line), "{line}");
        }
        assert!(!is_name("tag: 2") && !is_name("image:"));
    }
}
