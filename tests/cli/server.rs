//! A web server for tests that sends the answers it is given, valid or not.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// The request of a client.
#[derive(Clone, Debug)]
pub struct Request {
    /// The first line: `GET /path HTTP/1.1`.
    pub line: String,
    headers: Vec<(String, String)>,
}

impl Request {
    fn read(stream: &mut impl BufRead) -> Option<Request> {
        let mut lines = stream.lines().map_while(Result::ok);
        let line = lines.next()?;
        let headers = lines.take_while(|line| !line.is_empty()).map(|line| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_lowercase(), value.trim().to_string())
        });
        let headers = headers.collect();
        Some(Request { line, headers })
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// The bytes that are sent, head and body, before the connection is closed.
#[derive(Clone, Default)]
pub struct Answer {
    pub head: String,
    pub body: Vec<u8>,
    /// How long the connection then stays open without data.
    pub silence: Duration,
}

impl Answer {
    /// Returns an answer; the headers have to include a length, which need not be that of the body.
    pub fn new(status: &str, headers: &[&str], body: &[u8]) -> Answer {
        let headers: String = headers
            .iter()
            .map(|header| format!("{header}\r\n"))
            .collect();
        Answer {
            head: format!("HTTP/1.1 {status}\r\n{headers}\r\n"),
            body: body.to_vec(),
            silence: Duration::ZERO,
        }
    }

    /// Returns the whole of `file`.
    pub fn whole(file: &[u8]) -> Answer {
        let length = format!("Content-Length: {}", file.len());
        Answer::new("200 OK", &[&length, "ETag: \"one\""], file)
    }

    /// Returns `file` from byte `start` on.
    pub fn rest(file: &[u8], start: usize) -> Answer {
        let (len, rest) = (file.len(), &file[start..]);
        let length = format!("Content-Length: {}", rest.len());
        let range = format!("Content-Range: bytes {start}-{}/{len}", len - 1);
        Answer::new(
            "206 Partial Content",
            &[&length, &range, "ETag: \"one\""],
            rest,
        )
    }

    /// Cuts the body off after `at` bytes.
    pub fn cut(mut self, at: usize) -> Answer {
        self.body.truncate(at);
        self
    }

    /// Answers as the standard demands: with the requested part if the file is unchanged, else with the whole file.
    pub fn fair(file: &[u8], request: &Request) -> Answer {
        let start = request
            .header("range")
            .filter(|_| request.header("if-range") == Some("\"one\""))
            .map(|range| {
                range
                    .strip_prefix("bytes=")
                    .unwrap()
                    .strip_suffix('-')
                    .unwrap()
            });
        start.map_or_else(
            || Answer::whole(file),
            |n| Answer::rest(file, n.parse().unwrap()),
        )
    }
}

/// A server on its own port, which runs until the tests end.
pub struct Server {
    /// `http://127.0.0.1:PORT`
    pub address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Starts a server that answers each request with the result of `answer`, which also receives the request's number.
    pub fn new(answer: impl Fn(usize, &Request) -> Answer + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (requests.clone(), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (log, answer) = (log.clone(), answer.clone());
                thread::spawn(move || serve(&stream, &log, &*answer));
            }
        });
        Server { address, requests }
    }

    /// Starts a server that always gives the same answer.
    pub fn always(answer: Answer) -> Server {
        Server::new(move |_, _| answer.clone())
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.address)
    }

    /// Returns the requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Returns the header `Range` of each request so far.
    pub fn ranges(&self) -> Vec<Option<String>> {
        let range = |request: &Request| request.header("range").map(str::to_string);
        self.requests().iter().map(range).collect()
    }
}

fn serve(
    mut stream: &TcpStream,
    log: &Mutex<Vec<Request>>,
    answer: &impl Fn(usize, &Request) -> Answer,
) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = Request::read(&mut reader) {
        let number = {
            let mut log = log.lock().unwrap();
            log.push(request.clone());
            log.len() - 1
        };
        let answer = answer(number, &request);
        // After CONNECT the connection stays open; all other answers announce that it closes.
        let proxy = request.line.starts_with("CONNECT ");
        let close = if proxy {
            "\r\n"
        } else {
            "\r\nConnection: close\r\n"
        };
        let head = answer.head.replacen("\r\n", close, 1);
        // The client may disconnect before it has read everything.
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.write_all(&answer.body);
        thread::sleep(answer.silence);
        if !proxy {
            break;
        }
    }
}
