//! Text of others in Markdown: it is read as it stands, and does nothing.
//!
//! Markup is stopped by backslashes and entities. Forges look for mentions, issues and addresses in what is left after
//! that, so these are broken by a space that has no width. What is deliberately absent: code spans, which show text
//! as it is, but which not every forge leaves alone.

/// A space without width: no forge reads a name, a number or an address across it.
const BREAK: char = '\u{200b}';
/// Marks of Markdown that act anywhere in a line.
const MARKS: &str = "\\`*_{}[]()#+!~$|^";
/// What begins a reference on some forge: people, issues, changes, epics, snippets, milestones, labels, alerts.
const SIGNS: &str = "@#!&$%~^";

/// Text of others as Markdown that shows it on one line: no mention, no closed issue, no command, no HTML, no link, no
/// image, no heading or list. Characters that do not show or that turn the direction of reading are left out. It gets
/// longer, at most sixfold in characters, and is not bounded otherwise.
#[must_use]
pub fn escape(text: &str) -> String {
    let plain: Vec<char> = visible(text).chars().collect();
    let digits = plain.iter().take_while(|c| c.is_ascii_digit()).count();
    let mut escaped = String::with_capacity(plain.len().saturating_mul(2));
    for (at, &c) in plain.iter().enumerate() {
        let (before, after) = around(&plain, at);
        if breaks_before(&plain, at, before, after) {
            escaped.push(BREAK);
        }
        let begins = at == 0 && c.is_ascii_punctuation();
        let numbers = c == '.' && at > 0 && at == digits;
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            _ if begins || numbers || MARKS.contains(c) => escaped.extend(['\\', c]),
            _ => escaped.push(c),
        }
        if breaks_after(c, after) {
            escaped.push(BREAK);
        }
    }
    escaped
}

/// Text on one line that mentions and closes nothing, where there is no Markdown: a title.
#[must_use]
pub fn inert(text: &str) -> String {
    let plain: Vec<char> = visible(text).chars().collect();
    let mut inert = String::with_capacity(text.len());
    for (at, &c) in plain.iter().enumerate() {
        let (before, after) = around(&plain, at);
        if breaks_before(&plain, at, before, after) {
            inert.push(BREAK);
        }
        inert.push(c);
        if breaks_after(c, after) {
            inert.push(BREAK);
        }
    }
    inert
}

/// The text on one line, each run of space as one, without characters that do not show.
#[must_use]
pub fn visible(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    let spaced = text.chars().map(|c| if c.is_control() || c.is_whitespace() { ' ' } else { c });
    for c in spaced.filter(|c| !is_hidden(*c)) {
        if c != ' ' || !line.ends_with(' ') {
            line.push(c);
        }
    }
    line.trim().to_owned()
}

/// Whether a character does not show, or turns the direction of those around it.
const fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e0fff}')
}

fn around(plain: &[char], at: usize) -> (Option<char>, Option<char>) {
    let before = at.checked_sub(1).and_then(|before| plain.get(before));
    (before.copied(), plain.get(at.saturating_add(1)).copied())
}

/// Whether an address or the key of an issue would go on here.
fn breaks_before(plain: &[char], at: usize, before: Option<char>, after: Option<char>) -> bool {
    let is = |c: Option<char>, test: fn(char) -> bool| c.is_some_and(test);
    match plain.get(at) {
        // An address, or an emoji's name; a time of day is neither.
        Some(':') => {
            let is_time = is(before, |c| c.is_ascii_digit()) && is(after, |c| c.is_ascii_digit());
            is(after, |c| c != ' ') && !is_time
        }
        // A server's name; a number is none.
        Some('.') => is(before, char::is_alphanumeric) && is(after, char::is_alphabetic),
        Some('-') => is(after, |c| c.is_ascii_digit()) && is_key(plain.get(..at).unwrap_or_default()),
        _ => false,
    }
}

/// Whether the last word can be the project of an issue: `GH`, or the capitals of a tracker's key.
fn is_key(before: &[char]) -> bool {
    let word: Vec<char> =
        before.iter().rev().take_while(|c| c.is_alphanumeric() || **c == '_').copied().collect();
    let is_github = matches!(word.as_slice(), ['h' | 'H', 'g' | 'G']);
    is_github || word.last().is_some_and(char::is_ascii_uppercase) && !word.iter().any(|c| c.is_lowercase())
}

fn breaks_after(c: char, after: Option<char>) -> bool {
    SIGNS.contains(c) && after.is_some_and(|after| after != ' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `¦` stands for the space without width.
    fn check(text: &str, expected: &str) {
        assert_eq!(escape(text).replace(BREAK, "¦"), expected, "{text}");
    }

    #[test]
    fn what_measures_say_stays_readable() {
        check("success-rate 0.93 at 12:30, 5 times", "success-rate 0.93 at 12:30, 5 times");
        check("result[0] >= 0.95", "result\\[0\\] &gt;= 0.95");
        check("ImagePullBackOff: api-6d5f", "ImagePullBackOff: api-6d5f");
        check("5 % of all", "5 % of all");
    }

    #[test]
    fn people_are_not_mentioned() {
        check("@all look", "\\@¦all look");
        check("cc @shop/team, x@shop.test", "cc @¦shop/team, x@¦shop¦.test");
        check("@@root", "\\@¦@¦root");
    }

    #[test]
    fn issues_are_not_closed() {
        check("closes #1", "closes \\#¦1");
        check("Fixes shop/web#7", "Fixes shop/web\\#¦7");
        check("fixes GH-12 and gh-3", "fixes GH¦-12 and gh¦-3");
        check("resolves SHOP-12, A_2-1", "resolves SHOP¦-12, A\\_2¦-1");
        check("closes !1 &2 $3 %4 ~5", "closes \\!¦1 &amp;¦2 \\$¦3 %¦4 \\~¦5");
        check("closes https://git.test/a/b/issues/1", "closes https¦://git¦.test/a/b/issues/1");
        check("[issue:1]", "\\[issue¦:1\\]");
    }

    #[test]
    fn commands_of_a_forge_do_not_begin_a_line() {
        check("/merge", "\\/merge");
        check("x\n/approve\r\n/close", "x /approve /close");
        check("  \t/merge", "\\/merge");
    }

    #[test]
    fn html_links_and_images_are_text() {
        check("<script>x</script>", "&lt;script&gt;x&lt;/script&gt;");
        check("<!-- x", "&lt;\\!¦-- x");
        check("&lt;img&gt;", "&amp;¦lt;img&amp;¦gt;");
        check("[a](javascript:x)", "\\[a\\]\\(javascript¦:x\\)");
        check("![a](//evil.test/x.png)", "\\!¦\\[a\\]\\(//evil¦.test/x¦.png\\)");
        check("www.evil.test", "www¦.evil¦.test");
        check("mailto:a", "mailto¦:a");
        check("[x]: http://a", "\\[x\\]: http¦://a");
    }

    #[test]
    fn text_makes_no_blocks() {
        check("# x", "\\# x");
        check("- x", "\\- x");
        check("1. x", "1\\. x");
        check("1) x", "1\\) x");
        check("> [!NOTE]", "&gt; \\[\\!¦NOTE\\]");
        check("===", "\\===");
        check("a | b", "a \\| b");
        check("```\nx\n```", "\\`\\`\\` x \\`\\`\\`");
        check("a\\", "a\\\\");
        check("\\@a", "\\\\@¦a");
    }

    #[test]
    fn characters_that_do_not_show_are_left_out() {
        check("a\u{202e}b\u{200b}c\u{0}d\u{2028}e\u{feff}", "abc d e");
        check("@\u{200d}all", "\\@¦all");
        check("\u{200b}/merge", "\\/merge");
        check("ht\u{ad}tp://a", "http¦://a");
    }

    /// Every text of up to four of these pieces.
    fn hostile(visit: &mut dyn FnMut(&str)) {
        let pieces =
            ["@", "#", "1", "a", "\\", "<", "[", "`", "/", ":", "\n", ".", "-", "&", " ", "\u{200d}"];
        let mut texts = vec![String::new()];
        for _ in 0..4 {
            let longer = texts.iter().flat_map(|text| pieces.map(|piece| format!("{text}{piece}")));
            texts = longer.collect();
            for text in &texts {
                visit(text);
            }
        }
    }

    /// What a reader of Markdown takes from it: pairs of whether a character is text for sure, and the character.
    fn read(markdown: &str) -> Vec<(bool, char)> {
        let named = [("&amp;", '&'), ("&lt;", '<'), ("&gt;", '>')];
        let mut rest = markdown;
        let mut read = Vec::new();
        while let Some(c) = rest.chars().next() {
            let named = named.iter().find(|(name, _)| rest.starts_with(name));
            let escaped = rest.strip_prefix('\\').and_then(|rest| rest.chars().next());
            let (as_text, taken) = match (named, escaped) {
                (Some((name, c)), _) => ((true, *c), name.len()),
                (None, Some(next)) if next.is_ascii_punctuation() => ((true, next), 2),
                _ => ((false, c), c.len_utf8()),
            };
            read.push(as_text);
            rest = &rest[taken..];
        }
        read
    }

    #[test]
    fn any_text_is_read_as_it_stands_and_has_no_mark_left() {
        hostile(&mut |text| {
            let escaped = escape(text);
            let read = read(&escaped);
            let shown: String = read.iter().map(|(_, c)| *c).filter(|c| *c != BREAK).collect();
            assert_eq!(shown, visible(text), "{text:?}");
            let marks = |(sure, c): &&(bool, char)| !sure && "\\`<>[]#&\n".contains(*c);
            assert_eq!(read.iter().find(marks), None, "{text:?} as {escaped:?}");
            assert!(!escaped.starts_with(['/', '-', ':', '.', '@', ' ']), "{text:?} as {escaped:?}");
        });
    }

    #[test]
    fn any_text_is_inert_once_it_is_read() {
        hostile(&mut |text| {
            let shown: String = read(&escape(text)).into_iter().map(|(_, c)| c).collect();
            assert_eq!(shown, inert(text), "a title is broken at the same places: {text:?}");
            for bad in ["@a", "@1", "#1", "&1", "a:/", "1:/", "a:a", "a:1", "a.a", "1.a"] {
                assert!(!shown.contains(bad), "{text:?} shows {bad}");
            }
        });
    }
}
