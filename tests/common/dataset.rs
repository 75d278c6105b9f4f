//! A miniature dataset in the form of Flickr8k.

use std::fs;

/// Creates a folder with `pictures` training pictures, each with a caption.
pub fn dataset(pictures: u8) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (mut tokens, mut names) = (String::new(), String::new());
    for i in 0..pictures {
        let picture = image::RgbImage::from_fn(40, 36, |x, y| {
            image::Rgb([x as u8 * 5, y as u8 * 6, i * 30])
        });
        picture.save(dir.path().join(format!("{i}.png"))).unwrap();
        tokens += &format!("{i}.png#0\tA dog number {i} runs .\n");
        names += &format!("{i}.png\n");
    }
    fs::write(dir.path().join("Flickr8k.token.txt"), tokens).unwrap();
    fs::write(dir.path().join("Flickr_8k.trainImages.txt"), names).unwrap();
    dir
}
