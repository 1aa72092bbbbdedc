//! Versions of the native protocol.

use std::fmt;

/// A version of the native protocol that the driver speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ProtocolVersion {
    /// Cassandra 2.1 and later.
    V3,
    /// Cassandra 2.2 and later.
    V4,
    /// Cassandra 4.0 and later: checksummed segments, metadata ids.
    V5,
}

impl ProtocolVersion {
    /// The newest version, where negotiation starts.
    pub const NEWEST: Self = Self::V5;

    /// The number on the wire, without the direction bit.
    pub fn number(self) -> u8 {
        match self {
            Self::V3 => 3,
            Self::V4 => 4,
            Self::V5 => 5,
        }
    }

    /// The version with this number, if the driver speaks it.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            3 => Some(Self::V3),
            4 => Some(Self::V4),
            5 => Some(Self::V5),
            _ => None,
        }
    }

    /// The next older version, for stepping down.
    pub fn previous(self) -> Option<Self> {
        Self::from_number(self.number() - 1)
    }
}

impl fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.number())
    }
}
