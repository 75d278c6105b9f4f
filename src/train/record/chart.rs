//! Curves as SVG: axes with numbers, a legend, and colours that are distinct with any colour vision.

use std::fmt::Write;

use super::html::{escaped, number};

/// A curve in a chart.
pub struct Line<'a> {
    /// Name in the legend.
    pub name: &'a str,
    /// Pairs of step and value.
    pub points: Vec<(f64, f64)>,
    /// Whether each point has a marker with a tooltip; for curves of few points.
    pub is_marked: bool,
    /// Whether the curve is drawn faintly, behind the others.
    pub is_faint: bool,
}

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 68.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 44.0;
/// Approximate number of ticks on an axis.
const TICKS: f64 = 5.0;

/// Range of an axis and the distance of its ticks.
struct Axis {
    low: f64,
    high: f64,
    step: f64,
}

impl Axis {
    fn of(values: impl Iterator<Item = f64>) -> Axis {
        let finite = values.filter(|v| v.is_finite());
        let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
            (low.min(v), high.max(v))
        });
        let (low, high) = match (low <= high, high - low > (high.abs() + low.abs()) * 1e-6) {
            (false, _) => (0.0, 1.0),
            (true, true) => (low, high),
            // All values are equal: leave some room around them.
            (true, false) if low == 0.0 => (0.0, 1.0),
            (true, false) => (low - low.abs() * 0.1, high + high.abs() * 0.1),
        };
        let rough = (high - low) / TICKS;
        let power = 10f64.powf(rough.log10().floor());
        let step = match rough / power {
            r if r <= 1.0 + 1e-9 => power,
            r if r <= 2.0 + 1e-9 => 2.0 * power,
            r if r <= 5.0 + 1e-9 => 5.0 * power,
            _ => 10.0 * power,
        };
        Axis {
            low: (low / step).floor() * step,
            high: (high / step).ceil() * step,
            step,
        }
    }

    fn share(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }

    fn ticks(&self) -> Vec<f64> {
        let count = ((self.high - self.low) / self.step).round() as i32;
        (0..=count.clamp(0, 20))
            .map(|i| self.low + f64::from(i) * self.step)
            .collect()
    }
}

/// Formats a number at an axis whose ticks are `step` apart.
fn label(value: f64, step: f64) -> String {
    let value = if value.abs() < step * 1e-6 {
        0.0
    } else {
        value
    };
    if value == 0.0 {
        return "0".into();
    }
    if step < 1e-3 {
        let power = (value.abs().log10() + 1e-9).floor();
        let mantissa = (value / 10f64.powf(power) * 100.0).round() / 100.0;
        return format!("{mantissa}e{power}");
    }
    if step >= 1000.0 {
        let thousands = (value / 100.0).round() / 10.0;
        return format!("{thousands}k");
    }
    let digits = (-step.log10().floor()).max(0.0) as usize;
    format!("{value:.digits$}")
}

/// Returns a figure with a title, a legend and the curves. `unit` is the unit of the values. Curves without points are
/// left out; a chart without curves is empty.
pub fn chart(title: &str, unit: &str, lines: &[Line]) -> String {
    let lines: Vec<(usize, &Line)> = lines
        .iter()
        .enumerate()
        .filter(|(_, line)| !line.points.is_empty())
        .collect();
    if lines.is_empty() {
        return String::new();
    }
    let points = || lines.iter().flat_map(|(_, line)| &line.points);
    // All charts of a run start at step 0.
    let across = Axis::of(points().map(|p| p.0).chain([0.0]));
    let up = Axis::of(points().map(|p| p.1));
    let x = |step: f64| LEFT + across.share(step) * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| HEIGHT - BOTTOM - up.share(value) * (HEIGHT - TOP - BOTTOM);

    let mut svg = format!(
        "<figure><figcaption>{} <small>{}</small></figcaption>\n<div class=\"legend\">",
        escaped(title),
        escaped(unit)
    );
    for (at, line) in &lines {
        let faint = if line.is_faint { " faint" } else { "" };
        let _ = write!(
            svg,
            "<span><svg width=\"26\" height=\"8\" aria-hidden=\"true\"><path class=\"c{at}{faint}\" d=\"M0 4H26\"/></svg>{}</span>",
            escaped(line.name)
        );
    }
    let _ = write!(
        svg,
        "</div>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n",
        escaped(title)
    );
    for value in up.ticks() {
        let at = y(value);
        let _ = write!(
            svg,
            "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            at + 4.0,
            label(value, up.step)
        );
    }
    let floor = HEIGHT - BOTTOM;
    // Ticks between whole steps are left out.
    for value in across
        .ticks()
        .into_iter()
        .filter(|v| (v - v.round()).abs() < 1e-6)
    {
        let at = x(value);
        let _ = write!(
            svg,
            "<path class=\"axis\" d=\"M{at:.1} {floor}v4\"/><text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"{}\">{}</text>",
            floor + 19.0,
            // The last number must not extend beyond the chart.
            if at > WIDTH - RIGHT - 1.0 {
                "end"
            } else {
                "middle"
            },
            label(value, across.step)
        );
    }
    let _ = writeln!(
        svg,
        "<path class=\"axis\" d=\"M{LEFT} {TOP}V{floor}H{:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">step</text>",
        WIDTH - RIGHT,
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 5.0
    );
    for (at, line) in lines
        .iter()
        .filter(|(_, l)| l.is_faint)
        .chain(lines.iter().filter(|(_, l)| !l.is_faint))
    {
        let faint = if line.is_faint { " faint" } else { "" };
        let _ = write!(svg, "<path class=\"c{at}{faint}\" d=\"");
        for (i, &(step, value)) in line.points.iter().enumerate() {
            let _ = write!(
                svg,
                "{}{:.1} {:.1}",
                if i == 0 { "M" } else { "L" },
                x(step),
                y(value)
            );
        }
        svg += "\"/>\n";
        if line.is_marked && line.points.len() <= 60 {
            for &(step, value) in &line.points {
                let _ = write!(
                    svg,
                    "<circle class=\"m{at}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.2\"><title>{} at step {step}: {}</title></circle>",
                    x(step),
                    y(value),
                    escaped(line.name),
                    number(value)
                );
            }
        }
    }
    svg + "</svg></figure>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_numbers() {
        for (low, high, expected) in [
            (0.0, 10.0, &["0", "2", "4", "6", "8", "10"][..]),
            (2.31, 3.9, &["2.0", "2.5", "3.0", "3.5", "4.0"]),
            (0.0, 1e-3, &["0", "2e-4", "4e-4", "6e-4", "8e-4", "1e-3"]),
            (0.0, 40_000.0, &["0", "10k", "20k", "30k", "40k"]),
        ] {
            let axis = Axis::of([low, high].into_iter());
            let labels: Vec<String> = axis.ticks().iter().map(|&t| label(t, axis.step)).collect();
            assert_eq!(labels, expected, "{low} to {high}");
            assert!(axis.low <= low && high <= axis.high);
        }
        for alike in [0.0, 3.0, -2.0, 1e-5] {
            let axis = Axis::of([alike, alike].into_iter());
            assert!((0.0..=1.0).contains(&axis.share(alike)) && axis.high > axis.low);
        }
    }

    #[test]
    fn curves_are_drawn_and_names_escaped() {
        let line = |name, points: &[(f64, f64)]| Line {
            name,
            points: points.to_vec(),
            is_marked: true,
            is_faint: false,
        };
        let svg = chart(
            "Loss",
            "nats a word",
            &[line("a<b", &[(1.0, 2.0), (3.0, 1.0)]), line("none", &[])],
        );
        assert!(svg.contains("a&lt;b") && !svg.contains("a<b") && !svg.contains("none"));
        assert_eq!(svg.matches("<circle").count(), 2);
        assert!(svg.contains("a&lt;b at step 3: 1"), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
        assert_eq!(chart("Loss", "", &[line("none", &[])]), "");
    }
}
