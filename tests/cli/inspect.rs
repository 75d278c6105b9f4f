//! Tests of `glimpse inspect`.

use std::fs;
use std::path::Path;

use glimpse::data::weights::{NumberFormat, write_weights};
use glimpse::tensor::Tensor;
use serde_json::{Value, json};

use crate::{glimpse, model, string};

#[test]
fn inspect_says_what_a_file_holds() {
    let dir = tempfile::tempdir().unwrap();
    let inspect = |args: &[&str]| glimpse(dir.path(), &[&["inspect"], args].concat());
    let report = inspect(&[model(), "--json"]).object();
    assert_eq!(report["kind"], "captioner");
    assert_eq!(report["architecture"], Value::Null);
    assert_eq!(report["encoder"]["blocks"], json!([1, 1]));
    assert_eq!(report["decoder"]["hidden"], 8);
    assert_eq!(report["recipe"], json!({ "method": "squash", "size": 32 }));
    assert_eq!(report["training"]["steps"], 2);
    assert_eq!(report["training"]["dataset"], "Flickr8k");
    assert_eq!(report["bytes"], fs::metadata(model()).unwrap().len());
    assert!(report["vocabulary"].as_u64().unwrap() > 10 && report["metrics"].is_object());
    assert!(report.get("tensors").is_none());

    let tensors = inspect(&[model(), "--json", "--tensors"]).object()["tensors"].clone();
    let tensors = tensors.as_array().unwrap();
    assert_eq!(report["tensor_count"], tensors.len());
    let stem = tensors
        .iter()
        .find(|t| t["name"] == "encoder.features.conv0.weight")
        .unwrap();
    assert_eq!(
        (&stem["dtype"], &stem["shape"]),
        (&json!("F32"), &json!([8, 3, 7, 7]))
    );
    let elements = |t: &&Value| -> u64 {
        t["shape"]
            .as_array()
            .unwrap()
            .iter()
            .map(|n| n.as_u64().unwrap())
            .product()
    };
    let trained = tensors
        .iter()
        .filter(|t| !string(&t["name"]).contains("running"));
    assert_eq!(
        report["parameters"],
        trained.map(|t| elements(&t)).sum::<u64>()
    );

    let text = inspect(&[model()]).out;
    for part in [
        "captioner",
        "densenet: growth 8, blocks [1, 1]",
        "squash:32",
        "training     steps = 2",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let other = dir.path().join("other.safetensors");
    let x = [("x".to_string(), Tensor::zeros(&[2, 5]))];
    write_weights(&other, &x, NumberFormat::F16, Default::default()).unwrap();
    let report = inspect(&["other.safetensors", "--json"]).object();
    assert_eq!(
        (&report["kind"], &report["parameters"], &report["stored"]),
        (&json!("tensors"), &json!(10), &json!({ "F16": 10 }))
    );
    // The scales of a quantised tensor are not listed as a tensor.
    let x = [x, [("b".to_string(), Tensor::zeros(&[3]))]].concat();
    write_weights(&other, &x, NumberFormat::I8, Default::default()).unwrap();
    let report = inspect(&["other.safetensors", "--json", "--tensors"]).object();
    assert_eq!(
        (
            &report["parameters"],
            &report["tensor_count"],
            &report["stored"]
        ),
        (&json!(13), &json!(2), &json!({ "F16": 3, "I8": 10 }))
    );
    let line = json!({ "name": "x", "dtype": "I8", "shape": [2, 5] });
    assert_eq!(report["tensors"][1], line);
    let text = inspect(&["other.safetensors"]).out;
    assert!(text.contains("stored       3 F16, 10 I8"), "{text}");

    fs::write(dir.path().join("text.safetensors"), "text").unwrap();
    assert!(
        inspect(&["text.safetensors"])
            .complaint(1)
            .starts_with("text.safetensors: is no weight file")
    );
    assert!(
        inspect(&["none.safetensors"])
            .complaint(1)
            .starts_with("none.safetensors: does not exist")
    );
    assert!(inspect(&["."]).complaint(1).contains("is a folder"));
}

#[test]
fn inspect_says_whether_checksums_hold() {
    let dir = tempfile::tempdir().unwrap();
    let inspect = |args: &[&str]| glimpse(dir.path(), &[&["inspect"], args].concat());
    let report = inspect(&[model(), "--json"]).object();
    assert_eq!(report["checksums"], json!({ "hold": true, "damaged": [] }));
    let text = inspect(&[model()]).out;
    assert!(
        text.contains("checksums    of the header and all tensors; they hold"),
        "{text}"
    );
    let mut bytes = fs::read(model()).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(dir.path().join("bad.safetensors"), &bytes).unwrap();
    // The report has the file's description, and the damage.
    let run = inspect(&["bad.safetensors", "--json"]);
    assert_eq!(run.code, Some(1));
    let report = &run.objects()[0];
    assert_eq!(
        (&report["kind"], &report["checksums"]["hold"]),
        (&json!("captioner"), &json!(false))
    );
    let name = string(&report["checksums"]["damaged"][0]);
    let message = format!("glimpse: bad.safetensors: tensor `{name}` does not match its checksum");
    assert!(
        run.err.starts_with(&message) && run.err.lines().count() == 1,
        "{}",
        run.err
    );
    assert!(
        inspect(&["bad.safetensors"])
            .out
            .contains(&format!("checksums    damaged: {name}"))
    );
    fs::write(dir.path().join("0.png"), crate::png(1)).unwrap();
    let caption = glimpse(
        dir.path(),
        &["caption", "0.png", "--model", "bad.safetensors"],
    );
    let message = caption.complaint(1);
    assert!(
        message.contains(&format!("tensor `{name}` does not match its checksum")),
        "{message}"
    );
    bytes[40] ^= 1;
    fs::write(dir.path().join("bad.safetensors"), &bytes).unwrap();
    assert!(
        inspect(&["bad.safetensors"])
            .complaint(1)
            .contains("header")
    );
    // Files of other programs have no checksums.
    let tensor = [0u8; 8];
    let view =
        safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![2], &tensor).unwrap();
    let bytes = safetensors::serialize([("x", view)], None).unwrap();
    fs::write(dir.path().join("x.safetensors"), bytes).unwrap();
    assert_eq!(
        inspect(&["x.safetensors", "--json"]).object()["checksums"],
        Value::Null
    );
}

#[test]
fn inspect_knows_target_files_and_tags() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/distill");
    let inspect = |args: &[&str]| glimpse(&folder, &[&["inspect"], args].concat());
    let report = inspect(&["targets.safetensors", "--json"]).object();
    assert_eq!(report["kind"], "targets");
    let targets = &report["targets"];
    assert_eq!(targets["teacher"], "mean levels of 4 x 4 fields");
    assert_eq!(
        (&targets["views"], &targets["pictures"]),
        (&json!(24), &json!(3))
    );
    assert_eq!(
        (&targets["features"], &targets["classes"]),
        (&json!(48), &Value::Null)
    );
    let text = inspect(&["targets.safetensors"]).out;
    assert!(
        text.contains("24 views of 3 pictures, 48 features"),
        "{text}"
    );
}
