//! Test that the memory of this process does not grow, however long it works.
//!
//! It is a test binary of its own whose tests run one after another, because memory is measured for the whole process.

#[path = "common/bombs.rs"]
mod bombs;

use std::sync::Mutex;

use glimpse::caption::{Search, search};
use glimpse::data::{Image, Limits};
use glimpse::model::Captioner;
use glimpse::nn::Init;
use glimpse::tensor::Tensor;
use glimpse::train::features::{FeatureCache, Picture, Source, View};

use bombs::grey_jpeg;

static ALONE: Mutex<()> = Mutex::new(());

/// The resident memory of the process in bytes, or `None` if the system does not report it.
fn resident() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let kilobytes: usize = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kilobytes << 10)
}

#[test]
fn captioning_many_images_takes_no_more_memory_than_captioning_a_few() {
    let _alone = ALONE.lock();
    let captioner = Captioner::bundled().unwrap();
    let size = captioner.decoder.config().features;
    let features = Init::new(1).normal(&[8, 16, size], 1.0);
    let caption = |times: usize| {
        for _ in 0..times {
            search(&captioner, &features, &Search::default()).unwrap();
        }
        resident()
    };
    let (Some(few), Some(many)) = (caption(20), caption(100)) else {
        println!("skipped: this system does not tell how much memory a process has");
        return;
    };
    let grown = many.saturating_sub(few) >> 20;
    assert!(grown < 16, "{grown} MiB more after 800 images more");
}

#[test]
fn a_large_feature_cache_takes_no_more_memory_than_a_small_one() {
    let _alone = ALONE.lock();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p.png");
    image::RgbImage::new(4, 4).save(&path).unwrap();
    let picture = |i: usize| Picture {
        name: i.to_string(),
        path: path.clone(),
    };
    // 2,500 maps of 98 KiB are 239 MiB.
    let source = Source {
        encoder: String::new(),
        recipe: "squash:4".parse().unwrap(),
        views: vec![View::Plain],
        pictures: (0..2500).map(picture).collect(),
        maps: true,
    };
    let maps = Init::new(1).normal(&[32, 49, 1024], 1.0);
    let encode = |images: &Tensor| maps.narrow(0, images.dims()[0]);
    let file = dir.path().join("cache");
    let before = resident();
    let cache = FeatureCache::open_or_compute(&file, &source, &encode, &mut |_| Ok(())).unwrap();
    let mut most = resident();
    for first in (0..2500).step_by(50) {
        let rows = cache
            .rows(&(first..first + 50).collect::<Vec<_>>())
            .unwrap();
        assert_eq!(rows.dims(), [50, 49, 1024]);
        most = most.max(resident());
    }
    let (Some(before), Some(most)) = (before, most) else {
        println!("skipped: this system does not tell how much memory a process has");
        return;
    };
    assert!(std::fs::metadata(&file).unwrap().len() > 230 << 20);
    let grown = most.saturating_sub(before) >> 20;
    println!("{grown} MiB more");
    assert!(grown < 140, "{grown} MiB more");
}

/// The peak memory of the process in bytes during `work`, or `None` if the system does not report it.
fn most_resident(work: impl FnOnce()) -> Option<usize> {
    std::fs::write("/proc/self/clear_refs", "5").ok()?;
    work();
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kilobytes: usize = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kilobytes << 10)
}

#[test]
fn a_jpeg_too_short_for_its_size_is_refused_before_it_costs_anything() {
    let _alone = ALONE.lock();
    for is_progressive in [false, true] {
        let whole = grey_jpeg(10_000, 10_000, is_progressive);
        assert_eq!(
            Image::cost(&whole, Limits::default()).unwrap().pixels,
            100_000_000
        );
        let scan = whole.windows(2).position(|w| w == [0xFF, 0xDA]).unwrap();
        let short = [&whole[..scan + 100], &[0xFF, 0xD9]].concat();
        let started = std::time::Instant::now();
        let message = Image::from_bytes(&short, Limits::default())
            .unwrap_err()
            .to_string();
        assert!(started.elapsed().as_millis() < 100);
        let named = "bytes cannot hold its 10000 x 10000 pixels";
        assert!(
            message.starts_with("is cut off") && message.contains(named),
            "{message}"
        );
    }
    // Data with less than one bit for each block is refused. The next test shows that one bit is enough.
    let mut short = grey_jpeg(10_000, 10_000, false);
    short.drain(short.len() - 12..short.len() - 2);
    assert!(Image::cost(&short, Limits::default()).is_err());
}

#[test]
fn a_jpeg_of_200_megapixels_takes_less_than_800_megabytes() {
    let _alone = ALONE.lock();
    for is_progressive in [false, true] {
        let small = grey_jpeg(70, 50, is_progressive);
        let small = Image::from_bytes(&small, Limits::default()).unwrap();
        assert_eq!((small.width(), small.height()), (70, 50));
        assert!(small.pixels().iter().all(|&level| level == 128));

        let bytes = grey_jpeg(16_320, 12_240, is_progressive);
        let most = most_resident(|| {
            let image = Image::from_bytes(&bytes, Limits::default()).unwrap();
            // The picture is decoded at a quarter of its width, which is enough for every encoder.
            assert_eq!((image.width(), image.height()), (4080, 3060));
        });
        let Some(most) = most else {
            println!("skipped: this system does not tell how much memory a process had");
            return;
        };
        println!("{} MB", most / 1_000_000);
        assert!(most < 800_000_000, "{} MB", most / 1_000_000);
    }
    // A progressive file keeps all coefficients until its end; this one has twice as many of the colours.
    let mut full = grey_jpeg(16_320, 12_240, true);
    let frame = full.windows(2).position(|w| w == [0xFF, 0xC2]).unwrap();
    full[frame + 11] = 0x11;
    let message = Image::from_bytes(&full, Limits::default())
        .unwrap_err()
        .to_string();
    assert!(
        message
            .starts_with("is a progressive JPEG of 199 megapixels, which takes 1198 MB to decode"),
        "{message}"
    );
}

#[test]
fn what_is_no_part_of_the_pixels_is_not_unpacked() {
    let _alone = ALONE.lock();
    let bytes = bombs::profile_png(1 << 30);
    let (before, most) = (
        resident(),
        most_resident(|| {
            Image::from_bytes(&bytes, Limits::default()).unwrap();
        }),
    );
    if let (Some(before), Some(most)) = (before, most) {
        assert!(
            most - before < 16 << 20,
            "{} MB more",
            (most - before) >> 20
        );
    }
}

#[test]
fn no_image_takes_more_memory_than_its_headers_told() {
    let _alone = ALONE.lock();
    for (name, bytes) in bombs::all(4000) {
        let Some(before) = resident() else {
            println!("skipped: this system does not tell how much memory a process has");
            return;
        };
        let told = Image::cost(&bytes, Limits::default()).unwrap().bytes as usize;
        let most = most_resident(|| {
            Image::from_bytes(&bytes, Limits::default()).unwrap();
        });
        let took = most.unwrap_or(0).saturating_sub(before);
        println!(
            "{name}: told {} MB, took {} MB",
            told / 1_000_000,
            took / 1_000_000
        );
        assert!(took <= told + (8 << 20), "{name}: told {told}, took {took}");
    }
}
