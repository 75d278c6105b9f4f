//! The paths that a user typed become a list of image files.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// What image files are called, in either case.
const EXTENSIONS: [&str; 6] = ["jpg", "jpeg", "png", "webp", "gif", "bmp"];

/// The image files that `paths` stand for, in the order given, each folder's sorted by path.
///
/// - A folder stands for the images in it, by extension; with `recursive` for those in its subfolders
///   too. Hidden entries (`.name`) are passed over: systems leave files there that only look like images.
/// - Anything else stands for itself, whatever its name and whether or not it exists: whoever opens it
///   will say what is wrong with it. So does `-`, standard input.
///
/// A path that yields nothing becomes an error in its place, so that one empty folder does not keep the
/// others from being used. Symbolic links are followed, each folder being visited once.
///
/// # Errors
///
/// In place of a folder: that it, or one below it, cannot be read, or holds no image.
pub fn expand<P: AsRef<Path>>(paths: &[P], recursive: bool) -> Vec<Result<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        let path = path.as_ref();
        if !path.is_dir() {
            files.push(Ok(path.to_path_buf()));
            continue;
        }
        match images_in(path, recursive) {
            Ok(images) => files.extend(images.into_iter().map(Ok)),
            Err(error) => files.push(Err(error)),
        }
    }
    files
}

/// The image files in the folder `root`, sorted; at least one.
fn images_in(root: &Path, recursive: bool) -> Result<Vec<PathBuf>> {
    let mut images = Vec::new();
    let mut has_subfolders = false;
    let mut visited = HashSet::new();
    let mut waiting = vec![root.to_path_buf()];
    while let Some(folder) = waiting.pop() {
        let unreadable =
            |e: std::io::Error| Error::file(&folder, format_args!("cannot be read: {e}"));
        // By its real path, which is what ends a circle of links.
        if !visited.insert(fs::canonicalize(&folder).map_err(unreadable)?) {
            continue;
        }
        for entry in fs::read_dir(&folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let path = entry.path();
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if path.is_dir() {
                has_subfolders = true;
                if recursive {
                    waiting.push(path);
                }
            } else if is_image_name(&path) {
                images.push(path);
            }
        }
    }
    if images.is_empty() {
        let advice = if has_subfolders && !recursive {
            "; --recursive looks into its subfolders"
        } else {
            ""
        };
        let names = EXTENSIONS.join(", ");
        return Err(Error::file(
            root,
            format_args!("is a folder without images ({names}){advice}"),
        ));
    }
    images.sort();
    Ok(images)
}

fn is_image_name(path: &Path) -> bool {
    let extension = path
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or_default();
    EXTENSIONS
        .iter()
        .any(|known| known.eq_ignore_ascii_case(extension))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with the given (empty) files.
    fn tree(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        root
    }

    /// The paths found below `root`, with `/` between names; errors as their text.
    fn found(root: &Path, recursive: bool) -> Vec<String> {
        let relative = |path: PathBuf| {
            path.strip_prefix(root)
                .unwrap()
                .display()
                .to_string()
                .replace('\\', "/")
        };
        expand(&[root], recursive)
            .into_iter()
            .map(|f| f.map_or_else(|e| e.to_string(), relative))
            .collect()
    }

    #[test]
    fn folders_give_their_images_sorted() {
        let root = tree(&[
            "b.JPG",
            "a.png",
            "c.webp",
            "notes.txt",
            "noext",
            "sub/d.Gif",
            "sub/e/f.bmp",
            ".x.jpg",
        ]);
        assert_eq!(found(root.path(), false), ["a.png", "b.JPG", "c.webp"]);
        assert_eq!(
            found(root.path(), true),
            ["a.png", "b.JPG", "c.webp", "sub/d.Gif", "sub/e/f.bmp"]
        );
    }

    #[test]
    fn files_and_standard_input_stand_for_themselves() {
        let files: Vec<PathBuf> = expand(&["-", "missing.jpg"], false)
            .into_iter()
            .map(Result::unwrap)
            .collect();
        assert_eq!(files, [Path::new("-"), Path::new("missing.jpg")]);
    }

    #[test]
    fn a_folder_without_images_is_an_error_among_the_others() {
        let root = tree(&["empty/readme.txt", "deep/sub/a.png", "full/a.png"]);
        let paths = ["empty", "deep", "full"].map(|name| root.path().join(name));
        let files = expand(&paths, false);
        let message = |at: usize| files[at].as_ref().unwrap_err().to_string();
        assert!(
            message(0)
                .ends_with("empty: is a folder without images (jpg, jpeg, png, webp, gif, bmp)")
        );
        assert!(message(1).ends_with("--recursive looks into its subfolders"));
        assert_eq!(files[2].as_ref().unwrap(), &paths[2].join("a.png"));
    }

    #[cfg(unix)]
    #[test]
    fn circles_of_links_end() {
        let root = tree(&["a.png", "sub/b.png"]);
        std::os::unix::fs::symlink(root.path(), root.path().join("sub/up")).unwrap();
        std::os::unix::fs::symlink("self", root.path().join("self")).unwrap();
        assert_eq!(found(root.path(), true), ["a.png", "sub/b.png"]);
    }
}
