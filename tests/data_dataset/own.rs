//! Tests of users' own pictures, with tables and texts as users write them.

use std::fs;

use glimpse::data::dataset::{Columns, Given, Topic};
use glimpse::data::{Dataset, Split};
use tempfile::TempDir;

use crate::{example, folder, refusal, remarks, remarks_of, split};

/// A folder with the table `name` and with these pictures in `photos`.
fn table(name: &str, bytes: &[u8], pictures: &[&str]) -> TempDir {
    let pictures: Vec<String> = pictures
        .iter()
        .map(|name| format!("photos/{name}"))
        .collect();
    let files: Vec<(&str, &str)> = pictures.iter().map(|name| (name.as_str(), "")).collect();
    let root = folder(&files);
    fs::write(root.path().join(name), bytes).unwrap();
    root
}

fn given(root: &TempDir) -> Given {
    Given::at(root.path())
}

#[test]
fn a_spreadsheet_beside_a_folder_of_pictures() {
    let text = "Dateiname;Beschreibung\r\n1.jpg;Zwei M\u{e4}dchen, die lachen\r\n2.jpg;\"Ein \"\"gro\u{df}er\"\" Hund\"\r\n;\r\n1.jpg;Kinder\r\n";
    // In Windows-1252, each of these letters is one byte.
    let latin: Vec<u8> = text
        .chars()
        .map(|c| u8::try_from(u32::from(c)).unwrap())
        .collect();
    let marked = [b"\xef\xbb\xbf", text.as_bytes()].concat();
    for bytes in [text.as_bytes(), &marked, &latin] {
        let root = table("Tabelle1.csv", bytes, &["1.jpg", "2.jpg"]);
        let expected = [
            example(
                &root,
                "photos/1.jpg",
                &["Zwei M\u{e4}dchen, die lachen", "Kinder"],
            ),
            example(&root, "photos/2.jpg", &["Ein \"gro\u{df}er\" Hund"]),
        ];
        assert_eq!(split(&root, Split::Train), expected);
        let said = remarks(&root);
        let is_latin = bytes == latin;
        assert_eq!(said.len(), 1 + usize::from(is_latin), "{said:?}");
        if is_latin {
            assert!(
                said[0].starts_with("DIR/Tabelle1.csv: is not UTF-8 (line 2 is the first that shows it) and is read as Windows-1252"),
                "{said:?}"
            );
        }
    }
}

#[test]
fn splits_are_made_by_a_rule_that_is_said() {
    let names: Vec<String> = (0..100).map(|i| format!("{i}.jpg")).collect();
    let pictures: Vec<&str> = names.iter().map(String::as_str).collect();
    let rows = |shift: usize| {
        let row = |i: usize| format!("{}.jpg,A dog {i}\n{}.jpg,A cat {i}\n", (i + shift) % 100, i);
        "file,text\n".to_string() + &(0..100).map(row).collect::<String>()
    };
    let root = table("captions.csv", rows(0).as_bytes(), &pictures);
    let dataset = Dataset::open(root.path()).unwrap();
    let dev = dataset.split(Split::Dev).unwrap();
    assert_eq!(
        (dataset.split(Split::Train).unwrap().len(), dev.len()),
        (90, 10)
    );
    assert!(dev.iter().all(|example| example.captions.len() == 2));
    assert!(dataset.split_rule().is_some());
    assert_eq!(
        remarks(&root),
        [
            "DIR: nothing says which pictures are for what, so a hash of their names does: 90 train, 10 dev"
        ]
    );
    assert_eq!(
        refusal(&root, Split::Test),
        "DIR: has no test split: of one's own pictures none is set apart for it; use dev"
    );
    // A picture stays in its split if the rows are in another order or other pictures are missing.
    let other = table("captions.csv", rows(7).as_bytes(), &pictures[1..]);
    let lost = dev.iter().filter(|example| example.name == "0.jpg").count();
    let again = split(&other, Split::Dev);
    assert_eq!(again.len() + lost, 10);
    assert!(again.iter().all(|a| dev.iter().any(|b| a.name == b.name)));
}

#[test]
fn a_column_or_tables_or_folders_say_the_splits() {
    let by_column =
        "split\timage\tcaption\ntrain\t1.jpg\tA dog\nvalidation\t2.jpg\tA cat\n\t3.jpg\tA cow\n";
    let root = table(
        "all.tsv",
        by_column.as_bytes(),
        &["1.jpg", "2.jpg", "3.jpg"],
    );
    assert_eq!(
        split(&root, Split::Train),
        [example(&root, "photos/1.jpg", &["A dog"])]
    );
    assert_eq!(
        split(&root, Split::Dev),
        [example(&root, "photos/2.jpg", &["A cat"])]
    );
    assert_eq!(
        remarks(&root),
        [
            "DIR/all.tsv: has 1 rows without a split, which are left out; the first is of 3.jpg",
            "DIR: 1 pictures are in no row that is used, and are left out; the first is 3.jpg"
        ]
    );

    let root = folder(&[
        ("train.csv", "image,caption\n1.jpg,A dog\n"),
        ("val.csv", "image,caption\n2.jpg,A cat\n"),
        ("1.jpg", ""),
        ("2.jpg", ""),
    ]);
    assert_eq!(
        split(&root, Split::Dev),
        [example(&root, "2.jpg", &["A cat"])]
    );
    assert!(remarks(&root).is_empty());

    let root = folder(&[
        (
            "train/metadata.jsonl",
            "\u{feff}{\"file_name\": \"1.jpg\", \"text\": \"A dog\"}\r\n\n",
        ),
        (
            "validation/metadata.jsonl",
            "{\"file_name\": \"1.jpg\", \"text\": [\"A cat\", \"It sits\"]}\n",
        ),
        ("train/1.jpg", ""),
        ("validation/1.jpg", ""),
    ]);
    let dev = &split(&root, Split::Dev)[0];
    assert_eq!(dev.name, "validation/1.jpg");
    assert_eq!(dev.captions, ["A cat", "It sits"]);
    assert_eq!(
        Dataset::open(root.path()).unwrap().name(),
        "an image folder with metadata"
    );

    let root = folder(&[
        (
            "metadata.csv",
            "file_name,text\ntrain/1.jpg,A dog\nval/2.jpg,A cat\n",
        ),
        ("train/1.jpg", ""),
        ("val/2.jpg", ""),
    ]);
    assert_eq!(
        split(&root, Split::Dev)[0].image,
        root.path().join("val/2.jpg")
    );

    let root = folder(&[
        ("train/1.jpg", ""),
        ("train/1.txt", "A dog\nIt runs\n"),
        ("val/2.jpg", ""),
        ("val/2.txt", "A cat"),
    ]);
    assert_eq!(split(&root, Split::Train)[0].captions, ["A dog", "It runs"]);
    assert_eq!(split(&root, Split::Dev)[0].name, "val/2.jpg");
}

#[test]
fn a_picture_in_two_splits_is_refused_everywhere() {
    let root = table(
        "a.csv",
        b"image,caption,split\n1.jpg,A dog,train\n1.jpg,A cat,dev\n",
        &["1.jpg"],
    );
    assert_eq!(
        refusal(&root, Split::Train),
        "DIR: 1.jpg is in two splits, train and dev; take it out of one of them"
    );
    let root = folder(&[
        ("train.csv", "image,caption\n1.jpg,A dog\n"),
        ("test.csv", "image,caption\n1.jpg,A cat\n"),
        ("1.jpg", ""),
    ]);
    assert!(refusal(&root, Split::Train).contains("1.jpg is in two splits, train and test"));
    let lines = "{\"file_name\": \"1.jpg\", \"text\": \"a\", \"split\": \"train\"}\n{\"file_name\": \"1.jpg\", \"text\": \"b\", \"split\": \"val\"}\n";
    let root = folder(&[("metadata.jsonl", lines), ("1.jpg", "")]);
    assert!(refusal(&root, Split::Train).contains("1.jpg is in two splits, train and dev"));
    let image = |split: &str| {
        format!(r#"{{"filename": "a.jpg", "split": "{split}", "sentences": [{{"raw": "x"}}]}}"#)
    };
    let json = format!(r#"{{"images": [{}, {}]}}"#, image("train"), image("test"));
    let root = folder(&[("dataset_x.json", &json), ("a.jpg", "")]);
    assert!(refusal(&root, Split::Train).contains("a.jpg is in two splits, train and test"));
    let json = r#"{"images": [{"id": 7, "file_name": "a.jpg"}], "annotations": [{"image_id": 7, "caption": "A cat"}]}"#;
    let root = folder(&[
        ("captions_train2017.json", json),
        ("captions_val2017.json", json),
    ]);
    assert!(refusal(&root, Split::Train).contains("a.jpg is in two splits, train and dev"));
}

#[test]
fn what_is_left_out_is_counted() {
    let text = "image,caption\n1.jpg,A dog\n2.jpg,\n3.jpg.1,A cat\n4.jpg,A cow\n";
    let root = table(
        "a.csv",
        text.as_bytes(),
        &["1.jpg", "2.jpg", "5.jpg", "6.jpg"],
    );
    let dataset = Dataset::open(root.path()).unwrap();
    assert_eq!(dataset.split(Split::Train).unwrap().len(), 1);
    let counts: Vec<(Topic, usize)> = dataset
        .remarks()
        .iter()
        .map(|r| (r.topic, r.count))
        .collect();
    assert_eq!(
        counts,
        [
            (Topic::NotListed, 2),
            (Topic::MissingPicture, 2),
            (Topic::NoCaption, 1),
            (Topic::Rule, 0)
        ]
    );
    let said = remarks(&root);
    assert_eq!(
        said[0],
        "DIR: 2 pictures are in no row that is used, and are left out; the first is 5.jpg"
    );
    assert!(
        said[1].starts_with(
            "DIR: 2 of 4 pictures are listed and not there, and are left out; the first is "
        ),
        "{said:?}"
    );
    // A dev split without any existing picture is an error, not an absent split.
    let dev = dataset
        .listed()
        .find(|one| one.split == Split::Dev)
        .unwrap();
    if dev.is_left_out {
        assert!(dataset.has_split(Split::Dev) && dataset.split(Split::Dev).is_err());
    }
}

#[test]
fn columns_and_tables_are_named() {
    let root = table(
        "a.csv",
        "Nr;Foto;Was man sieht\n1;1.jpg;Ein Hund\n".as_bytes(),
        &["1.jpg"],
    );
    assert_eq!(
        refusal(&root, Split::Train),
        "DIR/a.csv: no column is known to hold pictures beside one that holds captions: its columns are 'Nr', 'Foto', 'Was man \
         sieht'; say which are which with --columns, as in --columns \"image=Nr,caption=Was man sieht\""
    );
    let columns: Columns = "image=Foto,caption=Was man sieht".parse().unwrap();
    let named = Given {
        columns: Some(columns.clone()),
        ..given(&root)
    };
    let found = Dataset::read(&named).unwrap().split(Split::Train).unwrap();
    assert_eq!(found, [example(&root, "photos/1.jpg", &["Ein Hund"])]);

    fs::write(root.path().join("b.csv"), "x,y\n").unwrap();
    assert_eq!(
        refusal(&root, Split::Train),
        "DIR: holds several tables, a.csv, b.csv; say with --table which of them has the captions"
    );
    let chosen = Given {
        table: Some("a.csv".into()),
        ..named
    };
    assert_eq!(
        Dataset::read(&chosen)
            .unwrap()
            .split(Split::Train)
            .unwrap()
            .len(),
        1
    );
    let missing = Given {
        table: Some("c.csv".into()),
        ..given(&root)
    };
    assert!(
        Dataset::read(&missing)
            .unwrap_err()
            .to_string()
            .ends_with("does not exist; check the path")
    );

    let root = folder(&[("Flickr8k.token.txt", "a.jpg#0\tA dog\n"), ("a.jpg", "")]);
    let odd = Given {
        columns: Some(columns),
        ..given(&root)
    };
    let message = Dataset::read(&odd).unwrap_err().to_string();
    assert!(
        message.contains("is Flickr8k, whose columns are known"),
        "{message}"
    );
}

#[test]
fn names_differ_a_little() {
    // Different capitals, no file ending, a path of another system, and a decomposed letter.
    let text = "image,caption\nimg_1.JPG,A dog\nIMG_2,A cat\nC:\\photos\\IMG_3.jpg,A cow\nB\u{e4}r.jpg,A bear\n";
    let root = table(
        "a.csv",
        text.as_bytes(),
        &["IMG_1.jpg", "IMG_2.jpg", "IMG_3.jpg", "Ba\u{308}r.jpg"],
    );
    let dataset = Dataset::open(root.path()).unwrap();
    let all = [Split::Train, Split::Dev]
        .map(|part| dataset.split(part).unwrap_or_default())
        .concat();
    assert_eq!(all.len(), 4, "{:?}", dataset.remarks());
    let said = remarks(&root);
    assert!(
        said[0].contains("3 pictures are called a little differently from what is listed")
            || said[0].contains("2 pictures are called a little differently"),
        "{said:?}"
    );
    // A name that matches two pictures matches none.
    let root = table(
        "a.csv",
        b"image,caption\nx,A dog\ny.jpg,A cat\n",
        &["x.jpg", "x.png", "y.jpg"],
    );
    let dataset = Dataset::open(root.path()).unwrap();
    assert_eq!(dataset.split(Split::Train).unwrap()[0].name, "y.jpg");
    assert!(
        remarks_of(&root, &dataset)
            .iter()
            .any(|r| r.contains("1 of 2 pictures are listed and not there"))
    );
}

#[test]
fn pictures_that_are_there_twice_are_taken_from_one_folder() {
    let root = folder(&[
        (
            "a.csv",
            "image,caption\n1.jpg,A dog\n2.jpg,A cat\n3.jpg,A cow\n",
        ),
        ("photos/1.jpg", ""),
        ("photos/2.jpg", ""),
        // This folder contains the first picture too, so it counts as a second version of the pictures.
        ("a thumbs/1.jpg", ""),
        ("a thumbs/3.jpg", ""),
    ]);
    fs::write(root.path().join("photos/4.jpg"), "").unwrap();
    let dataset = Dataset::open(root.path()).unwrap();
    // Both folders have two of the pictures: all come from the same folder.
    let files: Vec<_> = dataset.listed().filter_map(|one| one.file).collect();
    assert_eq!(files.len(), 2);
    assert!(
        files.iter().all(|file| file.parent() == files[0].parent()),
        "{files:?}"
    );
}

#[test]
fn texts_beside_pictures() {
    let root = folder(&[
        ("images/a.jpg", ""),
        (
            "images/a.txt",
            "\u{feff}Ein B\u{e4}r\r\n\r\nEr schl\u{e4}ft\r\n",
        ),
        ("images/b.jpg", ""),
        ("images/c.png", ""),
        ("images/c.png.txt", "A dog\n"),
        ("images/d.jpg", ""),
        ("images/d.txt", "\n"),
    ]);
    let expected = [
        example(&root, "images/a.jpg", &["Ein B\u{e4}r", "Er schl\u{e4}ft"]),
        example(&root, "images/c.png", &["A dog"]),
    ];
    assert_eq!(split(&root, Split::Train), expected);
    let said = remarks(&root);
    assert_eq!(
        said[0],
        "DIR/images: 1 of 4 pictures have no text file beside them and are left out, the first is b.jpg"
    );
    assert_eq!(
        said[1],
        "DIR: 1 of 3 pictures have no caption, and are left out; the first is d.jpg"
    );
}

#[test]
fn texts_that_cannot_be_read_say_why() {
    let utf16: Vec<u8> = "image,caption\n1.jpg,A dog\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let marked = [&[0xFF, 0xFE][..], &utf16].concat();
    for bytes in [utf16, marked] {
        let root = table("a.csv", &bytes, &["1.jpg"]);
        let message = refusal(&root, Split::Train);
        assert!(
            message.starts_with("DIR/a.csv: is UTF-16 text; save it as UTF-8"),
            "{message}"
        );
    }
    let root = folder(&[]);
    fs::write(root.path().join("dataset_x.json"), [0xFE, 0xFF, 0, b'{']).unwrap();
    assert!(refusal(&root, Split::Train).contains("dataset_x.json: is UTF-16 text"));
    // UTF-8 with a damaged letter is not taken for Windows-1252.
    let damaged = "image,caption\n1.jpg,Ein B\u{e4}r\n2.jpg,X\n".replace('X', "\u{fc}");
    let mut damaged = damaged.into_bytes();
    let at = damaged.iter().rposition(|byte| *byte == 0xBC).unwrap();
    damaged.remove(at);
    let root = table("a.csv", &damaged, &["1.jpg"]);
    assert_eq!(
        refusal(&root, Split::Train),
        "DIR/a.csv: line 3 is not UTF-8 text; repair it, or save the file as UTF-8"
    );
    let root = table("a.csv", b"image,caption\n1.jpg,\xff\x01\x02\n", &["1.jpg"]);
    assert!(refusal(&root, Split::Train).contains("line 2 is not UTF-8 text"));
}

#[test]
fn broken_lines_of_json_are_named() {
    for (line, expected) in [
        ("{\"file_name\": \"1.jpg\"", "line 2 is no JSON object"),
        (
            "{\"name\": \"1.jpg\", \"says\": \"x\"}",
            "line 2 has no key that is known to hold a picture's file beside one that holds its caption: its keys are name, says; say",
        ),
        (
            "{\"file_name\": \"1.jpg\", \"text\": 3}",
            "line 2 has 3 where a caption belongs",
        ),
        (
            "{\"file_name\": \"../1.jpg\", \"text\": \"x\"}",
            "line 2 names a picture outside",
        ),
        (
            "{\"file_name\": \"1.jpg\", \"text\": \"x\", \"split\": \"extra\"}",
            "line 2 has an unknown split 'extra'",
        ),
    ] {
        let text = format!("{{\"file_name\": \"0.jpg\", \"text\": \"a dog\"}}\n{line}\n");
        let root = folder(&[("metadata.jsonl", &text), ("0.jpg", ""), ("1.jpg", "")]);
        let message = refusal(&root, Split::Train);
        assert!(
            message.starts_with(&format!("DIR/metadata.jsonl: {expected}")),
            "{message}"
        );
        // With `examine`, the fault is a remark and the other lines are read.
        let dataset = Dataset::read(&Given {
            examine: true,
            ..given(&root)
        })
        .unwrap();
        assert_eq!(dataset.remarks()[0].topic, Topic::BrokenLine);
        assert_eq!(dataset.split(Split::Train).unwrap().len(), 1);
    }
    let text = "{\"file\": \"0.jpg\", \"says\": [\"a dog\", null]}\n";
    let root = folder(&[("metadata.jsonl", text), ("0.jpg", "")]);
    let columns = Some("image=file,caption=says".parse().unwrap());
    let found = Dataset::read(&Given {
        columns,
        ..given(&root)
    })
    .unwrap();
    assert_eq!(found.split(Split::Train).unwrap()[0].captions, ["a dog"]);
}

#[test]
fn bad_pictures_are_skipped_where_that_is_asked_for() {
    let root = folder(&[
        (
            "Flickr8k.token.txt",
            "a.png#0\tA dog\nb.png#0\tA cat\nc.png#0\tA cow\n",
        ),
        ("Flickr_8k.trainImages.txt", "a.png\nb.png\nc.png\nd.png\n"),
        ("b.png", "no picture"),
        ("d.png", ""),
    ]);
    image::RgbImage::new(4, 4)
        .save(root.path().join("a.png"))
        .unwrap();
    let message = refusal(&root, Split::Train);
    assert!(
        message.contains("1 of 4 train images have no caption"),
        "{message}"
    );
    let dataset = Dataset::open(root.path()).unwrap();
    let message = dataset.glance(&[Split::Train]).unwrap_err().to_string();
    assert!(
        message.contains("2 of 3 pictures cannot be used: b.png is not an image")
            && message.contains("; d.png is empty"),
        "{message}"
    );
    let skipping = Given {
        skip_bad: true,
        ..given(&root)
    };
    let dataset = Dataset::read_for(&skipping, &[Split::Train]).unwrap();
    assert_eq!(
        dataset.split(Split::Train).unwrap(),
        [example(&root, "a.png", &["A dog"])]
    );
    dataset.glance(&[Split::Train]).unwrap();
    let said = remarks_of(&root, &dataset);
    assert!(
        said[0].starts_with("DIR: 3 of 4 pictures cannot be used, and are left out as --skip-bad says; the first: b.png is not"),
        "{said:?}"
    );
    fs::remove_file(root.path().join("a.png")).unwrap();
    let message = Dataset::read_for(&skipping, &[Split::Train])
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("none of its 4 pictures can be used"),
        "{message}"
    );
}
