//! A proxy that serves another server under a path, and answers 404 for everything else.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

/// The behaviour of the proxy.
#[derive(Clone, Copy)]
pub struct Manner {
    /// The path, such as `/glimpse`.
    pub path: &'static str,
    /// Whether it removes the path before it passes a request on.
    pub strips: bool,
    /// Whether it replaces the header `Host` by the server's address.
    pub renames: bool,
}

/// Starts a proxy in front of `server`, which lives as long as the tests; returns its address.
pub fn start(server: SocketAddr, manner: Manner) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || pass(&stream, server, manner));
        }
    });
    address
}

fn pass(mut client: &TcpStream, server: SocketAddr, manner: Manner) -> Option<()> {
    let mut reader = BufReader::new(client);
    let mut lines = reader.by_ref().lines().map_while(Result::ok);
    let line = lines.next()?;
    let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let mut parts = line.split(' ');
    let (method, path) = (parts.next()?, parts.next()?);
    let below = path.strip_prefix(manner.path);
    let Some(below) = below.filter(|below| below.is_empty() || below.starts_with('/')) else {
        let nothing = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        client.write_all(nothing.as_bytes()).ok()?;
        return None;
    };
    let path = if manner.strips { below } else { path };
    let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    let mut length = 0;
    for header in headers {
        let (name, value) = header.split_once(':')?;
        match name.to_lowercase().as_str() {
            "connection" => continue,
            "host" if manner.renames => head += &format!("Host: {server}\r\n"),
            "content-length" => {
                length = value.trim().parse().ok()?;
                head += &format!("{header}\r\n");
            }
            _ => head += &format!("{header}\r\n"),
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut upstream = TcpStream::connect(server).ok()?;
    upstream.write_all(format!("{head}\r\n").as_bytes()).ok()?;
    upstream.write_all(&body).ok()?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer).ok()?;
    client.write_all(&answer).ok()
}
