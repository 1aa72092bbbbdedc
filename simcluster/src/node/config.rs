//! How a node is set up, and what follows from its release.

use crate::coordinator::CoordinatorConfig;
use crate::entropy::Entropy;
use crate::kernel::NodeId;
use crate::ring::{Location, Token};
use std::net::SocketAddr;
use std::time::Duration;
use uuid::Uuid;

/// How a node is set up. The same after a restart, unless the engine changes it (new address, new host id).
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Which node.
    pub id: NodeId,
    /// Where clients reach it; peers are told the same address.
    pub address: SocketAddr,
    /// Its identity.
    pub host_id: Uuid,
    /// Its data centre and rack.
    pub location: Location,
    /// The tokens it owns.
    pub tokens: Vec<Token>,
    /// The same on every node.
    pub cluster_name: String,
    /// `release_version`, e.g. `5.0.8`; decides tables, versions and texts.
    pub release: String,
    /// The highest protocol version it speaks: 3, 4 or 5.
    pub protocol_version_max: u8,
    /// All nodes it may gossip with at start: the other members.
    pub peers: Vec<NodeId>,
    /// Timeouts of coordination.
    pub coordinator: CoordinatorConfig,
    /// How long after the last gossip of a peer it is convicted as down.
    pub failure_detection: Duration,
    /// How often it gossips with each peer; Cassandra: 1 s.
    pub gossip_interval: Duration,
    /// How many bytes of requests from one address it takes in hand at once: Cassandra's
    /// `native_transport_max_request_data_in_flight_per_ip`. More are taken all the same, unless their client asked
    /// with `THROW_ON_OVERLOAD` to be refused.
    pub in_flight_bytes_max: u64,
    /// Whether custom payloads are echoed, as Cassandra's mirroring query handler does.
    pub mirror_custom_payload: bool,
    /// Whether a restart forgets prepared statements (else they are reloaded, as Cassandra does from its table).
    pub forget_prepared_on_restart: bool,
    /// The dead node whose tokens this one takes over, and which is forgotten once it has them.
    pub replaces: Option<NodeId>,
    /// If set, PasswordAuthenticator with these users and passwords.
    pub users: Option<Vec<(String, String)>>,
    /// The source of the node's random choices.
    pub entropy: Entropy,
}

impl NodeConfig {
    /// The highest protocol version that is not a beta in a release.
    #[must_use]
    pub fn protocol_version_max_of_release(release: &str) -> u8 {
        if ReleaseLine::of(release) < ReleaseLine::V40 { 4 } else { 5 }
    }

    /// The identity that `entropy` gives to a node.
    #[must_use]
    pub fn draw_host_id(entropy: &Entropy, node: NodeId) -> Uuid {
        let [high, low] = [0, 1].map(|half| u128::from(entropy.draw("host-id", u64::from(node.0), half)));
        uuid::Builder::from_random_bytes(((high << 64) | low).to_be_bytes()).into_uuid()
    }

    /// The `count` tokens that `entropy` gives to a node, in order.
    #[must_use]
    pub fn draw_tokens(entropy: &Entropy, node: NodeId, count: u32) -> Vec<Token> {
        let token = |number| Token(entropy.draw("token", u64::from(node.0), u64::from(number)).cast_signed());
        let mut tokens: Vec<Token> = (0..count).map(token).collect();
        tokens.sort_unstable();
        tokens
    }

    /// A node of the same kind with an identity and tokens of its own, that gossips with `peers` at start.
    #[must_use]
    pub fn newcomer(&self, id: NodeId, address: SocketAddr, location: Location, peers: Vec<NodeId>) -> Self {
        let count = u32::try_from(self.tokens.len()).unwrap_or(u32::MAX);
        Self {
            id,
            address,
            host_id: Self::draw_host_id(&self.entropy, id),
            location,
            tokens: Self::draw_tokens(&self.entropy, id, count),
            peers,
            replaces: None,
            ..self.clone()
        }
    }
}

/// A line of releases whose system tables and versions are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum ReleaseLine {
    V3,
    V40,
    V41,
    V50,
}

impl ReleaseLine {
    /// All lines, oldest first.
    pub(super) const ALL: [Self; 4] = [Self::V3, Self::V40, Self::V41, Self::V50];

    /// The line of a `release_version`; unknown ones count as the newest.
    pub(super) fn of(release: &str) -> Self {
        let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
        match (numbers.next(), numbers.next()) {
            (Some(0..=3), _) => Self::V3,
            (Some(4), Some(0)) => Self::V40,
            (Some(4), _) => Self::V41,
            _ => Self::V50,
        }
    }

    /// The version of the query language.
    pub(super) fn cql_version(self) -> &'static str {
        match self {
            Self::V3 => "3.4.4",
            Self::V40 => "3.4.5",
            Self::V41 => "3.4.6",
            Self::V50 => "3.4.7",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_know_their_line() {
        for (release, line, cql) in [
            ("3.11.17", ReleaseLine::V3, "3.4.4"),
            ("4.0.19", ReleaseLine::V40, "3.4.5"),
            ("4.1.10", ReleaseLine::V41, "3.4.6"),
            ("5.0.8", ReleaseLine::V50, "3.4.7"),
            ("5.1-SNAPSHOT", ReleaseLine::V50, "3.4.7"),
        ] {
            assert_eq!(ReleaseLine::of(release), line);
            assert_eq!(line.cql_version(), cql);
        }
    }
}
