//! CIDEr: the similarity of a caption's n-grams to those of its references, weighted by how rare each n-gram is.
//!
//! An n-gram `w` that occurs `t` times in a caption weighs
//!
//! ```text
//! g(w) = t * ln(images / max(1, images whose references have w))          (term frequency * inverse document frequency)
//! ```
//!
//! A phrase such as "a dog" therefore counts little if every image has a dog. For each n from 1 to 4 a caption `c`
//! becomes the vector of its n-grams' weights. This vector is compared with the vector of each of the m references `s`:
//!
//! ```text
//! CIDEr_n   = 10/m  sum over s of   g(c) . g(s) / (|g(c)| |g(s)|)
//! CIDEr-D_n = 10/m  sum over s of   min(g(c), g(s)) . g(s) / (|g(c)| |g(s)|)  *  exp(-(l(c) - l(s))^2 / (2 * 6^2))
//! ```
//!
//! The score is the mean over n. CIDEr-D takes the smaller of both weights, so that repeating a word does not raise the
//! score. It also penalises captions whose length `l` differs from the reference's.
//!
//! **Which number is published?** The COCO evaluation server, `pycocoevalcap` and therefore nearly every paper compute
//! CIDEr-D and call it CIDEr. [`CiderD::score`] computes exactly that; it is the `cider` of [`Scores`](super::Scores).
//! [`CiderD::plain`] is the first formula, reported as `cider_plain`. (The paper also stems words before it counts
//! them. The published code does not, and neither does this module.) The published code takes the number of word pairs
//! as the length, not the number of words. That matters only for captions of fewer than two words.
//!
//! With document frequencies of one image only, every weight is ln(1) = 0, and so is every score.
//!
//! Vedantam, Zitnick, Parikh, *CIDEr: consensus-based image description evaluation*, CVPR 2015, arXiv:1411.5726.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// Length of the longest n-grams that count.
pub const MAX_ORDER: usize = 4;

/// The standard deviation of the length penalty, in words.
const SIGMA: f64 = 6.0;

/// An n-gram as the ids of its words, 32 bits each, the last word in the lowest bits. Ids start at 1, so n-grams of
/// different lengths are different numbers.
type Gram = u128;

/// A map from n-grams. Each caption takes some fifty look-ups, also during training. The standard library's hash, made
/// to withstand attackers, would take most of that time.
type Grams<V> = HashMap<Gram, V, BuildHasherDefault<GramHasher>>;

#[derive(Default)]
struct GramHasher(u64);

impl Hasher for GramHasher {
    fn write_u128(&mut self, gram: u128) {
        let (low, high) = (gram as u64, (gram >> 64) as u64);
        let product = u128::from(low ^ 0x9e37_79b9_7f4a_7c15)
            * u128::from(high ^ self.0 ^ 0xd1b5_4a32_d192_ed03);
        self.0 = product as u64 ^ (product >> 64) as u64;
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u128(u128::from(*byte));
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The number of images whose references contain each n-gram.
///
/// Tokens can be words or the ids of words. For scores that are compared with published ones, the images are those that
/// are scored. For a reward in training, they are the training images.
#[derive(Debug, Clone)]
pub struct DocumentFrequencies<T> {
    ids: HashMap<T, u32>,
    images: usize,
    counts: Grams<u32>,
}

impl<T: Eq + Hash + Clone> DocumentFrequencies<T> {
    /// Counts n-grams; each item is one image's references, which are lists of tokens.
    pub fn new<'a>(images: impl IntoIterator<Item = &'a [Vec<T>]>) -> Self
    where
        T: 'a,
    {
        let mut all = DocumentFrequencies {
            ids: HashMap::new(),
            images: 0,
            counts: Grams::default(),
        };
        for references in images {
            all.images += 1;
            let mut grams = Vec::new();
            for reference in references {
                let ids: Vec<u32> = reference.iter().map(|token| all.id(token)).collect();
                grams_of(&ids, &mut grams);
            }
            grams.sort_unstable();
            grams.dedup();
            for gram in grams {
                *all.counts.entry(gram).or_default() += 1;
            }
        }
        all
    }

    /// Returns the number of images that were counted.
    pub fn images(&self) -> usize {
        self.images
    }

    fn id(&mut self, token: &T) -> u32 {
        let next = self.ids.len() as u32 + 1;
        match self.ids.get(token) {
            Some(&id) => id,
            None => *self.ids.entry(token.clone()).or_insert(next),
        }
    }
}

/// Scores captions by CIDEr-D.
///
/// ```
/// use glimpse::metrics::cider::{CiderD, DocumentFrequencies};
///
/// // Captions of two images, as word ids.
/// let references = [vec![vec![1, 2, 3, 4], vec![1, 2, 5]], vec![vec![6, 7, 8, 9]]];
/// let cider = CiderD::new(DocumentFrequencies::new(references.iter().map(Vec::as_slice)));
/// let prepared = cider.prepare(&references[0]);
/// let [good, bad] = [&[1, 2, 3, 4][..], &[6, 7, 3]].map(|caption| cider.score_prepared(caption, &prepared));
/// assert!(good > 5.0 && bad < 1.0);
/// assert_eq!(cider.score(&[1, 2, 3, 4], &references[0]), good);
/// ```
#[derive(Debug, Clone)]
pub struct CiderD<T> {
    frequencies: DocumentFrequencies<T>,
    /// ln(images / count), by count.
    idf: Vec<f64>,
}

/// One image's references, ready to be compared with many captions; see [`CiderD::prepare`].
#[derive(Debug, Clone)]
pub struct Prepared<T> {
    /// Ids of the words that the document frequencies do not contain.
    more: HashMap<T, u32>,
    /// Each reference's norms and length.
    references: Vec<Size>,
    /// For each n-gram, the references that contain it and its weight there.
    weights: Grams<Vec<(u32, f64)>>,
}

/// A caption's size: its vectors' norms and its length.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    /// |g| for each n.
    norms: [f64; MAX_ORDER],
    /// The number of word pairs, which the published code takes for the length.
    length: usize,
}

/// A caption's score by both formulas.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Both {
    plain: f64,
    clipped: f64,
}

impl<T: Eq + Hash + Clone> CiderD<T> {
    /// Creates a scorer with these document frequencies.
    pub fn new(frequencies: DocumentFrequencies<T>) -> Self {
        let images = (frequencies.images.max(1) as f64).ln();
        let idf = (0..=frequencies.images)
            .map(|count| images - (count.max(1) as f64).ln())
            .collect();
        CiderD { frequencies, idf }
    }

    /// Computes the score of a caption against its image's references, from 0 to 10.
    ///
    /// To score several captions of one image, prepare its references once with [`CiderD::prepare`].
    pub fn score(&self, hypothesis: &[T], references: &[Vec<T>]) -> f64 {
        self.score_prepared(hypothesis, &self.prepare(references))
    }

    /// Prepares an image's references for comparison with captions.
    pub fn prepare(&self, references: &[Vec<T>]) -> Prepared<T> {
        let mut prepared = Prepared {
            more: HashMap::new(),
            references: Vec::with_capacity(references.len()),
            weights: Grams::default(),
        };
        for (index, reference) in (0..).zip(references) {
            let mut more = std::mem::take(&mut prepared.more);
            let terms = self.terms(reference, &HashMap::new(), &mut more);
            prepared.more = more;
            prepared.references.push(Size::of(reference.len(), &terms));
            for (gram, weight) in terms {
                let places = prepared.weights.entry(gram).or_default();
                places.push((index, weight));
            }
        }
        prepared
    }

    /// Computes the score of [`CiderD::score`] with prepared references.
    pub fn score_prepared(&self, hypothesis: &[T], references: &Prepared<T>) -> f64 {
        self.both(hypothesis, references).clipped
    }

    /// Computes plain CIDEr, without clipping and length penalty, from 0 to 10. Few papers publish it.
    pub fn plain(&self, hypothesis: &[T], references: &Prepared<T>) -> f64 {
        self.both(hypothesis, references).plain
    }

    fn both(&self, hypothesis: &[T], references: &Prepared<T>) -> Both {
        let terms = self.terms(hypothesis, &references.more, &mut HashMap::new());
        let size = Size::of(hypothesis.len(), &terms);
        let mut products = vec![[Both::default(); MAX_ORDER]; references.references.len()];
        for (gram, weight) in terms {
            for &(reference, other) in references.weights.get(&gram).into_iter().flatten() {
                let product = &mut products[reference as usize][order(gram) - 1];
                product.plain += weight * other;
                product.clipped += weight.min(other) * other;
            }
        }
        let mut sum = Both::default();
        for (products, reference) in products.iter().zip(&references.references) {
            let difference = size.length as f64 - reference.length as f64;
            let penalty = (-difference * difference / (2.0 * SIGMA * SIGMA)).exp();
            for (n, product) in products.iter().enumerate() {
                let norms = size.norms[n] * reference.norms[n];
                if norms > 0.0 {
                    sum.plain += product.plain / norms;
                    sum.clipped += product.clipped / norms * penalty;
                }
            }
        }
        let scale = 10.0 / (MAX_ORDER * references.references.len().max(1)) as f64;
        Both {
            plain: sum.plain * scale,
            clipped: sum.clipped * scale,
        }
    }

    /// Returns a caption's n-grams with their weights, sorted by n-gram. The fixed order makes sums over them
    /// reproducible.
    ///
    /// Words that neither the document frequencies nor `known` contain get new ids, which are added to `new`.
    fn terms(
        &self,
        tokens: &[T],
        known: &HashMap<T, u32>,
        new: &mut HashMap<T, u32>,
    ) -> Vec<(Gram, f64)> {
        let mut ids = Vec::with_capacity(tokens.len());
        for token in tokens {
            let found = self.frequencies.ids.get(token);
            let found = found
                .or_else(|| known.get(token))
                .or_else(|| new.get(token));
            ids.push(match found {
                Some(&id) => id,
                None => {
                    let id = (self.frequencies.ids.len() + known.len() + new.len()) as u32 + 1;
                    new.insert(token.clone(), id);
                    id
                }
            });
        }
        let mut grams = Vec::with_capacity(MAX_ORDER * ids.len());
        grams_of(&ids, &mut grams);
        grams.sort_unstable();
        let mut terms: Vec<(Gram, f64)> = Vec::with_capacity(grams.len());
        for equal in grams.chunk_by(|a, b| a == b) {
            let images = self.frequencies.counts.get(&equal[0]).copied().unwrap_or(0);
            terms.push((equal[0], equal.len() as f64 * self.idf[images as usize]));
        }
        terms
    }
}

impl Size {
    fn of(words: usize, terms: &[(Gram, f64)]) -> Size {
        let mut norms = [0.0; MAX_ORDER];
        for (gram, weight) in terms {
            norms[order(*gram) - 1] += weight * weight;
        }
        Size {
            norms: norms.map(f64::sqrt),
            length: words.saturating_sub(1),
        }
    }
}

/// Adds all n-grams of a caption, for n from 1 to [`MAX_ORDER`].
fn grams_of(ids: &[u32], grams: &mut Vec<Gram>) {
    for end in 0..ids.len() {
        let mut gram = 0;
        for n in 0..MAX_ORDER.min(end + 1) {
            gram |= Gram::from(ids[end - n]) << (32 * n);
            grams.push(gram);
        }
    }
}

/// Returns the number of words in an n-gram.
fn order(gram: Gram) -> usize {
    (Gram::BITS - gram.leading_zeros()).div_ceil(32) as usize
}

/// Computes CIDEr as published (see [the module](self)) and plain CIDEr of each image's caption, both from 0 to 10. The
/// document frequencies are those of these images' references.
pub(super) fn corpus(segments: &[super::Segment]) -> Vec<(f64, f64)> {
    let references = segments.iter().map(|segment| segment.references.as_slice());
    let cider = CiderD::new(DocumentFrequencies::new(references));
    let score = |segment: &super::Segment| {
        let prepared = cider.prepare(&segment.references);
        let Both { plain, clipped } = cider.both(&segment.hypothesis, &prepared);
        (clipped, plain)
    };
    segments.iter().map(score).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn n_grams_know_their_length() {
        let mut grams = Vec::new();
        grams_of(&[1, u32::MAX, 3, 1, 2], &mut grams);
        let count = |n| grams.iter().filter(|gram| order(**gram) == n).count();
        assert_eq!([1, 2, 3, 4].map(count), [5, 4, 3, 2]);
    }

    #[test]
    fn a_worked_example() {
        // Two images; "dog" is in one of them, "a" in both, so that "a" weighs nothing.
        let references = [vec![words("a dog")], vec![words("a cat")]];
        let cider = CiderD::new(DocumentFrequencies::new(
            references.iter().map(Vec::as_slice),
        ));
        // n = 1: (0, ln 2) against (0, ln 2), cosine 1; n = 2: "a dog", cosine 1; n = 3, 4: nothing.
        assert!((cider.score(&words("a dog"), &references[0]) - 10.0 * 2.0 / 4.0).abs() < 1e-12);
        // Twice the word is clipped: min(2, 1) * 1 / (2 * 1) = 1/2 for n = 1, nothing for n = 2, one pair on both sides.
        let twice = words("dog dog");
        assert!((cider.score(&twice, &references[0]) - 10.0 * 0.5 / 4.0).abs() < 1e-12);
        let prepared = cider.prepare(&references[0]);
        assert!((cider.plain(&twice, &prepared) - 10.0 / 4.0).abs() < 1e-12);
    }

    #[test]
    fn words_beyond_the_document_frequencies_count_as_rare_ones() {
        let references = [vec![words("a dog")], vec![words("a cat")]];
        let cider = CiderD::new(DocumentFrequencies::new(
            references.iter().map(Vec::as_slice),
        ));
        let new = vec![words("zebras graze here now")];
        assert!((cider.score(&new[0], &new) - 10.0).abs() < 1e-12);
        assert_eq!(cider.score(&words("lions hunt there then"), &new), 0.0);
        // Different unknown words are different: (1, 1) against (1, 1, 1, 1) and not (2) against (4).
        let half = cider.score(&words("zebras x"), &new);
        assert!(half < cider.score(&words("zebras graze"), &new), "{half}");
    }

    #[test]
    fn nothing_scores_nothing() {
        let references = [vec![words("a dog")], vec![words("")], vec![]];
        let cider = CiderD::new(DocumentFrequencies::new(
            references.iter().map(Vec::as_slice),
        ));
        for references in &references {
            assert_eq!(cider.score(&[], references), 0.0);
        }
        assert_eq!(cider.score(&words("a dog"), &references[2]), 0.0);
        let none = CiderD::<String>::new(DocumentFrequencies::new([]));
        assert_eq!(none.score(&words("a dog"), &references[0]), 0.0);
    }
}
