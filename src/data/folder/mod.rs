//! Expands the paths that a user typed to a list of image files.

pub mod kinds;
mod passed_over;
mod walk;

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use kinds::EXTENSIONS;
pub use passed_over::PassedOver;
use walk::Walk;

/// The result of expanding paths.
pub struct Listing {
    /// The image files, in order. A path that cannot be used has an error in its place.
    pub entries: Vec<Result<PathBuf>>,
    /// Files in folders that seem to be images but are not among `entries`.
    pub passed_over: PassedOver,
}

/// Expands `paths` to image files, in the order given; the files of each folder are sorted by path.
///
/// - A folder stands for the images in it, recognised by extension; with `recursive` also for those in its subfolders.
///   Hidden entries (`.name`) are skipped, because systems create hidden files that only look like images.
/// - Any other path stands for itself, whatever its name and whether or not it exists; an error is reported when it is
///   opened. That includes `-`, standard input.
///
/// A path that cannot be used becomes an error in its place, and the others are still used. Errors are: a folder
/// without images, a folder that cannot be read, a link that leads nowhere, to itself or to a folder that it lies in,
/// and, in a folder, a pipe, socket or device with the name of an image, which is not opened. Symbolic links are
/// followed; each folder is visited once.
pub fn expand<P: AsRef<Path>>(paths: &[P], recursive: bool) -> Listing {
    let mut listing = Listing {
        entries: Vec::new(),
        passed_over: PassedOver::default(),
    };
    for path in paths {
        let path = path.as_ref();
        if !path.is_dir() {
            listing.entries.push(Ok(path.to_path_buf()));
            continue;
        }
        let walk = Walk::through(path, recursive, &mut listing.passed_over);
        if walk.found.is_empty() {
            let advice = match walk.has_subfolders && !recursive {
                true => "; --recursive looks into its subfolders",
                false => "",
            };
            let names = EXTENSIONS.join(", ");
            let what = format_args!("is a folder without images ({names}){advice}");
            listing.entries.push(Err(Error::file(path, what)));
        }
        let found = walk.found.into_iter();
        listing
            .entries
            .extend(found.map(|(path, fine)| fine.map(|()| path)));
    }
    listing
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Creates a folder with the given (empty) files.
    fn tree(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        root
    }

    /// Walks through `root`. Returns the paths found, without `root` and with `/` between names, errors as their text,
    /// and what was passed over.
    fn walked(root: &Path, recursive: bool) -> (Vec<String>, String) {
        let root_name = format!("{}/", root.display());
        let listing = expand(&[root], recursive);
        let text = |entry: Result<PathBuf>| {
            let text = entry.map_or_else(|e| e.to_string(), |path| path.display().to_string());
            text.replace('\\', "/").replace(&root_name, "")
        };
        (
            listing.entries.into_iter().map(text).collect(),
            listing.passed_over.to_string(),
        )
    }

    fn found(root: &Path, recursive: bool) -> Vec<String> {
        walked(root, recursive).0
    }

    #[test]
    fn folders_give_their_images_sorted() {
        let root = tree(&[
            "b.JPG",
            "a.png",
            "c.webp",
            "d.jfif",
            "notes.txt",
            "noext",
            "sub/d.Gif",
            "sub/e/f.bmp",
            ".x.jpg",
            ".hidden/y.jpg",
        ]);
        let here = ["a.png", "b.JPG", "c.webp", "d.jfif"];
        assert_eq!(found(root.path(), false), here);
        assert_eq!(
            found(root.path(), true),
            [&here[..], &["sub/d.Gif", "sub/e/f.bmp"]].concat()
        );
    }

    #[test]
    fn what_seems_to_be_a_picture_and_is_passed_over_is_counted() {
        let root = tree(&[
            "a.png",
            "1.HEIC",
            "2.heif",
            "3.avif",
            "4.nef",
            "sub/5.heic",
            ".6.jpg",
            "._7.jpg",
            ".bashrc",
            "notes.txt",
            "empty",
        ]);
        fs::write(root.path().join("download"), b"\xff\xd8\xff\xe0 and so on").unwrap();
        fs::write(root.path().join("Makefile"), b"all: a.png\n").unwrap();
        // Its name has an extension, which says that it is not an image.
        fs::write(root.path().join("x.bin"), b"\xff\xd8\xff\xe0 and so on").unwrap();
        let (found, passed) = walked(root.path(), false);
        assert_eq!(found, ["a.png"]);
        let expected = "6 (2 HEIC, 1 AVIF, 1 hidden, 1 raw, 1 without a picture's name)";
        assert_eq!(passed, expected);
        let (_, passed) = walked(root.path(), true);
        assert!(passed.starts_with("7 (3 HEIC, "), "{passed}");
    }

    #[test]
    fn files_and_standard_input_stand_for_themselves() {
        let files: Vec<PathBuf> = expand(&["-", "missing.jpg", "a.heic"], false)
            .entries
            .into_iter()
            .map(Result::unwrap)
            .collect();
        assert_eq!(files, ["-", "missing.jpg", "a.heic"].map(Path::new));
    }

    #[test]
    fn a_folder_without_images_is_an_error_among_the_others() {
        let root = tree(&["empty/readme.txt", "deep/sub/a.png", "full/a.png"]);
        let paths = ["empty", "deep", "full"].map(|name| root.path().join(name));
        let files = expand(&paths, false).entries;
        let message = |at: usize| files[at].as_ref().unwrap_err().to_string();
        assert!(message(0).contains("empty: is a folder without images (jpg, jpeg, "));
        assert!(message(0).ends_with(", tiff)"));
        assert!(message(1).ends_with("--recursive looks into its subfolders"));
        assert_eq!(files[2].as_ref().unwrap(), &paths[2].join("a.png"));
    }

    #[cfg(unix)]
    #[test]
    fn links_that_lead_nowhere_are_reported_and_the_rest_is_found() {
        use std::os::unix::fs::symlink;
        let root = tree(&["a.png", "sub/b.png", "z.png"]);
        let link = |target: &str, name: &str| symlink(target, root.path().join(name)).unwrap();
        link("gone.png", "m.png");
        link("gone", "album");
        link("gone.txt", "notes.txt");
        link("self", "self");
        link("y.jpg", "x.jpg");
        link("x.jpg", "y.jpg");
        let itself = "is a link that leads back to itself";
        let nowhere = "is a link to something that does not exist";
        let expected = [
            "a.png".into(),
            format!("m.png: {nowhere}"),
            format!("self: {itself}"),
            format!("x.jpg: {itself}"),
            format!("y.jpg: {itself}"),
            "z.png".into(),
        ];
        assert_eq!(found(root.path(), false), expected);
        let all = found(root.path(), true);
        // The path may have been meant as a folder.
        assert_eq!(all[1], format!("album: {nowhere}"));
        assert!(
            all.contains(&"sub/b.png".into()) && all.len() == 8,
            "{all:?}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn circles_of_links_end_and_are_reported() {
        use std::os::unix::fs::symlink;
        let root = tree(&["a.png", "sub/b.png"]);
        symlink(root.path(), root.path().join("sub/up")).unwrap();
        symlink(".", root.path().join("here")).unwrap();
        let circle = "is a link to a folder that it lies in; the pictures there are taken once";
        let expected = [
            "a.png".into(),
            format!("here: {circle}"),
            "sub/b.png".into(),
            format!("sub/up: {circle}"),
        ];
        assert_eq!(found(root.path(), true), expected);
        // Without --recursive the walk does not go there.
        assert_eq!(found(root.path(), false), ["a.png"]);
    }

    #[cfg(unix)]
    #[test]
    fn linked_folders_are_visited_once_and_real_paths_come_first() {
        use std::os::unix::fs::symlink;
        let root = tree(&["album/a.png", "other/b.png"]);
        let elsewhere = tree(&["c.png"]);
        symlink("album", root.path().join("aaa")).unwrap();
        symlink("../album", root.path().join("other/x")).unwrap();
        symlink(elsewhere.path(), root.path().join("far")).unwrap();
        symlink(elsewhere.path(), root.path().join("other/far")).unwrap();
        let expected = ["album/a.png", "far/c.png", "other/b.png"];
        assert_eq!(found(root.path(), true), expected);
    }

    #[cfg(unix)]
    #[test]
    fn pipes_and_sockets_in_folders_are_not_opened() {
        let root = tree(&["a.png", "z.png"]);
        let socket = root.path().join("s.jpg");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        std::os::unix::fs::symlink("/dev/null", root.path().join("null.png")).unwrap();
        for name in ["p.jpg", "control"] {
            let path = root.path().join(name);
            let made = std::process::Command::new("mkfifo").arg(path).status();
            assert!(made.unwrap().success());
        }
        let unopened = "not a file, and was not opened";
        let expected = [
            "a.png".into(),
            format!("null.png: is a device, {unopened}"),
            format!("p.jpg: is a named pipe, {unopened}"),
            format!("s.jpg: is a socket, {unopened}"),
            "z.png".into(),
        ];
        assert_eq!(found(root.path(), true), expected);
    }
}
