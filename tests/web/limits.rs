//! Tests of the limits on size, number and speed.

use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use glimpse::web::Options;

use crate::{CHUNKED, Client, Service, form, png, quick, slow};

/// The content type and the body of a form with `count` images.
fn images(count: u32) -> (String, Vec<u8>) {
    let images: Vec<Vec<u8>> = (0..count).map(png).collect();
    let fields: Vec<(&str, &str, &[u8])> = images.iter().map(|i| ("image", "", &i[..])).collect();
    form(&fields)
}

#[test]
fn an_upload_that_is_too_large_is_refused_before_it_is_here() {
    let service = Service::quick();
    let mut announced = service.begin("POST", "/api/caption", &["Content-Length: 41943040"], b"");
    announced.send([0; 1000]);
    let response = announced.response();
    assert!(response.error(413).contains("larger than"));
    assert_eq!(response.header("connection"), Some("close"));

    // A client that sends such a body nevertheless receives the answer.
    let body = vec![0; 40 << 20];
    service.post("/api/caption", &body).error(413);

    let chunked = Service::new(
        quick(),
        Options {
            upload_bytes: 10_000,
            ..Options::default()
        },
    );
    let mut client = chunked.begin("POST", "/api/caption", &[CHUNKED], b"");
    for _ in 0..5 {
        client.send(b"1000\r\n");
        client.send([0; 0x1000]);
        client.send(b"\r\n");
    }
    client.response().error(413);
}

#[test]
fn too_many_requests_at_once_are_refused_until_one_is_done() {
    let service = Service::new(
        slow(),
        Options {
            requests: 1,
            batch: 1,
            ..Options::default()
        },
    );
    let (kind, body) = images(16);
    let first = service.begin("POST", "/api/caption", &[&kind], &body);
    service.wait(|service| service.metric("glimpse_batch_images_count") >= 1.0);
    let second = service.post("/api/caption", &png(1));
    assert!(second.error(429).contains("too many requests"));
    assert_eq!(second.header("retry-after"), Some("1"));
    service.get("/healthz").answer();
    first.response().answer();
    service.post("/api/caption", &png(1)).answer();
}

#[test]
fn too_many_bytes_at_once_are_refused() {
    let service = Service::new(
        quick(),
        Options {
            held_bytes: Some(20_000),
            ..Options::default()
        },
    );
    let length = format!("Content-Length: {}", 30_000);
    let response = service
        .begin("POST", "/api/caption", &[&length], &[0; 25_000])
        .response();
    assert!(response.error(429).contains("uploads"));
    service.post("/api/caption", &png(1)).answer();
}

#[test]
fn who_is_slow_is_cut_off_and_the_others_do_not_notice() {
    let service = Service::new(
        quick(),
        Options {
            read_timeout: Duration::from_millis(300),
            ..Options::default()
        },
    );
    let mut silent = Client::new(service.addr);
    let mut head = Client::new(service.addr);
    head.send("POST /api/caption HTTP/1.1\r\nHo");
    let body = service.begin("POST", "/api/caption", &["Content-Length: 1000"], b"abc");
    service.post("/api/caption", &png(1)).answer();
    assert!(body.response().error(408).contains("0.3 s"));
    assert!(head.rest().is_empty() && silent.rest().is_empty());
    service.post("/api/caption", &png(1)).answer();
}

#[test]
fn idle_connections_make_room() {
    let service = Service::new(
        quick(),
        Options {
            connections: 1,
            ..Options::default()
        },
    );
    let started = Instant::now();
    let mut idle = Client::new(service.addr);
    thread::sleep(Duration::from_millis(20));
    service.get("/healthz").answer();
    assert!(idle.rest().is_empty());
    assert!(started.elapsed() < Options::default().read_timeout / 2);
}

#[test]
fn a_request_that_takes_too_long_is_given_up() {
    let service = Service::new(
        slow(),
        Options {
            batch: 1,
            timeout: Duration::from_millis(30),
            ..Options::default()
        },
    );
    let (kind, body) = images(16);
    let response = service.ask("POST", "/api/caption", &[&kind], &body);
    assert!(response.error(408).contains("0.03 s"));
}

#[test]
fn a_full_queue_is_said_so_and_who_goes_away_leaves_room() {
    let service = Service::new(
        slow(),
        Options {
            queue: 16,
            batch: 1,
            ..Options::default()
        },
    );
    let (kind, body) = images(16);
    let first = service.begin("POST", "/api/caption", &[&kind], &body);
    service.wait(|service| service.metric("glimpse_batch_images_count") >= 1.0);
    let second = service.ask("POST", "/api/caption", &[&kind], &body);
    assert!(second.error(503).contains("wait for the model"));
    assert_eq!(second.header("retry-after"), Some("1"));
    assert!(service.metric("glimpse_queue_images") > 1.0);

    drop(first);
    service.wait(|service| service.metric("glimpse_queue_images") == 0.0);
    service.post("/api/caption", &png(1)).answer();
    let worked_on = service.metric("glimpse_batch_images_sum");
    assert!(worked_on < 16.0, "{worked_on} images were worked on");
}

#[test]
fn stopping_finishes_what_was_begun() {
    let mut service = Service::new(
        slow(),
        Options {
            batch: 1,
            ..Options::default()
        },
    );
    let (kind, body) = images(4);
    let begun = service.begin("POST", "/api/caption", &[&kind], &body);
    let idle = Client::new(service.addr);
    service.wait(|service| service.metric("glimpse_batch_images_count") >= 1.0);
    service.stop.stop();
    let answer = begun.response().answer();
    assert_eq!(answer["results"].as_array().unwrap().len(), 4);
    service.end().unwrap();
    assert!(TcpStream::connect(service.addr).is_err());
    drop(idle);
}
