//! Tests of the attention weights of each word.

use glimpse::caption::{Search, search};
use glimpse::data::{Image, Limits};
use glimpse::web::Options;
use serde_json::Value;

use crate::attentive::attentive;
use crate::{Service, quick};

/// A picture of this size.
fn png(width: u32, height: u32) -> Vec<u8> {
    let picture = image::RgbImage::from_fn(width, height, |x, y| {
        image::Rgb([(x * 5) as u8, (y * 6) as u8, ((x ^ y) * 3) as u8])
    });
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture
        .write_to(&mut bytes, image::ImageFormat::Png)
        .unwrap();
    bytes.into_inner()
}

/// The captions of an image with or without attention weights, computed directly by an attentive model.
fn said(bytes: &[u8], attention: bool) -> Value {
    let captioner = attentive("torchvision:64");
    let image = Image::decode(bytes, "image", Limits::default()).unwrap();
    let map = captioner
        .encode(&captioner.recipe.tensor(&[image]).unwrap())
        .unwrap();
    let how = Search {
        n_best: 2,
        attention,
        ..Search::default()
    };
    let captions = search(&captioner, &map, &how).unwrap().remove(0);
    serde_json::to_value(captions).unwrap()
}

fn service() -> Service {
    Service::new(attentive("torchvision:64"), Options::default())
}

fn tokens(answer: &Value) -> impl Iterator<Item = &Value> {
    let captions = answer["captions"].as_array().unwrap().iter();
    captions.flat_map(|caption| caption["tokens"].as_array().unwrap())
}

/// `captions` without the weights of their tokens.
fn without(captions: &Value) -> Value {
    let mut captions = captions.clone();
    for caption in captions.as_array_mut().unwrap() {
        for token in caption["tokens"].as_array_mut().unwrap() {
            token.as_object_mut().unwrap().remove("attention");
        }
    }
    captions
}

#[test]
fn every_word_comes_with_where_the_model_looked() {
    let service = service();
    assert_eq!(service.get("/api/info").answer()["attention"], true);
    assert_eq!(
        service.get("/api/info").answer()["model"]["decoder"],
        "attention"
    );
    let bytes = png(128, 64);
    let direct = said(&bytes, true);
    for wish in ["1", "true"] {
        let path = format!("/api/caption?n_best=2&attention={wish}");
        let answer = service.post(&path, &bytes).answer();
        assert_eq!(answer["attention_grid"], serde_json::json!([8, 8]));
        // The picture is scaled to 73 x 146 pixels, and the 64 x 64 in its centre are cut out.
        let region: Vec<f64> = serde_json::from_value(answer["attention_region"].clone()).unwrap();
        let expected = [41.0 / 146.0, 4.0 / 73.0, 64.0 / 146.0, 64.0 / 73.0];
        for (got, want) in region.iter().zip(expected) {
            assert!((got - want).abs() < 1e-9, "{region:?}");
        }
        assert_eq!(without(&answer["captions"]), said(&bytes, false));
        let direct = direct.as_array().unwrap().iter();
        let exact = direct.flat_map(|caption| caption["tokens"].as_array().unwrap());
        for (token, exact) in tokens(&answer).zip(exact) {
            let (weights, exact) = (&token["attention"], &exact["attention"]);
            let [weights, exact] =
                [weights, exact].map(|w| serde_json::from_value::<Vec<f64>>(w.clone()).unwrap());
            assert_eq!(weights.len(), 64);
            for (rounded, exact) in weights.iter().zip(&exact) {
                assert!((rounded - exact).abs() <= 0.000_500_1);
                assert_eq!((rounded * 1000.0).round() / 1000.0, *rounded);
            }
            let sum: f64 = weights.iter().sum();
            assert!((sum - 1.0).abs() < 0.033, "{sum}");
            assert!(weights.iter().any(|w| *w > 0.1), "it looks somewhere");
        }
    }
}

#[test]
fn attention_comes_only_where_it_was_asked_for_and_there_is_some() {
    let bytes = png(40, 60);
    let (attends, does_not) = (service(), Service::quick());
    for (service, path) in [
        (&attends, "/api/caption"),
        (&attends, "/api/caption?attention=0"),
        (&attends, "/api/caption?attention=false"),
        (&does_not, "/api/caption?attention=1"),
    ] {
        let answer = service.post(path, &bytes).answer();
        let mut keys = answer.as_object().unwrap().keys();
        assert!(!keys.any(|key| key.contains("attention")), "{path}");
        assert!(tokens(&answer).all(|token| token.get("attention").is_none()));
    }
    let expected = crate::said(&quick(), &bytes, 5, 1);
    let answer = does_not.post("/api/caption?attention=1", &bytes).answer();
    assert_eq!(answer["captions"], expected);
    for wish in ["maybe", "2", ""] {
        let path = format!("/api/caption?attention={wish}");
        let error = attends.post(&path, &bytes).error(400);
        assert!(error.contains("1 or 0"), "{error}");
    }
}

#[test]
fn each_of_several_images_has_a_part_of_its_own() {
    let service = service();
    let [wide, high] = [png(128, 64), png(64, 128)];
    let fields = [("image", "a", &wide[..]), ("image", "b", &high)];
    let answer = service.form("/api/caption?attention=1", &fields).answer();
    let [a, b] = [0, 1].map(|i| answer["results"][i]["attention_region"].clone());
    assert_eq!([&a[0], &a[2]], [&b[1], &b[3]]);
    assert_eq!([&a[1], &a[3]], [&b[0], &b[2]]);
    assert_ne!(a, b);
}

#[test]
fn the_description_knows_of_it() {
    let description = Service::quick().get("/api/openapi.json").answer();
    let parameters = description["paths"]["/api/caption"]["post"]["parameters"].clone();
    let named = |name: &str| {
        let all = parameters.as_array().unwrap().iter();
        all.filter(|p| p["name"] == name).count()
    };
    assert_eq!([named("beam"), named("attention")], [1, 1]);
    let schemas = &description["components"]["schemas"];
    for key in ["attention_grid", "attention_region"] {
        assert!(schemas["Answer"]["properties"][key].is_object(), "{key}");
        let required = schemas["Answer"]["required"].as_array().unwrap();
        assert!(!required.contains(&key.into()), "{key}");
    }
    assert!(schemas["Token"]["properties"]["attention"].is_object());
}
