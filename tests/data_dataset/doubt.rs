//! Tests of users' own pictures with an ambiguous table. The reader resolves the ambiguity, reports its choice or refuses
//! the table; it never guesses silently.

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

/// Every example of the dataset, in the order of the files: the path below the folder, and a caption.
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

/// The remarks about a topic.
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
    // A path is matched by its longest possible end, even if other pictures have the same file name.
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
    // The path may contain the dataset's folder.
    let root = table("image,caption\n", &["photos/0.jpg", "other/0.jpg"]);
    let name = root.path().file_name().unwrap().to_string_lossy();
    let text = format!("image,caption\n/x/{name}/photos/0.jpg,a dog\n");
    fs::write(root.path().join("c.csv"), text).unwrap();
    assert_eq!(all(&root), pairs(&[("photos/0.jpg", "a dog")]));
}

#[test]
fn several_paths_are_never_one_file_in_silence() {
    // If all paths end in the same name, no picture is found.
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
    // Only the file names match here, which a remark reports.
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
        assert!(message.contains(" in two splits, "), "{names:?}: {message}");
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
    // A file directly in the dataset's folder is preferred.
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

#[test]
fn names_without_ending_are_known_by_the_pictures() {
    // A table without a header, and a table with picture names inside an unclosed quotation.
    let root = table("0,A dog\n1,A cat\n", &["photos/0.jpg", "photos/1.jpg"]);
    let named = Given {
        columns: Some("image=1,caption=2".parse().unwrap()),
        ..Given::at(root.path())
    };
    let dataset = Dataset::read(&named).unwrap();
    assert_eq!(dataset.split(Split::Train).unwrap().len(), 2);
    let root = table(
        "image,caption\nred,\"A dog\nblue,A cat\ngreen,A cow\"\n",
        &["photos/red.jpg", "photos/blue.jpg", "photos/green.jpg"],
    );
    assert_eq!(all(&root).len(), 3);
    assert!(said(&root, Topic::Quotation)[0].contains("the first is line 2"));
}

#[test]
fn keys_of_json_are_read_as_columns_are() {
    let line = |more: &str| format!("{{\"file_name\": \"0.jpg\", \"caption\": \"a\", {more}}}\n");
    let root = |more: &str| folder(&[("metadata.jsonl", &line(more)), ("0.jpg", "")]);
    let captions = |root: &TempDir| all(root)[0].1.clone();
    assert_eq!(captions(&root("\"caption_2\": \"b\"")), "a / b");
    assert_eq!(captions(&root("\"image_id\": \"7\"")), "a");
    assert_eq!(
        captions(&root("\"caption_2\": \"['b', 'c']\"")),
        "a / b / c"
    );
    let several = root("\"text\": \"b\"");
    assert_eq!(captions(&several), "a");
    assert!(said(&several, Topic::Columns)[0].contains("read from 'caption', and not from 'text'"));
    assert!(
        refusal(&root("\"split\": 1"), Split::Train)
            .ends_with("metadata.jsonl: line 1 has an unknown split '1': use train, dev or test")
    );
    // A file with a list of objects that the user names as the table.
    let list = "[{\"image\": \"0.jpg\", \"caption\": \"a\"}]";
    let root = folder(&[("captions.json", list), ("0.jpg", "")]);
    let named = Given {
        table: Some("captions.json".into()),
        ..Given::at(root.path())
    };
    let dataset = Dataset::read(&named).unwrap();
    assert_eq!(dataset.split(Split::Train).unwrap()[0].captions, ["a"]);
}

#[test]
fn a_table_of_titles_alone_has_no_rows() {
    assert_eq!(
        refusal(&table("image,caption\n", &["0.jpg"]), Split::Train),
        "DIR/c.csv: has no rows; write one for each caption, with the picture's name"
    );
}

#[test]
fn files_with_captions_that_are_not_read_are_said() {
    let rows = "file_name,text\n0.jpg,a\n";
    let line = "{\"file_name\": \"0.jpg\", \"text\": \"b\"}\n";
    for (files, others, read) in [
        (
            &[("captions.txt", rows), ("mine.csv", rows)][..],
            "mine.csv is not read",
            "captions.txt",
        ),
        (
            &[("metadata.csv", rows), ("metadata.jsonl", line)],
            "metadata.csv is not read",
            "metadata.jsonl",
        ),
        (
            &[("metadata.csv", rows), ("captions.csv", rows)],
            "captions.csv is not read",
            "metadata.csv",
        ),
        (
            &[
                ("metadata.csv", rows),
                ("train/metadata.jsonl", line),
                ("val/metadata.jsonl", line),
            ],
            "train/metadata.jsonl and 1 more files with captions are not read",
            "metadata.csv",
        ),
    ] {
        let root = folder(&[files, &[("0.jpg", "")]].concat());
        let said = said(&root, Topic::Choice);
        assert!(
            said[0].contains(others)
                && said[0].contains(&format!("as the captions are read from {read}; move")),
            "{said:?}"
        );
    }
    let root = folder(&[
        ("train/metadata.jsonl", line),
        ("train/0.jpg", ""),
        ("validation/1.jpg", ""),
    ]);
    assert!(said(&root, Topic::NotListed)[0].ends_with(
        "validation: has 1 pictures and no metadata.csv or metadata.jsonl, and is left out"
    ));
}

#[test]
fn a_text_with_the_whole_name_of_its_picture_comes_first() {
    let root = folder(&[
        ("0.jpg", ""),
        ("0.txt", "a dog"),
        ("0.png", ""),
        ("0.png.txt", "a zebra"),
        ("1.JPG", ""),
        ("1.TXT", "a cat"),
    ]);
    let expected = [("0.jpg", "a dog"), ("0.png", "a zebra"), ("1.JPG", "a cat")];
    assert_eq!(all(&root), pairs(&expected));
    assert!(said(&root, Topic::Choice).is_empty());
    fs::write(root.path().join("1.JPG.txt"), "a cow").unwrap();
    fs::write(root.path().join("0.bmp"), "").unwrap();
    assert_eq!(all(&root)[3], ("1.JPG".to_string(), "a cow".to_string()));
    let said = said(&root, Topic::Choice);
    assert!(said[0].ends_with("; the first is 1.TXT"), "{said:?}");
    assert!(
        said[1].ends_with("several pictures of one name, the first is 0.txt"),
        "{said:?}"
    );
}

#[test]
fn texts_in_other_encodings_are_told_together() {
    let root = folder(&[("0.jpg", ""), ("1.jpg", "")]);
    for name in ["0.txt", "1.txt"] {
        fs::write(root.path().join(name), b"\xff\xfea\0").unwrap();
    }
    let message = refusal(&root, Split::Train);
    assert!(
        message
            .starts_with("DIR: 2 text files cannot be read, the first: DIR/0.txt: is UTF-16 text"),
        "{message}"
    );
    let examined = Dataset::read(&Given {
        examine: true,
        ..Given::at(root.path())
    })
    .unwrap();
    let broken = &examined.remarks()[0];
    assert_eq!((broken.topic, broken.count), (Topic::BrokenLine, 2));
    for name in ["0.txt", "1.txt"] {
        fs::write(root.path().join(name), b"ein B\xe4r").unwrap();
    }
    assert_eq!(all(&root)[1].1, "ein B\u{e4}r");
    let said = said(&root, Topic::Encoding);
    assert!(
        said.len() == 1 && said[0].contains("2 text files are not UTF-8"),
        "{said:?}"
    );
}

#[test]
fn encodings_are_suspected_by_name() {
    let root = folder(&[]);
    let gbk = b"image,caption\n1.jpg,\xd2\xbb\xd6\xbb\xb9\xb7\n";
    fs::write(root.path().join("c.csv"), gbk).unwrap();
    assert!(refusal(&root, Split::Train).contains("line 2 is not UTF-8 text, and looks like GBK"));
    fs::write(
        root.path().join("dataset_a.json"),
        b"{\n\"images\": [\"l\xe4uft\"]}",
    )
    .unwrap();
    assert_eq!(
        refusal(&root, Split::Train),
        "DIR/dataset_a.json: line 2 is not UTF-8 text, which JSON is; save the file as UTF-8"
    );
}

#[test]
fn flickr30ks_table_is_any_table_where_its_columns_are_named() {
    let root = folder(&[
        ("results.csv", "Foto2;Text\n0.jpg;a dog\n"),
        ("Images/0.jpg", ""),
    ]);
    let named = Given {
        columns: Some("image=Foto2,caption=Text".parse().unwrap()),
        ..Given::at(root.path())
    };
    let dataset = Dataset::read(&named).unwrap();
    assert_eq!(dataset.split(Split::Train).unwrap()[0].captions, ["a dog"]);
}

#[test]
fn cocos_images_of_one_name_and_two_numbers_are_two() {
    let json = |id: u32| {
        format!(
            r#"{{"images": [{{"id": {id}, "file_name": "0.jpg"}}], "annotations": [{{"image_id": {id}, "caption": "c{id}"}}]}}"#
        )
    };
    let (train, val) = (json(1), json(2));
    let root = folder(&[
        ("captions_train2017.json", &train),
        ("captions_val2017.json", &val),
        ("train2017/0.jpg", ""),
        ("val2017/0.jpg", ""),
    ]);
    assert_eq!(
        all(&root),
        pairs(&[("train2017/0.jpg", "c1"), ("val2017/0.jpg", "c2")])
    );
}

#[test]
fn what_is_near_is_named_where_nothing_is_known() {
    for (files, expected) in [
        (
            &[("captions.xlsx", ""), ("photos/0.jpg", "")][..],
            "; captions.xlsx is a spreadsheet's own file: save it as CSV (UTF-8) beside the pictures",
        ),
        (
            &[("photos/c.csv", "image,caption\n"), ("photos/0.jpg", "")],
            "; photos/c.csv is a table in a folder of this one: name it, as in --table photos/c.csv",
        ),
        (
            &[("data/train/metadata.jsonl", ""), ("data/train/0.jpg", "")],
            "data/train/metadata.jsonl is in a folder of this one: give that, as in --data DIR/data",
        ),
        (
            &[("captions.json", "[]"), ("photos/0.jpg", "")],
            "is read with --table captions.json; COCO's files",
        ),
        (
            &[("x/0.jpg", "")],
            "; there are pictures in x, and no captions",
        ),
        (
            &[("x/0.txt", "")],
            "; found no pictures without captions either",
        ),
    ] {
        let message = refusal(&folder(files), Split::Train);
        assert!(message.contains(expected), "{message}");
    }
    let message = refusal(&folder(&[("a.xlsx", ""), ("0.jpg", "")]), Split::Train);
    assert!(
        message.contains("; a.xlsx is a spreadsheet's own file"),
        "{message}"
    );
}

#[test]
fn all_unreadable_pictures_are_named_in_one_go() {
    let root = folder(&[
        ("c.csv", "image,caption\n0.png,a\n1.png,b\n2.png,c\n"),
        ("0.png", "no picture"),
    ]);
    let whole = root.path().join("1.png");
    image::RgbImage::from_fn(64, 64, |x, y| image::Rgb([x as u8, y as u8, (x * y) as u8]))
        .save(&whole)
        .unwrap();
    let bytes = fs::read(&whole).unwrap();
    fs::write(root.path().join("2.png"), &bytes[..60]).unwrap();
    let dataset = Dataset::open(root.path()).unwrap();
    let message = dataset.glance(&[Split::Train]).unwrap_err().to_string();
    assert!(
        message.contains("2 of 3 pictures cannot be used: 0.png ") && message.contains("; 2.png "),
        "{message}"
    );
}
