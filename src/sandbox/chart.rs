//! A small chart of success rate and canary weight over time: as text for a terminal, and as SVG for a page.
//!
//! Pure: samples in, text out. Shares go from 0 to 1; times count from the start of the chart.

mod svg;

use std::time::Duration;

use crate::view::{Line, Tone};

/// Rows of each of the two bands.
const ROWS: usize = 3;
/// Filled eighths of a cell.
const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Columns in front of the bands.
const LABEL_WIDTH: usize = 16;
/// The lowest success rate that is drawn, unless there is a lower one: around the limit is where the news is.
const USUAL_FLOOR: f64 = 0.8;

/// What was seen at one time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// When.
    pub at: Duration,
    /// The share of requests that succeeded; `None` when there were none.
    pub success: Option<f64>,
    /// The share of ready pods that run the new version.
    pub canary: f64,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// When.
    pub at: Duration,
    /// What, in a few words.
    pub text: String,
    /// Whether it is good or bad.
    pub tone: Tone,
}

/// What the chart shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// In the order of time.
    pub samples: Vec<Sample>,
    /// In the order of time.
    pub marks: Vec<Mark>,
    /// The success rate below which the analysis fails; drawn as a line, and worse is shown in another colour.
    pub limit: f64,
}

impl History {
    /// The chart as lines of `columns` columns, at least 40: two bands, and a line with the
    /// numbers of the marks.
    #[must_use]
    pub fn text(&self, columns: usize) -> Vec<Line> {
        let width = columns.max(40) - LABEL_WIDTH;
        let cells = self.cells(width);
        let floor = self.floor();
        let success = |cell: &Cell| cell.success.map(|rate| (rate - floor) / (1.0 - floor));
        let tone = |cell: &Cell| if self.is_bad(cell.success) { Tone::Bad } else { Tone::Good };
        let labels = ["success  100 %".to_owned(), String::new(), format!("{:>12.0} %", floor * 100.0)];
        let mut lines = band(&labels, &cells, success, tone);
        let labels = ["canary   100 %".to_owned(), String::new(), "           0 %".to_owned()];
        lines.extend(band(&labels, &cells, |cell| cell.canary, |_| Tone::Active));
        lines.push(self.axis(width));
        lines
    }

    /// The chart as a standalone SVG document.
    #[must_use]
    pub fn svg(&self, title: &str) -> String {
        svg::render(self, title)
    }

    /// The time that the chart covers; at least a second, so that there is something to divide by.
    fn span(&self) -> Duration {
        let last = self.samples.last().map(|sample| sample.at).unwrap_or_default();
        let mark = self.marks.last().map(|mark| mark.at).unwrap_or_default();
        last.max(mark).max(Duration::from_secs(1))
    }

    /// Where the success rate's scale begins: at the usual place, or at the tenth below the worst sample.
    fn floor(&self) -> f64 {
        let worst = self.samples.iter().filter_map(|sample| sample.success).fold(1.0, f64::min);
        if worst >= USUAL_FLOOR { USUAL_FLOOR } else { (worst * 10.0).floor() / 10.0 }
    }

    fn is_bad(&self, success: Option<f64>) -> bool {
        success.is_some_and(|rate| rate < self.limit)
    }

    /// The worst rate and the highest weight of every column, so that nothing short is lost.
    fn cells(&self, width: usize) -> Vec<Cell> {
        let mut cells = vec![Cell::default(); width];
        for sample in &self.samples {
            if let Some(cell) = cells.get_mut(column(sample.at, self.span(), width)) {
                cell.success = match (cell.success, sample.success) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
                cell.canary = Some(cell.canary.map_or(sample.canary, |canary| canary.max(sample.canary)));
            }
        }
        // A chart that has just begun has fewer samples than columns.
        for index in 1..width {
            if let (Some(previous), Some(cell)) = (cells.get(index - 1).copied(), cells.get_mut(index)) {
                *cell = Cell {
                    success: cell.success.or(previous.success),
                    canary: cell.canary.or(previous.canary),
                };
            }
        }
        cells
    }

    /// Numbers under the times of the marks, and the time covered.
    fn axis(&self, width: usize) -> Line {
        let mut places = vec!['─'; width];
        for (number, mark) in self.marks.iter().enumerate() {
            let digit = u32::try_from(number + 1).ok().and_then(|number| char::from_digit(number, 36));
            let column = column(mark.at, self.span(), width);
            // Marks close together stand side by side; there is no room for that only at the right edge.
            if let Some(place) = places.iter_mut().skip(column).find(|place| **place == '─') {
                *place = digit.unwrap_or('+');
            }
        }
        let label = format!("{:>13} s └", self.span().as_secs());
        let label: String = label.chars().take(LABEL_WIDTH).collect();
        Line::default().with(Tone::Faint, label).with(Tone::Faint, places.into_iter().collect::<String>())
    }

    /// The marks in words, one line each, with the numbers of the chart.
    #[must_use]
    pub fn legend(&self) -> Vec<Line> {
        let entry = |(number, mark): (usize, &Mark)| {
            let when = format!("{:>3} {:>5.1} s  ", number + 1, mark.at.as_secs_f64());
            Line::default().with(Tone::Faint, when).with(mark.tone, mark.text.clone())
        };
        self.marks.iter().enumerate().map(entry).collect()
    }
}

/// One column.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    success: Option<f64>,
    canary: Option<f64>,
}

/// The column of a time.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a terminal's width, not negative"
)]
fn column(at: Duration, span: Duration, width: usize) -> usize {
    let share = at.as_secs_f64() / span.as_secs_f64();
    ((share * width as f64) as usize).min(width.saturating_sub(1))
}

/// Rows of blocks, the highest first, each after its label.
fn band(
    labels: &[String; ROWS],
    cells: &[Cell],
    value: impl Fn(&Cell) -> Option<f64>,
    tone: impl Fn(&Cell) -> Tone,
) -> Vec<Line> {
    let row = |(row, label): (usize, &String)| {
        let below = (ROWS - 1 - row) * (BLOCKS.len() - 1);
        let mut line = Line::default().with(Tone::Faint, format!("{label:<w$}│", w = LABEL_WIDTH - 1));
        for run in cells.chunk_by(|a, b| tone(a) == tone(b)) {
            let block = |cell: &Cell| {
                let level = value(cell).map_or(0, eighths).saturating_sub(below).min(BLOCKS.len() - 1);
                BLOCKS.get(level).copied().unwrap_or(' ')
            };
            let tone = run.first().map_or(Tone::Plain, &tone);
            line = line.with(tone, run.iter().map(block).collect::<String>());
        }
        line
    };
    labels.iter().enumerate().map(row).collect()
}

/// A share of a band's height, in eighths of a row; whatever is not nothing shows.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to a few dozen"
)]
fn eighths(share: f64) -> usize {
    let all = (ROWS * (BLOCKS.len() - 1)) as f64;
    (share.clamp(0.0, 1.0) * all).ceil() as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{Limits, Paint, Text};

    fn history(samples: &[(u64, f64, f64)], marks: &[(u64, &str)]) -> History {
        let sample = |(at, success, canary): &(u64, f64, f64)| Sample {
            at: Duration::from_secs(*at),
            success: Some(*success),
            canary: *canary,
        };
        let mark = |(at, text): &(u64, &str)| Mark {
            at: Duration::from_secs(*at),
            text: (*text).to_owned(),
            tone: Tone::Plain,
        };
        History {
            samples: samples.iter().map(sample).collect(),
            marks: marks.iter().map(mark).collect(),
            limit: 0.95,
        }
    }

    fn plain(lines: Vec<Line>) -> Vec<String> {
        let painted = Text { lines }.paint(Paint::Plain, Limits::NONE);
        painted.iter().map(|line| line.trim_end().to_owned()).collect()
    }

    #[test]
    fn the_chart_shows_the_drop_the_weight_and_numbered_marks() {
        let history = history(
            &[(0, 1.0, 0.0), (10, 1.0, 0.1), (20, 0.85, 0.3), (30, 0.85, 0.0), (40, 1.0, 0.0)],
            &[(10, "v2 begins"), (30, "v2 is taken back"), (30, "v1 is back")],
        );
        assert_eq!(
            plain(history.text(40)),
            [
                "success  100 % │████████████           █",
                "               │████████████           █",
                "          80 % │████████████▆▆▆▆▆▆▆▆▆▆▆█",
                "canary   100 % │",
                "               │",
                "           0 % │      ▃▃▃▃▃▃██████",
                "           40 s ──────1───────────23────",
            ]
        );
        assert_eq!(plain(history.legend())[1], "  2  30.0 s  v2 is taken back");
    }

    #[test]
    fn a_rate_below_the_usual_scale_extends_it() {
        let low = history(&[(0, 1.0, 0.0), (5, 0.47, 1.0)], &[]);
        assert!(plain(low.text(60)).iter().any(|line| line.starts_with("          40 %")));
    }

    #[test]
    fn an_empty_chart_is_drawn_as_well() {
        assert_eq!(plain(History::default().text(0)).len(), 2 * ROWS + 1);
    }
}
