//! Explains errors in JSON and TOML texts in plain words, with their position.
//!
//! There are two kinds of errors. Either the text is not JSON or TOML at all; then the message gives line and column.
//! Or it is, but holds something else than expected. The libraries report the latter in phrases of a fixed form
//! ("unknown field `x`, expected one of `y`, `z`"), which this module translates.

#[cfg(any(feature = "toml", test))]
use serde::de::DeserializeOwned;
use serde_json::error::Category;

/// Explains why a JSON text was refused.
pub fn json(error: &serde_json::Error) -> String {
    let place = match error.line() {
        0 => String::new(),
        line => format!("line {line}, column {}: ", error.column()),
    };
    match error.classify() {
        Category::Io => "cannot be read".into(),
        Category::Syntax => format!("{place}is not JSON"),
        Category::Eof => format!("{place}is JSON that ends early"),
        Category::Data => {
            let text = error.to_string();
            let suffix = format!(" at line {} column {}", error.line(), error.column());
            let what = text.strip_suffix(&suffix).unwrap_or(&text);
            format!("{place}{}", phrase(what, "an object"))
        }
    }
}

/// Reads a value from a TOML text.
///
/// # Errors
/// If the text is not TOML or not such a value; the message explains what is wrong and where.
#[cfg(any(feature = "toml", test))]
pub fn read_toml<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let place = |error: &toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        before.map_or_else(String::new, |before| {
            let line = 1 + before.matches('\n').count();
            let column = 1 + before.rsplit('\n').next().map_or(0, |l| l.chars().count());
            format!("line {line}, column {column}: ")
        })
    };
    // Read as plain TOML first, which tells errors of syntax from errors of content.
    if let Err(error) = toml::from_str::<toml::Table>(text) {
        let what = match error.message() {
            message if message.contains("duplicate key") => "has a key twice",
            _ => "is not TOML",
        };
        return Err(format!("{}{what}", place(&error)));
    }
    toml::from_str(text)
        .map_err(|error| format!("{}{}", place(&error), phrase(error.message(), "a table")))
}

/// Translates a phrase in which a library refuses a value. A text without such a form is a message of our own and is
/// returned unchanged. `object` is the format's word for a set of named values, with its article.
fn phrase(text: &str, object: &str) -> String {
    if let Some((field, known)) = between(text, "unknown field `", "`, ") {
        return format!(
            "has `{field}`, which does not exist{}",
            instead(field, known)
        );
    }
    if let Some((variant, known)) = between(text, "unknown variant `", "`, ") {
        return format!(
            "has `{variant}`, which is no choice{}",
            instead(variant, known)
        );
    }
    if let Some((field, _)) = between(text, "missing field `", "`") {
        return format!("lacks `{field}`");
    }
    if let Some((field, _)) = between(text, "duplicate field `", "`") {
        return format!("has `{field}` twice");
    }
    if let Some((length, expected)) = between(text, "invalid length ", ", expected ") {
        return format!(
            "has {length} values where there should be {}",
            kind(expected, object)
        );
    }
    for start in ["invalid type: ", "invalid value: "] {
        if let Some((found, expected)) = between(text, start, ", expected ") {
            return format!(
                "has {} where {} belongs",
                value(found, object),
                kind(expected, object)
            );
        }
    }
    let is_about_form = ["wanted ", "expected ", "data did not match any variant"];
    if is_about_form.iter().any(|start| text.starts_with(start)) {
        return "has a value of a form that does not belong there".into();
    }
    if text.contains("path contains invalid") {
        return "has a path that is not UTF-8".into();
    }
    if text.contains("overflowed") || text == "number out of range" {
        return "has a number that is too large".into();
    }
    text.into()
}

/// Returns the text after `start` and before `end`, and the text after `end`.
fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<(&'a str, &'a str)> {
    text.strip_prefix(start)?.split_once(end)
}

/// Suggests what was meant, from a list like "expected one of `a`, `b`", "expected `a` or `b`" or "there are no
/// fields".
fn instead(word: &str, known: &str) -> String {
    let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
    match nearest(word, known.iter().copied()) {
        Some(nearest) => format!("; did you mean `{nearest}`?"),
        None if known.is_empty() => String::new(),
        None => format!("; there are {}", known.join(", ")),
    }
}

/// Returns the word in `known` with the smallest edit distance to `word`; `None` if that distance is more than 1 and
/// more than a third of the length of `word`.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let far = |name: &'a str| (distance(word, name), name);
    let (distance, nearest) = known.into_iter().map(far).min()?;
    (distance <= word.chars().count().max(3) / 3).then_some(nearest)
}

/// Translates the description of a value that was found: "string \"a\"", "integer `3`", "map".
fn value(text: &str, object: &str) -> String {
    match text.split_once(' ') {
        Some(("string", string)) => format!("the text {string}"),
        Some(("integer" | "boolean", number)) => number.trim_matches('`').into(),
        Some(("floating", number)) => number.trim_start_matches("point ").trim_matches('`').into(),
        _ => match text {
            "map" => object.into(),
            "sequence" => "a list".into(),
            "null" | "unit value" | "Option value" => "null".into(),
            _ => "a value".into(),
        },
    }
}

/// Translates the description of an expected value: a Rust type, or a phrase of our own.
fn kind(text: &str, object: &str) -> String {
    match text {
        "u8" | "u16" | "u32" | "u64" | "u128" | "usize" => "a whole number of 0 or more".into(),
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "a whole number".into(),
        "f32" | "f64" => "a number".into(),
        "a boolean" => "true or false".into(),
        "a string" | "string" | "str" | "path string" => "a text".into(),
        "a sequence" => "a list".into(),
        "a map" => object.into(),
        text if text.starts_with("struct ") || text.starts_with("internally tagged enum ") => {
            object.into()
        }
        text if text.starts_with("enum ") || text.starts_with("variant ") => {
            "the name of a choice".into()
        }
        text if text.starts_with("an array of length ") => {
            text.replace("an array of length ", "a list of ")
        }
        text if text.starts_with("a tuple of size ") => {
            text.replace("a tuple of size ", "a list of ")
        }
        text if text.starts_with("tuple struct ") => "a list".into(),
        text => text.into(),
    }
}

/// Computes the edit distance: how many letters must be inserted, removed or changed, or neighbours swapped, to turn
/// one word into the other.
fn distance(a: &str, b: &str) -> usize {
    let [a, b]: [Vec<char>; 2] = [a, b].map(|word| word.chars().collect());
    // Each row covers one more of the first letters of `a`; each column one more of those of `b`.
    let mut before = vec![0; b.len() + 1];
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut next = vec![i + 1; b.len() + 1];
        for j in 0..b.len() {
            let change = row[j] + usize::from(a[i] != b[j]);
            let mut least = change.min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                least = least.min(before[j - 1] + 1);
            }
            next[j + 1] = least;
        }
        before = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its mistakes are looked at")]
    struct Thing {
        epochs: u32,
        rate: Option<f32>,
        kind: Option<Choice>,
        sides: Option<[u32; 2]>,
        inner: Option<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Choice {
        Inject,
        Merge,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only its mistakes are looked at")]
    struct Inner {
        name: String,
    }

    #[test]
    fn json_mistakes_have_our_words_and_a_place() {
        let whole = "a whole number of 0 or more belongs";
        for (text, place, expected) in [
            (
                "{\"epochs\": 3,\n \"rate\" 3}",
                "line 2, column 9",
                "is not JSON",
            ),
            (
                "{\"epochs\": 3",
                "line 1, column 12",
                "is JSON that ends early",
            ),
            ("", "line 1, column 0", "is JSON that ends early"),
            ("{}", "line 1, column 2", "lacks `epochs`"),
            (
                "{\"epochs\": -3}",
                "line 1, column 13",
                &format!("has -3 where {whole}"),
            ),
            (
                "{\"epochs\": 0.5}",
                "line 1, column 14",
                &format!("has 0.5 where {whole}"),
            ),
            (
                "{\"epochs\": \"3\"}",
                "line 1, column 14",
                &format!("has the text \"3\" where {whole}"),
            ),
            (
                "{\"epochs\": [3]}",
                "line 1, column 11",
                &format!("has a list where {whole}"),
            ),
            (
                "{\"epochs\": null}",
                "line 1, column 15",
                &format!("has null where {whole}"),
            ),
            (
                "{\"epoch\": 3}",
                "line 1, column 8",
                "has `epoch`, which does not exist; did you mean `epochs`?",
            ),
            (
                "{\"epochs\": 1, \"epochs\": 2}",
                "line 1, column 22",
                "has `epochs` twice",
            ),
            (
                "{\"epochs\": 1, \"sides\": [1]}",
                "line 1, column 26",
                "has 1 values where there should be a list of 2",
            ),
            (
                "{\"epochs\": 1, \"inner\": 3}",
                "line 1, column 24",
                "has 3 where an object belongs",
            ),
        ] {
            let said = json(&serde_json::from_str::<Thing>(text).unwrap_err());
            assert_eq!(said, format!("{place}: {expected}"), "{text}");
        }
    }

    #[test]
    fn toml_mistakes_have_our_words_and_a_place() {
        for (text, expected) in [
            ("rate = = 3\n", "line 2, column 8: is not TOML"),
            ("epochs = 4\n", "line 2, column 1: has a key twice"),
            (
                "rates = 4\n",
                "line 2, column 1: has `rates`, which does not exist; did you mean `rate`?",
            ),
            (
                "zzzzzzzz = 4\n",
                "line 2, column 1: has `zzzzzzzz`, which does not exist; there are epochs, rate, kind, sides, inner",
            ),
            (
                "kind = \"merg\"\n",
                "line 2, column 8: has `merg`, which is no choice; did you mean `merge`?",
            ),
            (
                "kind = 5\n",
                "line 2, column 8: has a value of a form that does not belong there",
            ),
            (
                "rate = true\n",
                "line 2, column 8: has true where a number belongs",
            ),
            ("[inner]\n", "line 2, column 1: lacks `name`"),
            (
                "inner = \"x\"\n",
                "line 2, column 9: has the text \"x\" where a table belongs",
            ),
            ("[inner\n", "line 2, column 7: is not TOML"),
        ] {
            let said = read_toml::<Thing>(&format!("epochs = 3\n{text}")).unwrap_err();
            assert_eq!(said, expected, "{text}");
        }
        assert_eq!(
            read_toml::<Thing>("").unwrap_err(),
            "line 1, column 1: lacks `epochs`"
        );
        assert!(read_toml::<Thing>("epochs = 3\n").is_ok());
    }

    #[test]
    fn swapped_neighbours_are_one_mistake() {
        for (a, b, far) in [
            ("kidn", "kind", 1),
            ("kind", "kind", 0),
            ("batch", "bach", 1),
            ("ca", "abc", 3),
            ("", "abc", 3),
        ] {
            assert_eq!((distance(a, b), distance(b, a)), (far, far), "{a} {b}");
        }
        assert_eq!(
            nearest("decoder.knid", ["decoder.kind"]),
            Some("decoder.kind")
        );
    }
}
