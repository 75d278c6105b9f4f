//! Draws the photo, and for each word a copy of it that is bright where the model looked.

use super::font;
use crate::data::Image;
use crate::data::resize::{self, Region};
use crate::error::Result;

/// A word, and the attention weights with which the model chose it.
pub struct Word<'a> {
    pub text: &'a str,
    /// The weights of the map's positions, row by row.
    pub weights: &'a [f32],
}

/// Data that all panels of a picture share.
pub struct Photo<'a> {
    pub image: &'a Image,
    /// The part of the image that the encoder saw.
    pub seen: Region,
    /// Rows and columns of the encoder's map.
    pub grid: [usize; 2],
}

// Pixels between panels, and around all of them.
const GAP: u32 = 12;
// The longer side of a panel in pixels, and the scale of its letters, for at most `FEW` words and for more.
const LARGE: (u32, u32) = (256, 2);
const SMALL: (u32, u32) = (128, 1);
const FEW: usize = 40;

// Brightness of a position without any weight, and of the part that the encoder did not see.
const DARK: f32 = 0.3;
const UNSEEN: f32 = 0.15;

const WHITE: [u8; 3] = [255; 3];
const BLACK: [u8; 3] = [17; 3];
const FRAME: [u8; 3] = [255, 196, 0];

/// Draws the photo with a frame around the part that the encoder saw, then a panel for each word, and `caption`
/// above.
///
/// In a panel the photo is darkened where the weight is low, in proportion to the word's highest weight. Between the
/// map's positions the weights are blended smoothly by cubic B-splines, with knots at the positions.
///
/// # Errors
/// None for images that [`Image`] allows.
pub fn draw(photo: &Photo, caption: &str, words: &[Word]) -> Result<Image> {
    let (side, letter) = if words.len() <= FEW { LARGE } else { SMALL };
    let (width, height) = (photo.image.width(), photo.image.height());
    let scale = f64::from(side) / f64::from(width.max(height));
    let scaled = |length: u32| (f64::from(length) * scale).round().max(1.0) as u32;
    let panel = resize::bilinear(photo.image, scaled(width), scaled(height))?;
    let seen = photo.seen.scaled(photo.image, &panel);

    // One panel is for the photo itself. The page is a little wider than high.
    let count = words.len() as u32 + 1;
    let columns = (f64::from(count) * 1.4).sqrt().ceil().min(f64::from(count)) as u32;
    let label = (font::HEIGHT + 4) * letter;
    // The panels of a narrow photo still have room for words.
    let cell = (
        panel.width().max(side / 2) + GAP,
        panel.height() + label + GAP,
    );
    let page_width = columns * cell.0 + GAP;
    let lines = wrapped(caption, (page_width - 2 * GAP) / (font::ADVANCE * LARGE.1));
    let line = (font::HEIGHT + 3) * LARGE.1;
    let first = GAP + line * lines.len() as u32;
    let mut page = Page::new(page_width, first + count.div_ceil(columns) * cell.1 + GAP);

    for (at, text) in lines.iter().enumerate() {
        page.write(text, [GAP, GAP + line * at as u32], LARGE.1);
    }
    let corner = |at: u32| [GAP + at % columns * cell.0, first + at / columns * cell.1];
    page.paste(&panel, corner(0), |_, _| 1.0);
    page.frame(corner(0), &panel, seen);
    for (word, at) in words.iter().zip(1..) {
        let light = Light::new(word.weights, photo.grid, seen, &panel);
        page.paste(&panel, corner(at), |x, y| light.at(x, y));
        let [left, top] = corner(at);
        let room = (cell.0 - GAP) / (font::ADVANCE * letter);
        let text = shortened(word.text, room as usize);
        // The word is centred under the panel if it is not wider.
        let indent = panel.width().saturating_sub(font::width(&text) * letter) / 2;
        let place = [left + indent, top + panel.height() + 2 * letter];
        page.write(&text, place, letter);
    }
    Image::from_rgb(page.width, page.height, page.pixels)
}

/// Brightness of each pixel of a panel, from 0 to 1.
struct Light {
    width: u32,
    values: Vec<f32>,
}

impl Light {
    fn new(weights: &[f32], grid: [usize; 2], seen: Region, panel: &Image) -> Self {
        let [rows, columns] = grid;
        let across = blends(panel.width(), seen.left, seen.width, columns);
        let down = blends(panel.height(), seen.top, seen.height, rows);
        let weight = |row: usize, column: usize| weights.get(row * columns + column).copied();
        let blended = |vertical: &Blend, horizontal: &Blend| -> f32 {
            let mut sum = 0.0;
            for &(row, y) in vertical {
                for &(column, x) in horizontal {
                    sum += y * x * weight(row, column).unwrap_or(0.0);
                }
            }
            sum
        };
        let mut values = Vec::new();
        for vertical in &down {
            for horizontal in &across {
                let both = vertical.as_ref().zip(horizontal.as_ref());
                values.push(both.map_or(-1.0, |(v, h)| blended(v, h)));
            }
        }
        let most = values.iter().copied().fold(0.0, f32::max).max(1e-12);
        for value in &mut values {
            *value = match *value < 0.0 {
                true => UNSEEN,
                false => DARK + (1.0 - DARK) * *value / most,
            };
        }
        Light {
            width: panel.width(),
            values,
        }
    }

    fn at(&self, x: u32, y: u32) -> f32 {
        self.values[(y * self.width + x) as usize]
    }
}

/// Positions along one side of the map, with their blending weights at a pixel.
type Blend = [(usize, f32); 4];

/// The blending weights at each of `pixels` pixels, for a map of `places` positions that lie between `start` and
/// `start + length`; `None` for a pixel outside.
fn blends(pixels: u32, start: f64, length: f64, places: usize) -> Vec<Option<Blend>> {
    let blend = |pixel: u32| {
        let at = (f64::from(pixel) + 0.5 - start) / length;
        (0.0..1.0).contains(&at).then(|| {
            // Position `p` has its centre at `p`.
            let at = at * places as f64 - 0.5;
            let below = at.floor();
            let t = (at - below) as f32;
            // The cubic B-spline: four weights that add up to 1.
            let weights = [
                (1.0 - t).powi(3) / 6.0,
                (3.0 * t.powi(3) - 6.0 * t.powi(2) + 4.0) / 6.0,
                (-3.0 * t.powi(3) + 3.0 * t.powi(2) + 3.0 * t + 1.0) / 6.0,
                t.powi(3) / 6.0,
            ];
            let last = places.saturating_sub(1) as f64;
            // Beyond its edge the map continues with the values at the edge.
            let place = |i: usize| (below + i as f64 - 1.0).clamp(0.0, last) as usize;
            [0, 1, 2, 3].map(|i| (place(i), weights[i]))
        })
    };
    (0..pixels).map(blend).collect()
}

/// A white page.
struct Page {
    width: u32,
    height: u32,
    pixels: Vec<u8>,
}

impl Page {
    fn new(width: u32, height: u32) -> Self {
        let pixels = WHITE.repeat(width as usize * height as usize);
        Page {
            width,
            height,
            pixels,
        }
    }

    fn set(&mut self, x: u32, y: u32, colour: [u8; 3]) {
        if x < self.width && y < self.height {
            let at = (y as usize * self.width as usize + x as usize) * 3;
            self.pixels[at..at + 3].copy_from_slice(&colour);
        }
    }

    /// Copies `panel` to this position, each pixel multiplied by its brightness `light`.
    fn paste(&mut self, panel: &Image, [left, top]: [u32; 2], light: impl Fn(u32, u32) -> f32) {
        for (y, row) in (0..).zip(panel.rows()) {
            for (x, pixel) in (0..).zip(row.chunks_exact(3)) {
                let light = light(x, y);
                let shade = |at: usize| (f32::from(pixel[at]) * light).round() as u8;
                self.set(left + x, top + y, [0, 1, 2].map(shade));
            }
        }
    }

    /// Draws a thin frame around `seen`, unless that is the whole panel.
    fn frame(&mut self, [left, top]: [u32; 2], panel: &Image, seen: Region) {
        let edges = |start: f64, length: f64, side: u32| {
            let first = start.round().max(0.0) as u32;
            let last = (start + length).round() as u32;
            (first.min(side - 1), last.clamp(1, side) - 1)
        };
        let (x0, x1) = edges(seen.left, seen.width, panel.width());
        let (y0, y1) = edges(seen.top, seen.height, panel.height());
        if (x0, y0, x1 + 1, y1 + 1) == (0, 0, panel.width(), panel.height()) {
            return;
        }
        for x in x0..=x1 {
            self.set(left + x, top + y0, FRAME);
            self.set(left + x, top + y1, FRAME);
        }
        for y in y0..=y1 {
            self.set(left + x0, top + y, FRAME);
            self.set(left + x1, top + y, FRAME);
        }
    }

    /// Writes `text`; each pixel of its glyphs becomes a square of `size` pixels.
    fn write(&mut self, text: &str, [left, top]: [u32; 2], size: u32) {
        for (x, y) in font::pixels(text) {
            for (dx, dy) in (0..size).flat_map(|dy| (0..size).map(move |dx| (dx, dy))) {
                self.set(left + x * size + dx, top + y * size + dy, BLACK);
            }
        }
    }
}

/// Breaks `text` into lines of at most `room` characters, between words where possible.
fn wrapped(text: &str, room: u32) -> Vec<String> {
    let room = room.max(1) as usize;
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let word = shortened(word, room);
        let last = lines.len() - 1;
        let line = &mut lines[last];
        if line.is_empty() {
            *line = word;
        } else if line.chars().count() + 1 + word.chars().count() <= room {
            *line = format!("{line} {word}");
        } else {
            lines.push(word);
        }
    }
    lines
}

/// `text`, or as much of it as `room` characters show, followed by dots.
fn shortened(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_string();
    }
    let kept: String = text.chars().take(room.saturating_sub(2)).collect();
    format!("{kept}..").chars().take(room).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(width: u32, height: u32) -> Image {
        Image::from_rgb(width, height, vec![200; (width * height * 3) as usize]).unwrap()
    }

    fn whole(image: &Image) -> Region {
        Region {
            left: 0.0,
            top: 0.0,
            width: f64::from(image.width()),
            height: f64::from(image.height()),
        }
    }

    #[test]
    fn it_is_bright_where_the_weight_is_and_dark_elsewhere() {
        let panel = grey(70, 70);
        for place in 0..49usize {
            let mut weights = vec![0.0; 49];
            weights[place] = 1.0;
            let light = Light::new(&weights, [7, 7], whole(&panel), &panel);
            let centre = |place: usize| {
                let [row, column] = [place / 7, place % 7].map(|i| i as u32 * 10 + 5);
                light.at(column, row)
            };
            // Beyond its edge the map continues with the values at the edge, so a position in a corner is brightest
            // in the corner itself.
            assert!(centre(place) > 0.75, "{place}");
            for other in 0..49usize {
                let rows = (other / 7).abs_diff(place / 7);
                let columns = (other % 7).abs_diff(place % 7);
                if rows.max(columns) > 1 {
                    assert!(centre(other) < DARK + 0.01, "{other} for {place}");
                }
            }
        }
    }

    #[test]
    fn equal_weights_are_equally_bright_and_blends_add_up_to_one() {
        let panel = grey(33, 20);
        let light = Light::new(&[0.25; 4], [2, 2], whole(&panel), &panel);
        assert!(light.values.iter().all(|v| (v - 1.0).abs() < 1e-5));
        for blend in blends(40, 4.5, 30.0, 7).iter().flatten() {
            assert!((blend.iter().map(|b| b.1).sum::<f32>() - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn what_the_encoder_never_saw_is_darkest() {
        let panel = grey(40, 20);
        let seen = Region {
            left: 10.0,
            top: 0.0,
            width: 20.0,
            height: 20.0,
        };
        let light = Light::new(&[0.25; 4], [2, 2], seen, &panel);
        assert_eq!(light.at(9, 10), UNSEEN);
        assert!(light.at(10, 10) > 0.99 && light.at(29, 10) > 0.99);
        assert_eq!(light.at(30, 10), UNSEEN);
    }

    #[test]
    fn photos_and_captions_of_any_size_are_drawn() {
        for (width, height) in [(1, 1), (3, 500), (500, 3), (640, 480)] {
            let image = grey(width, height);
            for count in [1, 7, 60] {
                let weights = vec![0.25; 4];
                let words: Vec<Word> = (0..count)
                    .map(|_| Word {
                        text: "incomprehensibilities-and-more",
                        weights: &weights,
                    })
                    .collect();
                let photo = Photo {
                    image: &image,
                    seen: whole(&image),
                    grid: [2, 2],
                };
                let page = draw(&photo, &"a dog ".repeat(40), &words).unwrap();
                assert!(page.width() > 100 && page.height() > 30);
                assert_eq!(page.pixels()[..3], WHITE);
            }
        }
    }

    #[test]
    fn lines_are_broken_between_words() {
        assert_eq!(wrapped("a dog runs", 5), ["a dog", "runs"]);
        assert_eq!(wrapped("", 5), [""]);
        assert_eq!(wrapped("running dog", 5), ["run..", "dog"]);
        assert_eq!(shortened("dog", 1), ".");
    }
}
