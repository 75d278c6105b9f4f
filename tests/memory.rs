//! What the system gives this process while it works: it stays what it was, however long the work goes on.
//!
//! A test binary of its own, whose tests run one after another, for memory is the process's and others would be seen
//! too.

use std::sync::Mutex;

use glimpse::caption::{Search, search};
use glimpse::model::Captioner;
use glimpse::nn::Init;
use glimpse::tensor::Tensor;
use glimpse::train::features::{FeatureCache, Picture, Source, View};

static ALONE: Mutex<()> = Mutex::new(());

/// Bytes that the process has of the machine's memory, where the system tells.
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
    // 2,500 maps of 98 KiB: 239 MiB.
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
