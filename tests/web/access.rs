//! Tests of access: hosts, origins and tokens.

use glimpse::web::Options;

use crate::{Client, Response, Service, png, quick};

fn with(options: Options) -> Service {
    Service::new(quick(), options)
}

#[test]
fn only_names_of_this_machine_lead_here() {
    let service = with(Options {
        hosts: vec!["glimpse.example".into()],
        ..Options::default()
    });
    let host = |name: &str| service.ask("GET", "/", &[&format!("Host: {name}")], b"");
    for ours in [
        "localhost",
        "LocalHost:8080",
        "127.0.0.1",
        "127.0.0.2:1",
        "[::1]:8080",
        "glimpse.example:80",
    ] {
        assert_eq!(host(ours).status, 200, "{ours}");
    }
    for foreign in [
        "example.org",
        "localhost.example.org",
        "127.0.0.1.example.org",
        "192.168.0.1",
        "[::2]",
    ] {
        assert!(
            host(foreign).error(403).contains("--allow-host"),
            "{foreign}"
        );
    }
    for none in ["a b", "localhost:port", "localhost:99999", "me@localhost"] {
        host(none).error(400);
    }
    let twice = ["Host: localhost", "Host: example.org"];
    service.ask("GET", "/", &twice, b"").error(400);
}

#[test]
fn an_address_can_be_let_in_as_a_name_can() {
    let service = with(Options {
        hosts: vec!["192.168.0.1".into(), "::2".into()],
        ..Options::default()
    });
    for (host, status) in [
        ("192.168.0.1", 200),
        ("[::2]:8080", 200),
        ("192.168.0.2", 403),
    ] {
        let response = service.ask("GET", "/", &[&format!("Host: {host}")], b"");
        assert_eq!(response.status, status, "{host}");
    }
}

/// Sends `head`, which ends with its last header, and `body`.
fn send(service: &Service, head: &str, body: &[u8]) -> Response {
    let mut client = Client::new(service.addr);
    client.send(format!("{head}\r\n\r\n"));
    client.send(body);
    client.response()
}

#[test]
fn programs_that_speak_the_first_http_need_no_host() {
    let service = Service::quick();
    for path in ["/", "/healthz", "/metrics", "/api/info"] {
        let response = send(&service, &format!("GET {path} HTTP/1.0"), b"");
        assert_eq!(response.status, 200, "{path}");
    }
    let image = png(1);
    let head = format!(
        "POST /api/caption HTTP/1.0\r\nContent-Length: {}",
        image.len()
    );
    send(&service, &head, &image).answer();
    // If a request of HTTP/1.0 has a `Host` header, it is checked.
    send(&service, "GET / HTTP/1.0\r\nHost: example.org", b"").error(403);
    // A request with an origin comes from a browser, and browsers always send the host.
    let page = format!("{head}\r\nOrigin: http://localhost");
    send(&service, &page, &image).error(403);

    // `ab -k` sends several requests on one connection.
    let mut client = Client::new(service.addr);
    client.send("GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    client.send("GET /healthz HTTP/1.0\r\n\r\n");
    let answers = String::from_utf8(client.rest()).unwrap();
    assert_eq!(answers.matches(" 200 OK").count(), 2, "{answers}");
}

#[test]
fn whether_it_is_there_can_be_asked_without_a_host() {
    for token in [None, Some("open-sesame".to_string())] {
        let service = with(Options {
            token,
            ..Options::default()
        });
        let ask = |line: &str, more: &str| {
            let head = format!("{line} HTTP/1.1\r\nConnection: close{more}");
            send(&service, &head, b"")
        };
        ask("GET /healthz", "").answer();
        ask("GET /healthz", "\r\nHost:").answer();
        assert_eq!(ask("HEAD /healthz", "").status, 200);
        for line in [
            "GET /",
            "GET /metrics",
            "POST /healthz",
            "POST /api/caption",
        ] {
            assert!(ask(line, "").error(400).contains("`Host`"), "{line}");
        }
    }
}

#[test]
fn a_usual_port_goes_without_saying() {
    let service = Service::quick();
    let post = |host: &str, origin: &str| {
        let headers = [&*format!("Host: {host}"), &format!("Origin: {origin}")];
        service.ask("POST", "/api/caption", &headers, &png(1))
    };
    for (host, origin, status) in [
        ("localhost", "http://localhost:80", 200),
        ("localhost:80", "http://localhost", 200),
        ("localhost", "https://localhost:443", 200),
        ("localhost:443", "https://localhost", 200),
        ("localhost", "http://localhost:443", 403),
        ("localhost:80", "https://localhost", 403),
        ("localhost", "http://localhost:8080", 403),
        ("localhost", "null", 403),
    ] {
        assert_eq!(post(host, origin).status, status, "{host} {origin}");
    }
}

#[test]
fn pages_elsewhere_cannot_post() {
    let service = Service::quick();
    let post = |header: &str| service.ask("POST", "/api/caption", &[header], &png(1));
    for site in ["cross-site", "same-site"] {
        post(&format!("Sec-Fetch-Site: {site}")).error(403);
    }
    post("Origin: https://example.org").error(403);
    post("Sec-Fetch-Site: same-origin").answer();
    post(&format!("Origin: http://{}", service.addr)).answer();
    // A link from another site to the page is harmless.
    let link = service.ask("GET", "/", &["Sec-Fetch-Site: cross-site"], b"");
    assert_eq!(link.status, 200);
}

#[test]
fn with_a_token_only_those_who_know_it_are_served() {
    let service = with(Options {
        token: Some("open-sesame".into()),
        ..Options::default()
    });
    let requests = [
        ("POST", "/api/caption"),
        ("GET", "/api/info"),
        ("GET", "/metrics"),
    ];
    for (method, path) in requests {
        let ask = |headers: &[&str]| service.ask(method, path, headers, &png(1));
        for headers in [
            &[][..],
            &["Authorization: Bearer"],
            &["Authorization: Bearer open-sesam"],
            &["Authorization: Bearer open-sesame2"],
            &["Authorization: Basic open-sesame"],
        ] {
            let response = ask(headers);
            response.error(401);
            assert_eq!(response.header("www-authenticate"), Some("Bearer"));
        }
        assert_eq!(ask(&["Authorization: Bearer open-sesame"]).status, 200);
        // With the token, a request may name any host.
        let elsewhere = ["Authorization: Bearer open-sesame", "Host: example.org"];
        assert_eq!(ask(&elsewhere).status, 200);
    }
    for path in ["/", "/app.js", "/healthz", "/api/openapi.json"] {
        assert_eq!(service.get(path).status, 200, "{path}");
    }
}

#[test]
fn with_a_token_a_page_elsewhere_can_send_and_see_answers() {
    let service = with(Options {
        token: Some("open-sesame".into()),
        ..Options::default()
    });
    let (origin, token) = (
        "Origin: https://example.org",
        "Authorization: Bearer open-sesame",
    );
    let elsewhere = [origin, "Sec-Fetch-Site: cross-site"];
    let knows = [&elsewhere[..], &[token]].concat();
    let any = Some("*");
    let allowed = "access-control-allow-origin";

    let answer = service.ask("POST", "/api/caption", &knows, &png(1));
    answer.answer();
    assert_eq!(answer.header(allowed), any);
    // The page may also read why it was refused, and when it may try again.
    let refused = service.ask("POST", "/api/caption", &elsewhere, &png(1));
    refused.error(401);
    assert_eq!(refused.header(allowed), any);
    let exposed = refused.header("access-control-expose-headers");
    assert_eq!(exposed, Some("Retry-After"));

    // A browser's preflight requests have no token.
    for (path, method) in [
        ("/api/caption", "POST"),
        ("/api/info", "GET"),
        ("/metrics", "GET"),
        ("/api/openapi.json", "GET"),
        ("/healthz", "GET"),
    ] {
        let first = [
            origin,
            &format!("Access-Control-Request-Method: {method}"),
            "Access-Control-Request-Headers: authorization,content-type",
        ];
        let response = service.ask("OPTIONS", path, &first, b"");
        assert_eq!((response.status, &*response.body), (204, &b""[..]));
        assert_eq!(response.header(allowed), any);
        let list = |name: &str| response.header(name).unwrap().to_lowercase();
        assert!(list("access-control-allow-methods").contains(&method.to_lowercase()));
        let headers = list("access-control-allow-headers");
        assert!(headers.contains("authorization") && headers.contains("content-type"));
        assert!(response.header("access-control-max-age").is_some());
    }
    // Other sites may not read the page, and this `OPTIONS` request is not a preflight.
    assert_eq!(service.get("/").header(allowed), None);
    service
        .ask("OPTIONS", "/api/caption", &[token], b"")
        .error(405);
}

#[test]
fn without_a_token_a_page_elsewhere_sees_nothing() {
    let service = Service::quick();
    let first = [
        "Origin: https://example.org",
        "Access-Control-Request-Method: POST",
    ];
    let refused = service.ask("OPTIONS", "/api/caption", &first, b"");
    assert!(refused.error(403).contains("--token"));
    for response in [
        refused,
        service.get("/api/info"),
        service.post("/api/caption", &png(1)),
    ] {
        assert_eq!(response.header("access-control-allow-origin"), None);
    }
}
