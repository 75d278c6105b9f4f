//! Determines the client of a request, for limits that apply to each client.

use std::net::{IpAddr, Ipv6Addr};

use axum::http::HeaderMap;

/// The header in which a proxy appends the address of its client to those that the client itself sent.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// Returns the address of the client: that of the connection or, if that is a trusted proxy, the last address in
/// `X-Forwarded-For` that is not a trusted proxy. Addresses before it may be made up by the client.
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

/// Parses an address, with or without a port, as proxies write it.
fn parse(text: &str) -> Option<IpAddr> {
    let with_port = || Some(text.parse::<std::net::SocketAddr>().ok()?.ip());
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    bare.unwrap_or(text).parse().ok().or_else(with_port)
}

/// Returns the unit that counts as one client: an IPv4 address, or the 64-bit network of an IPv6 address, because one
/// client usually has all addresses of its network.
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
