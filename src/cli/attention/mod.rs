//! `glimpse caption PATH --attention OUT.png`: draws where the model looked for each word.

mod draw;
mod font;

use std::io::Cursor;
use std::path::Path;

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

use self::draw::{Photo, Word};
use crate::caption::Caption;
use crate::data::store::write_atomically;
use crate::data::vocabulary::END;
use crate::data::{Image, Vocabulary};
use crate::error::{Error, Result};
use crate::model::Captioner;

/// The reason why a picture at `out` is refused, if there is one. `single` tells whether one image was named.
pub fn objection(out: &Path, single: bool) -> Option<&'static str> {
    let png = out
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("png"));
    match (single, png) {
        (false, _) => Some("--attention draws one image; name a single image, and no folder"),
        (_, false) => Some("--attention writes a PNG; give a name that ends in .png"),
        _ => None,
    }
}

/// Rows and columns of the map that the model attends over.
///
/// # Errors
/// If its decoder has no attention.
pub fn grid(captioner: &Captioner) -> Result<[usize; 2]> {
    captioner.attention_grid().ok_or_else(|| {
        let kind = captioner.decoder.config().kind.name();
        Error::usage(format_args!(
            "--attention: the model's decoder is of the kind {kind}, which does not look at places of the image; \
             take a model whose decoder is of the kind attention"
        ))
    })
}

/// Draws where the model looked in `image` for each word of `caption`, and writes the picture to `out` atomically.
///
/// # Errors
/// If the decoder has no attention, or the file cannot be written.
pub fn write(out: &Path, captioner: &Captioner, image: &Image, caption: &Caption) -> Result<()> {
    let photo = Photo {
        image,
        seen: captioner.recipe.region(image),
        grid: grid(captioner)?,
    };
    let words = words(caption, &captioner.vocabulary);
    let page = draw::draw(&photo, &caption.text, &words)?;
    let mut png = Cursor::new(Vec::new());
    PngEncoder::new(&mut png)
        .write_image(
            page.pixels(),
            page.width(),
            page.height(),
            ExtendedColorType::Rgb8,
        )
        .map_err(|_| {
            Error::file(
                out,
                "cannot be drawn: the picture is too large for a PNG; take a smaller one",
            )
        })?;
    write_atomically(out, png.get_ref())
}

/// The words of a caption that have attention weights; the end mark is excluded.
fn words<'a>(caption: &'a Caption, vocabulary: &Vocabulary) -> Vec<Word<'a>> {
    let end = vocabulary.word(END);
    let tokens = caption.tokens.iter();
    tokens
        .filter(|token| Some(token.text.as_str()) != end)
        .filter_map(|token| {
            Some(Word {
                text: &token.text,
                weights: token.attention.as_deref()?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_image_and_only_a_png() {
        let out = |name| Path::new(name);
        assert!(objection(out("a.png"), true).is_none());
        assert!(objection(out("a.PNG"), true).is_none());
        assert!(objection(out("a.png"), false).is_some());
        for name in ["a.jpg", "png", "a", ".png"] {
            assert!(objection(out(name), true).is_some(), "{name}");
        }
    }
}
