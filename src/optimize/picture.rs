//! A picture of the candidates: bytes against the growth of the perplexity, the front, the limits and the winner, as SVG.
//!
//! One file that needs nothing else: it follows the reader's light or dark scheme, says in words what it shows, and has
//! the figures of each point as its title. Labels are laid out here, since SVG can't: no two overlap while there is room.

mod labels;
mod scale;

use std::fmt::Write;

use super::limits::{Limits, megabytes, words};
use super::report::{Candidate, Quality, Report};
use labels::{Box, Labels};
use scale::Scale;

const WIDTH: f64 = 880.0;
const HEIGHT: f64 = 560.0;
/// The field in which points lie.
const FIELD: Box = Box { left: 74.0, top: 64.0, right: 850.0, bottom: 492.0 };
const RADIUS: f64 = 6.0;

/// Colours stand in each rule, and once more for the dark scheme: not every viewer knows variables.
const STYLE: &str = "
    text { font: 13px system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif; fill: #1c2733; }
    .paper { fill: #ffffff; } .quiet { fill: #66717d; } .head { font-size: 17px; font-weight: 600; }
    .grid { stroke: #e6e9ed; } .axis { fill: none; stroke: #66717d; }
    .front { fill: none; stroke: #0b66c3; stroke-width: 2; stroke-opacity: .5; }
    .bar { stroke: #8b97a4; stroke-width: 1.5; } .lead { stroke: #8b97a4; stroke-width: .75; }
    .dot { fill: #ffffff; stroke: #8b97a4; stroke-width: 2; } .ring { fill: none; stroke: #0a7d43; stroke-width: 2; }
    .on { fill: #0b66c3; stroke: #ffffff; stroke-width: 1.5; } .win { fill: #0a7d43; stroke: #ffffff; stroke-width: 1.5; }
    .name { paint-order: stroke; stroke: #ffffff; stroke-opacity: .8; stroke-width: 3px; }
    .winner { fill: #0a7d43; font-weight: 600; }
    .limit { stroke: #c8442c; stroke-width: 1.5; stroke-dasharray: 6 4; }
    .out { fill: #c8442c; fill-opacity: .06; } .limit-name { fill: #c8442c; }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6ebf0; } .paper { fill: #12181f; } .quiet { fill: #9aa6b2; }
      .grid { stroke: #27313c; } .axis { stroke: #9aa6b2; } .front { stroke: #5aa9f5; }
      .bar, .lead { stroke: #78848f; } .dot { fill: #12181f; stroke: #78848f; } .ring { stroke: #4cc38a; }
      .on { fill: #5aa9f5; stroke: #12181f; } .win { fill: #4cc38a; stroke: #12181f; } .winner { fill: #4cc38a; }
      .name { stroke: #12181f; }
      .limit { stroke: #f0806a; } .out { fill: #f0806a; fill-opacity: .08; } .limit-name { fill: #f0806a; }
    }";

/// A candidate that has a place in the picture.
struct Point<'a> {
    candidate: &'a Candidate,
    quality: &'a Quality,
    x: f64,
    y: f64,
    is_chosen: bool,
}

/// The picture of a report, with the limits that were set.
pub fn picture(report: &Report, limits: &Limits) -> String {
    let shown: Vec<(&Candidate, &Quality)> = report
        .candidates
        .iter()
        .filter_map(|candidate| Some((candidate, candidate.quality.as_ref()?)))
        .filter(|(_, quality)| quality.increase_percent.value.is_finite())
        .collect();
    let size_limit = size_limit(report, limits);
    let sizes = shown.iter().map(|(candidate, _)| candidate.bytes as f64 / 1e6).chain(size_limit);
    let across = Scale::linear(sizes, FIELD.left, FIELD.right);
    let growths = shown.iter().map(|(_, quality)| quality.increase_percent.value);
    let up = Scale::curved(growths.chain(limits.max_ppl_delta).chain([0.0]), FIELD.bottom, FIELD.top);
    let points: Vec<Point> = shown
        .into_iter()
        .map(|(candidate, quality)| Point {
            candidate,
            quality,
            x: across.place(candidate.bytes as f64 / 1e6),
            y: up.place(quality.increase_percent.value),
            is_chosen: report.chosen.as_deref() == Some(candidate.name.as_str()),
        })
        .collect();
    let mut svg = String::new();
    open(&mut svg, report, &points);
    axes(&mut svg, &across, &up);
    let limits = Lines {
        x: size_limit.map(|limit| across.place(limit)),
        y: limits.max_ppl_delta.map(|limit| (up.place(limit), limit)),
    };
    limits.draw(&mut svg);
    let corners = stairs(&points);
    front(&mut svg, &corners);
    dots(&mut svg, &points, &up);
    names(&mut svg, &points, &limits, &corners);
    svg.push_str("</svg>\n");
    svg
}

/// The largest file that the limits allow, in megabytes.
fn size_limit(report: &Report, limits: &Limits) -> Option<f64> {
    let by_ratio = limits.min_compression.map(|times| report.source.bytes as f64 / times);
    let by_size = limits.max_size_bytes.map(|bytes| bytes as f64);
    by_ratio.into_iter().chain(by_size).reduce(f64::min).map(|bytes| bytes / 1e6)
}

fn open(svg: &mut String, report: &Report, points: &[Point]) {
    let name = escaped(&report.source.name);
    let mut said = format!("{} candidates. ", points.len());
    for point in points {
        let sign = if point.is_chosen {
            "chosen"
        } else if point.candidate.is_on_front {
            "on the front"
        } else {
            ""
        };
        let _ = write!(said, "{}; ", facts(point, sign));
    }
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-labelledby=\"t d\">\n\
         <title id=\"t\">Size and quality of the variants of {name}</title>\n<desc id=\"d\">{}</desc>\n\
         <style>{STYLE}\n</style>\n<rect class=\"paper\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n",
        escaped(said.trim_end_matches("; ")),
    );
    let _ = writeln!(svg, "<text class=\"head\" x=\"24\" y=\"32\">{}</text>", shortened(&name, 70));
    let chosen = match &report.chosen {
        Some(chosen) => format!("chosen: {}", escaped(chosen)),
        None => "no candidate passes".to_owned(),
    };
    let source = megabytes(report.source.bytes);
    let dtype = escaped(&report.source.dtype);
    let protocol = shortened(&escaped(&report.protocol), 50);
    let _ = writeln!(
        svg,
        "<text class=\"quiet\" x=\"24\" y=\"51\">{source} of {dtype} · {protocol} · {chosen}</text>"
    );
}

/// What is known of a point, in words.
fn facts(point: &Point, sign: &str) -> String {
    let size = megabytes(point.candidate.bytes);
    let growth = words(point.quality.increase_percent, " %");
    let sign = if sign.is_empty() { String::new() } else { format!(", {sign}") };
    format!("{}: {size}, perplexity {growth}{sign}", point.candidate.name)
}

fn axes(svg: &mut String, across: &Scale, up: &Scale) {
    let Box { left, top, right, bottom } = FIELD;
    for tick in across.ticks() {
        let x = across.place(tick);
        let _ = writeln!(svg, "<path class=\"grid\" d=\"M{x:.1} {top}V{bottom}\"/>");
        let _ = writeln!(
            svg,
            "<text class=\"quiet\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{tick}</text>",
            bottom + 20.0
        );
    }
    for tick in up.ticks() {
        let y = up.place(tick);
        let _ = writeln!(svg, "<path class=\"grid\" d=\"M{left} {y:.1}H{right}\"/>");
        let _ = writeln!(
            svg,
            "<text class=\"quiet\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{tick} %</text>",
            left - 9.0,
            y + 4.5
        );
    }
    let _ = writeln!(svg, "<path class=\"axis\" d=\"M{left} {top}V{bottom}H{right}\"/>");
    let middle = (left + right) / 2.0;
    let _ = writeln!(
        svg,
        "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">size in MB</text>",
        bottom + 46.0
    );
    let middle = (top + bottom) / 2.0;
    let _ = writeln!(
        svg,
        "<text transform=\"translate(20 {middle}) rotate(-90)\" text-anchor=\"middle\">growth of the perplexity</text>"
    );
}

/// Where limits lie.
struct Lines {
    x: Option<f64>,
    /// With its percentage.
    y: Option<(f64, f64)>,
}

impl Lines {
    fn draw(&self, svg: &mut String) {
        let Box { left, top, right, bottom } = FIELD;
        if let Some((y, _)) = self.y {
            let (width, height) = (right - left, y - top);
            let _ = writeln!(
                svg,
                "<rect class=\"out\" x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height:.1}\"/>"
            );
            let _ = writeln!(svg, "<path class=\"limit\" d=\"M{left} {y:.1}H{right}\"/>");
        }
        if let Some(x) = self.x {
            let (width, height) = (right - x, bottom - top);
            let _ = writeln!(
                svg,
                "<rect class=\"out\" x=\"{x:.1}\" y=\"{top}\" width=\"{width:.1}\" height=\"{height}\"/>"
            );
            let _ = writeln!(svg, "<path class=\"limit\" d=\"M{x:.1} {top}V{bottom}\"/>");
        }
    }

    fn avoid(&self, labels: &mut Labels) {
        if let Some((y, _)) = self.y {
            labels.avoid((FIELD.left, y), (FIELD.right, y));
        }
        if let Some(x) = self.x {
            labels.avoid((x, FIELD.top), (x, FIELD.bottom));
        }
    }

    /// Names of the limits, at the first places where nothing is in the way.
    fn names(&self, svg: &mut String, labels: &mut Labels) {
        let Box { left, top, right, .. } = FIELD;
        if let Some((y, percent)) = self.y {
            let text = format!("limit {percent} %");
            let places =
                [(right - 6.0, y - 7.0, 1.0), (left + 6.0, y - 7.0, 0.0), (right - 6.0, y + 16.0, 1.0)];
            labels.write(svg, "limit-name", &text, &places);
        }
        if let Some(x) = self.x {
            let places = [(x - 6.0, top + 16.0, 1.0), (x + 6.0, top + 16.0, 0.0), (x - 6.0, top + 34.0, 1.0)];
            labels.write(svg, "limit-name", "size limit", &places);
        }
    }
}

/// The front as stairs: everything above and right of them is beaten by a point on them. Its corners, from the left.
///
/// A front may be one in more things than the two that are shown: points that it owes to those lie off the stairs.
fn stairs(points: &[Point]) -> Vec<(f64, f64)> {
    let mut on: Vec<&Point> = points.iter().filter(|point| point.candidate.is_on_front).collect();
    on.sort_by(|one, other| one.x.total_cmp(&other.x).then(other.y.total_cmp(&one.y)));
    let mut corners: Vec<(f64, f64)> = Vec::new();
    for point in on {
        match corners.last() {
            Some((_, lowest)) if point.y <= *lowest => continue,
            Some((_, lowest)) => corners.push((point.x, *lowest)),
            None => {}
        }
        corners.push((point.x, point.y));
    }
    corners
}

fn front(svg: &mut String, corners: &[(f64, f64)]) {
    if corners.len() > 1 {
        let path: Vec<String> = corners.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
        let _ = writeln!(svg, "<path class=\"front\" d=\"M{}\"/>", path.join("L"));
    }
}

fn dots(svg: &mut String, points: &[Point], up: &Scale) {
    for point in points {
        let growth = point.quality.increase_percent;
        let edge = |value: f64| up.place(value).clamp(FIELD.top, FIELD.bottom);
        let (low, high) = (edge(growth.low), edge(growth.high));
        let (x, y) = (point.x, point.y);
        let _ = writeln!(svg, "<path class=\"bar\" d=\"M{x:.1} {low:.1}V{high:.1}\"/>");
        let sign = if point.is_chosen {
            "chosen"
        } else if point.candidate.is_on_front {
            "on the front"
        } else {
            ""
        };
        let class = if point.is_chosen {
            " win"
        } else if point.candidate.is_on_front {
            " on"
        } else {
            ""
        };
        if point.is_chosen {
            let _ =
                writeln!(svg, "<circle class=\"ring\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{}\"/>", RADIUS + 4.5);
        }
        let _ = writeln!(
            svg,
            "<circle class=\"dot{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{RADIUS}\"><title>{}</title></circle>",
            escaped(&facts(point, sign))
        );
    }
}

/// Names beside the points; the winner's finds its place first, then those on the front.
fn names(svg: &mut String, points: &[Point], lines: &Lines, corners: &[(f64, f64)]) {
    let mut labels = Labels::new(FIELD);
    for pair in corners.windows(2) {
        labels.avoid(pair[0], pair[1]);
    }
    lines.avoid(&mut labels);
    for point in points {
        let radius = if point.is_chosen { RADIUS + 6.0 } else { RADIUS + 2.0 };
        labels.keep_free(Box::around(point.x, point.y, radius));
    }
    let mut order: Vec<&Point> = points.iter().collect();
    order.sort_by_key(|point| (!point.is_chosen, !point.candidate.is_on_front));
    for point in order {
        let class = if point.is_chosen { "name winner" } else { "name" };
        labels.write_beside(svg, class, &shortened(&point.candidate.name, 28), point.x, point.y);
    }
    lines.names(svg, &mut labels);
}

/// Text that can't become markup, nor anything that XML has no sign for.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for sign in text.chars() {
        match sign {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            sign if sign.is_control() || matches!(sign, '\u{fffe}' | '\u{ffff}') => safe.push('\u{fffd}'),
            sign => safe.push(sign),
        }
    }
    safe
}

fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let short: String = text.chars().take(most - 1).collect();
    // Not in the middle of an escaped sign.
    let end = short.rfind('&').filter(|at| !short[*at..].contains(';')).unwrap_or(short.len());
    format!("{}…", &short[..end])
}

#[cfg(test)]
mod tests;
