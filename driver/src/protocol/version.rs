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

    /// The newest version a node of this Cassandra release speaks, such as v4 for `3.11.19`.
    ///
    /// `None` for what is no release number, or a release before 2.1, which speaks none of these. Configuration and the
    /// company of older nodes may keep a node below this.
    pub fn newest_of_release(release: &str) -> Option<Self> {
        let mut numbers = release.split(['.', '-', '~', '+']).map_while(|part| part.parse::<u32>().ok());
        match (numbers.next()?, numbers.next()?) {
            (4.., _) => Some(Self::V5),
            (3, _) | (2, 2..) => Some(Self::V4),
            (2, 1) => Some(Self::V3),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_speak_the_versions_they_came_with() {
        for (release, newest) in [
            ("2.0.17", None),
            ("2.1.22", Some(ProtocolVersion::V3)),
            ("2.2.19", Some(ProtocolVersion::V4)),
            ("3.11.19", Some(ProtocolVersion::V4)),
            ("4.0-beta4", Some(ProtocolVersion::V5)),
            ("4.1.10", Some(ProtocolVersion::V5)),
            ("5.0.8", Some(ProtocolVersion::V5)),
            ("5.1-SNAPSHOT", Some(ProtocolVersion::V5)),
            ("", None),
            ("unknown", None),
        ] {
            assert_eq!(ProtocolVersion::newest_of_release(release), newest, "{release:?}");
        }
    }
}
