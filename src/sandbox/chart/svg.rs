//! The chart as an SVG document on a light background.

use std::fmt::Write;
use std::time::Duration;

use super::{History, Mark, Sample};
use crate::view::Tone;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 408.0;
/// Where the plots begin and end, left to right.
const LEFT: f64 = 70.0;
const RIGHT: f64 = WIDTH - 24.0;
/// Top and bottom of the success rate.
const SUCCESS: (f64, f64) = (118.0, 236.0);
/// Top and bottom of the canary's share.
const CANARY: (f64, f64) = (274.0, 372.0);
/// Rows for the texts of the marks; each text is in the first one where nothing is in its way.
const MARK_ROWS: [f64; 3] = [62.0, 80.0, 98.0];
/// Width of a character, about; only a renderer knows better.
const CHARACTER: f64 = 7.2;
/// Seconds between two lines of the grid.
const GRID_SECONDS: [u64; 7] = [1, 5, 10, 15, 30, 60, 300];
/// At most this many lines of the grid.
const GRID_LINES: u64 = 12;

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#334155}.event{paint-order:stroke;stroke:#fff;stroke-width:4px;stroke-linejoin:round}\
    .title{font-size:16px;font-weight:600;fill:#0f172a}\
    .small{font-size:11px;fill:#64748b}.grid{stroke:#e2e8f0}.mark{stroke:#94a3b8;stroke-dasharray:2 3}\
    .limit{stroke:#dc2626;stroke-dasharray:6 4}.rate{fill:none;stroke:#16a34a;stroke-width:2}\
    .bad{fill:none;stroke:#dc2626;stroke-width:2.5}.canary{fill:#fde68a;stroke:#d97706;stroke-width:1.5}";

/// Where the text of a mark goes, and its line.
struct Place {
    x: f64,
    y: f64,
    leftward: bool,
}

/// Renders the chart under a title.
pub(super) fn render(history: &History, title: &str) -> String {
    let mut document = Document { history, text: String::new() };
    let _ = document.write(title);
    document.text
}

struct Document<'a> {
    history: &'a History,
    text: String,
}

impl Document<'_> {
    /// Writing into a string does not fail; the result saves a `let _` per line.
    fn write(&mut self, title: &str) -> std::fmt::Result {
        let title = escape(title);
        writeln!(
            self.text,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             aria-label=\"{title}\">\n<style>{STYLE}</style>\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"8\" fill=\"#ffffff\" stroke=\"#e2e8f0\"/>\n\
             <text class=\"title\" x=\"{LEFT}\" y=\"34\">{title}</text>"
        )?;
        self.grid()?;
        self.canary()?;
        self.success()?;
        self.marks()?;
        self.text.push_str("</svg>\n");
        Ok(())
    }

    fn grid(&mut self) -> std::fmt::Result {
        let floor = self.history.floor();
        let (top, bottom) = (SUCCESS.0, CANARY.1);
        let span = self.history.span().as_secs();
        let step = GRID_SECONDS.into_iter().find(|step| span / step <= GRID_LINES).unwrap_or(600);
        for second in (0..=span).filter(|second| second % step == 0) {
            let x = self.x(Duration::from_secs(second));
            writeln!(
                self.text,
                "<line class=\"grid\" x1=\"{x:.1}\" y1=\"{top}\" x2=\"{x:.1}\" y2=\"{bottom}\"/>\
                 <text class=\"small\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{second} s</text>",
                bottom + 18.0
            )?;
        }
        let lines = [
            (SUCCESS.0, "100 %".to_owned()),
            (SUCCESS.1, format!("{:.0} %", floor * 100.0)),
            (CANARY.0, "100 %".to_owned()),
            (CANARY.1, "0 %".to_owned()),
        ];
        for (y, label) in lines {
            self.level("grid", y, &label)?;
        }
        let limit = self.history.limit;
        self.level(
            "limit",
            y_of(SUCCESS, (limit - floor) / (1.0 - floor)),
            &format!("{:.0} %", limit * 100.0),
        )?;
        self.name(SUCCESS.1 - 6.0, "requests that succeed")?;
        self.name(CANARY.0 + 14.0, "ready pods that run the new version")
    }

    fn name(&mut self, y: f64, name: &str) -> std::fmt::Result {
        writeln!(self.text, "<text class=\"small\" x=\"{}\" y=\"{y}\">{name}</text>", LEFT + 6.0)
    }

    fn level(&mut self, class: &str, y: f64, label: &str) -> std::fmt::Result {
        writeln!(
            self.text,
            "<line class=\"{class}\" x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{RIGHT}\" y2=\"{y:.1}\"/>\
             <text class=\"small\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            LEFT - 8.0,
            y + 4.0
        )
    }

    /// A step line filled to the bottom: a share holds until the next sample.
    fn canary(&mut self) -> std::fmt::Result {
        let mut path = format!("M{LEFT:.1},{:.1}", CANARY.1);
        let mut before = 0.0;
        for sample in &self.history.samples {
            let x = self.x(sample.at);
            if (sample.canary - before).abs() > f64::EPSILON {
                write!(path, "H{x:.1}V{:.1}", y_of(CANARY, sample.canary))?;
                before = sample.canary;
            }
        }
        let end = self.x(self.history.span());
        writeln!(self.text, "<path class=\"canary\" d=\"{path}H{end:.1}V{:.1}Z\"/>", CANARY.1)
    }

    /// The rate as a line; the parts under the limit again, in the colour of the limit.
    fn success(&mut self) -> std::fmt::Result {
        let whole = self.points(|_| true);
        for points in whole {
            writeln!(self.text, "<polyline class=\"rate\" points=\"{points}\"/>")?;
        }
        for points in self.points(|sample| self.history.is_bad(sample.success)) {
            writeln!(self.text, "<polyline class=\"bad\" points=\"{points}\"/>")?;
        }
        Ok(())
    }

    /// The coordinates of every unbroken run of samples that have a rate and are `wanted`.
    fn points(&self, wanted: impl Fn(&Sample) -> bool) -> Vec<String> {
        let floor = self.history.floor();
        let mut runs = vec![String::new()];
        for sample in &self.history.samples {
            match (sample.success.filter(|_| wanted(sample)), runs.last_mut()) {
                (Some(rate), Some(run)) => {
                    let y = y_of(SUCCESS, (rate - floor) / (1.0 - floor));
                    // Writing into a string does not fail.
                    let _ = write!(run, "{:.1},{y:.1} ", self.x(sample.at));
                }
                (None, Some(run)) if !run.is_empty() => runs.push(String::new()),
                (_, _) => {}
            }
        }
        runs.retain(|run| !run.is_empty());
        runs
    }

    /// All lines first, so that none of them crosses a text.
    fn marks(&mut self) -> std::fmt::Result {
        let placed = self.placed();
        for place in &placed {
            let (x, top) = (place.x, place.y - 10.0);
            writeln!(
                self.text,
                "<line class=\"mark\" x1=\"{x:.1}\" y1=\"{top:.1}\" x2=\"{x:.1}\" y2=\"{}\"/>",
                CANARY.1
            )?;
        }
        for (place, mark) in placed.iter().zip(&self.history.marks) {
            let (anchor, shift) = if place.leftward { ("end", -5.0) } else { ("start", 5.0) };
            let colour = match mark.tone {
                Tone::Good => "#15803d",
                Tone::Bad => "#b91c1c",
                Tone::Plain | Tone::Warning | Tone::Active | Tone::Faint => "#334155",
            };
            writeln!(
                self.text,
                "<text class=\"event\" x=\"{:.1}\" y=\"{}\" text-anchor=\"{anchor}\" style=\"fill:{colour}\">{}</text>",
                place.x + shift,
                place.y,
                escape(&mark.text)
            )?;
        }
        Ok(())
    }

    /// Where the marks' texts go: beside their lines, to the left near the right edge, where nothing is in their way.
    fn placed(&self) -> Vec<Place> {
        let mut ends = MARK_ROWS.map(|y| (y, 0.0));
        let place = |mark: &Mark| {
            let x = self.x(mark.at);
            let width = CHARACTER * f64::from(u32::try_from(mark.text.chars().count()).unwrap_or(u32::MAX));
            let leftward = x + width > RIGHT;
            let start = if leftward { x - width } else { x };
            let free = ends.iter().position(|(_, end)| *end <= start);
            // Where every row is taken, the last one takes it all the same.
            let row = ends.get_mut(free.unwrap_or(MARK_ROWS.len() - 1));
            let y = row.map_or(0.0, |row| {
                row.1 = start + width + 8.0;
                row.0
            });
            Place { x, y, leftward }
        };
        self.history.marks.iter().map(place).collect()
    }

    fn x(&self, at: Duration) -> f64 {
        LEFT + (RIGHT - LEFT) * at.as_secs_f64() / self.history.span().as_secs_f64()
    }
}

/// The height of a share in a band; the top is 1.
fn y_of((top, bottom): (f64, f64), share: f64) -> f64 {
    bottom - (bottom - top) * share.clamp(0.0, 1.0)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_marks_do_not_cover_each_other() {
        let mark =
            |at, text: &str| Mark { at: Duration::from_secs(at), text: text.into(), tone: Tone::Plain };
        let marks =
            vec![mark(10, "begins"), mark(11, "fails"), mark(50, "is back"), mark(100, "is promoted")];
        let history = History { marks, ..History::default() };
        let placed = Document { history: &history, text: String::new() }.placed();
        let rows: Vec<f64> = placed.iter().map(|place| place.y).collect();
        assert_eq!(rows, [MARK_ROWS[0], MARK_ROWS[1], MARK_ROWS[0], MARK_ROWS[0]]);
        assert_eq!(placed.iter().filter(|place| place.leftward).count(), 1);
    }

    #[test]
    fn the_picture_marks_what_is_under_the_limit_and_escapes_text() {
        let sample = |at, rate| Sample { at: Duration::from_secs(at), success: Some(rate), canary: 0.3 };
        let history = History {
            samples: vec![sample(0, 1.0), sample(5, 0.85), sample(6, 0.86), sample(10, 1.0)],
            marks: vec![Mark {
                at: Duration::from_secs(5),
                text: "rate < 0.95 & falling".into(),
                tone: Tone::Bad,
            }],
            limit: 0.95,
        };
        let svg = history.svg("A bad version");
        assert_eq!(svg.matches("class=\"rate\"").count(), 1);
        assert_eq!(svg.matches("<polyline class=\"bad\"").count(), 1);
        assert!(svg.contains("rate &lt; 0.95 &amp; falling") && !svg.contains("NaN"), "{svg}");
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    }
}
