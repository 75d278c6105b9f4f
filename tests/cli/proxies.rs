//! Tests of `glimpse fetch` through proxies, which are servers on this machine.

use crate::fetch::{here, lines, published};
use crate::server::{Answer, Server};

/// An address whose host does not exist, so only a proxy can answer for it.
const NOWHERE: &str = "http://nowhere.invalid/a";

#[test]
fn a_proxy_is_asked_where_the_environment_names_one() {
    let (bytes, digest) = published();
    let proxy = Server::new(move |_, request| match request.line.split_once(' ') {
        Some(("GET", _)) => Answer::fair(bytes, request),
        _ => Answer::new("403 Forbidden", &[], b""),
    });
    let dir = tempfile::tempdir().unwrap();
    let run = |url: &str, variables: &[(&str, &str)]| {
        let args = ["fetch", "densenet121", "--force", "--sha256", digest];
        here(
            dir.path(),
            &[&args[..], &["--url", url]].concat(),
            variables,
        )
    };
    for variable in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
        run(NOWHERE, &[(variable, &proxy.address)]).lines();
    }
    let other = "http://me:word@nowhere.invalid:8080?a";
    run(other, &[("http_proxy", &proxy.address)]).lines();
    let requests = proxy.requests();
    assert_eq!(
        lines(&proxy),
        [
            &["GET http://nowhere.invalid/a HTTP/1.1"; 3][..],
            &["GET http://nowhere.invalid:8080/?a HTTP/1.1"],
        ]
        .concat()
    );
    assert_eq!(requests[0].header("host"), Some("nowhere.invalid"));
    assert_eq!(requests[0].header("proxy-authorization"), None);
    assert_eq!(requests[3].header("host"), Some("nowhere.invalid:8080"));
    assert_eq!(
        requests[3].header("authorization"),
        Some("Basic bWU6d29yZA==")
    );

    let with_password = proxy.address.replace("//", "//user:p%40ss@");
    let credentials = Some("Basic dXNlcjpwQHNz");
    run(NOWHERE, &[("HTTP_PROXY", &with_password)]).lines();
    let requests = proxy.requests();
    assert_eq!(requests[4].header("proxy-authorization"), credentials);

    // An https address needs a tunnel, which this proxy refuses.
    let encrypted = run(
        "https://nowhere.invalid/a",
        &[("HTTPS_PROXY", &with_password)],
    );
    assert!(encrypted.complaint(1).contains("403"), "{}", encrypted.err);
    let requests = proxy.requests();
    assert_eq!(requests[5].line, "CONNECT nowhere.invalid:443 HTTP/1.1");
    assert_eq!(requests[5].header("proxy-authorization"), credentials);

    let direct = Server::always(Answer::whole(bytes));
    let spared = [
        ("HTTP_PROXY", with_password.as_str()),
        ("NO_PROXY", "localhost, 127.0.0.1"),
    ];
    run(&direct.url("a"), &spared).lines();
    assert_eq!(lines(&direct), ["GET /a HTTP/1.1"]);
    assert_eq!(direct.requests()[0].header("proxy-authorization"), None);
    let wrong = [("http_proxy", "gopher://user:secret@localhost")];
    let wrong = run(&direct.url("a"), &wrong);
    let message = wrong.complaint(1);
    assert!(
        message.contains("http_proxy") && !message.contains("secret"),
        "{message}"
    );
    assert_eq!(proxy.requests().len(), 6);
}

#[test]
fn a_redirect_may_lead_to_another_proxy_or_past_it() {
    let (bytes, digest) = published();
    let sends_on = |to: &str| {
        let location = format!("Location: {to}");
        Answer::new("302 Found", &[&location, "Content-Length: 2"], b"go")
    };
    let direct = Server::new(move |n, request| match n {
        0 => Answer::whole(bytes).cut(1000),
        _ => Answer::fair(bytes, request),
    });
    let url = direct.url("c");
    let proxy = Server::new(move |_, request| match request.line.as_str() {
        "GET http://nowhere.invalid/a HTTP/1.1" => sends_on("//elsewhere.invalid/b"),
        _ => sends_on(&url),
    });
    let dir = tempfile::tempdir().unwrap();
    let args = ["fetch", "densenet121", "--sha256", digest, "--url", NOWHERE];
    let variables = [
        ("HTTP_PROXY", proxy.address.as_str()),
        ("NO_PROXY", "127.0.0.1"),
    ];
    here(dir.path(), &args, &variables).lines();
    // Twice: the connection breaks, and the rest is requested through the same proxies.
    let way = [
        "GET http://nowhere.invalid/a HTTP/1.1",
        "GET http://elsewhere.invalid/b HTTP/1.1",
    ];
    assert_eq!(lines(&proxy), way.repeat(2));
    assert_eq!(lines(&direct), ["GET /c HTTP/1.1"; 2]);
    let rest = Some("bytes=1000-".to_string());
    let (none, two) = (vec![None; 2], vec![rest.clone(); 2]);
    assert_eq!(proxy.ranges(), [none, two].concat());
    assert_eq!(direct.ranges(), [None, rest]);
    assert_eq!(direct.requests()[1].header("if-range"), Some("\"one\""));

    // A redirect from http to https, which has another proxy.
    let tunnel = Server::always(Answer::new("403 Forbidden", &[], b""));
    let proxy = Server::always(sends_on("https://nowhere.invalid:444/a"));
    let variables = [
        ("HTTP_PROXY", proxy.address.as_str()),
        ("HTTPS_PROXY", &tunnel.address),
    ];
    let refused = here(dir.path(), &[&args[..], &["--force"]].concat(), &variables);
    assert!(refused.complaint(1).contains("403"), "{}", refused.err);
    assert_eq!(lines(&proxy), way[..1]);
    assert_eq!(lines(&tunnel), ["CONNECT nowhere.invalid:444 HTTP/1.1"]);
}

#[test]
fn a_download_through_a_proxy_is_taken_up_again_where_it_broke() {
    let (bytes, digest) = published();
    let dir = tempfile::tempdir().unwrap();
    let proxy = Server::new(move |n, request| match n {
        0 => Answer::whole(bytes).cut(1000),
        _ => Answer::fair(bytes, request),
    });
    let args = ["fetch", "densenet121", "--sha256", digest, "--url", NOWHERE];
    here(dir.path(), &args, &[("HTTP_PROXY", &proxy.address)]).lines();
    assert_eq!(proxy.ranges(), [None, Some("bytes=1000-".to_string())]);
    assert_eq!(proxy.requests()[1].header("if-range"), Some("\"one\""));
    assert_eq!(lines(&proxy), ["GET http://nowhere.invalid/a HTTP/1.1"; 2]);
}
