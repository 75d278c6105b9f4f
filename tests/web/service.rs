//! Tests of the service's page, headers, description and metrics.

use glimpse::data::SAMPLES;
use glimpse::tensor::Device;
use glimpse::web::{Options, Server};

use crate::{Service, png, quick};

#[test]
fn the_page_is_part_of_the_program() {
    let service = Service::quick();
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/style.css", "text/css; charset=utf-8"),
        ("/app.js", "text/javascript; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
    ] {
        let response = service.get(path);
        assert_eq!(response.status, 200, "{path}");
        assert_eq!(response.header("content-type"), Some(kind));
        assert!(!response.body.is_empty());
    }
    for sample in SAMPLES {
        let response = service.get(&format!("/samples/{}", sample.name));
        assert_eq!(response.header("content-type"), Some("image/jpeg"));
        assert_eq!(response.body, sample.bytes);
    }
    let head = service.ask("HEAD", "/", &[], b"");
    assert!(head.status == 200 && head.body.is_empty());
}

#[test]
fn every_answer_tells_browsers_to_be_careful() {
    let service = Service::quick();
    for response in [
        service.get("/"),
        service.get("/samples/cat.jpg"),
        service.get("/nothing"),
        service.get("/api/info"),
        service.get("/api/caption"),
        service.post("/api/caption", b"rubbish"),
        service.post("/api/caption", &png(1)),
        service.ask("GET", "/", &["Host: example.org"], b""),
    ] {
        let policy = response.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'"));
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(response.header(name), Some(value));
        }
        assert!(response.header("permissions-policy").is_some());
        assert!(response.header("cache-control").is_some());
    }
    assert_eq!(
        service.get("/api/info").header("cache-control"),
        Some("no-store")
    );
}

#[test]
fn it_says_what_it_is() {
    let service = Service::quick();
    assert_eq!(service.get("/healthz").answer()["status"], "ok");
    let info = service.get("/api/info").answer();
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(info["device"], "cpu");
    assert!(info["threads"].as_u64().unwrap() >= 1);
    assert_eq!(info["model"]["encoder"], "densenet");
    assert_eq!(info["model"]["vocabulary"], quick().vocabulary.len());
    assert!(info["model"]["parameters"].as_u64().unwrap() > 1000);
    assert_eq!(info["limits"]["upload_mb"], 16.0);
    assert_eq!(info["limits"]["pixels"], 100_000_000);
    assert_eq!(info["limits"]["images_per_request"], 16);
    assert_eq!(info["limits"]["beam"], 50);
    assert_eq!(info["attention"], false);
}

#[test]
fn the_description_names_every_route_and_type() {
    let service = Service::quick();
    let description = service.get("/api/openapi.json").answer();
    assert!(description["openapi"].as_str().unwrap().starts_with("3."));
    assert_eq!(description["info"]["version"], env!("CARGO_PKG_VERSION"));
    let paths = description["paths"].as_object().unwrap();
    let known: Vec<(&str, &str)> = paths
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().keys();
            methods.map(|method| (method.as_str(), path.as_str()))
        })
        .collect();
    let mut expected = vec![
        ("post", "/api/caption"),
        ("get", "/api/info"),
        ("get", "/api/openapi.json"),
        ("get", "/healthz"),
        ("get", "/metrics"),
    ];
    assert_eq!(known.len(), expected.len());
    expected.retain(|route| !known.contains(route));
    assert!(expected.is_empty(), "{expected:?}");
    for (method, path) in known {
        let response = service.ask(&method.to_uppercase(), path, &[], &png(1));
        assert_eq!(response.status, 200, "{path}");
    }
    let schemas = &description["components"]["schemas"];
    for name in [
        "Answer",
        "Caption",
        "Token",
        "Times",
        "Failure",
        "Complaint",
        "Info",
    ] {
        assert!(schemas[name]["properties"].is_object(), "{name}");
    }
    let caption = &paths["/api/caption"]["post"];
    for status in [
        "200", "400", "401", "403", "408", "413", "415", "429", "500", "503",
    ] {
        assert!(caption["responses"][status].is_object(), "{status}");
    }
    for kind in ["multipart/form-data", "application/octet-stream"] {
        assert!(
            caption["requestBody"]["content"][kind].is_object(),
            "{kind}"
        );
    }
}

#[test]
fn what_happens_is_counted() {
    let service = Service::quick();
    service.post("/api/caption", &png(1)).answer();
    service.post("/api/caption", b"rubbish").error(415);
    service.ask("MADEUP", "/made/up", &[], b"").error(404);
    let response = service.get("/metrics");
    assert!(
        response
            .header("content-type")
            .unwrap()
            .starts_with("text/plain; version=0.0.4")
    );
    let text = response.text();
    for (name, value) in [
        (
            r#"glimpse_requests_total{method="POST",route="/api/caption",status="200"}"#,
            1,
        ),
        (
            r#"glimpse_requests_total{method="POST",route="/api/caption",status="415"}"#,
            1,
        ),
        (
            r#"glimpse_requests_total{method="other",route="other",status="404"}"#,
            1,
        ),
        (r#"glimpse_stage_seconds_count{stage="decode"}"#, 1),
        (r#"glimpse_stage_seconds_count{stage="wait"}"#, 1),
        (r#"glimpse_stage_seconds_count{stage="encode"}"#, 1),
        (r#"glimpse_stage_seconds_count{stage="generate"}"#, 1),
        (r#"glimpse_stage_seconds_count{stage="total"}"#, 1),
        ("glimpse_batch_images_sum", 1),
        ("glimpse_queue_images", 0),
    ] {
        let line = format!("{name} {value}");
        let same = |l: &str| l == line || l == format!("{line}.0");
        assert!(text.lines().any(same), "{line}\n{text}");
    }
    let open = ["Accept: application/openmetrics-text;version=1.0.0"];
    let response = service.ask("GET", "/metrics", &open, b"");
    assert!(
        response
            .header("content-type")
            .unwrap()
            .starts_with("application/openmetrics-text")
    );
    assert!(response.text().ends_with("# EOF\n"));
}

#[test]
fn an_address_that_is_taken_is_said_so() {
    let service = Service::quick();
    let options = Options {
        addr: service.addr.to_string(),
        ..Options::default()
    };
    let error = Server::bind(quick(), &Device::Cpu, options).err().unwrap();
    let message = error.to_string();
    assert!(message.contains(&service.addr.to_string()) && message.contains("--addr"));
}
