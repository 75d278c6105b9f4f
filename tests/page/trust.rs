//! Tests of confidence and tags on the page.

use glimpse::model::recognition::{Confidence, Recognition, RecognitionConfig};
use glimpse::model::{Captioner, Tags};
use glimpse::nn::Linear;
use glimpse::tensor::Tensor;
use glimpse::web::Options;
use serde_json::{Value, json};

use crate::attentive::attentive;
use crate::{Visit, visit_model};

/// A model that gives every picture these log-odds of being a photograph, calls captions of photographs likely right, and
/// recognises a tabby.
fn model(photograph: f32) -> Captioner {
    let mut captioner = attentive("squash:64");
    let features = captioner.encoder.config().features();
    let layer = |out: usize, inputs: usize, bias: Vec<f32>| Linear {
        weight: Tensor::zeros(&[out, inputs]),
        bias: Tensor::from_vec(bias, &[out]).unwrap(),
    };
    let config = RecognitionConfig {
        rank: 1,
        confidence: Confidence {
            offset: 1.5,
            ..Confidence::default()
        },
        ..RecognitionConfig::default()
    };
    let detectors = layer(2, 1, vec![photograph, 0.0]);
    let recognition = Recognition::new(config, &layer(1, features, vec![0.0]), &detectors);
    captioner.recognition = Some(recognition.unwrap());
    let names = vec!["tabby".to_string(), "sofa".to_string()];
    captioner.tags = Some(Tags::new(names, &layer(2, features, vec![2.0, 0.0])).unwrap());
    captioner
}

fn visit(photograph: f32) -> Option<Visit> {
    let page = visit_model(model(photograph), [1280, 900], Options::default())?;
    page.browser.click("[data-sample='cat.jpg']");
    page.caption(0);
    Some(page)
}

/// The displayed level of trust, its text, the style of the caption, and the tags.
fn shown(page: &Visit) -> Value {
    page.browser.run(
        "const result = document.querySelector('.card .result');
         const trust = result.querySelector('.trust'), tags = result.querySelector('.tags');
         return [result.dataset.trust, trust.hidden ? null : trust.textContent,
                 getComputedStyle(result.querySelector('.caption')).fontStyle, tags.hidden ? null : tags.textContent]",
    )
}

#[test]
fn a_sure_caption_says_its_chance_and_what_was_recognised() {
    let Some(page) = visit(9.0) else { return };
    let [level, words, style, tags] = serde_json::from_value::<[Value; 4]>(shown(&page)).unwrap();
    assert_eq!([level, style], [json!("likely"), json!("normal")]);
    assert_eq!(words, "Probably: 82% chance that most of it is right.");
    assert_eq!(tags, "Recognised: tabby (88%)");
    page.is_clean("");
}

#[test]
fn an_unsure_caption_looks_unsure_and_says_so() {
    let Some(page) = visit(-3.0) else { return };
    let [level, words, style, _] = serde_json::from_value::<[Value; 4]>(shown(&page)).unwrap();
    assert_eq!([level, style], [json!("unsure"), json!("italic")]);
    assert!(
        words
            .as_str()
            .unwrap()
            .starts_with("Not sure, this is a guess: 3.9% chance"),
        "{words}"
    );
    // Screen readers announce the level too.
    page.browser.wait(
        "the announcement",
        "return document.querySelector('#live').textContent.includes('not sure, perhaps')",
    );
    page.is_clean("");
}

#[test]
fn a_model_that_does_not_know_says_nothing_of_trust() {
    let Some(page) = visit_model(attentive("squash:64"), [1280, 900], Options::default()) else {
        return;
    };
    page.browser.click("[data-sample='cat.jpg']");
    page.caption(0);
    assert_eq!(shown(&page), json!(["", null, "normal", null]));
}
