//! Names of pictures in lists.

use std::path::{Component, Path};

use crate::data::folder::kinds::EXTENSIONS;

/// Whether `name` stays inside the folder to which it is relative.
pub(super) fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && Path::new(name)
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
}

/// Whether a name has the extension of a picture.
pub(super) fn is_picture(name: &str) -> bool {
    let extension = Path::new(name.trim()).extension().and_then(|e| e.to_str());
    extension.is_some_and(|e| EXTENSIONS.contains(&e.to_ascii_lowercase().as_str()))
}

/// Normalises a name in a user's table to a path inside the dataset's folder: `.\photos\a.jpg` becomes
/// `photos/a.jpg`. An absolute path or a URL keeps all its folders and begins with `/`: `C:\photos\a.jpg` becomes
/// `/C/photos/a.jpg`. Returns `None` if the name leads out of the folder.
pub(super) fn tidy(name: &str) -> Option<String> {
    let name = name.trim().replace('\\', "/");
    let is_elsewhere =
        name.starts_with('/') || name.get(1..3) == Some(":/") || name.contains("://");
    if !is_elsewhere {
        let name = name.trim_start_matches("./");
        return is_plain(name).then(|| name.to_string());
    }
    let path = name
        .split_once("://")
        .map_or(name.as_str(), |(_, rest)| rest);
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part.trim_end_matches(':') {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let path = parts.join("/");
    is_plain(&path).then(|| format!("/{path}"))
}

/// The last part of a path that is written with `/`.
pub(super) fn last_part(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_paths_inside_the_folder() {
        for (name, expected) in [
            (" a.jpg", Some("a.jpg")),
            (".\\photos\\a.jpg", Some("photos/a.jpg")),
            ("C:\\Users\\me\\a.jpg", Some("/C/Users/me/a.jpg")),
            ("/home/me/../you/./a.jpg", Some("/home/you/a.jpg")),
            ("https://example.org/x/a.jpg", Some("/example.org/x/a.jpg")),
            ("file:///x/a.jpg", Some("/x/a.jpg")),
            ("../a.jpg", None),
            ("photos/../../a.jpg", None),
            ("", None),
            ("/", None),
        ] {
            assert_eq!(tidy(name).as_deref(), expected, "{name}");
        }
        assert!(is_picture("a.JPG ") && !is_picture("a.jpg.1") && !is_picture("jpg"));
    }
}
