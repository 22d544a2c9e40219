//! Text for a terminal: lines of spans with a tone each, painted or plain, cut to a size.

/// What a span means; a terminal shows it as a colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// Ordinary text.
    #[default]
    Plain,
    /// Well.
    Good,
    /// Wrong.
    Bad,
    /// Worth a look.
    Warning,
    /// Under way.
    Active,
    /// Of little interest.
    Faint,
}

impl Tone {
    /// The code of a colour that is readable on dark and light backgrounds.
    const fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Good => Some("32"),
            Self::Bad => Some("31"),
            Self::Warning => Some("33"),
            Self::Active => Some("36"),
            Self::Faint => Some("2"),
        }
    }
}

/// The icon in front of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// `✔`: well.
    Good,
    /// `✖`: failed.
    Bad,
    /// `◌`: under way.
    Moving,
    /// `◷`: waiting for its turn.
    Waiting,
    /// `॥`: paused.
    Paused,
    /// `•`: neither well nor bad.
    Neutral,
    /// `⚠`: worth a look.
    Warning,
    /// `?`: not known.
    Unknown,
}

impl Sign {
    /// The character.
    #[must_use]
    pub const fn glyph(self) -> &'static str {
        match self {
            Self::Good => "✔",
            Self::Bad => "✖",
            Self::Moving => "◌",
            Self::Waiting => "◷",
            Self::Paused => "॥",
            Self::Neutral => "•",
            Self::Warning => "⚠",
            Self::Unknown => "?",
        }
    }

    /// The tone.
    #[must_use]
    pub const fn tone(self) -> Tone {
        match self {
            Self::Good => Tone::Good,
            Self::Bad => Tone::Bad,
            Self::Moving | Self::Waiting => Tone::Active,
            Self::Paused | Self::Warning => Tone::Warning,
            Self::Neutral => Tone::Faint,
            Self::Unknown => Tone::Plain,
        }
    }
}

/// A line of text: an object of a table, or a sentence that may go on in the next line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    spans: Vec<(Tone, String)>,
    /// Indent of further lines; `None` when the line is cut and not broken.
    hang: Option<usize>,
}

impl Line {
    /// A line of ordinary text.
    #[must_use]
    pub fn plain(text: impl Into<String>) -> Self {
        Self::default().with(Tone::Plain, text)
    }

    /// The line with more text at its end.
    #[must_use]
    pub fn with(mut self, tone: Tone, text: impl Into<String>) -> Self {
        self.spans.push((tone, text.into()));
        self
    }

    /// The line with another one at its end.
    #[must_use]
    pub fn then(mut self, other: Self) -> Self {
        self.spans.extend(other.spans);
        self
    }

    /// The line filled up with blanks to `width` columns.
    #[must_use]
    pub fn padded(self, width: usize) -> Self {
        let missing = width.saturating_sub(self.width());
        if missing == 0 { self } else { self.with(Tone::Plain, " ".repeat(missing)) }
    }

    /// Columns the line takes. Every character in use here takes one; the names of objects are ASCII.
    #[must_use]
    pub fn width(&self) -> usize {
        self.spans.iter().map(|(_, text)| text.chars().count()).sum()
    }

    /// The line broken between words where it is too long, with an indent from the second line on. Tones are lost.
    pub(super) fn hanging(self, indent: usize) -> Self {
        Self { hang: Some(indent), ..self }
    }

    /// The line as lines that fit, as far as words allow.
    fn broken(&self, columns: usize) -> Vec<Self> {
        let Some(indent) = self.hang.filter(|indent| self.width() > columns && *indent < columns) else {
            return vec![self.clone()];
        };
        let text: String = self.spans.iter().map(|(_, text)| text.as_str()).collect();
        let start: String = text.chars().take(indent).collect();
        let rest: String = text.chars().skip(indent).collect();
        let mut lines = Vec::new();
        let mut line = start;
        for word in rest.split(' ') {
            let is_empty = line.chars().count() <= indent;
            if !is_empty && line.chars().count() + 1 + word.chars().count() > columns {
                lines.push(Self::plain(std::mem::replace(&mut line, " ".repeat(indent))));
            } else if !is_empty {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(Self::plain(line));
        lines
    }

    fn paint(&self, paint: Paint, columns: usize) -> String {
        let cut = self.width() > columns;
        let mut left = if cut { columns.saturating_sub(1) } else { usize::MAX };
        let mut painted = String::new();
        for (tone, text) in &self.spans {
            let shown: String = text.chars().take(left).collect();
            left = left.saturating_sub(shown.chars().count());
            match tone.code() {
                Some(code) if paint == Paint::Colour && !shown.is_empty() => {
                    painted.extend(["\u{1b}[", code, "m", &shown, "\u{1b}[0m"]);
                }
                _ => painted.push_str(&shown),
            }
        }
        if cut {
            painted.push('…');
        }
        painted
    }
}

/// Whether tones are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// As text only.
    Plain,
    /// As colours.
    Colour,
}

/// How much room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Columns of a line.
    pub columns: usize,
    /// Lines.
    pub lines: usize,
}

impl Limits {
    /// All the room there can be: a file, a pipe, or a terminal that scrolls.
    pub const NONE: Self = Self { columns: usize::MAX, lines: usize::MAX };
}

/// Lines of text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// The lines.
    pub lines: Vec<Line>,
}

impl Text {
    /// The painted lines. What does not fit is cut off with a sign that something is missing.
    #[must_use]
    pub fn paint(&self, paint: Paint, limits: Limits) -> Vec<String> {
        let lines: Vec<Line> = self.lines.iter().flat_map(|line| line.broken(limits.columns)).collect();
        let fits = lines.len() <= limits.lines;
        let shown = if fits { lines.len() } else { limits.lines.saturating_sub(1) };
        let mut painted: Vec<String> =
            lines.iter().take(shown).map(|line| line.paint(paint, limits.columns)).collect();
        if !fits && limits.lines > 0 {
            painted.push(format!("… {} more lines", lines.len() - shown));
        }
        painted
    }
}

/// A table with a header: columns as wide as their widest cell, two blanks apart.
pub(super) fn table(header: &[&str], rows: Vec<Vec<Line>>) -> Vec<Line> {
    let header = header.iter().map(|title| Line::plain(*title)).collect();
    let rows: Vec<Vec<Line>> = std::iter::once(header).chain(rows).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            rows.iter().filter_map(|row| row.get(column)).map(Line::width).max().unwrap_or_default()
        })
        .collect();
    rows.into_iter().map(|row| line_of(row, &widths)).collect()
}

/// The cells of a row side by side; nothing after the last one that says something.
fn line_of(mut row: Vec<Line>, widths: &[usize]) -> Line {
    while row.last().is_some_and(|cell| cell.width() == 0) {
        row.pop();
    }
    let last = row.pop().unwrap_or_default();
    let cells = row.into_iter().zip(widths);
    cells.fold(Line::default(), |line, (cell, width)| line.then(cell.padded(width + 2))).then(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(lines: &[&str]) -> Text {
        Text { lines: lines.iter().map(|line| Line::plain(*line)).collect() }
    }

    #[test]
    fn a_text_that_is_too_large_is_cut_and_says_so() {
        let painted = text(&["abcdef", "b", "c"]).paint(Paint::Plain, Limits { columns: 4, lines: 2 });
        assert_eq!(painted, ["abc…", "… 2 more lines"]);
    }

    #[test]
    fn a_text_that_just_fits_is_whole() {
        let painted = text(&["abcd", "b"]).paint(Paint::Plain, Limits { columns: 4, lines: 2 });
        assert_eq!(painted, ["abcd", "b"]);
    }

    #[test]
    fn a_sentence_is_broken_between_words_below_its_start() {
        let line = Line::plain("Why: one two three").hanging(5);
        let painted = Text { lines: vec![line] }.paint(Paint::Plain, Limits { columns: 12, lines: 9 });
        assert_eq!(painted, ["Why: one two", "     three"]);
    }

    #[test]
    fn colours_take_no_room() {
        let line = Line::default().with(Tone::Good, "ab").with(Tone::Bad, "cd");
        let text = Text { lines: vec![line] };
        let limits = Limits { columns: 3, lines: 1 };
        assert_eq!(text.paint(Paint::Colour, limits), ["\u{1b}[32mab\u{1b}[0m…"]);
        assert_eq!(text.paint(Paint::Plain, Limits::NONE), ["abcd"]);
    }

    #[test]
    fn columns_of_a_table_are_as_wide_as_their_widest_cell() {
        let rows = vec![
            vec![Line::plain("a-long-name"), Line::plain("x")],
            vec![Line::plain("b"), Line::plain("y")],
        ];
        let lines = table(&["NAME", "X"], rows);
        let painted = Text { lines }.paint(Paint::Plain, Limits::NONE);
        assert_eq!(painted, ["NAME         X", "a-long-name  x", "b            y"]);
    }
}
