//! Parses `Content-Disposition`, the header of a form's field with its name and file name.
//!
//! Browsers and programs disagree on how to write special characters, and all spellings are accepted. `filename*` is
//! encoded as in RFC 8187. In `filename` a quote is `%22` (browsers) or `\"` (other programs), but a `\` may also stand
//! for itself, in a Windows path.

use axum::http::{HeaderMap, header};

/// The largest number of characters of a name that are kept.
const NAME_CHARS: usize = 200;

/// The names of a field and its file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Disposition {
    /// The field's name; empty if it has none.
    pub field: String,
    /// The file's name without folders; `None` if it has none.
    pub file: Option<String>,
}

impl Disposition {
    pub fn of(headers: &HeaderMap) -> Self {
        let value = headers.get(header::CONTENT_DISPOSITION);
        value.map_or_else(Self::default, |value| Self::parse(value.as_bytes()))
    }

    fn parse(text: &[u8]) -> Self {
        let (mut field, mut plain, mut extended) = (None, None, None);
        for (name, value) in parameters(text) {
            match name.as_str() {
                "name" => field = field.or(Some(unescaped(&value))),
                "filename" => plain = plain.or(Some(unescaped(&value))),
                // A value that cannot be decoded is ignored.
                "filename*" => extended = extended.or_else(|| decoded(&value)),
                _ => {}
            }
        }
        Disposition {
            field: field.map(|name| kept(&name)).unwrap_or_default(),
            file: extended.or(plain).and_then(|name| base(&name)),
        }
    }
}

/// Parses the parameters after the header's type: names in lower case, values without their quotes.
fn parameters(text: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut rest = skip_past(text, b';');
    while let Some(equals) = rest.iter().position(|&byte| byte == b'=' || byte == b';') {
        let name = rest[..equals].trim_ascii().to_ascii_lowercase();
        if rest[equals] == b';' {
            rest = &rest[equals + 1..];
            continue;
        }
        rest = rest[equals + 1..].trim_ascii_start();
        let value = match rest.strip_prefix(b"\"") {
            Some(quoted) => {
                let end = closing_quote(quoted);
                rest = skip_past(&quoted[end..], b';');
                quoted[..end].to_vec()
            }
            None => {
                let end = rest.iter().position(|&b| b == b';').unwrap_or(rest.len());
                let value = rest[..end].trim_ascii().to_vec();
                rest = skip_past(rest, b';');
                value
            }
        };
        found.push((String::from_utf8_lossy(&name).into_owned(), value));
    }
    found
}

fn skip_past(text: &[u8], end: u8) -> &[u8] {
    let at = text.iter().position(|&byte| byte == end);
    at.map_or(&[], |at| &text[at + 1..])
}

/// Returns the position of the quote that ends a value; a quote after a `\` belongs to the value.
fn closing_quote(text: &[u8]) -> usize {
    let mut at = 0;
    while at < text.len() && text[at] != b'"' {
        let escapes = text[at] == b'\\' && matches!(text.get(at + 1), Some(b'"' | b'\\'));
        at += 1 + usize::from(escapes);
    }
    at.min(text.len())
}

/// Undoes the escapes of a value: `\"` and `\\`, and the codes that browsers write for quotes and line ends.
fn unescaped(value: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value;
    while let [first, after @ ..] = rest {
        let (byte, more) = match rest {
            [b'\\', escaped @ (b'"' | b'\\'), more @ ..] => (*escaped, more),
            [b'%', b'2', b'2', more @ ..] => (b'"', more),
            [b'%', b'0', b'D' | b'd' | b'A' | b'a', more @ ..] => (b' ', more),
            _ => (*first, after),
        };
        bytes.push(byte);
        rest = more;
    }
    // Bytes that are not UTF-8 are most likely in the older encoding.
    String::from_utf8(bytes).unwrap_or_else(|e| latin(e.as_bytes()))
}

/// Decodes `UTF-8''na%C3%AFve.jpg`: the encoding, a language, and the text.
fn decoded(value: &[u8]) -> Option<String> {
    let mut parts = value.splitn(3, |&byte| byte == b'\'');
    let (encoding, _, text) = (parts.next()?, parts.next()?, parts.next()?);
    let bytes = percent_decoded(text)?;
    match &*encoding.to_ascii_lowercase() {
        b"utf-8" => String::from_utf8(bytes).ok(),
        b"iso-8859-1" => Some(latin(&bytes)),
        _ => None,
    }
}

fn percent_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        rest = after;
        bytes.push(match (first, after) {
            (b'%', [high, low, more @ ..]) => {
                rest = more;
                let digit = |byte: u8| char::from(byte).to_digit(16);
                (digit(*high)? << 4 | digit(*low)?) as u8
            }
            (b'%', _) => return None,
            _ => *first,
        });
    }
    Some(bytes)
}

/// Decodes ISO 8859-1, in which each byte is the number of its character.
fn latin(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

/// Returns a file's name without the folders before it: some browsers send real ones, some `C:\fakepath\`.
fn base(path: &str) -> Option<String> {
    let name = path.rsplit(['/', '\\']).next().unwrap_or_default();
    let name = kept(name);
    (!matches!(name.trim(), "" | "." | "..")).then_some(name)
}

/// Shortens a name to one line of limited length, for messages and answers.
fn kept(name: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    name.chars().take(NAME_CHARS).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &[u8]) -> Option<String> {
        let text = [b"form-data; name=\"image\"; ", text].concat();
        let read = Disposition::parse(&text);
        assert_eq!(read.field, "image");
        read.file
    }

    #[test]
    fn names_of_files_are_read_as_they_were_meant() {
        for (text, name) in [
            (&br#"filename="a.jpg""#[..], "a.jpg"),
            (br#"FileName = "a.jpg" ; more=1"#, "a.jpg"),
            (b"filename=a.jpg", "a.jpg"),
            (br#"filename="a; name=b.jpg""#, "a; name=b.jpg"),
            // A quote as written by a browser and by another program.
            (br#"filename="a %22b%22.jpg""#, "a \"b\".jpg"),
            (br#"filename="a \"b\".jpg""#, "a \"b\".jpg"),
            (br#"filename="50%.jpg""#, "50%.jpg"),
            (br#"filename="%41.jpg""#, "%41.jpg"),
            (br#"filename="a%0D%0Ab.jpg""#, "a  b.jpg"),
            (br#"filename="dir/a.jpg""#, "a.jpg"),
            (br#"filename="../../a.jpg""#, "a.jpg"),
            (br#"filename="C:\fakepath\a.jpg""#, "a.jpg"),
            (br#"filename="C:\\fakepath\\a.jpg""#, "a.jpg"),
            ("filename=\"na\u{ef}ve.jpg\"".as_bytes(), "na\u{ef}ve.jpg"),
            (b"filename=\"na\xefve.jpg\"", "na\u{ef}ve.jpg"),
            (b"filename*=UTF-8''na%C3%AFve.jpg", "na\u{ef}ve.jpg"),
            (
                b"filename*=utf-8'en'%e2%82%ac%20rates.jpg",
                "\u{20ac} rates.jpg",
            ),
            (b"filename*=ISO-8859-1''na%EFve.jpg", "na\u{ef}ve.jpg"),
            (br#"filename*="UTF-8''na%C3%AFve.jpg""#, "na\u{ef}ve.jpg"),
            (b"filename*=UTF-8''dir%2Fa.jpg", "a.jpg"),
            (b"filename*=UTF-8''it's.jpg", "it's.jpg"),
            // `filename*` has precedence, whatever the order.
            (
                br#"filename="naive.jpg"; filename*=UTF-8''na%C3%AFve.jpg"#,
                "na\u{ef}ve.jpg",
            ),
            (
                br#"filename*=UTF-8''na%C3%AFve.jpg; filename="naive.jpg""#,
                "na\u{ef}ve.jpg",
            ),
            // A value that cannot be decoded, beside one that can.
            (
                br#"filename="naive.jpg"; filename*=UTF-8''na%EFve.jpg"#,
                "naive.jpg",
            ),
            (
                br#"filename="naive.jpg"; filename*=UTF-8''na%ZZve.jpg"#,
                "naive.jpg",
            ),
            (
                br#"filename="naive.jpg"; filename*=UTF-8''na%E"#,
                "naive.jpg",
            ),
            (
                br#"filename="naive.jpg"; filename*=KOI8-R''na%EFve.jpg"#,
                "naive.jpg",
            ),
            (br#"filename="naive.jpg"; filename*=naive"#, "naive.jpg"),
            (br#"filename="open.jpg"#, "open.jpg"),
        ] {
            let shown = String::from_utf8_lossy(text);
            assert_eq!(file(text).as_deref(), Some(name), "{shown}");
        }
        for text in [
            &b"x=1"[..],
            br#"filename="""#,
            br#"filename="dir/""#,
            br#"filename="..""#,
            b"filename*=KOI8-R''a",
            b"",
            b"filename",
        ] {
            assert_eq!(file(text), None, "{}", String::from_utf8_lossy(text));
        }
        let long = format!("filename=\"{}\"", "x".repeat(1000));
        assert_eq!(file(long.as_bytes()).unwrap().len(), NAME_CHARS);
    }

    #[test]
    fn a_field_may_have_no_name() {
        for text in [&b""[..], b"form-data", b"form-data; ;=", b"\"\\"] {
            assert_eq!(Disposition::parse(text), Disposition::default());
        }
        assert_eq!(Disposition::parse(b"form-data; name=beam").field, "beam");
        let escaped = Disposition::parse(br#"form-data; name="a%22\"b""#);
        assert_eq!(escaped.field, "a\"\"b");
    }
}
