//! Standard output: lines, and pictures that are redrawn in place on a terminal.

use std::io::{self, IsTerminal, Write};

use terminal_size::terminal_size;

use super::error::PluginError;
use crate::view::{Detail, Limits, Paint, Text};

/// Whether colours are shown: on a terminal, unless the user does not want them.
pub(super) fn paint(no_color: bool) -> Paint {
    if io::stdout().is_terminal() && !no_color { Paint::Colour } else { Paint::Plain }
}

/// Writes a line.
pub(super) fn say(line: &str) -> Result<(), PluginError> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// Writes a whole text.
pub(super) fn show(text: &Text, paint: Paint) -> Result<(), PluginError> {
    write_lines(&text.paint(paint, Limits::NONE))
}

fn write_lines(lines: &[String]) -> Result<(), PluginError> {
    let mut out = io::stdout().lock();
    for line in lines {
        writeln!(out, "{line}")?;
    }
    Ok(out.flush()?)
}

/// A picture that changes. On a terminal each one is drawn over the one before it, as far as it fits; elsewhere they
/// follow one another, with an empty line between them.
pub(super) struct Picture {
    paint: Paint,
    drawn: Vec<String>,
    limits: Option<Limits>,
}

impl Picture {
    /// A picture of which nothing is drawn yet.
    pub(super) fn new(paint: Paint) -> Self {
        Self { paint, drawn: Vec::new(), limits: None }
    }

    /// Whether the picture is redrawn in place.
    pub(super) fn is_live() -> bool {
        io::stdout().is_terminal()
    }

    /// Draws a text, if it differs from what is drawn. A terminal that is too small for all of it gets the compact one.
    pub(super) fn draw(&mut self, text: impl Fn(Detail) -> Text) -> Result<(), PluginError> {
        let full = text(Detail::Full);
        if !Self::is_live() {
            return self.append(full.paint(self.paint, Limits::NONE));
        }
        let limits = size();
        let whole = full.paint(self.paint, Limits { lines: usize::MAX, ..limits });
        let is_large = whole.len() > limits.lines;
        let lines = if is_large { text(Detail::Compact).paint(self.paint, limits) } else { whole };
        let is_resized = self.limits.is_some_and(|before| before != limits);
        if lines == self.drawn && !is_resized {
            return Ok(());
        }
        let start = if is_resized {
            // The terminal has wrapped what was there; only a clean screen is sure.
            "\u{1b}[2J\u{1b}[H".to_owned()
        } else if self.drawn.is_empty() {
            String::new()
        } else {
            format!("\u{1b}[{}A\r", self.drawn.len())
        };
        // In one write, so that the terminal never shows half of it.
        let body: String = lines.iter().flat_map(|line| [line.as_str(), "\u{1b}[K\n"]).collect();
        let mut out = io::stdout().lock();
        write!(out, "{start}{body}\u{1b}[J")?;
        out.flush()?;
        self.drawn = lines;
        self.limits = Some(limits);
        Ok(())
    }

    fn append(&mut self, lines: Vec<String>) -> Result<(), PluginError> {
        if lines == self.drawn {
            return Ok(());
        }
        if !self.drawn.is_empty() {
            say("")?;
        }
        write_lines(&lines)?;
        self.drawn = lines;
        Ok(())
    }
}

/// The room on the terminal; the line of the cursor, below the picture, is left free.
fn size() -> Limits {
    terminal_size().map_or(Limits::NONE, |(width, height)| Limits {
        columns: usize::from(width.0),
        lines: usize::from(height.0).saturating_sub(1),
    })
}
