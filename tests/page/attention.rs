//! Tests of the attention overlay on the photo.

use glimpse::caption::{Search, search};
use glimpse::data::Image;
use glimpse::model::{Captioner, Decoder, DecoderConfig, DecoderKind};
use glimpse::nn::Init;
use glimpse::web::Options;
use serde_json::{Value, json};

use crate::attentive::attentive;
use crate::browser::PHONE;
use crate::{OVERFLOW, Visit, sample, visit_model};

/// With this recipe, the map has eight rows and columns of places over the centre of the photo.
const RECIPE: &str = "torchvision:64";
const SIDE: usize = 8;

fn page(size: [u32; 2]) -> Option<Visit> {
    let page = visit_model(attentive(RECIPE), size, Options::default())?;
    page.browser.wait(
        "what the server says of itself",
        "return document.querySelector('#info').textContent !== ''",
    );
    Some(page)
}

/// A model whose decoder sees the average of the map and has no attention.
fn inattentive() -> Captioner {
    let mut captioner = attentive(RECIPE);
    let config = DecoderConfig {
        kind: DecoderKind::Inject,
        attention: 0,
        ..captioner.decoder.config().clone()
    };
    captioner.decoder = Decoder::new(&config, &mut Init::new(3)).unwrap();
    captioner
}

/// The attention weights of each word of the best caption of a sample photo, and the part of the photo that the map covers.
/// Both are computed directly by the model, without the service.
fn weights(name: &str) -> (Vec<Vec<f32>>, [f64; 4]) {
    let captioner = attentive(RECIPE);
    let image = Image::open(sample(name)).unwrap();
    let region = captioner.recipe.region(&image).shares(&image);
    let map = captioner
        .encode(&captioner.recipe.tensor(&[image]).unwrap())
        .unwrap();
    let how = Search {
        n_best: 3,
        attention: true,
        ..Search::default()
    };
    let best = search(&captioner, &map, &how).unwrap().remove(0).remove(0);
    let weights = best.tokens.into_iter().map(|t| t.attention.unwrap());
    (weights.collect(), region)
}

/// The opacity of the overlay at the centre of each place, row by row, and in the photo's corner; `null` without an overlay.
fn overlay(page: &Visit, [left, top, width, height]: [f64; 4]) -> Value {
    page.browser.run(&format!(
        "const canvas = document.querySelector('.card .attention');
         if (canvas.hidden) return null;
         // Read from a copy: Chromium warns of a canvas that is read several times.
         const copy = Object.assign(document.createElement('canvas'), {{ width: canvas.width, height: canvas.height }});
         const pen = copy.getContext('2d', {{ willReadFrequently: true }});
         pen.drawImage(canvas, 0, 0);
         const pixels = pen.getImageData(0, 0, copy.width, copy.height).data;
         const alpha = (x, y) => pixels[(Math.floor(y) * copy.width + Math.floor(x)) * 4 + 3];
         const places = [];
         for (let row = 0; row < {SIDE}; row++) for (let column = 0; column < {SIDE}; column++)
             places.push(alpha(({left} + {width} * (column + 0.5) / {SIDE}) * canvas.width,
                               ({top} + {height} * (row + 0.5) / {SIDE}) * canvas.height));
         return {{ places, corner: alpha(0, 0) }};"
    ))
}

/// Checks that the overlay is thin where the word's weights are high, and darkest outside the part that the model sees.
fn shows(overlay: &Value, weights: &[f32]) {
    let places: Vec<f64> = serde_json::from_value(overlay["places"].clone()).unwrap();
    let corner = overlay["corner"].as_f64().unwrap();
    let most = weights.iter().copied().fold(0.0, f32::max);
    for (alpha, weight) in places.iter().zip(weights) {
        assert!(*alpha < corner, "{alpha} and {corner}");
        // The tolerance covers the influence of neighbouring places, the rounding of weights and the browser's blending.
        let expected = 175.0 * (1.0 - f64::from(weight / most));
        assert!((alpha - expected).abs() < 60.0, "{alpha}, not {expected}");
    }
    let strongest = weights.iter().position(|w| *w == most).unwrap();
    assert!(places[strongest] < 60.0, "{}", places[strongest]);
}

fn hidden(page: &Visit) -> bool {
    page.browser
        .run("return document.querySelector('.card .attention').hidden")
        == json!(true)
}

/// Clicks on a sample photo, and waits for its caption and its thumbnail.
fn describe(page: &Visit, name: &str) {
    page.browser.click(&format!("[data-sample='{name}']"));
    page.caption(0);
    let drawn = "const image = document.querySelector('.card .thumbnail');
        return !image.hidden && image.naturalWidth > 0";
    page.browser.wait("the thumbnail", drawn);
}

#[test]
fn pointing_at_a_word_shows_where_the_model_looked() {
    let Some(page) = page([1280, 900]) else {
        return;
    };
    describe(&page, "cat.jpg");
    let (weights, region) = weights("cat.jpg");
    assert!(hidden(&page));
    page.browser.click(".card .caption .word");
    shows(&overlay(&page, region), &weights[0]);
    // The overlay covers the photo exactly and is hidden from screen readers.
    let boxes = page.browser.run(
        "const image = document.querySelector('.card .thumbnail'), canvas = document.querySelector('.card .attention');
         const box = (e) => { const { x, y, width, height } = e.getBoundingClientRect(); return [x, y, width, height]; };
         return [box(image), box(canvas), [image.naturalWidth, image.naturalHeight], [canvas.width, canvas.height],
                 getComputedStyle(image).objectFit === getComputedStyle(canvas).objectFit, canvas.ariaHidden]",
    );
    assert_eq!([&boxes[0], &boxes[2]], [&boxes[1], &boxes[3]]);
    assert_eq!([&boxes[4], &boxes[5]], [&json!(true), &json!("true")]);
    // The overlay disappears when another element has the focus.
    page.browser.click("#results-title");
    page.browser.wait(
        "the overlay to go",
        "return document.querySelector('.card .attention').hidden",
    );
    page.is_clean("");
}

#[test]
fn the_keyboard_goes_from_word_to_word_and_the_overlay_with_it() {
    let Some(page) = page([1280, 900]) else {
        return;
    };
    describe(&page, "raccoon.jpg");
    let (weights, region) = weights("raccoon.jpg");
    for _ in 0..40 {
        page.browser.press("\u{e004}");
        let there = "return !!document.activeElement.closest('.card .caption .word')";
        if page.browser.run(there) == json!(true) {
            break;
        }
    }
    shows(&overlay(&page, region), &weights[0]);
    page.browser.press("\u{e014}");
    shows(&overlay(&page, region), &weights[1]);
    page.browser.press("\u{e00c}");
    assert!(hidden(&page), "Escape puts it away");
    page.is_clean("");
}

#[test]
fn it_works_on_a_phone_in_light_and_in_darkness() {
    let Some(page) = page(PHONE) else { return };
    for scheme in ["light", "dark"] {
        page.browser.prefer("prefers-color-scheme", scheme);
        if scheme == "light" {
            describe(&page, "astronaut.jpg");
        }
        let (weights, region) = weights("astronaut.jpg");
        page.browser.click(".card .caption .word");
        shows(&overlay(&page, region), &weights[0]);
        assert_eq!(page.browser.run(OVERFLOW), json!(0));
        page.browser.click("#results-title");
        page.browser.wait(
            "the overlay to go",
            "return document.querySelector('.card .attention').hidden",
        );
    }
    page.is_clean("");
}

#[test]
fn the_legend_speaks_of_it_where_there_is_some() {
    let hints = "return [...document.querySelectorAll('.looked')].map(hint => hint.hidden)";
    let Some(attends) = page([1280, 900]) else {
        return;
    };
    assert_eq!(attends.browser.run(hints), json!([false, false]));
    let Some(does_not) = visit_model(inattentive(), [1280, 900], Options::default()) else {
        return;
    };
    describe(&does_not, "cat.jpg");
    assert_eq!(does_not.browser.run(hints), json!([true, true]));
    does_not.browser.click(".card .caption .word");
    assert!(hidden(&does_not), "this model does not say");
    does_not.is_clean("");
}

#[test]
fn what_is_downloaded_has_no_weights() {
    let Some(page) = page([1280, 900]) else {
        return;
    };
    describe(&page, "cat.jpg");
    page.browser.run(
        "const make = URL.createObjectURL;
         URL.createObjectURL = (blob) => {
             if (!blob.type.startsWith('image/')) blob.text().then((t) => (window.taken = t));
             return make.call(URL, blob);
         };",
    );
    page.browser.click("#download-json");
    let taken = page
        .browser
        .wait("a download", "return window.taken ?? null");
    let taken: Value = serde_json::from_str(taken.as_str().unwrap()).unwrap();
    assert!(taken[0]["captions"][0]["tokens"][0]["text"].is_string());
    assert!(!taken.to_string().contains("attention"));
    page.is_clean("");
}
