//! Who is let in.

use glimpse::web::Options;

use crate::{Client, Service, png, quick};

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
    assert_eq!(host("a b").status, 400);
    let mut nameless = Client::new(service.addr);
    nameless.send("GET / HTTP/1.0\r\n\r\n");
    nameless.response().error(400);
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
    // A link to the page is no harm.
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
        // Who knows the token is no page that pretends to be this one.
        let elsewhere = ["Authorization: Bearer open-sesame", "Host: example.org"];
        assert_eq!(ask(&elsewhere).status, 200);
    }
    for path in ["/", "/app.js", "/healthz", "/api/openapi.json"] {
        assert_eq!(service.get(path).status, 200, "{path}");
    }
}
