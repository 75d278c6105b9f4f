//! Feeds every reader of foreign text with thousands of damaged inputs: each must answer with at most one line of error
//! and without a panic. The tests of image files and weight files are beside their readers.

#[path = "common/damage.rs"]
mod damage;

use std::fs;
use std::io::Write;
use std::path::Path;

use damage::Damage;
use glimpse::data::weights::{WeightFile, write_weights};
use glimpse::data::{Dataset, Given, Split, Vocabulary};
use glimpse::metrics;
use glimpse::model::{
    Captioner, Decoder, DecoderConfig, DecoderKind, DenseNet, DenseNetConfig, Description, Kind,
};
use glimpse::model::{Recognition, RecognitionConfig};
use glimpse::nn::{Init, Linear};
use glimpse::tensor::Tensor;
use glimpse::train::TrainConfig;
use glimpse::train::checkpoint::Checkpoint;
use safetensors::SafeTensors;

impl Damage {
    fn apply(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..1 + self.next(4) {
            let at = self.next(bytes.len());
            let run = (1 + self.next(12)).min(bytes.len() - at);
            match self.next(5) {
                0 => bytes[at] = self.next(256) as u8,
                1 => bytes[at] = b"\"{}[],:|#\t\n\\-0915.e"[self.next(18)],
                2 => drop(bytes.drain(at..at + run)),
                3 => {
                    let again = bytes[at..at + run].to_vec();
                    bytes.splice(at..at, again);
                }
                _ => bytes.truncate(at),
            }
            if bytes.is_empty() {
                break;
            }
        }
        bytes
    }
}

fn one_line<T>(result: glimpse::error::Result<T>) {
    if let Err(e) = result {
        let text = e.to_string();
        assert!(!text.contains('\n') && !text.is_empty(), "{text:?}");
    }
}

const ROUNDS: usize = 1500;

#[test]
fn configurations() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.toml");
    let text = include_bytes!("../weights/glimpse.toml");
    let mut damage = Damage(1);
    for _ in 0..ROUNDS {
        fs::write(&path, damage.apply(text)).unwrap();
        one_line(TrainConfig::read(&path));
    }
}

#[test]
fn hypotheses() {
    for text in [
        "{\"image\": \"a.jpg\", \"text\": \"a dog\"}\n{\"image\": \"b.jpg\", \"text\": \"\\u00e9\"}\n",
        "{\"image\": \"a.jpg\", \"captions\": [{\"text\": \"a dog\", \"tokens\": []}]}\n{\"image\": \"b\", \"error\": \"x\\ny\"}\n",
        "\u{feff}[{\"image_id\": 391895, \"caption\": \"a dog\"}, {\"image_id\": 1, \"caption\": null}]\n",
    ] {
        let mut damage = Damage(2);
        for _ in 0..ROUNDS {
            one_line(metrics::parse_hypotheses(
                Path::new("h.jsonl"),
                &damage.apply(text.as_bytes())[..],
            ));
        }
    }
}

#[test]
fn files_of_meteor() {
    let table = {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let pairs = "0.5\nin front of\nbefore\n0.25\na dog\nthe dogs\n".repeat(20);
        packed.write_all(pairs.as_bytes()).unwrap();
        packed.finish().unwrap()
    };
    let files = [
        ("function/english.words", b"the\na\nof\n".to_vec()),
        ("synonym/english.synsets", b"large\n17 4\nbig\n4\n".to_vec()),
        ("synonym/english.exceptions", b"wolf\nwolves\n".to_vec()),
        ("paraphrase-en.gz", table),
    ];
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("function")).unwrap();
    fs::create_dir(dir.path().join("synonym")).unwrap();
    let write = |(name, bytes): &(&str, Vec<u8>)| fs::write(dir.path().join(name), bytes).unwrap();
    files.iter().for_each(&write);
    let segment = metrics::Segment {
        hypothesis: ["a", "dog", "before"].map(str::to_owned).to_vec(),
        references: vec![
            ["the", "dogs", "in", "front", "of"]
                .map(str::to_owned)
                .to_vec(),
        ],
    };
    let mut damage = Damage(8);
    for round in 0..ROUNDS {
        let (name, bytes) = &files[round % files.len()];
        write(&(name, damage.apply(bytes)));
        one_line(metrics::meteor::Data::open(dir.path()).and_then(|data| {
            metrics::meteor::segments(std::slice::from_ref(&segment), Some(&data))
        }));
        write(&(name, bytes.clone()));
    }
}

#[test]
fn vocabularies() {
    let vocabulary = Vocabulary::build(["a dog runs", "a cat"], 1).unwrap();
    let text = serde_json::to_vec(&vocabulary).unwrap();
    let mut damage = Damage(3);
    for _ in 0..ROUNDS {
        if let Ok(v) = serde_json::from_slice::<Vocabulary>(&damage.apply(&text)) {
            one_line(v.decode(&v.encode("a dog flies")));
        }
    }
}

#[test]
fn datasets() {
    let flickr = "1.jpg#0\tA dog .\n1.jpg#1\tTwo dogs .\n2.jpg#0\tA cat .\n";
    let karpathy =
        r#"{"images": [{"filename": "1.jpg", "split": "train", "sentences": [{"raw": "a dog"}]}]}"#;
    let coco = r#"{"images": [{"id": 1, "file_name": "1.jpg"}], "annotations": [{"image_id": 1, "id": 1, "caption": "a dog"}]}"#;
    let kaggle = "image,caption\n1.jpg,\"A dog, running\"\n2.jpg,A cat\n";
    let own = "Datei;Split;Text\r\n1.jpg;train;\"Ein \"\"Bär\"\", groß\"\r\n2.jpg;val;Hund\r\n";
    let jsonl = "{\"file_name\": \"1.jpg\", \"text\": [\"a dog\"]}\n{\"file_name\": \"2.jpg\", \"text\": \"Bär\"}\n";
    let ids = r#"{"images": [{"id": "1", "file_name": "1.jpg"}], "annotations": [{"image_id": 1.0, "caption": "a"}]}"#;
    let tokens = r#"{"images": [{"filename": "1.jpg", "imgid": "4", "split": "val", "sentences": [{"tokens": ["a"]}]}]}"#;
    let pipes = "image_name| comment_number| comment\n1.jpg| 0| A dog .\n";
    let layouts: [(&[(&str, &str)], u64); 11] = [
        (
            &[
                ("Flickr8k.token.txt", flickr),
                ("Flickr_8k.trainImages.txt", "1.jpg\n2.jpg\n"),
                ("Flickr_8k.devImages.txt", "2.jpg\n"),
            ],
            4,
        ),
        (&[("dataset_x.json", karpathy)], 5),
        (&[("annotations/captions_train2017.json", coco)], 6),
        (&[("captions.txt", kaggle)], 7),
        (&[("results.csv", pipes)], 8),
        (&[("eigene.csv", own), ("photos/1.jpg", "x")], 9),
        (&[("train.tsv", kaggle), ("val.tsv", own)], 10),
        (&[("metadata.jsonl", jsonl)], 11),
        (
            &[("images/1.jpg", "x"), ("images/1.txt", "Ein Bär\r\n")],
            12,
        ),
        (&[("captions_val2014.json", ids)], 13),
        (&[("caption_datasets/dataset_y.json", tokens)], 14),
    ];
    for (files, seed) in layouts {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let mut damage = Damage(seed);
        for round in 0..ROUNDS / 5 {
            let (name, text) = files[round % files.len()];
            fs::write(dir.path().join(name), damage.apply(text.as_bytes())).unwrap();
            // With `examine`, the reader continues after faults.
            let examined = Dataset::read(&Given {
                examine: true,
                ..Given::at(dir.path())
            });
            if let Ok(dataset) = &examined {
                let remarks = dataset.remarks().iter();
                remarks.for_each(|remark| assert!(!remark.text.contains('\n'), "{}", remark.text));
            }
            match Dataset::open(dir.path()) {
                Ok(dataset) => {
                    assert!(examined.is_ok(), "{examined:?}");
                    for split in [Split::Train, Split::Dev, Split::Test] {
                        one_line(dataset.split(split));
                    }
                }
                Err(e) => one_line::<()>(Err(e)),
            }
            fs::write(dir.path().join(name), text).unwrap();
        }
    }
}

#[test]
fn model_files_that_lie_about_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.safetensors");
    let sizes = DenseNetConfig {
        growth: 2,
        blocks: vec![1, 1],
        stem: 4,
        bottleneck: 2,
        eps: 1e-5,
    };
    let vocabulary = Vocabulary::build(["a dog runs"], 1).unwrap();
    let mut init = Init::new(1);
    let decoder = DecoderConfig {
        features: sizes.features(),
        embedding: 3,
        hidden: 4,
        vocabulary: vocabulary.len(),
        dropout: 0.1,
        kind: DecoderKind::Inject,
        layers: 1,
        tied: false,
        attention: 0,
    };
    let mut captioner = Captioner {
        encoder: DenseNet::new(&sizes, &mut init).unwrap(),
        decoder: Decoder::new(&decoder, &mut init).unwrap(),
        vocabulary,
        recipe: "squash:32".parse().unwrap(),
        tags: None,
        recognition: None,
        training: Default::default(),
        metrics: Default::default(),
        origin: None,
    };
    let layer = |out: usize, inputs: usize| Linear {
        weight: Tensor::zeros(&[out, inputs]),
        bias: Tensor::zeros(&[out]),
    };
    let config = RecognitionConfig {
        rank: 2,
        words: vec![4, 6],
        ..RecognitionConfig::default()
    };
    let basis = layer(2, captioner.encoder.config().features());
    captioner.recognition = Some(Recognition::new(config, &basis, &layer(4, 2)).unwrap());
    captioner.save(&path, Default::default()).unwrap();
    Captioner::load(&path).unwrap();
    let description = serde_json::to_vec(&captioner.description(Kind::Captioner)).unwrap();
    let tensors = glimpse::model::file::module_tensors("", &mut captioner);
    let mut damage = Damage(9);
    let load = |text: String| {
        let meta = std::collections::HashMap::from([("glimpse".to_string(), text)]);
        write_weights(&path, &tensors, Default::default(), meta).unwrap();
        one_line(Captioner::load(&path));
        one_line(Checkpoint::open(&path));
        one_line(WeightFile::open(&path).and_then(|f| Description::read(&f)));
        Captioner::load(&path).is_ok()
    };
    for _ in 0..ROUNDS / 3 {
        if let Ok(text) = String::from_utf8(damage.apply(&description)) {
            load(text);
        }
    }
    // These files have no checksums, so only the readers can notice damage.
    captioner.save(&path, Default::default()).unwrap();
    let file = fs::read(&path).unwrap();
    let whole = SafeTensors::deserialize(&file).unwrap();
    let notes = std::collections::HashMap::from([(
        "glimpse".to_string(),
        String::from_utf8(description.clone()).unwrap(),
    )]);
    let bare = safetensors::serialize(whole.tensors(), Some(notes)).unwrap();
    fs::write(&path, &bare).unwrap();
    assert!(!WeightFile::open(&path).unwrap().has_checksums());
    Captioner::load(&path).unwrap();
    let mut read = 0;
    for round in 0..ROUNDS {
        let mut bytes = bare.clone();
        match round % 2 {
            0 => bytes = damage.apply(&bytes),
            _ => {
                let at = damage.next(bytes.len());
                bytes[at] ^= 1 << damage.next(8);
            }
        }
        fs::write(&path, bytes).unwrap();
        read += usize::from(WeightFile::open(&path).is_ok());
        one_line(Captioner::load(&path));
        one_line(Checkpoint::open(&path));
    }
    assert!(read > ROUNDS / 8, "{read} of {ROUNDS} files were opened");
    // Sizes that would take all memory are refused before any is set aside.
    let text = String::from_utf8(description).unwrap();
    assert!(load(text.clone()));
    for (small, huge) in [
        ("\"hidden\":4", "\"hidden\":16000000"),
        ("\"embedding\":3", "\"embedding\":16000000"),
        ("\"growth\":2", "\"growth\":16000"),
        ("\"stem\":4", "\"stem\":65000"),
        ("\"rank\":2", "\"rank\":16000000"),
        ("\"words\":[4,6]", "\"words\":[4,6000000]"),
        ("\"blocks\":[1,1]", "\"blocks\":[1000,1]"),
        ("\"format\":2", "\"format\":3"),
    ] {
        assert!(text.contains(small), "{small}");
        assert!(!load(text.replace(small, huge)), "{huge}");
    }
}
