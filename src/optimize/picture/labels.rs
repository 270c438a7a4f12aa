//! Where names go, so that none covers another or a point.

use std::fmt::Write;

/// A rectangle; y grows downwards.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Box {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

impl Box {
    pub fn around(x: f64, y: f64, radius: f64) -> Box {
        Box { left: x - radius, top: y - radius, right: x + radius, bottom: y + radius }
    }

    pub fn overlaps(&self, other: &Box) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }

    fn holds(&self, other: &Box) -> bool {
        self.left <= other.left
            && other.right <= self.right
            && self.top <= other.top
            && other.bottom <= self.bottom
    }
}

/// Places that are taken, and lines that names should not lie on.
pub struct Labels {
    field: Box,
    taken: Vec<Box>,
    lines: Vec<Box>,
}

/// Of a letter at 13 px, on average; wide enough for the widest common fonts.
const LETTER: f64 = 8.1;
const ASCENT: f64 = 11.5;
const DESCENT: f64 = 4.0;
/// From a point to its name, on the first try.
const NEAR: f64 = 15.0;
/// Directions that are tried at each distance, the most readable first.
const DIRECTIONS: [(f64, f64); 8] =
    [(1.0, 0.0), (0.8, -0.8), (-1.0, 0.0), (-0.8, 0.8), (0.8, 0.8), (-0.8, -0.8), (0.0, -1.0), (0.0, 1.0)];
const DISTANCES: [f64; 7] = [1.0, 1.6, 2.4, 3.4, 4.6, 6.0, 8.0];

impl Labels {
    pub fn new(field: Box) -> Labels {
        Labels { field, taken: Vec::new(), lines: Vec::new() }
    }

    /// A line, level or upright: names go elsewhere if they can.
    pub fn avoid(&mut self, from: (f64, f64), to: (f64, f64)) {
        const WIDTH: f64 = 1.0;
        self.lines.push(Box {
            left: from.0.min(to.0) - WIDTH,
            right: from.0.max(to.0) + WIDTH,
            top: from.1.min(to.1) - WIDTH,
            bottom: from.1.max(to.1) + WIDTH,
        });
    }

    /// Nothing is written here.
    pub fn keep_free(&mut self, place: Box) {
        self.taken.push(place);
    }

    /// Writes a name near a point, with a thin line to it where it could not be beside it. Without any room it is
    /// left out: the point's title has it.
    pub fn write_beside(&mut self, svg: &mut String, class: &str, text: &str, x: f64, y: f64) {
        let all = DISTANCES.iter().flat_map(|distance| DIRECTIONS.map(|direction| (*distance, direction)));
        let clear = all.clone().take(4 * DIRECTIONS.len()).map(|place| (place, true));
        for ((distance, (right, down)), is_clear) in clear.chain(all.map(|place| (place, false))) {
            let anchor = (1.0 - right.signum() * f64::from(u8::from(right != 0.0))) / 2.0;
            let (at, base) = (x + right * NEAR * distance, y + down * NEAR * distance * 1.25 + 4.5);
            let Some(place) = self.take(text, at, base, anchor, is_clear) else { continue };
            if distance > 1.6 {
                let (to, end) = (x.clamp(place.left, place.right), y.clamp(place.top, place.bottom));
                let _ = writeln!(svg, "<path class=\"lead\" d=\"M{x:.1} {y:.1}L{to:.1} {end:.1}\"/>");
            }
            text_at(svg, class, text, at, base, anchor);
            return;
        }
    }

    /// Writes a text at the first of these places (x, base line, anchor from 0 for its left end to 1) that is free.
    pub fn write(&mut self, svg: &mut String, class: &str, text: &str, places: &[(f64, f64, f64)]) {
        for (x, base, anchor) in places {
            if self.take(text, *x, *base, *anchor, false).is_some() {
                text_at(svg, class, text, *x, *base, *anchor);
                return;
            }
        }
    }

    fn take(&mut self, text: &str, x: f64, base: f64, anchor: f64, is_clear: bool) -> Option<Box> {
        let width = LETTER * text.chars().count() as f64;
        let left = x - anchor * width;
        let place = Box { left, right: left + width, top: base - ASCENT, bottom: base + DESCENT };
        let lines = if is_clear { self.lines.as_slice() } else { &[] };
        let is_free =
            self.field.holds(&place) && !self.taken.iter().chain(lines).any(|taken| taken.overlaps(&place));
        is_free.then(|| {
            self.taken.push(place);
            place
        })
    }
}

fn text_at(svg: &mut String, class: &str, text: &str, x: f64, base: f64, anchor: f64) {
    let anchor = match anchor {
        anchor if anchor < 0.25 => "start",
        anchor if anchor < 0.75 => "middle",
        _ => "end",
    };
    let text = super::escaped(text);
    let _ = writeln!(
        svg,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{base:.1}\" text-anchor=\"{anchor}\">{text}</text>"
    );
}
