//! Text and numbers in HTML.

use std::fmt::Write as _;

use crate::error::is_unsafe;

/// Escapes untrusted text for HTML and its attributes. Control characters and those that change the direction of
/// writing are shown as code points.
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            '\'' => safe += "&#39;",
            c if is_unsafe(c) => {
                let _ = write!(safe, "\\u{{{:x}}}", u32::from(c));
            }
            c => safe.push(c),
        }
    }
    safe
}

/// Formats a number with four significant digits; a very small one as `1.5e-7`.
pub(super) fn number(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    if value.abs() < 1e-3 {
        return format!("{value:.1e}");
    }
    let digits = (3 - value.abs().log10().floor() as i32).clamp(0, 4) as usize;
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_is_text() {
        assert_eq!(
            escaped("<script>\"a\" & 'b'\u{202e}\x1b</script>"),
            "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;\\u{202e}\\u{1b}&lt;/script&gt;"
        );
    }

    #[test]
    fn numbers_have_four_digits() {
        assert_eq!(
            [0.0, 1234.5, 12.345, 0.023_456, 0.000_123_456].map(number),
            ["0", "1234", "12.35", "0.0235", "1.2e-4"]
        );
    }
}
