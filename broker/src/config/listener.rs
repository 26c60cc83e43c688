//! Addresses in configuration: `HOST:PORT`, with or without the `PLAINTEXT://` that Kafka's listener settings carry.

use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// A host name or address and a port. IPv6 addresses are written in brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// Host name or address, without brackets.
    pub host: String,
    /// Port; 0 asks the system for a free one.
    pub port: u16,
}

impl HostPort {
    /// True for an address that means "all interfaces", which no client can connect to.
    pub fn is_wildcard(&self) -> bool {
        self.host.is_empty() || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified())
    }

    /// Looks the host up and takes its first address. Blocks on the resolver for host names: call it at start only.
    pub fn resolve(&self) -> std::io::Result<SocketAddr> {
        (self.host.as_str(), self.port)
            .to_socket_addrs()?
            .next()
            .ok_or_else(|| std::io::Error::new(std::io::ErrorKind::NotFound, format!("{} has no address", self.host)))
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') { write!(f, "[{}]:{}", self.host, self.port) } else { write!(f, "{}:{}", self.host, self.port) }
    }
}

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<HostPort, String> {
        let (host, port) = text.rsplit_once(':').ok_or("expected HOST:PORT")?;
        let host = match host.strip_prefix('[') {
            Some(rest) => {
                let inner = rest.strip_suffix(']').ok_or("expected HOST:PORT, with an IPv6 address in brackets")?;
                inner.parse::<std::net::Ipv6Addr>().map_err(|_| "the text in brackets is not an IPv6 address")?;
                inner
            }
            None if host.contains(':') => return Err("expected HOST:PORT, with an IPv6 address in brackets".into()),
            None => host,
        };
        let fine = |c: char| c.is_ascii_alphanumeric() || "-._:%".contains(c);
        if host.is_empty() || host.len() > 255 || !host.chars().all(fine) {
            return Err("expected HOST:PORT with a host name or address".into());
        }
        let port = port.parse::<u16>().map_err(|_| "the port must be a number from 0 to 65535")?;
        Ok(HostPort { host: host.to_string(), port })
    }
}

/// Reads `HOST:PORT` or `PLAINTEXT://HOST:PORT`.
pub fn parse_listener(text: &str) -> Result<HostPort, String> {
    if text.contains(',') {
        return Err("one listener is supported".into());
    }
    match text.split_once("://") {
        None => text.parse(),
        Some((protocol, rest)) if protocol.eq_ignore_ascii_case("PLAINTEXT") => rest.parse(),
        Some((protocol, _)) => Err(format!("protocol {protocol} is not supported; use PLAINTEXT://HOST:PORT")),
    }
}

pub(super) fn check_host_port(text: &str) -> Result<(), String> {
    text.parse::<HostPort>().map(|_| ())
}

pub(super) fn check_listener(text: &str) -> Result<(), String> {
    parse_listener(text).map(|_| ())
}

pub(super) fn check_advertised(text: &str) -> Result<(), String> {
    let address = parse_listener(text)?;
    if address.is_wildcard() {
        return Err(format!("clients cannot connect to {}; give a name or an address of this host", address.host));
    }
    Ok(())
}

/// Limits of single addresses, `ADDRESS:COUNT,...`; an address of version 6 may have brackets.
pub fn parse_overrides(text: &str) -> Result<Vec<(IpAddr, usize)>, String> {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let parse = |entry: &str| {
        let (address, count) = entry.rsplit_once(':')?;
        let address = address.trim().trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok()?;
        Some((address.to_canonical(), count.trim().parse().ok()?))
    };
    entries.map(|entry| parse(entry).ok_or_else(|| format!("{entry:?} is not ADDRESS:COUNT"))).collect()
}

/// See [`parse_overrides`].
pub(super) fn check_overrides(text: &str) -> Result<(), String> {
    parse_overrides(text).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_addresses_and_protocols() {
        assert_eq!(parse_listener("PLAINTEXT://broker-1.local:9092").map(|a| a.to_string()).as_deref(), Ok("broker-1.local:9092"));
        assert_eq!(parse_listener("[::1]:0").map(|a| (a.to_string(), a.host)), Ok(("[::1]:0".into(), "::1".into())));
        for bad in ["", "host", "host:", "host:70000", ":9092", "::1:9092", "[x]:1", "SSL://a:1", "a:1,b:2", "a b:1"] {
            assert!(parse_listener(bad).is_err(), "{bad:?} must be refused");
        }
    }

    #[test]
    fn a_wildcard_cannot_be_advertised() {
        assert!(check_advertised("0.0.0.0:9092").is_err());
        assert!(check_advertised("[::]:9092").is_err());
        assert!(check_advertised("10.0.0.1:9092").is_ok());
    }
}
