//! The provenance of a run's data, by which a resumed run notices changes.
//!
//! A checkpoint holds a digest (SHA-256) of the names, captions and contents of the pictures that its run trains on and
//! evaluates on, in their order. Two data sets with the same digest are the same to a run, wherever they lie. The
//! checkpoint also holds 12 bytes for each picture: the beginnings of the digests of its name, its captions and its
//! contents. They only serve to name the changes in a message; the full digest decides whether there is one.

use std::collections::{HashMap, HashSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::data::hex;

/// Bytes of each of the three digests of a picture: name, captions and contents.
const DIGEST_BYTES: usize = 4;

/// Identity of the data that a run is trained on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// Digest of everything, 64 hexadecimal digits.
    pub digest: String,
    /// The splits that the run uses.
    pub splits: Vec<SplitPictures>,
}

/// The pictures of a split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitPictures {
    /// `train` or `dev`.
    pub split: String,
    /// Number of pictures.
    pub pictures: usize,
    /// 12 bytes for each picture, in base64.
    each: String,
    /// Names of the pictures; empty if read from a checkpoint.
    #[serde(skip)]
    names: Vec<String>,
}

/// A picture of a data set.
pub(super) struct Item<'a> {
    pub(super) name: &'a str,
    pub(super) captions: &'a [String],
    /// Digest of its file.
    pub(super) contents: &'a [u8],
}

/// The 12 bytes of a picture.
#[derive(Clone, Copy)]
struct PictureDigest {
    name: [u8; DIGEST_BYTES],
    captions: [u8; DIGEST_BYTES],
    contents: [u8; DIGEST_BYTES],
}

impl Provenance {
    /// Computes the provenance of these splits.
    pub(super) fn of(splits: &[(&str, Vec<Item>)]) -> Self {
        let mut whole = Sha256::new();
        let splits = splits.iter().map(|(split, items)| {
            add(&mut whole, split.as_bytes());
            whole.update((items.len() as u64).to_le_bytes());
            let mut each = Vec::with_capacity(3 * DIGEST_BYTES * items.len());
            for item in items {
                let mut captions = Sha256::new();
                item.captions
                    .iter()
                    .for_each(|caption| add(&mut captions, caption.as_bytes()));
                let captions = captions.finalize();
                add(&mut whole, item.name.as_bytes());
                add(&mut whole, &captions);
                add(&mut whole, item.contents);
                each.extend(&Sha256::digest(item.name)[..DIGEST_BYTES]);
                each.extend(&captions[..DIGEST_BYTES]);
                each.extend(&Sha256::digest(item.contents)[..DIGEST_BYTES]);
            }
            SplitPictures {
                split: split.to_string(),
                pictures: items.len(),
                each: BASE64.encode(each),
                names: items.iter().map(|item| item.name.to_string()).collect(),
            }
        });
        let splits = splits.collect();
        Provenance {
            digest: hex(&whole.finalize()),
            splits,
        }
    }

    /// Describes the changes in `now`, the provenance of the present data; `None` if there are none.
    pub(super) fn difference(&self, now: &Provenance) -> Option<String> {
        if self.digest == now.digest {
            return None;
        }
        let mut found = Vec::new();
        for before in &self.splits {
            match now.splits.iter().find(|split| split.split == before.split) {
                Some(split) => before.compare(split, now, &mut found),
                None => found.push(format!("there is no {} split any more", before.split)),
            }
        }
        let is_new =
            |split: &&SplitPictures| !self.splits.iter().any(|other| other.split == split.split);
        let new = now.splits.iter().filter(is_new);
        found.extend(new.map(|split| format!("there is a {} split now", split.split)));
        Some(match found.is_empty() {
            true => "its names, captions or pictures changed".into(),
            false => found.join(", "),
        })
    }
}

/// Hashes byte strings with their lengths, so that different lists never hash the same bytes.
fn add(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

impl SplitPictures {
    /// Returns the decoded bytes; empty if the text is damaged, which only makes the message less specific.
    fn digests(&self) -> Vec<PictureDigest> {
        let bytes = BASE64.decode(&self.each).unwrap_or_default();
        let (parts, _) = bytes.as_chunks::<DIGEST_BYTES>();
        let (pictures, _) = parts.as_chunks::<3>();
        let digest = |&[name, captions, contents]: &[[u8; DIGEST_BYTES]; 3]| PictureDigest {
            name,
            captions,
            contents,
        };
        pictures.iter().map(digest).collect()
    }

    /// Describes the changes in `now`, the same split of the present data. `all` is the provenance of all present data.
    fn compare(&self, now: &SplitPictures, all: &Provenance, found: &mut Vec<String>) {
        let split = &self.split;
        let (before, after) = (self.digests(), now.digests());
        let old: HashMap<_, _> = before.iter().map(|digest| (digest.name, digest)).collect();
        let pairs: Vec<(&String, &PictureDigest)> = now.names.iter().zip(&after).collect();
        let mut say = |which: &dyn Fn(&PictureDigest) -> bool,
                       what: &dyn Fn(usize, &str) -> String| {
            let mut named = pairs.iter().filter(|(_, digest)| which(digest));
            if let Some((first, _)) = named.next() {
                found.push(what(1 + named.count(), first));
            }
        };
        let total = pairs.len();
        say(
            &|s| old.get(&s.name).is_some_and(|o| o.contents != s.contents),
            &|n, first| format!("{n} of {total} {split} pictures changed, the first is {first}"),
        );
        say(
            &|s| old.get(&s.name).is_some_and(|o| o.captions != s.captions),
            &|n, first| {
                format!(
                    "the captions of {n} of {total} {split} pictures changed, first those of {first}"
                )
            },
        );
        say(&|s| !old.contains_key(&s.name), &|n, first| {
            let are = if n == 1 { "picture is" } else { "pictures are" };
            format!("{n} {split} {are} new, the first is {first}")
        });
        let here: HashSet<_> = after.iter().map(|digest| digest.name).collect();
        let gone: HashSet<_> = old
            .keys()
            .filter(|name| !here.contains(*name))
            .copied()
            .collect();
        if !gone.is_empty() {
            let (n, are) = match gone.len() {
                1 => (1, "picture is"),
                n => (n, "pictures are"),
            };
            let elsewhere = all
                .splits
                .iter()
                .filter(|other| other.split != self.split)
                .find_map(|other| Some((other, other.first_of(&gone)?)));
            found.push(match elsewhere {
                Some((other, name)) => format!(
                    "{n} {split} {are} no longer in that split, and {name} is in {} now",
                    other.split
                ),
                None => format!("{n} {split} {are} no longer there"),
            });
        }
        let same_order = before
            .iter()
            .map(|s| s.name)
            .eq(after.iter().map(|s| s.name));
        if !same_order && gone.is_empty() && before.len() == after.len() {
            found.push(format!("the order of the {split} pictures changed"));
        }
    }

    /// Returns the first picture with one of these names.
    fn first_of(&self, names: &HashSet<[u8; DIGEST_BYTES]>) -> Option<&str> {
        let digests = self.digests();
        let mut pairs = self.names.iter().zip(&digests);
        let (name, _) = pairs.find(|(_, digest)| names.contains(&digest.name))?;
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pictures = Vec<(&'static str, Vec<String>, &'static str)>;

    fn of(train: &Pictures, dev: &Pictures) -> Provenance {
        fn items(pictures: &Pictures) -> Vec<Item<'_>> {
            pictures
                .iter()
                .map(|(name, captions, contents)| Item {
                    name,
                    captions,
                    contents: contents.as_bytes(),
                })
                .collect()
        }
        Provenance::of(&[("train", items(train)), ("dev", items(dev))])
    }

    #[test]
    fn what_changed_is_said_in_words() {
        let caption = |text: &str| vec![text.to_string()];
        let train: Pictures = vec![
            ("a.png", caption("a dog"), "1"),
            ("b.png", caption("a cat"), "2"),
            ("c.png", caption("a cow"), "3"),
        ];
        let dev: Pictures = vec![("d.png", caption("a bird"), "4")];
        let before = of(&train, &dev);
        // Serialised as in a checkpoint.
        let text = serde_json::to_string(&before).unwrap();
        assert!(!text.contains("a.png"));
        let before: Provenance = serde_json::from_str(&text).unwrap();
        assert_eq!(before.difference(&of(&train, &dev)), None);
        let check = |change: &dyn Fn(&mut Pictures, &mut Pictures), want: &str| {
            let (mut train, mut dev) = (train.clone(), dev.clone());
            change(&mut train, &mut dev);
            assert_eq!(before.difference(&of(&train, &dev)).as_deref(), Some(want));
        };
        check(
            &|train, _| train[1].2 = "5",
            "1 of 3 train pictures changed, the first is b.png",
        );
        check(
            &|train, dev| {
                train[2].1 = caption("a bull");
                dev[0].2 = "6";
            },
            "the captions of 1 of 3 train pictures changed, first those of c.png, 1 of 1 dev pictures changed, the first \
             is d.png",
        );
        check(
            &|train, dev| dev.push(train.remove(0)),
            "1 train picture is no longer in that split, and a.png is in dev now, 1 dev picture is new, the first is a.png",
        );
        check(
            &|train, _| drop(train.drain(..2)),
            "2 train pictures are no longer there",
        );
        check(
            &|train, _| train.swap(0, 2),
            "the order of the train pictures changed",
        );
        // Captions that are divided at another place are other captions.
        let cut = |texts: [&str; 2]| {
            let pictures = vec![("a", texts.map(str::to_string).to_vec(), "1")];
            of(&pictures, &vec![]).digest
        };
        assert_ne!(cut(["ab", "c"]), cut(["a", "bc"]));
        let damaged: Provenance = serde_json::from_str(
            r#"{"digest": "", "splits": [{"split": "train", "pictures": 3, "each": "?"}]}"#,
        )
        .unwrap();
        assert!(damaged.difference(&of(&train, &dev)).is_some());
    }
}
