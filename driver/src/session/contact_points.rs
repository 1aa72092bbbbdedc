//! Reads what an application calls a contact point.

use std::net::SocketAddr;

use crate::control::ContactPoint;
use crate::execution::{Error, ErrorKind, Result};

pub(super) fn parse_contact_points(points: &[String]) -> Result<Vec<ContactPoint>> {
    if points.is_empty() {
        let message = "no contact point was given: call contact_points with the address of at least one node";
        return Err(Error::not_sent(ErrorKind::Configuration(message.to_owned())));
    }
    points.iter().map(|point| parse_contact_point(point)).collect()
}

fn parse_contact_point(point: &str) -> Result<ContactPoint> {
    if let Ok(address) = point.parse::<SocketAddr>() {
        return Ok(ContactPoint { host: address.ip().to_string(), port: address.port() });
    }
    let bare = point.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<std::net::IpAddr>().is_ok() {
        return Ok(ContactPoint { host: bare.to_owned(), port: DEFAULT_PORT });
    }
    let (host, port) = match point.split_once(':') {
        Some((host, port)) => (host, port.parse().ok()),
        None => (point, Some(DEFAULT_PORT)),
    };
    match port {
        Some(port) if !host.is_empty() => Ok(ContactPoint { host: host.to_owned(), port }),
        _ => {
            let message = format!("{point:?} is not a contact point: write host, host:port or an IP address");
            Err(Error::not_sent(ErrorKind::Configuration(message)))
        }
    }
}

const DEFAULT_PORT: u16 = 9042;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contact_points_are_names_or_addresses_with_or_without_port() {
        for (point, host, port) in [
            ("127.0.0.1", "127.0.0.1", 9042),
            ("127.0.0.1:9999", "127.0.0.1", 9999),
            ("db.example", "db.example", 9042),
            ("db.example:1", "db.example", 1),
            ("::1", "::1", 9042),
            ("[::1]", "::1", 9042),
            ("[::1]:7", "::1", 7),
        ] {
            assert_eq!(parse_contact_point(point).unwrap(), ContactPoint { host: host.to_owned(), port }, "{point}");
        }
    }

    #[test]
    fn malformed_contact_points_are_refused_with_a_sentence() {
        for point in ["", ":9042", "host:port", "host:99999"] {
            assert!(matches!(parse_contact_point(point).unwrap_err().kind(), ErrorKind::Configuration(_)), "{point}");
        }
    }
}
