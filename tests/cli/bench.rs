//! Tests of `glimpse bench`.

use serde_json::{Value, json};

use crate::{glimpse, model, number};

#[test]
fn bench_reports_what_it_measured() {
    let dir = tempfile::tempdir().unwrap();
    let bench = |args: &[&str]| {
        glimpse(
            dir.path(),
            &[
                &["bench"],
                args,
                &["--runs", "2", "--json", "--threads", "2"],
            ]
            .concat(),
        )
    };
    let common = |report: &Value, what: &str| {
        let ms = &report["ms"];
        let [min, median, max] = ["min", "median", "max"].map(|key| number(&ms[key]));
        assert!(0.0 < min && min <= median && median <= max, "{report}");
        assert!(number(&report["gflops"]) > 0.0);
        for (key, value) in [("what", what), ("device", "cpu"), ("precision", "f32")] {
            assert_eq!(report[key], value);
        }
        assert_eq!(report["threads"], 2);
    };
    for what in ["encode", "train-encoder"] {
        let report = bench(&[what, "--encoder", model(), "--batch", "2"]).object();
        common(&report, what);
        assert_eq!(report["encoder"], model());
        assert_eq!(report["batch"], 2);
    }
    for what in [
        "decode",
        "train-decoder",
        "decode-attention",
        "train-attention",
    ] {
        common(&bench(&[what]).object(), what);
    }
    let report = bench(&["encode", "--encoder", model(), "--precision", "bf16"]).object();
    assert_eq!(report["precision"], "bf16");
    let products = bench(&["gemm"]).objects();
    assert_eq!(products[2]["shape"], json!([1024, 1024, 1024]));
    for product in &products {
        common(product, "gemm");
        assert!(number(&product["matrixmultiply"]["gflops"]) > 0.0);
    }
    let text = glimpse(dir.path(), &["bench", "--runs", "1"]);
    assert!(text.lines()[0].contains("threads"));
    assert!(text.lines()[1].starts_with("encode densenet121, batch 1: "));
    assert!(
        bench(&["--encoder", "resnet50"])
            .complaint(1)
            .contains("densenet121")
    );
}
