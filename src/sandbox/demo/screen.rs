//! Where the demo speaks: sentences that stay, above a picture that is redrawn in place on a terminal.
//!
//! Elsewhere, in a file or a pipe, only the sentences are written, and pictures where the story asks for one.

use std::io::{self, IsTerminal, Write};

use terminal_size::terminal_size;

use crate::view::{Limits, Line, Paint, Text};

/// Erases from the cursor to the end of the screen.
const ERASE_BELOW: &str = "\u{1b}[J";

/// How the output takes what it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// A terminal, whose cursor can go back up.
    Terminal(Paint),
    /// Anything else.
    Pages,
}

impl Medium {
    /// What standard output is.
    #[must_use]
    pub fn of_stdout(paint: Paint) -> Self {
        if io::stdout().is_terminal() { Self::Terminal(paint) } else { Self::Pages }
    }
}

/// The demo's output.
#[derive(Debug)]
pub struct Screen<W> {
    out: W,
    medium: Medium,
    /// Lines of the picture that is on the terminal, below which the cursor is.
    drawn: Vec<String>,
}

impl<W: Write> Screen<W> {
    /// An empty screen.
    pub fn new(out: W, medium: Medium) -> Self {
        Self { out, medium, drawn: Vec::new() }
    }

    /// Says something that stays.
    ///
    /// # Errors
    /// When the output does not take it.
    pub fn say(&mut self, line: Line) -> io::Result<()> {
        let (paint, limits) = (self.paint(), Limits::NONE);
        let said = Text { lines: vec![line] }.paint(paint, limits).concat();
        let above = self.to_top();
        let below = self.drawn.iter().fold(String::new(), |all, line| all + line + "\n");
        self.write(&format!("{above}{said}\n{below}"))
    }

    /// Redraws the picture on a terminal; nothing elsewhere.
    ///
    /// # Errors
    /// When the output does not take it.
    pub fn draw(&mut self, lines: Vec<Line>) -> io::Result<()> {
        let Medium::Terminal(paint) = self.medium else { return Ok(()) };
        let lines = Text { lines }.paint(paint, room());
        if lines == self.drawn {
            return Ok(());
        }
        let above = self.to_top();
        let body = lines.iter().fold(String::new(), |all, line| all + line + "\n");
        self.drawn = lines;
        self.write(&format!("{above}{body}"))
    }

    /// Leaves a picture standing, on whatever medium, and begins below it.
    ///
    /// # Errors
    /// When the output does not take it.
    pub fn keep(&mut self, lines: Vec<Line>) -> io::Result<()> {
        let above = self.to_top();
        self.drawn.clear();
        let lines = Text { lines }.paint(self.paint(), Limits::NONE);
        let body = lines.iter().fold(String::new(), |all, line| all + line + "\n");
        self.write(&format!("{above}{body}"))
    }

    /// Columns of a line, at most `wanted`.
    pub fn columns(&self, wanted: usize) -> usize {
        match self.medium {
            Medium::Terminal(_) => room().columns.min(wanted),
            Medium::Pages => wanted,
        }
    }

    fn paint(&self) -> Paint {
        match self.medium {
            Medium::Terminal(paint) => paint,
            Medium::Pages => Paint::Plain,
        }
    }

    /// Moves to the first line of the picture and erases it.
    fn to_top(&self) -> String {
        match self.drawn.len() {
            0 => String::new(),
            lines => format!("\u{1b}[{lines}A\r{ERASE_BELOW}"),
        }
    }

    /// One write, so that a terminal never shows half of it.
    fn write(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}

/// The room on the terminal; a line is left for what is said next.
fn room() -> Limits {
    terminal_size().map_or(Limits::NONE, |(width, height)| Limits {
        columns: usize::from(width.0),
        lines: usize::from(height.0).saturating_sub(2),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(medium: Medium, act: impl FnOnce(&mut Screen<&mut Vec<u8>>) -> io::Result<()>) -> String {
        let mut written = Vec::new();
        act(&mut Screen::new(&mut written, medium)).unwrap();
        String::from_utf8(written).unwrap()
    }

    #[test]
    fn on_a_terminal_sentences_scroll_above_the_picture() {
        let written = screen(Medium::Terminal(Paint::Plain), |screen| {
            screen.draw(vec![Line::plain("tree"), Line::plain("chart")])?;
            screen.say(Line::plain("it begins"))?;
            screen.draw(vec![Line::plain("tree"), Line::plain("chart")])?;
            screen.keep(vec![Line::plain("the end")])
        });
        let redrawn = "\u{1b}[2A\r\u{1b}[J";
        assert_eq!(written, format!("tree\nchart\n{redrawn}it begins\ntree\nchart\n{redrawn}the end\n"));
    }

    #[test]
    fn in_a_file_only_sentences_and_kept_pictures_are_written() {
        let written = screen(Medium::Pages, |screen| {
            screen.draw(vec![Line::plain("tree")])?;
            screen.say(Line::plain("it begins"))?;
            screen.keep(vec![Line::plain("chart")])
        });
        assert_eq!(written, "it begins\nchart\n");
    }
}
