//! Tests of the captions of images.

use std::fs;
use std::path::Path;
use std::thread;

use glimpse::data::SAMPLES;
use glimpse::model::Captioner;
use glimpse::web::Options;

use crate::{Service, png, quick, said};

fn fixture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images");
    fs::read(folder.join(name)).unwrap()
}

#[test]
fn the_bundled_model_says_over_http_what_it_says_at_home() {
    let service = Service::new(Captioner::bundled().unwrap(), Options::default());
    let captioner = Captioner::bundled().unwrap();
    for sample in SAMPLES {
        let answer = service.post("/api/caption", sample.bytes).answer();
        let keys: Vec<&String> = answer.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["image", "captions", "tags", "ms"]);
        assert_eq!(answer["image"], "image");
        assert_eq!(answer["captions"], said(&captioner, sample.bytes, 5, 1));
        for part in ["decode", "encode", "generate"] {
            assert!(answer["ms"][part].as_f64().unwrap() > 0.0);
        }
    }
}

/// The book promises that words do not depend on the other images of a batch, and that probabilities hardly do.
#[test]
fn in_company_an_image_gets_the_words_that_it_gets_alone() {
    let service = Service::new(Captioner::bundled().unwrap(), Options::default());
    let alone: Vec<_> = SAMPLES
        .iter()
        .map(|sample| service.post("/api/caption", sample.bytes).answer())
        .collect();
    let order: Vec<usize> = (0..16).map(|i| 3 * i % SAMPLES.len()).collect();
    let fields: Vec<(&str, &str, &[u8])> = order
        .iter()
        .map(|&i| ("image", "", SAMPLES[i].bytes))
        .collect();
    let together = service.form("/api/caption", &fields).answer();
    let together = together["results"].as_array().unwrap();
    assert_eq!(together.len(), order.len());
    for (&i, answer) in order.iter().zip(together) {
        let [one, other] = [&alone[i], answer].map(|answer| &answer["captions"][0]);
        assert_eq!(one["text"], other["text"]);
        let log_probs = [one, other].map(|caption| caption["log_prob"].as_f64().unwrap());
        let difference = (log_probs[0] - log_probs[1]).abs();
        assert!(difference < 1e-5, "{difference}");
    }
}

#[test]
fn an_odd_file_is_answered_with_what_is_odd_about_it() {
    let (service, mut bytes) = (Service::quick(), fixture("rgb.png"));
    let whole = service.post("/api/caption", &bytes).answer();
    assert_eq!(whole.get("warnings"), None);
    // Remove the end chunk.
    bytes.truncate(bytes.len() - 12);
    let odd = service.post("/api/caption", &bytes).answer();
    assert_eq!(odd["captions"], whole["captions"]);
    let warning = "ends without its end chunk, but has all of its pixels";
    assert_eq!(odd["warnings"], serde_json::json!([warning]));
}

#[test]
fn every_format_is_read_whatever_it_is_said_to_be() {
    let (service, captioner) = (Service::quick(), quick());
    for name in [
        "rgb.png",
        "rgba-16.png",
        "alpha.webp",
        "cmyk.jpg",
        "animated.gif",
        "palette.bmp",
        "orientation-6.jpg",
    ] {
        let bytes = fixture(name);
        let expected = said(&captioner, &bytes, 3, 2);
        for kind in [
            "image/png",
            "application/octet-stream",
            "application/x-www-form-urlencoded",
        ] {
            let kind = format!("Content-Type: {kind}");
            let path = "/api/caption?beam=3&n_best=2";
            let answer = service.ask("POST", path, &[&kind], &bytes).answer();
            assert_eq!(answer["captions"], expected, "{name}");
        }
        let answer = service.form("/api/caption?beam=3&n_best=2", &[("image", name, &bytes)]);
        assert_eq!(answer.answer()["image"], name);
        assert_eq!(answer.answer()["captions"], expected, "{name}");
    }
}

#[test]
fn several_images_are_answered_in_order_and_a_bad_one_for_itself() {
    let (service, captioner) = (Service::quick(), quick());
    let [a, b] = [png(1), png(2)];
    let answer = service
        .form(
            "/api/caption?n_best=2",
            &[
                ("image", "a.png", &a),
                ("image", "../b\u{e9}.txt", b"no image"),
                ("image", "", &b),
            ],
        )
        .answer();
    let results = answer["results"].as_array().unwrap();
    assert_eq!(answer.as_object().unwrap().len(), 1);
    let names: Vec<&str> = results
        .iter()
        .map(|r| r["image"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["a.png", "b\u{e9}.txt", "image"]);
    assert_eq!(results[0]["captions"], said(&captioner, &a, 5, 2));
    assert_eq!(results[2]["captions"], said(&captioner, &b, 5, 2));
    assert!(
        results[1]["error"]
            .as_str()
            .unwrap()
            .contains("not an image")
    );
    assert!(results[1].get("captions").is_none());
}

#[test]
fn those_who_come_at_once_are_answered_together_and_as_if_alone() {
    let options = Options {
        batch: 8,
        ..Options::default()
    };
    let (service, captioner) = (Service::new(quick(), options), quick());
    let images: Vec<Vec<u8>> = (0..16).map(png).collect();
    let wishes = [(5, 1), (3, 3), (1, 1)];
    thread::scope(|scope| {
        for (image, &(beam, n_best)) in images.iter().zip(wishes.iter().cycle()) {
            let (service, captioner) = (&service, &captioner);
            scope.spawn(move || {
                let path = format!("/api/caption?beam={beam}&n_best={n_best}");
                let answer = service.post(&path, image).answer();
                assert_eq!(answer["captions"], said(captioner, image, beam, n_best));
            });
        }
    });
    // The images of one request always form a batch; those of several requests do only if they arrive together.
    let fields: Vec<(&str, &str, &[u8])> = images.iter().map(|i| ("image", "", &i[..])).collect();
    let results = service.form("/api/caption", &fields).answer();
    for (image, result) in images.iter().zip(results["results"].as_array().unwrap()) {
        assert_eq!(result["captions"], said(&captioner, image, 5, 1));
    }
    let batches = service.metric("glimpse_batch_images_count");
    assert_eq!(service.metric("glimpse_batch_images_sum"), 32.0);
    assert!(batches <= 18.0, "{batches} batches");
    assert!(service.metric("glimpse_batch_images_bucket{le=\"4.0\"}") < batches);
    assert_eq!(
        service.metric("glimpse_batch_images_bucket{le=\"8.0\"}"),
        batches
    );
}
