//! Tests of `glimpse doctor`, and of broken datasets in the other commands.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::{Run, dataset, glimpse, model, picture, pictures, string};

/// Returns the finding with this name.
fn found<'a>(objects: &'a [Value], name: &str) -> &'a Value {
    let found = objects.iter().find(|object| object["finding"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {objects:#?}"))
}

/// Returns severity, count and first example of the finding with this name.
fn told<'a>(objects: &'a [Value], name: &str) -> (&'a str, u64, &'a str) {
    let finding = found(objects, name);
    assert!(!string(&finding["advice"]).is_empty() && !string(&finding["what"]).is_empty());
    let example = finding["examples"][0].as_str().unwrap_or_default();
    (
        string(&finding["severity"]),
        finding["count"].as_u64().unwrap(),
        example,
    )
}

/// Returns the summary, which is the last object.
fn summary(objects: &[Value]) -> &Value {
    &objects.last().unwrap()["summary"]
}

fn doctor(dir: &Path, more: &[&str]) -> (Run, Vec<Value>) {
    let run = glimpse(dir, &[&["doctor", "--data", ".", "--json"], more].concat());
    let objects = run.objects();
    (run, objects)
}

/// Creates a dataset with thirty pictures and a table. Each caption occurs twice, so that its words are frequent enough.
fn own() -> TempDir {
    let names: Vec<String> = (0..30).map(|i| format!("{i}.png")).collect();
    let dir = pictures(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let rows: String = names
        .iter()
        .map(|name| format!("{name},Ein Bär läuft über Gras\n"))
        .collect();
    fs::write(dir.path().join("a.csv"), format!("file,text\n{rows}")).unwrap();
    dir
}

#[test]
fn a_dataset_without_faults_is_said_to_be_one() {
    let dir = own();
    let (run, objects) = doctor(dir.path(), &[]);
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""), "{}", run.out);
    assert_eq!(told(&objects, "split_by_rule"), ("advice", 0, ""));
    let summary = summary(&objects);
    for (key, expected) in [
        ("pictures", 30),
        ("train", 25),
        ("dev", 5),
        ("test", 0),
        ("captions", 30),
        ("words", 5),
        ("errors", 0),
    ] {
        assert_eq!(summary[key], expected, "{key}");
    }
    let text = glimpse(dir.path(), &["doctor", "--data", "."]);
    let lines = text.lines();
    let last = lines[lines.len() - 1];
    assert!(
        last.starts_with("nothing stops a training; advice: "),
        "{last}"
    );
    assert!(lines[lines.len() - 2].contains(
        "30 pictures (25 train, 5 dev, 0 test), 30 captions; 5 words are frequent enough"
    ));
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let dir = dataset();
    let at = |name: &str| dir.path().join(name);
    // One picture is missing, two cannot be read, one is a copy, one is a copy in another format, one looks like another.
    fs::remove_file(at("0.png")).unwrap();
    fs::write(at("1.png"), "").unwrap();
    fs::write(at("2.png"), "<html>not found</html>").unwrap();
    fs::copy(at("4.png"), at("3.png")).unwrap();
    let eighth = image::open(at("5.png")).unwrap().to_rgb8();
    image::codecs::bmp::BmpEncoder::new(&mut fs::File::create(at("8.png")).unwrap())
        .encode(
            &eighth,
            eighth.width(),
            eighth.height(),
            image::ExtendedColorType::Rgb8,
        )
        .unwrap();
    let mut like = picture(6);
    like.put_pixel(0, 0, image::Rgb([1, 2, 3]));
    like.save(at("7.png")).unwrap();
    let long = "dog ".repeat(60);
    let mut tokens = fs::read(at("Flickr8k.token.txt")).unwrap();
    tokens.extend(b"3.png#2\tEin B\xe4r .\nbroken line\nalso broken\n4.png#2\t...\n");
    tokens.extend(format!("5.png#2\t{long}\nlost.png#0\tA dog .\n").as_bytes());
    fs::write(at("Flickr8k.token.txt"), tokens).unwrap();
    fs::write(
        at("Flickr_8k.devImages.txt"),
        "8.png\n9.png\n0.png\nnew.png\n",
    )
    .unwrap();

    let (run, objects) = doctor(dir.path(), &[]);
    assert_eq!(run.code, Some(1), "{}", run.out);
    assert_eq!(run.err.lines().count(), 1, "{}", run.err);
    assert!(
        run.err.starts_with("glimpse: .: ")
            && run.err.contains("findings keep it from being trained on"),
        "{}",
        run.err
    );
    let told = |name| told(&objects, name);
    assert_eq!(told("missing_pictures"), ("error", 2, "0.png (train)"));
    assert_eq!(
        (told("unreadable_pictures").0, told("unreadable_pictures").1),
        ("error", 2)
    );
    assert!(
        told("unreadable_pictures")
            .2
            .starts_with("1.png (train) is empty")
    );
    assert_eq!(
        told("duplicates"),
        ("advice", 1, "4.png (train) is the file of 3.png (train)")
    );
    assert_eq!(
        told("duplicates_across_splits"),
        ("advice", 1, "8.png (dev) has the pixels of 5.png (train)")
    );
    assert_eq!(told("near_duplicates").2, "6.png (train) and 7.png (train)");
    assert_eq!(told("broken_lines").1, 2);
    assert!(
        told("broken_lines")
            .2
            .contains("line 22 is not IMAGE#NUMBER<tab>CAPTION: 'broken line'")
    );
    assert_eq!(told("picture_in_two_splits").0, "error");
    assert_eq!(told("encoding"), ("advice", 1, "line 21"));
    assert_eq!(told("captions_in_no_split"), ("advice", 1, "lost.png"));
    assert_eq!(
        told("pictures_without_caption"),
        ("error", 1, "new.png (dev)")
    );
    assert_eq!(
        told("captions_too_long"),
        ("advice", 1, "5.png (train): 60 words")
    );
    assert_eq!(
        told("captions_without_words"),
        ("advice", 1, "4.png (train): ...")
    );
    assert_eq!(told("unknown_words").0, "advice");
    let summary = summary(&objects);
    assert_eq!(summary["errors"], 5);
    // Errors come first.
    let severities: Vec<&str> = objects[..objects.len() - 1]
        .iter()
        .map(|o| string(&o["severity"]))
        .collect();
    assert!(
        severities.is_sorted_by(|a, b| a == b || *a == "error"),
        "{severities:?}"
    );

    let (_, objects) = doctor(dir.path(), &["--skip-bad"]);
    assert_eq!(found(&objects, "unreadable_pictures")["severity"], "advice");
    let text = glimpse(dir.path(), &["doctor", "--data", "."]);
    assert!(
        text.out
            .contains("\n          2.png (train) is not an image"),
        "{}",
        text.out
    );
}

#[test]
fn captions_that_cannot_be_learnt_from_are_found() {
    let dir = pictures(&["0.png", "1.png", "2.png", "3.png"]);
    let text = "image,caption\n0.png,一个男人在海滩上骑自行车\n1.png,两只狗在草地上奔跑玩耍\n2.png,一个孩子在吃冰淇淋和蛋糕\n3.png,x\n";
    fs::write(dir.path().join("a.csv"), text).unwrap();
    let (run, objects) = doctor(dir.path(), &[]);
    assert_eq!(run.code, Some(1));
    assert_eq!(told(&objects, "captions_of_one_word").1, 3);
    assert_eq!(told(&objects, "no_frequent_words").0, "error");
    let pictures = pictures(&["0.png"]);
    let (run, objects) = doctor(pictures.path(), &[]);
    assert_eq!(
        (run.code, told(&objects, "no_captions").0),
        (Some(1), "error")
    );
    let run = glimpse(dir.path(), &["doctor", "--data", "none"]);
    assert!(run.complaint(1).contains("is not a folder"));
}

#[test]
fn a_model_is_examined_on_the_dataset() {
    let dir = dataset();
    let (run, objects) = doctor(dir.path(), &["--model", model()]);
    let seen = &summary(&objects)["model"];
    assert_eq!(seen["captioned"], 2, "{}{}", run.out, run.err);
    assert_eq!(seen["split"], "dev");
    // A model that was trained for two steps has the same caption for every picture.
    assert_eq!(told(&objects, "model_identical_captions").1, 1);
    let squares = pictures(&[]);
    for (name, side) in [("0.png", 20), ("1.png", 20)] {
        image::imageops::resize(
            &picture(side / 4),
            side,
            side,
            image::imageops::FilterType::Nearest,
        )
        .save(squares.path().join(name))
        .unwrap();
    }
    fs::write(
        squares.path().join("a.csv"),
        "image,caption\n0.png,A zebra stands\n1.png,A zebra stands\n",
    )
    .unwrap();
    let (_, objects) = doctor(squares.path(), &["--model", model()]);
    assert_eq!(summary(&objects)["model"]["split"], "train");
    assert_eq!(told(&objects, "model_unknown_words").2, "stands");
    assert_eq!(told(&objects, "model_small_pictures").1, 2);
    let run = glimpse(dir.path(), &["doctor", "--data", ".", "--model", "0.png"]);
    assert!(run.complaint(1).starts_with("0.png: "), "{}", run.err);
}

#[test]
fn training_lists_all_bad_pictures_and_skips_them_when_told() {
    let dir = dataset();
    fs::write(dir.path().join("1.png"), "").unwrap();
    let train = |more: &[&str]| {
        let args = [
            "train",
            "--data",
            ".",
            "--config",
            "new.toml",
            "--out",
            "m.safetensors",
        ];
        glimpse(dir.path(), &[&args, more].concat())
    };
    let run = train(&[]);
    assert_eq!(
        run.complaint(1),
        "./1.png: is empty (0 bytes); copy or download it again; --skip-bad does without it"
    );
    // Pictures that are cut off are noticed only when they are decoded; the error then lists all of them.
    for name in ["3.png", "8.png"] {
        let bytes = fs::read(dir.path().join(name)).unwrap();
        fs::write(dir.path().join(name), &bytes[..bytes.len() / 2]).unwrap();
    }
    fs::copy(dir.path().join("0.png"), dir.path().join("1.png")).unwrap();
    let run = train(&[]);
    assert_eq!(run.code, Some(1), "{}", run.err);
    let line = run.err.lines().last().unwrap();
    assert!(
        line.contains("2 of 10 pictures cannot be used: 3.png ") && line.contains("; 8.png "),
        "{line}"
    );
    let run = train(&["--skip-bad"]);
    run.lines();
    assert!(
        run.err.contains(".: 2 of 10 pictures cannot be used, and are left out as --skip-bad says; the first: 3.png"),
        "{}",
        run.err
    );
}

#[test]
fn every_command_with_a_dataset_takes_what_describes_it() {
    let dir = own();
    fs::rename(dir.path().join("a.csv"), dir.path().join("captions.dat")).unwrap();
    let text = fs::read_to_string(dir.path().join("captions.dat")).unwrap();
    fs::write(
        dir.path().join("captions.dat"),
        text.replace("file,text", "Foto,Was"),
    )
    .unwrap();
    let described = [
        "--data",
        ".",
        "--table",
        "captions.dat",
        "--columns",
        "image=Foto,caption=Was",
    ];
    let evaluate = [
        "evaluate",
        "--split",
        "dev",
        "--model",
        model(),
        "--captions",
        "out.jsonl",
        "--json",
    ];
    let run = glimpse(dir.path(), &[&evaluate[..], &described].concat());
    assert_eq!(run.object()["images"], 5);
    assert!(
        run.err
            .contains("a hash of their names does: 25 train, 5 dev"),
        "{}",
        run.err
    );
    let score = ["score", "out.jsonl", "--split", "dev", "--json"];
    assert_eq!(
        glimpse(dir.path(), &[&score[..], &described].concat()).object()["images"],
        5
    );
    let (_, objects) = doctor(dir.path(), &described[2..]);
    assert_eq!(summary(&objects)["pictures"], 30);
    for (columns, expected) in [
        ("image=a", "caption"),
        ("image=Foto,caption=x", "has no column 'x'"),
    ] {
        let run = glimpse(
            dir.path(),
            &[
                "doctor",
                "--data",
                ".",
                "--table",
                "captions.dat",
                "--columns",
                columns,
            ],
        );
        assert!(run.err.contains(expected), "{}", run.err);
    }
}

#[test]
fn layouts_are_shown_in_the_help() {
    for command in ["train", "doctor"] {
        let help = glimpse(Path::new("."), &[command, "--help"]);
        help.lines();
        for part in [
            "captions.csv",
            "metadata.jsonl",
            "1.txt",
            "--karpathy",
            "dataset_*.json",
            "image=Foto,caption=Was man sieht",
        ] {
            assert!(help.out.contains(part), "{command}: {part}");
        }
    }
}

#[test]
fn a_training_on_pictures_of_ones_own() {
    let dir = own();
    let config = fs::read_to_string(dataset().path().join("new.toml")).unwrap();
    fs::write(dir.path().join("new.toml"), config).unwrap();
    let run = glimpse(
        dir.path(),
        &[
            "train",
            "--data",
            ".",
            "--config",
            "new.toml",
            "--max-steps",
            "2",
            "--out",
            "m.safetensors",
        ],
    );
    run.lines();
    assert!(
        run.err.contains(
            "train 25 pictures with 25 captions, dev 5 pictures with 5 captions; split by a hash"
        ),
        "{}",
        run.err
    );
    let words = glimpse(dir.path(), &["inspect", "m.safetensors", "--json"]);
    assert_eq!(words.code, Some(0));
    // Umlauts are letters, so words with them are in the vocabulary.
    let bytes = fs::read(dir.path().join("m.safetensors")).unwrap();
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(100_000)]).into_owned();
    assert!(
        text.contains("l\u{e4}uft") && text.contains("\u{fc}ber"),
        "the words are not in the model"
    );
}
