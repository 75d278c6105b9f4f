//! Tests of harmful clients: many at once, slow, silent, never reading; and of malicious requests.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use glimpse::web::Options;

use crate::{CHUNKED, Client, LONG, Service, png, quick, slow};

/// A JPEG of a few hundred bytes whose header claims 100 megapixels.
fn claiming() -> Vec<u8> {
    let mut jpeg = vec![0xFF, 0xD8];
    let mut segment = |marker: u8, data: &[u8]| {
        jpeg.extend([0xFF, marker]);
        jpeg.extend((data.len() as u16 + 2).to_be_bytes());
        jpeg.extend(data);
    };
    segment(0xDB, &[vec![0], vec![1; 64]].concat());
    let [high, low] = 10_000u16.to_be_bytes();
    segment(0xC0, &[8, high, low, high, low, 1, 1, 0x11, 0]);
    for table in [0x00, 0x10] {
        segment(0xC4, &[vec![table, 1], vec![0; 16]].concat());
    }
    segment(0xDA, &[1, 1, 0, 0, 63, 0]);
    jpeg.extend(vec![0; 200]);
    jpeg.extend([0xFF, 0xD9]);
    jpeg
}

/// A client that continues its attack until it is told to stop.
struct Attacker {
    addr: SocketAddr,
    stream: Option<TcpStream>,
}

impl Attacker {
    /// Sends `more`. If the connection is closed, connects again and sends `hello` first. Never waits.
    fn send(&mut self, hello: &[u8], more: &[u8]) {
        let stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let Ok(mut stream) = TcpStream::connect(self.addr) else {
                    return;
                };
                stream.set_nonblocking(true).unwrap();
                let _ = stream.write(hello);
                stream
            }
        };
        let is_open = match (&stream).write(more) {
            Ok(_) => true,
            Err(e) => e.kind() == ErrorKind::WouldBlock,
        };
        self.stream = is_open.then_some(stream);
    }
}

/// Runs a number of attackers, each of which sends `hello` once, and then `more` repeatedly.
fn attack(
    addr: SocketAddr,
    count: usize,
    hello: &[u8],
    more: &[u8],
    pause: u64,
    stop: &AtomicBool,
) {
    let attacker = || Attacker { addr, stream: None };
    let mut attackers: Vec<_> = (0..count).map(|_| attacker()).collect();
    while !stop.load(Ordering::Relaxed) {
        for attacker in &mut attackers {
            attacker.send(hello, more);
        }
        thread::sleep(Duration::from_millis(pause));
    }
}

/// The longest time that an answer takes, of several calls of `ask`.
fn slowest(mut ask: impl FnMut(), times: u32) -> Duration {
    let took = (0..times).map(|_| {
        let started = Instant::now();
        ask();
        thread::sleep(Duration::from_millis(50));
        started.elapsed()
    });
    took.max().unwrap()
}

#[test]
fn under_all_attacks_at_once_it_says_that_it_is_there_and_captions() {
    let service = Service::quick();
    let addr = service.addr;
    let health = || drop(service.get("/healthz").answer());
    let good = || drop(service.post("/api/caption", &png(1)).answer());
    // The time on this machine without an attack.
    let calm = slowest(good, 5);

    let stop = AtomicBool::new(false);
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {addr}\r\n\r\n").repeat(50);
    let head =
        format!("POST /api/caption HTTP/1.1\r\nHost: {addr}\r\nContent-Length: 1000\r\n\r\n");
    let claim = claiming();
    thread::scope(|scope| {
        let stop = &stop;
        let (request, head) = (request.as_bytes(), head.as_bytes());
        scope.spawn(move || attack(addr, 200, b"", request, 20, stop));
        scope.spawn(move || attack(addr, 48, head, b"a", 200, stop));
        scope.spawn(move || attack(addr, 330, b"", b"", 100, stop));
        for _ in 0..24 {
            let (service, claim) = (&service, &claim);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    // Some of these attackers lose their connection to others, as intended.
                    let mut client = service.begin("POST", "/api/caption", &[], claim);
                    let answer = client.rest();
                    assert!(!answer.starts_with(b"HTTP/1.1 200"));
                }
            });
        }
        thread::sleep(Duration::from_millis(500));
        let measured = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            (slowest(health, 25), slowest(good, 25))
        }));
        stop.store(true, Ordering::Relaxed);
        let (health, good) = measured.unwrap();
        println!("calm {calm:?}, health {health:?}, good {good:?}");
        assert!(health < Duration::from_secs(1) + calm * 5, "{health:?}");
        assert!(good < Duration::from_secs(2) + calm * 5, "{good:?}");
    });
}

#[test]
fn a_picture_that_is_too_short_for_what_it_claims_costs_nothing() {
    let service = Service::quick();
    let started = Instant::now();
    for _ in 0..20 {
        let error = service.post("/api/caption", &claiming()).error(400);
        assert!(
            error.contains("cannot hold its 10000 x 10000 pixels"),
            "{error}"
        );
    }
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn who_does_not_read_is_cut_off() {
    let service = Service::new(
        quick(),
        Options {
            write_timeout: Duration::from_millis(300),
            ..Options::default()
        },
    );
    let request = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", service.addr).repeat(20);
    let mut stream = TcpStream::connect(service.addr).unwrap();
    stream.set_nonblocking(true).unwrap();
    let started = Instant::now();
    loop {
        match stream.write(request.as_bytes()) {
            Err(e) if e.kind() != ErrorKind::WouldBlock => break,
            _ => thread::sleep(Duration::from_millis(1)),
        }
        assert!(started.elapsed() < LONG, "it is never cut off");
    }
    assert!(started.elapsed() > Duration::from_millis(250));
    service.post("/api/caption", &png(1)).answer();
}

#[test]
fn who_sends_a_byte_now_and_then_is_cut_off_and_keeps_no_place() {
    let service = Service::new(
        quick(),
        Options {
            requests: 1,
            read_timeout: Duration::from_millis(300),
            upload_rate: 1000,
            ..Options::default()
        },
    );
    let mut slow = service.begin("POST", "/api/caption", &["Content-Length: 90000"], b"a");
    service.post("/api/caption", &png(1)).answer();
    let started = Instant::now();
    slow.0
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        assert!(started.elapsed() < LONG);
        slow.send(b"a");
        let mut some = [0; 4096];
        match slow.0.read(&mut some) {
            Ok(0) => break,
            Ok(count) => answer.extend(&some[..count]),
            Err(_) => {}
        }
    }
    let error = crate::Response::new(&answer).error(408);
    assert!(error.contains("1000 bytes a second"), "{error}");
}

#[test]
fn an_address_that_has_too_many_connections_loses_the_idlest() {
    let service = Service::new(
        quick(),
        Options {
            connections_per_address: 2,
            ..Options::default()
        },
    );
    let started = Instant::now();
    let mut first = Client::new(service.addr);
    thread::sleep(Duration::from_millis(50));
    let second = Client::new(service.addr);
    service.get("/healthz").answer();
    assert!(first.rest().is_empty());
    // The connection was closed before the time for its headers ended.
    assert!(started.elapsed() < Options::default().read_timeout / 2);
    drop(second);
}

#[test]
fn where_all_connections_are_worked_for_its_health_can_still_be_asked() {
    let service = Service::new(
        slow(),
        Options {
            connections: 2,
            batch: 1,
            ..Options::default()
        },
    );
    let images: Vec<Vec<u8>> = (0..16).map(png).collect();
    let fields: Vec<(&str, &str, &[u8])> = images.iter().map(|i| ("image", "", &i[..])).collect();
    let (kind, body) = crate::form(&fields);
    let begun = [(); 2].map(|()| service.begin("POST", "/api/caption", &[&kind], &body));
    thread::sleep(Duration::from_millis(300));
    service.get("/healthz").answer();
    let refused = service.get("/api/info");
    assert!(refused.error(503).contains("too many connections"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    for client in begun {
        client.response().answer();
    }
    service.get("/api/info").answer();
}

#[test]
fn a_stopped_service_waits_for_a_sender_only_so_long() {
    let mut service = Service::new(
        quick(),
        Options {
            shutdown: Duration::from_millis(300),
            ..Options::default()
        },
    );
    let sending = service.begin("POST", "/api/caption", &["Content-Length: 90000"], b"a");
    thread::sleep(Duration::from_millis(50));
    let started = Instant::now();
    service.end().unwrap();
    assert!(started.elapsed() >= Duration::from_millis(250));
    assert!(started.elapsed() < Duration::from_secs(5));
    drop(sending);
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    let service = Service::quick();
    let ask = |headers: &[&str]| service.ask("GET", "/api/info", headers, b"");
    let host = format!("Host: {}", service.addr);
    for (twice, named) in [
        ([host.as_str(), host.as_str()], "`Host`"),
        (
            ["Authorization: Bearer a", "Authorization: Bearer a"],
            "`Authorization`",
        ),
        (
            ["Origin: http://localhost", "Origin: http://localhost"],
            "`Origin`",
        ),
    ] {
        let refused = ask(&twice);
        assert!(refused.error(400).contains(named));
        assert_eq!(refused.header("connection"), Some("close"));
    }
    for wrong in [
        "me@localhost",
        "localhost:+80",
        "localhost:",
        "localhost:70000",
        "localhost:80:80",
    ] {
        ask(&[&format!("Host: {wrong}")]).error(400);
        // The wrong host is in the request line, and the header is right.
        service
            .ask("GET", &format!("http://{wrong}/api/info"), &[], b"")
            .error(400);
    }
    let whole = format!("http://{}/api/info", service.addr);
    service.ask("GET", &whole, &[], b"").answer();

    let chunks = b"1\r\na\r\n0\r\n\r\n";
    for coding in ["gzip, chunked", "chunked, chunked", "identity", "gzip", "x"] {
        let coding = format!("Transfer-Encoding: {coding}");
        let head = format!(
            "POST /api/caption HTTP/1.1\r\n{host}\r\nConnection: close\r\n{coding}\r\n\r\n"
        );
        let mut client = Client::new(service.addr);
        client.send(head);
        client.send(chunks);
        client.response().error(400);
    }
    service
        .ask("POST", "/api/caption", &[CHUNKED, CHUNKED], chunks)
        .error(400);
    // With the right coding, the body is read, and refused because it is not an image.
    service
        .ask(
            "POST",
            "/api/caption",
            &["Transfer-Encoding: CHUNKED", CHUNKED][1..],
            chunks,
        )
        .error(415);
}

#[test]
fn a_body_that_was_compressed_is_refused_with_what_to_do() {
    let service = Service::quick();
    for coding in ["gzip", "deflate", "br", "identity, gzip"] {
        let coding = format!("Content-Encoding: {coding}");
        let error = service
            .ask("POST", "/api/caption", &[&coding], &png(1))
            .error(415);
        assert!(error.contains("without this header"), "{error}");
    }
    service
        .ask(
            "POST",
            "/api/caption",
            &["Content-Encoding: identity"],
            &png(1),
        )
        .answer();
}

#[test]
fn what_is_no_http_is_refused_in_json_too() {
    let service = Service::quick();
    let ask = |bytes: &[u8]| {
        let mut client = Client::new(service.addr);
        client.send(bytes);
        client.response()
    };
    for bytes in [
        &b"rubbish\r\n\r\n"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: none\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    ] {
        let refused = ask(bytes);
        refused.error(400);
        assert_eq!(refused.header("x-content-type-options"), Some("nosniff"));
    }
    let long = format!("GET / HTTP/1.1\r\nX-Long: {}\r\n\r\n", "x".repeat(1 << 20));
    ask(long.as_bytes()).error(431);
    // The same request follows a good one on the same connection.
    let good = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut client = Client::new(service.addr);
    client.send(format!("{good}rubbish\r\n\r\n"));
    let answers = String::from_utf8(client.rest()).unwrap();
    assert!(
        answers.contains("200 OK") && answers.ends_with("}"),
        "{answers}"
    );
    assert!(answers.contains("{\"error\":\""), "{answers}");
}
