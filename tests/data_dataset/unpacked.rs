//! Tests of the published datasets in the folders that result from unpacking them.

use std::fs;

use glimpse::data::dataset::Given;
use glimpse::data::{Dataset, Split};

use crate::{DEV, TOKENS, TRAIN, example, folder, refusal, remarks, split};

#[test]
fn flickr8k_in_folders_of_its_own() {
    let tokens = (format!("Flickr8k_text/{}", TOKENS.0), TOKENS.1);
    let [train, dev] = [TRAIN, DEV].map(|(name, text)| (format!("Flickr8k_text/{name}"), text));
    for place in [
        "Flicker8k_Dataset",
        "Flickr8k_Dataset/Flicker8k_Dataset",
        "Flickr8k_Dataset/Flickr8k_Dataset",
        "x/y",
    ] {
        let images = ["a", "b", "c"].map(|name| format!("{place}/{name}.jpg"));
        let mut files: Vec<(&str, &str)> =
            vec![(&tokens.0, tokens.1), (&train.0, train.1), (&dev.0, dev.1)];
        files.extend(images.iter().map(|image| (image.as_str(), "")));
        let root = folder(&files);
        assert_eq!(
            split(&root, Split::Dev),
            [example(&root, &images[2], &["A cow ."])]
        );
        assert_eq!(split(&root, Split::Train).len(), 2);
        assert_eq!(
            remarks(&root),
            [
                "DIR/Flickr8k_text/Flickr8k.token.txt: has captions of 1 images that no list of a split names, which are left \
              out; the first is lost.jpg.1"
            ]
        );
    }
}

#[test]
fn flickr30k_in_every_spelling() {
    let rows = |delimiter: &str, titles: &str| {
        let titles = titles.replace('|', delimiter);
        let row = |i: usize| {
            format!(
                "{i}.jpg{delimiter}0{delimiter}A dog {i}\n{i}.jpg{delimiter}1{delimiter}A cat {i}\n"
            )
        };
        titles
            + "\n"
            + &(0..16).map(row).collect::<String>()
            + &format!("lost.jpg.1{delimiter}0{delimiter}Nobody\n")
    };
    let titles = "image_name|comment_number|comment";
    let spaced = "image_name| comment_number| comment";
    for (file, text, place) in [
        ("results.csv", rows("| ", titles), "flickr30k_images"),
        (
            "results.csv",
            rows("|", spaced),
            "flickr30k_images/flickr30k_images",
        ),
        (
            "flickr30k_images/results.csv",
            rows("|", titles),
            "flickr30k_images/flickr30k_images",
        ),
        ("captions.txt", rows(",", titles), "Images"),
        ("captions.txt", rows(";", titles), "Images"),
        ("results.csv", rows("\t", titles), "flickr30k-images"),
    ] {
        let images: Vec<String> = (0..16).map(|i| format!("{place}/{i}.jpg")).collect();
        let mut files: Vec<(&str, &str)> = vec![(file, &text)];
        files.extend(images.iter().map(|image| (image.as_str(), "")));
        let root = folder(&files);
        let dataset = Dataset::open(root.path()).unwrap();
        let parts = Split::ALL.map(|part| dataset.split(part).unwrap());
        let all = parts.concat();
        assert_eq!(all.len(), 16, "{file} {place}");
        assert!(all.iter().all(|example| example.captions.len() == 2
            && !example.captions[0].contains(' '.to_string().repeat(2).as_str())));
        let said = remarks(&root);
        assert_eq!(
            said[0],
            "DIR: 1 of 17 pictures are listed and not there, and are left out; the first is lost.jpg.1"
        );
        assert!(said[1].contains("a hash of their names does: "), "{said:?}");
    }
}

#[test]
fn karpathys_files_unpacked_together() {
    let json = |name: &str| {
        format!(
            "\u{feff}{{\"images\": [{{\"filename\": \"{name}\", \"imgid\": \"3\", \"cocoid\": 391895.0, \"split\": \"train\",
              \"sentences\": [{{\"tokens\": [\"a\", \"dog\"]}}, {{\"raw\": \"A dog runs.\", \"tokens\": [\"x\"]}}]}}]}}"
        )
    };
    let (coco, flickr) = (json("a.jpg"), json("b.jpg"));
    let root = folder(&[
        ("caption_datasets/dataset_coco.json", &coco),
        ("caption_datasets/dataset_flickr8k.json", &flickr),
        ("images/b.jpg", ""),
    ]);
    assert_eq!(
        refusal(&root, Split::Train),
        "DIR/caption_datasets: holds 2 files dataset_*.json, dataset_coco.json, dataset_flickr8k.json; say which one is meant, as \
         in --karpathy dataset_coco.json"
    );
    let whole = root.path().join("caption_datasets/dataset_flickr8k.json");
    for name in ["dataset_flickr8k.json".into(), whole.clone()] {
        let given = Given {
            karpathy: Some(name),
            ..Given::at(root.path())
        };
        let dataset = Dataset::read(&given).unwrap();
        let expected = example(&root, "images/b.jpg", &["a dog", "A dog runs."]);
        assert_eq!(dataset.split(Split::Train).unwrap(), [expected]);
        assert_eq!(
            dataset.numbers().into_iter().collect::<Vec<_>>(),
            [(391_895, "b.jpg".to_string())]
        );
    }
    let given = Given {
        karpathy: Some("dataset_none.json".into()),
        ..Given::at(root.path())
    };
    assert_eq!(
        Dataset::read(&given).unwrap_err().to_string(),
        "dataset_none.json: does not exist; check the path"
    );
    // The named file is read although the captions of another dataset are in the folder.
    fs::write(root.path().join(TOKENS.0), TOKENS.1).unwrap();
    let given = Given {
        karpathy: Some(whole),
        ..Given::at(root.path())
    };
    assert_eq!(Dataset::read(&given).unwrap().name(), "Karpathy's split");
}

#[test]
fn coco_wherever_it_was_put() {
    let json = |name: &str, id: &str| {
        format!(
            "\u{feff}{{\"images\": [{{\"id\": {id}, \"file_name\": \"{name}\"}}],
              \"annotations\": [{{\"image_id\": \"{}\", \"caption\": \"A cat.\"}}, {{\"image_id\": 99, \"caption\": \"Lost\"}}]}}",
            id.trim_matches('"').trim_end_matches(".0")
        )
    };
    let (train, val) = (json("a.jpg", "7.0"), json("b.jpg", "\"8\""));
    for (place, images) in [
        ("", ["train2017/a.jpg", "val2017/b.jpg"]),
        (
            "annotations/",
            ["images/train2017/a.jpg", "images/val2017/b.jpg"],
        ),
        ("annotations/", ["images/a.jpg", "images/b.jpg"]),
        (
            "annotations_trainval2017/annotations/",
            ["train2017/a.jpg", "images/val2017/b.jpg"],
        ),
    ] {
        let names = ["train", "val"].map(|part| format!("{place}captions_{part}2017.json"));
        let root = folder(&[
            (&names[0], &train),
            (&names[1], &val),
            (images[0], ""),
            (images[1], ""),
        ]);
        assert_eq!(
            split(&root, Split::Train),
            [example(&root, images[0], &["A cat."])]
        );
        assert_eq!(
            split(&root, Split::Dev),
            [example(&root, images[1], &["A cat."])]
        );
        let numbers = Dataset::open(root.path()).unwrap().numbers();
        assert_eq!(numbers.keys().copied().collect::<Vec<u64>>(), [7, 8]);
        let said = remarks(&root);
        assert!(said[0].ends_with("has captions of 1 images that it does not list, which are left out; the first is 99"), "{said:?}");
    }
    let old = json("c.jpg", "9");
    let root = folder(&[
        ("captions_train2014.json", &old),
        ("captions_train2017.json", &train),
        ("train2017/a.jpg", ""),
    ]);
    assert_eq!(split(&root, Split::Train)[0].name, "a.jpg");
    assert!(remarks(&root)[0].starts_with("DIR/captions_train2014.json: is not read"));
}
