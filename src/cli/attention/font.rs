//! A font of five by nine pixels, for labelling pictures without a font file.
//!
//! `font.txt` shows the glyphs as they look. It consists of blocks of ten lines. The first line of a block lists the
//! characters; the others show them side by side, seven lines above the base line and two below.

use std::sync::LazyLock;

const FONT: &str = include_str!("font.txt");

/// Pixels of a glyph from left to right.
pub const WIDTH: u32 = 5;
/// Pixels of a glyph from top to bottom.
pub const HEIGHT: u32 = 9;
/// Pixels from one glyph's left edge to the next one's.
pub const ADVANCE: u32 = WIDTH + 1;

/// One bit per pixel in each row; the leftmost pixel is the highest bit.
type Glyph = [u8; HEIGHT as usize];

/// The glyph of a character that the font lacks: a box.
const UNKNOWN: Glyph = [
    0b11111, 0b10001, 0b10001, 0b10001, 0b10001, 0b10001, 0b11111, 0, 0,
];

static GLYPHS: LazyLock<Vec<(char, Glyph)>> = LazyLock::new(|| {
    let lines: Vec<&str> = FONT.lines().collect();
    let blocks = lines.chunks(HEIGHT as usize + 2);
    blocks.flat_map(glyphs).collect()
});

/// The characters of one block and their glyphs.
fn glyphs(block: &[&str]) -> Vec<(char, Glyph)> {
    let characters = block[0].chars().enumerate();
    let glyph = |at: usize| {
        let mut glyph = [0; HEIGHT as usize];
        for (row, line) in glyph.iter_mut().zip(&block[1..]) {
            let pixels = line
                .chars()
                .skip(at * ADVANCE as usize)
                .take(WIDTH as usize);
            *row = pixels.fold(0, |bits, pixel| bits << 1 | u8::from(pixel == '#'));
        }
        glyph
    };
    characters.map(|(at, c)| (c, glyph(at))).collect()
}

fn glyph(c: char) -> Glyph {
    // The font has no capitals.
    let c = c.to_ascii_lowercase();
    let found = GLYPHS.iter().find(|(known, _)| *known == c);
    found.map_or(UNKNOWN, |(_, glyph)| *glyph)
}

/// The pixels of `text`, as column and row from the text's upper left corner.
pub fn pixels(text: &str) -> impl Iterator<Item = (u32, u32)> {
    let placed = text.chars().filter(|c| !c.is_control()).zip(0u32..);
    placed.filter(|(c, _)| *c != ' ').flat_map(|(c, at)| {
        let glyph = glyph(c);
        let all = (0..HEIGHT).flat_map(|y| (0..WIDTH).map(move |x| (x, y)));
        all.filter(move |&(x, y)| glyph[y as usize] >> (WIDTH - 1 - x) & 1 == 1)
            .map(move |(x, y)| (at * ADVANCE + x, y))
    })
}

/// Width of `text` in pixels.
pub fn width(text: &str) -> u32 {
    let characters = text.chars().filter(|c| !c.is_control()).count() as u32;
    (characters * ADVANCE).saturating_sub(ADVANCE - WIDTH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_letter_digit_and_mark_of_a_caption_has_a_glyph_of_its_own() {
        let known = "abcdefghijklmnopqrstuvwxyz0123456789.,;:'\"-_!?()/&%<>+=#$*";
        assert_eq!(GLYPHS.len(), known.len());
        for c in known.chars() {
            let alike = GLYPHS.iter().filter(|(_, g)| *g == glyph(c)).count();
            assert_eq!(alike, 1, "{c}");
            assert_ne!(glyph(c), UNKNOWN, "{c}");
        }
        assert_eq!(glyph('A'), glyph('a'));
        assert_eq!(glyph('é'), UNKNOWN);
    }

    #[test]
    fn the_file_has_the_form_that_it_says() {
        let lines: Vec<&str> = FONT.lines().collect();
        for block in lines.chunks(HEIGHT as usize + 2) {
            let count = block[0].chars().count();
            for line in &block[1..=HEIGHT as usize] {
                assert_eq!(line.len(), count * ADVANCE as usize - 1, "{line}");
                assert!(line.chars().all(|c| ".# ".contains(c)), "{line}");
            }
        }
    }

    #[test]
    fn text_is_drawn_where_its_width_says() {
        assert_eq!(width(""), 0);
        assert_eq!(width("a"), 5);
        assert_eq!(width("to be\n"), 29);
        assert_eq!(pixels(" ").count(), 0);
        let right = pixels("a dog").map(|(x, _)| x).max();
        assert_eq!(right, Some(width("a dog") - 1));
        assert!(pixels("gypsy").all(|(_, y)| y < HEIGHT));
    }
}
