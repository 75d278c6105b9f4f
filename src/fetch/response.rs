//! Reads the headers of an answer.

use ureq::http::{HeaderMap, StatusCode};

/// The part of a file that an answer contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ContentRange {
    /// Its first byte.
    pub start: u64,
    /// The size of the whole file in bytes, if the server knows it.
    pub total: Option<u64>,
}

impl ContentRange {
    /// Parses `bytes 100-199/200` or `bytes 100-199/*`.
    pub fn parse(text: &str) -> Option<Self> {
        let (unit, range) = text.trim().split_once(' ')?;
        let (part, total) = range.trim().split_once('/')?;
        let (start, end) = part.split_once('-')?;
        let (start, end) = (number(start)?, number(end)?);
        let total = match total.trim() {
            "*" => None,
            digits => Some(number(digits)?),
        };
        let sane = start <= end && total.is_none_or(|total| end < total);
        (unit.eq_ignore_ascii_case("bytes") && sane).then_some(ContentRange { start, total })
    }

    /// Returns the part that `headers` announce.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        Self::parse(text(headers, "content-range")?)
    }
}

/// Parses a number of digits only, without the sign that Rust would accept.
fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// Returns the number of bytes in the body.
pub(super) fn length(headers: &HeaderMap) -> Option<u64> {
    number(text(headers, "content-length")?)
}

/// Returns the identifier of this version of the file: its `ETag`, or else the time of its last change. A weak `ETag`
/// is ignored, because it promises only equivalent content, not equal bytes.
pub(super) fn version(headers: &HeaderMap) -> Option<&str> {
    let tag = text(headers, "etag").filter(|tag| tag.starts_with('"'));
    tag.or_else(|| text(headers, "last-modified"))
}

/// Returns the address of a redirect, if the answer is one.
pub(super) fn location(status: StatusCode, headers: &HeaderMap) -> Option<&str> {
    let sends_on = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
    text(headers, "location").filter(|_| sends_on)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read_or_refused() {
        let range = |start, total| Some(ContentRange { start, total });
        for (text, expected) in [
            ("bytes 100-199/200", range(100, Some(200))),
            ("bytes 0-0/1", range(0, Some(1))),
            (" Bytes  5-9/* ", range(5, None)),
            ("bytes */200", None),
            ("bytes 100-200/200", None),
            ("bytes 9-5/200", None),
            ("bytes -5-9/200", None),
            ("bytes +5-9/200", None),
            ("bytes 5-/200", None),
            ("bytes 5-9", None),
            ("lines 5-9/200", None),
            ("bytes 5-99999999999999999999999/*", None),
            ("", None),
        ] {
            assert_eq!(ContentRange::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn a_version_is_one_that_vouches_for_every_byte() {
        let headers = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
            let pairs = pairs.iter().map(|(name, value)| {
                (
                    name.parse().unwrap(),
                    ureq::http::HeaderValue::from_static(value),
                )
            });
            pairs.collect()
        };
        let date = ("last-modified", "Mon, 02 Nov 2026 10:00:00 GMT");
        assert_eq!(version(&headers(&[("etag", "\"a\""), date])), Some("\"a\""));
        assert_eq!(
            version(&headers(&[("etag", "W/\"a\""), date])),
            Some(date.1)
        );
        assert_eq!(version(&headers(&[("etag", "W/\"a\"")])), None);
        assert_eq!(version(&headers(&[])), None);
    }
}
