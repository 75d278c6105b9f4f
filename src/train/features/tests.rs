//! Tests of interrupted, damaged, stale and concurrently read caches.

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;

use super::compute::{GROUP, open_or_compute, partial_path};
use super::*;
use crate::data::weights::checksums;

/// Three groups and a part of one.
const PICTURES: usize = 3 * GROUP + 5;

struct Setup {
    dir: tempfile::TempDir,
    source: Source,
}

impl Setup {
    fn new(maps: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let picture = |i: usize| {
            let name = format!("{i}.jpg");
            let path = dir.path().join(&name);
            fs::write(&path, name.repeat(i % 3 + 1)).unwrap();
            Picture { name, path }
        };
        let source = Source {
            encoder: "0123".into(),
            recipe: "squash:8".parse().unwrap(),
            views: vec![View::Plain, View::Mirrored],
            pictures: (0..PICTURES).map(picture).collect(),
            maps,
        };
        Setup { dir, source }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("a.features.safetensors")
    }

    /// Opens or computes the cache. Returns the result, the reported progress, and the first picture of each group that
    /// was encoded.
    fn run(
        &self,
        watch: impl Fn(&Progress) -> Result<()>,
    ) -> (Result<FeatureCache>, Vec<Progress>, Vec<usize>) {
        let encoded = RefCell::new(Vec::new());
        let mut told = Vec::new();
        let encode = |group: &[usize], view: View| {
            if view == View::Plain {
                encoded.borrow_mut().push(group[0]);
            }
            Ok(features(group, view, self.source.maps))
        };
        let mut progress = |p: Progress| {
            let result = watch(&p);
            told.push(p);
            result
        };
        let (source, digests) = (&self.source, self.digests());
        let cache = open_or_compute(&self.path(), source, &digests, &encode, &mut progress);
        (cache, told, encoded.into_inner())
    }

    fn digests(&self) -> Vec<Sum> {
        let paths: Vec<&Path> = self.source.pictures.iter().map(|p| &*p.path).collect();
        Contents::default().sums(&paths).unwrap()
    }

    fn whole(&self) -> FeatureCache {
        self.run(|_| Ok(())).0.unwrap()
    }

    /// Runs until so many groups are done, then stops.
    fn broken_off(&self, groups: usize) {
        let stop = |p: &Progress| match p {
            Progress::Encoded { pictures } if *pictures == groups * GROUP => {
                Err(Error::Interrupted("enough".into()))
            }
            _ => Ok(()),
        };
        let (result, ..) = self.run(stop);
        assert!(matches!(result, Err(Error::Interrupted(_))));
        assert!(!self.path().exists());
    }
}

/// Returns element `i` of a picture's row, not representable in f16.
fn element(picture: usize, view: View, i: usize) -> f32 {
    let sign = if view == View::Plain { 1.0 } else { -1.0 };
    sign * (picture as f32 * 0.731 + i as f32 * 0.0173)
}

fn row_shape(maps: bool) -> &'static [usize] {
    if maps { &[2, 3] } else { &[5] }
}

fn features(group: &[usize], view: View, maps: bool) -> Tensor {
    let shape = row_shape(maps);
    let len: usize = shape.iter().product();
    let rows = group.iter();
    let data = rows.flat_map(|&p| (0..len).map(move |i| element(p, view, i)));
    Tensor::from_vec(data.collect(), &[&[group.len()], shape].concat()).unwrap()
}

fn half(x: f32) -> f32 {
    half::f16::from_f32(x).to_f32()
}

#[test]
fn rows_are_the_features_rounded_to_f16() {
    for maps in [false, true] {
        let setup = Setup::new(maps);
        let (cache, told, encoded) = setup.run(|_| Ok(()));
        let cache = cache.unwrap();
        assert_eq!(encoded, [0, GROUP, 2 * GROUP, 3 * GROUP]);
        let done = [GROUP, 2 * GROUP, 3 * GROUP, PICTURES];
        assert_eq!(told, done.map(|pictures| Progress::Encoded { pictures }));
        assert_eq!(
            (cache.len(), cache.views(), cache.shape()),
            (PICTURES, 2, row_shape(maps))
        );
        let which = [(7, 1), (0, 0), (PICTURES - 1, 1), (7, 1)];
        let rows = cache.rows_of_views(&which).unwrap();
        assert_eq!(rows.dims()[1..], *row_shape(maps));
        let len = rows.len() / which.len();
        for (row, (picture, view)) in rows.data().chunks(len).zip(which) {
            let view = setup.source.views[view];
            let want: Vec<f32> = (0..len).map(|i| half(element(picture, view, i))).collect();
            assert_eq!(row, want);
        }
        assert_eq!(
            cache.rows(&[3]).unwrap().data(),
            cache.rows_of_views(&[(3, 0)]).unwrap().data()
        );
        assert_eq!(cache.rows(&[]).unwrap().dims()[0], 0);
        for beyond in [(PICTURES, 0), (0, 2), (usize::MAX, 0)] {
            assert!(cache.rows_of_views(&[beyond]).is_err());
        }
        // The second call computes nothing, and the file is readable as safetensors.
        let (again, told, encoded) = setup.run(|_| Ok(()));
        assert!(again.is_ok() && told.is_empty() && encoded.is_empty());
        let file = WeightFile::open(setup.path()).unwrap();
        let all = file.tensor("features").unwrap();
        assert_eq!(all.dims()[..2], [PICTURES, 2]);
        assert!(!partial_path(&setup.path()).exists());
    }
}

#[test]
fn cut_off_anywhere_it_ends_as_if_undisturbed() {
    let setup = Setup::new(true);
    setup.whole();
    let whole = fs::read(setup.path()).unwrap();
    fs::remove_file(setup.path()).unwrap();
    setup.broken_off(2);
    let partial = partial_path(&setup.path());
    let part = fs::read(&partial).unwrap();
    let row = 2 * 2 * 6;
    let start = whole.len() - PICTURES * row;
    assert_eq!(part.len(), start + 2 * GROUP * row);
    let cuts = (0..part.len()).step_by(61);
    let near_groups = [0, GROUP, 2 * GROUP].map(|g| start + g * row);
    let near = near_groups.iter().flat_map(|&at| at - 1..=at + 1);
    for cut in cuts.chain(near).filter(|&cut| cut <= part.len()) {
        fs::write(&partial, &part[..cut]).unwrap();
        let (cache, told, encoded) = setup.run(|_| Ok(()));
        cache.unwrap();
        assert!(fs::read(setup.path()).unwrap() == whole, "cut at {cut}");
        let groups = cut.saturating_sub(start) / (GROUP * row);
        let pictures = groups * GROUP;
        assert_eq!(encoded[0], pictures, "cut at {cut}");
        assert_eq!(told.contains(&Progress::Resumed { pictures }), groups > 0);
        fs::remove_file(setup.path()).unwrap();
    }
    // One run was killed before the rename; another left excess bytes.
    let longer = [&whole[..], &[7; 100]].concat();
    for bytes in [&whole, &longer] {
        fs::write(&partial, bytes).unwrap();
        let (cache, _, encoded) = setup.run(|_| Ok(()));
        assert!(cache.is_ok() && encoded.is_empty());
        assert!(fs::read(setup.path()).unwrap() == whole);
        fs::remove_file(setup.path()).unwrap();
    }
}

#[test]
fn a_damaged_partial_file_does_no_harm() {
    let setup = Setup::new(false);
    setup.whole();
    let whole = fs::read(setup.path()).unwrap();
    fs::remove_file(setup.path()).unwrap();
    setup.broken_off(3);
    let partial = partial_path(&setup.path());
    let part = fs::read(&partial).unwrap();
    let mut state = 5u64;
    for _ in 0..300 {
        let mut bytes = part.clone();
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let at = (state >> 33) as usize % bytes.len();
        bytes[at] ^= 1 << ((state >> 20) % 8);
        fs::write(&partial, bytes).unwrap();
        setup.whole();
        let got = fs::read(setup.path()).unwrap();
        assert!(got == whole, "at {at}");
        let rows = setup.whole().rows(&[0, PICTURES - 1]).unwrap();
        assert_eq!(rows.data()[6], half(element(PICTURES - 1, View::Plain, 1)));
        fs::remove_file(setup.path()).unwrap();
    }
}

#[test]
fn what_was_made_from_something_else_is_made_anew() {
    let mut setup = Setup::new(false);
    setup.whole();
    let check = |setup: &Setup, part: &str| {
        let (cache, told, encoded) = setup.run(|_| Ok(()));
        cache.unwrap();
        let Progress::Stale { why } = &told[0] else {
            panic!("{part}: {told:?}");
        };
        assert!(why.contains(part) && !why.contains('\n'), "{part}: {why}");
        assert_eq!(encoded.len(), 4, "{part}");
        assert!(setup.run(|_| Ok(())).1.is_empty(), "{part}");
    };
    setup.source.encoder = "0124".into();
    check(&setup, "another encoder");
    setup.source.recipe = "squash:9".parse().unwrap();
    check(&setup, "another preprocessing");
    setup.source.views.swap(0, 1);
    check(&setup, "other views");
    setup.source.pictures.swap(4, 5);
    check(&setup, "other pictures");
    setup.source.maps = true;
    check(&setup, "averages, not maps");
    setup.source.maps = false;
    check(&setup, "maps, not averages");
    let changed = &setup.source.pictures[9];
    let before = fs::read(&changed.path).unwrap();
    fs::write(&changed.path, b"another size").unwrap();
    check(&setup, &changed.name);
    let mut other = b"another size".to_vec();
    other[0] = b'A';
    fs::write(&changed.path, other).unwrap();
    check(&setup, &changed.name);
    // Rewritten with the same contents, it counts as the same picture.
    fs::write(&changed.path, &before).unwrap();
    check(&setup, &changed.name);
    fs::write(&changed.path, &before).unwrap();
    assert!(setup.run(|_| Ok(())).2.is_empty());

    let partial = partial_path(&setup.path());
    fs::remove_file(setup.path()).unwrap();
    setup.broken_off(1);
    assert!(partial.exists());
    setup.source.encoder = "0125".into();
    check(&setup, "another encoder");
    let whole = fs::read(setup.path()).unwrap();
    fs::write(setup.path(), &whole[..whole.len() - 1]).unwrap();
    check(&setup, "is damaged");
    let old = [("features".to_string(), Tensor::zeros(&[PICTURES, 5]))];
    let meta = std::collections::HashMap::from([("digest".to_string(), "1".to_string())]);
    let write = crate::data::weights::write_weights;
    write(&setup.path(), &old, Default::default(), meta).unwrap();
    check(&setup, "older version");
}

#[test]
fn files_of_others_are_not_overwritten() {
    let setup = Setup::new(false);
    let features = [("features".to_string(), Tensor::zeros(&[PICTURES, 5]))];
    let write = crate::data::weights::write_weights;
    write(
        &setup.path(),
        &features,
        Default::default(),
        Default::default(),
    )
    .unwrap();
    let foreign = fs::read(setup.path()).unwrap();
    for bytes in [&foreign[..], b"notes of mine"] {
        fs::write(setup.path(), bytes).unwrap();
        let message = setup.run(|_| Ok(())).0.err().unwrap().to_string();
        assert!(message.contains("is no feature cache"), "{message}");
        assert_eq!(fs::read(setup.path()).unwrap(), bytes);
    }
    fs::write(setup.path(), b"").unwrap();
    setup.whole();
}

#[test]
fn many_threads_read_at_once() {
    let setup = Setup::new(true);
    let cache = setup.whole();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (cache, setup) = (&cache, &setup);
            scope.spawn(move || {
                for round in 0..50 {
                    let row = |i: usize| ((thread * 31 + round * 7 + i * 13) % PICTURES, i % 2);
                    let which: Vec<_> = (0..20).map(row).collect();
                    let rows = cache.rows_of_views(&which).unwrap();
                    for (row, (picture, view)) in rows.data().chunks(6).zip(which) {
                        assert_eq!(row[5], half(element(picture, setup.source.views[view], 5)));
                    }
                    if round % 10 == thread {
                        cache.file.release();
                    }
                }
            });
        }
    });
}

#[test]
fn damage_is_noticed_when_the_file_is_opened() {
    let setup = Setup::new(true);
    setup.whole();
    let whole = fs::read(setup.path()).unwrap();
    let file = WeightFile::open(setup.path()).unwrap();
    assert!(file.has_checksums());
    file.verify().unwrap();
    for name in ["sizes", "modified", "checks", "digests", "features"] {
        let raw = file.raw(name).unwrap().bytes;
        let start = whole.windows(raw.len()).position(|window| window == raw);
        let mut bytes = whole.clone();
        bytes[start.unwrap() + raw.len() / 2] ^= 8;
        fs::write(setup.path(), bytes).unwrap();
        let (cache, told, encoded) = setup.run(|_| Ok(()));
        cache.unwrap();
        let why = format!("is damaged: tensor `{name}` does not match its checksum");
        assert_eq!(told[0], Progress::Stale { why });
        assert_eq!(encoded.len(), 4);
        assert!(fs::read(setup.path()).unwrap() == whole, "{name}");
    }
    // Damage to the header, and to the key that identifies a cache.
    for part in [&b"F16"[..], b"glimpse-features", b"glimpse-checksums"] {
        let at = whole.windows(part.len()).position(|window| window == part);
        let mut bytes = whole.clone();
        bytes[at.unwrap() + 1] ^= 1;
        fs::write(setup.path(), bytes).unwrap();
        let (cache, told, _) = setup.run(|_| Ok(()));
        cache.unwrap();
        assert!(matches!(&told[0], Progress::Stale { why } if why.contains("header")));
        assert!(fs::read(setup.path()).unwrap() == whole);
    }
}

#[test]
fn a_picture_that_was_only_touched_is_the_same_picture() {
    let setup = Setup::new(false);
    setup.whole();
    let touch = || {
        for picture in &setup.source.pictures {
            let file = fs::File::options().write(true).open(&picture.path).unwrap();
            let then = std::time::SystemTime::now() - std::time::Duration::from_secs(1000);
            file.set_modified(then).unwrap();
        }
    };
    touch();
    let (cache, told, encoded) = setup.run(|_| Ok(()));
    assert!(cache.is_ok() && told.is_empty() && encoded.is_empty());
    fs::remove_file(setup.path()).unwrap();
    setup.broken_off(1);
    touch();
    let (cache, told, encoded) = setup.run(|_| Ok(()));
    cache.unwrap();
    assert_eq!(
        (told[0].clone(), encoded[0]),
        (Progress::Resumed { pictures: GROUP }, GROUP)
    );
    WeightFile::open(setup.path()).unwrap().verify().unwrap();
    // Other contents with unchanged size and modification time.
    let picture = &setup.source.pictures[7];
    let time = fs::metadata(&picture.path).unwrap().modified().unwrap();
    let mut bytes = fs::read(&picture.path).unwrap();
    bytes[0] ^= 1;
    fs::write(&picture.path, bytes).unwrap();
    let file = fs::File::options().write(true).open(&picture.path).unwrap();
    file.set_modified(time).unwrap();
    let told = setup.run(|_| Ok(())).1;
    let why = format!("was made before the picture {} changed", picture.name);
    assert_eq!(told[0], Progress::Stale { why });
}

#[test]
fn damaged_rows_are_refused() {
    let setup = Setup::new(false);
    setup.whole();
    // Files of older versions have no checksums, so damage is noticed later.
    let whole = checksums::removed(&fs::read(setup.path()).unwrap());
    let mut bytes = whole.clone();
    let at = bytes.len() - 3;
    bytes[at] ^= 4;
    fs::write(setup.path(), bytes).unwrap();
    let cache = setup.whole();
    cache.rows(&[PICTURES - 1]).unwrap();
    let message = cache
        .rows_of_views(&[(0, 0), (PICTURES - 1, 1)])
        .unwrap_err();
    let part = format!("damaged at picture {}", PICTURES - 1);
    assert!(message.to_string().contains(&part), "{message}");
    // No other damage leads to a panic.
    let digests = setup.digests();
    let (mut state, mut read) = (3u64, 0);
    for _ in 0..500 {
        let mut bytes = whole.clone();
        for _ in 0..3 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let at = (state >> 33) as usize % bytes.len();
            bytes[at] = (state >> 17) as u8;
        }
        fs::write(setup.path(), bytes).unwrap();
        let Ok(file) = WeightFile::open(setup.path()) else {
            continue;
        };
        if let Ok(cache) = FeatureCache::of(file, &setup.source, &digests) {
            let all: Vec<usize> = (0..PICTURES).collect();
            let _ = cache.rows(&all);
            read += 1;
        }
    }
    assert!(read > 20, "{read} caches were read");
}

#[test]
fn features_that_f16_cannot_hold_and_wrong_shapes_are_refused() {
    let setup = Setup::new(false);
    for (bad, part) in [
        (f32::NAN, "NaN"),
        (1e6, "1000000"),
        (f32::NEG_INFINITY, "-inf"),
    ] {
        let encode = |group: &[usize], view: View| {
            let mut rows = features(group, view, false);
            if group[0] > 0 && view == View::Mirrored {
                rows.data_mut()[5 * 3 + 2] = bad;
            }
            Ok(rows)
        };
        let result = open_or_compute(
            &setup.path(),
            &setup.source,
            &setup.digests(),
            &encode,
            &mut |_| Ok(()),
        );
        let message = result.err().unwrap().to_string();
        let name = format!("{}.jpg", GROUP + 3);
        assert!(
            message.contains(part) && message.contains(&name),
            "{message}"
        );
    }
    let encode = |group: &[usize], view: View| Ok(features(group, view, true));
    let result = open_or_compute(
        &setup.path(),
        &setup.source,
        &setup.digests(),
        &encode,
        &mut |_| Ok(()),
    );
    assert!(result.err().unwrap().to_string().contains("[n, C]"));
    // The features computed before are kept.
    assert_eq!(setup.run(|_| Ok(())).2[0], GROUP);
    let none = Source {
        pictures: Vec::new(),
        ..setup.source.clone()
    };
    assert!(open_or_compute(&setup.path(), &none, &[], &encode, &mut |_| Ok(())).is_err());
}

#[test]
fn two_processes_do_not_write_the_same_file() {
    let setup = Setup::new(false);
    let refused = RefCell::new(String::new());
    let watch = |p: &Progress| {
        if *p == (Progress::Encoded { pictures: GROUP }) {
            let other = setup.run(|_| Ok(())).0;
            *refused.borrow_mut() = other.err().map(|e| e.to_string()).unwrap_or_default();
        }
        Ok(())
    };
    setup.run(watch).0.unwrap();
    let message = refused.into_inner();
    assert!(message.contains("another process"), "{message}");
}

#[test]
fn pictures_are_prepared_and_mirrored() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p.png");
    image::RgbImage::from_fn(8, 8, |x, y| image::Rgb([x as u8 * 30, y as u8 * 30, 9]))
        .save(&path)
        .unwrap();
    let source = Source {
        encoder: String::new(),
        recipe: "squash:8".parse().unwrap(),
        views: vec![View::Plain, View::Mirrored],
        pictures: vec![Picture {
            name: "p".into(),
            path,
        }],
        maps: false,
    };
    // The encoder returns the red of the left and right corners.
    let encode = |images: &Tensor| {
        assert_eq!(images.dims(), [1, 8, 8, 3]);
        let x = images.data();
        Tensor::from_vec(vec![x[0], x[7 * 3]], &[1, 2])
    };
    let file = dir.path().join("c");
    let cache = FeatureCache::open_or_compute(&file, &source, &encode, &mut |_| Ok(())).unwrap();
    let rows = cache.rows_of_views(&[(0, 0), (0, 1)]).unwrap();
    let &[left, right, mirrored_left, mirrored_right] = rows.data() else {
        panic!("{rows:?}");
    };
    assert!(left < right && (left, right) == (mirrored_right, mirrored_left));
}
