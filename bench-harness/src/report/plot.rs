//! Plots as inline SVG: latency by percentile, lines over time, bars of shares, intervals of ratios. No script, no outside resource.

use std::fmt::Write;

use super::number;
use super::page::escape;
use crate::latency::{Latency, SAMPLES_BEYOND};
use crate::objective::show_time;
use crate::stats::Ratio;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 44.0;
/// Most points of a line; more would not be seen.
const POINTS_MAX: usize = 600;

/// A line of a plot.
pub(super) struct Line {
    pub(super) label: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// An axis: where a value goes, and which values are labelled.
struct Axis {
    low: f64,
    high: f64,
    log: bool,
}

impl Axis {
    fn of(values: impl Iterator<Item = f64>, log: bool, from_zero: bool) -> Axis {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|v| v.is_finite() && (!log || *v > 0.0)) {
            (low, high) = (low.min(value), high.max(value));
        }
        if !low.is_finite() {
            (low, high) = (1.0, 10.0);
        }
        if log {
            (low, high) = (10f64.powf(low.log10().floor()), 10f64.powf(high.log10().ceil()));
            if low >= high {
                high = low * 10.0;
            }
        } else {
            if from_zero {
                low = low.min(0.0);
            }
            if high <= low {
                high = low + 1.0;
            }
        }
        Axis { low, high, log }
    }

    /// 0 to 1.
    fn place(&self, value: f64) -> f64 {
        let share = if self.log {
            (value / self.low).log10() / (self.high / self.low).log10()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        share.clamp(0.0, 1.0)
    }

    fn ticks(&self) -> Vec<f64> {
        if self.log {
            let decades = (self.high / self.low).log10().round() as i32;
            return (0..=decades).map(|i| self.low * 10f64.powi(i)).collect();
        }
        let rough = (self.high - self.low) / 5.0;
        let unit = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].iter().map(|m| m * unit).find(|step| *step >= rough).unwrap_or(rough);
        let first = (self.low / step).ceil() as i64;
        (0..12).map(|i| (first + i) as f64 * step).take_while(|tick| *tick <= self.high * (1.0 + 1e-9)).collect()
    }
}

fn x_at(share: f64) -> f64 {
    LEFT + share * (WIDTH - LEFT - RIGHT)
}

fn y_at(share: f64) -> f64 {
    HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
}

/// The frame of a plot; what is drawn into it comes from the callers.
struct Canvas {
    out: String,
}

impl Canvas {
    fn new(title: &str) -> Canvas {
        let title = escape(title);
        Canvas { out: format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\"><title>{title}</title>") }
    }

    /// What the axes are, above them.
    fn caption(&mut self, text: &str) {
        self.text(LEFT, TOP - 10.0, "start", text);
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        let _ = write!(self.out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", escape(text));
    }

    fn grid_y(&mut self, axis: &Axis, show: impl Fn(f64) -> String) {
        for tick in axis.ticks() {
            let y = y_at(axis.place(tick));
            let _ = write!(self.out, "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>", WIDTH - RIGHT);
            self.text(LEFT - 6.0, y + 4.0, "end", &show(tick));
        }
    }

    fn grid_x(&mut self, place: f64, label: &str) {
        let x = x_at(place);
        let _ = write!(self.out, "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/>", HEIGHT - BOTTOM);
        self.text(x, HEIGHT - BOTTOM + 16.0, "middle", label);
    }

    fn line(&mut self, class: usize, points: impl Iterator<Item = (f64, f64)>) {
        let mut path = String::new();
        for (x, y) in points {
            let _ = write!(path, "{:.1},{:.1} ", x_at(x), y_at(y));
        }
        let _ = write!(self.out, "<polyline class=\"line c{}\" points=\"{}\"/>", class % 6, path.trim_end());
    }

    fn legend(&mut self, labels: &[&str]) {
        let mut x = LEFT;
        for (i, label) in labels.iter().enumerate() {
            let y = HEIGHT - 10.0;
            let _ = write!(self.out, "<rect class=\"fill c{}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"12\" height=\"4\"/>", i % 6, y - 6.0);
            self.text(x + 18.0, y, "start", label);
            x += 34.0 + 7.0 * label.chars().count() as f64;
        }
    }

    fn end(mut self) -> String {
        self.out.push_str("</svg>");
        self.out
    }
}

/// Latency by percentile: both axes logarithmic, the percentile one towards 100 %. A line ends where the sample no longer carries it.
pub(super) fn percentiles(title: &str, series: &[(String, &Latency)]) -> String {
    let lines: Vec<Line> =
        series.iter().map(|(label, latency)| Line { label: label.clone(), points: percentile_points(latency) }).collect();
    let y = Axis::of(lines.iter().flat_map(|line| line.points.iter().map(|p| p.1)), true, false);
    let nines = lines.iter().flat_map(|line| line.points.iter().map(|p| p.0)).fold(1.0, f64::max);
    let mut canvas = Canvas::new(title);
    canvas.caption("time (logarithmic) by share of the records that took no longer");
    canvas.grid_y(&y, show_time);
    for (at, label) in [
        (0.0, "0 %"),
        (std::f64::consts::LOG10_2, "50 %"),
        (1.0, "90 %"),
        (2.0, "99 %"),
        (3.0, "99.9 %"),
        (4.0, "99.99 %"),
        (5.0, "99.999 %"),
        (6.0, "99.9999 %"),
    ] {
        if at <= nines + 1e-9 {
            canvas.grid_x(at / nines, label);
        }
    }
    for (i, line) in lines.iter().enumerate() {
        canvas.line(i, line.points.iter().map(|(x, ns)| (x / nines, y.place(*ns))));
    }
    canvas.legend(&lines.iter().map(|line| line.label.as_str()).collect::<Vec<_>>());
    canvas.end()
}

/// (number of nines, nanoseconds) up to the highest quantile that the sample carries.
fn percentile_points(latency: &Latency) -> Vec<(f64, f64)> {
    let count = latency.count() as f64;
    let highest = 1.0 - SAMPLES_BEYOND / count;
    let (mut seen, mut points) = (0.0, Vec::new());
    for (_, high, n) in latency.buckets() {
        let below: f64 = seen / count;
        if below > highest {
            break;
        }
        points.push((-(1.0 - below).log10(), high as f64));
        seen += n as f64;
    }
    thinned(points)
}

/// Evenly thinned; the last point stays.
fn thinned(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    if points.len() <= POINTS_MAX {
        return points;
    }
    let step = points.len() as f64 / POINTS_MAX as f64;
    let last = points.last().copied();
    (0..POINTS_MAX).map(|i| points[(i as f64 * step) as usize]).chain(last).collect()
}

/// Lines over time in seconds; `shaded` stretches are not part of what is measured.
pub(super) fn over_time(title: &str, lines: &[Line], shaded: &[(f64, f64)], log: bool, show: impl Fn(f64) -> String) -> String {
    // Plots of one run have one time axis, whatever their lines know of its ends.
    let ends = shaded.iter().flat_map(|(from, to)| [*from, *to]);
    let x = Axis::of(lines.iter().flat_map(|line| line.points.iter().map(|p| p.0)).chain(ends), false, true);
    let y = Axis::of(lines.iter().flat_map(|line| line.points.iter().map(|p| p.1)), log, true);
    let mut canvas = Canvas::new(title);
    canvas.caption(title);
    for (from, to) in shaded {
        let (from, to) = (x_at(x.place(*from)), x_at(x.place(*to)));
        let _ = write!(
            canvas.out,
            "<rect class=\"shade\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\"/>",
            to - from,
            HEIGHT - TOP - BOTTOM
        );
    }
    canvas.grid_y(&y, show);
    for tick in x.ticks() {
        canvas.grid_x(x.place(tick), &format!("{} s", number(tick)));
    }
    for (i, line) in lines.iter().enumerate() {
        canvas.line(i, thinned(line.points.clone()).into_iter().map(|(at, value)| (x.place(at), y.place(value))));
    }
    canvas.legend(&lines.iter().map(|line| line.label.as_str()).collect::<Vec<_>>());
    canvas.end()
}

/// Times in nanoseconds over records per second; a point for each load.
pub(super) fn by_load(title: &str, lines: &[Line]) -> String {
    let x = Axis::of(lines.iter().flat_map(|line| line.points.iter().map(|p| p.0)), false, true);
    let y = Axis::of(lines.iter().flat_map(|line| line.points.iter().map(|p| p.1)), true, false);
    let mut canvas = Canvas::new(title);
    canvas.caption(title);
    canvas.grid_y(&y, show_time);
    for tick in x.ticks() {
        canvas.grid_x(x.place(tick), &number(tick));
    }
    for (i, line) in lines.iter().enumerate() {
        canvas.line(i, line.points.iter().map(|(load, ns)| (x.place(*load), y.place(*ns))));
        for (load, ns) in &line.points {
            let (cx, cy) = (x_at(x.place(*load)), y_at(y.place(*ns)));
            let _ = write!(canvas.out, "<circle class=\"fill c{}\" cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"3\"/>", i % 6);
        }
    }
    canvas.legend(&lines.iter().map(|line| line.label.as_str()).collect::<Vec<_>>());
    canvas.end()
}

/// Rows of shares of a whole, each a label and (name, share).
pub(super) fn shares(title: &str, rows: &[(String, Vec<(String, f64)>)]) -> String {
    const ROW: f64 = 34.0;
    const LABEL: f64 = 270.0;
    let height = rows.len() as f64 * ROW + 40.0;
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in rows.iter().flat_map(|(_, parts)| parts) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let class = |name: &str| names.iter().position(|n| *n == name).unwrap_or(0) % 12;
    let title = escape(title);
    let mut canvas =
        Canvas { out: format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\"><title>{title}</title>") };
    for (i, (label, parts)) in rows.iter().enumerate() {
        let (y, mut x) = (i as f64 * ROW + 4.0, LABEL);
        canvas.text(LABEL - 8.0, y + 17.0, "end", label);
        for (name, share) in parts {
            let width = share * (WIDTH - LABEL - RIGHT);
            let _ = write!(
                canvas.out,
                "<rect class=\"fill s{}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"24\"><title>{} {:.1} %</title></rect>",
                class(name),
                escape(name),
                share * 100.0
            );
            if *share > 0.08 {
                let _ = write!(canvas.out, "<text class=\"on\" x=\"{:.1}\" y=\"{:.1}\">{:.0} %</text>", x + 5.0, y + 17.0, share * 100.0);
            }
            x += width;
        }
    }
    let mut x = 8.0;
    for name in &names {
        let y = height - 8.0;
        let _ = write!(canvas.out, "<rect class=\"fill s{}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"10\" height=\"10\"/>", class(name), y - 9.0);
        canvas.text(x + 14.0, y, "start", name);
        x += 26.0 + 7.0 * name.chars().count() as f64;
    }
    canvas.end()
}

/// Ratios with their intervals on a logarithmic axis; a line at 1.
pub(super) fn ratios(title: &str, rows: &[(String, Ratio, bool)]) -> String {
    const ROW: f64 = 24.0;
    const LABEL: f64 = 250.0;
    let height = rows.len() as f64 * ROW + 44.0;
    let finite = rows.iter().flat_map(|(_, r, _)| [r.low, r.point, r.high]).filter(|v| v.is_finite() && *v > 0.0);
    let reach = finite.map(|v| v.ln().abs()).fold(0.2, f64::max).min(6.0) * 1.05;
    let place = |value: f64| LABEL + (value.ln().clamp(-reach, reach) / reach + 1.0) / 2.0 * (WIDTH - LABEL - RIGHT);
    let title = escape(title);
    let mut canvas =
        Canvas { out: format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\"><title>{title}</title>") };
    for tick in [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.8, 1.0, 1.25, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0] {
        let crowded = (tick == 0.8 || tick == 1.25) && reach > 2.0;
        if crowded || f64::ln(tick).abs() > reach {
            continue;
        }
        let x = place(tick);
        let class = if tick == 1.0 { "one" } else { "grid" };
        let _ = write!(canvas.out, "<line class=\"{class}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"4\" y2=\"{:.1}\"/>", height - 34.0);
        canvas.text(x, height - 20.0, "middle", &format!("{tick}"));
    }
    for (i, (label, ratio, called)) in rows.iter().enumerate() {
        let y = i as f64 * ROW + 18.0;
        canvas.text(LABEL - 10.0, y + 4.0, "end", label);
        let class = if *called { "c0" } else { "c5" };
        let (low, high) = (place(ratio.low.max(1e-9)), place(if ratio.high.is_finite() { ratio.high } else { 1e9 }));
        let _ = write!(canvas.out, "<line class=\"line {class}\" x1=\"{low:.1}\" x2=\"{high:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>");
        let _ = write!(canvas.out, "<circle class=\"fill {class}\" cx=\"{:.1}\" cy=\"{y:.1}\" r=\"4\"/>", place(ratio.point));
    }
    canvas.text(LABEL, height - 4.0, "start", "B / A, 95 % interval; grey: no winner");
    canvas.end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::Recorder;

    #[test]
    fn a_percentile_line_ends_where_the_sample_ends() {
        let mut recorder = Recorder::default();
        (1..=10_000u64).for_each(|i| recorder.record(i * 1000, 1));
        let latency = recorder.take().expect("samples");
        let points = percentile_points(&latency);
        let (nines, ns) = *points.last().expect("points");
        assert!(nines > 2.8 && nines <= 3.0 + 1e-9, "{nines} nines from 10,000 samples");
        assert!((9.9e6..1.01e7).contains(&ns) && points.len() <= POINTS_MAX + 1);
        assert!(points.windows(2).all(|w| w[0].0 <= w[1].0 && w[0].1 <= w[1].1), "monotonic");
    }

    #[test]
    fn axes_hold_their_values_and_label_them() {
        let log = Axis::of([150.0, 42_000.0].into_iter(), true, false);
        assert_eq!((log.low, log.high.round(), log.ticks().len()), (100.0, 100_000.0, 4));
        let flat = Axis::of([5.0, 5.0].into_iter(), false, false);
        assert!(flat.high > flat.low && (0.0..=1.0).contains(&flat.place(5.0)));
        let empty = Axis::of(std::iter::empty(), true, false);
        assert!(empty.place(f64::NAN).is_nan() || empty.high > empty.low);
        let linear = Axis::of([0.0, 47.0].into_iter(), false, true);
        assert_eq!(linear.ticks(), [0.0, 10.0, 20.0, 30.0, 40.0]);
    }

    #[test]
    fn plots_of_nothing_are_still_plots() {
        for svg in [percentiles("x", &[]), over_time("x", &[], &[], true, number), shares("x", &[]), ratios("x", &[]), by_load("x", &[])] {
            assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>") && !svg.contains("NaN"), "{svg}");
        }
    }
}
