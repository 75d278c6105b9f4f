//! Pictures of people's own, where a table may mean several things: what is meant is found, said or refused, and never guessed
//! in silence.

use std::fs;

use glimpse::data::dataset::{Given, Topic};
use glimpse::data::{Dataset, Example, Split};
use tempfile::TempDir;

use crate::{folder, refusal, remarks};

/// A folder with a table `c.csv` and these empty pictures.
fn table(text: &str, pictures: &[&str]) -> TempDir {
    let mut files = vec![("c.csv", text)];
    files.extend(pictures.iter().map(|name| (*name, "")));
    folder(&files)
}

/// All that is used, in the order of the files: each file below the folder with its captions.
fn all(root: &TempDir) -> Vec<(String, String)> {
    let dataset = Dataset::open(root.path()).unwrap();
    let parts = Split::ALL.map(|part| dataset.split(part).unwrap_or_default());
    let pair = |example: Example| {
        let file = example.image.strip_prefix(root.path()).unwrap();
        let file = file.to_string_lossy().replace('\\', "/");
        (file, example.captions.join(" / "))
    };
    let mut found: Vec<_> = parts.concat().into_iter().map(pair).collect();
    found.sort();
    found
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let pair = |(file, captions): &(&str, &str)| (file.to_string(), captions.to_string());
    expected.iter().map(pair).collect()
}

/// What is said about a topic.
fn said(root: &TempDir, topic: Topic) -> Vec<String> {
    let dataset = Dataset::open(root.path()).unwrap();
    let remarks = dataset.remarks().iter().filter(|r| r.topic == topic);
    remarks.map(|remark| remark.text.clone()).collect()
}

const CATS_AND_DOGS: [&str; 4] = ["cats/0.jpg", "cats/1.jpg", "dogs/0.jpg", "dogs/1.jpg"];

#[test]
fn paths_of_another_computer_keep_the_folders_that_tell_them_apart() {
    for start in ["C:\\Bilder\\", "/home/me/data/", "https://x.org/"] {
        let text = format!(
            "image,caption\n{start}cats/0.jpg,c0\n{start}cats/1.jpg,c1\n{start}dogs/0.jpg,d0\n{start}dogs/1.jpg,d1\n"
        );
        let text = match start.contains('\\') {
            true => text.replace('/', "\\"),
            false => text,
        };
        for place in ["", "set/"] {
            let pictures = CATS_AND_DOGS.map(|name| format!("{place}{name}"));
            let root = table(&text, &pictures.each_ref().map(String::as_str));
            let found = all(&root);
            let captions: Vec<&str> = found.iter().map(|(_, c)| c.as_str()).collect();
            assert_eq!(captions, ["c0", "c1", "d0", "d1"], "{start} {place}");
            assert_eq!(found[2].0, pictures[2]);
        }
    }
    // The longest end of the path counts, also where other pictures are called so.
    let text = "image,caption\n/x/originals/0.jpg,a dog\n/x/originals/1.jpg,a cat\n";
    let root = table(
        text,
        &[
            "masks/0.jpg",
            "masks/1.jpg",
            "originals/0.jpg",
            "originals/1.jpg",
        ],
    );
    assert_eq!(all(&root)[0].0, "originals/0.jpg");
    // The dataset's folder may be one of the path's.
    let root = table("image,caption\n", &["photos/0.jpg", "other/0.jpg"]);
    let name = root.path().file_name().unwrap().to_string_lossy();
    let text = format!("image,caption\n/x/{name}/photos/0.jpg,a dog\n");
    fs::write(root.path().join("c.csv"), text).unwrap();
    assert_eq!(all(&root), pairs(&[("photos/0.jpg", "a dog")]));
}

#[test]
fn several_paths_are_never_one_file_in_silence() {
    // Of one name for all nothing is found.
    let text = "image,caption\nhttps://x.org/0/full.jpg,a\nhttps://x.org/1/full.jpg,b\n";
    let message = refusal(&table(text, &["photos/full.jpg"]), Split::Train);
    assert!(
        message.starts_with("DIR: none of the 2 train images is here"),
        "{message}"
    );
    let text = "image,caption\n/a/2019/photos/1.jpg,a\n/a/2020/photos/1.jpg,b\n";
    assert_eq!(
        refusal(&table(text, &["photos/1.jpg"]), Split::Train),
        "DIR: a/2019/photos/1.jpg and a/2020/photos/1.jpg are two pictures in the list, and one file here; have their folders \
         here too, or write names that are files here into the table"
    );
    // Files' names alone tell these apart, which is said.
    let text = "image,caption\n/a/2019/1.jpg,a\n/a/2020/2.jpg,b\n";
    let root = table(text, &["photos/1.jpg", "photos/2.jpg"]);
    assert_eq!(
        all(&root),
        pairs(&[("photos/1.jpg", "a"), ("photos/2.jpg", "b")])
    );
    let said = said(&root, Topic::OtherName);
    assert!(
        said[0].contains("2 pictures are listed with folders that are not here"),
        "{said:?}"
    );
    let text = "image,caption\n/a/cats/1.jpg,a\n";
    let message = refusal(
        &table(text, &["x/cats/1.jpg", "y/cats/1.jpg"]),
        Split::Train,
    );
    assert_eq!(
        message,
        "DIR: a/cats of the list may be x/cats or y/cats here; move away the one that is not meant"
    );
}

#[test]
fn a_picture_of_another_folder_is_none() {
    for start in ["", "/x/"] {
        let text = format!(
            "image,caption\n{start}cats/0.jpg,c0\n{start}cats/5.jpg,c5\n{start}cats/6.jpg,c6\n{start}dogs/1.jpg,d1\n"
        );
        let root = table(
            &text,
            &[
                "cats/0.jpg",
                "cats/6.JPG",
                "dogs/1.jpg",
                "dogs/5.jpg",
                "dogs/6.jpg",
            ],
        );
        assert_eq!(
            all(&root),
            pairs(&[
                ("cats/0.jpg", "c0"),
                ("cats/6.JPG", "c6"),
                ("dogs/1.jpg", "d1")
            ])
        );
        let said = said(&root, Topic::MissingPicture);
        assert!(said[0].ends_with("the first is cats/5.jpg"), "{said:?}");
    }
    let root = table("image,caption\ncats/1.jpg,a\n", &["dogs/1.jpg"]);
    assert!(refusal(&root, Split::Train).starts_with("DIR: none of the 1 train images is here"));
}

#[test]
fn one_file_by_two_names() {
    let rows = |names: [&str; 2], splits: [&str; 2]| {
        let [a, b] = [0, 1].map(|at| format!("{},caption {at},{}\n", names[at], splits[at]));
        format!("image,caption,split\n{a}{b}")
    };
    let cases = [
        (["0.jpg", "photos/0.jpg"], "photos/0.jpg"),
        (["0.jpg", "C:\\x\\photos\\0.jpg"], "photos/0.jpg"),
        (["0.jpg", "0.Jpg"], "photos/0.JPG"),
        (["\u{c4}.jpg", "A\u{308}.jpg"], "photos/\u{c4}.jpg"),
    ];
    for (names, file) in cases {
        let root = table(&rows(names, ["val", "train"]), &[file]);
        let message = refusal(&root, Split::Train);
        assert!(
            message.contains("are one picture in two splits, "),
            "{names:?}: {message}"
        );
        let root = table(&rows(names, ["train", "train"]), &[file]);
        let found = all(&root);
        assert_eq!(found.len(), 1, "{names:?}");
        assert!(
            found[0].1.contains("caption 0") && found[0].1.contains("caption 1"),
            "{found:?}"
        );
    }
    let root = folder(&[
        ("train.csv", "image,caption\nphotos/0.jpg,A dog\n"),
        ("val.csv", "image,caption\n0.jpg,A cat\n"),
        ("photos/0.jpg", ""),
    ]);
    let dataset = Dataset::read(&Given {
        examine: true,
        ..Given::at(root.path())
    })
    .unwrap();
    assert_eq!(dataset.remarks()[0].topic, Topic::TwoSplits);
    assert!(refusal(&root, Split::Dev).contains("are one picture in two splits"));
}

#[test]
fn folders_with_the_same_names_are_refused_or_said() {
    let text = "image,caption\n0.jpg,a dog\n1.jpg,a cat\n";
    let pictures = ["masks/0.jpg", "masks/1.jpg", "originals/0.jpg"];
    let root = table(text, &[&pictures[..], &["originals/1.jpg"]].concat());
    assert_eq!(
        refusal(&root, Split::Train),
        "DIR: 2 pictures lie both in masks and in originals, the first is 0.jpg; write the folder that is meant into the table, \
         as in masks/0.jpg, or move the other one away"
    );
    let root = table(text, &pictures);
    assert_eq!(all(&root)[0].0, "masks/0.jpg");
    let said = said(&root, Topic::Choice);
    assert!(
        said[0].ends_with("1 of 2 that are taken from masks lie in originals too (0.jpg)"),
        "{said:?}"
    );
    // What lies in the dataset's folder is what a name means.
    let root = table(text, &["0.jpg", "1.jpg", "masks/0.jpg", "masks/1.jpg"]);
    assert_eq!(all(&root)[0].0, "0.jpg");
    assert_eq!(remarks(&root).len(), 1);
}

#[test]
fn pictures_without_a_row_are_looked_for_where_the_others_are() {
    let root = table(
        "image,caption\nphotos/0.jpg,a\n",
        &["photos/0.jpg", "photos/1.jpg"],
    );
    let said = said(&root, Topic::NotListed);
    assert!(said[0].ends_with("the first is 1.jpg"), "{said:?}");
}

#[test]
fn splits_by_folders_outlast_a_stray_picture() {
    let root = table(
        "image,caption\ncover.jpg,x\ntrain/0.jpg,a\nval/1.jpg,b\n",
        &["cover.jpg", "train/0.jpg", "val/1.jpg"],
    );
    assert_eq!(
        all(&root),
        pairs(&[("train/0.jpg", "a"), ("val/1.jpg", "b")])
    );
    assert!(said(&root, Topic::NoSplit)[0].ends_with("the first is of cover.jpg"));
    let root = folder(&[
        ("cover.jpg", ""),
        ("cover.txt", "x"),
        ("train/0.jpg", ""),
        ("train/0.txt", "a"),
        ("val/1.jpg", ""),
        ("val/1.txt", "b"),
    ]);
    assert_eq!(
        all(&root),
        pairs(&[("train/0.jpg", "a"), ("val/1.jpg", "b")])
    );
    assert!(said(&root, Topic::NoSplit)[0].ends_with("the first is cover.jpg"));
}
