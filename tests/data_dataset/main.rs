//! Tests of every dataset format in miniature, complete and with faults.
//!
//! If `GLIMPSE_FLICKR8K` is set to a folder with the real Flickr8k, that dataset is read too.

mod doubt;
mod own;
mod unpacked;

use std::fs;
use std::path::Path;

use glimpse::data::dataset::Remark;
use glimpse::data::{Dataset, Example, Split};
use tempfile::TempDir;

/// A folder with these files. To a dataset, every file that ends in `.jpg` is an image.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

fn split(root: &TempDir, split: Split) -> Vec<Example> {
    Dataset::open(root.path()).unwrap().split(split).unwrap()
}

/// The error of the folder, or of one of its splits, with `DIR` for the folder's name.
fn refusal(root: &TempDir, split: Split) -> String {
    let error = Dataset::open(root.path())
        .and_then(|dataset| dataset.split(split))
        .unwrap_err()
        .to_string();
    assert!(!error.contains('\n'), "{error}");
    error
        .replace(&root.path().display().to_string(), "DIR")
        .replace('\\', "/")
}

/// The remarks about the dataset, with `DIR` for the folder's name.
fn remarks(root: &TempDir) -> Vec<String> {
    remarks_of(root, &Dataset::open(root.path()).unwrap())
}

fn remarks_of(root: &TempDir, dataset: &Dataset) -> Vec<String> {
    let folder = root.path().display().to_string();
    let text = |remark: &Remark| {
        assert!(!remark.text.contains('\n'), "{}", remark.text);
        remark.text.replace(&folder, "DIR").replace('\\', "/")
    };
    dataset.remarks().iter().map(text).collect()
}

fn example(root: &TempDir, image: &str, captions: &[&str]) -> Example {
    Example {
        image: root.path().join(image),
        name: Path::new(image)
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .into(),
        captions: captions.iter().map(|caption| caption.to_string()).collect(),
    }
}

const TOKENS: (&str, &str) = (
    "Flickr8k.token.txt",
    "b.jpg#0\tA dog .\r\nb.jpg#1\tTwo dogs .\na.jpg#0\tA cat .\n\nc.jpg#0\tA cow .\nlost.jpg.1#0\tNobody .\n",
);
const TRAIN: (&str, &str) = ("Flickr_8k.trainImages.txt", "b.jpg\r\na.jpg\n\n");
const DEV: (&str, &str) = ("Flickr_8k.devImages.txt", "c.jpg");

#[test]
fn flickr8k() {
    for place in ["", "images/", "Flicker8k_Dataset/", "Flickr8k_Dataset/"] {
        let [a, b, c] = ["a", "b", "c"].map(|name| format!("{place}{name}.jpg"));
        let root = folder(&[TOKENS, TRAIN, DEV, (&a, ""), (&b, ""), (&c, "")]);
        let expected = [
            example(&root, &b, &["A dog .", "Two dogs ."]),
            example(&root, &a, &["A cat ."]),
        ];
        assert_eq!(split(&root, Split::Train), expected);
        assert_eq!(split(&root, Split::Dev), [example(&root, &c, &["A cow ."])]);
        let dataset = Dataset::open(root.path()).unwrap();
        assert_eq!(dataset.name(), "Flickr8k");
        assert!(dataset.split_rule().is_none());
        let message = refusal(&root, Split::Test);
        assert_eq!(
            message,
            "DIR: has no test split: Flickr_8k.testImages.txt is not there or is empty"
        );
    }
}

#[test]
fn what_is_missing_is_counted_and_the_first_is_named() {
    let root = folder(&[TOKENS, TRAIN, DEV, ("images/b.jpg", "")]);
    let message = refusal(&root, Split::Train);
    assert_eq!(
        message,
        "DIR: 1 of 2 train images are missing, the first is a.jpg; put them beside the others, or leave them out with \
         --skip-bad"
    );
    let message = refusal(&root, Split::Dev);
    assert!(
        message.starts_with("DIR: none of the 1 dev images is here, the first is c.jpg; looked"),
        "{message}"
    );

    let root = folder(&[
        TOKENS,
        ("Flickr_8k.testImages.txt", "b.jpg\nnew.jpg\nother.jpg\n"),
        ("b.jpg", ""),
    ]);
    let message = refusal(&root, Split::Test);
    assert_eq!(
        message,
        "DIR: 2 of 3 test images have no caption, the first is new.jpg; write some, or leave these images out with --skip-bad"
    );
}

#[test]
fn malformed_lines_are_named() {
    let root = folder(&[("Flickr8k.token.txt", "a.jpg#0\tfine\n\na.jpg#1 no tab\n")]);
    let message = refusal(&root, Split::Train);
    assert_eq!(
        message,
        "DIR/Flickr8k.token.txt: line 3 is not IMAGE#NUMBER<tab>CAPTION: 'a.jpg#1 no tab'"
    );

    let root = folder(&[TOKENS, TRAIN, ("Flickr_8k.devImages.txt", "c.jpg\na.jpg\n")]);
    let message = refusal(&root, Split::Train);
    assert_eq!(
        message,
        "DIR/Flickr_8k.devImages.txt: line 2 lists a.jpg, which is in train already"
    );

    let root = folder(&[("Flickr8k.token.txt", "../../secret.jpg#0\tfine\n")]);
    assert!(refusal(&root, Split::Train).contains("line 1 is not IMAGE#NUMBER"));

    let root = folder(&[("a.jpg", "")]);
    fs::write(
        root.path().join("captions.txt"),
        b"image,caption\na.jpg,caf\xe9\n",
    )
    .unwrap();
    assert_eq!(
        split(&root, Split::Train),
        [example(&root, "a.jpg", &["caf\u{e9}"])]
    );
}

#[test]
fn kaggle() {
    let mut captions = String::from("\u{feff}image,caption\n");
    let mut files = Vec::new();
    for i in 0..16 {
        captions += &format!("{i}.jpg,\"Dog {i}, \"\"big\"\"\"\r\n{i}.jpg,A cat, unquoted\n");
        files.push(format!("Images/{i}.jpg"));
    }
    let mut tree = vec![("captions.txt", captions.as_str())];
    tree.extend(files.iter().map(|file| (file.as_str(), "")));
    let root = folder(&tree);
    let dataset = Dataset::open(root.path()).unwrap();
    assert!(dataset.split_rule().is_some());
    let [train, dev, test] =
        [Split::Train, Split::Dev, Split::Test].map(|s| dataset.split(s).unwrap());
    assert_eq!((train.len(), dev.len(), test.len()), (12, 2, 2));
    let mut names: Vec<String> = [train, dev, test]
        .concat()
        .into_iter()
        .map(|e| e.name)
        .collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 16);
    let first = split(&root, Split::Dev).remove(0);
    let number = first.name.trim_end_matches(".jpg");
    assert_eq!(
        first.captions,
        [format!("Dog {number}, \"big\""), "A cat, unquoted".into()]
    );
    assert_eq!(first.image, root.path().join("Images").join(&first.name));
}

#[test]
fn kaggle_with_the_official_lists() {
    let root = folder(&[
        ("captions.txt", "image,caption\na.jpg,A cat\nb.jpg,A dog\n"),
        TRAIN,
        ("a.jpg", ""),
        ("b.jpg", ""),
    ]);
    assert!(Dataset::open(root.path()).unwrap().split_rule().is_none());
    assert_eq!(
        split(&root, Split::Train),
        [
            example(&root, "b.jpg", &["A dog"]),
            example(&root, "a.jpg", &["A cat"])
        ]
    );
}

#[test]
fn kaggle_gone_wrong() {
    let root = folder(&[
        (
            "captions.txt",
            "image,caption\na.jpg,\"one\ntwo\"\nb.jpg,\"open\nc.jpg,x\n",
        ),
        ("a.jpg", ""),
        ("b.jpg", ""),
        ("c.jpg", ""),
    ]);
    let expected = [("a.jpg", "one two"), ("b.jpg", "\"open"), ("c.jpg", "x")];
    let expected = expected.map(|(name, caption)| example(&root, name, &[caption]));
    assert_eq!(split(&root, Split::Train), expected);
    assert!(remarks(&root)[0].starts_with(
        "DIR/captions.txt: has a line with a quotation mark that nothing closes, the first is line 4;"
    ));
    let root = folder(&[("captions.txt", "image,caption\n\na.jpg\n")]);
    assert_eq!(
        refusal(&root, Split::Train),
        "DIR/captions.txt: line 3 is not IMAGE,CAPTION: 'a.jpg'"
    );
    let root = folder(&[("captions.txt", "a.jpg,\n"), ("a.jpg", "")]);
    assert_eq!(
        refusal(&root, Split::Train),
        "DIR: 1 of 1 train images have no caption, the first is a.jpg; write some, or leave these images out with --skip-bad"
    );
    let root = folder(&[("captions.txt", "a.jpg,x\n"), ("a.jpg", "")]);
    assert_eq!(
        refusal(&root, Split::Dev),
        "DIR: has no dev split: there are too few images to set any apart"
    );
}

#[test]
fn karpathy() {
    let json = r#"{"dataset": "coco", "images": [
        {"filename": "a.jpg", "filepath": "val2014", "split": "restval", "imgid": 0, "sentences": [{"raw": "A cat. ", "tokens": ["a", "cat"]}]},
        {"filename": "b.jpg", "filepath": "train2014", "split": "train", "sentences": [{"raw": "A dog."}, {"raw": ""}]},
        {"filename": "c.jpg", "filepath": "val2014", "split": "val", "sentences": [{"raw": "A cow."}]},
        {"filename": "d.jpg", "filepath": "val2014", "split": "test", "sentences": [{"raw": "A hen."}]}]}"#;
    let images = [
        ("images/val2014/a.jpg", ""),
        ("images/train2014/b.jpg", ""),
        ("images/val2014/c.jpg", ""),
    ];
    // The captions of another distribution in the folder are ignored.
    let root = folder(
        &[
            &[("dataset_coco.json", json), ("captions.txt", "?")],
            &images[..],
        ]
        .concat(),
    );
    let expected = [
        example(&root, "images/val2014/a.jpg", &["A cat."]),
        example(&root, "images/train2014/b.jpg", &["A dog."]),
    ];
    assert_eq!(split(&root, Split::Train), expected);
    assert_eq!(
        split(&root, Split::Dev),
        [example(&root, "images/val2014/c.jpg", &["A cow."])]
    );
    assert!(refusal(&root, Split::Test).starts_with("DIR: none of the 1 test images is here"));
}

#[test]
fn karpathy_gone_wrong() {
    let root = folder(&[("dataset_a.json", "{}"), ("dataset_b.json", "{}")]);
    assert_eq!(
        refusal(&root, Split::Train),
        "DIR: holds 2 files dataset_*.json, dataset_a.json, dataset_b.json; say which one is meant, as in --karpathy dataset_a.json"
    );
    let root = folder(&[("dataset_a.json", "{\"images\": [\n{\"filename\": 3}]}")]);
    let message = refusal(&root, Split::Train);
    assert!(
        message.starts_with("DIR/dataset_a.json: line 2, column 1")
            && message.ends_with(": has 3 where a text belongs"),
        "{message}"
    );
    let image = |name: &str, split: &str| {
        let text = format!(
            r#"{{"images": [{{"filename": "{name}", "split": "{split}", "sentences": []}}]}}"#
        );
        refusal(&folder(&[("dataset_a.json", &text)]), Split::Train)
    };
    assert_eq!(
        image("a.jpg", "extra"),
        "DIR/dataset_a.json: a.jpg is in an unknown split 'extra'; there are train, restval, val and test"
    );
    assert_eq!(
        image("../a.jpg", "train"),
        "DIR/dataset_a.json: '../a.jpg' is no image name"
    );
    assert_eq!(
        image("a.jpg", "val"),
        "DIR: has no train split: its JSON file gives no image to it"
    );
}

#[test]
fn flickr30k() {
    let tokens = (
        "results_20130124.token",
        "a.jpg#0\tA cat .\na.jpg#1\tIt sits .\n",
    );
    let root = folder(&[tokens, ("flickr30k-images/a.jpg", "")]);
    let expected = [example(
        &root,
        "flickr30k-images/a.jpg",
        &["A cat .", "It sits ."],
    )];
    assert_eq!(split(&root, Split::Train), expected);

    let table =
        "image_name| comment_number| comment\na.jpg| 0| A cat | sits .\na.jpg| 4   It sits .\n";
    let root = folder(&[("results.csv", table), ("flickr30k_images/a.jpg", "")]);
    let expected = [example(
        &root,
        "flickr30k_images/a.jpg",
        &["A cat | sits .", "It sits ."],
    )];
    assert_eq!(split(&root, Split::Train), expected);
    assert_eq!(Dataset::open(root.path()).unwrap().name(), "Flickr30k");

    let root = folder(&[(
        "results.csv",
        "image_name| comment_number| comment\na.jpg, 0, A cat\n",
    )]);
    let message = refusal(&root, Split::Train);
    assert_eq!(
        message,
        "DIR/results.csv: line 2 is not IMAGE_NAME|COMMENT_NUMBER|COMMENT: 'a.jpg, 0, A cat'"
    );
}

#[test]
fn coco() {
    let json = |name: &str| {
        format!(
            r#"{{"info": {{}}, "images": [{{"id": 7, "file_name": "{name}", "width": 1}}],
                "annotations": [{{"image_id": 7, "id": 1, "caption": "A cat.\n"}}, {{"image_id": 7, "id": 2, "caption": "It sits."}}]}}"#
        )
    };
    for (year, place) in [("2017", ""), ("2014", "images/")] {
        let [train, val] = ["train", "val"].map(|part| format!("{part}{year}"));
        let root = folder(&[
            (
                &format!("annotations/captions_{train}.json"),
                &json("a.jpg"),
            ),
            (&format!("annotations/captions_{val}.json"), &json("b.jpg")),
            (&format!("{place}{train}/a.jpg"), ""),
            (&format!("{place}{val}/b.jpg"), ""),
        ]);
        let expected = |image: &str| [example(&root, image, &["A cat.", "It sits."])];
        assert_eq!(
            split(&root, Split::Train),
            expected(&format!("{place}{train}/a.jpg"))
        );
        assert_eq!(
            split(&root, Split::Dev),
            expected(&format!("{place}{val}/b.jpg"))
        );
        let message = refusal(&root, Split::Test);
        assert_eq!(
            message,
            "DIR: has no test split: COCO publishes no captions for its test images"
        );
    }
    let root = folder(&[("annotations/captions_val2017.json", "[]")]);
    assert_eq!(
        refusal(&root, Split::Dev),
        "DIR/annotations/captions_val2017.json: line 1, column 2: has 0 values where there should be an object"
    );
}

#[test]
fn other_folders_are_refused_with_what_was_looked_for() {
    let root = folder(&[("a.jpg", "")]);
    let message = refusal(&root, Split::Train);
    for file in [
        "Flickr8k.token.txt",
        "dataset_*.json",
        "captions.txt",
        "results.csv",
        "captions_train2017.json",
    ] {
        assert!(message.contains(file), "{message}");
    }
    let error = Dataset::open(root.path().join("a.jpg"))
        .unwrap_err()
        .to_string();
    assert!(
        error.ends_with("a.jpg: is not a folder; a dataset is given by its folder"),
        "{error}"
    );
}

#[test]
fn the_real_flickr8k() {
    let Some(root) = std::env::var_os("GLIMPSE_FLICKR8K") else {
        eprintln!("skipped: GLIMPSE_FLICKR8K is not set");
        return;
    };
    let dataset = Dataset::open(root).unwrap();
    let [train, dev] = [Split::Train, Split::Dev].map(|split| dataset.split(split).unwrap());
    assert_eq!((train.len(), dev.len()), (6000, 1000));
    assert!(
        train
            .iter()
            .chain(&dev)
            .all(|example| example.captions.len() == 5)
    );
}

#[test]
fn pictures_without_captions() {
    for place in ["", "images/"] {
        let names = ["b.jpg", "a.webp", "notes.txt"].map(|name| format!("{place}{name}"));
        let root = folder(&[(&names[0], ""), (&names[1], ""), (&names[2], "no captions")]);
        let dataset = Dataset::open(root.path()).unwrap();
        assert!(!dataset.has_captions());
        assert_eq!(dataset.name(), "pictures without captions");
        let at = |i: usize| root.path().join(&names[i]);
        let found = dataset.pictures(Split::Train).unwrap();
        assert_eq!(found, [("a.webp".into(), at(1)), ("b.jpg".into(), at(0))]);
        assert!(dataset.pictures(Split::Dev).unwrap().is_empty());
        for part in [Split::Train, Split::Dev] {
            let message = refusal(&root, part);
            assert!(
                message.starts_with("DIR: holds pictures but no captions"),
                "{message}"
            );
        }
    }
    let message = refusal(&folder(&[("notes.txt", "")]), Split::Train);
    assert!(message.contains("is no dataset"), "{message}");
}

#[test]
fn a_dataset_names_its_pictures() {
    let root = folder(&[
        TOKENS,
        TRAIN,
        DEV,
        ("b.jpg", ""),
        ("a.jpg", ""),
        ("c.jpg", ""),
    ]);
    let dataset = Dataset::open(root.path()).unwrap();
    assert!(dataset.has_captions());
    let names = |split| -> Vec<String> {
        let found = dataset.pictures(split).unwrap().into_iter();
        found.map(|(name, _)| name).collect()
    };
    assert_eq!(names(Split::Train), ["b.jpg", "a.jpg"]);
    assert_eq!(names(Split::Dev), ["c.jpg"]);
    assert!(names(Split::Test).is_empty());
    fs::remove_file(root.path().join("a.jpg")).unwrap();
    assert!(dataset.pictures(Split::Train).is_err());
}
