//! Reads captions that are written as a list in one field: `["A dog", "It runs"]`, or as Python prints it, `['A dog',
//! "It's"]`.

/// The captions of a field: the elements of a list, or the field itself.
///
/// # Errors
/// A message, if the field begins and ends like a list of texts but cannot be read as one.
pub(in crate::data::dataset) fn captions(field: &str) -> Result<Vec<String>, String> {
    let text = field.trim();
    let inside = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let Some(inside) = inside.map(str::trim) else {
        return Ok(vec![field.to_string()]);
    };
    if !inside.starts_with(['"', '\'']) {
        // `[unclear]` is a caption, not a list.
        return Ok(match inside.is_empty() {
            true => Vec::new(),
            false => vec![field.to_string()],
        });
    }
    if let Ok(list) = serde_json::from_str(text) {
        return Ok(list);
    }
    python(inside).ok_or_else(|| {
        let start: String = text.chars().take(60).collect();
        format!("has a list of captions that cannot be read: '{start}'; write it as JSON, [\"A dog\", \"It runs\"], or each caption in a row of its own")
    })
}

/// Reads the texts of a Python list, or of a numpy array, which is printed without commas.
fn python(inside: &str) -> Option<Vec<String>> {
    let mut texts = Vec::new();
    let mut signs = inside.chars().peekable();
    while let Some(mark) = signs.next() {
        if !matches!(mark, '"' | '\'') {
            return None;
        }
        let mut text = String::new();
        loop {
            match signs.next()? {
                '\\' => match signs.next()? {
                    'n' | 'r' | 't' => text.push(' '),
                    sign @ ('\\' | '\'' | '"') => text.push(sign),
                    'x' => text.push(code(&mut signs, 2)?),
                    'u' => text.push(code(&mut signs, 4)?),
                    _ => return None,
                },
                end if end == mark => break,
                other => text.push(other),
            }
        }
        texts.push(text);
        let mut is_parted = signs.peek().is_none();
        while signs.next_if(|c| c.is_whitespace() || *c == ',').is_some() {
            is_parted = true;
        }
        if !is_parted {
            return None;
        }
    }
    Some(texts)
}

/// The character whose code is written in `digits` hexadecimal digits.
fn code(signs: &mut impl Iterator<Item = char>, digits: usize) -> Option<char> {
    let number: String = signs.take(digits).collect();
    char::from_u32(u32::from_str_radix(&number, 16).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_several_captions() {
        for (field, expected) in [
            (r#"["A man", "A \"dog\""]"#, &["A man", "A \"dog\""][..]),
            (
                r#"['A man', "A dog's \xe9", 'b\'c']"#,
                &["A man", "A dog's \u{e9}", "b'c"],
            ),
            ("['A man'\n 'A dog']", &["A man", "A dog"]),
            ("[]", &[]),
            ("[unclear]", &["[unclear]"]),
            ("A [big] dog", &["A [big] dog"]),
            ("", &[""]),
        ] {
            assert_eq!(captions(field).unwrap(), expected, "{field}");
        }
        for broken in ["['A man]", "['A' x]", "['A''B']", "[\"A\", 3]", "['\\q']"] {
            assert!(captions(broken).is_err(), "{broken}");
        }
    }
}
