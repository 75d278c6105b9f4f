//! The mini-batches: which images and captions each step sees.

use std::path::Path;
use std::sync::OnceLock;

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::features::Picture;
use super::provenance::Item;
use super::step::purpose;
use crate::cpu::threads;
use crate::data::augment::{Augment, generator};
use crate::data::contents::{Contents, Sum};
use crate::data::vocabulary::{PAD, Vocabulary};
use crate::data::{Example, Image, Recipe, preprocess};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// Images with their captions as token ids.
pub struct Samples {
    examples: Vec<Example>,
    /// For each image and each caption: start mark, words, end mark.
    sentences: Vec<Vec<Vec<usize>>>,
    /// Cache of decoded images, with a slot for each image. Only the first `cached` slots are used.
    decoded: Vec<OnceLock<Image>>,
    /// Number of images that fit into the configured memory.
    cached: usize,
    /// Digests of the image files; empty before [`Samples::identify`].
    sums: Vec<Sum>,
}

/// The images and captions of one step.
pub struct Batch {
    /// Indices of the images in the data set, in batch order.
    pub images: Vec<usize>,
    /// Whether each image is mirrored.
    pub mirrored: Vec<bool>,
    /// For each sentence, the index of its image in the batch.
    pub image_of: Vec<usize>,
    /// `[sentences, T]`: the decoder's input tokens, from the start mark on.
    pub words: Vec<usize>,
    /// `[sentences, T]`: the tokens to predict, up to the end mark; [`PAD`] behind it.
    pub targets: Vec<usize>,
}

impl Samples {
    /// Collects the images and captions of a split. Captions are cut after `max_words` words. Decoded images are cached
    /// in up to `cache_mib` MiB.
    ///
    /// # Errors
    /// Fails if there are no images, or the first one cannot be read.
    pub fn new(
        examples: Vec<Example>,
        vocabulary: &Vocabulary,
        max_words: usize,
        cache_mib: usize,
    ) -> Result<Self> {
        if examples.is_empty() {
            return Err(Error::usage("the training split has no images"));
        }
        let sentences = examples
            .iter()
            .map(|example| {
                let encode = |caption: &String| {
                    let ids = vocabulary.encode_sentence(caption);
                    let mut ids: Vec<usize> = ids.into_iter().map(|id| id as usize).collect();
                    if ids.len() > max_words + 2 {
                        let end = ids[ids.len() - 1];
                        ids.truncate(max_words + 1);
                        ids.push(end);
                    }
                    ids
                };
                example.captions.iter().map(encode).collect()
            })
            .collect();
        let decoded = examples.iter().map(|_| OnceLock::new()).collect();
        // The images of a data set have roughly the same size. The first one tells how many fit.
        let first = Image::open(&examples[0].image)?;
        let cached = (cache_mib << 20) / first.pixels().len().max(1);
        Ok(Samples {
            examples,
            sentences,
            decoded,
            cached,
            sums: Vec::new(),
        })
    }

    /// Returns the number of images.
    pub fn len(&self) -> usize {
        self.examples.len()
    }

    /// Returns whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.examples.is_empty()
    }

    /// Returns the number of tokens to predict in the longest sentence, the end mark included.
    pub fn longest(&self) -> usize {
        // The start mark is an input only and is not predicted.
        let said = |words: &Vec<usize>| words.len().saturating_sub(1);
        self.sentences.iter().flatten().map(said).max().unwrap_or(0)
    }

    /// Returns the name of image `index`.
    pub fn name(&self, index: usize) -> &str {
        &self.examples[index].name
    }

    /// Returns the file of image `index`.
    pub fn path(&self, index: usize) -> &Path {
        &self.examples[index].image
    }

    /// Returns the human captions of image `index`.
    pub fn captions(&self, index: usize) -> &[String] {
        &self.examples[index].captions
    }

    /// Returns the captions of image `index` as token ids: words and end mark, without the start mark.
    pub fn targets(&self, index: usize) -> Vec<Vec<usize>> {
        let captions = self.sentences[index].iter();
        captions.map(|ids| ids[1..].to_vec()).collect()
    }

    /// Returns the names of the images.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.examples.iter().map(|e| e.name.as_str())
    }

    /// Computes the digests of the image files.
    ///
    /// # Errors
    /// Fails if an image cannot be read.
    pub(super) fn identify(&mut self, contents: &mut Contents) -> Result<()> {
        let paths: Vec<&Path> = self.examples.iter().map(|e| &*e.image).collect();
        self.sums = contents.sums(&paths)?;
        Ok(())
    }

    /// Returns the digests of the image files in image order; empty before [`Samples::identify`].
    pub(super) fn sums(&self) -> &[Sum] {
        &self.sums
    }

    /// Returns the images with their captions and file digests.
    pub(super) fn items(&self) -> Vec<Item<'_>> {
        let pairs = self.examples.iter().zip(&self.sums);
        pairs
            .map(|(example, sum)| Item {
                name: &example.name,
                captions: &example.captions,
                contents: sum,
            })
            .collect()
    }

    /// Returns the names and files of the images.
    pub fn pictures(&self) -> Vec<Picture> {
        let picture = |e: &Example| Picture {
            name: e.name.clone(),
            path: e.image.clone(),
        };
        self.examples.iter().map(picture).collect()
    }

    /// Returns the number of steps in an epoch, which is one pass over the images. A last incomplete batch is left out;
    /// the next epoch's order places its images elsewhere. An epoch has at least one step.
    pub fn steps_per_epoch(&self, batch: usize) -> u64 {
        (self.len() / batch).max(1) as u64
    }

    /// Calls `body` with the decoded image `index`.
    fn with_image<R>(&self, index: usize, body: impl FnOnce(&Image) -> Result<R>) -> Result<R> {
        let path = &self.examples[index].image;
        if index >= self.cached {
            return body(&Image::open(path)?);
        }
        if let Some(image) = self.decoded[index].get() {
            return body(image);
        }
        let image = Image::open(path)?;
        body(self.decoded[index].get_or_init(|| image))
    }

    /// Returns the preprocessed images `indices`: `[N, H, W, 3]`.
    ///
    /// # Errors
    /// Fails if an image cannot be read.
    pub fn tensor(&self, indices: &[usize], recipe: Recipe) -> Result<Tensor> {
        let images = threads::map(indices.len(), |i| {
            self.with_image(indices[i], |image| Ok(recipe.square(image)?.into_owned()))
        });
        preprocess::batch(&images.into_iter().collect::<Result<Vec<_>>>()?)
    }

    /// Returns the augmented images of a batch: `[N, size, size, 3]`.
    ///
    /// # Errors
    /// Fails if an image cannot be read.
    pub fn varied(
        &self,
        batch: &Batch,
        augment: &Augment,
        size: u32,
        seed: u64,
        epoch: u64,
    ) -> Result<Tensor> {
        // Mirroring was decided with the batch, because the cached features depend on it.
        let images = threads::map(batch.images.len(), |i| {
            let index = batch.images[i];
            let augment = Augment {
                flip: if batch.mirrored[i] { 1.0 } else { 0.0 },
                ..*augment
            };
            let mut rng = generator(seed, epoch, index as u64);
            self.with_image(index, |image| augment.apply(image, size, &mut rng))
        });
        preprocess::batch(&images.into_iter().collect::<Result<Vec<_>>>()?)
    }

    /// Returns the batch of step `step` (from 0): `batch` images in the order of the epoch, with `captions` captions of
    /// each. An image is mirrored with probability `flip`.
    pub fn batch(&self, seed: u64, step: u64, batch: usize, captions: usize, flip: f64) -> Batch {
        let steps = self.steps_per_epoch(batch);
        let (epoch, place) = (step / steps, (step % steps) as usize);
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.shuffle(&mut stream(seed, epoch, purpose::ORDER));
        let images: Vec<usize> = order.into_iter().skip(place * batch).take(batch).collect();
        let mut rng = stream(seed, step, purpose::BATCH);
        let mirrored = images.iter().map(|_| rng.random_bool(flip)).collect();
        let mut chosen = Vec::new();
        for (place, &image) in images.iter().enumerate() {
            let mut all: Vec<usize> = (0..self.sentences[image].len()).collect();
            all.shuffle(&mut rng);
            chosen.extend(all.into_iter().take(captions).map(|c| (place, c)));
        }
        self.assemble(images, mirrored, &chosen)
    }

    /// Returns all captions of the images `first .. first + count`, without augmentation.
    pub fn run(&self, first: usize, count: usize) -> Batch {
        let images: Vec<usize> = (first..(first + count).min(self.len())).collect();
        let chosen: Vec<_> = images
            .iter()
            .enumerate()
            .flat_map(|(place, &i)| (0..self.sentences[i].len()).map(move |c| (place, c)))
            .collect();
        let mirrored = vec![false; images.len()];
        self.assemble(images, mirrored, &chosen)
    }

    fn assemble(
        &self,
        images: Vec<usize>,
        mirrored: Vec<bool>,
        chosen: &[(usize, usize)],
    ) -> Batch {
        let sentence = |&(place, caption): &(usize, usize)| &self.sentences[images[place]][caption];
        let steps = chosen
            .iter()
            .map(|c| sentence(c).len() - 1)
            .max()
            .unwrap_or(0);
        let (mut words, mut targets) = (Vec::new(), Vec::new());
        for ids in chosen.iter().map(sentence) {
            let padding = std::iter::repeat_n(PAD as usize, steps + 1 - ids.len());
            words.extend(ids[..ids.len() - 1].iter().copied().chain(padding.clone()));
            targets.extend(ids[1..].iter().copied().chain(padding));
        }
        let image_of = chosen.iter().map(|&(place, _)| place).collect();
        Batch {
            images,
            mirrored,
            image_of,
            words,
            targets,
        }
    }
}

/// Returns the generator of one [`purpose`] in a step or an epoch.
pub(super) fn stream(seed: u64, place: u64, purpose: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(mix(seed, place, purpose))
}

/// Derives one seed from three numbers (splitmix64's finaliser after each).
pub(super) fn mix(a: u64, b: u64, c: u64) -> u64 {
    [a, b, c].into_iter().fold(0, |state: u64, x| {
        let mut z = (state ^ x).wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(dir: &std::path::Path) -> (Samples, Vocabulary) {
        let vocabulary = Vocabulary::build(["a dog runs", "a cat sits on a mat"], 1).unwrap();
        let examples = (0..7)
            .map(|i| {
                let image = dir.join(format!("{i}.png"));
                image::RgbImage::from_pixel(8, 8, image::Rgb([i as u8 * 30, 0, 0]))
                    .save(&image)
                    .unwrap();
                let captions = vec!["A dog runs.".to_string(), "a cat sits on a mat".to_string()];
                Example {
                    image,
                    name: format!("{i}.png"),
                    captions,
                }
            })
            .collect();
        (
            Samples::new(examples, &vocabulary, 4, 1).unwrap(),
            vocabulary,
        )
    }

    #[test]
    fn an_epoch_sees_every_image_once_in_an_order_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let (samples, _) = samples(dir.path());
        assert_eq!(samples.steps_per_epoch(3), 2);
        let epoch = |first: u64| -> Vec<usize> {
            (first..first + 2)
                .flat_map(|s| samples.batch(5, s, 3, 1, 0.5).images)
                .collect()
        };
        let (one, two) = (epoch(0), epoch(2));
        for order in [&one, &two] {
            let mut seen = order.clone();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), 6);
        }
        assert_ne!(one, two);
        assert_eq!(one, epoch(0));
    }

    #[test]
    fn words_and_targets_are_one_apart() {
        let dir = tempfile::tempdir().unwrap();
        let (samples, vocabulary) = samples(dir.path());
        let batch = samples.run(0, 1);
        let text = |ids: &[usize]| -> Vec<&str> {
            ids.iter()
                .map(|&i| vocabulary.word(i as u32).unwrap())
                .collect()
        };
        assert_eq!(batch.image_of, [0, 0]);
        assert_eq!(
            text(&batch.words[..5]),
            ["<s>", "a", "dog", "runs", "<pad>"]
        );
        assert_eq!(
            text(&batch.targets[..5]),
            ["a", "dog", "runs", "</s>", "<pad>"]
        );
        // Six words are cut to four; the end mark stays.
        assert_eq!(
            text(&batch.targets[5..]),
            ["a", "cat", "sits", "on", "</s>"]
        );
    }
}
