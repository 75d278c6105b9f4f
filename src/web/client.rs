//! Who a request comes from, as limits for each client take it.

use std::net::{IpAddr, Ipv6Addr};

use axum::http::HeaderMap;

/// What a proxy adds: the client it passes a request on for, after those that the client named itself.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The address that a request comes from: where the connection does, or, if that is a proxy that is trusted, the last
/// address in `X-Forwarded-For` that is none. What stands before it, the client may have made up.
pub fn address(connection: IpAddr, headers: &HeaderMap, trusted: &[IpAddr]) -> IpAddr {
    let mut client = connection.to_canonical();
    let values = headers.get_all(FORWARDED_FOR).iter();
    let values: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
    for named in values.iter().rev().flat_map(|value| value.rsplit(',')) {
        if !trusted.contains(&client) {
            break;
        }
        let Some(ip) = parse(named.trim()) else { break };
        client = ip.to_canonical();
    }
    client
}

/// An address, with or without a port, as proxies write it.
fn parse(text: &str) -> Option<IpAddr> {
    let with_port = || Some(text.parse::<std::net::SocketAddr>().ok()?.ip());
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    bare.unwrap_or(text).parse().ok().or_else(with_port)
}

/// What counts as one client: an IPv4 address, or the 64 bits of an IPv6 address that name a network, for whoever has
/// one of its addresses has all of them.
pub fn network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let trusted = [ip("127.0.0.1"), ip("10.0.0.1")];
        for (connection, named, client) in [
            ("127.0.0.1", &[][..], "127.0.0.1"),
            ("127.0.0.1", &["192.0.2.7"], "192.0.2.7"),
            ("127.0.0.1", &["1.1.1.1, 192.0.2.7, 10.0.0.1"], "192.0.2.7"),
            ("127.0.0.1", &["1.1.1.1", "192.0.2.7:4711"], "192.0.2.7"),
            ("127.0.0.1", &["[2001:db8::1]"], "2001:db8::1"),
            ("127.0.0.1", &["1.1.1.1, unknown"], "127.0.0.1"),
            ("::ffff:127.0.0.1", &["192.0.2.7"], "192.0.2.7"),
            ("192.0.2.8", &["192.0.2.7"], "192.0.2.8"),
        ] {
            let mut headers = HeaderMap::new();
            for value in named {
                headers.append(FORWARDED_FOR, value.parse().unwrap());
            }
            let found = address(ip(connection), &headers, &trusted);
            assert_eq!(found, ip(client), "{connection} {named:?}");
        }
        assert_eq!(network(ip("2001:db8::1:2")), ip("2001:db8::"));
    }
}
