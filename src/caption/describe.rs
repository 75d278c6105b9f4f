//! The whole pipeline: from an image to its description.
//!
//! ```text
//! file -> pixels -> tensor -> encoder -> map or features -> decoder -> tokens -> text
//! ```
//!
//! [`Image::open`] reads the file. [`DescribeOptions::describe_all`] does the rest, and says of each description how far
//! it can be trusted.

use std::fmt;
use std::slice;

use serde::Serialize;

use super::{Caption, Sampling, Search, sample, search};
use crate::cpu::threads;
use crate::data::Image;
use crate::error::{Error, Result};
use crate::model::{Captioner, Tag};
use crate::tensor::Tensor;

/// The text in place of a caption whose confidence is too low.
pub const NOT_SURE: &str = "not sure";

/// Number of images that are decoded and encoded together: enough to keep all cores busy, and few enough that the
/// first results come soon.
pub(crate) const TOGETHER: usize = 8;

/// An image's description.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Described {
    /// The best caption's text, or [`NOT_SURE`] if `caption` is `None`. This is the text that `Display` writes.
    pub text: String,
    /// The confidence of the best caption, 0 to 1, also if it was too low: the probability that at least half of its
    /// content words are words that people would use of the picture. `None` for a model that has not been calibrated, or
    /// if [`Search::judge`] is off.
    pub confidence: Option<f64>,
    /// The best caption with its words and their probabilities. `None` if its confidence is below
    /// [the least that was asked for](DescribeOptions::min_confidence).
    pub caption: Option<Caption>,
    /// Further captions, best first, without those whose confidence is too low. There are none unless
    /// [asked for](DescribeOptions::alternatives).
    pub alternatives: Vec<Caption>,
    /// The classes that the encoder recognises, likeliest first; empty if the model knows none.
    pub tags: Vec<Tag>,
}

impl Described {
    /// Whether the best caption has the confidence that was asked for.
    pub fn is_sure(&self) -> bool {
        self.caption.is_some()
    }
}

impl fmt::Display for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

/// A captioner with the options of a description; see [`Captioner::options`].
#[derive(Clone, Copy)]
#[must_use = "nothing is described before `describe` or `describe_all` is called"]
pub struct DescribeOptions<'a> {
    captioner: &'a Captioner,
    search: Search,
    sampling: Option<Sampling>,
    min_confidence: Option<f64>,
}

impl Captioner {
    /// Describes an image with the default options, as `glimpse caption` does it.
    ///
    /// ```
    /// use glimpse::{Captioner, Image};
    ///
    /// let captioner = Captioner::bundled()?;
    /// let image = Image::open("weights/samples/raccoon.jpg")?;
    /// println!("{}", captioner.describe(&image)?);
    /// # Ok::<(), glimpse::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the GPU that the captioner is on fails.
    pub fn describe(&self, image: &Image) -> Result<Described> {
        self.options().describe(image)
    }

    /// Starts a description with other options than the default ones.
    ///
    /// ```
    /// use glimpse::{Captioner, Image};
    ///
    /// let captioner = Captioner::bundled()?;
    /// let blank = Image::from_rgb(64, 64, vec![255; 64 * 64 * 3])?;
    /// let options = captioner.options().beam(8).alternatives(2).min_confidence(0.5);
    /// let described = options.describe(&blank)?;
    /// assert!(!described.is_sure());
    /// assert_eq!(described.text, "not sure");
    /// # Ok::<(), glimpse::Error>(())
    /// ```
    pub fn options(&self) -> DescribeOptions<'_> {
        DescribeOptions {
            captioner: self,
            search: Search::default(),
            sampling: None,
            min_confidence: None,
        }
    }
}

impl DescribeOptions<'_> {
    /// Sets the number of sentences that are followed at a time, 1 to 1000; 1 is greedy search. The default is 5.
    pub fn beam(mut self, sentences: usize) -> Self {
        self.search.beam = sentences;
        self
    }

    /// Sets the number of captions besides the best one, less than the beam. The default is 0.
    pub fn alternatives(mut self, captions: usize) -> Self {
        self.search.n_best = captions.saturating_add(1);
        self
    }

    /// Sets the largest number of words in a caption. The default is 20.
    pub fn max_words(mut self, words: usize) -> Self {
        self.search.max_words = words;
        self
    }

    /// Withholds captions whose confidence is below `confidence`, 0 to 1. It needs a calibrated model, such as the
    /// bundled one.
    pub fn min_confidence(mut self, confidence: f64) -> Self {
        self.min_confidence = Some(confidence);
        self
    }

    /// Sets all settings of the search.
    pub fn search(mut self, search: Search) -> Self {
        self.search = search;
        self
    }

    /// Draws captions at random instead of searching for the likeliest. [`Sampling::count`] is then the number of
    /// captions; the settings of the search have no effect.
    pub fn sample(mut self, sampling: Sampling) -> Self {
        self.sampling = Some(sampling);
        self
    }

    /// Describes an image.
    ///
    /// # Errors
    /// If the options make no sense, or the GPU that the captioner is on fails.
    pub fn describe(&self, image: &Image) -> Result<Described> {
        let mut described = self.describe_all(slice::from_ref(image))?;
        Ok(described.remove(0))
    }

    /// Describes images, several at a time, which takes less time than one after the other.
    ///
    /// # Errors
    /// If the options make no sense, or the GPU that the captioner is on fails.
    pub fn describe_all(&self, images: &[Image]) -> Result<Vec<Described>> {
        self.check()?;
        let captioner = self.captioner;
        let mut described = Vec::with_capacity(images.len());
        for images in images.chunks(TOGETHER) {
            let pixels = captioner.recipe.tensor(images)?; // [N, H, W, 3]
            let features = captioner.encode(&pixels)?; // [N, C], or the map [N, P, C]
            let captions = threads::run(|| self.captions(&features))?;
            let tags = captioner.tags(&features)?;
            let all = captions.into_iter().zip(tags);
            described.extend(all.map(|(captions, tags)| self.described(captions, tags)));
        }
        Ok(described)
    }

    /// Returns the captions of each image, best first.
    fn captions(&self, features: &Tensor) -> Result<Vec<Vec<Caption>>> {
        match &self.sampling {
            Some(sampling) => sample(self.captioner, features, sampling),
            None => search(self.captioner, features, &self.search),
        }
    }

    /// Withholds the captions whose confidence is too low.
    fn described(&self, captions: Vec<Caption>, tags: Vec<Tag>) -> Described {
        let is_sure = |caption: &Caption| caption.is_sure(self.min_confidence);
        let mut captions = captions.into_iter();
        let best = captions.next();
        let confidence = best.as_ref().and_then(|caption| caption.confidence);
        let caption = best.filter(is_sure);
        let text = caption.as_ref().map_or(NOT_SURE, |caption| &caption.text);
        Described {
            text: text.to_string(),
            confidence,
            caption,
            alternatives: captions.filter(is_sure).collect(),
            tags,
        }
    }

    /// Refuses options that make no sense, before the encoder runs.
    fn check(&self) -> Result<()> {
        if self.sampling.is_none() {
            self.search.check()?;
        }
        let Some(least) = self.min_confidence else {
            return Ok(());
        };
        if !(0.0..=1.0).contains(&least) {
            let what = format_args!("a least confidence of {least}: take 0 to 1");
            return Err(Error::usage(what));
        }
        if self.captioner.recognition.is_none() {
            let what =
                "a least confidence needs a model that knows how sure it is; calibrate it first";
            return Err(Error::usage(what));
        }
        if self.sampling.is_none() && !self.search.judge {
            return Err(Error::usage(
                "a least confidence needs a search whose `judge` is on",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Limits, SAMPLES};

    fn samples() -> Vec<Image> {
        let read = |s: &crate::data::Sample| Image::decode(s.bytes, s.name, Limits::default());
        SAMPLES.iter().map(|sample| read(sample).unwrap()).collect()
    }

    #[test]
    fn many_images_are_described_as_each_alone() {
        let captioner = Captioner::bundled().unwrap();
        let images = samples();
        let options = captioner.options().alternatives(2);
        // More images than are encoded together.
        let many: Vec<Image> = images.iter().cycle().take(TOGETHER + 1).cloned().collect();
        let all = options.describe_all(&many).unwrap();
        assert_eq!(all.len(), many.len());
        for (image, described) in many.iter().zip(&all) {
            let alone = options.describe(image).unwrap();
            assert_eq!(described.text, alone.text);
            assert_eq!(described.alternatives.len(), 2);
            assert_eq!(described.to_string(), described.text);
            assert!(described.is_sure());
        }
        assert!(options.describe_all(&[]).unwrap().is_empty());
    }

    #[test]
    fn captions_below_the_least_confidence_are_withheld() {
        let captioner = Captioner::bundled().unwrap();
        let image = &samples()[2];
        let confidence = captioner.describe(image).unwrap().confidence.unwrap();
        let with = |least: f64| captioner.options().min_confidence(least).describe(image);
        assert!(with(confidence).unwrap().is_sure());
        let unsure = with(confidence + 1e-6).unwrap();
        assert_eq!((unsure.text.as_str(), unsure.caption), (NOT_SURE, None));
        assert_eq!(unsure.confidence, Some(confidence));
        for odd in [-0.1, 1.1, f64::NAN] {
            assert!(with(odd).unwrap_err().to_string().contains("take 0 to 1"));
        }
        let mut blind = Captioner::bundled().unwrap();
        blind.recognition = None;
        let refused = blind.options().min_confidence(0.5).describe(image);
        assert!(refused.unwrap_err().to_string().contains("calibrate"));
        assert!(blind.describe(image).unwrap().confidence.is_none());
        let unjudged = Search {
            judge: false,
            ..Search::default()
        };
        let options = captioner.options().search(unjudged).min_confidence(0.9);
        let refused = options.describe(image).unwrap_err().to_string();
        assert!(refused.contains("`judge`"), "{refused}");
    }

    #[test]
    fn wrong_options_are_refused_before_there_is_an_image() {
        let captioner = Captioner::bundled().unwrap();
        assert!(captioner.options().beam(0).describe_all(&[]).is_err());
        assert!(captioner.options().describe_all(&[]).unwrap().is_empty());
    }

    #[test]
    fn the_options_reach_the_search() {
        let captioner = Captioner::bundled().unwrap();
        let image = &samples()[0];
        let refused = captioner.options().alternatives(5).describe(image);
        assert!(refused.unwrap_err().to_string().contains("wider beam"));
        let short = captioner.options().max_words(2).describe(image).unwrap();
        assert!(short.text.split(' ').count() <= 2, "{short}");
        let drawn = |seed: u64| {
            let sampling = Sampling {
                seed,
                count: 3,
                ..Sampling::default()
            };
            captioner.options().sample(sampling).describe(image)
        };
        let one = drawn(1).unwrap();
        assert_eq!(one, drawn(1).unwrap());
        assert_ne!(one, drawn(2).unwrap());
        assert_eq!(one.alternatives.len(), 2);
    }
}
