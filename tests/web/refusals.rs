//! Tests of malformed requests.

use crate::{Client, Response, Service, form, png};

#[test]
fn a_query_that_makes_no_sense_is_refused() {
    let service = Service::quick();
    for (query, part) in [
        ("beam=0", "1 to 50"),
        ("beam=51", "1 to 50"),
        ("beam=-1", "beam"),
        ("beam=many", "beam"),
        ("n_best=0", "1 to the beam"),
        ("beam=2&n_best=3", "1 to the beam, 2"),
        (
            "beans=3",
            "`beans`; it may have `beam`, `n_best`, `attention`",
        ),
        ("attention=maybe", "attention"),
        ("beam=1&beam=2", "given as 1 and as 2"),
        ("beam=", "beam=: must be"),
        ("%0A", "unknown field ` `"),
    ] {
        let response = service.post(&format!("/api/caption?{query}"), &png(1));
        let error = response.error(400);
        assert!(error.contains(part), "{query}: {error}");
    }
    service
        .post("/api/caption?beam=50&n_best=50", &png(1))
        .answer();
}

#[test]
fn what_is_no_image_is_refused_by_what_is_wrong_with_it() {
    let service = Service::quick();
    let whole = png(1);
    for (bytes, status, part) in [
        (&b""[..], 400, "empty"),
        (b"just some words", 415, "not an image"),
        (b"\0\0\0\x18ftypavif\0\0\0\0", 415, "AVIF"),
        (b"II*\0\x08\0\0\0", 400, "TIFF"),
        (&whole[..whole.len() / 2], 400, "cut off"),
        (
            b"\x89PNG\r\n\x1a\nrubbish that goes on for a while",
            400,
            "damaged",
        ),
        (b"\xff\xd8\xff\xe0", 400, "cut off"),
    ] {
        let error = service.post("/api/caption", bytes).error(status);
        assert!(error.contains(part), "{error}");
        if !bytes.is_empty() {
            let response = service.form("/api/caption", &[("image", "a.png", bytes)]);
            let error = response.error(status);
            assert!(
                error.starts_with("a.png: ") && error.contains(part),
                "{error}"
            );
        }
    }
    let error = service
        .form("/api/caption", &[("image", "a.png", b"")])
        .error(400);
    assert!(error.contains("a.png: is empty"), "{error}");
}

/// A small PNG whose header claims this size.
fn claims(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = png(1);
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    bytes[20..24].copy_from_slice(&height.to_be_bytes());
    let sum = crc32(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| {
            (sum >> 1) ^ (0xEDB8_8320 & (sum & 1).wrapping_neg())
        })
    })
}

#[test]
fn a_few_bytes_that_would_fill_the_memory_are_refused() {
    let service = Service::quick();
    let before = service.metric("process_resident_memory_bytes");
    let error = service
        .post("/api/caption", &claims(60_000, 60_000))
        .error(413);
    assert!(error.contains("60000 x 60000"), "{error}");
    let results = service
        .form(
            "/api/caption",
            &[
                ("image", "bomb", &claims(60_000, 60_000)),
                ("image", "good", &png(1)),
            ],
        )
        .answer();
    assert!(results["results"][0]["error"].is_string());
    assert!(results["results"][1]["captions"].is_array());
    let after = service.metric("process_resident_memory_bytes");
    // Other tests use memory of the same process, but far less than the claimed 10 GB.
    assert!(after - before < 2e9, "{} bytes", after - before);
}

#[test]
fn forms_that_are_no_forms_are_refused() {
    let service = Service::quick();
    let (kind, body) = form(&[("image", "a.png", &png(1))]);
    let ask = |kind: &str, body: &[u8]| service.ask("POST", "/api/caption", &[kind], body);
    ask(&kind, &body).answer();
    let cut = ask(&kind, &body[..body.len() - 20]).error(400);
    assert!(cut.contains("malformed"), "{cut}");
    assert!(
        ask("Content-Type: multipart/form-data", &body)
            .error(400)
            .contains("boundary")
    );
    assert!(ask(&kind, b"rubbish").error(400).contains("malformed"));
    assert!(ask(&kind, b"--limit--\r\n").error(400).contains("`image`"));
    let (kind, body) = form(&[("picture", "a.png", &png(1))]);
    assert!(ask(&kind, &body).error(400).contains("`image`"));
    assert!(ask(&kind, b"").error(400).contains("empty"));
    let many = vec![("image", "a.png", &b"x"[..]); 17];
    let error = service.form("/api/caption", &many).error(413);
    assert!(error.contains("16 images"), "{error}");
}

#[test]
fn what_is_not_there_is_said_so_in_json() {
    let service = Service::quick();
    for path in [
        "/nothing",
        "/api/nothing",
        "/samples/../Cargo.toml",
        "/samples/dog.jpg",
    ] {
        service.get(path).error(404);
    }
    let response = service.get("/api/caption");
    response.error(405);
    assert_eq!(response.header("allow"), Some("POST"));
    service.ask("DELETE", "/healthz", &[], b"").error(405);
    service.ask("MADEUP", "/", &[], b"").error(405);
}

#[test]
fn what_is_no_http_ends_the_connection_and_nothing_else() {
    let service = Service::quick();
    for bytes in [
        &b"rubbish\r\n\r\n"[..],
        b"\0\xff\x16\x03\x01",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\r\n\r\n",
    ] {
        let mut client = Client::new(service.addr);
        client.send(bytes);
        client.0.shutdown(std::net::Shutdown::Write).unwrap();
        let answer = client.rest();
        assert!(answer.is_empty() || Response::new(&answer).status == 400);
    }
    let long = format!("X-Long: {}", "x".repeat(1 << 20));
    let response = service.begin("GET", "/", &[&long], b"").rest();
    assert!(response.is_empty() || Response::new(&response).status == 431);
    service.post("/api/caption", &png(1)).answer();
}
