//! Adds a body to the answers with which the HTTP library refuses requests that cannot be parsed.

use serde_json::to_vec;

use super::observe::SECURITY_HEADERS;
use super::refusal::Complaint;

/// Finds the last answer in `bytes` that the library made up. Returns its start and the answer that replaces it.
///
/// The service's own answers are recognised by the headers that each of them has.
pub fn find(bytes: &[u8]) -> Option<(usize, Vec<u8>)> {
    if !bytes.ends_with(b"\r\n\r\n") {
        return None;
    }
    let start = b"HTTP/1.1 4";
    let at = bytes.windows(start.len()).rposition(|w| w == start)?;
    let head = std::str::from_utf8(&bytes[at..bytes.len() - 4]).ok()?;
    let mut lines: Vec<&str> = head.split("\r\n").collect();
    let is_own = |line: &str| line.starts_with(SECURITY_HEADERS[0].0.as_str());
    let length = lines.iter().position(|&line| line == "content-length: 0")?;
    if lines.iter().any(|line| is_own(line)) {
        return None;
    }
    lines.remove(length);
    let error = match lines[0].split(' ').nth(1)? {
        "414" => "the address is too long",
        "431" => "the headers are too many or too large",
        _ => {
            "the request cannot be read: its first line, a header or its length is not valid in HTTP/1.1"
        }
    };
    let complaint = Complaint {
        error: error.into(),
    };
    let body = to_vec(&complaint).ok()?;
    let mut answer = lines.join("\r\n");
    for (name, value) in SECURITY_HEADERS {
        answer.push_str(&format!("\r\n{name}: {value}"));
    }
    answer.push_str(&format!(
        "\r\ncontent-type: application/json\r\ncache-control: no-store\r\ncontent-length: {}\r\n\r\n",
        body.len()
    ));
    Some((at, [answer.as_bytes(), &body].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_refusals_of_the_library_get_a_body() {
        let refusal = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\ndate: today\r\n\r\n";
        let (at, answer) = find(refusal).unwrap();
        let answer = String::from_utf8(answer).unwrap();
        assert!(at == 0 && answer.starts_with("HTTP/1.1 400 Bad Request\r\ndate: today\r\n"));
        assert!(answer.contains("\r\n\r\n{\"error\":\"the request cannot be read"));
        assert!(!answer.contains("content-length: 0"));

        let before = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        let (at, _) = find(&[&before[..], refusal].concat()).unwrap();
        assert_eq!(at, before.len());
        assert!(find(before).is_none());
        let own =
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\ncontent-security-policy: x\r\n\r\n";
        assert!(find(own).is_none());
    }
}
