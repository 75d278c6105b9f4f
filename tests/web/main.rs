//! Tests of the service through its clients: good requests, bad ones, too many, and unfinished ones.
//!
//! The service runs in this process, on its own port for each test, with untrained networks: a fast one, and a slow one
//! for tests in which clients must wait. Clients are plain sockets, so that they can misbehave.

mod access;
mod attacks;
mod attention;
#[path = "../common/attentive.rs"]
mod attentive;
mod captions;
mod forms;
mod limits;
mod proxied;
#[path = "../common/proxy.rs"]
mod proxy;
mod refusals;
mod service;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use glimpse::caption::{Search, search};
use glimpse::data::{Image, Limits, Vocabulary};
use glimpse::error::Result;
use glimpse::model::{Captioner, Decoder, DecoderConfig, DecoderKind, DenseNet, DenseNetConfig};
use glimpse::nn::Init;
use glimpse::tensor::Device;
use glimpse::web::{Options, Server, Stop};
use serde_json::Value;

/// A time that nothing in these tests exceeds.
const LONG: Duration = Duration::from_secs(60);

const CHUNKED: &str = "Transfer-Encoding: chunked";

/// An untrained captioner that prepares images by `recipe`.
fn captioner(recipe: &str) -> Captioner {
    let mut init = Init::new(7);
    let sizes = DenseNetConfig {
        growth: 8,
        blocks: vec![1, 1],
        stem: 8,
        bottleneck: 2,
        eps: 1e-5,
    };
    let words = "a dog and two cats run over green grass under the wide blue sky with one red ball";
    let vocabulary = Vocabulary::build([words], 1).unwrap();
    let decoder = DecoderConfig {
        features: sizes.features(),
        embedding: 8,
        hidden: 16,
        vocabulary: vocabulary.len(),
        dropout: 0.0,
        kind: DecoderKind::Inject,
        layers: 1,
        tied: false,
        attention: 0,
    };
    Captioner {
        encoder: DenseNet::new(&sizes, &mut init).unwrap(),
        decoder: Decoder::new(&decoder, &mut init).unwrap(),
        vocabulary,
        recipe: recipe.parse().unwrap(),
        tags: None,
        recognition: None,
        training: Default::default(),
        metrics: Default::default(),
        origin: None,
    }
}

fn quick() -> Captioner {
    captioner("squash:32")
}

/// A captioner that takes about a tenth of a second for an image.
fn slow() -> Captioner {
    captioner("squash:1024")
}

/// The captions of an image, computed directly by `captioner`.
fn said(captioner: &Captioner, bytes: &[u8], beam: usize, n_best: usize) -> Value {
    let image = Image::decode(bytes, "image", Limits::default()).unwrap();
    let features = captioner
        .encode(&captioner.recipe.tensor(&[image]).unwrap())
        .unwrap();
    let how = Search {
        beam,
        n_best,
        ..Search::default()
    };
    let captions = search(captioner, &features, &how).unwrap().remove(0);
    serde_json::to_value(captions).unwrap()
}

/// A picture that differs from those with other seeds.
fn png(seed: u32) -> Vec<u8> {
    let picture = image::RgbImage::from_fn(40 + seed, 36, |x, y| {
        image::Rgb([
            (x * 5 + seed * 40) as u8,
            (y * 6) as u8,
            ((x ^ y) * seed) as u8,
        ])
    });
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture
        .write_to(&mut bytes, image::ImageFormat::Png)
        .unwrap();
    bytes.into_inner()
}

/// A service that runs until it is dropped.
struct Service {
    addr: SocketAddr,
    stop: Stop,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Service {
    fn new(captioner: Captioner, options: Options) -> Service {
        let options = Options {
            addr: "127.0.0.1:0".into(),
            // Each service counts the whole process's memory as its own, and several tests share the process.
            memory_bytes: 8 << 30,
            ..options
        };
        let server = Server::bind(captioner, &Device::Cpu, options).unwrap();
        Service {
            addr: server.addr(),
            stop: server.stopper(),
            thread: Some(thread::spawn(|| server.run())),
        }
    }

    fn quick() -> Service {
        Service::new(quick(), Options::default())
    }

    fn get(&self, path: &str) -> Response {
        self.ask("GET", path, &[], &[])
    }

    fn post(&self, path: &str, body: &[u8]) -> Response {
        self.ask("POST", path, &[], body)
    }

    /// Sends the fields of a multipart form: name, file name and content.
    fn form(&self, path: &str, fields: &[(&str, &str, &[u8])]) -> Response {
        let (kind, body) = form(fields);
        self.ask("POST", path, &[&kind], &body)
    }

    fn ask(&self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Response {
        self.begin(method, path, headers, body).response()
    }

    /// Sends a request and does not wait for its answer.
    fn begin(&self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Client {
        let mut headers: Vec<String> = headers.iter().map(ToString::to_string).collect();
        // A request with a chunked body has no `Content-Length`.
        let in_chunks = headers.iter().any(|h| h == CHUNKED);
        for (name, value) in [
            ("Host", self.addr.to_string()),
            ("Content-Length", body.len().to_string()),
            ("Connection", "close".into()),
        ] {
            let is = |h: &String| h.split(':').next().unwrap().eq_ignore_ascii_case(name);
            let is_needless = in_chunks && name == "Content-Length";
            if !is_needless && !headers.iter().any(is) {
                headers.push(format!("{name}: {value}"));
            }
        }
        let mut client = Client::new(self.addr);
        client.send(format!(
            "{method} {path} HTTP/1.1\r\n{}\r\n\r\n",
            headers.join("\r\n")
        ));
        client.send(body);
        client
    }

    /// The value of the metric `name` (with its labels), or 0 if it is missing.
    fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").text();
        let mut values = text
            .lines()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        values.next().map_or(0.0, |value| value.parse().unwrap())
    }

    /// Waits until `reached` returns true.
    fn wait(&self, reached: impl Fn(&Service) -> bool) {
        let started = Instant::now();
        while !reached(self) {
            assert!(started.elapsed() < LONG, "it does not happen");
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Stops the service and returns the result of its run.
    fn end(&mut self) -> Result<()> {
        self.stop.stop();
        self.thread.take().map_or(Ok(()), |t| t.join().unwrap())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// The answer of any server to a GET request.
fn get(addr: SocketAddr, path: &str) -> Response {
    let mut client = Client::new(addr);
    client.send(format!(
        "GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n"
    ));
    client.response()
}

/// The content type and the body of a multipart form.
fn form(fields: &[(&str, &str, &[u8])]) -> (String, Vec<u8>) {
    let mut body = Vec::new();
    for (name, file, content) in fields {
        let file = match file.is_empty() {
            true => String::new(),
            false => format!("; filename=\"{file}\""),
        };
        body.extend(
            format!("--limit\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n")
                .bytes(),
        );
        body.extend(*content);
        body.extend(b"\r\n");
    }
    body.extend(b"--limit--\r\n");
    let kind = "Content-Type: multipart/form-data; boundary=limit";
    (kind.into(), body)
}

/// A client's connection.
struct Client(TcpStream);

impl Client {
    fn new(addr: SocketAddr) -> Client {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        Client(stream)
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // The write fails if the service has refused the request early and closed the connection.
        let _ = self.0.write_all(bytes.as_ref());
    }

    /// All bytes until the service closes the connection.
    fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let _ = self.0.read_to_end(&mut bytes);
        bytes
    }

    fn response(mut self) -> Response {
        Response::new(&self.rest())
    }
}

struct Response {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Response {
    fn new(bytes: &[u8]) -> Response {
        let end = bytes
            .windows(4)
            .position(|w| w == b"\r\n\r\n")
            .unwrap_or_else(|| panic!("no answer: {}", String::from_utf8_lossy(bytes)));
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_lowercase(), value.trim().to_string())
        });
        Response {
            status: status.parse().unwrap(),
            headers: headers.collect(),
            body: bytes[end + 4..].to_vec(),
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// The JSON of a successful answer.
    fn answer(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()
    }

    /// The message of an error answer, which must contain nothing else.
    fn error(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        let object = self.json();
        assert_eq!(object.as_object().unwrap().len(), 1);
        let error = object["error"].as_str().unwrap();
        assert!(!error.is_empty() && !error.contains('\n'));
        error.to_string()
    }
}
