//! Tests of the service behind a proxy that serves it under a path.

use glimpse::web::Options;

use crate::proxy::{self, Manner};
use crate::{Service, png, quick};

const PUBLIC: &str = "https://glimpse.example/see/it";
const PATH: &str = "/see/it";

/// A service, and the proxy through which clients reach it.
struct Proxied {
    service: Service,
    direct: std::net::SocketAddr,
}

impl Proxied {
    fn new(public: Option<&str>, strips: bool, renames: bool) -> Proxied {
        let options = Options {
            public_url: public.map(|url| url.parse().unwrap()),
            ..Options::default()
        };
        let mut service = Service::new(quick(), options);
        let manner = Manner {
            path: PATH,
            strips,
            renames,
        };
        let direct = service.addr;
        service.addr = proxy::start(direct, manner);
        Proxied { service, direct }
    }
}

/// The addresses in a page's attributes.
fn addresses(page: &str) -> Vec<&str> {
    let named = ["src=\"", "href=\""].map(|attribute| {
        let parts = page.split(attribute).skip(1);
        parts.map(|part| part.split('"').next().unwrap())
    });
    named.into_iter().flatten().collect()
}

/// The fixed parts of the addresses that a script requests.
fn asked_for(script: &str) -> Vec<&str> {
    let asked = ["fetch(", "open(\"POST\", "].map(|call| {
        let parts = script.split(call).skip(1);
        parts.map(|part| part[1..].split(['"', '`', '$', '?']).next().unwrap())
    });
    asked.into_iter().flatten().collect()
}

#[test]
fn the_page_works_under_any_path() {
    // Without the public address, the proxy must strip the path and send a host that the service knows.
    for (public, strips, renames) in [
        (None, true, true),
        (Some(PUBLIC), true, true),
        (Some(PUBLIC), false, true),
        (Some(PUBLIC), false, false),
    ] {
        let Proxied { service, .. } = Proxied::new(public, strips, renames);
        let page = service.get(&format!("{PATH}/"));
        assert_eq!(page.status, 200);
        let page = page.text();
        let script = service.get(&format!("{PATH}/app.js")).text();
        let mut found = 0;
        for address in [addresses(&page), asked_for(&script)].concat() {
            assert!(
                !address.starts_with('/') && !address.contains(':'),
                "{address}"
            );
            let status = service.get(&format!("{PATH}/{address}")).status;
            // The script appends the name of a sample here, and captions need POST.
            let expected = match address {
                "samples/" => 404,
                "api/caption" => 405,
                _ => 200,
            };
            assert_eq!(status, expected, "{address}");
            found += 1;
        }
        assert!(found >= 9, "{found} addresses");
        let style = service.get(&format!("{PATH}/style.css")).text();
        assert!(!style.contains("url("));
        let answer = service.post(&format!("{PATH}/api/caption?beam=2"), &png(1));
        answer.answer();
    }
}

#[test]
fn the_public_address_is_answered_under_its_path_and_under_none() {
    let Proxied { service, direct } = Proxied::new(Some(PUBLIC), false, false);
    let direct = |path: &str| crate::get(direct, path);
    for path in ["/", "/healthz", "/api/info", "/metrics", "/samples/cat.jpg"] {
        assert_eq!(direct(path).status, 200, "{path}");
        assert_eq!(direct(&format!("{PATH}{path}")).status, 200, "{path}");
    }
    // Without the slash, the page's relative addresses would leave the path.
    let lead = service.get(PATH);
    assert_eq!(lead.status, 307);
    assert_eq!(lead.header("location"), Some("/see/it/"));
    assert_eq!(lead.header("x-content-type-options"), Some("nosniff"));
    for path in [
        "/see",
        "/see/",
        "/see/its",
        "/see/it/nothing",
        "/see/it/see/it/",
    ] {
        direct(path).error(404);
    }
    // Requests with and without the path are counted as the same route.
    let text = direct("/metrics").text();
    let count = r#"glimpse_requests_total{method="GET",route="/api/info",status="200"} 2"#;
    assert!(text.contains(count), "{text}");
    assert!(!text.contains("/see/it/"), "{text}");
}

#[test]
fn the_public_address_stands_where_one_is_needed() {
    let Proxied { service, .. } = Proxied::new(Some(PUBLIC), true, true);
    let description = service.get("/see/it/api/openapi.json").answer();
    assert_eq!(description["servers"][0]["url"], PUBLIC);
    let page = service.get("/see/it/").text();
    assert!(page.contains("https://glimpse.example/see/it/api/caption</code>"));

    let plain = Service::quick();
    let description = plain.get("/api/openapi.json").answer();
    assert!(description.get("servers").is_none());
    assert!(plain.get("/").text().contains("ADDRESS OF THIS PAGE"));
}

#[test]
fn the_public_host_is_one_of_the_services_own() {
    for strips in [true, false] {
        let Proxied { service, .. } = Proxied::new(Some(PUBLIC), strips, false);
        let post = |host: &str, origin: &str| {
            let headers = [&*format!("Host: {host}"), &format!("Origin: {origin}")];
            let response = service.ask("POST", "/see/it/api/caption", &headers, &png(1));
            response.status
        };
        let public = "https://glimpse.example";
        assert_eq!(post("glimpse.example", public), 200);
        assert_eq!(post("glimpse.example:443", public), 200);
        assert_eq!(post("glimpse.example", "https://example.org"), 403);
        assert_eq!(post("example.org", public), 403);
    }
    // A proxy that changes the host does not change the origin.
    let Proxied { service, .. } = Proxied::new(Some(PUBLIC), true, true);
    for (origin, status) in [
        ("https://glimpse.example", 200),
        ("https://glimpse.example:443", 200),
        ("http://glimpse.example", 403),
        ("https://example.org", 403),
    ] {
        let origin = format!("Origin: {origin}");
        let response = service.ask("POST", "/see/it/api/caption", &[&origin], &png(1));
        assert_eq!(response.status, status, "{origin}");
    }
}
